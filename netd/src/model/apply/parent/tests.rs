//! Does a network get the parent that it may have, and is it refused all others, in the words promised?

use super::*;
use crate::model::attach::Attach;
use crate::model::command::{Command, ContainerSpec};
use crate::model::testing::{container, context, network, on_parent, publish, state};
use std::net::IpAddr;

fn macvlan(name: &str, parent: &str, subnet: &str, options: &[(&str, &str)]) -> NetworkSpec {
    on_parent(name, Driver::Macvlan, parent, subnet, options)
}

fn ipvlan(name: &str, parent: &str, subnet: &str) -> NetworkSpec {
    on_parent(name, Driver::Ipvlan, parent, subnet, &[])
}

fn with(specs: &[NetworkSpec]) -> State {
    let mut state = state();
    for spec in specs {
        state.apply(&Command::CreateNetwork(spec.clone()), &context()).unwrap();
    }
    state
}

fn refused_by(state: &State, command: &Command, context: &Context) -> (&'static str, String) {
    let refusal = state.clone().apply(command, context).expect_err("should be refused");
    (refusal.code(), refusal.to_string())
}

fn refused(state: &State, spec: NetworkSpec) -> (&'static str, String) {
    refused_by(state, &Command::CreateNetwork(spec), &context())
}

fn on(name: &str, networks: &[&str]) -> ContainerSpec {
    ContainerSpec { networks: networks.iter().copied().map(Attach::to).collect(), ..container(name) }
}

#[test]
fn a_parent_is_there_or_a_vlan_of_one_that_is() {
    let state = with(&[
        macvlan("lan", "lan0", "10.9.0.0/24", &[]),
        macvlan("twenty", "lan0.20", "10.9.20.0/24", &[("macvlan_mode", "vepa")]),
        NetworkSpec { parent: None, ..ipvlan("up", "", "10.9.30.0/24") }.with("parent", "eth0"),
    ]);
    let parent = |name: &str| state.networks[name].parent.clone().unwrap();
    let lan = Parent { interface: "lan0".to_owned(), vlan: None, wire: Wire::Macvlan(MacvlanMode::Bridge) };
    assert_eq!(parent("lan"), lan);
    let vlan = Vlan { of: "lan0".to_owned(), id: 20 };
    let twenty = Parent { interface: "lan0.20".to_owned(), vlan: Some(vlan), wire: Wire::Macvlan(MacvlanMode::Vepa) };
    assert_eq!(parent("twenty"), twenty);
    assert_eq!(parent("up"), Parent { interface: "eth0".to_owned(), wire: Wire::Ipvlan(IpvlanMode::L2), ..lan });
}

impl NetworkSpec {
    fn with(mut self, key: &str, value: &str) -> Self {
        self.options.insert(key.to_owned(), value.to_owned());
        self
    }
}

