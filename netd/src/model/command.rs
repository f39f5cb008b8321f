//! What can be asked of netd, and what is refused?

use super::attach::Attach;
use super::exposed::Exposed;
use super::filter::Filter;
use super::naming::{ExtraHost, ResolverOption, SearchDomain};
use super::node::NodeFacts;
use super::parent::LinkDriver;
use super::port_map::PortMap;
use super::prefix::Prefix;
pub use super::refusal::Refusal;
use super::state::{Driver, Mac, Protocol};
use ipnetwork::IpNetwork;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::path::PathBuf;

/// One change of intent. Carried out whole or refused whole.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Command {
    /// Makes the built-in networks `bridge`, `host` and `none` where they are missing.
    InstallBuiltins,
    CreateNetwork(NetworkSpec),
    RemoveNetworks(Vec<String>),
    /// Removes the networks that no container is on and that all filters hold for; never a built-in one.
    PruneNetworks(Vec<Filter>),
    CreateContainer(ContainerSpec),
    RemoveContainers(Vec<String>),
    /// Removes the containers whose own namespace is gone, as the caller found.
    PruneContainers(Vec<String>),
    /// Plugs a container into a network.
    Connect {
        container: String,
        attach: Attach,
    },
    Disconnect {
        container: String,
        network: String,
    },
    Publish {
        container: String,
        ports: Vec<PortMap>,
        /// The clients that these ports are open to, also where they are published already; empty: everybody.
        allow: BTreeSet<Prefix>,
    },
    Unpublish {
        container: String,
        ports: Unpublish,
    },
    /// Drops what these send, at the uplinks.
    Block(BTreeSet<Prefix>),
    Unblock(Unblock),
    /// These, one after the other: all of them or none.
    All(Vec<Self>),
}

