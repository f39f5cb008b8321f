//! The whole API over a real store, a machine that is made up, and a reconciler that is always done.

use super::*;
use crate::files::Files;
use crate::kernel::fill::MapFill;
use crate::kernel::traffic::Traffic;
use crate::model::command::{Command, Context, HostSocket, NamespaceAt};
use crate::model::node::{Interface, XdpMode};
use crate::model::parent::LinkDriver;
use crate::model::state::{Protocol, PublishKey};
use crate::reconcile::status::Object;
use crate::shortage::Degree;
use axum::body::Body;
use axum::http::{Request, StatusCode};
use axum::response::Response;
use http_body_util::BodyExt as _;
use netd_common::Addr;
use netd_common::drop::{Counter, DropReason, Hook, Outcome};
use netd_common::flow::{ANSWERED, Flow, FlowKey, REPLY};
use netd_common::limits::SNAT_TRIES_BUCKETS;
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::net::IpAddr;
use std::ops::ControlFlow;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU8, Ordering};
use tower::ServiceExt as _;

const NOW_NS: u64 = 100_000_000_000;

/// A machine whose port 22 is bound by sshd, with one flow of the first endpoint, which remembers what was flushed.
#[derive(Debug, Default)]
struct Machine {
    drawn: AtomicU8,
    flows: Vec<(FlowKey, Flow)>,
    broken: bool,
    seen_mortal: AtomicBool,
    flushed: Arc<Mutex<Vec<Option<BTreeSet<u32>>>>>,
}

impl Host for Machine {
    fn entropy(&self) -> io::Result<[u8; 32]> {
        Ok([self.drawn.fetch_add(1, Ordering::Relaxed); 32])
    }

    fn bound_sockets(&self) -> io::Result<BTreeSet<HostSocket>> {
        let address = "0.0.0.0".parse().expect("an address");
        Ok([HostSocket { protocol: Protocol::Tcp, port: 22, address, inode: 7, ipv6_only: false }].into())
    }

    fn process_of(&self, inode: u32) -> Option<String> {
        (inode == 7).then(|| "sshd (pid 99)".to_owned())
    }

    fn has_namespace(&self, name: &str) -> bool {
        name == "theirs"
    }

    fn namespace_at(&self, path: &Path) -> NamespaceAt {
        // One that is asked for a second time has ended meanwhile.
        let is_gone = path.ends_with("mortal") && self.seen_mortal.swap(true, Ordering::Relaxed);
        if is_gone { NamespaceAt::Nothing } else { NamespaceAt::Other }
    }

    fn node(&self) -> io::Result<NodeFacts> {
        let lan0 = Interface { mtu: 1400, mac: [2; 6] };
        let addresses = [IpAddr::from([198, 19, 0, 7])].into();
        Ok(NodeFacts { interfaces: [("lan0".to_owned(), lan0)].into(), addresses, ..NodeFacts::default() })
    }

    fn has_driver(&self, driver: LinkDriver) -> io::Result<bool> {
        Ok(driver == LinkDriver::Macvlan)
    }

    fn flows(&self, each: &mut dyn FnMut(&FlowKey, &Flow) -> ControlFlow<()>) -> io::Result<()> {
        let _until_it_breaks_off = self.flows.iter().try_for_each(|(key, flow)| each(key, flow));
        if self.broken { Err(io::Error::other("no such map")) } else { Ok(()) }
    }

    fn flush(&self, endpoints: Option<&BTreeSet<u32>>) -> io::Result<u64> {
        if self.broken {
            return Err(io::Error::other("no such map"));
        }
        self.flushed.lock().expect("the list").push(endpoints.cloned());
        Ok(3)
    }

    fn monotonic_ns(&self) -> u64 {
        NOW_NS
    }

    fn drops(&self, endpoints: &BTreeSet<u32>) -> io::Result<Vec<(DropReason, Counter)>> {
        let counter = Counter { packets: endpoints.len() as u64, bytes: 60 };
        Ok(vec![(DropReason::SpoofedSource, counter)])
    }

    fn tries(&self) -> io::Result<[u64; SNAT_TRIES_BUCKETS]> {
        Ok([7, 0, 2, 0, 0, 0, 0, 0, 0, 1])
    }

    fn traffic(&self, path: &Path, interface: &str) -> io::Result<Traffic> {
        assert_eq!((path, interface), (Path::new("/run/netns/web"), "eth0"));
        let counter = |packets| Counter { packets, bytes: packets * 100 };
        Ok(Traffic { received: counter(3), sent: counter(2) })
    }

    fn counters(&self) -> io::Result<Vec<(Hook, Outcome, Counter)>> {
        let counter = Counter { packets: 3, bytes: 180 };
        Ok(vec![
            (Hook::UplinkIngress, Outcome::Passed, counter),
            (Hook::ContainerEgress, Outcome::Dropped(DropReason::NoRoute), counter),
            (Hook::ContainerEgress, Outcome::Redirected, counter),
        ])
    }

    fn guarded(&self) -> io::Result<BTreeMap<String, XdpMode>> {
        if self.broken {
            return Err(io::Error::other("no such folder"));
        }
        Ok([("eth0".to_owned(), XdpMode::Native)].into())
    }

    fn fill(&self) -> io::Result<Vec<MapFill>> {
        if self.broken {
            return Err(io::Error::other("no such map"));
        }
        Ok(vec![MapFill { name: "FLOWS".to_owned(), entries: 2, max: 262_144 }])
    }
}

