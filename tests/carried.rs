//! What of a packet is carried as it is, and what becomes of the protocols that are not translated? Scenario O11.

use netd_tests::frame::{Wire, contains};
use netd_tests::packet::{ESP, GRE, Ip, SCTP, UDP};
use netd_tests::probe;
use netd_tests::seconds;
use netd_tests::world::{Container, HOST, HOST6, OUTLINK, OUTSIDE, OUTSIDE6, Place, UPLINK, World, at, is_counted};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, UdpSocket};

const EGRESS: &str = "container_egress";
/// Nothing else on the wire has these bytes.
const MARK: &[u8] = b"carried as it is";

/// A world with a container of both families, whose port 80 is published as 8080.
fn dual() -> (World, Container) {
    let world = World::new();
    world.netctl_ok(["network", "create", "dual", "--ipv6"]);
    let web = world.container("web", ["--network", "dual", "-p", "8080:80/udp"]);
    (world, web)
}

/// The container, the outside and the host, in each family.
fn families(web: &Container) -> [[IpAddr; 3]; 2] {
    [[web.ip.into(), OUTSIDE.into(), HOST.into()], [web.ip6.into(), OUTSIDE6.into(), HOST6.into()]]
}

fn gateway_mac(web: &Container) -> [u8; 6] {
    let [a, b, c, d] = web.gateway.octets();
    [0x02, 0x42, a, b, c, d]
}

/// The next packet of this protocol (or next header) with the mark that came in by a wire. Not an error that quotes it.
#[track_caller]
fn marked(wire: &Wire, protocol: u8, what: &str) -> Vec<u8> {
    let is_one = |packet: &[u8]| packet[if packet[0] >> 4 == 4 { 9 } else { 6 }] == protocol;
    let seen = wire.wait_for(seconds(3), |seen| {
        contains(&seen.bytes, MARK) && seen.bytes[6..12] != wire.mac && is_one(&seen.bytes[14..])
    });
    seen.unwrap_or_else(|| panic!("{what} does not arrive")).bytes[14..].to_vec()
}

/// The type of service or the traffic class.
const fn class(packet: &[u8]) -> u8 {
    if packet[0] >> 4 == 4 { packet[1] } else { packet[0] << 4 | packet[1] >> 4 }
}

fn socket(place: &Place, local: IpAddr, port: u16) -> UdpSocket {
    place.run(|| probe::udp_from(at(local, port))).expect("a socket")
}

#[test]
fn o11_dscp_and_ecn() {
    // Expedited forwarding, and "congestion was experienced" (RFC 3246, RFC 3168).
    const CLASS: u8 = 46 << 2 | 3;
    let (world, web) = dual();
    let (outside, inside) = (Wire::open(&world.outside, OUTLINK), Wire::open(&web.place, "eth0"));
    for [container, far, host] in families(&web) {
        for (from, port, to, wire) in [
            (socket(&web.place, container, 0), 53, far, &outside),
            (socket(&world.outside, far, 0), 8080, host, &inside),
        ] {
            let (level, option) = match to {
                IpAddr::V4(_) => (libc::IPPROTO_IP, libc::IP_TOS),
                IpAddr::V6(_) => (libc::IPPROTO_IPV6, libc::IPV6_TCLASS),
            };
            // The kernel keeps ECN of TCP for itself, but not of UDP.
            probe::set_option(&from, level, option, CLASS.into()).expect("a class");
            from.send_to(MARK, at(to, port)).expect("a datagram");
            assert_eq!(class(&marked(wire, UDP, &format!("to {to}"))), CLASS, "to {to}");
        }
    }
}