impl Command {
    /// What it asks for: itself, or what is in it.
    pub fn each(&self) -> Box<dyn Iterator<Item = &Self> + '_> {
        match self {
            Self::All(commands) => Box::new(commands.iter().flat_map(Self::each)),
            one => Box::new(std::iter::once(one)),
        }
    }

    /// Whether it may publish a port of the host, of itself: of several at once, ask each.
    #[must_use]
    pub fn publishes(&self) -> bool {
        match self {
            Self::Publish { .. } => true,
            Self::CreateContainer(spec) => spec.publish_all || !spec.publish.is_empty(),
            Self::InstallBuiltins
            | Self::CreateNetwork(_)
            | Self::RemoveNetworks(_)
            | Self::PruneNetworks(_)
            | Self::RemoveContainers(_)
            | Self::PruneContainers(_)
            | Self::Connect { .. }
            | Self::Disconnect { .. }
            | Self::Unpublish { .. }
            | Self::Block(_)
            | Self::Unblock(_)
            | Self::All(_) => false,
        }
    }

    /// What it is about, for whoever asked for several at once.
    #[must_use]
    pub fn about(&self) -> String {
        let named = |kind: &str, names: &[String]| format!("{kind} {}", names.join(", "));
        match self {
            Self::CreateNetwork(NetworkSpec { name, .. }) => format!("network {name}"),
            Self::RemoveNetworks(names) => named("network", names),
            Self::RemoveContainers(names) | Self::PruneContainers(names) => named("container", names),
            Self::CreateContainer(ContainerSpec { name: container, .. })
            | Self::Connect { container, .. }
            | Self::Disconnect { container, .. } => format!("container {container}"),
            Self::Publish { container, .. } | Self::Unpublish { container, .. } => format!("ports of {container}"),
            Self::InstallBuiltins | Self::PruneNetworks(_) => "networks".to_owned(),
            Self::Block(_) | Self::Unblock(_) => "the block list".to_owned(),
            Self::All(_) => "changes".to_owned(),
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Unblock {
    All,
    Prefixes(BTreeSet<Prefix>),
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Unpublish {
    All,
    Ports(Vec<PortMap>),
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ContainerSpec {
    pub name: String,
    /// Networks to join, `host`, `none` or `container:OTHER`. Empty: `bridge`.
    #[serde(default)]
    pub networks: Vec<Attach>,
    /// This and the next two are for the first network.
    #[serde(default)]
    pub ip: Option<IpAddr>,
    #[serde(default)]
    pub ip6: Option<IpAddr>,
    #[serde(default)]
    pub mac: Option<Mac>,
    /// On every network.
    #[serde(default)]
    pub aliases: Vec<String>,
    #[serde(default)]
    pub hostname: Option<String>,
    #[serde(default)]
    pub netns: Option<PathBuf>,
    #[serde(default)]
    pub publish: Vec<PortMap>,
    #[serde(default)]
    pub expose: Vec<Exposed>,
    /// Publishes what is exposed, at ports that netd picks.
    #[serde(default)]
    pub publish_all: bool,
    /// Forwards packets between its networks.
    #[serde(default)]
    pub router: bool,
    #[serde(default)]
    pub dns: Vec<IpAddr>,
    /// Empty: those of the host.
    #[serde(default)]
    pub dns_search: Vec<SearchDomain>,
    /// Empty: those of the host.
    #[serde(default)]
    pub dns_options: Vec<ResolverOption>,
    #[serde(default)]
    pub extra_hosts: Vec<ExtraHost>,
    #[serde(default)]
    pub labels: BTreeMap<String, String>,
}

#[expect(clippy::struct_excessive_bools, reason = "what a user may ask for, each independent of the others")]
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NetworkSpec {
    pub name: String,
    /// Bridge, macvlan or ipvlan.
    #[serde(default)]
    pub driver: Driver,
    /// The interface of the host on whose wire the containers are, of macvlan and ipvlan; one like `eth0.20` is made where
    /// it is missing.
    #[serde(default)]
    pub parent: Option<String>,
    /// At most one of each family. None of IPv4: an automatic /24, unless all that is asked for is one of IPv6.
    #[serde(default)]
    pub subnets: Vec<IpNetwork>,
    /// IPv6 beside IPv4: an automatic /64, unless `subnets` names one.
    #[serde(default)]
    pub ipv6: bool,
    #[serde(default)]
    pub gateways: Vec<IpAddr>,
    #[serde(default)]
    pub ip_ranges: Vec<IpNetwork>,
    #[serde(default)]
    pub aux_addresses: BTreeMap<String, IpAddr>,
    #[serde(default)]
    pub internal: bool,
    /// Turns inter-container communication off.
    #[serde(default)]
    pub no_icc: bool,
    #[serde(default)]
    pub no_masquerade: bool,
    #[serde(default)]
    pub mtu: Option<u32>,
    #[serde(default)]
    pub labels: BTreeMap<String, String>,
    #[serde(default)]
    pub options: BTreeMap<String, String>,
}

/// What a command is judged by, beside the state: all that is not pure, passed in.
#[derive(Clone, Debug)]
pub struct Context {
    pub now: jiff::Timestamp,
    /// Fresh randomness: identifiers are made of it.
    pub entropy: [u8; 32],
    pub facts: NodeFacts,
    /// What the host's own sockets are bound to, and so cannot be published.
    pub host_sockets: BTreeSet<HostSocket>,
    /// Namespace files that stand in the netns folder already: such names are not taken over.
    pub namespaces: BTreeSet<String>,
    /// Where automatic IPv4 subnets come from, in this order.
    pub subnet_pools: Vec<IpNetwork>,
    /// Of the drivers that the command needs, those that the kernel lacks.
    pub missing_drivers: BTreeSet<LinkDriver>,
    /// What stands at the paths of the containers' `--netns`; at others: no network namespace.
    pub given_namespaces: BTreeMap<PathBuf, NamespaceAt>,
}

/// What stands at a path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NamespaceAt {
    /// A network namespace.
    Other,
    /// The host's own network namespace.
    Host,
    /// No network namespace.
    Nothing,
}

/// A socket of the host that would answer at a port: a TCP listener or a bound UDP socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct HostSocket {
    pub protocol: Protocol,
    pub port: u16,
    /// `0.0.0.0` or `::` when it is bound to every address.
    pub address: IpAddr,
    /// Inode of the socket, by which its process can be found.
    pub inode: u32,
    /// Of one that is bound to `::`: it is not there for IPv4 too (`IPV6_V6ONLY`, RFC 3493 section 5.3).
    pub ipv6_only: bool,
}
