//! Does netd put back what somebody else took away? Scenario L5.
//!
//! Where the kernel tells of the change, within a second; two more are granted to a busy machine. Map entries and pins
//! are not told of: they come back at the next full pass, which is every 30 s.

use netd_tests::probe::{self, Mode};
use netd_tests::world::{Container, HOST, OUTLINK, OUTSIDE, Process, UPLINK, World, at};
use netd_tests::{seconds, wait_until};
use serde_json::Value;
use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

/// For what netlink tells of.
const TOLD: Duration = seconds(3);
/// For what only a full pass finds.
const PASS: Duration = seconds(40);
const BOTH: [&str; 2] = ["tcp/0.0.0.0:80", "udp/0.0.0.0:80"];

#[test]
fn l5_deleted_routes_come_back() {
    let (world, web, _servers) = world_with_web();
    let routes = || {
        world.host.sh("ip route show | grep ^10 || true; ip route show type unreachable; ip neigh show nud permanent")
    };
    let before = routes();
    world.host.sh(&format!("ip route del {}/32", web.ip));
    wait_until("the container's route", TOLD, || routes() == before);
    world.host.sh("ip route del unreachable 10.208.0.0/24");
    wait_until("the subnet's route", TOLD, || routes() == before);
    world.host.sh(&format!("ip neigh del {} dev {}", web.ip, web.host_interface));
    wait_until("the container's neighbour entry", TOLD, || routes() == before);
    all_works(&world, &web);
}

#[test]
fn l5_deleted_addresses_come_back() {
    let (world, web, _servers) = world_with_web();
    let gateway = web.gateway;
    world.host.sh(&format!("ip addr del {gateway}/32 dev lo"));
    wait_until("the gateway's address", TOLD, || world.host.sh("ip addr show dev lo").contains(&gateway.to_string()));
    web.place.sh("ip addr flush dev eth0");
    wait_until("the container's address and default route", TOLD, || {
        web.place.sh("ip addr show dev eth0").contains(&web.ip.to_string())
            && web.place.sh("ip route show default").contains(&gateway.to_string())
    });
    web.place.sh("ip route del default");
    wait_until("the default route", TOLD, || web.place.sh("ip route show default").contains(&gateway.to_string()));
    web.place.sh("ip link set eth0 down");
    wait_until("the container's interface is up", TOLD, || {
        web.place.sh("ip route show default").contains(&gateway.to_string())
    });
    world.host.sh(&format!("ip link set {} down", web.host_interface));
    wait_until("the host's interface is up", TOLD, || web.place.run(|| probe::dial_tcp(at(OUTSIDE, 80))).is_ok());
    all_works(&world, &web);
}

#[test]
fn l5_a_deleted_link_comes_back() {
    let (world, web, _servers) = world_with_web();
    world.host.sh(&format!("ip link del {}", web.host_interface));
    wait_until("the link", TOLD, || world.outside.run(|| probe::dial_tcp(at(HOST, 8080))).is_ok());
    assert_eq!(world.inspect("web").mac, web.mac);
    all_works(&world, &web);
    // From the other side.
    web.place.sh("ip link del eth0");
    wait_until("the link", TOLD, || world.outside.run(|| probe::dial_tcp(at(HOST, 8080))).is_ok());
    all_works(&world, &web);
}

#[test]
fn l5_a_deleted_namespace_comes_back() {
    let (world, web, servers) = world_with_web();
    let ip = web.ip;
    drop(servers);
    drop(web);
    let netns = world.netns("web");
    nix::mount::umount2(&netns, nix::mount::MntFlags::MNT_DETACH).expect("the namespace was mounted");
    let _ = std::fs::remove_file(&netns);
    let is_back = || {
        netd_tests::world::Place::try_open("web", &netns)
            .is_some_and(|place| place.sh("ip addr").contains(&ip.to_string()))
    };
    wait_until("the namespace", TOLD, is_back);
    let web = world.inspect("web");
    let _servers = serve(&world, &web);
    wait_until("the container works", TOLD, || world.outside.run(|| probe::dial_tcp(at(HOST, 8080))).is_ok());
    all_works(&world, &web);
}

#[test]
fn l5_a_deleted_map_entry_comes_back() {
    let (world, web, _servers) = world_with_web();
    let maps = ["PUBLISHED", "ENDPOINTS", "PORTS_BY_IF", "LOCAL_ADDRS", "UPLINKS", "FDB"];
    for map in maps {
        assert!(delete_entries(&world, map) > 0, "{map} has entries");
    }
    // Again when netd happened to look meanwhile.
    wait_until("the entries are gone", TOLD, || {
        for map in maps {
            delete_entries(&world, map);
        }
        world.outside.run(|| probe::dial_tcp(at(HOST, 8080))).is_err()
    });
    wait_until("the map entries", PASS, || failures(&world, &web).is_empty());
    all_works(&world, &web);
}

#[test]
fn l5_detached_programs_are_attached_again() {
    let (world, web, _servers) = world_with_web();
    let links = || std::fs::read_dir(world.pins().join("links")).expect("the folder of pinned links").flatten();
    // That of the container is made when nobody waits any more.
    wait_until("the links: two at the uplink, one at the container, ten at the cgroup", TOLD, || links().count() >= 13);
    // Again when netd happened to look meanwhile.
    wait_until("nothing is attached", TOLD, || {
        for link in links() {
            world.host.ok(["bpftool", "link", "detach", "pinned", &link.path().display().to_string()]);
        }
        world.outside.run(|| probe::dial_tcp(at(HOST, 8080))).is_err()
    });
    wait_until("the programs", PASS, || failures(&world, &web).is_empty());
    all_works(&world, &web);
}

