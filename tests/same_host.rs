//! Do containers on one host reach those whom they may reach, and nobody else? Scenarios S1 to S5 and S7 to S10.

use netd_tests::frame::{Ends, Seen, Wire, arp_answer, contains};
use netd_tests::probe::{self, Mode, stream};
use netd_tests::seconds;
use netd_tests::world::{
    Container, HOST, HOST_SECOND, HOST6, OUTLINK, OUTSIDE, OUTSIDE6, Process, UPLINK, World, at, is_counted,
};
use std::io::ErrorKind;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV6, TcpListener, TcpStream, UdpSocket};
use std::time::Duration;

const EGRESS: &str = "container_egress";

#[test]
fn s1_containers_of_one_network_reach_each_other() {
    let world = World::new();
    let (web, client) = (world.plain("web"), world.plain("client"));
    let _server = world.serve(&web.place, "web", &["tcp/0.0.0.0:80", "udp/0.0.0.0:80"]);
    for mode in Mode::ALL {
        let reply =
            client.place.run(|| probe::dial(mode, web.at(80))).unwrap_or_else(|error| panic!("{mode:?}: {error}"));
        assert_eq!((reply.server.as_str(), reply.peer), ("web", web.at(80)), "{mode:?}");
        assert_eq!(
            reply.seen_as,
            SocketAddr::new(client.ip.into(), reply.local.port()),
            "{mode:?}: the source is kept"
        );
    }
    ping(&client, web.ip, &["-c", "3", "-i", "0.05"]);
    let refused = client.place.run(|| probe::dial(Mode::Tcp, web.at(81))).expect_err("nobody listens there");
    assert_eq!(refused.kind(), ErrorKind::ConnectionRefused);
    assert!(world.flows().is_empty(), "peers need no flow: {:?}", world.flows());
}

#[test]
fn s11_broadcast_and_multicast_reach_every_member_once() {
    let world = World::new();
    world.netctl_ok(["network", "create", "dual", "--ipv6"]);
    let members = ["one", "two", "three"].map(|name| world.container(name, ["--network", "dual"]));
    let stranger = world.plain("stranger");
    let (group, group_6) = (Ipv4Addr::new(224, 0, 0, 251), Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 0xfb));
    let everybody = Ipv4Addr::BROADCAST;
    let listeners: Vec<(String, UdpSocket, Option<UdpSocket>)> = members
        .iter()
        .chain([&stranger])
        .map(|of| {
            of.place.run(|| {
                let socket = UdpSocket::bind("0.0.0.0:5353").expect("a socket");
                socket.join_multicast_v4(&group, &of.ip).expect("a member of the group");
                let socket_6 = (of.name != stranger.name).then(|| {
                    let socket = UdpSocket::bind("[::]:5354").expect("a socket");
                    let index = nix::net::if_::if_nametoindex("eth0").expect("an interface");
                    socket.join_multicast_v6(&group_6, index).expect("a member of the group");
                    socket
                });
                (of.name.clone(), socket, socket_6)
            })
        })
        .collect();
    let sender = &members[0];
    sender.place.run(|| {
        let socket = UdpSocket::bind((sender.ip, 0)).expect("a socket");
        socket.set_broadcast(true).expect("set");
        socket.set_multicast_loop_v4(false).expect("set");
        socket.send_to(b"multicast", (group, 5353)).expect("sent");
        socket.send_to(b"broadcast", (everybody, 5353)).expect("sent");
        let index = nix::net::if_::if_nametoindex("eth0").expect("an interface");
        let socket = UdpSocket::bind("[::]:0").expect("a socket");
        socket.set_multicast_loop_v6(false).expect("set");
        socket.send_to(b"multicast6", SocketAddrV6::new(group_6, 5354, 0, index)).expect("sent");
    });
    for (name, socket, socket_6) in &listeners {
        let is_member = name == "two" || name == "three";
        let expected: &[&str] = match name.as_str() {
            "two" | "three" => &["multicast", "broadcast"],
            // Linux gives a broadcast to the sender's own sockets itself.
            "one" => &["broadcast"],
            _ => &[],
        };
        assert_eq!(heard(socket), expected, "{name}");
        if let Some(socket) = socket_6 {
            let expected: &[&str] = if is_member { &["multicast6"] } else { &[] };
            assert_eq!(heard(socket), expected, "{name}");
        }
    }
}