#[test]
fn a_parent_that_cannot_be_is_refused() {
    let state = with(&[]);
    let spec = |parent: &str| macvlan("lan", parent, "10.9.0.0/24", &[]);
    let cases = [
        (
            spec("wg0"),
            "no_parent",
            "network \"lan\": the host has no Ethernet interface named \"wg0\"; it has eth0, lan0",
        ),
        (spec("wg0.20"), "no_parent", "the host has no Ethernet interface named \"wg0.20\""),
        (spec("lan0.5000"), "no_parent", "the host has no Ethernet interface named \"lan0.5000\""),
        (NetworkSpec { parent: None, ..spec("") }, "bad_network", "it needs a parent, the interface of the host"),
        (
            spec("lan0").with("parent", "eth0"),
            "bad_network",
            "--parent lan0 and the option parent=eth0 are two; name one",
        ),
        (NetworkSpec { driver: Driver::Bridge, ..spec("lan0") }, "bad_network", "only networks of the drivers macvlan"),
        (NetworkSpec { driver: Driver::Host, ..spec("lan0") }, "bad_network", "made with the driver bridge, macvlan"),
        (spec("lan0").with("macvlan_mode", "x"), "bad_network", "write bridge, vepa, private or passthru"),
        (spec("lan0").with("ipvlan_mode", "l3"), "bad_network", "ipvlan_mode is an option of another driver"),
        (network("b").with("macvlan_mode", "vepa"), "bad_network", "macvlan_mode is an option of another driver"),
        (
            NetworkSpec { internal: true, ..spec("lan0") },
            "bad_network",
            "--internal has no meaning on the wire of an interface",
        ),
        (NetworkSpec { no_icc: true, ..spec("lan0") }, "bad_network", "take --opt macvlan_mode=private"),
        (
            NetworkSpec { no_icc: true, ..ipvlan("lan", "lan0", "10.9.0.0/24") },
            "bad_network",
            "with one MAC address apart",
        ),
        (NetworkSpec { no_masquerade: true, ..spec("lan0") }, "bad_network", "nothing is masqueraded there"),
        (spec("lan0").with("timeout-icmp", "5"), "bad_network", "netd tracks no connections there"),
        (spec("lan0").with("snat-pool", "198.18.0.1"), "bad_network", "nothing is masqueraded there"),
        (NetworkSpec { mtu: Some(1500), ..spec("lan0") }, "bad_network", "MTU 1500 is more than the 1400 of lan0"),
    ];
    for (spec, code, text) in cases {
        let refused = refused(&state, spec);
        assert!(refused.0 == code && refused.1.contains(text), "{refused:?} for {text}");
    }
    let mut long = context();
    long.facts.interfaces.insert("a-long-name00".to_owned(), long.facts.interfaces["lan0"]);
    let (_, text) = refused_by(&state, &Command::CreateNetwork(spec("a-long-name00.20")), &long);
    assert!(text.contains("a-long-name00.20 is longer than the 15 bytes of a name"), "{text}");
}

#[test]
fn a_driver_that_the_kernel_lacks_is_named() {
    let state = with(&[]);
    let lacking = |driver| Context { missing_drivers: [driver].into(), ..context() };
    let vlan = Command::CreateNetwork(macvlan("lan", "lan0.20", "10.9.0.0/24", &[]));
    let plain = Command::CreateNetwork(macvlan("lan", "lan0", "10.9.0.0/24", &[]));
    assert_eq!(
        refused_by(&state, &vlan, &lacking(LinkDriver::Vlan)),
        (
            "no_driver",
            "network \"lan\" cannot be made: the kernel has no driver for VLAN sub-interfaces; load the module 8021q \
             (modprobe 8021q), or use a kernel with CONFIG_VLAN_8021Q"
                .to_owned()
        )
    );
    assert_eq!(refused_by(&state, &plain, &lacking(LinkDriver::Macvlan)).0, "no_driver");
    state.clone().apply(&plain, &lacking(LinkDriver::Vlan)).expect("it needs no VLAN");
    // One that is there needs no driver.
    let mut found = lacking(LinkDriver::Vlan);
    found.facts.interfaces.insert("lan0.20".to_owned(), found.facts.interfaces["lan0"]);
    let mut state = state;
    state.apply(&vlan, &found).expect("it is there");
    assert_eq!(state.networks["lan"].parent.as_ref().and_then(|parent| parent.vlan.clone()), None);
}

#[test]
fn several_networks_share_a_parent_but_for_passthru_and_the_other_driver() {
    let state = with(&[
        macvlan("one", "lan0", "10.9.0.0/24", &[]),
        macvlan("two", "lan0", "10.9.1.0/24", &[("macvlan_mode", "private")]),
        macvlan("alone", "eth0", "10.9.2.0/24", &[("macvlan_mode", "passthru")]),
    ]);
    let in_use = |spec| {
        let (code, text) = refused(&state, spec);
        assert_eq!(code, "parent_in_use");
        text
    };
    assert_eq!(
        in_use(macvlan("three", "lan0", "10.9.3.0/24", &[("macvlan_mode", "passthru")])),
        "interface lan0 is the parent of network \"one\" already, and passthru takes it alone; choose another parent, or \
         remove that first"
    );
    assert!(in_use(macvlan("three", "eth0", "10.9.3.0/24", &[])).contains("which takes it alone, as passthru"));
    assert!(in_use(ipvlan("three", "lan0", "10.9.3.0/24")).contains("by another driver, and the kernel takes one"));
}

