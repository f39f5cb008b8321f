//! What does the kernel have to contain, so that the user has what was asked for?

use super::op::SOCK_ADDR_PROGRAMS;
use super::pool::{Pool, options_of};
use super::target::{Attachment, EndpointEntry, FdbEntry, Link, LinkKind, Port, Route, Sandbox, Target, Vlan};
use crate::model::family::Family;
use crate::model::node::NodeFacts;
use crate::model::parent::{IpvlanMode, Parent, Wire};
use crate::model::state::{Container, Driver, Endpoint, Mode, Network, Protocol, PublishKey, State};
use ipnetwork::IpNetwork;
use netd_common::Addr;
use netd_common::endpoint::{EndpointKey, INTERNAL, ISOLATED, PoolKey, ROUTER, UNMASQUERADED};
use netd_common::publish::{self, Publish};
use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::{Path, PathBuf};

/// Bytes, when neither the network nor an uplink says otherwise: Ethernet's (RFC 894).
const MTU_DEFAULT: u32 = 1500;

/// `netns_dir` is the folder of the namespaces that netd makes, `/run/netns`.
#[must_use]
pub fn lower(state: &State, facts: &NodeFacts, netns_dir: &Path) -> Target {
    let mut target = Target::default();
    lower_node(&mut target, facts);
    let mut pools = BTreeMap::new();
    for network in state.networks.values() {
        lower_network(&mut target, network);
        lower_parent(&mut target, network, facts);
        pools.insert(network.number, lower_options(&mut target, network, facts));
    }
    let mtu = facts.uplinks.values().map(|uplink| uplink.mtu).min().unwrap_or(MTU_DEFAULT);
    for container in state.containers.values() {
        lower_container(&mut target, container, &Surroundings { state, facts, mtu, netns_dir, pools: &pools });
    }
    lower_publishes(&mut target, state);
    lower_sources(&mut target, state);
    target
}

/// What a container stands in.
struct Surroundings<'a> {
    state: &'a State,
    facts: &'a NodeFacts,
    /// Of networks that set none.
    mtu: u32,
    netns_dir: &'a Path,
    /// By network.
    pools: &'a BTreeMap<u32, PoolSizes>,
}

/// How many addresses the SNAT pool of a network has on this node.
#[derive(Clone, Copy, Debug, Default)]
struct PoolSizes {
    ipv4: u16,
    ipv6: u16,
}

fn lower_node(target: &mut Target, facts: &NodeFacts) {
    target.local_addresses.extend(facts.addresses.iter().map(|&address| Addr::from(address)));
    for name in facts.uplinks.keys() {
        target.uplinks.insert(name.clone(), gateway6_of(facts, name));
        target.attachments.insert(Attachment::UplinkIngress(name.clone()));
        target.attachments.insert(Attachment::UplinkEgress(name.clone()));
    }
    target.attachments.extend(SOCK_ADDR_PROGRAMS.map(Attachment::SockAddr));
}

/// The gateway by which an uplink is left in IPv6; none where it is the only one with a default route, whose gateway the
/// kernel finds by itself.
fn gateway6_of(facts: &NodeFacts, uplink: &str) -> Addr {
    let with_one = facts.uplinks.values().filter(|uplink| uplink.gateway6.is_some()).count();
    let own = facts.uplinks.get(uplink).and_then(|uplink| uplink.gateway6);
    own.filter(|_| with_one > 1).map_or(Addr::NONE, |gateway| IpAddr::V6(gateway).into())
}

fn lower_network(target: &mut Target, network: &Network) {
    match network.driver {
        Driver::Bridge => {}
        Driver::Macvlan | Driver::Ipvlan | Driver::Host | Driver::None => return,
    }
    for subnet in &network.subnets {
        target.gateways.insert(subnet.gateway);
        target.local_addresses.insert(subnet.gateway.into());
        target.routes.insert(subnet.subnet, Route::Unreachable);
    }
}

/// The VLAN sub-interface that netd makes for it, where that is not there by itself.
fn lower_parent(target: &mut Target, network: &Network, facts: &NodeFacts) {
    let Some(parent) = &network.parent else { return };
    let Some((vlan, interface)) = parent.made_on(facts).zip(parent.on(facts)) else { return };
    let vlan = Vlan { of: vlan.of.clone(), id: vlan.id, mtu: interface.mtu };
    target.vlans.insert(parent.interface.clone(), vlan);
}

