//! What does a Linux bridge do with the rules that Docker writes?
//!
//! The rules are those of Docker 20.10 for its default network and published ports, in its order, loaded at once.

use super::shell::{Peer, feed, sh};
use super::{IPTABLES, NFTABLES};
use crate::contestant::{Contestant, Path, Route, Service};
use crate::regime::MTU;
use anyhow::Result;
use netd_tests::world::{HOST, OUTSIDE, Place, World};
use std::fmt::Write as _;
use std::net::Ipv4Addr;
use std::ops::Range;

/// Where the containers are.
const SUBNET: &str = "172.17.0.0/16";
const GATEWAY: &str = "172.17.0.1";
const WEB: Ipv4Addr = Ipv4Addr::new(172, 17, 0, 2);
/// The host's port of the first of many.
const MANY_FROM: u64 = 20_000;

/// What filters and translates.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rules {
    /// By `iptables`, whatever that is on this machine: what Docker itself would run.
    Iptables,
    /// The same rules, one by one, in one table each of nftables.
    Nftables,
}

/// A published port: its protocol, the host's port and the container's.
type Port = (&'static str, u64, u64);

/// A host whose containers are on a Linux bridge.
pub struct Bridge {
    rules: Rules,
    pub world: World,
    pub web: Place,
    pub client: Place,
    /// Containers that do nothing.
    others: Vec<Place>,
    said: Vec<String>,
}

impl Bridge {
    pub fn new(rules: Rules) -> Result<Self> {
        let tool = match rules {
            Rules::Iptables => Peer::find("iptables", "iptables")?,
            Rules::Nftables => Peer::find("nft", "nftables")?,
        };
        let world = World::without_netd();
        sh(
            &world.host,
            &format!(
                "ip link add docker0 mtu {MTU} type bridge; ip addr add {GATEWAY}/16 dev docker0; ip link set docker0 up
                 echo 1 >/proc/sys/net/ipv4/ip_forward"
            ),
        )?;
        let web = plug(&world.host, 0)?;
        let client = plug(&world.host, 1)?;
        let calls = sh(&world.host, "cat /proc/sys/net/bridge/bridge-nf-call-iptables || echo absent")?;
        let mut bridge = Self { rules, world, web, client, others: Vec::new(), said: Vec::new() };
        let text = bridge.load(0)?;
        bridge.said = vec![
            format!(
                "a Linux bridge docker0 with {GATEWAY}/16; a veth pair for each container, its host end in the bridge"
            ),
            format!(
                "ip_forward=1; bridge-nf-call-iptables={}: {}",
                calls.trim(),
                if calls.trim() == "1" {
                    "frames between containers pass the rules, as on a Docker host"
                } else {
                    "as it is"
                }
            ),
            format!("{}, loaded at once:", Peer::version(&tool, "--version")),
            text,
        ];
        Ok(bridge)
    }

    pub fn contestant(self) -> Result<Contestant> {
        let key = if self.rules == Rules::Iptables { IPTABLES } else { NFTABLES };
        let Self { world, web, client, said, .. } = self;
        let routes = routes(&world, &web, &client, WEB);
        Contestant::new(key, said, routes, world)
    }

    /// The paths of its traffic.
    pub fn routes(&self) -> Vec<Route> {
        routes(&self.world, &self.web, &self.client, WEB)
    }

    /// Has so many further ports published; the rules that hold now.
    pub fn load(&self, many: u64) -> Result<String> {
        let services = Service::ALL.map(|service| {
            (service.protocol(), u64::from(service.port() + crate::contestant::PUBLISHED), u64::from(service.port()))
        });
        // Docker appends: the first to be published is found first, so those that are measured come last.
        let ports: Vec<Port> = (MANY_FROM..MANY_FROM + many).map(|port| ("tcp", port, port)).chain(services).collect();
        let (text, command): (_, &[&str]) = match self.rules {
            Rules::Iptables => (iptables(&ports), &["iptables-restore"]),
            Rules::Nftables => (nftables(&ports), &["nft", "-f", "-"]),
        };
        feed(&self.world.host, command, &text)?;
        Ok(text)
    }

    /// Plugs in containers that do nothing, until there are so many in all.
    pub fn grow(&mut self, containers: u64) -> Result<()> {
        let missing: Range<u64> = self.others.len() as u64 + 2..containers;
        for number in missing {
            self.others.push(plug(&self.world.host, number)?);
        }
        Ok(())
    }
}

/// The three paths that rules alone make; 127.0.0.1 is docker-proxy's.
fn routes(world: &World, web: &Place, client: &Place, ip: Ipv4Addr) -> Vec<Route> {
    vec![
        Route::new(Path::SameHost, client, web, ip),
        Route::new(Path::Published, &world.outside, web, HOST),
        Route::new(Path::Outbound, client, &world.outside, OUTSIDE),
        Route::new(Path::Direct, &world.host, web, ip),
    ]
}

/// Plugs the container of this number into the bridge.
fn plug(host: &Place, number: u64) -> Result<Place> {
    let place = Place::new(&format!("container{number}"), None);
    let link = format!(
        "ip link add veth{number} mtu {MTU} type veth peer name eth0 mtu {MTU} netns {}
         ip link set veth{number} master docker0 up",
        place.path()
    );
    sh(host, &link)?;
    let ip = u32::from(WEB) + u32::try_from(number)?;
    sh(
        &place,
        &format!(
            "ip addr add {}/16 dev eth0; ip link set eth0 up; ip route add default via {GATEWAY}",
            Ipv4Addr::from(ip)
        ),
    )?;
    Ok(place)
}

fn iptables(ports: &[Port]) -> String {
    let mut nat = format!(
        "*nat\n:PREROUTING ACCEPT\n:INPUT ACCEPT\n:OUTPUT ACCEPT\n:POSTROUTING ACCEPT\n:DOCKER -\n\
         -A PREROUTING -m addrtype --dst-type LOCAL -j DOCKER\n\
         -A OUTPUT ! -d 127.0.0.0/8 -m addrtype --dst-type LOCAL -j DOCKER\n\
         -A POSTROUTING -s {SUBNET} ! -o docker0 -j MASQUERADE\n"
    );
    let mut filter = "*filter\n:INPUT ACCEPT\n:FORWARD DROP\n:OUTPUT ACCEPT\n:DOCKER -\n:DOCKER-ISOLATION-STAGE-1 -\n\
         :DOCKER-ISOLATION-STAGE-2 -\n:DOCKER-USER -\n\
         -A FORWARD -j DOCKER-USER\n-A FORWARD -j DOCKER-ISOLATION-STAGE-1\n\
         -A FORWARD -o docker0 -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT\n\
         -A FORWARD -o docker0 -j DOCKER\n-A FORWARD -i docker0 ! -o docker0 -j ACCEPT\n\
         -A FORWARD -i docker0 -o docker0 -j ACCEPT\n"
        .to_owned();
    let mut translations = "-A DOCKER -i docker0 -j RETURN\n".to_owned();
    for (protocol, port, to) in ports {
        let is = format!("-p {protocol} -m {protocol} --dport");
        let _ = writeln!(nat, "-A POSTROUTING -s {WEB}/32 -d {WEB}/32 {is} {to} -j MASQUERADE");
        let _ = writeln!(translations, "-A DOCKER ! -i docker0 {is} {port} -j DNAT --to-destination {WEB}:{to}");
        let _ = writeln!(filter, "-A DOCKER -d {WEB}/32 ! -i docker0 -o docker0 {is} {to} -j ACCEPT");
    }
    filter.push_str(
        "-A DOCKER-ISOLATION-STAGE-1 -i docker0 ! -o docker0 -j DOCKER-ISOLATION-STAGE-2\n\
         -A DOCKER-ISOLATION-STAGE-1 -j RETURN\n-A DOCKER-ISOLATION-STAGE-2 -o docker0 -j DROP\n\
         -A DOCKER-ISOLATION-STAGE-2 -j RETURN\n-A DOCKER-USER -j RETURN\nCOMMIT\n",
    );
    format!("{nat}{translations}COMMIT\n{filter}")
}

fn nftables(ports: &[Port]) -> String {
    let (mut hairpins, mut translations, mut accepts) = (String::new(), String::new(), String::new());
    for (protocol, port, to) in ports {
        let _ = writeln!(hairpins, "    ip saddr {WEB} ip daddr {WEB} {protocol} dport {to} masquerade");
        let _ = writeln!(translations, "    iifname != \"docker0\" {protocol} dport {port} dnat to {WEB}:{to}");
        let _ = writeln!(
            accepts,
            "    ip daddr {WEB} iifname != \"docker0\" oifname \"docker0\" {protocol} dport {to} accept"
        );
    }
    format!(
        r#"flush ruleset
table ip nat {{
  chain DOCKER {{
    iifname "docker0" return
{translations}  }}
  chain PREROUTING {{
    type nat hook prerouting priority dstnat; policy accept;
    fib daddr type local jump DOCKER
  }}
  chain OUTPUT {{
    type nat hook output priority -100; policy accept;
    ip daddr != 127.0.0.0/8 fib daddr type local jump DOCKER
  }}
  chain POSTROUTING {{
    type nat hook postrouting priority srcnat; policy accept;
    ip saddr {SUBNET} oifname != "docker0" masquerade
{hairpins}  }}
}}
table ip filter {{
  chain DOCKER-USER {{
    return
  }}
  chain DOCKER-ISOLATION-STAGE-2 {{
    oifname "docker0" drop
    return
  }}
  chain DOCKER-ISOLATION-STAGE-1 {{
    iifname "docker0" oifname != "docker0" jump DOCKER-ISOLATION-STAGE-2
    return
  }}
  chain DOCKER {{
{accepts}  }}
  chain FORWARD {{
    type filter hook forward priority filter; policy drop;
    jump DOCKER-USER
    jump DOCKER-ISOLATION-STAGE-1
    oifname "docker0" ct state related,established accept
    oifname "docker0" jump DOCKER
    iifname "docker0" oifname != "docker0" accept
    iifname "docker0" oifname "docker0" accept
  }}
}}
"#
    )
}
