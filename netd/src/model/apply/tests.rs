//! Does every rule hold, in the words promised?

use crate::model::command::{
    Command, ContainerSpec, Context, HostSocket, NamespaceAt, NetworkSpec, Unblock, Unpublish,
};
use crate::model::family::Family;
use crate::model::node::Ipv6;
use crate::model::state::{Mode, Protocol, PublishKey, State};
use crate::model::testing::{any_command, block, container, context, network, publish, publish_to, state, unblock};
use proptest::prelude::*;
use std::collections::BTreeSet;

fn unpublish(name: &str, specs: &[&str]) -> Command {
    let ports = Unpublish::Ports(specs.iter().map(|spec| spec.parse().unwrap()).collect());
    Command::Unpublish { container: name.to_owned(), ports }
}

fn on(name: &str, networks: &[&str]) -> ContainerSpec {
    ContainerSpec { networks: networks.iter().map(|&n| n.into()).collect(), ..container(name) }
}

fn names(names: &[&str]) -> Vec<String> {
    names.iter().map(|&name| name.to_owned()).collect()
}

/// Carries out; the refusal's code and text.
fn refused_by(state: &State, command: &Command, context: &Context) -> (&'static str, String) {
    let refusal = state.clone().apply(command, context).expect_err("should be refused");
    (refusal.code(), refusal.to_string())
}

fn refused(state: &State, command: &Command) -> (&'static str, String) {
    refused_by(state, command, &context())
}

fn after(mut state: State, commands: &[Command]) -> State {
    for command in commands {
        state.apply(command, &context()).unwrap_or_else(|refusal| panic!("{command:?}: {refusal}"));
    }
    state
}

fn published(state: &State) -> Vec<String> {
    state.publishes.iter().map(|(key, p)| format!("{} {}", p.container, key.map_to(p))).collect()
}

#[test]
fn builtins_are_installed_once() {
    let mut state = State::default();
    state.apply(&Command::InstallBuiltins, &context()).unwrap();
    assert_eq!(state.revision, 1);
    assert_eq!(state.networks.keys().collect::<Vec<_>>(), ["bridge", "host", "none"]);
    let subnet = &state.networks["bridge"].subnets[0];
    assert_eq!((subnet.subnet.to_string(), subnet.gateway.to_string()), ("10.208.0.0/24".into(), "10.208.0.1".into()));
    assert_eq!(state.networks.values().map(|n| n.number).collect::<Vec<_>>(), [1, 2, 3]);
    assert_eq!(state.networks.values().map(|n| &n.id).collect::<BTreeSet<_>>().len(), 3, "identifiers differ");
    let before = state.clone();
    state.apply(&Command::InstallBuiltins, &context()).unwrap();
    assert_eq!(state, before);
}

#[test]
fn a_container_gets_address_mac_and_interfaces() {
    let state = after(
        state(),
        &[
            Command::CreateNetwork(network("back")),
            Command::CreateContainer(ContainerSpec {
                ip: Some("10.208.0.99".parse().unwrap()),
                publish: vec!["8080:80".parse().unwrap()],
                ..on("both", &["bridge", "back"])
            }),
            Command::CreateContainer(on("lonely", &["none"])),
            Command::CreateContainer(on("plain", &["host"])),
        ],
    );
    let web = &state.containers["web"];
    assert_eq!((web.mode, web.hostname.as_str(), web.id.len()), (Mode::Bridge, "web", 64));
    let rows: Vec<String> = state
        .containers
        .values()
        .flat_map(|c| c.endpoints.iter().map(move |e| (c, e)))
        .map(|(c, e)| {
            format!("{} {} {} {} {} {}", c.name, e.interface, e.host_interface, e.network, e.ipv4.unwrap(), e.mac)
        })
        .collect();
    assert_eq!(
        rows,
        [
            "both eth0 nd3 bridge 10.208.0.99/24 02:42:0a:d0:00:63",
            "both eth1 nd4 back 10.208.1.2/24 02:42:0a:d0:01:02",
            "client eth0 nd2 bridge 10.208.0.3/24 02:42:0a:d0:00:03",
            "web eth0 nd1 bridge 10.208.0.2/24 02:42:0a:d0:00:02",
        ]
    );
    assert_eq!(state.containers["lonely"].mode, Mode::None);
    assert_eq!(state.containers["plain"].mode, Mode::Host);
    assert_eq!(published(&state), ["both 8080:80/tcp"]);
}

#[test]
fn endpoint_numbers_and_freed_addresses_are_not_used_again_at_once() {
    let again =
        after(state(), &[Command::RemoveContainers(names(&["web"])), Command::CreateContainer(container("web"))]);
    let endpoint = &again.containers["web"].endpoints[0];
    assert_eq!((endpoint.number, endpoint.ipv4.unwrap().to_string().as_str()), (3, "10.208.0.4/24"));
}

#[test]
fn an_address_whose_mac_somebody_chose_is_passed_over() {
    let chosen = ContainerSpec { mac: Some("02:42:0a:d0:00:05".parse().unwrap()), ..container("chosen") };
    let state = after(state(), &[Command::CreateContainer(chosen), Command::CreateContainer(container("next"))]);
    let address = |name: &str| state.containers[name].endpoints[0].ipv4.unwrap().to_string();
    assert_eq!((address("chosen"), address("next")), ("10.208.0.4/24".to_owned(), "10.208.0.6/24".to_owned()));
}

