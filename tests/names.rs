//! Does a container find its peers by name, and nobody else's? Asked with dig, getent and ping.

use netd_tests::world::{BIG, Container, ELSEWHERE, OUTSIDE, OUTSIDE_SECOND, OUTSIDE6, Upstream, World, binary};
use netd_tests::{seconds, wait_until};
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use std::collections::BTreeSet;
use std::net::Ipv4Addr;
use std::time::Duration;

/// For what netd is told of.
const TOLD: Duration = seconds(5);

/// The words of dig's answer: the addresses or names alone.
#[track_caller]
fn short(container: &Container, words: &[&str]) -> Vec<String> {
    let all = ["dig", "@127.0.0.11", "+short", "+tries=1", "+time=5"].iter().chain(words);
    container.place.ok(all).lines().map(str::to_owned).collect()
}

/// The whole of dig's answer.
#[track_caller]
fn dig(container: &Container, words: &[&str]) -> String {
    container.place.ok(["dig", "@127.0.0.11", "+tries=1", "+time=5"].iter().chain(words))
}

/// The code of dig's answer, such as `NXDOMAIN`.
#[track_caller]
fn status(container: &Container, words: &[&str]) -> String {
    let text = dig(container, words);
    let code = text.split_once("status: ").and_then(|(_, rest)| rest.split_once(','));
    code.unwrap_or_else(|| panic!("no status in {text}")).0.to_owned()
}

/// A program inside, with the container's own resolv.conf and hosts.
#[track_caller]
fn inside(world: &World, name: &str, words: &[&str]) -> String {
    world.netctl_ok(["exec", name, "--"].iter().chain(words))
}

#[test]
fn d1_peers_are_found_by_all_their_names_on_the_same_network_alone() {
    let world = World::new();
    world.network("blue", "10.1.0.0/24");
    world.network("green", "10.2.0.0/24");
    let web =
        world.container("web", ["--network", "blue", "--alias", "www", "--alias", "front", "--hostname", "web-1"]);
    let client = world.container("client", ["--network", "blue"]);
    let both = world.container("both", ["--network", "green", "--network", "blue"]);
    let other = world.container("other", ["--network", "green"]);
    let ip = web.ip.to_string();
    let id = web.json["id"].as_str().expect("an id")[..12].to_owned();
    for name in ["web", "web-1", "www", "front", &id] {
        for name in [name.to_owned(), format!("{name}.blue"), name.to_uppercase(), format!("{name}.")] {
            assert_eq!(short(&client, &[&name]), [ip.as_str()], "{name}");
            assert_eq!(short(&both, &[&name]), [ip.as_str()], "{name} from two networks");
        }
        assert_eq!(status(&other, &[name]), "NXDOMAIN", "{name} from another network");
        assert_eq!(short(&web, &[name]), [ip.as_str()], "{name} from itself");
    }
    // By its address on the network that both are on.
    let on_blue = both.json["endpoints"][1]["ipv4"].as_str().expect("an address").replace("/24", "");
    assert_eq!(short(&client, &["both"]), [on_blue.as_str()]);
    assert_eq!(short(&other, &["both"]), [both.ip.to_string()]);
    assert_eq!(short(&both, &["both.blue"]), [on_blue.as_str()]);
    // And back, with the network's name.
    assert_eq!(short(&client, &["-x", &ip]), ["web.blue."]);
    assert_eq!(status(&other, &["-x", &ip]), "NXDOMAIN");
    // As programs ask.
    assert!(inside(&world, "client", &["getent", "hosts", "web"]).starts_with(&ip));
    assert!(inside(&world, "client", &["getent", "ahostsv4", "www.blue"]).starts_with(&ip));
    assert!(inside(&world, "client", &["getent", "hosts", &ip]).contains("web.blue"));
    assert!(inside(&world, "client", &["ping", "-c1", "-W2", "front"]).contains(&format!("({ip})")));
    assert_eq!(inside(&world, "client", &["dig", "+short", "+search", "web"]).trim(), ip);
    assert_eq!(world.netctl(["exec", "other", "--", "getent", "hosts", "web"]).code, 2, "not found");
}

