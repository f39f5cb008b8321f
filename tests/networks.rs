//! Do running containers join and leave networks, and reach just what they should? Scenarios S2, S3, S13, P4 and L5.

use netd_tests::probe::{self, Mode};
use netd_tests::world::{Container, HOST, OUTSIDE, Place, World, at};
use netd_tests::{seconds, wait_until};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::io::{Read as _, Write as _};
use std::net::{IpAddr, UdpSocket};

/// Where every container of the matrix answers.
const PORT: u16 = 7000;

#[test]
fn a_running_container_joins_and_leaves_networks() {
    let world = World::new();
    world.network("blue", "10.9.1.0/24");
    let web = world.plain("web");
    let peer = world.container("peer", ["--network", "blue"]);
    let _servers = [
        world.serve(&peer.place, "peer", &["tcp/0.0.0.0:80", "udp/0.0.0.0:80"]),
        world.serve(&world.outside, "outside", &["tcp/0.0.0.0:80"]),
    ];
    let stream = web.place.run(|| probe::tcp_from(web.at(5000), at(OUTSIDE, 80))).expect("a connection");
    probe::exchange(&stream).expect("an exchange");
    web.place.run(|| probe::dial_tcp(peer.at(80))).expect_err("it is not on that network");
    let words = ["--ip", "10.9.1.77", "--mac", "02:00:00:00:00:77", "--alias", "www"];
    world.netctl_ok(["network", "connect", "blue", "web"].into_iter().chain(words));
    let seen = world.inspect("web").json;
    for (pointer, value) in [
        ("/endpoints/1/network", "blue"),
        ("/endpoints/1/interface", "eth1"),
        ("/endpoints/1/ipv4", "10.9.1.77/24"),
        ("/endpoints/1/mac", "02:00:00:00:00:77"),
        ("/endpoints/1/aliases/0", "www"),
        ("/endpoints/1/status", "ready"),
    ] {
        assert_eq!(seen.pointer(pointer), Some(&Value::from(value)), "{pointer} of {seen}");
    }
    for mode in Mode::ALL {
        let reply = web
            .place
            .run(|| probe::dial(mode, peer.at(80)))
            .or_else(|_| web.place.run(|| probe::dial_tcp(peer.at(80))));
        assert_eq!(reply.expect("a peer now").seen_as.ip(), IpAddr::from([10, 9, 1, 77]), "{mode:?}");
    }
    assert!(web.place.sh("ip route show default").contains("via 10.208.0.1 dev eth0"));
    goes_on(&stream);
    world.netctl_ok(["network", "disconnect", "blue", "web"]);
    assert!(!web.place.sh("ip -o link").contains("eth1"), "the interface is gone");
    web.place.run(|| probe::dial_tcp(peer.at(80))).expect_err("it has left that network");
    goes_on(&stream);
    // A freed address rests.
    world.netctl_ok(["network", "connect", "blue", "web"]);
    world.netctl_ok(["network", "disconnect", "blue", "web"]);
    world.netctl_ok(["network", "connect", "blue", "web"]);
    assert_eq!(world.inspect("web").json["endpoints"][1]["ipv4"], "10.9.1.4/24");
    let told = world.netctl_ok(["events"]);
    for words in ["container web connected to network blue", "container web disconnected from network blue"] {
        assert!(told.contains(words), "{told}");
    }
}

