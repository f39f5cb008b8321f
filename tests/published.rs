//! Does a published port answer, where it should and nowhere else? Scenarios P1 to P7.

use netd_tests::frame::{Ends, Wire};
use netd_tests::probe::hammer::Hammer;
use netd_tests::probe::{self, Mode};
use netd_tests::world::{
    HOST, HOST_SECOND, HOST6, OUTLINK, OUTSIDE, OUTSIDE_SECOND, OUTSIDE6, Process, UPLINK, World, at, is_counted,
};
use netd_tests::{holds_within, seconds, wait_until};
use std::io::ErrorKind;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::{Duration, Instant};

const BOTH: [&str; 2] = ["tcp/0.0.0.0:80", "udp/0.0.0.0:80"];
/// Of both families.
const BOTH_6: [&str; 2] = ["tcp/[::]:80", "udp/[::]:80"];
const LOCALHOST: Ipv4Addr = Ipv4Addr::LOCALHOST;

#[test]
fn p1_the_container_sees_the_real_client() {
    let world = World::new();
    let web = world.plain("web");
    let _server = world.serve(&web.place, "web", &BOTH);
    world.netctl_ok(["publish", "web", "8080:80", "8080:80/udp"]);
    for mode in Mode::ALL {
        let reply = world.outside.run(|| probe::dial(mode, at(HOST, 8080)));
        let reply = reply.unwrap_or_else(|error| panic!("{mode:?}: {error}"));
        assert_eq!((reply.server.as_str(), reply.peer), ("web", at(HOST, 8080)), "{mode:?}");
        assert_eq!(reply.seen_as, SocketAddr::new(OUTSIDE.into(), reply.local.port()), "{mode:?}: the client itself");
    }
    let stream = world.outside.run(|| probe::tcp_from(at(OUTSIDE_SECOND, 4000), at(HOST, 8080))).expect("a connection");
    assert_eq!(probe::exchange(&stream).expect("an exchange").seen_as, at(OUTSIDE_SECOND, 4000));
    let refused = world.outside.run(|| probe::dial_tcp(at(HOST, 8081))).expect_err("not published");
    assert_eq!(refused.kind(), ErrorKind::ConnectionRefused);
}

#[test]
fn p1_nginx_logs_the_real_client() {
    let world = World::new();
    let web = world.container("web", ["-p", "8080:80"]);
    let folder = world.scratch().display();
    let config = format!(
        "daemon off; master_process off; pid {folder}/nginx.pid; error_log {folder}/nginx-error.log;
         events {{}}
         http {{ access_log {folder}/access.log; server {{ listen 80; location / {{ return 200 'hello from nginx\\n'; }} }} }}"
    );
    let file = world.scratch().join("nginx.conf");
    std::fs::write(&file, config).expect("a configuration file");
    let _nginx = web.place.start(["nginx", "-p", &folder.to_string(), "-c", &file.display().to_string()]);
    let url = format!("http://{HOST}:8080/");
    wait_until("nginx answers", seconds(5), || world.outside.exec(["curl", "-sf", "-m2", &url]).is_ok());
    assert_eq!(world.outside.ok(["curl", "-s", "-m5", &url]), "hello from nginx\n");
    assert_eq!(world.host.ok(["curl", "-s", "-m5", "http://127.0.0.1:8080/"]), "hello from nginx\n");
    let log = std::fs::read_to_string(world.scratch().join("access.log")).expect("an access log");
    assert!(log.contains(&format!("{OUTSIDE} - - ")), "{log}");
}