/// What fails, as the reconciler would publish it.
type Failing = BTreeMap<Object, String>;

struct World {
    router: Router,
    status: watch::Sender<Arc<Status>>,
    events: Arc<Bus>,
    streams: Arc<Semaphore>,
    shortages: watch::Sender<Arc<Vec<Shortage>>>,
    stop: watch::Sender<bool>,
    folder: tempfile::TempDir,
}

impl World {
    fn new(machine: Machine) -> Self {
        let world = Self::idle(machine);
        world.reconcile(BTreeMap::new());
        world
    }

    /// A world in which nothing reaches the datapath.
    fn idle(machine: Machine) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let store = Arc::new(Store::open(&folder.path().join("netd.redb")).expect("a store"));
        let facts = NodeFacts {
            uplinks: [(
                "eth0".to_owned(),
                crate::kernel::facts::Uplink {
                    mtu: 1460,
                    addresses: ["198.18.0.1".parse().expect("an address")].into(),
                    gateway6: None,
                },
            )]
            .into(),
            addresses: ["127.0.0.1", "198.18.0.1"].map(|text| text.parse().expect("an address")).into(),
            ..NodeFacts::default()
        };
        let context = Context {
            now: jiff::Timestamp::UNIX_EPOCH,
            entropy: [255; 32],
            facts: facts.clone(),
            host_sockets: BTreeSet::new(),
            namespaces: BTreeSet::new(),
            subnet_pools: vec![crate::model::ipam::pool()],
            missing_drivers: BTreeSet::new(),
            given_namespaces: BTreeMap::new(),
        };
        store.write(&Command::InstallBuiltins, &context).expect("the built-in networks");
        let (status, status_reader) = watch::channel(Arc::new(Status::default()));
        let (_, facts) = watch::channel(Arc::new(facts));
        let (shortage_sender, shortages) = watch::channel(Arc::default());
        let (stop, stopped) = watch::channel(false);
        let api = Api {
            instance: "default".to_owned(),
            state: store.subscribe(),
            store,
            status: status_reader,
            facts,
            shortages,
            events: Arc::default(),
            host: machine,
            files: Files { folder: folder.path().join("containers"), resolv_conf: folder.path().join("resolv.conf") },
            names: Arc::default(),
            subnet_pools: vec![crate::model::ipam::pool()],
            netns_dir: "/run/netns".into(),
            changing: Mutex::new(()),
            streams: Arc::new(Semaphore::new(STREAMS_MAX)),
            stop: stopped,
        };
        let (events, streams) = (Arc::clone(&api.events), Arc::clone(&api.streams));
        let state = api.state.clone();
        let world =
            Self { router: router(Arc::new(api)), status, events, streams, shortages: shortage_sender, stop, folder };
        world.status.send_replace(Arc::new(Status { observed_revision: state.borrow().revision, ..Status::default() }));
        world
    }

    /// Brings every revision at once into a datapath in which `failing` fails.
    fn reconcile(&self, failing: Failing) {
        self.status.send_replace(Arc::new(Status { observed_revision: u64::MAX, failing }));
    }

    async fn send(&self, method: &str, path: &str, body: impl Into<Body>) -> Response {
        let request = Request::builder().method(method).uri(path).body(body.into()).expect("a request");
        self.router.clone().oneshot(request).await.expect("an answer")
    }

    async fn ask(&self, method: &str, path: &str, body: Value) -> (StatusCode, Value) {
        let body = if body.is_null() { Body::empty() } else { Body::from(body.to_string()) };
        let response = self.send(method, path, body).await;
        let status = response.status();
        let bytes = response.into_body().collect().await.expect("a body").to_bytes();
        (status, serde_json::from_slice(&bytes).expect("JSON"))
    }

    async fn create(&self, spec: Value) -> Value {
        let (status, record) = self.ask("POST", "/v1/containers", spec).await;
        assert_eq!(status, StatusCode::CREATED, "{record}");
        record
    }
}

fn code(answer: &(StatusCode, Value)) -> (u16, &str) {
    (answer.0.as_u16(), answer.1["code"].as_str().unwrap_or_default())
}

/// Every name in a JSON value, with its path: what a script may rely on.
fn names(value: &Value) -> BTreeSet<String> {
    match value {
        Value::Object(fields) => fields
            .iter()
            .flat_map(|(name, value)| {
                let below = names(value).into_iter().map(|below| format!("{name}.{below}")).collect::<Vec<_>>();
                std::iter::once(name.clone()).chain(below)
            })
            .collect(),
        Value::Array(values) => values.iter().flat_map(names).collect(),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => BTreeSet::new(),
    }
}

/// The names of `contract` must all be there; more may be.
fn assert_names(record: &Value, contract: &str) {
    let there = names(record);
    for name in contract.split_whitespace() {
        assert!(there.contains(name), "{name} is missing in {record}");
    }
}

