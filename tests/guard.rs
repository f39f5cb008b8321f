//! Do published ports and uplinks let in whom they should, and nobody else?

use netd_tests::frame::{Ends, Wire};
use netd_tests::probe::hammer::Hammer;
use netd_tests::probe::{self, Mode, stream};
use netd_tests::world::{
    Container, ForeignProgram, HOST, HOST6, OUTSIDE, OUTSIDE_SECOND, OUTSIDE6, OUTSIDE6_SECOND, Place, Process, UPLINK,
    World, at, is_counted,
};
use netd_tests::{seconds, wait_until};
use serde_json::{Value, json};
use std::fs::{File, OpenOptions};
use std::io::{Read, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, TcpStream};
use std::os::fd::AsRawFd;
use std::time::{Duration, Instant};

const BOTH: [&str; 2] = ["tcp/0.0.0.0:80", "udp/0.0.0.0:80"];
/// For what only a full pass finds.
const PASS: Duration = seconds(40);
/// For what the collection of garbage finds.
const COLLECTED: Duration = seconds(15);
/// Nobody's.
const ELSEWHERE: &str = "203.0.113.0/24";

#[test]
fn a_published_port_lets_in_who_is_on_its_list() {
    let world = World::new();
    let (web, friend, other) = (world.plain("web"), world.plain("friend"), world.plain("other"));
    let _server = world.serve(&web.place, "web", &BOTH);
    let [outside, friends] = [OUTSIDE, friend.ip].map(|ip| ip.to_string());
    world.netctl_ok(["publish", "web", "8080:80", "8080:80/udp", "--allow", &outside, "--allow", &friends]);
    for mode in Mode::ALL {
        let reply = world.outside.run(|| probe::dial(mode, at(HOST, 8080)));
        assert_eq!(reply.unwrap_or_else(|error| panic!("{mode:?}: {error}")).server, "web");
        let reply = friend.place.run(|| probe::dial(mode, at(HOST, 8080)));
        assert_eq!(reply.unwrap_or_else(|error| panic!("{mode:?}: {error}")).server, "web");
        // The host's own programs are not held to it.
        assert_eq!(world.dial_from_host(mode, at(Ipv4Addr::LOCALHOST, 8080)).expect("an answer").server, "web");
    }
    let before = world.counters();
    assert!(!reaches(&world.outside, OUTSIDE_SECOND, at(HOST, 8080)));
    assert!(is_counted(&world, &before, "uplink_ingress", "NotAllowed", 2), "{:?}", world.counters().since(&before));
    assert!(!reaches(&other.place, other.ip, at(HOST, 8080)), "a container is a client like any other");
    assert!(!reaches(&web.place, web.ip, at(HOST, 8080)), "and so is the one that answers");
    assert!(is_counted(&world, &before, "container_egress", "NotAllowed", 4), "{:?}", world.counters().since(&before));
    let clients = [OUTSIDE_SECOND, other.ip, web.ip].map(|ip| format!("{ip}:"));
    for flow in world.flows() {
        let source = flow["source"].as_str().expect("a source");
        assert!(
            !clients.iter().any(|client| source.starts_with(client)),
            "there is a flow of who may not come: {flow}"
        );
    }
    let allow = json!([format!("{}/32", friend.ip), format!("{OUTSIDE}/32")]);
    assert_eq!(world.netctl_json(["port", "ls"])[0]["allow"], allow);
    assert_eq!(world.inspect("web").json["publishes"][0]["allow"], allow);
    let table = world.netctl_ok(["port", "ls"]);
    assert!(table.contains("ALLOW") && table.contains(&format!("{OUTSIDE}/32")), "{table}");
}

