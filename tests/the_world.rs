//! Are the tools that the other tests stand on true? Without netd: what is seen here is Linux alone.

use netd_tests::frame::{Ends, Wire, arp_answer};
use netd_tests::probe::{self, Mode, hammer::Hammer, stream};
use netd_tests::seconds;
use netd_tests::world::{HOST, OUTLINK, OUTSIDE, OUTSIDE_SECOND, World, at};
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
