//! Which container port answers at a port of the host?

use crate::Addr;

/// IP protocol numbers (IANA assigned), as they stand in packets and in keys.
pub const ICMP: u8 = 1;
pub const TCP: u8 = 6;
pub const UDP: u8 = 17;
pub const ICMPV6: u8 = 58;
pub const SCTP: u8 = 132;

/// Key of `PUBLISHED`.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PublishKey {
    /// An address of the host, or [`Addr::ANY_V4`] / [`Addr::ANY_V6`]. An exact address is looked up first.
    pub address: Addr,
    /// The port of the host.
    pub port: u16,
    /// [`TCP`], [`UDP`] or [`SCTP`].
    pub protocol: u8,
    pub pad: u8,
}

/// Value of `PUBLISHED`: the container that answers.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Publish {
    /// The container's address.
    pub address: Addr,
    pub network: u32,
    /// The endpoint's number, as in [`crate::endpoint::Endpoint`].
    pub endpoint: u32,
    /// The list in `ALLOWED` that the client must be on; 0: everybody may.
    pub allow: u32,
    /// The container's port.
    pub port: u16,
    pub pad: [u8; 2],
}

/// Key of `ALLOWED`, a longest-prefix-match trie: sources that may reach a published port. The value is unused. In front
/// of it stands the number of bits that count: those of `list`, and those of the prefix in its 16-byte form, so that an
/// IPv4 /24 is 32 + 96 + 24. A host's own programs reach its published ports whatever the list says.
///
/// `BLOCKED` is a trie too, of sources whose packets are dropped at the uplinks; its key is an [`Addr`] alone.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct AllowKey {
    /// [`Publish::allow`].
    pub list: u32,
    pub address: Addr,
}

impl AllowKey {
    /// Bits of the whole key.
    pub const BITS: u32 = 32 + Addr::BITS;
}
