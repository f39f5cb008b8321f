//! Which MAC addresses are there, and which address goes with which?

use netd_common::Addr;
use serde::{Deserialize, Serialize};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// A MAC address (EUI-48). Text and JSON: six lower-case hexadecimal bytes with colons.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Mac(pub [u8; 6]);

impl Mac {
    /// The MAC address that goes with an IPv4 address: the same after every restart, and another for each address.
    /// Locally administered and unicast (IEEE 802, section 8.4), as all of these.
    #[must_use]
    pub const fn of(address: Ipv4Addr) -> Self {
        let [a, b, c, d] = address.octets();
        Self([0x02, 0x42, a, b, c, d])
    }

    /// The address that this goes with, if it goes with one.
    #[must_use]
    pub const fn address(self) -> Option<IpAddr> {
        match self.0 {
            [0x02, 0x42, a, b, c, d] => Some(IpAddr::V4(Ipv4Addr::new(a, b, c, d))),
            _chosen => None,
        }
    }

    /// That of the gateway of a network without IPv4, after the network's number.
    #[must_use]
    pub const fn of_network(number: u32) -> Self {
        let [a, b, c, d] = number.to_be_bytes();
        Self([0x02, 0x46, a, b, c, d])
    }

    /// Those of an endpoint without IPv4, after its number: the first, and others should somebody have chosen that.
    pub fn of_endpoint(number: u32) -> impl Iterator<Item = Self> {
        let [a, b, c, d] = number.to_be_bytes();
        (0x47..=0xff).map(move |second| Self([0x02, second, a, b, c, d]))
    }

    /// The link-local address that goes with it.
    #[must_use]
    pub const fn link_local(self) -> Ipv6Addr {
        Ipv6Addr::from_bits(u128::from_be_bytes(Addr::link_local_of(self.0).bytes))
    }
}

impl std::fmt::Display for Mac {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let [a, b, c, d, e, g] = self.0;
        write!(f, "{a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{g:02x}")
    }
}

impl std::fmt::Debug for Mac {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        std::fmt::Display::fmt(self, f)
    }
}

impl std::str::FromStr for Mac {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let refused =
            || format!("\"{text}\" is not a MAC address; write six hexadecimal bytes, such as 02:00:0a:d0:00:02");
        let mut bytes = [0; 6];
        let mut parts = text.split(':');
        for byte in &mut bytes {
            let part = parts.next().filter(|part| part.len() == 2).ok_or_else(refused)?;
            *byte = u8::from_str_radix(part, 16).map_err(|_| refused())?;
        }
        if parts.next().is_some() { Err(refused()) } else { Ok(Self(bytes)) }
    }
}

impl Serialize for Mac {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Mac {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_and_numbers_give_mac_addresses() {
        assert_eq!(Mac::of(Ipv4Addr::new(10, 208, 0, 2)).to_string(), "02:42:0a:d0:00:02");
        assert_eq!(Mac::of_network(0x1_0203).to_string(), "02:46:00:01:02:03");
        let mut endpoint = Mac::of_endpoint(5);
        assert_eq!(endpoint.next().unwrap().to_string(), "02:47:00:00:00:05");
        assert_eq!(endpoint.next().unwrap().to_string(), "02:48:00:00:00:05");
    }

    #[test]
    fn the_link_local_address_is_the_mac_address_with_one_bit_turned() {
        let mac: Mac = "02:42:0a:d0:00:02".parse().unwrap();
        assert_eq!(mac.link_local(), "fe80::42:aff:fed0:2".parse::<Ipv6Addr>().unwrap());
    }
}
