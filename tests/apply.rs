//! Does `netctl apply` bring a running netd to what a file says, and keep its hands off all else?

use netd_tests::probe;
use netd_tests::world::{HOST, Place, World, at};
use netd_tests::{seconds, wait_until};
use serde_json::Value;
use std::fs;
use std::io::{Read as _, Write as _};
use std::path::PathBuf;

const SHOP: &str = r#"
[network.blue]
subnet = "10.5.0.0/24"

[network.red]
subnet = ["10.6.0.0/24", "fd06::/64"]
internal = true

[container.web]
network = ["blue", "red"]
alias = "www"
publish = ["8080:80"]
label = { tier = "front" }

[container.client]
network = ["name=blue,ip=10.5.0.77"]
"#;

/// A file that is applied, changed, and applied again.
struct File<'w> {
    world: &'w World,
    path: PathBuf,
}

impl<'w> File<'w> {
    fn new(world: &'w World, name: &str, text: &str) -> Self {
        let file = Self { world, path: world.scratch().join(name) };
        file.write(text);
        file
    }

    fn write(&self, text: &str) {
        fs::write(&self.path, text).expect("a file");
    }

    fn words<'a>(&'a self, options: &[&'a str]) -> Vec<&'a str> {
        [&["apply", "-f", self.path.to_str().expect("UTF-8")], options].concat()
    }

    /// The lines of the difference.
    #[track_caller]
    fn apply(&self, options: &[&str]) -> Vec<String> {
        let text = self.world.netctl_ok(self.words(options));
        text.lines().map(str::to_owned).collect()
    }

    /// Applies this text, and then once more.
    #[track_caller]
    fn apply_text(&self, text: &str, options: &[&str]) -> Vec<String> {
        self.write(text);
        let lines = self.apply(options);
        assert_eq!(self.apply(options), ["nothing to do"], "after {lines:?}");
        lines
    }
}

#[test]
fn a_file_is_made_and_changed_while_traffic_flows() {
    let world = World::new();
    let revision = || world.netctl_json(["status"])["revision"].clone();
    let file = File::new(&world, "net.toml", SHOP);
    let lines = [
        "+ network blue: subnet 10.5.0.0/24",
        "+ network red: subnet 10.6.0.0/24, fd06::/64; internal",
        "+ container client: network name=blue,ip=10.5.0.77",
        "+ container web: network blue, red; alias www; label tier=front",
        "+ publish web 8080:80/tcp",
    ];
    let before = revision();
    assert_eq!(file.apply(&["--dry-run"]), lines);
    assert_eq!((revision(), world.netctl_json(["container", "ls"])), (before, Value::Array(Vec::new())));
    assert_eq!(file.apply_text(SHOP, &[]), lines);
    assert_eq!(file.apply(&["--dry-run", "--prune"]), ["nothing to do"]);

    let [web, client] = ["web", "client"].map(|name| world.inspect(name));
    let _servers = [
        world.serve(&web.place, "web", &["tcp/0.0.0.0:80", "tcp/0.0.0.0:81"]),
        world.serve(&client.place, "client", &["tcp/0.0.0.0:80"]),
    ];
    assert_eq!(client.ip.to_string(), "10.5.0.77");
    let stream = world.outside.run(|| std::net::TcpStream::connect(at(HOST, 8080))).expect("it is published");
    probe::exchange(&stream).expect("an exchange");
    let goes_on = || {
        let (mut stream, mut echoed) = (&stream, [0; 4]);
        let echo = stream.write_all(b"ping").and_then(|()| stream.read_exact(&mut echoed));
        echo.expect("a connection that nobody touches goes on");
    };

    // Joined, left, published, for other clients: all of it live.
    let text = SHOP.replace("\"8080:80\"", "\"8080:80\", { port = \"8081:81\", allow = \"198.18.0.99\" }");
    assert_eq!(file.apply_text(&text, &[]), ["+ publish web 8081:81/tcp: allow 198.18.0.99/32"]);
    world.outside.run(|| probe::dial_tcp(at(HOST, 8081))).expect_err("not for this client");
    let text = text.replace("198.18.0.99", "198.18.0.0/24");
    assert_eq!(file.apply_text(&text, &[]), ["~ publish web 8081:81/tcp: allow 198.18.0.99/32 -> 198.18.0.0/24"]);
    world.outside.run(|| probe::dial_tcp(at(HOST, 8081))).expect("now it is");
    goes_on();
    let text = text.replace("[\"name=blue,ip=10.5.0.77\"]", "[\"name=blue,ip=10.5.0.77\", \"red\"]");
    assert_eq!(file.apply_text(&text, &[]), ["~ container client: joins red"]);
    let red = world.inspect("client").json["endpoints"][1]["ipv4"].clone();
    let text = text.replace("[\"blue\", \"red\"]", "\"blue\"");
    assert_eq!(file.apply_text(&text, &[]), ["~ container web: leaves red"]);
    goes_on();
    let text = text.replace("ip=10.5.0.77\", \"red\"", "ip=10.5.0.77\", \"name=red,alias=c\"");
    assert_eq!(file.apply_text(&text, &[]), ["~ container client: joins red again (alias none -> c)"]);
    assert_eq!(world.inspect("client").json["endpoints"][1]["ipv4"], red, "the address stays");
    goes_on();

    // What is made anew, and what is not touched by it.
    let text = text.replace("10.6.0.0/24", "10.7.0.0/24");
    assert_eq!(
        file.apply_text(&text, &[]),
        [
            "~ network red: subnet 10.6.0.0/24 -> 10.7.0.0/24 (made anew)",
            "~ container client: joins red again (made anew)",
        ]
    );
    goes_on();
    let text = text.replace("[container.client]\n", "[container.client]\nhostname = \"c\"\n");
    assert_eq!(file.apply_text(&text, &[]), ["~ container client: hostname client -> c (made anew)"]);
    let client = world.inspect("client");
    assert_eq!((client.json["hostname"].as_str(), client.ip.to_string().as_str()), (Some("c"), "10.5.0.77"));
    assert!(world.netctl_ok(["exec", "client", "--", "hostname"]).starts_with("c\n"));
    client.place.run(|| probe::dial_tcp(web.at(80))).expect("it works in its new namespace");
    goes_on();
    // Its own subnet in a larger one, and all that is on it.
    let text = text.replace("10.5.0.0/24", "10.5.0.0/16");
    assert_eq!(
        file.apply_text(&text, &[]),
        [
            "~ network blue: subnet 10.5.0.0/24 -> 10.5.0.0/16 (made anew)",
            "~ container client: joins blue again (made anew), joins red again (in order)",
            "~ container web: joins blue again (made anew)",
        ]
    );
    let [web, client] = ["web", "client"].map(|name| world.inspect(name));
    client.place.run(|| probe::dial_tcp(web.at(80))).expect("peers");
    world.outside.run(|| probe::dial_tcp(at(HOST, 8080))).expect("the port leads to the new address");

    let text = text.replace("[container.web]\n", "[container.web]\nrouter = true\n");
    assert_eq!(file.apply_text(&text, &[]), ["~ container web: router no -> yes (made anew)"]);
    let web = world.inspect("web");
    let _server = world.serve(&web.place, "newweb", &["tcp/0.0.0.0:80"]);
    let reply = world.outside.run(|| probe::dial_tcp(at(HOST, 8080))).expect("its port leads to the new one");
    assert_eq!(reply.server, "newweb");

    assert!(world.stop());
    world.start();
    assert_eq!(file.apply(&[]), ["nothing to do"], "after a restart");
}

#[test]
fn what_left_the_file_goes_when_it_is_told_to_and_what_others_made_stays() {
    let world = World::new();
    world.plain("hand");
    world.network("by-hand", "10.9.0.0/24");
    world.netctl_ok(["publish", "hand", "7070:70"]);
    let other = File::new(&world, "other.toml", "[network.theirs]\n[container.theirs]\nnetwork = \"theirs\"\n");
    other.apply(&[]);
    let file = File::new(&world, "net.toml", SHOP);
    file.apply(&[]);
    let less = "[network.blue]\nsubnet = \"10.5.0.0/24\"\n[container.client]\nnetwork = \"name=blue,ip=10.5.0.77\"\n";
    file.write(less);
    let finished = world.netctl(file.words(&[]));
    assert_eq!((finished.code, finished.stdout.as_str()), (0, "nothing to do\n"));
    assert_eq!(
        finished.stderr,
        "netctl: note: container web is not in the file, and stays; --prune removes it\n\
         netctl: note: network red is not in the file, and stays; --prune removes it\n"
    );
    assert_eq!(file.apply(&["--dry-run", "--prune"]), ["- container web", "- network red"]);
    let names = |kind: &str| world.netctl_ok([kind, "ls", "-q"]);
    assert_eq!(names("container"), "client\nhand\ntheirs\nweb\n");
    assert_eq!(file.apply_text(less, &["--prune"]), ["- container web", "- network red"]);
    assert_eq!(names("container"), "client\nhand\ntheirs\n");
    assert_eq!(names("network"), "blue\nbridge\nby-hand\nhost\nnone\ntheirs\n");
    world.netctl_ok(["publish", "client", "9090:90"]);
    assert_eq!(file.apply_text(less, &["--prune"]), ["- publish client 9090:90/tcp"]);
    assert_eq!(file.apply_text("", &["--prune"]), ["- container client", "- network blue"]);
    assert_eq!(other.apply(&["--prune"]), ["nothing to do"]);
    assert_eq!(names("container"), "hand\ntheirs\n");
    assert_eq!(world.netctl_json(["port", "ls"]).as_array().map(Vec::len), Some(1));
}

#[test]
fn standard_input_and_json_and_quiet() {
    let world = World::new();
    let path = world.scratch().join("net.toml");
    fs::write(&path, "[container.web]\npublish = [\":80\"]\n").expect("a file");
    let netctl = netd_tests::world::binary("netctl");
    let line = format!("{} --socket {}", netctl.display(), world.socket().display());
    let piped = |options: &str| world.host.sh(&format!("{line} apply -f - {options} <{}", path.display()));
    assert_eq!(piped("-q --dry-run"), "");
    let json: Value = serde_json::from_str(&piped("-o json --dry-run")).expect("JSON");
    assert_eq!((&json["applied"], &json["changes"][0]["name"]), (&false.into(), &"web".into()));
    // Which port netd picked is printed, as it is by publish.
    assert_eq!(piped(""), "+ container web\n+ publish web 80/tcp\n0.0.0.0:49152\n");
    assert_eq!(piped(""), "nothing to do\n");
    fs::write(&path, "[container.web]\nalias = \"w\"\n[container.b]\n").expect("a file");
    let json: Value = serde_json::from_str(&piped("-o json")).expect("JSON");
    let expected: Value = serde_json::from_str(
        r#"{"applied": true, "left": ["publish web 49152:80/tcp"], "published": [], "changes": [
            {"action": "create", "kind": "container", "name": "b", "detail": ""},
            {"action": "change", "kind": "container", "name": "web", "detail": "joins bridge again (alias none -> w)"}]}"#,
    )
    .expect("JSON");
    assert_eq!(json, expected);
    assert_eq!(world.netctl_json(["port", "ls"])[0]["host_port"], 49152, "what is left stays");
    fs::write(&path, "[container.web]\nalias = \"w\"\nrouter = true\n").expect("a file");
    assert_eq!(piped(""), "~ container web: router no -> yes (made anew)\n- publish web 49152:80/tcp\n");
    assert_eq!(piped("--prune"), "- container b\n");
}

