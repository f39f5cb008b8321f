//! How does an IP address look in a map?

/// An IP address: 16 bytes in network order. IPv4 is v4-mapped, `::ffff:a.b.c.d` (RFC 4291 section 2.5.5.2), so that
/// one key serves both families. All zero means "none".
#[repr(C, align(4))]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Addr {
    pub bytes: [u8; 16],
}

/// What stands before the address in the v4-mapped form.
const MARK: u32 = u32::from_ne_bytes([0, 0, 0xff, 0xff]);

impl Addr {
    pub const BITS: u32 = 128;

    /// No address.
    pub const NONE: Self = Self { bytes: [0; 16] };

    /// `0.0.0.0`: in a publish key, every IPv4 address of the host.
    pub const ANY_V4: Self = Self::v4([0, 0, 0, 0]);

    /// `::`: in a publish key, every IPv6 address of the host. The same bytes as [`Self::NONE`], which no publish key
    /// can mean.
    pub const ANY_V6: Self = Self { bytes: [0; 16] };

    /// `::1`.
    pub const LOOPBACK_V6: Self = Self { bytes: [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1] };

    /// The v4-mapped form of an IPv4 address.
    #[inline(always)]
    #[must_use]
    pub const fn v4(octets: [u8; 4]) -> Self {
        Self::of_words([0, 0, MARK, u32::from_ne_bytes(octets)])
    }

    /// The IPv6 form, network order.
    #[inline(always)]
    #[must_use]
    pub const fn v6(octets: [u8; 16]) -> Self {
        Self { bytes: octets }
    }

    /// The last four bytes: the IPv4 address when [`Self::is_v4`].
    #[inline(always)]
    #[must_use]
    pub const fn octets_v4(&self) -> [u8; 4] {
        let [_, _, _, _, _, _, _, _, _, _, _, _, a, b, c, d] = self.bytes;
        [a, b, c, d]
    }

    /// Four bytes at a time, in the byte order of memory: compared and written so, an address costs a program a few
    /// instructions and no room on its stack; byte by byte it is sixteen of everything, or a loop in a function.
    #[inline(always)]
    const fn words(&self) -> [u32; 4] {
        // SAFETY: sixteen bytes are four words, and any bits are legal in them.
        unsafe { core::mem::transmute(self.bytes) }
    }

    /// The way back.
    #[inline(always)]
    const fn of_words(words: [u32; 4]) -> Self {
        // SAFETY: as above.
        Self { bytes: unsafe { core::mem::transmute::<[u32; 4], [u8; 16]>(words) } }
    }

    #[inline(always)]
    #[must_use]
    pub const fn is_v4(&self) -> bool {
        let [a, b, c, _] = self.words();
        a | b | (c ^ MARK) == 0
    }

    #[inline(always)]
    #[must_use]
    pub const fn is_none(&self) -> bool {
        let [a, b, c, d] = self.words();
        a | b | c | d == 0
    }

    /// 127.0.0.0/8 (RFC 1122 section 3.2.1.3) or `::1` (RFC 4291 section 2.5.3).
    #[inline(always)]
    #[must_use]
    pub const fn is_loopback(&self) -> bool {
        const ONE: u32 = u32::from_ne_bytes([0, 0, 0, 1]);
        let [a, b, c, d] = self.words();
        let [first, ..] = self.octets_v4();
        a | b | c | (d ^ ONE) == 0 || self.is_v4() && first == 127
    }

    /// `fe80::/10` (RFC 4291 section 2.5.6).
    #[inline(always)]
    #[must_use]
    pub const fn is_link_local_v6(&self) -> bool {
        let [first, second, ..] = self.bytes;
        first == 0xfe && second & 0xc0 == 0x80
    }

    /// The link-local address that an interface with this MAC address gives itself (RFC 4291 appendix A).
    #[inline(always)]
    #[must_use]
    pub const fn link_local_of(mac: [u8; 6]) -> Self {
        let [a, b, c, d, e, f] = mac;
        Self { bytes: [0xfe, 0x80, 0, 0, 0, 0, 0, 0, a ^ 2, b, c, 0xff, 0xfe, d, e, f] }
    }

    /// 224.0.0.0/4, 255.255.255.255 or `ff00::/8`: never a unicast destination.
    #[inline(always)]
    #[must_use]
    pub const fn is_multicast_or_broadcast(&self) -> bool {
        if self.is_v4() {
            let [first, ..] = self.octets_v4();
            return first >= 224 && first < 240 || matches!(self.octets_v4(), [255, 255, 255, 255]);
        }
        matches!(self.bytes, [0xff, ..])
    }
}

impl From<[u8; 4]> for Addr {
    fn from(octets: [u8; 4]) -> Self {
        Self::v4(octets)
    }
}

#[cfg(any(feature = "user", test))]
mod user {
    extern crate std;
    use super::Addr;
    use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

    impl From<IpAddr> for Addr {
        fn from(address: IpAddr) -> Self {
            match address {
                IpAddr::V4(v4) => Self::v4(v4.octets()),
                IpAddr::V6(v6) => Self::v6(v6.octets()),
            }
        }
    }

    impl From<Addr> for IpAddr {
        fn from(address: Addr) -> Self {
            if address.is_v4() {
                Self::V4(Ipv4Addr::from(address.octets_v4()))
            } else {
                Self::V6(Ipv6Addr::from(address.bytes))
            }
        }
    }

    #[test]
    fn addresses_survive_the_trip() {
        for text in ["10.0.0.1", "0.0.0.0", "fd00::1", "::", "::1", "127.0.0.1"] {
            let address: IpAddr = text.parse().expect("a literal address");
            assert_eq!(IpAddr::from(Addr::from(address)), address);
        }
        assert!(Addr::v4([127, 8, 9, 1]).is_loopback());
        assert!(Addr::from(IpAddr::V6(Ipv6Addr::LOCALHOST)).is_loopback());
        assert!(!Addr::v4([126, 8, 9, 1]).is_loopback());
    }
}