#[test]
#[expect(clippy::too_many_lines, reason = "one table of refusals")]
fn containers_are_refused_with_exact_words() {
    let state = after(
        state(),
        &[
            Command::CreateNetwork(network("back")),
            Command::CreateContainer(ContainerSpec { netns: Some("/run/netns/x".into()), ..container("held") }),
        ],
    );
    let refused_spec = |spec: ContainerSpec| {
        refused_by(
            &state,
            &Command::CreateContainer(spec),
            &Context { namespaces: BTreeSet::from(["theirs".to_owned()]), ..context() },
        )
    };
    let ip = |ip: &str| ContainerSpec { ip: Some(ip.parse().unwrap()), ..container("new") };
    let ip6 = |ip: &str| ContainerSpec { ip6: Some(ip.parse().unwrap()), ..container("new") };
    let mac = |mac: &str| ContainerSpec { mac: Some(mac.parse().unwrap()), ..container("new") };
    let netns = |path: &str| ContainerSpec { netns: Some(path.into()), ..container("new") };
    for (spec, code, text) in [
        (
            container("web"),
            "name_taken",
            "there is a container named \"web\" already; choose another name or remove it first",
        ),
        (
            container("a/b"),
            "bad_name",
            "container name \"a/b\" has a '/' in it; use letters, digits, '_', '.' and '-', a letter or digit first, at most 63",
        ),
        (
            container("theirs"),
            "namespace_exists",
            "a network namespace named \"theirs\" exists already and is not taken over; choose another name, or pass its path with --netns to use it",
        ),
        (on("new", &["bck"]), "unknown_network", "no network named \"bck\"; did you mean \"back\"?"),
        (
            on("new", &["host", "bridge"]),
            "network_stands_alone",
            "\"host\" stands alone: a container is either on it or on other networks",
        ),
        (
            on("new", &["bridge", "none"]),
            "network_stands_alone",
            "\"none\" stands alone: a container is either on it or on other networks",
        ),
        (on("new", &["back", "back"]), "network_twice", "network \"back\" is named twice; name it once"),
        (
            on("new", &["container:web", "bridge"]),
            "network_stands_alone",
            "\"container:web\" stands alone: a container is either on it or on other networks",
        ),
        (on("new", &["container:wbe"]), "unknown_container", "no container named \"wbe\"; did you mean \"web\"?"),
        (
            ip("10.209.0.2"),
            "address_outside",
            "address 10.209.0.2 is outside the subnet 10.208.0.0/24 of network \"bridge\"; choose one inside",
        ),
        (
            ip("10.208.0.2"),
            "address_taken",
            "address 10.208.0.2 of network \"bridge\" is taken by container \"web\"; choose another or leave it to netd",
        ),
        (
            ip("10.208.0.1"),
            "address_taken",
            "address 10.208.0.1 of network \"bridge\" is taken by the network's gateway; choose another or leave it to netd",
        ),
        (
            ip("10.208.0.255"),
            "address_taken",
            "address 10.208.0.255 of network \"bridge\" is taken by broadcast; choose another or leave it to netd",
        ),
        (ip("fd00::2"), "other_family", "fd00::2 is an IPv6 address; give it with --ip6"),
        (ip6("10.208.0.9"), "other_family", "10.208.0.9 is an IPv4 address; give it with --ip"),
        (
            ip6("fd00::2"),
            "no_subnet",
            "network \"bridge\" has no IPv6 subnet for fd00::2; leave --ip6 out or choose another network",
        ),
        (
            ContainerSpec { networks: vec!["host".into()], ..ip6("fd00::2") },
            "needs_network",
            "--ip6 needs a network of its own, and \"host\" is none; leave --ip6 out or choose another network",
        ),
        (
            mac("02:42:0a:d0:00:03"),
            "mac_taken",
            "MAC address 02:42:0a:d0:00:03 of network \"bridge\" is taken by container \"client\"; choose another with --mac",
        ),
        (
            mac("02:42:0a:d0:00:01"),
            "mac_taken",
            "MAC address 02:42:0a:d0:00:01 of network \"bridge\" is taken by the network's gateway; choose another with --mac",
        ),
        (
            mac("01:00:00:00:00:01"),
            "bad_mac",
            "01:00:00:00:00:01 is no MAC address of an interface: it is a group's; choose a unicast one, such as 02:00:0a:d0:00:02",
        ),
        (
            ContainerSpec { networks: vec!["host".into()], ..ip("10.208.0.9") },
            "needs_network",
            "--ip needs a network of its own, and \"host\" is none; leave --ip out or choose another network",
        ),
        (
            ContainerSpec { networks: vec!["host".into()], ..netns("/run/netns/y") },
            "needs_network",
            "--netns needs a network of its own, and \"host\" is none; leave --netns out or choose another network",
        ),
        (
            netns("run/y"),
            "relative_namespace",
            "the namespace path \"run/y\" is not absolute; write it from the root, such as /run/netns/web",
        ),
        (
            netns("/run/netns/x"),
            "namespace_in_use",
            "the namespace /run/netns/x is used by container \"held\" already; remove that first",
        ),
        (
            ContainerSpec { publish: vec!["80:80".parse().unwrap()], ..on("new", &["host"]) },
            "no_address",
            "container \"new\" has no address to publish to: it is on the host's own network, where its ports answer already",
        ),
        (
            ContainerSpec { aliases: vec!["a b".into()], ..container("new") },
            "bad_name",
            "alias name \"a b\" has a ' ' in it; use letters, digits, '_', '.' and '-', a letter or digit first, at most 63",
        ),
    ] {
        assert_eq!(refused_spec(spec), (code, text.to_owned()));
    }
    let unknown = refused(&state, &Command::RemoveContainers(names(&["web", "clinet"])));
    assert_eq!(unknown, ("unknown_container", "no container named \"clinet\"; did you mean \"client\"?".to_owned()));
    let mut pruned = state.clone();
    pruned.apply(&Command::PruneContainers(names(&["web", "gone"])), &context()).unwrap();
    assert!(!pruned.containers.contains_key("web"));
}

#[test]
fn networks_follow_what_was_asked() {
    let asked = NetworkSpec {
        subnets: vec!["10.1.0.0/24".parse().unwrap()],
        gateways: vec!["10.1.0.254".parse().unwrap()],
        ip_ranges: vec!["10.1.0.64/26".parse().unwrap()],
        aux_addresses: [("nas".to_owned(), "10.1.0.64".parse().unwrap())].into(),
        ..network("lab")
    };
    let state = after(state(), &[Command::CreateNetwork(asked), Command::CreateContainer(on("c", &["lab"]))]);
    assert_eq!(state.containers["c"].endpoints[0].ipv4.unwrap().to_string(), "10.1.0.65/24");
    let taken = ContainerSpec { ip: Some("10.1.0.64".parse().unwrap()), ..on("d", &["lab"]) };
    assert_eq!(
        refused(&state, &Command::CreateContainer(taken)).1,
        "address 10.1.0.64 of network \"lab\" is taken by the auxiliary address \"nas\"; choose another or leave it to netd"
    );
    let removed = after(
        state,
        &[
            Command::RemoveContainers(names(&["c"])),
            Command::RemoveNetworks(names(&["lab"])),
            Command::CreateNetwork(network("lab")),
        ],
    );
    assert_eq!(removed.networks["lab"].number, 5, "numbers are not used again");
}

