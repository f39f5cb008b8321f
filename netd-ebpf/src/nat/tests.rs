//! Does the arithmetic on differences agree with the sum over all bytes?

use super::*;
use crate::parse::ip::Ipv4;
use crate::testing::checksum::checksum;
use proptest::prelude::*;

/// Zero has two forms in one's complement.
fn canonical(checksum: [u8; 2]) -> u16 {
    match u16::from_be_bytes(checksum) {
        0xffff => 0,
        other => other,
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(1000) })]

    #[test]
    fn a_difference_agrees_with_the_whole_sum(
        bytes in prop::collection::vec(any::<u8>(), 4..64),
        at in any::<prop::sample::Index>(),
        new in any::<[u8; 4]>(),
    ) {
        let mut bytes = bytes;
        bytes.truncate(bytes.len() / 4 * 4);
        let at = at.index(bytes.len() / 4) * 4;
        let old_sum = checksum(&bytes);
        let old = [bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]];
        bytes[at..at + 4].copy_from_slice(&new);
        prop_assert_eq!(canonical(updated(old_sum, difference(old, new))), canonical(checksum(&bytes)));
    }

    #[test]
    fn two_differences_add_up(sum in any::<[u8; 2]>(), a in any::<[[u8; 4]; 2]>(), b in any::<[[u8; 4]; 2]>()) {
        let (a, b) = (difference(a[0], a[1]), difference(b[0], b[1]));
        prop_assert_eq!(canonical(updated(sum, add(a, b))), canonical(updated(updated(sum, a), b)));
    }

    #[test]
    fn a_difference_and_its_opposite_are_nothing(sum in any::<[u8; 2]>(), a in any::<[u8; 4]>(), b in any::<[u8; 4]>()) {
        prop_assert_eq!(canonical(updated(updated(sum, difference(a, b)), difference(b, a))), canonical(sum));
    }

    #[test]
    fn a_hop_keeps_the_header_right(ttl in 2_u8.., protocol in any::<u8>(), source in any::<[u8; 4]>(), id in any::<[u8; 2]>()) {
        let mut room = Room::default();
        room.head.ipv4 = Ipv4 { version_ihl: 0x45, ttl, protocol, source, id, ..room.head.ipv4 };
        room.head.ipv4.seal();
        prop_assert_eq!(canonical(checksum(&header(&room.head.ipv4))), 0);
        decrement_ttl(&mut room);
        prop_assert_eq!(room.head.ipv4.ttl, ttl - 1);
        prop_assert_eq!(canonical(checksum(&header(&room.head.ipv4))), 0);
    }
}

fn header(ipv4: &Ipv4) -> [u8; 20] {
    // SAFETY: an Ipv4 is twenty bytes (`Wire`).
    unsafe { core::mem::transmute(*ipv4) }
}