fn lower_options(target: &mut Target, network: &Network, facts: &NodeFacts) -> PoolSizes {
    let options = options_of(network);
    if let Some(timeouts) = options.timeouts {
        target.timeouts.insert(network.number, timeouts);
    }
    let pool = Pool::of(&options, facts);
    let mut add = |family: u16, addresses: &[IpAddr]| {
        let mut size = 0;
        for (index, &address) in (0..).zip(addresses) {
            target.snat_pools.insert(PoolKey { network: network.number, index, family }, address.into());
            size = index + 1;
        }
        size
    };
    PoolSizes { ipv4: add(4, &pool.ipv4), ipv6: add(6, &pool.ipv6) }
}

fn lower_container(target: &mut Target, container: &Container, around: &Surroundings<'_>) {
    match container.mode {
        Mode::Bridge | Mode::None => {}
        Mode::Host | Mode::Container => return,
    }
    let namespace = namespace(container, around.netns_dir);
    if container.netns.is_none() {
        let sandbox = Sandbox { owner: container.id.clone(), forwards: container.router };
        target.namespaces.insert(namespace.clone(), sandbox);
    }
    if !container.endpoints.is_empty() {
        target.names.insert(namespace.clone());
    }
    // One default route of each family, however many networks.
    let way_out = |family| around.state.way_out(container, family).map(|(endpoint, _)| endpoint.number);
    let ways_out = Family::BOTH.map(|family| (family, way_out(family)));
    for endpoint in &container.endpoints {
        let Some(network) = around.state.networks.get(&endpoint.network) else { continue };
        let out = ways_out.iter().filter(|(_, number)| *number == Some(endpoint.number)).map(|(family, _)| *family);
        let pool = around.pools.get(&network.number).copied().unwrap_or_default();
        let plug = Plug { endpoint, network, way_out: out.collect(), pool, router: container.router };
        match &network.parent {
            Some(parent) => lower_on_parent(target, &plug, namespace.clone(), parent, around.facts),
            None => lower_endpoint(target, &plug, namespace.clone(), network.mtu(around.mtu, None)),
        }
    }
}

/// Where the namespace of a container is.
#[must_use]
pub fn namespace(container: &Container, netns_dir: &Path) -> PathBuf {
    container.netns.clone().unwrap_or_else(|| netns_dir.join(&container.name))
}

/// One endpoint, with the network it is plugged into.
struct Plug<'a> {
    endpoint: &'a Endpoint,
    network: &'a Network,
    /// The families whose default route is over it.
    way_out: BTreeSet<Family>,
    pool: PoolSizes,
    /// The container forwards packets.
    router: bool,
}

impl Plug<'_> {
    /// The gateway of a family of which the endpoint has an address.
    fn gateway(&self, family: Family) -> Option<IpAddr> {
        self.endpoint.address(family)?;
        Some(self.network.subnet(family)?.gateway)
    }

    /// All that its interface has.
    fn addresses(&self) -> BTreeSet<IpNetwork> {
        let Endpoint { ipv4, ipv6, .. } = self.endpoint;
        // Peers ask for the link-local address too, and it is the source of what a container asks.
        let link_local = self.endpoint.link_local().filter(|_| ipv6.is_some());
        ipv4.iter().chain(ipv6).copied().chain(link_local).collect()
    }

    fn flags(&self) -> u32 {
        let flag = |is_set, flag| if is_set { flag } else { 0 };
        flag(self.network.internal, INTERNAL)
            | flag(!self.network.icc, ISOLATED)
            | flag(!self.network.masquerade, UNMASQUERADED)
            | flag(self.router, ROUTER)
    }
}

