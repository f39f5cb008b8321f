//! Who is the frame for, on its own network?
//!
//! Broadcast and multicast are for every other member, and for nobody else: a copy each, out of the sender's program. The
//! members are found by a walk over the forwarding table, so that no list of them has to be kept in step; what that may cost
//! is bounded, in members and in frames a second.

use crate::frame::{Frame, Stack};
use crate::tables::{Flooded, Tables, Visit};
use crate::verdict::{Verdict, Walk};
use netd_common::drop::DropReason;
use netd_common::endpoint::{ISOLATED, Port};
use netd_common::fdb::{FdbEntry, FdbKey};
use netd_common::limits::MULTICAST_MEMBERS_MAX;

/// Switches a frame to the peer that has `mac`, unchanged.
#[inline(always)]
pub fn switch<F: Frame + Stack, T: Tables>(frame: &mut F, tables: &T, port: &Port, mac: [u8; 6]) -> Walk {
    if port.flags & ISOLATED != 0 {
        return Err(DropReason::IccDisabled);
    }
    if is_group(mac) {
        return flood(frame, tables, port);
    }
    let key = FdbKey { network: port.network, mac, pad: [0; 2] };
    let entry = tables.fdb(&key).ok_or(DropReason::UnknownMac)?;
    frame.accept();
    Ok(Verdict::Deliver { ifindex: entry.ifindex })
}

/// Sends a copy to every other member of the network.
///
/// A stack frame of its own, since few packets come here.
fn flood<F: Frame + Stack, T: Tables>(frame: &mut F, tables: &T, port: &Port) -> Walk {
    match copy(frame, tables, port) {
        NOBODY => Err(DropReason::Multicast),
        TOO_MANY => Err(DropReason::MulticastLimit),
        _ => Ok(Verdict::Spent),
    }
}

/// What [`copy`] returns.
const COPIED: u32 = 0;
const NOBODY: u32 = 1;
const TOO_MANY: u32 = 2;

#[inline(never)]
fn copy<F: Frame + Stack, T: Tables>(frame: &mut F, tables: &T, port: &Port) -> u32 {
    let Some(flooded) = tables.flooded() else { return TOO_MANY };
    if !flooded.one_more(frame.now_ns()) {
        return TOO_MANY;
    }
    let ifindex = frame.ifindex();
    let mut copies = Copies { frame, flooded, network: port.network, ifindex };
    tables.visit_members(&mut copies);
    match copies.flooded.copies {
        0 => NOBODY,
        copies if copies > MULTICAST_MEMBERS_MAX => TOO_MANY,
        _ => COPIED,
    }
}

struct Copies<'a, F> {
    frame: &'a mut F,
    flooded: &'a mut Flooded,
    network: u32,
    /// The sender's.
    ifindex: u32,
}

impl<F: Frame> Visit for Copies<'_, F> {
    #[inline(always)]
    fn visit(&mut self, key: &FdbKey, entry: &FdbEntry) -> bool {
        if key.network != self.network || entry.ifindex == self.ifindex {
            return false;
        }
        self.flooded.copies = self.flooded.copies.wrapping_add(1);
        if self.flooded.copies > MULTICAST_MEMBERS_MAX {
            return true;
        }
        self.frame.send_copy(entry.ifindex, false);
        false
    }
}

/// The group bit of a MAC address (IEEE 802 section 8.2.2).
#[inline(always)]
const fn is_group(mac: [u8; 6]) -> bool {
    let [first, ..] = mac;
    first & 1 != 0
}
