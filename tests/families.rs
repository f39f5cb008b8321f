//! What of IPv6 reaches a container that has IPv4 only, and what comes back? Scenario P10.

use netd_common::globals::PROXY_V4;
use netd_tests::probe::{self, Mode, stream::Connection};
use netd_tests::watch::Watch;
use netd_tests::world::{
    Container, FAR6, HOST6, OUTLINK, OUTSIDE6, OUTSIDE6_SECOND, Place, UPLINK, World, at, is_counted,
};
use netd_tests::{seconds, wait_until};
use std::io::ErrorKind;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};

/// Far more than fits into the buffers on the way.
const MANY: u64 = 4 << 20;
const INGRESS: &str = "uplink_ingress";
const EGRESS: &str = "container_egress";

fn published(world: &World, options: &[&str]) -> Container {
    world.netctl_ok(["network", "create", "four"].iter().chain(options));
    world.container("web", ["--network", "four", "-p", "8080:80", "-p", "8080:80/udp"])
}

fn open(client: &Place, web: &Container) -> Connection {
    Connection::open(client, at(HOST6, 8080), &web.place, web.at(80)).expect("a connection")
}

/// What the container's stack has learned of the path to clients of IPv6.
fn learned(web: &Container) -> Option<u32> {
    let route = web.place.sh(&format!("ip route get {}", IpAddr::from(PROXY_V4)));
    let mut words = route.split_whitespace().skip_while(|word| *word != "mtu");
    words.nth(1).and_then(|mtu| mtu.parse().ok())
}

#[test]
fn p10_tcp_over_a_narrow_link() {
    let world = World::new();
    let beyond = world.beyond(1300);
    let web = published(&world, &[]);
    let connection = open(&beyond.far, &web);
    connection.download(MANY).expect("a download");
    assert_eq!(learned(&web), Some(1280), "an IPv4 header is shorter by 20");
    connection.upload(MANY).expect("an upload");
    let connection = open(&beyond.far, &web);
    connection.upload(MANY).expect("an upload first");
    connection.download(MANY).expect("a download afterwards");
    let counters = world.counters();
    assert_eq!((counters.drops_of(INGRESS), counters.drops_of(EGRESS)), ([].into(), [].into()));
}

#[test]
fn p10_tcp_by_an_uplink_that_takes_less() {
    let world = World::without_netd();
    let beyond = world.beyond(1500);
    world.host.sh(&format!("ip link set {UPLINK} mtu 1400"));
    world.outside.sh(&format!("ip link set {OUTLINK} mtu 1400"));
    world.start();
    let web = published(&world, &[]);
    let connection = open(&beyond.far, &web);
    connection.download(MANY).expect("a download");
    assert_eq!(learned(&web), Some(1380), "its own link takes 1,400, and each segment grows by 20");
    connection.upload(MANY).expect("an upload");
    assert!(world.counter(EGRESS, "answered") >= 1, "the gateway says so itself");
}

#[test]
fn p10_udp_as_large_as_the_path_takes() {
    let world = World::new();
    let beyond = world.beyond(1300);
    let web = published(&world, &[]);
    let server = bound(&web.place, Ipv4Addr::UNSPECIFIED.into(), 80);
    let client = bound(&beyond.far, Ipv6Addr::UNSPECIFIED.into(), 5000);
    // An IPv6 header and one of UDP; the client knows its own family's path by itself.
    client.connect(at(HOST6, 8080)).expect("a route");
    wait_until("the client has learned the path", seconds(3), || client.send(&[1; 1300 - 48 + 1]).is_err());
    wait_until("that fits, once errors have been told", seconds(3), || client.send(&[2; 1300 - 48]).is_ok());
    let (length, peer) = server.recv_from(&mut [0; 2000]).expect("a datagram");
    assert_eq!((length, peer.ip()), (1300 - 48, IpAddr::from(PROXY_V4)), "nothing else has come before it");
    // The other way round, the same number of bytes.
    let answer = |bytes: usize| server.send_to(&vec![3; bytes], peer).map_err(|error| error.raw_os_error());
    assert!(answer(1472).is_ok(), "nobody knows better yet");
    wait_until("the gateway says what its uplink takes", seconds(3), || answer(1472) == Err(Some(libc::EMSGSIZE)));
    wait_until("a router says what its link takes", seconds(3), || answer(1300 - 48 + 1) == Err(Some(libc::EMSGSIZE)));
    assert_eq!(answer(1300 - 48), Ok(1300 - 48));
    assert_eq!(client.recv(&mut [0; 2000]).expect("the answer"), 1300 - 48, "nothing else has come before it");
}

