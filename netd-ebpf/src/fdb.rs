//! Who is the frame for, on its own network?

use crate::frame::Frame;
use crate::tables::Tables;
use crate::verdict::{Verdict, Walk};
use netd_common::drop::DropReason;
use netd_common::endpoint::{ISOLATED, Port};
use netd_common::fdb::FdbKey;

/// Switches a frame to the peer that has `mac`, unchanged.
#[inline(always)]
pub fn switch<F: Frame, T: Tables>(frame: &mut F, tables: &T, port: &Port, mac: [u8; 6]) -> Walk {
    if is_group(mac) {
        return Err(DropReason::Multicast);
    }
    if port.flags & ISOLATED != 0 {
        return Err(DropReason::IccDisabled);
    }
    let key = FdbKey { network: port.network, mac, pad: [0; 2] };
    let entry = tables.fdb(&key).ok_or(DropReason::UnknownMac)?;
    frame.accept();
    Ok(Verdict::Deliver { ifindex: entry.ifindex })
}

/// The group bit of a MAC address (IEEE 802 section 8.2.2).
#[inline(always)]
const fn is_group(mac: [u8; 6]) -> bool {
    let [first, ..] = mac;
    first & 1 != 0
}
