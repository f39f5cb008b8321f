//! Is a file read as it should be, and does what the difference says bring netd to it? Against the rules of the model.

use super::around::Live;
use super::change::Difference;
use super::difference::difference;
use super::file::File;
use netd::api::view::View;
use netd::model::command::{Command, Context, NamespaceAt};
use netd::model::node::NodeFacts;
use netd::model::state::State;
use netd::reconcile::status::Status;
use proptest::prelude::*;
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

const PLACE: &str = "net.toml";

fn parse(text: &str) -> File {
    File::parse(text, PLACE, "/etc/net.toml").unwrap_or_else(|why| panic!("{why}"))
}

/// netd, without a kernel.
struct Netd {
    state: State,
    drawn: u8,
}

impl Netd {
    fn new() -> Self {
        let mut netd = Self { state: State::default(), drawn: 0 };
        netd.carry_out(&Command::InstallBuiltins).expect("they can be made");
        netd
    }

    fn carry_out(&mut self, command: &Command) -> Result<(), String> {
        self.drawn += 1;
        let made = self.state.containers.values().filter(|container| container.has_made_namespace());
        let context = Context {
            now: jiff::Timestamp::UNIX_EPOCH,
            entropy: [self.drawn; 32],
            facts: facts(),
            host_sockets: BTreeSet::new(),
            // Every namespace that netd has made stands.
            namespaces: made.map(|container| container.name.clone()).collect(),
            subnet_pools: vec![netd::model::ipam::pool()],
            missing_drivers: BTreeSet::new(),
            given_namespaces: BTreeMap::from([("/run/netns/x".into(), NamespaceAt::Other)]),
        };
        let mut state = self.state.clone();
        state.apply(command, &context).map_err(|refusal| refusal.to_string())?;
        self.state = state;
        Ok(())
    }

    fn live(&self) -> Live {
        let (status, facts) = (Status::default(), facts());
        let (netns_dir, files) = (Path::new("/run/netns"), Path::new("/run/netd/containers"));
        let view = View { state: &self.state, status: &status, facts: &facts, netns_dir, files };
        Live {
            networks: self.state.networks.values().map(|network| view.network(network)).collect(),
            containers: self.state.containers.values().map(|container| view.container(container)).collect(),
        }
    }

    fn difference(&self, text: &str, prune: bool) -> Result<Difference, String> {
        difference(&parse(text), &self.live(), prune)
    }

    /// Applies a file twice; what the first time printed.
    #[track_caller]
    fn apply(&mut self, text: &str, prune: bool) -> Vec<String> {
        let lines = self.try_apply(text, prune).unwrap_or_else(|why| panic!("{why}"));
        let again = self.difference(text, prune).expect("it was applied before");
        assert_eq!(again.changes, [], "the second time there is nothing to do");
        lines
    }

    fn try_apply(&mut self, text: &str, prune: bool) -> Result<Vec<String>, String> {
        let found = self.difference(text, prune)?;
        // As JSON, which it is on its way.
        let steps = found.steps().into_iter().map(|step| {
            let json = serde_json::to_string(&step).expect("JSON");
            Command::from(serde_json::from_str::<netd::api::changes::OneChange>(&json).expect("the same"))
        });
        self.carry_out(&Command::All(steps.collect()))?;
        Ok(found.changes.iter().map(ToString::to_string).collect())
    }

    fn ports(&self) -> Vec<String> {
        let ports =
            self.state.publishes.iter().map(|(key, publish)| format!("{} {}", publish.container, key.map_to(publish)));
        ports.collect()
    }

    fn addresses(&self, container: &str) -> Vec<String> {
        let endpoints = self.state.containers[container].endpoints.iter();
        endpoints.map(|e| format!("{} {}", e.network, e.ipv4.expect("IPv4").ip())).collect()
    }
}

fn facts() -> NodeFacts {
    let interfaces = [("eth0", 1), ("eth1", 2)]
        .map(|(name, last)| (name.to_owned(), netd::model::node::Interface { mtu: 1500, mac: [2, 0, 0, 0, 0, last] }));
    NodeFacts {
        interfaces: interfaces.into(),
        addresses: ["127.0.0.1", "192.0.2.7", "198.18.0.1"].map(|text| text.parse().expect("an address")).into(),
        ipv6: netd::model::node::Ipv6::Available,
        ..NodeFacts::default()
    }
}

