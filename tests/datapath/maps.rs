//! How does a test write and read the maps?

use aya::maps::lpm_trie::{Key, LpmTrie};
use aya::maps::{HashMap, Map, MapData, PerCpuArray, PerCpuHashMap, PerCpuValues};
use aya::{Ebpf, Pod};
use netd_common::drop::{Counter, DropKey, Hook, Outcome, counter_index};
use netd_ebpf::held::{Held, HeldKey};
use std::collections::BTreeMap;
use std::io;
use std::os::fd::{AsFd as _, AsRawFd as _};

pub type Counters = BTreeMap<(Hook, Outcome), Counter>;

/// What was written last to the maps that only the agent writes, by name, as bytes.
pub type Written = BTreeMap<&'static str, BTreeMap<Vec<u8>, Vec<u8>>>;

pub fn map<'m, K: Pod, V: Pod>(object: &'m Ebpf, name: &str) -> HashMap<&'m MapData, K, V> {
    HashMap::try_from(object.map(name).expect("a map")).expect("a hash")
}

pub fn map_mut<'m, K: Pod, V: Pod>(object: &'m mut Ebpf, name: &str) -> HashMap<&'m mut MapData, K, V> {
    HashMap::try_from(object.map_mut(name).expect("a map")).expect("a hash")
}

pub fn entries<K: Pod + Ord, V: Pod>(object: &Ebpf, name: &str) -> BTreeMap<K, V> {
    map(object, name).iter().map(|entry| entry.expect("an entry")).collect()
}

/// Makes a map hold these entries and no others, whatever the programs have written to it.
pub fn refill<K: Pod + Ord, V: Pod>(object: &mut Ebpf, name: &str, wanted: BTreeMap<K, V>) {
    let mut map = map_mut::<K, V>(object, name);
    let former: Vec<K> = map.keys().map(|key| key.expect("a key")).collect();
    for key in former.iter().filter(|key| !wanted.contains_key(key)) {
        map.remove(key).expect("removed");
    }
    for (key, value) in wanted {
        map.insert(key, value, 0).expect("inserted");
    }
}

/// Makes a map that no program writes hold these entries and no others.
pub fn fill<K: Pod, V: Pod>(
    object: &mut Ebpf,
    written: &mut Written,
    name: &'static str,
    wanted: impl IntoIterator<Item = (K, V)>,
) {
    let mut map = map_mut::<K, V>(object, name);
    replace(written, name, wanted, |key, value| match value {
        Some(value) => map.insert(key, value, 0).expect("inserted"),
        None => map.remove(key).expect("removed"),
    });
}

/// As [`fill`], for a trie: the length of each prefix, and the prefix, without bits behind the length.
pub fn fill_trie<K: Pod>(
    object: &mut Ebpf,
    written: &mut Written,
    name: &'static str,
    wanted: impl IntoIterator<Item = (u32, K)>,
) {
    let mut trie: LpmTrie<_, K, u32> = object.map_mut(name).expect("a map").try_into().expect("a trie");
    let wanted = wanted.into_iter().map(|(len, prefix)| (Prefix { len, prefix }, 1_u32));
    replace(written, name, wanted, |&Prefix { len, prefix }, value| match value {
        Some(value) => trie.insert(&Key::new(len, prefix), value, 0).expect("inserted"),
        None => trie.remove(&Key::new(len, prefix)).expect("removed"),
    });
}

/// A key of a trie, as the kernel has it.
#[repr(C, packed)]
#[derive(Clone, Copy)]
struct Prefix<K> {
    len: u32,
    prefix: K,
}

// SAFETY: packed, and made of what is one.
unsafe impl<K: Pod> Pod for Prefix<K> {}

/// Calls `change` for each entry that is another than was written, or is there no more. The latter come first: in a trie
/// bits behind the length tell two prefixes apart here and not in the kernel.
fn replace<K: Pod, V: Pod>(
    written: &mut Written,
    name: &'static str,
    wanted: impl IntoIterator<Item = (K, V)>,
    mut change: impl FnMut(&K, Option<V>),
) {
    let wanted: BTreeMap<Vec<u8>, (K, V)> = wanted.into_iter().map(|entry| (bytes(&entry.0), entry)).collect();
    let former = written.remove(name).unwrap_or_default();
    for key in former.keys().filter(|key| !wanted.contains_key(*key)) {
        // SAFETY: these are the bytes of a `K`.
        change(&unsafe { key.as_ptr().cast::<K>().read_unaligned() }, None);
    }
    let mut now = BTreeMap::new();
    for (of_key, (key, value)) in wanted {
        let of_value = bytes(&value);
        if former.get(&of_key) != Some(&of_value) {
            change(&key, Some(value));
        }
        now.insert(of_key, of_value);
    }
    written.insert(name, now);
}

fn bytes<T: Pod>(of: &T) -> Vec<u8> {
    // SAFETY: a `Pod` is bytes.
    unsafe { std::slice::from_raw_parts(std::ptr::from_ref(of).cast(), size_of::<T>()) }.to_vec()
}

