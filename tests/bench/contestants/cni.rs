//! What do the reference plugins of CNI do: bridge, host-local and portmap?

use super::CNI;
use super::shell::{Peer, sh};
use crate::contestant::{Contestant, PUBLISHED, Path, Route, Service};
use crate::regime::MTU;
use anyhow::{Context as _, Result, bail};
use netd_tests::world::{HOST, OUTSIDE, Place, World};
use serde_json::{Value, json};
use std::net::Ipv4Addr;
use std::path::PathBuf;
use std::time::{Duration, Instant};

/// The version of the specification that is spoken.
const VERSION: &str = "0.4.0";

/// A host whose containers are plugged in by the plugins.
pub struct Cni {
    pub world: World,
    plugins: PathBuf,
}

/// A container, and what is needed to take it out again.
pub struct Plugged {
    pub place: Place,
    pub ip: Ipv4Addr,
    pub took: Duration,
    id: String,
    ports: Vec<Value>,
    result: Value,
}

impl Cni {
    pub fn new() -> Result<Self> {
        let package = "containernetworking-plugins";
        let portmap = Peer::find("portmap", package)?;
        Peer::find("bridge", package)?;
        Peer::find("iptables", "iptables")?;
        let plugins = portmap.parent().context("a folder")?.to_owned();
        Ok(Self { world: World::without_netd(), plugins })
    }

    pub fn contestant(self) -> Result<Contestant> {
        let ports = Service::ALL.map(|service| (service.protocol(), service.port() + PUBLISHED, service.port()));
        let web = self.add("web", &ports)?;
        let client = self.add("client", &[])?;
        let host = &self.world.host;
        let routes = vec![
            Route::new(Path::SameHost, &client.place, &web.place, web.ip),
            Route::new(Path::Published, &self.world.outside, &web.place, HOST),
            Route::new(Path::Outbound, &client.place, &self.world.outside, OUTSIDE),
            Route::new(Path::Loopback, host, &web.place, Ipv4Addr::LOCALHOST),
            Route::new(Path::Direct, host, &web.place, web.ip),
        ];
        let setup = vec![
            Peer::version(&self.plugins.join("portmap"), "--version"),
            format!("bridge: {}", self.bridge()),
            format!("portmap: {}", self.portmap(&web.ports)),
            "iptables-save afterwards:".to_owned(),
            sh(host, "iptables-save | grep -v '^#'")?,
        ];
        // The containers go with their places.
        Contestant::new(CNI, setup, routes, (self.world, web, client))
    }

    fn bridge(&self) -> Value {
        let data = self.world.scratch().join("cni");
        json!({
            "cniVersion": VERSION, "name": "bench", "type": "bridge", "bridge": "cni0", "isGateway": true, "ipMasq": true,
            "mtu": MTU,
            "ipam": {
                "type": "host-local", "dataDir": data,
                "ranges": [[{ "subnet": "172.18.0.0/16" }]], "routes": [{ "dst": "0.0.0.0/0" }],
            },
        })
    }

    fn portmap(&self, ports: &[Value]) -> Value {
        json!({
            "cniVersion": VERSION, "name": "bench", "type": "portmap", "capabilities": { "portMappings": true },
            "runtimeConfig": { "portMappings": ports },
        })
    }

    /// Plugs in a container with these ports: protocol, of the host, of the container.
    pub fn add(&self, id: &str, ports: &[(&str, u16, u16)]) -> Result<Plugged> {
        let place = Place::new(id, None);
        let ports: Vec<Value> = ports
            .iter()
            .map(|(protocol, host, own)| json!({ "protocol": protocol, "hostPort": host, "containerPort": own }))
            .collect();
        let begin = Instant::now();
        let mut result = self.call("bridge", "ADD", id, &place, &self.bridge())?;
        if !ports.is_empty() {
            let mut config = self.portmap(&ports);
            config["prevResult"] = result;
            result = self.call("portmap", "ADD", id, &place, &config)?;
        }
        let took = begin.elapsed();
        let address = result["ips"][0]["address"].as_str().context("an address")?;
        let ip = address.split('/').next().context("an address")?.parse()?;
        Ok(Plugged { place, ip, took, id: id.to_owned(), ports, result })
    }

    /// Takes a container out; how long that took.
    pub fn remove(&self, plugged: &Plugged) -> Result<Duration> {
        let begin = Instant::now();
        if !plugged.ports.is_empty() {
            let mut config = self.portmap(&plugged.ports);
            config["prevResult"] = plugged.result.clone();
            self.call("portmap", "DEL", &plugged.id, &plugged.place, &config)?;
        }
        self.call("bridge", "DEL", &plugged.id, &plugged.place, &self.bridge())?;
        Ok(begin.elapsed())
    }

    fn call(&self, plugin: &str, command: &str, id: &str, place: &Place, config: &Value) -> Result<Value> {
        let mut file = tempfile::NamedTempFile::new()?;
        serde_json::to_writer(&mut file, config)?;
        let (path, input) = (self.plugins.display(), file.path().display());
        let script = format!(
            "CNI_COMMAND={command} CNI_CONTAINERID={id} CNI_NETNS={} CNI_IFNAME=eth0 CNI_PATH={path} exec {path}/{plugin} \
             <{input}",
            place.path()
        );
        let finished = self.world.host.exec(["sh", "-c", &script]);
        if !finished.is_ok() {
            bail!("{plugin} {command}: {finished}");
        }
        if finished.stdout.trim().is_empty() {
            return Ok(Value::Null);
        }
        Ok(serde_json::from_str(&finished.stdout)?)
    }
}