#[test]
fn d1_an_alias_of_several_is_all_of_them_and_each_is_the_first_in_turn() {
    let world = World::new();
    let client = world.plain("client");
    let members = ["a", "b", "c"].map(|name| world.container(name, ["--alias", "db"]));
    let all: BTreeSet<String> = members.iter().map(|member| member.ip.to_string()).collect();
    let mut firsts = BTreeSet::new();
    for _ in 0..3 {
        let answer = short(&client, &["db"]);
        assert_eq!(answer.iter().cloned().collect::<BTreeSet<_>>(), all);
        firsts.insert(answer[0].clone());
    }
    assert_eq!(firsts, all);
    // Who leaves is out at once, and the last one takes the name along.
    world.netctl_ok(["container", "rm", "a"]);
    assert_eq!(short(&client, &["db"]).len(), 2);
    world.netctl_ok(["container", "rm", "b", "c"]);
    assert_eq!(status(&client, &["db"]), "NXDOMAIN");
}

#[test]
fn d1_changes_are_seen_by_the_next_question() {
    let world = World::new();
    let client = world.plain("client");
    for round in 0..5 {
        assert_eq!(status(&client, &["web"]), "NXDOMAIN", "{round}");
        let web = world.plain("web");
        assert_eq!(short(&client, &["web"]), [web.ip.to_string()], "{round}");
        world.netctl_ok(["container", "rm", "web"]);
    }
}

#[test]
fn d1_ipv6_peers_have_addresses_of_their_families_and_no_others() {
    let world = World::new();
    world.netctl_ok(["network", "create", "dual", "--subnet", "10.1.0.0/24", "--subnet", "fd00:1::/64"]);
    world.network("six", "fd00:6::/64");
    let client = world.container("client", ["--network", "dual", "--network", "six", "--network", "bridge"]);
    let web = world.container("web", ["--network", "dual"]);
    let [six, seven] = ["v6", "v7"].map(|name| world.container(name, ["--network", "six"]));
    let plain = world.plain("plain");
    assert_eq!(short(&client, &["web", "AAAA"]), [web.ip6.to_string()]);
    assert_eq!(short(&client, &["web", "A"]), [web.ip.to_string()]);
    assert_eq!(short(&client, &["-x", &web.ip6.to_string()]), ["web.dual."]);
    // A name without addresses of the family is a name all the same, and nobody else is asked.
    let upstream = Upstream::serve(&world.outside, OUTSIDE, ELSEWHERE);
    for (name, kind) in [("plain", "AAAA"), ("plain.bridge", "AAAA"), ("v6", "A"), ("web", "MX")] {
        let text = dig(&client, &[name, kind]);
        assert!(text.contains("status: NOERROR") && text.contains("ANSWER: 0,"), "{name} {kind}: {text}");
    }
    assert_eq!(upstream.asked(), [""; 0]);
    assert_eq!(short(&client, &["plain"]), [plain.ip.to_string()]);
    // A network of IPv6 alone.
    assert_eq!(short(&seven, &["v6", "AAAA"]), [six.ip6.to_string()]);
    assert!(inside(&world, "v7", &["getent", "hosts", "v6"]).starts_with(&six.ip6.to_string()));
    assert!(inside(&world, "v7", &["ping", "-6", "-c1", "-W2", "v6.six"]).contains("1 received"));
    assert_eq!(short(&seven, &["example.org"]), [ELSEWHERE.to_string()], "others' names, asked from the host");
}

