//! What do two maps have for each key?

use std::cmp::Ordering;
use std::collections::BTreeMap;

/// Every key of either map with what each has for it, in order. One walk over both instead of a search for each key: of
/// ten thousand entries nearly all are alike, and every change of the state pays for comparing them.
pub fn joined<'a, K: Ord, V>(
    one: &'a BTreeMap<K, V>,
    other: &'a BTreeMap<K, V>,
) -> impl Iterator<Item = (&'a K, Option<&'a V>, Option<&'a V>)> {
    let (mut one, mut other) = (one.iter().peekable(), other.iter().peekable());
    std::iter::from_fn(move || {
        let order = match (one.peek(), other.peek()) {
            (Some((first, _)), Some((second, _))) => first.cmp(second),
            (Some(_), None) => Ordering::Less,
            (None, Some(_)) => Ordering::Greater,
            (None, None) => return None,
        };
        let first = if order.is_le() { one.next() } else { None };
        let second = if order.is_ge() { other.next() } else { None };
        let (key, _) = first.or(second)?;
        Some((key, first.map(|(_, value)| value), second.map(|(_, value)| value)))
    })
}

/// The keys of which the maps have different values, or of which one has none.
pub fn differing<'a, K: Ord, V: PartialEq>(
    one: &'a BTreeMap<K, V>,
    other: &'a BTreeMap<K, V>,
) -> impl Iterator<Item = (&'a K, Option<&'a V>, Option<&'a V>)> {
    joined(one, other).filter(|(_, first, second)| first != second)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_maps_are_walked_to_their_ends() {
        let map = |keys: &[u8]| keys.iter().map(|&key| (key, key % 4)).collect::<BTreeMap<_, _>>();
        let (mut one, other) = (map(&[1, 2, 5]), map(&[2, 3, 5, 9]));
        let told = |walk: Vec<(&u8, Option<&u8>, Option<&u8>)>| {
            walk.into_iter().map(|(key, a, b)| (*key, a.is_some(), b.is_some())).collect::<Vec<_>>()
        };
        let all = [(1, true, false), (2, true, true), (3, false, true), (5, true, true), (9, false, true)];
        assert_eq!(told(joined(&one, &other).collect()), all);
        assert_eq!(told(differing(&one, &other).collect()), [all[0], all[2], all[4]]);
        one.insert(5, 77);
        assert_eq!(told(differing(&one, &other).collect()), [all[0], all[2], all[3], all[4]]);
    }
}