#[test]
fn networks_are_refused_with_exact_words() {
    let state = state();
    let subnet = |text: &str| NetworkSpec { subnets: vec![text.parse().unwrap()], ..network("lab") };
    let option = |key: &str, value: &str| [(key.to_owned(), value.to_owned())].into();
    let lab = subnet("10.1.0.0/24");
    for (spec, code, text) in [
        (
            network("bridge"),
            "name_taken",
            "there is a network named \"bridge\" already; choose another name or remove it first",
        ),
        (
            subnet("10.208.0.0/16"),
            "subnet_overlaps",
            "subnet 10.208.0.0/16 overlaps 10.208.0.0/24, of network \"bridge\"; choose another",
        ),
        (
            subnet("198.18.0.128/25"),
            "subnet_overlaps",
            "subnet 198.18.0.128/25 overlaps 198.18.0.0/24, which the host routes already; choose another",
        ),
        (
            subnet("10.1.0.7/24"),
            "bad_network",
            "network \"lab\": 10.1.0.7/24 is an address in a subnet; write 10.1.0.0/24",
        ),
        (subnet("10.1.0.0/31"), "bad_network", "network \"lab\": prefix length /31 is not from /8 to /30"),
        (
            subnet("127.0.0.0/24"),
            "bad_network",
            "network \"lab\": 127.0.0.0/24 holds loopback addresses; choose a private range (RFC 1918)",
        ),
        (
            NetworkSpec { gateways: vec!["10.2.0.1".parse().unwrap()], ..lab.clone() },
            "bad_network",
            "network \"lab\": gateway 10.2.0.1 is outside the subnet 10.1.0.0/24",
        ),
        (
            NetworkSpec { gateways: vec!["10.1.0.255".parse().unwrap()], ..lab.clone() },
            "bad_network",
            "network \"lab\": 10.1.0.255 cannot be the gateway: it is set aside already",
        ),
        (
            NetworkSpec { ip_ranges: vec!["10.1.0.0/23".parse().unwrap()], ..lab.clone() },
            "bad_network",
            "network \"lab\": range 10.1.1.255 is outside the subnet 10.1.0.0/24",
        ),
        (
            NetworkSpec { mtu: Some(67), ..lab.clone() },
            "bad_network",
            "network \"lab\": MTU 67 is not from 68 to 65535",
        ),
        (
            NetworkSpec { options: option("timeout-icmp", "0s"), ..lab.clone() },
            "bad_network",
            "network \"lab\": timeout-icmp is 0s; it must be from 1 s to 30 days",
        ),
        (
            NetworkSpec { options: option("snat-pool", "198.18.0.1"), internal: true, ..lab.clone() },
            "bad_network",
            "network \"lab\": snat-pool has no use: the network is internal; leave one of them out",
        ),
    ] {
        assert_eq!(refused(&state, &Command::CreateNetwork(spec)), (code, text.to_owned()));
    }
    let state = after(state, &[Command::CreateNetwork(lab), Command::CreateContainer(on("c", &["lab"]))]);
    for (name, code, text) in [
        ("lab", "network_in_use", "network \"lab\" is in use by \"c\"; disconnect or remove that first"),
        ("bridge", "builtin_network", "network \"bridge\" is built in and stays"),
        ("lub", "unknown_network", "no network named \"lub\"; did you mean \"lab\"?"),
    ] {
        assert_eq!(refused(&state, &Command::RemoveNetworks(names(&[name]))), (code, text.to_owned()));
    }
    let mut full = context();
    full.facts.routed.insert("10.208.0.0/12".parse().unwrap());
    assert_eq!(refused_by(&state, &Command::CreateNetwork(network("x")), &full).0, "subnets_used_up");
    full.subnet_pools = ["10.212.0.0/16", "172.20.0.0/15"].map(|text| text.parse().unwrap()).into();
    let mut next = state.clone();
    next.apply(&Command::CreateNetwork(network("x")), &full).unwrap();
    assert_eq!(next.networks["x"].subnets[0].subnet.to_string(), "172.20.0.0/24", "the next pool");
}

#[test]
fn a_network_may_have_either_family_or_both() {
    let subnets = |texts: &[&str]| texts.iter().map(|text| text.parse().unwrap()).collect::<Vec<_>>();
    let with = |ipv6, texts: &[&str]| NetworkSpec { ipv6, subnets: subnets(texts), ..network("lab") };
    for (spec, expected) in [
        (with(false, &[]), "10.208.1.0/24 10.208.1.1"),
        (with(true, &[]), "10.208.1.0/24 10.208.1.1, fd07:707:707::/64 fd07:707:707::1"),
        (with(false, &["fd00:6::/64"]), "fd00:6::/64 fd00:6::1"),
        (with(true, &["fd00:6::/64"]), "10.208.1.0/24 10.208.1.1, fd00:6::/64 fd00:6::1"),
        (with(true, &["10.1.0.0/24"]), "10.1.0.0/24 10.1.0.1, fd07:707:707::/64 fd07:707:707::1"),
        (with(false, &["fd00:6::/64", "10.1.0.0/24"]), "10.1.0.0/24 10.1.0.1, fd00:6::/64 fd00:6::1"),
        (
            NetworkSpec {
                gateways: vec!["10.1.0.9".parse().unwrap(), "fd00:6::9".parse().unwrap()],
                ..with(false, &["fd00:6::/64", "10.1.0.0/24"])
            },
            "10.1.0.0/24 10.1.0.9, fd00:6::/64 fd00:6::9",
        ),
        (
            NetworkSpec {
                aux_addresses: [("router".to_owned(), "fd00:6::1".parse().unwrap())].into(),
                ..with(false, &["fd00:6::/64"])
            },
            "fd00:6::/64 fd00:6::2",
        ),
    ] {
        let state = after(state(), &[Command::CreateNetwork(spec)]);
        let subnets = state.networks["lab"].subnets.iter().map(|s| format!("{} {}", s.subnet, s.gateway));
        assert_eq!(subnets.collect::<Vec<_>>().join(", "), expected);
    }
    // Automatic subnets keep clear of each other and of what the host routes.
    let mut context = context();
    context.facts.routed.insert("fd07:707:707:1::/64".parse().unwrap());
    let mut state = state();
    for name in ["a", "b"] {
        let spec = NetworkSpec { ipv6: true, ..network(name) };
        state.apply(&Command::CreateNetwork(spec), &context).unwrap();
    }
    assert_eq!(state.networks["b"].subnets[1].subnet.to_string(), "fd07:707:707:2::/64");
    let other = Context { entropy: [9; 32], ..context };
    let spec = NetworkSpec { ipv6: true, ..network("c") };
    state.apply(&Command::CreateNetwork(spec), &other).unwrap();
    assert_eq!(
        state.networks["c"].subnets[1].subnet.to_string(),
        "fd07:707:707:3::/64",
        "an installation has one range"
    );
}

