//! Do containers leave by the uplink that the host's routing picks, whatever becomes of routes, addresses and neighbours?
//! Scenario O8.

use netd_tests::probe::{self, Mode};
use netd_tests::world::{Container, HOST, HOST6, OUTLINK, OUTSIDE, OUTSIDE6, Process, UPLINK, World, at};
use netd_tests::{seconds, wait_until};
use std::io::{Read, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream};
use std::time::Duration;

/// What netd is told by netlink, it does within this; generous, since the machine is busy.
const TOLD: Duration = seconds(10);

/// Who is behind both uplinks, and the host at the second one.
const REMOTE: Ipv4Addr = Ipv4Addr::new(198, 19, 5, 5);
const REMOTE6: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0x195, 0, 0, 0, 0, 5);
const ELSEWHERE: Ipv4Addr = Ipv4Addr::new(198, 18, 1, 1);
const ELSEWHERE6: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0x19, 0, 0, 0, 0, 1);
/// Remote, the host at the first uplink and at the second, in each family.
const FAMILIES: [[IpAddr; 3]; 2] = [
    [IpAddr::V4(REMOTE), IpAddr::V4(HOST), IpAddr::V4(ELSEWHERE)],
    [IpAddr::V6(REMOTE6), IpAddr::V6(HOST6), IpAddr::V6(ELSEWHERE6)],
];

/// A world with a second uplink, whose default routes come after those of the first, and a server that is behind both.
fn two_uplinks() -> (World, Process) {
    let world = World::without_netd();
    world.outside.sh(&format!(
        "ip link add out1 type veth peer name up1 netns {}
         ip addr add 198.18.1.2/24 dev out1; ip addr add 2001:db8:19::2/64 dev out1 nodad; ip link set out1 up
         ip addr add {REMOTE}/32 dev lo; ip addr add {REMOTE6}/128 dev lo nodad",
        world.host.path()
    ));
    world.host.sh(&format!(
        "ip addr add {ELSEWHERE}/24 dev up1; ip addr add {ELSEWHERE6}/64 dev up1 nodad; ip link set up1 up
         ip route del default; ip -6 route del default
         ip route add default via {OUTSIDE} metric 100; ip route add default via 198.18.1.2 metric 200
         ip -6 route add default via {OUTSIDE6} dev {UPLINK} metric 100
         ip -6 route add default via 2001:db8:19::2 dev up1 metric 200"
    ));
    world.start();
    let at_each =
        [IpAddr::from(REMOTE), REMOTE6.into()].map(|ip| ["tcp", "udp"].map(|kind| format!("{kind}/{}", at(ip, 80))));
    let at_each: Vec<&str> = at_each.as_flattened().iter().map(String::as_str).collect();
    let server = world.serve(&world.outside, "remote", &at_each);
    (world, server)
}

fn dual(world: &World) -> Container {
    world.netctl_ok(["network", "create", "dual", "--ipv6"]);
    world.container("client", ["--network", "dual"])
}

/// As whom a remote sees the container.
fn seen_as(client: &Container, remote: IpAddr) -> Option<IpAddr> {
    client.place.run(|| probe::dial_tcp(at(remote, 80))).ok().map(|reply| reply.seen_as.ip())
}

fn held(client: &Container, remote: IpAddr) -> TcpStream {
    let stream = client.place.run(|| TcpStream::connect(at(remote, 80))).expect("a connection");
    probe::exchange(&stream).expect("an exchange");
    stream
}

#[track_caller]
fn still_echoes(mut stream: &TcpStream, what: &str) {
    stream.write_all(b"still there?").unwrap_or_else(|error| panic!("{what}: {error}"));
    stream.read_exact(&mut [0; 12]).unwrap_or_else(|error| panic!("{what}: {error}"));
}

#[test]
fn o8_a_new_default_route_counts_for_new_flows_and_leaves_the_others_where_they_are() {
    default_route_changes(FAMILIES[0]);
}

#[test]
fn o8_a_new_default_route_of_ipv6_leaves_the_others_where_they_are() {
    default_route_changes(FAMILIES[1]);
}

