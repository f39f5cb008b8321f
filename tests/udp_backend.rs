//! Whom do UDP clients talk to after their port has been taken from one container and given to another?

use netd_tests::probe::{self, Mode, Reply};
use netd_tests::wait_until;
use netd_tests::world::{Container, HOST, HOST6, OUTSIDE, OUTSIDE6, Process, World, at};
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

const PATIENCE: Duration = Duration::from_secs(30);

const PORT: &str = "5353:53/udp";

/// Containers `a` and `b` with a server each.
fn two(world: &World) -> ([Container; 2], [Process; 2]) {
    let containers = ["a", "b"].map(|name| world.plain(name));
    let servers =
        containers.each_ref().map(|container| world.serve(&container.place, &container.name, &["udp/0.0.0.0:53"]));
    (containers, servers)
}

fn moves(world: &World, port: &str) {
    world.netctl_ok(["unpublish", "a", port]);
    world.netctl_ok(["publish", "b", port]);
}

/// A program of the host with one connected UDP socket.
struct Chat(Process);

impl Chat {
    fn new(world: &World, address: SocketAddr) -> Self {
        Self(world.probe_on_host(&["chat", &address.to_string()]))
    }

    fn ask(&mut self) -> io::Result<Reply> {
        self.0.say("go");
        probe::from_json(&self.0.line())
    }

    #[track_caller]
    fn reaches(&mut self, server: &str) {
        let reply = self.ask().unwrap_or_else(|error| panic!("{server} does not answer: {error}"));
        assert_eq!(reply.server, server);
    }

    /// The socket was destroyed, and says so to whoever sends, so that the program dials anew.
    #[track_caller]
    fn is_ended(&mut self) {
        let error = self.ask().expect_err("its container is not published any more");
        assert_eq!(error.raw_os_error(), Some(libc::EDESTADDRREQ), "{error}");
    }
}

#[test]
fn a_program_of_the_host_dials_anew() {
    let world = World::new();
    let (_containers, _servers) = two(&world);
    world.netctl_ok(["publish", "a", PORT]);
    // IPv4 and IPv6 sockets, by several addresses of the host.
    let dialled =
        ["127.0.0.1:5353", "[::ffff:127.0.0.1]:5353", "198.18.0.1:5353", "[::1]:5353", "[2001:db8:18::1]:5353"]
            .map(|text| text.parse().unwrap());
    let mut programs = dialled.map(|address| Chat::new(&world, address));
    programs.iter_mut().for_each(|program| program.reaches("a"));
    moves(&world, PORT);
    programs.iter_mut().for_each(Chat::is_ended);
    for address in dialled {
        Chat::new(&world, address).reaches("b");
    }
}

#[test]
fn a_program_that_came_another_way_stays() {
    let world = World::new();
    let ([a, _b], _servers) = two(&world);
    world.netctl_ok(["publish", "a", PORT, "127.0.0.1:5354:53/udp"]);
    let mut moved = Chat::new(&world, at(Ipv4Addr::LOCALHOST, 5353));
    let mut by_another_port = Chat::new(&world, at(Ipv4Addr::LOCALHOST, 5354));
    let mut by_its_own_address = Chat::new(&world, a.at(53));
    let mut programs = [&mut moved, &mut by_another_port, &mut by_its_own_address];
    programs.iter_mut().for_each(|program| program.reaches("a"));
    moves(&world, PORT);
    moved.is_ended();
    by_another_port.reaches("a");
    by_its_own_address.reaches("a");
}

#[test]
fn a_port_that_leads_to_the_same_container_ends_nothing() {
    let world = World::new();
    let (_containers, _servers) = two(&world);
    world.netctl_ok(["publish", "a", "127.0.0.1:5353:53/udp", "198.18.0.1:5353:53/udp"]);
    let mut stays = Chat::new(&world, at(Ipv4Addr::LOCALHOST, 5353));
    let mut moves = Chat::new(&world, at(HOST, 5353));
    stays.reaches("a");
    moves.reaches("a");
    world.netctl_ok(["unpublish", "a", "198.18.0.1:5353:53/udp"]);
    moves.is_ended();
    stays.reaches("a");
}

