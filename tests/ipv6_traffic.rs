//! Does IPv6 go where IPv4 goes: between containers, to and from the host, to the outside, to published ports?

use netd_common::globals::PROXY_V4;
use netd_tests::frame::Wire;
use netd_tests::packet::{Ip, SYN, TCP, UDP};
use netd_tests::probe::{self, Mode, Reply, stream};
use netd_tests::world::{Container, HOST6, OUTLINK, OUTSIDE6, OUTSIDE6_SECOND, Process, UPLINK, World, at, is_counted};
use netd_tests::{seconds, wait_until};
use std::io::{self, ErrorKind};
use std::net::{IpAddr, Ipv6Addr, TcpListener, TcpStream};

const EGRESS: &str = "container_egress";
/// By IPv6 alone, so that an answer by IPv4 is none.
const BOTH: [&str; 2] = ["tcp/[::]:80", "udp/[::]:80"];

/// A world with `web` and `client` on a network of both families, and servers in `web`, on the host and outside.
fn world_with_pair() -> (World, Container, Container, [Process; 3]) {
    let world = World::new();
    let [web, client] = world.pair_on("dual", &["--ipv6"]);
    // At each address by itself: a UDP server at :: answers from the address that the route says.
    let of_host = [HOST6, web.gateway6].map(|ip| ["tcp", "udp"].map(|kind| format!("{kind}/[{ip}]:7000")));
    let of_host: Vec<&str> = of_host.as_flattened().iter().map(String::as_str).collect();
    let servers = [
        world.serve(&web.place, "web", &BOTH),
        world.serve(&world.host, "host", &of_host),
        world.serve(&world.outside, "outside", &BOTH),
    ];
    (world, web, client, servers)
}

/// What was reached, and as whom.
#[track_caller]
fn seen(what: &str, mode: Mode, reply: io::Result<Reply>) -> (String, IpAddr) {
    let reply = reply.unwrap_or_else(|error| panic!("{what} by {mode:?}: {error}"));
    (reply.server, reply.seen_as.ip())
}

#[track_caller]
fn ping(from: &Container, to: &str) {
    from.place.ok(["ping", "-6", "-q", "-c3", "-i0.05", "-W2", to]);
}

#[test]
fn containers_of_one_network_reach_each_other() {
    let (world, web, client, _servers) = world_with_pair();
    for mode in Mode::ALL {
        let reply = client.place.run(|| probe::dial(mode, web.at6(80)));
        assert_eq!(seen("a peer", mode, reply), ("web".to_owned(), client.ip6.into()));
    }
    ping(&client, &web.ip6.to_string());
    ping(&client, &format!("{}%eth0", netd::model::mac::Mac(web.mac).link_local()));
    ping(&web, &format!("{}%eth0", netd::model::mac::Mac(client.mac).link_local()));
    let refused = client.place.run(|| probe::dial(Mode::Tcp, web.at6(81))).expect_err("nobody listens there");
    assert_eq!(refused.kind(), ErrorKind::ConnectionRefused);
    assert!(world.flows().is_empty(), "peers need no flow: {:?}", world.flows());
    // Nobody has that address, and the container is told so.
    let absent = Ipv6Addr::from_bits(web.ip6.to_bits() + 100);
    let unreachable = client.place.run(|| probe::dial(Mode::Tcp, at(absent, 80))).expect_err("nobody is there");
    assert!(matches!(unreachable.kind(), ErrorKind::HostUnreachable | ErrorKind::TimedOut), "{unreachable}");
}

#[test]
fn containers_and_their_host_reach_each_other() {
    let (world, web, client, _servers) = world_with_pair();
    for mode in Mode::ALL {
        for address in [client.gateway6, HOST6] {
            let reply = client.place.run(|| probe::dial(mode, at(address, 7000)));
            assert_eq!(seen("the host", mode, reply), ("host".to_owned(), client.ip6.into()), "{address}");
        }
        let reply = world.dial_from_host(mode, web.at6(80));
        assert_eq!(seen("a container", mode, reply), ("web".to_owned(), web.gateway6.into()));
    }
    ping(&client, &client.gateway6.to_string());
    ping(&client, &HOST6.to_string());
    world.host.ok(["ping", "-6", "-q", "-c3", "-i0.05", "-W2", &web.ip6.to_string()]);
}

