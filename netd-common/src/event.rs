//! What does a program tell the agent while it happens?

use crate::Addr;
use crate::drop::numbered;

numbered! {
    /// What an [`Event`] says.
    Kind {
        Dropped = "dropped",
    }
}

/// A record of the ring buffer `EVENTS`.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Event {
    /// Monotonic time (`bpf_ktime_get_ns`).
    pub time_ns: u64,
    pub source: Addr,
    pub destination: Addr,
    pub source_port: u16,
    pub destination_port: u16,
    /// Where it happened.
    pub ifindex: u32,
    /// [`Kind`].
    pub kind: u8,
    /// [`crate::drop::Hook`].
    pub hook: u8,
    /// [`crate::drop::DropReason`] for [`Kind::Dropped`].
    pub reason: u8,
    pub protocol: u8,
    pub pad: [u8; 4],
}

/// At most one event of each drop reason on each processor in this time; the counters count all.
pub const SAMPLE_INTERVAL_NS: u64 = 100_000_000;