#[track_caller]
fn default_route_changes([remote, first, second]: [IpAddr; 3]) {
    let (world, _server) = two_uplinks();
    let client = dual(&world);
    assert_eq!(seen_as(&client, remote), Some(first));
    let stream = held(&client, remote);
    world.host.sh(&format!(
        "ip route add default via {OUTSIDE} metric 300; ip route del default via {OUTSIDE} metric 100
         ip -6 route add default via {OUTSIDE6} dev {UPLINK} metric 300
         ip -6 route del default via {OUTSIDE6} dev {UPLINK} metric 100"
    ));
    wait_until("new flows go by the other uplink", TOLD, || seen_as(&client, remote) == Some(second));
    still_echoes(&stream, "by the former uplink");
    let local = stream.local_addr().expect("an address").to_string();
    let flow = world.flows().into_iter().find(|flow| flow["source"] == local).expect("its flow");
    let translated: SocketAddr =
        flow["translated_source"].as_str().and_then(|text| text.parse().ok()).expect("an address");
    assert_eq!(translated.ip(), first);
}

#[test]
fn o8_new_flows_of_ipv6_follow_the_default_route() {
    let [remote, first, second] = FAMILIES[1];
    let (world, _server) = two_uplinks();
    let client = dual(&world);
    assert_eq!(seen_as(&client, remote), Some(first));
    world.host.sh(&format!("ip -6 route del default via {OUTSIDE6} dev {UPLINK} metric 100"));
    wait_until("new flows go by the other uplink", TOLD, || seen_as(&client, remote) == Some(second));
}

#[test]
fn o8_an_uplink_that_goes_down_leaves_the_other() {
    let (world, _server) = two_uplinks();
    let client = dual(&world);
    for [remote, first, _] in FAMILIES {
        assert_eq!(seen_as(&client, remote), Some(first));
    }
    world.host.sh(&format!("ip link set {UPLINK} down"));
    for [remote, _, second] in FAMILIES {
        wait_until("the other uplink takes over", TOLD, || seen_as(&client, remote) == Some(second));
    }
}

#[test]
fn o8_published_ports_answer_by_the_uplink_that_was_asked() {
    asked_by_both(FAMILIES[0]);
}

#[test]
fn o8_published_ports_answer_by_the_uplink_that_was_asked_by_ipv6() {
    asked_by_both(FAMILIES[1]);
}

#[track_caller]
fn asked_by_both([remote, first, second]: [IpAddr; 3]) {
    let (world, _server) = two_uplinks();
    world.netctl_ok(["network", "create", "dual", "--ipv6"]);
    let web = world.container("web", ["--network", "dual", "-p", "8080:80", "-p", "8080:80/udp"]);
    let _web = world.serve(&web.place, "web", &["tcp/[::]:80", "udp/[::]:80"]);
    // The route back leads by the first uplink; a host with a strict rp_filter answers no ARP from there either.
    world.outside.sysctl("net/ipv4/conf/all/arp_announce", "2");
    for host in [first, second] {
        for kind in ["tcp", "udp"] {
            let reply = world.outside.run(|| {
                if kind == "tcp" {
                    return probe::exchange(&probe::tcp_from(at(remote, 4000), at(host, 8080))?);
                }
                let socket = probe::udp_from(at(remote, 4000))?;
                socket.connect(at(host, 8080))?;
                probe::ask(&socket)
            });
            let reply = reply.unwrap_or_else(|error| panic!("{kind} from {remote} to {host}: {error}"));
            assert_eq!((reply.server.as_str(), reply.seen_as.ip().to_canonical()), ("web", remote), "{kind} to {host}");
        }
    }
}

#[test]
fn o8_policy_routes_are_followed() {
    policy_routes(FAMILIES[0]);
}

#[test]
fn o8_policy_routes_of_ipv6_are_followed() {
    policy_routes(FAMILIES[1]);
}