#[test]
fn subnets_overlap_only_where_the_wires_are_others() {
    let state = with(&[macvlan("one", "lan0", "10.9.0.0/24", &[])]);
    let (code, text) = refused(&state, macvlan("two", "lan0", "10.9.0.128/25", &[]));
    assert_eq!((code, text.contains("of network \"one\"")), ("subnet_overlaps", true));
    let bridge = NetworkSpec { subnets: vec!["10.9.0.0/24".parse().unwrap()], ..network("b") };
    assert_eq!(refused(&state, bridge).0, "subnet_overlaps");
    assert_eq!(refused(&state, macvlan("two", "lan0", "10.208.0.0/24", &[])).0, "subnet_overlaps");
    with(&[macvlan("one", "lan0", "10.9.0.0/24", &[]), macvlan("two", "eth0", "10.9.0.0/24", &[])]);
    // The host is on that wire too, and routes it.
    let lan = |gateway: Option<&str>| NetworkSpec {
        gateways: gateway.map(|text| text.parse().unwrap()).into_iter().collect(),
        ..macvlan("lan", "eth0", "198.18.0.0/24", &[])
    };
    let (_, text) = refused(&state, lan(None));
    assert!(text.contains("the gateway 198.18.0.1 is an address of this host, which containers on its wire"), "{text}");
    let mut state = with(&[lan(Some("198.18.0.2"))]);
    let aux = &state.networks["lan"].subnets[0].aux_addresses;
    assert_eq!(aux, &[("host".to_owned(), IpAddr::from([198, 18, 0, 1]))].into());
    state.apply(&Command::CreateContainer(on("db", &["lan"])), &context()).unwrap();
    assert_eq!(state.containers["db"].endpoints[0].ipv4.unwrap().to_string(), "198.18.0.3/24");
    let taken = ContainerSpec { ip: Some("198.18.0.1".parse().unwrap()), ..on("thief", &["lan"]) };
    let (code, text) = refused_by(&state, &Command::CreateContainer(taken), &context());
    assert_eq!((code, text.contains("the auxiliary address \"host\"")), ("address_taken", true));
}

#[test]
fn passthru_takes_one_container_and_its_mac_is_the_parents() {
    let mut state = with(&[
        macvlan("alone", "lan0", "10.9.2.0/24", &[("macvlan_mode", "passthru")]),
        ipvlan("up", "eth0", "10.9.3.0/24"),
    ]);
    for network in ["alone", "up"] {
        let spec = ContainerSpec { mac: Some("02:00:00:00:00:09".parse().unwrap()), ..on("a", &[network]) };
        let (code, text) = refused_by(&state, &Command::CreateContainer(spec), &context());
        assert_eq!((code, text.contains("leave --mac out")), ("mac_of_parent", true));
    }
    state.apply(&Command::CreateContainer(on("a", &["alone"])), &context()).unwrap();
    let (code, text) = refused_by(&state, &Command::CreateContainer(on("b", &["alone"])), &context());
    assert_eq!(
        (code, text.contains("takes one container, since it is passthru, and has \"a\"")),
        ("parent_taken", true)
    );
    for name in ["b", "c"] {
        state.apply(&Command::CreateContainer(on(name, &["up"])), &context()).unwrap();
    }
}

#[test]
fn ports_are_published_over_bridge_networks_alone() {
    let mut state = with(&[macvlan("lan", "lan0", "10.9.0.0/24", &[])]);
    for spec in [on("only", &["lan"]), on("first", &["lan", "bridge"]), on("second", &["bridge", "lan"])] {
        state.apply(&Command::CreateContainer(spec), &context()).unwrap();
    }
    let told = |name| refused_by(&state, &publish(name, &["8080:80"]), &context());
    assert_eq!(
        told("only"),
        (
            "no_address",
            "container \"only\" has no address to publish to: it is on the wire of an interface of the host, where its \
             ports answer at its own address"
                .to_owned()
        )
    );
    assert!(told("first").1.contains("its default route is by a macvlan or ipvlan network"), "{:?}", told("first"));
    state.apply(&publish("second", &["8080:80"]), &context()).unwrap();
    // Its gateway is somebody else's address.
    let at_gateway = publish("second", &["10.9.0.1:8081:80"]);
    assert_eq!(refused_by(&state, &at_gateway, &context()).0, "not_host_address");
}
