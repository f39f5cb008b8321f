//! Where do the programs of a container find their name server?

use crate::Addr;

/// The address that containers ask. Docker's images and tools have it written in them.
pub const RESOLVER: Addr = Addr::v4([127, 0, 0, 11]);
/// The port that they ask, over UDP and TCP (RFC 1035 section 4.2).
pub const RESOLVER_PORT: u16 = 53;

/// Value of `NAMES`, whose key is the cookie of a container's namespace (`SO_NETNS_COOKIE`): the port of [`RESOLVER`] at
/// which the agent listens there, so that port 53 stays the container's own.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Resolver {
    pub port: u16,
    pub pad: [u8; 2],
}