#[test]
fn p2_a_port_bound_to_one_address_answers_only_there() {
    let world = World::new();
    world.host.sh(&format!("ip addr add {HOST_SECOND}/24 dev {UPLINK}"));
    let web = world.plain("web");
    let _server = world.serve(&web.place, "web", &BOTH);
    let published = holds_within(seconds(3), || {
        world
            .netctl(["publish", "web", &format!("{HOST_SECOND}:8080:80"), &format!("{HOST_SECOND}:8080:80/udp")])
            .is_ok()
    });
    assert!(published, "the host has that address");
    for mode in Mode::ALL {
        let reply = world.outside.run(|| probe::dial(mode, at(HOST_SECOND, 8080)));
        assert_eq!(reply.unwrap_or_else(|error| panic!("{mode:?}: {error}")).server, "web");
        assert!(world.dial_from_host(mode, at(HOST_SECOND, 8080)).is_ok(), "{mode:?} from the host");
    }
    for address in [at(HOST, 8080), at(LOCALHOST, 8080)] {
        let refused = world.dial_from_host(Mode::Tcp, address).expect_err("another address");
        assert_eq!(refused.kind(), ErrorKind::ConnectionRefused, "{address}");
    }
    let refused = world.outside.run(|| probe::dial_tcp(at(HOST, 8080))).expect_err("another address");
    assert_eq!(refused.kind(), ErrorKind::ConnectionRefused);
    assert!(world.outside.run(|| probe::dial(Mode::UdpConnected, at(HOST, 8080))).is_err());
}

#[test]
fn p2_every_address_includes_those_added_later() {
    let world = World::new();
    let web = world.container("web", ["-p", "8080:80", "-p", "8080:80/udp"]);
    let _server = world.serve(&web.place, "web", &BOTH);
    assert!(world.outside.run(|| probe::dial_tcp(at(HOST, 8080))).is_ok());
    world.host.sh(&format!("ip addr add {HOST_SECOND}/24 dev {UPLINK}"));
    wait_until("the new address answers", seconds(3), || {
        world.outside.run(|| probe::dial_tcp(at(HOST_SECOND, 8080))).is_ok_and(|reply| reply.server == "web")
    });
    assert!(world.outside.run(|| probe::dial(Mode::UdpConnected, at(HOST_SECOND, 8080))).is_ok());
    assert!(world.dial_from_host(Mode::Tcp, at(HOST_SECOND, 8080)).is_ok());
}

#[test]
fn p2_one_port_for_tcp_and_udp_to_different_containers() {
    let world = World::new();
    let (web, dns) = (world.container("web", ["-p", "8080:80"]), world.container("dns", ["-p", "8080:80/udp"]));
    let _servers = [world.serve(&web.place, "web", &BOTH), world.serve(&dns.place, "dns", &BOTH)];
    for (mode, server) in [(Mode::Tcp, "web"), (Mode::UdpConnected, "dns"), (Mode::UdpUnconnected, "dns")] {
        assert_eq!(world.outside.run(|| probe::dial(mode, at(HOST, 8080))).expect("an answer").server, server);
        assert_eq!(world.dial_from_host(mode, at(LOCALHOST, 8080)).expect("an answer").server, server);
    }
}

#[test]
fn p3_the_host_reaches_published_ports_by_all_its_addresses() {
    let world = World::new();
    world.host.sh(&format!("ip addr add {HOST_SECOND}/24 dev {UPLINK}"));
    let web = world.container("web", ["-p", "8080:80", "-p", "8080:80/udp"]);
    let _server = world.serve(&web.place, "web", &BOTH);
    wait_until("the second address is known", seconds(3), || {
        world.dial_from_host(Mode::Tcp, at(HOST_SECOND, 8080)).is_ok()
    });
    let plain = [LOCALHOST, Ipv4Addr::new(127, 8, 8, 8), HOST, HOST_SECOND, web.gateway];
    let addresses = plain.into_iter().flat_map(|address| [IpAddr::from(address), address.to_ipv6_mapped().into()]);
    for address in addresses {
        for mode in Mode::ALL {
            let reply = world.dial_from_host(mode, at(address, 8080));
            let reply = reply.unwrap_or_else(|error| panic!("{address} by {mode:?}: {error}"));
            assert_eq!(reply.server, "web", "{address} by {mode:?}");
            assert_eq!(reply.peer, at(address, 8080), "{mode:?} shows what was dialled");
        }
    }
}