/// All that has been counted, in one call: it is read behind every frame.
pub fn counters(object: &Ebpf) -> Counters {
    let Some(Map::PerCpuArray(data)) = object.map("COUNTERS") else { panic!("no COUNTERS") };
    let processors = aya::util::nr_cpus().expect("the number of processors");
    let slots = Hook::ALL.len() * Outcome::COUNT as usize;
    let mut keys = vec![0_u32; slots];
    let mut values = vec![Counter::default(); slots * processors];
    let mut cursor = 0_u32;
    let mut attr = BatchAttr {
        out_batch: (&raw mut cursor) as u64,
        keys: keys.as_mut_ptr() as u64,
        values: values.as_mut_ptr() as u64,
        count: slots as u32,
        map_fd: data.fd().as_fd().as_raw_fd() as u32,
        ..BatchAttr::default()
    };
    // SAFETY: `attr` is the `batch` member of `union bpf_attr`, its size is given, and the buffers have room for `count`
    // keys, and values of all processors.
    let result = unsafe { libc::syscall(libc::SYS_bpf, BPF_MAP_LOOKUP_BATCH, &raw mut attr, size_of::<BatchAttr>()) };
    // The end of the map is told as an error, too.
    let error = io::Error::last_os_error();
    assert!(result == 0 || error.kind() == io::ErrorKind::NotFound, "{error}");
    assert_eq!(attr.count as usize, slots);
    let mut counters = Counters::new();
    for &hook in Hook::ALL {
        for outcome in (0..Outcome::COUNT).filter_map(Outcome::from_number) {
            let at = counter_index(hook, outcome) as usize * processors;
            let mut sum = Counter::default();
            values[at..at + processors].iter().for_each(|slot| add(&mut sum, *slot));
            if sum.packets != 0 {
                counters.insert((hook, outcome), sum);
            }
        }
    }
    counters
}

const BPF_MAP_LOOKUP_BATCH: libc::c_long = 24;

/// The `batch` member of `union bpf_attr`.
#[repr(C)]
#[derive(Default)]
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

pub fn add(sum: &mut Counter, counter: Counter) {
    sum.packets += counter.packets;
    sum.bytes += counter.bytes;
}

pub fn subtract<K: Ord + Copy>(from: &mut BTreeMap<K, Counter>, slot: &K, counter: Counter) {
    let left = from.entry(*slot).or_default();
    left.packets -= counter.packets;
    left.bytes -= counter.bytes;
    if left.packets == 0 {
        from.remove(slot);
    }
}

/// What was dropped of each container's.
pub fn drops(object: &Ebpf) -> BTreeMap<DropKey, Counter> {
    let map: PerCpuHashMap<_, DropKey, Counter> = object.map("DROPS").expect("a map").try_into().expect("a hash");
    let sum = |slots: PerCpuValues<Counter>| {
        let mut sum = Counter::default();
        slots.iter().for_each(|slot| add(&mut sum, *slot));
        sum
    };
    map.iter().map(|entry| entry.map(|(key, slots)| (key, sum(slots))).expect("an entry")).collect()
}

/// Its types are the programs' own.
type HeldKeyBytes = [u8; size_of::<HeldKey>()];
type HeldBytes = [u8; size_of::<Held>()];

/// Whether no fragment waits for its first.
pub fn holds_nothing(object: &Ebpf) -> bool {
    map::<HeldKeyBytes, HeldBytes>(object, "HELD").keys().next().is_none()
}

/// Makes the programs forget what they alone know: packets that are kept, how much was copied, what was dropped.
pub fn forget(object: &mut Ebpf) {
    refill::<HeldKeyBytes, HeldBytes>(object, "HELD", BTreeMap::new());
    let dropped: Vec<DropKey> = drops(object).into_keys().collect();
    let mut drops: PerCpuHashMap<_, DropKey, Counter> =
        object.map_mut("DROPS").expect("a map").try_into().expect("a hash");
    for key in dropped {
        drops.remove(&key).expect("removed");
    }
    // The fields of `Flooded`.
    let mut flooded: PerCpuArray<_, [u64; 3]> = object.map_mut("FLOODED").expect("a map").try_into().expect("an array");
    let processors = aya::util::nr_cpus().expect("the number of processors");
    let zeros = PerCpuValues::try_from(vec![[0; 3]; processors]).expect("one for each");
    flooded.set(0, zeros, 0).expect("written");
}

/// What a map takes of the kernel's memory, in bytes.
pub fn memory(map: &Map) -> u64 {
    let data = match map {
        Map::HashMap(data)
        | Map::LruHashMap(data)
        | Map::PerCpuLruHashMap(data)
        | Map::LpmTrie(data)
        | Map::PerCpuArray(data)
        | Map::Array(data)
        | Map::RingBuf(data) => data,
        other => panic!("another kind of map: {other:?}"),
    };
    let path = format!("/proc/self/fdinfo/{}", data.fd().as_fd().as_raw_fd());
    let info = std::fs::read_to_string(path).expect("what the kernel says of the descriptor");
    let line = info.lines().find_map(|line| line.strip_prefix("memlock:")).expect("memlock");
    line.trim().parse().expect("a number")
}
