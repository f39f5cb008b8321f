//! What stands in a transport header, and how is it translated?

use crate::frame::{Readable, Wire};
use netd_common::drop::DropReason;
use netd_common::flow::FlowKey;
use netd_common::publish::{ICMP, ICMPV6, SCTP, TCP, UDP};

const TCP_SIZE_MIN: u32 = 20;
const UDP_SIZE: u32 = 8;
const ICMP_SIZE_MIN: u32 = 8;
/// SCTP's common header (RFC 9260 section 3.1).
const SCTP_SIZE: u32 = 12;

pub const TCP_FIN: u8 = 0x01;
pub const TCP_SYN: u8 = 0x02;
pub const TCP_RST: u8 = 0x04;
pub const TCP_ACK: u8 = 0x10;

/// Message types of ICMP (RFC 792) and ICMPv6 (RFC 4443, RFC 4861).
pub const ICMP_ECHO_REPLY: u8 = 0;
pub const ICMP_UNREACHABLE: u8 = 3;
pub const ICMP_ECHO_REQUEST: u8 = 8;
pub const ICMP_TIME_EXCEEDED: u8 = 11;
pub const ICMP_PARAMETER_PROBLEM: u8 = 12;
pub const ICMPV6_UNREACHABLE: u8 = 1;
pub const ICMPV6_TOO_BIG: u8 = 2;
pub const ICMPV6_TIME_EXCEEDED: u8 = 3;
pub const ICMPV6_PARAMETER_PROBLEM: u8 = 4;
pub const ICMPV6_ECHO_REQUEST: u8 = 128;
pub const ICMPV6_ECHO_REPLY: u8 = 129;
pub const ICMPV6_ROUTER_SOLICITATION: u8 = 133;
pub const ICMPV6_NEIGHBOUR_SOLICITATION: u8 = 135;
pub const ICMPV6_NEIGHBOUR_ADVERTISEMENT: u8 = 136;
pub const ICMPV6_REDIRECT: u8 = 137;

/// Where the checksum stands in its header.
const TCP_CHECKSUM: u32 = 16;
const UDP_CHECKSUM: u32 = 6;
const ICMP_CHECKSUM: u32 = 2;
/// Where the identifier of an ICMP echo stands.
const ICMP_IDENTIFIER: u32 = 4;

/// The first eight bytes of a transport header: ports and UDP's length, or an ICMP message's type and identifier.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Start {
    pub bytes: [u8; 8],
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

impl Start {
    pub const SIZE: u32 = size_of::<Self>() as u32;
}

// SAFETY: made of byte arrays.
unsafe impl Wire for Start {}
// SAFETY: as above.
unsafe impl Wire for TcpStart {}

/// What the headers say beside the tuple, and where the transport's stands.
///
/// Numbers and not enums, since it is kept in [`crate::tables::Room`]: what the verifier has forgotten it need not follow
/// through every branch behind, and what is read back may be anything.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Packet {
    /// Offset of the transport header.
    pub transport: u32,
    /// Bytes from there to the end of the IP packet.
    pub size: u32,
    /// What a datagram's fragments share.
    pub fragment_id: u32,
    /// Where this fragment's payload belongs in the datagram's, in bytes.
    pub fragment_offset: u16,
    pub is_fragment: u8,
    pub kind: u8,
    /// 0 for anything but TCP.
    pub tcp_flags: u8,
    /// Time to live, or hop limit.
    pub ttl: u8,
    /// Bytes of the transport header, of protocols that segments are made of.
    pub header_len: u8,
    pub pad: u8,
}

/// How the transport is translated.
#[repr(u8)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A protocol without ports that netd knows.
    Unknown,
    Tcp,
    Udp,
    /// Its checksum (CRC32c) covers the ports, so they stay; the addresses it does not cover.
    Sctp,
    EchoRequest,
    EchoReply,
    /// An ICMP message about another packet, which it quotes.
    IcmpError,
    /// Neighbour discovery.
    Neighbour,
    /// ICMP that is none of these.
    IcmpOther,
    /// A fragment behind the first: no transport header, and nothing known of the first.
    LaterFragment,
    /// A fragment behind the first, whose ports are known from it. Only the addresses are translated.
    Followed,
}

impl Kind {
    /// Whether flows of it can be translated.
    #[inline(always)]
    #[must_use]
    pub const fn is_translatable(self) -> bool {
        match self {
            Self::Tcp | Self::Udp | Self::Sctp | Self::EchoRequest | Self::EchoReply | Self::Followed => true,
            Self::Unknown | Self::IcmpError | Self::Neighbour | Self::IcmpOther | Self::LaterFragment => false,
        }
    }

    /// Offset of the checksum from the start of the transport header.
    #[inline(always)]
    #[must_use]
    pub const fn checksum(self) -> u32 {
        match self {
            Self::Tcp => TCP_CHECKSUM,
            Self::Udp => UDP_CHECKSUM,
            _ => ICMP_CHECKSUM,
        }
    }

    /// Offset of the echo identifier from the start of the transport header.
    pub const IDENTIFIER: u32 = ICMP_IDENTIFIER;

