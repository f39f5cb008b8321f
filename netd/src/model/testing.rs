//! What do tests ask for?

use super::command::{Command, ContainerSpec, Context, NetworkSpec};
use super::state::State;
use crate::kernel::facts::{NodeFacts, Uplink};
use std::collections::{BTreeMap, BTreeSet};

/// A host with one uplink, 198.18.0.1/24 on eth0.
pub fn facts() -> NodeFacts {
    let address = "198.18.0.1".parse().unwrap();
    NodeFacts {
        uplinks: BTreeMap::from([("eth0".to_owned(), Uplink { mtu: 1500, addresses: BTreeSet::from([address]) })]),
        addresses: BTreeSet::from([address, "127.0.0.1".parse().unwrap()]),
        routed: BTreeSet::from(["198.18.0.0/24".parse().unwrap()]),
    }
}

pub fn context() -> Context {
    Context {
        now: jiff::Timestamp::UNIX_EPOCH,
        entropy: [7; 32],
        facts: facts(),
        host_sockets: BTreeSet::new(),
        namespaces: BTreeSet::new(),
    }
}

/// On the network `bridge`, with nothing special.
pub fn container(name: &str) -> ContainerSpec {
    ContainerSpec {
        name: name.to_owned(),
        networks: Vec::new(),
        ip: None,
        ip6: None,
        mac: None,
        aliases: Vec::new(),
        hostname: None,
        netns: None,
        publish: Vec::new(),
        dns: Vec::new(),
        labels: BTreeMap::new(),
    }
}

/// With an automatic subnet.
pub fn network(name: &str) -> NetworkSpec {
    NetworkSpec {
        name: name.to_owned(),
        subnets: Vec::new(),
        gateways: Vec::new(),
        ip_ranges: Vec::new(),
        aux_addresses: BTreeMap::new(),
        internal: false,
        no_icc: false,
        no_masquerade: false,
        mtu: None,
        labels: BTreeMap::new(),
        options: BTreeMap::new(),
    }
}

pub fn publish(name: &str, specs: &[&str]) -> Command {
    Command::Publish { container: name.to_owned(), ports: specs.iter().map(|spec| spec.parse().unwrap()).collect() }
}

/// The built-in networks, and a container `web` and a container `client` on `bridge`.
pub fn state() -> State {
    let mut state = State::default();
    for command in [
        Command::InstallBuiltins,
        Command::CreateContainer(container("web")),
        Command::CreateContainer(container("client")),
    ] {
        state.apply(&command, &context()).unwrap();
    }
    state
}