/// All that can be said.
const WHOLE: &str = r#"
name = "shop"

[network.blue]
subnet = ["10.5.0.0/24", "fd05::/64"]
gateway = "10.5.0.254"
ip-range = "10.5.0.128/25"
aux-address = { printer = "10.5.0.9" }
no-icc = true
no-masquerade = false
mtu = 1400
label = ["tier=front"]
opt = { timeout-tcp-established = "2h" }

[network.auto]
ipv6 = true
internal = true

[network.lan]
driver = "macvlan"
parent = "eth0"
subnet = "192.0.2.0/24"
gateway = "192.0.2.1"

[container.db]
network = ["name=blue,ip=10.5.0.200,alias=store", "auto"]
ip6 = "fd05::77"
mac = "02:00:00:00:00:77"
alias = ["base", "sql"]
hostname = "database"
publish = ["127.0.0.1:5432:5432", "9000-9002:9000-9002/udp", ":80", { port = ["8443:443"], allow = ["10.0.0.0/8", "2001:db8::1"] }]
expose = ["7000"]
publish-all = true
router = true
dns = ["9.9.9.9"]
dns-search = "example.org"
dns-option = ["ndots:2"]
add-host = ["gate:host-gateway"]
label = { tier = "back" }

[container.guest]
netns = "/run/netns/x"

[container.host-side]
network = "host"

[container.alone]
network = "none"

[container.side]
network = "container:db"

[container.wired]
network = ["bridge", "lan"]
"#;

#[test]
fn everything_that_can_be_said_is_done_and_then_there_is_nothing_to_do() {
    let mut netd = Netd::new();
    let lines = netd.apply(WHOLE, false);
    assert_eq!(
        lines,
        [
            "+ network auto: ipv6; internal",
            "+ network blue: subnet 10.5.0.0/24, fd05::/64; gateway 10.5.0.254; ip-range 10.5.0.128/25; aux-address \
             printer=10.5.0.9; no-icc; mtu 1400; label tier=front; opt timeout-tcp-established=2h",
            "+ network lan: driver macvlan; parent eth0; subnet 192.0.2.0/24; gateway 192.0.2.1",
            "+ container alone: network none",
            "+ container db: network name=blue,ip=10.5.0.200,alias=store, auto; ip6 fd05::77; mac 02:00:00:00:00:77; alias \
             base, sql; hostname database; expose 7000; publish-all; router; dns 9.9.9.9; dns-search example.org; \
             dns-option ndots:2; add-host gate:host-gateway; label tier=back",
            "+ container guest: netns /run/netns/x",
            "+ container host-side: network host",
            "+ container side: network container:db",
            "+ container wired: network bridge, lan",
            "+ publish db 127.0.0.1:5432:5432/tcp",
            "+ publish db 9000-9002:9000-9002/udp",
            "+ publish db 8443:443/tcp: allow 10.0.0.0/8, 2001:db8::1/128",
            "+ publish db 80/tcp",
            "+ publish db 7000/tcp",
        ]
    );
    let db = &netd.state.containers["db"];
    assert_eq!(db.labels["netd.apply"], "shop");
    assert_eq!(db.endpoints[0].aliases, ["base", "sql", "store"]);
    assert_eq!(db.endpoints[0].ipv4.expect("IPv4").to_string(), "10.5.0.200/24");
    assert_eq!(db.endpoints[0].ipv6.expect("IPv6").to_string(), "fd05::77/64");
    assert_eq!(netd.state.networks["blue"].options["timeout-tcp-established"], "2h");
    assert_eq!(
        netd.ports(),
        [
            "db 8443:443/tcp",
            "db 49152:80/tcp",
            "db 49153:7000/tcp",
            "db 9000:9000/udp",
            "db 9001:9001/udp",
            "db 9002:9002/udp",
            "db 127.0.0.1:5432:5432/tcp",
        ]
    );
    // What nothing is said of is made of nothing.
    assert_eq!(Netd::new().apply("", true), Vec::<String>::new());
}

#[test]
fn chosen_addresses_subnets_and_ports_come_first() {
    let mut netd = Netd::new();
    netd.apply(
        "[network.a]\n[network.z]\nsubnet = \"10.208.1.0/24\"\n[container.a]\npublish = [\":80\"]\n\
         [container.z]\nip = \"10.208.0.2\"\npublish = [\"49152:80\"]\n",
        false,
    );
    assert_eq!(netd.addresses("a"), ["bridge 10.208.0.3"]);
    assert_eq!(netd.ports(), ["z 49152:80/tcp", "a 49153:80/tcp"]);
}

