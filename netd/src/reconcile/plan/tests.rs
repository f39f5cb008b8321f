//! Does each difference give the right steps, in the right order, and do they suffice?

use super::*;
use crate::model::attach::Attach;
use crate::model::command::{Command, ContainerSpec};
use crate::model::node::NodeFacts;
use crate::model::parent::{MacvlanMode, Wire};
use crate::model::prefix::{Prefix, Prefixes};
use crate::model::state::{Driver, State};
use crate::model::testing::{block, container, context, facts, publish, publish_to, state};
use crate::reconcile::lower::lower;
use crate::reconcile::op::Phase;
use crate::reconcile::target::{EndpointEntry, FdbEntry, LinkKind, Port, Sandbox};
use ipnetwork::IpNetwork;
use netd_common::Addr;
use netd_common::endpoint::{EndpointKey, PoolKey};
use netd_common::flow::Timeouts;
use netd_common::publish::{Publish, PublishKey};
use proptest::collection::{btree_map, btree_set};
use proptest::prelude::*;
use std::net::IpAddr;
use std::path::{Path, PathBuf};

fn target_of(state: &State) -> Target {
    lower(state, &facts(), Path::new("/run/netns"))
}

fn after(commands: &[Command]) -> Target {
    let mut state = state();
    for command in commands {
        state.apply(command, &context()).unwrap();
    }
    target_of(&state)
}

/// A plan as a test reads it: the kind of each step, and what it is about.
fn short(ops: &[Op]) -> Vec<String> {
    let text = |op: &Op| match op {
        Op::CreateLink(name, _) => format!("CreateLink {name}"),
        Op::ConfigureLink(name, _) => format!("ConfigureLink {name}"),
        Op::DeleteLink(name) => format!("DeleteLink {name}"),
        Op::SetVlan(name, vlan) => format!("SetVlan {name}: {} of {}", vlan.id, vlan.of),
        Op::DeleteVlan(name) => format!("DeleteVlan {name}"),
        Op::SetPort(name, _) => format!("SetPort {name}"),
        Op::RemovePort(name) => format!("RemovePort {name}"),
        Op::SetEndpoint(key, _) => format!("SetEndpoint {}", IpAddr::from(key.address)),
        Op::RemoveEndpoint(key) => format!("RemoveEndpoint {}", IpAddr::from(key.address)),
        Op::SetFdb(network, ..) => format!("SetFdb {network}"),
        Op::RemoveFdb(network, _) => format!("RemoveFdb {network}"),
        Op::SetPublish(key, value) => format!("SetPublish {} {}", key.port, value.port),
        Op::RemovePublish(key) => format!("RemovePublish {}", key.port),
        Op::SetRoute(prefix, _) => format!("SetRoute {prefix}"),
        Op::DeleteRoute(prefix) => format!("DeleteRoute {prefix}"),
        Op::OpenNames(path) => format!("OpenNames {}", path.display()),
        Op::CloseNames(path) => format!("CloseNames {}", path.display()),
        Op::CreateNamespace(path, _) => format!("CreateNamespace {}", path.display()),
        Op::DeleteNamespace(path) => format!("DeleteNamespace {}", path.display()),
        Op::SetPooled(key, address) => {
            format!("SetPooled {} of {}: {}", key.index, key.network, IpAddr::from(*address))
        }
        Op::RemovePooled(key) => format!("RemovePooled {} of {}", key.index, key.network),
        Op::PurgeFlows(selectors) => {
            let text = |selector: &FlowSelector| match selector {
                FlowSelector::Endpoint(endpoint) => format!("endpoint {endpoint}"),
                FlowSelector::Publish { key, endpoint } => format!("port {} of {endpoint}", key.port),
                FlowSelector::Source(address) => format!("source {}", IpAddr::from(*address)),
            };
            format!("PurgeFlows {}", selectors.iter().map(text).collect::<Vec<_>>().join(", "))
        }
        Op::PurgeSources(addresses) => {
            let text = |address: &Addr| IpAddr::from(*address).to_string();
            format!("PurgeSources {}", addresses.iter().map(text).collect::<Vec<_>>().join(", "))
        }
        Op::Allow(list, prefixes) => format!("Allow {list} {prefixes:?}"),
        Op::Disallow(list, prefixes) => format!("Disallow {list} {prefixes:?}"),
        Op::Block(prefixes) => format!("Block {prefixes:?}"),
        Op::Unblock(prefixes) => format!("Unblock {prefixes:?}"),
        Op::RemoveLocalAddress(address) => format!("RemoveLocalAddress {}", IpAddr::from(*address)),
        Op::SetLocalAddress(address) => format!("SetLocalAddress {}", IpAddr::from(*address)),
        Op::SetUplink(link, _) => format!("SetUplink {link}"),
        Op::RemoveUplink(_)
        | Op::Detach(_)
        | Op::DeleteGateway(_)
        | Op::AddGateway(_)
        | Op::Attach(_)
        | Op::SetTimeouts(..)
        | Op::RemoveTimeouts(_)
        | Op::Renew(_) => format!("{op:?}"),
    };
    ops.iter().map(text).collect()
}

