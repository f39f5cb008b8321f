//! What does netd remember?

use super::exposed::Exposed;
use super::family::Family;
pub use super::mac::Mac;
use super::naming::{ExtraHost, ResolverOption, SearchDomain};
use super::parent::Parent;
use super::prefix::Prefixes;
use ipnetwork::IpNetwork;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::Arc;

/// Bytes: the least that IPv6 allows (RFC 8200 section 5). Linux has no IPv6 on an interface that takes less.
pub const MTU_MIN_V6: u32 = 1280;

/// Networks that one container is on at most; a further one is refused. Each is an interface and a look at it.
pub const NETWORKS_MAX: usize = 256;

/// Prefix length of link-local IPv6 addresses (RFC 4291 section 2.5.6).
const LINK_LOCAL_PREFIX: u8 = 64;

/// All that the user asked for and all that was handed out. The kernel's whole content follows from it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct State {
    /// Counts the commands that changed something; what a client waits for.
    pub revision: u64,
    /// The next unused endpoint number; numbers are never used twice.
    pub next_endpoint: u32,
    /// The next unused network number; numbers are never used twice.
    pub next_network: u32,
    /// The next unused number of an allow list; numbers are never used twice.
    pub next_allow_list: u32,
    /// Shared between states, as containers and ports: a copy of a state copies what it changes, and what is the same is known to
    /// be so without being read.
    pub networks: BTreeMap<String, Arc<Network>>,
    pub containers: BTreeMap<String, Arc<Container>>,
    pub publishes: BTreeMap<PublishKey, Arc<Publish>>,
    /// The clients that published ports are open to, by the number that [`Publish::allow`] names. What is on a list never
    /// changes: a port that is opened to others gets another list, so there is no moment at which it has parts of both.
    /// Lists that no port names are not here.
    pub allow_lists: BTreeMap<u32, Prefixes>,
    /// Sources whose packets are dropped at the uplinks.
    pub blocked: Prefixes,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Driver {
    #[default]
    /// Containers switched by the programs, and reached through this host.
    Bridge,
    /// Containers on the wire of an interface of the host, each with a MAC address of its own.
    Macvlan,
    /// The same, with the MAC address of the interface.
    Ipvlan,
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
    /// Only and always of the drivers macvlan and ipvlan.
    #[serde(default)]
    pub parent: Option<Parent>,
    /// At most one of each family, IPv4's first.
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
    /// The container whose namespace it shares; only of mode [`Mode::Container`].
    #[serde(default)]
    pub shares: Option<Shared>,
    /// Forwards packets between its networks, and so sends what is from others.
    #[serde(default)]
    pub router: bool,
    /// The ports that it says it answers at.
    #[serde(default)]
    pub exposed: BTreeSet<Exposed>,
    pub hostname: String,
    /// Servers that what is asked for others is forwarded to; empty: the host's.
    pub dns: Vec<IpAddr>,
    /// Empty: the host's.
    #[serde(default)]
    pub dns_search: Vec<SearchDomain>,
    /// Empty: the host's.
    #[serde(default)]
    pub dns_options: Vec<ResolverOption>,
    #[serde(default)]
    pub extra_hosts: Vec<ExtraHost>,
    pub labels: BTreeMap<String, String>,
    /// RFC 3339.
    pub created: jiff::Timestamp,
    /// In the order in which the networks were joined.
    pub endpoints: Vec<Endpoint>,
}

/// The container whose namespace another shares: that one, and no later one of its name.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Shared {
    pub name: String,
    pub id: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Mode {
    Bridge,
    Host,
    None,
    /// In another container's namespace: see [`Container::shares`].
    Container,
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
    /// Decides between networks that lead outside: see [`State::way_out`].
    #[serde(default)]
    pub gw_priority: i32,
}

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
    /// At every IPv6 address too: no address of the host was named. Only where the key's is `0.0.0.0`.
    #[serde(default)]
    pub ipv6: bool,
    /// The list in [`State::allow_lists`] that a client must be on; 0: everybody may.
    #[serde(default)]
    pub allow: u32,
}

