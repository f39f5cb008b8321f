//! What is this node?

use ipnetwork::IpNetwork;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::net::{IpAddr, Ipv6Addr};

/// What was probed of the host's network namespace. netd's own links, routes and gateway addresses are not in it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NodeFacts {
    /// The interfaces of the default routes, or those that the configuration names; by name.
    pub uplinks: BTreeMap<String, Uplink>,
    /// Every address of the host, loopback included, without netd's gateways.
    pub addresses: BTreeSet<IpAddr>,
    /// Every prefix that the host routes somewhere else, without the default routes: no automatic subnet may overlap it.
    pub routed: BTreeSet<IpNetwork>,
    pub ipv6: Ipv6,
    /// The Ethernet interfaces, without netd's own: what networks may have as their parent.
    pub interfaces: BTreeMap<String, Interface>,
}

/// Whether the host can carry IPv6.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Ipv6 {
    #[default]
    Available,
    /// Switched off on the loopback device, where gateways have their addresses; and so, as a rule, everywhere.
    Disabled,
    /// The kernel has none.
    Absent,
}

impl fmt::Display for Ipv6 {
    /// Why there is none, and what to do.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Available => "this host carries IPv6",
            Self::Disabled => {
                "IPv6 is switched off on this host (net.ipv6.conf.lo.disable_ipv6 is 1); \
                 set net.ipv6.conf.all.disable_ipv6=0, or use IPv4"
            }
            Self::Absent => {
                "this host's kernel has no IPv6 (there is no /proc/sys/net/ipv6); \
                 boot it with IPv6, without ipv6.disable=1, or use IPv4"
            }
        })
    }
}

/// Where an XDP program runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum XdpMode {
    /// In the driver, before there is a packet.
    Native,
    /// Behind the driver, for every driver.
    Generic,
}

impl XdpMode {
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Native => "native",
            Self::Generic => "generic",
        }
    }
}

/// An interface of the host that carries Ethernet frames.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Interface {
    /// Bytes.
    pub mtu: u32,
    pub mac: [u8; 6],
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Uplink {
    /// Bytes.
    pub mtu: u32,
    pub addresses: BTreeSet<IpAddr>,
    /// The gateway of its best IPv6 default route.
    pub gateway6: Option<Ipv6Addr>,
}
