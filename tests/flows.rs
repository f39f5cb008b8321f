//! Are translated flows forgotten when they should be, given the addresses they may have, and listed however many they
//! are? Scenarios O3, L4 and L5.

use aya::maps::{HashMap, Map, MapData};
use netd_common::Addr;
use netd_common::flow::{ANSWERED, Flow, FlowKey, INSIDE, OUTSIDE as FROM_OUTSIDE, TO_ENDPOINT, TO_UPLINK};
use netd_common::publish::TCP;
use netd_tests::probe::{self, Mode};
use netd_tests::world::{Container, HOST, HOST6, OUTSIDE, OUTSIDE6, Place, Process, UPLINK, World, at};
use netd_tests::{seconds, wait_until};
use serde_json::Value;
use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

/// What netd is told by netlink, it does within this; generous, since the machine is busy.
const TOLD: Duration = seconds(10);
/// Within this a pass over the flow table comes, or a look at the counters: they are 5 s apart.
const PASS: Duration = seconds(20);

const FIRST: Ipv4Addr = Ipv4Addr::new(198, 18, 0, 21);
const SECOND: Ipv4Addr = Ipv4Addr::new(198, 18, 0, 22);
const FIRST6: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0x18, 0, 0, 0, 0, 0x21);

fn outside(world: &World) -> Process {
    let over_ipv6 = format!("tcp/{}", at(OUTSIDE6, 80));
    world.serve(&world.outside, "outside", &["tcp/0.0.0.0:80", "udp/0.0.0.0:80", &over_ipv6])
}

/// Makes a network with this subnet and these options, and a container on it of the same name.
#[track_caller]
fn lab(world: &World, name: &str, subnet: &str, options: &[&str]) -> Container {
    let words = ["network", "create", name, "--subnet", subnet];
    let options = options.iter().flat_map(|option| ["--opt", option]);
    world.netctl_ok(words.into_iter().chain(options));
    world.container(name, ["--network", name])
}

/// The address that the outside sees.
#[track_caller]
fn seen_as(client: &Container) -> IpAddr {
    client.place.run(|| probe::dial_tcp(at(OUTSIDE, 80))).expect("a connection to the outside").seen_as.ip()
}

/// The translated sources of a container's flows, without their ports.
fn sources(world: &World, container: &str) -> BTreeSet<IpAddr> {
    let flows = world.netctl_json(["flow", "ls", container]);
    let flows = flows.as_array().expect("an array").iter();
    flows
        .map(|flow| {
            flow["translated_source"]
                .as_str()
                .and_then(|text| text.parse::<SocketAddr>().ok())
                .expect("an address")
                .ip()
        })
        .collect()
}

/// The objects of this kind that are not ready: name, status, reason.
fn objects(world: &World, kind: &str) -> Vec<(String, String, String)> {
    let status = world.netctl_json(["status"]);
    let objects = status["objects"].as_array().expect("an array").iter().filter(|object| object["kind"] == kind);
    let text = |object: &Value, field: &str| object[field].as_str().expect("a text").to_owned();
    objects.map(|object| (text(object, "name"), text(object, "status"), text(object, "reason"))).collect()
}

#[test]
fn each_network_has_its_own_timeouts() {
    let world = World::new();
    let short = lab(&world, "short", "10.50.1.0/24", &["timeout-udp-opening=1s", "timeout-udp-established=1"]);
    let long = lab(&world, "long", "10.50.2.0/24", &["timeout-udp-established=2h", "colour=blue"]);
    let _server = outside(&world);
    let ask = |client: &Container| {
        client.place.run(|| probe::dial(Mode::UdpConnected, at(OUTSIDE, 80))).expect("an answer");
    };
    ask(&long);
    ask(&short);
    let count = |name: &str| world.netctl_json(["flow", "ls", name]).as_array().expect("an array").len();
    wait_until("the short flow is over", PASS, || count("short") == 0);
    assert_eq!(count("long"), 1, "and the long one is not");
    let options = world.netctl_json(["network", "inspect", "long"])[0]["options"].clone();
    assert_eq!(options, serde_json::json!({"timeout-udp-established": "2h", "colour": "blue"}), "as they were given");
    // What the programs go by.
    let shown = world.host.ok(["bpftool", "-j", "map", "dump", "pinned", &pin(&world, "TIMEOUTS")]);
    assert_eq!(serde_json::from_str::<Value>(&shown).expect("JSON").as_array().map(Vec::len), Some(2));
    world.netctl_ok(["container", "rm", "short", "long"]);
    world.netctl_ok(["network", "rm", "short", "long"]);
    let shown = world.host.ok(["bpftool", "-j", "map", "dump", "pinned", &pin(&world, "TIMEOUTS")]);
    assert_eq!(serde_json::from_str::<Value>(&shown).expect("JSON").as_array().map(Vec::len), Some(0));
}