#[test]
fn the_outside_sees_the_hosts_address() {
    let (world, _web, client, _servers) = world_with_pair();
    for mode in Mode::ALL {
        let reply = client.place.run(|| probe::dial(mode, at(OUTSIDE6, 80)));
        assert_eq!(seen("the outside", mode, reply), ("outside".to_owned(), HOST6.into()));
    }
    ping(&client, &OUTSIDE6.to_string());
    let refused = client.place.run(|| probe::dial(Mode::Tcp, at(OUTSIDE6, 81))).expect_err("nobody listens there");
    assert_eq!(refused.kind(), ErrorKind::ConnectionRefused);
    let flows = world.flows();
    assert!(!flows.is_empty());
    for flow in flows {
        let translated = flow["translated_source"].as_str().unwrap_or_default();
        assert!([format!("[{HOST6}]:"), HOST6.to_string()].iter().any(|start| translated.starts_with(start)), "{flow}");
        assert_eq!(flow["container"], "client", "{flow}");
    }
}

#[test]
fn published_ports_answer_by_ipv6() {
    let (world, web, client, _servers) = world_with_pair();
    world.netctl_ok(["publish", "web", "8080:80", "8080:80/udp", "[::1]:8081:80", &format!("[{HOST6}]:8082:80")]);
    let here = Ipv6Addr::LOCALHOST;
    for mode in Mode::ALL {
        let reply = world.outside.run(|| probe::dial(mode, at(HOST6, 8080)));
        assert_eq!(seen("from outside", mode, reply), ("web".to_owned(), OUTSIDE6.into()));
        let reply = world.dial_from_host(mode, at(here, 8080));
        assert_eq!(seen("from the host", mode, reply).0, "web");
        for address in [HOST6, client.gateway6] {
            let reply = client.place.run(|| probe::dial(mode, at(address, 8080)));
            assert_eq!(seen("from a peer", mode, reply).0, "web", "{address}");
            let reply = web.place.run(|| probe::dial(mode, at(address, 8080)));
            assert_eq!(seen("from itself", mode, reply).0, "web", "{address}");
        }
    }
    assert!(world.dial_from_host(Mode::Tcp, at(here, 8081)).is_ok());
    assert!(world.dial_from_host(Mode::Tcp, at(HOST6, 8081)).is_err(), "published at ::1 alone");
    assert!(world.outside.run(|| probe::dial_tcp(at(HOST6, 8082))).is_ok());
    assert!(world.dial_from_host(Mode::Tcp, at(here, 8082)).is_err(), "published at that address alone");
    let unpublished = world.outside.run(|| probe::dial_tcp(web.at6(80)));
    assert!(unpublished.is_err(), "past the published ports");
    world.netctl_ok(["unpublish", "web", "--all"]);
    assert!(world.outside.run(|| probe::dial_tcp(at(HOST6, 8080))).is_err());
}

#[test]
fn p2_one_port_for_tcp_and_udp_to_different_containers() {
    let world = World::new();
    let [web, dns] = world.pair_on_as("dual", &["--ipv6"], ["web", "dns"]);
    world.netctl_ok(["publish", "web", "8080:80"]);
    world.netctl_ok(["publish", "dns", "8080:80/udp"]);
    let _servers = [world.serve(&web.place, "web", &BOTH), world.serve(&dns.place, "dns", &BOTH)];
    for (mode, server) in [(Mode::Tcp, "web"), (Mode::UdpConnected, "dns"), (Mode::UdpUnconnected, "dns")] {
        assert_eq!(world.outside.run(|| probe::dial(mode, at(HOST6, 8080))).expect("an answer").server, server);
        let reply = world.dial_from_host(mode, at(Ipv6Addr::LOCALHOST, 8080)).expect("an answer");
        assert_eq!((reply.server.as_str(), reply.peer), (server, at(Ipv6Addr::LOCALHOST, 8080)), "what was dialled");
    }
}

#[test]
fn p3_a_port_published_on_localhost_is_out_of_reach_from_outside() {
    let world = World::new();
    world.netctl_ok(["network", "create", "dual", "--ipv6"]);
    let web = world.container("web", ["--network", "dual", "-p", "[::1]:8080:80", "-p", "[::1]:8080:80/udp"]);
    let _server = world.serve(&web.place, "web", &BOTH);
    for mode in Mode::ALL {
        assert!(world.dial_from_host(mode, at(Ipv6Addr::LOCALHOST, 8080)).is_ok(), "{mode:?}");
        assert!(world.outside.run(|| probe::dial(mode, at(HOST6, 8080))).is_err(), "{mode:?}");
    }
    let wire = Wire::open(&world.outside, OUTLINK);
    let host_mac = Wire::open(&world.host, UPLINK).mac;
    let ip = Ip::new(OUTSIDE6, Ipv6Addr::LOCALHOST);
    let before = world.counters();
    wire.send_to(host_mac, &ip.packet(TCP, &ip.tcp([4000, 8080], [1, 0], SYN, b"")));
    wire.send_to(host_mac, &ip.packet(UDP, &ip.udp(4000, 8080, b"spoofed")));
    assert!(
        is_counted(&world, &before, "uplink_ingress", "LoopbackOnWire", 2),
        "{:?}",
        world.counters().since(&before)
    );
}

