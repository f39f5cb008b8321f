//! Which goals does netd have, and are they reached?
//!
//! A goal about speed is a ratio to a peer within the same round of the same run; one about the control plane is a bound.

use crate::contestant::Path;
use crate::contestants::{DOCKER, HOST, IPTABLES, LOOPBACK, NETD, VETH};
use crate::control;
use crate::regime::Regime;
use crate::rounds::works_key;
use crate::scale;
use crate::series::{Book, Key, Metric, Spread};
use crate::works::{CONNECTIONS, DATAGRAMS, P50, P99, RATE, Work};
use serde::{Deserialize, Serialize};

/// A goal and what became of it.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Judged {
    pub goal: String,
    /// `≥ 1.25`, `≤ 30 ms`.
    pub bound: String,
    /// None: not measured.
    pub measured: Option<Spread>,
    pub unit: String,
    pub reached: Option<bool>,
    /// The same figure of what does nothing for its packets: how far netd is from what can be had. None: no such thing.
    #[serde(default)]
    pub floor: Option<Spread>,
}

#[derive(Clone, Copy)]
enum Bound {
    AtLeast(f64),
    AtMost(f64),
}

impl Bound {
    fn holds(self, value: f64) -> bool {
        match self {
            Self::AtLeast(bound) => value >= bound,
            Self::AtMost(bound) => value <= bound,
        }
    }

    fn words(self, unit: &str) -> String {
        let (sign, bound) = match self {
            Self::AtLeast(bound) => ("≥", bound),
            Self::AtMost(bound) => ("≤", bound),
        };
        format!("{sign} {bound} {unit}").trim().to_owned()
    }
}

use Bound::{AtLeast, AtMost};

fn judged(goal: String, bound: Bound, unit: &str, measured: Option<Spread>) -> Judged {
    let reached = measured.map(|spread| bound.holds(spread.median));
    Judged { goal, bound: bound.words(unit), measured, unit: unit.to_owned(), reached, floor: None }
}

/// netd's figure by another's.
fn ratio(book: &Book, (path, work, metric): (Path, Work, Metric), peer: &str, peer_path: Path, bound: Bound) -> Judged {
    let key =
        |contestant: &str, path: Path| works_key(Regime::Stable, contestant, path.name(), work.name(), metric.name);
    let what = if metric == P50 || metric == P99 {
        format!("{} {}", work.name(), metric.name)
    } else {
        work.name().to_owned()
    };
    let by = if peer == NETD { format!("netd from {}", peer_path.name()) } else { peer.to_owned() };
    let goal = format!("{}: {what} ÷ {by}", path.name());
    let floor = floor(path).filter(|floor| *floor != peer);
    Judged {
        floor: floor.and_then(|floor| book.ratio(&key(floor, path), &key(peer, peer_path))),
        ..judged(goal, bound, "×", book.ratio(&key(NETD, path), &key(peer, peer_path)))
    }
}

/// Who is on the same path and does nothing for its packets.
const fn floor(path: Path) -> Option<&'static str> {
    match path {
        Path::SameHost => Some(VETH),
        Path::Published | Path::Outbound => Some(HOST),
        Path::Loopback | Path::Direct => None,
    }
}

/// Every goal.
pub fn judge(book: &Book) -> Vec<Judged> {
    let mut judged = speed(book);
    judged.extend(bounds(book));
    judged
}

fn speed(book: &Book) -> Vec<Judged> {
    let (stream, connections) = ((Work::Stream, RATE), (Work::Connections, CONNECTIONS));
    let (p50, p99, datagrams) = ((Work::Requests, P50), (Work::Requests, P99), (Work::Datagrams, DATAGRAMS));
    let rows: [(Path, (Work, Metric), &str, Bound); 15] = [
        (Path::SameHost, stream, IPTABLES, AtLeast(1.25)),
        (Path::SameHost, stream, LOOPBACK, AtLeast(0.95)),
        (Path::SameHost, p50, IPTABLES, AtMost(0.88)),
        (Path::SameHost, p99, IPTABLES, AtMost(0.88)),
        (Path::SameHost, p50, LOOPBACK, AtMost(1.03)),
        (Path::SameHost, p99, LOOPBACK, AtMost(1.03)),
        (Path::SameHost, connections, IPTABLES, AtLeast(1.35)),
        (Path::SameHost, connections, LOOPBACK, AtLeast(1.0)),
        (Path::Published, stream, DOCKER, AtLeast(1.4)),
        (Path::Published, stream, HOST, AtLeast(1.0)),
        (Path::Outbound, stream, DOCKER, AtLeast(1.3)),
        (Path::Outbound, stream, HOST, AtLeast(0.97)),
        (Path::Loopback, stream, DOCKER, AtLeast(2.0)),
        (Path::SameHost, datagrams, DOCKER, AtLeast(1.3)),
        (Path::Published, datagrams, DOCKER, AtLeast(1.3)),
    ];
    let mut judged: Vec<Judged> = rows
        .into_iter()
        .map(|(path, (work, metric), peer, bound)| ratio(book, (path, work, metric), peer, path, bound))
        .collect();
    // "Equal" is within what two runs of the same differ by.
    let direct = |(work, metric), bound| ratio(book, (Path::Loopback, work, metric), NETD, Path::Direct, bound);
    judged.push(direct(stream, AtLeast(0.97)));
    judged.push(direct(p50, AtMost(1.03)));
    judged
}

