//! Do `netctl`, `netd` and the API keep the contract: words, exit codes, names in JSON?

use netd_tests::probe::{self, Mode};
use netd_tests::world::{HOST, Process, World, at, binary};
use netd_tests::{seconds, wait_until};
use nix::sys::signal::Signal;
use serde_json::Value;
use std::collections::BTreeSet;
use std::net::Ipv4Addr;

#[test]
fn containers_are_shown_as_the_contract_says() {
    let world = World::new();
    let web =
        world.container("web", ["-p", "8080:80", "--label", "tier=front", "--hostname", "www", "--alias", "site"]);
    let json = &web.json;
    has(json, "name id netns mode hostname created labels endpoints publishes");
    has(&json["endpoints"][0], "network interface host_interface ipv4 ipv6 gateway mac aliases mtu status");
    has(&json["publishes"][0], "host_ip host_port container_port protocol status");
    for (pointer, value) in [
        ("/name", Value::from("web")),
        ("/netns", world.netns("web").display().to_string().into()),
        ("/mode", "bridge".into()),
        ("/hostname", "www".into()),
        ("/labels/tier", "front".into()),
        ("/endpoints/0/network", "bridge".into()),
        ("/endpoints/0/interface", "eth0".into()),
        ("/endpoints/0/ipv4", "10.208.0.2/24".into()),
        ("/endpoints/0/ipv6", Value::Null),
        ("/endpoints/0/gateway", "10.208.0.1".into()),
        ("/endpoints/0/mac", "02:42:0a:d0:00:02".into()),
        ("/endpoints/0/aliases/0", "site".into()),
        ("/endpoints/0/mtu", 1500.into()),
        ("/endpoints/0/status", "ready".into()),
        ("/publishes/0/host_ip", "0.0.0.0".into()),
        ("/publishes/0/host_port", 8080.into()),
        ("/publishes/0/container_port", 80.into()),
        ("/publishes/0/protocol", "tcp".into()),
        ("/publishes/0/status", "ready".into()),
    ] {
        assert_eq!(json.pointer(pointer), Some(&value), "{pointer} of {json}");
    }
    assert!(web.host_interface.starts_with("nd"), "{}", web.host_interface);
    let created = json["created"].as_str().expect("a time");
    assert!(created.parse::<jiff::Timestamp>().is_ok(), "not RFC 3339: {created}");
    let table = world.netctl_ok(["container", "ls"]);
    assert!(table.contains("web") && table.contains("10.208.0.2"), "{table}");
    assert_eq!(world.netctl_json(["container", "ls"]).as_array().map(Vec::len), Some(1));
}

#[test]
fn everything_else_is_shown_as_the_contract_says() {
    let world = World::new();
    let web = world.container("web", ["-p", "8080:80"]);
    let _server = world.serve(&web.place, "web", &["tcp/0.0.0.0:80"]);
    let stream = world.outside.run(|| std::net::TcpStream::connect(at(HOST, 8080))).expect("a connection");
    probe::exchange(&stream).expect("an exchange");
    let first = |words: &[&str]| world.netctl_json(words)[0].clone();
    has(
        &first(&["network", "inspect", "bridge"]),
        "name id driver subnets internal icc masquerade mtu parent labels options created containers",
    );
    let bridge = first(&["network", "inspect", "bridge"]);
    has(&bridge["subnets"][0], "subnet gateway ip_range aux_addresses");
    has(&bridge["containers"][0], "name interface ipv4 ipv6 mac aliases");
    assert_eq!((&bridge["name"], &bridge["driver"]), (&"bridge".into(), &"bridge".into()));
    assert_eq!(
        (&bridge["subnets"][0]["subnet"], &bridge["subnets"][0]["gateway"]),
        (&"10.208.0.0/24".into(), &"10.208.0.1".into())
    );
    let networks = world.netctl_json(["network", "ls"]);
    let networks: BTreeSet<_> =
        networks.as_array().expect("networks").iter().filter_map(|row| row["name"].as_str()).collect();
    assert_eq!(networks, BTreeSet::from(["bridge", "host", "none"]));
    has(&first(&["port", "ls"]), "container host_ip host_ip6 host_port container_port protocol status");
    has(
        &first(&["flow", "ls"]),
        "container protocol state source destination translated_source translated_destination packets bytes age_s idle_s",
    );
    has(&first(&["stats"]), "hook outcome packets bytes");
    let status = world.netctl_json(["status"]);
    has(&status, "revision observed_revision objects uplinks maps version abi");
    has(&status["maps"][0], "name entries max");
    assert_eq!(status["objects"], Value::Array(Vec::new()));
    assert!(status["uplinks"].to_string().contains("up0"), "{status}");
    assert_eq!(status["abi"], netd_common::layout::ABI_VERSION);
    let maps = status["maps"].as_array().expect("maps");
    let fill = |name: &str| maps.iter().find(|map| map["name"] == name).and_then(|map| map["entries"].as_u64());
    assert_eq!((fill("PUBLISHED"), fill("ENDPOINTS")), (Some(2), Some(1)), "one entry of each family: {status}");
    for words in [vec!["network", "ls"], vec!["port", "ls"], vec!["flow", "ls"], vec!["stats"], vec!["status"]] {
        assert!(!world.netctl_ok(&words).is_empty(), "the table of {words:?}");
    }
    assert!(world.netctl_ok(["version"]).contains(env!("CARGO_PKG_VERSION")));
    assert!(world.netctl_ok(["completions", "bash"]).contains("netctl"));
}

