//! Does a malformed packet ever come through as something else, or end anything? Scenario L8.

use netd_tests::frame::{Ends, Wire};
use netd_tests::packet::{ICMPV6, Ip, SYN, TCP, UDP};
use netd_tests::probe::{self, Mode};
use netd_tests::seconds;
use netd_tests::world::{Container, HOST, HOST6, OUTLINK, OUTSIDE, OUTSIDE6, Process, UPLINK, World, at};
use std::net::{Ipv4Addr, Ipv6Addr};
use std::time::Duration;

const BOTH: [&str; 2] = ["tcp/0.0.0.0:80", "udp/0.0.0.0:80"];
/// Where the IPv4 header begins, and where what it carries begins when it has no options.
const IPV4: usize = 14;
const TRANSPORT: usize = IPV4 + 20;

#[test]
fn l8_malformed_packets_from_a_container() {
    let (world, web, _servers) = world_with_web();
    let client = world.plain("client");
    let wire = Wire::open(&client.place, "eth0");
    let outside = Wire::open(&world.outside, OUTLINK);
    let [a, b, c, d] = client.gateway.octets();
    let to = |mac, destination| Ends { source_mac: wire.mac, destination_mac: mac, source: client.ip, destination };
    let gateway_mac = [0x02, 0x42, a, b, c, d];
    let before = world.counters();
    let mut sent = 0;
    for ends in [to(gateway_mac, OUTSIDE), to(gateway_mac, HOST), to(web.mac, web.ip), to(gateway_mac, web.ip)] {
        for frame in damaged(&ends) {
            sent += u64::from(wire.send(&frame));
        }
    }
    for length in 14..42 {
        sent += u64::from(wire.send(&to(gateway_mac, client.gateway).arp_request()[..length]));
    }
    assert!(sent > 1000, "only {sent} frames went out");
    let moved = settled(&world, &before, "container_egress", sent);
    assert!(moved.of("container_egress", "Malformed") > 100, "{moved:?}");
    assert!(moved.all_of("container_egress") >= sent, "each is counted: {sent} sent, {moved:?}");
    // What left by the uplink is whole: nothing malformed was translated into something else.
    while let Some(seen) = outside.next() {
        let is_ipv4_of_host = seen.bytes.get(12..14) == Some(&[8, 0]) && seen.bytes.get(26..30) == Some(&HOST.octets());
        if is_ipv4_of_host {
            let parsed = etherparse::SlicedPacket::from_ethernet(&seen.bytes);
            assert!(parsed.is_ok(), "a malformed packet left: {parsed:?} of {:02x?}", seen.bytes);
        }
    }
    all_works(&world, &web, &client);
}

#[test]
fn l8_malformed_packets_from_the_outside() {
    let (world, web, _servers) = world_with_web();
    let client = world.plain("client");
    let wire = Wire::open(&world.outside, OUTLINK);
    let inside = Wire::open(&web.place, "eth0");
    let host_mac = Wire::open(&world.host, UPLINK).mac;
    let before = world.counters();
    let mut sent = 0;
    for (destination, port) in [(HOST, 8080), (HOST, 80), (web.ip, 80), (Ipv4Addr::LOCALHOST, 8080)] {
        let ends = Ends { source_mac: wire.mac, destination_mac: host_mac, source: OUTSIDE, destination };
        for frame in damaged_at(&ends, port) {
            sent += u64::from(wire.send(&frame));
        }
    }
    assert!(sent > 1000, "only {sent} frames went out");
    let moved = settled(&world, &before, "uplink_ingress", sent);
    assert!(moved.all_of("uplink_ingress") >= sent, "each is counted: {sent} sent, {moved:?}");
    let drops = moved.drops_of("uplink_ingress");
    assert!(drops.contains_key("LoopbackOnWire"), "{drops:?}");
    while let Some(seen) = inside.next() {
        if seen.bytes.get(12..14) == Some(&[8, 0]) {
            let parsed = etherparse::SlicedPacket::from_ethernet(&seen.bytes);
            assert!(parsed.is_ok(), "a malformed packet came in: {parsed:?} of {:02x?}", seen.bytes);
        }
    }
    all_works(&world, &web, &client);
}

