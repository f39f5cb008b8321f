//! How are a packet's addresses, ports and protocol written?

use crate::model::state::Protocol;
use netd_common::Addr;
use netd_common::publish::{ICMP, ICMPV6, SCTP, TCP, UDP};
use std::net::{IpAddr, SocketAddr};

/// `10.0.0.1:80`, `[fd00::1]:80`, or the address alone where there is no port.
#[must_use]
pub fn socket(address: Addr, port: u16) -> String {
    match (IpAddr::from(address), port) {
        (address, 0) => address.to_string(),
        (address, port) => SocketAddr::new(address, port).to_string(),
    }
}

/// The name of a protocol that can be published.
#[must_use]
pub const fn transport(protocol: Protocol) -> &'static str {
    match protocol {
        Protocol::Tcp => "tcp",
        Protocol::Udp => "udp",
        Protocol::Sctp => "sctp",
    }
}

/// The name of an IP protocol number (IANA assigned), or the number.
#[must_use]
pub fn protocol(number: u8) -> String {
    match number {
        TCP => "tcp".to_owned(),
        UDP => "udp".to_owned(),
        ICMP => "icmp".to_owned(),
        ICMPV6 => "icmpv6".to_owned(),
        SCTP => "sctp".to_owned(),
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_families_with_and_without_a_port() {
        assert_eq!(socket(Addr::v4([10, 0, 0, 1]), 80), "10.0.0.1:80");
        assert_eq!(socket(Addr::v4([10, 0, 0, 1]), 0), "10.0.0.1");
        assert_eq!(socket(Addr::from("fd00::1".parse::<IpAddr>().expect("an address")), 80), "[fd00::1]:80");
        assert_eq!(protocol(17), "udp");
        assert_eq!(protocol(47), "47");
    }
}
