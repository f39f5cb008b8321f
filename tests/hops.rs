//! Do the errors of ICMP reach those whom they are for, and tell what they should? Scenarios S12, O6 and O7.

use netd_tests::probe::{self, Mode};
use netd_tests::watch::Watch;
use netd_tests::world::{
    Container, FAR, FAR6, HOST, HOST6, OUTLINK, OUTSIDE, OUTSIDE6, Place, ROUTER, ROUTER6, UPLINK, World, at,
};
use std::io::{self, ErrorKind};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

#[test]
fn o6_traceroute_shows_every_hop() {
    let world = World::new();
    let _beyond = world.beyond(1500);
    let [_, client] = world.pair_on("dual", &["--ipv6"]);
    sum_in_software(&world, &[&client]);
    let watch = Watch::begin(&client.place, "eth0");
    for hops in [
        [client.gateway.into(), OUTSIDE.into(), ROUTER.into(), IpAddr::from(FAR)],
        [client.gateway6.into(), OUTSIDE6.into(), ROUTER6.into(), IpAddr::from(FAR6)],
    ] {
        for method in ["--udp", "--icmp", "--tcp"] {
            assert_eq!(route(&client.place, method, hops[3]), hops, "{method}");
        }
    }
    let tally = watch.end();
    assert!(tally.wrong.is_empty(), "{:#?}", tally.wrong);
    for kind in ["v4 icmp error written", "v6 icmp error written"] {
        assert!(tally.right.get(kind) >= Some(&10), "{kind}: {:?}", tally.right);
    }
}

#[test]
fn s12_hops_inside() {
    let world = World::new();
    let [web, client] = world.pair_on("dual", &["--ipv6"]);
    let host: [IpAddr; 2] = [HOST.into(), HOST6.into()];
    let peer: [IpAddr; 2] = [web.ip.into(), web.ip6.into()];
    for address in host.into_iter().chain(peer) {
        assert_eq!(route(&client.place, "--udp", address), [address], "one hop away");
    }
    // A peer that is a router itself.
    web.place.route();
    client
        .place
        .sh(&format!("ip route add 203.0.113.0/24 via {}; ip route add 2001:db8:ff::/64 via {}", web.ip, web.ip6));
    for (target, hop) in [("203.0.113.9", peer[0]), ("2001:db8:ff::9", peer[1])] {
        let hops = route(&client.place, "--icmp", target.parse().expect("an address"));
        assert_eq!(hops.first(), Some(&hop), "{hops:?}");
    }
}

#[test]
fn o7_a_closed_port_of_udp_refuses_the_container() {
    let world = World::new();
    let [web, client] = world.pair_on("dual", &["--ipv6"]);
    sum_in_software(&world, &[&web, &client]);
    let watches = [Watch::begin(&client.place, "eth0"), Watch::begin(&world.outside, OUTLINK)];
    for to in [at(OUTSIDE, 81), at(OUTSIDE6, 81), web.at(81), web.at6(81), at(client.gateway, 81), at(HOST, 81)] {
        assert_refused(to, client.place.run(|| probe::dial(Mode::UdpConnected, to)));
    }
    for watch in watches {
        let tally = watch.end();
        assert!(tally.wrong.is_empty(), "{:#?}", tally.wrong);
        for kind in ["v4 icmp error written", "v6 icmp error written"] {
            assert!(tally.right.contains_key(kind), "{kind}: {:?}", tally.right);
        }
    }
}

#[test]
fn p8_a_container_that_does_not_listen_refuses_the_client() {
    let world = World::new();
    let [web, client] = world.pair_on("dual", &["--ipv6"]);
    world.netctl_ok(["publish", "web", "8080:80/udp"]);
    sum_in_software(&world, &[&web, &client]);
    let watches = [Watch::begin(&web.place, "eth0"), Watch::begin(&world.outside, OUTLINK)];
    for to in [at(HOST, 8080), at(HOST6, 8080)] {
        assert_refused(to, world.outside.run(|| probe::dial(Mode::UdpConnected, to)));
        assert_refused(to, client.place.run(|| probe::dial(Mode::UdpConnected, to)));
        assert_refused(to, web.place.run(|| probe::dial(Mode::UdpConnected, to)));
        assert_refused(to, world.dial_from_host(Mode::UdpConnected, to));
    }
    for local in [IpAddr::from(Ipv4Addr::LOCALHOST), Ipv6Addr::LOCALHOST.into()] {
        assert_refused(at(local, 8080), world.dial_from_host(Mode::UdpConnected, at(local, 8080)));
    }
    for watch in watches {
        let tally = watch.end();
        assert!(tally.wrong.is_empty(), "{:#?}", tally.wrong);
        for kind in ["v4 icmp error written", "v6 icmp error written"] {
            assert!(tally.right.contains_key(kind), "{kind}: {:?}", tally.right);
        }
    }
}

#[test]
fn o7_what_a_router_says_ends_a_connection_attempt() {
    let world = World::new();
    let [_, client] = world.pair_on("dual", &["--ipv6"]);
    world.outside.route();
    world.outside.sh("ip route add unreachable 198.18.97.0/24; ip route add unreachable 2001:db8:97::/64");
    for (to, kind) in
        [("198.18.97.1:80", ErrorKind::HostUnreachable), ("[2001:db8:97::1]:80", ErrorKind::NetworkUnreachable)]
    {
        let to: SocketAddr = to.parse().expect("an address");
        let told = client.place.run(|| probe::dial_tcp(to)).expect_err("nobody is there");
        assert_eq!(told.kind(), kind, "{to}: {told}");
    }
}

/// Has every sender write its checksums: one that is left to a device is quoted as it was left, and nobody can tell.
fn sum_in_software(world: &World, containers: &[&Container]) {
    world.host.sum_in_software(UPLINK);
    world.outside.sum_in_software(OUTLINK);
    for container in containers {
        container.place.sum_in_software("eth0");
    }
}

/// The hops that traceroute shows.
fn route(from: &Place, method: &str, to: IpAddr) -> Vec<IpAddr> {
    let shown = from.ok(["traceroute", "-n", "-q1", "-w2", "-m6", method, &to.to_string()]);
    shown.lines().skip(1).filter_map(|line| line.split_whitespace().nth(1)?.parse().ok()).collect()
}

#[track_caller]
fn assert_refused(to: SocketAddr, reply: io::Result<probe::Reply>) {
    let error = reply.expect_err("nobody listens");
    assert_eq!(error.kind(), ErrorKind::ConnectionRefused, "{to}: {error}");
}
