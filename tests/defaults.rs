//! Is a new container as its user expects, also when very many are made at once?

use netd_tests::probe;
use netd_tests::world::{HOST, OUTSIDE, UPLINK, World, at};
use serde_json::Value;
use std::collections::BTreeSet;

#[test]
fn a_container_comes_with_what_is_expected() {
    let world = World::new();
    world.host.sh(&format!("ip link set {UPLINK} mtu 1400"));
    netd_tests::wait_until("the MTU is known", netd_tests::seconds(10), || {
        world.netctl_ok(["container", "create", "first"]);
        let mtu = world.inspect("first").json["endpoints"][0]["mtu"].clone();
        world.netctl_ok(["container", "rm", "first"]);
        mtu == 1400
    });
    world.netctl_ok(["network", "create", "dual", "--ipv6"]);
    let [plain, dual] =
        [("plain", "bridge"), ("dual", "dual")].map(|(name, network)| world.container(name, ["--network", network]));
    let set = |of: &netd_tests::world::Container, key: &str| {
        of.place.sh(&format!("cat /proc/sys/net/{key}")).trim().to_owned()
    };
    for container in [&plain, &dual] {
        let links = container.place.sh("ip -o link show");
        assert!(links.contains("eth0") && links.contains("mtu 1400"), "{links}");
        assert!(container.place.sh("ip -o link show lo").contains("LOOPBACK,UP"), "{links}");
        assert_eq!(set(container, "ipv4/ip_forward"), "0");
    }
    assert_eq!(set(&plain, "ipv6/conf/eth0/disable_ipv6"), "1", "no IPv6 on a network without");
    for (key, value) in [("disable_ipv6", "0"), ("accept_ra", "0"), ("autoconf", "0"), ("forwarding", "0")] {
        assert_eq!(set(&dual, &format!("ipv6/conf/eth0/{key}")), value, "{key}");
    }
    let macs = || ["plain", "dual"].map(|name| world.inspect(name).mac);
    let before = macs();
    assert!(world.stop());
    world.start();
    assert_eq!(macs(), before, "MAC addresses stay");
    dual.place.ok(["ping", "-q", "-c1", "-W2", &OUTSIDE.to_string()]);
}

#[test]
fn what_is_exposed_is_published_when_all_is_to_be() {
    let world = World::new();
    let words = ["container", "create", "web", "--expose", "80", "--expose", "53/udp", "-P"];
    let told = world.netctl_ok(words);
    let web = world.inspect("web");
    assert_eq!(web.json["exposed"].to_string(), "[\"53/udp\",\"80/tcp\"]");
    let _server = world.serve(&web.place, "web", &["tcp/0.0.0.0:80", "udp/0.0.0.0:53"]);
    let ports = web.json["publishes"].as_array().expect("ports").clone();
    assert_eq!(ports.len(), 2, "{ports:?}");
    for port in ports {
        let host_port = u16::try_from(port["host_port"].as_u64().expect("a port")).expect("a port");
        assert!(told.contains(&format!("0.0.0.0:{host_port}")), "it is printed: {told}");
        let mode = if port["protocol"] == "tcp" { probe::Mode::Tcp } else { probe::Mode::UdpConnected };
        assert_eq!(world.outside.run(|| probe::dial(mode, at(HOST, host_port))).expect("an answer").server, "web");
    }
    let quiet = world.container("quiet", ["--expose", "80"]);
    assert_eq!(quiet.json["publishes"], Value::Array(Vec::new()));
}

#[test]
fn a_container_made_anew_has_a_namespace_of_its_own() {
    let world = World::new();
    let old = world.plain("web");
    old.place.sh("ip addr add 10.99.0.1/24 dev lo");
    // So quickly that both may come to the datapath in one step.
    std::thread::scope(|scope| {
        scope.spawn(|| world.netctl_ok(["container", "rm", "web"]));
        scope.spawn(|| {
            netd_tests::wait_until("it is made anew", netd_tests::seconds(10), || {
                world.netctl(["container", "create", "web"]).is_ok()
            });
        });
    });
    assert!(!world.inspect("web").place.sh("ip -o addr").contains("10.99.0.1"));
}

#[test]
fn a_hundred_are_made_at_once() {
    let world = World::new();
    let names: Vec<String> = (0..100).map(|number| format!("c{number}")).collect();
    std::thread::scope(|scope| {
        for name in &names {
            scope.spawn(|| world.netctl_ok(["container", "create", name]));
        }
    });
    let made = world.netctl_json(["container", "ls"]);
    let made = made.as_array().expect("containers");
    let addresses: BTreeSet<String> = made.iter().map(|one| one["endpoints"][0]["ipv4"].to_string()).collect();
    assert_eq!((made.len(), addresses.len()), (100, 100), "no address twice");
    assert!(made.iter().all(|one| one["status"] == "ready"), "{made:?}");
    let [first, last] = [&names[0], &names[99]].map(|name| world.inspect(name));
    first.place.ok(["ping", "-q", "-c1", "-W2", &last.ip.to_string()]);
    world.netctl_ok(["container", "rm"].into_iter().chain(names.iter().map(String::as_str)));
    assert_eq!(world.netctl_json(["container", "ls"]), Value::Array(Vec::new()));
}