#[test]
fn what_is_refused_is_said_in_exact_words_and_changes_nothing() {
    let world = World::new();
    world.plain("hand");
    world.netctl_ok(["publish", "hand", "7070:70"]);
    let file = File::new(&world, "net.toml", SHOP);
    file.apply(&[]);
    world.netctl_ok(["network", "connect", "red", "hand"]);
    let _sshd = world.serve(&world.host, "sshd", &["tcp/0.0.0.0:2222"]);
    let path = file.path.display().to_string();
    let revision = || world.netctl_json(["status"])["revision"].clone();
    let before = revision();
    for (from, to, why) in [
        ("[network.blue]", "[network.blue]\nsubnett = 1", format!("{path}:3: network \"blue\": there is no option \"subnett\"; did you mean \"subnet\"?")),
        ("10.5.0.0/24", "ten", format!("{path}:3: network \"blue\": subnet = \"ten\": invalid address: ten")),
        ("10.5.0.0/24", "10.6.0.0/16", "network blue: subnet 10.6.0.0/16 overlaps 10.6.0.0/24, of network \"red\"; choose another".to_owned()),
        (
            "10.6.0.0/24",
            "10.7.0.0/24",
            format!(
                "{path}: network \"red\" has to be made anew (subnet 10.6.0.0/24 -> 10.7.0.0/24), and container \"hand\", \
                 which is not in the file, is on it; remove that first"
            ),
        ),
        (
            "[container.client]",
            "[container.hand]\nrouter = true\n[container.client]",
            format!(
                "{path}: container \"hand\" is not as the file says (router no -> yes), and was not made by apply, which \
                 leaves it alone; remove it with \"netctl container rm hand\", and apply makes it"
            ),
        ),
        ("10.5.0.77", "10.9.0.77", "container client: address 10.9.0.77 is outside the subnet 10.5.0.0/24 of network \"blue\"; choose one inside".to_owned()),
        ("blue\", \"red", "blue\", \"rde", "container web: no network named \"rde\"; did you mean \"red\"?".to_owned()),
        (
            "8080:80",
            "7070:80",
            "ports of web: port 0.0.0.0:7070/tcp is already published by container \"hand\"; unpublish that first or choose \
             another port".to_owned(),
        ),
        ("[container.client]", "[container.n]\nnetns = \"/nowhere\"\n[container.client]", "container n: there is no network namespace at /nowhere; make it first, or leave --netns out and netd makes one".to_owned()),
        ("[network.red]", "[network.wire]\ndriver = \"macvlan\"\nparent = \"eth9\"\n[network.red]", "network wire: network \"wire\": the host has no Ethernet interface named \"eth9\"; it has up0".to_owned()),
    ] {
        assert!(SHOP.contains(from), "{from}");
        file.write(&SHOP.replacen(from, to, 1));
        for options in [&["-q"][..], &["-q", "--dry-run"]] {
            assert_eq!(world.netctl_refused(file.words(options)), format!("netctl: {why}"), "{to}");
        }
    }
    file.write(&SHOP.replace("8080:80", "2222:80"));
    let refusal = world.netctl_refused(file.words(&["-q"]));
    assert!(
        refusal.starts_with(
            "netctl: ports of web: port 0.0.0.0:2222/tcp is already bound on the host, at 0.0.0.0:2222 by netd-probe"
        ),
        "{refusal}"
    );
    assert_eq!(revision(), before);
    let missing = world.netctl_refused(["apply", "-f", "/nowhere/net.toml"]);
    assert_eq!(missing, "netctl: /nowhere/net.toml: No such file or directory (os error 2)");
    file.write(&"#".repeat(1024 * 1024 + 1));
    assert_eq!(
        world.netctl_refused(file.words(&[])),
        format!("netctl: {path}: it is larger than 1048576 bytes; make several files of it")
    );
    assert_eq!(world.netctl(["apply"]).code, 2);
}

