//! Who takes part, and by which paths does its traffic go?

use crate::regime;
use anyhow::{Result, bail};
use netd_tests::world::{Place, Process, binary};
use netd_tests::{holds_within, seconds};
use std::any::Any;
use std::net::{Ipv4Addr, SocketAddr};

/// From where to where.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Path {
    SameHost,
    Published,
    Outbound,
    /// A program of the host, to 127.0.0.1.
    Loopback,
    /// A program of the host, to the container's own address.
    Direct,
}

impl Path {
    pub const ALL: [Self; 5] = [Self::SameHost, Self::Published, Self::Outbound, Self::Loopback, Self::Direct];

    pub const fn name(self) -> &'static str {
        match self {
            Self::SameHost => "same host",
            Self::Published => "outside to published",
            Self::Outbound => "container to outside",
            Self::Loopback => "host to 127.0.0.1 published",
            Self::Direct => "host to container",
        }
    }
}

/// What a server listens for, by its port. Published ports are [`PUBLISHED`] higher.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Service {
    Http = 80,
    Requests = 7,
    Datagrams = 9,
    Bulk = 5201,
}

pub const PUBLISHED: u16 = 8000;

impl Service {
    pub const ALL: [Self; 4] = [Self::Http, Self::Requests, Self::Datagrams, Self::Bulk];

    pub const fn port(self) -> u16 {
        self as u16
    }

    pub const fn protocol(self) -> &'static str {
        match self {
            Self::Datagrams => "udp",
            _ => "tcp",
        }
    }

    /// As `docker run -p` and `netctl publish` take it.
    pub fn publish(self) -> String {
        let suffix = if self.protocol() == "udp" { "/udp" } else { "" };
        format!("{}:{}{suffix}", self.port() + PUBLISHED, self.port())
    }
}

/// A client, a server, and how the one dials the other.
#[derive(Clone)]
pub struct Route {
    pub path: Path,
    pub client: Place,
    pub server: Place,
    /// What the client dials.
    pub address: Ipv4Addr,
    pub is_published: bool,
}

impl Route {
    pub fn new(path: Path, client: &Place, server: &Place, address: Ipv4Addr) -> Self {
        let is_published = matches!(path, Path::Published | Path::Loopback);
        Self { path, client: client.clone(), server: server.clone(), address, is_published }
    }

    /// As [`Self::new`], to the port itself although others publish here.
    pub fn unpublished(self) -> Self {
        Self { is_published: false, ..self }
    }

    pub fn at(&self, service: Service) -> SocketAddr {
        let port = service.port() + if self.is_published { PUBLISHED } else { 0 };
        SocketAddr::new(self.address.into(), port)
    }
}

/// One who takes part; everything of it goes when it is dropped.
pub struct Contestant {
    pub key: &'static str,
    /// How it was set up, so that a stranger can do the same.
    pub setup: Vec<String>,
    pub routes: Vec<Route>,
    /// Ended before what they run in.
    _servers: Vec<Process>,
    _keep: Box<dyn Any>,
}

impl Contestant {
    /// Starts the servers of these routes.
    pub fn new(key: &'static str, setup: Vec<String>, routes: Vec<Route>, keep: impl Any) -> Result<Self> {
        let mut servers = Vec::new();
        let mut done: Vec<String> = Vec::new();
        for route in &routes {
            for place in [&route.client, &route.server] {
                regime::prepare(place);
            }
            if !done.contains(&route.server.path()) {
                done.push(route.server.path());
                servers.extend(serve(&route.server)?);
            }
        }
        Ok(Self { key, setup, routes, _servers: servers, _keep: Box::new(keep) })
    }
}

/// Starts all that a server serves.
pub fn serve(place: &Place) -> Result<[Process; 2]> {
    let core = regime::server_core().to_string();
    let load = binary("netd-load");
    let mut server = place.start([load.as_os_str(), "serve".as_ref(), core.as_ref()]);
    if server.line() != "ready" {
        bail!("the server did not start: {}", server.finish());
    }
    // What it prints after each run would fill a pipe that nobody reads.
    let script = format!("exec taskset -c {core} iperf3 -s -p {} >/dev/null 2>&1", Service::Bulk.port());
    let bulk = place.start(["sh", "-c", &script]);
    // proc(5): the local port in hexadecimal, and the state 0A, LISTEN. Asking by dialling would count as a client.
    let listening = format!(":{:04X} ", Service::Bulk.port());
    let is_there = || {
        let read = |name: &str| std::fs::read_to_string(format!("/proc/thread-self/net/{name}")).unwrap_or_default();
        place.run(|| read("tcp") + &read("tcp6")).lines().any(|line| line.contains(&listening) && line.contains(" 0A "))
    };
    if !holds_within(seconds(5), is_there) {
        bail!("iperf3 does not listen");
    }
    Ok([server, bulk])
}