fn bounds(book: &Book) -> Vec<Judged> {
    let netd = |work: &str, metric: Metric, size: u64| {
        let key = Key { metric: metric.name.to_owned(), ..control::key(NETD, work, size) };
        book.get(&key).map(crate::series::Series::spread)
    };
    let by_docker = |work: &str| {
        let key = |contestant| Key { metric: control::TIME.name.to_owned(), ..control::key(contestant, work, 1_000) };
        let (netd, docker) = (book.get(&key(NETD))?.spread(), book.get(&key(DOCKER))?.spread());
        Some(Spread { median: docker.median / netd.median, min: docker.min / netd.max, max: docker.max / netd.min })
    };
    let at = |work: &str| format!("{work} 1,000 ports");
    let mut rows = Vec::new();
    for work in [control::PUBLISH, control::UNPUBLISH] {
        rows.push(judged(at(work), AtMost(30.0), "ms", netd(work, control::TIME, 1_000)));
        rows.push(judged(format!("{}: Docker ÷ netd", at(work)), AtLeast(1000.0), "×", by_docker(work)));
    }
    rows.extend([
        judged(
            format!("{}: processes", at(control::PUBLISH)),
            AtMost(0.0),
            "",
            netd(control::PUBLISH, control::PROCESSES, 1_000),
        ),
        judged(
            format!("{}: memory of agent and maps", at(control::PUBLISH)),
            AtMost(1.0),
            "MiB",
            netd(control::PUBLISH, control::MEMORY, 1_000),
        ),
        judged("publish 10,000 ports".to_owned(), AtMost(200.0), "ms", netd(control::PUBLISH, control::TIME, 10_000)),
        judged("container create, p50".to_owned(), AtMost(10.0), "ms", netd(control::CREATE, control::TIME_P50, 1)),
        judged("1,000 containers created".to_owned(), AtMost(15.0), "s", netd(control::CREATE, scale::ALL_TIME, 1_000)),
        judged(
            "the last tenth of 1,000 containers ÷ the first, p50".to_owned(),
            AtMost(1.2),
            "×",
            netd(control::CREATE, scale::FLATNESS, 1_000),
        ),
    ]);
    for path in [Path::SameHost, Path::Published] {
        let key = |contestant: &str| Key {
            metric: P50.name.to_owned(),
            ..scale::key(scale::BOTH, contestant, path, Work::Requests, scale::LARGEST)
        };
        rows.push(judged(
            format!("{}: request/response p50 with 10,000 publishes and 1,000 containers ÷ with few", path.name()),
            AtMost(1.02),
            "×",
            book.ratio(&key(NETD), &key(scale::SMALL)),
        ));
    }
    let restart = |metric| netd(scale::RESTART, metric, 1_000);
    rows.extend([
        judged(
            "agent restart with 1,000 containers and 10,000 publishes: ready".to_owned(),
            AtMost(1.0),
            "s",
            restart(scale::READY),
        ),
        judged("the same: packets lost".to_owned(), AtMost(0.0), "", restart(scale::LOST)),
        judged(
            "agent's resident memory, idle".to_owned(),
            AtMost(20.0),
            "MiB",
            netd(control::IDLE, control::MEMORY, 0),
        ),
        judged(
            "agent's resident memory with 1,000 containers and 10,000 publishes".to_owned(),
            AtMost(60.0),
            "MiB",
            netd(scale::GROWN, control::MEMORY, 1_000),
        ),
    ]);
    rows
}