/// All that comes until nothing more does.
fn heard(socket: &UdpSocket) -> Vec<String> {
    socket.set_read_timeout(Some(Duration::from_millis(300))).expect("set");
    let mut heard = Vec::new();
    let mut buffer = [0; 64];
    while let Ok((len, _)) = socket.recv_from(&mut buffer) {
        heard.push(String::from_utf8_lossy(&buffer[..len]).into_owned());
    }
    heard
}

#[test]
fn s2_networks_are_apart() {
    let world = World::new();
    world.network("blue", "10.77.0.0/24");
    let (red, blue) = (world.plain("red"), world.container("blue1", ["--network", "blue"]));
    let blue2 = world.container("blue2", ["--network", "blue"]);
    assert_eq!(blue.ip, Ipv4Addr::new(10, 77, 0, 2));
    let _servers = [
        world.serve(&red.place, "red", &["tcp/0.0.0.0:80", "udp/0.0.0.0:80"]),
        world.serve(&blue.place, "blue", &["tcp/0.0.0.0:80", "udp/0.0.0.0:80"]),
    ];
    for (from, to) in [(&red, &blue), (&blue, &red)] {
        let before = world.counters();
        for mode in Mode::ALL {
            let reached = from.place.run(|| probe::dial(mode, to.at(80)));
            assert!(reached.is_err(), "{} reached {} by {mode:?}: {reached:?}", from.name, to.name);
        }
        assert!(
            !from.place.exec(["ping", "-c1", "-W1", &to.ip.to_string()]).is_ok(),
            "{} pings {}",
            from.name,
            to.name
        );
        assert!(is_counted(&world, &before, EGRESS, "OtherNetwork", 4), "{:?}", world.counters().since(&before));
    }
    let reply = blue2.place.run(|| probe::dial(Mode::Tcp, blue.at(80))).expect("its own network");
    assert_eq!(reply.server, "blue");

    let both = world.container("both", ["--network", "bridge", "--network", "blue"]);
    for (peer, server) in [(&red, "red"), (&blue, "blue")] {
        for mode in Mode::ALL {
            let reply = both.place.run(|| probe::dial(mode, peer.at(80)));
            let reply = reply.unwrap_or_else(|error| panic!("who is on both reaches {server} by {mode:?}: {error}"));
            assert_eq!(reply.server, server);
        }
    }

    // By the other's MAC address, as a neighbour would, too.
    let wire = Wire::open(&red.place, "eth0");
    let listener = blue.place.run(|| probe::udp_from(at(blue.ip, 9000))).expect("a socket");
    listener.set_read_timeout(Some(Duration::from_millis(300))).expect("a timeout");
    let ends = Ends { source_mac: red.mac, destination_mac: blue.mac, source: red.ip, destination: blue.ip };
    let before = world.counters();
    assert!(wire.send(&ends.udp(1000, 9000, b"over the fence")));
    assert!(is_counted(&world, &before, EGRESS, "UnknownMac", 1), "{:?}", world.counters().since(&before));
    assert_eq!(listener.recv(&mut [0; 64]).expect_err("nothing may come").kind(), ErrorKind::WouldBlock);
}