#[test]
fn ipv6_networks_are_refused_with_exact_words() {
    let state = after(state(), &[Command::CreateNetwork(NetworkSpec { ipv6: true, ..network("dual") })]);
    let subnets = |texts: &[&str]| NetworkSpec {
        subnets: texts.iter().map(|text| text.parse().unwrap()).collect(),
        ..network("lab")
    };
    let lab = subnets(&["fd00:6::/64"]);
    for (spec, code, text) in [
        (
            subnets(&["fd00:6::/64", "fd00:7::/64"]),
            "bad_network",
            "network \"lab\": several IPv6 subnets are named; one of each family is the most",
        ),
        (
            subnets(&["10.1.0.0/24", "fd00:6::/64", "10.2.0.0/24"]),
            "bad_network",
            "network \"lab\": several IPv4 subnets are named; one of each family is the most",
        ),
        (
            subnets(&["fd07:707:707::/63"]),
            "subnet_overlaps",
            "subnet fd07:707:707::/63 overlaps fd07:707:707::/64, of network \"dual\"; choose another",
        ),
        (
            subnets(&["fd00:6::7/64"]),
            "bad_network",
            "network \"lab\": fd00:6::7/64 is an address in a subnet; write fd00:6::/64",
        ),
        (subnets(&["fd00:6::/127"]), "bad_network", "network \"lab\": prefix length /127 is not from /16 to /126"),
        (
            subnets(&["fe80::/64"]),
            "bad_network",
            "network \"lab\": fe80::/64 holds link-local addresses; choose a private range (fd00::/8, RFC 4193)",
        ),
        (
            subnets(&["::ffff:0.0.0.0/96"]),
            "bad_network",
            "network \"lab\": ::ffff:0.0.0.0/96 holds reserved addresses; choose a private range (fd00::/8, RFC 4193)",
        ),
        (
            subnets(&["fd6e:6574:6400::/48"]),
            "bad_network",
            "network \"lab\": fd6e:6574:6400::/48 holds netd's own addresses; choose a private range (fd00::/8, RFC 4193)",
        ),
        (
            NetworkSpec { gateways: vec!["fd00:6::".parse().unwrap()], ..lab.clone() },
            "bad_network",
            "network \"lab\": fd00:6:: cannot be the gateway: it is set aside already",
        ),
        (
            NetworkSpec { gateways: vec!["10.1.0.1".parse().unwrap()], ..lab.clone() },
            "bad_network",
            "network \"lab\": gateway 10.1.0.1: the network has no IPv4 subnet; name one with --subnet",
        ),
        (
            NetworkSpec { gateways: vec!["fd07:707:707:1::1".parse().unwrap()], ipv6: true, ..network("lab") },
            "bad_network",
            "network \"lab\": a gateway needs its subnet; name it with --subnet",
        ),
        (
            NetworkSpec { ip_ranges: vec!["10.1.0.0/25".parse().unwrap()], ..lab.clone() },
            "bad_network",
            "network \"lab\": range 10.1.0.0: the network has no IPv4 subnet; name one with --subnet",
        ),
        (
            NetworkSpec { aux_addresses: [("nas".to_owned(), "fd00:7::1".parse().unwrap())].into(), ..lab.clone() },
            "bad_network",
            "network \"lab\": auxiliary address fd00:7::1 is outside the subnet fd00:6::/64",
        ),
        (
            NetworkSpec { mtu: Some(1279), ..lab.clone() },
            "bad_network",
            "network \"lab\": MTU 1279 is too little for IPv6, which needs 1280",
        ),
    ] {
        assert_eq!(refused(&state, &Command::CreateNetwork(spec)), (code, text.to_owned()));
    }
    for (ipv6, text) in [
        (
            Ipv6::Absent,
            "network \"lab\" cannot have IPv6: this host's kernel has no IPv6 (there is no /proc/sys/net/ipv6); \
             boot it with IPv6, without ipv6.disable=1, or use IPv4",
        ),
        (
            Ipv6::Disabled,
            "network \"lab\" cannot have IPv6: IPv6 is switched off on this host (net.ipv6.conf.lo.disable_ipv6 is 1); \
             set net.ipv6.conf.all.disable_ipv6=0, or use IPv4",
        ),
    ] {
        let mut context = context();
        context.facts.ipv6 = ipv6;
        let refused = refused_by(&state, &Command::CreateNetwork(lab.clone()), &context);
        assert_eq!(refused, ("ipv6_unavailable", text.to_owned()));
        State::clone(&state).apply(&Command::CreateNetwork(network("four")), &context).unwrap();
    }
}

