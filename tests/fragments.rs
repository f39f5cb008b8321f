//! Do datagrams arrive that are larger than a packet? Scenarios S6 and P8.

use netd_tests::frame::Wire;
use netd_tests::packet::{Ip, UDP};
use netd_tests::probe;
use netd_tests::world::{HOST, HOST6, OUTLINK, OUTSIDE, OUTSIDE6, UPLINK, World, at, is_counted};
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::time::Duration;

const SIZES: [usize; 3] = [4_000, 16_000, 60_000];
const INGRESS: &str = "uplink_ingress";

#[test]
fn s6_pings_larger_than_a_packet() {
    let world = World::new();
    let [web, client] = world.pair_on("dual", &["--ipv6"]);
    let targets: [IpAddr; 8] = [
        OUTSIDE.into(),
        OUTSIDE6.into(),
        web.ip.into(),
        web.ip6.into(),
        client.gateway.into(),
        client.gateway6.into(),
        HOST.into(),
        HOST6.into(),
    ];
    for target in targets {
        for size in SIZES {
            let size = size.to_string();
            client.place.ok(["ping", "-q", "-c2", "-i0.02", "-W2", "-s", &size, &target.to_string()]);
        }
    }
    assert_eq!(world.counters().drops_of("container_egress").keys().collect::<Vec<_>>(), [&"Multicast"]);
    assert!(world.counters().drops_of(INGRESS).is_empty());
}

#[test]
fn s6_datagrams_larger_than_a_packet() {
    let world = World::new();
    let [web, client] = world.pair_on("dual", &["--ipv6"]);
    world.netctl_ok(["publish", "web", "8080:80/udp"]);
    let outside = [format!("udp/{OUTSIDE}:80"), format!("udp/[{OUTSIDE6}]:80")];
    let _servers = [
        world.serve(&world.outside, "outside", &[&outside[0], &outside[1]]),
        world.serve(&web.place, "web", &["udp/[::]:80"]),
    ];
    for (far, host, peer) in
        [(IpAddr::from(OUTSIDE), IpAddr::from(HOST), web.at(80)), (OUTSIDE6.into(), HOST6.into(), web.at6(80))]
    {
        for size in SIZES {
            for (way, from, to) in [
                ("masqueraded", &client.place, at(far, 80)),
                ("published", &world.outside, at(host, 8080)),
                ("published on its network", &client.place, at(host, 8080)),
                ("its own port", &web.place, at(host, 8080)),
                ("a peer", &client.place, peer),
            ] {
                let came_back = from.run(|| echo(to, size));
                assert!(came_back.as_ref().is_ok_and(|same| *same), "{size} bytes, {way}, to {to}: {came_back:?}");
            }
        }
    }
    assert_eq!(world.counters().drops_of("container_egress").keys().collect::<Vec<_>>(), [&"Multicast"]);
    assert!(world.counters().drops_of(INGRESS).is_empty());
}

/// Sends a datagram to an echo server; whether it came back as it was sent.
fn echo(to: SocketAddr, size: usize) -> std::io::Result<bool> {
    let payload = probe::stream::payload(size);
    let socket = probe::udp_client(to)?;
    socket.send_to(&payload, to)?;
    let mut buffer = vec![0; 65_536];
    let length = socket.recv(&mut buffer)?;
    Ok(buffer[..length].ends_with(&payload))
}

/// Where the parts of a datagram begin and end that crafted fragments carry, the UDP header included.
const CUTS: [usize; 4] = [0, 1_000, 2_000, 2_500];

#[test]
fn p8_fragments_to_a_published_port() {
    let (_world, both) = by_hand();
    for by_hand in both {
        // Each its datagram, since the parts of one that is not complete wait for the rest.
        by_hand.send(1, &[0, 1, 2]);
        assert_eq!(by_hand.arrived(), Some(1), "in order");
        by_hand.send(2, &[0, 2, 1]);
        assert_eq!(by_hand.arrived(), Some(2), "the later ones swapped");
        by_hand.send(3, &[0, 0, 1, 1, 2, 2]);
        assert_eq!(by_hand.arrived(), Some(3), "each twice");
        assert_eq!(by_hand.arrived(), None, "but arrived once");
    }
}