#[test]
fn nothing_differs_nothing_is_done() {
    let target = after(&[publish("web", &["0.0.0.0:8080:80"])]);
    assert_eq!(plan(&target, &Observed(target.clone())), []);
}

#[test]
fn a_container_that_comes_is_announced_last_and_one_that_goes_is_withdrawn_first() {
    let before = after(&[publish("web", &["0.0.0.0:8080:80"])]);
    let with = after(&[publish("web", &["0.0.0.0:8080:80"]), Command::CreateContainer(container("new"))]);
    assert_eq!(
        short(&plan(&with, &Observed(before.clone()))),
        [
            "CreateNamespace /run/netns/new",
            "CreateLink nd3",
            "SetPort nd3",
            "Attach(ContainerEgress(\"nd3\"))",
            "ConfigureLink nd3",
            "SetRoute 10.208.0.4/32",
            "OpenNames /run/netns/new",
            "SetFdb 1",
            "SetEndpoint 10.208.0.4",
        ]
    );
    let without = after(&[Command::RemoveContainers(vec!["web".to_owned()])]);
    assert_eq!(
        short(&plan(&without, &Observed(before))),
        [
            "RemovePublish 8080",
            "RemoveEndpoint 10.208.0.2",
            "RemovePort nd1",
            "RemoveFdb 1",
            "CloseNames /run/netns/web",
            "PurgeFlows endpoint 1, port 8080 of 1",
            "DeleteRoute 10.208.0.2/32",
            "DeleteLink nd1",
            "DeleteNamespace /run/netns/web",
        ]
    );
}

#[test]
fn a_port_that_leads_elsewhere_is_one_upsert_and_its_flows_are_forgotten() {
    let before = after(&[publish("web", &["0.0.0.0:8080:80"])]);
    let mut elsewhere = before.clone();
    for value in elsewhere.publishes.values_mut() {
        value.port = 81;
    }
    assert_eq!(
        short(&plan(&elsewhere, &Observed(before.clone()))),
        ["PurgeFlows port 8080 of 1", "SetPublish 8080 81"]
    );
    let without = after(&[]);
    assert_eq!(short(&plan(&without, &Observed(before))), ["RemovePublish 8080", "PurgeFlows port 8080 of 1"]);
}

#[test]
fn parameters_of_a_link_are_set_on_it_but_another_namespace_is_another_link() {
    let target = after(&[]);
    let mut now = Observed(target.clone());
    now.0.links.get_mut("nd1").unwrap().mtu = 9000;
    assert_eq!(short(&plan(&target, &now)), ["ConfigureLink nd1"]);
    let mut now = Observed(target.clone());
    now.0.links.get_mut("nd1").unwrap().interface = "eth7".to_owned();
    assert_eq!(
        short(&plan(&target, &now)),
        [
            "RemoveEndpoint 10.208.0.2",
            "RemovePort nd1",
            "RemoveFdb 1",
            "PurgeFlows endpoint 1",
            "DeleteLink nd1",
            "CreateLink nd1",
            "SetPort nd1",
            "Attach(ContainerEgress(\"nd1\"))",
            "ConfigureLink nd1",
            "SetRoute 10.208.0.2/32",
            "SetFdb 1",
            "SetEndpoint 10.208.0.2",
        ]
    );
}

