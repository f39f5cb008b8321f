//! Which datagram does a later fragment belong to?
//!
//! Only the first fragment of a datagram has the transport header (RFC 791 section 2.3, RFC 8200 section 4.5); the others
//! are translated by what it said.

use crate::Addr;

/// Key of `FRAGMENTS`: what the fragments of one datagram share, and where they were seen.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FragmentKey {
    pub source: Addr,
    pub destination: Addr,
    /// The identification, as the packet carries it: 16 bits in IPv4, 32 in IPv6.
    pub id: u32,
    pub protocol: u8,
    /// As in [`crate::flow::FlowKey`].
    pub side: u8,
    pub pad: [u8; 2],
}

/// [`Fragment::flags`]: the first fragment has not come; only `held` and `seen_ns` count.
pub const WAITING: u16 = 1 << 0;
/// [`Fragment::flags`]: the datagram belongs to no flow.
pub const FOREIGN: u16 = 1 << 1;

/// Value of `FRAGMENTS`.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Fragment {
    /// As the first fragment's [`crate::flow::FlowKey`] had them.
    pub source_port: u16,
    pub destination_port: u16,
    /// Bytes of the datagram's payload that the first fragment had.
    pub first_end: u32,
    /// Up to where the datagram has come, in bytes of its payload.
    pub end: u32,
    /// [`WAITING`], [`FOREIGN`].
    pub flags: u16,
    /// How many later fragments are kept for the first, while [`WAITING`].
    pub held: u16,
    /// Monotonic time of the first fragment, or of the first that is kept.
    pub seen_ns: u64,
}

/// How long the later fragments may stay out. Linux waits 30 s for them (`net.ipv4.ipfrag_time`).
pub const FRAGMENT_TIMEOUT_NS: u64 = 30_000_000_000;
