//! What does a packet say it is?
//!
//! Two steps, each one load: [`head`] reads the link-layer and IPv4 headers, which is all that switching needs;
//! [`transport`] reads the ports, for packets that are routed. Any bytes give an answer, never a panic.

use crate::frame::{Frame, Wire};
use netd_common::Addr;
use netd_common::drop::DropReason;
use netd_common::flow::FlowKey;
use netd_common::publish::{ICMP, SCTP, TCP, UDP};

pub const ETHERTYPE_IPV4: [u8; 2] = [0x08, 0x00];
pub const ETHERTYPE_ARP: [u8; 2] = [0x08, 0x06];
pub const ETHERTYPE_IPV6: [u8; 2] = [0x86, 0xdd];

pub const ETHERNET_SIZE: u32 = 14;
const IPV4_SIZE_MIN: u32 = 20;
const TCP_SIZE_MIN: u32 = 20;
const UDP_SIZE: u32 = 8;
const ICMP_SIZE_MIN: u32 = 8;

pub const TCP_FIN: u8 = 0x01;
pub const TCP_SYN: u8 = 0x02;
pub const TCP_RST: u8 = 0x04;
pub const TCP_ACK: u8 = 0x10;

pub const ICMP_ECHO_REPLY: u8 = 0;
pub const ICMP_ECHO_REQUEST: u8 = 8;

/// Where the checksum stands in its header.
const TCP_CHECKSUM: u32 = 16;
const UDP_CHECKSUM: u32 = 6;
const ICMP_CHECKSUM: u32 = 2;
/// Where the identifier of an ICMP echo stands.
const ICMP_IDENTIFIER: u32 = 4;

/// Ethernet II (IEEE 802.3 clause 3).
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Ethernet {
    pub destination: [u8; 6],
    pub source: [u8; 6],
    pub ethertype: [u8; 2],
}

/// IPv4 without options (RFC 791 section 3.1).
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Ipv4 {
    pub version_ihl: u8,
    pub tos: u8,
    pub total_len: [u8; 2],
    pub id: [u8; 2],
    pub fragment: [u8; 2],
    pub ttl: u8,
    pub protocol: u8,
    pub checksum: [u8; 2],
    pub source: [u8; 4],
    pub destination: [u8; 4],
}

/// Both, since they are read and written in one call.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Head {
    pub ethernet: Ethernet,
    /// Meaningful when the ethertype says so.
    pub ipv4: Ipv4,
}

/// The first eight bytes of TCP, UDP or ICMP.
#[repr(C)]
#[derive(Clone, Copy)]
struct Start {
    bytes: [u8; 8],
}

/// The part of TCP with ports, data offset and flags (RFC 9293 section 3.1).
#[repr(C)]
#[derive(Clone, Copy)]
struct TcpStart {
    ports: [u8; 4],
    sequence: [u8; 8],
    data_offset: u8,
    flags: u8,
}

// SAFETY: each is made of byte arrays, or of types that are.
unsafe impl Wire for Ethernet {}
// SAFETY: as above.
unsafe impl Wire for Ipv4 {}
// SAFETY: as above.
unsafe impl Wire for Head {}
// SAFETY: as above.
unsafe impl Wire for Start {}
// SAFETY: as above.
unsafe impl Wire for TcpStart {}
// SAFETY: bytes.
unsafe impl Wire for [u8; 2] {}
// SAFETY: bytes.
unsafe impl Wire for [u8; 4] {}

/// What the transport header says beside the tuple, and where it stands.
///
/// Numbers and not enums, since it is kept in [`crate::tables::Room`]: what the verifier has forgotten it need not follow
/// through every branch behind, and what is read back may be anything.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Packet {
    /// Offset of the transport header.
    pub transport: u32,
    /// 0 for anything but TCP.
    pub tcp_flags: u8,
    is_fragment: u8,
    kind: u8,
    pad: u8,
}

/// How the transport is translated.
#[repr(u8)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A protocol without ports that netd knows.
    Unknown,
    Tcp,
    Udp,
    EchoRequest,
    EchoReply,
    /// ICMP that is no echo.
    IcmpOther,
    /// A fragment behind the first: no transport header.
    LaterFragment,
}