#[test]
fn p4_a_container_of_another_network_is_seen_as_itself() {
    let (world, _web, _client, _servers) = world_with_pair();
    world.netctl_ok(["publish", "web", "8080:80", "8080:80/udp"]);
    world.netctl_ok(["network", "create", "blue", "--ipv6"]);
    let blue = world.container("blue1", ["--network", "blue"]);
    for mode in Mode::ALL {
        for address in [HOST6, blue.gateway6] {
            let reply = blue.place.run(|| probe::dial(mode, at(address, 8080)));
            assert_eq!(
                seen("a port on another network", mode, reply),
                ("web".to_owned(), blue.ip6.into()),
                "{address}"
            );
        }
    }
}

#[test]
fn s7_neighbours_are_answered_for_what_lives_and_for_nothing_else() {
    let (world, web, client, servers) = world_with_pair();
    let absent = Ipv6Addr::from_bits(web.ip6.to_bits() + 100);
    let mac_of = |address: Ipv6Addr| {
        client.place.sh("ip -6 neigh flush dev eth0");
        let _ = client.place.exec(["ping", "-6", "-q", "-c1", "-W1", &address.to_string()]);
        let shown = client.place.sh(&format!("ip -6 neigh show {address} dev eth0"));
        shown.split_whitespace().skip_while(|word| *word != "lladdr").nth(1).map(netd_tests::frame::parse_mac)
    };
    let [a, b, c, d] = client.gateway.octets();
    assert_eq!(mac_of(client.gateway6), Some([0x02, 0x42, a, b, c, d]));
    assert_eq!(mac_of(web.ip6), Some(web.mac));
    assert_eq!(mac_of(absent), None);
    drop(servers);
    world.netctl_ok(["container", "rm", "web"]);
    assert_eq!(mac_of(web.ip6), None, "the container is gone");
}

#[test]
fn s8_crafted_packets_with_a_false_source_are_dropped() {
    let (world, web, client, _servers) = world_with_pair();
    let listener = web.place.run(|| probe::udp_from(web.at6(9000))).expect("a socket");
    let wire = Wire::open(&client.place, "eth0");
    let [a, b, c, d] = client.gateway.octets();
    let gateway_mac = [0x02, 0x42, a, b, c, d];
    let send = |from_mac: [u8; 6], to_mac: [u8; 6], source: Ipv6Addr, destination: Ipv6Addr, what: &[u8]| {
        let ip = Ip::new(source, destination);
        let packet = ip.packet(UDP, &ip.udp(1000, 9000, what));
        assert!(wire.send(&[&to_mac[..], &from_mac, &[0x86, 0xdd], &packet].concat()));
    };
    let before = world.counters();
    for (from_mac, to_mac, source, destination) in [
        (client.mac, web.mac, web.ip6, web.ip6),
        (client.mac, web.mac, client.gateway6, web.ip6),
        (client.mac, web.mac, OUTSIDE6, web.ip6),
        (client.mac, gateway_mac, OUTSIDE6, HOST6),
        (client.mac, gateway_mac, web.ip6, OUTSIDE6),
        (web.mac, web.mac, client.ip6, web.ip6),
        ([2, 0, 0, 0, 0, 9], gateway_mac, client.ip6, OUTSIDE6),
    ] {
        send(from_mac, to_mac, source, destination, b"false");
    }
    assert!(is_counted(&world, &before, EGRESS, "SpoofedSource", 7), "{:?}", world.counters().since(&before));
    send(client.mac, web.mac, client.ip6, web.ip6, b"true");
    let mut buffer = [0; 64];
    let (length, peer) = listener.recv_from(&mut buffer).expect("the true datagram");
    assert_eq!((&buffer[..length], peer), (&b"true"[..], client.at6(1000)), "nothing else has come before it");
    assert_eq!(world.counters().since(&before).of(EGRESS, "SpoofedSource"), 7);
}