#[test]
fn a_container_may_have_no_network_or_the_hosts() {
    let world = World::new();
    world.netctl_ok(["container", "create", "alone", "--network", "none"]);
    world.netctl_ok(["container", "create", "daemon", "--network", "host"]);
    let shown = world.netctl_json(["container", "inspect", "alone", "daemon"]);
    assert_eq!((&shown[0]["mode"], &shown[1]["mode"]), (&"none".into(), &"host".into()), "{shown}");
    assert_eq!(shown[0]["endpoints"], Value::Array(Vec::new()));
    let links = world.netctl_ok(["exec", "alone", "--", "ip", "-o", "link", "show", "up"]);
    assert!(links.contains("lo:") && links.lines().count() == 1, "{links}");
    let links = world.netctl_ok(["exec", "daemon", "--", "ip", "-o", "link"]);
    assert!(links.contains("up0"), "{links}");
    for name in ["alone", "daemon"] {
        assert!(world.netctl_refused(["publish", name, "8080:80"]).contains(name));
    }
    world.netctl_ok(["container", "rm", "alone", "daemon"]);
}

#[test]
fn refusals_say_what_and_by_whom() {
    let world = World::new();
    world.container("web", ["-p", "8080:80", "--ip", "10.208.0.9"]);
    world.plain("client");
    for (words, said) in [
        (&["container", "rm", "wbe"][..], &["wbe", "web"][..]),
        (&["publish", "clinet", "81:80"], &["clinet", "client"]),
        (&["container", "create", "x", "--network", "brigde"], &["brigde", "bridge"]),
        (&["container", "create", "web"], &["web", "already"]),
        (&["publish", "client", "8080:80"], &["8080", "tcp", "web"]),
        (&["publish", "client", "127.0.0.1:8080:80"], &["8080", "web"]),
        (&["container", "create", "x", "--ip", "10.208.0.9"], &["10.208.0.9", "web"]),
        (&["container", "create", "x", "--ip", "10.9.9.9"], &["10.9.9.9", "10.208.0.0/24"]),
        (&["container", "create", "x", "--ip", "10.208.0.1"], &["10.208.0.1", "gateway"]),
        (&["container", "create", "x", "--ip6", "fd00::2"], &["IPv6"]),
        (&["publish", "client", "[fe80::1]:81:80"], &["fe80::1", "link-local"]),
        (&["publish", "client", "[2001:db8::77]:81:80"], &["2001:db8::77", "2001:db8:18::1"]),
        (&["publish", "client", "[::1]:8080:80"], &["8080", "web"]),
        (&["publish", "client", "192.0.2.77:81:80"], &["192.0.2.77"]),
        (&["unpublish", "client", "81:80"], &["81", "client"]),
        (&["network", "inspect", "brigde"], &["brigde", "bridge"]),
        (&["container", "inspect", "wbe"], &["wbe", "web"]),
    ] {
        let line = world.netctl_refused(words);
        for word in said {
            assert!(line.contains(word), "netctl {words:?} does not say {word}: {line}");
        }
    }
    assert_eq!(world.netctl_json(["container", "ls"]).as_array().map(Vec::len), Some(2), "nothing was half done");
    assert_eq!(world.netctl_json(["port", "ls"]).as_array().map(Vec::len), Some(1));
}

