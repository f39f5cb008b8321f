//! Do containers reach the outside in the host's name, whatever the host's firewall and sysctls say? Scenarios O1, O2,
//! O4, O5 and O12.

use netd_tests::probe::{self, Mode};
use netd_tests::world::{HOST, HOST6, OUTSIDE, OUTSIDE_SECOND, OUTSIDE6, Place, UPLINK, World, at};
use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};

#[test]
fn o1_the_outside_sees_the_hosts_address() {
    let world = World::new();
    let client = world.plain("client");
    let _server = world.serve(&world.outside, "outside", &["tcp/0.0.0.0:80", "udp/0.0.0.0:80"]);
    for mode in Mode::ALL {
        let reply =
            client.place.run(|| probe::dial(mode, at(OUTSIDE, 80))).unwrap_or_else(|error| panic!("{mode:?}: {error}"));
        assert_eq!((reply.server.as_str(), reply.peer), ("outside", at(OUTSIDE, 80)), "{mode:?}");
        assert_eq!(reply.seen_as, at(HOST, reply.local.port()), "{mode:?}: the host's address, and the port is kept");
    }
    client.place.ok(["ping", "-q", "-c3", "-i0.05", "-W2", &OUTSIDE.to_string()]);
    let refused = client.place.run(|| probe::dial(Mode::Tcp, at(OUTSIDE, 81))).expect_err("nobody listens there");
    assert_eq!(refused.kind(), std::io::ErrorKind::ConnectionRefused);
    let flows = world.flows();
    let protocols: BTreeSet<_> = flows.iter().filter_map(|flow| flow["protocol"].as_str()).collect();
    assert_eq!(protocols, BTreeSet::from(["icmp", "tcp", "udp"]), "{flows:#?}");
    for flow in &flows {
        assert_eq!(flow["container"], "client", "{flow}");
        let translated = flow["translated_source"].as_str().unwrap_or_default();
        assert!(translated.starts_with(&HOST.to_string()), "{flow}");
    }
}

#[test]
fn o2_two_containers_use_one_source_port_to_one_server() {
    let world = World::new();
    let clients = [world.plain("first"), world.plain("second"), world.plain("third")];
    let _server = world.serve(&world.outside, "outside", &["tcp/0.0.0.0:80", "udp/0.0.0.0:80"]);
    let streams = clients.each_ref().map(|client| tcp(&client.place, client.at(5000)));
    let seen = streams.each_ref().map(|stream| probe::exchange(stream).expect("an exchange").seen_as);
    assert_eq!(seen[0], at(HOST, 5000), "the first keeps its port");
    assert_eq!(BTreeSet::from(seen).len(), 3, "each has a port of its own: {seen:?}");
    let sockets = clients.each_ref().map(|client| udp(&client.place, client.at(5000)));
    let first = sockets.each_ref().map(|socket| probe::ask(socket).expect("an answer").seen_as);
    assert_eq!(first[0], at(HOST, 5000), "a port of UDP is none of TCP");
    assert_eq!(BTreeSet::from(first).len(), 3, "each has a port of its own: {first:?}");
    let again = sockets.each_ref().map(|socket| probe::ask(socket).expect("an answer").seen_as);
    assert_eq!(first, again, "a flow keeps its port");
    // One port of the host serves many remotes.
    let other =
        clients[1].place.run(|| probe::tcp_from(clients[1].at(5001), at(OUTSIDE_SECOND, 80))).expect("a connection");
    assert_eq!(probe::exchange(&other).expect("an exchange").seen_as, at(HOST, 5001));
}

#[test]
fn o4_host_and_container_use_one_source_port_to_one_server() {
    let world = World::new();
    let [_, client] = world.pair_on("dual", &["--ipv6"]);
    let _server = world.serve(&world.outside, "outside", &AT_BOTH);
    // Who comes first decides who keeps the port; both orders must work.
    for (port, host_first, container, far, host) in [
        (6000, true, IpAddr::from(client.ip), at(OUTSIDE, 80), IpAddr::from(HOST)),
        (6001, false, client.ip.into(), at(OUTSIDE, 80), HOST.into()),
        (6002, true, client.ip6.into(), at(OUTSIDE6, 81), HOST6.into()),
        (6003, false, client.ip6.into(), at(OUTSIDE6, 81), HOST6.into()),
    ] {
        let mut places = [(&world.host, at(host, port)), (&client.place, at(container, port))];
        if !host_first {
            places.reverse();
        }
        let streams = places.map(|(place, local)| tcp_to(place, local, far));
        // A tuple is taken by its first packet, or by a socket of the host as soon as it is connected.
        let first = udp_to(places[0].0, places[0].1, far);
        probe::ask(&first).expect("its own answers");
        let sockets = [first, udp_to(places[1].0, places[1].1, far)];
        let by_tcp = streams.each_ref().map(|stream| probe::exchange(stream).expect("its own answers").seen_as);
        let by_udp = sockets.each_ref().map(|socket| probe::ask(socket).expect("its own answers").seen_as);
        for seen in [by_tcp, by_udp] {
            assert_eq!(seen[0], at(host, port), "the first keeps its port (host first: {host_first})");
            assert_ne!(seen[0], seen[1], "two flows with one tuple (host first: {host_first})");
        }
        for _ in 0..3 {
            let again = sockets.each_ref().map(|socket| probe::ask(socket).expect("its own answers").seen_as);
            assert_eq!(again, by_udp);
        }
    }
}

