//! What is the datapath short of, and what can be done about it?
//!
//! Two kinds: source ports, or room for a flow, that were asked for and not had; and maps that are nearly full. Each is a
//! line of the status while it lasts.

use crate::kernel::fill::{Fills, MapFill};
use crate::kernel::flows::{Reader, Refusals};
use crate::model::state::State;
use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::watch;

/// How often the counters are looked at.
const LOOK_INTERVAL: Duration = Duration::from_secs(5);
/// A refusal is told of for so long after the last one was seen; then it is over.
const HOLD: Duration = Duration::from_secs(30);
/// From here on a map is nearly full.
const NEARLY_FULL_PERCENT: u64 = 90;
/// To whom refusals belong that no container of now has caused.
const HOST: &str = "host";

/// Something there is not enough of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Shortage {
    pub kind: Kind,
    /// Of a map, its name; of source ports, the network whose flows want them, or `host`.
    pub name: String,
    pub degree: Degree,
    /// What happens, and what can be done, on one line.
    pub reason: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// Source ports of flows to the outside.
    Snat,
    /// Entries of a map.
    Map,
}

impl Kind {
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Snat => "snat",
            Self::Map => "map",
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Degree {
    /// Somebody asked for one and did not get it.
    Exhausted,
    /// The next one will not be had, or at another's cost.
    Full,
    NearlyFull,
}

/// What is remembered between two looks.
#[derive(Debug, Default)]
struct Watch {
    /// None: nothing has been seen yet, and what was counted before counts for nothing.
    before: Option<Refusals>,
    refused: BTreeMap<(Kind, String), Refused>,
}

#[derive(Clone, Copy, Debug)]
struct Refused {
    /// Packets since it began.
    packets: u64,
    last: Instant,
}

impl Watch {
    /// `networks` gives the network of an endpoint.
    fn look(
        &mut self,
        now: Instant,
        refusals: Refusals,
        fills: &[MapFill],
        networks: &BTreeMap<u32, &str>,
    ) -> Vec<Shortage> {
        if let Some(before) = self.before.take() {
            self.note_growth(now, &before, &refusals, networks);
        }
        self.before = Some(refusals);
        self.refused.retain(|_, refused| now.saturating_duration_since(refused.last) < HOLD);
        let mut shortages: Vec<Shortage> = self.refused.iter().map(|(key, refused)| refusal(key, *refused)).collect();
        let is_told = |fill: &&MapFill| !self.refused.contains_key(&(Kind::Map, fill.name.clone()));
        shortages.extend(fills.iter().filter(is_told).filter_map(fullness));
        shortages
    }

