//! Is every packet counted once, whatever becomes of it? Scenario L9.

use netd_tests::frame::{Ends, Wire};
use netd_tests::probe::{self, Mode, stream};
use netd_tests::world::{HOST, HOST6, OUTLINK, OUTSIDE, OUTSIDE6, Place, UPLINK, World, at};
use netd_tests::{seconds, wait_until};
use serde_json::Value;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, TcpListener, TcpStream};

#[test]
fn l9_what_comes_in_is_redirected_passed_answered_or_dropped_by_reason() {
    let world = World::new();
    let [web, client] = world.pair_on("dual", &["--ipv6"]);
    world.netctl_ok(["publish", "web", "8080:80", "8080:80/udp", "8081:81", "8081:81/udp"]);
    // An IPv6 client of this one is translated between the families.
    world.netctl_ok(["network", "create", "four"]);
    let old = world.container("old", ["--network", "four", "-p", "8082:80", "-p", "8082:80/udp"]);
    let both = ["tcp/0.0.0.0:80", "udp/0.0.0.0:80", "tcp/[::]:81", "udp/[::]:81"];
    let _servers = [
        world.serve(&web.place, "web", &both),
        world.serve(&old.place, "old", &both[..2]),
        world.serve(&world.outside, "outside", &both),
    ];
    let links = [&web, &client, &old].map(|container| container.host_interface.as_str());
    // What interfaces say before the first packet of the test: a container's first packets may have come before the
    // program was attached.
    let measure = || {
        let counters = world.counters();
        let received: u64 = links.iter().map(|link| packets(&world.host, link, "rx")).sum();
        let arrived = packets(&world.host, UPLINK, "rx");
        let left = packets(&world.host, UPLINK, "tx");
        (counters, received, arrived, left)
    };
    // A packet between two of the first readings would never be made up for: IPv6 chatters on young interfaces.
    let mut first = measure();
    wait_until("two readings agree", seconds(20), || {
        std::thread::sleep(std::time::Duration::from_millis(300));
        let former = std::mem::replace(&mut first, measure());
        first == former
    });
    let (before, received_before, arrived_before, left_before) = first;

    for mode in Mode::ALL {
        client.place.run(|| probe::dial(mode, web.at(80))).expect("an answer");
        client.place.run(|| probe::dial(mode, at(OUTSIDE, 80))).expect("an answer");
        client.place.run(|| probe::dial(mode, at(HOST, 8080))).expect("an answer");
        world.outside.run(|| probe::dial(mode, at(HOST, 8080))).expect("an answer");
        world.dial_from_host(mode, at(Ipv4Addr::LOCALHOST, 8080)).expect("an answer");
        client.place.run(|| probe::dial(mode, web.at6(81))).expect("an answer");
        client.place.run(|| probe::dial(mode, at(OUTSIDE6, 81))).expect("an answer");
        client.place.run(|| probe::dial(mode, at(HOST6, 8081))).expect("an answer");
        world.outside.run(|| probe::dial(mode, at(HOST6, 8081))).expect("an answer");
        world.outside.run(|| probe::dial(mode, at(HOST6, 8082))).expect("an answer");
        world.dial_from_host(mode, at(Ipv6Addr::LOCALHOST, 8081)).expect("an answer");
        // Nobody listens, in either family and between them.
        for to in [at(OUTSIDE, 99), at(OUTSIDE6, 99)] {
            client.place.run(|| probe::dial(mode, to)).expect_err("nobody listens");
        }
    }
    for to in [OUTSIDE6, web.ip6] {
        client.place.ok(["ping", "-q", "-c3", "-i0.02", "-W2", "-s3000", &to.to_string()]);
    }
    client.place.ok(["ping", "-q", "-c5", "-i0.02", "-W2", &web.gateway.to_string()]);
    let _ = client.place.exec(["ping", "-q", "-c2", "-i0.02", "-W1", "10.99.99.99"]);
    bulk(&client.place, &web.place, web.ip);
    bulk(&client.place, &world.outside, OUTSIDE);
    bulk(&client.place, &web.place, web.ip6);
    bulk(&client.place, &world.outside, OUTSIDE6);
    let wire = Wire::open(&client.place, "eth0");
    let ends = Ends { source_mac: client.mac, destination_mac: web.mac, source: OUTSIDE, destination: web.ip };
    for _ in 0..10 {
        assert!(wire.send(&ends.udp(1, 2, b"spoofed")));
    }
    let uplink = Wire::open(&world.outside, OUTLINK);
    let destination_mac = Wire::open(&world.host, UPLINK).mac;
    let ends = Ends { source_mac: uplink.mac, destination_mac, source: OUTSIDE, destination: Ipv4Addr::LOCALHOST };
    for _ in 0..10 {
        assert!(uplink.send(&ends.udp(1, 8080, b"spoofed")));
    }

    let mut seen = String::new();
    let balanced = netd_tests::holds_within(seconds(5), || {
        // Packets that come between the readings spoil one look, not all.
        let (counters, received, arrived, left) = measure();
        let moved = counters.since(&before);
        let hooks = [
            ("container_egress", received - received_before),
            ("uplink_ingress", arrived - arrived_before),
            ("uplink_egress", left - left_before),
        ];
        seen = format!("interfaces say {hooks:?}, counters say {moved:#?}");
        hooks.iter().all(|(hook, packets)| moved.all_of(hook) == *packets)
    });
    assert!(balanced, "{seen}");
    let moved = world.counters().since(&before);
    let dropped = moved.drops_of("container_egress");
    assert_eq!(dropped.get("SpoofedSource"), Some(&10), "{dropped:?}");
    assert_eq!(moved.drops_of("uplink_ingress").get("LoopbackOnWire"), Some(&10), "{moved:?}");
    for outcome in ["redirected", "passed", "answered"] {
        assert!(moved.of("container_egress", outcome) > 0, "{outcome}: {moved:?}");
    }
    let known: Vec<&str> = netd_common::drop::DropReason::ALL.iter().map(|reason| reason.name()).collect();
    // The rows of searches for a source port count no packets.
    for (_, outcome) in world.counters().0.keys().filter(|(hook, _)| hook != "snat_tries") {
        let has_a_name = ["redirected", "passed", "answered", "kept"].contains(&outcome.as_str())
            || known.contains(&outcome.as_str());
        assert!(has_a_name, "an outcome without a name: {outcome}");
    }
}