    #[inline(always)]
    const fn of_icmp(icmp_type: u8) -> Self {
        match icmp_type {
            ICMP_ECHO_REQUEST => Self::EchoRequest,
            ICMP_ECHO_REPLY => Self::EchoReply,
            ICMP_UNREACHABLE | ICMP_TIME_EXCEEDED | ICMP_PARAMETER_PROBLEM => Self::IcmpError,
            _ => Self::IcmpOther,
        }
    }

    #[inline(always)]
    const fn of_icmpv6(icmp_type: u8) -> Self {
        match icmp_type {
            ICMPV6_ECHO_REQUEST => Self::EchoRequest,
            ICMPV6_ECHO_REPLY => Self::EchoReply,
            ICMPV6_UNREACHABLE..=ICMPV6_PARAMETER_PROBLEM => Self::IcmpError,
            ICMPV6_ROUTER_SOLICITATION..=ICMPV6_REDIRECT => Self::Neighbour,
            _ => Self::IcmpOther,
        }
    }

    /// The kind of an ICMP message of either family.
    #[inline(always)]
    #[must_use]
    pub const fn of_message(protocol: u8, icmp_type: u8) -> Self {
        if protocol == ICMPV6 { Self::of_icmpv6(icmp_type) } else { Self::of_icmp(icmp_type) }
    }
}

impl Packet {
    #[inline(always)]
    #[must_use]
    pub const fn kind(&self) -> Kind {
        match self.kind {
            1 => Kind::Tcp,
            2 => Kind::Udp,
            3 => Kind::Sctp,
            4 => Kind::EchoRequest,
            5 => Kind::EchoReply,
            6 => Kind::IcmpError,
            7 => Kind::Neighbour,
            8 => Kind::IcmpOther,
            9 => Kind::LaterFragment,
            10 => Kind::Followed,
            _ => Kind::Unknown,
        }
    }

    /// Part of a larger datagram (RFC 791 section 2.3).
    #[inline(always)]
    #[must_use]
    pub const fn is_fragment(&self) -> bool {
        self.is_fragment != 0
    }

    /// A part that is not the first, and so has no transport header.
    #[inline(always)]
    #[must_use]
    pub const fn is_later_fragment(&self) -> bool {
        self.fragment_offset != 0
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

/// Reads the transport header at `packet.transport`, of the protocol that `key` names, and writes the ports to `key`: the
/// echo identifier on the asking side and 0 on the other; 0 where there are none.
///
/// # Errors
/// [`DropReason::Malformed`] when a header that must be there is not.
#[inline(always)]
pub fn read<F: Readable>(frame: &F, key: &mut FlowKey, packet: &mut Packet) -> Result<(), DropReason> {
    let Packet { transport, size, .. } = *packet;
    key.source_port = 0;
    key.destination_port = 0;
    match key.protocol {
        TCP => {
            let tcp = frame.load::<TcpStart>(transport).ok_or(DropReason::Malformed)?;
            let header_len = (u32::from(tcp.data_offset) >> 4) * 4;
            if header_len < TCP_SIZE_MIN || size < header_len {
                return Err(DropReason::Malformed);
            }
            set_ports(key, tcp.ports);
            packet.tcp_flags = tcp.flags;
            packet.header_len = header_len as u8;
            packet.kind = Kind::Tcp as u8;
            return Ok(());
        }
        UDP | ICMP | ICMPV6 | SCTP => {}
        _ => return Ok(()),
    }
    let start = frame.load::<Start>(transport).ok_or(DropReason::Malformed)?;
    let is_too_short = match key.protocol {
        UDP => {
            let [_, _, _, _, high, low, ..] = start.bytes;
            let len = u32::from(u16::from_be_bytes([high, low]));
            // A segmentation-offloaded or fragmented datagram's length is that of the whole, or 0 (RFC 2675).
            size < UDP_SIZE || (len < UDP_SIZE && len != 0) || (!packet.is_fragment() && len > size)
        }
        SCTP => size < SCTP_SIZE,
        _ => size < ICMP_SIZE_MIN,
    };
    if is_too_short {
        return Err(DropReason::Malformed);
    }
    packet.header_len = UDP_SIZE as u8;
    packet.kind = quoted(&start, key) as u8;
    Ok(())
}

/// The kind of a header of which only the first eight bytes are known, as an ICMP error quotes it, with its ports in
/// `key`.
#[inline(always)]
pub const fn quoted(start: &Start, key: &mut FlowKey) -> Kind {
    let [icmp_type, b, c, d, id_high, id_low, ..] = start.bytes;
    key.source_port = 0;
    key.destination_port = 0;
    match key.protocol {
        TCP | UDP | SCTP => {
            set_ports(key, [icmp_type, b, c, d]);
            match key.protocol {
                TCP => Kind::Tcp,
                UDP => Kind::Udp,
                _ => Kind::Sctp,
            }
        }
        ICMP | ICMPV6 => {
            let kind = Kind::of_message(key.protocol, icmp_type);
            let id = u16::from_be_bytes([id_high, id_low]);
            match kind {
                Kind::EchoRequest => key.source_port = id,
                Kind::EchoReply => key.destination_port = id,
                _ => {}
            }
            kind
        }
        _ => Kind::Unknown,
    }
}

#[inline(always)]
const fn set_ports(key: &mut FlowKey, [a, b, c, d]: [u8; 4]) {
    key.source_port = u16::from_be_bytes([a, b]);
    key.destination_port = u16::from_be_bytes([c, d]);
}
