//! Which subnet, which address comes next?
//!
//! Pure functions over what is taken; who took it is the caller's knowledge.

use super::state::Subnet;
use ipnetwork::IpNetwork;
use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Automatic IPv4 subnets are cut out of this, unless the settings say otherwise: 4,096 of them.
const POOL: (Ipv4Addr, u8) = (Ipv4Addr::new(10, 208, 0, 0), 12);
/// Shortest prefix of a pool: more is a slip of the pen.
const POOL_PREFIX_MIN: u8 = 8;
/// Prefix length of an automatic IPv4 subnet.
const AUTOMATIC_PREFIX: u8 = 24;
/// Prefix length of an installation's own range of unique local IPv6 addresses (RFC 4193 section 3.1).
const SITE_PREFIX: u8 = 48;
/// Prefix length of an automatic IPv6 subnet (RFC 4291 section 2.5.4).
const AUTOMATIC_PREFIX_V6: u8 = 64;

/// Where automatic IPv4 subnets come from by default.
#[must_use]
pub fn pool() -> IpNetwork {
    let (address, prefix) = POOL;
    IpNetwork::new(address.into(), prefix).unwrap_or(IpNetwork::from(IpAddr::V4(address)))
}

/// What no automatic subnet can come from, among these.
#[must_use]
pub fn wrong_in_pools(pools: &[IpNetwork]) -> Option<String> {
    if pools.is_empty() {
        return Some("is empty".to_owned());
    }
    let is_usable = |pool: &IpNetwork| {
        pool.is_ipv4() && pool.ip() == pool.network() && (POOL_PREFIX_MIN..=AUTOMATIC_PREFIX).contains(&pool.prefix())
    };
    pools.iter().find(|pool| !is_usable(pool)).map(|pool| format!("has {pool}"))
}

