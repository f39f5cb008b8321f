//! What do the flow table, the counters and the event ring hold?
//!
//! Reads the pinned maps beside the reconciler, for the API; and collects the garbage of the flow table.

use super::bpf;
use super::datapath::COLLECTOR;
use super::purge::{Dialled, Doomed};
use crate::reconcile::op::FlowSelector;
use aya::maps::{HashMap, Map, MapData, MapError, PerCpuArray, PerCpuHashMap, RingBuf};
use aya::programs::{SchedClassifier, TestRun as _, TestRunOptions};
use netd_common::drop::{Counter, DropKey, DropReason, Hook, Outcome, counter_index};
use netd_common::event::Event;
use netd_common::flow::{Flow, FlowKey, Nominee, REPLY, Timeouts};
use netd_common::limits::NOMINEES_MAX;
use netd_common::publish::{Publish, PublishKey};
use std::collections::BTreeSet;
use std::io;
use std::os::fd::AsFd as _;
use std::path::Path;
use tokio::io::unix::AsyncFd;

/// The maps whose fill is of interest, and which can be full.
const FILLING: [&str; 7] = ["ENDPOINTS", "PORTS_BY_IF", "FDB", "PUBLISHED", "LOCAL_ADDRS", "FLOWS", "SOCK_ORIGIN"];
/// Bytes in front of the nominees of a run: the kernel wants an Ethernet header (`BPF_PROG_TEST_RUN`).
const ETHERNET_SIZE: usize = 14;

/// How full a map is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MapFill {
    pub name: String,
    pub entries: u64,
    pub max: u64,
}

/// Handles of the pinned maps of one instance. Safe to use from any thread.
pub struct Reader {
    flows: MapData,
    by_key: HashMap<MapData, FlowKey, Flow>,
    published: HashMap<MapData, PublishKey, Publish>,
    counters: PerCpuArray<MapData, Counter>,
    drops: PerCpuHashMap<MapData, DropKey, Counter>,
    filling: Vec<(&'static str, MapData)>,
    collector: SchedClassifier,
}

impl std::fmt::Debug for Reader {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Reader").finish_non_exhaustive()
    }
}

impl Reader {
    /// `pins` is [`super::datapath::Options::pins`].
    ///
    /// # Errors
    /// When a pin is not there.
    pub fn open(pins: &Path) -> io::Result<Self> {
        let open = |name: &str| MapData::from_pin(pins.join(name)).map_err(io::Error::other);
        let counters = Map::PerCpuArray(open("COUNTERS")?);
        let filling = FILLING.into_iter().map(|name| Ok((name, open(name)?))).collect::<io::Result<_>>()?;
        Ok(Self {
            flows: open("FLOWS")?,
            by_key: HashMap::try_from(Map::LruHashMap(open("FLOWS")?)).map_err(io::Error::other)?,
            published: HashMap::try_from(Map::HashMap(open("PUBLISHED")?)).map_err(io::Error::other)?,
            counters: PerCpuArray::try_from(counters).map_err(io::Error::other)?,
            drops: PerCpuHashMap::try_from(Map::PerCpuLruHashMap(open("DROPS")?)).map_err(io::Error::other)?,
            filling,
            collector: SchedClassifier::from_pin(pins.join("programs").join(COLLECTOR)).map_err(io::Error::other)?,
        })
    }

    /// Calls `each` for every entry of the flow table; entries that come or go meanwhile may be missed.
    ///
    /// # Errors
    /// When the kernel refuses to read.
    pub fn flows(&self, each: &mut dyn FnMut(&FlowKey, &Flow)) -> io::Result<()> {
        bpf::for_each(self.flows.fd().as_fd(), each)
    }