#[tokio::test]
async fn a_container_is_made_shown_and_removed() {
    let world = World::new(Machine::default());
    let record = world.create(json!({"name": "web", "publish": ["8080:80"], "labels": {"a": "b"}})).await;
    assert_eq!(record["mode"], "bridge");
    assert_eq!(record["netns"], "/run/netns/web");
    assert_eq!(record["endpoints"][0]["ipv4"], "10.208.0.2/24");
    assert_eq!(record["endpoints"][0]["gateway"], "10.208.0.1");
    assert_eq!(record["endpoints"][0]["mac"], "02:42:0a:d0:00:02");
    assert_eq!(record["endpoints"][0]["mtu"], 1460, "the uplink's");
    assert_eq!(record["endpoints"][0]["status"], "ready");
    assert_eq!(record["endpoints"][0]["ipv6"], Value::Null);
    assert_eq!(record["endpoints"][0]["gateway6"], Value::Null);
    assert_eq!(
        record["publishes"],
        json!([{
            "host_ip": "0.0.0.0", "host_ip6": "::", "host_port": 8080, "container_port": 80, "protocol": "tcp",
            "allow": [], "status": "ready"
        }])
    );
    assert!(record["created"].as_str().is_some_and(|time| time.parse::<jiff::Timestamp>().is_ok()), "RFC 3339");

    assert_eq!(world.ask("GET", "/v1/containers/web", Value::Null).await, (StatusCode::OK, record.clone()));
    assert_eq!(world.ask("GET", "/v1/containers", Value::Null).await.1, json!([record]));
    let hosts = world.folder.path().join("containers/web/hosts");
    assert!(std::fs::read_to_string(&hosts).expect("hosts").contains("10.208.0.2\tweb"));

    let (status, removed) = world.ask("DELETE", "/v1/containers/web", Value::Null).await;
    assert_eq!((status, removed), (StatusCode::OK, json!({"removed": ["web"]})));
    assert!(!hosts.exists());
    assert_eq!(code(&world.ask("GET", "/v1/containers/web", Value::Null).await), (404, "unknown_container"));
}

#[tokio::test]
async fn both_families_are_shown() {
    let world = World::new(Machine::default());
    let (_, network) = world.ask("POST", "/v1/networks", json!({"name": "dual", "ipv6": true})).await;
    let subnets: Vec<_> =
        network["subnets"].as_array().into_iter().flatten().map(|one| one["subnet"].clone()).collect();
    assert_eq!(subnets, ["10.208.1.0/24", "fdff:ffff:ffff::/64"]);
    let record = world.create(json!({"name": "web", "networks": ["dual"]})).await;
    let endpoint = &record["endpoints"][0];
    let shown = ["ipv4", "ipv6", "gateway", "gateway6"].map(|field| endpoint[field].clone());
    assert_eq!(shown, ["10.208.1.2/24", "fdff:ffff:ffff::2/64", "10.208.1.1", "fdff:ffff:ffff::1"]);
    let hosts = std::fs::read_to_string(world.folder.path().join("containers/web/hosts")).expect("hosts");
    assert!(hosts.ends_with("\n10.208.1.2\tweb\nfdff:ffff:ffff::2\tweb\n"), "{hosts}");

    world.ask("POST", "/v1/networks", json!({"name": "six", "subnets": ["fd06::/64"], "mtu": 1280})).await;
    let record = world.create(json!({"name": "db", "networks": ["six"]})).await;
    let shown = ["ipv4", "ipv6", "gateway", "gateway6"].map(|field| record["endpoints"][0][field].clone());
    assert_eq!(shown, [Value::Null, "fd06::2/64".into(), "fd06::1".into(), "fd06::1".into()]);
}

#[tokio::test]
async fn a_network_on_a_parent_is_judged_by_what_the_host_has_now() {
    let world = World::new(Machine::default());
    let lan = |name: &str, driver: &str, parent: &str| json!({"name": name, "driver": driver, "parent": parent, "subnets": ["198.19.0.0/24"]});
    let (status, network) = world.ask("POST", "/v1/networks", lan("lan", "macvlan", "lan0")).await;
    assert_eq!(
        (status, &network["driver"], &network["parent"]),
        (StatusCode::CREATED, &"macvlan".into(), &"lan0".into())
    );
    assert_eq!(network["subnets"][0]["aux_addresses"], json!({"host": "198.19.0.7"}));
    let record = world.create(json!({"name": "web", "networks": ["lan"]})).await;
    let shown = ["host_interface", "ipv4", "gateway"].map(|field| record["endpoints"][0][field].clone());
    assert_eq!(shown, ["", "198.19.0.2/24", "198.19.0.1"]);
    for (refused, code_of) in [
        (lan("six", "ipvlan", "lan0"), (409, "no_driver")),
        (lan("six", "macvlan", "lan0.20"), (409, "no_driver")),
        (lan("six", "macvlan", "eth7"), (400, "no_parent")),
        (lan("six", "macvlan", "lan0"), (409, "subnet_overlaps")),
        (lan("six", "host", "lan0"), (400, "bad_network")),
    ] {
        assert_eq!(code(&world.ask("POST", "/v1/networks", refused.clone()).await), code_of, "{refused}");
    }
}