#[test]
fn a_list_is_of_both_families() {
    let world = World::new();
    let [dual, _] = world.pair_on("dual", &["--ipv6"]);
    // The second has IPv4 only: an IPv6 client's packets are translated, and the list is asked about the client itself.
    let plain = world.plain("plain");
    let servers = ["tcp/0.0.0.0:80", "tcp/[::]:80"];
    let _servers = [world.serve(&dual.place, "web", &servers[1..]), world.serve(&plain.place, "plain", &servers[..1])];
    let clients: [IpAddr; 4] = [OUTSIDE.into(), OUTSIDE_SECOND.into(), OUTSIDE6.into(), OUTSIDE6_SECOND.into()];
    for (container, port) in [("web", 8080), ("plain", 9090)] {
        for (allow, who) in [
            (vec![], [true; 4]),
            (vec!["198.18.0.2".to_owned(), OUTSIDE6_SECOND.to_string()], [true, false, false, true]),
            (vec!["::/0".to_owned()], [false, false, true, true]),
            (vec!["0.0.0.0/0".to_owned()], [true, true, false, false]),
            (vec!["2001:db8:18::2/127".to_owned(), "10.0.0.0/8".to_owned()], [false, false, true, true]),
            (vec!["2001:db8::/33".to_owned(), "198.18.0.3".to_owned()], [false, true, true, true]),
        ] {
            let spec = format!("{port}:80");
            let options = allow.iter().flat_map(|prefix| ["--allow", prefix]);
            world.netctl_ok(["publish", container, &spec].into_iter().chain(options));
            let reach = |client: IpAddr| {
                let to: IpAddr = if client.is_ipv4() { HOST.into() } else { HOST6.into() };
                reaches(&world.outside, client, at(to, port))
            };
            // Side by side: who is refused waits for an answer that never comes.
            let reached = std::thread::scope(|scope| {
                let dials = clients.map(|client| scope.spawn(move || reach(client)));
                dials.map(|dial| dial.join().expect("an end"))
            });
            assert_eq!(reached, who, "{container} for {allow:?}, of {clients:?}");
        }
    }
}

#[test]
fn a_list_is_replaced_in_its_place() {
    let (world, _web, _server) = world_with_web();
    let allow = |clients: &[&str]| {
        let options = clients.iter().flat_map(|client| ["--allow", client]);
        world.netctl_ok(["publish", "web", "8080:80", "8080:80/udp"].into_iter().chain(options));
    };
    let (both, first) = (["198.18.0.2/31"], ["198.18.0.2", "198.51.100.0/24"]);
    allow(&both);
    let mut kept = connection(&world.outside, OUTSIDE);
    let mut lost = connection(&world.outside, OUTSIDE_SECOND);
    let datagrams = world.outside.run(|| probe::udp_from(at(OUTSIDE_SECOND, 5000))).expect("a socket");
    datagrams.connect(at(HOST, 8080)).expect("a route");
    assert_eq!(probe::ask(&datagrams).expect("an answer").server, "web");
    let client = Hammer::start(&world.outside, at(HOST, 8080));
    for _ in 0..10 {
        allow(&first);
        client.wait_for(5);
        allow(&both);
        client.wait_for(5);
    }
    allow(&first);
    assert!(!reaches(&world.outside, OUTSIDE_SECOND, at(HOST, 8080)), "new connections end at once");
    let tally = client.stop();
    assert_eq!(tally.failures(), 0, "who is on both lists notices nothing: {tally:?}");
    assert!(tally.successes() > 50, "{tally:?}");
    wait_until("the connections of others end, too", COLLECTED, || {
        world.flows().iter().all(|flow| !flow["source"].as_str().unwrap_or_default().starts_with("198.18.0.3:"))
    });
    lost.set_read_timeout(Some(seconds(1))).expect("a timeout");
    assert!(lost.write_all(b"x").is_err() || lost.read_exact(&mut [0]).is_err());
    datagrams.set_read_timeout(Some(seconds(1))).expect("a timeout");
    assert!(probe::ask(&datagrams).is_err());
    echoes(&mut kept);
    // To everybody again.
    world.netctl_ok(["publish", "web", "8080:80", "8080:80/udp"]);
    assert!(reaches(&world.outside, OUTSIDE_SECOND, at(HOST, 8080)));
    assert_eq!(world.netctl_json(["port", "ls"])[0]["allow"], json!([]));
    assert_eq!(entries(&world, "ALLOWED"), 0, "lists that no port names are gone");
}

#[test]
fn a_list_outlives_the_agent_and_drift() {
    let (world, _web, _server) = world_with_web();
    world.netctl_ok(["publish", "web", "8080:80", "--allow", "198.18.0.2", "--allow", "2001:db8::/32"]);
    world.kill9();
    assert!(
        reaches(&world.outside, OUTSIDE, at(HOST, 8080)) && !reaches(&world.outside, OUTSIDE_SECOND, at(HOST, 8080))
    );
    world.start();
    assert_eq!(world.steps_planned_on_start(), 0, "nothing was wrong");
    assert!(!reaches(&world.outside, OUTSIDE_SECOND, at(HOST, 8080)));
    assert_eq!(delete_entries(&world, "ALLOWED"), 2);
    wait_until("the list is back", PASS, || reaches(&world.outside, OUTSIDE, at(HOST, 8080)));
    assert_eq!(entries(&world, "ALLOWED"), 2);
}

