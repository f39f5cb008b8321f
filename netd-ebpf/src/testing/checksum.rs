//! Are a frame's checksums right?
//!
//! Written from the RFCs and not shared with the programs, so that a mistake there is seen.

use super::packet::{AUTHENTICATION, DESTINATION_OPTIONS, FRAGMENT_HEADER, HOP_BY_HOP, ROUTING};
use netd_common::publish::{ICMP, ICMPV6, TCP, UDP};

const ETHERNET_SIZE: usize = 14;

/// The Internet checksum (RFC 1071).
#[must_use]
pub fn checksum(bytes: &[u8]) -> [u8; 2] {
    let mut sum = 0_u64;
    for pair in bytes.chunks(2) {
        sum += u64::from(u16::from_be_bytes([pair[0], pair.get(1).copied().unwrap_or(0)]));
    }
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    (!(sum as u16)).to_be_bytes()
}

/// What stands behind the IP header and its extensions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Upper {
    pub protocol: u8,
    /// Offset of the transport header in the frame.
    pub at: usize,
    /// Offset of what is behind the packet.
    pub end: usize,
    /// Whether it is only a part of it.
    pub is_fragment: bool,
}

/// The transport of an IP frame; none when it is none, or its headers contradict themselves.
#[must_use]
pub fn upper(frame: &[u8]) -> Option<Upper> {
    upper_of(frame, ETHERNET_SIZE, frame.get(12..14)? == [0x86, 0xdd])
}

fn upper_of(frame: &[u8], ip: usize, is_v6: bool) -> Option<Upper> {
    let byte = |at: usize| frame.get(at).copied();
    let word = |at: usize| Some(usize::from(u16::from_be_bytes([byte(at)?, byte(at + 1)?])));
    if !is_v6 {
        let header_len = usize::from(byte(ip)? & 0x0f) * 4;
        let is_fragment = word(ip + 6)? & 0x3fff != 0;
        let is_sound = byte(ip)? >> 4 == 4 && header_len >= 20 && byte(ip + 19).is_some();
        let upper = Upper { protocol: byte(ip + 9)?, at: ip + header_len, end: ip + word(ip + 2)?, is_fragment };
        return is_sound.then_some(upper);
    }
    let end = ip + 40 + word(ip + 4)?;
    let mut upper = Upper { protocol: byte(ip + 6)?, at: ip + 40, end, is_fragment: false };
    if byte(ip)? >> 4 != 6 {
        return None;
    }
    while matches!(upper.protocol, HOP_BY_HOP | ROUTING | FRAGMENT_HEADER | AUTHENTICATION | DESTINATION_OPTIONS) {
        let len = usize::from(byte(upper.at + 1)?);
        let size = match upper.protocol {
            FRAGMENT_HEADER => {
                upper.is_fragment |= word(upper.at + 2)? & 0xfff9 != 0;
                8
            }
            AUTHENTICATION => (len + 2) * 4,
            _ => (len + 1) * 8,
        };
        upper.protocol = byte(upper.at)?;
        upper.at += size;
    }
    Some(upper)
}

/// Whether the checksums of an IP frame are right: the IPv4 header's, the transport's and those of a packet that an ICMP
/// error quotes, as far as they can be told: the transport's in a whole packet only. A UDP checksum of zero is none, and
/// right. None when it is no IP frame, or its headers contradict themselves.
#[must_use]
pub fn are_right(frame: &[u8]) -> Option<bool> {
    packet_is_right(frame, ETHERNET_SIZE, frame.get(12..14)? == [0x86, 0xdd])
}

/// Makes the checksums of an IP frame right that are not those of a quote: the IPv4 header's, and the transport's of a
/// whole packet, but for that of UDP where there is none. Leaves alone what contradicts itself.
pub fn seal(frame: &mut [u8]) {
    let is_v6 = frame.get(12) == Some(&0x86);
    let Some(Upper { protocol, at, end, is_fragment }) = upper(frame) else { return };
    if !is_v6 && at <= frame.len() {
        frame[ETHERNET_SIZE + 10..ETHERNET_SIZE + 12].fill(0);
        let sum = checksum(&frame[ETHERNET_SIZE..at]);
        frame[ETHERNET_SIZE + 10..ETHERNET_SIZE + 12].copy_from_slice(&sum);
    }
    let (offset, min_len) = match protocol {
        TCP => (16, 20),
        UDP => (6, 8),
        ICMP | ICMPV6 => (2, 8),
        _ => return,
    };
    let addresses = if is_v6 { 22..54 } else { 26..34 };
    let addresses = frame[addresses].to_vec();
    let Some(segment) = frame.get_mut(at..end).filter(|segment| !is_fragment && segment.len() >= min_len) else {
        return;
    };
    if protocol == UDP && segment[6..8] == [0, 0] {
        return;
    }
    segment[offset..offset + 2].fill(0);
    let sum = checksum(&covered(protocol, &addresses, segment));
    let sum = if protocol == UDP && sum == [0, 0] { [0xff; 2] } else { sum };
    segment[offset..offset + 2].copy_from_slice(&sum);
}

