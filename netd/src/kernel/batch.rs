//! How is a map read, filled and emptied in bulk?
//!
//! `bpf(2)` hands over thousands of entries in a call (Linux 5.6; of tries, 5.14). The memory that takes is one batch, however large the
//! map; what comes or goes meanwhile may be missed or seen twice, since a hash map is read bucket by bucket.

use super::bpf::{bpf, fd_of};
use netd_common::flow::FlowKey;
use std::io;
use std::ops::ControlFlow;
use std::os::fd::BorrowedFd;

const BPF_MAP_LOOKUP_BATCH: libc::c_long = 24;
const BPF_MAP_UPDATE_BATCH: libc::c_long = 26;
const BPF_MAP_DELETE_BATCH: libc::c_long = 27;

/// Entries asked for in one call: of `FLOWS`, which has the largest ones, half a megabyte.
pub const BATCH_MAX: usize = 4096;

/// The kernel's place in a map: a bucket's number for hash maps, the last key for tries.
type Cursor = [u8; size_of::<FlowKey>()];

/// The `batch` member of `union bpf_attr`.
#[repr(C)]
struct BatchAttr {
    in_batch: u64,
    out_batch: u64,
    keys: u64,
    values: u64,
    count: u32,
    map_fd: u32,
    elem_flags: u64,
    flags: u64,
}

/// Calls `each` for the entries of a hash map or a trie.
///
/// # Errors
/// Those of `BPF_MAP_LOOKUP_BATCH`.
pub fn for_each<K: aya::Pod, V: aya::Pod>(map: BorrowedFd<'_>, mut each: impl FnMut(&K, &V)) -> io::Result<()> {
    for_each_batch(map, |keys: &[K], values: &[V]| {
        keys.iter().zip(values).for_each(|(key, value)| each(key, value));
        Ok(ControlFlow::Continue(()))
    })
}

/// Calls `each` with the keys and the values of up to [`BATCH_MAX`] entries at a time, until it breaks off. It may delete
/// entries: a bucket is read whole before the next call.
///
/// # Errors
/// Those of `BPF_MAP_LOOKUP_BATCH`, and of `each`.
pub fn for_each_batch<K: aya::Pod, V: aya::Pod>(
    map: BorrowedFd<'_>,
    mut each: impl FnMut(&[K], &[V]) -> io::Result<ControlFlow<()>>,
) -> io::Result<()> {
    let mut keys: Vec<K> = Vec::with_capacity(BATCH_MAX);
    let mut values: Vec<V> = Vec::with_capacity(BATCH_MAX);
    let mut reading = Reading::new(map);
    while !reading.is_end {
        // SAFETY: both buffers have room for BATCH_MAX of the map's keys and values.
        let count = unsafe { reading.next(keys.as_mut_ptr().cast(), values.as_mut_ptr().cast())? };
        // SAFETY: the kernel has filled `count` of each, and any bytes are a legal Pod.
        unsafe {
            keys.set_len(count);
            values.set_len(count);
        }
        if each(&keys, &values)?.is_break() {
            break;
        }
    }
    Ok(())
}

/// How many entries a hash map or a trie has. `value_size` is that of all processors together, when each has its own.
///
/// # Errors
/// Those of `BPF_MAP_LOOKUP_BATCH`.
pub fn count(map: BorrowedFd<'_>, key_size: usize, value_size: usize) -> io::Result<u64> {
    let mut keys = vec![0_u8; key_size * BATCH_MAX];
    let mut values = vec![0_u8; value_size * BATCH_MAX];
    let mut reading = Reading::new(map);
    let mut entries = 0;
    while !reading.is_end {
        // SAFETY: both buffers have room for BATCH_MAX of the map's keys and values.
        entries += unsafe { reading.next(keys.as_mut_ptr(), values.as_mut_ptr())? } as u64;
    }
    Ok(entries)
}

/// A map being read.
struct Reading<'a> {
    map: BorrowedFd<'a>,
    /// None: at the beginning.
    cursor: Option<Cursor>,
    is_end: bool,
}

impl<'a> Reading<'a> {
    const fn new(map: BorrowedFd<'a>) -> Self {
        Self { map, cursor: None, is_end: false }
    }

    /// Reads the next entries; how many.
    ///
    /// # Safety
    ///
    /// Both buffers must have room for [`BATCH_MAX`] keys and values of the map.
    unsafe fn next(&mut self, keys: *mut u8, values: *mut u8) -> io::Result<usize> {
        let mut next: Cursor = [0; size_of::<Cursor>()];
        let mut attr = BatchAttr {
            in_batch: self.cursor.as_ref().map_or(0, |cursor| cursor.as_ptr() as u64),
            out_batch: next.as_mut_ptr() as u64,
            keys: keys as u64,
            values: values as u64,
            count: BATCH_MAX as u32,
            map_fd: fd_of(self.map),
            elem_flags: 0,
            flags: 0,
        };
        // SAFETY: the caller's promise; a cursor of any hash map and the key of any trie fit into a `Cursor`.
        match unsafe { bpf(BPF_MAP_LOOKUP_BATCH, &mut attr) } {
            Ok(_) => {}
            Err(error) if error.raw_os_error() == Some(libc::ENOENT) => self.is_end = true,
            Err(error) => return Err(error),
        }
        self.cursor = Some(next);
        Ok((attr.count as usize).min(BATCH_MAX))
    }
}

/// Writes an entry with this value for each key.
///
/// # Errors
/// Those of `BPF_MAP_UPDATE_BATCH`; some entries may have been written.
pub fn insert_all<K: aya::Pod, V: aya::Pod>(map: BorrowedFd<'_>, keys: &[K], value: V) -> io::Result<()> {
    let values = vec![value; keys.len().min(BATCH_MAX)];
    for keys in keys.chunks(BATCH_MAX) {
        let mut attr = BatchAttr {
            in_batch: 0,
            out_batch: 0,
            keys: keys.as_ptr() as u64,
            values: values.as_ptr() as u64,
            count: keys.len() as u32,
            map_fd: fd_of(map),
            elem_flags: 0,
            flags: 0,
        };
        // SAFETY: there are `count` keys and at least as many values, plain data of the map's sizes.
        unsafe { bpf(BPF_MAP_UPDATE_BATCH, &mut attr) }?;
    }
    Ok(())
}

/// Deletes these entries of a hash map or a trie; that one is not there is as good.
///
/// # Errors
/// Those of `BPF_MAP_DELETE_BATCH`.
pub fn delete_all<K: aya::Pod>(map: BorrowedFd<'_>, keys: &[K]) -> io::Result<()> {
    let mut rest = keys;
    while !rest.is_empty() {
        let mut attr = BatchAttr {
            in_batch: 0,
            out_batch: 0,
            keys: rest.as_ptr() as u64,
            values: 0,
            count: rest.len().min(BATCH_MAX) as u32,
            map_fd: fd_of(map),
            elem_flags: 0,
            flags: 0,
        };
        // SAFETY: there are at least `count` keys, plain data of the map's key size.
        let deleted = match unsafe { bpf(BPF_MAP_DELETE_BATCH, &mut attr) } {
            Ok(_) => attr.count as usize,
            // The call ends at a key that is not there, and counts those before it.
            Err(error) if error.raw_os_error() == Some(libc::ENOENT) => attr.count as usize + 1,
            Err(error) => return Err(error),
        };
        rest = rest.get(deleted..).unwrap_or_default();
    }
    Ok(())
}