#[test]
fn what_cannot_be_meant_is_a_usage_error() {
    let world = World::new();
    world.plain("web");
    for words in [
        &["contaner", "ls"][..],
        &["publish", "web"],
        &["publish", "web", "70000:80"],
        &["publish", "web", "80-90:80"],
        &["publish", "web", "8080:0"],
        &["publish", "web", "8080:80/icmp"],
        &["container", "create", "x", "--ip", "300.1.1.1"],
        &["container", "create"],
    ] {
        let finished = world.netctl(words);
        assert_eq!(finished.code, 2, "netctl {words:?}: {finished}");
        assert!(!finished.stderr.is_empty());
    }
}

#[test]
fn names_are_checked() {
    let world = World::new();
    for name in ["", ".", "..", "a/b", "../../etc/x", "-x", "a b", "a\nb", "ä", &"x".repeat(200)] {
        let finished = world.netctl(["container", "create", "--", name]);
        assert!(finished.code == 1 || finished.code == 2, "{name:?}: {finished}");
    }
    assert_eq!(world.netctl_json(["container", "ls"]), Value::Array(Vec::new()));
    for name in ["a", "Web_1.example-2"] {
        world.netctl_ok(["container", "create", name]);
    }
}

#[test]
fn a_namespace_that_exists_is_not_taken_over() {
    let world = World::new();
    let mine = netd_tests::world::Place::new("mine", None);
    std::fs::write(world.netns("web"), "").expect("a file");
    let path = mine.path();
    nix::mount::mount(
        Some(path.as_str()),
        &world.netns("web"),
        None::<&str>,
        nix::mount::MsFlags::MS_BIND,
        None::<&str>,
    )
    .expect("a bind mount");
    let refusal = world.netctl_refused(["container", "create", "web"]);
    assert!(refusal.contains("web"), "{refusal}");
    assert!(!mine.sh("ip -o link show").contains("eth0"), "it was touched");

    // With --netns it is used, and left when the container goes.
    let netns = world.netns("web").display().to_string();
    let web = world.container("guest", ["--netns", &netns, "-p", "8080:80"]);
    assert_eq!(web.json["netns"], netns);
    let _server = world.serve(&mine, "guest", &["tcp/0.0.0.0:80"]);
    assert_eq!(world.outside.run(|| probe::dial_tcp(at(HOST, 8080))).expect("an answer").server, "guest");
    world.netctl_ok(["container", "rm", "guest"]);
    assert!(!mine.sh("ip -o link show").contains("eth0"), "netd's interface is gone");
    assert!(world.netns("web").exists(), "the namespace itself is somebody else's");
    nix::mount::umount2(&world.netns("web"), nix::mount::MntFlags::MNT_DETACH).expect("the mount");
    std::fs::remove_file(world.netns("web")).expect("the file");
}

#[test]
fn exec_runs_inside_with_its_exit_code_and_signals() {
    let world = World::new();
    let web = world.container("web", ["--hostname", "www", "--dns", "198.18.0.53"]);
    assert!(world.netctl_ok(["exec", "web", "--", "ip", "-4", "addr", "show", "eth0"]).contains(&web.ip.to_string()));
    assert_eq!(world.netctl(["exec", "web", "--", "sh", "-c", "exit 42"]).code, 42);
    assert_eq!(world.netctl(["exec", "web", "--", "/no/such/program"]).code, 127);
    let files = world.netctl_ok(["exec", "web", "--", "cat", "/etc/resolv.conf", "/etc/hosts"]);
    assert!(
        files.contains("nameserver 127.0.0.11") && files.contains("www") && files.contains(&web.ip.to_string()),
        "{files}"
    );
    assert!(world.netctl_refused(["exec", "wbe", "--", "true"]).contains("web"));

    let netctl = binary("netctl").display().to_string();
    let socket = world.socket().display().to_string();
    let script = "trap 'echo caught; exit 7' TERM; echo running; while :; do sleep 0.05; done";
    let mut running: Process =
        world.host.start([&netctl, "--socket", &socket, "exec", "web", "--", "sh", "-c", script]);
    assert_eq!(running.line(), "running");
    running.signal(Signal::SIGTERM);
    let finished = running.finish();
    assert_eq!((finished.code, finished.stdout.as_str()), (7, "caught\n"), "{finished}");
    let killed = world.netctl(["exec", "web", "--", "sh", "-c", "kill -KILL $$"]);
    assert_eq!(killed.code, 128 + 9, "{killed}");
}