/// What the checksum of a transport is taken over.
fn covered(protocol: u8, addresses: &[u8], segment: &[u8]) -> Vec<u8> {
    let mut covered = Vec::new();
    if protocol != ICMP {
        covered.extend(addresses);
        covered.extend([0, protocol]);
        covered.extend((segment.len() as u16).to_be_bytes());
    }
    covered.extend(segment);
    covered
}

fn packet_is_right(frame: &[u8], ip: usize, is_v6: bool) -> Option<bool> {
    let upper = upper_of(frame, ip, is_v6)?;
    let Upper { protocol, at, end, is_fragment } = upper;
    let is_zero = |bytes: &[u8]| checksum(bytes) == [0, 0];
    // Of an IPv6 packet the extensions stand in between.
    if !is_v6 && !is_zero(frame.get(ip..at)?) {
        return Some(false);
    }
    let min_len = match protocol {
        TCP => 20,
        UDP | ICMP | ICMPV6 => 8,
        _ => return Some(true),
    };
    let Some(segment) = frame.get(at..end).filter(|segment| !is_fragment && segment.len() >= min_len) else {
        return Some(true);
    };
    if protocol == UDP && segment[6..8] == [0, 0] {
        return Some(true);
    }
    let addresses = if is_v6 { frame.get(ip + 8..ip + 40)? } else { frame.get(ip + 12..ip + 20)? };
    if !is_zero(&covered(protocol, addresses, segment)) {
        return Some(false);
    }
    let is_error = matches!((protocol, segment[0]), (ICMP, 3 | 11 | 12) | (ICMPV6, 1..=4));
    if !is_error {
        return Some(true);
    }
    // The quote may be cut; its own sums are right as far as they can be told, and what cannot be read is not judged.
    Some(packet_is_right(&frame[..end], at + 8, is_v6).unwrap_or(true))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::packet::{Ip, error_about, options};
    use crate::testing::world::{WEB, Who};

    #[test]
    fn a_wrong_byte_is_seen_wherever_it_is() {
        for who in [Who::V4, Who::V6] {
            let ip = WEB.to(who.remote).with_options(8);
            let whole = [ip.tcp(1, 2, 2, b"abc"), ip.udp(1, 2, b"abc"), ip.echo(true, 1, b"abc")];
            for frame in &whole {
                assert_eq!(are_right(frame), Some(true));
                let at = upper(frame).unwrap().at;
                for index in at..frame.len() {
                    let mut wrong = frame.clone();
                    wrong[index] ^= 1;
                    assert_ne!(are_right(&wrong), Some(true), "{index} of {wrong:02x?}");
                    let is_of_payload = index >= frame.len() - 3;
                    seal(&mut wrong);
                    assert!(!is_of_payload || are_right(&wrong) == Some(true), "{index} of {wrong:02x?}");
                }
            }
        }
    }

    #[test]
    fn a_wrong_byte_in_a_quote_is_seen() {
        for who in [Who::V4, Who::V6] {
            let frame = WEB.to(who.remote).tcp(1, 2, 2, b"abc");
            let mut quoted = frame.clone();
            let last = quoted.len() - 1;
            quoted[last] ^= 1;
            let about = |frame: &[u8]| error_about(frame, who.router, who.port_unreachable, [0; 4], 100);
            assert_eq!(are_right(&about(&frame)), Some(true));
            assert_eq!(are_right(&about(&quoted)), Some(false));
        }
    }

    #[test]
    fn behind_extension_headers() {
        let ip = WEB.to(Who::V6.remote);
        let chain = vec![(HOP_BY_HOP, options(8)), (ROUTING, options(16)), (DESTINATION_OPTIONS, options(24))];
        let frame = Ip { extensions: chain, ..ip.clone() }.udp(1, 2, b"x");
        let expected = Upper { protocol: UDP, at: 54 + 48, end: frame.len(), is_fragment: false };
        assert_eq!((upper(&frame), are_right(&frame)), (Some(expected), Some(true)));
        let fragment = Ip { fragment: 0x2000, ..ip }.udp(1, 2, b"x");
        assert!(upper(&fragment).unwrap().is_fragment);
    }
}
