//! Which maps are there, and how do they answer as [`Tables`]?

use crate::held::{Held, HeldKey};
use crate::tables::{Flooded, InsertError, Room, Tables, Visit};
use aya_ebpf::bindings::{BPF_F_NO_PREALLOC, BPF_NOEXIST};
use aya_ebpf::btf_maps::lpm_trie::Key;
use aya_ebpf::btf_maps::{Array, HashMap, LpmTrie, LruHashMap, LruPerCpuHashMap, PerCpuArray, RingBuf};
use aya_ebpf::helpers::generated::bpf_for_each_map_elem;
use aya_ebpf::macros::btf_map;
use core::ffi::c_void;
use netd_common::Addr;
use netd_common::drop::{Counter, DropKey, DropReason, Hook, Outcome, counter_index};
use netd_common::endpoint::{Endpoint, EndpointKey, PoolKey, Port};
use netd_common::event::{Event, SAMPLE_INTERVAL_NS};
use netd_common::fdb::{FdbEntry, FdbKey};
use netd_common::flow::{Flow, FlowKey, Timeouts};
use netd_common::fragment::{Fragment, FragmentKey};
use netd_common::globals::Globals;
use netd_common::limits::{
    ALLOWED_MAX, BLOCKED_MAX, DROPS_MAX, ENDPOINTS_MAX, EVENTS_SIZE_MAX, FLOWS_MAX, FRAGMENTS_MAX, HELD_MAX,
    LOCAL_ADDRS_MAX, NAMES_MAX, PUBLISHED_MAX, SNAT_POOLS_MAX, SNAT_TRIES_BUCKETS, SOCK_ORIGINS_MAX, TIMEOUTS_MAX,
    UPLINKS_MAX,
};
use netd_common::names::Resolver;
use netd_common::publish::{AllowKey, Publish, PublishKey};
use netd_common::sock::{Dialled, SockKey};

/// Entries are allocated when they come: most hosts use few.
const LAZY: usize = BPF_F_NO_PREALLOC as usize;
const COUNTERS_MAX: usize = Hook::ALL.len() * Outcome::COUNT as usize;
const EEXIST: i32 = -17;

#[btf_map]
static ENDPOINTS: HashMap<EndpointKey, Endpoint, ENDPOINTS_MAX, LAZY> = HashMap::new();
#[btf_map]
static PORTS_BY_IF: HashMap<u32, Port, ENDPOINTS_MAX, LAZY> = HashMap::new();
#[btf_map]
static FDB: HashMap<FdbKey, FdbEntry, ENDPOINTS_MAX, LAZY> = HashMap::new();
#[btf_map]
static PUBLISHED: HashMap<PublishKey, Publish, PUBLISHED_MAX, LAZY> = HashMap::new();
/// The value is unused.
#[btf_map]
static LOCAL_ADDRS: HashMap<Addr, u32, LOCAL_ADDRS_MAX, LAZY> = HashMap::new();
/// By interface index: the gateway of its IPv6 default route where other uplinks have one too, else all zero.
#[btf_map]
static UPLINKS: HashMap<u32, Addr, UPLINKS_MAX, LAZY> = HashMap::new();
#[btf_map]
static FLOWS: LruHashMap<FlowKey, Flow, FLOWS_MAX> = LruHashMap::new();
/// By network.
#[btf_map]
static TIMEOUTS: HashMap<u32, Timeouts, TIMEOUTS_MAX, LAZY> = HashMap::new();
#[btf_map]
static FRAGMENTS: LruHashMap<FragmentKey, Fragment, FRAGMENTS_MAX> = LruHashMap::new();
#[btf_map]
static SNAT_POOLS: HashMap<PoolKey, Addr, SNAT_POOLS_MAX, LAZY> = HashMap::new();
/// How many searches for a source port took how long.
#[btf_map]
static SNAT_TRIES: PerCpuArray<u64, SNAT_TRIES_BUCKETS> = PerCpuArray::new();
/// The value is unused.
#[btf_map]
static ALLOWED: LpmTrie<AllowKey, u32, ALLOWED_MAX, LAZY> = LpmTrie::new();
/// The value is unused.
#[btf_map]
static BLOCKED: LpmTrie<Addr, u32, BLOCKED_MAX, LAZY> = LpmTrie::new();
#[btf_map]
static SOCK_ORIGIN: LruHashMap<SockKey, Dialled, SOCK_ORIGINS_MAX> = LruHashMap::new();
/// By the cookie of a namespace.
#[btf_map]
static NAMES: HashMap<u64, Resolver, NAMES_MAX, LAZY> = HashMap::new();
#[btf_map]
static COUNTERS: PerCpuArray<Counter, COUNTERS_MAX> = PerCpuArray::new();
#[btf_map]
static DROPS: LruPerCpuHashMap<DropKey, Counter, DROPS_MAX> = LruPerCpuHashMap::new();
/// When each drop reason was last sampled, by its number.
#[btf_map]
static SAMPLED: PerCpuArray<u64, { DropReason::ALL.len() }> = PerCpuArray::new();
/// Not pinned: the programs of one load share it, and no others.
#[btf_map]
static ROOM: PerCpuArray<Room, 1> = PerCpuArray::new();
/// Not pinned either, since only these programs use them.
#[btf_map]
static HELD: LruHashMap<HeldKey, Held, HELD_MAX> = LruHashMap::new();
#[btf_map]
static HELD_ROOM: PerCpuArray<Held, 1> = PerCpuArray::new();
#[btf_map]
static FLOODED: PerCpuArray<Flooded, 1> = PerCpuArray::new();
#[btf_map]
static EVENTS: RingBuf<Event, EVENTS_SIZE_MAX> = RingBuf::new();
#[btf_map]
static GLOBALS: Array<Globals, 1> = Array::new();

