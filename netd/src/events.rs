//! What has happened: changes of intent, objects that fail and recover, sampled drops?
//!
//! Three sources, one [`Bus`]. A reader that is slower than the events loses the oldest and is told how many.

use crate::joined::differing;
use crate::model::prefix::{Prefix, Prefixes};
use crate::model::state::{Endpoint, Publish, PublishKey, State};
use crate::reconcile::status::{Object, Status};
use crate::{kernel, tuple};
use jiff::{SignedDuration, Timestamp};
use netd_common::drop::{DropReason, Hook};
use netd_common::event::{Event, Kind as KernelKind};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, VecDeque};
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::sync::{broadcast, watch};

/// Events that wait for a slow reader; past it the oldest are lost to that reader.
pub const QUEUE_MAX: usize = 1024;
/// Events that are kept for a reader who comes later.
pub const RECENT_MAX: usize = 256;
/// How long until the event ring is opened again after it failed, such as when bpffs was unmounted.
const REOPEN_DELAY: Duration = Duration::from_secs(5);

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    Created,
    Removed,
    Connected,
    Disconnected,
    Published,
    Unpublished,
    Blocked,
    Unblocked,
    Failing,
    Ready,
    Dropped,
    /// This reader was too slow; `message` says how many events it missed.
    Lost,
}

impl Kind {
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Created => "created",
            Self::Removed => "removed",
            Self::Connected => "connected",
            Self::Disconnected => "disconnected",
            Self::Published => "published",
            Self::Unpublished => "unpublished",
            Self::Blocked => "blocked",
            Self::Unblocked => "unblocked",
            Self::Failing => "failing",
            Self::Ready => "ready",
            Self::Dropped => "dropped",
            Self::Lost => "lost",
        }
    }
}

/// One event, as the API and `netctl events -o json` give it. What does not apply is null.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Record {
    /// RFC 3339.
    pub time: Timestamp,
    pub kind: Kind,
    /// `container`, `network`, `publish` or `node`, when it is about an object.
    pub object: Option<String>,
    /// The object's name; of a publish, `HOSTIP:HOSTPORT/PROTOCOL`.
    pub name: Option<String>,
    /// The container it is about, when it can be known.
    pub container: Option<String>,
    /// The program that saw the packet.
    pub hook: Option<String>,
    /// Why the packet was dropped.
    pub reason: Option<String>,
    pub protocol: Option<String>,
    pub source: Option<String>,
    pub destination: Option<String>,
    /// The same for people.
    pub message: String,
}

impl Record {
    fn about(time: Timestamp, kind: Kind, object: &Object, message: String) -> Self {
        let (name, container) = match object {
            Object::Node | Object::BlockList => (None, None),
            Object::Uplink(name) | Object::Network(name) => (Some(name.clone()), None),
            Object::Container(name) => (Some(name.clone()), Some(name.clone())),
            Object::Publish(key) => (Some(publish_name(key)), None),
        };
        let object = Some(object_kind(object).to_owned());
        Self { object, name, container, ..Self::bare(time, kind, message) }
    }

    const fn bare(time: Timestamp, kind: Kind, message: String) -> Self {
        Self {
            time,
            kind,
            object: None,
            name: None,
            container: None,
            hook: None,
            reason: None,
            protocol: None,
            source: None,
            destination: None,
            message,
        }
    }

    /// What a reader is told that missed `count` events.
    #[must_use]
    pub fn lost(time: Timestamp, count: u64) -> Self {
        Self::bare(time, Kind::Lost, format!("{count} events were lost: this reader was too slow"))
    }
}

/// The word for an object's kind, the same in events and in the status.
#[must_use]
pub const fn object_kind(object: &Object) -> &'static str {
    match object {
        Object::Node => "node",
        Object::BlockList => "block-list",
        Object::Uplink(_) => "uplink",
        Object::Network(_) => "network",
        Object::Container(_) => "container",
        Object::Publish(_) => "publish",
    }
}

/// `HOSTIP:HOSTPORT/PROTOCOL`.
#[must_use]
pub fn publish_name(key: &PublishKey) -> String {
    format!("{}/{}", SocketAddr::new(key.host_ip, key.host_port), tuple::transport(key.protocol))
}

/// Where events meet their readers.
#[derive(Debug)]
pub struct Bus {
    sender: broadcast::Sender<Arc<Record>>,
    /// The newest [`RECENT_MAX`], oldest first.
    recent: Mutex<VecDeque<Arc<Record>>>,
}

impl Default for Bus {
    fn default() -> Self {
        Self { sender: broadcast::Sender::new(QUEUE_MAX), recent: Mutex::new(VecDeque::with_capacity(RECENT_MAX)) }
    }
}

