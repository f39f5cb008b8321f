//! Do networks of either family, and of both, give their containers what IPv6 needs?

use netd_tests::probe::{self, Mode};
use netd_tests::world::{HOST, HOST6, UPLINK, World, at};
use netd_tests::{seconds, wait_until};
use serde_json::{Value, json};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::Duration;

/// For what netlink tells of.
const TOLD: Duration = seconds(3);

#[test]
fn a_network_of_both_families_gives_addresses_routes_and_sysctls() {
    let world = World::new();
    let [web, client] = world.pair_on("dual", &["--ipv6"]);
    let network = world.netctl_json(["network", "inspect", "dual"])[0].clone();
    let subnet: ipnetwork::Ipv6Network =
        network["subnets"][1]["subnet"].as_str().and_then(|text| text.parse().ok()).expect("an IPv6 subnet");
    assert_eq!(subnet.prefix(), 64);
    assert!(subnet.ip().octets()[0] == 0xfd, "a unique local range: {subnet}");
    let nth = |n: u128| Ipv6Addr::from_bits(subnet.ip().to_bits() + n);
    assert_eq!((web.gateway6, web.ip6, client.ip6), (nth(1), nth(2), nth(3)));
    assert_eq!(web.json["endpoints"][0]["ipv6"], format!("{}/64", web.ip6));
    assert_eq!(web.json["endpoints"][0]["gateway"], web.gateway.to_string(), "IPv4's comes first");

    let addresses = web.place.sh("ip -6 -o addr show dev eth0 scope global; ip -6 -o addr show dev eth0 scope link");
    assert!(addresses.contains(&format!("inet6 {}/64 scope global nodad", web.ip6)), "{addresses}");
    assert!(addresses.contains(&format!("inet6 {}/64 scope link nodad", link_local(web.mac))), "{addresses}");
    assert_eq!(addresses.lines().count(), 2, "{addresses}");
    let routes = web.place.sh("ip -6 route show default");
    assert!(routes.starts_with(&format!("default via {} dev eth0", web.gateway6)), "{routes}");
    assert!(web.place.sh("ip route show default").contains(&web.gateway.to_string()));
    for (place, interface, values) in [
        (&web.place, "eth0", &[("disable_ipv6", "0"), ("accept_ra", "0"), ("autoconf", "0")][..]),
        (&world.host, &web.host_interface, &[("disable_ipv6", "0"), ("accept_ra", "0"), ("forwarding", "1")]),
        (&world.host, "all", &[("forwarding", "0")]),
    ] {
        for (key, value) in values {
            let found = place.sh(&format!("cat /proc/sys/net/ipv6/conf/{interface}/{key}"));
            assert_eq!(found.trim(), *value, "{interface} {key}");
        }
    }
    let host = world.host.sh("ip -6 -o addr show dev lo; ip -6 route; ip -6 neigh show nud permanent");
    for expected in [
        format!("inet6 {}/128 scope global nodad", web.gateway6),
        format!("{} dev {} proto 110 src {} ", web.ip6, web.host_interface, web.gateway6),
        format!("unreachable {subnet} dev lo proto 110"),
        format!("{} dev {} lladdr ", web.ip6, web.host_interface),
    ] {
        assert!(host.contains(&expected), "{expected} is missing in {host}");
    }
    assert_eq!(world.host.sh(&format!("ip -6 -o addr show dev {}", web.host_interface)), "");
    let hosts = world.netctl_ok(["exec", "web", "--", "cat", "/etc/hosts"]);
    assert!(hosts.contains(&format!("\n{}\tweb\n", web.ip6)), "{hosts}");
}

#[test]
fn a_network_of_ipv6_alone_has_no_ipv4() {
    let world = World::new();
    let [web, client] = world.pair_on("six", &["--subnet", "fd20:6::/64", "--gateway", "fd20:6::ff"]);
    let endpoint = &web.json["endpoints"][0];
    assert_eq!(endpoint["ipv4"], Value::Null);
    assert_eq!([&endpoint["gateway"], &endpoint["gateway6"]], ["fd20:6::ff"; 2]);
    assert_eq!((web.ip6, client.ip6), ("fd20:6::100".parse().unwrap(), "fd20:6::101".parse().unwrap()));
    assert_ne!(web.mac, client.mac);
    assert_eq!(web.mac[0] & 3, 2, "locally administered, of one station");
    assert_eq!(web.place.sh("ip -4 -o addr show dev eth0"), "");
    assert!(web.place.sh("ip -6 route show default").contains("via fd20:6::ff dev eth0"));
    // The same after netd has started anew; and nothing is to be done then.
    world.restart();
    assert_eq!(world.inspect("web").json, web.json);
    assert_eq!(world.steps_planned_on_start(), 0);
    let chosen = world.container("chosen", ["--network", "six", "--ip6", "fd20:6::77"]);
    assert_eq!(chosen.ip6, "fd20:6::77".parse::<Ipv6Addr>().unwrap());
}

