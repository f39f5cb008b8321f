//! Does a container live in the namespace that it was given: the host's, another's, somebody else's?

use netd_tests::probe;
use netd_tests::world::{HOST, Place, World, at};
use serde_json::Value;
use std::path::PathBuf;

#[test]
fn a_namespace_is_shared_and_outlives_nobody() {
    let world = World::new();
    let web = world.container("web", ["-p", "8080:80", "--hostname", "www"]);
    world.netctl_ok(["container", "create", "sharer", "--network", "container:web"]);
    let shown = world.netctl_json(["container", "inspect", "sharer"])[0].clone();
    assert_eq!((&shown["mode"], &shown["shares"]), (&"container".into(), &"web".into()), "{shown}");
    assert_eq!(shown["netns"], web.json["netns"]);
    assert_eq!((&shown["endpoints"], &shown["status"]), (&Value::Array(Vec::new()), &"ready".into()));
    assert!(world.netctl_ok(["container", "ls"]).contains("container:web"));
    let files =
        world.netctl_ok(["exec", "sharer", "--", "sh", "-c", "cat /etc/hosts; hostname; ip -o -4 addr show eth0"]);
    assert!(files.contains(&format!("{}\twww web", web.ip)) && files.contains("\nwww\n"), "{files}");
    assert!(!world.netns("sharer").exists());
    let found = world.netctl_ok(["exec", "sharer", "--", "dig", "+short", "+tries=1", "web"]);
    assert_eq!(found.trim(), web.ip.to_string(), "its resolv.conf is the other's, and its name server too");
    // What the sharer serves, the other's port leads to.
    let inside = Place::open("sharer", &PathBuf::from(shown["netns"].as_str().expect("a path")), None);
    let _server = world.serve(&inside, "sharer", &["tcp/0.0.0.0:80"]);
    assert_eq!(world.outside.run(|| probe::dial_tcp(at(HOST, 8080))).expect("an answer").server, "sharer");
    for words in [
        &["publish", "sharer", "81:81"][..],
        &["network", "connect", "bridge", "sharer"],
        &["container", "create", "third", "--network", "container:sharer"],
        &["container", "create", "third", "--network", "container:web", "-p", "81:81"],
    ] {
        let refusal = world.netctl_refused(words);
        assert!(refusal.contains("shares the namespace of"), "{words:?}: {refusal}");
    }

    world.netctl_ok(["container", "rm", "web"]);
    let gone = "container \"web\", whose namespace it shares, is gone; remove it and create it again";
    let told = || world.netctl_json(["status"])["objects"].clone();
    assert_eq!((&told()[0]["name"], &told()[0]["reason"]), (&"sharer".into(), &gone.into()));
    // A new one of that name is another one.
    world.plain("web");
    assert_eq!((told().as_array().map(Vec::len), &told()[0]["reason"]), (Some(1), &gone.into()));
    assert_eq!(world.netctl_json(["container", "inspect", "sharer"])[0]["netns"], "");
    let refusal = world.netctl(["exec", "sharer", "--", "true"]);
    assert_eq!((refusal.code, refusal.stderr.contains("has no namespace any more")), (1, true), "{refusal}");
    assert_eq!(world.netctl_ok(["container", "prune", "--filter", "until=1h"]), "");
    assert_eq!(world.netctl_ok(["container", "prune"]), "sharer\n");
    assert_eq!(told(), Value::Array(Vec::new()));
}

#[test]
fn a_namespace_that_was_lent_is_given_back_as_it_was() {
    let world = World::new();
    world.netctl_ok(["network", "create", "dual", "--subnet", "10.9.1.0/24", "--subnet", "fd00:1::/64"]);
    // One as ip-netns(8) makes it, one that is in use, and one without IPv6.
    let preparations = [
        "true",
        "sysctl -qw net.ipv6.conf.default.accept_dad=0; ip link set lo up; ip link add own type veth peer name own2; ip link set own2 up; ip link set own up; ip addr add 10.77.0.1/24 dev own
         ip route add 10.78.0.0/16 via 10.77.0.9; ip -6 addr add fd00:77::1/64 dev own nodad; sysctl -qw net.ipv4.ip_forward=1",
        "sysctl -qw net.ipv6.conf.all.disable_ipv6=1 net.ipv6.conf.default.disable_ipv6=1; ip addr add 127.0.0.5/32 dev lo",
    ];
    for (number, preparation) in preparations.into_iter().enumerate() {
        let lent = Place::new(&format!("lent{number}"), None);
        lent.sh(&format!("ip link set lo down; ip addr flush dev lo; {preparation}"));
        let path = lent.path();
        let before = dump(&lent);
        let guest = world.container("guest", ["--network", "dual", "--netns", &path]);
        assert_eq!(guest.json["netns"], path);
        let _server = world.serve(&lent, "guest", &["tcp/0.0.0.0:80", &format!("tcp/[{}]:80", guest.ip6)]);
        for address in [guest.at(80), guest.at6(80), at([127, 0, 0, 1], 80)] {
            let reply = lent.run(|| probe::dial_tcp(address));
            assert_eq!(reply.unwrap_or_else(|error| panic!("{address}: {error}")).server, "guest", "it works inside");
        }
        world.netctl_ok(["network", "connect", "bridge", "guest"]);
        world.netctl_ok(["network", "disconnect", "dual", "guest"]);
        assert!(world.stop());
        world.start();
        world.netctl_ok(["container", "rm", "guest"]);
        same(&before, &dump(&lent));
    }
}

#[test]
fn a_default_route_of_the_owner_stays() {
    let world = World::new();
    let lent = Place::new("lent", None);
    lent.sh("sysctl -qw net.ipv6.conf.default.accept_dad=0; ip link add own type veth peer name own2; ip link set own2 up; ip link set own up; ip addr add 10.77.0.1/24 dev own; ip route add default via 10.77.0.9");
    let before = dump(&lent);
    let path = lent.path();
    let refusal = world.netctl_refused(["container", "create", "guest", "--netns", &path]);
    assert!(
        refusal.contains("has a default route already, and not by netd; remove it, or join an internal network"),
        "{refusal}"
    );
    world.netctl_ok(["container", "rm", "guest"]);
    same(&before, &dump(&lent));
    world.netctl_ok(["network", "create", "inner", "--internal"]);
    world.container("guest", ["--netns", &path, "--network", "inner"]);
    world.netctl_ok(["container", "rm", "guest"]);
    same(&before, &dump(&lent));
}

/// Tells what differs, of very many lines.
#[track_caller]
fn same(before: &str, after: &str) {
    let [lost, gained] = [(before, after), (after, before)]
        .map(|(one, other)| one.lines().filter(|line| !other.lines().any(|other| other == *line)).collect::<Vec<_>>());
    assert!(lost.is_empty() && gained.is_empty(), "lost: {lost:#?}, gained: {gained:#?}");
    assert_eq!(before.lines().count(), after.lines().count());
}

/// All that a container's owner may have set: devices, addresses, routes, rules and sysctls.
fn dump(place: &Place) -> String {
    // Counters and the age of routes go on by themselves.
    place.sh(
        "ip -d link show; ip -d -o addr show; ip route show table all; ip -6 route show table all; ip rule; ip -6 rule
         ip neigh show nud permanent; sysctl -a 2>/dev/null | grep -E '^net\\.(ipv[46]\\.(conf|ip_forward)|core)' | sort",
    )
}