#[test]
fn s3_after_churn_exactly_the_allowed_pairs_work() {
    let world = World::new();
    for network in ["blue", "green"] {
        world.netctl_ok(["network", "create", network, "--ipv6"]);
    }
    let network_of = |number: u64| if number.is_multiple_of(3) { "blue" } else { "green" };
    let mut live = std::collections::BTreeSet::new();
    // xorshift64 with a fixed seed: every run churns alike.
    let mut random = 0x2545_f491_4f6c_dd1d_u64;
    for _ in 0..24 {
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        let number = random % 7;
        let name = format!("c{number}");
        if live.remove(&number) {
            world.netctl_ok(["container", "rm", &name]);
        } else {
            world.container(&name, ["--network", network_of(number)]);
            live.insert(number);
        }
    }
    assert!(live.len() >= 3, "the seed leaves some containers: {live:?}");
    let containers: Vec<(&str, Container)> =
        live.iter().map(|&number| (network_of(number), world.inspect(&format!("c{number}")))).collect();
    let _servers: Vec<Process> = containers
        .iter()
        .map(|(_, container)| world.serve(&container.place, &container.name, &["tcp/[::]:80"]))
        .collect();
    std::thread::scope(|scope| {
        for (from_network, from) in &containers {
            for (to_network, to) in containers.iter().filter(|(_, to)| to.name != from.name) {
                for address in [to.at(80), to.at6(80)] {
                    scope.spawn(move || {
                        let reached = from.place.run(|| probe::dial_tcp(address)).map(|reply| reply.server).ok();
                        let allowed = (from_network == to_network).then(|| to.name.clone());
                        assert_eq!(reached, allowed, "{} ({from_network}) to {address} ({to_network})", from.name);
                    });
                }
            }
        }
    });
}

#[test]
fn s4_a_gibibyte_each_way_arrives_as_it_was_sent_in_large_packets() {
    const LENGTH: u64 = 1 << 30;
    let world = World::new();
    let (web, client) = (world.plain("web"), world.plain("client"));
    let listener = web.place.run(|| TcpListener::bind(web.at(80))).expect("a listener");
    let sender = client.place.run(|| TcpStream::connect(web.at(80))).expect("a connection");
    let (receiver, _) = listener.accept().expect("the connection");
    let wires = [Wire::open(&web.place, "eth0"), Wire::open(&client.place, "eth0")];
    std::thread::scope(|scope| {
        // A packet socket holds a few hundred kilobytes only, so it is read while the stream runs.
        let large = wires.each_ref().map(|wire| {
            scope.spawn(move || wire.wait_for(seconds(30), |seen| seen.length > 1514 && !sent_by(seen, wire.mac)))
        });
        let sends = [scope.spawn(|| stream::send(&sender, LENGTH)), scope.spawn(|| stream::send(&receiver, LENGTH))];
        let there = scope.spawn(|| stream::receive(&receiver, LENGTH));
        let back = scope.spawn(|| stream::receive(&sender, LENGTH));
        there.join().expect("a thread").expect("every byte there");
        back.join().expect("a thread").expect("every byte back");
        for sent in sends {
            sent.join().expect("a thread").expect("all is sent");
        }
        for (seen, at) in large.into_iter().zip([&web, &client]) {
            let seen = seen.join().expect("a thread");
            assert!(seen.is_some(), "{} got no packet larger than the MTU: segmentation offload is lost", at.name);
        }
    });
}

#[test]
fn s5_a_ping_of_exactly_the_mtu_passes_and_one_byte_more_fails_at_the_sender() {
    let world = World::new();
    let [web, client] = world.pair_on("dual", &["--ipv6"]);
    assert_eq!(client.json["endpoints"][0]["mtu"], 1500);
    let (four, six) = ([web.ip, OUTSIDE, client.gateway], [web.ip6, OUTSIDE6, client.gateway6]);
    for target in four.map(IpAddr::from).into_iter().chain(six.map(IpAddr::from)) {
        // An IP header and 8 bytes of ICMP.
        let most = if target.is_ipv4() { 1500 - 28 } else { 1500 - 48 };
        let ping = |size: u32| {
            let (size, target) = (size.to_string(), target.to_string());
            client.place.exec(["ping", "-c1", "-W2", "-M", "do", "-s", &size, &target])
        };
        let passed = ping(most);
        assert!(passed.is_ok(), "to {target}: {passed}");
        let more = ping(most + 1);
        assert!(!more.is_ok() && more.stderr.contains("too long"), "to {target}: {more}");
    }
}

