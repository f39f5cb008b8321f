//! How is a frame built, checksums included?

use super::checksum::checksum;
use netd_common::Addr;
use netd_common::publish::{ICMP, ICMPV6, TCP, UDP};

/// An IP packet to be built, of the family of its addresses.
#[derive(Clone, Debug)]
pub struct Ip {
    pub from_mac: [u8; 6],
    pub to_mac: [u8; 6],
    pub from: Addr,
    pub to: Addr,
    /// Or the hop limit.
    pub ttl: u8,
    /// Or the traffic class.
    pub tos: u8,
    /// Flags and fragment offset, host order, as IPv4 has them: 0x2000 says that more follow. In IPv6, any but 0 makes a
    /// fragment header.
    pub fragment: u16,
    pub id: u16,
    /// IPv4 options, a multiple of four bytes.
    pub options: Vec<u8>,
    /// IPv6 extension headers before the fragment header: each its type and its bytes, the first of which is overwritten
    /// with the type of what follows.
    pub extensions: Vec<(u8, Vec<u8>)>,
}

impl Default for Ip {
    fn default() -> Self {
        Self {
            from_mac: [0; 6],
            to_mac: [0; 6],
            from: Addr::ANY_V4,
            to: Addr::ANY_V4,
            ttl: 64,
            tos: 0,
            fragment: 0,
            id: 0x1234,
            options: Vec::new(),
            extensions: Vec::new(),
        }
    }
}

/// IPv4's option for "nothing" (RFC 791 section 3.1).
const NO_OPERATION: u8 = 1;
pub const HOP_BY_HOP: u8 = 0;
pub const ROUTING: u8 = 43;
pub const FRAGMENT_HEADER: u8 = 44;
pub const AUTHENTICATION: u8 = 51;
pub const DESTINATION_OPTIONS: u8 = 60;

/// An extension header of IPv6 of this many bytes, a multiple of eight, with padding in it (RFC 8200 section 4.2).
#[must_use]
pub fn options(len: u8) -> Vec<u8> {
    let mut bytes = vec![0; len.into()];
    bytes[1..4].copy_from_slice(&[len / 8 - 1, 1, len - 4]);
    bytes
}

impl Ip {
    /// With IPv4 options, or an extension header with options for the destination, that say nothing: `len` bytes, a
    /// multiple of four.
    #[must_use]
    pub fn with_options(&self, len: u8) -> Self {
        let mut ip = self.clone();
        if ip.from.is_v4() {
            ip.options = vec![NO_OPERATION; len.into()];
        } else {
            ip.extensions.push((DESTINATION_OPTIONS, options(len.next_multiple_of(8))));
        }
        ip
    }

    /// A frame with this transport header and payload.
    #[must_use]
    pub fn frame(&self, protocol: u8, segment: &[u8]) -> Vec<u8> {
        let mut frame = Vec::new();
        frame.extend(self.to_mac);
        frame.extend(self.from_mac);
        frame.extend(if self.from.is_v4() { [0x08, 0x00] } else { [0x86, 0xdd] });
        frame.extend(self.packet(protocol, segment));
        frame
    }

    /// The packet without a link-layer header.
    #[must_use]
    pub fn packet(&self, protocol: u8, segment: &[u8]) -> Vec<u8> {
        if self.from.is_v4() { self.packet_v4(protocol, segment) } else { self.packet_v6(protocol, segment) }
    }

    fn packet_v4(&self, protocol: u8, segment: &[u8]) -> Vec<u8> {
        let header_len = 20 + self.options.len();
        let mut ip = vec![0x40 | (header_len / 4) as u8, self.tos];
        ip.extend(((header_len + segment.len()) as u16).to_be_bytes());
        ip.extend(self.id.to_be_bytes());
        ip.extend(self.fragment.to_be_bytes());
        ip.extend([self.ttl, protocol, 0, 0]);
        ip.extend(self.from.octets_v4());
        ip.extend(self.to.octets_v4());
        ip.extend(&self.options);
        let sum = checksum(&ip);
        ip[10..12].copy_from_slice(&sum);
        ip.extend(segment);
        ip
    }