#[test]
fn nginx_answers_curl_by_ipv6() {
    let world = World::new();
    let [web, client] = world.pair_on("six", &["--subnet", "fd20:6::/64"]);
    world.netctl_ok(["publish", "web", "8080:80"]);
    let folder = world.scratch().display();
    let config = format!(
        "daemon off; master_process off; pid {folder}/nginx.pid; error_log {folder}/nginx-error.log;
         events {{}}
         http {{ access_log {folder}/access.log;
                 server {{ listen [::]:80; location / {{ return 200 'hello from nginx\\n'; }} }} }}"
    );
    let file = world.scratch().join("nginx.conf");
    std::fs::write(&file, config).expect("a configuration file");
    let _nginx = web.place.start(["nginx", "-p", &folder.to_string(), "-c", &file.display().to_string()]);
    let url = format!("http://[{HOST6}]:8080/");
    wait_until("nginx answers", seconds(5), || world.outside.exec(["curl", "-6sf", "-m2", &url]).is_ok());
    let curl = ["curl", "-6", "-s", "-m5"];
    let with = |url: &str| curl.iter().map(|word| (*word).to_owned()).chain([url.to_owned()]).collect::<Vec<_>>();
    assert_eq!(client.place.ok(with(&format!("http://[{}]/", web.ip6))), "hello from nginx\n");
    assert_eq!(client.place.ok(with(&url)), "hello from nginx\n");
    assert_eq!(world.host.ok(with("http://[::1]:8080/")), "hello from nginx\n");
    assert_eq!(world.outside.ok(with(&url)), "hello from nginx\n");
    let log = std::fs::read_to_string(world.scratch().join("access.log")).expect("an access log");
    assert!(log.contains(&format!("{OUTSIDE6} - - ")), "{log}");
    assert!(log.contains(&format!("{} - - ", client.ip6)), "{log}");
}

#[test]
fn ipv6_clients_reach_a_container_that_has_ipv4_only() {
    let world = World::new();
    let web = world.container("web", ["-p", "8080:80", "-p", "8080:80/udp"]);
    let _server = world.serve(&web.place, "web", &["tcp/0.0.0.0:80", "udp/0.0.0.0:80"]);
    let [_, client] = world.pair_on_as("dual", &["--ipv6"], ["peer", "client"]);
    for mode in Mode::ALL {
        for (what, reply) in [
            ("from outside", world.outside.run(|| probe::dial(mode, at(HOST6, 8080)))),
            ("from a container", client.place.run(|| probe::dial(mode, at(HOST6, 8080)))),
        ] {
            let (server, seen_as) = seen(what, mode, reply);
            assert_eq!((server.as_str(), seen_as), ("web", PROXY_V4.into()), "{what}");
        }
    }
    // Linux lets no program turn the datagrams of an unconnected IPv6 socket to IPv4 (`udpv6_sendmsg`).
    for mode in [Mode::Tcp, Mode::UdpConnected] {
        let reply = world.dial_from_host(mode, at(Ipv6Addr::LOCALHOST, 8080));
        assert_eq!(seen("from the host", mode, reply).0, "web");
    }
}

#[test]
fn networks_are_apart_by_ipv6_too() {
    let (world, web, _client, _servers) = world_with_pair();
    world.netctl_ok(["network", "create", "blue", "--ipv6"]);
    let blue = world.container("blue1", ["--network", "blue"]);
    let before = world.counters();
    for mode in Mode::ALL {
        assert!(blue.place.run(|| probe::dial(mode, web.at6(80))).is_err(), "{mode:?}");
    }
    assert!(is_counted(&world, &before, EGRESS, "OtherNetwork", 3), "{:?}", world.counters().since(&before));
}

#[test]
fn an_internal_network_leads_nowhere_by_ipv6_either() {
    let world = World::new();
    let _server = world.serve(&world.outside, "outside", &BOTH);
    let [web, client] = world.pair_on("inner", &["--ipv6", "--internal"]);
    let _web = world.serve(&web.place, "web", &BOTH);
    assert!(client.place.run(|| probe::dial_tcp(web.at6(80))).is_ok(), "peers are reached");
    assert!(client.place.run(|| probe::dial_tcp(at(OUTSIDE6, 80))).is_err());
    client.place.sh(&format!("ip -6 route add default via {} dev eth0", client.gateway6));
    let before = world.counters();
    assert!(client.place.run(|| probe::dial_tcp(at(OUTSIDE6, 80))).is_err());
    assert!(is_counted(&world, &before, EGRESS, "InternalNetwork", 1), "{:?}", world.counters().since(&before));
}