#[test]
fn s7_arp_is_answered_for_what_lives_and_for_nothing_else() {
    let world = World::new();
    let (web, client) = (world.plain("web"), world.plain("client"));
    let wire = Wire::open(&client.place, "eth0");
    let ask = |target| {
        let request = Ends { source_mac: client.mac, destination_mac: [0; 6], source: client.ip, destination: target }
            .arp_request();
        assert!(wire.send(&request));
        wire.wait_for(Duration::from_millis(500), |seen| arp_answer(&seen.bytes, target).is_some())
            .and_then(|seen| arp_answer(&seen.bytes, target))
    };
    let before = world.counters();
    let [a, b, c, d] = client.gateway.octets();
    assert_eq!(ask(client.gateway), Some([0x02, 0x42, a, b, c, d]), "the gateway's MAC address is made of its address");
    assert_eq!(ask(web.ip), Some(web.mac));
    let [a, b, c, _] = web.ip.octets();
    for absent in [Ipv4Addr::new(a, b, c, 200), client.ip, OUTSIDE, HOST] {
        assert_eq!(ask(absent), None, "an answer for {absent}");
    }
    let moved = world.counters().since(&before);
    assert_eq!((moved.of(EGRESS, "answered"), moved.of(EGRESS, "ArpUnanswered")), (2, 4), "{moved:?}");
    world.netctl_ok(["container", "rm", "web"]);
    assert_eq!(ask(web.ip), None, "the container is gone");
}

#[test]
fn s8_a_spoofed_source_is_dropped() {
    let world = World::new();
    let (web, client) = (world.plain("web"), world.plain("client"));
    let listener = web.place.run(|| probe::udp_from(web.at(9000))).expect("a socket");
    let wire = Wire::open(&client.place, "eth0");
    let [a, b, c, d] = client.gateway.octets();
    let gateway_mac = [0x02, 0x42, a, b, c, d];
    let true_ends = Ends { source_mac: client.mac, destination_mac: web.mac, source: client.ip, destination: web.ip };
    let spoofed = [
        Ends { source: Ipv4Addr::new(a, b, c, 99), ..true_ends },
        Ends { source: web.ip, ..true_ends },
        Ends { source: client.gateway, ..true_ends },
        Ends { source_mac: [2, 0, 0, 0, 0, 9], ..true_ends },
        Ends { source_mac: web.mac, ..true_ends },
        Ends { source: OUTSIDE, destination_mac: gateway_mac, ..true_ends },
        Ends { source: web.ip, destination_mac: gateway_mac, destination: OUTSIDE, ..true_ends },
    ];
    let before = world.counters();
    for ends in &spoofed {
        assert!(wire.send(&ends.udp(1000, 9000, b"false")));
    }
    let announcement = Ends { source: web.ip, destination: client.ip, ..true_ends };
    assert!(wire.send(&announcement.arp_request()), "an ARP request in the name of another");
    let expected = spoofed.len() as u64 + 1;
    assert!(is_counted(&world, &before, EGRESS, "SpoofedSource", expected), "{:?}", world.counters().since(&before));
    assert!(wire.send(&true_ends.udp(1000, 9000, b"true")));
    let mut buffer = [0; 64];
    let (length, peer) = listener.recv_from(&mut buffer).expect("the true datagram");
    assert_eq!((&buffer[..length], peer), (&b"true"[..], at(client.ip, 1000)), "nothing else has come before it");
    assert_eq!(world.counters().since(&before).of(EGRESS, "SpoofedSource"), expected);
    let row = |container: &str, hook: &str, outcome: &str| {
        let rows = world.netctl_json(["stats", container]);
        let rows = rows.as_array().expect("an array").clone();
        rows.into_iter().find(|row| row["hook"] == hook && row["outcome"] == outcome).map(|row| row["packets"].clone())
    };
    assert_eq!(row("client", EGRESS, "SpoofedSource"), Some(expected.into()), "it is told whose packets they were");
    assert_eq!(row("web", EGRESS, "SpoofedSource"), None);
    assert!(row("client", "eth0", "sent").is_some_and(|sent| sent.as_u64() > Some(expected)));
    assert!(row("web", "eth0", "received").is_some_and(|received| received.as_u64() > Some(0)));
}