    /// Forgets the flows of these endpoints, or all; returns how many that were. A flow whose packets go on is opened
    /// again where a new one would be.
    ///
    /// # Errors
    /// When the kernel refuses to read or to delete.
    pub fn flush(&self, endpoints: Option<&BTreeSet<u32>>) -> io::Result<u64> {
        let Some(endpoints) = endpoints else { return self.forget_if(|_, _| true) };
        let selectors: Vec<FlowSelector> = endpoints.iter().copied().map(FlowSelector::Endpoint).collect();
        self.forget(&Doomed::new(&selectors))
    }

    fn forget(&self, doomed: &Doomed) -> io::Result<u64> {
        self.forget_if(|key, flow| doomed.contains(key, flow))
    }

    fn forget_if(&self, goes: impl Fn(&FlowKey, &Flow) -> bool) -> io::Result<u64> {
        let mut doomed = Vec::new();
        let mut flows = 0;
        self.flows(&mut |key, flow| {
            if goes(key, flow) {
                flows += u64::from(flow.flags & REPLY == 0);
                // The partner has its own turn too: a packet between the two would have written it again.
                doomed.extend([*key, flow.partner_key(key)]);
            }
        })?;
        bpf::delete_all(self.flows.fd().as_fd(), &doomed)?;
        Ok(flows)
    }

    /// Calls `each` for every flow once: with its opener's entry, and what both directions have used in it.
    ///
    /// # Errors
    /// When the kernel refuses to read.
    pub fn connections(&self, each: &mut dyn FnMut(&FlowKey, &Flow)) -> io::Result<()> {
        self.flows(&mut |key, flow| {
            if flow.flags & REPLY != 0 {
                return;
            }
            let mut both = *flow;
            // Without a partner, lost to the LRU for a moment, what the opener has used is all that is known.
            if let Ok(partner) = self.by_key.get(&flow.partner_key(key), 0) {
                both.packets = both.packets.wrapping_add(partner.packets);
                both.bytes = both.bytes.wrapping_add(partner.bytes);
                both.seen_ns = both.seen_ns.max(partner.seen_ns);
            }
            each(key, &both);
        })
    }

    /// Every counter that is not zero, summed over the processors.
    ///
    /// # Errors
    /// When the kernel refuses to read.
    pub fn counters(&self) -> io::Result<Vec<(Hook, Outcome, Counter)>> {
        let mut counters = Vec::new();
        for &hook in Hook::ALL {
            for outcome in (0..Outcome::COUNT).filter_map(Outcome::from_number) {
                let slots = self.counters.get(&counter_index(hook, outcome), 0).map_err(io::Error::other)?;
                let sum = slots.iter().fold(Counter::default(), |sum, slot| add(sum, *slot));
                if sum.packets != 0 {
                    counters.push((hook, outcome, sum));
                }
            }
        }
        Ok(counters)
    }

    /// What the packets of these endpoints were dropped for, summed over the processors; those that are zero are left out.
    ///
    /// # Errors
    /// When the kernel refuses to read.
    pub fn drops(&self, endpoints: &BTreeSet<u32>) -> io::Result<Vec<(DropReason, Counter)>> {
        let mut drops = Vec::new();
        for &reason in DropReason::ALL {
            let mut sum = Counter::default();
            for &endpoint in endpoints {
                match self.drops.get(&DropKey { endpoint, reason: reason as u32 }, 0) {
                    Ok(slots) => sum = slots.iter().fold(sum, |sum, slot| add(sum, *slot)),
                    Err(MapError::KeyNotFound) => {}
                    Err(error) => return Err(io::Error::other(error)),
                }
            }
            if sum.packets != 0 {
                drops.push((reason, sum));
            }
        }
        Ok(drops)
    }

    /// # Errors
    /// When the kernel refuses to read.
    pub fn fill(&self) -> io::Result<Vec<MapFill>> {
        self.filling
            .iter()
            .map(|(name, map)| {
                let info = map.info().map_err(io::Error::other)?;
                let entries = bpf::count(map.fd().as_fd(), info.key_size() as usize, info.value_size() as usize)?;
                Ok(MapFill { name: (*name).to_owned(), entries, max: u64::from(info.max_entries()) })
            })
            .collect()
    }