impl Bus {
    pub fn publish(&self, record: Record) {
        let record = Arc::new(record);
        let mut recent = self.recent.lock().unwrap_or_else(PoisonError::into_inner);
        if recent.len() == RECENT_MAX {
            recent.pop_front();
        }
        recent.push_back(Arc::clone(&record));
        // No reader is no error.
        let _ = self.sender.send(record);
    }

    #[must_use]
    pub fn subscribe(&self) -> broadcast::Receiver<Arc<Record>> {
        self.sender.subscribe()
    }

    /// What happened lately, oldest first.
    #[must_use]
    pub fn recent(&self) -> Vec<Arc<Record>> {
        self.recent.lock().unwrap_or_else(PoisonError::into_inner).iter().cloned().collect()
    }
}

/// Tells every change of intent, until the store is gone.
pub async fn follow_state(bus: Arc<Bus>, mut state: watch::Receiver<Arc<State>>) {
    let mut before = state.borrow_and_update().clone();
    while state.changed().await.is_ok() {
        let after = state.borrow_and_update().clone();
        for record in changes(&before, &after, Timestamp::now()) {
            match record.kind {
                Kind::Created
                | Kind::Removed
                | Kind::Connected
                | Kind::Disconnected
                | Kind::Blocked
                | Kind::Unblocked => tracing::info!("{}", record.message),
                // There may be thousands at once.
                Kind::Published | Kind::Unpublished => tracing::debug!("{}", record.message),
                Kind::Failing | Kind::Ready | Kind::Dropped | Kind::Lost => {}
            }
            bus.publish(record);
        }
        before = after;
    }
}

/// Tells every object that begins to fail or recovers, until the reconciler is gone.
pub async fn follow_status(bus: Arc<Bus>, mut status: watch::Receiver<Arc<Status>>) {
    let mut before = Arc::new(Status::default());
    loop {
        let after = status.borrow_and_update().clone();
        for record in health(&before, &after, Timestamp::now()) {
            bus.publish(record);
        }
        before = after;
        if status.changed().await.is_err() {
            return;
        }
    }
}

/// Tells what the programs report. Never ends: opens the ring again when it is gone.
pub async fn follow_kernel(bus: Arc<Bus>, pins: PathBuf, state: watch::Receiver<Arc<State>>) {
    loop {
        match read_ring(&bus, &pins, &state).await {
            Ok(never) => match never {},
            Err(error) => tracing::debug!(%error, "the event ring is not readable"),
        }
        tokio::time::sleep(REOPEN_DELAY).await;
    }
}

async fn read_ring(
    bus: &Bus,
    pins: &std::path::Path,
    state: &watch::Receiver<Arc<State>>,
) -> std::io::Result<std::convert::Infallible> {
    let mut ring = kernel::flows::Events::open(pins)?;
    loop {
        let events = ring.next().await?;
        let snapshot = state.borrow().clone();
        let owners = addresses(&snapshot);
        let (now, now_ns) = (Timestamp::now(), kernel::flows::monotonic_ns());
        for event in events {
            let age = SignedDuration::from_nanos(i64::try_from(now_ns.saturating_sub(event.time_ns)).unwrap_or(0));
            let time = now.checked_sub(age).unwrap_or(now);
            if let Some(record) = packet(&event, &owners, time) {
                bus.publish(record);
            }
        }
    }
}

/// Which container has which address.
fn addresses(state: &State) -> BTreeMap<IpAddr, &str> {
    let mut owners = BTreeMap::new();
    for container in state.containers.values() {
        for endpoint in &container.endpoints {
            for address in [endpoint.ipv4, endpoint.ipv6].into_iter().flatten() {
                owners.insert(address.ip(), container.name.as_str());
            }
        }
    }
    owners
}