#[test]
fn s9_a_new_container_with_an_old_address_gets_no_old_flow() {
    no_old_flow("10.99.0.50".parse().expect("an address"), OUTSIDE.into(), HOST.into());
}

#[test]
fn s9_a_new_container_with_an_old_address_of_ipv6_gets_no_old_flow() {
    no_old_flow("fd20:9::50".parse().expect("an address"), OUTSIDE6.into(), HOST6.into());
}

#[track_caller]
fn no_old_flow(address: IpAddr, far: IpAddr, host: IpAddr) {
    let world = World::new();
    world.netctl_ok(["network", "create", "dual", "--subnet", "10.99.0.0/24", "--subnet", "fd20:9::/64"]);
    let (option, text) = (if address.is_ipv4() { "--ip" } else { "--ip6" }, address.to_string());
    let old = world.container("old", ["--network", "dual", option, &text, "-p", "8080:9000/udp"]);
    let server = world.outside.run(|| probe::udp_from(at(far, 53))).expect("a socket");
    let socket = old.place.run(|| probe::udp_from(at(address, 9000))).expect("a socket");
    socket.send_to(b"question", at(far, 53)).expect("a datagram out");
    let mut buffer = [0; 64];
    let (_, seen_as) = server.recv_from(&mut buffer).expect("the question");
    assert_eq!(seen_as.ip(), host);
    server.send_to(b"answer", seen_as).expect("a datagram in");
    let length = socket.recv(&mut buffer).expect("the answer");
    assert_eq!(&buffer[..length], b"answer");
    // And a flow that was opened from the outside.
    let visitor = world.outside.run(|| probe::udp_from(at(far, 5353))).expect("a socket");
    visitor.send_to(b"visit", at(host, 8080)).expect("a datagram in");
    socket.recv(&mut buffer).expect("the visit");

    drop(socket);
    world.netctl_ok(["container", "rm", "old"]);
    assert!(world.flows().is_empty(), "its flows are purged: {:?}", world.flows());
    drop(old);
    let new = world.container("new", ["--network", "dual", option, &text]);
    let socket = new.place.run(|| probe::udp_from(at(address, 9000))).expect("a socket");
    socket.set_read_timeout(Some(Duration::from_millis(500))).expect("a timeout");
    server.send_to(b"late answer", seen_as).expect("a datagram in");
    visitor.send_to(b"late visit", at(host, 8080)).expect("a datagram in");
    let late = socket.recv(&mut buffer);
    assert_eq!(late.map_err(|error| error.kind()), Err(ErrorKind::WouldBlock), "an old flow was delivered");
}

