//! Which entries are over, and how are they taken out of the tables?
//!
//! A walk over the flow table, a batch at a time: its memory does not grow with the table. The walk only nominates. What
//! is deleted, the program `flow_gc` decides in the kernel, where it sees whether a packet has come meanwhile.

use super::batch;
use super::datapath::COLLECTOR;
use super::flows::monotonic_ns;
use super::forget::Pairs;
use super::guests::Guest;
use super::purge::{Dialled, Doomed};
use aya::maps::lpm_trie::Key;
use aya::maps::{HashMap as BpfHashMap, LpmTrie, Map, MapData, MapError};
use aya::programs::{SchedClassifier, TestRun as _, TestRunOptions};
use netd_common::flow::{Flow, FlowKey, Nominee, Timeouts};
use netd_common::fragment::{FRAGMENT_TIMEOUT_NS, Fragment, FragmentKey};
use netd_common::limits::NOMINEES_MAX;
use netd_common::publish::{AllowKey, Publish, PublishKey};
use std::collections::{BTreeMap, HashMap};
use std::io;
use std::ops::ControlFlow;
use std::os::fd::AsFd as _;
use std::path::Path;
use std::time::Duration;

/// A pass comes this long after the one before,
const INTERVAL: Duration = Duration::from_secs(5);
/// or after this many times the processor time that the one before has cost: so all of them together stay below five
/// thousandths of a processor, however full the table is,
const REST: u32 = 200;
/// but after this at the latest.
const INTERVAL_MAX: Duration = Duration::from_mins(5);
/// Bytes in front of the nominees of a run: the kernel wants an Ethernet header (`BPF_PROG_TEST_RUN`).
const ETHERNET_SIZE: usize = 14;

/// What a pass has found.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Pass {
    /// Entries of the flow table that it has left there.
    pub entries: u64,
    /// Flows that it has deleted.
    pub deleted: u64,
    /// Time of a processor that it has taken, the kernel's part included.
    pub cost: Duration,
}

impl Pass {
    /// When the next one should come.
    #[must_use]
    pub fn rest(&self) -> Duration {
        (self.cost * REST).clamp(INTERVAL, INTERVAL_MAX)
    }
}

/// Deletes the flows that are over, those whose port is published no more, since an agent that was killed may not have
/// come to that, and those of clients that the port is not open to any more. And forgets the datagrams whose fragments cannot come any more. `pins` is
/// [`super::datapath::Options::pins`].
///
/// # Errors
/// When a pin is not there, or the kernel refuses to read, to delete or to run the collector.
pub fn collect(pins: &Path) -> io::Result<Pass> {
    let begun = processor_time();
    let tables = Tables::open(pins)?;
    let mut pass = tables.collect_flows()?;
    tables.collect_fragments()?;
    pass.cost = processor_time().saturating_sub(begun);
    Ok(pass)
}

/// The pinned maps that a pass works on, and the program.
struct Tables {
    flows: MapData,
    fragments: MapData,
    timeouts: MapData,
    publishes: MapData,
    published: BpfHashMap<MapData, PublishKey, Publish>,
    allowed: LpmTrie<MapData, AllowKey, u32>,
    collector: SchedClassifier,
}

impl Tables {
    fn open(pins: &Path) -> io::Result<Self> {
        let open = |name: &str| MapData::from_pin(pins.join(name)).map_err(io::Error::other);
        Ok(Self {
            flows: open("FLOWS")?,
            fragments: open("FRAGMENTS")?,
            timeouts: open("TIMEOUTS")?,
            publishes: open("PUBLISHED")?,
            allowed: LpmTrie::try_from(Map::LpmTrie(open("ALLOWED")?)).map_err(io::Error::other)?,
            published: BpfHashMap::try_from(Map::HashMap(open("PUBLISHED")?)).map_err(io::Error::other)?,
            collector: SchedClassifier::from_pin(pins.join("programs").join(COLLECTOR)).map_err(io::Error::other)?,
        })
    }

