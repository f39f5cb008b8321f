//! Which interface does a frame for a MAC address go to?

/// Key of `FDB`; the value is the host-side interface index.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FdbKey {
    pub network: u32,
    pub mac: [u8; 6],
    pub pad: [u8; 2],
}

/// Value of `FDB`.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FdbEntry {
    /// Interface index of the host side of the veth pair.
    pub ifindex: u32,
    /// As in [`crate::endpoint::Endpoint`].
    pub flags: u32,
}