#[test]
fn what_is_kept_and_not_done_yet_is_said_and_goes_on() {
    let world = World::new();
    let lent = Place::new("lent", None);
    lent.sh(
        "sysctl -qw net.ipv6.conf.default.accept_dad=0; ip link add own type veth peer name own2; ip link set own2 up
         ip link set own up; ip addr add 10.77.0.1/24 dev own; ip route add default via 10.77.0.9",
    );
    let text = format!("[container.guest]\nnetns = \"{}\"\n[container.web]\npublish = \"8080:80\"\n", lent.path());
    let file = File::new(&world, "net.toml", &text);
    let finished = world.netctl(file.words(&[]));
    let said = "netctl: container guest: the change is kept, but not done yet: ";
    assert_eq!((finished.code, finished.stderr.starts_with(said)), (1, true), "{finished}");
    let web = world.inspect("web");
    let _server = world.serve(&web.place, "web", &["tcp/0.0.0.0:80"]);
    world.outside.run(|| probe::dial_tcp(at(HOST, 8080))).expect("all else is done");
    let finished = world.netctl(file.words(&[]));
    let note = "netctl: note: container guest is not ready; \"netctl status\" says why\n";
    assert_eq!((finished.code, finished.stdout.as_str(), finished.stderr.as_str()), (0, "nothing to do\n", note));
    lent.sh("ip route del default");
    wait_until("the guest is ready", seconds(40), || world.inspect("guest").json["status"] == "ready");
    let finished = world.netctl(file.words(&[]));
    assert_eq!((finished.stdout.as_str(), finished.stderr.as_str()), ("nothing to do\n", ""));
}
