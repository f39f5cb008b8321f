//! Is the sender of a frame on the block list?
//!
//! Runs before the kernel makes a packet of the frame. What is dropped here has a source address that is blocked; all else
//! passes, also what is no IP, what is too short, and what stands behind more VLAN tags than are read. Blocking asks
//! nothing of flows, so it ends connections that are open as it refuses new ones.

use crate::frame::{Readable, Wire};
use crate::parse::{ETHERTYPE_IPV4, ETHERTYPE_IPV6};
use crate::tables::Tables;
use crate::verdict::Verdict;
use netd_common::Addr;
use netd_common::drop::{Counter, DropReason, Hook, Outcome};
use netd_common::event::Kind;

/// IEEE 802.1Q, a customer's tag, and 802.1ad, a provider's.
const ETHERTYPE_VLAN: [u8; 2] = [0x81, 0x00];
const ETHERTYPE_PROVIDER_VLAN: [u8; 2] = [0x88, 0xa8];
/// Where the ethertype of an untagged frame stands; each tag moves it.
const ETHERTYPE: u32 = 12;
const ETHERTYPE_SIZE: u32 = 2;
const TAG_SIZE: u32 = 4;
/// A provider's tag and a customer's.
const TAGS_MAX: u32 = 2;
/// Where the protocol, and then the two addresses, stand in the headers (RFC 791 section 3.1, RFC 8200 section 3).
const IPV4_PROTOCOL: u32 = 9;
const IPV4_ENDS: u32 = 12;
const IPV6_NEXT_HEADER: u32 = 6;
const IPV6_ENDS: u32 = 8;

#[repr(C)]
#[derive(Clone, Copy)]
struct Ends4 {
    source: [u8; 4],
    destination: [u8; 4],
}

#[repr(C)]
#[derive(Clone, Copy)]
struct Ends6 {
    source: [u8; 16],
    destination: [u8; 16],
}

/// One byte of a header.
#[repr(C)]
#[derive(Clone, Copy)]
struct Byte {
    value: u8,
}

// SAFETY: each is made of byte arrays, or of a byte.
unsafe impl Wire for Ends4 {}
// SAFETY: as above.
unsafe impl Wire for Ends6 {}
// SAFETY: as above.
unsafe impl Wire for Byte {}

/// Whom an IP packet is from and for.
struct Ends {
    source: Addr,
    destination: Addr,
    /// Where the protocol's number stands.
    protocol: u32,
}

/// The verdict is to pass or to drop. Only drops are counted: what passes here is counted by `uplink_ingress`, and this
/// program stands in the way of every frame. `now_ns` is the monotonic clock.
#[inline(always)]
pub fn walk<F: Readable, T: Tables>(frame: &F, ifindex: u32, now_ns: impl Fn() -> u64, tables: &T) -> Verdict {
    let Some(ends) = ends(frame) else { return Verdict::Pass };
    if !tables.is_blocked(&ends.source) {
        return Verdict::Pass;
    }
    let outcome = Outcome::Dropped(DropReason::Blocked);
    tables.count(Hook::XdpGuard, outcome, Counter { packets: 1, bytes: u64::from(frame.len()) });
    let now_ns = now_ns();
    if tables.may_sample(DropReason::Blocked, now_ns) {
        let protocol = frame.load::<Byte>(ends.protocol).map_or(0, |byte| byte.value);
        tables.send(|event| {
            event.time_ns = now_ns;
            event.ifindex = ifindex;
            event.kind = Kind::Dropped as u8;
            event.hook = Hook::XdpGuard as u8;
            event.reason = DropReason::Blocked as u8;
            event.source = ends.source;
            event.destination = ends.destination;
            event.protocol = protocol;
        });
    }
    Verdict::Drop(DropReason::Blocked)
}

#[inline(always)]
fn ends<F: Readable>(frame: &F) -> Option<Ends> {
    let mut at = ETHERTYPE;
    let mut ethertype: [u8; 2] = frame.load(at)?;
    for _ in 0..TAGS_MAX {
        if ethertype != ETHERTYPE_VLAN && ethertype != ETHERTYPE_PROVIDER_VLAN {
            break;
        }
        at += TAG_SIZE;
        ethertype = frame.load(at)?;
    }
    let header = at + ETHERTYPE_SIZE;
    match ethertype {
        ETHERTYPE_IPV4 => {
            let Ends4 { source, destination } = frame.load(header + IPV4_ENDS)?;
            let (source, destination) = (Addr::v4(source), Addr::v4(destination));
            Some(Ends { source, destination, protocol: header + IPV4_PROTOCOL })
        }
        ETHERTYPE_IPV6 => {
            let Ends6 { source, destination } = frame.load(header + IPV6_ENDS)?;
            let (source, destination) = (Addr::v6(source), Addr::v6(destination));
            Some(Ends { source, destination, protocol: header + IPV6_NEXT_HEADER })
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests;
