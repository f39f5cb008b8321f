//! What do the programs need to know about this host?

/// The one value of `GLOBALS`.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Globals {
    /// `SO_NETNS_COOKIE` of the host's network namespace: `sock_addr` acts for its sockets only. 0: for none.
    pub netns_cookie: u64,
}

/// The source of a container that reaches itself, or a peer, through a published port of the host: link-local
/// (RFC 3927), so that no socket of the host can have it, and the answer comes back through the gateway.
pub const HAIRPIN_V4: crate::Addr = crate::Addr::v4([169, 254, 208, 1]);

/// As [`HAIRPIN_V4`], in IPv6: a unique local address (RFC 4193), since a link-local one would not come back through the
/// gateway.
pub const HAIRPIN_V6: crate::Addr = crate::Addr::v6([0xfd, 0x6e, 0x65, 0x74, 0x64, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1]);

/// The source of an IPv6 client at an IPv4 container: it has no address there, and each of its connections is a port of
/// this one.
pub const PROXY_V4: crate::Addr = crate::Addr::v4([169, 254, 208, 2]);