#[test]
fn a_client_outside_reaches_the_other_with_its_next_datagrams() {
    let world = World::new();
    let containers = world.pair_on_as("dual", &["--ipv6"], ["a", "b"]);
    // By IPv6 too, and by IPv6 where the other has IPv4 only.
    let c = world.plain("c");
    let _servers = containers.each_ref().map(|container| {
        let at_each = [container.at(53), container.at6(53)].map(|at| format!("udp/{at}"));
        world.serve(&container.place, &container.name, &[&at_each[0], &at_each[1]])
    });
    let server_of_c = world.serve(&c.place, "c", &["udp/0.0.0.0:53"]);
    world.netctl_ok(["publish", "a", PORT]);
    let clients = [(IpAddr::from(OUTSIDE), IpAddr::from(HOST)), (OUTSIDE6.into(), HOST6.into())].map(|(from, to)| {
        let socket = world.outside.run(|| probe::udp_from(at(from, 4000))).expect("a socket");
        socket.connect(at(to, 5353)).expect("a route");
        assert_eq!(probe::ask(&socket).expect("a answers").server, "a");
        socket
    });
    moves(&world, PORT);
    for client in &clients {
        for _ in 0..3 {
            let reply = probe::ask(client).expect("b answers");
            let own = client.local_addr().expect("an address");
            assert_eq!((reply.server.as_str(), reply.seen_as), ("b", own));
        }
    }
    world.netctl_ok(["unpublish", "b", PORT]);
    for client in &clients {
        let told = probe::ask(client).expect_err("nobody has the port");
        assert_eq!(told.kind(), io::ErrorKind::ConnectionRefused, "{told}");
    }
    world.netctl_ok(["publish", "c", PORT]);
    for client in &clients {
        assert_eq!(probe::ask(client).expect("c answers").server, "c");
    }
    // Its removal alone is enough.
    drop(server_of_c);
    drop(c);
    world.netctl_ok(["container", "rm", "c"]);
    for client in &clients {
        assert_eq!(probe::ask(client).expect_err("nobody has the port").kind(), io::ErrorKind::ConnectionRefused);
    }
}

#[test]
fn flushed_flows_are_forgotten_and_begin_again() {
    let world = World::new();
    let (_containers, _servers) = two(&world);
    world.netctl_ok(["publish", "a", PORT]);
    world.netctl_ok(["publish", "b", "5354:53/udp"]);
    let ask = |port: u16| world.outside.run(|| probe::dial(Mode::UdpConnected, at(HOST, port))).expect("an answer");
    let owners = || {
        let mut owners: Vec<String> =
            world.flows().iter().map(|flow| flow["container"].as_str().expect("a name").to_owned()).collect();
        owners.sort_unstable();
        owners
    };
    // A count that was dear is good for a while.
    let has_entries = |expected: u64| {
        let maps = world.netctl_json(["status"])["maps"].clone();
        let flows = maps.as_array().expect("maps").iter().find(|map| map["name"] == "FLOWS").cloned();
        flows.expect("FLOWS")["entries"] == expected
    };
    for port in [5353, 5353, 5354] {
        ask(port);
    }
    let held = world.outside.run(|| probe::udp_from(at(OUTSIDE, 4000))).expect("a socket");
    held.connect(at(HOST, 5353)).expect("connected");
    assert_eq!(probe::ask(&held).expect("a answers").server, "a");
    assert_eq!(owners(), ["a", "a", "a", "b"]);
    wait_until("both entries of each flow", PATIENCE, || has_entries(8));

    assert_eq!(world.netctl_json(["flow", "flush", "a"])["flushed"], 3);
    assert_eq!(owners(), ["b"]);
    wait_until("both entries of a flow go", PATIENCE, || has_entries(2));
    assert_eq!(probe::ask(&held).expect("a answers").server, "a");
    assert_eq!(owners(), ["a", "b"]);

    assert_eq!(world.netctl_ok(["flow", "flush"]), "2 flushed\n");
    assert!(owners().is_empty());
    wait_until("an empty table", PATIENCE, || has_entries(0));
    assert!(world.netctl_refused(["flow", "flush", "c"]).contains("no container named \"c\""));
}
