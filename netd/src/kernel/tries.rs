//! How do prefixes get into the tries of the datapath, and out again?
//!
//! In batches: there may be a hundred thousand of them, and one call for each takes longer than all the rest.

use super::batch;
use crate::model::prefix::{Prefix, Prefixes};
use aya::maps::lpm_trie::Key;
use netd_common::Addr;
use netd_common::publish::AllowKey;
use std::collections::BTreeMap;
use std::io;
use std::os::fd::BorrowedFd;

/// Bits of an allow list's number, in front of the address.
const LIST_BITS: u32 = AllowKey::BITS - Addr::BITS;
/// The value of every entry: only the key says something.
const VALUE: u32 = 1;

/// What `BLOCKED` holds.
///
/// # Errors
/// When the map does not answer.
pub fn blocked(map: BorrowedFd<'_>) -> io::Result<Prefixes> {
    let mut prefixes = Vec::new();
    batch::for_each(map, |key: &Key<Addr>, _: &u32| prefixes.extend(Prefix::of_key(key.data(), key.prefix_len())))?;
    Ok(prefixes.into_iter().collect())
}

/// What `ALLOWED` holds, by list.
///
/// # Errors
/// When the map does not answer.
pub fn allowed(map: BorrowedFd<'_>) -> io::Result<BTreeMap<u32, Prefixes>> {
    let mut lists: BTreeMap<u32, Vec<Prefix>> = BTreeMap::new();
    batch::for_each(map, |key: &Key<AllowKey>, _: &u32| {
        let AllowKey { list, address } = key.data();
        let length = key.prefix_len().checked_sub(LIST_BITS);
        lists.entry(list).or_default().extend(length.and_then(|length| Prefix::of_key(address, length)));
    })?;
    Ok(lists.into_iter().map(|(list, prefixes)| (list, prefixes.into_iter().collect())).collect())
}

/// # Errors
/// When the map is full, or does not answer.
pub fn block(map: BorrowedFd<'_>, prefixes: &Prefixes) -> io::Result<()> {
    batch::insert_all(map, &block_keys(prefixes), VALUE).map_err(full)
}

/// # Errors
/// When the map does not answer.
pub fn unblock(map: BorrowedFd<'_>, prefixes: &Prefixes) -> io::Result<()> {
    batch::delete_all(map, &block_keys(prefixes))
}

/// # Errors
/// When the map is full, or does not answer.
pub fn allow(map: BorrowedFd<'_>, list: u32, prefixes: &Prefixes) -> io::Result<()> {
    batch::insert_all(map, &allow_keys(list, prefixes), VALUE).map_err(full)
}

/// # Errors
/// When the map does not answer.
pub fn disallow(map: BorrowedFd<'_>, list: u32, prefixes: &Prefixes) -> io::Result<()> {
    batch::delete_all(map, &allow_keys(list, prefixes))
}

fn block_keys(prefixes: &Prefixes) -> Vec<Key<Addr>> {
    let keys = prefixes.iter().map(Prefix::key);
    keys.map(|(address, length)| Key::new(length, address)).collect()
}

fn allow_keys(list: u32, prefixes: &Prefixes) -> Vec<Key<AllowKey>> {
    let keys = prefixes.iter().map(Prefix::key);
    keys.map(|(address, length)| Key::new(LIST_BITS + length, AllowKey { list, address })).collect()
}

/// Says of a full map what that means.
fn full(error: io::Error) -> io::Error {
    match error.raw_os_error() {
        Some(libc::ENOSPC) => io::Error::new(
            io::ErrorKind::StorageFull,
            "the map is full, see \"netctl status\"; name fewer prefixes, or shorter ones",
        ),
        Some(_) | None => error,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_has_the_length_the_list_and_the_address() {
        let prefixes: Prefixes =
            ["10.0.0.0/8", "2001:db8::/32"].map(|text| text.parse().unwrap()).into_iter().collect();
        let lengths = |keys: Vec<u32>| assert_eq!(keys, [96 + 8, 32]);
        lengths(block_keys(&prefixes).iter().map(Key::prefix_len).collect());
        let keys = allow_keys(7, &prefixes);
        lengths(keys.iter().map(|key| key.prefix_len() - 32).collect());
        assert!(keys.iter().all(|key| key.data().list == 7));
        // The kernel compares bytes from the first on.
        assert_eq!((size_of::<Key<AllowKey>>(), size_of::<Key<Addr>>()), (4 + 4 + 16, 4 + 16));
    }
}
