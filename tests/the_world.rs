//! Are the tools that the other tests stand on true? Without netd: what is seen here is Linux alone.

use netd_tests::frame::{Ends, Wire, arp_answer, contains};
use netd_tests::packet::{ICMP, ICMPV6, Ip, SYN, TCP, UDP};
use netd_tests::probe::{self, Mode, hammer::Hammer, stream};
use netd_tests::world::{HOST, HOST6, OUTLINK, OUTSIDE, OUTSIDE_SECOND, OUTSIDE6, UPLINK, World, at};
use netd_tests::{seconds, wait_until};
use std::net::{Ipv4Addr, SocketAddr, TcpListener};

#[test]
fn host_and_outside_reach_each_other_and_tell_the_truth() {
    let world = World::without_netd();
    let server = world.serve(&world.outside, "there", &["tcp/0.0.0.0:80", "udp/0.0.0.0:80"]);
    for mode in Mode::ALL {
        let reply = world.dial_from_host(mode, at(OUTSIDE, 80)).unwrap_or_else(|error| panic!("{mode:?}: {error}"));
        assert_eq!((reply.server.as_str(), reply.peer, reply.seen_as.ip()), ("there", at(OUTSIDE, 80), HOST.into()));
    }
    drop(server);
    let refused = world.dial_from_host(Mode::Tcp, at(OUTSIDE, 80)).expect_err("the server is gone");
    assert_eq!(refused.kind(), std::io::ErrorKind::ConnectionRefused);
}

#[test]
fn a_mapped_address_is_dialled_through_an_ipv6_socket() {
    let world = World::without_netd();
    let _server = world.serve(&world.host, "here", &["tcp/0.0.0.0:80"]);
    let mapped: SocketAddr = "[::ffff:127.0.0.1]:80".parse().expect("an address");
    let reply = world.dial_from_host(Mode::Tcp, mapped).expect("an answer");
    assert_eq!(reply.peer, mapped);
}

#[test]
fn raw_frames_go_out_and_come_in() {
    let world = World::without_netd();
    let wire = Wire::open(&world.outside, OUTLINK);
    let ends = Ends { source_mac: wire.mac, destination_mac: [0xff; 6], source: OUTSIDE, destination: HOST };
    assert!(wire.send(&ends.arp_request()));
    let answer = wire.wait_for(seconds(1), |seen| arp_answer(&seen.bytes, HOST).is_some()).expect("an ARP answer");
    let absent = Ends { destination: Ipv4Addr::new(198, 18, 0, 99), ..ends };
    assert!(wire.send(&absent.arp_request()));
    assert_eq!(wire.wait_for(seconds(1), |seen| arp_answer(&seen.bytes, absent.destination).is_some()), None);

    let host_mac = arp_answer(&answer.bytes, HOST).expect("just seen");
    let listener = world.host.run(|| probe::udp_from(at(HOST, 9000))).expect("a socket");
    let ends = Ends { destination_mac: host_mac, ..ends };
    assert!(wire.send(&ends.udp(1234, 9000, b"by hand")));
    let mut buffer = [0; 16];
    let (length, peer) = listener.recv_from(&mut buffer).expect("the datagram");
    assert_eq!((&buffer[..length], peer), (&b"by hand"[..], at(OUTSIDE, 1234)));
    assert!(!wire.send(&[]), "the kernel refuses a frame without a header");
}

#[test]
fn wrong_checksums_are_noticed() {
    let world = World::without_netd();
    let wire = Wire::open(&world.outside, OUTLINK);
    let destination_mac = Wire::open(&world.host, UPLINK).mac;
    let ends = Ends { source_mac: wire.mac, destination_mac, source: OUTSIDE, destination: HOST };
    let listener = world.host.run(|| probe::udp_from(at(HOST, 9000))).expect("a socket");
    let mut frame = ends.udp(1234, 9000, b"damaged");
    frame[14 + 20 + 8] ^= 1;
    assert!(wire.send(&frame) && wire.send(&ends.udp(1234, 9000, b"whole")));
    let mut buffer = [0; 16];
    let length = listener.recv(&mut buffer).expect("the second datagram");
    assert_eq!(&buffer[..length], b"whole");
    assert_eq!(world.wrong_checksums(), ["host: 1 Udp InCsumErrors"]);
    world.sends_wrong_checksums();
}

