//! Do containers stand on the wire of an interface of the host, with all who are there and without the host? Scenarios L3
//! and L5 of such networks.
//!
//! ```text
//! [ containers ]==macvlan==[ host: netd, lan0 198.19.0.1/24 ]--veth--[ LAN: lan1 198.19.0.254/24, a router ]
//! ```

use netd_tests::probe::{self, Mode};
use netd_tests::world::{Container, HOST, OUTSIDE, Place, Process, UPLINK, World, at};
use netd_tests::{seconds, wait_until};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

/// For what netlink tells of.
const TOLD: Duration = seconds(3);
/// The host on the LAN.
const OWN: Ipv4Addr = Ipv4Addr::new(198, 19, 0, 1);
const OWN6: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0x19, 0, 0, 0, 0, 1);
/// The LAN's router, and a server.
const LAN: Ipv4Addr = Ipv4Addr::new(198, 19, 0, 254);
const LAN6: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0x19, 0, 0, 0, 0, 0xfe);
/// Behind the router.
const FAR: Ipv4Addr = Ipv4Addr::new(198, 19, 77, 1);
const FAR6: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0x77, 0, 0, 0, 0, 1);
/// Every address, for both TCP and UDP.
const SERVED: [&str; 2] = ["tcp/[::]:80", "udp/[::]:80"];
/// Of what `ip -o link` says.
const MAC: &str = "link/ether";
const MTU: &str = "mtu";
const CREATE: [&str; 11] = [
    "network",
    "create",
    "lan",
    "--driver",
    "macvlan",
    "--parent",
    "lan0",
    "--subnet",
    "198.19.0.0/24",
    "--gateway",
    "198.19.0.254",
];
const DUAL: [&str; 4] = ["--subnet", "2001:db8:19::/64", "--gateway", "2001:db8:19::fe"];

/// Puts a second host on the wire of `lan0`.
fn lan_of(world: &World) -> Place {
    let lan = Place::new("LAN", None);
    // It asks for no neighbour before its link-local address has been looked at for a second or two.
    lan.sysctl("net/ipv6/conf/default/accept_dad", "0");
    plug_lan(world, &lan);
    lan.sh(&format!("ip addr add {FAR}/32 dev lo; ip addr add {FAR6}/128 dev lo"));
    lan
}

fn plug_lan(world: &World, lan: &Place) {
    world.host.sh(&format!(
        "ip link add lan0 type veth peer name lan1 netns {}
         ip addr add {OWN}/24 dev lan0; ip addr add {OWN6}/64 dev lan0 nodad
         ip link set lan0 up",
        lan.path()
    ));
    lan.sh(&format!(
        "ip addr add {LAN}/24 dev lan1; ip addr add {LAN6}/64 dev lan1 nodad
         ip link set lan1 up"
    ));
}

/// Two containers on a macvlan network with these further words.
fn on_lan(world: &World, options: &[&str]) -> [Container; 2] {
    world.netctl_ok(CREATE.iter().chain(options));
    ["web", "client"].map(|name| world.container(name, ["--network", "lan"]))
}

fn serves(world: &World, place: &Place, name: &str) -> Process {
    world.serve(place, name, &SERVED)
}

/// What `ip link` says of an interface behind a word.
fn link(place: &Place, interface: &str, word: &str) -> String {
    let line = place.sh(&format!("ip -o link show dev {interface}"));
    let mut words = line.split_whitespace().skip_while(|shown| *shown != word);
    words.nth(1).unwrap_or_else(|| panic!("no {word} in {line}")).to_owned()
}

/// The client's address as the server sees it, whose sockets take IPv4 as v4-mapped addresses.
fn seen(reply: &probe::Reply) -> SocketAddr {
    SocketAddr::new(reply.seen_as.ip().to_canonical(), reply.seen_as.port())
}

/// Whether an answer to a ping comes within a second.
fn pings(from: &Place, to: impl Into<IpAddr>) -> bool {
    from.exec(["ping", "-c", "1", "-W", "1", &to.into().to_string()]).is_ok()
}

#[track_caller]
fn reach(from: &Container, name: &str, to: impl Into<IpAddr>) {
    let to = to.into();
    for mode in Mode::ALL {
        let reply = from.place.run(|| probe::dial(mode, at(to, 80)));
        let reply = reply.unwrap_or_else(|error| panic!("{} to {name} at {to}, {mode:?}: {error}", from.name));
        let own = if to.is_ipv4() { from.ip.into() } else { from.ip6.into() };
        let own = SocketAddr::new(own, reply.local.port());
        assert_eq!((reply.server.as_str(), seen(&reply)), (name, own), "{mode:?}: nothing is translated");
    }
    assert!(pings(&from.place, to), "{} pings {to}", from.name);
}

