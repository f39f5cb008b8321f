//! What does netd remember?

use ipnetwork::IpNetwork;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::PathBuf;

/// All that the user asked for and all that was handed out. The kernel's whole content follows from it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct State {
    /// Counts the commands that changed something; what a client waits for.
    pub revision: u64,
    /// The next unused endpoint number; numbers are never used twice.
    pub next_endpoint: u32,
    /// The next unused network number; numbers are never used twice.
    pub next_network: u32,
    pub networks: BTreeMap<String, Network>,
    pub containers: BTreeMap<String, Container>,
    pub publishes: BTreeMap<PublishKey, Publish>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Driver {
    /// Containers switched by the programs, and reached through this host.
    Bridge,
    /// The host's own network namespace.
    Host,
    /// No network.
    None,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Network {
    /// The number that map keys carry, from 1.
    pub number: u32,
    pub name: String,
    /// 64 hexadecimal digits.
    pub id: String,
    pub driver: Driver,
    pub subnets: Vec<Subnet>,
    /// No way to the outside.
    pub internal: bool,
    /// Whether containers on it may talk to each other.
    pub icc: bool,
    /// Whether packets to the outside take the host's address.
    pub masquerade: bool,
    /// Bytes; none: that of the uplink.
    pub mtu: Option<u32>,
    pub labels: BTreeMap<String, String>,
    pub options: BTreeMap<String, String>,
    /// RFC 3339.
    pub created: jiff::Timestamp,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Subnet {
    pub subnet: IpNetwork,
    pub gateway: IpAddr,
    /// Where addresses are handed out from; none: the whole subnet.
    pub ip_range: Option<IpNetwork>,
    /// Addresses that somebody else has, by name; never handed out.
    pub aux_addresses: BTreeMap<String, IpAddr>,
    /// The address handed out last: the search for the next one starts behind it, so that a freed address rests.
    pub last: Option<IpAddr>,
}

/// A network sandbox: a namespace.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Container {
    pub name: String,
    /// 64 hexadecimal digits.
    pub id: String,
    pub mode: Mode,
    /// Somebody else's namespace that it lives in; none: netd makes one, named after the container.
    pub netns: Option<PathBuf>,
    pub hostname: String,
    pub dns: Vec<IpAddr>,
    pub labels: BTreeMap<String, String>,
    /// RFC 3339.
    pub created: jiff::Timestamp,
    /// In the order of their interfaces: `eth0`, `eth1`, ….
    pub endpoints: Vec<Endpoint>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Mode {
    Bridge,
    Host,
    None,
}

/// One container on one network.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Endpoint {
    /// Never used twice: see [`State::next_endpoint`].
    pub number: u32,
    pub network: String,
    /// Name inside the container, such as `eth0`.
    pub interface: String,
    /// Name on the host, `nd` and the endpoint's number in hexadecimal: unique and at most 10 bytes.
    pub host_interface: String,
    pub mac: Mac,
    /// Address with the network's prefix length.
    pub ipv4: Option<IpNetwork>,
    pub ipv6: Option<IpNetwork>,
    pub aliases: Vec<String>,
}

/// A MAC address (EUI-48). Text and JSON: six lower-case hexadecimal bytes with colons.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Mac(pub [u8; 6]);

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Protocol {
    Tcp,
    Udp,
    Sctp,
}

/// What a published port is known by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PublishKey {
    /// An address of the host, `0.0.0.0` or `::`.
    pub host_ip: IpAddr,
    pub protocol: Protocol,
    pub host_port: u16,
}

/// A port of the host at which a container's port answers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Publish {
    pub container: String,
    pub container_port: u16,
}

impl std::fmt::Display for Mac {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let [a, b, c, d, e, g] = self.0;
        write!(f, "{a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{g:02x}")
    }
}

impl std::fmt::Debug for Mac {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        std::fmt::Display::fmt(self, f)
    }
}

impl std::str::FromStr for Mac {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let refused =
            || format!("\"{text}\" is not a MAC address; write six hexadecimal bytes, such as 02:00:0a:d0:00:02");
        let mut bytes = [0; 6];
        let mut parts = text.split(':');
        for byte in &mut bytes {
            let part = parts.next().filter(|part| part.len() == 2).ok_or_else(refused)?;
            *byte = u8::from_str_radix(part, 16).map_err(|_| refused())?;
        }
        if parts.next().is_some() { Err(refused()) } else { Ok(Self(bytes)) }
    }
}

impl Serialize for Mac {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Mac {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}