#[test]
fn who_is_blocked_reaches_nothing() {
    let (world, web, _server) = world_with_web();
    let _host_server = world.serve(&world.host, "host", &["tcp/0.0.0.0:7000", "udp/0.0.0.0:7000"]);
    let ping = |from: Ipv4Addr| {
        let (from, to) = (from.to_string(), HOST.to_string());
        world.outside.exec(["ping", "-q", "-c2", "-i0.1", "-W1", "-I", &from, &to]).is_ok()
    };
    let url = format!("telnet://{HOST}:8080");
    let curl = |from: Ipv4Addr| {
        let script = format!("curl -s -m2 --interface {from} {url} </dev/null | head -c3");
        world.outside.exec(["sh", "-c", &script]).stdout == "web"
    };
    assert!(ping(OUTSIDE_SECOND) && curl(OUTSIDE_SECOND));
    let mut open = connection(&world.outside, OUTSIDE_SECOND);
    let mut other = connection(&world.outside, OUTSIDE);
    assert_eq!(xdp(&world, UPLINK), None, "there is nobody to hold up");

    let before = world.counters();
    assert_eq!(world.netctl_ok(["block", "198.18.0.3"]), "");
    assert!(!ping(OUTSIDE_SECOND) && !curl(OUTSIDE_SECOND), "new ones");
    assert!(ping(OUTSIDE) && curl(OUTSIDE), "others go on");
    assert!(!reaches(&world.outside, OUTSIDE_SECOND, at(HOST, 7000)), "the host's own ports, too");
    open.set_read_timeout(Some(seconds(1))).expect("a timeout");
    open.write_all(b"x").expect("sent");
    open.read_exact(&mut [0]).expect_err("what is open is held up");
    echoes(&mut other);
    bulk(&world, &web);
    assert!(is_counted(&world, &before, "xdp_guard", "Blocked", 4), "{:?}", world.counters().since(&before));
    let events = world.netctl_ok(["events"]);
    assert!(events.contains("Blocked: ") && events.contains("198.18.0.3 -> 198.18.0.1 at xdp_guard"), "{events}");
    assert!(events.contains("blocked 198.18.0.3/32 blocked"), "{events}");
    assert_eq!(world.netctl_json(["block", "ls"]), json!([{"prefix": "198.18.0.3/32", "status": "ready"}]));
    assert_eq!(world.netctl_ok(["block", "ls", "-q"]), "198.18.0.3/32\n");
    assert_eq!(xdp(&world, UPLINK).as_deref(), Some("xdpgeneric"));

    world.netctl_ok(["unblock", "198.18.0.3"]);
    assert_eq!(xdp(&world, UPLINK), None, "there is nobody to hold up any more");
    assert!(ping(OUTSIDE_SECOND) && curl(OUTSIDE_SECOND));
    open.set_read_timeout(Some(seconds(10))).expect("a timeout");
    open.read_exact(&mut [0]).expect("what waited arrives");
    echoes(&mut open);
}