    /// Deletes the flows that are over, and those whose port is published no more: an agent that was killed may not have
    /// come to that. Returns how many flows that were. Called every few seconds.
    ///
    /// # Errors
    /// When the kernel refuses to read, to delete or to run the collector.
    pub fn collect_garbage(&self) -> io::Result<u64> {
        let now_ns = monotonic_ns();
        let mut nominees = Vec::new();
        let mut dialled = Dialled::default();
        self.flows(&mut |key, flow| {
            dialled.note(key, flow);
            if flow.is_expired(key.protocol, &Timeouts::DEFAULT, now_ns) {
                nominees.push(Nominee { key: *key, seen_ns: flow.seen_ns });
            }
        })?;
        let orphans = dialled.orphans(|key| self.published.get(key, 0).ok().map(|publish| publish.endpoint));
        let orphaned = if orphans.is_empty() { 0 } else { self.forget(&Doomed::new(&orphans))? };
        let over: u64 =
            nominees.chunks(NOMINEES_MAX).map(|chunk| self.run_collector(chunk)).sum::<io::Result<u64>>()?;
        Ok(orphaned + over)
    }

    fn run_collector(&self, nominees: &[Nominee]) -> io::Result<u64> {
        let mut frame = vec![0; ETHERNET_SIZE];
        for nominee in nominees {
            // SAFETY: a Nominee is integers and byte arrays without padding, as `netd_common::layout` asserts.
            let bytes: [u8; size_of::<Nominee>()] = unsafe { std::mem::transmute(*nominee) };
            frame.extend_from_slice(&bytes);
        }
        let run = TestRunOptions { data_in: Some(&frame), ..TestRunOptions::default() };
        let result = self.collector.test_run(run).map_err(io::Error::other)?;
        Ok(u64::from(result.return_value))
    }
}

const fn add(a: Counter, b: Counter) -> Counter {
    Counter { packets: a.packets.wrapping_add(b.packets), bytes: a.bytes.wrapping_add(b.bytes) }
}

/// The event ring. One consumer at a time.
pub struct Events {
    ring: AsyncFd<RingBuf<MapData>>,
}

impl std::fmt::Debug for Events {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Events").finish_non_exhaustive()
    }
}

impl Events {
    /// # Errors
    /// When the pin is not there.
    pub fn open(pins: &Path) -> io::Result<Self> {
        let map = Map::RingBuf(MapData::from_pin(pins.join("EVENTS")).map_err(io::Error::other)?);
        let ring = RingBuf::try_from(map).map_err(io::Error::other)?;
        // SAFETY: the ring owns its descriptor until it is dropped, and always gives the same one.
        Ok(Self { ring: unsafe { AsyncFd::register(ring)? } })
    }

    /// Waits for events, and hands over what has come.
    ///
    /// # Errors
    /// When the ring cannot be waited for.
    pub async fn next(&mut self) -> io::Result<Vec<Event>> {
        loop {
            let mut ready = self.ring.readable_mut().await?;
            let mut events = Vec::new();
            while let Some(record) = ready.get_inner_mut().next() {
                if record.len() == size_of::<Event>() {
                    // SAFETY: the record is as long as an Event, which is plain data; it may be unaligned.
                    events.push(unsafe { record.as_ptr().cast::<Event>().read_unaligned() });
                }
            }
            ready.clear_ready();
            if !events.is_empty() {
                return Ok(events);
            }
        }
    }
}

/// `CLOCK_MONOTONIC` in nanoseconds: the clock of every `_ns` field in a map.
#[must_use]
pub fn monotonic_ns() -> u64 {
    let Ok(now) = nix::time::clock_gettime(nix::time::ClockId::CLOCK_MONOTONIC) else { return 0 };
    std::time::Duration::from(now).as_nanos() as u64
}