#[test]
fn a_namespace_that_vanished_is_rebuilt_and_what_names_its_link_is_written_again() {
    let target = after(&[]);
    let mut now = Observed(target.clone());
    now.apply(&Op::DeleteNamespace("/run/netns/web".into()));
    assert_eq!(
        short(&plan(&target, &now)),
        [
            "RemovePort #nd1",
            "PurgeFlows endpoint 1",
            "CreateNamespace /run/netns/web",
            "CreateLink nd1",
            "SetPort nd1",
            "Attach(ContainerEgress(\"nd1\"))",
            "ConfigureLink nd1",
            "SetRoute 10.208.0.2/32",
            "OpenNames /run/netns/web",
            "SetFdb 1",
            "SetEndpoint 10.208.0.2",
        ]
    );
}

#[test]
fn a_namespace_of_the_same_path_is_not_the_same_namespace() {
    let target = after(&[]);
    let mut now = Observed(target.clone());
    // The file is gone, but something keeps the namespace, and so the link, alive.
    now.0.namespaces.remove(Path::new("/run/netns/web"));
    let ops = short(&plan(&target, &now));
    let position = |text: &str| ops.iter().position(|op| op == text).unwrap_or_else(|| panic!("no {text} in {ops:?}"));
    assert!(position("DeleteLink nd1") < position("CreateNamespace /run/netns/web"));
    assert!(position("CreateNamespace /run/netns/web") < position("CreateLink nd1"));
}

#[test]
fn a_vlan_stands_before_its_links_and_goes_after_them() {
    let lan = crate::model::testing::on_parent("lan", Driver::Macvlan, "lan0.20", "10.9.0.0/24", &[]);
    let db = ContainerSpec { networks: vec![Attach::to("lan")], ..container("db") };
    let with = after(&[Command::CreateNetwork(lan), Command::CreateContainer(db)]);
    assert_eq!(
        short(&plan(&with, &Observed(after(&[])))),
        [
            "CreateNamespace /run/netns/db",
            "SetVlan lan0.20: 20 of lan0",
            "CreateLink nd3",
            "ConfigureLink nd3",
            "OpenNames /run/netns/db",
        ]
    );
    assert_eq!(
        short(&plan(&after(&[]), &Observed(with.clone()))),
        ["CloseNames /run/netns/db", "DeleteLink nd3", "DeleteVlan lan0.20", "DeleteNamespace /run/netns/db"]
    );
    // It is down: nothing stands on it anew for that.
    let mut down = Observed(with.clone());
    down.0.vlans.values_mut().for_each(|vlan| vlan.mtu = 0);
    assert_eq!(short(&plan(&with, &down)), ["SetVlan lan0.20: 20 of lan0"]);
    // It is another's VLAN.
    down.0.vlans.values_mut().for_each(|vlan| vlan.id = 30);
    assert_eq!(
        short(&plan(&with, &down)),
        ["DeleteLink nd3", "DeleteVlan lan0.20", "SetVlan lan0.20: 20 of lan0", "CreateLink nd3", "ConfigureLink nd3"]
    );
}

#[test]
fn uplinks_are_followed() {
    let state = state();
    let elsewhere = NodeFacts { uplinks: [("eth1".to_owned(), facts().uplinks["eth0"].clone())].into(), ..facts() };
    let target = lower(&state, &elsewhere, Path::new("/run/netns"));
    assert_eq!(
        short(&plan(&target, &Observed(target_of(&state)))),
        [
            "RemoveUplink(\"eth0\")",
            "Detach(UplinkIngress(\"eth0\"))",
            "Detach(UplinkEgress(\"eth0\"))",
            "Attach(UplinkIngress(\"eth1\"))",
            "Attach(UplinkEgress(\"eth1\"))",
            "SetUplink eth1",
        ]
    );
}

#[test]
fn the_flows_of_an_address_go_with_it_and_stay_with_one_that_stays() {
    let state = state();
    let (before, mut elsewhere) = (facts(), facts());
    elsewhere.addresses = ["127.0.0.1", "198.18.0.77"].map(|address| address.parse().unwrap()).into();
    let now = Observed(lower(&state, &before, Path::new("/run/netns")));
    assert_eq!(
        short(&plan(&lower(&state, &elsewhere, Path::new("/run/netns")), &now)),
        ["SetLocalAddress 198.18.0.77", "PurgeSources 198.18.0.1", "RemoveLocalAddress 198.18.0.1"]
    );
    let mut more = before;
    more.addresses.insert("198.18.0.77".parse().unwrap());
    assert_eq!(short(&plan(&lower(&state, &more, Path::new("/run/netns")), &now)), ["SetLocalAddress 198.18.0.77"]);
}