fn lower_endpoint(target: &mut Target, plug: &Plug<'_>, namespace: PathBuf, mtu: u32) {
    let (endpoint, number) = (plug.endpoint, plug.network.number);
    let (link, mac, flags) = (&endpoint.host_interface, endpoint.mac.0, plug.flags());
    let gateway_mac = plug.network.gateway_mac().0;
    let ipv6 = endpoint.ipv6.is_some();
    let addresses = plug.addresses();

    for address in &addresses {
        let key = EndpointKey { address: address.ip().into(), network: number };
        let entry = EndpointEntry { link: link.clone(), endpoint: endpoint.number, flags, mac };
        target.endpoints.insert(key, entry);
    }
    for family in Family::BOTH {
        if let (Some(address), Some(source)) = (endpoint.address(family), plug.gateway(family)) {
            target.routes.insert(address.into(), Route::Endpoint { link: link.clone(), source, mac });
        }
    }
    let default_routes = plug.way_out.iter().filter_map(|family| plug.gateway(*family)).collect();
    let interface = endpoint.interface.clone();
    let kind = LinkKind::Veth { gateway_mac };
    let pair = Link { namespace, interface, mac, kind, mtu, addresses, ipv6, default_routes };
    target.links.insert(link.clone(), pair);
    target.attachments.insert(Attachment::ContainerEgress(link.clone()));
    target.fdb.insert((number, mac), FdbEntry { link: link.clone(), flags });
    let address = |address: Option<IpAddr>| address.map_or(Addr::NONE, Addr::from);
    let port = Port {
        network: number,
        endpoint: endpoint.number,
        flags,
        ipv4: address(endpoint.address(Family::V4)),
        ipv6: address(endpoint.address(Family::V6)),
        gateway4: address(plug.gateway(Family::V4)),
        gateway6: address(plug.gateway(Family::V6)),
        mac,
        gateway_mac,
        pool4: plug.pool.ipv4,
        pool6: plug.pool.ipv6,
    };
    target.ports.insert(link.clone(), port);
}

/// A container on the wire of a parent has its interface there, and nothing on the host: no program, no route and no map
/// entry. Without the parent it has none; see `parent::absent`.
fn lower_on_parent(target: &mut Target, plug: &Plug<'_>, namespace: PathBuf, parent: &Parent, facts: &NodeFacts) {
    let Some(interface) = parent.on(facts) else { return };
    let endpoint = plug.endpoint;
    let everywhere = |family: Family| match (parent.wire, family) {
        // The parent routes for them, and nobody answers for a gateway.
        (Wire::Ipvlan(IpvlanMode::L3), Family::V4) => Some(IpAddr::V4(Ipv4Addr::UNSPECIFIED)),
        (Wire::Ipvlan(IpvlanMode::L3), Family::V6) => Some(IpAddr::V6(Ipv6Addr::UNSPECIFIED)),
        (Wire::Ipvlan(IpvlanMode::L2) | Wire::Macvlan(_), _) => plug.gateway(family),
    };
    let link = Link {
        namespace,
        interface: endpoint.interface.clone(),
        mac: if parent.wire.has_parents_mac() { interface.mac } else { endpoint.mac.0 },
        kind: LinkKind::OnParent { parent: parent.interface.clone(), wire: parent.wire },
        mtu: plug.network.mtu(interface.mtu, Some(interface.mtu)),
        addresses: plug.addresses(),
        ipv6: endpoint.ipv6.is_some(),
        default_routes: plug.way_out.iter().filter_map(|family| everywhere(*family)).collect(),
    };
    target.links.insert(endpoint.host_interface.clone(), link);
}

fn lower_publishes(target: &mut Target, state: &State) {
    for (key, publish) in &state.publishes {
        let Some(container) = state.containers.get(&publish.container) else { continue };
        let everywhere = publish.ipv6.then_some(PublishKey { host_ip: Ipv6Addr::UNSPECIFIED.into(), ..*key });
        for key in [*key].into_iter().chain(everywhere) {
            // A container without IPv4 that is published everywhere is so at the IPv6 addresses.
            let Ok((endpoint, address)) = container.answerer(state, Family::of(key.host_ip)) else { continue };
            let Some(network) = state.networks.get(&endpoint.network) else { continue };
            let value = Publish {
                address: address.into(),
                network: network.number,
                endpoint: endpoint.number,
                allow: publish.allow,
                port: publish.container_port,
                pad: [0; 2],
            };
            target.publishes.insert(key_of(&key), value);
        }
    }
}

/// Who may come, and who may not.
fn lower_sources(target: &mut Target, state: &State) {
    target.allowed = state.allow_lists.iter().map(|(number, list)| (*number, list.without_mapped())).collect();
    target.blocked = state.blocked.without_mapped();
    if target.blocked.is_empty() {
        return;
    }
    // A container's own link is never guarded, whatever the configuration calls an uplink: XDP slows a veth down.
    let guarded = target.uplinks.keys().filter(|name| !target.links.contains_key(*name));
    target.attachments.extend(guarded.cloned().map(Attachment::XdpGuard));
}