#[test]
fn s2_who_is_on_two_networks_reaches_both_and_routes_only_when_told_to() {
    let world = World::new();
    world.netctl_ok(["network", "create", "a", "--subnet", "10.9.1.0/24", "--subnet", "fd00:1::/64"]);
    world.netctl_ok(["network", "create", "b", "--subnet", "10.9.2.0/24", "--subnet", "fd00:2::/64"]);
    let [left, right] =
        [("left", "a"), ("right", "b")].map(|(name, network)| world.container(name, ["--network", network]));
    let plain = world.container("plain", ["--network", "a", "--network", "b"]);
    let router = world.container("router", ["--network", "a", "--network", "b", "--router"]);
    assert_eq!((&plain.json["router"], &router.json["router"]), (&false.into(), &true.into()));
    let _servers = [&left, &right]
        .map(|end| world.serve(&end.place, &end.name, &["tcp/0.0.0.0:80", &format!("tcp/[{}]:80", end.ip6)]));
    for both in [&plain, &router] {
        for end in [&left, &right] {
            assert_eq!(both.place.run(|| probe::dial_tcp(end.at(80))).expect("an answer").server, end.name);
            assert_eq!(both.place.run(|| probe::dial_tcp(end.at6(80))).expect("an answer").server, end.name);
        }
    }
    left.place.run(|| probe::dial_tcp(right.at(80))).expect_err("they share no network");
    let set = |place: &Place, key: &str| place.sh(&format!("cat /proc/sys/net/{key}")).trim().to_owned();
    for key in ["ipv4/ip_forward", "ipv6/conf/all/forwarding"] {
        assert_eq!((set(&plain.place, key), set(&router.place, key)), ("0".to_owned(), "1".to_owned()), "{key}");
    }
    for (by, reaches) in [(&plain, false), (&router, true)] {
        let hop = |index: usize, family: &str| {
            let text = by.json["endpoints"][index][family].as_str().expect("an address").to_owned();
            text.split('/').next().expect("an address").to_owned()
        };
        left.place.sh(&format!(
            "ip route replace 10.9.2.0/24 via {}; ip -6 route replace fd00:2::/64 via {}",
            hop(0, "ipv4"),
            hop(0, "ipv6")
        ));
        right.place.sh(&format!(
            "ip route replace 10.9.1.0/24 via {}; ip -6 route replace fd00:1::/64 via {}",
            hop(1, "ipv4"),
            hop(1, "ipv6")
        ));
        // Somebody who has turned it on in the container still is not told to.
        by.place.sysctl("net/ipv4/ip_forward", "1");
        by.place.sysctl("net/ipv6/conf/all/forwarding", "1");
        for target in [right.at(80), right.at6(80)] {
            let reply = left.place.run(|| probe::dial_tcp(target));
            assert_eq!(reply.is_ok(), reaches, "{} by {}: {reply:?}", target, by.name);
            if let Ok(reply) = reply {
                assert_eq!(reply.seen_as, reply.local, "a router translates nothing");
            }
        }
    }
    assert!(world.counter("container_egress", "SpoofedSource") > 0);
}

#[test]
fn the_default_route_follows_the_priority() {
    let world = World::new();
    for (name, subnet) in [("a", "10.9.1.0/24"), ("b", "10.9.2.0/24"), ("c", "10.9.3.0/24")] {
        world.network(name, subnet);
    }
    world.netctl_ok(["network", "create", "inner", "--subnet", "10.9.4.0/24", "--internal"]);
    let web = world.container("web", ["--network", "name=a,gw-priority=1", "-p", "8080:80"]);
    let _servers = [
        world.serve(&world.outside, "outside", &["tcp/0.0.0.0:80"]),
        world.serve(&web.place, "web", &["tcp/0.0.0.0:80"]),
    ];
    let works = |by: &str| {
        assert!(web.place.sh("ip route show default").contains(by), "not {by}: {}", web.place.sh("ip route"));
        web.place.run(|| probe::dial_tcp(at(OUTSIDE, 80))).expect("the way out");
        world.outside.run(|| probe::dial_tcp(at(HOST, 8080))).expect("a published port leads where its answers leave");
    };
    works("via 10.9.1.1 dev eth0");
    let join = |network: &str, priority: &str| {
        world.netctl_ok(["network", "connect", network, "web", "--gw-priority", priority]);
    };
    join("b", "1");
    works("via 10.9.1.1 dev eth0");
    join("c", "7");
    works("via 10.9.3.1 dev eth2");
    join("inner", "9");
    works("via 10.9.3.1 dev eth2");
    world.netctl_ok(["network", "disconnect", "a", "web"]);
    works("via 10.9.3.1 dev eth2");
    world.netctl_ok(["network", "disconnect", "c", "web"]);
    works("via 10.9.2.1 dev eth1");
    join("a", "-5");
    works("via 10.9.2.1 dev eth1");
}