#[test]
fn o4_a_server_of_the_host_keeps_its_port() {
    let world = World::new();
    let [_, client] = world.pair_on("dual", &["--ipv6"]);
    let at_host = [format!("udp/{}", at(HOST, 7000)), format!("udp/{}", at(HOST6, 7000))];
    let _servers = [
        world.serve(&world.outside, "outside", &AT_BOTH),
        world.serve(&world.host, "host", &["tcp/[::]:7000", &at_host[0], &at_host[1]]),
    ];
    for (container, far, host) in
        [(client.at(7000), at(OUTSIDE, 80), at(HOST, 7000)), (client.at6(7000), at(OUTSIDE6, 81), at(HOST6, 7000))]
    {
        // The container's flow takes the port that the host's servers listen at, towards one remote.
        let stream = tcp_to(&client.place, container, far);
        let socket = udp_to(&client.place, container, far);
        probe::exchange(&stream).expect("the outside's answer");
        probe::ask(&socket).expect("the outside's answer");
        for mode in Mode::ALL {
            let reply =
                world.outside.run(|| probe::dial(mode, host)).unwrap_or_else(|error| panic!("{mode:?}: {error}"));
            assert_eq!(reply.server, "host", "{mode:?} to {host}");
        }
        assert_eq!(probe::ask(&socket).expect("the outside's answer").server, "outside");
    }
}

#[test]
fn o5_pings_with_one_id_get_their_own_replies() {
    let world = World::new();
    let (first, second) = (world.plain("first"), world.plain("second"));
    let places: [&Place; 3] = [&first.place, &second.place, &world.host];
    let target = OUTSIDE.to_string();
    let pings = places.map(|place| place.start(["ping", "-e", "777", "-c", "10", "-i", "0.05", "-W", "2", &target]));
    for (ping, place) in pings.into_iter().zip(places) {
        let finished = ping.finish();
        assert!(finished.stdout.contains("10 received") && !finished.stdout.contains("DUP"), "{place:?}: {finished}");
    }
}