    fn note_growth(&mut self, now: Instant, before: &Refusals, after: &Refusals, networks: &BTreeMap<u32, &str>) {
        // Counters of maps that were made anew begin anew.
        let mut unattributed = after.snat_exhausted.saturating_sub(before.snat_exhausted);
        let mut note = |kind: Kind, name: &str, packets: u64| {
            if packets > 0 {
                let first = Refused { packets: 0, last: now };
                let refused = self.refused.entry((kind, name.to_owned())).or_insert(first);
                refused.packets = refused.packets.saturating_add(packets);
                refused.last = now;
            }
        };
        for (endpoint, packets) in &after.snat_exhausted_by {
            let more = packets.saturating_sub(before.snat_exhausted_by.get(endpoint).copied().unwrap_or(0));
            if let Some(network) = networks.get(endpoint) {
                note(Kind::Snat, network, more);
                unattributed = unattributed.saturating_sub(more);
            }
        }
        note(Kind::Snat, HOST, unattributed);
        note(Kind::Map, "FLOWS", after.flow_table_full.saturating_sub(before.flow_table_full));
    }
}

fn refusal((kind, name): &(Kind, String), refused: Refused) -> Shortage {
    let packets = refused.packets;
    let reason = match kind {
        Kind::Snat if name == HOST => format!(
            "{packets} dropped lately as SnatExhausted: no source port is free towards their remote port; \
             close connections to it"
        ),
        Kind::Snat => format!(
            "{packets} dropped lately as SnatExhausted: no source port is free towards their remote port; \
             close connections to it, or give the network more addresses with --opt snat-pool=ADDR,…"
        ),
        Kind::Map => format!(
            "{packets} dropped lately as FlowTableFull: the map took no entry for a new connection; raise flows_max"
        ),
    };
    Shortage { kind: *kind, name: name.clone(), degree: Degree::Exhausted, reason }
}

fn fullness(fill: &MapFill) -> Option<Shortage> {
    let MapFill { name, entries, max } = fill;
    let (_, when_full) = WHEN_FULL.iter().find(|(known, _)| known == name)?;
    if entries.saturating_mul(100) < max.saturating_mul(NEARLY_FULL_PERCENT) {
        return None;
    }
    let degree = if entries >= max { Degree::Full } else { Degree::NearlyFull };
    let reason = format!("{entries} of {max} entries; when it is full, {when_full}");
    Some(Shortage { kind: Kind::Map, name: name.clone(), degree, reason })
}

/// What comes of a full map, and what to do. Those that are missing, `SOCK_ORIGIN` and `DROPS`, are full on every host
/// that is up for long: they remember the latest.
const WHEN_FULL: [(&str, &str); 13] = [
    ("ENDPOINTS", "further containers are not ready; remove some"),
    ("PORTS_BY_IF", "further containers are not ready; remove some"),
    ("FDB", "further containers are not ready; remove some"),
    ("PUBLISHED", "further ports are not ready; unpublish some"),
    ("LOCAL_ADDRS", "further addresses of the host are not known as its own; remove some"),
    ("UPLINKS", "further uplinks are not used; name fewer with --uplink"),
    (
        "FLOWS",
        "the least recently used connection makes room for a new one; raise flows_max, or shorten the timeouts of a network",
    ),
    ("TIMEOUTS", "further networks have the default timeouts and are not ready; remove some"),
    (
        "FRAGMENTS",
        "the later fragments of the oldest datagrams are dropped (FragmentFirstMissing); see who sends so many",
    ),
    ("SNAT_POOLS", "further addresses are not used and their network is not ready; make smaller pools"),
    ("NAMES", "further containers find no names and are not ready; remove some"),
    ("ALLOWED", "further ports with an allow list are not ready; name fewer prefixes"),
    ("BLOCKED", "further prefixes are refused; unblock some, or name larger ones"),
];

/// Looks now and then, and tells what there is too little of, until netd ends.
pub async fn follow(
    pins: PathBuf,
    fills: Arc<Fills>,
    state: watch::Receiver<Arc<State>>,
    news: watch::Sender<Arc<Vec<Shortage>>>,
) {
    let mut watch = Watch::default();
    let mut ticks = tokio::time::interval(LOOK_INTERVAL);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        let (pins, fills) = (pins.clone(), Arc::clone(&fills));
        let (refusals, fills) = match tokio::task::spawn_blocking(move || sample(&pins, &fills)).await {
            Ok(Ok(sample)) => sample,
            Ok(Err(error)) => {
                // The status itself says that the maps cannot be read.
                tracing::debug!(%error, "the counters cannot be read");
                continue;
            }
            Err(_ending) => return,
        };
        let snapshot = state.borrow().clone();
        let now = watch.look(Instant::now(), refusals, &fills, &networks(&snapshot));
        tell(&news, now);
    }
}

fn sample(pins: &Path, fills: &Fills) -> io::Result<(Refusals, Vec<MapFill>)> {
    Ok((Reader::open(pins)?.refusals()?, fills.look(pins)?))
}

fn networks(state: &State) -> BTreeMap<u32, &str> {
    let endpoints = state.containers.values().flat_map(|container| &container.endpoints);
    endpoints.map(|endpoint| (endpoint.number, endpoint.network.as_str())).collect()
}