#[test]
fn wrong_checksums_of_each_protocol_fail_the_test() {
    let world = World::without_netd();
    let wire = Wire::open(&world.outside, OUTLINK);
    let mac = Wire::open(&world.host, UPLINK).mac;
    let v4 = Ip::new(OUTSIDE, HOST);
    let v6 = Ip::new(OUTSIDE6, HOST6);
    let echo = |icmp_type| vec![icmp_type, 0, 0xde, 0xad, 0, 1, 0, 1];
    for (ip, icmp, icmp_type) in [(&v4, ICMP, 8), (&v6, ICMPV6, 128)] {
        let segments = [(UDP, ip.udp(1, 9, b"damaged")), (TCP, ip.tcp([1, 9], [1, 0], SYN, b"damaged"))];
        for (protocol, mut segment) in segments {
            *segment.last_mut().expect("a byte") ^= 1;
            wire.send_to(mac, &ip.packet(protocol, &segment));
        }
        wire.send_to(mac, &ip.packet(icmp, &echo(icmp_type)));
    }
    let expected = [
        "host: 1 Icmp InCsumErrors",
        "host: 1 Icmp6InCsumErrors",
        "host: 1 Udp InCsumErrors",
        "host: 1 Udp6InCsumErrors",
        "host: 2 Tcp InCsumErrors",
    ];
    wait_until("all are counted", seconds(3), || {
        let mut wrong = world.wrong_checksums();
        wrong.sort_unstable();
        wrong == expected
    });
    let end = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| drop(world)));
    let said = end.expect_err("the world says so in the end");
    let said = said.downcast_ref::<String>().expect("a text");
    assert!(said.starts_with("checksums were wrong: ") && said.contains("Tcp InCsumErrors"), "{said}");
}

#[test]
fn a_device_that_writes_checksums_writes_them() {
    let world = World::without_netd();
    let listener = world.outside.run(|| probe::udp_from(at(OUTSIDE, 9000))).expect("a socket");
    let wire = Wire::open(&world.outside, OUTLINK);
    let sender = world.host.run(|| probe::udp_from(at(HOST, 1234))).expect("a socket");
    let mut sums = Vec::new();
    for _ in 0..2 {
        sender.send_to(b"hello", at(OUTSIDE, 9000)).expect("a datagram");
        listener.recv(&mut [0; 16]).expect("the datagram");
        let is_it = |seen: &netd_tests::frame::Seen| contains(&seen.bytes, b"hello");
        let seen = wire.wait_for(seconds(1), is_it).expect("the frame");
        sums.push([seen.bytes[40], seen.bytes[41]]);
        world.host.sum_in_software(UPLINK);
    }
    assert_ne!(sums[0], sums[1], "left to the device at first");
}

#[test]
fn a_damaged_stream_is_noticed() {
    let world = World::without_netd();
    let listener = world.outside.run(|| TcpListener::bind(at(OUTSIDE, 80))).expect("a listener");
    let client = world.host.run(|| std::net::TcpStream::connect(at(OUTSIDE, 80))).expect("a connection");
    let (server, _) = listener.accept().expect("the connection");
    std::thread::scope(|scope| {
        scope.spawn(|| stream::send(&client, 3_000_000));
        stream::receive(&server, 3_000_000).expect("the payload");
        scope.spawn(|| {
            use std::io::Write;
            (&client).write_all(&[0; 10])
        });
        stream::receive(&server, 10).expect_err("zeros are not the payload");
    });
}

#[test]
fn failures_of_new_connections_are_counted() {
    let world = World::without_netd();
    let server = world.serve(&world.host, "here", &["tcp/0.0.0.0:80"]);
    let hammer = Hammer::start(&world.outside, at(HOST, 80));
    hammer.wait_for(20);
    drop(server);
    hammer.wait_for(20);
    let tally = hammer.stop();
    assert!(tally.successes() >= 20 && tally.failures() >= 19, "{tally:?}");
}

#[test]
fn a_client_may_choose_its_port() {
    let world = World::without_netd();
    let _server = world.serve(&world.host, "here", &["tcp/0.0.0.0:80"]);
    let stream = world.outside.run(|| probe::tcp_from(at(OUTSIDE_SECOND, 4321), at(HOST, 80))).expect("a connection");
    assert_eq!(probe::exchange(&stream).expect("an exchange").seen_as, at(OUTSIDE_SECOND, 4321));
}

#[test]
fn what_is_left_behind_is_seen() {
    let world = World::without_netd();
    assert_eq!(world.left_behind(), Vec::<String>::new());
    world.host.sh("ip link add nd1 type veth peer name ndx1; ip route add unreachable 10.208.0.0/24; ip addr add 10.208.0.1/32 dev lo");
    std::fs::write(world.netns("web"), "").expect("a file");
    let left = world.left_behind().join("\n");
    for what in ["link ", "route unreachable 10.208.0.0/24", "address ", "namespace web"] {
        assert!(left.contains(what), "{what} is not in {left}");
    }
    world.host.sh("ip link del nd1; ip route del unreachable 10.208.0.0/24; ip addr del 10.208.0.1/32 dev lo");
    std::fs::remove_file(world.netns("web")).expect("the file");
}
