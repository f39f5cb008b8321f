//! What should the kernel contain?
//!
//! The vocabulary is names, not interface indexes: a link may be made again with another index, and its entries must
//! then differ. The kernel adapter translates names to indexes and back. The map entries of one kind are one
//! `BTreeMap`, so that a plan is a comparison of two maps.

use crate::model::parent::Wire;
use crate::model::prefix::Prefixes;
use ipnetwork::IpNetwork;
use netd_common::Addr;
use netd_common::endpoint::{EndpointKey, PoolKey};
use netd_common::flow::Timeouts;
use netd_common::publish::PublishKey;
use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::path::PathBuf;

/// Name of a network interface in the host's namespace, at most 15 bytes.
pub type LinkName = String;

/// The whole of what netd puts in the kernel.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Target {
    /// Namespaces that netd makes, by path (`/run/netns/NAME`).
    pub namespaces: BTreeMap<PathBuf, Sandbox>,
    /// VLAN sub-interfaces that netd makes, by name.
    pub vlans: BTreeMap<LinkName, Vlan>,
    /// What containers have for interfaces: veth pairs, by the name of the host side; and those on the wire of a parent, which
    /// have nothing on the host, by the name that the host side of a pair would have.
    pub links: BTreeMap<LinkName, Link>,
    /// Gateway addresses, on the host's loopback device: so they are the host's own, whatever links come and go.
    pub gateways: BTreeSet<IpAddr>,
    /// Routes of the host's main table.
    pub routes: BTreeMap<IpNetwork, Route>,
    /// Programs on interfaces and on the cgroup.
    pub attachments: BTreeSet<Attachment>,
    /// Attachments that run a former version's program, or run on its maps. Empty in a target.
    pub stale_attachments: BTreeSet<Attachment>,
    pub endpoints: BTreeMap<EndpointKey, EndpointEntry>,
    /// `PORTS_BY_IF`, by link.
    pub ports: BTreeMap<LinkName, Port>,
    pub fdb: BTreeMap<(u32, [u8; 6]), FdbEntry>,
    pub publishes: BTreeMap<PublishKey, netd_common::publish::Publish>,
    /// `ALLOWED`, by list. As a trie can have them: no prefix of IPv6 has v4-mapped addresses.
    pub allowed: BTreeMap<u32, Prefixes>,
    /// `BLOCKED`, as [`Self::allowed`].
    pub blocked: Prefixes,
    pub local_addresses: BTreeSet<Addr>,
    /// `UPLINKS`, by name: the gateway of IPv6, where the programs need it.
    pub uplinks: BTreeMap<LinkName, Addr>,
    /// By network, of those that have their own.
    pub timeouts: BTreeMap<u32, Timeouts>,
    /// `SNAT_POOLS`; a network's indexes of each family run from 0 without a gap.
    pub snat_pools: BTreeMap<PoolKey, Addr>,
    /// Namespaces in which netd listens as the name server of their containers, by path.
    pub names: BTreeSet<PathBuf>,
}

/// A namespace that netd makes. It cannot become another container's, nor be set otherwise: it is made again.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Sandbox {
    /// Identifier of the container.
    pub owner: String,
    /// Whether its stack forwards packets. Set when it is made; what the container sets later is its own business.
    pub forwards: bool,
}

/// A VLAN sub-interface of the host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Vlan {
    /// The interface that it is a VLAN of.
    pub of: LinkName,
    pub id: u16,
    /// Bytes. 0 in what is observed: it is down although `of` is up.
    pub mtu: u32,
}

/// How a container's interface reaches what is outside of its namespace.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LinkKind {
    /// It is one side of a veth pair.
    Veth {
        /// MAC address of the host side: what the network's gateway answers with.
        gateway_mac: [u8; 6],
    },
    /// It is on the wire of an interface of the host.
    OnParent { parent: LinkName, wire: Wire },
}

impl LinkKind {
    /// Whether one can become the other in place.
    #[must_use]
    pub fn is_as(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Veth { .. }, Self::Veth { .. }) => true,
            (Self::OnParent { .. }, Self::OnParent { .. }) => self == other,
            (Self::Veth { .. }, Self::OnParent { .. }) | (Self::OnParent { .. }, Self::Veth { .. }) => false,
        }
    }

    /// The interface on whose wire it is.
    #[must_use]
    pub fn parent(&self) -> Option<&LinkName> {
        match self {
            Self::Veth { .. } => None,
            Self::OnParent { parent, .. } => Some(parent),
        }
    }
}

/// A container's interface and all that stands on it. One value, because the kernel's objects on a link live and die with
/// it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Link {
    /// The namespace that holds the container side, by path.
    pub namespace: PathBuf,
    /// Name of the container side, such as `eth0`.
    pub interface: String,
    pub mac: [u8; 6],
    pub kind: LinkKind,
    /// Bytes, both sides.
    pub mtu: u32,
    /// Addresses of the container side. Others that the container gave itself are left alone.
    pub addresses: BTreeSet<IpNetwork>,
    /// IPv6 is on, on both sides, and the container side listens to no router but the gateway that it is given here.
    pub ipv6: bool,
    /// Gateways of the container's default routes by this link, at most one a family. The unspecified address: everything is
    /// on the link.
    pub default_routes: BTreeSet<IpAddr>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Route {
    /// To one container address, over its link. `source` is what the host's own sockets use towards it: the gateway.
    /// A permanent neighbour entry for the address, with `mac`, belongs to it.
    Endpoint { link: LinkName, source: IpAddr, mac: [u8; 6] },
    /// To a network's subnet: what no endpoint has is unreachable, and never leaves by the host's default route.
    Unreachable,
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Attachment {
    /// TCX ingress of an endpoint's host side.
    ContainerEgress(LinkName),
    /// TCX ingress of an uplink.
    UplinkIngress(LinkName),
    /// TCX egress of an uplink.
    UplinkEgress(LinkName),
    /// XDP of an uplink, while anything is blocked.
    XdpGuard(LinkName),
    /// One of the `sock_addr` programs on the cgroup, by the name of the program.
    SockAddr(&'static str),
}

/// Value of `ENDPOINTS`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EndpointEntry {
    pub link: LinkName,
    pub endpoint: u32,
    /// Flags of [`netd_common::endpoint`].
    pub flags: u32,
    pub mac: [u8; 6],
}

/// Value of `PORTS_BY_IF`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Port {
    pub network: u32,
    pub endpoint: u32,
    /// Flags of [`netd_common::endpoint`].
    pub flags: u32,
    pub ipv4: Addr,
    pub ipv6: Addr,
    pub gateway4: Addr,
    pub gateway6: Addr,
    pub mac: [u8; 6],
    pub gateway_mac: [u8; 6],
    /// How many addresses of each family `snat_pools` has for the network.
    pub pool4: u16,
    pub pool6: u16,
}

/// Value of `FDB`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FdbEntry {
    pub link: LinkName,
    /// Flags of [`netd_common::endpoint`].
    pub flags: u32,
}