#[test]
fn who_is_blocked_of_ipv6_reaches_nothing() {
    let world = World::new();
    let [web, client] = world.pair_on("dual", &["--ipv6"]);
    let plain = world.plain("plain");
    world.netctl_ok(["publish", "web", "8080:80", "8080:80/udp"]);
    world.netctl_ok(["publish", "plain", "9090:80"]);
    let far = [OUTSIDE6, OUTSIDE6_SECOND].map(|ip| format!("tcp/{}", at(ip, 80)));
    let _servers = [
        world.serve(&web.place, "web", &["tcp/[::]:80", "udp/[::]:80"]),
        world.serve(&plain.place, "plain", &BOTH),
        world.serve(&world.outside, "outside", &[&far[0], &far[1]]),
        world.serve(&world.host, "host", &[&format!("tcp/{}", at(HOST6, 7000))]),
    ];
    let asks = |from: Ipv6Addr| {
        let socket = world.outside.run(|| probe::udp_from(at(from, 0))).expect("a socket");
        socket.set_read_timeout(Some(seconds(1))).expect("a timeout");
        socket.connect(at(HOST6, 8080)).expect("a route");
        probe::ask(&socket).is_ok()
    };
    // What it reaches, and what reaches it.
    let reached = |from: Ipv6Addr| {
        let mut reached = [8080, 9090, 7000].map(|port| reaches(&world.outside, from, at(HOST6, port))).to_vec();
        reached.extend([asks(from), reaches(&client.place, client.ip6, at(from, 80))]);
        reached
    };
    assert_eq!(reached(OUTSIDE6_SECOND), [true; 5]);
    let mut open =
        world.outside.run(|| probe::tcp_from(at(OUTSIDE6_SECOND, 0), at(HOST6, 8080))).expect("a connection");
    probe::exchange(&open).expect("an exchange");
    let before = world.counters();
    world.netctl_ok(["block", &OUTSIDE6_SECOND.to_string()]);
    assert_eq!(reached(OUTSIDE6_SECOND), [false; 5]);
    assert_eq!(reached(OUTSIDE6), [true; 5], "others go on");
    open.set_read_timeout(Some(seconds(1))).expect("a timeout");
    open.write_all(b"still there?").expect("sent");
    open.read_exact(&mut [0]).expect_err("what is open is held up");
    assert!(is_counted(&world, &before, "xdp_guard", "Blocked", 5), "{:?}", world.counters().since(&before));
    world.netctl_ok(["unblock", "--all"]);
    open.set_read_timeout(Some(seconds(10))).expect("a timeout");
    open.read_exact(&mut [0; 12]).expect("what waited arrives");
    assert_eq!(reached(OUTSIDE6_SECOND), [true; 5]);
}

#[test]
fn a_list_holds_containers_to_it_by_ipv6() {
    let world = World::new();
    let [web, friend] = world.pair_on("dual", &["--ipv6"]);
    let other = world.container("other", ["--network", "dual"]);
    let _server = world.serve(&web.place, "web", &["tcp/[::]:80", "udp/[::]:80"]);
    world.netctl_ok(["publish", "web", "8080:80", "8080:80/udp", "--allow", &friend.ip6.to_string()]);
    for mode in Mode::ALL {
        let reply = friend.place.run(|| probe::dial(mode, at(HOST6, 8080)));
        assert_eq!(reply.unwrap_or_else(|error| panic!("{mode:?}: {error}")).server, "web");
        // The host's own programs are not held to it.
        assert_eq!(world.dial_from_host(mode, at(Ipv6Addr::LOCALHOST, 8080)).expect("an answer").server, "web");
    }
    let before = world.counters();
    assert!(!reaches(&other.place, other.ip6, at(HOST6, 8080)));
    assert!(!reaches(&friend.place, friend.ip, at(HOST, 8080)), "its other address is not on the list");
    assert!(!reaches(&world.outside, OUTSIDE6, at(HOST6, 8080)));
    let moved = world.counters().since(&before);
    assert!(
        moved.of("container_egress", "NotAllowed") >= 2 && moved.of("uplink_ingress", "NotAllowed") >= 1,
        "{moved:?}"
    );
}

#[test]
fn ipv6_is_blocked_by_itself() {
    let world = World::new();
    let ping = |from: &str| {
        let to = if from.contains(':') { "2001:db8:18::1" } else { "198.18.0.1" };
        world.outside.exec(["ping", "-q", "-c2", "-i0.1", "-W1", "-I", from, to]).is_ok()
    };
    wait_until("IPv6 works", seconds(5), || ping("2001:db8:18::2") && ping("2001:db8:18::3"));
    for (blocked, second, third) in [
        ("2001:db8:18::3", true, false),
        ("2001:db8:18::2/127", false, false),
        ("2001:db8:1::/48", true, true),
        ("::/0", false, false),
        ("::/2", false, false),
        ("0.0.0.0/0", true, true),
    ] {
        let before = world.counters();
        let told = world.netctl(["block", blocked]);
        assert!(told.is_ok(), "{told}");
        assert_eq!(told.stderr.contains("is everybody"), blocked.ends_with("/0"), "{told}");
        assert_eq!((ping("2001:db8:18::2"), ping("2001:db8:18::3")), (second, third), "{blocked} is blocked");
        assert_eq!(ping("198.18.0.2"), blocked != "0.0.0.0/0", "IPv4, while {blocked} is blocked");
        let is_counted = world.counters().since(&before).of("xdp_guard", "Blocked") > 0;
        assert_eq!(is_counted, blocked != "2001:db8:1::/48", "{blocked}");
        world.netctl_ok(["unblock", blocked]);
    }
    wait_until("IPv6 works again", seconds(5), || ping("2001:db8:18::2") && ping("2001:db8:18::3"));
    assert_eq!(entries(&world, "BLOCKED"), 0);
}

