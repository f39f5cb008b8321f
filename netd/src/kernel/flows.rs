//! What do the flow table, the counters and the event ring hold?
//!
//! Reads the pinned maps beside the reconciler, for the API; and collects the garbage of the flow table.

use netd_common::drop::{Counter, Hook, Outcome};
use netd_common::event::Event;
use netd_common::flow::{Flow, FlowKey};
use std::io;
use std::path::Path;

/// How full a map is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MapFill {
    pub name: String,
    pub entries: u64,
    pub max: u64,
}

/// Handles of the pinned maps of one instance. Cheap to open, and safe to use from any thread.
#[derive(Debug)]
pub struct Reader {}

impl Reader {
    /// `pins` is [`super::datapath::Options::pins`].
    pub fn open(_pins: &Path) -> io::Result<Self> {
        todo!()
    }

    /// Calls `each` for every entry of the flow table; entries that come or go meanwhile may be missed.
    pub fn flows(&self, _each: &mut dyn FnMut(&FlowKey, &Flow)) -> io::Result<()> {
        todo!()
    }

    /// Every counter that is not zero, summed over the processors.
    pub fn counters(&self) -> io::Result<Vec<(Hook, Outcome, Counter)>> {
        todo!()
    }

    pub fn fill(&self) -> io::Result<Vec<MapFill>> {
        todo!()
    }

    /// Deletes the flows that are over; returns how many entries that were. Called every few seconds.
    pub fn collect_garbage(&self) -> io::Result<u64> {
        todo!()
    }
}

/// The event ring. One consumer at a time.
#[derive(Debug)]
pub struct Events {}

impl Events {
    pub fn open(_pins: &Path) -> io::Result<Self> {
        todo!()
    }

    /// Waits for events, and hands over what has come.
    pub async fn next(&mut self) -> io::Result<Vec<Event>> {
        todo!()
    }
}

/// `CLOCK_MONOTONIC` in nanoseconds: the clock of every `_ns` field in a map.
pub fn monotonic_ns() -> u64 {
    todo!()
}