#[track_caller]
fn policy_routes([remote, first, second]: [IpAddr; 3]) {
    let (world, _server) = two_uplinks();
    let client = dual(&world);
    world.netctl_ok(["network", "create", "other", "--ipv6"]);
    let other = world.container("other", ["--network", "other"]);
    let [four, six] = ["ipv4", "ipv6"]
        .map(|family| client.json["endpoints"][0][family].as_str().expect("an address and its prefix").to_owned());
    world.host.sh(&format!(
        "ip route add default via 198.18.1.2 table 100; ip -6 route add default via 2001:db8:19::2 dev up1 table 100
         ip rule add from {four} table 100; ip -6 rule add from {six} table 100"
    ));
    for mode in Mode::ALL {
        let seen = |client: &Container| {
            let reply = client.place.run(|| probe::dial(mode, at(remote, 80)));
            reply.unwrap_or_else(|error| panic!("{} by {mode:?} to {remote}: {error}", client.name)).seen_as.ip()
        };
        assert_eq!(seen(&client), second, "whose network has a rule");
        assert_eq!(seen(&other), first, "whose network has none");
    }
}

#[test]
fn o8_an_address_that_is_renewed_or_changes() {
    let world = World::new();
    let client = dual(&world);
    let at_each = [format!("tcp/{}", at(OUTSIDE, 80)), format!("tcp/{}", at(OUTSIDE6, 80))];
    let _server = world.serve(&world.outside, "outside", &[&at_each[0], &at_each[1]]);
    let streams = [IpAddr::from(OUTSIDE), OUTSIDE6.into()].map(|remote| held(&client, remote));
    // As a lease or an announcement that comes again does.
    world.host.sh(&format!(
        "ip addr change {HOST}/24 dev {UPLINK} valid_lft 3600 preferred_lft 1800
         ip addr change {HOST6}/64 dev {UPLINK} valid_lft 3600 preferred_lft 1800 nodad
         ip route replace default via {OUTSIDE}"
    ));
    for stream in &streams {
        still_echoes(stream, "an address that was renewed");
    }
    let new =
        [IpAddr::from(Ipv4Addr::new(198, 18, 0, 77)), Ipv6Addr::new(0x2001, 0xdb8, 0x18, 0, 0, 0, 0, 0x77).into()];
    world.host.sh(&format!(
        "ip addr del {HOST}/24 dev {UPLINK}; ip addr add {}/24 dev {UPLINK}; ip route replace default via {OUTSIDE}
         ip addr del {HOST6}/64 dev {UPLINK}; ip addr add {}/64 dev {UPLINK} nodad
         ip -6 route replace default via {OUTSIDE6} dev {UPLINK}",
        new[0], new[1]
    ));
    for (remote, new) in [IpAddr::from(OUTSIDE), OUTSIDE6.into()].into_iter().zip(new) {
        wait_until("the outside sees the new address", TOLD, || seen_as(&client, remote) == Some(new));
    }
    wait_until("the flows of the former ones are forgotten", TOLD, || {
        let sources: Vec<String> = world.flows().iter().map(|flow| flow["translated_source"].to_string()).collect();
        [at(HOST, 0), at(HOST6, 0)].iter().all(|host| {
            let host = format!("\"{}", host.to_string().trim_end_matches('0'));
            sources.iter().all(|source| !source.starts_with(&host))
        })
    });
}

#[test]
fn o8_the_first_datagram_waits_for_the_neighbour() {
    let world = World::new();
    let client = dual(&world);
    for remote in [IpAddr::from(OUTSIDE), OUTSIDE6.into()] {
        let server = world.outside.run(|| probe::udp_from(at(remote, 53))).expect("a socket");
        world.host.sh(&format!("ip neigh flush dev {UPLINK}; ip -6 neigh flush dev {UPLINK}"));
        world.outside.sh(&format!("ip neigh flush dev {OUTLINK}; ip -6 neigh flush dev {OUTLINK}"));
        let known = world.host.sh(&format!("ip neigh show {remote} dev {UPLINK}"));
        assert!(!known.contains("lladdr"), "{known}");
        let socket = client.place.run(|| probe::udp_client(at(remote, 53))).expect("a socket");
        socket.send_to(b"the first", at(remote, 53)).expect("a datagram");
        let mut buffer = [0; 64];
        let (length, peer) = server.recv_from(&mut buffer).unwrap_or_else(|error| panic!("{remote}: {error}"));
        assert_eq!(&buffer[..length], b"the first");
        server.send_to(b"and back", peer).expect("an answer");
        assert_eq!(socket.recv(&mut buffer).unwrap_or_else(|error| panic!("{remote}: {error}")), 8);
    }
}