#[test]
fn d1_answers_come_whole_over_tcp_and_cut_over_udp_as_the_client_takes_them() {
    let world = World::new();
    let client = world.plain("client");
    let members: Vec<Container> =
        (0..40).map(|number| world.container(&format!("m{number}"), ["--alias", "db"])).collect();
    let all: BTreeSet<String> = members.iter().map(|member| member.ip.to_string()).collect();
    let set = |words: &[&str]| short(&client, words).into_iter().collect::<BTreeSet<_>>();
    assert_eq!(set(&["db", "+tcp"]), all);
    assert_eq!(set(&["db"]), all, "EDNS takes it in one datagram");
    assert_eq!(set(&["db", "+noedns"]), all, "asked again over TCP");
    let cut = dig(&client, &["db", "+noedns", "+ignore"]);
    let header = cut.lines().find(|line| line.contains("flags:")).expect("flags").to_owned();
    assert!(header.contains(" tc ") && header.contains(" aa ") && header.contains(" ra"), "{header}");
    assert!(header.contains("ANSWER: 30,"), "as many as fit: {header}");
    assert!(dig(&client, &["db", "+bufsize=512", "+ignore"]).contains("flags: qr aa tc rd ra"));
    let edns = dig(&client, &["db", "+bufsize=1232"]);
    assert!(edns.contains("EDNS: version: 0") && edns.contains("udp: 1232"), "{edns}");
    assert!(dig(&client, &["db", "+edns=1", "+noednsneg"]).contains("BADVERS"));
    assert_eq!(status(&client, &["db", "+opcode=notify"]), "NOTIMP");
    assert_eq!(status(&client, &["version.bind", "CH", "TXT"]), "REFUSED");
    // Several questions over one connection.
    let words = ["dig", "@127.0.0.11", "+tcp", "+keepopen", "+short", "m0", "m1", "nobody", "m2"];
    let told = client.place.ok(words);
    assert_eq!(told.lines().collect::<Vec<_>>(), [0, 1, 2].map(|n| members[n].ip.to_string()));
}

#[test]
fn d1_an_answer_comes_from_the_address_that_was_asked() {
    let world = World::new();
    let client = world.plain("client");
    let web = world.plain("web");
    let probe = binary("netd-probe").display().to_string();
    for server in ["127.0.0.11:53", "[::ffff:127.0.0.11]:53"] {
        let told = client.place.ok([&probe, "ask", server, "web.", "2"]);
        assert_eq!(told, format!("NoError {} {server}\n", web.ip).repeat(2));
    }
    assert!(dig(&client, &["web", "+tcp"]).contains("SERVER: 127.0.0.11#53(127.0.0.11) (TCP)"));
}

#[test]
fn d1_port_53_is_the_container_s_own() {
    let world = World::new();
    let [dns, client] = ["dns", "client"].map(|name| world.plain(name));
    let _server = Upstream::serve(&dns.place, Ipv4Addr::UNSPECIFIED, ELSEWHERE);
    let at = format!("@{}", dns.ip);
    assert_eq!(client.place.ok(["dig", &at, "+short", "any.example"]).trim(), ELSEWHERE.to_string());
    assert_eq!(dns.place.ok(["dig", "@127.0.0.1", "+short", "+tcp", "any.example"]).trim(), ELSEWHERE.to_string());
    assert_eq!(short(&dns, &["client"]), [client.ip.to_string()], "and netd answers where it always does");
    // It may also be the server that others' names are asked of.
    let third = world.container("third", ["--dns", &dns.ip.to_string()]);
    assert_eq!(short(&third, &["www.example"]), [ELSEWHERE.to_string()]);
}