    fn packet_v6(&self, protocol: u8, segment: &[u8]) -> Vec<u8> {
        let mut extensions = self.extensions.clone();
        if self.fragment != 0 {
            let [high, low] = ((self.fragment & 0x1fff) << 3 | u16::from(self.fragment & 0x2000 != 0)).to_be_bytes();
            let [id_high, id_low] = self.id.to_be_bytes();
            extensions.push((FRAGMENT_HEADER, vec![0, 0, high, low, 0, 0, id_high, id_low]));
        }
        let mut next_headers: Vec<u8> = extensions.iter().map(|(header, _)| *header).collect();
        next_headers.push(protocol);
        let mut payload = Vec::new();
        for ((_, mut bytes), next) in extensions.into_iter().zip(next_headers.iter().skip(1)) {
            bytes[0] = *next;
            payload.extend(bytes);
        }
        payload.extend(segment);
        let mut ip = vec![0x60 | self.tos >> 4, self.tos << 4, 0, 0];
        ip.extend((payload.len() as u16).to_be_bytes());
        ip.extend([next_headers[0], self.ttl]);
        ip.extend(self.from.bytes);
        ip.extend(self.to.bytes);
        ip.extend(payload);
        ip
    }

    #[must_use]
    pub fn tcp(&self, from_port: u16, to_port: u16, flags: u8, payload: &[u8]) -> Vec<u8> {
        self.frame(TCP, &self.tcp_segment(from_port, to_port, flags, payload))
    }

    #[must_use]
    pub fn tcp_segment(&self, from_port: u16, to_port: u16, flags: u8, payload: &[u8]) -> Vec<u8> {
        let mut segment = Vec::new();
        segment.extend(from_port.to_be_bytes());
        segment.extend(to_port.to_be_bytes());
        segment.extend([0, 0, 0, 1, 0, 0, 0, 2, 0x50, flags, 0xff, 0xff, 0, 0, 0, 0]);
        segment.extend(payload);
        let sum = self.transport_checksum(TCP, &segment);
        segment[16..18].copy_from_slice(&sum);
        segment
    }

    #[must_use]
    pub fn udp(&self, from_port: u16, to_port: u16, payload: &[u8]) -> Vec<u8> {
        self.frame(UDP, &self.udp_segment(from_port, to_port, payload))
    }

    #[must_use]
    pub fn udp_segment(&self, from_port: u16, to_port: u16, payload: &[u8]) -> Vec<u8> {
        let mut segment = Vec::new();
        segment.extend(from_port.to_be_bytes());
        segment.extend(to_port.to_be_bytes());
        segment.extend(((8 + payload.len()) as u16).to_be_bytes());
        segment.extend([0, 0]);
        segment.extend(payload);
        let sum = match self.transport_checksum(UDP, &segment) {
            [0, 0] => [0xff, 0xff],
            sum => sum,
        };
        segment[6..8].copy_from_slice(&sum);
        segment
    }

    /// An ICMP message with an identifier, such as an echo. `icmp_type` is of the packet's family.
    #[must_use]
    pub fn icmp(&self, icmp_type: u8, id: u16, payload: &[u8]) -> Vec<u8> {
        let [high, low] = id.to_be_bytes();
        self.message(icmp_type, 0, [high, low, 0, 1], payload)
    }

    /// An echo request, or the reply.
    #[must_use]
    pub fn echo(&self, is_request: bool, id: u16, payload: &[u8]) -> Vec<u8> {
        let icmp_type = match (self.from.is_v4(), is_request) {
            (true, true) => 8,
            (true, false) => 0,
            (false, true) => 128,
            (false, false) => 129,
        };
        self.icmp(icmp_type, id, payload)
    }

    /// An ICMP message: the four bytes behind the checksum are `rest`.
    #[must_use]
    pub fn message(&self, icmp_type: u8, code: u8, rest: [u8; 4], payload: &[u8]) -> Vec<u8> {
        let protocol = if self.from.is_v4() { ICMP } else { ICMPV6 };
        let mut segment = vec![icmp_type, code, 0, 0];
        segment.extend(rest);
        segment.extend(payload);
        let sum = if protocol == ICMP { checksum(&segment) } else { self.transport_checksum(protocol, &segment) };
        segment[2..4].copy_from_slice(&sum);
        self.frame(protocol, &segment)
    }

    fn transport_checksum(&self, protocol: u8, segment: &[u8]) -> [u8; 2] {
        let mut all = self.from.bytes.to_vec();
        all.extend(self.to.bytes);
        if self.from.is_v4() {
            all = self.from.octets_v4().to_vec();
            all.extend(self.to.octets_v4());
        }
        all.extend([0, protocol]);
        all.extend((segment.len() as u16).to_be_bytes());
        all.extend(segment);
        checksum(&all)
    }
}