#[test]
fn every_property_that_cannot_be_changed_makes_anew() {
    let network = "[network.n]\nsubnet = \"10.5.0.0/24\"\n";
    let container = "[network.blue]\n[container.c]\n";
    for (text, with, line) in [
        (network, "internal = true", "internal no -> yes"),
        (network, "no-icc = true", "no-icc no -> yes"),
        (network, "no-masquerade = true", "no-masquerade no -> yes"),
        (network, "mtu = 1400", "mtu none -> 1400"),
        (network, "ipv6 = true", "IPv6 none -> automatic"),
        (network, "gateway = \"10.5.0.9\"", "gateway 10.5.0.1 -> 10.5.0.9"),
        (network, "ip-range = \"10.5.0.128/25\"", "ip-range none -> 10.5.0.128/25"),
        (network, "aux-address = [\"r=10.5.0.9\"]", "aux-address none -> r=10.5.0.9"),
        (network, "label = { a = \"b\" }", "label none -> a=b"),
        (network, "opt = [\"timeout-icmp=9\"]", "opt none -> timeout-icmp=9"),
        (network, "driver = \"macvlan\"\nparent = \"eth1\"", "driver bridge -> macvlan, parent none -> eth1"),
        (container, "hostname = \"h\"", "hostname c -> h"),
        (container, "router = true", "router no -> yes"),
        (container, "expose = [\"80\"]", "expose none -> 80/tcp"),
        (container, "dns = [\"9.9.9.9\"]", "dns none -> 9.9.9.9"),
        (container, "dns-search = [\"a.b\", \"c.d\"]", "dns-search none -> a.b, c.d"),
        (container, "dns-option = [\"ndots:2\"]", "dns-option none -> ndots:2"),
        (container, "add-host = [\"a:192.0.2.1\"]", "add-host none -> a:192.0.2.1"),
        (container, "label = [\"a=b\"]", "label none -> a=b"),
        (container, "netns = \"/run/netns/x\"", "netns none -> /run/netns/x"),
        (container, "network = \"host\"", "network its own -> host"),
    ] {
        let mut netd = Netd::new();
        netd.apply(text, false);
        let kind = if text == network { "network n" } else { "container c" };
        assert_eq!(netd.apply(&format!("{text}{with}\n"), false), [format!("~ {kind}: {line} (made anew)")]);
        let back = netd.apply(text, false);
        // Whatever gateway it has is as good as another to a file that names none.
        let is_said = !with.starts_with("gateway");
        assert_eq!(back.iter().filter(|line| line.ends_with("(made anew)")).count(), usize::from(is_said), "{back:?}");
    }
}

const SHOP: &str = "[network.blue]\nsubnet = \"10.5.0.0/24\"\n[network.red]\nsubnet = \"10.6.0.0/24\"\n\
                    [container.web]\nnetwork = [\"blue\"]\npublish = [\"8080:80\", \":81\"]\n\
                    [container.db]\nnetwork = \"red\"\n";