#[test]
fn a_network_of_ipv4_alone_has_no_ipv6() {
    let world = World::new();
    let web = world.plain("web");
    assert_eq!(web.json["endpoints"][0]["ipv6"], Value::Null);
    assert_eq!(web.json["endpoints"][0]["gateway6"], Value::Null);
    assert_eq!(web.place.sh("ip -6 -o addr show dev eth0"), "");
    assert_eq!(web.place.sh("cat /proc/sys/net/ipv6/conf/eth0/disable_ipv6").trim(), "1");
}

#[test]
fn each_family_leaves_by_the_first_network_that_has_it() {
    let world = World::new();
    world.netctl_ok(["network", "create", "six", "--subnet", "fd20:6::/64"]);
    world.netctl_ok(["network", "create", "inner", "--ipv6", "--internal"]);
    let both = world.container("both", ["--network", "inner", "--network", "six", "--network", "bridge"]);
    let default = |family| both.place.sh(&format!("ip {family} route show default"));
    assert!(default("-6").starts_with("default via fd20:6::1 dev eth1"), "{}", default("-6"));
    assert!(default("-4").contains("dev eth2"), "{}", default("-4"));
}

#[test]
fn ipv6_wishes_are_refused_in_words() {
    let world = World::new();
    world.netctl_ok(["network", "create", "six", "--subnet", "fd20:6::/64"]);
    for (words, text) in [
        (
            "network create a --subnet fd21::/64 --subnet fd22::/64",
            "network \"a\": several IPv6 subnets are named; one of each family is the most",
        ),
        (
            "network create a --subnet fd20:6::/48",
            "subnet fd20:6::/48 overlaps fd20:6::/64, of network \"six\"; choose another",
        ),
        (
            "network create a --subnet 2001:db8:18::/64",
            "subnet 2001:db8:18::/64 overlaps 2001:db8:18::/64, which the host routes already; choose another",
        ),
        (
            "container create a --ip6 fd20:6::2",
            "network \"bridge\" has no IPv6 subnet for fd20:6::2; leave --ip6 out or choose another network",
        ),
        (
            "container create a --network six -p 0.0.0.0:80:80",
            "container \"a\" has no address to publish to: it has no IPv4 address for one of the host to lead to; \
             name an IPv6 address, such as [::], or none",
        ),
        (
            "container create a -p [fe80::1]:80:80",
            "fe80::1 is a link-local address, which means nothing without its interface; \
             name another address of the host, or none",
        ),
        (
            "container create a -p [2001:db8:18::9]:80:80",
            "the host has no address 2001:db8:18::9; it has ::1, 2001:db8:18::1",
        ),
    ] {
        assert_eq!(world.netctl_refused(words.split(' ')), format!("netctl: {text}"));
    }
}

#[test]
fn a_host_without_ipv6_refuses_networks_with_it_and_no_others() {
    let world = World::without_netd();
    for conf in ["all", "default", "lo", UPLINK] {
        world.host.sysctl(&format!("net/ipv6/conf/{conf}/disable_ipv6"), "1");
    }
    world.start();
    let refused = world.netctl_refused(["network", "create", "dual", "--ipv6"]);
    assert!(refused.contains("IPv6 is switched off on this host (net.ipv6.conf.lo.disable_ipv6 is 1)"), "{refused}");
    let check = world.netd(["check"]).stdout;
    assert!(check.contains("networks with IPv6 are refused"), "{check}");
    let web = world.container("web", ["-p", "8080:80"]);
    let _server = world.serve(&web.place, "web", &["tcp/0.0.0.0:80"]);
    assert!(world.outside.run(|| probe::dial_tcp(at(HOST, 8080))).is_ok(), "IPv4 works all the same");
    assert!(world.dial_from_host(Mode::Tcp, web.at(80)).is_ok());
}