#[test]
fn l8_malformed_packets_of_ipv6() {
    let world = World::new();
    world.sends_wrong_checksums();
    let [web, client] = world.pair_on("dual", &["--ipv6"]);
    world.netctl_ok(["publish", "web", "8080:80", "8080:80/udp"]);
    let old = world.plain("old");
    world.netctl_ok(["publish", "old", "8081:80", "8081:80/udp"]);
    let _servers = [
        world.serve(&web.place, "web", &["tcp/[::]:80", "udp/[::]:80"]),
        world.serve(&old.place, "old", &BOTH),
        world.serve(&world.outside, "outside", &["tcp/[::]:80", "udp/[::]:80"]),
    ];
    let (inside, outside) = (Wire::open(&client.place, "eth0"), Wire::open(&world.outside, OUTLINK));
    let [a, b, c, d] = client.gateway.octets();
    let (gateway, host_mac) = ([0x02, 0x42, a, b, c, d], Wire::open(&world.host, UPLINK).mac);
    let to = |from: Ipv6Addr, destination: Ipv6Addr| Ip::new(from, destination);
    let all = [
        ("container_egress", &inside, gateway, to(client.ip6, OUTSIDE6), 80),
        ("container_egress", &inside, gateway, to(client.ip6, HOST6), 8080),
        ("container_egress", &inside, gateway, to(client.ip6, HOST6), 8081),
        ("container_egress", &inside, web.mac, to(client.ip6, web.ip6), 80),
        ("uplink_ingress", &outside, host_mac, to(OUTSIDE6, HOST6), 8080),
        ("uplink_ingress", &outside, host_mac, to(OUTSIDE6, HOST6), 8081),
        ("uplink_ingress", &outside, host_mac, to(OUTSIDE6, web.ip6), 80),
        ("uplink_ingress", &outside, host_mac, to(OUTSIDE6, Ipv6Addr::LOCALHOST), 8080),
    ];
    for (hook, wire, mac, ip, port) in all {
        let before = world.counters();
        let mut sent = 0;
        for packet in damaged_v6(&ip, port) {
            sent += u64::from(wire.send(&[&mac[..], &wire.mac, &[0x86, 0xdd], &packet].concat()));
        }
        assert!(sent > 1000, "only {sent} frames went out");
        let moved = settled(&world, &before, hook, sent);
        assert!(moved.all_of(hook) >= sent, "each is counted: {sent} sent, {moved:?}");
        // What passes to the host is the host's to judge.
        let malformed = moved.of(hook, "Malformed") > 50;
        assert_eq!(malformed, hook == "container_egress", "{ip:?}: {moved:?}");
    }
    assert!(world.runs(), "netd has ended");
    for mode in Mode::ALL {
        for (path, reply) in [
            ("published", world.outside.run(|| probe::dial(mode, at(HOST6, 8080)))),
            ("published for IPv4", world.outside.run(|| probe::dial(mode, at(HOST6, 8081)))),
            ("outside", client.place.run(|| probe::dial(mode, at(OUTSIDE6, 80)))),
            ("peer", client.place.run(|| probe::dial(mode, web.at6(80)))),
        ] {
            assert!(reply.is_ok(), "{path} by {mode:?}: {reply:?}");
        }
    }
}

/// As [`damaged_at`], of IPv6: cut off after every byte, every next header before the transport's, and every length of what
/// has one.
fn damaged_v6(ip: &Ip, port: u16) -> Vec<Vec<u8>> {
    const LOAD: &[u8] = b"sixteen bytes of";
    let whole = [
        ip.packet(UDP, &ip.udp(4000, port, LOAD)),
        ip.packet(TCP, &ip.tcp([4001, port], [1, 0], SYN, LOAD)),
        ip.packet(ICMPV6, &[&[128, 0, 0, 0, 0, 7, 0, 1], LOAD].concat()),
        // "Too big", about a packet that somebody else made up.
        ip.packet(ICMPV6, &[&[2, 0, 0, 0, 0, 0, 5, 0][..], &ip.back().packet(UDP, &ip.udp(port, 4000, LOAD))].concat()),
        ip.fragment(UDP, 0, &ip.udp(4000, port, LOAD), true),
        ip.packet(0, &[&[UDP, 0, 1, 4, 0, 0, 0, 0], &ip.udp(4000, port, LOAD)[..]].concat()),
    ];
    let mut packets = Vec::new();
    for packet in &whole {
        packets.extend((0..packet.len()).map(|length| packet[..length].to_vec()));
        let mut with = |at: usize, value: u8| {
            let mut packet = packet.clone();
            if let Some(byte) = packet.get_mut(at) {
                *byte = value;
                packets.push(packet);
            }
        };
        for value in 0..=255 {
            // The next header; then the first bytes behind the header, which say what follows and how long this is.
            for at in [6, 40, 41] {
                with(at, value);
            }
        }
        for value in [0, 1, 7, 8, 19, 20, 39, 40, 0x60, 0xff] {
            // Version, payload length, hop limit, UDP's length and TCP's offset, and the same of a quote.
            for at in [0, 4, 5, 7, 44, 45, 52, 48, 52, 53, 54] {
                with(at, value);
            }
        }
    }
    packets
}

