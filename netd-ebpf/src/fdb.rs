//! Who is the frame for, on its own network?
//!
//! Broadcast and multicast are for every other member, and for nobody else: a copy each, out of the sender's program. The
//! members are found by a walk over the forwarding table, so that no list of them has to be kept in step; what that may cost
//! is bounded, in members and in frames a second.

use crate::frame::{Frame, Stack, Wire};
use crate::parse::ip::{IPV6_SIZE, Ipv6};
use crate::parse::{Ethernet, Family, Head};
use crate::tables::{Flooded, Tables, Visit};
use crate::verdict::{Verdict, Walk};
use netd_common::Addr;
use netd_common::drop::DropReason;
use netd_common::endpoint::{ISOLATED, Port};
use netd_common::fdb::{FdbEntry, FdbKey};
use netd_common::limits::MULTICAST_MEMBERS_MAX;
use netd_common::publish::{TCP, UDP};

/// Where a plain frame goes, as nearly all between peers are: a whole header, from who it says, to a peer that is there.
/// None says nothing of a frame: the walk looks at it anew, and judges.
///
/// What it asks is what [`switch`] and the walk before it ask, in one place because that is most of its cost: it is run so
/// often between other code that what counts is how few lines of it, and of data, have to come from afar.
#[inline(always)]
pub fn switch_plain<F: Frame, T: Tables>(frame: &mut F, tables: &T, port: &Port) -> Option<Verdict> {
    let head: &Head = frame.peek()?;
    let Ethernet { destination: mac, source, .. } = head.ethernet;
    if mac == port.gateway_mac {
        return None;
    }
    let is_honest = match head.ethernet.family() {
        Family::V4 => Addr::v4(head.ipv4.source) == port.ipv4 && head.ipv4.check(frame.len()).is_ok(),
        Family::V6 => is_honest_v6(frame, port),
        Family::Other => false,
    };
    let is_plain = is_honest && source == port.mac && !is_group(mac) && !frame.has_vlan_tag();
    if !is_plain || port.flags & ISOLATED != 0 {
        return None;
    }
    let ifindex = tables.fdb(&FdbKey { network: port.network, mac, pad: [0; 2] })?.ifindex;
    frame.accept();
    Some(Verdict::Deliver { ifindex })
}

/// Both headers, as they stand.
#[repr(C)]
#[derive(Clone, Copy)]
struct HeadV6 {
    ethernet: Ethernet,
    bytes: [u8; IPV6_SIZE as usize],
}

// SAFETY: made of byte arrays.
unsafe impl Wire for HeadV6 {}

/// Whether it is TCP or UDP, which is no neighbour discovery.
#[inline(never)]
fn is_honest_v6<F: Frame>(frame: &F, port: &Port) -> bool {
    let Some(head) = frame.peek::<HeadV6>() else { return false };
    // SAFETY: as many bytes, of which any are legal (`Wire`).
    let ipv6: Ipv6 = unsafe { core::mem::transmute(head.bytes) };
    matches!(ipv6.next_header, TCP | UDP) && port.has_ipv6(&ipv6.source) && ipv6.check(frame.len()).is_ok()
}

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