#[tokio::test]
async fn records_have_the_names_of_the_contract() {
    let world = World::new(Machine::default());
    let record = world.create(json!({"name": "web", "publish": ["8080:80"]})).await;
    assert_names(
        &record,
        "name id netns mode hostname created labels endpoints endpoints.network endpoints.interface \
         endpoints.host_interface endpoints.ipv4 endpoints.ipv6 endpoints.gateway endpoints.gateway6 endpoints.mac endpoints.aliases \
         endpoints.mtu endpoints.status publishes publishes.host_ip publishes.host_ip6 publishes.host_port publishes.container_port \
         publishes.protocol publishes.status",
    );
    let (_, network) = world.ask("GET", "/v1/networks/bridge", Value::Null).await;
    assert_names(
        &network,
        "name id driver subnets subnets.subnet subnets.gateway subnets.ip_range subnets.aux_addresses internal icc \
         masquerade mtu parent labels options created containers containers.name containers.interface containers.ipv4 \
         containers.ipv6 containers.mac containers.aliases",
    );
    let (_, ports) = world.ask("GET", "/v1/publishes", Value::Null).await;
    assert_names(&ports, "container host_ip host_port container_port protocol allow status");
    let (_, counters) = world.ask("GET", "/v1/stats", Value::Null).await;
    assert_names(&counters, "hook outcome packets bytes");
    let (_, status) = world.ask("GET", "/v1/status", Value::Null).await;
    assert_names(
        &status,
        "revision observed_revision objects uplinks xdp maps maps.name maps.entries maps.max version abi",
    );
    assert_eq!(status["uplinks"], json!(["eth0"]));
    assert_eq!(status["xdp"], json!({"eth0": "native"}));
}

#[tokio::test]
async fn refusals_have_a_code_and_say_what_to_do() {
    let world = World::new(Machine::default());
    world.create(json!({"name": "web", "publish": ["8080:80"]})).await;
    let cases = [
        (json!({"name": "web"}), 409, "name_taken", "\"web\""),
        (json!({"name": "theirs"}), 409, "namespace_exists", "theirs"),
        (json!({"name": "b", "networks": ["brigde"]}), 404, "unknown_network", "\"bridge\""),
        (json!({"name": "b", "publish": ["8080:80"]}), 409, "port_published", "\"web\""),
        (json!({"name": "b", "publish": ["22:22"]}), 409, "port_bound", "sshd (pid 99)"),
        (json!({"name": "b", "ip": "10.208.0.2"}), 409, "address_taken", "web"),
        (json!({"name": "b", "ip": "10.9.0.2"}), 400, "address_outside", "10.208.0.0/24"),
        (json!({"name": "b/c"}), 400, "bad_name", "b/c"),
    ];
    for (spec, status, expected, named) in cases {
        let answer = world.ask("POST", "/v1/containers", spec.clone()).await;
        assert_eq!(code(&answer), (status, expected), "{spec} gave {}", answer.1);
        let message = answer.1["message"].as_str().expect("a message");
        assert!(message.contains(named) && !message.contains('\n'), "{message}");
    }
    let answer = world.ask("DELETE", "/v1/containers/wbe", Value::Null).await;
    assert_eq!(code(&answer), (404, "unknown_container"));
    assert!(answer.1["message"].as_str().is_some_and(|message| message.contains("\"web\"")), "the nearest name");
    assert_eq!(world.ask("GET", "/v1/containers", Value::Null).await.1.as_array().map(Vec::len), Some(1));
}

