//! What do tests ask for?

use super::attach::Attach;
use super::command::{Command, ContainerSpec, Context, NamespaceAt, NetworkSpec, Unblock, Unpublish};
use super::prefix::Prefix;
use super::state::State;
use crate::model::node::{Interface, Ipv6, NodeFacts, Uplink};
use crate::model::state::Driver;
use proptest::prelude::*;
use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

/// A host with one uplink, 198.18.0.1/24 on eth0, and another interface, lan0.
pub fn facts() -> NodeFacts {
    let address = "198.18.0.1".parse().unwrap();
    NodeFacts {
        uplinks: BTreeMap::from([(
            "eth0".to_owned(),
            Uplink { mtu: 1500, addresses: BTreeSet::from([address]), gateway6: None },
        )]),
        addresses: BTreeSet::from([address, "127.0.0.1".parse().unwrap()]),
        routed: BTreeSet::from(["198.18.0.0/24".parse().unwrap()]),
        ipv6: Ipv6::Available,
        interfaces: BTreeMap::from([
            ("eth0".to_owned(), Interface { mtu: 1500, mac: [2, 0, 0, 0, 0, 1] }),
            ("lan0".to_owned(), Interface { mtu: 1400, mac: [2, 0, 0, 0, 0, 2] }),
        ]),
    }
}

pub fn context() -> Context {
    Context {
        now: jiff::Timestamp::UNIX_EPOCH,
        entropy: [7; 32],
        facts: facts(),
        host_sockets: BTreeSet::new(),
        namespaces: BTreeSet::new(),
        subnet_pools: vec![crate::model::ipam::pool()],
        missing_drivers: BTreeSet::new(),
        given_namespaces: ["/run/netns/x", "/run/theirs"].map(|path| (path.into(), NamespaceAt::Other)).into(),
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
        expose: Vec::new(),
        publish_all: false,
        router: false,
        dns: Vec::new(),
        dns_search: Vec::new(),
        dns_options: Vec::new(),
        extra_hosts: Vec::new(),
        labels: BTreeMap::new(),
    }
}

/// With an automatic subnet.
pub fn network(name: &str) -> NetworkSpec {
    NetworkSpec {
        name: name.to_owned(),
        driver: Driver::Bridge,
        parent: None,
        subnets: Vec::new(),
        ipv6: false,
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

/// On the wire of `parent`.
pub fn on_parent(name: &str, driver: Driver, parent: &str, subnet: &str, options: &[(&str, &str)]) -> NetworkSpec {
    NetworkSpec {
        driver,
        parent: Some(parent.to_owned()),
        subnets: vec![subnet.parse().unwrap()],
        options: options.iter().map(|&(key, value)| (key.to_owned(), value.to_owned())).collect(),
        ..network(name)
    }
}

pub fn publish(name: &str, specs: &[&str]) -> Command {
    publish_to(name, specs, &[])
}

/// As [`publish`], open to these clients alone.
pub fn publish_to(name: &str, specs: &[&str], allow: &[&str]) -> Command {
    let ports = specs.iter().map(|spec| spec.parse().unwrap()).collect();
    Command::Publish { container: name.to_owned(), ports, allow: prefixes(allow) }
}

pub fn block(texts: &[&str]) -> Command {
    Command::Block(prefixes(texts))
}

pub fn unblock(texts: &[&str]) -> Command {
    Command::Unblock(Unblock::Prefixes(prefixes(texts)))
}

pub fn prefixes(texts: &[&str]) -> BTreeSet<Prefix> {
    texts.iter().map(|text| text.parse().unwrap()).collect()
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

/// Among few names, addresses and ports, so that they meet.
pub fn any_command() -> impl Strategy<Value = Command> {
    let name = || (0..6_u8).prop_map(|n| format!("c{n}"));
    let names = ["bridge", "n0", "n1", "n2", "none"];
    let net = move || prop::sample::select(names.to_vec()).prop_map(str::to_owned);
    let subnets = || {
        let one = |text: &str| Just(vec![text.parse().unwrap()]);
        prop_oneof![Just(Vec::new()), one("10.9.0.0/29"), one("fd09::/125"), one("fd10::/64")]
    };
    let spec = || {
        let ip = prop_oneof![
            Just(""),
            Just("0.0.0.0:"),
            Just("127.0.0.1:"),
            Just("198.18.0.1:"),
            Just("[::]:"),
            Just("[::1]:"),
        ];
        (ip, 0..4_u16, 1..4_u16).prop_map(|(ip, host, port)| format!("{ip}{host}:{port}").parse().unwrap())
    };
    let prefix = || {
        let texts = ["0.0.0.0/0", "10.0.0.0/8", "10.1.0.0/16", "198.18.0.7", "::/0", "2001:db8::/32"];
        prop::sample::select(texts.to_vec()).prop_map(|text| text.parse().unwrap())
    };
    prop_oneof![
        (name(), prop::collection::vec(net(), 0..3), any::<Option<u8>>(), prop::collection::vec(spec(), 0..2))
            .prop_map(|(name, networks, ip, publish)| {
                let ip = ip.map(|last| IpAddr::from([10, 208, 0, last % 8]));
                let networks = networks.iter().map(|network| network.as_str().into()).collect();
                Command::CreateContainer(ContainerSpec { networks, ip, publish, ..container(&name) })
            }),
        prop::collection::vec(name(), 1..3).prop_map(Command::RemoveContainers),
        prop::collection::vec(name(), 1..3).prop_map(Command::PruneContainers),
        (net(), subnets(), any::<bool>(), any::<bool>()).prop_map(|(name, subnets, ipv6, internal)| {
            Command::CreateNetwork(NetworkSpec { subnets, ipv6, internal, ..network(&name) })
        }),
        // Often on one wire.
        (0..3_u8, any::<bool>(), any::<bool>()).prop_map(|(number, is_alone, shares_mac)| {
            let parent = if is_alone { "lan0" } else { "lan0.20" };
            let driver = if is_alone && shares_mac { Driver::Ipvlan } else { Driver::Macvlan };
            let subnet = format!("10.7.{number}.0/24");
            Command::CreateNetwork(on_parent(&format!("n{number}"), driver, parent, &subnet, &[]))
        }),
        net().prop_map(|name| Command::RemoveNetworks(vec![name])),
        Just(Command::PruneNetworks(Vec::new())),
        (name(), net(), -1..2_i32).prop_map(|(container, network, gw_priority)| {
            Command::Connect { container, attach: Attach { gw_priority, ..Attach::to(&network) } }
        }),
        (name(), net()).prop_map(|(container, network)| Command::Disconnect { container, network }),
        (name(), name()).prop_map(|(name, other)| {
            let networks = vec![Attach::to(&format!("container:{other}"))];
            Command::CreateContainer(ContainerSpec { networks, ..container(&name) })
        }),
        (name(), prop::collection::vec(spec(), 1..3), prop::collection::btree_set(prefix(), 0..3))
            .prop_map(|(container, ports, allow)| Command::Publish { container, ports, allow }),
        prop::collection::btree_set(prefix(), 0..3).prop_map(Command::Block),
        prop::collection::btree_set(prefix(), 0..2).prop_map(|prefixes| Command::Unblock(Unblock::Prefixes(prefixes))),
        Just(Command::Unblock(Unblock::All)),
        (name(), prop::collection::vec(spec(), 1..3))
            .prop_map(|(container, ports)| Command::Unpublish { container, ports: Unpublish::Ports(ports) }),
    ]
}
