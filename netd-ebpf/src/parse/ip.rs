//! What stands in an IP header?

use super::ETHERNET_SIZE;
use crate::frame::Wire;
use netd_common::Addr;
use netd_common::drop::DropReason;

pub const IPV4_SIZE_MIN: u32 = 20;
pub const IPV6_SIZE: u32 = 40;

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

/// IPv6 (RFC 8200 section 3). The addresses are [`Addr`]s, which are compared and copied in place, four bytes at a time.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Ipv6 {
    /// Version, traffic class and flow label.
    pub version_class_flow: [u8; 4],
    pub payload_len: [u8; 2],
    pub next_header: u8,
    pub hop_limit: u8,
    pub source: Addr,
    pub destination: Addr,
}

// SAFETY: made of byte arrays.
unsafe impl Wire for Ipv4 {}
// SAFETY: as above.
unsafe impl Wire for Ipv6 {}

/// "Don't fragment" among the bits of [`Ipv4::fragment`].
pub const DONT_FRAGMENT: u16 = 0x4000;

impl Ipv4 {
    /// Bytes of the header, options included.
    #[inline(always)]
    #[must_use]
    pub const fn header_len(&self) -> u32 {
        (self.version_ihl as u32 & 0x0f) * 4
    }

    /// Bytes of the packet. A BIG TCP segment (Linux 6.3) has a length of 0, since 16 bits do not hold it; it is then what
    /// the frame says.
    #[inline(always)]
    #[must_use]
    pub const fn total_len(&self, frame_len: u32) -> u32 {
        let room = frame_len.saturating_sub(ETHERNET_SIZE);
        match u16::from_be_bytes(self.total_len) {
            0 if room > u16::MAX as u32 => room,
            total_len => total_len as u32,
        }
    }

    /// # Errors
    /// [`DropReason::Malformed`] when it contradicts itself or the frame.
    #[inline(always)]
    pub const fn check(&self, frame_len: u32) -> Result<(), DropReason> {
        let total_len = self.total_len(frame_len);
        let header_len = self.header_len();
        if self.version_ihl >> 4 != 4
            || header_len < IPV4_SIZE_MIN
            || total_len < header_len
            || total_len > frame_len.saturating_sub(ETHERNET_SIZE)
        {
            return Err(DropReason::Malformed);
        }
        Ok(())
    }

    /// The fragment's offset in bytes, and whether more fragments follow.
    #[inline(always)]
    #[must_use]
    pub const fn fragment(&self) -> (u16, bool) {
        let bits = u16::from_be_bytes(self.fragment);
        ((bits & 0x1fff) << 3, bits & 0x2000 != 0)
    }
}

impl Ipv6 {
    /// Bytes behind the header. A jumbogram (RFC 2675), as BIG TCP makes them, has a length of 0; it is then what the frame
    /// says.
    #[inline(always)]
    #[must_use]
    pub const fn payload_len(&self, frame_len: u32) -> u32 {
        let room = frame_len.saturating_sub(ETHERNET_SIZE + IPV6_SIZE);
        match u16::from_be_bytes(self.payload_len) {
            0 if room > u16::MAX as u32 => room,
            len => len as u32,
        }
    }

    /// # Errors
    /// [`DropReason::Malformed`] when it contradicts itself or the frame.
    #[inline(always)]
    pub const fn check(&self, frame_len: u32) -> Result<(), DropReason> {
        let [version, ..] = self.version_class_flow;
        if version >> 4 != 6 || self.payload_len(frame_len) > frame_len.saturating_sub(ETHERNET_SIZE + IPV6_SIZE) {
            return Err(DropReason::Malformed);
        }
        Ok(())
    }
}