#[test]
fn containers_get_an_address_of_each_subnet() {
    let six = NetworkSpec { subnets: vec!["fd00:6::/64".parse().unwrap()], ..network("six") };
    let dual = NetworkSpec { ipv6: true, ..network("dual") };
    let chosen = ContainerSpec { ip6: Some("fd00:6::99".parse().unwrap()), ..on("chosen", &["six"]) };
    let squatter = ContainerSpec { mac: Some("02:47:00:00:00:06".parse().unwrap()), ..on("squatter", &["six"]) };
    let state = after(
        state(),
        &[
            Command::CreateNetwork(six),
            Command::CreateNetwork(dual),
            Command::CreateContainer(chosen),
            Command::CreateContainer(on("both", &["dual"])),
            Command::CreateContainer(squatter),
            Command::CreateContainer(on("next", &["six"])),
        ],
    );
    let row = |name: &str| {
        let endpoint = &state.containers[name].endpoints[0];
        let addresses: Vec<String> = endpoint.addresses().map(|address| address.to_string()).collect();
        format!("{} {}", addresses.join(" "), endpoint.mac)
    };
    assert_eq!(row("chosen"), "fd00:6::99 02:47:00:00:00:03");
    assert_eq!(row("both"), "10.208.1.2 fd07:707:707::2 02:42:0a:d0:01:02");
    assert_eq!(row("squatter"), "fd00:6::2 02:47:00:00:00:06");
    assert_eq!(row("next"), "fd00:6::3 02:48:00:00:00:06", "somebody has chosen the first");
    let ip6 = |text: &str| ContainerSpec { ip6: Some(text.parse().unwrap()), ..on("new", &["six"]) };
    for (spec, code, text) in [
        (
            ip6("fd00:7::2"),
            "address_outside",
            "address fd00:7::2 is outside the subnet fd00:6::/64 of network \"six\"; choose one inside",
        ),
        (
            ip6("fd00:6::99"),
            "address_taken",
            "address fd00:6::99 of network \"six\" is taken by container \"chosen\"; choose another or leave it to netd",
        ),
        (
            ip6("fd00:6::"),
            "address_taken",
            "address fd00:6:: of network \"six\" is taken by all routers of the subnet (anycast); \
             choose another or leave it to netd",
        ),
        (
            ContainerSpec { ip: Some("10.208.0.9".parse().unwrap()), ..on("new", &["six"]) },
            "no_subnet",
            "network \"six\" has no IPv4 subnet for 10.208.0.9; leave --ip out or choose another network",
        ),
        (
            ContainerSpec { mac: Some("02:46:00:00:00:04".parse().unwrap()), ..on("new", &["six"]) },
            "mac_taken",
            "MAC address 02:46:00:00:00:04 of network \"six\" is taken by the network's gateway; choose another with --mac",
        ),
    ] {
        assert_eq!(refused(&state, &Command::CreateContainer(spec)), (code, text.to_owned()));
    }
}

#[test]
fn a_port_without_an_address_is_at_every_address_of_both_families() {
    let six = NetworkSpec { subnets: vec!["fd00:6::/64".parse().unwrap()], ..network("six") };
    let state = after(state(), &[Command::CreateNetwork(six), Command::CreateContainer(on("db", &["six"]))]);
    let with = |commands: &[Command]| after(state.clone(), commands);
    assert_eq!(
        published(&with(&[publish("web", &["80:80", "0.0.0.0:81:81", "[::]:82:82", "[::1]:83:83"])])),
        ["web 80:80/tcp", "web 0.0.0.0:81:81/tcp", "web [::]:82:82/tcp", "web [::1]:83:83/tcp"]
    );
    // What is asked for anew may say more or less of the same.
    let more =
        with(&[publish("web", &["0.0.0.0:80:80"]), publish("web", &["80:80"]), publish("web", &["0.0.0.0:80:80"])]);
    assert_eq!(published(&more), ["web 80:80/tcp"]);
    let halves = with(&[publish("web", &["[::]:80:80", "80:80", "[::1]:80:81"])]);
    assert_eq!(halves.publishes.len(), 3, "a container may overlap itself, and say the same twice");
    for spec in ["80:80", "0.0.0.0:80:80"] {
        assert_eq!(published(&after(with(&[publish("web", &["80:80"])]), &[unpublish("web", &[spec])])), [""; 0]);
        assert_eq!(
            published(&after(with(&[publish("web", &["0.0.0.0:80:80"])]), &[unpublish("web", &[spec])])),
            [""; 0]
        );
    }
    let taken = with(&[publish("web", &["80:80", "[::1]:81:81", "0.0.0.0:82:82"])]);
    for (name, spec, text) in [
        ("client", "[::]:80:80", "port [::]:80/tcp is already published by container \"web\" at 0.0.0.0:80"),
        ("client", "[::1]:80:80", "port [::1]:80/tcp is already published by container \"web\" at 0.0.0.0:80"),
        ("client", "81:80", "port 0.0.0.0:81/tcp is already published by container \"web\" at [::1]:81"),
        ("web", "[::]:80:81", "port [::]:80/tcp is already published by container \"web\" at 0.0.0.0:80"),
    ] {
        let words = format!("{text}; unpublish that first or choose another port");
        assert_eq!(refused(&taken, &publish(name, &[spec])), ("port_published", words));
    }
    after(taken.clone(), &[publish("client", &["0.0.0.0:81:80", "[::]:82:80"])]);
    assert_eq!(
        refused(&taken, &unpublish("web", &["[::]:80:80"])).1,
        "[::]:80:80/tcp of container \"web\" is not published; \
         published are 80:80/tcp, 0.0.0.0:82:82/tcp, [::1]:81:81/tcp"
    );
    // Whoever has no IPv4 address is published at IPv6 addresses alone.
    let db = with(&[publish("db", &["90:90", "[::]:91:91", "[fd00:6::1]:92:92"])]);
    assert_eq!(published(&db), ["db 90:90/tcp", "db [::]:91:91/tcp", "db [fd00:6::1]:92:92/tcp"]);
    for spec in ["0.0.0.0:80:80", "127.0.0.1:80:80", "198.18.0.1::80"] {
        let text = "container \"db\" has no address to publish to: it has no IPv4 address for one of the host to lead to; \
                    name an IPv6 address, such as [::], or none";
        assert_eq!(refused(&state, &publish("db", &[spec])), ("no_address", text.to_owned()));
    }
}