#[test]
fn p3_sockets_of_other_namespaces_are_left_alone() {
    let world = World::new();
    let web = world.container("web", ["-p", "8080:80"]);
    let client = world.plain("client");
    let _server = world.serve(&web.place, "web", &BOTH);
    // A program of a container is below netd's cgroup too, but 127.0.0.1 is its own there.
    let probe = netd_tests::world::binary("netd-probe").display().to_string();
    let dialled = client.place.exec([&probe, "dial", "tcp", "127.0.0.1:8080"]);
    let refused = probe::from_json(&dialled.stdout).expect_err("nothing listens in the client");
    assert_eq!(refused.kind(), ErrorKind::ConnectionRefused, "{dialled}");
    assert!(client.place.exec([&probe, "bind", "tcp", "0.0.0.0:8080"]).is_ok(), "its ports are its own");
    assert!(world.dial_from_host(Mode::Tcp, at(LOCALHOST, 8080)).is_ok());
}

#[test]
fn p3_a_port_published_on_localhost_is_out_of_reach_from_outside() {
    let world = World::new();
    let web = world.container("web", ["-p", "127.0.0.1:8080:80", "-p", "127.0.0.1:8080:80/udp"]);
    let _server = world.serve(&web.place, "web", &BOTH);
    for mode in Mode::ALL {
        let reply = world.dial_from_host(mode, at(LOCALHOST, 8080)).unwrap_or_else(|error| panic!("{mode:?}: {error}"));
        assert_eq!((reply.server.as_str(), reply.peer), ("web", at(LOCALHOST, 8080)));
        assert!(world.outside.run(|| probe::dial(mode, at(HOST, 8080))).is_err(), "{mode:?} from outside");
    }
    assert!(world.dial_from_host(Mode::Tcp, at(HOST, 8080)).is_err(), "published on 127.0.0.1 alone");

    let wire = Wire::open(&world.outside, OUTLINK);
    let inside = Wire::open(&web.place, "eth0");
    let host_mac = Wire::open(&world.host, UPLINK).mac;
    let ends = Ends { source_mac: wire.mac, destination_mac: host_mac, source: OUTSIDE, destination: LOCALHOST };
    inside.drain();
    let before = world.counters();
    assert!(wire.send(&ends.syn(4000, 8080)) && wire.send(&ends.udp(4000, 8080, b"spoofed")));
    assert!(
        is_counted(&world, &before, "uplink_ingress", "LoopbackOnWire", 2),
        "{:?}",
        world.counters().since(&before)
    );
    let leaked = inside.wait_for(Duration::from_millis(300), |seen| seen.bytes.get(26..30) == Some(&OUTSIDE.octets()));
    assert_eq!(leaked, None, "a packet with a spoofed destination came through");
}

#[test]
fn p3_unpublished_addresses_of_containers_are_out_of_reach_from_outside() {
    let world = World::new();
    let web = world.plain("web");
    let _server = world.serve(&web.place, "web", &BOTH);
    world.outside.sh(&format!("ip route add {}/32 via {HOST}", web.ip));
    world.host.sysctl("net/ipv4/ip_forward", "1");
    let before = world.counters();
    assert!(world.outside.run(|| probe::dial(Mode::UdpConnected, web.at(80))).is_err(), "past the published ports");
    assert!(is_counted(&world, &before, "uplink_ingress", "NotPublished", 1), "{:?}", world.counters().since(&before));
}