#[test]
fn blocking_outlives_the_agent() {
    let (world, _web, _server) = world_with_web();
    world.netctl_ok(["block", "198.18.0.3", ELSEWHERE, "2001:db8::/32"]);
    world.kill9();
    assert!(
        !reaches(&world.outside, OUTSIDE_SECOND, at(HOST, 8080)) && reaches(&world.outside, OUTSIDE, at(HOST, 8080))
    );
    world.start();
    assert_eq!(world.steps_planned_on_start(), 0, "nothing was wrong");
    assert!(!reaches(&world.outside, OUTSIDE_SECOND, at(HOST, 8080)));
    assert_eq!(entries(&world, "BLOCKED"), 3);
    assert_eq!(world.netctl_json(["block", "ls"]).as_array().map(Vec::len), Some(3));
    // Another layout of the maps: they are filled again, and the link gets the new program.
    assert!(world.stop());
    std::fs::rename(world.pins(), world.pins().with_file_name("v0")).expect("the former version's folder");
    assert!(!reaches(&world.outside, OUTSIDE_SECOND, at(HOST, 8080)), "while netd is away");
    world.start();
    assert!(world.steps_planned_on_start() > 0);
    assert!(
        !reaches(&world.outside, OUTSIDE_SECOND, at(HOST, 8080)) && reaches(&world.outside, OUTSIDE, at(HOST, 8080))
    );
    world.restart();
    assert_eq!(world.steps_planned_on_start(), 0, "and that was all");
}

#[test]
fn what_somebody_took_away_comes_back() {
    let (world, _web, _server) = world_with_web();
    world.netctl_ok(["block", "198.18.0.3", ELSEWHERE]);
    let reaches = || reaches(&world.outside, OUTSIDE_SECOND, at(HOST, 8080));
    assert!(!reaches());
    // Again when netd happened to look meanwhile.
    wait_until("the entries are gone", seconds(3), || delete_entries(&world, "BLOCKED") == 2 && reaches());
    wait_until("the entries are back", PASS, || !reaches());
    assert_eq!(entries(&world, "BLOCKED"), 2);
    let folder = world.pins().join("links");
    let link = std::fs::read_dir(folder).expect("pinned links").flatten().map(|entry| entry.path());
    let link = link.into_iter().find(|path| path.display().to_string().contains("xdp_guard")).expect("the guard's");
    wait_until("the guard is off", seconds(3), || {
        world.host.ok(["bpftool", "link", "detach", "pinned", &link.display().to_string()]);
        reaches()
    });
    wait_until("the guard is back", PASS, || xdp(&world, UPLINK).is_some() && !reaches());
    wait_until("all is ready", seconds(5), || is_ready(&world));
}