#[test]
fn publish_takes_every_form_of_spec() {
    let world = World::new();
    let web = world.plain("web");
    let _server = world.serve(&web.place, "web", &["tcp/0.0.0.0:80", "udp/0.0.0.0:80", "tcp/0.0.0.0:81"]);
    for free in ["80", ":80", "0:80", "127.0.0.1::80"] {
        let printed = world.netctl_ok(["publish", "web", free]);
        let ports: Vec<Value> = world.netctl_json(["port", "ls", "web"]).as_array().cloned().expect("ports");
        assert_eq!(ports.len(), 1, "{free}: {ports:?}");
        let port = ports[0]["host_port"].as_u64().and_then(|port| u16::try_from(port).ok()).expect("a port");
        assert!(
            port >= 1024 && printed.contains(&port.to_string()),
            "{free}: netd picked {port} and printed {printed}"
        );
        assert_eq!(world.dial_from_host(Mode::Tcp, at(Ipv4Addr::LOCALHOST, port)).expect("an answer").server, "web");
        world.netctl_ok(["unpublish", "web", "--all"]);
    }
    world.netctl_ok(["publish", "web", "8000-8001:80-81", "8080:80/UDP", "127.0.0.1:9000:80/tcp"]);
    let ports = world.netctl_json(["port", "ls"]);
    let row = |row: &Value| {
        format!("{}:{}:{}/{}", row["host_ip"], row["host_port"], row["container_port"], row["protocol"])
            .replace('"', "")
    };
    let rows: BTreeSet<String> = ports.as_array().expect("ports").iter().map(row).collect();
    let expected = ["0.0.0.0:8000:80/tcp", "0.0.0.0:8001:81/tcp", "0.0.0.0:8080:80/udp", "127.0.0.1:9000:80/tcp"];
    assert_eq!(rows, expected.map(str::to_owned).into());
    let revision = |world: &World| world.netctl_json(["status"])["revision"].as_u64().expect("a revision");
    let before = revision(&world);
    world.netctl_ok(["publish", "web", "8080:80/udp"]);
    assert_eq!(revision(&world), before, "what is published already changes nothing");
    world.netctl_ok(["unpublish", "web", "8000:80", "8001:81"]);
    world.netctl_ok(["unpublish", "web", "--all"]);
    assert_eq!(world.netctl_json(["port", "ls"]), Value::Array(Vec::new()));
}

#[test]
fn the_api_answers_curl() {
    let world = World::new();
    world.container("web", ["-p", "8080:80"]);
    let socket = world.socket().display().to_string();
    let curl = |words: &[&str]| {
        let mut all = vec!["curl", "-s", "-m5", "-w", "\n%{http_code}", "--unix-socket", &socket];
        all.extend(words);
        let answer = world.host.ok(all);
        let (body, code) = answer.rsplit_once('\n').expect("a status code");
        (serde_json::from_str::<Value>(body).unwrap_or_else(|error| panic!("{error}: {answer}")), code.to_owned())
    };
    let (status, code) = curl(&["http://netd/v1/status"]);
    assert_eq!((code.as_str(), status["observed_revision"].is_u64()), ("200", true), "{status}");
    let (containers, code) = curl(&["http://netd/v1/containers"]);
    assert_eq!((code.as_str(), &containers[0]["name"]), ("200", &"web".into()), "{containers}");
    let (error, code) = curl(&["http://netd/v1/containers/wbe"]);
    assert_eq!((code.as_str(), &error["code"]), ("404", &"unknown_container".into()), "{error}");
    assert!(error["message"].as_str().is_some_and(|message| message.contains("web")), "{error}");
    let (error, code) = curl(&["http://netd/v1/nothing"]);
    assert_eq!((code.as_str(), error["code"].is_string()), ("404", true), "{error}");
    let (error, code) = curl(&[
        "-X",
        "POST",
        "-H",
        "content-type: application/json",
        "-d",
        r#"{"name":"x","nam":1}"#,
        "http://netd/v1/containers",
    ]);
    assert_eq!((code.as_str(), error["code"].is_string()), ("400", true), "unknown fields are refused: {error}");
    let mode =
        std::os::unix::fs::PermissionsExt::mode(&std::fs::metadata(world.socket()).expect("the socket").permissions());
    assert_eq!(mode & 0o777, 0o660);
}

