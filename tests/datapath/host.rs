//! How does a thread become the host that the rows play on?

use netd_common::Addr;
use netd_ebpf::testing::model::Socket;
use netd_ebpf::testing::world::{
    API, Container, DB, HOST, HOST_6, LAN, LAN_HOST, LAN_HOST_6, LAN_MAC, ROUTER, ROUTER_6, UPLINK, UPLINK_MAC, WEB,
    World,
};
use nix::sched::{CloneFlags, unshare};
use std::io::Write as _;
use std::net::{IpAddr, SocketAddr, TcpListener, UdpSocket};
use std::process::{Command, Stdio};

/// The names of the host's interfaces here.
const UPLINK_NAME: &str = "uplink";
const CONTAINERS: [(&str, Container); 3] = [("web", WEB), ("db", DB), ("api", API)];

/// Runs `test` as a host of its own, which is gone afterwards.
pub fn host(test: impl FnOnce() + Send + 'static) {
    let thread = std::thread::spawn(move || {
        unshare(CloneFlags::CLONE_NEWNET).expect("these tests need root");
        make_interfaces();
        test();
    });
    if let Err(panic) = thread.join() {
        std::panic::resume_unwind(panic);
    }
}

/// The interfaces, addresses and routes of [`netd_ebpf::testing::world`], as netd makes them.
fn make_interfaces() {
    let mut batch = "link set lo up\n".to_owned();
    let mut link = |name: &str, index: u32, mac: [u8; 6]| {
        let mac = mac.map(|byte| format!("{byte:02x}")).join(":");
        batch += &format!("link add {name} index {index} address {mac} type veth peer name {name}0\n");
        batch += &format!("link set {name} up\nlink set {name}0 up\n");
    };
    link(UPLINK_NAME, UPLINK, UPLINK_MAC);
    link("lan", LAN, LAN_MAC);
    for (name, container) in CONTAINERS {
        link(name, container.ifindex, container.gateway_mac());
    }
    let ip = |address: Addr| IpAddr::from(address);
    batch += &format!("addr add {}/24 dev {UPLINK_NAME}\naddr add {}/24 dev lan\n", ip(HOST), ip(LAN_HOST));
    batch +=
        &format!("addr add {}/64 dev {UPLINK_NAME} nodad\naddr add {}/64 dev lan nodad\n", ip(HOST_6), ip(LAN_HOST_6));
    batch += &format!("route add default via {}\n", ip(ROUTER));
    batch += &format!("route add default via {} dev {UPLINK_NAME}\n", ip(ROUTER_6));
    for network in [WEB, API] {
        let [a, b, c, _] = network.gateway.octets_v4();
        batch += &format!("addr add {}/32 dev lo\n", ip(network.gateway));
        batch += &format!("addr add {}/128 dev lo nodad\n", ip(network.gateway_6));
        batch += &format!("route add unreachable {a}.{b}.{c}.0/24\n");
        batch += &format!("route add unreachable fd00:{}::/64\n", network.network);
    }
    for (name, container) in CONTAINERS {
        batch += &format!("route add {}/32 dev {name} src {}\n", ip(container.address), ip(container.gateway));
        batch += &format!("route add {}/128 dev {name} src {}\n", ip(container.address_6), ip(container.gateway_6));
    }
    let mut ip = Command::new("ip").args(["-batch", "-"]).stdin(Stdio::piped()).spawn().expect("ip(8)");
    ip.stdin.take().expect("a pipe").write_all(batch.as_bytes()).expect("written");
    assert!(ip.wait().expect("ip(8)").success(), "ip(8) refuses one of:\n{batch}");
    for (name, _) in CONTAINERS {
        set_forwarding(name, true);
        // What is copied to a container comes out there, and may be advice for a host, which this host shall not take.
        let path = format!("/proc/sys/net/ipv6/conf/{name}0/disable_ipv6");
        std::fs::write(&path, "1").unwrap_or_else(|error| panic!("{path}: {error}"));
    }
}

fn set_forwarding(name: &str, is_on: bool) {
    for family in ["ipv4", "ipv6"] {
        let path = format!("/proc/sys/net/{family}/conf/{name}/forwarding");
        std::fs::write(&path, if is_on { "1" } else { "0" }).unwrap_or_else(|error| panic!("{path}: {error}"));
    }
}

/// The sockets of a row, closed when dropped.
#[derive(Default)]
pub struct Sockets {
    _udp: Vec<UdpSocket>,
    _tcp: Vec<TcpListener>,
}

/// Makes the stack know what the row says that it knows.
pub fn set_up(world: &World) -> Sockets {
    set_forwarding(UPLINK_NAME, world.stack.forwarding.contains(&UPLINK));
    let mut sockets = Sockets::default();
    let at = |address: Addr, port| SocketAddr::new(IpAddr::from(address), port);
    for Socket { protocol, address, port, peer } in &world.stack.sockets {
        let own = at(*address, *port);
        if *protocol == netd_common::publish::TCP {
            sockets._tcp.push(TcpListener::bind(own).expect("a listener"));
            continue;
        }
        let socket = UdpSocket::bind(own).expect("a socket");
        if let Some((peer, peer_port)) = peer {
            socket.connect(at(*peer, *peer_port)).expect("a route");
        }
        sockets._udp.push(socket);
    }
    sockets
}
