//! How do prefixes get into the tries of the datapath, and out again?
//!
//! In batches: there may be a hundred thousand of them, and one call for each takes longer than all the rest.

use super::batch;
use crate::model::prefix::{Prefix, Prefixes};
use aya::maps::lpm_trie::Key;
use netd_common::Addr;
use netd_common::publish::AllowKey;
use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::os::fd::BorrowedFd;
use std::time::{Duration, Instant};

/// Bits of an allow list's number, in front of the address.
const LIST_BITS: u32 = AllowKey::BITS - Addr::BITS;
/// The value of every entry: only the key says something.
const VALUE: u32 = 1;

/// `BLOCKED`, and what is known of it. A walk over a trie takes a microsecond a prefix, and netlink asks for a look
/// whenever a container comes or goes: one that was expensive is good for a while.
#[derive(Debug, Default)]
pub struct Blocked {
    known: Option<Known>,
}

/// What the trie held when it was read, with what was done to it since.
#[derive(Debug)]
struct Known {
    prefixes: Prefixes,
    read: Instant,
    cost: Duration,
}

/// A trie that is read in less is read at each look;
const CHEAP: Duration = Duration::from_millis(10);
/// another one is not read again within this, which is less than the time between the regular looks.
const GOOD: Duration = Duration::from_secs(20);

impl Known {
    fn is_good(&self, now: Instant) -> bool {
        self.cost >= CHEAP && now.saturating_duration_since(self.read) < GOOD
    }
}

impl Blocked {
    /// What the map holds.
    ///
    /// # Errors
    /// When the map does not answer.
    pub fn look(&mut self, map: BorrowedFd<'_>) -> io::Result<Prefixes> {
        let read = Instant::now();
        if let Some(known) = self.known.as_ref().filter(|known| known.is_good(read)) {
            return Ok(known.prefixes.clone());
        }
        let mut found = Vec::new();
        batch::for_each(map, |key: &Key<Addr>, _: &u32| found.extend(Prefix::of_key(key.data(), key.prefix_len())))?;
        let prefixes: Prefixes = found.into_iter().collect();
        self.known = Some(Known { prefixes: prefixes.clone(), read, cost: read.elapsed() });
        Ok(prefixes)
    }

    /// # Errors
    /// When the map is full, or does not answer.
    pub fn block(&mut self, map: BorrowedFd<'_>, prefixes: &Prefixes) -> io::Result<()> {
        let done = batch::insert_all(map, &block_keys(prefixes), VALUE).map_err(full);
        self.note(&done, |known| known.extend(prefixes.iter()));
        done
    }

    /// # Errors
    /// When the map does not answer.
    pub fn unblock(&mut self, map: BorrowedFd<'_>, prefixes: &Prefixes) -> io::Result<()> {
        let done = batch::delete_all(map, &block_keys(prefixes));
        self.note(&done, |known| {
            for prefix in prefixes.iter() {
                known.remove(prefix);
            }
        });
        done
    }

    /// What a step that failed has left behind is not known.
    fn note(&mut self, done: &io::Result<()>, change: impl FnOnce(&mut BTreeSet<Prefix>)) {
        match (done, &mut self.known) {
            (Ok(()), Some(known)) => change(known.prefixes.change()),
            (Ok(()) | Err(_), known) => *known = None,
        }
    }
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
    fn an_expensive_look_is_good_for_a_while() {
        let read = Instant::now();
        let known = |cost_ms| Known { prefixes: Prefixes::default(), read, cost: Duration::from_millis(cost_ms) };
        assert!(!known(9).is_good(read));
        assert!(known(10).is_good(read + GOOD / 2) && !known(10).is_good(read + GOOD));
    }

    #[test]
    fn what_was_done_is_known_and_what_failed_is_not() {
        let one: Prefixes = ["10.0.0.0/8".parse().expect("a prefix")].into_iter().collect();
        let mut blocked = Blocked { known: Some(Known { prefixes: one, read: Instant::now(), cost: CHEAP }) };
        blocked.note(&Ok(()), |known| known.extend(["11.0.0.0/8".parse::<Prefix>().expect("a prefix")]));
        assert_eq!(blocked.known.as_ref().map(|known| known.prefixes.len()), Some(2));
        blocked.note(&Err(io::ErrorKind::StorageFull.into()), |_| panic!("nothing is known of it"));
        assert!(blocked.known.is_none());
        blocked.note(&Ok(()), |_| panic!("nothing is known yet"));
    }

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