/// What a user would say changed between two states.
fn changes(before: &State, after: &State, now: Timestamp) -> Vec<Record> {
    let mut records = Vec::new();
    let mut tell = |kind: Kind, object: Object, container: Option<&str>, message: String| {
        let mut record = Record::about(now, kind, &object, message);
        if let Some(container) = container {
            record.container = Some(container.to_owned());
        }
        records.push(record);
    };
    let goes_on = |now: Option<&Arc<Publish>>, then: &Publish| {
        now.is_some_and(|now| now.leads_to(&then.container, then.container_port))
    };
    let publishes: Vec<_> = differing(&before.publishes, &after.publishes).collect();
    for (key, then, now) in &publishes {
        let Some(publish) = then else { continue };
        if !goes_on(*now, publish) {
            let message = format!("{} no longer leads to {}", publish_name(key), publish.container);
            tell(Kind::Unpublished, Object::Publish(**key), Some(&publish.container), message);
        }
    }
    let containers: Vec<_> = differing(&before.containers, &after.containers).collect();
    let networks: Vec<_> = differing(&before.networks, &after.networks).collect();
    for (name, then, now) in &containers {
        if then.is_some_and(|then| now.is_none_or(|now| now.id != then.id)) {
            tell(Kind::Removed, Object::Container((*name).clone()), None, format!("container {name} removed"));
        }
    }
    for (name, then, now) in &networks {
        if then.is_some_and(|then| now.is_none_or(|now| now.id != then.id)) {
            tell(Kind::Removed, Object::Network((*name).clone()), None, format!("network {name} removed"));
        }
    }
    for (name, then, now) in &networks {
        if now.is_some_and(|now| then.is_none_or(|then| then.id != now.id)) {
            tell(Kind::Created, Object::Network((*name).clone()), None, format!("network {name} created"));
        }
    }
    for (name, then, now) in &containers {
        if now.is_some_and(|now| then.is_none_or(|then| then.id != now.id)) {
            tell(Kind::Created, Object::Container((*name).clone()), None, format!("container {name} created"));
        }
    }
    for (name, then, container) in &containers {
        let (Some(then), Some(container)) = (then, container) else { continue };
        if then.id != container.id {
            continue;
        }
        for (kind, word, one, other) in [
            (Kind::Disconnected, "disconnected from", then, container),
            (Kind::Connected, "connected to", container, then),
        ] {
            let has = |endpoint: &&Endpoint| !other.endpoints.iter().any(|other| other.number == endpoint.number);
            for endpoint in one.endpoints.iter().filter(has) {
                let message = format!("container {name} {word} network {}", endpoint.network);
                tell(kind, Object::Container((*name).clone()), None, message);
            }
        }
    }
    for (key, _, now) in &publishes {
        if let Some(publish) = now {
            let Publish { container, container_port, allow, ipv6: _ } = &***publish;
            let allowed = after.allow_lists.get(allow).map(|list| format!(", for {}", prefixes(list.iter().copied())));
            let allowed = allowed.unwrap_or_default();
            let message = format!("{} leads to {container}:{container_port}{allowed}", publish_name(key));
            tell(Kind::Published, Object::Publish(**key), Some(&publish.container), message);
        }
    }
    records.extend(blocks(&before.blocked, &after.blocked, now));
    records
}

/// One record for all that was blocked, and one for all that was unblocked.
fn blocks(before: &Prefixes, after: &Prefixes, now: Timestamp) -> Vec<Record> {
    if before.is_shared_with(after) {
        return Vec::new();
    }
    let record = |kind, word: &str, one: &Prefixes, other: &Prefixes| {
        let mut changed = one.difference(other).copied().peekable();
        changed.peek()?;
        Some(Record::about(now, kind, &Object::BlockList, format!("{} {word}", prefixes(changed))))
    };
    let more = record(Kind::Blocked, "blocked", after, before);
    more.into_iter().chain(record(Kind::Unblocked, "unblocked", before, after)).collect()
}

/// Prefixes that a message names at most.
const PREFIXES_TOLD_MAX: usize = 3;

/// The first few, and how many more there are.
fn prefixes(mut prefixes: impl Iterator<Item = Prefix>) -> String {
    let told: Vec<String> = prefixes.by_ref().take(PREFIXES_TOLD_MAX).map(|prefix| prefix.to_string()).collect();
    let told = told.join(", ");
    match prefixes.count() {
        0 => told,
        more => format!("{told} and {more} more"),
    }
}

/// Which objects began to fail, fail otherwise than before, or recovered.
fn health(before: &Status, after: &Status, now: Timestamp) -> Vec<Record> {
    let failing = after
        .failing
        .iter()
        .filter(|(object, reason)| before.failing.get(object) != Some(reason))
        .map(|(object, reason)| Record::about(now, Kind::Failing, object, reason.clone()));
    let ready = before
        .failing
        .keys()
        .filter(|object| !after.failing.contains_key(object))
        .map(|object| Record::about(now, Kind::Ready, object, "no longer failing".to_owned()));
    failing.chain(ready).collect()
}