fn tell(news: &watch::Sender<Arc<Vec<Shortage>>>, now: Vec<Shortage>) {
    let before = news.borrow().clone();
    let is_in = |list: &[Shortage], one: &Shortage| {
        list.iter().any(|other| (other.kind, &other.name, other.degree) == (one.kind, &one.name, one.degree))
    };
    for shortage in now.iter().filter(|shortage| !is_in(&before, shortage)) {
        tracing::warn!(kind = shortage.kind.name(), name = shortage.name, "{}", shortage.reason);
    }
    for shortage in before.iter().filter(|shortage| !is_in(&now, shortage)) {
        tracing::info!(kind = shortage.kind.name(), name = shortage.name, "no longer short");
    }
    if *before != now {
        news.send_replace(Arc::new(now));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernel::fill::FILLING;

    fn refusals(snat_exhausted: u64, by: &[(u32, u64)], flow_table_full: u64) -> Refusals {
        Refusals { snat_exhausted, snat_exhausted_by: by.iter().copied().collect(), flow_table_full }
    }

    fn fill(name: &str, entries: u64) -> MapFill {
        MapFill { name: name.to_owned(), entries, max: 1000 }
    }

    /// Kind, name, degree.
    fn short(shortages: &[Shortage]) -> Vec<String> {
        let text = |shortage: &Shortage| format!("{} {} {:?}", shortage.kind.name(), shortage.name, shortage.degree);
        shortages.iter().map(text).collect()
    }

    #[test]
    fn what_was_refused_is_told_of_until_nothing_has_been_for_a_while() {
        let (mut watch, begun) = (Watch::default(), Instant::now());
        let at = |seconds| begun + Duration::from_secs(seconds);
        let networks = BTreeMap::from([(7, "lab"), (8, "bridge")]);
        let before = refusals(100, &[(7, 100)], 9);
        assert_eq!(watch.look(begun, before.clone(), &[], &networks), [], "what was before netd is over");
        assert_eq!(watch.look(at(5), before, &[], &networks), []);
        let told = watch.look(at(10), refusals(140, &[(7, 130)], 9), &[], &networks);
        assert_eq!(short(&told), ["snat host Exhausted", "snat lab Exhausted"]);
        assert!(told[0].reason.starts_with("10 dropped lately as SnatExhausted: "), "{}", told[0].reason);
        assert!(told[1].reason.starts_with("30 dropped"), "{}", told[1].reason);
        assert!(told[1].reason.ends_with("or give the network more addresses with --opt snat-pool=ADDR,…"));
        let told = watch.look(at(15), refusals(150, &[(7, 140)], 10), &[], &networks);
        assert_eq!(short(&told), ["snat host Exhausted", "snat lab Exhausted", "map FLOWS Exhausted"]);
        assert!(told[1].reason.starts_with("40 dropped"), "all since it began: {}", told[1].reason);
        let same = refusals(150, &[(7, 140)], 10);
        assert_eq!(short(&watch.look(at(41), same.clone(), &[], &networks)).len(), 2, "the host's is over");
        assert_eq!(watch.look(at(45), same, &[], &networks), []);
    }

    #[test]
    fn counters_that_begin_anew_are_no_refusals() {
        let (mut watch, now) = (Watch::default(), Instant::now());
        for counted in [refusals(100, &[(7, 100)], 9), refusals(0, &[], 0)] {
            assert_eq!(watch.look(now, counted, &[], &BTreeMap::new()), []);
        }
    }

    #[test]
    fn a_map_is_told_of_from_nine_tenths_on() {
        let (mut watch, now) = (Watch::default(), Instant::now());
        let mut told = |fills: &[MapFill]| short(&watch.look(now, refusals(0, &[], 0), fills, &BTreeMap::new()));
        assert_eq!(told(&[fill("FLOWS", 899), fill("SOCK_ORIGIN", 1000), fill("DROPS", 1000)]), [""; 0]);
        assert_eq!(
            told(&[fill("FLOWS", 900), fill("PUBLISHED", 1000)]),
            ["map FLOWS NearlyFull", "map PUBLISHED Full"]
        );
        let reason = fullness(&fill("PUBLISHED", 950)).expect("nearly full").reason;
        assert_eq!(reason, "950 of 1000 entries; when it is full, further ports are not ready; unpublish some");
    }

    #[test]
    fn a_map_is_told_of_once() {
        let (mut watch, now) = (Watch::default(), Instant::now());
        watch.look(now, refusals(0, &[], 0), &[], &BTreeMap::new());
        let told = watch.look(now, refusals(0, &[], 1), &[fill("FLOWS", 1000)], &BTreeMap::new());
        assert_eq!(short(&told), ["map FLOWS Exhausted"]);
    }

    #[test]
    fn of_every_map_it_is_known_what_comes_of_a_full_one() {
        for name in FILLING {
            let is_known = WHEN_FULL.iter().any(|(known, _)| *known == name);
            assert_ne!(is_known, ["SOCK_ORIGIN", "DROPS"].contains(&name), "{name}");
        }
    }
}
