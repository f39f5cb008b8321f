//! Does a connection live as long as its ends say, and no longer than it must? Scenarios O9, O10 and P9.

use netd_tests::frame::{Wire, contains};
use netd_tests::packet::{Ip, RST, SYN, TCP};
use netd_tests::probe::{self, stream::Connection};
use netd_tests::world::{
    HOST, HOST6, OUTLINK, OUTSIDE, OUTSIDE_SECOND, OUTSIDE6, OUTSIDE6_SECOND, Place, Process, UPLINK, World, at,
    is_counted,
};
use netd_tests::{holds_within, seconds, wait_until};
use serde_json::Value;
use std::collections::BTreeSet;
use std::io::{ErrorKind, Read, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::os::fd::AsRawFd;
use std::time::Duration;

/// A pass over the flow table comes every five seconds.
const PASS: Duration = seconds(20);
/// Whatever a live connection has to say, it says within this.
const SOON: Duration = seconds(3);

/// One way for a connection that is translated.
struct Way {
    name: &'static str,
    client: Place,
    /// Where the client may dial from.
    sources: [IpAddr; 2],
    dialled: SocketAddr,
    server: Place,
    listening: SocketAddr,
}

/// A world of networks with these options, and every way: masqueraded and published, in both families and between them.
fn ways(options: &[&str]) -> (World, [Way; 5]) {
    let world = World::new();
    let options: Vec<&str> = options.iter().flat_map(|option| ["--opt", option]).collect();
    for words in [&["dual", "--ipv6"][..], &["four"]] {
        world.netctl_ok(["network", "create"].iter().chain(words).chain(&options));
    }
    let [client, web] = ["client", "web"].map(|name| world.container(name, ["--network", "dual"]));
    let old = world.container("old", ["--network", "four"]);
    world.netctl_ok(["publish", "web", "8080:80"]);
    world.netctl_ok(["publish", "old", "8081:80"]);
    let (any, any6) = (IpAddr::from(Ipv4Addr::UNSPECIFIED), IpAddr::from(Ipv6Addr::UNSPECIFIED));
    let outside = [IpAddr::from(OUTSIDE), OUTSIDE_SECOND.into()];
    let outside6 = [IpAddr::from(OUTSIDE6), OUTSIDE6_SECOND.into()];
    let way = |name, client: &Place, sources, dialled, server: &Place, listening| {
        let (client, server) = (client.clone(), server.clone());
        Way { name, client, sources, dialled, server, listening }
    };
    let ways = [
        way("masqueraded", &client.place, [client.ip.into(); 2], at(OUTSIDE, 90), &world.outside, at(any, 90)),
        way("masqueraded v6", &client.place, [client.ip6.into(); 2], at(OUTSIDE6, 90), &world.outside, at(any6, 90)),
        way("published", &world.outside, outside, at(HOST, 8080), &web.place, at(any, 80)),
        way("published v6", &world.outside, outside6, at(HOST6, 8080), &web.place, at(any6, 80)),
        way("published v6 to v4", &world.outside, outside6, at(HOST6, 8081), &old.place, at(any, 80)),
    ];
    (world, ways)
}

impl Way {
    #[track_caller]
    fn open(&self) -> Connection {
        let mut opened = Err(ErrorKind::AddrInUse.into());
        // A program that is being started may hold a copy of the former listener for a moment.
        holds_within(SOON, || {
            opened = Connection::open(&self.client, self.dialled, &self.server, self.listening);
            !opened.as_ref().is_err_and(|error| error.kind() == ErrorKind::AddrInUse)
        });
        opened.unwrap_or_else(|error: std::io::Error| panic!("{}: {error}", self.name))
    }

    fn serve(&self, world: &World) -> Process {
        world.serve(&self.server, "server", &[&format!("tcp/{}", self.listening)])
    }
}

/// What netd says of the flow of a connection.
fn flow(world: &World, connection: &Connection) -> Option<Value> {
    let client = connection.client.local_addr().expect("an address").to_string();
    world.flows().into_iter().find(|flow| flow["protocol"] == "tcp" && flow["source"] == client)
}

/// How many flows have this tuple.
fn flows_of(world: &World, source: SocketAddr, destination: SocketAddr) -> usize {
    let (source, destination) = (source.to_string(), destination.to_string());
    world.flows().iter().filter(|flow| flow["source"] == source && flow["destination"] == destination).count()
}

#[track_caller]
fn is_in(world: &World, connection: &Connection, state: &str, when: &str) {
    let mut seen = None;
    let is_so = holds_within(SOON, || {
        seen = flow(world, connection);
        seen.as_ref().is_some_and(|flow| flow["state"] == state)
    });
    assert!(is_so, "{when}: not {state}: {seen:?}");
}

fn say(mut from: &TcpStream, mut to: &TcpStream, what: &[u8]) -> std::io::Result<()> {
    from.write_all(what)?;
    let mut heard = vec![0; what.len()];
    to.read_exact(&mut heard)?;
    if heard == what { Ok(()) } else { Err(ErrorKind::InvalidData.into()) }
}

#[track_caller]
fn talk(connection: &Connection, when: &str) {
    let Connection { client, server } = connection;
    say(client, server, b"a question").unwrap_or_else(|error| panic!("{when}, to the server: {error}"));
    say(server, client, b"an answer").unwrap_or_else(|error| panic!("{when}, to the client: {error}"));
}

#[track_caller]
fn ends(mut stream: &TcpStream, when: &str) {
    assert_eq!(stream.read(&mut [0; 8]).map_err(|error| error.to_string()), Ok(0), "{when}");
}

#[test]
fn o9_either_end_closes_first() {
    let (world, ways) = ways(&["timeout-tcp-closing=1s"]);
    for way in &ways {
        for client_first in [true, false] {
            let when = format!("{}, the client first: {client_first}", way.name);
            let connection = way.open();
            talk(&connection, &when);
            is_in(&world, &connection, "established", &when);
            let Connection { client, server } = &connection;
            let (first, second) = if client_first { (client, server) } else { (server, client) };
            first.shutdown(Shutdown::Write).expect("a FIN");
            ends(second, &when);
            is_in(&world, &connection, "half-closed", &when);
            // Half of it is open for as long as its end wants.
            say(second, first, b"to the other half").unwrap_or_else(|error| panic!("{when}: {error}"));
            second.shutdown(Shutdown::Write).expect("a FIN");
            ends(first, &when);
            is_in(&world, &connection, "closing", &when);
        }
    }
    wait_until("none is kept", PASS, || world.flows().is_empty());
}

#[test]
fn o9_both_ends_close_at_once() {
    let (world, ways) = ways(&[]);
    // What was lost on the way is sent again, and crosses.
    world.outside.sh("nft add table inet lossy
         nft 'add chain inet lossy in { type filter hook input priority 0; }'
         nft 'add chain inet lossy out { type filter hook output priority 0; }'");
    for way in &ways {
        let connection = way.open();
        talk(&connection, way.name);
        world.outside.sh("for chain in in out; do nft add rule inet lossy $chain 'tcp flags & fin == fin drop'; done");
        let Connection { client, server } = &connection;
        for end in [client, server] {
            end.shutdown(Shutdown::Write).expect("a FIN");
        }
        assert_eq!([client, server].map(tcp_state), [FIN_WAIT_1; 2], "{}: neither has seen the other's", way.name);
        world.outside.sh("nft flush table inet lossy");
        for end in [client, server] {
            ends(end, way.name);
        }
        is_in(&world, &connection, "closing", way.name);
    }
}

#[test]
fn o9_an_end_that_is_gone_without_a_word() {
    let (world, ways) = ways(&["timeout-tcp-closing=1s"]);
    for way in &ways {
        for client_is_gone in [true, false] {
            let when = format!("{}, the client is gone: {client_is_gone}", way.name);
            let connection = way.open();
            talk(&connection, &when);
            let Connection { client, server } = connection;
            let (gone, mut left) = if client_is_gone { (client, server) } else { (server, client) };
            vanish(&gone);
            left.write_all(b"still there?").expect("it cannot know yet");
            let told = left.read(&mut [0; 8]).expect_err("the other end has no such connection");
            assert_eq!(told.kind(), ErrorKind::ConnectionReset, "{when}");
        }
    }
    wait_until("none is kept", PASS, || world.flows().is_empty());
}

#[test]
fn o9_a_stray_reset_ends_nothing() {
    let (world, ways) = ways(&[]);
    let outside = Wire::open(&world.outside, OUTLINK);
    let host_mac = Wire::open(&world.host, UPLINK).mac;
    for way in &ways {
        let connection = way.open();
        talk(&connection, way.name);
        // As the outside would send it, with a number that no window has.
        let (source, destination) = if way.name.starts_with("masqueraded") {
            (way.dialled, connection.server.peer_addr().expect("an address"))
        } else {
            (connection.client.local_addr().expect("an address"), way.dialled)
        };
        let ip = Ip::new(source.ip(), destination.ip());
        let next = sequence(&connection, source);
        let segment = ip.tcp([source.port(), destination.port()], [next.wrapping_sub(1 << 30), 0], RST, b"");
        outside.send_to(host_mac, &ip.packet(TCP, &segment));
        is_in(&world, &connection, "closing", way.name);
        talk(&connection, way.name);
        is_in(&world, &connection, "established", way.name);
        connection.upload(1 << 20).unwrap_or_else(|error| panic!("{}: {error}", way.name));
        // And one that is none: the right number.
        let reader = if way.name.starts_with("masqueraded") { &connection.client } else { &connection.server };
        let segment = ip.tcp([source.port(), destination.port()], [sequence(&connection, source), 0], RST, b"");
        outside.send_to(host_mac, &ip.packet(TCP, &segment));
        let told = (&mut &*reader).read(&mut [0; 8]).expect_err("a reset");
        assert_eq!(told.kind(), ErrorKind::ConnectionReset, "{}", way.name);
    }
}

#[test]
fn o9_p9_a_port_that_is_used_again_at_once() {
    const PORT: u16 = 5000;
    let (world, ways) = ways(&[]);
    for way in &ways {
        let listener = way.server.run(|| TcpListener::bind(way.listening)).expect("a listener");
        let source = at(way.sources[0], PORT);
        let mut seen = BTreeSet::new();
        for turn in 0..6 {
            let when = format!("{}, turn {turn}", way.name);
            let dialled = way.client.run(|| probe::tcp_from(source, way.dialled));
            let client = dialled.unwrap_or_else(|error| panic!("{when}: {error}"));
            let (server, peer) = listener.accept().expect("the connection");
            seen.insert(peer);
            let connection = Connection { client, server };
            talk(&connection, &when);
            let Connection { client, server } = connection;
            if turn % 3 == 0 {
                // Closed by a reset: nobody lingers.
                set_linger(&client);
                drop(client);
                let told = (&mut &server).read(&mut [0; 8]).expect_err("a reset");
                assert_eq!(told.kind(), ErrorKind::ConnectionReset, "{when}");
            } else {
                // Who closes first lingers in TIME_WAIT, and a new SYN ends that (RFC 6191).
                server.shutdown(Shutdown::Write).expect("a FIN");
                ends(&client, &when);
                drop(client);
                ends(&server, &when);
            }
        }
        assert_eq!(seen.len(), 1, "{}: the same every time: {seen:?}", way.name);
        assert_eq!(flows_of(&world, source, way.dialled), 1, "{}", way.name);
    }
}

#[test]
fn o10_whoever_opened_it_goes_on_after_idleness() {
    let (world, ways) = ways(&["timeout-tcp-established=1s"]);
    let connections = ways.each_ref().map(Way::open);
    for (way, connection) in ways.iter().zip(&connections) {
        talk(connection, way.name);
    }
    wait_until("all are forgotten", PASS, || world.flows().is_empty());
    for (way, connection) in ways.iter().zip(&connections) {
        talk(connection, way.name);
        connection.download(1 << 20).unwrap_or_else(|error| panic!("{}: {error}", way.name));
        is_in(&world, connection, "established", way.name);
    }
}

/// The answerer is the first to speak after its flow has been forgotten: nobody knows any more whom it means. It is told so,
/// and then so is the other: neither waits for ever. (netfilter, whose table has nothing to say either, does the same.)
#[test]
fn o10_whoever_answered_is_told_after_idleness() {
    let (world, ways) = ways(&["timeout-tcp-established=1s"]);
    let connections = ways.each_ref().map(Way::open);
    for (way, connection) in ways.iter().zip(&connections) {
        talk(connection, way.name);
    }
    wait_until("all are forgotten", PASS, || world.flows().is_empty());
    for (way, Connection { client, server }) in ways.iter().zip(&connections).take(4) {
        for mut end in [server, client] {
            end.write_all(b"still there?").unwrap_or_else(|error| panic!("{}: {error}", way.name));
            let told = end.read(&mut [0; 8]).expect_err("nobody is there");
            assert_eq!(told.kind(), ErrorKind::ConnectionReset, "{}", way.name);
        }
    }
    // Nobody outside has the address that stands for clients of IPv6, so here it can wait until the client speaks.
    let before = world.counters();
    let Connection { client, server } = &connections[4];
    let (mut client, mut server): (&TcpStream, &TcpStream) = (client, server);
    server.write_all(b"still there?").expect("it cannot know yet");
    assert!(is_counted(&world, &before, "container_egress", "NoFlow", 1), "{:?}", world.counters().since(&before));
    say(client, server, b"yes").expect("the flow is there again");
    let mut heard = [0; 12];
    client.read_exact(&mut heard).expect("what was said meanwhile");
    assert_eq!(&heard, b"still there?");
}

#[test]
fn p9_a_repeated_syn_goes_to_the_same_place() {
    let (world, ways) = ways(&[]);
    let outside = Wire::open(&world.outside, OUTLINK);
    let host_mac = Wire::open(&world.host, UPLINK).mac;
    for way in &ways[2..] {
        let inside = Wire::open(&way.server, "eth0");
        // By its sequence number the SYN is known again, whatever its addresses and ports have become.
        const SEQUENCE: u32 = 0x7a7a_1234;
        let ip = Ip::new(way.sources[0], way.dialled.ip());
        let segment = ip.tcp([4000, way.dialled.port()], [SEQUENCE, 0], SYN, b"");
        let arrives = || {
            outside.send_to(host_mac, &ip.packet(TCP, &segment));
            let is_ours = |bytes: &[u8]| bytes[6..12] != inside.mac && contains(bytes, &SEQUENCE.to_be_bytes());
            let seen = inside.wait_for(SOON, |seen| is_ours(&seen.bytes)).expect("a SYN");
            seen.bytes
        };
        let first = arrives();
        for _ in 0..3 {
            assert_eq!(arrives(), first, "{}", way.name);
        }
        assert_eq!(flows_of(&world, at(way.sources[0], 4000), way.dialled), 1, "{}", way.name);
    }
}

#[test]
fn p9_many_clients_at_once_behind_one_address() {
    const CLIENTS: u16 = 100;
    let (world, ways) = ways(&[]);
    for way in &ways[2..] {
        let _server = way.serve(&world);
        // Two addresses with the same ports each.
        let streams: Vec<TcpStream> = (0..CLIENTS)
            .flat_map(|client| way.sources.map(|source| at(source, 20_000 + client)))
            .map(|source| {
                let dialled = way.client.run(|| probe::tcp_from(source, way.dialled));
                dialled.unwrap_or_else(|error| panic!("{} from {source}: {error}", way.name))
            })
            .collect();
        let seen: BTreeSet<SocketAddr> = streams
            .iter()
            .map(|stream| probe::exchange(stream).unwrap_or_else(|error| panic!("{}: {error}", way.name)).seen_as)
            .collect();
        assert_eq!(seen.len(), streams.len(), "{}: each is another to the server", way.name);
        for (number, stream) in streams.iter().enumerate() {
            let word = format!("{number:08}");
            say(stream, stream, word.as_bytes()).unwrap_or_else(|error| panic!("{}: {error}", way.name));
        }
    }
}

/// Ends a connection at one end, without a word: a socket under repair says nothing when it is disconnected (`TCP_REPAIR`,
/// Linux 3.5). Not closed, since a program that is being started may hold a copy of it for a moment.
fn vanish(stream: &TcpStream) {
    probe::set_option(stream, libc::IPPROTO_TCP, libc::TCP_REPAIR, 1).expect("CAP_NET_ADMIN");
    let family = libc::sa_family_t::try_from(libc::AF_UNSPEC).expect("a small number");
    let nobody = libc::sockaddr { sa_family: family, sa_data: [0; 14] };
    let size = libc::socklen_t::try_from(size_of::<libc::sockaddr>()).expect("a small size");
    // SAFETY: `nobody` outlives the call, which reads `size` bytes of it.
    let result = unsafe { libc::connect(stream.as_raw_fd(), &raw const nobody, size) };
    assert_eq!(result, 0, "connect(2): {}", std::io::Error::last_os_error());
}

/// Has the socket send a reset when it is closed.
fn set_linger(stream: &TcpStream) {
    let linger = libc::linger { l_onoff: 1, l_linger: 0 };
    let size = libc::socklen_t::try_from(size_of::<libc::linger>()).expect("a small size");
    let (level, option) = (libc::SOL_SOCKET, libc::SO_LINGER);
    // SAFETY: `linger` outlives the call, which reads `size` bytes of it.
    let result = unsafe { libc::setsockopt(stream.as_raw_fd(), level, option, (&raw const linger).cast(), size) };
    assert_eq!(result, 0, "SO_LINGER: {}", std::io::Error::last_os_error());
}

const FIN_WAIT_1: u8 = 4;

/// The state that the kernel has a connection in (`tcpi_state` of tcp(7)).
fn tcp_state(stream: &TcpStream) -> u8 {
    let mut info = [0_u8; 1];
    let mut size = 1;
    // SAFETY: `info` has room for `size` bytes.
    let result = unsafe {
        libc::getsockopt(stream.as_raw_fd(), libc::IPPROTO_TCP, libc::TCP_INFO, info.as_mut_ptr().cast(), &raw mut size)
    };
    assert_eq!(result, 0, "TCP_INFO: {}", std::io::Error::last_os_error());
    info[0]
}

/// The number that the next segment from `source` has.
fn sequence(connection: &Connection, source: SocketAddr) -> u32 {
    const TCP_REPAIR_QUEUE: i32 = 20;
    const TCP_QUEUE_SEQ: i32 = 21;
    const SEND_QUEUE: i32 = 2;
    let is_client = connection.client.local_addr().is_ok_and(|local| local == source);
    let stream = if is_client { &connection.client } else { &connection.server };
    let set = |option, value| probe::set_option(stream, libc::IPPROTO_TCP, option, value).expect("TCP_REPAIR");
    set(libc::TCP_REPAIR, 1);
    set(TCP_REPAIR_QUEUE, SEND_QUEUE);
    let mut next = 0_u32;
    let mut size = libc::socklen_t::try_from(size_of::<u32>()).expect("a small size");
    // SAFETY: `next` has room for `size` bytes.
    let result = unsafe {
        libc::getsockopt(stream.as_raw_fd(), libc::IPPROTO_TCP, TCP_QUEUE_SEQ, (&raw mut next).cast(), &raw mut size)
    };
    assert_eq!(result, 0, "TCP_QUEUE_SEQ: {}", std::io::Error::last_os_error());
    // Off without a probe of the window (`TCP_REPAIR_OFF_NO_WP`).
    set(libc::TCP_REPAIR, -1);
    next
}