#[test]
fn p4_containers_reach_published_ports_by_the_hosts_addresses() {
    let world = World::new();
    world.network("blue", "10.77.0.0/24");
    let web = world.container("web", ["-p", "8080:80", "-p", "8080:80/udp"]);
    let (peer, stranger) = (world.plain("peer"), world.container("stranger", ["--network", "blue"]));
    let _server = world.serve(&web.place, "web", &BOTH);
    for (from, hops) in [(&web, "its own port"), (&peer, "a peer's port"), (&stranger, "a port on another network")] {
        for address in [HOST, from.gateway] {
            for mode in Mode::ALL {
                let reply = from.place.run(|| probe::dial(mode, at(address, 8080)));
                let reply = reply.unwrap_or_else(|error| panic!("{hops} at {address} by {mode:?}: {error}"));
                assert_eq!((reply.server.as_str(), reply.peer), ("web", at(address, 8080)), "{hops} by {mode:?}");
            }
        }
    }
    let reply = stranger.place.run(|| probe::dial_tcp(at(HOST, 8080))).expect("an answer");
    assert_eq!(reply.seen_as.ip(), IpAddr::from(stranger.ip), "the real client, where the answer finds back by itself");
}

#[test]
fn p5_a_port_that_the_host_listens_at_is_refused() {
    let world = World::new();
    let web = world.plain("web");
    let _web_server = world.serve(&web.place, "web", &BOTH);
    for protocol in ["tcp", "udp"] {
        for (bound, spec) in
            [("0.0.0.0", "8080:80"), ("127.0.0.1", "8080:80"), ("0.0.0.0", "127.0.0.1:8080:80"), ("[::]", "8080:80")]
        {
            let server = world.serve(&world.host, "mine", &[&format!("{protocol}/{bound}:8080")]);
            let refusal = world.netctl_refused(["publish", "web", &format!("{spec}/{protocol}")]);
            let process = format!("netd-probe (pid {})", server.pid());
            assert!(refusal.contains(&process) && refusal.contains("8080"), "{bound} {spec}: {refusal}");
            drop(server);
        }
    }
    // One address taken leaves the others.
    let _server = world.serve(&world.host, "mine", &["tcp/127.0.0.1:8080"]);
    world.netctl_ok(["publish", "web", &format!("{HOST}:8080:80")]);
    assert_eq!(world.outside.run(|| probe::dial_tcp(at(HOST, 8080))).expect("an answer").server, "web");
    assert_eq!(world.dial_from_host(Mode::Tcp, at(LOCALHOST, 8080)).expect("an answer").server, "mine");
}

#[test]
fn p5_the_host_cannot_bind_a_published_port_until_it_is_unpublished() {
    let world = World::new();
    let _web = world.container("web", ["-p", "8080:80", "-p", "127.0.0.1:9090:90/udp"]);
    let binds = |protocol: &str, address: &str| world.probe_on_host_to_end(&["bind", protocol, address]).is_ok();
    for (protocol, address, allowed) in [
        ("tcp", "0.0.0.0:8080", false),
        ("tcp", "127.0.0.1:8080", false),
        ("tcp", "[::]:8080", false),
        ("tcp", "[::ffff:127.0.0.1]:8080", false),
        ("udp", "0.0.0.0:8080", true),
        ("tcp", "0.0.0.0:8081", true),
        ("udp", "127.0.0.1:9090", false),
        ("udp", "198.18.0.1:9090", true),
        ("udp", "0.0.0.0:0", true),
    ] {
        assert_eq!(binds(protocol, address), allowed, "bind {protocol} {address}");
    }
    world.netctl_ok(["unpublish", "web", "8080:80"]);
    assert!(binds("tcp", "0.0.0.0:8080"), "unpublished");
    world.netctl_ok(["container", "rm", "web"]);
    assert!(binds("udp", "127.0.0.1:9090"), "its container is gone");
}

