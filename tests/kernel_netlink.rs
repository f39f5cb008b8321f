//! Ring 4: does the kernel hold what netlink was told, and does netd see it when it does not?
//!
//! Needs root. Each test is a thread with network and mount namespaces of its own, which plays the host.

use ipnetwork::IpNetwork;
use netd::kernel::facts::NodeFacts;
use netd::kernel::netlink::{Devices, Netlink, Watch};
use netd::kernel::netns::made::Made;
use netd::kernel::netns::{self, Files};
use netd::kernel::sockets::{self, Connected};
use netd::model::command::NamespaceAt;
use netd::model::mac::Mac;
use netd::reconcile::target::{Link, LinkKind, Route, Sandbox, Target};
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sched::{CloneFlags, unshare};
use std::cell::Cell;
use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;
use std::net::{IpAddr, UdpSocket};
use std::os::fd::{AsRawFd, FromRawFd};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, Instant};

struct Host {
    folder: tempfile::TempDir,
    made: Made,
    netlink: Netlink,
}

/// Runs `test` as a host of its own.
fn host(test: impl FnOnce(&Host) + Send + 'static) {
    let thread = std::thread::spawn(move || {
        unshare(CloneFlags::CLONE_NEWNET | CloneFlags::CLONE_NEWNS).expect("these tests need root");
        mount(None::<&str>, "/", None::<&str>, MsFlags::MS_REC | MsFlags::MS_PRIVATE, None::<&str>).expect("mounted");
        ip("link set lo up");
        let folder = tempfile::tempdir().expect("a folder");
        let made = Made { netns: folder.path().join("netns"), notes: folder.path().join("notes") };
        let netlink = Netlink::open().expect("netlink");
        test(&Host { folder, made, netlink });
    });
    if let Err(panic) = thread.join() {
        std::panic::resume_unwind(panic);
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        // The folder cannot be removed while it is a mount point, which it is once a namespace was made.
        let _not_mounted = umount2(&self.made.netns, MntFlags::MNT_DETACH);
    }
}

impl Host {
    fn path(&self, name: &str) -> PathBuf {
        self.made.netns.join(name)
    }

    /// `ip` in a namespace.
    fn ip_in(&self, name: &str, arguments: &str) -> String {
        netns::in_namespace(&self.path(name), || ip(arguments)).expect("a namespace")
    }

    fn observe(&self) -> Target {
        let mut target = Target { namespaces: self.made.paths().expect("listed"), ..Target::default() };
        self.netlink.observe(self.devices(), &mut target).expect("observed");
        target
    }

    fn devices(&self) -> Devices {
        self.netlink.devices().expect("read")
    }

    fn facts(&self) -> NodeFacts {
        self.netlink.facts(&self.devices(), &[]).expect("probed").facts
    }

    /// What a plan for `target` would do from nothing.
    fn create(&self, target: &Target) {
        for (path, sandbox) in &target.namespaces {
            self.made.create(path, sandbox).expect("namespace made");
        }
        for (name, link) in &target.links {
            self.netlink.create_link(name, link).expect("link made");
        }
        self.configure(target);
    }

    /// Every idempotent step of it.
    fn configure(&self, target: &Target) {
        for (name, link) in &target.links {
            self.netlink.configure_link(name, link).expect("link configured");
        }
        for gateway in &target.gateways {
            self.netlink.add_gateway(*gateway).expect("gateway added");
        }
        for (prefix, route) in &target.routes {
            self.netlink.set_route(*prefix, route).expect("route set");
        }
    }

    /// Two containers on one network.
    fn target(&self) -> Target {
        let mut target = Target::default();
        target.gateways.insert(address("10.208.0.1"));
        target.routes.insert(network("10.208.0.0/24"), Route::Unreachable);
        for (name, number) in [("web", 1_u8), ("client", 2)] {
            let link = Link {
                namespace: self.path(name),
                interface: "eth0".into(),
                mac: [2, 0x42, 10, 208, 0, number + 1],
                kind: LinkKind::Veth { gateway_mac: [2, 0x42, 10, 208, 0, 1] },
                mtu: 1400,
                addresses: BTreeSet::from([network(&format!("10.208.0.{}/24", number + 1))]),
                ipv6: false,
                default_routes: BTreeSet::from([address("10.208.0.1")]),
            };
            target.namespaces.insert(link.namespace.clone(), Sandbox::default());
            target.routes.insert(
                network(&format!("10.208.0.{}/32", number + 1)),
                Route::Endpoint { link: format!("nd{number:x}"), source: address("10.208.0.1"), mac: link.mac },
            );
            target.links.insert(format!("nd{number:x}"), link);
        }
        target
    }
}