#[test]
fn d2_names_of_others_are_asked_of_the_host_s_servers_and_own_ones_never() {
    let world = World::new();
    let upstream = Upstream::serve(&world.outside, OUTSIDE, ELSEWHERE);
    let client = world.plain("client");
    assert_eq!(short(&client, &["www.example.org"]), [ELSEWHERE.to_string()]);
    assert_eq!(short(&client, &["www.example.org", "+tcp"]), [ELSEWHERE.to_string()]);
    assert_eq!(upstream.asked(), ["udp www.example.org."; 2]);
    assert!(inside(&world, "client", &["getent", "ahostsv4", "www.example.org"]).starts_with(&ELSEWHERE.to_string()));
    assert_eq!(status(&client, &["nx.example.org"]), "NXDOMAIN");
    assert_eq!(status(&client, &["fails.example.org"]), "SERVFAIL");
    assert_eq!(short(&client, &["-x", "203.0.113.9"]), [""; 0]);
    let asked = upstream.asked();
    assert!(asked.contains(&"udp 9.113.0.203.in-addr.arpa.".to_owned()), "{asked:?}");
    // Nothing that can only be a peer's leaves, whether it is one or was one.
    world.plain("web");
    world.netctl_ok(["container", "rm", "web"]);
    for name in ["web", "web.bridge", "WEB.", "nobody"] {
        for kind in ["A", "AAAA", "MX"] {
            assert_eq!(status(&client, &[name, kind]), "NXDOMAIN", "{name} {kind}");
        }
    }
    assert_eq!(status(&client, &["-x", "10.208.0.77"]), "NXDOMAIN");
    assert_eq!(upstream.asked(), [""; 0]);
    // An answer that is too large for a datagram.
    assert_eq!(short(&client, &["big.example.org"]).len(), BIG);
    assert!(dig(&client, &["big.example.org", "+ignore"]).contains(" tc "));
    let asked = upstream.asked();
    assert!(asked.contains(&"tcp big.example.org.".to_owned()), "{asked:?}");
    // What became of them all.
    for fate in ["answered", "forwarded"] {
        assert!(world.counter("names", fate) > 0, "{fate}");
    }
}

#[test]
fn d2_servers_that_do_not_answer_make_room_for_the_next_and_the_file_is_followed() {
    let world = World::new();
    let write = |text: &str| std::fs::write(world.resolv_conf(), text).expect("the host's file");
    // Nobody listens at the first.
    write(&format!("nameserver {OUTSIDE_SECOND}\nnameserver {OUTSIDE}\n"));
    let first = Upstream::serve(&world.outside, OUTSIDE, ELSEWHERE);
    let client = world.plain("client");
    assert_eq!(short(&client, &["www.example.org"]), [ELSEWHERE.to_string()]);
    assert_eq!(status(&client, &["silent.example.org"]), "SERVFAIL");
    assert!(world.counter("names", "failed") > 0);
    drop(first);
    // The stub of systemd-resolved, and a server of IPv6.
    let another = Ipv4Addr::new(203, 0, 113, 99);
    let _stub = Upstream::serve(&world.host, Ipv4Addr::new(127, 0, 0, 53), another);
    write("nameserver 127.0.0.53\nsearch corp.example\noptions edns0\n");
    wait_until("the stub is asked", TOLD, || short(&client, &["www.example.org"]) == [another.to_string()]);
    // What programs search changes with it, under those that have the file open.
    wait_until("containers search as the host does", TOLD, || {
        inside(&world, "client", &["cat", "/etc/resolv.conf"])
            == "nameserver 127.0.0.11\nsearch corp.example\noptions edns0 ndots:0\n"
    });
    assert!(inside(&world, "client", &["getent", "ahostsv4", "intranet"]).starts_with(&another.to_string()));
    let six = Ipv4Addr::new(203, 0, 113, 66);
    let _six = Upstream::serve(&world.outside, OUTSIDE6, six);
    write(&format!("nameserver {OUTSIDE6}\n"));
    wait_until("the server of IPv6 is asked", TOLD, || short(&client, &["www.example.org"]) == [six.to_string()]);
    // One on a link, which only the host is on.
    world.outside.sh("ip addr add fe80::53/64 dev out0 nodad");
    let seven = Ipv4Addr::new(203, 0, 113, 77);
    let index = world.outside.sh("ip -o link show out0 | cut -d: -f1").trim().parse().expect("an index");
    let at = std::net::SocketAddrV6::new("fe80::53".parse().expect("an address"), 53, 0, index);
    let _seven = Upstream::serve_at(&world.outside, at.into(), seven);
    write("nameserver fe80::53%up0\n");
    wait_until("the server on the link is asked", TOLD, || short(&client, &["www.example.org"]) == [seven.to_string()]);
}