#[test]
fn without_a_network_published_ports_wait() {
    let world = World::new();
    let web = world.container("web", ["-p", "8080:80"]);
    let _server = world.serve(&web.place, "web", &["tcp/0.0.0.0:80"]);
    let stream = world.outside.run(|| std::net::TcpStream::connect(at(HOST, 8080))).expect("a connection");
    probe::exchange(&stream).expect("an exchange");
    assert_eq!(world.flows().len(), 1);
    world.netctl_ok(["network", "disconnect", "bridge", "web"]);
    assert_eq!(world.flows(), Vec::<Value>::new(), "its connections are forgotten");
    world.outside.run(|| probe::dial_tcp(at(HOST, 8080))).expect_err("it leads nowhere");
    let status = world.netctl_json(["status"]);
    let object = &status["objects"][0];
    assert_eq!((&object["kind"], &object["status"]), (&"publish".into(), &"failing".into()), "{status}");
    assert_eq!(
        object["reason"],
        "container \"web\" is on no network by which the port could lead to it; connect it to one that leads outside \
         (netctl network connect NET web), or unpublish the port"
    );
    assert_eq!(world.netctl_json(["port", "ls"])[0]["status"], "failing");
    world.netctl_ok(["network", "connect", "bridge", "web"]);
    assert_eq!(world.outside.run(|| probe::dial_tcp(at(HOST, 8080))).expect("it leads again").server, "web");
    assert_eq!(world.netctl_json(["status"])["objects"], Value::Array(Vec::new()));
}

#[test]
fn s13_internal_networks_and_those_without_icc_are_joined_live() {
    let world = World::new();
    world.netctl_ok(["network", "create", "inner", "--subnet", "10.9.1.0/24", "--internal"]);
    world.netctl_ok(["network", "create", "apart", "--subnet", "10.9.2.0/24", "--no-icc"]);
    let _outside = world.serve(&world.outside, "outside", &["tcp/0.0.0.0:80"]);
    let [one, two] = ["one", "two"].map(|name| {
        world.netctl_ok(["container", "create", name, "--network", "none"]);
        for network in ["inner", "apart"] {
            world.netctl_ok(["network", "connect", network, name]);
        }
        world.inspect(name)
    });
    let _servers = [&one, &two].map(|c| world.serve(&c.place, &c.name, &["tcp/0.0.0.0:80"]));
    let address = |of: &Container, index: usize| -> IpAddr {
        let text = of.json["endpoints"][index]["ipv4"].as_str().expect("an address").to_owned();
        text.split('/').next().expect("an address").parse().expect("an address")
    };
    one.place.run(|| probe::dial_tcp(at(address(&two, 0), 80))).expect("peers of an internal network");
    one.place.run(|| probe::dial_tcp(at(address(&two, 1), 80))).expect_err("no peers without icc");
    one.place.run(|| probe::dial_tcp(at(OUTSIDE, 80))).expect("by the network that is not internal");
    world.netctl_ok(["network", "disconnect", "apart", "one"]);
    one.place.run(|| probe::dial_tcp(at(OUTSIDE, 80))).expect_err("an internal network leads nowhere");
}

#[test]
fn p4_published_ports_are_reached_across_networks() {
    let world = World::new();
    world.network("a", "10.9.1.0/24");
    world.network("b", "10.9.2.0/24");
    let web = world.container("web", ["--network", "a", "-p", "8080:80"]);
    let _server = world.serve(&web.place, "web", &["tcp/0.0.0.0:80", "udp/0.0.0.0:80"]);
    let other = world.container("other", ["--network", "b"]);
    for (from, joined) in [(&other, false), (&web, false), (&other, true)] {
        if joined {
            world.netctl_ok(["network", "connect", "a", "other"]);
        }
        let reply = from.place.run(|| probe::dial_tcp(at(HOST, 8080)));
        assert_eq!(reply.unwrap_or_else(|error| panic!("{}: {error}", from.name)).server, "web");
    }
    world.netctl_ok(["network", "connect", "b", "web", "--gw-priority", "3"]);
    let reply = world.outside.run(|| probe::dial_tcp(at(HOST, 8080))).expect("the outside");
    assert_eq!(reply.server, "web");
    assert_eq!(other.place.run(|| probe::dial_tcp(at(HOST, 8080))).expect("by its new network").server, "web");
}