#[test]
fn o11_udp_without_a_checksum() {
    let (world, web) = dual();
    let server = socket(&world.outside, Ipv4Addr::UNSPECIFIED.into(), 53);
    let listener = socket(&web.place, Ipv4Addr::UNSPECIFIED.into(), 80);
    let (outside, inside) = (Wire::open(&world.outside, OUTLINK), Wire::open(&web.place, "eth0"));
    for (from, to, receiver, wire) in [
        (socket(&web.place, web.ip.into(), 0), at(OUTSIDE, 53), &server, &outside),
        (socket(&world.outside, OUTSIDE.into(), 0), at(HOST, 8080), &listener, &inside),
    ] {
        probe::set_option(&from, libc::SOL_SOCKET, libc::SO_NO_CHECK, 1).expect("an option");
        from.send_to(MARK, to).expect("a datagram");
        assert_eq!(marked(wire, UDP, "a datagram")[26..28], [0, 0], "none stays none, to {to}");
        let mut buffer = [0; 64];
        let (length, peer) = receiver.recv_from(&mut buffer).expect("the datagram");
        assert_eq!(&buffer[..length], MARK);
        receiver.send_to(b"an answer", peer).expect("an answer");
        assert_eq!(from.recv(&mut buffer).expect("the answer"), 9);
    }
}

#[test]
fn o11_ip_options() {
    let (world, web) = dual();
    let wire = Wire::open(&web.place, "eth0");
    let outside = Wire::open(&world.outside, OUTLINK);
    let mut ip = Ip::new(web.ip, OUTSIDE);
    // A router alert and nothing (RFC 2113).
    ip.options = vec![0x94, 4, 0, 0, 1, 1, 1, 0];
    wire.send_to(gateway_mac(&web), &ip.packet(UDP, &ip.udp(4000, 53, MARK)));
    let seen = marked(&outside, UDP, "a packet with options");
    assert_eq!((&seen[12..16], &seen[20..28]), (&HOST.octets()[..], &ip.options[..]));
    // Options for the destination, padding in them.
    let ip = Ip::new(web.ip6, OUTSIDE6);
    let header = [&[UDP, 0, 1, 4, 0, 0, 0, 0][..], &ip.udp(4000, 53, MARK)].concat();
    wire.send_to(gateway_mac(&web), &ip.packet(60, &header));
    let seen = marked(&outside, 60, "a packet with an extension header");
    assert_eq!((&seen[8..24], &seen[40..48]), (&HOST6.octets()[..], &header[..8]));
}

#[test]
fn o11_the_last_hop() {
    let (world, web) = dual();
    for [container, far, _] in families(&web) {
        let from = socket(&web.place, container, 0);
        let (level, option) = match far {
            IpAddr::V4(_) => (libc::IPPROTO_IP, libc::IP_TTL),
            IpAddr::V6(_) => (libc::IPPROTO_IPV6, libc::IPV6_UNICAST_HOPS),
        };
        from.connect(at(far, 53)).expect("a route");
        let server = socket(&world.outside, far, 53);
        probe::set_option(&from, level, option, 2).expect("hops");
        from.send(b"enough").expect("a datagram");
        let mut buffer = [0; 64];
        assert_eq!(server.recv(&mut buffer).expect("two hops are enough"), 6);
        let before = world.counters();
        probe::set_option(&from, level, option, 1).expect("hops");
        from.send(b"not enough").expect("a datagram");
        assert!(is_counted(&world, &before, EGRESS, "answered", 1), "{:?}", world.counters().since(&before));
        probe::set_option(&from, level, option, 64).expect("hops");
        // "Time exceeded" is told to no socket that has not asked for it; nothing else has come before this one.
        let sent = from.send(b"plenty").or_else(|_| from.send(b"plenty"));
        assert_eq!(sent.expect("a datagram"), 6);
        let length = server.recv(&mut buffer).expect("plenty");
        assert_eq!(&buffer[..length], b"plenty");
    }
}