#[test]
fn o12_forward_policy_drop_by_nftables() {
    check_under(|world| {
        world.host.sh("nft add table inet filter
             nft 'add chain inet filter forward { type filter hook forward priority 0; policy drop; }'
             nft 'add chain inet filter input { type filter hook input priority 0; policy drop; }'
             nft 'add rule inet filter input ct state invalid drop'
             nft 'add rule inet filter input ct state established,related accept'
             nft 'add rule inet filter input icmpv6 type { nd-neighbor-solicit, nd-neighbor-advert } accept'
             nft 'add rule inet filter input iif lo accept'");
    });
}

#[test]
fn o12_the_rules_of_docker_by_legacy_iptables() {
    check_under(|world| docker_rules(world, "iptables-legacy"));
}

#[test]
fn o12_the_rules_of_docker_by_iptables_nft() {
    check_under(|world| docker_rules(world, "iptables-nft"));
}

#[test]
fn o12_a_host_that_forwards_and_does_not_filter() {
    check_under(|world| {
        world.host.sysctl("net/ipv4/ip_forward", "1");
        world.host.sysctl("net/ipv6/conf/all/forwarding", "1");
        for conf in ["all", "default", UPLINK] {
            world.host.sysctl(&format!("net/ipv4/conf/{conf}/rp_filter"), "0");
        }
    });
}

#[test]
fn o12_a_firewall_that_is_reloaded_changes_nothing() {
    let world = World::new();
    let client = world.plain("client");
    let _server = world.serve(&world.outside, "outside", &["tcp/0.0.0.0:80", "udp/0.0.0.0:80"]);
    let socket = udp(&client.place, client.at(5000));
    let before = probe::ask(&socket).expect("an answer");
    docker_rules(&world, "iptables-nft");
    world.host.sh("nft flush ruleset");
    docker_rules(&world, "iptables-nft");
    assert_eq!(probe::ask(&socket).expect("an answer"), before);
    let rules = world.host.sh("nft list ruleset");
    world.netctl_ok(["publish", "client", "8080:80"]);
    assert_eq!(world.host.sh("nft list ruleset"), rules, "netd adds no rule of netfilter");
}

/// Everything that crosses the host, with the host made difficult by `make` before netd starts.
#[track_caller]
fn check_under(make: impl FnOnce(&World)) {
    let world = World::without_netd();
    make(&world);
    world.start();
    let [web, client] = world.pair_on("dual", &["--ipv6"]);
    world.netctl_ok(["publish", "web", "8080:80", "8080:80/udp", "8081:81", "8081:81/udp"]);
    let _servers = [world.serve(&web.place, "web", &AT_BOTH), world.serve(&world.outside, "outside", &AT_BOTH)];
    struct Ends {
        web: IpAddr,
        client: IpAddr,
        gateway: IpAddr,
        outside: IpAddr,
        host: IpAddr,
        local: IpAddr,
        port: u16,
    }
    let families = [
        Ends {
            web: web.ip.into(),
            client: client.ip.into(),
            gateway: web.gateway.into(),
            outside: OUTSIDE.into(),
            host: HOST.into(),
            local: Ipv4Addr::LOCALHOST.into(),
            port: 80,
        },
        Ends {
            web: web.ip6.into(),
            client: client.ip6.into(),
            gateway: web.gateway6.into(),
            outside: OUTSIDE6.into(),
            host: HOST6.into(),
            local: Ipv6Addr::LOCALHOST.into(),
            port: 81,
        },
    ];
    for (ends, mode) in families.iter().flat_map(|ends| Mode::ALL.map(|mode| (ends, mode))) {
        let &Ends { port, outside, host, local, gateway, .. } = ends;
        let from = |place: &Place, to, port| place.run(|| probe::dial(mode, at(to, port)));
        let paths: [(&str, std::io::Result<probe::Reply>, &str, IpAddr); 5] = [
            ("container to the outside", from(&client.place, outside, port), "outside", host),
            ("outside to a published port", from(&world.outside, host, 8000 + port), "web", outside),
            ("container to container", from(&client.place, ends.web, port), "web", ends.client),
            ("host to a container", world.dial_from_host(mode, at(ends.web, port)), "web", gateway),
            ("host to itself", world.dial_from_host(mode, at(local, 8000 + port)), "web", gateway),
        ];
        for (path, reply, server, seen_as) in paths {
            let reply = reply.unwrap_or_else(|error| panic!("{path} by {mode:?}, {outside}: {error}"));
            assert_eq!((reply.server.as_str(), reply.seen_as.ip()), (server, seen_as), "{path} by {mode:?}");
        }
    }
    for outside in [OUTSIDE.to_string(), OUTSIDE6.to_string()] {
        client.place.ok(["ping", "-q", "-c1", "-W2", &outside]);
    }
}

/// What a Docker host looks like when its own containers are on 172.17.0.0/16.
fn docker_rules(world: &World, iptables: &str) {
    // For IPv6 the same chains, as Docker makes them too.
    let filter_6 = iptables.replace("iptables", "ip6tables");
    world.host.sh(&format!(
        "for i in DOCKER DOCKER-USER; do {filter_6} -w -N $i; done
         {filter_6} -w -P FORWARD DROP; {filter_6} -w -A FORWARD -j DOCKER-USER
         {filter_6} -w -A FORWARD -o docker0 -j DOCKER
         i='{iptables} -w'
         $i -P FORWARD DROP
         for chain in DOCKER DOCKER-USER DOCKER-ISOLATION-STAGE-1; do $i -N $chain; done
         $i -A FORWARD -j DOCKER-USER
         $i -A FORWARD -j DOCKER-ISOLATION-STAGE-1
         $i -A FORWARD -o docker0 -j DOCKER
         $i -A FORWARD -i docker0 ! -o docker0 -j ACCEPT
         $i -A DOCKER-ISOLATION-STAGE-1 -j RETURN
         $i -A DOCKER-USER -j RETURN
         $i -t nat -N DOCKER
         $i -t nat -A PREROUTING -m addrtype --dst-type LOCAL -j DOCKER
         $i -t nat -A OUTPUT -m addrtype --dst-type LOCAL ! -d 127.0.0.0/8 -j DOCKER
         $i -t nat -A POSTROUTING -s 172.17.0.0/16 ! -o docker0 -j MASQUERADE
         $i -t nat -A DOCKER -i docker0 -j RETURN"
    ));
}

/// Servers of IPv4 at port 80, and of IPv6 alone at 81.
const AT_BOTH: [&str; 4] = ["tcp/0.0.0.0:80", "udp/0.0.0.0:80", "tcp/[::]:81", "udp/[::]:81"];

#[track_caller]
fn tcp(place: &Place, local: SocketAddr) -> std::net::TcpStream {
    tcp_to(place, local, at(OUTSIDE, 80))
}

#[track_caller]
fn tcp_to(place: &Place, local: SocketAddr, far: SocketAddr) -> std::net::TcpStream {
    place.run(|| probe::tcp_from(local, far)).unwrap_or_else(|error| panic!("from {local}: {error}"))
}

#[track_caller]
fn udp(place: &Place, local: SocketAddr) -> UdpSocket {
    udp_to(place, local, at(OUTSIDE, 80))
}

#[track_caller]
fn udp_to(place: &Place, local: SocketAddr, far: SocketAddr) -> UdpSocket {
    let socket = place.run(|| probe::udp_from(local)).unwrap_or_else(|error| panic!("from {local}: {error}"));
    socket.connect(far).expect("a route");
    socket
}
