//! Which subnet, which address comes next?
//!
//! Pure functions over what is taken; who took it is the caller's knowledge.

use super::state::Subnet;
use ipnetwork::{IpNetwork, Ipv4Network};
use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr};

/// Automatic subnets are cut out of this: 4,096 of them.
const POOL: (Ipv4Addr, u8) = (Ipv4Addr::new(10, 208, 0, 0), 12);

/// Prefix length of an automatic subnet.
const AUTOMATIC_PREFIX: u8 = 24;

/// The first automatic subnet that overlaps nothing in `occupied`; none: the pool is used up.
#[must_use]
pub fn automatic_subnet(occupied: &[IpNetwork]) -> Option<Ipv4Network> {
    let (pool, prefix) = POOL;
    let occupied: Vec<Ipv4Network> = occupied
        .iter()
        .filter_map(|network| match network {
            IpNetwork::V4(network) => Some(*network),
            IpNetwork::V6(_) => None,
        })
        .collect();
    let step = 1_u32 << (32 - AUTOMATIC_PREFIX);
    (0..1_u32 << (AUTOMATIC_PREFIX - prefix))
        .filter_map(|index| Ipv4Network::new(Ipv4Addr::from_bits(pool.to_bits() + index * step), AUTOMATIC_PREFIX).ok())
        .find(|subnet| !occupied.iter().any(|other| other.overlaps(*subnet)))
}

/// Whether two prefixes share an address.
#[must_use]
pub fn overlap(a: IpNetwork, b: IpNetwork) -> bool {
    match (a, b) {
        (IpNetwork::V4(a), IpNetwork::V4(b)) => a.overlaps(b),
        (IpNetwork::V6(a), IpNetwork::V6(b)) => a.overlaps(b),
        (IpNetwork::V4(_), IpNetwork::V6(_)) | (IpNetwork::V6(_), IpNetwork::V4(_)) => false,
    }
}

/// The next address to hand out, neither `taken` nor reserved; none: the range is used up.
///
/// The search starts behind the address that was handed out last (the first time: behind the gateway) and wraps at the
/// end of the range, so that a freed address rests as long as it can.
#[must_use]
pub fn next_address(subnet: &Subnet, taken: &BTreeSet<IpAddr>) -> Option<Ipv4Addr> {
    let range = match subnet.ip_range.unwrap_or(subnet.subnet) {
        IpNetwork::V4(range) => range,
        IpNetwork::V6(_) => return None,
    };
    let (first, last) = (range.network().to_bits(), range.broadcast().to_bits());
    let behind = match subnet.last.unwrap_or(subnet.gateway) {
        IpAddr::V4(address) => address.to_bits(),
        IpAddr::V6(_) => return None,
    };
    let start = if (first..last).contains(&behind) { behind + 1 } else { first };
    (start..=last)
        .chain(first..start)
        .map(Ipv4Addr::from_bits)
        .find(|&address| reserved(subnet, address.into()).is_none() && !taken.contains(&IpAddr::V4(address)))
}

