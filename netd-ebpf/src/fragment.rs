//! Which flow does a fragment belong to?
//!
//! The first fragment of a datagram has the ports, and leaves them here for the others, which are translated by what it
//! said. So each goes on at once, and the receiver puts the datagram together. One that comes before its first belongs to
//! nobody known: see [`crate::held`].

use crate::frame::{Frame, Stack};
use crate::parse::Kind;
use crate::tables::{Room, Tables};
use netd_common::drop::DropReason;
use netd_common::fragment::{FRAGMENT_TIMEOUT_NS, Fragment};

/// Gives a later fragment the ports of its first, where that has been seen; otherwise it stays a
/// [`Kind::LaterFragment`].
///
/// # Errors
/// [`DropReason::FragmentOverlap`] when it overlaps what came before. No sender makes such a thing but to slip something
/// past a filter (RFC 1858, RFC 5722). A duplicate lies within what came before, and goes on.
#[inline(never)]
pub fn follow<F: Frame + Stack, T: Tables>(frame: &F, tables: &T, room: &mut Room) -> Result<(), DropReason> {
    write_key(room);
    let now_ns = frame.now_ns();
    let Room { key, packet, fragment_key, .. } = room;
    let offset = u32::from(packet.fragment_offset);
    let end = offset.wrapping_add(packet.size);
    let is_sound = tables.with_fragment(fragment_key, |fragment| {
        if fragment.flags != 0 || now_ns.saturating_sub(fragment.seen_ns) > FRAGMENT_TIMEOUT_NS {
            return true;
        }
        if offset < fragment.first_end || (offset < fragment.end && end > fragment.end) {
            return false;
        }
        if end > fragment.end {
            fragment.end = end;
        }
        key.source_port = fragment.source_port;
        key.destination_port = fragment.destination_port;
        packet.kind = Kind::Followed as u8;
        true
    });
    if is_sound == Some(false) { Err(DropReason::FragmentOverlap) } else { Ok(()) }
}

/// Leaves the ports of a first fragment for the others.
#[inline(never)]
pub fn lead<F: Frame + Stack, T: Tables>(frame: &F, tables: &T, room: &mut Room) {
    write_key(room);
    let Room { key, packet, fragment_key, fragment, .. } = room;
    *fragment = Fragment {
        source_port: key.source_port,
        destination_port: key.destination_port,
        first_end: packet.size,
        end: packet.size,
        flags: 0,
        held: 0,
        seen_ns: frame.now_ns(),
    };
    tables.remember_fragment(fragment_key, fragment);
}

/// Writes the key of the packet's datagram to `room`.
#[inline(always)]
pub const fn write_key(room: &mut Room) {
    let Room { key, packet, fragment_key, .. } = room;
    fragment_key.source = key.source;
    fragment_key.destination = key.destination;
    fragment_key.id = packet.fragment_id;
    fragment_key.protocol = key.protocol;
    fragment_key.side = key.side;
    fragment_key.pad = [0; 2];
}