/// How the map names a published port.
#[must_use]
pub fn key_of(key: &PublishKey) -> publish::PublishKey {
    let protocol = match key.protocol {
        Protocol::Tcp => publish::TCP,
        Protocol::Udp => publish::UDP,
        Protocol::Sctp => publish::SCTP,
    };
    publish::PublishKey { address: key.host_ip.into(), port: key.host_port, protocol, pad: 0 }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::command::{Command, ContainerSpec, NetworkSpec};
    use crate::model::node::Interface;
    use crate::model::parent::MacvlanMode;
    use crate::model::testing::{container, context, facts, network, on_parent, publish, state};

    fn lowered(commands: &[Command]) -> Target {
        let mut state = state();
        for command in commands {
            state.apply(command, &context()).unwrap();
        }
        lower(&state, &facts(), Path::new("/run/netns"))
    }

    fn on(name: &str, networks: &[&str]) -> ContainerSpec {
        ContainerSpec { networks: networks.iter().map(|&n| n.into()).collect(), ..container(name) }
    }

    #[test]
    fn a_container_on_the_bridge_is_a_link_with_all_its_entries() {
        let target = lowered(&[publish("web", &["8080:80", "127.0.0.1:53:53/udp"])]);
        assert_eq!(
            target.namespaces.keys().cloned().collect::<Vec<_>>(),
            ["client", "web"].map(|n| Path::new("/run/netns").join(n))
        );
        let gateway: IpAddr = "10.208.0.1".parse().unwrap();
        let web: IpAddr = "10.208.0.2".parse().unwrap();
        let mac = [0x02, 0x42, 10, 208, 0, 2];
        let gateway_mac = [0x02, 0x42, 10, 208, 0, 1];
        assert_eq!(
            target.links["nd1"],
            Link {
                namespace: "/run/netns/web".into(),
                interface: "eth0".to_owned(),
                mac,
                kind: LinkKind::Veth { gateway_mac },
                mtu: 1500,
                addresses: ["10.208.0.2/24".parse().unwrap()].into(),
                ipv6: false,
                default_routes: [gateway].into(),
            }
        );
        assert_eq!(target.gateways, [gateway].into());
        assert_eq!(target.routes[&"10.208.0.0/24".parse().unwrap()], Route::Unreachable);
        let route = Route::Endpoint { link: "nd1".to_owned(), source: gateway, mac };
        assert_eq!(target.routes[&"10.208.0.2/32".parse().unwrap()], route);
        let key = EndpointKey { address: web.into(), network: 1 };
        assert_eq!(target.endpoints[&key], EndpointEntry { link: "nd1".to_owned(), endpoint: 1, flags: 0, mac });
        assert_eq!(target.fdb[&(1, mac)], FdbEntry { link: "nd1".to_owned(), flags: 0 });
        assert_eq!(
            target.ports["nd1"],
            Port {
                network: 1,
                endpoint: 1,
                flags: 0,
                ipv4: web.into(),
                ipv6: Addr::NONE,
                gateway4: gateway.into(),
                gateway6: Addr::NONE,
                mac,
                gateway_mac,
                pool4: 0,
                pool6: 0,
            }
        );
        assert_eq!(
            target
                .publishes
                .iter()
                .map(|(k, v)| (k.address, k.port, k.protocol, v.address, v.port))
                .collect::<Vec<_>>(),
            [
                (Addr::ANY_V6, 8080, publish::TCP, web.into(), 80),
                (Addr::ANY_V4, 8080, publish::TCP, web.into(), 80),
                (Addr::v4([127, 0, 0, 1]), 53, publish::UDP, web.into(), 53),
            ]
        );
        assert!(target.local_addresses.contains(&gateway.into()) && target.local_addresses.len() == 3);
        assert!(target.names.iter().eq(target.namespaces.keys()), "each has a name server");
        let expected = 2 + 2 + SOCK_ADDR_PROGRAMS.len();
        assert_eq!(target.attachments.len(), expected, "two links, two hooks of the uplink, the cgroup's");
    }

    #[test]
    fn networks_give_flags_mtu_and_the_way_out() {
        let inner =
            NetworkSpec { internal: true, no_icc: true, no_masquerade: true, mtu: Some(9000), ..network("inner") };
        let target =
            lowered(&[Command::CreateNetwork(inner), Command::CreateContainer(on("both", &["inner", "bridge"]))]);
        let (inner, bridge) = (&target.links["nd3"], &target.links["nd4"]);
        assert_eq!((inner.mtu, bridge.mtu), (9000, 1500));
        assert!(inner.default_routes.is_empty(), "an internal network leads nowhere");
        assert_eq!(bridge.default_routes, ["10.208.0.1".parse().unwrap()].into());
        assert_eq!(target.ports["nd3"].flags, INTERNAL | ISOLATED | UNMASQUERADED);
        assert_eq!(target.ports["nd4"].flags, 0);
    }

    #[test]
    fn a_container_on_a_parent_has_an_interface_there_and_nothing_on_the_host() {
        let twenty = on_parent("twenty", Driver::Macvlan, "lan0.20", "10.9.0.0/24", &[("macvlan_mode", "vepa")]);
        let routed = on_parent("routed", Driver::Ipvlan, "eth0", "10.9.1.0/24", &[("ipvlan_mode", "l3")]);
        let commands = [
            Command::CreateNetwork(NetworkSpec { ipv6: true, ..twenty }),
            Command::CreateNetwork(NetworkSpec { mtu: Some(1450), ..routed }),
            Command::CreateContainer(on("db", &["twenty"])),
            Command::CreateContainer(on("cache", &["routed"])),
        ];
        let (before, target) = (lowered(&[]), lowered(&commands));
        let vlan = Vlan { of: "lan0".to_owned(), id: 20, mtu: 1400 };
        assert_eq!(target.vlans, [("lan0.20".to_owned(), vlan)].into());
        let db = &target.links["nd3"];
        let parent = "lan0.20".to_owned();
        assert_eq!(db.kind, LinkKind::OnParent { parent, wire: Wire::Macvlan(MacvlanMode::Vepa) });
        assert_eq!((db.mtu, db.mac, db.ipv6), (1400, [0x02, 0x42, 10, 9, 0, 2], true));
        let fd = "fd07:707:707:".parse::<String>().unwrap();
        let addresses = ["10.9.0.2/24".to_owned(), format!("{fd}:2/64"), "fe80::42:aff:fe09:2/64".to_owned()];
        assert_eq!(db.addresses, addresses.map(|text| text.parse().unwrap()).into());
        assert_eq!(db.default_routes, ["10.9.0.1".to_owned(), format!("{fd}:1")].map(|t| t.parse().unwrap()).into());
        let cache = &target.links["nd4"];
        let parent = "eth0".to_owned();
        assert_eq!(cache.kind, LinkKind::OnParent { parent, wire: Wire::Ipvlan(IpvlanMode::L3) });
        assert_eq!((cache.mtu, cache.mac), (1450, [2, 0, 0, 0, 0, 1]));
        assert_eq!(cache.default_routes, [Ipv4Addr::UNSPECIFIED.into()].into(), "over the link itself");
        // All else is what it was.
        let rest = |target: Target| Target {
            namespaces: BTreeMap::new(),
            names: BTreeSet::new(),
            links: BTreeMap::new(),
            vlans: BTreeMap::new(),
            ..target
        };
        assert_eq!(rest(target), rest(before));
    }

    #[test]
    fn a_parent_comes_and_goes_with_its_interface() {
        let mut state = state();
        let lan = on_parent("lan", Driver::Macvlan, "lan0.20", "10.9.0.0/24", &[]);
        for command in [Command::CreateNetwork(lan), Command::CreateContainer(on("db", &["lan", "bridge"]))] {
            state.apply(&command, &context()).unwrap();
        }
        let mut facts = facts();
        let lan0 = facts.interfaces.remove("lan0").unwrap();
        let gone = lower(&state, &facts, Path::new("/run/netns"));
        assert!(gone.vlans.is_empty() && !gone.links.contains_key("nd3") && gone.links.contains_key("nd4"));
        // Somebody else made it: netd leaves it as it is.
        facts.interfaces.insert("lan0.20".to_owned(), Interface { mtu: 1300, ..lan0 });
        let found = lower(&state, &facts, Path::new("/run/netns"));
        assert!(found.vlans.is_empty());
        assert_eq!(found.links["nd3"].mtu, 1300, "no more than the parent's");
    }

    #[test]
    fn a_network_with_ipv6_gives_what_both_families_need() {
        let dual = NetworkSpec { ipv6: true, ..network("dual") };
        let commands = [
            Command::CreateNetwork(dual),
            Command::CreateContainer(on("db", &["dual"])),
            publish("db", &["8080:80", "0.0.0.0:81:81", "[::1]:82:82"]),
        ];
        let target = lowered(&commands);
        let prefix = "fd07:707:707:";
        let ip = |tail: &str| format!("{prefix}{tail}").parse::<IpAddr>().unwrap();
        let network_of = |tail: &str| format!("{prefix}{tail}").parse::<IpNetwork>().unwrap();
        let (gateway4, gateway6): (IpAddr, _) = ("10.208.1.1".parse().unwrap(), ip(":1"));
        let (ipv4, ipv6): (IpAddr, _) = ("10.208.1.2".parse().unwrap(), ip(":2"));
        let mac = [0x02, 0x42, 10, 208, 1, 2];
        let link_local: IpNetwork = "fe80::42:aff:fed0:102/64".parse().unwrap();
        let link = &target.links["nd3"];
        assert!(link.ipv6);
        assert_eq!(link.addresses, ["10.208.1.2/24".parse().unwrap(), network_of(":2/64"), link_local].into());
        assert_eq!(link.default_routes, [gateway4, gateway6].into());
        assert_eq!(target.gateways, ["10.208.0.1".parse().unwrap(), gateway4, gateway6].into());
        assert_eq!(target.routes[&network_of(":/64")], Route::Unreachable);
        let route = Route::Endpoint { link: "nd3".to_owned(), source: gateway6, mac };
        assert_eq!(target.routes[&network_of(":2/128")], route);
        assert!(!target.routes.contains_key(&link_local.ip().into()), "the host has no way to link-local addresses");
        let at = |address: IpAddr| EndpointKey { address: address.into(), network: 4 };
        let entry = EndpointEntry { link: "nd3".to_owned(), endpoint: 3, flags: 0, mac };
        for address in [ipv4, ipv6, link_local.ip()] {
            assert_eq!(target.endpoints[&at(address)], entry, "{address}");
        }
        let port = &target.ports["nd3"];
        assert_eq!((port.ipv4, port.ipv6), (ipv4.into(), ipv6.into()));
        assert_eq!((port.gateway4, port.gateway6), (gateway4.into(), gateway6.into()));
        let leads = |address: Addr, port| {
            let key = publish::PublishKey { address, port, protocol: publish::TCP, pad: 0 };
            target.publishes.get(&key).map(|publish| IpAddr::from(publish.address))
        };
        assert_eq!((leads(Addr::ANY_V4, 8080), leads(Addr::ANY_V6, 8080)), (Some(ipv4), Some(ipv6)));
        assert_eq!((leads(Addr::ANY_V4, 81), leads(Addr::ANY_V6, 81)), (Some(ipv4), None));
        assert_eq!((leads(Addr::ANY_V6, 82), leads(Addr::LOOPBACK_V6, 82)), (None, Some(ipv6)));
        assert!(target.local_addresses.contains(&gateway6.into()));
    }

    #[test]
    fn without_ipv4_the_numbers_make_the_mac_addresses() {
        let only = NetworkSpec { subnets: vec!["fd00:6::/64".parse().unwrap()], ..network("six") };
        let commands = [
            Command::CreateNetwork(only),
            Command::CreateContainer(on("db", &["six"])),
            Command::CreateContainer(on("both", &["six", "bridge"])),
            publish("db", &["8080:80"]),
        ];
        let target = lowered(&commands);
        let link = &target.links["nd3"];
        assert_eq!(link.mac, [0x02, 0x47, 0, 0, 0, 3]);
        assert_eq!(link.kind, LinkKind::Veth { gateway_mac: [0x02, 0x46, 0, 0, 0, 4] });
        let addresses = ["fd00:6::2/64", "fe80::47:ff:fe00:3/64"].map(|text| text.parse().unwrap());
        assert_eq!(link.addresses, addresses.into());
        assert_eq!((target.ports["nd3"].ipv4, target.ports["nd3"].gateway4), (Addr::NONE, Addr::NONE));
        let published: Vec<IpAddr> = target.publishes.keys().map(|key| key.address.into()).collect();
        assert_eq!(published, [IpAddr::from([0; 16])], "an IPv4 address of the host has nowhere to lead");
        // A default route of each family, over the first network that has it.
        assert_eq!(target.links["nd4"].default_routes, ["fd00:6::1".parse().unwrap()].into());
        assert_eq!(target.links["nd5"].default_routes, ["10.208.0.1".parse().unwrap()].into());
        assert!(!target.links["nd5"].ipv6);
    }

    #[test]
    fn options_become_timeouts_and_a_pool_of_the_addresses_that_are_there() {
        let pool = "198.18.0.9,2001:db8::1,198.18.0.1,198.18.0.7";
        let option = |key: &str, value: &str| (key.to_owned(), value.to_owned());
        let options = [option("timeout-udp-established", "1h"), option("snat-pool", pool), option("colour", "blue")];
        let spec = NetworkSpec { options: options.into(), ..network("lab") };
        let mut state = state();
        for command in [Command::CreateNetwork(spec), Command::CreateContainer(on("both", &["lab", "bridge"]))] {
            state.apply(&command, &context()).unwrap();
        }
        let number = state.networks["lab"].number;
        let lowered = |more: &[&str]| {
            let mut facts = facts();
            let uplink = facts.uplinks.get_mut("eth0").unwrap();
            uplink.addresses.extend(more.iter().map(|address| address.parse::<IpAddr>().unwrap()));
            let target = lower(&state, &facts, Path::new("/run/netns"));
            let pool = target.snat_pools.iter().map(|(key, &address)| {
                assert_eq!(key.network, number);
                format!("{}.{} {}", key.family, key.index, IpAddr::from(address))
            });
            let pool: Vec<String> = pool.collect();
            let sizes = |link: &str| (target.ports[link].pool4, target.ports[link].pool6);
            assert_eq!(sizes("nd4"), (0, 0), "bridge has none");
            assert_eq!(target.timeouts[&number].udp_established, 3600);
            assert_eq!(target.timeouts.len(), 1);
            (pool.join(", "), sizes("nd3"))
        };
        assert_eq!(lowered(&[]), ("4.0 198.18.0.1".to_owned(), (1, 0)));
        assert_eq!(
            lowered(&["198.18.0.7", "2001:db8::1"]),
            ("4.0 198.18.0.1, 6.0 2001:db8::1, 4.1 198.18.0.7".to_owned(), (2, 1)),
            "indexes have no gap"
        );
    }

    #[test]
    fn uplinks_tell_their_ipv6_gateway_where_there_are_several() {
        let uplink = |gateway: &str| crate::model::node::Uplink {
            mtu: 1500,
            addresses: [].into(),
            gateway6: gateway.parse().ok(),
        };
        let told = |uplinks: &[(&str, &str)]| {
            let uplinks = uplinks.iter().map(|(name, gateway)| ((*name).to_owned(), uplink(gateway))).collect();
            let target = lower(&state(), &NodeFacts { uplinks, ..facts() }, Path::new("/run/netns"));
            target.uplinks.into_values().map(|gateway| IpAddr::from(gateway).to_string()).collect::<Vec<_>>()
        };
        assert_eq!(told(&[("a", "fe80::1"), ("b", "fe80::2"), ("c", "")]), ["fe80::1", "fe80::2", "::"]);
        assert_eq!(told(&[("a", "fe80::1"), ("c", "")]), ["::", "::"]);
    }

    #[test]
    fn other_modes_have_no_links() {
        let theirs = ContainerSpec { netns: Some("/run/theirs".into()), ..container("theirs") };
        let target = lowered(&[
            Command::CreateContainer(on("alone", &["none"])),
            Command::CreateContainer(on("hosted", &["host"])),
            Command::CreateContainer(theirs),
        ]);
        assert_eq!(target.links.len(), 3);
        assert_eq!(target.links["nd3"].namespace, Path::new("/run/theirs"));
        assert_eq!(target.names, ["/run/netns/client", "/run/netns/web", "/run/theirs"].map(PathBuf::from).into());
        assert_eq!(
            target.namespaces.keys().cloned().collect::<Vec<_>>(),
            ["alone", "client", "web"].map(|n| Path::new("/run/netns").join(n))
        );
    }
}