impl Kind {
    /// Whether flows of it can be translated.
    #[inline(always)]
    #[must_use]
    pub const fn is_translatable(self) -> bool {
        match self {
            Self::Tcp | Self::Udp | Self::EchoRequest | Self::EchoReply => true,
            Self::IcmpOther | Self::Unknown | Self::LaterFragment => false,
        }
    }

    /// Offset of the checksum from the start of the transport header.
    #[inline(always)]
    #[must_use]
    pub const fn checksum(self) -> u32 {
        match self {
            Self::Tcp => TCP_CHECKSUM,
            Self::Udp => UDP_CHECKSUM,
            Self::EchoRequest | Self::EchoReply | Self::IcmpOther | Self::Unknown | Self::LaterFragment => {
                ICMP_CHECKSUM
            }
        }
    }

    /// Offset of the echo identifier from the start of the transport header.
    pub const IDENTIFIER: u32 = ICMP_IDENTIFIER;
}

impl Packet {
    #[inline(always)]
    #[must_use]
    pub const fn kind(&self) -> Kind {
        match self.kind {
            1 => Kind::Tcp,
            2 => Kind::Udp,
            3 => Kind::EchoRequest,
            4 => Kind::EchoReply,
            5 => Kind::IcmpOther,
            6 => Kind::LaterFragment,
            _ => Kind::Unknown,
        }
    }

    /// Part of a larger datagram (RFC 791 section 2.3).
    #[inline(always)]
    #[must_use]
    pub const fn is_fragment(&self) -> bool {
        self.is_fragment != 0
    }

    /// In TCP, whether this packet is not the first of its flow: the flow was lost, or slept past its timeout.
    #[inline(always)]
    #[must_use]
    pub fn is_resumed(&self) -> bool {
        self.kind() == Kind::Tcp && !self.is_syn()
    }

    /// A TCP segment that asks for a connection.
    #[inline(always)]
    #[must_use]
    pub const fn is_syn(&self) -> bool {
        self.tcp_flags & (TCP_SYN | TCP_ACK | TCP_RST) == TCP_SYN
    }

    /// A TCP segment that only answers: it never opens a flow.
    #[inline(always)]
    #[must_use]
    pub const fn is_syn_ack_or_reset(&self) -> bool {
        self.tcp_flags & TCP_RST != 0 || self.tcp_flags & (TCP_SYN | TCP_ACK) == TCP_SYN | TCP_ACK
    }
}

/// Reads the link-layer header and, where it follows, the IPv4 header.
///
/// # Errors
/// [`DropReason::Malformed`] when there is no whole header, or the IPv4 header contradicts itself or the length.
#[inline(always)]
pub fn head<F: Frame>(frame: &F, head: &mut Head) -> Result<(), DropReason> {
    if !frame.read(0, head) {
        // ARP and IPv4 are longer than this; another ethertype may be shorter.
        if !frame.read(0, &mut head.ethernet) || matches!(head.ethernet.ethertype, ETHERTYPE_IPV4 | ETHERTYPE_ARP) {
            return Err(DropReason::Malformed);
        }
    } else if head.ethernet.ethertype == ETHERTYPE_IPV4 {
        return head.ipv4.check(frame.len());
    }
    Ok(())
}

impl Ipv4 {
    #[inline(always)]
    const fn header_len(&self) -> u32 {
        (self.version_ihl as u32 & 0x0f) * 4
    }

    #[inline(always)]
    const fn check(&self, frame_len: u32) -> Result<(), DropReason> {
        let total_len = u16::from_be_bytes(self.total_len) as u32;
        let header_len = self.header_len();
        let room = frame_len.saturating_sub(ETHERNET_SIZE);
        // A BIG TCP segment (Linux 6.3) has a length of 0, since 16 bits do not hold it; it is then what the frame says.
        let total_len = if total_len == 0 && room > u16::MAX as u32 { room } else { total_len };
        if self.version_ihl >> 4 != 4 || header_len < IPV4_SIZE_MIN || total_len < header_len || total_len > room {
            return Err(DropReason::Malformed);
        }
        Ok(())
    }