#[test]
fn each_uplink_is_guarded_as_it_can_be() {
    let world = World::new();
    world.netctl_ok(["block", "198.19.0.3"]);
    assert_eq!(world.netctl_json(["status"])["xdp"], json!({UPLINK: "generic"}), "native XDP would slow a veth down");
    // Uplinks that come later: one whose driver runs XDP, and one whose driver does not.
    let mut tap = Tap::open(&world.host, "tap0");
    world.host.sh("ip addr add 198.19.0.1/24 dev tap0; ip link set tap0 up; ip route add default dev tap0 metric 100
         ip link add br0 type bridge; ip link set br0 up; ip route add default dev br0 metric 200");
    let expected = json!({UPLINK: "generic", "tap0": "native", "br0": "generic"});
    wait_until("all three are guarded", seconds(5), || world.netctl_json(["status"])["xdp"] == expected);
    assert_eq!(xdp(&world, "tap0").as_deref(), Some("xdp"));
    let table = world.netctl_ok(["status"]);
    assert!(table.contains("tap0 (XDP native)") && table.contains(&format!("{UPLINK} (XDP generic)")), "{table}");

    let server = world.host.run(|| probe::udp_from(at(Ipv4Addr::new(198, 19, 0, 1), 2))).expect("a socket");
    let mac = Wire::open(&world.host, "tap0").mac;
    let before = world.counters();
    for last in [3, 4] {
        tap.send(mac, Ipv4Addr::new(198, 19, 0, last), Ipv4Addr::new(198, 19, 0, 1));
    }
    let (_, from) = server.recv_from(&mut [0; 16]).expect("a datagram");
    assert_eq!(from.ip(), IpAddr::from([198, 19, 0, 4]), "the first was blocked");
    assert!(is_counted(&world, &before, "xdp_guard", "Blocked", 1));
    // One that is an uplink no more.
    world.host.sh("ip route del default dev tap0");
    wait_until("it is not guarded any more", seconds(5), || xdp(&world, "tap0").is_none());
    // One that is no more.
    world.host.sh("ip link del br0");
    wait_until("it is forgotten", seconds(5), || world.netctl_json(["status"])["xdp"] == json!({UPLINK: "generic"}));
    assert!(is_ready(&world));
    world.netctl_ok(["unblock", "--all"]);
    assert_eq!(world.netctl_json(["status"])["xdp"], json!({UPLINK: null}));
    assert_eq!(xdp(&world, UPLINK), None);
}

#[test]
fn another_xdp_program_is_left_alone_and_named() {
    let world = World::new();
    let theirs = ForeignProgram::attach_xdp(&world.host, UPLINK);
    let refused = world.netctl_refused(["block", "198.18.0.3"]);
    assert!(
        refused.contains(&format!(
            "uplink {UPLINK}: the change is kept, but not done yet: guard uplink {UPLINK}: another XDP program is there"
        )),
        "{refused}"
    );
    let status = world.netctl_json(["status"]);
    assert_eq!((&status["objects"][0]["kind"], &status["objects"][0]["name"]), (&json!("uplink"), &json!(UPLINK)));
    assert_eq!(status["xdp"], json!({UPLINK: null}), "theirs is not ours");
    assert_eq!(world.netctl_json(["block", "ls"])[0]["status"], "failing");
    drop(theirs);
    wait_until("ours takes its place", PASS, || is_ready(&world));
    assert_eq!(world.netctl_json(["status"])["xdp"], json!({UPLINK: "generic"}));
}

#[test]
fn blocks_are_refused_with_exact_words() {
    let world = World::new();
    world.netctl_ok(["block", "10.0.0.0/8", ELSEWHERE]);
    for (words, text) in [
        (
            ["unblock", "10.1.0.0/16"],
            "10.1.0.0/16 is not blocked; 10.0.0.0/8, which has it, is: unblock that, and block again what is to stay blocked",
        ),
        (["unblock", "203.0.0.0/16"], "203.0.0.0/16 is not blocked; of 203.0.0.0/16 only parts are: 203.0.113.0/24"),
        (["unblock", "11.0.0.0/8"], "11.0.0.0/8 is not blocked; `netctl block ls` lists what is"),
    ] {
        assert_eq!(world.netctl_refused(words), format!("netctl: {text}"));
    }
    let usage = world.netctl(["block", "10.1.2.3/8"]);
    assert_eq!(usage.code, 2, "{usage}");
    assert!(usage.stderr.contains("the network is 10.0.0.0/8, the address alone 10.1.2.3"), "{usage}");
    let list = world.scratch().join("list");
    std::fs::write(&list, "# ours\n192.0.2.0/24\n10.1.2.3/8\n").expect("a file");
    let list = list.display().to_string();
    let refused = world.netctl_refused(["block", "--file", &list]);
    assert!(refused.starts_with(&format!("netctl: {list}: line 3: \"10.1.2.3/8\" is not a prefix")), "{refused}");
    assert_eq!(world.netctl_json(["block", "ls"]).as_array().map(Vec::len), Some(2), "nothing of it was blocked");
}

#[test]
fn a_hundred_thousand_prefixes_of_ipv6() {
    let world = World::new();
    let list = world.scratch().join("list");
    let prefixes = (0..100_000_u128).map(|number| format!("{}/48\n", Ipv6Addr::from((0x2a00 << 112) + (number << 80))));
    std::fs::write(&list, prefixes.collect::<String>() + &OUTSIDE6_SECOND.to_string()).expect("a file");
    let ping = |from: Ipv6Addr| {
        let (from, to) = (from.to_string(), HOST6.to_string());
        world.outside.exec(["ping", "-q", "-c2", "-i0.1", "-W1", "-I", &from, &to]).is_ok()
    };
    wait_until("IPv6 works", seconds(5), || ping(OUTSIDE6) && ping(OUTSIDE6_SECOND));
    let list = list.display().to_string();
    let told = timed("block 100,001 prefixes of IPv6", || world.netctl_ok(["block", "--file", &list]));
    assert_eq!(told, "100001 blocked\n");
    assert!(ping(OUTSIDE6) && !ping(OUTSIDE6_SECOND));
    timed("unblock all", || world.netctl_ok(["unblock", "--all"]));
    assert_eq!(entries(&world, "BLOCKED"), 0);
}

#[test]
fn a_hundred_thousand_prefixes() {
    let (world, _web, _server) = world_with_web();
    let list = world.scratch().join("list");
    let prefixes = (0..100_000_u32).map(|number| format!("{}/24\n", Ipv4Addr::from(0x0b00_0000 + (number << 8))));
    std::fs::write(&list, prefixes.collect::<String>() + "198.18.0.3\n").expect("a file");
    let list = list.display().to_string();
    let told = timed("block 100,001 prefixes", || world.netctl_ok(["block", "--file", &list]));
    assert_eq!(told, "100001 blocked\n");
    assert!(
        !reaches(&world.outside, OUTSIDE_SECOND, at(HOST, 8080)) && reaches(&world.outside, OUTSIDE, at(HOST, 8080))
    );
    timed("block one more", || world.netctl_ok(["block", ELSEWHERE]));
    timed("publish a port meanwhile", || world.netctl_ok(["publish", "web", "9090:90"]));
    timed("list them", || assert_eq!(world.netctl_json(["block", "ls"]).as_array().map(Vec::len), Some(100_002)));
    let status = timed("status", || world.netctl_json(["status"]));
    let fill = status["maps"].as_array().into_iter().flatten().find(|map| map["name"] == "BLOCKED");
    // An expensive count is told again for a while.
    assert!(fill.and_then(|map| map["entries"].as_u64()).is_some_and(|entries| entries >= 100_001), "{status}");
    world.kill9();
    timed("start again", || world.start());
    assert_eq!(world.steps_planned_on_start(), 0, "nothing was wrong");
    assert!(!reaches(&world.outside, OUTSIDE_SECOND, at(HOST, 8080)));
    timed("unblock one", || world.netctl_ok(["unblock", ELSEWHERE]));
    timed("unblock all", || world.netctl_ok(["unblock", "--all"]));
    assert_eq!(entries(&world, "BLOCKED"), 0);
    let log = world.log();
    for line in log.lines().filter(|line| line.contains(" pass ")).rev().take(12) {
        println!("{line}");
    }
}

fn timed<T>(what: &str, action: impl FnOnce() -> T) -> T {
    let begun = Instant::now();
    let result = action();
    println!("{what}: {:?}", begun.elapsed());
    result
}

/// A world with a container `web` that is published to everybody.
fn world_with_web() -> (World, Container, Process) {
    let world = World::new();
    let web = world.container("web", ["-p", "8080:80", "-p", "8080:80/udp"]);
    let server = world.serve(&web.place, "web", &BOTH);
    (world, web, server)
}

/// Whether a TCP connection from this address of a place is made. It is given little time: where it is not made, nothing
/// answers at all.
fn reaches(place: &Place, from: impl Into<IpAddr>, to: SocketAddr) -> bool {
    let from = from.into();
    let socket = || {
        use nix::sys::socket::{
            AddressFamily, SockFlag, SockType, SockaddrStorage, bind, connect, setsockopt, socket, sockopt,
        };
        let family = if from.is_ipv4() { AddressFamily::Inet } else { AddressFamily::Inet6 };
        let fd = socket(family, SockType::Stream, SockFlag::SOCK_CLOEXEC, None).expect("a socket");
        setsockopt(&fd, sockopt::SendTimeout, &nix::sys::time::TimeVal::new(1, 500_000)).expect("a timeout");
        bind(fd.as_raw_fd(), &SockaddrStorage::from(at(from, 0))).expect("an address of the place");
        connect(fd.as_raw_fd(), &SockaddrStorage::from(to)).is_ok()
    };
    place.run(socket)
}

fn connection(place: &Place, from: Ipv4Addr) -> TcpStream {
    let stream = place.run(|| probe::tcp_from(at(from, 0), at(HOST, 8080))).expect("a connection");
    assert_eq!(probe::exchange(&stream).expect("an exchange").seen_as.ip(), IpAddr::from(from));
    stream
}

/// Ten megabytes in large packets from the outside to a published port: what the guard lets pass is as it was.
fn bulk(world: &World, web: &Container) {
    world.netctl_ok(["publish", "web", "9090:90"]);
    let listener = web.place.run(|| TcpListener::bind(web.at(90))).expect("a listener");
    let sender = world.outside.run(|| TcpStream::connect(at(HOST, 9090))).expect("a connection");
    let (receiver, _) = listener.accept().expect("the connection");
    std::thread::scope(|scope| {
        scope.spawn(|| stream::send(&sender, 10_000_000));
        stream::receive(&receiver, 10_000_000).expect("every byte");
    });
}

#[track_caller]
fn echoes(stream: &mut TcpStream) {
    stream.write_all(b"still there?").expect("the flow lives");
    stream.read_exact(&mut [0; 12]).expect("the flow lives");
}

fn is_ready(world: &World) -> bool {
    world.netctl_json(["status"])["objects"].as_array().is_some_and(Vec::is_empty)
}

/// How `ip link` calls the XDP program on an interface of the host.
fn xdp(world: &World, name: &str) -> Option<String> {
    let shown = world.host.sh(&format!("ip -o link show {name} || true"));
    shown.split_whitespace().find(|word| word.starts_with("xdp")).map(str::to_owned)
}

fn dump(world: &World, map: &str) -> Vec<Value> {
    let pin = world.pins().join(map).display().to_string();
    let dump = world.host.ok(["bpftool", "-j", "map", "dump", "pinned", &pin]);
    serde_json::from_str::<Value>(&dump).expect("JSON").as_array().cloned().expect("entries")
}

fn entries(world: &World, map: &str) -> usize {
    dump(world, map).len()
}

/// Deletes every entry of a pinned map behind netd's back; how many.
fn delete_entries(world: &World, map: &str) -> usize {
    let pin = world.pins().join(map).display().to_string();
    let entries = dump(world, map);
    for entry in &entries {
        let bytes = entry["key"].as_array().expect("the key's bytes");
        let mut words = vec!["bpftool", "map", "delete", "pinned", &pin, "key"];
        words.extend(bytes.iter().filter_map(Value::as_str));
        world.host.ok(words);
    }
    entries.len()
}

/// An interface whose other side is this process: its driver runs XDP.
struct Tap {
    file: File,
}

impl Tap {
    fn open(place: &Place, name: &str) -> Self {
        const TUNSETIFF: libc::Ioctl = 0x4004_54ca;
        let file = place.run(|| {
            let file = OpenOptions::new().read(true).write(true).open("/dev/net/tun").expect("tun(4)");
            let mut request = [0_u8; 40];
            request[..name.len()].copy_from_slice(name.as_bytes());
            // IFF_TAP and IFF_NO_PI.
            request[16..18].copy_from_slice(&0x1002_u16.to_ne_bytes());
            // SAFETY: the request is as large as a `struct ifreq`, with a name that ends in zero.
            let made = unsafe { libc::ioctl(file.as_raw_fd(), TUNSETIFF, request.as_mut_ptr()) };
            assert_eq!(made, 0, "{}", std::io::Error::last_os_error());
            file
        });
        Self { file }
    }

    /// Lets the interface receive a datagram.
    fn send(&mut self, to_mac: [u8; 6], source: Ipv4Addr, destination: Ipv4Addr) {
        let from_mac = [2, 0, 0, 0, 0, 9];
        let ends = Ends { source_mac: from_mac, destination_mac: to_mac, source, destination };
        self.file.write_all(&ends.udp(1, 2, b"?")).expect("written");
    }
}