    fn collect_flows(&self) -> io::Result<Pass> {
        let now_ns = monotonic_ns();
        let mut timeouts: HashMap<u32, Timeouts> = HashMap::new();
        batch::for_each(self.timeouts.fd().as_fd(), |network: &u32, own: &Timeouts| {
            timeouts.insert(*network, *own);
        })?;
        let is_over = |key: &FlowKey, flow: &Flow| {
            let own = if timeouts.is_empty() { None } else { timeouts.get(&flow.network) };
            flow.is_expired(key.protocol, own.unwrap_or(&Timeouts::DEFAULT), now_ns)
        };
        let restricted = self.restricted()?;
        let mut pass = Pass::default();
        let mut nominees = Vec::with_capacity(NOMINEES_MAX);
        batch::for_each_batch(self.flows.fd().as_fd(), |keys: &[FlowKey], flows: &[Flow]| {
            pass.entries += keys.len() as u64;
            for (key, flow) in keys.iter().zip(flows).filter(|(key, flow)| is_over(key, flow)) {
                nominees.push(Nominee { key: *key, seen_ns: flow.seen_ns });
                if nominees.len() == NOMINEES_MAX {
                    pass.deleted += self.run_collector(&nominees)?;
                    nominees.clear();
                }
            }
            pass.deleted += self.forget_orphans(keys, flows)?;
            if !restricted.is_empty() {
                pass.deleted += self.forget_guests(&restricted, keys, flows)?;
            }
            Ok(ControlFlow::Continue(()))
        })?;
        if !nominees.is_empty() {
            pass.deleted += self.run_collector(&nominees)?;
        }
        pass.entries = pass.entries.saturating_sub(2 * pass.deleted);
        Ok(pass)
    }

    /// Deletes those of these flows whose published port leads to their container no more.
    fn forget_orphans(&self, keys: &[FlowKey], flows: &[Flow]) -> io::Result<u64> {
        let mut dialled = Dialled::default();
        keys.iter().zip(flows).for_each(|(key, flow)| dialled.note(key, flow));
        let orphans = dialled.orphans(|key| self.published.get(key, 0).ok().map(|publish| publish.endpoint));
        if orphans.is_empty() {
            return Ok(0);
        }
        let doomed = Doomed::new(&orphans);
        let mut pairs = Pairs::default();
        for (key, flow) in keys.iter().zip(flows).filter(|(key, flow)| doomed.contains(key, flow)) {
            pairs.add(key, flow);
        }
        pairs.delete(self.flows.fd().as_fd())
    }

    /// What is published; nothing when all of it is open to everybody.
    fn restricted(&self) -> io::Result<HashMap<PublishKey, Publish>> {
        let mut published = HashMap::new();
        batch::for_each(self.publishes.fd().as_fd(), |key: &PublishKey, publish: &Publish| {
            published.insert(*key, *publish);
        })?;
        let is_restricted = published.values().any(|publish| publish.allow != 0);
        Ok(if is_restricted { published } else { HashMap::new() })
    }

    /// Deletes those of these flows whose client is not on the list of the port any more.
    fn forget_guests(
        &self,
        published: &HashMap<PublishKey, Publish>,
        keys: &[FlowKey],
        flows: &[Flow],
    ) -> io::Result<u64> {
        let list_now = |key: &PublishKey| self.published.get(key, 0).ok().map(|publish| publish.allow);
        let mut known: BTreeMap<Guest, bool> = BTreeMap::new();
        let mut pairs = Pairs::default();
        for (key, flow) in keys.iter().zip(flows) {
            let Some(guest) = Guest::of(published, key, flow) else { continue };
            let is_welcome = match known.get(&guest) {
                Some(is_welcome) => *is_welcome,
                None => guest.is_welcome(|guest| self.is_allowed(guest), list_now)?,
            };
            known.insert(guest, is_welcome);
            if !is_welcome {
                pairs.add(key, flow);
            }
        }
        pairs.delete(self.flows.fd().as_fd())
    }

    fn is_allowed(&self, guest: &Guest) -> io::Result<bool> {
        let key = Key::new(AllowKey::BITS, AllowKey { list: guest.list, address: guest.address });
        match self.allowed.get(&key, 0) {
            Ok(_) => Ok(true),
            Err(MapError::KeyNotFound) => Ok(false),
            Err(error) => Err(io::Error::other(error)),
        }
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

    /// Without this the table would be full of datagrams that are long whole, and a full one looks like an attack.
    fn collect_fragments(&self) -> io::Result<()> {
        let now_ns = monotonic_ns();
        let mut over = Vec::new();
        batch::for_each(self.fragments.fd().as_fd(), |key: &FragmentKey, fragment: &Fragment| {
            if now_ns.saturating_sub(fragment.seen_ns) > FRAGMENT_TIMEOUT_NS {
                over.push(*key);
            }
        })?;
        batch::delete_all(self.fragments.fd().as_fd(), &over)
    }
}

/// Of this thread, so far.
fn processor_time() -> Duration {
    let now = nix::time::clock_gettime(nix::time::ClockId::CLOCK_THREAD_CPUTIME_ID);
    now.map_or(Duration::ZERO, Duration::from)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_fuller_the_table_the_longer_the_rest() {
        let rest = |cost_ms| Pass { cost: Duration::from_millis(cost_ms), ..Pass::default() }.rest();
        assert_eq!(rest(0), INTERVAL);
        assert_eq!(rest(100), Duration::from_secs(20));
        assert_eq!(rest(10_000), INTERVAL_MAX);
        assert!(1.0 / f64::from(REST) < 0.01, "less than a hundredth of a processor");
    }
}