#[test]
fn l9_a_flow_counts_its_packets_and_bytes() {
    let world = World::new();
    let client = world.plain("client");
    let _server = world.serve(&world.outside, "outside", &["udp/0.0.0.0:80"]);
    let socket = client.place.run(|| probe::udp_from(client.at(5000))).expect("a socket");
    socket.connect(at(OUTSIDE, 80)).expect("a route");
    let mut seen_as = 0;
    for _ in 0..10 {
        seen_as = probe::ask(&socket).expect("an answer").seen_as.to_string().len() as u64;
    }
    let flows = world.flows();
    let is_ours = |flow: &&Value| flow["protocol"] == "udp" && flow["container"] == "client";
    let packets: u64 = flows.iter().filter(is_ours).filter_map(|flow| flow["packets"].as_u64()).sum();
    let bytes: u64 = flows.iter().filter(is_ours).filter_map(|flow| flow["bytes"].as_u64()).sum();
    assert_eq!(
        (packets, bytes),
        (20, 10 * (42 + 5) + 10 * (42 + "outside  hello".len() as u64 + seen_as)),
        "ten there and ten back: {flows:#?}"
    );
    let flow = flows.iter().find(is_ours).expect("the flow");
    for (field, value) in [
        ("source", format!("{}:5000", client.ip)),
        ("destination", format!("{OUTSIDE}:80")),
        ("translated_source", format!("{HOST}:5000")),
        ("state", "established".to_owned()),
    ] {
        assert_eq!(flow[field], value, "{field} of {flow}");
    }
}

/// Ten megabytes in large packets.
fn bulk(from: &Place, to: &Place, address: impl Into<IpAddr>) {
    let address = address.into();
    let listener = to.run(|| TcpListener::bind(at(address, 90))).expect("a listener");
    let sender = from.run(|| TcpStream::connect(at(address, 90))).expect("a connection");
    let (receiver, _) = listener.accept().expect("the connection");
    std::thread::scope(|scope| {
        scope.spawn(|| stream::send(&sender, 10_000_000));
        stream::receive(&receiver, 10_000_000).expect("every byte");
    });
}

fn packets(place: &Place, link: &str, direction: &str) -> u64 {
    let shown: Value = serde_json::from_str(&place.ok(["ip", "-s", "-j", "link", "show", link])).expect("JSON");
    shown[0]["stats64"][direction]["packets"].as_u64().expect("a number of packets")
}