/// An ARP message for Ethernet and IPv4 (RFC 826).
#[derive(Clone, Copy, Debug)]
pub struct Arp {
    pub to_mac: [u8; 6],
    /// 1 asks, 2 answers.
    pub operation: u8,
    pub sender_mac: [u8; 6],
    pub sender: Addr,
    pub target_mac: [u8; 6],
    pub target: Addr,
}

impl Arp {
    /// Who has `target`? To everybody.
    #[must_use]
    pub const fn request(sender_mac: [u8; 6], sender: Addr, target: Addr) -> Self {
        Self { to_mac: [0xff; 6], operation: 1, sender_mac, sender, target_mac: [0; 6], target }
    }

    #[must_use]
    pub fn frame(&self) -> Vec<u8> {
        let mut frame = Vec::new();
        frame.extend(self.to_mac);
        frame.extend(self.sender_mac);
        frame.extend([0x08, 0x06, 0, 1, 0x08, 0, 6, 4, 0, self.operation]);
        frame.extend(self.sender_mac);
        frame.extend(self.sender.octets_v4());
        frame.extend(self.target_mac);
        frame.extend(self.target.octets_v4());
        frame
    }
}

/// The frame that answers this one: addresses and ports exchanged, an echo request made a reply, a SYN or a segment made
/// what TCP says next. From a frame without options or extension headers.
#[must_use]
pub fn answer_to(frame: &[u8], payload: &[u8]) -> Vec<u8> {
    let Whole { from, to, protocol, transport: at } = whole(frame);
    let [source_port, destination_port] = [port(frame, at), port(frame, at + 2)];
    let ip = Ip { from_mac: six(frame, 0), to_mac: six(frame, 6), from: to, to: from, ttl: 60, ..Ip::default() };
    match protocol {
        TCP if frame[at + 13] & 0x12 == 0x02 => ip.tcp(destination_port, source_port, 0x12, payload),
        TCP => ip.tcp(destination_port, source_port, 0x10, payload),
        UDP => ip.udp(destination_port, source_port, payload),
        _ => ip.echo(false, port(frame, at + 4), payload),
    }
}

/// An ICMP error about this frame, from `router` and back to where it came from, that quotes `len` bytes of its packet.
#[must_use]
pub fn error_about(frame: &[u8], router: Addr, (icmp_type, code): (u8, u8), rest: [u8; 4], len: usize) -> Vec<u8> {
    let Whole { from, .. } = whole(frame);
    let ip = Ip { from_mac: six(frame, 0), to_mac: six(frame, 6), from: router, to: from, ttl: 60, ..Ip::default() };
    let quote = &frame[14..];
    ip.message(icmp_type, code, rest, &quote[..len.min(quote.len())])
}

struct Whole {
    from: Addr,
    to: Addr,
    protocol: u8,
    /// Offset of the transport header.
    transport: usize,
}

fn whole(frame: &[u8]) -> Whole {
    if frame[12..14] == [0x86, 0xdd] {
        let address = |at| Addr::v6(std::array::from_fn(|index| frame[at + index]));
        return Whole { from: address(22), to: address(38), protocol: frame[20], transport: 54 };
    }
    let address = |at| Addr::v4(std::array::from_fn(|index| frame[at + index]));
    Whole { from: address(26), to: address(30), protocol: frame[23], transport: 34 }
}

/// The frame with this time to live, and the checksum that goes with it.
#[must_use]
pub fn aged(mut frame: Vec<u8>, ttl: u8) -> Vec<u8> {
    if frame[12..14] == [0x86, 0xdd] {
        frame[21] = ttl;
        return frame;
    }
    let header_end = 14 + usize::from(frame[14] & 0x0f) * 4;
    if header_end > frame.len() {
        // Damaged, and has no checksum to be right.
        return frame;
    }
    frame[22] = ttl;
    frame[24..26].fill(0);
    let sum = checksum(&frame[14..header_end]);
    frame[24..26].copy_from_slice(&sum);
    frame
}

fn port(frame: &[u8], at: usize) -> u16 {
    u16::from_be_bytes([frame[at], frame[at + 1]])
}

fn six(frame: &[u8], at: usize) -> [u8; 6] {
    std::array::from_fn(|index| frame[at + index])
}