/// The same network with IPv6 beside.
fn dual(mut target: Target) -> Target {
    target.gateways.insert(address("fd00:8::1"));
    target.routes.insert(network("fd00:8::/64"), Route::Unreachable);
    for (number, (name, link)) in (2..).zip(&mut target.links) {
        link.ipv6 = true;
        let ip = format!("fd00:8::{number}");
        link.addresses.insert(network(&format!("{ip}/64")));
        link.addresses.insert(network(&format!("{}/64", Mac(link.mac).link_local())));
        link.default_routes.insert(address("fd00:8::1"));
        let source = address("fd00:8::1");
        target.routes.insert(network(&ip), Route::Endpoint { link: name.clone(), source, mac: link.mac });
    }
    target
}

fn address(text: &str) -> IpAddr {
    text.parse().expect("a literal address")
}

fn network(text: &str) -> IpNetwork {
    text.parse().expect("a literal network")
}

/// The program `ip`, which shares no code with what is tested.
fn ip(arguments: &str) -> String {
    let output = Command::new("ip").args(arguments.split_whitespace()).output().expect("ip is installed");
    assert!(output.status.success(), "ip {arguments}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).expect("text")
}

#[test]
fn what_is_created_is_observed_and_carries() {
    host(|host| {
        let target = host.target();
        host.create(&target);
        assert_eq!(host.observe(), target);
        for name in ["web", "client"] {
            let addresses = host.ip_in(name, "-o addr show dev eth0");
            assert!(addresses.contains("inet 10.208.0."), "{addresses}");
        }
        // Link, route, neighbour, gateway and default route together carry a datagram there and back.
        let bind = || UdpSocket::bind("10.208.0.2:7").expect("the container's address");
        let server = netns::in_namespace(&host.path("web"), bind).expect("a namespace");
        let client = UdpSocket::bind("0.0.0.0:0").expect("bound");
        for socket in [&server, &client] {
            socket.set_read_timeout(Some(Duration::from_secs(5))).expect("set");
        }
        client.send_to(b"x", "10.208.0.2:7").expect("sent");
        let (_, from) = server.recv_from(&mut [0; 1]).expect("received");
        assert_eq!(from.ip(), address("10.208.0.1"));
        server.send_to(b"y", from).expect("sent");
        assert_eq!(client.recv(&mut [0; 1]).expect("received"), 1);
    });
}

fn conf(interface: &str, key: &str) -> String {
    let file = format!("/proc/sys/net/ipv6/conf/{interface}/{key}");
    std::fs::read_to_string(&file).unwrap_or_else(|error| panic!("{file}: {error}")).trim().to_owned()
}

fn set_conf(interface: &str, key: &str, value: &str) {
    let file = format!("/proc/sys/net/ipv6/conf/{interface}/{key}");
    std::fs::write(&file, value).unwrap_or_else(|error| panic!("{file}: {error}"));
}

#[test]
fn ipv6_is_created_observed_and_carries() {
    host(|host| {
        let target = dual(host.target());
        // Also where a new interface has none, and listens to routers.
        set_conf("default", "disable_ipv6", "1");
        host.create(&target);
        assert_eq!(host.observe(), target);
        for (key, value) in [("disable_ipv6", "0"), ("accept_ra", "0"), ("forwarding", "1")] {
            assert_eq!(conf("nd1", key), value, "{key}");
        }
        assert_eq!(conf("all", "forwarding"), "0");
        assert_eq!(ip("-6 -o addr show dev nd1"), "", "the host has no address there");
        let inside =
            || [("disable_ipv6", "0"), ("accept_ra", "0"), ("autoconf", "0")].map(|(k, v)| (conf("eth0", k), v));
        for (value, expected) in netns::in_namespace(&host.path("web"), inside).expect("a namespace") {
            assert_eq!(value, expected);
        }
        // At once: nothing is tentative.
        let addresses = host.ip_in("web", "-6 -o addr show dev eth0");
        assert!(addresses.contains("inet6 fd00:8::2/64 scope global nodad"), "{addresses}");
        assert!(addresses.contains("inet6 fe80::42:aff:fed0:2/64 scope link nodad"), "{addresses}");
        assert!(!addresses.contains("tentative"), "{addresses}");
        // From the host to the container and back needs no program, but the answer does: that to the gateway's MAC address
        // finds the host's own address.
        host.ip_in("web", "-6 neigh replace fd00:8::1 lladdr 02:42:0a:d0:00:01 dev eth0 nud permanent");
        let bind = || UdpSocket::bind("[fd00:8::2]:7").expect("the container's address");
        let server = netns::in_namespace(&host.path("web"), bind).expect("a namespace");
        let client = UdpSocket::bind("[::]:0").expect("bound");
        for socket in [&server, &client] {
            socket.set_read_timeout(Some(Duration::from_secs(5))).expect("set");
        }
        client.send_to(b"x", "[fd00:8::2]:7").expect("sent");
        let (_, from) = server.recv_from(&mut [0; 1]).expect("received");
        assert_eq!(from.ip(), address("fd00:8::1"));
        server.send_to(b"y", from).expect("sent");
        assert_eq!(client.recv(&mut [0; 1]).expect("received"), 1);
        let refused = client.send_to(b"x", "[fd00:8::99]:7").expect_err("nobody is there");
        assert_eq!(refused.raw_os_error(), Some(libc::EHOSTUNREACH), "{refused}");
    });
}

#[test]
fn a_network_without_ipv6_is_silent() {
    host(|host| {
        host.create(&host.target());
        let inside = || conf("eth0", "disable_ipv6");
        assert_eq!(netns::in_namespace(&host.path("web"), inside).expect("a namespace"), "1");
        assert_eq!(host.ip_in("web", "-6 -o addr show dev eth0"), "");
        assert_eq!(ip("-6 -o addr show dev nd1"), "");
        assert_eq!(conf("nd1", "forwarding"), "0");
    });
}

/// A router that the host has heard of, as a veth pair in two namespaces: `up0` here.
fn learn_a_router(host: &Host) {
    host.made.create(&host.path("router"), &Sandbox::default()).expect("namespace made");
    ip(&format!("link add up0 type veth peer name out0 netns {}", host.path("router").display()));
    set_conf("up0", "accept_dad", "0");
    ip("link set up0 up");
    host.ip_in("router", "addr add fe80::1/64 dev out0 nodad");
    host.ip_in("router", "link set out0 up");
    // ICMPv6 type 134 (RFC 4861 section 4.2): hop limit 64, no flags, lifetime 1800 s.
    let advertise = || {
        let socket = Socket::new(libc::AF_INET6, libc::SOCK_RAW, libc::IPPROTO_ICMPV6);
        let index = nix::net::if_::if_nametoindex("out0").expect("an interface");
        socket.advertise(index, &[134, 0, 0, 0, 64, 0, 7, 8, 0, 0, 0, 0, 0, 0, 0, 0]);
    };
    let until = Instant::now() + Duration::from_secs(10);
    while !ip("-6 route show default").contains("proto ra") {
        assert!(Instant::now() < until, "the advertisement was not heard");
        netns::in_namespace(&host.path("router"), advertise).expect("a namespace");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// A raw socket for one message.
struct Socket(std::os::fd::OwnedFd);

impl Socket {
    fn new(family: i32, kind: i32, protocol: i32) -> Self {
        // SAFETY: socket(2) takes no pointers; the descriptor is new, and nobody else's.
        let socket = unsafe { std::os::fd::OwnedFd::from_raw_fd(libc::socket(family, kind, protocol)) };
        assert!(socket.as_raw_fd() >= 0, "{}", std::io::Error::last_os_error());
        Self(socket)
    }

    /// To all nodes of the link, with the hop limit that neighbour discovery asks for.
    fn advertise(&self, index: u32, message: &[u8]) {
        use nix::sys::socket::{MsgFlags, SockaddrIn6, sendto, setsockopt, sockopt};
        setsockopt(&self.0, sockopt::Ipv6MulticastHops, &255).expect("set");
        let to = std::net::SocketAddrV6::new("ff02::1".parse().expect("an address"), 0, 0, index);
        // It may be too early to send: the link is not up yet.
        let _not_yet = sendto(self.0.as_raw_fd(), message, &SockaddrIn6::from(to), MsgFlags::empty());
    }
}

#[test]
fn the_hosts_own_routers_are_not_forgotten() {
    host(|host| {
        learn_a_router(host);
        let before = ip("-6 route show default");
        assert_eq!(host.facts().uplinks.keys().collect::<Vec<_>>(), ["up0"]);
        let target = dual(host.target());
        host.create(&target);
        // The lifetime counts down.
        let without_time = |text: &str| text.split(" expires").next().map(str::to_owned);
        assert_eq!(without_time(&ip("-6 route show default")), without_time(&before));
        assert_eq!(conf("up0", "accept_ra"), "1", "as it was");
    });
}

#[test]
fn doing_it_twice_changes_nothing() {
    host(|host| {
        let target = dual(host.target());
        host.create(&target);
        let links = ip("-o -d link show");
        let routes = ip("route show table all");
        for (path, sandbox) in &target.namespaces {
            host.made.create(path, sandbox).expect("it is ours and stands");
        }
        host.configure(&target);
        assert_eq!(ip("-o -d link show"), links);
        assert_eq!(ip("route show table all"), routes);
        assert_eq!(host.observe(), target);
        // A link of that name is replaced, by one with another index.
        let before = nix::net::if_::if_nametoindex("nd1").expect("a link");
        host.netlink.create_link("nd1", &target.links["nd1"]).expect("replaced");
        assert_ne!(nix::net::if_::if_nametoindex("nd1").expect("a link"), before);
        host.configure(&target);
        assert_eq!(host.observe(), target);
    });
}

#[test]
fn drift_is_seen_and_healed() {
    host(|host| {
        let target = host.target();
        host.create(&target);
        let drifts: [(Option<&str>, &str); 16] = [
            (Some("web"), "addr del 10.208.0.2/24 dev eth0"),
            (Some("web"), "route del default"),
            (Some("web"), "route replace default via 10.208.0.9"),
            (Some("web"), "link set eth0 down"),
            (Some("web"), "link set lo down"),
            (Some("web"), "link set eth0 mtu 1300"),
            (Some("web"), "link set eth0 address 02:00:00:00:00:01"),
            (None, "link set nd1 down"),
            (None, "link set nd1 mtu 1300"),
            (None, "link set nd1 address 02:00:00:00:00:01"),
            (None, "addr del 10.208.0.1/32 dev lo"),
            (None, "route del 10.208.0.2"),
            (None, "route del unreachable 10.208.0.0/24"),
            (None, "neigh del 10.208.0.2 dev nd1"),
            (None, "neigh replace 10.208.0.2 dev nd1 lladdr 02:00:00:00:00:01 nud permanent"),
            (None, "route change 10.208.0.2 dev nd1 proto 110"),
        ];
        for (namespace, drift) in drifts {
            namespace.map_or_else(|| ip(drift), |namespace| host.ip_in(namespace, drift));
            assert_ne!(host.observe(), target, "not seen: {drift}");
            host.configure(&target);
            assert_eq!(host.observe(), target, "not healed: {drift}");
        }
        let ipv4_only = target;
        let target = dual(host.target());
        assert_eq!(target.namespaces, ipv4_only.namespaces);
        host.configure(&target);
        assert_eq!(host.observe(), target, "IPv6 comes to a link that is there");
        let drifts: [(Option<&str>, &str); 14] = [
            (Some("web"), "-6 addr del fd00:8::2/64 dev eth0"),
            (Some("web"), "-6 addr del fe80::42:aff:fed0:2/64 dev eth0"),
            (Some("web"), "-6 addr flush dev eth0"),
            (Some("web"), "-6 route del default"),
            (Some("web"), "-6 route replace default via fd00:8::9"),
            (Some("web"), "link set eth0 down"),
            (Some("web"), "link set eth0 mtu 1000"),
            (None, "link set nd1 down"),
            (None, "link set nd1 mtu 1000"),
            (None, "-6 addr del fd00:8::1/128 dev lo"),
            (None, "-6 route del fd00:8::2"),
            (None, "-6 route del unreachable fd00:8::/64"),
            (None, "-6 neigh del fd00:8::2 dev nd1"),
            (None, "-6 route change fd00:8::2 dev nd1 proto 110"),
        ];
        for (namespace, drift) in drifts {
            namespace.map_or_else(|| ip(drift), |namespace| host.ip_in(namespace, drift));
            assert_ne!(host.observe(), target, "not seen: {drift}");
            host.configure(&target);
            assert_eq!(host.observe(), target, "not healed: {drift}");
        }
        for (interface, key, value) in
            [("nd1", "disable_ipv6", "1"), ("nd1", "accept_ra", "1"), ("nd1", "forwarding", "0")]
        {
            set_conf(interface, key, value);
            assert_ne!(host.observe(), target, "not seen: {key}");
            host.configure(&target);
            assert_eq!(host.observe(), target, "not healed: {key}");
        }
        for (interface, key, value) in [
            ("eth0", "disable_ipv6", "1"),
            ("eth0", "accept_ra", "1"),
            ("eth0", "autoconf", "1"),
            ("lo", "disable_ipv6", "1"),
        ] {
            netns::in_namespace(&host.path("web"), || set_conf(interface, key, value)).expect("a namespace");
            assert_ne!(host.observe(), target, "not seen: {key}");
            host.configure(&target);
            assert_eq!(host.observe(), target, "not healed: {key}");
        }
        let forwarding = "/proc/sys/net/ipv4/conf/nd1/forwarding";
        assert_eq!(std::fs::read_to_string(forwarding).expect("read"), "1\n");
        std::fs::write(forwarding, "0").expect("written");
        assert_ne!(host.observe(), target, "not seen: forwarding");
        host.configure(&target);
        assert_eq!(std::fs::read_to_string(forwarding).expect("read"), "1\n");
        assert_eq!(host.observe(), target);
        // What a container sets anew by itself becomes netd's again.
        host.ip_in("web", "addr del 10.208.0.2/24 dev eth0");
        host.ip_in("web", "addr add 10.208.0.2/24 dev eth0");
        host.ip_in("web", "route add default via 10.208.0.1");
        assert_ne!(host.observe(), target, "not seen: made anew by another");
        host.configure(&target);
        assert_eq!(host.observe(), target);
        // A name cannot change while the link is up on older kernels.
        host.ip_in("web", "link set eth0 down");
        host.ip_in("web", "link set eth0 name other");
        assert_ne!(host.observe(), target, "not seen: name");
        host.configure(&target);
        assert_eq!(host.observe(), target);
    });
}

#[test]
fn what_is_no_longer_wanted_is_removed() {
    host(|host| {
        let mut target = host.target();
        host.create(&target);
        let link = target.links.get_mut("nd1").expect("a link");
        link.addresses = BTreeSet::from([network("10.208.0.9/24")]);
        link.default_routes = BTreeSet::from([address("10.208.0.10")]);
        link.mtu = 1500;
        host.configure(&target);
        assert_eq!(host.observe(), target);
        target.links.get_mut("nd1").expect("a link").default_routes.clear();
        host.configure(&target);
        assert_eq!(host.observe(), target);
        assert_eq!(host.ip_in("web", "route show default"), "");
    });
}

#[test]
fn a_link_whose_other_side_moved_is_told_so() {
    host(|host| {
        let target = host.target();
        host.create(&target);
        host.ip_in("web", &format!("link set eth0 name eth1 netns {}", host.path("client").display()));
        assert_eq!(host.observe().links["nd1"].namespace, PathBuf::new());
        let refused = host.netlink.configure_link("nd1", &target.links["nd1"]).expect_err("it is elsewhere");
        assert!(refused.to_string().contains("made again"), "{refused}");
        host.netlink.create_link("nd1", &target.links["nd1"]).expect("made again");
        host.configure(&target);
        assert_eq!(host.observe(), target);
    });
}

#[test]
fn deleting_leaves_nothing() {
    host(|host| {
        let before = (ip("-o addr"), ip("route show table all"), ip("neigh"), ip("-6 route show table all"));
        let target = dual(host.target());
        host.create(&target);
        for _ in 0..2 {
            for prefix in target.routes.keys() {
                host.netlink.delete_route(*prefix).expect("route deleted");
            }
            assert_eq!(ip("neigh"), before.2);
            for gateway in &target.gateways {
                host.netlink.delete_gateway(*gateway).expect("gateway deleted");
            }
            for name in target.links.keys() {
                host.netlink.delete_link(name).expect("link deleted");
            }
            for path in target.namespaces.keys() {
                host.made.delete(path).expect("namespace deleted");
            }
        }
        assert_eq!(host.observe(), Target::default());
        let after = (ip("-o addr"), ip("route show table all"), ip("neigh"), ip("-6 route show table all"));
        assert_eq!(after, before);
        assert_eq!(netns::names(&host.made.netns).expect("listed"), BTreeSet::new());
        assert_eq!(netns::names(&host.made.notes).expect("listed"), BTreeSet::new());
    });
}

#[test]
fn what_others_made_is_left_alone() {
    host(|host| {
        ip("link add ndx type veth peer name ndy");
        ip("link add nd7 type bridge");
        ip("link set ndx up");
        ip("addr add 10.208.0.1/32 dev lo");
        ip("addr add 10.209.0.1/24 dev ndx");
        ip("route add 10.208.0.0/24 dev ndx");
        netns::create(&host.path("theirs"), false, |_| Ok(())).expect("made");
        let before = (ip("-o -d addr"), ip("route show table all"));
        let target = host.target();

        assert_eq!(host.observe(), Target::default());
        assert!(host.made.create(&host.path("theirs"), &Sandbox::default()).is_err());
        assert!(host.made.delete(&host.path("theirs")).is_err());
        host.netlink.delete_gateway(address("10.208.0.1")).expect("none of ours");
        host.netlink.delete_route(network("10.208.0.0/24")).expect("none of ours");
        let refusals = [
            host.netlink.add_gateway(address("10.208.0.1")),
            host.netlink.set_route(network("10.208.0.0/24"), &Route::Unreachable),
            host.netlink.delete_link("ndx"),
            host.netlink.create_link("nd7", &Link { namespace: host.path("theirs"), ..target.links["nd1"].clone() }),
        ];
        for refused in refusals {
            let refused = refused.expect_err("it is not netd's");
            assert!(refused.to_string().contains("netd"), "{refused}");
        }
        assert_eq!((ip("-o -d addr"), ip("route show table all")), before);
        assert_eq!(netns::namespace_at(&host.path("theirs")), NamespaceAt::Other);
        netns::delete(&host.path("theirs")).expect("deleted");

        // What a container does inside its namespace is its own.
        ip("addr del 10.208.0.1/32 dev lo");
        ip("link del ndx");
        host.create(&target);
        host.ip_in("web", "addr add 10.99.0.1/24 dev eth0");
        host.ip_in("web", "route add 10.98.0.0/24 via 10.208.0.9");
        assert_eq!(host.observe(), target);
        host.configure(&target);
        assert!(host.ip_in("web", "addr show dev eth0").contains("10.99.0.1/24"));
        assert!(host.ip_in("web", "route").contains("10.98.0.0/24"));
    });
}

#[test]
fn a_namespace_of_that_name_made_by_another_is_not_ours() {
    host(|host| {
        let web = host.path("web");
        host.made.create(&web, &Sandbox::default()).expect("made");
        netns::delete(&web).expect("deleted behind our back");
        assert_eq!(host.made.paths().expect("listed"), BTreeMap::new());
        netns::create(&web, false, |_| Ok(())).expect("made by another");
        assert_eq!(host.made.paths().expect("listed"), BTreeMap::new());
        assert!(host.made.create(&web, &Sandbox::default()).is_err());
        netns::delete(&web).expect("deleted");
        // We ended between the file and the mount: a plain file, with a note of it.
        host.made.create(&web, &Sandbox::default()).expect("made");
        netns::delete(&web).expect("deleted");
        std::fs::write(&web, "").expect("written");
        host.made.create(&web, &Sandbox::default()).expect("made again");
        assert_eq!(host.made.paths().expect("listed"), BTreeMap::from([(web.clone(), Sandbox::default())]));
        host.made.delete(&web).expect("deleted");
        // A plain file of another stays.
        std::fs::write(&web, "").expect("written");
        assert!(host.made.create(&web, &Sandbox::default()).is_err());
        assert!(host.made.delete(&web).is_err());
        assert!(web.exists());
    });
}

#[test]
fn a_change_is_heard_also_from_inside_a_container() {
    host(|host| {
        let target = dual(host.target());
        host.create(&target);
        let (changed, mut heard) = tokio::sync::mpsc::channel(1);
        let watch = Watch::open(changed).expect("listening");
        let mut wait = |what: &str| {
            let until = Instant::now() + Duration::from_secs(5);
            while heard.try_recv().is_err() {
                assert!(Instant::now() < until, "not heard: {what}");
                std::thread::sleep(Duration::from_millis(1));
            }
            // What the same change says further.
            std::thread::sleep(Duration::from_millis(100));
            while heard.try_recv().is_ok() {}
        };
        for change in [
            "neigh del 10.208.0.2 dev nd1",
            "route del unreachable 10.208.0.0/24",
            "-6 route del unreachable fd00:8::/64",
            "-6 addr del fd00:8::1/128 dev lo",
            "link set nd1 down",
        ] {
            ip(change);
            wait(change);
        }
        for change in [
            "addr add 10.99.0.1/24 dev eth0",
            "route del default",
            "-6 addr del fd00:8::2/64 dev eth0",
            "link set eth0 down",
        ] {
            host.ip_in("web", change);
            wait(change);
        }
        // A neighbour of others is not worth waking up for.
        host.ip_in("client", "neigh add 10.208.0.77 lladdr 02:00:00:00:00:01 dev eth0");
        std::thread::sleep(Duration::from_millis(100));
        assert!(heard.try_recv().is_err());
        let ending = Instant::now();
        drop(watch);
        assert!(ending.elapsed() < Duration::from_secs(1));
    });
}

#[test]
fn facts_are_those_of_the_host_alone() {
    host(|host| {
        host.create(&host.target());
        ip("link add up0 type veth peer name up1");
        ip("link set up0 up");
        ip("link set up1 up");
        ip("addr add 198.18.0.5/24 dev up0");
        ip("route add default via 198.18.0.1");
        let facts = host.facts();
        assert_eq!(facts.uplinks.keys().collect::<Vec<_>>(), ["up0"]);
        assert_eq!(facts.uplinks["up0"].mtu, 1500);
        assert_eq!(facts.uplinks["up0"].addresses.iter().filter(|a| a.is_ipv4()).count(), 1);
        // A gateway is no route of the host's.
        host.netlink.add_gateway(address("fd00:8::1")).expect("gateway added");
        let again = host.facts();
        let ours = |network: &IpNetwork| network.to_string().starts_with("fd00:8:");
        assert!(!again.routed.iter().any(ours), "{:?}", again.routed);
        let ipv4: Vec<&IpAddr> = facts.addresses.iter().filter(|address| address.is_ipv4()).collect();
        assert_eq!(ipv4, [&address("127.0.0.1"), &address("198.18.0.5")]);
        let ipv4: Vec<&IpNetwork> = facts.routed.iter().filter(|network| network.is_ipv4()).collect();
        assert_eq!(ipv4, [&network("198.18.0.0/24")]);
    });
}

#[test]
fn a_command_becomes_one_of_the_containers() {
    host(|host| {
        host.create(&host.target());
        let hosts = host.folder.path().join("hosts");
        std::fs::write(&hosts, "10.208.0.2 web-by-file\n").expect("written");
        let files = Files {
            binds: vec![(hosts.clone(), "/etc/hosts".into()), (hosts, "/etc/no-such-file".into())],
            hostname: Some("web-1".into()),
        };
        // A program that `exec` replaces must be a process of its own.
        let run = |command: &[&str]| {
            let (path, files) = (host.path("web"), files.clone());
            let command: Vec<OsString> = command.iter().map(OsString::from).collect();
            let mut child = Command::new("/proc/self/exe");
            // SAFETY: runs in the child between fork and exec; it leaves by exec, or reports the error and exits. The
            // child has one thread, and glibc's allocator works after fork.
            unsafe { child.pre_exec(move || Err(netns::exec(&path, &files, &command))) };
            child.output()
        };
        let shell = "ip -o addr show dev eth0; cat /etc/hosts; hostname; kill -TERM $$";
        let output = run(&["sh", "-c", shell]).expect("it runs");
        let text = String::from_utf8_lossy(&output.stdout);
        for part in ["inet 10.208.0.2/24", "web-by-file", "web-1"] {
            assert!(text.contains(part), "{part} is missing in {text}");
        }
        assert_eq!(output.status.signal(), Some(15));
        assert_eq!(run(&["sh", "-c", "exit 42"]).expect("it runs").status.code(), Some(42));
        // The host has kept its own.
        assert!(!std::fs::read_to_string("/etc/hosts").expect("read").contains("web-by-file"));
        let missing = run(&["no-such-command"]).expect_err("not found");
        assert_eq!(missing.kind(), std::io::ErrorKind::NotFound);
    });
}

/// `SO_COOKIE` (socket(7), Linux 4.12).
fn cookie_of(socket: &UdpSocket) -> u64 {
    let mut cookie = 0_u64;
    let mut size = 8;
    // SAFETY: the descriptor is open during the call, and the kernel writes at most `size` bytes, which is the size of
    // `cookie`.
    let done = unsafe {
        libc::getsockopt(socket.as_raw_fd(), libc::SOL_SOCKET, libc::SO_COOKIE, (&raw mut cookie).cast(), &raw mut size)
    };
    assert_eq!(done, 0, "{}", std::io::Error::last_os_error());
    cookie
}

#[test]
fn udp_sockets_of_a_dead_backend_dial_again() {
    host(|_| {
        let server = UdpSocket::bind("127.0.0.1:0").expect("bound");
        let peer = server.local_addr().expect("an address");
        let other = UdpSocket::bind("127.0.0.1:0").expect("bound");
        let dial = |from: &str, to: String| {
            let socket = UdpSocket::bind(from).expect("bound");
            socket.connect(to).expect("connected");
            socket.send(b"x").expect("sent");
            socket
        };
        let v4 = dial("127.0.0.1:0", peer.to_string());
        let mapped = dial("[::]:0", format!("[::ffff:127.0.0.1]:{}", peer.port()));
        let server6 = UdpSocket::bind("[::1]:0").expect("bound");
        let peer6 = server6.local_addr().expect("an address");
        let v6 = dial("[::]:0", peer6.to_string());
        let bystander = dial("127.0.0.1:0", other.local_addr().expect("an address").to_string());
        let cookie = cookie_of(&v4);
        let seen = Cell::new(None);
        let is_doomed = |socket: &Connected| {
            if socket.cookie == cookie {
                seen.set(Some((socket.peer, socket.port)));
            }
            (socket.peer, socket.port) == (peer.ip(), peer.port())
        };
        assert_eq!(sockets::destroy_udp(is_doomed).expect("destroyed"), 2);
        assert_eq!(seen.get(), Some((peer.ip(), peer.port())), "a socket is known by its cookie");
        for socket in [v4, mapped] {
            assert_eq!(socket.recv(&mut [0; 1]).expect_err("destroyed").raw_os_error(), Some(libc::ECONNABORTED));
        }
        v6.send(b"x").expect("still connected");
        let is_v6 = |socket: &Connected| (socket.peer, socket.port) == (peer6.ip(), peer6.port());
        assert_eq!(sockets::destroy_udp(is_v6).expect("destroyed"), 1);
        assert_eq!(v6.recv(&mut [0; 1]).expect_err("destroyed").raw_os_error(), Some(libc::ECONNABORTED));
        bystander.send(b"x").expect("still connected");
        assert_eq!(sockets::destroy_udp(is_doomed).expect("none left"), 0);
    });
}

#[test]
fn each_namespace_has_a_cookie_of_its_own() {
    host(|host| {
        host.made.create(&host.path("web"), &Sandbox::default()).expect("made");
        let inside = || {
            ip("link set lo up");
            sockets::netns_cookie().expect("a cookie")
        };
        let web = netns::in_namespace(&host.path("web"), inside).expect("a namespace");
        assert_ne!(sockets::netns_cookie().expect("a cookie"), web);
    });
}

#[test]
fn names_of_interfaces_come_with_what_is_observed() {
    host(|host| {
        host.create(&host.target());
        let names: BTreeMap<u32, String> =
            host.netlink.observe(host.devices(), &mut Target::default()).expect("observed");
        assert_eq!(names.get(&1).map(String::as_str), Some("lo"));
        assert!(names.values().any(|name| name == "nd1"));
    });
}