/// Where automatic IPv6 subnets come from: `fd00::/8` with 40 random bits, so that two installations that meet hardly
/// have the same.
#[must_use]
pub fn site(random: [u8; 5]) -> IpNetwork {
    let [a, b, c, d, e] = random;
    let address = Ipv6Addr::from([0xfd, a, b, c, d, e, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
    IpNetwork::new(address.into(), SITE_PREFIX).unwrap_or(IpNetwork::from(IpAddr::V6(address)))
}

/// The first automatic subnet out of `pool`, one of the settings' or [`site`], that overlaps nothing in `occupied`; none: the pool is
/// used up.
#[must_use]
pub fn automatic_subnet(pool: IpNetwork, occupied: &[IpNetwork]) -> Option<IpNetwork> {
    let prefix = if pool.is_ipv4() { AUTOMATIC_PREFIX } else { AUTOMATIC_PREFIX_V6 };
    let (first, size) = bits(pool.network());
    let (last, _) = bits(pool.broadcast());
    let step = 1_u128 << (size - u32::from(prefix));
    let inside = occupied.iter().filter(|other| overlap(**other, pool));
    let mut taken: Vec<(u128, u128)> =
        inside.map(|other| (bits(other.network()).0, bits(other.broadcast()).0)).collect();
    taken.sort_unstable();
    // Past one after the other, so that thousands of them cost one walk.
    let mut candidate = first;
    for (start, end) in taken {
        if start > candidate + (step - 1) {
            break;
        }
        if end >= candidate {
            // The next multiple behind it.
            candidate = first + ((end - first) / step + 1) * step;
        }
    }
    let is_inside = candidate <= last;
    is_inside.then(|| IpNetwork::new(address_like(pool.network(), candidate), prefix).ok()).flatten()
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
/// end of the range, so that a freed address rests as long as it can. It passes over nothing but what is taken or
/// reserved, so it is short in a range of any size.
#[must_use]
pub fn next_address(subnet: &Subnet, taken: &BTreeSet<IpAddr>) -> Option<IpAddr> {
    let range = subnet.ip_range.unwrap_or(subnet.subnet);
    let ((first, _), (last, _)) = (bits(range.network()), bits(range.broadcast()));
    let (behind, _) = bits(subnet.last.unwrap_or(subnet.gateway));
    let start = if (first..last).contains(&behind) { behind + 1 } else { first };
    (start..=last)
        .chain(first..start)
        .map(|bits| address_like(range.network(), bits))
        .find(|address| reserved(subnet, *address).is_none() && !taken.contains(address))
}

/// What an address of the subnet is set aside for; none: a container may have it.
#[must_use]
pub fn reserved(subnet: &Subnet, address: IpAddr) -> Option<String> {
    if address == subnet.gateway {
        return Some("the network's gateway".to_owned());
    }
    if let Some(edge) = edge(subnet.subnet, address) {
        return Some(edge.to_owned());
    }
    let (name, _) = subnet.aux_addresses.iter().find(|&(_, &aux)| aux == address)?;
    Some(format!("the auxiliary address \"{name}\""))
}

/// What the first or the last address of a subnet means.
#[must_use]
pub fn edge(subnet: IpNetwork, address: IpAddr) -> Option<&'static str> {
    match subnet {
        IpNetwork::V4(_) if address == subnet.network() => Some("the network itself, as its first address"),
        // RFC 919.
        IpNetwork::V4(_) if address == subnet.broadcast() => Some("broadcast"),
        // RFC 4291 section 2.6.1. The last address of an IPv6 subnet is one like any other.
        IpNetwork::V6(_) if address == subnet.network() => Some("all routers of the subnet (anycast)"),
        IpNetwork::V4(_) | IpNetwork::V6(_) => None,
    }
}

/// The first address that is neither at an edge of the subnet nor an auxiliary one; none: there is none.
#[must_use]
pub fn first_free(subnet: &Subnet) -> Option<IpAddr> {
    let ((first, _), (last, _)) = (bits(subnet.subnet.network()), bits(subnet.subnet.broadcast()));
    let is_auxiliary = |address: &IpAddr| subnet.aux_addresses.values().any(|aux| aux == address);
    (first..=last)
        .map(|bits| address_like(subnet.subnet.network(), bits))
        .find(|address| edge(subnet.subnet, *address).is_none() && !is_auxiliary(address))
}

/// An address as a number, and how many bits it has.
fn bits(address: IpAddr) -> (u128, u32) {
    match address {
        IpAddr::V4(address) => (address.to_bits().into(), Ipv4Addr::BITS),
        IpAddr::V6(address) => (address.to_bits(), Ipv6Addr::BITS),
    }
}

/// The address of the family of `other` that is this number.
fn address_like(other: IpAddr, bits: u128) -> IpAddr {
    match other {
        // The number came from an IPv4 address or lies between two, so nothing is cut off.
        IpAddr::V4(_) => Ipv4Addr::from_bits(bits as u32).into(),
        IpAddr::V6(_) => Ipv6Addr::from_bits(bits).into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ipnetwork::Ipv4Network;
    use proptest::prelude::*;
    use std::collections::BTreeMap;

    fn subnet(text: &str) -> Subnet {
        let subnet: IpNetwork = text.parse().unwrap();
        let gateway = subnet.iter().nth(1).unwrap();
        Subnet { subnet, gateway, ip_range: None, aux_addresses: BTreeMap::new(), last: None }
    }

    fn hand_out(subnet: &mut Subnet, taken: &mut BTreeSet<IpAddr>) -> Option<String> {
        let address = next_address(subnet, taken)?;
        subnet.last = Some(address);
        assert!(taken.insert(address), "{address} handed out twice");
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
            let found = automatic_subnet(pool(), &parse(occupied)).map(|subnet| subnet.to_string());
            assert_eq!(found.as_deref(), expected, "{occupied:?}");
        }
        let site = site([0x12, 0x34, 0x56, 0x78, 0x9a]);
        for (occupied, expected) in [
            (&[][..], Some("fd12:3456:789a::/64")),
            (&["10.208.0.0/24", "fd00::/16"], Some("fd12:3456:789a::/64")),
            (&["fd12:3456:789a::/63", "fd12:3456:789a:2::7/128"], Some("fd12:3456:789a:3::/64")),
            (&["fd12::/16"], None),
        ] {
            let found = automatic_subnet(site, &parse(occupied)).map(|subnet| subnet.to_string());
            assert_eq!(found.as_deref(), expected, "{occupied:?}");
        }
    }

    #[test]
    fn ipv6_addresses_come_in_order_from_a_subnet_of_any_size() {
        let (mut subnet, mut taken) = (subnet("fd00:1::/64"), BTreeSet::new());
        for expected in ["fd00:1::2", "fd00:1::3", "fd00:1::4"] {
            assert_eq!(hand_out(&mut subnet, &mut taken).as_deref(), Some(expected));
        }
        taken.remove(&"fd00:1::2".parse().unwrap());
        assert_eq!(hand_out(&mut subnet, &mut taken).as_deref(), Some("fd00:1::5"), "a freed one rests");
        // At the end of the subnet, whose last address is one like any other; then from the start, past the anycast one.
        subnet.last = Some("fd00:1::ffff:ffff:ffff:fffe".parse().unwrap());
        for expected in ["fd00:1::ffff:ffff:ffff:ffff", "fd00:1::2"] {
            assert_eq!(hand_out(&mut subnet, &mut taken).as_deref(), Some(expected));
        }
        let anycast = "all routers of the subnet (anycast)";
        assert_eq!(reserved(&subnet, "fd00:1::".parse().unwrap()).as_deref(), Some(anycast));
        assert_eq!(first_free(&subnet), Some("fd00:1::1".parse().unwrap()));
    }

    #[test]
    fn a_small_ipv6_subnet_fills_up() {
        let (mut subnet, mut taken) = (subnet("fd00:1::/126"), BTreeSet::new());
        for expected in [Some("fd00:1::2"), Some("fd00:1::3"), None] {
            assert_eq!(hand_out(&mut subnet, &mut taken).as_deref(), expected);
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

    #[test]
    fn thousands_of_subnets_are_found_without_a_search_for_each() {
        let mut occupied = Vec::new();
        for index in 0..4096_u32 {
            let found = automatic_subnet(pool(), &occupied).unwrap();
            assert_eq!(found.network(), IpAddr::V4(Ipv4Addr::from_bits(0x0ad0_0000 + (index << 8))));
            occupied.push(found);
        }
        assert_eq!(automatic_subnet(pool(), &occupied), None);
        occupied.remove(1234);
        assert_eq!(automatic_subnet(pool(), &occupied).unwrap().to_string(), "10.212.210.0/24");
    }

    proptest! {
        #[test]
        fn the_first_subnet_that_overlaps_nothing_is_found(
            occupied in prop::collection::vec((0..1_u32 << 21, 8_u8..=32), 0..40),
        ) {
            let occupied: Vec<IpNetwork> = occupied
                .into_iter()
                .map(|(offset, prefix)| {
                    // Around the pool's beginning, and now and then before it.
                    let address = Ipv4Network::new(Ipv4Addr::from_bits(0x0acf_fff0 + (offset >> 8)), prefix).unwrap();
                    Ipv4Network::new(address.network(), prefix).unwrap().into()
                })
                .collect();
            let all = (0..4096_u32).map(|index| Ipv4Addr::from_bits(0x0ad0_0000 + (index << 8)));
            let mut all = all.map(|address| IpNetwork::new(address.into(), 24).unwrap());
            let expected = all.find(|subnet| !occupied.iter().any(|other| overlap(*other, *subnet)));
            prop_assert_eq!(automatic_subnet(pool(), &occupied), expected);
        }

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