#[test]
fn containers_are_on_the_lan_with_all_but_their_host() {
    let world = World::new();
    let lan = lan_of(&world);
    let [web, client] = on_lan(&world, &DUAL);
    let _servers =
        [serves(&world, &web.place, "web"), serves(&world, &lan, "lan"), serves(&world, &world.host, "host")];
    // The host has .1, and the router .254.
    assert_eq!((web.ip, client.ip, web.gateway), ([198, 19, 0, 2].into(), [198, 19, 0, 3].into(), LAN));
    assert_eq!((web.gateway6, web.mac), (LAN6, [2, 0x42, 198, 19, 0, 2]));
    for to in [IpAddr::from(LAN), LAN6.into()] {
        reach(&client, "lan", to);
    }
    for to in [IpAddr::from(FAR), FAR6.into()] {
        let reply = client.place.run(|| probe::dial_tcp(at(to, 80))).expect("by the router");
        assert_eq!(reply.server, "lan");
    }
    for to in [IpAddr::from(web.ip), web.ip6.into()] {
        reach(&client, "web", to);
        let reply = lan.run(|| probe::dial_tcp(at(to, 80))).expect("from the LAN");
        assert_eq!((reply.server.as_str(), seen(&reply)), ("web", reply.local));
        assert!(pings(&lan, to));
    }
    let named = world.netctl_ok(["exec", "client", "--", "getent", "ahostsv4", "web"]);
    assert!(named.starts_with(&web.ip.to_string()), "its peer by name: {named}");
    // The documented rule: the host and its containers do not talk.
    for to in [IpAddr::from(OWN), OWN6.into()] {
        assert!(!pings(&client.place, to), "the host answers at {to}");
    }
    for to in [IpAddr::from(client.ip), client.ip6.into()] {
        assert!(!pings(&world.host, to), "{to} answers the host");
    }
    // All of it without netd's programs.
    assert_eq!(world.host.sh("ip -o link show | grep -c ': nd' || true"), "0\n");
    assert_eq!(world.counters().all_of("container_egress"), 0);
    assert!(world.flows().is_empty());
    let json = &world.netctl_json(["network", "inspect", "lan"])[0];
    assert_eq!((json["driver"].as_str(), json["parent"].as_str()), (Some("macvlan"), Some("lan0")));
    assert_eq!(json["subnets"][0]["aux_addresses"]["host"], OWN.to_string());
    assert_eq!(
        (&web.json["endpoints"][0]["host_interface"], &web.json["endpoints"][0]["mtu"]),
        (&"".into(), &1500.into())
    );
    let refused = world.netctl_refused(["publish", "web", "8080:80"]);
    assert!(refused.contains("it is on the wire of an interface of the host, where its ports answer"), "{refused}");
    // Nothing is left of what goes, while the rest stays.
    let inside = world.netns("client");
    world.netctl_ok(["container", "rm", "client"]);
    assert!(!inside.exists() && !pings(&lan, client.ip));
    assert!(pings(&lan, web.ip));
    world.netctl_ok(["container", "rm", "web"]);
    world.netctl_ok(["network", "rm", "lan"]);
    assert!(world.host.sh("ip link show lan0").contains("lan0"), "what netd found stays");
}