#[test]
fn networks_and_ports_of_a_container_are_changed_while_it_runs() {
    let mut netd = Netd::new();
    netd.apply(SHOP, false);
    let id = |netd: &Netd| netd.state.containers["web"].id.clone();
    let (first, db) = (id(&netd), netd.state.containers["db"].clone());
    let mut text = SHOP.to_owned();
    for (from, to, expected) in [
        ("[\"blue\"]", "[\"blue\", \"red\"]", vec!["~ container web: joins red"]),
        (
            "[\"blue\", \"red\"]",
            "[\"blue\", \"name=red,alias=w\"]",
            vec!["~ container web: joins red again (alias none -> w)"],
        ),
        (
            "[\"blue\", \"name=red,alias=w\"]",
            "[\"red\", \"blue\"]",
            vec!["~ container web: joins red again (alias w -> none), joins blue again (in order)"],
        ),
        ("[\"red\", \"blue\"]", "\"bridge\"", vec!["~ container web: leaves red, leaves blue, joins bridge"]),
        ("\"bridge\"", "[\"name=blue,ip=10.5.0.9\"]", vec!["~ container web: leaves bridge, joins blue"]),
        ("ip=10.5.0.9", "gw-priority=3", vec!["~ container web: joins blue again (gw-priority 0 -> 3)"]),
        ("\"8080:80\", ", "\"8080:80\", \"8081:80\", ", vec!["+ publish web 8081:80/tcp"]),
        (
            "\"8081:80\"",
            "{ port = \"8081:80\", allow = \"10.0.0.0/8\" }",
            vec!["~ publish web 8081:80/tcp: allow all -> 10.0.0.0/8"],
        ),
        (
            "allow = \"10.0.0.0/8\"",
            "allow = [\"11.0.0.0/8\", \"2001:db8::/32\"]",
            vec!["~ publish web 8081:80/tcp: allow 10.0.0.0/8 -> 11.0.0.0/8, 2001:db8::/32"],
        ),
        // What takes a port's place is a change, and not left behind.
        ("\"8080:80\"", "\"8080:8\"", vec!["+ publish web 8080:8/tcp", "- publish web 8080:80/tcp"]),
        ("\"8080:8\"", "\"0.0.0.0:8080:8\"", vec!["+ publish web 0.0.0.0:8080:8/tcp", "- publish web 8080:8/tcp"]),
    ] {
        assert!(text.contains(from), "{from} is not in {text}");
        text = text.replacen(from, to, 1);
        assert_eq!(netd.apply(&text, false), expected, "{from} -> {to}");
        assert_eq!((id(&netd), &netd.state.containers["db"]), (first.clone(), &db), "nobody else is touched");
    }
    assert_eq!(netd.addresses("web"), ["blue 10.5.0.9"], "an address stays while the file does not mind");
    assert_eq!(netd.ports(), ["web 0.0.0.0:8080:8/tcp", "web 8081:80/tcp", "web 49152:81/tcp"]);
}

#[test]
fn what_is_made_anew_takes_along_what_hangs_on_it() {
    let mut netd = Netd::new();
    let text = format!("{SHOP}[container.side]\nnetwork = \"container:web\"\n");
    netd.apply(&text, false);
    let ids = |netd: &Netd| netd.state.containers.values().map(|c| c.id.clone()).collect::<Vec<_>>();
    let before = ids(&netd);
    let text = text.replace("10.5.0.0/24", "10.7.0.0/24");
    assert_eq!(
        netd.apply(&text, false),
        [
            "~ network blue: subnet 10.5.0.0/24 -> 10.7.0.0/24 (made anew)",
            "~ container web: joins blue again (made anew)",
        ]
    );
    assert_eq!((ids(&netd), netd.addresses("web")), (before.clone(), vec!["blue 10.7.0.2".to_owned()]));
    let ports = netd.ports();
    assert_eq!(
        netd.apply(&text.replace("[container.web]", "[container.web]\nhostname = \"w\""), false),
        ["~ container side: the namespace of web (made anew)", "~ container web: hostname web -> w (made anew)",]
    );
    assert_eq!(netd.ports(), ports, "ports stay, the one that netd picked too");
    assert_ne!(ids(&netd)[1..], before[1..]);
}

