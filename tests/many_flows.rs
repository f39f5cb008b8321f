//! Are there source ports for as many flows at once as one address has, and what when there are no more? Scenarios O3, O4
//! and O5.

use netd_tests::probe::{self, Mode, crowd::Crowd};
use netd_tests::world::{Container, HOST, HOST6, OUTSIDE, OUTSIDE_SECOND, OUTSIDE6, OUTSIDE6_SECOND, Place, World, at};
use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::thread::JoinHandle;
use std::time::Instant;

const SERVER: u16 = 53;
/// Of the host's sockets.
const OWN: usize = 500;
/// Of each of four programs, two in each of two containers.
const QUARTER: usize = 15_000;
/// Ports of an address that a flow may be given.
const PORTS: usize = 65_536 - netd_common::limits::SNAT_PORT_MIN as usize;

#[test]
fn o3_o4_sixty_thousand_flows_to_one_port_and_what_comes_after() {
    sixty_thousand(OUTSIDE.into(), OUTSIDE_SECOND.into(), HOST.into(), |container| container.ip.into());
}

#[test]
fn o3_o4_sixty_thousand_flows_of_ipv6() {
    sixty_thousand(OUTSIDE6.into(), OUTSIDE6_SECOND.into(), HOST6.into(), |container| container.ip6.into());
}

#[track_caller]
fn sixty_thousand(far: IpAddr, far_2: IpAddr, host_ip: IpAddr, ip_of: fn(&Container) -> IpAddr) {
    let mut world = World::without_netd();
    world.flows_max = 262_144;
    world.start();
    let [first, second] = world.pair_on_as("dual", &["--ipv6"], ["first", "second"]);
    let server = Server::start(&world.outside, at(far, SERVER));
    let crowd = |place: &Place, ip: IpAddr, port, size| Crowd::start(place, ip, port, size, at(far, SERVER));

    let mut host = crowd(&world.host, host_ip, 50_000, OWN);
    assert_eq!(host.answered(), OWN);
    // The containers have the same ports.
    let begun = Instant::now();
    let mut crowds = [(&first, 2_000), (&first, 17_000), (&second, 2_000), (&second, 17_000)]
        .map(|(container, port)| crowd(&container.place, ip_of(container), port, QUARTER));
    let answered = crowds.each_mut().map(Crowd::answered);
    assert_eq!(answered, [QUARTER; 4], "all at once");
    eprintln!("{} flows in {:?}", 4 * QUARTER, begun.elapsed());
    assert_eq!(tries(&world, "none"), 0);
    let histogram: Vec<String> = ["1", "2", "3-4", "5-8", "9-16", "17-32", "33-64", "65-128", "129-256", "none"]
        .map(|count| format!("{count}: {}", tries(&world, count)))
        .into();
    eprintln!("tries {}", histogram.join(", "));
    assert!(tries(&world, "1") > 15_000 && tries(&world, "33-64") > 0, "{}", world.netctl_ok(["stats"]));

    // There are not as many ports as these ask for.
    let begun = Instant::now();
    let mut late = crowd(&first.place, ip_of(&first), 33_000, 9_000);
    let answered = late.answered();
    let refused = late.size - answered;
    assert!(4 * QUARTER + OWN + answered > PORTS * 99 / 100, "only {answered} more");
    assert_eq!(world.counter("container_egress", "SnatExhausted"), refused as u64);
    assert_eq!(tries(&world, "none"), refused as u64);
    eprintln!("{answered} of {} more in {:?}", late.size, begun.elapsed());
    assert_eq!(host.ask(1), OWN, "the host keeps its own");
    assert_eq!(crowds.each_mut().map(|crowd| crowd.ask(50)), [QUARTER / 50; 4], "those that were there live");
    let other = world.serve(&world.outside, "other", &[&format!("udp/{}", at(far_2, SERVER))]);
    let reply = first.place.run(|| probe::dial(Mode::UdpConnected, at(far_2, SERVER)));
    assert!(reply.is_ok(), "each remote has its own: {reply:?}");
    drop(other);

    let begun = Instant::now();
    world.netctl_ok(["container", "rm", "second"]);
    eprintln!("{} flows forgotten in {:?}", 2 * QUARTER, begun.elapsed());
    let mut more = crowd(&first.place, ip_of(&first), 42_000, 5_000);
    assert_eq!(more.answered(), more.size, "there is room again");
    assert_eq!(crowds[..2].iter_mut().map(|crowd| crowd.ask(50)).sum::<usize>(), 2 * QUARTER / 50);
    drop((crowds, late, more, host));
    let seen = server.end();
    assert!(seen.iter().all(|client| client.ip() == host_ip));
    eprintln!("{} ports of {PORTS} were used", seen.len());
    assert!(seen.len() > PORTS * 99 / 100, "only {} ports", seen.len());
}

#[test]
fn o5_pings_by_ipv6_with_one_id_get_their_own_replies() {
    let world = World::new();
    let [first, second] = world.pair_on("dual", &["--ipv6"]);
    let target = OUTSIDE6.to_string();
    let places = [&first.place, &second.place, &world.host];
    let pings = places.map(|place| place.start(["ping", "-e", "777", "-c", "10", "-i", "0.05", "-W", "2", &target]));
    for (ping, place) in pings.into_iter().zip(places) {
        let finished = ping.finish();
        assert!(finished.stdout.contains("10 received") && !finished.stdout.contains("DUP"), "{place:?}: {finished}");
    }
}

/// Flows that found their port after this many tries.
fn tries(world: &World, count: &str) -> u64 {
    world.counter("snat_tries", count)
}

/// A UDP server that sends everything back, and notes its clients.
struct Server {
    address: SocketAddr,
    socket: UdpSocket,
    thread: JoinHandle<BTreeSet<SocketAddr>>,
}

impl Server {
    fn start(place: &Place, address: SocketAddr) -> Self {
        let socket = place.run(|| UdpSocket::bind(address)).expect("a socket");
        probe::set_option(&socket, libc::SOL_SOCKET, libc::SO_RCVBUFFORCE, 64 << 20).expect("room for many at once");
        let serving = socket.try_clone().expect("a descriptor");
        let thread = std::thread::spawn(move || {
            let mut seen = BTreeSet::new();
            let mut buffer = [0; 64];
            loop {
                // An ICMP error that a client's end has caused is none of the server's.
                let Ok((length, client)) = serving.recv_from(&mut buffer) else { continue };
                if &buffer[..length] == b"end" {
                    return seen;
                }
                seen.insert(client);
                let _ = serving.send_to(&buffer[..length], client);
            }
        });
        Self { address, socket, thread }
    }

    /// Its clients.
    fn end(self) -> BTreeSet<SocketAddr> {
        self.socket.send_to(b"end", self.address).expect("a datagram to itself");
        self.thread.join().expect("the server")
    }
}