/// A UDP socket that asks for datagrams not to be fragmented.
fn bound(place: &Place, any: IpAddr, port: u16) -> UdpSocket {
    let socket = place.run(|| probe::udp_from(at(any, port))).expect("a socket");
    let (level, option) = match any {
        IpAddr::V4(_) => (libc::IPPROTO_IP, libc::IP_MTU_DISCOVER),
        IpAddr::V6(_) => (libc::IPPROTO_IPV6, libc::IPV6_MTU_DISCOVER),
    };
    probe::set_option(&socket, level, option, libc::IP_PMTUDISC_DO).expect("a socket option");
    socket
}

#[test]
fn p10_nobody_listens() {
    let world = World::new();
    let web = published(&world, &[]);
    world.netctl_ok(["network", "create", "dual", "--ipv6"]);
    let client = world.container("client", ["--network", "dual"]);
    world.host.sum_in_software(UPLINK);
    world.outside.sum_in_software(OUTLINK);
    for container in [&web, &client] {
        container.place.sum_in_software("eth0");
    }
    let watches = [Watch::begin(&world.outside, OUTLINK), Watch::begin(&client.place, "eth0")];
    for mode in [Mode::Tcp, Mode::UdpConnected] {
        for (who, reply) in [
            ("outside", world.outside.run(|| probe::dial(mode, at(HOST6, 8080)))),
            ("a container", client.place.run(|| probe::dial(mode, at(HOST6, 8080)))),
            ("the host", world.dial_from_host(mode, at(Ipv6Addr::LOCALHOST, 8080))),
        ] {
            let error = reply.expect_err("nobody listens");
            assert_eq!(error.kind(), ErrorKind::ConnectionRefused, "{who} by {mode:?}");
        }
    }
    for watch in watches {
        let tally = watch.end();
        assert!(tally.wrong.is_empty(), "{:#?}", tally.wrong);
        assert_eq!(tally.right.get("v6 icmp error written"), Some(&1), "{:?}", tally.right);
    }
    assert_eq!(world.counters().drops_of(EGRESS).keys().collect::<Vec<_>>(), [&"Multicast"]);
}

#[test]
fn p10_traceroute_ends_at_the_container() {
    let world = World::new();
    let beyond = world.beyond(1500);
    let web = published(&world, &[]);
    let _server = world.serve(&web.place, "web", &["tcp/0.0.0.0:80"]);
    let to = HOST6.to_string();
    let shown = beyond.far.ok(["traceroute", "-6", "-n", "-q1", "-w2", "-m6", "--tcp", "-p", "8080", &to]);
    let hops: Vec<&str> = shown.lines().skip(1).filter_map(|line| line.split_whitespace().nth(1)).collect();
    assert_eq!(hops, ["2001:db8:98::1", "2001:db8:99::1", &to], "{shown}");
}

#[test]
fn p10_clients_with_one_port_are_told_apart() {
    let world = World::new();
    let web = published(&world, &[]);
    let _server = world.serve(&web.place, "web", &["udp/0.0.0.0:80"]);
    let clients = [OUTSIDE6, OUTSIDE6_SECOND].map(|source| {
        let socket = world.outside.run(|| probe::udp_from(at(source, 4000))).expect("a socket");
        socket.connect(at(HOST6, 8080)).expect("a route");
        socket
    });
    let ask = |socket: &UdpSocket| probe::ask(socket).expect("an answer").seen_as;
    let seen: [SocketAddr; 2] = clients.each_ref().map(ask);
    assert_eq!(seen[0], at(IpAddr::from(PROXY_V4), 4000), "the first keeps its port");
    assert_ne!(seen[0], seen[1]);
    for _ in 0..3 {
        assert_eq!(clients.each_ref().map(ask), seen);
    }
}

/// Datagrams larger than a packet are not exchanged: they are counted, and end nothing.
#[test]
fn p10_fragments_are_counted() {
    let world = World::new();
    let beyond = world.beyond(1500);
    let web = published(&world, &[]);
    let _server = world.serve(&web.place, "web", &["udp/0.0.0.0:80"]);
    let client = beyond.far.run(|| probe::udp_from(at(FAR6, 4000))).expect("a socket");
    client.connect(at(HOST6, 8080)).expect("a route");
    let before = world.counters();
    client.send(&[7; 4000]).expect("in fragments");
    assert!(is_counted(&world, &before, INGRESS, "UnsupportedProtocol", 1), "{:?}", world.counters().since(&before));
    let reply = probe::ask(&client).expect("the answer to a small one");
    assert_eq!((reply.server.as_str(), reply.seen_as), ("web", at(IpAddr::from(PROXY_V4), 4000)));
}