    /// The fragment offset in units of eight bytes, and whether more fragments follow.
    #[inline(always)]
    const fn fragment(&self) -> (u16, bool) {
        let bits = u16::from_be_bytes(self.fragment);
        (bits & 0x1fff, bits & 0x2000 != 0)
    }
}

/// Reads the transport header of an IPv4 packet that is seen at `side` ([`FlowKey::side`]), and writes its tuple to `key`:
/// ports, or the echo identifier on the asking side and 0 on the other; 0 where there are none.
///
/// # Errors
/// [`DropReason::Malformed`] when a header that must be there is not.
#[inline(always)]
pub fn transport<F: Frame>(
    frame: &F,
    ipv4: &Ipv4,
    side: u8,
    key: &mut FlowKey,
    packet: &mut Packet,
) -> Result<(), DropReason> {
    let (fragment_offset, more_fragments) = ipv4.fragment();
    let offset = ETHERNET_SIZE + ipv4.header_len();
    key.source = Addr::v4(ipv4.source);
    key.destination = Addr::v4(ipv4.destination);
    key.source_port = 0;
    key.destination_port = 0;
    key.protocol = ipv4.protocol;
    key.side = side;
    key.pad = [0; 2];
    packet.transport = offset;
    packet.tcp_flags = 0;
    packet.is_fragment = u8::from(more_fragments || fragment_offset != 0);
    packet.kind = Kind::Unknown as u8;
    packet.pad = 0;
    if fragment_offset != 0 {
        packet.kind = Kind::LaterFragment as u8;
        return Ok(());
    }
    let total_len = match u32::from(u16::from_be_bytes(ipv4.total_len)) {
        0 => frame.len().saturating_sub(ETHERNET_SIZE),
        total_len => total_len,
    };
    let size = total_len.saturating_sub(ipv4.header_len());
    match ipv4.protocol {
        TCP => {
            let tcp = frame.load::<TcpStart>(offset).ok_or(DropReason::Malformed)?;
            let header_len = (u32::from(tcp.data_offset) >> 4) * 4;
            if header_len < TCP_SIZE_MIN || size < header_len {
                return Err(DropReason::Malformed);
            }
            set_ports(key, tcp.ports);
            packet.tcp_flags = tcp.flags;
            packet.kind = Kind::Tcp as u8;
        }
        UDP => {
            let udp = frame.load::<Start>(offset).ok_or(DropReason::Malformed)?;
            let [a, b, c, d, len_high, len_low, ..] = udp.bytes;
            let len = u32::from(u16::from_be_bytes([len_high, len_low]));
            // A segmentation-offloaded or fragmented datagram's length is that of the whole, or 0 (RFC 2675).
            if size < UDP_SIZE || (len < UDP_SIZE && len != 0) || (!packet.is_fragment() && len > size) {
                return Err(DropReason::Malformed);
            }
            set_ports(key, [a, b, c, d]);
            packet.kind = Kind::Udp as u8;
        }
        ICMP => {
            let icmp = frame.load::<Start>(offset).ok_or(DropReason::Malformed)?;
            if size < ICMP_SIZE_MIN {
                return Err(DropReason::Malformed);
            }
            let [icmp_type, _, _, _, id_high, id_low, ..] = icmp.bytes;
            let id = u16::from_be_bytes([id_high, id_low]);
            match icmp_type {
                ICMP_ECHO_REQUEST => {
                    key.source_port = id;
                    packet.kind = Kind::EchoRequest as u8;
                }
                ICMP_ECHO_REPLY => {
                    key.destination_port = id;
                    packet.kind = Kind::EchoReply as u8;
                }
                _ => packet.kind = Kind::IcmpOther as u8,
            }
        }
        SCTP => {
            // The ports stand where TCP has them; the checksum (CRC32c) covers them, so they cannot be changed.
            let sctp = frame.load::<[u8; 4]>(offset).ok_or(DropReason::Malformed)?;
            set_ports(key, sctp);
        }
        _ => {}
    }
    Ok(())
}

#[inline(always)]
const fn set_ports(key: &mut FlowKey, [a, b, c, d]: [u8; 4]) {
    key.source_port = u16::from_be_bytes([a, b]);
    key.destination_port = u16::from_be_bytes([c, d]);
}