#[test]
fn dhcp_reaches_the_members_and_nobody_else() {
    let world = World::new();
    world.network("blue", "10.9.1.0/24");
    let [asker, server] = ["asker", "server"].map(|name| world.container(name, ["--network", "blue"]));
    let stranger = world.plain("stranger");
    let listen = |of: &Container, port: u16| of.place.run(|| receiver(port));
    let (at_server, at_stranger) = (listen(&server, 67), listen(&stranger, 67));
    // As a client without an address does: from 0.0.0.0:68 to everybody.
    let at_asker = listen(&asker, 68);
    let before = world.counter("container_egress", "SpoofedSource");
    // netd would give the address back, sooner or later; the programs go on without it.
    assert!(world.stop(), "netd did not end on SIGTERM");
    asker.place.sh("ip addr flush dev eth0; ip route add 255.255.255.255/32 dev eth0");
    at_asker.send_to(b"discover", "255.255.255.255:67").expect("sent");
    let mut buffer = [0; 64];
    let (length, from) = at_server.recv_from(&mut buffer).expect("the server hears it");
    assert_eq!((&buffer[..length], from.to_string().as_str()), (&b"discover"[..], "0.0.0.0:68"));
    server.place.sh("ip route add 255.255.255.255/32 dev eth0");
    at_server.send_to(b"offer", "255.255.255.255:68").expect("sent");
    let (length, from) = at_asker.recv_from(&mut buffer).expect("the asker hears the answer");
    assert_eq!((&buffer[..length], from), (&b"offer"[..], server.at(67)));
    at_stranger.set_nonblocking(true).expect("a socket");
    at_stranger.recv_from(&mut buffer).expect_err("another network hears nothing");
    // Nothing else comes from nobody.
    at_asker.send_to(b"x", "255.255.255.255:53").expect("sent");
    world.start();
    wait_until("it is counted", seconds(3), || world.counter("container_egress", "SpoofedSource") == before + 1);
}

/// The other side of a connection sends back what it gets.
#[track_caller]
fn goes_on(mut stream: &std::net::TcpStream) {
    let mut echoed = [0; 4];
    stream.write_all(b"ping").and_then(|()| stream.read_exact(&mut echoed)).expect("the connection goes on");
    assert_eq!(&echoed, b"ping");
}

fn receiver(port: u16) -> UdpSocket {
    let socket = UdpSocket::bind(at([0, 0, 0, 0], port)).expect("a socket");
    socket.set_broadcast(true).expect("a socket that may broadcast");
    socket.set_read_timeout(Some(probe::PATIENCE)).expect("a socket that does not wait for ever");
    socket
}

/// The containers of the matrix, each with its server, and what networks they are on.
struct Matrix {
    world: World,
    containers: BTreeMap<String, (Container, netd_tests::world::Process)>,
    on: BTreeMap<String, BTreeSet<String>>,
}

impl Matrix {
    fn make(&mut self, name: &str, network: &str) {
        let container = self.world.container(name, ["--network", network]);
        let server = self.world.serve(&container.place, name, &[&format!("udp/0.0.0.0:{PORT}")]);
        self.containers.insert(name.to_owned(), (container, server));
        self.on.insert(name.to_owned(), [network.to_owned()].into());
    }

    /// Every container asks every address there is.
    fn check(&self) {
        let networks = self.world.netctl_json(["network", "ls"]);
        let mut addresses = Vec::new();
        for network in networks.as_array().expect("networks") {
            for member in network["containers"].as_array().expect("members") {
                let text = |field: &str| member[field].as_str().expect("a text").to_owned();
                let ip: IpAddr = text("ipv4").split('/').next().expect("an address").parse().expect("an address");
                addresses.push((network["name"].as_str().expect("a name").to_owned(), text("name"), ip));
            }
        }
        let known = self.on.iter().flat_map(|(name, on)| on.iter().map(move |network| (network.clone(), name.clone())));
        let told: BTreeSet<_> = addresses.iter().map(|(network, name, _)| (network.clone(), name.clone())).collect();
        assert_eq!(told, known.collect(), "who is on what");
        for (asker, (container, _)) in &self.containers {
            let reached: BTreeSet<IpAddr> = container.place.run(|| {
                let socket = probe::udp_from(at([0, 0, 0, 0], 0)).expect("a socket");
                for (_, _, ip) in &addresses {
                    // A container without a default route is told at once.
                    let _unreachable = socket.send_to(b"?", at(*ip, PORT));
                }
                socket.set_read_timeout(Some(std::time::Duration::from_millis(250))).expect("a socket");
                let mut buffer = [0; 256];
                let mut reached = BTreeSet::new();
                while let Ok((_, from)) = socket.recv_from(&mut buffer) {
                    reached.insert(from.ip());
                }
                reached
            });
            let own = &self.on[asker];
            let allowed = addresses.iter().filter(|(network, _, _)| own.contains(network));
            assert_eq!(reached, allowed.map(|(_, _, ip)| *ip).collect(), "what {asker} on {own:?} reaches");
        }
    }
}