#[test]
fn options_that_make_no_sense_are_refused() {
    let world = World::new();
    for (option, said) in [
        ("timeout-tcp=1s", "there is no option \"timeout-tcp\"; there are timeout-tcp-opening, "),
        ("timeout-icmp=soon", "timeout-icmp is \"soon\"; write whole seconds, or a number with s, m, h or d"),
        ("timeout-icmp=0", "timeout-icmp is 0; it must be from 1 s to 30 days"),
        ("snat-pool=198.18.0.0/24", "snat-pool: \"198.18.0.0/24\" is no address; write ADDR or ADDR-ADDR"),
        ("snat-pool=10.0.0.0-10.0.1.0", "snat-pool: more than 256 addresses of IPv4; name fewer"),
        ("snat-pool=127.0.0.1", "snat-pool: 127.0.0.1 is a loopback address"),
    ] {
        let line = world.netctl_refused(["network", "create", "lab", "--opt", option]);
        assert!(line.starts_with("netctl: network \"lab\": ") && line.contains(said), "{option}: {line}");
    }
    assert!(world.netctl_refused(["network", "inspect", "lab"]).contains("no network named"), "nothing was kept");
}

#[test]
fn flows_take_the_addresses_of_their_network_s_pool() {
    let world = World::new();
    world.host.sh(&format!(
        "for a in {FIRST}/24 {SECOND}/24; do ip addr add $a dev {UPLINK}; done; ip addr add {FIRST6}/64 dev {UPLINK} nodad"
    ));
    let _server = outside(&world);
    let pool = format!("snat-pool={FIRST}-{SECOND},{FIRST6}");
    world.netctl_ok(["network", "create", "lab", "--ipv6", "--opt", &pool]);
    let clients = ["a", "b"].map(|name| world.container(name, ["--network", "lab"]));
    let seen: BTreeSet<IpAddr> = clients.iter().map(seen_as).collect();
    assert_eq!(seen, BTreeSet::from([FIRST.into(), SECOND.into()]), "neighbours take different ones");
    for client in &clients {
        assert_eq!(seen_as(client), seen_as(client), "a container keeps its own");
        let reply = client.place.run(|| probe::dial_tcp(at(OUTSIDE6, 80))).expect("a connection over IPv6");
        assert_eq!(reply.seen_as.ip(), IpAddr::from(FIRST6));
    }
    assert_eq!(seen_as(&world.plain("other")), IpAddr::from(HOST), "another network's take the uplink's");
    assert!(world.counter("snat_tries", "1") >= 6, "{:?}", world.counters());
}

#[test]
fn a_pool_heals_when_its_address_appears_and_its_flows_go_with_it() {
    let world = World::new();
    let _server = outside(&world);
    let pool = format!("snat-pool={FIRST}");
    let refused = world.netctl_refused(["network", "create", "lab", "--subnet", "10.50.1.0/24", "--opt", &pool]);
    let lacks = format!("no uplink has {FIRST} of snat-pool; add the address to an uplink");
    assert!(
        refused.contains("network lab: the change is kept, but not done yet") && refused.contains(&lacks),
        "{refused}"
    );
    let not_ready = objects(&world, "network");
    assert_eq!((not_ready.len(), not_ready[0].0.as_str(), not_ready[0].1.as_str()), (1, "lab", "failing"));
    assert!(not_ready[0].2.starts_with(&lacks), "{not_ready:?}");
    let client = world.container("client", ["--network", "lab"]);
    assert_eq!(seen_as(&client), IpAddr::from(HOST), "until then the uplink's is taken");

    world.host.sh(&format!("ip addr add {FIRST}/24 dev {UPLINK}"));
    wait_until("the network is ready", TOLD, || objects(&world, "network").is_empty());
    assert_eq!(seen_as(&client), IpAddr::from(FIRST));
    assert_eq!(sources(&world, "client"), BTreeSet::from([HOST.into(), FIRST.into()]));

    world.host.sh(&format!("ip addr del {FIRST}/24 dev {UPLINK}"));
    wait_until("the network is not ready", TOLD, || !objects(&world, "network").is_empty());
    wait_until("its flows are forgotten", TOLD, || sources(&world, "client") == BTreeSet::from([HOST.into()]));
    assert_eq!(seen_as(&client), IpAddr::from(HOST));
}