#[test]
fn s6_fragments_whose_first_comes_late_or_never() {
    let (world, both) = by_hand();
    for by_hand in both {
        by_hand.send(1, &[1, 2]);
        assert_eq!(by_hand.arrived(), None, "without its first");
        for (number, order) in (2..).zip([[2, 1, 0], [1, 2, 0], [1, 0, 2], [2, 0, 1]]) {
            by_hand.send(number, &order);
            assert_eq!(by_hand.arrived(), Some(number), "{order:?}");
        }
        by_hand.send(9, &[2, 2, 2, 1, 0]);
        assert_eq!(by_hand.arrived(), Some(9), "one of them several times");
        assert_eq!(by_hand.arrived(), None);
    }
    let client = world.inspect("client");
    let wire = Wire::open(&client.place, "eth0");
    let [a, b, c, d] = client.gateway.octets();
    let before = world.counters();
    for (source, destination) in
        [(IpAddr::from(client.ip), IpAddr::from(OUTSIDE)), (client.ip6.into(), OUTSIDE6.into())]
    {
        let ip = Ip::new(source, destination);
        let datagram = ip.udp(4000, 53, &datagram(1));
        wire.send_to([0x02, 0x42, a, b, c, d], &ip.fragment(UDP, CUTS[1], &datagram[CUTS[1]..CUTS[2]], true));
    }
    assert!(is_counted(&world, &before, "container_egress", "FragmentFirstMissing", 2));
}

#[test]
fn s6_fragments_that_overlap() {
    let (world, both) = by_hand();
    for by_hand in both {
        let before = world.counters();
        by_hand.send(1, &[0]);
        by_hand.send_part(1, 992, 2_000);
        by_hand.send(1, &[2]);
        assert_eq!(by_hand.arrived(), None);
        assert!(is_counted(&world, &before, INGRESS, "FragmentOverlap", 1));
        by_hand.send(2, &[0, 1]);
        by_hand.send_part(2, 1_992, 2_500);
        assert_eq!(by_hand.arrived(), None);
        assert!(is_counted(&world, &before, INGRESS, "FragmentOverlap", 2));
        by_hand.send(3, &[0, 1, 2]);
        assert_eq!(by_hand.arrived(), Some(3));
    }
}

/// An outside that sends fragments by hand, of one datagram for each number, to a published port whose container listens.
struct ByHand {
    wire: Wire,
    host_mac: [u8; 6],
    ip: Ip,
    listener: UdpSocket,
}

/// By IPv4 and by IPv6.
fn by_hand() -> (World, [ByHand; 2]) {
    let world = World::new();
    let [web, _] = world.pair_on("dual", &["--ipv6"]);
    world.netctl_ok(["publish", "web", "8080:80/udp"]);
    let ends = [(IpAddr::from(OUTSIDE), IpAddr::from(HOST), web.at(80)), (OUTSIDE6.into(), HOST6.into(), web.at6(80))];
    let both = ends.map(|(source, destination, local)| {
        let listener = web.place.run(|| probe::udp_from(local)).expect("a socket");
        listener.set_read_timeout(Some(Duration::from_millis(300))).expect("a timeout");
        let (wire, host_mac) = (Wire::open(&world.outside, OUTLINK), Wire::open(&world.host, UPLINK).mac);
        ByHand { wire, host_mac, ip: Ip::new(source, destination), listener }
    });
    (world, both)
}

impl ByHand {
    /// Sends these parts of the datagram `number`.
    fn send(&self, number: u32, parts: &[usize]) {
        for &part in parts {
            self.send_part(number, CUTS[part], CUTS[part + 1]);
        }
    }

    fn send_part(&self, number: u32, begin: usize, end: usize) {
        let ip = Ip { id: number, ..self.ip.clone() };
        let datagram = ip.udp(4000, 8080, &datagram(number));
        let packet = ip.fragment(UDP, begin, &datagram[begin..end], end != datagram.len());
        self.wire.send_to(self.host_mac, &packet);
    }

    /// The number of the datagram that has arrived, whole and as it was sent.
    fn arrived(&self) -> Option<u32> {
        let mut buffer = [0; 4096];
        let length = self.listener.recv(&mut buffer).ok()?;
        let number = u32::from(buffer[0]);
        assert_eq!(buffer[..length], datagram(number));
        Some(number)
    }
}

/// The payload of the datagram `number`.
fn datagram(number: u32) -> Vec<u8> {
    let mut payload = probe::stream::payload(CUTS[3] - 8);
    payload[0] = u8::try_from(number).expect("a small number");
    payload
}
