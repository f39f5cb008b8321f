//! How full are the maps?
//!
//! The kernel keeps no count that can be asked for: entries are counted by reading them, which for a full flow table
//! takes a tenth of a second of a processor. So a count that was expensive is told again for a while.

use super::batch;
use aya::maps::{MapData, MapType};
use std::collections::BTreeMap;
use std::io;
use std::os::fd::AsFd as _;
use std::path::Path;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// The maps that can be full, in the order in which they are shown.
pub const FILLING: [&str; 15] = [
    "ENDPOINTS",
    "PORTS_BY_IF",
    "FDB",
    "PUBLISHED",
    "LOCAL_ADDRS",
    "UPLINKS",
    FLOWS,
    "TIMEOUTS",
    "FRAGMENTS",
    "SNAT_POOLS",
    "ALLOWED",
    "BLOCKED",
    "SOCK_ORIGIN",
    "NAMES",
    "DROPS",
];
/// The map that is counted by the way when its garbage is collected.
pub const FLOWS: &str = "FLOWS";

/// A count that took less is made anew each time;
const CHEAP: Duration = Duration::from_millis(10);
/// another one is told again for this many times what it took, so that however often the status is asked for, counting
/// takes four thousandths of a processor. Longer than the collector rests, which counts the flow table by the way.
const REST: u32 = 250;

/// How full a map is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MapFill {
    pub name: String,
    pub entries: u64,
    pub max: u64,
}

/// What was counted lately. Shared by all who ask.
#[derive(Debug, Default)]
pub struct Fills {
    counts: Mutex<BTreeMap<String, Count>>,
}

#[derive(Clone, Copy, Debug)]
struct Count {
    entries: u64,
    made: Instant,
    cost: Duration,
}

impl Count {
    fn is_good(&self, now: Instant) -> bool {
        self.cost >= CHEAP && now.saturating_duration_since(self.made) < self.cost * REST
    }
}

impl Fills {
    /// How full each map is. `pins` is [`super::datapath::Options::pins`].
    ///
    /// # Errors
    /// When a pin is not there, or the kernel refuses to read.
    pub fn look(&self, pins: &Path) -> io::Result<Vec<MapFill>> {
        FILLING.into_iter().map(|name| self.look_at(pins, name)).collect()
    }

    fn look_at(&self, pins: &Path, name: &str) -> io::Result<MapFill> {
        let map = MapData::from_pin(pins.join(name)).map_err(io::Error::other)?;
        let info = map.info().map_err(io::Error::other)?;
        let begun = Instant::now();
        let known = self.counts.lock().unwrap_or_else(PoisonError::into_inner).get(name).copied();
        let entries = if let Some(count) = known.filter(|count| count.is_good(begun)) {
            count.entries
        } else {
            let copies = match info.map_type().map_err(io::Error::other)? {
                MapType::LruPerCpuHash => aya::util::nr_cpus().map_err(|(_, error)| error)?,
                _ => 1,
            };
            let value_size = (info.value_size() as usize).next_multiple_of(8) * copies;
            let entries = batch::count(map.fd().as_fd(), info.key_size() as usize, value_size)?;
            self.note(name, entries, begun.elapsed());
            entries
        };
        Ok(MapFill { name: name.to_owned(), entries, max: u64::from(info.max_entries()) })
    }

    /// Remembers a count that was made by the way.
    pub fn note(&self, name: &str, entries: u64, cost: Duration) {
        let count = Count { entries, made: Instant::now(), cost };
        self.counts.lock().unwrap_or_else(PoisonError::into_inner).insert(name.to_owned(), count);
    }

    /// The map was emptied.
    pub fn forget(&self, name: &str) {
        self.counts.lock().unwrap_or_else(PoisonError::into_inner).remove(name);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernel::pins::MAPS;

    #[test]
    fn an_expensive_count_is_told_again_and_a_cheap_one_is_not() {
        let made = Instant::now();
        let count = |cost_ms| Count { entries: 1, made, cost: Duration::from_millis(cost_ms) };
        assert!(!count(9).is_good(made));
        assert!(count(100).is_good(made + Duration::from_secs(24)));
        assert!(!count(100).is_good(made + Duration::from_secs(25)));
    }

    #[test]
    fn every_map_that_can_be_full_is_shown() {
        // Arrays are always full, and the ring of events holds no entries.
        let others = ["SNAT_TRIES", "COUNTERS", "SAMPLED", "EVENTS", "GLOBALS"];
        for name in MAPS {
            assert_ne!(FILLING.contains(&name), others.contains(&name), "{name}");
        }
    }
}