#[test]
fn d2_a_container_may_have_its_own_servers_domains_options_and_hosts() {
    let world = World::new();
    world.netctl_ok(["network", "create", "dual", "--subnet", "10.1.0.0/24", "--subnet", "fd00:1::/64"]);
    let host = Upstream::serve(&world.outside, OUTSIDE, ELSEWHERE);
    let own = Ipv4Addr::new(203, 0, 113, 88);
    let _own = Upstream::serve(&world.outside, OUTSIDE_SECOND, own);
    let web = world.container(
        "web",
        [
            "--network",
            "dual",
            "--dns",
            &OUTSIDE_SECOND.to_string(),
            "--dns-search",
            "a.example",
            "--dns-search",
            "b.example",
            "--dns-option",
            "timeout:3",
            "--add-host",
            "db:192.0.2.7",
            "--add-host",
            "db6:2001:db8::7",
            "--add-host",
            "gate:host-gateway",
        ],
    );
    assert_eq!(short(&web, &["www.example.org"]), [own.to_string()]);
    assert_eq!(host.asked(), [""; 0]);
    assert_eq!(
        inside(&world, "web", &["cat", "/etc/resolv.conf"]),
        "nameserver 127.0.0.11\nsearch a.example b.example\noptions timeout:3 ndots:0\n"
    );
    let hosts = inside(&world, "web", &["cat", "/etc/hosts"]);
    for line in ["192.0.2.7\tdb", "2001:db8::7\tdb6", "10.1.0.1\tgate", "fd00:1::1\tgate"] {
        assert!(hosts.lines().any(|one| one == line), "{line} in {hosts}");
    }
    assert!(inside(&world, "web", &["getent", "hosts", "db"]).starts_with("192.0.2.7"));
    assert!(
        inside(&world, "web", &["getent", "ahostsv4", "www"]).starts_with(&own.to_string()),
        "with a domain behind"
    );
    assert!(inside(&world, "web", &["ping", "-4", "-c1", "-W2", "gate"]).contains("1 received"));
    assert_eq!(web.json["dns_search"], serde_json::json!(["a.example", "b.example"]));
    assert_eq!(web.json["extra_hosts"][2], "gate:host-gateway");
    world.container("bare", ["--dns-search", "."]);
    assert_eq!(inside(&world, "bare", &["cat", "/etc/resolv.conf"]), "nameserver 127.0.0.11\noptions ndots:0\n");
    let many: Vec<String> = (0..33).flat_map(|n| ["--dns-search".to_owned(), format!("d{n}.example")]).collect();
    let words = ["container", "create", "much"].map(str::to_owned).into_iter().chain(many);
    assert!(world.netctl_refused(words).contains("--dns-search is given more than 32 times; leave some out"));
    let refused = world.netctl_refused(["container", "create", "h", "--network", "host", "--add-host", "db:192.0.2.7"]);
    assert!(refused.contains("--add-host"), "{refused}");
    let wrong = world.netctl(["container", "create", "wrong", "--add-host", "db"]);
    assert!(wrong.code == 2 && wrong.stderr.contains("write NAME:IP"), "{wrong}");
}

#[test]
fn d2_from_an_internal_network_nothing_is_asked_outside() {
    let world = World::new();
    let upstream = Upstream::serve(&world.outside, OUTSIDE, ELSEWHERE);
    world.netctl_ok(["network", "create", "inner", "--subnet", "10.1.0.0/24", "--internal"]);
    let [web, client] = ["web", "client"].map(|name| world.container(name, ["--network", "inner"]));
    assert_eq!(short(&client, &["web"]), [web.ip.to_string()]);
    assert_eq!(status(&client, &["www.example.org"]), "SERVFAIL");
    assert_eq!(status(&client, &["www.example.org", "+tcp"]), "SERVFAIL");
    assert_eq!(upstream.asked(), [""; 0]);
    // Nor do published ports or the host's own names change it.
    assert_eq!(status(&client, &["nobody"]), "NXDOMAIN");
}