/// Numbers that are the same every time (xorshift).
struct Dice(u64);

impl Dice {
    fn below(&mut self, count: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 % u64::try_from(count).expect("few")).expect("few")
    }
}

#[test]
fn s3_after_any_churn_exactly_the_allowed_is_reached() {
    let world = World::new();
    let networks: Vec<String> = (0..4).map(|number| format!("n{number}")).collect();
    for (number, name) in networks.iter().enumerate() {
        world.network(name, &format!("10.9.{number}.0/24"));
    }
    let mut matrix = Matrix { world, containers: BTreeMap::new(), on: BTreeMap::new() };
    let names: Vec<String> = (0..8).map(|number| format!("c{number}")).collect();
    for (number, name) in names.iter().enumerate() {
        matrix.make(name, &networks[number % 4]);
    }
    matrix.check();
    let mut dice = Dice(0x2545_f491_4f6c_dd1d);
    for _ in 0..3 {
        for _ in 0..14 {
            let (name, network) = (&names[dice.below(8)], &networks[dice.below(4)]);
            let on = matrix.on.get_mut(name).expect("a container");
            if dice.below(6) == 0 {
                matrix.world.netctl_ok(["container", "rm", name]);
                drop(matrix.containers.remove(name));
                matrix.make(name, network);
            } else if on.remove(network) {
                matrix.world.netctl_ok(["network", "disconnect", network, name]);
            } else {
                matrix.world.netctl_ok(["network", "connect", network, name]);
                on.insert(network.clone());
            }
        }
        matrix.check();
    }
}

#[test]
fn l5_what_somebody_breaks_on_a_joined_network_heals() {
    let world = World::new();
    world.network("blue", "10.9.1.0/24");
    let web = world.plain("web");
    let peer = world.container("peer", ["--network", "blue"]);
    let _server = world.serve(&peer.place, "peer", &["tcp/0.0.0.0:80"]);
    world.netctl_ok(["network", "connect", "blue", "web"]);
    let host_interface =
        world.inspect("web").json["endpoints"][1]["host_interface"].as_str().expect("a name").to_owned();
    let reaches = || web.place.run(|| probe::dial_tcp(peer.at(80))).is_ok_and(|reply| reply.server == "peer");
    assert!(reaches());
    for damage in [
        (&world.host, format!("ip link del {host_interface}")),
        (&web.place, "ip addr flush dev eth1".to_owned()),
        (&web.place, "ip link set eth1 down".to_owned()),
        (&web.place, "ip link set eth1 down; ip link set eth1 name other".to_owned()),
    ] {
        let (place, script) = damage;
        place.sh(&script);
        wait_until(&format!("healed after {script}"), seconds(10), reaches);
    }
    assert!(web.place.sh("ip -o link").contains("eth1"));
}

#[test]
fn networks_are_pruned_and_listed_by_filters() {
    let world = World::new();
    world.netctl_ok(["network", "create", "front", "--label", "tier=front"]);
    world.netctl_ok(["network", "create", "back", "--label", "tier=back"]);
    world.netctl_ok(["network", "create", "used"]);
    world.container("user", ["--network", "used"]);
    let listed = |filters: &[&str]| {
        let words = ["network", "ls", "-q"].iter().chain(filters).copied().collect::<Vec<_>>();
        world.netctl_ok(words).split_whitespace().map(str::to_owned).collect::<Vec<_>>().join(" ")
    };
    assert_eq!(listed(&["--filter", "label=tier"]), "back front");
    assert_eq!(listed(&["--filter", "name=fro"]), "front");
    assert_eq!(listed(&["--filter", "driver=host"]), "host");
    assert_eq!(world.netctl_ok(["network", "prune", "--filter", "until=1h"]), "");
    assert_eq!(world.netctl_ok(["network", "prune", "--filter", "label=tier=front"]), "front\n");
    assert_eq!(world.netctl_ok(["network", "prune"]), "back\n");
    assert_eq!(listed(&[]), "bridge host none used");
    assert_eq!(world.netctl(["network", "prune", "--filter", "colour=blue"]).code, 2);
}
