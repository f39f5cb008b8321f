//! Do containers learn what the path to the outside takes, and use it? Scenario O6.

use netd_tests::probe::{self, stream::Connection};
use netd_tests::world::{FAR, FAR6, HOST, HOST6, Place, World, at};
use netd_tests::{seconds, wait_until};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};

/// Far more than fits into the buffers on the way.
const MANY: u64 = 2 << 20;
/// The far end, the host as it sees it, and every address, of each family.
const FAMILIES: [(IpAddr, IpAddr, IpAddr); 2] = [
    (IpAddr::V4(FAR), IpAddr::V4(HOST), IpAddr::V4(Ipv4Addr::UNSPECIFIED)),
    (IpAddr::V6(FAR6), IpAddr::V6(HOST6), IpAddr::V6(Ipv6Addr::UNSPECIFIED)),
];

#[test]
fn o6_tcp_of_a_container_over_a_narrow_link() {
    let world = World::new();
    let beyond = world.beyond(1300);
    let [_, client] = world.pair_on("dual", &["--ipv6"]);
    for (far, _, any) in FAMILIES {
        let connection = Connection::open(&client.place, at(far, 90), &beyond.far, at(any, 90)).expect("a connection");
        connection.upload(MANY).unwrap_or_else(|error| panic!("upload to {far}: {error}"));
        assert_eq!(learned(&client.place, far), Some(1300), "{far}");
        connection.download(MANY).unwrap_or_else(|error| panic!("download from {far}: {error}"));
    }
    // Back from the outside, an error about each of the two flows.
    assert_eq!(world.counters().drops_of("uplink_ingress"), [].into());
}

#[test]
fn o6_tcp_of_a_published_port_over_a_narrow_link() {
    let world = World::new();
    let beyond = world.beyond(1300);
    let [web, _] = world.pair_on("dual", &["--ipv6"]);
    world.netctl_ok(["publish", "web", "8080:80"]);
    for (far, host, any) in FAMILIES {
        let connection = Connection::open(&beyond.far, at(host, 8080), &web.place, at(any, 80)).expect("a connection");
        connection.download(MANY).unwrap_or_else(|error| panic!("download by {far}: {error}"));
        assert_eq!(learned(&web.place, far), Some(1300), "{far}");
        connection.upload(MANY).unwrap_or_else(|error| panic!("upload by {far}: {error}"));
    }
    assert_eq!(world.counters().drops_of("uplink_ingress"), [].into());
}

#[test]
fn o6_udp_that_may_not_be_fragmented_over_a_narrow_link() {
    let world = World::new();
    let beyond = world.beyond(1300);
    let [web, client] = world.pair_on("dual", &["--ipv6"]);
    world.netctl_ok(["publish", "web", "8080:80/udp"]);
    for (far, host, any) in FAMILIES {
        let server = bound(&beyond.far, any, 90);
        let socket = bound(&client.place, any, 5000);
        too_big_then_right(&socket, &server, at(far, 90), 1300);
        // The other way round: the container answers a client that is behind the narrow link.
        let server = bound(&web.place, any, 80);
        let visitor = bound(&beyond.far, any, 5001);
        visitor.send_to(b"hello", at(host, 8080)).expect("a datagram");
        let (_, peer) = server.recv_from(&mut [0; 16]).expect("the datagram");
        too_big_then_right(&server, &visitor, peer, 1300);
    }
}

#[test]
fn o6_an_uplink_that_takes_less_than_the_container_sends() {
    let world = World::without_netd();
    let beyond = world.beyond(1500);
    world.host.sh("ip link set up0 mtu 1400");
    world.outside.sh("ip link set out0 mtu 1400");
    world.start();
    let [web, client] = world.pair_on("dual", &["--ipv6", "--mtu", "1500"]);
    world.netctl_ok(["publish", "web", "8080:80", "8080:80/udp"]);
    for (far, host, any) in FAMILIES {
        let before = world.counters();
        let connection = Connection::open(&client.place, at(far, 90), &beyond.far, at(any, 90)).expect("a connection");
        connection.upload(MANY).unwrap_or_else(|error| panic!("upload to {far}: {error}"));
        assert_eq!(learned(&client.place, far), Some(1400), "{far}");
        connection.download(MANY).unwrap_or_else(|error| panic!("download from {far}: {error}"));
        let server = bound(&beyond.far, any, 90);
        let socket = bound(&client.place, any, 5000);
        client.place.sh("ip route flush cache; ip -6 route flush cache");
        too_big_then_right(&socket, &server, at(far, 90), 1400);

        beyond.far.sh("ip route flush cache; ip -6 route flush cache");
        let connection = Connection::open(&beyond.far, at(host, 8080), &web.place, at(any, 80)).expect("a connection");
        connection.download(MANY).unwrap_or_else(|error| panic!("download by {far}: {error}"));
        assert_eq!(learned(&web.place, far), Some(1400), "{far}");
        assert!(world.counters().since(&before).of("container_egress", "answered") >= 3);
    }
}

/// A datagram of 1500 bytes is lost, and the sender is told; then exactly `mtu` bytes pass, and not one more.
#[track_caller]
fn too_big_then_right(sender: &UdpSocket, receiver: &UdpSocket, to: SocketAddr, mtu: usize) {
    let headers = if to.is_ipv4() { 28 } else { 48 };
    let send = |bytes: usize| sender.send_to(&vec![7; bytes - headers], to).map_err(|error| error.raw_os_error());
    assert!(send(1500).is_ok(), "nobody knows better yet");
    wait_until("the sender is told", seconds(2), || send(1500) == Err(Some(libc::EMSGSIZE)));
    assert_eq!(send(mtu + 1), Err(Some(libc::EMSGSIZE)), "to {to}");
    assert_eq!(send(mtu), Ok(mtu - headers), "to {to}");
    let (length, _) = receiver.recv_from(&mut [0; 2000]).unwrap_or_else(|error| panic!("to {to}: {error}"));
    assert_eq!(length, mtu - headers, "nothing else has come before it");
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

/// The MTU of the path to an address, as the stack of a place has learned it.
fn learned(place: &Place, to: IpAddr) -> Option<u32> {
    let route = place.sh(&format!("ip route get {to}"));
    let mut words = route.split_whitespace().skip_while(|word| *word != "mtu");
    words.nth(1).and_then(|mtu| mtu.parse().ok())
}