#[test]
fn p5_the_hosts_own_connections_work_from_a_published_port() {
    let world = World::new();
    let web = world.container("web", ["-p", "40000-40001:80-81", "-p", "40000-40001:80-81/udp"]);
    let _servers = [world.serve(&web.place, "web", &BOTH), world.serve(&world.outside, "outside", &BOTH)];
    // A port that connect(2) picks is not asked for by bind(2), and so may be a published one.
    world.host.sysctl("net/ipv4/ip_local_port_range", "40000 40001");
    for mode in Mode::ALL {
        let reply = world.dial_from_host(mode, at(OUTSIDE, 80)).unwrap_or_else(|error| panic!("{mode:?}: {error}"));
        assert_eq!(reply.server, "outside", "{mode:?}");
        assert!((40_000..=40_001).contains(&reply.seen_as.port()), "{mode:?}: {reply:?}");
        let reply = world.outside.run(|| probe::dial(mode, at(HOST, 40_000)));
        assert_eq!(reply.unwrap_or_else(|error| panic!("{mode:?}: {error}")).server, "web", "{mode:?}");
    }
}

#[test]
fn p6_a_removed_container_refuses_at_once() {
    let world = World::new();
    world.netctl_ok(["network", "create", "dual", "--ipv6"]);
    let web = world.container("web", ["--network", "dual", "-p", "8080:80", "-p", "8080:80/udp"]);
    let server = world.serve(&web.place, "web", &BOTH_6);
    let _streams = [(IpAddr::from(OUTSIDE), IpAddr::from(HOST)), (OUTSIDE6.into(), HOST6.into())].map(|(from, to)| {
        let stream = world.outside.run(|| probe::tcp_from(at(from, 4000), at(to, 8080))).expect("a connection");
        probe::exchange(&stream).expect("an exchange");
        stream
    });
    drop(server);
    world.netctl_ok(["container", "rm", "web"]);
    let start = Instant::now();
    for (place, refused) in [
        ("outside", world.outside.run(|| probe::dial_tcp(at(HOST, 8080)))),
        ("outside by IPv6", world.outside.run(|| probe::dial_tcp(at(HOST6, 8080)))),
        ("host", world.dial_from_host(Mode::Tcp, at(LOCALHOST, 8080))),
        ("host by IPv6", world.dial_from_host(Mode::Tcp, at(Ipv6Addr::LOCALHOST, 8080))),
    ] {
        assert_eq!(refused.expect_err("the container is gone").kind(), ErrorKind::ConnectionRefused, "{place}");
    }
    assert!(start.elapsed() < seconds(1), "refused, but only after {:?}", start.elapsed());
    assert!(world.flows().is_empty(), "its flows are purged: {:?}", world.flows());
}

#[test]
fn p6_udp_clients_move_on_to_the_replacement() {
    moves_on(["dual", "--ipv6"], OUTSIDE.into(), HOST.into(), LOCALHOST.into());
}

#[test]
fn p6_udp_clients_of_ipv6_move_on_to_the_replacement() {
    moves_on(["dual", "--ipv6"], OUTSIDE6.into(), HOST6.into(), Ipv6Addr::LOCALHOST.into());
}

#[test]
fn p6_udp_clients_of_ipv6_move_on_to_the_replacement_that_has_ipv4_only() {
    moves_on(["four", "--subnet=10.77.0.0/24"], OUTSIDE6.into(), HOST6.into(), Ipv6Addr::LOCALHOST.into());
}