#[test]
fn a_source_that_is_not_the_containers_own_is_dropped() {
    let (world, web, client, _servers) = world_with_pair();
    let other = Ipv6Addr::from_bits(client.ip6.to_bits() + 50);
    client.place.sh(&format!("ip -6 addr add {other}/64 dev eth0 nodad"));
    // So that it knows the neighbour: it would ask for it in the other name too, and go on asking when its own turn comes.
    assert!(client.place.run(|| probe::tcp_from(at(client.ip6, 0), web.at6(80))).is_ok(), "its own works");
    let before = world.counters();
    let spoofed = client.place.run(|| probe::tcp_from(at(other, 0), web.at6(80)));
    assert!(spoofed.is_err(), "an address that it gave itself");
    assert!(is_counted(&world, &before, EGRESS, "SpoofedSource", 1), "{:?}", world.counters().since(&before));
    assert!(client.place.run(|| probe::tcp_from(at(client.ip6, 0), web.at6(80))).is_ok(), "its own still works");
}

#[test]
fn two_containers_use_one_source_port_to_one_server() {
    let (world, web, client, _servers) = world_with_pair();
    let ask = |container: &Container| {
        let from = container.at6(5000);
        let stream = container.place.run(|| probe::tcp_from(from, at(OUTSIDE6, 80))).expect("a connection");
        (probe::exchange(&stream).expect("an exchange").seen_as, stream)
    };
    let (first, second) = (ask(&web), ask(&client));
    assert_eq!(first.0, at(HOST6, 5000), "the first keeps its port");
    assert_eq!(second.0.ip(), IpAddr::from(HOST6));
    assert_ne!(first.0, second.0, "each has a port of its own");
    let other = client.place.run(|| probe::tcp_from(client.at6(5001), at(OUTSIDE6_SECOND, 80))).expect("a connection");
    assert_eq!(probe::exchange(&other).expect("an exchange").seen_as, at(HOST6, 5001));
    drop(world);
}

#[test]
fn traffic_goes_on_without_the_agent() {
    let (world, web, client, _servers) = world_with_pair();
    world.netctl_ok(["publish", "web", "8080:80"]);
    world.kill9();
    assert!(client.place.run(|| probe::dial_tcp(web.at6(80))).is_ok());
    assert!(client.place.run(|| probe::dial_tcp(at(OUTSIDE6, 80))).is_ok());
    assert!(world.outside.run(|| probe::dial_tcp(at(HOST6, 8080))).is_ok());
    world.start();
    assert_eq!(world.steps_planned_on_start(), 0);
}

#[test]
fn many_bytes_arrive_as_they_were_sent() {
    const LENGTH: u64 = 30_000_000;
    let (world, web, client, _servers) = world_with_pair();
    world.netctl_ok(["publish", "web", "9000:9000"]);
    let serve = |place: &netd_tests::world::Place, address| {
        place.run(|| TcpListener::bind(at(address, 9000))).unwrap_or_else(|error| panic!("{address}: {error}"))
    };
    let (inside, outside) = (serve(&web.place, Ipv6Addr::UNSPECIFIED), serve(&world.outside, OUTSIDE6));
    for (what, from, listener, to) in [
        ("to a peer", &client.place, &inside, web.ip6),
        ("to the outside", &client.place, &outside, OUTSIDE6),
        ("from the outside", &world.outside, &inside, HOST6),
    ] {
        let sender = from.run(|| TcpStream::connect(at(to, 9000))).unwrap_or_else(|error| panic!("{what}: {error}"));
        let (receiver, _) = listener.accept().expect("the connection");
        std::thread::scope(|scope| {
            scope.spawn(|| stream::send(&sender, LENGTH));
            stream::receive(&receiver, LENGTH).unwrap_or_else(|error| panic!("{what}: {error}"));
        });
    }
    // In fragments too.
    for address in [web.ip6, client.gateway6, HOST6, OUTSIDE6] {
        client.place.ok(["ping", "-6", "-q", "-c3", "-i0.05", "-W2", "-s4000", &address.to_string()]);
    }
}

#[test]
fn a_port_that_is_published_at_every_address_cannot_be_bound_at_any() {
    let world = World::new();
    let _web = world.container("web", ["-p", "8080:80", "-p", "0.0.0.0:8081:80", "-p", "[::1]:8082:80"]);
    let may_bind = |address: &str| world.probe_on_host_to_end(&["bind", "tcp", address]).is_ok();
    for (address, expected) in [
        ("[::1]:8080", false),
        ("[2001:db8:18::1]:8080", false),
        ("[::]:8080", false),
        ("[::1]:8081", true),
        ("127.0.0.1:8081", false),
        ("[::1]:8082", false),
        ("127.0.0.1:8082", true),
        ("[2001:db8:18::1]:8082", true),
    ] {
        assert_eq!(may_bind(address), expected, "{address}");
    }
}
