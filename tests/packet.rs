//! What stands in an IP packet that no socket would send?
//!
//! Of either family, with the fields that tests set; the checksums are right. [`Wire::send_to`] puts it into a frame.

use crate::frame::{Wire, sum};
use std::net::IpAddr;

pub const ICMP: u8 = 1;
pub const TCP: u8 = 6;
pub const UDP: u8 = 17;
pub const GRE: u8 = 47;
pub const ESP: u8 = 50;
pub const ICMPV6: u8 = 58;
pub const SCTP: u8 = 132;
/// Flags of TCP.
pub const SYN: u8 = 0x02;
pub const RST: u8 = 0x04;
/// The next header of a fragment in IPv6.
const FRAGMENT: u8 = 44;

/// An IP header. Both addresses are of one family.
#[derive(Clone, Debug)]
pub struct Ip {
    pub source: IpAddr,
    pub destination: IpAddr,
    /// Time to live, or hop limit.
    pub hops: u8,
    /// DSCP and ECN: the type of service, or the traffic class.
    pub class: u8,
    /// What the fragments of a datagram share; of IPv4, the lower 16 bits.
    pub id: u32,
    /// IPv4 options, a multiple of four bytes.
    pub options: Vec<u8>,
}

impl Ip {
    #[must_use]
    pub fn new(source: impl Into<IpAddr>, destination: impl Into<IpAddr>) -> Self {
        let (source, destination) = (source.into(), destination.into());
        Self { source, destination, hops: 64, class: 0, id: 0, options: Vec::new() }
    }

    /// The same way back.
    #[must_use]
    pub fn back(&self) -> Self {
        Self { source: self.destination, destination: self.source, ..self.clone() }
    }

    /// A whole packet.
    #[must_use]
    pub fn packet(&self, protocol: u8, payload: &[u8]) -> Vec<u8> {
        match (self.source, self.destination) {
            (IpAddr::V4(_), IpAddr::V4(_)) => self.v4(protocol, payload, 0),
            _ => self.v6(protocol, payload),
        }
    }

    /// The part of a datagram that begins at `offset`, a multiple of eight; whether more follow.
    #[must_use]
    pub fn fragment(&self, protocol: u8, offset: usize, part: &[u8], has_more: bool) -> Vec<u8> {
        assert!(offset.is_multiple_of(8), "a fragment begins at a multiple of eight bytes");
        let offset = u16::try_from(offset).expect("an offset in a datagram");
        match self.source {
            IpAddr::V4(_) => self.v4(protocol, part, (offset / 8) | (u16::from(has_more) << 13)),
            IpAddr::V6(_) => {
                let mut payload = vec![protocol, 0];
                payload.extend((offset | u16::from(has_more)).to_be_bytes());
                payload.extend(self.id.to_be_bytes());
                payload.extend(part);
                self.v6(FRAGMENT, &payload)
            }
        }
    }

    fn v4(&self, protocol: u8, payload: &[u8], fragment: u16) -> Vec<u8> {
        let header = 20 + self.options.len();
        let length = u16::try_from(header + payload.len()).expect("a packet's length");
        let mut packet = vec![0x40 | u8::try_from(header / 4).expect("a header's length"), self.class];
        packet.extend(length.to_be_bytes());
        packet.extend(&self.id.to_be_bytes()[2..]);
        packet.extend(fragment.to_be_bytes());
        packet.extend([self.hops, protocol, 0, 0]);
        packet.extend(self.addresses());
        packet.extend(&self.options);
        let checksum = !sum(&[&packet]);
        packet[10..12].copy_from_slice(&checksum.to_be_bytes());
        packet.extend(payload);
        packet
    }

    fn v6(&self, next_header: u8, payload: &[u8]) -> Vec<u8> {
        let length = u16::try_from(payload.len()).expect("a packet's length");
        let mut packet = vec![0x60 | self.class >> 4, self.class << 4, 0, 0];
        packet.extend(length.to_be_bytes());
        packet.extend([next_header, self.hops]);
        packet.extend(self.addresses());
        packet.extend(payload);
        packet
    }

    /// A UDP header and its payload.
    #[must_use]
    pub fn udp(&self, source: u16, destination: u16, payload: &[u8]) -> Vec<u8> {
        let length = u16::try_from(8 + payload.len()).expect("a datagram's length");
        let mut datagram = [source, destination, length, 0].map(u16::to_be_bytes).concat();
        datagram.extend(payload);
        let checksum = self.checksum(UDP, &datagram);
        datagram[6..8].copy_from_slice(&checksum.to_be_bytes());
        datagram
    }

    /// A TCP header without options, and its payload. `flags` are the thirteenth byte (RFC 9293 section 3.1).
    #[must_use]
    pub fn tcp(
        &self,
        [source, destination]: [u16; 2],
        [sequence, ack]: [u32; 2],
        flags: u8,
        payload: &[u8],
    ) -> Vec<u8> {
        let mut segment = [source, destination].map(u16::to_be_bytes).concat();
        segment.extend([sequence, ack].map(u32::to_be_bytes).concat());
        segment.extend([0x50, flags, 0xff, 0xff, 0, 0, 0, 0]);
        segment.extend(payload);
        let checksum = self.checksum(TCP, &segment);
        segment[16..18].copy_from_slice(&checksum.to_be_bytes());
        segment
    }

    /// The checksum of a transport header whose own is zero. UDP's zero is written as ones (RFC 768).
    #[must_use]
    pub fn checksum(&self, protocol: u8, segment: &[u8]) -> u16 {
        let length = u32::try_from(segment.len()).expect("a packet's length").to_be_bytes();
        let pseudo = sum(&[&self.addresses(), &length, &[0, protocol]]);
        match !sum(&[&pseudo.to_be_bytes(), segment]) {
            0 if protocol == UDP => 0xffff,
            checksum => checksum,
        }
    }

    fn addresses(&self) -> Vec<u8> {
        match (self.source, self.destination) {
            (IpAddr::V4(source), IpAddr::V4(destination)) => [source.octets(), destination.octets()].concat(),
            (IpAddr::V6(source), IpAddr::V6(destination)) => [source.octets(), destination.octets()].concat(),
            (source, destination) => panic!("{source} and {destination} are of two families"),
        }
    }
}

impl Wire {
    /// Sends an IP packet in a frame to a MAC address.
    #[track_caller]
    pub fn send_to(&self, mac: [u8; 6], packet: &[u8]) {
        let ethertype = if packet[0] >> 4 == 4 { [0x08, 0x00] } else { [0x86, 0xdd] };
        let frame = [&mac[..], &self.mac, &ethertype, packet].concat();
        assert!(self.send(&frame), "the kernel refused a frame of {} bytes", frame.len());
    }
}