/// One turn of [`Tables::visit_members`], as `bpf_for_each_map_elem` calls it: 1 ends it (Linux 5.13).
#[inline(never)]
unsafe extern "C" fn turn<V: Visit>(_map: *mut c_void, key: *mut FdbKey, entry: *mut FdbEntry, visitor: *mut V) -> i64 {
    // SAFETY: an entry of the map, valid for the call, and what `visit_members` holds by `&mut`.
    i64::from(unsafe { (*visitor).visit(&*key, &*entry) })
}

/// The maps of this object.
pub struct Maps;

/// Looks up a value that only the agent writes.
macro_rules! value_of {
    ($map:ident, $key:expr) => {
        // SAFETY: a map without preallocation frees an element only after every running program has ended (RCU), and
        // the agent's update is a new element, so what the reference points to does not change.
        unsafe { $map.get($key) }
    };
}

/// What `UPLINKS` says of an interface.
#[inline(always)]
pub fn gateway6(ifindex: u32) -> Option<&'static Addr> {
    // SAFETY: the agent writes whole values, and an entry that is deleted meanwhile stays readable until the program ends.
    UPLINKS.get_ptr(ifindex).map(|gateway| unsafe { &*gateway })
}

impl Tables for Maps {
    #[inline(always)]
    fn port(&self, ifindex: u32) -> Option<&Port> {
        value_of!(PORTS_BY_IF, ifindex)
    }

    #[inline(always)]
    fn endpoint(&self, key: &EndpointKey) -> Option<&Endpoint> {
        value_of!(ENDPOINTS, key)
    }

    #[inline(always)]
    fn fdb(&self, key: &FdbKey) -> Option<&FdbEntry> {
        value_of!(FDB, key)
    }

    #[inline(always)]
    fn visit_members<V: Visit>(&self, visitor: &mut V) {
        let turn: unsafe extern "C" fn(*mut c_void, *mut FdbKey, *mut FdbEntry, *mut V) -> i64 = turn::<V>;
        // SAFETY: the callback takes what it is given here and by the kernel: this map, an entry, the visitor.
        unsafe {
            let map = (&raw const FDB).cast_mut().cast();
            bpf_for_each_map_elem(map, turn as *mut c_void, core::ptr::from_mut(visitor).cast(), 0)
        };
    }

    #[inline(always)]
    fn flooded(&self) -> Option<&mut Flooded> {
        // SAFETY: as in `room`.
        FLOODED.get_ptr_mut(0).map(|flooded| unsafe { &mut *flooded })
    }

    #[inline(always)]
    fn publish(&self, key: &PublishKey) -> Option<&Publish> {
        value_of!(PUBLISHED, key)
    }

    #[inline(always)]
    fn is_local(&self, address: &Addr) -> bool {
        LOCAL_ADDRS.get_ptr(address).is_some()
    }

    #[inline(always)]
    fn is_uplink(&self, ifindex: u32) -> bool {
        UPLINKS.get_ptr(ifindex).is_some()
    }

    #[inline(always)]
    fn netns_cookie(&self) -> u64 {
        // SAFETY: an array's value lives as long as the map; the agent writes it once.
        GLOBALS.get_ptr(0).map_or(0, |globals| unsafe { (*globals).netns_cookie })
    }

    #[inline(always)]
    fn with_flow<R>(&self, key: &FlowKey, change: impl FnOnce(&mut Flow) -> R) -> Option<R> {
        // SAFETY: the entry stays allocated for the run of the program. Another processor may write it too: its fields
        // are integers, and each of them is right in either version.
        FLOWS.get_ptr_mut(key).map(|flow| change(unsafe { &mut *flow }))
    }

    #[inline(always)]
    fn insert_flow(&self, key: &FlowKey, flow: &Flow) -> Result<(), InsertError> {
        match FLOWS.insert(key, flow, u64::from(BPF_NOEXIST)) {
            Ok(()) => Ok(()),
            Err(EEXIST) => Err(InsertError::Exists),
            Err(_) => Err(InsertError::Full),
        }
    }

    #[inline(always)]
    fn room(&self) -> Option<&mut Room> {
        // SAFETY: this processor's own slot; a program runs to its end before another of this object does.
        ROOM.get_ptr_mut(0).map(|room| unsafe { &mut *room })
    }

