//! Are very many networks and containers made, changed and removed in flat time, and is nothing left of them?
//!
//! The large ones take long and are about times, so they run when they are asked for: `cargo xtask test scale`.

use netd_tests::world::World;
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::io::{Read as _, Write as _};
use std::ops::Range;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::sync::Mutex;
use std::time::{Duration, Instant};

/// The last of many may take so many times as long as the first,
const FLAT: u32 = 2;
/// and this more.
const SLACK: Duration = Duration::from_millis(5);
/// and this for each network that is there: the state names them all, and the kernel goes over the gateways of all of them
/// to add another.
const SLOPE: Duration = Duration::from_micros(2);

/// A world whose netd says little.
fn quiet() -> World {
    let mut world = World::without_netd();
    world.log_level = "info";
    world.start();
    world
}

/// Asks the API, without a process for each request.
fn ask(world: &World, method: &str, path: &str, body: &Value) -> Value {
    // What has no body is not sent one: netd would end the connection without having read it.
    let body = if body.is_null() { String::new() } else { body.to_string() };
    let mut stream = UnixStream::connect(world.socket()).expect("the socket");
    let length = body.len();
    write!(
        stream,
        "{method} {path} HTTP/1.1\r\nhost: netd\r\nconnection: close\r\ncontent-length: {length}\r\n\r\n{body}"
    )
    .expect("a request");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("an answer");
    let (head, body) = answer.split_once("\r\n\r\n").expect("a head and a body");
    assert!(head.starts_with("HTTP/1.1 20"), "{method} {path}: {answer}");
    let body = body.trim_start_matches(|c: char| c.is_ascii_hexdigit() || c == '\r' || c == '\n');
    serde_json::from_str(body.trim_end_matches("0\r\n\r\n").trim_end()).unwrap_or(Value::Null)
}

/// How much of each there is.
#[derive(Clone, Copy)]
struct Size {
    containers: usize,
    networks: usize,
    /// Ports that each container publishes.
    ports: usize,
    /// Calls one at a time, first and last.
    alone: usize,
    /// Calls at one time between them.
    callers: usize,
}

/// Calls for every number below `count`: the first and the last one at a time, those between many at a time. How long the
/// first and the last took says whether the time of one grows with how many there are. The medians of both.
fn many(what: &str, count: usize, size: Size, call: impl Fn(usize) + Sync) -> [Duration; 2] {
    let alone = size.alone.min(count / 2);
    let one_by_one = |numbers: Range<usize>| -> Vec<Duration> {
        let timed = |number| {
            let begun = Instant::now();
            call(number);
            begun.elapsed()
        };
        let mut times: Vec<Duration> = numbers.map(timed).collect();
        times.sort_unstable();
        times
    };
    let first = one_by_one(0..alone);
    let begun = Instant::now();
    let next = Mutex::new(alone..count - alone);
    std::thread::scope(|scope| {
        for _ in 0..size.callers {
            scope.spawn(|| {
                while let Some(number) = { next.lock().expect("a number").next() } {
                    call(number);
                }
            });
        }
    });
    let between = begun.elapsed();
    let last = one_by_one(count - alone..count);
    let at = |times: &[Duration], percent: usize| times[(times.len() * percent / 100).min(times.len() - 1)];
    let rate = (count - 2 * alone) as f64 / between.as_secs_f64();
    let shown = |times: &[Duration]| format!("p50 {:>9.2?} p99 {:>9.2?}", at(times, 50), at(times, 99));
    eprintln!(
        "{what:<24} first {alone}: {}; last {alone}: {}; {} between, {} at a time: {rate:.0} a second",
        shown(&first),
        shown(&last),
        count - 2 * alone,
        size.callers,
    );
    [at(&first, 50), at(&last, 50)]
}

fn timed<T>(what: &str, call: impl FnOnce() -> T) -> T {
    let begun = Instant::now();
    let done = call();
    eprintln!("{what:<24} {:.2?}", begun.elapsed());
    done
}

/// Starts netd again; from its start until it answers.
fn restart(world: &World, what: &str) {
    assert!(world.stop());
    timed(what, || {
        world.launch();
        netd_tests::wait_until("netd answers", netd_tests::seconds(120), || {
            UnixStream::connect(world.socket()).is_ok()
        });
    });
    assert_eq!(world.netctl_json(["status"])["objects"], Value::Array(Vec::new()), "all are ready");
}