#[test]
fn l5_wiped_pins_come_back() {
    let (world, web, _servers) = world_with_web();
    std::fs::remove_dir_all(world.bpffs().join("netd")).expect("pins");
    wait_until("the pins", PASS, || {
        world.pins().join("PUBLISHED").exists() && world.outside.run(|| probe::dial_tcp(at(HOST, 8080))).is_ok()
    });
    all_works(&world, &web);
    world.netctl_ok(["publish", "web", "8081:80"]);
    assert!(world.outside.run(|| probe::dial_tcp(at(HOST, 8081))).is_ok());
    world.restart();
    all_works(&world, &web);
}

#[test]
fn l5_the_uplink_changes_its_address() {
    const NEW: Ipv4Addr = Ipv4Addr::new(198, 18, 0, 77);
    let (world, web, _servers) = world_with_web();
    world.host.sh(&format!(
        "ip addr del {HOST}/24 dev {UPLINK}; ip addr add {NEW}/24 dev {UPLINK}; ip route add default via {OUTSIDE}"
    ));
    wait_until("the outside sees the new address", TOLD, || {
        web.place.run(|| probe::dial_tcp(at(OUTSIDE, 80))).is_ok_and(|reply| reply.seen_as.ip() == IpAddr::from(NEW))
    });
    wait_until("the published port is at the new address", TOLD, || {
        world.outside.run(|| probe::dial_tcp(at(NEW, 8080))).is_ok_and(|reply| reply.server == "web")
    });
    assert!(world.dial_from_host(Mode::Tcp, at(NEW, 8080)).is_ok());
}

#[test]
fn l5_the_uplink_is_renamed_flaps_and_is_replaced() {
    let (world, web, _servers) = world_with_web();
    let default = format!("ip route add default via {OUTSIDE}");
    world
        .host
        .sh(&format!("ip link set {UPLINK} down; ip link set {UPLINK} name wan0; ip link set wan0 up; {default}"));
    wait_until("traffic through the renamed uplink", TOLD, || works(&world, &web));
    wait_until("its new name in the status", TOLD, || {
        world.netctl_json(["status"])["uplinks"].to_string().contains("wan0")
    });
    world.host.sh(&format!("ip link set wan0 down; sleep 0.2; ip link set wan0 up; {default}"));
    wait_until("traffic after the uplink was down", TOLD, || works(&world, &web));
    world.host.sh(&format!(
        "ip link del wan0
         ip link add {UPLINK} type veth peer name {OUTLINK} netns {}
         ip addr add {HOST}/24 dev {UPLINK}; ip link set {UPLINK} up",
        world.outside.path()
    ));
    world.outside.sh(&format!("ip addr add {OUTSIDE}/24 dev {OUTLINK}; ip link set {OUTLINK} up"));
    world.host.sh(&default);
    wait_until("traffic through the new uplink", TOLD, || works(&world, &web));
    all_works(&world, &web);
}

fn world_with_web() -> (World, Container, [Process; 2]) {
    let world = World::new();
    let web = world.container("web", ["-p", "8080:80", "-p", "8080:80/udp"]);
    let servers = serve(&world, &web);
    all_works(&world, &web);
    (world, web, servers)
}

fn serve(world: &World, web: &Container) -> [Process; 2] {
    [world.serve(&web.place, "web", &BOTH), world.serve(&world.outside, "outside", &BOTH)]
}

fn works(world: &World, web: &Container) -> bool {
    world.outside.run(|| probe::dial_tcp(at(HOST, 8080))).is_ok()
        && web.place.run(|| probe::dial_tcp(at(OUTSIDE, 80))).is_ok()
}

/// Every path of the container, and nothing that netd calls failing.
#[track_caller]
fn all_works(world: &World, web: &Container) {
    wait_until("every object is ready", TOLD, || {
        world.netctl_json(["status"])["objects"].as_array().is_some_and(Vec::is_empty)
    });
    assert_eq!(failures(world, web), Vec::<String>::new());
}

/// The paths of the container that do not work.
fn failures(world: &World, web: &Container) -> Vec<String> {
    let mut failures = Vec::new();
    for mode in Mode::ALL {
        let paths = [
            ("published", world.outside.run(|| probe::dial(mode, at(HOST, 8080)))),
            ("outside", web.place.run(|| probe::dial(mode, at(OUTSIDE, 80)))),
            ("localhost", world.dial_from_host(mode, at(Ipv4Addr::LOCALHOST, 8080))),
            ("host", world.dial_from_host(mode, web.at(80))),
        ];
        let failed = paths.into_iter().filter_map(|(path, reply)| Some((path, reply.err()?)));
        failures.extend(failed.map(|(path, error)| format!("{path} by {mode:?}: {error}")));
    }
    failures
}

/// Deletes every entry of a pinned map behind netd's back; how many.
fn delete_entries(world: &World, map: &str) -> usize {
    let pin = world.pins().join(map).display().to_string();
    let dump: Value =
        serde_json::from_str(&world.host.ok(["bpftool", "-j", "map", "dump", "pinned", &pin])).expect("JSON");
    let entries = dump.as_array().cloned().expect("entries");
    for entry in &entries {
        let bytes = entry["key"].as_array().expect("the key's bytes");
        let mut words = vec!["bpftool", "map", "delete", "pinned", &pin, "key"];
        words.extend(bytes.iter().filter_map(Value::as_str));
        world.host.ok(words);
    }
    entries.len()
}