/// Who reaches whom in a mode, with the LAN's switch as it is and while it sends frames back to where they came from.
#[test]
fn modes_say_which_way_frames_go() {
    for (mode, plain, reflected) in [("bridge", true, true), ("vepa", false, true), ("private", false, false)] {
        let world = World::new();
        let lan = lan_of(&world);
        let [web, client] = on_lan(&world, &["--opt", &format!("macvlan_mode={mode}")]);
        assert!(pings(&client.place, LAN) && pings(&web.place, LAN), "{mode}: the LAN is there for both");
        assert_eq!(pings(&client.place, web.ip), plain, "{mode}");
        lan.sh("ip link add br0 type bridge
             ip link set br0 up
             ip link set lan1 master br0
             bridge link set dev lan1 hairpin on");
        wait_until("the switch has learnt", TOLD, || pings(&client.place, web.ip) == reflected);
        let shown = client.place.sh("ip -d link show eth0");
        assert!(shown.contains(&format!("macvlan mode {mode}")), "{shown}");
    }
}

#[test]
fn passthru_gives_the_parent_to_one_container() {
    let world = World::new();
    let lan = lan_of(&world);
    let before = link(&world.host, "lan0", MAC);
    world.netctl_ok(CREATE.iter().chain(&["--opt", "macvlan_mode=passthru"]));
    let web = world.container("web", ["--network", "lan"]);
    let _server = serves(&world, &web.place, "web");
    assert!(lan.run(|| probe::dial_tcp(at(web.ip, 80))).is_ok());
    assert_eq!(link(&web.place, "eth0", MAC), before);
    assert_eq!(link(&world.host, "lan0", MAC), before);
    assert_eq!(web.mac, netd_tests::frame::parse_mac(&before));
    let refused = world.netctl_refused(["container", "create", "other", "--network", "lan"]);
    assert!(refused.contains("takes one container, since it is passthru, and has \"web\""), "{refused}");
    let other = "network create other --driver macvlan --parent lan0 --subnet 10.9.0.0/24";
    let refused = world.netctl_refused(other.split(' '));
    assert!(
        refused.contains("interface lan0 is the parent of network \"lan\" already, which takes it alone"),
        "{refused}"
    );
    world.restart();
    assert_eq!(world.steps_planned_on_start(), 0);
}

/// The LAN's own subnet on the uplink, whose programs see the frames pass.
#[test]
fn an_uplink_may_be_a_parent() {
    let world = World::new();
    let create =
        format!("network create lan --driver macvlan --opt parent={UPLINK} --subnet 198.18.0.0/24 --gateway {OUTSIDE}");
    world.netctl_ok(create.split(' '));
    // The outside's second address is .3.
    let [one, two] = [40, 41].map(|last| {
        let name = format!("on-{last}");
        world.container(&name, ["--network", "lan", "--ip", &format!("198.18.0.{last}")])
    });
    let _servers = [
        serves(&world, &one.place, "one"),
        serves(&world, &world.outside, "outside"),
        serves(&world, &world.host, "host"),
    ];
    let direct = world.outside.run(|| probe::dial_tcp(at(one.ip, 80))).expect("on the wire");
    assert_eq!(direct.server, "one");
    reach(&one, "outside", OUTSIDE);
    reach(&two, "one", one.ip);
    assert!(!pings(&one.place, HOST));
    // What is behind the host goes out by it as ever, and the host does not talk to those on its wire.
    let plain = world.plain("plain");
    let out = plain.place.run(|| probe::dial_tcp(at(OUTSIDE, 80))).expect("out by the host");
    assert_eq!(seen(&out).ip(), IpAddr::from(HOST));
    assert!(!pings(&plain.place, one.ip));
    let refused = world.netctl_refused(["container", "create", "no", "--network", "lan", "--ip", &HOST.to_string()]);
    assert!(refused.contains("is taken by the auxiliary address \"host\""), "{refused}");
}

#[test]
fn a_container_on_both_publishes_through_its_bridge_network() {
    let world = World::new();
    let lan = lan_of(&world);
    world.netctl_ok(CREATE);
    let both = world.container("both", ["--network", "bridge", "--network", "lan", "-p", "8080:80"]);
    let _servers =
        [serves(&world, &both.place, "both"), serves(&world, &lan, "lan"), serves(&world, &world.outside, "outside")];
    let through = world.outside.run(|| probe::dial_tcp(at(HOST, 8080))).expect("published at the host");
    assert_eq!(through.server, "both");
    let on_lan: Ipv4Addr = "198.19.0.2".parse().expect("a literal");
    let direct = lan.run(|| probe::dial_tcp(at(on_lan, 80))).expect("on the wire");
    assert_eq!(direct.server, "both");
    // On the wire it is itself, and everywhere else it is the host.
    let itself = both.place.run(|| probe::dial_tcp(at(LAN, 80))).expect("by the wire");
    assert_eq!(seen(&itself).ip(), IpAddr::from(on_lan));
    let as_host = both.place.run(|| probe::dial_tcp(at(OUTSIDE, 80))).expect("by the host");
    assert_eq!(seen(&as_host).ip(), IpAddr::from(HOST));
    let interfaces = both.place.sh("ip -o link");
    assert!(interfaces.contains("eth0@") && interfaces.contains("eth1@"), "{interfaces}");
    let refused =
        world.netctl_refused(["container", "create", "no", "--network", "lan", "--network", "bridge", "-p", "81:81"]);
    assert!(refused.contains("its default route is by a macvlan or ipvlan network"), "{refused}");
}

#[test]
fn l5_what_is_taken_away_comes_back() {
    let world = World::new();
    let lan = lan_of(&world);
    let [web, _client] = on_lan(&world, &DUAL);
    let _server = serves(&world, &web.place, "web");
    let works = || {
        [IpAddr::from(web.ip), web.ip6.into()].into_iter().all(|ip| lan.run(|| probe::dial_tcp(at(ip, 80))).is_ok())
            && web.place.sh("ip route show default; ip -6 route show default").lines().count() == 2
    };
    assert!(works());
    for deed in [
        "ip link del eth0",
        "ip addr flush dev eth0",
        "ip link set eth0 down",
        "ip route del default",
        "ip link set eth0 down; ip link set eth0 name other",
    ] {
        web.place.sh(deed);
        wait_until(deed, TOLD, works);
    }
    world.host.sh("ip link set lan0 down");
    assert!(!works());
    world.host.sh("ip link set lan0 up");
    wait_until("the parent flapped", TOLD, works);
    world.host.sh("ip link set lan0 mtu 1400");
    wait_until("the parent's MTU", TOLD, || link(&web.place, "eth0", MTU) == "1400");
    world.host.sh("ip link set lan0 mtu 1500");
    wait_until("the parent's MTU", TOLD, || link(&web.place, "eth0", MTU) == "1500");
    assert!(works());
}

#[test]
fn l5_a_parent_that_went_away_returns() {
    let world = World::new();
    let lan = lan_of(&world);
    let [web, _client] = on_lan(&world, &DUAL);
    let _server = serves(&world, &web.place, "web");
    world.host.sh("ip link del lan0");
    let status = || world.netctl(["status"]).stdout;
    // The parent is off the list of interfaces before what is on its wire is.
    let told = "eth0 is not in it: on network lan, the parent lan0 is not there";
    wait_until("the container fails, with its network's reason", TOLD, || status().contains(told));
    let refused = world.netctl_refused(["container", "create", "late", "--network", "lan"]);
    assert!(refused.contains("the parent lan0 is not there; bring it back, or remove the network"), "{refused}");
    world.netctl_ok(["container", "rm", "late"]);
    plug_lan(&world, &lan);
    wait_until("the container is back", TOLD, || lan.run(|| probe::dial_tcp(at(web.ip6, 80))).is_ok());
    assert!(lan.run(|| probe::dial_tcp(at(web.ip, 80))).is_ok());
    world.netctl_ok(["status"]);
}

/// The namespace's file is gone, and a program keeps the namespace and what is in it alive, with the addresses.
#[test]
fn l5_a_deleted_namespace_comes_back_and_the_old_one_loses_its_interface() {
    let world = World::new();
    let lan = lan_of(&world);
    let [web, _client] = on_lan(&world, &[]);
    let old = web.place.clone();
    let netns = world.netns("web");
    nix::mount::umount2(&netns, nix::mount::MntFlags::MNT_DETACH).expect("the namespace was mounted");
    std::fs::remove_file(&netns).expect("its file");
    // Netlink does not tell of it: any change does.
    world.host.sh("ip link set lan0 mtu 1450");
    wait_until("the new namespace", TOLD, || {
        Place::try_open("web", &netns).is_some_and(|place| place.sh("ip addr").contains(&web.ip.to_string()))
    });
    assert!(!old.sh("ip -o link").contains("eth0"), "the old one has it no more");
    wait_until("the container answers", TOLD, || pings(&lan, web.ip));
    // Nobody holds this one: its interface and the id that the note tells of go with it.
    drop((old, web.place));
    nix::mount::umount2(&netns, nix::mount::MntFlags::MNT_DETACH).expect("the namespace was mounted");
    std::fs::remove_file(&netns).expect("its file");
    world.host.sh("ip link set lan0 mtu 1400");
    wait_until("the container answers", TOLD, || netns.exists() && pings(&lan, web.ip));
}

#[test]
fn l3_a_restart_finds_all_as_it_should_be() {
    let world = World::new();
    let lan = lan_of(&world);
    let [web, _client] = on_lan(&world, &DUAL);
    world.kill9();
    assert!(pings(&lan, web.ip), "without netd");
    world.start();
    assert_eq!(world.steps_planned_on_start(), 0);
    // Born, and stopped before it had its alias.
    world.kill9();
    web.place.sh("ip link set eth0 down; ip link set eth0 alias '' name nd1");
    world.start();
    wait_until("it has its name", TOLD, || web.place.sh("ip -o link").contains("eth0"));
    wait_until("it answers", TOLD, || pings(&lan, web.ip));
    // Gone meanwhile: the note alone is no interface.
    world.kill9();
    web.place.sh("ip link del eth0");
    world.start();
    wait_until("it answers", TOLD, || pings(&lan, web.ip));
}

#[test]
fn a_namespace_of_somebody_else_is_left_as_it_was() {
    let world = World::new();
    let lan = lan_of(&world);
    let theirs = Place::new("theirs", None);
    world.netctl_ok(CREATE);
    let path = theirs.path();
    world.netctl_ok(["container", "create", "guest", "--network", "lan", "--netns", &path]);
    let guest = world.inspect("guest");
    assert!(pings(&lan, guest.ip));
    world.netctl_ok(["container", "rm", "guest"]);
    assert!(!theirs.sh("ip -o link").contains("eth0"));
    // What bears the name is not replaced.
    theirs.sh("ip link add eth0 type veth peer name eth9");
    let refused = world.netctl_refused(["container", "create", "guest", "--network", "lan", "--netns", &path]);
    assert!(refused.contains("an interface named eth0 is in") && refused.contains("remove or rename it"), "{refused}");
    theirs.sh("ip link del eth0");
    let guest = world.inspect("guest");
    wait_until("its place is free", seconds(10), || pings(&lan, guest.ip));
    world.stop();
    let cleanup = world.netd(["cleanup"]);
    assert!(cleanup.is_ok(), "{cleanup}");
    assert_eq!(theirs.sh("ip -o link | wc -l"), "1\n", "only lo is left");
}

/// VLAN sub-interfaces and ipvlan, where the kernel has them; else the refusal says what to do.
#[test]
fn vlans_and_ipvlan_are_made_or_the_missing_driver_is_named() {
    let world = World::new();
    let lan = lan_of(&world);
    let made = |words: &str, what: &str, module: &str, setting: &str| {
        let finished = world.netctl(words.split(' '));
        if finished.is_ok() {
            return true;
        }
        let expected = format!(
            "cannot be made: the kernel has no driver for {what}; load the module {module} (modprobe {module}), or use \
             a kernel with {setting}"
        );
        assert!(finished.stderr.contains(&expected), "{finished}");
        assert!(world.netd(["check"]).stdout.contains(&format!("the kernel has no driver for {what}")));
        false
    };
    let vlan = "network create twenty --driver macvlan --parent lan0.20 --subnet 198.19.20.0/24";
    if made(vlan, "VLAN sub-interfaces", "8021q", "CONFIG_VLAN_8021Q") {
        lan.sh("ip link add lan1.20 link lan1 type vlan id 20; ip addr add 198.19.20.254/24 dev lan1.20; ip link set lan1.20 up");
        let tagged = world.container("tagged", ["--network", "twenty"]);
        wait_until("VLAN 20 is there", TOLD, || pings(&lan, tagged.ip));
        world.host.sh("ip link del lan0.20");
        wait_until("VLAN 20 is back", TOLD, || pings(&lan, tagged.ip));
        world.netctl_ok(["container", "rm", "tagged"]);
        world.netctl_ok(["network", "rm", "twenty"]);
    }
    assert!(!world.host.sh("ip -o link").contains("lan0.20"), "nothing is left of it");
    for mode in ["l2", "l3"] {
        let create = format!(
            "network create {mode} --driver ipvlan --parent lan0 --subnet 198.19.0.0/24 --gateway {LAN} --opt ipvlan_mode={mode}"
        );
        if made(&create, "ipvlan interfaces", "ipvlan", "CONFIG_IPVLAN") {
            let two = ["one", "two"].map(|name| world.container(name, ["--network", mode]));
            assert!(pings(&two[0].place, two[1].ip), "{mode}");
            assert_eq!(pings(&two[0].place, LAN), mode == "l2", "{mode}: in l3, the LAN knows no way back");
            world.netctl_ok(["container", "rm", "one", "two"]);
            world.netctl_ok(["network", "rm", mode]);
        }
    }
}