/// The life of so many containers. For each thing that is done, how long the first and the last took.
fn live(world: &World, size: Size) -> Vec<(&'static str, [Duration; 2])> {
    let before = counts_after_one(world);
    let network = |number: usize| format!("n{}", number % size.networks);
    let mut medians = Vec::new();
    let mut done = |what, count, call: &(dyn Fn(usize) + Sync)| medians.push((what, many(what, count, size, call)));
    done("networks created", size.networks, &|number| {
        ask(world, "POST", "/v1/networks", &json!({"name": network(number)}));
    });
    done("containers created", size.containers, &|number| {
        let first = 20_000 + number * size.ports;
        let publish = format!("{first}-{}:1-{}", first + size.ports - 1, size.ports);
        let body = json!({"name": format!("c{number}"), "networks": [network(number)], "publish": [publish]});
        ask(world, "POST", "/v1/containers?timeout_s=300", &body);
    });
    done("containers inspected", size.containers, &|number| {
        ask(world, "GET", &format!("/v1/containers/c{number}"), &Value::Null);
    });
    let listed = timed("all listed", || world.netctl_json(["container", "ls"]));
    let listed = listed.as_array().expect("containers");
    let addresses: BTreeSet<String> = listed.iter().map(|one| one["endpoints"][0]["ipv4"].to_string()).collect();
    assert_eq!((listed.len(), addresses.len()), (size.containers, size.containers), "no address twice");
    assert!(listed.iter().all(|one| one["status"] == "ready"));
    restart(world, "netd restarted");
    let members = |number: usize| format!("/v1/networks/{}/containers", network(number + 1));
    done("networks joined", size.containers, &|number| {
        ask(world, "POST", &members(number), &json!({"container": format!("c{number}")}));
    });
    let [one, other] = [0, size.networks - 1].map(|number| world.inspect(&format!("c{number}")));
    let met = other.json["endpoints"][1]["ipv4"].as_str().and_then(|text| Some(text.split_once('/')?.0.to_owned()));
    one.place.ok(["ping", "-q", "-c1", "-W2", &met.expect("an address on the network of the first")]);
    done("networks left", size.containers, &|number| {
        ask(world, "DELETE", &format!("{}/c{number}", members(number)), &Value::Null);
    });
    done("containers removed", size.containers, &|number| {
        ask(world, "DELETE", &format!("/v1/containers/c{number}"), &Value::Null);
    });
    let pruned = timed("networks pruned", || world.netctl_ok(["network", "prune"]));
    assert_eq!(pruned.lines().count(), size.networks);
    assert_eq!(counts(world), before, "nothing is left");
    medians
}

/// As [`counts`], after a life of one of each: folders that are made when they are first needed stay.
fn counts_after_one(world: &World) -> BTreeMap<&'static str, usize> {
    world.network("warm", "10.9.0.0/24");
    world.container("warm", ["--network", "warm", "-p", "80:80"]);
    world.netctl_ok(["container", "rm", "warm"]);
    world.netctl_ok(["network", "rm", "warm"]);
    counts(world)
}

/// How many there are of what netd makes, in the kernel and on disk.
fn counts(world: &World) -> BTreeMap<&'static str, usize> {
    let lines = |script: &str| world.host.sh(script).lines().count();
    let files = |folder: &Path| walk(folder);
    BTreeMap::from([
        ("links", lines("ip -o link")),
        ("addresses", lines("ip -o addr")),
        ("routes", lines("ip route show table main; ip -6 route show table main")),
        ("neighbours", lines("ip neigh show nud permanent")),
        ("namespaces", files(&world.netns_folder())),
        ("pins", files(&world.pins())),
        ("files", files(&world.scratch().join("run"))),
        ("mounts", lines(&format!("grep -F ' {}/' /proc/self/mountinfo || true", world.scratch().display()))),
    ])
}

fn walk(folder: &Path) -> usize {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    entries
        .map(|entry| 1 + if entry.file_type().is_ok_and(|kind| kind.is_dir()) { walk(&entry.path()) } else { 0 })
        .sum()
}

#[test]
fn sixty_containers_on_six_networks() {
    let size = Size { containers: 60, networks: 6, ports: 3, alone: 5, callers: 8 };
    live(&World::new(), size);
}

#[test]
#[ignore = "long, and about times"]
fn a_thousand_containers_on_fifty_networks() {
    let world = quiet();
    let size = Size { containers: 1000, networks: 50, ports: 10, alone: 100, callers: 64 };
    for (what, [first, last]) in live(&world, size) {
        // Other work on the machine moves a median too, but not so much.
        assert!(last < first * FLAT + SLACK, "{what}: {first:?} at first and {last:?} in the end");
    }
}

#[test]
#[ignore = "long, and about times"]
fn four_thousand_networks() {
    const NETWORKS: usize = 4000;
    let world = quiet();
    let before = counts_after_one(&world);
    let size = Size { containers: 0, networks: NETWORKS, ports: 0, alone: 100, callers: 8 };
    let [first, last] = many("networks created", NETWORKS, size, |number| {
        ask(&world, "POST", "/v1/networks", &json!({"name": format!("n{number}")}));
    });
    assert!(last < first * FLAT + SLACK + SLOPE * NETWORKS as u32, "{first:?} at first and {last:?} in the end");
    let shown = timed("all listed", || world.netctl_json(["network", "ls"]));
    let subnets: BTreeSet<_> =
        shown.as_array().expect("networks").iter().map(|network| network["subnets"].to_string()).collect();
    assert_eq!(subnets.len(), NETWORKS + 2, "each has its own, with that of bridge and none for two");
    let web = timed("a container among them", || world.container("web", ["--network", "n3999"]));
    web.place.ok(["ping", "-q", "-c1", "-W2", &web.gateway.to_string()]);
    timed("a network joined", || world.netctl_ok(["network", "connect", "n7", "web"]));
    restart(&world, "netd restarted");
    world.netctl_ok(["container", "rm", "web"]);
    timed("all pruned", || world.netctl_ok(["network", "prune", "--timeout", "300"]));
    assert_eq!(counts(&world), before, "nothing is left");
}