#[test]
fn what_left_the_file_goes_with_prune_alone_and_only_what_apply_made() {
    let mut netd = Netd::new();
    netd.carry_out(&Command::from(one(r#"{"create_container": {"name": "hand", "publish": ["7070:70"]}}"#))).unwrap();
    netd.carry_out(&Command::from(one(r#"{"create_network": {"name": "by-hand"}}"#))).unwrap();
    netd.apply(
        &format!(
            "name = \"other\"\n{}",
            SHOP.replace("web", "their")
                .replace("db", "their-db")
                .replace("blue", "x")
                .replace("red", "y")
                .replace("10.5.", "10.15.")
                .replace("10.6.", "10.16.")
                .replace("8080", "8088")
        ),
        false,
    );
    netd.apply(SHOP, false);
    let less = "[network.blue]\nsubnet = \"10.5.0.0/24\"\n[container.web]\nnetwork = [\"blue\"]\npublish = [\":81\"]\n";
    let found = netd.difference(less, false).unwrap();
    assert_eq!(found.changes, []);
    let left: Vec<String> = found.left.iter().map(|(kind, name)| format!("{kind} {name}")).collect();
    assert_eq!(left, ["publish web 8080:80/tcp", "container db", "network red"]);
    assert_eq!(netd.apply(less, true), ["- publish web 8080:80/tcp", "- container db", "- network red"]);
    let names = |names: Vec<&String>| names.iter().map(|name| name.as_str()).collect::<Vec<_>>().join(" ");
    assert_eq!(names(netd.state.containers.keys().collect()), "hand their their-db web");
    assert_eq!(names(netd.state.networks.keys().collect()), "blue bridge by-hand host none x y");
    assert_eq!(netd.apply("", true), ["- container web", "- network blue"]);
}

fn one(json: &str) -> netd::api::changes::OneChange {
    serde_json::from_str(json).expect("a change")
}

#[test]
fn neighbouring_ports_are_one_line() {
    let mut netd = Netd::new();
    let text =
        |port: &str, allow: &str| format!("[container.c]\npublish = {{ port = \"{port}\", allow = [{allow}] }}\n");
    assert_eq!(netd.apply(&text("80-90:180-190", ""), false), ["+ container c", "+ publish c 80-90:180-190/tcp"]);
    assert_eq!(
        netd.apply(&text("82-92:182-192", "\"10.0.0.0/8\""), true),
        [
            "+ publish c 91-92:191-192/tcp: allow 10.0.0.0/8",
            "~ publish c 82-90:182-190/tcp: allow all -> 10.0.0.0/8",
            "- publish c 80-81:180-181/tcp",
        ]
    );
}

#[test]
fn addresses_and_ports_can_change_hands() {
    let mut netd = Netd::new();
    let text = "[container.a]\nip = \"10.208.0.5\"\npublish = [\"80:80\"]\n[container.b]\nip = \"10.208.0.6\"\npublish = [\"81:80\"]\n";
    netd.apply(text, false);
    let swapped = text.replace("0.5", "0.x").replace("0.6", "0.5").replace("0.x", "0.6");
    let swapped = swapped.replace("80:80", "8x").replace("81:80", "80:80").replace("8x", "81:80");
    assert_eq!(
        netd.apply(&swapped, false),
        [
            "~ container a: joins bridge again (ip 10.208.0.5 -> 10.208.0.6)",
            "~ container b: joins bridge again (ip 10.208.0.6 -> 10.208.0.5)",
            "+ publish a 81:80/tcp",
            "+ publish b 80:80/tcp",
            "- publish a 80:80/tcp",
            "- publish b 81:80/tcp",
        ]
    );
}

#[test]
fn what_was_made_by_hand_is_taken_as_it_is_and_never_made_anew() {
    let mut netd = Netd::new();
    netd.carry_out(&Command::from(one(r#"{"create_network": {"name": "blue", "subnets": ["10.5.0.0/24"]}}"#))).unwrap();
    netd.carry_out(&Command::from(one(r#"{"create_container": {"name": "web", "networks": ["blue"]}}"#))).unwrap();
    let lines = netd.apply(SHOP, false);
    assert_eq!(lines.len(), 4, "{lines:?}");
    assert!(!lines.iter().any(|line| line.contains("network blue") || line.contains("container web")), "{lines:?}");
    assert_eq!(
        netd.difference(&SHOP.replace("10.5.0.0/24", "10.7.0.0/24"), false).unwrap_err(),
        "network \"blue\" is not as the file says (subnet 10.5.0.0/24 -> 10.7.0.0/24), and was not made by apply, which \
         leaves it alone; remove it with \"netctl network rm blue\", and apply makes it"
    );
    assert_eq!(
        netd.difference(
            &format!("{SHOP}\n[container.c]\n").replace("[container.web]", "[container.web]\nrouter = true"),
            true
        )
        .unwrap_err(),
        "container \"web\" is not as the file says (router no -> yes), and was not made by apply, which leaves it alone; \
         remove it with \"netctl container rm web\", and apply makes it"
    );
    netd.carry_out(&Command::from(one(r#"{"create_container": {"name": "hand", "networks": ["red"]}}"#))).unwrap();
    assert_eq!(
        netd.difference(&SHOP.replace("10.6.0.0/24", "10.7.0.0/24"), false).unwrap_err(),
        "network \"red\" has to be made anew (subnet 10.6.0.0/24 -> 10.7.0.0/24), and container \"hand\", which is not in \
         the file, is on it; remove that first"
    );
    netd.carry_out(&Command::from(one(r#"{"create_container": {"name": "guest", "networks": ["container:db"]}}"#)))
        .unwrap();
    assert_eq!(
        netd.difference(&SHOP.replace("[container.db]", "[container.db]\nrouter = true"), false).unwrap_err(),
        "container \"db\" has to be made anew (router no -> yes), and container \"guest\", which is not in the file, lives in \
         its namespace; remove that first"
    );
}

#[test]
fn whose_namespace_somebody_lives_in_is_not_pruned() {
    let mut netd = Netd::new();
    let side = "[container.side]\nnetwork = \"container:x\"\n";
    netd.apply(&format!("[container.x]\n{side}"), false);
    let why = "container \"x\" is not in the file and would be removed, and container \"side\" lives in its namespace; remove \
               that first, or keep \"x\" in the file";
    assert_eq!(netd.difference(side, true).unwrap_err(), why);
    assert_eq!(netd.apply("[container.side]\n", true).len(), 2, "it moves out");
    netd.apply("[container.x]\n", true);
    netd.carry_out(&Command::from(one(r#"{"create_container": {"name": "side", "networks": ["container:x"]}}"#)))
        .unwrap();
    assert_eq!(netd.difference("", true).unwrap_err(), why);
}

#[test]
fn of_what_is_refused_nothing_is_done() {
    let mut netd = Netd::new();
    netd.apply(SHOP, false);
    let before = netd.state.clone();
    for (from, to, why) in [
        (
            "[container.db]",
            "[container.db]\nip = \"10.5.0.9\"",
            "container db: address 10.5.0.9 is outside the subnet 10.6.0.0/24 of network \"red\"; choose one inside",
        ),
        ("[\"blue\"]", "\"none\"", "ports of web: container \"web\" has no address to publish to: it is on no network"),
        ("\"red\"", "\"rde\"", "container db: no network named \"rde\"; did you mean \"red\"?"),
        (
            "10.5.0.0/24",
            "10.6.0.0/16",
            "network blue: subnet 10.6.0.0/16 overlaps 10.6.0.0/24, of network \"red\"; choose another",
        ),
        (
            "8080:80",
            "8080:80/sctp",
            "ports of web: publishing 8080:80/sctp is not supported: the checksum of SCTP covers its ports; publish the container's port as the same port of the host",
        ),
    ] {
        assert_eq!(netd.try_apply(&SHOP.replacen(from, to, 1), true), Err(why.to_owned()));
        assert_eq!(netd.state, before);
    }
}

#[test]
fn what_is_wrong_in_a_file_is_said_with_its_line() {
    for (text, why) in [
        ("[network.a\n", "net.toml:1: unclosed table, expected `]`"),
        ("\n[network.a]\ninternal = yes\n", "net.toml:3: string values must be quoted, expected literal string"),
        ("[network.a]\n[network.a]\n", "net.toml:2: duplicate key"),
        ("[netwrok.a]\n", "net.toml:1: there is no section \"netwrok\"; did you mean \"network\"?"),
        ("volumes = 1\n", "net.toml:1: there is no section \"volumes\"; there are name, network, container"),
        ("name = \"a b\"\n", "net.toml:1: the name \"a b\" has a ' ' in it"),
        ("name = 1\n", "net.toml:1: \"name\" takes a text in quotes"),
        ("network = \"a\"\n", "net.toml:1: \"network\" is no value; write [network.NAME], and options below it"),
        ("[network]\na = 1\n", "net.toml:2: \"a\" is no table; write [network.a], and options below it"),
        ("[network.\"a/b\"]\n", "net.toml:1: network name \"a/b\" has a '/' in it"),
        ("[network.bridge]\n", "net.toml:1: network \"bridge\" is built in, and no file describes it; leave it out"),
        (
            "[network.a]\n\nsubnett = \"10.5.0.0/24\"\n",
            "net.toml:3: network \"a\": there is no option \"subnett\"; did you mean \"subnet\"?",
        ),
        (
            "[network.a]\ncolour = 1\n",
            "net.toml:2: network \"a\": there is no option \"colour\"; there are driver, parent, subnet, ipv6, gateway, \
             ip-range, aux-address, internal, no-icc, no-masquerade, mtu, label, opt",
        ),
        (
            "[network.a]\nno_icc = true\n",
            "net.toml:2: network \"a\": there is no option \"no_icc\"; did you mean \"no-icc\"?",
        ),
        ("[network.a]\ninternal = \"yes\"\n", "net.toml:2: network \"a\": \"internal\" is true or false"),
        (
            "[network.a]\nsubnet = [\n  \"10.5.0.0/24\",\n  \"ten\",\n]\n",
            "net.toml:4: network \"a\": subnet = \"ten\": invalid address: ten",
        ),
        ("[network.a]\nmtu = \"big\"\n", "net.toml:2: network \"a\": mtu = \"big\": invalid digit found in string"),
        ("[network.a]\nmtu = [1, 2]\n", "net.toml:2: network \"a\": \"mtu\" has one value"),
        ("[network.a]\nsubnet = true\n", "net.toml:2: network \"a\": \"subnet\" takes texts in quotes"),
        (
            "[network.a]\ndriver = \"overlay\"\n",
            "net.toml:2: network \"a\": driver = \"overlay\": it is one of bridge, macvlan, ipvlan",
        ),
        ("[network.a]\nopt = [\"x\"]\n", "net.toml:2: network \"a\": opt = \"x\": \"x\" has no \"=\""),
        (
            "[network.a]\nlabel = { \"netd.apply\" = \"x\" }\n",
            "net.toml:1: network \"a\": the label \"netd.apply\" is apply's own; leave it out",
        ),
        ("[container.c]\nip = \"10.0.0\"\n", "net.toml:2: container \"c\": ip = \"10.0.0\": invalid IP address syntax"),
        (
            "[container.c]\nnetwork = [\"name=a,up=1\"]\n",
            "net.toml:2: container \"c\": network = \"name=a,up=1\": \"up\" is unknown; there are name, ip, ip6, mac (or \
             mac-address), alias and gw-priority",
        ),
        (
            "[container.c]\npublish = [\"80:80\",\n\"x:80\"]\n",
            "net.toml:3: container \"c\": \"x:80\" is not a port map: \"x\" is not a port from 1 to 65535; write \
             [HOSTIP:]HOSTPORT[-END]:PORT[-END][/tcp|/udp|/sctp], such as 8080:80",
        ),
        (
            "[container.c]\npublish = [{ ports = \"80:80\" }]\n",
            "net.toml:2: container \"c\": publish: \"port\" is missing; write { port = \"8080:80\", allow = [\"10.0.0.0/8\"] }",
        ),
        (
            "[[container.c.publish]]\nport = \"80:80\"\nallwo = \"10.0.0.0/8\"\n",
            "net.toml:3: container \"c\": there is no option \"allwo\"; did you mean \"allow\"?",
        ),
        (
            "[[container.c.publish]]\nport = \"80:80\"\nallow = \"10.0.0.1/8\"\n",
            "net.toml:3: container \"c\": allow = \"10.0.0.1/8\": \"10.0.0.1/8\" is not a prefix: it has bits behind its \
             length; the network is 10.0.0.0/8, the address alone 10.0.0.1; write ADDRESS or ADDRESS/LENGTH, such as \
             203.0.113.0/24",
        ),
    ] {
        assert_eq!(File::parse(text, PLACE, "x").unwrap_err(), why, "{text}");
    }
}

#[test]
fn the_files_of_the_documentation_and_of_the_demo_can_be_applied() {
    let indented = |text: &str, from: &str| {
        let lines = text.lines().skip_while(|line| !line.trim().starts_with(from));
        let lines = lines.take_while(|line| line.is_empty() || line.starts_with("    "));
        lines.map(str::trim_start).collect::<Vec<_>>().join("\n")
    };
    let demo = include_str!("../../../../../xtask/demo.toml");
    let reference = indented(include_str!("../../../../../docs/apply.md"), "name = \"shop\"");
    let readme = indented(include_str!("../../../../../README.md"), "[network.blue]");
    for (text, containers) in [(demo, 2), (&reference, 1), (&readme, 1)] {
        let mut netd = Netd::new();
        netd.apply(text, false);
        assert_eq!(netd.state.containers.len(), containers, "{text}");
        assert!(!netd.state.publishes.is_empty());
    }
}

fn any_network(name: &'static str, number: u8) -> impl Strategy<Value = String> {
    let subnet =
        prop_oneof![Just(String::new()), (0..3_u8).prop_map(move |n| format!("subnet = \"10.{number}.{n}.0/24\"\n"))];
    let options = prop::sample::select(vec!["", "internal = true\n", "ipv6 = true\n", "mtu = 1400\nno-icc = true\n"]);
    (subnet, options).prop_map(move |(subnet, options)| format!("[network.{name}]\n{subnet}{options}"))
}

fn any_container(name: &'static str) -> impl Strategy<Value = String> {
    let networks = prop::sample::select(vec![
        "\"bridge\"",
        "[\"a\", \"b\"]",
        "[\"b\", \"a\"]",
        "[\"b\", \"bridge\"]",
        "\"name=a,alias=x\"",
        "[\"a\", \"name=b,gw-priority=2\"]",
        "\"name=bridge,ip=10.208.0.9\"",
        "\"host\"",
        "\"none\"",
        "\"container:x\"",
    ]);
    let ports = prop::sample::select(vec![
        "80:80",
        ":80",
        "80-82:90-92",
        "127.0.0.1:80:80",
        "0.0.0.0:81:81",
        "[::]:81:81",
        "81:82",
        ":90-91",
        "82:82/udp",
    ]);
    let allow =
        prop::sample::select(vec!["", ", allow = \"10.0.0.0/8\"", ", allow = [\"10.0.0.0/8\", \"2001:db8::/32\"]"]);
    let ports = prop::collection::vec((ports, allow), 0..3);
    let options = prop::sample::select(vec![
        "",
        "",
        "hostname = \"h\"\n",
        "router = true\n",
        "expose = [\"70\"]\npublish-all = true\n",
    ]);
    (networks, ports, options).prop_map(move |(networks, ports, options)| {
        let ports: Vec<_> = ports.iter().map(|(port, allow)| format!("{{ port = \"{port}\"{allow} }}")).collect();
        format!("[container.{name}]\nnetwork = {networks}\n{options}publish = [{}]\n", ports.join(", "))
    })
}

fn any_file() -> impl Strategy<Value = String> {
    let maybe = |part: BoxedStrategy<String>| prop_oneof![1 => Just(String::new()), 4 => part];
    let networks = (maybe(any_network("a", 5).boxed()), maybe(any_network("b", 6).boxed()));
    let containers = ["x", "y", "z"].map(|name| maybe(any_container(name).boxed()));
    (networks, containers).prop_map(|((a, b), containers)| format!("{a}{b}{}", containers.concat()))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(500))]

    /// Whatever was there before, and by whatever way: a file that is applied is had, and one that is refused is not touched.
    #[test]
    fn any_file_after_any_other_is_had_or_refused(files in prop::collection::vec((any_file(), any::<bool>()), 1..5)) {
        let mut netd = Netd::new();
        for (text, prune) in files {
            let before = netd.state.clone();
            if netd.try_apply(&text, prune).is_err() {
                prop_assert_eq!(&netd.state, &before);
                continue;
            }
            let again = netd.difference(&text, prune).expect("it was applied before");
            prop_assert_eq!(again.changes.iter().map(ToString::to_string).collect::<Vec<_>>(), Vec::<String>::new(), "{}", text);
            if prune {
                // As if it were made of nothing, but for what netd chose.
                let mut fresh = Netd::new();
                prop_assert_eq!(fresh.try_apply(&text, false).map(drop), Ok(()), "{}", text);
                prop_assert_eq!(shape(&netd), shape(&fresh), "{}", text);
            }
        }
    }
}

/// What a file decides.
fn shape(netd: &Netd) -> Vec<String> {
    let networks = netd
        .state
        .networks
        .values()
        .map(|n| format!("{} {} {} {:?} {}", n.name, n.internal, n.icc, n.mtu, n.subnets.len()));
    let containers = netd.state.containers.values().map(|c| {
        let endpoints: Vec<_> =
            c.endpoints.iter().map(|e| format!("{} {:?} {}", e.network, e.aliases, e.gw_priority)).collect();
        let shares = c.shares.as_ref().map(|shared| (shared.name.clone(), netd.state.shared(shared).is_some()));
        format!("{} {} {} {shares:?} {endpoints:?}", c.name, c.hostname, c.router)
    });
    let ports = netd.state.publishes.iter().map(|(key, p)| {
        let allow = netd.state.allow_lists.get(&p.allow);
        format!("{} {} {} {} {allow:?}", p.container, key.protocol, p.container_port, p.ipv6)
    });
    let mut ports: Vec<String> = ports.collect();
    ports.sort();
    networks.chain(containers).chain(ports).collect()
}
