//! Who answers "who has this address"?
//!
//! The program, for the gateway and for every live endpoint of the asker's network, so nothing is flooded and a dead
//! address stays silent.

use crate::frame::{Frame, Wire};
use crate::parse::{ETHERNET_SIZE, ETHERTYPE_ARP, ETHERTYPE_IPV4, Ethernet};
use crate::tables::Tables;
use crate::verdict::{Verdict, Walk};
use netd_common::Addr;
use netd_common::drop::DropReason;
use netd_common::endpoint::{EndpointKey, Port};

const HARDWARE_ETHERNET: [u8; 2] = [0, 1];
const OPERATION_REQUEST: [u8; 2] = [0, 1];
const OPERATION_REPLY: [u8; 2] = [0, 2];

/// ARP for Ethernet and IPv4 (RFC 826).
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Arp {
    pub hardware: [u8; 2],
    pub protocol: [u8; 2],
    pub hardware_len: u8,
    pub protocol_len: u8,
    pub operation: [u8; 2],
    pub sender_mac: [u8; 6],
    pub sender: [u8; 4],
    pub target_mac: [u8; 6],
    pub target: [u8; 4],
}

#[repr(C)]
#[derive(Clone, Copy)]
struct ArpFrame {
    ethernet: Ethernet,
    arp: Arp,
}

// SAFETY: byte arrays only.
unsafe impl Wire for Arp {}
// SAFETY: as above.
unsafe impl Wire for ArpFrame {}

/// Answers an ARP request, with the packet itself as the answer.
///
/// # Errors
/// [`DropReason::SpoofedSource`], [`DropReason::Malformed`], and [`DropReason::ArpUnanswered`] for an address that nobody
/// has.
#[inline(always)]
pub fn arp<F: Frame, T: Tables>(frame: &mut F, tables: &T, port: &Port) -> Walk {
    answer(frame, tables, port)?;
    Ok(Verdict::Answer { ifindex: frame.ifindex() })
}

/// A stack frame of its own, since the walk has no room for two ARP messages.
#[inline(never)]
fn answer<F: Frame, T: Tables>(frame: &mut F, tables: &T, port: &Port) -> Result<(), DropReason> {
    let arp = frame.load::<Arp>(ETHERNET_SIZE).ok_or(DropReason::Malformed)?;
    if arp.hardware != HARDWARE_ETHERNET
        || arp.protocol != ETHERTYPE_IPV4
        || arp.hardware_len != 6
        || arp.protocol_len != 4
    {
        return Err(DropReason::Malformed);
    }
    // An unspecified sender asks whether an address is free (RFC 5227 section 2.1.1).
    let is_probe = arp.sender == [0; 4];
    if arp.sender_mac != port.mac || (!is_probe && Addr::v4(arp.sender) != port.ipv4) {
        return Err(DropReason::SpoofedSource);
    }
    if arp.operation != OPERATION_REQUEST {
        return Err(DropReason::ArpUnanswered);
    }
    let target = Addr::v4(arp.target);
    let mac = if target == port.gateway4 {
        port.gateway_mac
    } else if target == port.ipv4 {
        // Its own address: an announcement, or a probe, which silence answers.
        return Err(DropReason::ArpUnanswered);
    } else {
        let key = EndpointKey { address: target, network: port.network };
        tables.endpoint(&key).ok_or(DropReason::ArpUnanswered)?.mac
    };
    let answer = ArpFrame {
        ethernet: Ethernet { destination: arp.sender_mac, source: mac, ethertype: ETHERTYPE_ARP },
        arp: Arp {
            operation: OPERATION_REPLY,
            sender_mac: mac,
            sender: arp.target,
            target_mac: arp.sender_mac,
            target: arp.sender,
            ..arp
        },
    };
    frame.store(0, &answer).map_err(|_| DropReason::RewriteFailed)
}
