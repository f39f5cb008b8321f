//! What becomes of a fragment that comes before its first?
//!
//! It may be the host's own, so the host's stack gets it in any case. It may as well belong to a flow, which only the first
//! fragment tells: so a copy is kept, and when the first comes and does belong to one, the copies come in again behind it.
//! Within bounds: so many fragments of a datagram and in all, of so many bytes, for so long as Linux waits for the rest of
//! a datagram. What a container sends is not kept: its packets do not overtake each other on the way here.

use crate::fragment;
use crate::frame::{Attempt, Frame, Stack};
use crate::tables::{Room, Tables};
use netd_common::fragment::{FOREIGN, FRAGMENT_TIMEOUT_NS, Fragment, FragmentKey, WAITING};
use netd_common::limits::{HELD_PER_DATAGRAM_MAX, HELD_SIZE_MAX};

/// Which packet is kept.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct HeldKey {
    pub datagram: FragmentKey,
    /// From 0, below [`HELD_PER_DATAGRAM_MAX`].
    pub slot: u32,
}

/// A packet that is kept, link-layer header first.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct Held {
    pub len: u32,
    pub bytes: [u8; HELD_SIZE_MAX],
}

impl Default for Held {
    fn default() -> Self {
        Self { len: 0, bytes: [0; HELD_SIZE_MAX] }
    }
}

/// Keeps a copy of a later fragment, of which nothing is known yet, until its first comes. False when its datagram is known
/// to be no flow's, or has as many already, or the fragment is too long.
#[inline(never)]
pub fn keep<F: Frame + Stack, T: Tables>(frame: &F, tables: &T, room: &mut Room) -> bool {
    if frame.len() as usize > HELD_SIZE_MAX {
        return false;
    }
    fragment::write_key(room);
    let now_ns = frame.now_ns();
    let Room { fragment_key, fragment, held_key, .. } = room;
    let slot = tables.with_fragment(fragment_key, |known| {
        if now_ns.saturating_sub(known.seen_ns) > FRAGMENT_TIMEOUT_NS {
            known.flags = WAITING;
            known.held = 0;
            known.seen_ns = now_ns;
        }
        if known.flags != WAITING || u32::from(known.held) >= HELD_PER_DATAGRAM_MAX {
            return HELD_PER_DATAGRAM_MAX;
        }
        let slot = known.held;
        known.held += 1;
        u32::from(slot)
    });
    let slot = if let Some(slot) = slot {
        slot
    } else {
        *fragment = Fragment { flags: WAITING, held: 1, seen_ns: now_ns, ..Fragment::default() };
        tables.remember_fragment(fragment_key, fragment);
        0
    };
    if slot >= HELD_PER_DATAGRAM_MAX {
        return false;
    }
    held_key.datagram = *fragment_key;
    held_key.slot = slot;
    let Some(held) = tables.held_room() else { return false };
    if !frame.copy_out(held) {
        return false;
    }
    tables.keep(held_key, held);
    true
}

/// Notes that a datagram whose first fragment has come is no flow's, so that nothing of it is kept.
#[inline(never)]
pub fn disown<F: Frame + Stack, T: Tables>(frame: &F, tables: &T, room: &mut Room) {
    fragment::write_key(room);
    let Room { fragment_key, fragment, .. } = room;
    *fragment = Fragment { flags: FOREIGN, seen_ns: frame.now_ns(), ..Fragment::default() };
    tables.remember_fragment(fragment_key, fragment);
}

/// How many fragments are kept for the first one that this is; to be asked before [`crate::fragment::lead`] takes their
/// place.
#[inline(never)]
pub fn count<F: Stack, T: Tables>(frame: &F, tables: &T, room: &mut Room) -> u32 {
    fragment::write_key(room);
    let now_ns = frame.now_ns();
    let count = tables.with_fragment(&room.fragment_key, |known| {
        let is_waiting = known.flags == WAITING && now_ns.saturating_sub(known.seen_ns) <= FRAGMENT_TIMEOUT_NS;
        if is_waiting { u32::from(known.held) } else { 0 }
    });
    count.unwrap_or(0)
}

/// Sends the translated first fragment out of `to`, the container's interface, and lets the kept ones in again. What is
/// left of the packet is nothing that anybody waits for.
#[inline(never)]
pub fn release<F: Frame + Stack, T: Tables>(frame: &mut F, tables: &T, room: &mut Room, to: u32, count: u32) {
    frame.send_copy(to, false);
    let Room { fragment_key, held_key, .. } = room;
    held_key.datagram = *fragment_key;
    held_key.slot = 0;
    F::repeat(HELD_PER_DATAGRAM_MAX, &mut Release { frame, tables, key: held_key, count });
}

struct Release<'a, F, T> {
    frame: &'a mut F,
    tables: &'a T,
    key: &'a mut HeldKey,
    count: u32,
}

impl<F: Frame + Stack, T: Tables> Attempt for Release<'_, F, T> {
    #[inline(always)]
    fn attempt(&mut self) -> bool {
        if self.key.slot >= self.count {
            return true;
        }
        if let Some(held) = self.tables.kept(self.key)
            && self.frame.become_held(held).is_ok()
        {
            let ifindex = self.frame.ifindex();
            self.frame.send_copy(ifindex, true);
        }
        self.tables.discard(self.key);
        self.key.slot += 1;
        false
    }
}
