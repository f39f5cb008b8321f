//! What is this node?

use ipnetwork::IpNetwork;
use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

/// What was probed of the host's network namespace. netd's own links, routes and gateway addresses are not in it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NodeFacts {
    /// The interfaces of the default routes, or those that the configuration names; by name.
    pub uplinks: BTreeMap<String, Uplink>,
    /// Every address of the host, loopback included, without netd's gateways.
    pub addresses: BTreeSet<IpAddr>,
    /// Every prefix that the host routes somewhere else, without the default routes: no automatic subnet may overlap it.
    pub routed: BTreeSet<IpNetwork>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Uplink {
    /// Bytes.
    pub mtu: u32,
    pub addresses: BTreeSet<IpAddr>,
}
