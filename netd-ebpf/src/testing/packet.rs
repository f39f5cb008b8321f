//! How is a frame built, checksums included?
//!
//! The arithmetic here is written from the RFCs and not shared with the programs, so that a mistake there is seen.

use netd_common::publish::{ICMP, TCP, UDP};

/// An IPv4 packet to be built.
#[derive(Clone, Debug)]
pub struct Ip {
    pub from_mac: [u8; 6],
    pub to_mac: [u8; 6],
    pub from: [u8; 4],
    pub to: [u8; 4],
    pub ttl: u8,
    pub tos: u8,
    /// Flags and fragment offset, host order.
    pub fragment: u16,
    /// IPv4 options, a multiple of four bytes.
    pub options: Vec<u8>,
}

impl Default for Ip {
    fn default() -> Self {
        Self {
            from_mac: [0; 6],
            to_mac: [0; 6],
            from: [0; 4],
            to: [0; 4],
            ttl: 64,
            tos: 0,
            fragment: 0,
            options: Vec::new(),
        }
    }
}

impl Ip {
    /// A frame with this transport header and payload.
    #[must_use]
    pub fn frame(&self, protocol: u8, segment: &[u8]) -> Vec<u8> {
        let header_len = 20 + self.options.len();
        let mut ip = vec![0x40 | (header_len / 4) as u8, self.tos];
        ip.extend(((header_len + segment.len()) as u16).to_be_bytes());
        ip.extend([0x12, 0x34]);
        ip.extend(self.fragment.to_be_bytes());
        ip.extend([self.ttl, protocol, 0, 0]);
        ip.extend(self.from);
        ip.extend(self.to);
        ip.extend(&self.options);
        let sum = checksum(&ip);
        ip[10..12].copy_from_slice(&sum);
        let mut frame = Vec::new();
        frame.extend(self.to_mac);
        frame.extend(self.from_mac);
        frame.extend([0x08, 0x00]);
        frame.extend(ip);
        frame.extend(segment);
        frame
    }

    #[must_use]
    pub fn tcp(&self, from_port: u16, to_port: u16, flags: u8, payload: &[u8]) -> Vec<u8> {
        let mut segment = Vec::new();
        segment.extend(from_port.to_be_bytes());
        segment.extend(to_port.to_be_bytes());
        segment.extend([0, 0, 0, 1, 0, 0, 0, 2, 0x50, flags, 0xff, 0xff, 0, 0, 0, 0]);
        segment.extend(payload);
        let sum = self.transport_checksum(TCP, &segment);
        segment[16..18].copy_from_slice(&sum);
        self.frame(TCP, &segment)
    }

    #[must_use]
    pub fn udp(&self, from_port: u16, to_port: u16, payload: &[u8]) -> Vec<u8> {
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
        self.frame(UDP, &segment)
    }

    /// An ICMP message with an identifier, such as an echo.
    #[must_use]
    pub fn icmp(&self, icmp_type: u8, id: u16, payload: &[u8]) -> Vec<u8> {
        let mut segment = vec![icmp_type, 0, 0, 0];
        segment.extend(id.to_be_bytes());
        segment.extend([0, 1]);
        segment.extend(payload);
        let sum = checksum(&segment);
        segment[2..4].copy_from_slice(&sum);
        self.frame(ICMP, &segment)
    }

    fn transport_checksum(&self, protocol: u8, segment: &[u8]) -> [u8; 2] {
        let mut all = Vec::new();
        all.extend(self.from);
        all.extend(self.to);
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
    pub sender: [u8; 4],
    pub target_mac: [u8; 6],
    pub target: [u8; 4],
}

impl Arp {
    /// Who has `target`? To everybody.
    #[must_use]
    pub const fn request(sender_mac: [u8; 6], sender: [u8; 4], target: [u8; 4]) -> Self {
        Self { to_mac: [0xff; 6], operation: 1, sender_mac, sender, target_mac: [0; 6], target }
    }

    #[must_use]
    pub fn frame(&self) -> Vec<u8> {
        let mut frame = Vec::new();
        frame.extend(self.to_mac);
        frame.extend(self.sender_mac);
        frame.extend([0x08, 0x06, 0, 1, 0x08, 0, 6, 4, 0, self.operation]);
        frame.extend(self.sender_mac);
        frame.extend(self.sender);
        frame.extend(self.target_mac);
        frame.extend(self.target);
        frame
    }
}

/// The frame that answers this one: addresses and ports exchanged, an echo request made a reply, a SYN or a segment made
/// what TCP says next. From an IPv4 frame without options.
#[must_use]
pub fn answer_to(frame: &[u8], payload: &[u8]) -> Vec<u8> {
    let [source_port, destination_port] = [port(frame, 34), port(frame, 36)];
    let ip = Ip {
        from_mac: six(frame, 0),
        to_mac: six(frame, 6),
        from: four(frame, 30),
        to: four(frame, 26),
        ttl: 60,
        ..Ip::default()
    };
    match frame[23] {
        TCP if frame[47] & 0x12 == 0x02 => ip.tcp(destination_port, source_port, 0x12, payload),
        TCP => ip.tcp(destination_port, source_port, 0x10, payload),
        UDP => ip.udp(destination_port, source_port, payload),
        _ => ip.icmp(0, port(frame, 38), payload),
    }
}

/// The IPv4 frame with this time to live, and the checksum that goes with it.
#[must_use]
pub fn aged(mut frame: Vec<u8>, ttl: u8) -> Vec<u8> {
    let header_end = 14 + usize::from(frame[14] & 0x0f) * 4;
    frame[22] = ttl;
    frame[24..26].fill(0);
    let sum = checksum(&frame[14..header_end]);
    frame[24..26].copy_from_slice(&sum);
    frame
}

fn port(frame: &[u8], at: usize) -> u16 {
    u16::from_be_bytes([frame[at], frame[at + 1]])
}

fn four(frame: &[u8], at: usize) -> [u8; 4] {
    std::array::from_fn(|index| frame[at + index])
}

fn six(frame: &[u8], at: usize) -> [u8; 6] {
    std::array::from_fn(|index| frame[at + index])
}

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

/// Whether the IPv4 header's and the transport's checksum of a whole, unfragmented frame are right. A UDP checksum of
/// zero is none, and right.
#[must_use]
pub fn has_right_checksums(frame: &[u8]) -> bool {
    let ip = &frame[14..];
    let header_len = usize::from(ip[0] & 0x0f) * 4;
    let segment = &ip[header_len..];
    let is_right = |bytes: &[u8]| checksum(bytes) == [0, 0];
    if !is_right(&ip[..header_len]) {
        return false;
    }
    match ip[9] {
        ICMP => is_right(segment),
        UDP if segment[6..8] == [0, 0] => true,
        TCP | UDP => {
            let mut all = ip[12..20].to_vec();
            all.extend([0, ip[9]]);
            all.extend((segment.len() as u16).to_be_bytes());
            all.extend(segment);
            is_right(&all)
        }
        _ => true,
    }
}