#[test]
fn s10_containers_and_their_host_reach_each_other() {
    let world = World::new();
    world.host.sh(&format!("ip addr add {HOST_SECOND}/24 dev {UPLINK}"));
    let web = world.plain("web");
    let _servers = [
        // A UDP server on every address would answer from the gateway's, whichever was asked: the route's source.
        world.serve(
            &world.host,
            "host",
            &[
                "tcp/0.0.0.0:81",
                &format!("udp/{}:81", web.gateway),
                &format!("udp/{HOST}:81"),
                &format!("udp/{HOST_SECOND}:81"),
            ],
        ),
        world.serve(&web.place, "web", &["tcp/0.0.0.0:80", "udp/0.0.0.0:80"]),
    ];
    for address in [web.gateway, HOST, HOST_SECOND] {
        let reached =
            netd_tests::holds_within(seconds(3), || web.place.run(|| probe::dial(Mode::Tcp, at(address, 81))).is_ok());
        assert!(reached, "{address} is the host");
        for mode in [Mode::Tcp, Mode::UdpConnected] {
            let reply = web.place.run(|| probe::dial(mode, at(address, 81)));
            let reply = reply.unwrap_or_else(|error| panic!("{address} by {mode:?}: {error}"));
            assert_eq!((reply.server.as_str(), reply.seen_as.ip()), ("host", web.ip.into()), "{address} by {mode:?}");
        }
        ping(&web, address, &["-c", "1"]);
    }
    for mode in Mode::ALL {
        let reply = world.dial_from_host(mode, web.at(80)).unwrap_or_else(|error| panic!("{mode:?}: {error}"));
        assert_eq!((reply.server.as_str(), reply.seen_as.ip(), reply.peer), ("web", web.gateway.into(), web.at(80)));
    }
    world.host.ok(["ping", "-c1", "-W2", &web.ip.to_string()]);
    let [a, b, c, _] = web.ip.octets();
    let absent = Ipv4Addr::new(a, b, c, 200);
    let wire = Wire::open(&world.outside, OUTLINK);
    let unreachable = world.dial_from_host(Mode::Tcp, at(absent, 80)).expect_err("nobody has that address");
    assert!(matches!(unreachable.kind(), ErrorKind::HostUnreachable | ErrorKind::NetworkUnreachable), "{unreachable}");
    let leaked = wire.wait_for(Duration::from_millis(200), |seen| contains(&seen.bytes, &absent.octets()));
    assert_eq!(leaked, None, "a packet for an absent container left by the default route");
}

#[test]
fn s13_an_internal_network_has_no_outside_and_a_network_without_icc_no_peers() {
    let world = World::new();
    world.netctl_ok(["network", "create", "inner", "--ipv6", "--internal"]);
    world.netctl_ok(["network", "create", "apart", "--ipv6", "--no-icc"]);
    let create = |name: &str, network: &str| world.container(name, ["--network", network]);
    let (inner, inner2) = (create("inner1", "inner"), create("inner2", "inner"));
    let (apart, apart2) = (create("apart1", "apart"), create("apart2", "apart"));
    let both = ["tcp/0.0.0.0:80", "udp/0.0.0.0:80", "tcp/[::]:81", "udp/[::]:81"];
    let _servers = [
        world.serve(&world.outside, "outside", &both),
        world.serve(&inner2.place, "inner2", &both),
        world.serve(&apart2.place, "apart2", &both),
    ];
    // Without this, its own stack would know no way, and netd would see nothing.
    inner.place.sh(&format!(
        "ip route replace default via {}; ip -6 route replace default via {} dev eth0",
        inner.gateway, inner.gateway6
    ));
    for [outside, its_peer, peer_apart] in
        [[at(OUTSIDE, 80), inner2.at(80), apart2.at(80)], [at(OUTSIDE6, 81), inner2.at6(81), apart2.at6(81)]]
    {
        let before = world.counters();
        for mode in Mode::ALL {
            let reaches = |from: &Container, to| from.place.run(|| probe::dial(mode, to)).is_ok();
            assert!(reaches(&inner, its_peer), "peers are fine by {mode:?}");
            assert!(!reaches(&inner, outside), "no outside by {mode:?}");
            assert!(reaches(&apart, outside), "the outside is fine by {mode:?}");
            assert!(!reaches(&apart, peer_apart), "no peers by {mode:?}");
        }
        let drops = world.counters().since(&before);
        assert!(drops.of(EGRESS, "InternalNetwork") >= 3 && drops.of(EGRESS, "IccDisabled") >= 3, "{drops:?}");
    }
}

fn sent_by(seen: &Seen, mac: [u8; 6]) -> bool {
    seen.bytes.get(6..12) == Some(&mac)
}

#[track_caller]
fn ping(from: &Container, to: Ipv4Addr, options: &[&str]) {
    let to = to.to_string();
    from.place.ok(["ping", "-q", "-W", "2"].iter().chain(options).copied().chain([to.as_str()]));
}
