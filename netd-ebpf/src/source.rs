//! May a container send what is not from itself?
//!
//! Two may: one that is told to be a router sends what is from others, though never in the name of a member of the very
//! network or of the host; and one that asks for an address (DHCP, RFC 2131) has none yet.

use crate::frame::Frame;
use crate::parse::ETHERNET_SIZE;
use crate::parse::ip::{IPV4_SIZE_MIN, Ipv4};
use crate::tables::Tables;
use netd_common::Addr;
use netd_common::endpoint::{EndpointKey, Port, ROUTER};
use netd_common::publish::UDP;

/// Ports of a DHCP client and of a server (RFC 2131 section 4.1), as a datagram has them: the source first.
const CLIENT_TO_SERVER: [u8; 4] = [0, 68, 0, 67];
/// Version 4, and a header without options.
const PLAIN_HEADER: u8 = 0x45;
const BROADCAST: [u8; 4] = [0xff; 4];
const BROADCAST_MAC: [u8; 6] = [0xff; 6];

/// Whether a router sends on in the name of `source`.
///
/// A stack frame of its own, since few packets come here.
#[inline(never)]
pub fn is_routed<T: Tables>(tables: &T, port: &Port, source: &Addr) -> bool {
    port.flags & ROUTER != 0
        && !source.is_none()
        && *source != Addr::ANY_V4
        && !source.is_loopback()
        && !source.is_multicast_or_broadcast()
        && !source.is_link_local_v6()
        && !tables.is_local(source)
        && tables.endpoint(&EndpointKey { address: *source, network: port.network }).is_none()
}

/// Whether the packet asks all members of the network for an address.
#[inline(always)]
pub fn is_dhcp<F: Frame>(frame: &F, destination_mac: [u8; 6], ipv4: &Ipv4) -> bool {
    ipv4.source == [0; 4]
        && destination_mac == BROADCAST_MAC
        && ipv4.destination == BROADCAST
        && ipv4.protocol == UDP
        && ipv4.version_ihl == PLAIN_HEADER
        && is_whole(ipv4.fragment)
        && frame.load::<[u8; 4]>(ETHERNET_SIZE + IPV4_SIZE_MIN) == Some(CLIENT_TO_SERVER)
}

/// Of a later fragment the next bytes are no ports. Whether it may be fragmented ("DF") is of no matter.
#[inline(always)]
const fn is_whole([high, low]: [u8; 2]) -> bool {
    high & 0xbf == 0 && low == 0
}