#[test]
fn o11_sctp_keeps_its_port() {
    let (world, web) = dual();
    let (inside, outside) = (Wire::open(&web.place, "eth0"), Wire::open(&world.outside, OUTLINK));
    let host_mac = Wire::open(&world.host, UPLINK).mac;
    // A header with its CRC, which covers no address, and a chunk that is the mark.
    let packet = |from: u16, to: u16| {
        [&from.to_be_bytes()[..], &to.to_be_bytes(), &[0, 0, 0, 7, 0xde, 0xad, 0xbe, 0xef], MARK].concat()
    };
    for [container, far, host] in families(&web) {
        inside.send_to(gateway_mac(&web), &Ip::new(container, far).packet(SCTP, &packet(5000, 5001)));
        let seen = marked(&outside, SCTP, "an association to the outside");
        assert!(seen.ends_with(&packet(5000, 5001)), "{seen:02x?}");
        assert_eq!(source(&seen), host);
        outside.send_to(host_mac, &Ip::new(far, host).packet(SCTP, &packet(5001, 5000)));
        assert_eq!(destination(&marked(&inside, SCTP, "the answer")), container);
    }
}

#[test]
fn o11_sctp_to_a_published_port() {
    let (world, web) = dual();
    world.netctl_ok(["publish", "web", "5000:5000/sctp"]);
    let (inside, outside) = (Wire::open(&web.place, "eth0"), Wire::open(&world.outside, OUTLINK));
    let host_mac = Wire::open(&world.host, UPLINK).mac;
    let packet = |from: u16, to: u16| {
        [&from.to_be_bytes()[..], &to.to_be_bytes(), &[0, 0, 0, 7, 0xde, 0xad, 0xbe, 0xef], MARK].concat()
    };
    for [container, far, host] in families(&web) {
        outside.send_to(host_mac, &Ip::new(far, host).packet(SCTP, &packet(5001, 5000)));
        let seen = marked(&inside, SCTP, "an association from the outside");
        assert!(seen.ends_with(&packet(5001, 5000)), "{seen:02x?}");
        assert_eq!((source(&seen), destination(&seen)), (far, container));
        inside.send_to(gateway_mac(&web), &Ip::new(container, far).packet(SCTP, &packet(5000, 5001)));
        assert_eq!(source(&marked(&outside, SCTP, "the answer")), host);
    }
}

#[test]
fn o11_gre_and_esp_stay_inside() {
    let (world, web) = dual();
    let peer = world.container("peer", ["--network", "dual"]);
    let (inside, outside) = (Wire::open(&web.place, "eth0"), Wire::open(&world.outside, OUTLINK));
    let at_peer = Wire::open(&peer.place, "eth0");
    for ([container, far, _], to_peer) in families(&web).into_iter().zip([IpAddr::from(peer.ip), peer.ip6.into()]) {
        for protocol in [GRE, ESP] {
            let before = world.counters();
            inside.send_to(gateway_mac(&web), &Ip::new(container, far).packet(protocol, MARK));
            let moved = is_counted(&world, &before, EGRESS, "UnsupportedProtocol", 1);
            assert!(moved, "{protocol} to {far}: {:?}", world.counters().since(&before));
            inside.send_to(peer.mac, &Ip::new(container, to_peer).packet(protocol, MARK));
            assert_eq!(destination(&marked(&at_peer, protocol, "what a peer sends")), to_peer);
        }
    }
    while let Some(seen) = outside.next() {
        assert!(!contains(&seen.bytes, MARK), "it has left: {:02x?}", seen.bytes);
    }
}

fn source(packet: &[u8]) -> IpAddr {
    address(packet, 12, 8)
}

fn destination(packet: &[u8]) -> IpAddr {
    address(packet, 16, 24)
}

fn address(packet: &[u8], v4: usize, v6: usize) -> IpAddr {
    if packet[0] >> 4 == 4 {
        return Ipv4Addr::from(<[u8; 4]>::try_from(&packet[v4..v4 + 4]).expect("four bytes")).into();
    }
    Ipv6Addr::from(<[u8; 16]>::try_from(&packet[v6..v6 + 16]).expect("sixteen bytes")).into()
}