#[test]
fn a_small_network_fills_up() {
    let small = NetworkSpec { subnets: vec!["10.1.0.0/30".parse().unwrap()], ..network("small") };
    let state = after(state(), &[Command::CreateNetwork(small), Command::CreateContainer(on("a", &["small"]))]);
    assert_eq!(
        refused(&state, &Command::CreateContainer(on("b", &["small"]))),
        (
            "addresses_used_up",
            "network \"small\" has no free address left in 10.1.0.0/30; remove containers or make a larger network"
                .to_owned()
        )
    );
}

#[test]
fn ports_are_published_like_bind_would() {
    let state = after(
        state(),
        &[publish("web", &["8080:80", "127.0.0.1:9000:90", "8080:80/udp"]), publish("client", &["198.18.0.1:9000:90"])],
    );
    assert_eq!(
        published(&state),
        ["web 8080:80/tcp", "web 8080:80/udp", "web 127.0.0.1:9000:90/tcp", "client 198.18.0.1:9000:90/tcp"]
    );
    let again = after(state.clone(), &[publish("web", &["8080:80"])]);
    assert_eq!(again, state, "the same again is no change");
    let own = after(state.clone(), &[publish("web", &["127.0.0.1:8080:81"])]);
    assert_eq!(own.publishes.len(), 5, "a container may overlap itself");
    for (name, spec, text) in [
        (
            "client",
            "8080:80",
            "port 0.0.0.0:8080/tcp is already published by container \"web\"; unpublish that first or choose another port",
        ),
        (
            "client",
            "127.0.0.1:8080:80",
            "port 127.0.0.1:8080/tcp is already published by container \"web\" at 0.0.0.0:8080; unpublish that first or choose another port",
        ),
        (
            "client",
            "9000:80",
            "port 0.0.0.0:9000/tcp is already published by container \"web\" at 127.0.0.1:9000; unpublish that first or choose another port",
        ),
        (
            "web",
            "8080:81",
            "port 0.0.0.0:8080/tcp is already published by container \"web\"; unpublish that first or choose another port",
        ),
    ] {
        assert_eq!(refused(&state, &publish(name, &[spec])), ("port_published", text.to_owned()));
    }
    for (spec, code, text) in [
        ("198.18.0.2:80:80", "not_host_address", "the host has no address 198.18.0.2; it has 127.0.0.1, 198.18.0.1"),
        ("[2001:db8::9]:80:80", "not_host_address", "the host has no address 2001:db8::9; it has none"),
        (
            "[fe80::1]:80:80",
            "link_local",
            "fe80::1 is a link-local address, which means nothing without its interface; name another address of the host, or none",
        ),
        (
            "8080:80/sctp",
            "unsupported",
            "publishing 8080:80/sctp is not supported: the checksum of SCTP covers its ports; \
             publish the container's port as the same port of the host",
        ),
    ] {
        assert_eq!(refused(&state, &publish("web", &[spec])), (code, text.to_owned()));
    }
    assert_eq!(refused(&state, &publish("wbe", &["80"])).0, "unknown_container");
    // A gateway and any loopback address are the host's own too.
    after(state, &[publish("web", &["10.208.0.1:80:80", "127.9.9.9:80:80", "80:80/sctp"])]);
}

#[test]
fn what_the_host_has_bound_is_not_published() {
    let socket = |address: &str, inode| HostSocket {
        protocol: Protocol::Tcp,
        port: 80,
        address: address.trim_end_matches(" only").parse().unwrap(),
        inode,
        ipv6_only: address.ends_with(" only"),
    };
    for (bound, spec, conflict) in [
        ("0.0.0.0", "80:80", true),
        ("::", "80:80", true),
        ("::", "127.0.0.1:80:80", true),
        ("127.0.0.1", "80:80", true),
        ("127.0.0.1", "127.0.0.1:80:80", true),
        ("::ffff:127.0.0.1", "127.0.0.1:80:80", true),
        ("127.0.0.2", "127.0.0.1:80:80", false),
        ("::1", "127.0.0.1:80:80", false),
        ("::1", "0.0.0.0:80:80", false),
        ("::1", "80:80", true),
        ("::1", "[::]:80:80", true),
        ("::1", "[::1]:80:80", true),
        ("2001:db8::1", "[::1]:80:80", false),
        (":: only", "80:80", true),
        (":: only", "[::1]:80:80", true),
        (":: only", "0.0.0.0:80:80", false),
        (":: only", "127.0.0.1:80:80", false),
        ("0.0.0.0", "[::]:80:80", false),
        ("::ffff:127.0.0.1", "[::1]:80:80", false),
        ("127.0.0.1", "[::]:80:80", false),
        ("0.0.0.0", "80:80/udp", false),
        ("0.0.0.0", "81:80", false),
    ] {
        let context = Context { host_sockets: BTreeSet::from([socket(bound, 7)]), ..context() };
        let result = state().apply(&publish("web", &[spec]), &context);
        assert_eq!(result.is_err(), conflict, "{spec} with a socket on {bound}");
        if let Err(refusal) = result {
            assert_eq!(refusal.code(), "port_bound");
        }
    }
    let context = Context { host_sockets: BTreeSet::from([socket("127.0.0.1", 7)]), ..context() };
    assert_eq!(
        refused_by(&state(), &publish("web", &["80:80"]), &context).1,
        "port 0.0.0.0:80/tcp is already bound on the host, at 127.0.0.1:80 (socket inode 7); stop what holds it or choose another port"
    );
    // What is published already stays so, although somebody has bound it meanwhile.
    let mut both = after(state(), &[publish("web", &["80:80"])]);
    both.apply(&publish("web", &["80:80"]), &context).unwrap();
}

#[test]
fn picked_ports_are_the_first_free_ones() {
    let context = Context {
        host_sockets: BTreeSet::from([HostSocket {
            protocol: Protocol::Tcp,
            port: 49_153,
            address: "0.0.0.0".parse().unwrap(),
            inode: 1,
            ipv6_only: false,
        }]),
        ..context()
    };
    let mut state = state();
    // Named ones are served first, wherever they stand.
    state.apply(&publish("web", &["80-82", "49155:90"]), &context).unwrap();
    assert_eq!(published(&state), ["web 49152:80/tcp", "web 49154:81/tcp", "web 49155:90/tcp", "web 49156:82/tcp"]);
}