#[test]
fn the_flows_of_an_address_that_is_gone_are_forgotten_and_others_are_not() {
    const NEW: Ipv4Addr = Ipv4Addr::new(198, 18, 0, 77);
    let world = World::new();
    let _server = outside(&world);
    let client = world.plain("client");
    let over_ipv6 = client_v6(&world);
    let held = client.place.run(|| probe::tcp_from(client.at(5000), at(OUTSIDE, 80))).expect("a connection");
    let held6 = over_ipv6.place.run(|| std::net::TcpStream::connect((OUTSIDE6, 80))).expect("a connection over IPv6");
    assert_eq!(probe::exchange(&held).expect("an exchange").seen_as, at(HOST, 5000));
    assert_eq!(probe::exchange(&held6).expect("an exchange").seen_as.ip(), IpAddr::from(HOST6));
    // One more address costs nothing.
    world.host.sh(&format!("ip addr add {FIRST}/24 dev {UPLINK}"));
    wait_until("the new address is known", TOLD, || is_known(&world, FIRST));
    assert_eq!(sources(&world, "client"), BTreeSet::from([HOST.into()]));

    world.host.sh(&format!(
        "ip addr del {FIRST}/24 dev {UPLINK}; ip addr del {HOST}/24 dev {UPLINK}
         ip addr add {NEW}/24 dev {UPLINK}; ip route add default via {OUTSIDE}"
    ));
    wait_until("the flows of the old address are gone", TOLD, || sources(&world, "client").is_empty());
    wait_until("new ones take the new address", TOLD, || {
        client.place.run(|| probe::dial_tcp(at(OUTSIDE, 80))).is_ok_and(|reply| reply.seen_as.ip() == IpAddr::from(NEW))
    });
    assert_eq!(sources(&world, "over-ipv6"), BTreeSet::from([HOST6.into()]), "the other family's stay");
    assert!(std::io::Write::write_all(&mut &held6, b"still there?").is_ok());
    std::io::Read::read_exact(&mut &held6, &mut [0; 12]).expect("the flow lives");
}

fn client_v6(world: &World) -> Container {
    world.netctl_ok(["network", "create", "six", "--ipv6"]);
    world.container("over-ipv6", ["--network", "six"])
}

fn is_known(world: &World, address: Ipv4Addr) -> bool {
    let map = MapData::from_pin(pin(world, "LOCAL_ADDRS")).expect("a pin");
    let addresses: HashMap<_, Addr, u32> = HashMap::try_from(Map::HashMap(map)).expect("a hash map");
    addresses.get(&Addr::from(IpAddr::from(address)), 0).is_ok()
}

#[test]
fn many_flows_are_listed_and_flushed() {
    const COUNT: u32 = 3000;
    let world = World::new();
    let (web, idle) = (world.plain("web"), world.plain("idle"));
    fill(&world, &web, COUNT);
    fill(&world, &idle, 10);
    let count = |words: &[&str]| world.netctl_json(words).as_array().expect("one array").len();
    assert_eq!(count(&["flow", "ls"]), 3010);
    assert_eq!(count(&["flow", "ls", "web"]), 3000);
    assert_eq!(count(&["flow", "ls", "idle"]), 10);
    let table = world.netctl_ok(["flow", "ls"]);
    let mut lines = table.lines();
    let head = lines.next().expect("the head");
    assert!(head.starts_with("CONTAINER  PROTOCOL  STATE "), "{head}");
    let place = head.find("STATE").expect("the column");
    assert!(lines.all(|line| line[place..].starts_with("established")), "one under the other");
    assert_eq!(table.lines().count(), 3011);
    assert_eq!(world.netctl_json(["flow", "flush", "web"])["flushed"], COUNT);
    assert_eq!(world.netctl_ok(["flow", "flush"]), "10 flushed\n");
    assert_eq!(count(&["flow", "ls"]), 0);
}

#[test]
fn a_reader_that_stops_does_not_stop_netd() {
    use std::io::{Read as _, Write as _};
    let world = World::new();
    let web = world.plain("web");
    fill(&world, &web, 7000);
    let readers: Vec<_> = (0..8)
        .map(|_| {
            let mut reader = std::os::unix::net::UnixStream::connect(world.socket()).expect("netd answers");
            reader.write_all(b"GET /v1/flows HTTP/1.1\r\nHost: netd\r\n\r\n").expect("a request");
            reader.read_exact(&mut [0; 1024]).expect("the beginning of the answer");
            reader
        })
        .collect();
    assert_eq!(world.flows().len(), 7000, "others are answered");
    world.netctl_ok(["publish", "web", "8080:80"]);
    assert_eq!(world.netctl_json(["flow", "flush"])["flushed"], 7000);
    drop(readers);
}