impl Publish {
    /// Whether the port leads to this port of this container, whoever may come.
    #[must_use]
    pub fn leads_to(&self, container: &str, container_port: u16) -> bool {
        self.container == container && self.container_port == container_port
    }
}

impl State {
    /// The endpoint that has a container's default route of a family, with its address: of those that lead outside the one
    /// with the highest priority, and of several the one that was joined first.
    #[must_use]
    pub fn way_out<'a>(&self, container: &'a Container, family: Family) -> Option<(&'a Endpoint, IpAddr)> {
        let outside =
            |endpoint: &&Endpoint| self.networks.get(&endpoint.network).is_some_and(|network| network.is_outside());
        let leading = container.endpoints.iter().filter(outside);
        // Backwards, since of several that are equal the last counts as the greatest.
        leading
            .rev()
            .filter_map(|endpoint| Some((endpoint, endpoint.address(family)?)))
            .max_by_key(|(endpoint, _)| endpoint.gw_priority)
    }

    /// The container whose namespace another shares, while that lives.
    #[must_use]
    pub fn shared(&self, shared: &Shared) -> Option<&Container> {
        self.containers.get(&shared.name).map(Arc::as_ref).filter(|container| container.id == shared.id)
    }
}

impl Network {
    /// Whether its containers reach the outside, and are reached from it.
    #[must_use]
    pub const fn is_outside(&self) -> bool {
        !self.internal
    }

    /// Whether ports of the host can lead to its containers: those are reached by the programs alone.
    #[must_use]
    pub fn is_published(&self) -> bool {
        self.driver == Driver::Bridge && self.is_outside()
    }

    /// Its subnet of this family.
    #[must_use]
    pub fn subnet(&self, family: Family) -> Option<&Subnet> {
        self.subnets.iter().find(|subnet| Family::of(subnet.gateway) == family)
    }

    /// What its gateway answers with: made of its IPv4 address, or, where it has none, of the network's number.
    #[must_use]
    pub fn gateway_mac(&self) -> Mac {
        match self.subnet(Family::V4).map(|subnet| subnet.gateway) {
            Some(IpAddr::V4(gateway)) => Mac::of(gateway),
            Some(IpAddr::V6(_)) | None => Mac::of_network(self.number),
        }
    }

    /// What its containers' links carry at most, in bytes; `of_uplinks` is what the uplinks do, `of_parent` what its parent
    /// does. The kernel lets none carry more than its parent.
    #[must_use]
    pub fn mtu(&self, of_uplinks: u32, of_parent: Option<u32>) -> u32 {
        if let Some(most) = of_parent {
            return self.mtu.unwrap_or(most).min(most);
        }
        let least = if self.subnet(Family::V6).is_some() { MTU_MIN_V6 } else { 0 };
        self.mtu.unwrap_or(of_uplinks.max(least))
    }
}

impl Container {
    /// Whether it lives in a namespace that netd makes for it.
    #[must_use]
    pub fn has_made_namespace(&self) -> bool {
        match self.mode {
            Mode::Bridge | Mode::None => self.netns.is_none(),
            Mode::Host | Mode::Container => false,
        }
    }
}

impl Endpoint {
    /// Its addresses on the network, without the link-local one.
    pub fn addresses(&self) -> impl Iterator<Item = IpAddr> {
        [self.ipv4, self.ipv6].into_iter().flatten().map(|address| address.ip())
    }

    /// The address that its interface has on a network with IPv6, beside the network's.
    #[must_use]
    pub fn link_local(&self) -> Option<IpNetwork> {
        IpNetwork::new(self.mac.link_local().into(), LINK_LOCAL_PREFIX).ok()
    }

    #[must_use]
    pub fn address(&self, family: Family) -> Option<IpAddr> {
        self.addresses().find(|address| Family::of(*address) == family)
    }
}