#[test]
fn the_gateway_of_a_network_that_goes_took_no_flow() {
    let lab = Command::CreateNetwork(crate::model::testing::network("lab"));
    let ops = short(&plan(&after(&[]), &Observed(after(&[lab]))));
    assert!(ops.contains(&"RemoveLocalAddress 10.208.1.1".to_owned()), "{ops:?}");
    assert!(!ops.iter().any(|op| op.starts_with("Purge")), "{ops:?}");
}

#[test]
fn an_index_below_the_count_of_a_pool_always_has_its_address() {
    let pooled = |last: &[u8]| {
        let mut target = after(&[]);
        let size = u16::try_from(last.len()).unwrap();
        target.ports.values_mut().for_each(|port| port.pool4 = size);
        let keys = (0..size).map(|index| PoolKey { network: 1, index, family: 4 });
        target.snat_pools = keys.zip(last.iter().map(|&last| Addr::v4([198, 18, 0, last]))).collect();
        target
    };
    assert_eq!(
        short(&plan(&pooled(&[7, 9]), &Observed(pooled(&[7, 8, 9])))),
        ["SetPooled 1 of 1: 198.18.0.9", "SetPort nd1", "SetPort nd2", "RemovePooled 2 of 1"]
    );
    assert_eq!(
        short(&plan(&pooled(&[7, 8]), &Observed(pooled(&[7])))),
        ["SetPooled 1 of 1: 198.18.0.8", "SetPort nd1", "SetPort nd2"]
    );
}