#[test]
fn what_is_not_published_cannot_be_unpublished() {
    let state =
        after(state(), &[publish("web", &["8000-8002:80-82", "127.0.0.1:9000:90"]), publish("client", &["7000:70"])]);
    let less = after(state.clone(), &[unpublish("web", &["8000-8001:80-81", "127.0.0.1::90", "8000:80"])]);
    assert_eq!(published(&less), ["client 7000:70/tcp", "web 8002:82/tcp"]);
    let none = after(state.clone(), &[Command::Unpublish { container: "web".to_owned(), ports: Unpublish::All }]);
    assert_eq!(published(&none), ["client 7000:70/tcp"]);
    for (name, spec, text) in [
        ("client", "8000:80", "8000:80/tcp of container \"client\" is not published; published are 7000:70/tcp"),
        (
            "web",
            "8000-8003:80-83",
            "8003:83/tcp of container \"web\" is not published; published are 8000:80/tcp, 8001:81/tcp, 8002:82/tcp, 127.0.0.1:9000:90/tcp",
        ),
        ("client", "70/udp", "70/udp of container \"client\" is not published; published are 7000:70/tcp"),
    ] {
        assert_eq!(refused(&state, &unpublish(name, &[spec])), ("not_published", text.to_owned()));
    }
    let gone = after(state, &[Command::RemoveContainers(names(&["web"]))]);
    assert_eq!(published(&gone), ["client 7000:70/tcp"]);
    assert!(refused(&gone, &unpublish("web", &["8000:80"])).1.starts_with("no container named \"web\""));
}

#[test]
fn an_internal_network_is_not_published() {
    let inner = NetworkSpec { internal: true, ..network("inner") };
    let state = after(
        state(),
        &[
            Command::CreateNetwork(inner),
            Command::CreateContainer(on("db", &["inner"])),
            Command::CreateContainer(on("mid", &["inner", "bridge"])),
        ],
    );
    assert_eq!(
        refused(&state, &publish("db", &["80:80"])).1,
        "container \"db\" has no address to publish to: it is only on internal networks"
    );
    let (endpoint, _) = state.containers["mid"].answerer(&state, Family::V4).unwrap();
    assert_eq!(endpoint.network, "bridge");
}