#[test]
fn events_tell_of_changes_and_drops() {
    let world = World::new();
    let netctl = binary("netctl").display().to_string();
    let socket = world.socket().display().to_string();
    let follower = world.host.start([&netctl, "--socket", &socket, "-o", "json", "events", "--follow"]);
    std::thread::sleep(std::time::Duration::from_millis(300));
    let web = world.container("web", ["-p", "8080:80"]);
    let _ = web.place.exec(["ping", "-c1", "-W1", "10.208.0.200"]);
    world.netctl_ok(["unpublish", "web", "--all"]);
    world.netctl_ok(["container", "rm", "web"]);
    std::thread::sleep(std::time::Duration::from_millis(500));
    follower.signal(Signal::SIGTERM);
    let told = follower.finish().stdout;
    let lines: Vec<Value> =
        told.lines().map(|line| serde_json::from_str(line).expect("one JSON object a line")).collect();
    for word in ["web", "8080", "ArpUnanswered"] {
        assert!(told.contains(word), "no {word} in {told}");
    }
    assert!(lines.len() >= 3, "created, unpublished, removed: {told}");
}

#[test]
fn prune_removes_containers_whose_namespace_is_gone() {
    let world = World::new();
    let mine = netd_tests::world::Place::new("mine", None);
    let path = world.scratch().join("guest-netns");
    std::fs::write(&path, "").expect("a file");
    nix::mount::mount(Some(mine.path().as_str()), &path, None::<&str>, nix::mount::MsFlags::MS_BIND, None::<&str>)
        .expect("a bind mount");
    world.plain("web");
    world.container("guest", ["--netns", &path.display().to_string()]);
    world.netctl_ok(["container", "prune"]);
    assert_eq!(world.netctl_json(["container", "ls"]).as_array().map(Vec::len), Some(2), "both live");
    nix::mount::umount2(&path, nix::mount::MntFlags::MNT_DETACH).expect("the mount");
    std::fs::remove_file(&path).expect("the file");
    drop(mine);
    world.netctl_ok(["container", "prune"]);
    let left = world.netctl_json(["container", "ls"]);
    assert_eq!(left.as_array().map(Vec::len), Some(1), "{left}");
    assert_eq!(left[0]["name"], "web");
}

#[test]
fn netd_checks_and_cleans_up() {
    let world = World::new();
    let check = world.netd(["check"]);
    assert!(check.is_ok() && check.stdout.contains("TCX"), "{check}");
    world.container("web", ["-p", "8080:80"]);
    assert!(!world.left_behind().is_empty(), "a container leaves traces while it lives");
    assert!(world.stop());
    assert!(!world.left_behind().is_empty(), "stopping the agent leaves traffic running");
    assert!(world.netd(["cleanup"]).is_ok());
    assert_eq!(world.left_behind(), Vec::<String>::new());
    assert!(world.netd(["cleanup"]).is_ok(), "a second time does no harm");
    world.start();
    assert_eq!(world.netctl_json(["container", "ls"]), Value::Array(Vec::new()), "the state went too");
}

#[test]
fn who_is_not_root_is_told_so() {
    let world = World::without_netd();
    let netd = binary("netd").display().to_string();
    let copy = std::env::temp_dir().join(format!("{}-netd", world.instance));
    std::fs::copy(&netd, &copy).expect("a copy that everybody may read");
    let told = world.host.exec([
        "setpriv",
        "--reuid=65534",
        "--regid=65534",
        "--clear-groups",
        &copy.display().to_string(),
        "run",
    ]);
    std::fs::remove_file(&copy).expect("the copy");
    assert_eq!(told.code, 1, "{told}");
    assert!(told.stderr.contains("root"), "{told}");
}

#[test]
fn addresses_rest_before_they_are_handed_out_again() {
    let world = World::new();
    let first = world.plain("a").ip;
    world.netctl_ok(["container", "rm", "a"]);
    assert_ne!(world.plain("b").ip, first);
    let world_ip = world.container("c", ["--ip", &first.to_string()]).ip;
    assert_eq!(world_ip, first, "unless it is asked for");
    wait_until("status is ready", seconds(3), || world.netctl_json(["status"])["objects"] == Value::Array(Vec::new()));
}

/// Fields may be added, but none may be missing.
#[track_caller]
fn has(value: &Value, fields: &str) {
    let object = value.as_object().unwrap_or_else(|| panic!("not an object: {value}"));
    let missing: Vec<&str> = fields.split(' ').filter(|field| !object.contains_key(*field)).collect();
    assert!(missing.is_empty(), "no {missing:?} in {value}");
}