/// What an address of the subnet is set aside for; none: a container may have it.
#[must_use]
pub fn reserved(subnet: &Subnet, address: IpAddr) -> Option<String> {
    if address == subnet.gateway {
        return Some("the network's gateway".to_owned());
    }
    if address == subnet.subnet.network() {
        return Some("the network itself, as its first address".to_owned());
    }
    // Broadcast is an IPv4 idea (RFC 919); the last IPv6 address is one like any other.
    if address.is_ipv4() && address == subnet.subnet.broadcast() {
        return Some("broadcast".to_owned());
    }
    let (name, _) = subnet.aux_addresses.iter().find(|&(_, &aux)| aux == address)?;
    Some(format!("the auxiliary address \"{name}\""))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeMap;

    fn subnet(text: &str) -> Subnet {
        let subnet: Ipv4Network = text.parse().unwrap();
        Subnet {
            subnet: subnet.into(),
            gateway: subnet.nth(1).unwrap().into(),
            ip_range: None,
            aux_addresses: BTreeMap::new(),
            last: None,
        }
    }

    fn hand_out(subnet: &mut Subnet, taken: &mut BTreeSet<IpAddr>) -> Option<String> {
        let address = next_address(subnet, taken)?;
        subnet.last = Some(address.into());
        assert!(taken.insert(address.into()), "{address} handed out twice");
        Some(address.to_string())
    }

    #[test]
    fn automatic_subnets_skip_what_is_occupied() {
        let parse = |texts: &[&str]| texts.iter().map(|text| text.parse().unwrap()).collect::<Vec<IpNetwork>>();
        for (occupied, expected) in [
            (&[][..], Some("10.208.0.0/24")),
            (&["10.208.0.0/24"], Some("10.208.1.0/24")),
            (&["10.208.0.128/25", "10.208.1.7/32", "fd00::/8"], Some("10.208.2.0/24")),
            (&["10.208.0.0/15", "10.211.0.0/16"], Some("10.210.0.0/24")),
            (&["10.0.0.0/8"], None),
        ] {
            assert_eq!(automatic_subnet(&parse(occupied)).map(|s| s.to_string()).as_deref(), expected, "{occupied:?}");
        }
    }

    #[test]
    fn addresses_come_in_order_and_a_freed_one_rests_until_the_range_has_wrapped() {
        let (mut subnet, mut taken) = (subnet("10.1.0.0/29"), BTreeSet::new());
        assert_eq!(hand_out(&mut subnet, &mut taken).as_deref(), Some("10.1.0.2"));
        assert_eq!(hand_out(&mut subnet, &mut taken).as_deref(), Some("10.1.0.3"));
        taken.remove(&"10.1.0.2".parse().unwrap());
        for expected in ["10.1.0.4", "10.1.0.5", "10.1.0.6", "10.1.0.2"] {
            assert_eq!(hand_out(&mut subnet, &mut taken).as_deref(), Some(expected));
        }
        assert_eq!(hand_out(&mut subnet, &mut taken), None, "used up");
    }

    #[test]
    fn a_range_confines_and_auxiliary_addresses_are_left_out() {
        let (mut subnet, mut taken) = (subnet("10.1.0.0/24"), BTreeSet::new());
        subnet.ip_range = Some("10.1.0.128/30".parse().unwrap());
        subnet.aux_addresses.insert("router".to_owned(), "10.1.0.129".parse().unwrap());
        for expected in ["10.1.0.128", "10.1.0.130", "10.1.0.131"] {
            assert_eq!(hand_out(&mut subnet, &mut taken).as_deref(), Some(expected));
        }
        assert_eq!(hand_out(&mut subnet, &mut taken), None);
    }

    #[test]
    fn the_last_address_of_all_is_no_special_case() {
        let (mut subnet, mut taken) = (subnet("10.1.0.0/24"), BTreeSet::new());
        subnet.last = Some("10.1.0.254".parse().unwrap());
        assert_eq!(hand_out(&mut subnet, &mut taken).as_deref(), Some("10.1.0.2"));
        subnet.last = Some("10.1.0.255".parse().unwrap());
        assert_eq!(hand_out(&mut subnet, &mut taken).as_deref(), Some("10.1.0.3"));
    }

    proptest! {
        #[test]
        fn a_live_address_is_never_handed_out(
            prefix in 24_u8..=30, range in 24_u8..=32, offset in any::<u32>(), aux in any::<[u8; 3]>(),
            steps in prop::collection::vec((any::<bool>(), any::<prop::sample::Index>()), 1..200),
        ) {
            let mut subnet = subnet(&format!("10.1.0.0/{prefix}"));
            let host = offset % (1 << (32 - prefix));
            let range = Ipv4Network::new(Ipv4Addr::from_bits(0x0a01_0000 | host), range.max(prefix)).unwrap();
            subnet.ip_range = Some(Ipv4Network::new(range.network(), range.prefix()).unwrap().into());
            subnet.aux_addresses = aux.iter().map(|&n| (n.to_string(), Ipv4Addr::new(10, 1, 0, n).into())).collect();
            let mut taken = BTreeSet::new();
            for (free, index) in steps {
                if free && !taken.is_empty() {
                    let address = *index.get(&taken.iter().copied().collect::<Vec<IpAddr>>());
                    taken.remove(&address);
                } else if let Some(text) = hand_out(&mut subnet, &mut taken) {
                    let address: IpAddr = text.parse().unwrap();
                    prop_assert!(subnet.ip_range.unwrap().contains(address));
                    prop_assert_eq!(reserved(&subnet, address), None);
                } else {
                    let free = subnet.ip_range.unwrap().iter()
                        .find(|&a| reserved(&subnet, a).is_none() && !taken.contains(&a));
                    prop_assert_eq!(free, None, "refused although there was one");
                }
            }
        }
    }
}