#[track_caller]
fn moves_on(network: [&str; 2], outside: IpAddr, host: IpAddr, localhost: IpAddr) {
    let world = World::new();
    world.netctl_ok(["network", "create"].into_iter().chain(network));
    let container = |name| world.container(name, ["--network", network[0], "-p", "8080:80/udp"]);
    let udp = if network[0] == "dual" { "udp/[::]:80" } else { "udp/0.0.0.0:80" };
    let web = container("web");
    let server = world.serve(&web.place, "old", &[udp]);
    let visitor = world.outside.run(|| probe::udp_from(at(outside, 4000))).expect("a socket");
    visitor.connect(at(host, 8080)).expect("a route");
    assert_eq!(probe::ask(&visitor).expect("an answer").server, "old");
    let mut local = world.probe_on_host(&["chat", &at(localhost, 8080).to_string()]);
    assert_eq!(chat(&mut local).expect("an answer"), "old");

    drop(server);
    world.netctl_ok(["container", "rm", "web"]);
    drop(web);
    let replacement = container("replacement");
    let _server = world.serve(&replacement.place, "new", &[udp]);
    wait_until("the client outside reaches the replacement from the same port", seconds(3), || {
        probe::ask(&visitor).is_ok_and(|reply| reply.server == "new")
    });
    let told = chat(&mut local);
    assert!(
        told.as_ref().is_err_and(|error| !error.contains("Resource temporarily unavailable")),
        "a program with a dead socket is told so, not left in silence: {told:?}"
    );
    let dialled = world.dial_from_host(Mode::UdpConnected, at(localhost, 8080)).expect("an answer");
    assert_eq!(dialled.server, "new");
}

#[test]
fn p7_a_range_of_a_thousand_ports() {
    let world = World::new();
    let web = world.plain("web");
    let samples = [30_000_u16, 30_001, 30_500, 30_999];
    let listeners: Vec<String> = samples.iter().map(|port| format!("tcp/0.0.0.0:{port}")).collect();
    let _server = world.serve(&web.place, "web", &listeners.iter().map(String::as_str).collect::<Vec<_>>());
    let start = Instant::now();
    world.netctl_ok(["publish", "web", "20000-20999:30000-30999"]);
    let published = start.elapsed();
    for port in samples {
        let reply = world.outside.run(|| probe::dial_tcp(at(HOST, port - 10_000)));
        assert_eq!(reply.unwrap_or_else(|error| panic!("{port}: {error}")).server, "web");
    }
    assert_eq!(world.netctl_json(["port", "ls", "web"]).as_array().map(Vec::len), Some(1000));
    let refusal = world.netctl_refused(["publish", "web", "20999:1"]);
    assert!(refusal.contains("20999") && refusal.contains("web"), "{refusal}");
    let start = Instant::now();
    world.netctl_ok(["unpublish", "web", "20000-20999:30000-30999"]);
    let unpublished = start.elapsed();
    assert!(world.outside.run(|| probe::dial_tcp(at(HOST, 20_000))).is_err(), "unpublished");
    eprintln!("1000 ports: published in {published:?}, unpublished in {unpublished:?}");
    assert!(published < seconds(2) && unpublished < seconds(2), "published {published:?}, unpublished {unpublished:?}");
}

#[test]
fn p7_no_connection_to_the_old_container_after_republishing() {
    let world = World::new();
    let [old, new] = world.pair_on_as("dual", &["--ipv6"], ["old", "new"]);
    world.netctl_ok(["publish", "old", "8080:80"]);
    let _servers = [world.serve(&old.place, "old", &BOTH_6), world.serve(&new.place, "new", &BOTH_6)];
    for _ in 0..3 {
        for (from, to) in [("old", "new"), ("new", "old")] {
            let hammer = |host: IpAddr| Hammer::start(&world.outside, at(host, 8080));
            let clients = [HOST.into(), HOST6.into()].map(hammer);
            clients.iter().for_each(|client| client.wait_for(10));
            world.netctl_ok(["unpublish", from, "8080:80"]);
            world.netctl_ok(["publish", to, "8080:80"]);
            for after in [HOST.into(), HOST6.into()].map(hammer) {
                after.wait_for(30);
                let tally = after.stop();
                assert_eq!((tally.answered.get(from), tally.failures()), (None, 0), "{tally:?}");
                assert!(tally.answered.contains_key(to));
            }
        }
    }
}

/// One exchange over the probe's one socket: the server's name, or the error's text.
fn chat(probe: &mut Process) -> Result<String, String> {
    probe.say("go on");
    let line = probe.line();
    probe::from_json(&line).map(|reply| reply.server).map_err(|error| error.to_string())
}