#[test]
fn l8_random_bytes() {
    let (world, web, _servers) = world_with_web();
    let client = world.plain("client");
    let wires = [Wire::open(&client.place, "eth0"), Wire::open(&world.outside, OUTLINK)];
    let [a, b, c, d] = client.gateway.octets();
    let macs = [[0x02, 0x42, a, b, c, d], Wire::open(&world.host, UPLINK).mac];
    let sources = [client.ip, OUTSIDE];
    // xorshift64 with a fixed seed: every run sends alike.
    let mut random = 0x9e37_79b9_7f4a_7c15_u64;
    let mut next = || {
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        random.to_le_bytes()[3]
    };
    for ((wire, destination_mac), source) in wires.iter().zip(macs).zip(sources) {
        for _ in 0..3000 {
            let ends = Ends { source_mac: wire.mac, destination_mac, source, destination: HOST };
            let mut frame = ends.segment(4000, 8080, &[0; 40]);
            for _ in 0..=next() % 6 {
                // The Ethernet header stays, so that the packet gets as far as it can.
                let at = IPV4 + usize::from(next()) % (frame.len() - IPV4);
                frame[at] = next();
            }
            frame.truncate(frame.len() - usize::from(next()) % 50);
            wire.send(&frame);
        }
    }
    all_works(&world, &web, &client);
}

fn damaged(ends: &Ends) -> Vec<Vec<u8>> {
    damaged_at(ends, 80)
}

/// Packets of each protocol, cut off after every byte, and with every value of the fields that say how long something is.
fn damaged_at(ends: &Ends, port: u16) -> Vec<Vec<u8>> {
    let whole = [
        ends.udp(4000, port, b"sixteen bytes of"),
        ends.syn(4001, port),
        ends.segment(4002, port, b"sixteen bytes of"),
        ends.echo_request(7, b"sixteen bytes of"),
    ];
    let mut frames = Vec::new();
    for frame in &whole {
        frames.extend((14..frame.len()).map(|length| frame[..length].to_vec()));
        let mut with = |at: usize, value: u8| {
            let mut frame = frame.clone();
            frame[at] = value;
            frames.push(frame);
        };
        for value in 0..16 {
            // Version and header length; then TCP's data offset, which is some byte of the payload elsewhere.
            with(IPV4, 0x40 | value);
            with(IPV4, value << 4 | 5);
            with(TRANSPORT + 12, value << 4);
        }
        for value in [0, 1, 7, 8, 19, 20, 27, 28, 0x40, 0xff] {
            // Total length and UDP's length, high and low byte.
            for at in [IPV4 + 2, IPV4 + 3, TRANSPORT + 4, TRANSPORT + 5] {
                with(at, value);
            }
            // Protocol, time to live, TCP's flags.
            for at in [IPV4 + 9, IPV4 + 8, TRANSPORT + 13] {
                with(at, value);
            }
        }
        // Fragments: first, middle, last; offsets up to the end.
        for (high, low) in [(0x20, 0), (0x20, 1), (0, 1), (0x1f, 0xff), (0x3f, 0xff), (0x80, 0)] {
            let mut frame = frame.clone();
            frame[IPV4 + 6..IPV4 + 8].copy_from_slice(&[high, low]);
            frames.push(frame);
        }
    }
    frames
}

/// What was counted since `before`, once `hook` has seen `count` packets.
fn settled(world: &World, before: &netd_tests::world::Counters, hook: &str, count: u64) -> netd_tests::world::Counters {
    netd_tests::holds_within(seconds(3), || world.counters().since(before).all_of(hook) >= count);
    world.counters().since(before)
}

fn world_with_web() -> (World, Container, [Process; 2]) {
    let world = World::new();
    world.sends_wrong_checksums();
    let web = world.container("web", ["-p", "8080:80", "-p", "8080:80/udp"]);
    let servers = [world.serve(&web.place, "web", &BOTH), world.serve(&world.outside, "outside", &BOTH)];
    (world, web, servers)
}

#[track_caller]
fn all_works(world: &World, web: &Container, client: &Container) {
    std::thread::sleep(Duration::from_millis(50));
    assert!(world.runs(), "netd has ended");
    for mode in Mode::ALL {
        let paths = [
            ("published", world.outside.run(|| probe::dial(mode, at(HOST, 8080)))),
            ("outside", client.place.run(|| probe::dial(mode, at(OUTSIDE, 80)))),
            ("peer", client.place.run(|| probe::dial(mode, web.at(80)))),
        ];
        for (path, reply) in paths {
            assert!(reply.is_ok(), "{path} by {mode:?}: {reply:?}");
        }
    }
    let status = world.netctl_json(["status"]);
    assert_eq!(status["objects"].as_array().map(Vec::len), Some(0), "{status}");
}