#[test]
fn a_flow_table_that_is_nearly_full_is_told_of_until_there_is_room() {
    let world = World::new();
    let web = world.plain("web");
    assert_eq!(objects(&world, "map"), []);
    // Of 16,384 entries.
    fill(&world, &web, 7700);
    wait_until("the status says so", PASS, || !objects(&world, "map").is_empty());
    let told = objects(&world, "map");
    assert_eq!((told.len(), told[0].0.as_str(), told[0].1.as_str()), (1, "FLOWS", "nearly-full"), "{told:?}");
    assert!(told[0].2.contains(" of 16384 entries; when it is full, the least recently used"), "{told:?}");
    world.netctl_ok(["flow", "flush"]);
    wait_until("there is room again", PASS, || objects(&world, "map").is_empty());
}

#[test]
fn source_ports_that_are_used_up_are_told_of() {
    let world = World::new();
    let clients = [("a", "10.50.1.0/24"), ("b", "10.50.2.0/24")].map(|(name, subnet)| lab(&world, name, subnet, &[]));
    // Of SCTP each remote takes one flow a port, since its checksum keeps the port where it is.
    for client in &clients {
        send_sctp(&client.place, client.ip);
    }
    wait_until("the status says so", PASS, || !objects(&world, "snat").is_empty());
    let told = objects(&world, "snat");
    assert_eq!((told.len(), told[0].0.as_str(), told[0].1.as_str()), (1, "b", "exhausted"), "{told:?}");
    assert!(told[0].2.starts_with("1 dropped lately as SnatExhausted: "), "{told:?}");
    assert!(told[0].2.ends_with("or give the network more addresses with --opt snat-pool=ADDR,…"), "{told:?}");
    assert_eq!(world.counter("snat_tries", "none"), 1);
}

/// Sends a packet of SCTP from port 5000 to the outside's port 80.
fn send_sctp(place: &Place, from: Ipv4Addr) {
    place.run(|| {
        // RFC 9260 section 3: the common header, and an INIT chunk of the least size.
        let mut packet = [0_u8; 12 + 20];
        packet[..4].copy_from_slice(&[0x13, 0x88, 0, 80]);
        packet[12] = 1;
        packet[15] = 20;
        // SAFETY: plain calls with a buffer and an address that outlive them.
        unsafe {
            let socket = libc::socket(libc::AF_INET, libc::SOCK_RAW, libc::IPPROTO_SCTP);
            assert!(socket >= 0, "{}", std::io::Error::last_os_error());
            let mut to: libc::sockaddr_in = std::mem::zeroed();
            to.sin_family = libc::AF_INET as libc::sa_family_t;
            to.sin_addr.s_addr = u32::from_ne_bytes(OUTSIDE.octets());
            let (address, size) = (std::ptr::from_ref(&to).cast(), size_of_val(&to) as libc::socklen_t);
            let sent = libc::sendto(socket, packet.as_ptr().cast(), packet.len(), 0, address, size);
            assert_eq!(sent, packet.len() as isize, "from {from}: {}", std::io::Error::last_os_error());
            libc::close(socket);
        }
    });
}

fn pin(world: &World, map: &str) -> String {
    world.pins().join(map).to_str().expect("a path in UTF-8").to_owned()
}

/// Writes flows of a container into the table, as the programs would: established, to as many remotes.
fn fill(world: &World, container: &Container, count: u32) {
    let map = MapData::from_pin(pin(world, "FLOWS")).expect("a pin");
    let mut flows: HashMap<_, FlowKey, Flow> = HashMap::try_from(Map::LruHashMap(map)).expect("a hash map");
    let owner = u32::from_str_radix(container.host_interface.trim_start_matches("nd"), 16).expect("its number");
    let now = netd::kernel::flows::monotonic_ns();
    for number in 0..count {
        let [_, _, high, low] = number.to_be_bytes();
        let key = FlowKey {
            source: Addr::from(IpAddr::from(container.ip)),
            destination: Addr::v4([198, 19, high, low]),
            source_port: 5000,
            destination_port: 80,
            protocol: TCP,
            side: INSIDE,
            pad: [0; 2],
        };
        let flow = Flow {
            source: Addr::from(IpAddr::from(HOST)),
            destination: key.destination,
            source_port: 1024 + u16::try_from(owner).expect("few containers"),
            destination_port: 80,
            history: ANSWERED,
            target: TO_UPLINK,
            ifindex: 1,
            owner,
            partner_side: FROM_OUTSIDE,
            partner_ifindex: 1,
            partner_endpoint: owner,
            partner_target: TO_ENDPOINT,
            network: 1,
            created_ns: now,
            seen_ns: now,
            ..Flow::default()
        };
        flows.insert(key, flow, 0).expect("an entry");
        flows.insert(flow.partner_key(&key), flow.partner(&key, now), 0).expect("its partner");
    }
}