#[test]
fn no_question_is_lost_when_netd_is_killed() {
    let world = World::new();
    let client = world.plain("client");
    let web = world.plain("web");
    let port = ports(&world);
    let probe = binary("netd-probe").display().to_string();
    let mut stream = client.place.start([&probe, "ask", "127.0.0.11:53", "web.", "20000"]);
    let expected = format!("NoError {} 127.0.0.11:53", web.ip);
    for _ in 0..1000 {
        assert_eq!(stream.line(), expected);
    }
    world.kill9();
    // What is asked meanwhile waits; so does who connects.
    let waiting = client.place.start(["dig", "@127.0.0.11", "+tries=1", "+time=30", "+tcp", "+short", "web"]);
    world.start();
    assert_eq!(ports(&world), port, "the same sockets");
    let finished = stream.finish();
    assert!(finished.is_ok(), "a question was lost: {finished}");
    assert_eq!(finished.stdout.lines().filter(|line| *line == expected).count(), 19_000);
    assert_eq!(waiting.finish().stdout.trim(), web.ip.to_string());
    // And once more, after a stop that it was asked for.
    world.restart();
    assert_eq!((short(&client, &["web"]), ports(&world)), (vec![web.ip.to_string()], port));
    assert_eq!(world.steps_planned_on_start(), 0, "nothing was to be done");
}

/// The socket that it listens at, and its connection to netd.
const KEEPERS_OWN: usize = 2;

/// How many sockets a process has open; 0 when it is gone.
fn sockets_of(pid: i32) -> usize {
    let files = std::fs::read_dir(format!("/proc/{pid}/fd")).into_iter().flatten().flatten();
    let targets = files.filter_map(|file| std::fs::read_link(file.path()).ok());
    targets.filter(|target| target.to_string_lossy().starts_with("socket:")).count()
}

#[test]
fn the_keeper_of_sockets_comes_back_and_goes_with_the_last_of_them() {
    let world = World::new();
    let client = world.plain("client");
    let [keeper] = world.keepers()[..] else { panic!("one keeper: {:?}", world.keepers()) };
    kill(Pid::from_raw(keeper), Signal::SIGKILL).expect("the keeper's process");
    nudge(&world);
    wait_until("another keeper, which has the sockets", TOLD, || {
        world.keepers().iter().any(|pid| *pid != keeper && sockets_of(*pid) >= KEEPERS_OWN + 2)
    });
    let port = ports(&world);
    world.kill9();
    world.start();
    assert_eq!(ports(&world), port, "it keeps what the first one kept");
    assert_eq!(short(&client, &["client"]), [client.ip.to_string()]);
    // Without one, the next netd listens anew.
    world.kill9();
    for pid in world.keepers() {
        kill(Pid::from_raw(pid), Signal::SIGKILL).expect("the keeper's process");
    }
    world.start();
    assert_eq!(short(&client, &["client"]), [client.ip.to_string()]);
    world.netctl_ok(["container", "rm", "client"]);
    assert!(world.stop());
    wait_until("it holds nothing and ends", TOLD, || world.keepers().is_empty());
    world.start();
    assert!(world.keepers().is_empty(), "nothing is to be kept");
}