#[test]
fn a_port_is_published_at_both_families_or_at_one() {
    let world = World::new();
    let web = world.container("web", ["-p", "8080:80", "-p", "0.0.0.0:8081:80", "-p", "[::]:8082:80"]);
    let _server = world.serve(&web.place, "web", &["tcp/0.0.0.0:80"]);
    let ports = world.netctl_json(["port", "ls", "web"]);
    let shown: Vec<_> = ports
        .as_array()
        .into_iter()
        .flatten()
        .map(|port| json!([port["host_ip"], port["host_ip6"], port["host_port"]]))
        .collect();
    assert_eq!(shown, [json!(["0.0.0.0", "::", 8080]), json!(["0.0.0.0", null, 8081]), json!(["::", null, 8082])]);
    let table = world.netctl_ok(["port", "ls", "web"]);
    assert!(table.contains("0.0.0.0:8080, [::]:8080"), "{table}");

    // Programs of the host are turned to the container when they dial, by whichever family it has.
    let (v4, v6): (IpAddr, IpAddr) = (Ipv4Addr::LOCALHOST.into(), Ipv6Addr::LOCALHOST.into());
    let reaches = |ip: IpAddr, port| world.dial_from_host(Mode::Tcp, at(ip, port)).is_ok();
    for (port, by_v4, by_v6) in [(8080, true, true), (8081, true, false), (8082, false, true)] {
        assert_eq!((reaches(v4, port), reaches(v6, port)), (by_v4, by_v6), "{port}");
        assert_eq!((reaches(HOST.into(), port), reaches(HOST6.into(), port)), (by_v4, by_v6), "{port}");
    }
    world.netctl_ok(["unpublish", "web", "8080:80", "8081:80", "[::]:8082:80"]);
    assert!(!reaches(v4, 8080) && !reaches(v6, 8080) && !reaches(v6, 8082));
}

#[test]
fn sockets_of_the_host_keep_their_ipv6_ports() {
    let world = World::new();
    let _web = world.plain("web");
    let _server = world.serve(&world.host, "host", &["tcp/[::1]:8080"]);
    let refused = world.netctl_refused(["publish", "web", "8080:80"]);
    assert!(
        refused.contains("port 0.0.0.0:8080/tcp is already bound on the host, at [::1]:8080 by netd-probe"),
        "{refused}"
    );
    world.netctl_refused(["publish", "web", "[::]:8080:80"]);
    world.netctl_ok(["publish", "web", "0.0.0.0:8080:80"]);
}

#[test]
fn what_is_taken_away_of_ipv6_comes_back() {
    let world = World::new();
    let [web, _] = world.pair_on("dual", &["--ipv6"]);
    let seen = || {
        let host = world.host.sh("ip -6 route show proto 110; ip -6 addr show dev lo; ip -6 neigh show nud permanent");
        let inside = web.place.sh("ip -6 addr show dev eth0; ip -6 route show default");
        let interface = &web.host_interface;
        let conf =
            world.host.sh(&format!("cd /proc/sys/net/ipv6/conf/{interface}; cat forwarding disable_ipv6 accept_ra"));
        (sorted(&host), sorted(&inside), conf)
    };
    let before = seen();
    for drift in [
        format!("ip -6 route del {}", web.ip6),
        format!("ip -6 addr del {}/128 dev lo", web.gateway6),
        format!("ip -6 neigh del {} dev {}", web.ip6, web.host_interface),
        format!("ip link set {} down", web.host_interface),
    ] {
        world.host.sh(&drift);
        wait_until(&drift, TOLD, || seen() == before);
    }
    for drift in ["ip -6 addr flush dev eth0", "ip -6 route del default", "ip link set eth0 down"] {
        web.place.sh(drift);
        wait_until(drift, TOLD, || seen() == before);
    }
    assert_eq!(world.netctl_json(["status"])["objects"], json!([]));
}

#[test]
fn the_hosts_ipv6_addresses_are_followed() {
    let world = World::new();
    let added: Ipv6Addr = "2001:db8:18::77".parse().unwrap();
    let local = || {
        let pin = world.pins().join("LOCAL_ADDRS").display().to_string();
        world.host.ok(["bpftool", "-j", "map", "dump", "pinned", &pin])
    };
    let key = |address: Ipv6Addr| {
        let bytes: Vec<String> = address.octets().iter().map(|byte| format!("\"0x{byte:02x}\"")).collect();
        bytes.join(",")
    };
    for address in [HOST6, Ipv6Addr::LOCALHOST] {
        assert!(local().contains(&key(address)), "{address}");
    }
    world.host.sh(&format!("ip addr add {added}/64 dev {UPLINK} nodad"));
    wait_until("the new address", TOLD, || local().contains(&key(added)));
    world.host.sh(&format!("ip addr del {added}/64 dev {UPLINK}"));
    wait_until("the address is gone", TOLD, || !local().contains(&key(added)));
    // An uplink may be one by IPv6 alone.
    world.host.sh(
        "ip link add up1 type veth peer name up1p; ip link set up1 up; ip link set up1p up
         ip -6 addr add 2001:db8:19::1/64 dev up1 nodad; ip -6 route add default via 2001:db8:19::2 dev up1 metric 2000",
    );
    wait_until("the second uplink", TOLD, || world.netctl_json(["status"])["uplinks"].to_string().contains("up1"));
}

/// The lines in an order of their own: the kernel's depends on what came first.
fn sorted(text: &str) -> Vec<String> {
    let mut lines: Vec<String> = text.lines().map(|line| line.trim().to_owned()).collect();
    lines.sort();
    lines
}

fn link_local(mac: [u8; 6]) -> Ipv6Addr {
    netd::model::mac::Mac(mac).link_local()
}