/// An event of the programs; none when its numbers mean nothing to this version.
fn packet(event: &Event, owners: &BTreeMap<IpAddr, &str>, time: Timestamp) -> Option<Record> {
    let hook = Hook::from_u32(event.hook.into())?.name();
    let source = tuple::socket(event.source, event.source_port);
    let destination = tuple::socket(event.destination, event.destination_port);
    let protocol = tuple::protocol(event.protocol);
    let (kind, reason) = match KernelKind::from_u32(event.kind.into())? {
        KernelKind::Dropped => (Kind::Dropped, DropReason::from_u32(event.reason.into())?.name()),
    };
    let message = format!("{reason}: {protocol} {source} -> {destination} at {hook}");
    let container = owners.get(&event.source.into()).or_else(|| owners.get(&event.destination.into()));
    Some(Record {
        container: container.map(|name| (*name).to_owned()),
        hook: Some(hook.to_owned()),
        reason: Some(reason.to_owned()),
        protocol: Some(protocol),
        source: Some(source),
        destination: Some(destination),
        ..Record::bare(time, kind, message)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::state::{Protocol, Publish};
    use netd_common::Addr;

    const NOW: Timestamp = Timestamp::UNIX_EPOCH;

    fn published(container: &str) -> State {
        let key =
            PublishKey { host_ip: "0.0.0.0".parse().expect("an address"), protocol: Protocol::Tcp, host_port: 80 };
        let publish = Publish { container: container.to_owned(), container_port: 8080, ipv6: true, allow: 0 };
        State { publishes: [(key, publish.into())].into(), ..State::default() }
    }

    fn messages(records: &[Record]) -> Vec<String> {
        records.iter().map(|record| format!("{} {}", record.kind.name(), record.message)).collect()
    }

    #[test]
    fn a_port_that_moves_is_told_twice() {
        assert_eq!(
            messages(&changes(&published("web"), &published("api"), NOW)),
            ["unpublished 0.0.0.0:80/tcp no longer leads to web", "published 0.0.0.0:80/tcp leads to api:8080"]
        );
        assert_eq!(changes(&published("web"), &published("web"), NOW), []);
    }

    #[test]
    fn a_port_that_is_opened_to_others_is_told_once() {
        let list = |texts: &[&str]| crate::model::testing::prefixes(texts).into();
        let mut after = published("web");
        after.publishes.values_mut().for_each(|publish| Arc::make_mut(publish).allow = 3);
        after.allow_lists = [(3, list(&["10.0.0.0/8", "198.18.0.7"]))].into();
        assert_eq!(
            messages(&changes(&published("web"), &after, NOW)),
            ["published 0.0.0.0:80/tcp leads to web:8080, for 10.0.0.0/8, 198.18.0.7/32"]
        );
        let before = State { blocked: list(&["9.0.0.0/8"]), ..after.clone() };
        let after = State { blocked: list(&["10.0.0.0/8", "11.0.0.0/8", "12.0.0.0/8", "13.0.0.0/8"]), ..after };
        assert_eq!(
            messages(&changes(&before, &after, NOW)),
            ["blocked 10.0.0.0/8, 11.0.0.0/8, 12.0.0.0/8 and 1 more blocked", "unblocked 9.0.0.0/8 unblocked"]
        );
        assert_eq!(changes(&after, &after.clone(), NOW), []);
    }

    #[test]
    fn failing_and_ready_are_told_once() {
        let failing = |reason: &str| Status {
            observed_revision: 1,
            failing: [(Object::Container("web".to_owned()), reason.to_owned())].into(),
        };
        let well = Status::default();
        assert_eq!(messages(&health(&well, &failing("no netns"), NOW)), ["failing no netns"]);
        assert_eq!(health(&failing("no netns"), &failing("no netns"), NOW), []);
        assert_eq!(messages(&health(&failing("no netns"), &well, NOW)), ["ready no longer failing"]);
    }

    #[test]
    fn a_drop_names_its_reason_and_its_container() {
        let event = Event {
            source: Addr::v4([10, 208, 0, 2]),
            destination: Addr::v4([198, 18, 0, 9]),
            source_port: 4000,
            destination_port: 53,
            protocol: 17,
            kind: KernelKind::Dropped as u8,
            reason: DropReason::NoRoute as u8,
            hook: Hook::ContainerEgress as u8,
            ..Event::default()
        };
        let owners = [("10.208.0.2".parse().expect("an address"), "web")].into();
        let record = packet(&event, &owners, NOW).expect("a known event");
        assert_eq!(record.container.as_deref(), Some("web"));
        assert_eq!(record.message, "NoRoute: udp 10.208.0.2:4000 -> 198.18.0.9:53 at container_egress");
        assert_eq!(packet(&Event { kind: 200, ..event }, &owners, NOW), None);
    }

    #[tokio::test]
    async fn a_slow_reader_loses_the_oldest_and_is_told() {
        let bus = Bus::default();
        let mut reader = bus.subscribe();
        for number in 0..QUEUE_MAX + 5 {
            bus.publish(Record::lost(NOW, number as u64));
        }
        assert!(matches!(reader.recv().await, Err(broadcast::error::RecvError::Lagged(5))));
        assert_eq!(bus.recent().len(), RECENT_MAX);
    }
}