    #[inline(always)]
    fn remove_flow(&self, key: &FlowKey) {
        // Gone already is as good.
        let _gone = FLOWS.remove(key);
    }

    #[inline(always)]
    fn timeouts(&self, network: u32) -> Option<&Timeouts> {
        value_of!(TIMEOUTS, network)
    }

    #[inline(always)]
    fn with_fragment<R>(&self, key: &FragmentKey, change: impl FnOnce(&mut Fragment) -> R) -> Option<R> {
        // SAFETY: as in `with_flow`.
        FRAGMENTS.get_ptr_mut(key).map(|fragment| change(unsafe { &mut *fragment }))
    }

    #[inline(always)]
    fn remember_fragment(&self, key: &FragmentKey, fragment: &Fragment) {
        // Without it the later fragments are dropped, and counted.
        let _unremembered = FRAGMENTS.insert(key, fragment, 0);
    }

    #[inline(always)]
    fn held_room(&self) -> Option<&mut Held> {
        // SAFETY: as in `room`.
        HELD_ROOM.get_ptr_mut(0).map(|held| unsafe { &mut *held })
    }

    #[inline(always)]
    fn keep(&self, key: &HeldKey, held: &Held) {
        // What cannot be kept is lost.
        let _lost = HELD.insert(key, held, 0);
    }

    #[inline(always)]
    fn kept(&self, key: &HeldKey) -> Option<&Held> {
        // SAFETY: the entry stays allocated for the run of the program, and each is written once.
        HELD.get_ptr(key).map(|held| unsafe { &*held })
    }

    #[inline(always)]
    fn discard(&self, key: &HeldKey) {
        // Gone already is as good.
        let _gone = HELD.remove(key);
    }

    #[inline(always)]
    fn pooled(&self, key: &PoolKey) -> Option<&Addr> {
        value_of!(SNAT_POOLS, key)
    }

    #[inline(always)]
    fn count_tries(&self, bucket: u32) {
        if let Some(count) = SNAT_TRIES.get_ptr_mut(bucket) {
            // SAFETY: this processor's own slot.
            unsafe { *count = (*count).wrapping_add(1) };
        }
    }

    #[inline(always)]
    fn is_allowed(&self, key: &AllowKey) -> bool {
        ALLOWED.get(&Key::new(AllowKey::BITS, *key)).is_some()
    }

    #[inline(always)]
    fn is_blocked(&self, address: &Addr) -> bool {
        BLOCKED.get(&Key::new(Addr::BITS, *address)).is_some()
    }

    #[inline(always)]
    fn dialled(&self, key: &SockKey) -> Option<Dialled> {
        // SAFETY: read at once. A recycled element gives another socket's address only within that very instant.
        SOCK_ORIGIN.get_ptr(key).map(|dialled| unsafe { *dialled })
    }

    #[inline(always)]
    fn remember_dialled(&self, key: &SockKey, dialled: &Dialled) {
        // Without it the program is told the container's address instead of the one it dialled.
        let _unremembered = SOCK_ORIGIN.insert(key, dialled, 0);
    }

    #[inline(always)]
    fn resolver(&self, netns_cookie: u64) -> Option<&Resolver> {
        value_of!(NAMES, netns_cookie)
    }

    #[inline(always)]
    fn count(&self, hook: Hook, outcome: Outcome, add: Counter) {
        if let Some(counter) = COUNTERS.get_ptr_mut(counter_index(hook, outcome)) {
            // SAFETY: this processor's own slot, and programs are not preempted by another on the same slot.
            unsafe {
                (*counter).packets = (*counter).packets.wrapping_add(add.packets);
                (*counter).bytes = (*counter).bytes.wrapping_add(add.bytes);
            }
        }
    }

    #[inline(always)]
    fn count_drop(&self, key: &DropKey, add: Counter) {
        match DROPS.get_ptr_mut(key) {
            // SAFETY: this processor's own slot of the entry.
            Some(counter) => unsafe {
                (*counter).packets = (*counter).packets.wrapping_add(add.packets);
                (*counter).bytes = (*counter).bytes.wrapping_add(add.bytes);
            },
            None => {
                // Lost when there is no room; `COUNTERS` has it all the same.
                let _lost = DROPS.insert(key, add, 0);
            }
        }
    }

    #[inline(always)]
    fn may_sample(&self, reason: DropReason, now_ns: u64) -> bool {
        let Some(last) = SAMPLED.get_ptr_mut(reason as u32) else { return false };
        // SAFETY: this processor's own slot.
        unsafe {
            if now_ns.wrapping_sub(*last) < SAMPLE_INTERVAL_NS {
                return false;
            }
            *last = now_ns;
        }
        true
    }

    #[inline(always)]
    fn send(&self, fill: impl FnOnce(&mut Event)) {
        // A full ring loses the event; the counter has the drop.
        if let Some(mut entry) = EVENTS.reserve(0) {
            // Written in place: the stack has no room for it.
            fill(entry.write(Event::default()));
            entry.submit(0);
        }
    }
}