#[test]
fn a_port_is_never_open_to_half_a_list() {
    let before = after(&[publish_to("web", &["0.0.0.0:8080:80"], &["10.0.0.0/8", "11.0.0.0/8"])]);
    let commands = [
        publish_to("web", &["0.0.0.0:8080:80"], &["10.0.0.0/8", "11.0.0.0/8"]),
        publish_to("web", &["0.0.0.0:8080:80"], &["11.0.0.0/8", "12.0.0.0/8"]),
    ];
    let with = after(&commands);
    assert_eq!(
        short(&plan(&with, &Observed(before.clone()))),
        [r#"Allow 2 {"11.0.0.0/8", "12.0.0.0/8"}"#, "SetPublish 8080 80", r#"Disallow 1 {"10.0.0.0/8", "11.0.0.0/8"}"#,],
        "and the flows stay"
    );
    let gone = after(&[publish("web", &["0.0.0.0:8080:80"])]);
    assert_eq!(
        short(&plan(&gone, &Observed(before))),
        ["SetPublish 8080 80", r#"Disallow 1 {"10.0.0.0/8", "11.0.0.0/8"}"#]
    );
    let mut drifted = Observed(with.clone());
    drifted.apply(&Op::Disallow(2, ["12.0.0.0/8".parse().unwrap()].into_iter().collect()));
    drifted.apply(&Op::Allow(2, ["13.0.0.0/8".parse().unwrap()].into_iter().collect()));
    assert_eq!(short(&plan(&with, &drifted)), [r#"Allow 2 {"12.0.0.0/8"}"#, r#"Disallow 2 {"13.0.0.0/8"}"#]);
}

#[test]
fn an_uplink_is_guarded_while_anybody_is_blocked() {
    let (none, some) = (after(&[]), after(&[block(&["10.0.0.0/8"])]));
    let ops = plan(&some, &Observed(none.clone()));
    assert_eq!(short(&ops), ["Attach(XdpGuard(\"eth0\"))", r#"Block {"10.0.0.0/8"}"#]);
    assert_eq!(
        short(&plan(&none, &Observed(some.clone()))),
        ["Detach(XdpGuard(\"eth0\"))", r#"Unblock {"10.0.0.0/8"}"#]
    );
    let other = after(&[block(&["10.0.0.0/9"])]);
    assert_eq!(
        short(&plan(&other, &Observed(some))),
        [r#"Block {"10.0.0.0/9"}"#, r#"Unblock {"10.0.0.0/8"}"#],
        "what stays blocked is blocked all the time"
    );
    let all = after(&[block(&["::/0"])]);
    assert!(all.blocked.len() == 96 && !all.blocked.iter().any(Prefix::spans_mapped), "IPv6 alone");
}

#[test]
fn a_list_that_is_known_to_be_equal_is_not_read() {
    let target = after(&[block(&["10.0.0.0/8"]), publish_to("web", &["80:80"], &["10.0.0.0/8"])]);
    let mut now = Observed(Target { blocked: target.blocked.iter().copied().collect(), ..target.clone() });
    assert!(!now.0.blocked.is_shared_with(&target.blocked));
    now.share(&target);
    assert!(now.0.blocked.is_shared_with(&target.blocked));
}

fn name() -> impl Strategy<Value = String> {
    (0..4_u8).prop_map(|n| format!("nd{n}"))
}

/// As read from the kernel: some interfaces are gone.
fn seen_name() -> impl Strategy<Value = String> {
    prop_oneof![4 => name(), 1 => Just(String::new())]
}

fn path() -> impl Strategy<Value = PathBuf> {
    (0..3_u8).prop_map(|n| PathBuf::from(format!("/run/netns/c{n}")))
}

fn address() -> impl Strategy<Value = IpAddr> {
    (0..4_u8).prop_map(|n| IpAddr::from([10, 0, 0, n]))
}

fn mac() -> impl Strategy<Value = [u8; 6]> {
    (0..3_u8).prop_map(|n| [2, 0, 0, 0, 0, n])
}

fn kind() -> impl Strategy<Value = LinkKind> {
    let on = |parent: &str, mode| LinkKind::OnParent { parent: parent.to_owned(), wire: Wire::Macvlan(mode) };
    prop_oneof![
        (0..2_u8).prop_map(|last| LinkKind::Veth { gateway_mac: [0, 0, 0, 0, 0, last] }),
        Just(on("eth0.1", MacvlanMode::Bridge)),
        Just(on("eth0.2", MacvlanMode::Bridge)),
        Just(on("eth0.2", MacvlanMode::Vepa)),
    ]
}

fn vlans() -> impl Strategy<Value = BTreeMap<String, Vlan>> {
    let vlan = (1..3_u16, 0..2_u32).prop_map(|(id, mtu)| Vlan { of: "eth0".to_owned(), id, mtu });
    btree_map(prop::sample::select(vec!["eth0.1".to_owned(), "eth0.2".to_owned()]), vlan, 0..3)
}

fn link() -> impl Strategy<Value = Link> {
    (path(), 0..2_u8, mac(), 0..2_u32, btree_set(address(), 0..2), kind()).prop_map(
        |(namespace, interface, mac, mtu, ips, kind)| Link {
            namespace,
            interface: format!("eth{interface}"),
            mac,
            kind,
            mtu,
            addresses: ips.iter().map(|&ip| IpNetwork::from(ip)).collect(),
            ipv6: interface == 1,
            default_routes: ips,
        },
    )
}

fn port() -> impl Strategy<Value = Port> {
    (0..3_u32, 0..2_u32, mac()).prop_map(|(endpoint, flags, mac)| Port {
        network: 1,
        endpoint,
        flags,
        ipv4: Addr::NONE,
        ipv6: Addr::NONE,
        gateway4: Addr::NONE,
        gateway6: Addr::NONE,
        mac,
        gateway_mac: [0; 6],
        pool4: 0,
        pool6: 0,
    })
}

fn attachment() -> impl Strategy<Value = Attachment> {
    prop_oneof![
        name().prop_map(Attachment::ContainerEgress),
        name().prop_map(Attachment::UplinkIngress),
        name().prop_map(Attachment::UplinkEgress),
        name().prop_map(Attachment::XdpGuard),
        Just(Attachment::SockAddr("bind4")),
    ]
}

fn prefixes(least: usize) -> impl Strategy<Value = Prefixes> {
    let prefix = (0..4_u8).prop_map(|n| format!("10.{n}.0.0/16").parse().unwrap());
    btree_set(prefix, least..4).prop_map(Prefixes::from)
}

fn any_target(link_name: BoxedStrategy<String>) -> impl Strategy<Value = Target> {
    let route = prop_oneof![
        Just(Route::Unreachable),
        (name(), address(), mac()).prop_map(|(link, source, mac)| Route::Endpoint { link, source, mac })
    ];
    let endpoint = (link_name.clone(), 0..3_u32, 0..2_u32, mac())
        .prop_map(|(link, endpoint, flags, mac)| EndpointEntry { link, endpoint, flags, mac });
    let endpoint_key = address().prop_map(|ip| EndpointKey { address: ip.into(), network: 1 });
    let fdb = (link_name, 0..2_u32).prop_map(|(link, flags)| FdbEntry { link, flags });
    let publish_key = (0..3_u16).prop_map(|port| PublishKey { address: Addr::ANY_V4, port, protocol: 6, pad: 0 });
    let publish = (address(), 0..3_u32, 0..3_u32).prop_map(|(ip, endpoint, allow)| Publish {
        address: ip.into(),
        network: 1,
        endpoint,
        port: 80,
        allow,
        pad: [0; 2],
    });
    let sandbox = (0..2_u8, any::<bool>()).prop_map(|(owner, forwards)| Sandbox { owner: owner.to_string(), forwards });
    let timeouts = (1..3_u32).prop_map(|icmp| Timeouts { icmp, ..Timeouts::DEFAULT });
    let pool_key = (0..3_u32, 0..3_u16).prop_map(|(network, index)| PoolKey { network, index, family: 4 });
    (
        (
            (btree_map(path(), sandbox, 0..3), btree_set(path(), 0..3)),
            btree_map(name(), link(), 0..4),
            btree_set(address(), 0..3),
            vlans(),
        ),
        (btree_map(address().prop_map(IpNetwork::from), route, 0..4), btree_set(attachment(), 0..5)),
        (btree_map(endpoint_key, endpoint, 0..4), btree_map(name(), port(), 0..4)),
        (btree_map((1..3_u32, mac()), fdb, 0..4), btree_map(publish_key, publish, 0..3)),
        (btree_set(address().prop_map(Addr::from), 0..3), btree_map(name(), address().prop_map(Addr::from), 0..3)),
        (btree_map(0..3_u32, timeouts, 0..3), btree_map(pool_key, address().prop_map(Addr::from), 0..3)),
        (btree_map(1..4_u32, prefixes(1), 0..3), prefixes(0)),
    )
        .prop_map(
            |(
                ((namespaces, names), links, gateways, vlans),
                (routes, attachments),
                (endpoints, ports),
                (fdb, publishes),
                rest,
                own,
                sources,
            )| {
                let ((local_addresses, uplinks), (allowed, blocked)) = (rest, sources);
                let (timeouts, snat_pools) = own;
                Target {
                    namespaces,
                    vlans,
                    links,
                    gateways,
                    routes,
                    attachments,
                    stale_attachments: BTreeSet::new(),
                    endpoints,
                    ports,
                    fdb,
                    publishes,
                    allowed,
                    blocked,
                    local_addresses,
                    uplinks,
                    timeouts,
                    snat_pools,
                    names,
                }
            },
        )
}

proptest! {
    #[test]
    fn a_plan_that_is_carried_out_leaves_nothing_to_do(
        target in any_target(name().boxed()),
        seen in any_target(seen_name().boxed()),
        is_upgrade in any::<bool>(),
    ) {
        let stale_attachments = if is_upgrade { seen.attachments.clone() } else { BTreeSet::new() };
        let mut now = Observed(Target { stale_attachments, ..seen });
        let ops = plan(&target, &now);
        prop_assert_eq!(&ops, &plan(&target, &now), "equal inputs give equal plans");
        prop_assert!(ops.is_sorted_by_key(Op::phase), "{:?}", ops);
        let purges = ops.iter().filter(|op| op.phase() == Phase::PurgeFlows).count();
        prop_assert!(purges <= 1);
        for op in &ops {
            now.apply(op);
        }
        prop_assert_eq!(plan(&target, &now), []);
        prop_assert_eq!(now.0, target);
    }
}
