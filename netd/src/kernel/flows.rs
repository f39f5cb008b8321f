//! What do the flow table, the counters and the event ring hold?
//!
//! Reads the pinned maps beside the reconciler, for the API.

use super::purge::Doomed;
use super::{batch, forget};
use crate::reconcile::op::FlowSelector;
use aya::maps::{HashMap, Map, MapData, MapError, PerCpuArray, PerCpuHashMap, RingBuf};
use netd_common::drop::{Counter, DropKey, DropReason, Hook, Outcome, counter_index};
use netd_common::event::Event;
use netd_common::flow::{Flow, FlowKey, REPLY};
use netd_common::limits::SNAT_TRIES_BUCKETS;
use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::ops::ControlFlow;
use std::os::fd::AsFd as _;
use std::path::Path;
use tokio::io::unix::AsyncFd;

/// Handles of the pinned maps of one instance. Safe to use from any thread.
pub struct Reader {
    flows: MapData,
    by_key: HashMap<MapData, FlowKey, Flow>,
    counters: PerCpuArray<MapData, Counter>,
    drops: PerCpuHashMap<MapData, DropKey, Counter>,
    tries: PerCpuArray<MapData, u64>,
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
        let tries = Map::PerCpuArray(open("SNAT_TRIES")?);
        Ok(Self {
            flows: open("FLOWS")?,
            by_key: HashMap::try_from(Map::LruHashMap(open("FLOWS")?)).map_err(io::Error::other)?,
            counters: PerCpuArray::try_from(counters).map_err(io::Error::other)?,
            tries: PerCpuArray::try_from(tries).map_err(io::Error::other)?,
            drops: PerCpuHashMap::try_from(Map::PerCpuLruHashMap(open("DROPS")?)).map_err(io::Error::other)?,
        })
    }

    /// Forgets the flows of these endpoints, or all; returns how many that were. A flow whose packets go on is opened
    /// again where a new one would be.
    ///
    /// # Errors
    /// When the kernel refuses to read or to delete.
    pub fn flush(&self, endpoints: Option<&BTreeSet<u32>>) -> io::Result<u64> {
        let table = self.flows.fd().as_fd();
        let Some(endpoints) = endpoints else { return forget::forget(table, |_, _| true) };
        let selectors: Vec<FlowSelector> = endpoints.iter().copied().map(FlowSelector::Endpoint).collect();
        let doomed = Doomed::new(&selectors);
        forget::forget(table, |key, flow| doomed.contains(key, flow))
    }

    /// Calls `each` for every flow once: with its opener's entry, and what both directions have used in it; until it
    /// breaks off.
    ///
    /// # Errors
    /// When the kernel refuses to read.
    pub fn connections(&self, each: &mut dyn FnMut(&FlowKey, &Flow) -> ControlFlow<()>) -> io::Result<()> {
        batch::for_each_batch(self.flows.fd().as_fd(), |keys: &[FlowKey], flows: &[Flow]| {
            let mut openers = keys.iter().zip(flows).filter(|(_, flow)| flow.flags & REPLY == 0);
            Ok(openers.try_for_each(|(key, flow)| {
                let mut both = *flow;
                // Without a partner, lost to the LRU for a moment, what the opener has used is all that is known.
                if let Ok(partner) = self.by_key.get(&flow.partner_key(key), 0) {
                    both.packets = both.packets.wrapping_add(partner.packets);
                    both.bytes = both.bytes.wrapping_add(partner.bytes);
                    both.seen_ns = both.seen_ns.max(partner.seen_ns);
                }
                each(key, &both)
            }))
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

    /// How many flows to the outside found their source port after how many tries, by the buckets of
    /// [`netd_common::limits::SNAT_TRIES_BUCKETS`].
    ///
    /// # Errors
    /// When the kernel refuses to read.
    pub fn tries(&self) -> io::Result<[u64; SNAT_TRIES_BUCKETS]> {
        let mut sums = [0; SNAT_TRIES_BUCKETS];
        for (bucket, sum) in (0..).zip(&mut sums) {
            *sum = self.tries.get(&bucket, 0).map_err(io::Error::other)?.iter().sum();
        }
        Ok(sums)
    }

    /// How many packets were dropped because a flow could not be opened.
    ///
    /// # Errors
    /// When the kernel refuses to read.
    pub fn refusals(&self) -> io::Result<Refusals> {
        let mut refusals = Refusals::default();
        for (_, outcome, Counter { packets, .. }) in self.counters()? {
            match outcome {
                Outcome::Dropped(DropReason::SnatExhausted) => refusals.snat_exhausted += packets,
                Outcome::Dropped(DropReason::FlowTableFull) => refusals.flow_table_full += packets,
                _ => {}
            }
        }
        for entry in &self.drops {
            let (key, slots) = entry.map_err(io::Error::other)?;
            if key.reason == DropReason::SnatExhausted as u32 {
                let packets = slots.iter().map(|slot| slot.packets).sum();
                refusals.snat_exhausted_by.insert(key.endpoint, packets);
            }
        }
        Ok(refusals)
    }
}

/// Packets that were dropped because a flow could not be opened, since the maps were made.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Refusals {
    pub snat_exhausted: u64,
    /// Those of containers, by endpoint.
    pub snat_exhausted_by: BTreeMap<u32, u64>,
    pub flow_table_full: u64,
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