#[test]
fn a_port_is_opened_to_other_clients_in_its_place() {
    let lists = |state: &State| -> Vec<String> {
        let list = |number: u32| state.allow_lists.get(&number).map(|list| serde_json::to_string(list).unwrap());
        let publishes = state.publishes.iter();
        publishes
            .map(|(key, p)| format!("{} {} {}", key.host_port, p.allow, list(p.allow).unwrap_or_default()))
            .collect()
    };
    let state = after(state(), &[publish_to("web", &["8080:80", "9090:90"], &["10.0.0.0/8", "2001:db8::/32"])]);
    let both = r#"["10.0.0.0/8","2001:db8::/32"]"#;
    assert_eq!(lists(&state), [format!("8080 1 {both}"), format!("9090 1 {both}")], "equal lists are one");
    let same = after(state.clone(), &[publish_to("web", &["9090:90"], &["2001:db8::/32", "10.0.0.0/8"])]);
    assert_eq!(same, state);
    let other = after(state.clone(), &[publish_to("web", &["9090:90"], &["198.18.0.7"])]);
    assert_eq!(lists(&other), [format!("8080 1 {both}"), r#"9090 2 ["198.18.0.7/32"]"#.to_owned()]);
    let open = after(other, &[publish("web", &["8080:80"])]);
    assert_eq!(lists(&open), ["8080 0 ", r#"9090 2 ["198.18.0.7/32"]"#], "a list that no port names is gone");
    let again = after(open, &[publish_to("web", &["8080:80"], &["10.0.0.0/8", "2001:db8::/32"])]);
    assert_eq!(again.publishes.values().next().unwrap().allow, 3, "a number is never used twice");
    // Another container's port is still its own.
    let (code, _) = refused(&again, &publish_to("client", &["8080:80"], &["10.0.0.0/8"]));
    assert_eq!(code, "port_published");
    let gone = after(again, &[unpublish("web", &["9090:90"]), Command::RemoveContainers(names(&["web"]))]);
    assert_eq!(gone.allow_lists.len(), 0);
}

#[test]
fn the_block_list_takes_and_gives_back_what_it_was_given() {
    let state = after(state(), &[block(&["10.0.0.0/8", "10.1.0.0/16", "::/0"])]);
    let list = |state: &State| state.blocked.iter().map(ToString::to_string).collect::<Vec<_>>();
    assert_eq!(list(&state), ["10.0.0.0/8", "10.1.0.0/16", "::/0"]);
    let same = after(state.clone(), &[block(&["10.0.0.0/8"]), block(&[]), unblock(&[])]);
    assert_eq!(same, state);
    let state = after(state, &[unblock(&["10.0.0.0/8"])]);
    assert_eq!(list(&state), ["10.1.0.0/16", "::/0"]);
    assert_eq!(list(&after(state.clone(), &[Command::Unblock(Unblock::All)])), Vec::<String>::new());
    for (prefix, text) in [
        (
            "10.1.2.0/24",
            "10.1.2.0/24 is not blocked; 10.1.0.0/16, which has it, is: unblock that, and block again what is to stay blocked",
        ),
        ("10.0.0.0/8", "10.0.0.0/8 is not blocked; of 10.0.0.0/8 only parts are: 10.1.0.0/16"),
        ("11.0.0.0/8", "11.0.0.0/8 is not blocked; `netctl block ls` lists what is"),
        (
            "2001:db8::/32",
            "2001:db8::/32 is not blocked; ::/0, which has it, is: unblock that, and block again what is to stay blocked",
        ),
    ] {
        assert_eq!(refused(&state, &unblock(&["10.1.0.0/16", prefix])), ("not_blocked", text.to_owned()));
    }
}

#[test]
fn the_block_list_has_a_limit() {
    let mut state = state();
    let all = (0..netd_common::limits::BLOCKED_MAX as u32).map(|number| {
        let [b, c, d, _] = (number << 8).to_be_bytes();
        format!("10.{b}.{c}.{d}").parse().unwrap()
    });
    state.blocked = all.collect();
    assert_eq!(after(state.clone(), &[block(&["10.0.0.0"])]), state);
    let text = "the block list takes 1048576 prefixes: it has 1048576, and 1 more do not fit; unblock some, or block \
                shorter prefixes";
    assert_eq!(refused(&state, &block(&["10.0.0.1", "11.0.0.0/8"])), ("block_list_full", text.to_owned()));
}

fn assert_sound(state: &State) {
    let endpoints: Vec<_> = state.containers.values().flat_map(|container| &container.endpoints).collect();
    let distinct = |what: &str, keys: Vec<String>| {
        assert_eq!(keys.iter().collect::<BTreeSet<_>>().len(), keys.len(), "{what} twice: {keys:?}");
    };
    distinct("number", endpoints.iter().map(|e| e.number.to_string()).collect());
    let addresses = endpoints.iter().flat_map(|e| e.addresses().map(|address| format!("{} {address}", e.network)));
    distinct("address", addresses.collect());
    distinct("MAC", endpoints.iter().map(|e| format!("{} {}", e.network, e.mac)).collect());
    for endpoint in endpoints {
        let network = &state.networks[&endpoint.network];
        assert_ne!(endpoint.mac, network.gateway_mac());
        for family in Family::BOTH {
            let (subnet, address) = (network.subnet(family), endpoint.address(family));
            assert_eq!(subnet.is_some(), address.is_some(), "an address of each subnet: {endpoint:?}");
            assert!(address.is_none_or(|address| subnet.is_some_and(|subnet| subnet.subnet.contains(address))));
        }
        assert!(endpoint.number < state.next_endpoint);
    }
    let used: BTreeSet<u32> = state.publishes.values().map(|publish| publish.allow).filter(|&list| list != 0).collect();
    assert_eq!(used, state.allow_lists.keys().copied().collect(), "the lists are those that ports name");
    assert!(state.allow_lists.iter().all(|(number, list)| *number < state.next_allow_list && !list.is_empty()));
    for (key, publish) in &state.publishes {
        let mode = state.containers[&publish.container].mode;
        assert!(mode == Mode::Bridge, "a port of a container that can never have an address");
        for wildcard in ["0.0.0.0", "::"] {
            let wildcard = PublishKey { host_ip: wildcard.parse().unwrap(), ..*key };
            let Some(other) = state.publishes.get(&wildcard) else { continue };
            if other.ipv6 || wildcard.host_ip.is_ipv4() == key.host_ip.is_ipv4() {
                assert_eq!(other.container, publish.container, "{key:?} overlaps {wildcard:?}");
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn any_commands_leave_a_sound_state(commands in prop::collection::vec(any_command(), 1..60)) {
        let mut state = State::default();
        state.apply(&Command::InstallBuiltins, &context()).unwrap();
        for command in &commands {
            let mut next = state.clone();
            if next.apply(command, &context()).is_ok() {
                prop_assert_eq!(next.revision != state.revision, next != state, "the revision tells changes");
                for (number, list) in &next.allow_lists {
                    let is_new = *number >= state.next_allow_list.max(1);
                    prop_assert!(is_new || state.allow_lists.get(number) == Some(list), "a list changed or came back");
                }
                state = next;
                assert_sound(&state);
            }
        }
    }
}

#[test]
fn a_given_namespace_is_another_one_and_is_there() {
    let refused = |given_namespace| {
        let given_namespaces = [("/run/netns/x".into(), given_namespace)].into();
        let context = Context { given_namespaces, ..context() };
        let spec = ContainerSpec { netns: Some("/run/netns/x".into()), ..container("new") };
        State::clone(&state()).apply(&Command::CreateContainer(spec), &context).map_err(|refusal| refusal.to_string())
    };
    assert_eq!(refused(NamespaceAt::Other), Ok(()));
    assert_eq!(
        refused(NamespaceAt::Host),
        Err("/run/netns/x is the host's own network namespace; use --network host".to_owned())
    );
    assert_eq!(
        refused(NamespaceAt::Nothing),
        Err("there is no network namespace at /run/netns/x; make it first, or leave --netns out and netd makes one"
            .to_owned())
    );
}

#[test]
fn several_commands_are_carried_out_as_one() {
    let made = |container: &str| Command::CreateContainer(self::container(container));
    let gone = Command::RemoveContainers(names(&["web"]));
    // Its namespace stands until the kernel has followed, and so does that of somebody else.
    let namespaces: BTreeSet<String> = ["web", "theirs"].map(str::to_owned).into();
    let context = Context { namespaces, ..context() };
    let mut state = state();
    let all = Command::All(vec![gone.clone(), made("web"), made("one"), made("two"), publish("one", &["80:80"])]);
    state.apply(&all, &context).unwrap();
    let ids: BTreeSet<&str> = state.containers.values().map(|container| &container.id[..12]).collect();
    assert_eq!(ids.len(), 4, "short identifiers differ too");
    assert_eq!(published(&state), ["one 80:80/tcp"]);
    let unchanged = state.revision;
    state.apply(&Command::All(vec![publish("one", &["80:80"])]), &context).unwrap();
    assert_eq!(state.revision, unchanged);
    for (last, code, text) in [
        (
            made("one"),
            "name_taken",
            "container one: there is a container named \"one\" already; choose another name or remove it first",
        ),
        (
            made("theirs"),
            "namespace_exists",
            "container theirs: a network namespace named \"theirs\" exists already and is not taken over; choose another \
             name, or pass its path with --netns to use it",
        ),
        (
            publish("two", &["80:80"]),
            "port_published",
            "ports of two: port 0.0.0.0:80/tcp is already published by container \"one\"; unpublish that first or choose \
             another port",
        ),
    ] {
        assert_eq!(refused_by(&state, &Command::All(vec![gone.clone(), last]), &context), (code, text.to_owned()));
    }
}