#[test]
fn what_somebody_takes_away_comes_back() {
    let world = World::new();
    let client = world.plain("client");
    let pin = world.pins().join("NAMES").display().to_string();
    let dump: serde_json::Value =
        serde_json::from_str(&world.host.ok(["bpftool", "-j", "map", "dump", "pinned", &pin])).expect("JSON");
    for entry in dump.as_array().expect("entries") {
        let key = entry["key"].as_array().expect("bytes").iter().filter_map(serde_json::Value::as_str);
        world.host.ok(["bpftool", "map", "delete", "pinned", &pin, "key"].into_iter().chain(key));
    }
    // One that leads nowhere goes.
    let stray = "1 2 3 4 5 6 7 0";
    world.host.sh(&format!("bpftool map update pinned {pin} key {stray} value 9 0 0 0"));
    nudge(&world);
    wait_until("the entry", TOLD, || {
        client.place.exec(["dig", "@127.0.0.11", "+tries=1", "+time=1", "+short", "client"]).stdout.trim()
            == client.ip.to_string()
    });
    assert!(!world.host.exec(["sh", "-c", &format!("bpftool map lookup pinned {pin} key {stray}")]).is_ok());
    // A namespace that is made anew has a name server again.
    let (netns, ip) = (world.netns("client"), client.ip);
    drop(client);
    umount2(&netns, MntFlags::MNT_DETACH).expect("the namespace was mounted");
    let _ = std::fs::remove_file(&netns);
    wait_until("the new namespace", TOLD, || {
        let place = netd_tests::world::Place::try_open("client", &netns);
        place.is_some_and(|place| place.exec(["ip", "addr"]).stdout.contains(&ip.to_string()))
    });
    let client = world.inspect("client");
    wait_until("its name server", TOLD, || {
        client.place.exec(["dig", "@127.0.0.11", "+tries=1", "+time=1", "+short", "client"]).stdout.trim()
            == ip.to_string()
    });
    assert_eq!(ports(&world).len(), 1, "of one namespace");
}

#[test]
fn a_namespace_that_somebody_removes_is_not_kept_alive() {
    let world = World::new();
    let theirs = netd_tests::world::Place::new("theirs", None);
    // As bare as the kernel makes it.
    theirs.sh("ip link set lo down");
    let path = world.scratch().join("guest-netns");
    std::fs::write(&path, "").expect("a file");
    mount(Some(theirs.path().as_str()), &path, None::<&str>, MsFlags::MS_BIND, None::<&str>).expect("a bind mount");
    let guest = world.container("guest", ["--netns", &path.display().to_string()]);
    assert_eq!(short(&guest, &["guest"]), [guest.ip.to_string()]);
    let link = guest.host_interface.clone();
    assert!(world.host.exec(["ip", "link", "show", &link]).is_ok());
    drop((guest, theirs));
    umount2(&path, MntFlags::MNT_DETACH).expect("the mount");
    std::fs::remove_file(&path).expect("the file");
    wait_until("its link is gone with it", TOLD, || !world.host.exec(["ip", "link", "show", &link]).is_ok());
    wait_until("it fails, and says so", TOLD, || {
        world.netctl_json(["status"])["objects"].to_string().contains("guest")
    });
    world.netctl_ok(["container", "prune"]);
    wait_until("nobody listens there", TOLD, || ports(&world).is_empty());
}

#[test]
fn two_worlds_keep_to_themselves() {
    let [one, two] = [World::new(), World::new()];
    let client = one.plain("client");
    two.plain("web");
    assert_eq!(status(&client, &["web"]), "NXDOMAIN");
    // The host itself is no container: it asks whom it always asks.
    let asked = one.host.exec(["dig", "@127.0.0.11", "+tries=1", "+time=1", "client"]);
    assert!(!asked.is_ok(), "{asked}");
}

/// Has netd look at the kernel: it is told of links.
fn nudge(world: &World) {
    world.host.sh("ip link add nudge type veth peer name nudged; ip link del nudge");
}

/// The ports of the name servers, as the programs know them.
fn ports(world: &World) -> Vec<String> {
    let pin = world.pins().join("NAMES").display().to_string();
    let dump: serde_json::Value =
        serde_json::from_str(&world.host.ok(["bpftool", "-j", "map", "dump", "pinned", &pin])).expect("JSON");
    let entries = dump.as_array().expect("entries").iter().map(|entry| entry["value"].to_string());
    let mut entries: Vec<String> = entries.collect();
    entries.sort_unstable();
    entries
}