#[tokio::test]
async fn what_is_not_understood_is_refused_in_json() {
    let world = World::new(Machine::default());
    let cases = [
        ("GET", "/", "", 404, "unknown_path"),
        ("GET", "/v1/nothing", "", 404, "unknown_path"),
        ("PUT", "/v1/containers", "", 405, "method_not_allowed"),
        ("POST", "/v1/containers", "", 400, "invalid_body"),
        ("POST", "/v1/containers", "{\"name\":", 400, "invalid_body"),
        ("POST", "/v1/containers", r#"{"name":"a","colour":"red"}"#, 400, "invalid_body"),
        ("POST", "/v1/publishes", r#"{"container":"a","ports":["80"],"x":1}"#, 400, "invalid_body"),
        ("POST", "/v1/publishes", r#"{"container":"a","ports":["80:80/icmp"]}"#, 400, "invalid_body"),
        ("POST", "/v1/containers?timeout=3", r#"{"name":"a"}"#, 400, "invalid_query"),
        ("POST", "/v1/containers?timeout_s=x", r#"{"name":"a"}"#, 400, "invalid_query"),
        ("POST", "/v1/blocks", r#"{"prefixes":["10.0.0.1/8"]}"#, 400, "invalid_body"),
        ("POST", "/v1/blocks:remove", r#"{"what":{"prefixes":["10.0.0.0/8"]}}"#, 404, "not_blocked"),
        ("GET", "/v1/flows?who=web", "", 400, "invalid_query"),
        ("GET", "/v1/flows?container=web", "", 404, "unknown_container"),
        ("DELETE", "/v1/flows?containers=web", "", 400, "invalid_query"),
        ("DELETE", "/v1/flows?container=web", "", 404, "unknown_container"),
    ];
    for (method, path, body, status, expected) in cases {
        let response = world.send(method, path, body).await;
        let found = response.status().as_u16();
        let bytes = response.into_body().collect().await.expect("a body").to_bytes();
        let record: Value = serde_json::from_slice(&bytes).expect("JSON");
        assert_eq!((found, record["code"].as_str()), (status, Some(expected)), "{method} {path} {body}: {record}");
    }
}

#[tokio::test]
async fn every_resource_of_the_documentation_is_there() {
    let world = World::new(Machine::default());
    let rows = include_str!("../../../docs/api.md").lines().filter_map(|line| line.strip_prefix("| `"));
    let requests: Vec<(&str, &str)> = rows
        .filter_map(|row| row.split_once('`')?.0.split_once(' '))
        .filter(|(_, path)| path.starts_with("/v1/"))
        .collect();
    assert!(requests.len() > 15, "{requests:?}");
    for (method, path) in requests {
        let path = path.split('[').next().unwrap_or(path).replace("NAME", "web");
        let response = world.send(method, &path, Body::empty()).await;
        if path.contains("follow") {
            assert_eq!(response.status(), StatusCode::OK);
            continue;
        }
        let bytes = response.into_body().collect().await.expect("a body").to_bytes();
        let record: Value = serde_json::from_slice(&bytes).expect("JSON");
        let code = record["code"].as_str().unwrap_or_default();
        assert!(!["unknown_path", "method_not_allowed"].contains(&code), "{method} {path}: {record}");
    }
}

#[tokio::test]
async fn a_body_has_a_limit() {
    let world = World::new(Machine::default());
    let answer = world.ask("POST", "/v1/containers", json!({"name": "x".repeat(BODY_SIZE_MAX)})).await;
    assert_eq!(code(&answer), (413, "body_too_large"));
}

#[tokio::test]
async fn ports_are_published_picked_and_taken_back() {
    let world = World::new(Machine::default());
    world.create(json!({"name": "web"})).await;
    let request = json!({"container": "web", "ports": ["8000-8002:80-82", "127.0.0.1::443"]});
    let (status, records) = world.ask("POST", "/v1/publishes", request.clone()).await;
    assert_eq!(status, StatusCode::CREATED, "{records}");
    let ports: Vec<_> =
        records.as_array().into_iter().flatten().map(|record| record["container_port"].clone()).collect();
    assert_eq!(ports.len(), 4, "{records}");
    assert!(ports.contains(&json!(443)) && ports.contains(&json!(82)));

    let request = json!({"container": "web", "what": {"ports": ["8000:80"]}});
    let (_, gone) = world.ask("POST", "/v1/publishes:remove", request).await;
    assert_eq!(gone[0]["host_port"], 8000);
    let (_, gone) = world.ask("POST", "/v1/publishes:remove", json!({"container": "web", "what": "all"})).await;
    assert_eq!(gone.as_array().map(Vec::len), Some(3));
    assert_eq!(world.ask("GET", "/v1/publishes?container=web", Value::Null).await.1, json!([]));
}

#[tokio::test]
async fn a_published_port_is_opened_to_some_and_then_to_others() {
    let world = World::new(Machine::default());
    world.create(json!({"name": "web"})).await;
    let publish = |allow: Value| json!({"container": "web", "ports": ["8000:80"], "allow": allow});
    let (_, records) = world.ask("POST", "/v1/publishes", publish(json!(["198.18.0.7", "10.0.0.0/8"]))).await;
    assert_eq!(records[0]["allow"], json!(["10.0.0.0/8", "198.18.0.7/32"]));
    let (status, records) = world.ask("POST", "/v1/publishes", publish(json!(["2001:db8::/32"]))).await;
    assert_eq!((status, &records[0]["allow"]), (StatusCode::CREATED, &json!(["2001:db8::/32"])));
    let (_, container) = world.ask("GET", "/v1/containers/web", Value::Null).await;
    assert_eq!(container["publishes"][0]["allow"], json!(["2001:db8::/32"]));
    let (_, records) = world.ask("POST", "/v1/publishes", json!({"container": "web", "ports": ["8000:80"]})).await;
    assert_eq!(records[0]["allow"], json!([]));
}

#[tokio::test]
async fn addresses_are_blocked_listed_and_let_in_again() {
    let world = World::new(Machine::default());
    assert_eq!(world.ask("GET", "/v1/blocks", Value::Null).await, (StatusCode::OK, json!([])));
    let (status, record) = world.ask("POST", "/v1/blocks", json!({"prefixes": ["203.0.113.0/24", "::/0"]})).await;
    assert_eq!((status, &record["changed"], &record["blocked"]), (StatusCode::CREATED, &json!(2), &json!(2)));
    assert!(record["notes"][0].as_str().is_some_and(|note| note.starts_with("::/0 is everybody")), "{record}");
    let (_, record) = world.ask("POST", "/v1/blocks", json!({"prefixes": ["203.0.113.0/24"]})).await;
    assert_eq!(record, json!({"changed": 0, "blocked": 2, "notes": []}));
    let listed = json!([{"prefix": "203.0.113.0/24", "status": "ready"}, {"prefix": "::/0", "status": "ready"}]);
    assert_eq!(world.ask("GET", "/v1/blocks", Value::Null).await.1, listed);
    let gone = json!({"what": {"prefixes": ["::/0"]}});
    assert_eq!(world.ask("POST", "/v1/blocks:remove", gone).await.1["blocked"], 1);
    assert_eq!(world.ask("POST", "/v1/blocks:remove", json!({"what": "all"})).await.1["changed"], 1);
    assert_eq!(world.ask("GET", "/v1/blocks", Value::Null).await.1, json!([]));

    let reason = "guard uplink eth0: another XDP program is there".to_owned();
    world.reconcile([(Object::Uplink("eth0".to_owned()), reason)].into());
    let answer = world.ask("POST", "/v1/blocks", json!({"prefixes": ["203.0.113.0/24"]})).await;
    assert_eq!(code(&answer), (503, "not_ready"));
    assert_eq!(world.ask("GET", "/v1/blocks", Value::Null).await.1[0]["status"], "failing");
    let (_, status) = world.ask("GET", "/v1/status", Value::Null).await;
    assert_eq!((&status["objects"][0]["kind"], &status["objects"][0]["name"]), (&json!("uplink"), &json!("eth0")));
}

#[tokio::test]
async fn a_hundred_thousand_prefixes_are_one_change() {
    let world = World::new(Machine::default());
    let prefixes: Vec<String> =
        (0..100_000_u32).map(|number| format!("{}", std::net::Ipv4Addr::from(number << 8))).collect();
    let body = json!({"prefixes": prefixes});
    assert!(body.to_string().len() > BODY_SIZE_MAX);
    let (status, record) = world.ask("POST", "/v1/blocks", body).await;
    assert_eq!((status, &record["changed"]), (StatusCode::CREATED, &json!(100_000)));
    let (_, listed) = world.ask("GET", "/v1/blocks", Value::Null).await;
    assert_eq!(listed.as_array().map(Vec::len), Some(100_000));
    let one = json!({"prefixes": ["2001:db8::/32"]});
    assert_eq!(world.ask("POST", "/v1/blocks", one).await.1["blocked"], 100_001);
}

#[tokio::test]
async fn a_change_that_the_kernel_refuses_is_kept_and_says_so() {
    let world = World::new(Machine::default());
    let reason = "create link nd1: no memory".to_owned();
    world.reconcile([(Object::Container("web".to_owned()), reason)].into());
    let answer = world.ask("POST", "/v1/containers", json!({"name": "web"})).await;
    assert_eq!(code(&answer), (503, "not_ready"));
    assert!(answer.1["message"].as_str().is_some_and(|message| message.contains("no memory")));
    let (_, record) = world.ask("GET", "/v1/containers/web", Value::Null).await;
    assert_eq!(record["endpoints"][0]["status"], "failing");
    let (_, status) = world.ask("GET", "/v1/status", Value::Null).await;
    assert_eq!(status["objects"][0]["kind"], "container");
    assert_eq!(status["objects"][0]["name"], "web");
    assert_eq!(world.ask("POST", "/v1/containers", json!({"name": "other"})).await.0, StatusCode::CREATED);

    let key = PublishKey { host_ip: "0.0.0.0".parse().expect("an address"), protocol: Protocol::Tcp, host_port: 81 };
    world.reconcile([(Object::Publish(key), "full".to_owned())].into());
    let request = |port: &str| json!({"container": "other", "ports": [port]});
    assert_eq!(code(&world.ask("POST", "/v1/publishes", request("81:80")).await), (503, "not_ready"));
    assert_eq!(world.ask("POST", "/v1/publishes", request("82:80")).await.0, StatusCode::CREATED);
}

#[tokio::test]
async fn a_datapath_that_does_not_follow_is_not_waited_for_without_end() {
    let world = World::idle(Machine::default());
    let answer = world.ask("POST", "/v1/containers?timeout_s=0", json!({"name": "web"})).await;
    assert_eq!(code(&answer), (504, "timed_out"));
    let (_, record) = world.ask("GET", "/v1/containers/web", Value::Null).await;
    assert_eq!(record["endpoints"][0]["status"], "pending");
    assert_eq!(
        code(&world.ask("POST", "/v1/containers?timeout_s=0", json!({"name": "web"})).await),
        (409, "name_taken")
    );
}

#[tokio::test]
async fn only_containers_whose_own_namespace_is_gone_are_pruned() {
    let world = World::new(Machine::default());
    world.create(json!({"name": "ours"})).await;
    world.create(json!({"name": "theirs1", "netns": "/proc/1/ns/net"})).await;
    world.create(json!({"name": "theirs2", "netns": "/proc/2/ns/mortal"})).await;
    let (status, record) = world.ask("POST", "/v1/containers:prune", Value::Null).await;
    assert_eq!((status, record), (StatusCode::OK, json!({"removed": ["theirs2"]})));
    assert_eq!(world.ask("POST", "/v1/containers:prune", Value::Null).await.1, json!({"removed": []}));
}

fn flows() -> Vec<(FlowKey, Flow)> {
    let key = FlowKey {
        source: Addr::v4([10, 208, 0, 2]),
        destination: Addr::v4([198, 18, 0, 9]),
        source_port: 4000,
        destination_port: 80,
        protocol: 6,
        ..FlowKey::default()
    };
    let flow = Flow {
        source: Addr::v4([198, 18, 0, 1]),
        destination: key.destination,
        source_port: 4001,
        destination_port: 80,
        history: ANSWERED,
        owner: 1,
        created_ns: NOW_NS - 9_500_000_000,
        seen_ns: NOW_NS - 1_000_000_000,
        packets: 5,
        bytes: 400,
        ..Flow::default()
    };
    let partner = (flow.partner_key(&key), Flow { flags: REPLY, ..flow });
    let stranger = (key.reversed(0), Flow { owner: 77, ..flow });
    vec![(key, flow), partner, stranger]
}

#[tokio::test]
async fn a_flow_is_listed_once_as_its_opener_sees_it() {
    let world = World::new(Machine { flows: flows(), ..Machine::default() });
    world.create(json!({"name": "web"})).await;
    world.create(json!({"name": "idle"})).await;
    let expected = json!({
        "container": "web", "protocol": "tcp", "state": "established",
        "source": "10.208.0.2:4000", "destination": "198.18.0.9:80",
        "translated_source": "198.18.0.1:4001", "translated_destination": "198.18.0.9:80",
        "packets": 5, "bytes": 400, "age_s": 9, "idle_s": 1
    });
    let (_, all) = world.ask("GET", "/v1/flows", Value::Null).await;
    assert_eq!(all[0], expected);
    assert_eq!((all[1]["container"].clone(), all.as_array().map(Vec::len)), (Value::Null, Some(2)));
    assert_eq!(world.ask("GET", "/v1/flows?container=web", Value::Null).await.1, json!([expected]));
    assert_eq!(world.ask("GET", "/v1/flows?container=idle", Value::Null).await.1, json!([]));
}

#[tokio::test]
async fn flows_are_flushed_all_or_one_container_s() {
    let flushed = Arc::new(Mutex::new(Vec::new()));
    let world = World::new(Machine { flushed: Arc::clone(&flushed), ..Machine::default() });
    world.create(json!({"name": "web"})).await;
    world.create(json!({"name": "both", "networks": ["host"]})).await;
    for path in ["/v1/flows", "/v1/flows?container=web", "/v1/flows?container=both"] {
        assert_eq!(world.ask("DELETE", path, Value::Null).await, (StatusCode::OK, json!({"flushed": 3})));
    }
    assert_eq!(
        *flushed.lock().expect("the list"),
        [None, Some([1].into()), Some([].into())],
        "a container without an endpoint has no flows, and that is not all of them"
    );
    let broken = World::new(Machine { broken: true, ..Machine::default() });
    assert_eq!(code(&broken.ask("DELETE", "/v1/flows", Value::Null).await), (500, "host"));
}

#[tokio::test]
async fn many_flows_are_one_document_in_pieces() {
    let (key, flow) = flows().swap_remove(0);
    let many = (0..5000).map(|port| (FlowKey { source_port: port, ..key }, flow)).collect();
    let world = World::new(Machine { flows: many, ..Machine::default() });
    let mut body = world.send("GET", "/v1/flows", Body::empty()).await.into_body();
    let (mut pieces, mut text) = (0, Vec::new());
    while let Some(frame) = body.frame().await {
        pieces += 1;
        text.extend(frame.expect("a piece").into_data().expect("bytes"));
    }
    assert!(pieces > 10, "{pieces} pieces");
    let records: Value = serde_json::from_slice(&text).expect("one JSON document");
    assert_eq!(records.as_array().map(Vec::len), Some(5000));
}

#[tokio::test]
async fn maps_that_cannot_be_read_are_an_error_and_no_empty_list() {
    let world = World::new(Machine { broken: true, ..Machine::default() });
    assert_eq!(code(&world.ask("GET", "/v1/flows", Value::Null).await), (500, "host"));
    let (status, record) = world.ask("GET", "/v1/status", Value::Null).await;
    assert_eq!((status, record["objects"][0]["name"].as_str()), (StatusCode::OK, Some("maps")));
}

#[tokio::test]
async fn what_is_short_is_an_object_of_the_status() {
    let world = World::new(Machine::default());
    let shortage = |kind, name: &str, degree| Shortage { kind, name: name.to_owned(), degree, reason: "r".to_owned() };
    let snat = shortage(crate::shortage::Kind::Snat, "lab", Degree::Exhausted);
    let map = shortage(crate::shortage::Kind::Map, "FLOWS", Degree::NearlyFull);
    world.shortages.send_replace(Arc::new(vec![snat, map]));
    let (_, record) = world.ask("GET", "/v1/status", Value::Null).await;
    let object = |kind, name, status| json!({"kind": kind, "name": name, "status": status, "reason": "r"});
    let expected = [object("snat", "lab", "exhausted"), object("map", "FLOWS", "nearly-full")];
    assert_eq!(record["objects"], json!(expected));
}

#[tokio::test]
async fn counters_come_in_the_order_of_the_programs() {
    let world = World::new(Machine::default());
    let (_, records) = world.ask("GET", "/v1/stats", Value::Null).await;
    let outcomes: Vec<_> = records.as_array().into_iter().flatten().map(|record| record["outcome"].as_str()).collect();
    assert_eq!(outcomes[..3], [Some("redirected"), Some("NoRoute"), Some("passed")]);
    let tries =
        |outcome: &str, packets: u64| json!({"hook": "snat_tries", "outcome": outcome, "packets": packets, "bytes": 0});
    assert_eq!(records.as_array().map(|all| &all[3..]), Some(&[tries("1", 7), tries("3-4", 2), tries("none", 1)][..]));
}

#[tokio::test]
async fn events_are_kept_and_followed() {
    let world = World::new(Machine::default());
    let record = crate::events::Record::lost(jiff::Timestamp::UNIX_EPOCH, 3);
    world.events.publish(record.clone());
    let (_, recent) = world.ask("GET", "/v1/events", Value::Null).await;
    assert_eq!(recent, json!([record]));
    assert_names(&recent, "time kind object name container hook reason protocol source destination message");

    let mut following = world.send("GET", "/v1/events?follow=true", Body::empty()).await.into_body();
    world.events.publish(record.clone());
    let line = following.frame().await.expect("a line").expect("a line").into_data().expect("bytes");
    assert!(line.ends_with(b"\n"));
    assert_eq!(serde_json::from_slice::<crate::events::Record>(&line).expect("a record"), record);
    world.stop.send(true).expect("a reader");
    assert!(following.frame().await.is_none(), "a netd that stops ends what streams");
}

#[tokio::test]
async fn streams_have_a_limit() {
    let world = World::new(Machine::default());
    let all = u32::try_from(STREAMS_MAX).expect("a small number");
    let taken = world.streams.clone().acquire_many_owned(all).await.expect("permits");
    assert_eq!(code(&world.ask("GET", "/v1/flows", Value::Null).await), (503, "too_many_streams"));
    drop(taken);
    assert_eq!(world.ask("GET", "/v1/flows", Value::Null).await.0, StatusCode::OK);
}

#[tokio::test]
async fn client_and_server_understand_each_other() {
    let world = World::new(Machine::default());
    let socket = world.folder.path().join("netd.sock");
    let (stop, stopped) = watch::channel(false);
    let listener = server::bind(&socket, None).expect("a socket");
    let serving = tokio::spawn(server::serve(listener, world.router.clone(), stopped));
    let client = client::Client { socket, timeout: std::time::Duration::from_secs(5) };
    let spec = json!({"name": "web"});
    let made: records::ContainerRecord =
        client.change(axum::http::Method::POST, "/v1/containers", &spec).await.expect("made");
    assert_eq!(client.read::<Vec<records::ContainerRecord>>("/v1/containers").await.expect("a list"), [made]);
    let refused = client.read::<Value>("/v1/containers/wbe").await.expect_err("no such container");
    let client::ClientError::Refused(record) = refused else { panic!("{refused}") };
    assert_eq!(record.code, "unknown_container");
    stop.send(true).expect("a server");
    serving.await.expect("ended").expect("well");
}

#[tokio::test]
async fn a_containers_counters_are_its_interfaces_and_its_drops() {
    let world = World::new(Machine::default());
    world.create(json!({"name": "web"})).await;
    let (status, records) = world.ask("GET", "/v1/stats?container=web", Value::Null).await;
    let record =
        |hook, outcome, packets, bytes| json!({"hook": hook, "outcome": outcome, "packets": packets, "bytes": bytes});
    let expected = json!([
        record("eth0", "received", 3, 300),
        record("eth0", "sent", 2, 200),
        record("container_egress", "SpoofedSource", 1, 60),
    ]);
    assert_eq!((status, records), (StatusCode::OK, expected));
    assert_eq!(code(&world.ask("GET", "/v1/stats?container=wbe", Value::Null).await), (404, "unknown_container"));
}

#[tokio::test]
async fn several_changes_are_made_at_once_or_tried_or_refused() {
    let world = World::new(Machine::default());
    let changes = |port: &str| {
        json!([
            {"create_network": {"name": "blue", "subnets": ["10.5.0.0/24"]}},
            {"create_container": {"name": "web", "networks": ["blue"]}},
            {"create_container": {"name": "guest", "netns": "/run/guest"}},
            {"connect": {"network": "bridge", "request": {"container": "web"}}},
            {"publish": {"container": "web", "ports": ["8080:80", port], "allow": ["10.0.0.0/8"]}},
        ])
    };
    let there = || world.ask("GET", "/v1/containers", Value::Null);
    let tried = world.ask("POST", "/v1/changes", json!({"dry_run": true, "changes": changes("81")})).await;
    assert_eq!(tried, (StatusCode::OK, json!({"revision": 1, "published": []})));
    assert_eq!(there().await.1, json!([]));
    for dry_run in [true, false] {
        let refused = world.ask("POST", "/v1/changes", json!({"dry_run": dry_run, "changes": changes("22:22")})).await;
        assert_eq!(code(&refused), (409, "port_bound"));
        assert_eq!(
            refused.1["message"],
            "ports of web: port 0.0.0.0:22/tcp is already bound on the host, at 0.0.0.0:22 by sshd (pid 99); stop what holds \
             it or choose another port"
        );
        assert_eq!(there().await.1, json!([]), "nothing of it is done");
    }
    world.reconcile(Failing::new());
    let (status, made) = world.ask("POST", "/v1/changes", json!({"changes": changes("81")})).await;
    let ports = [&made["published"][0]["host_port"], &made["published"][1]["host_port"]];
    assert_eq!(
        (status, &made["revision"], ports),
        (StatusCode::OK, &6.into(), [&8080.into(), &49152.into()]),
        "{made}"
    );
    let containers = there().await.1;
    assert_eq!((&containers[0]["netns_given"], &containers[1]["netns_given"]), (&true.into(), &false.into()));
    assert_eq!(containers[1]["endpoints"].as_array().map(Vec::len), Some(2));
    let gone = json!([
        {"unpublish": {"container": "web", "what": "all"}},
        {"disconnect": {"network": "blue", "container": "web"}},
        {"remove_containers": ["guest"]},
        {"remove_networks": ["blue"]},
    ]);
    assert_eq!(world.ask("POST", "/v1/changes", json!({"changes": gone})).await.1["published"], json!([]));
    assert_eq!(there().await.1.as_array().map(Vec::len), Some(1));
    assert_eq!(code(&world.ask("POST", "/v1/changes", json!({"changes": ["x"]})).await), (400, "invalid_body"));
    // What is kept and not done is told of the object.
    world.reconcile([(Object::Container("late".to_owned()), "no memory".to_owned())].into());
    let late = json!({"changes": [{"create_container": {"name": "late"}}]});
    let answer = world.ask("POST", "/v1/changes", late).await;
    assert_eq!(code(&answer), (503, "not_ready"));
    assert!(answer.1["message"].as_str().is_some_and(|text| text.starts_with("container late: the change is kept")));
}
