//! How do the programs run without a kernel?
//!
//! A [`Bytes`] is a packet in memory with what the host's stack knows beside it, a [`Model`] is the maps. Not modelled:
//! LRU eviction, several processors.

pub use super::bytes::{Bytes, Knowledge, MTU, Reach, Socket};

use super::bytes::is_below;
use crate::held::{Held, HeldKey};
use crate::tables::{Flooded, InsertError, Room, Tables, Visit};
use netd_common::Addr;
use netd_common::drop::{Counter, DropKey, DropReason, Hook, Outcome};
use netd_common::endpoint::{Endpoint, EndpointKey, PoolKey, Port};
use netd_common::event::{Event, SAMPLE_INTERVAL_NS};
use netd_common::fdb::{FdbEntry, FdbKey};
use netd_common::flow::{Flow, FlowKey, Timeouts};
use netd_common::fragment::{Fragment, FragmentKey};
use netd_common::limits::SNAT_TRIES_BUCKETS;
use netd_common::names::Resolver;
use netd_common::publish::{AllowKey, Publish, PublishKey};
use netd_common::sock::{Dialled, SockKey};
use std::cell::{RefCell, UnsafeCell};
use std::collections::{BTreeMap, BTreeSet};

/// The maps in memory.
#[derive(Debug, Default)]
pub struct Model {
    pub ports: BTreeMap<u32, Port>,
    pub endpoints: BTreeMap<EndpointKey, Endpoint>,
    pub fdb: BTreeMap<FdbKey, FdbEntry>,
    pub publishes: BTreeMap<PublishKey, Publish>,
    pub local: BTreeSet<Addr>,
    pub uplinks: BTreeSet<u32>,
    pub netns_cookie: u64,
    /// Entries that `flows` takes; none: any number.
    pub flows_max: Option<usize>,
    pub flows: RefCell<BTreeMap<FlowKey, Flow>>,
    pub timeouts: BTreeMap<u32, Timeouts>,
    pub fragments: RefCell<BTreeMap<FragmentKey, Fragment>>,
    /// Each lives as long as the test: what is handed out may be discarded meanwhile.
    pub held: RefCell<BTreeMap<HeldKey, &'static Held>>,
    pub held_room: UnsafeCell<Held>,
    pub flooded: UnsafeCell<Flooded>,
    pub pools: BTreeMap<PoolKey, Addr>,
    pub tries: RefCell<[u64; SNAT_TRIES_BUCKETS]>,
    /// Of published ports: the list, a prefix in its 16-byte form and its length there.
    pub allowed: BTreeSet<(u32, Addr, u32)>,
    pub blocked: BTreeSet<(Addr, u32)>,
    pub dialled: RefCell<BTreeMap<SockKey, Dialled>>,
    pub names: BTreeMap<u64, Resolver>,
    pub counters: RefCell<BTreeMap<(Hook, Outcome), Counter>>,
    pub drops: RefCell<BTreeMap<DropKey, Counter>>,
    pub sampled: RefCell<BTreeMap<DropReason, u64>>,
    pub events: RefCell<Vec<Event>>,
    pub room: UnsafeCell<Room>,
}

impl Tables for Model {
    fn port(&self, ifindex: u32) -> Option<&Port> {
        self.ports.get(&ifindex)
    }

    fn endpoint(&self, key: &EndpointKey) -> Option<&Endpoint> {
        self.endpoints.get(key)
    }

    fn fdb(&self, key: &FdbKey) -> Option<&FdbEntry> {
        self.fdb.get(key)
    }

    fn visit_members<V: Visit>(&self, visitor: &mut V) {
        for (key, entry) in &self.fdb {
            if visitor.visit(key, entry) {
                return;
            }
        }
    }

    fn flooded(&self) -> Option<&mut Flooded> {
        // SAFETY: as in `room`.
        Some(unsafe { &mut *self.flooded.get() })
    }

    fn publish(&self, key: &PublishKey) -> Option<&Publish> {
        self.publishes.get(key)
    }

    fn is_local(&self, address: &Addr) -> bool {
        self.local.contains(address)
    }

    fn is_uplink(&self, ifindex: u32) -> bool {
        self.uplinks.contains(&ifindex)
    }

    fn netns_cookie(&self) -> u64 {
        self.netns_cookie
    }

    fn with_flow<R>(&self, key: &FlowKey, change: impl FnOnce(&mut Flow) -> R) -> Option<R> {
        self.flows.borrow_mut().get_mut(key).map(change)
    }

    fn insert_flow(&self, key: &FlowKey, flow: &Flow) -> Result<(), InsertError> {
        let mut flows = self.flows.borrow_mut();
        if flows.contains_key(key) {
            return Err(InsertError::Exists);
        }
        if self.flows_max.is_some_and(|max| flows.len() >= max) {
            return Err(InsertError::Full);
        }
        flows.insert(*key, *flow);
        Ok(())
    }

    fn room(&self) -> Option<&mut Room> {
        // SAFETY: the model runs one program at a time, in one thread (it is not `Sync`).
        Some(unsafe { &mut *self.room.get() })
    }

    fn remove_flow(&self, key: &FlowKey) {
        self.flows.borrow_mut().remove(key);
    }

    fn timeouts(&self, network: u32) -> Option<&Timeouts> {
        self.timeouts.get(&network)
    }

    fn with_fragment<R>(&self, key: &FragmentKey, change: impl FnOnce(&mut Fragment) -> R) -> Option<R> {
        self.fragments.borrow_mut().get_mut(key).map(change)
    }

    fn remember_fragment(&self, key: &FragmentKey, fragment: &Fragment) {
        self.fragments.borrow_mut().insert(*key, *fragment);
    }

    fn held_room(&self) -> Option<&mut Held> {
        // SAFETY: as in `room`.
        Some(unsafe { &mut *self.held_room.get() })
    }

    fn keep(&self, key: &HeldKey, held: &Held) {
        self.held.borrow_mut().insert(*key, Box::leak(Box::new(*held)));
    }

    fn kept(&self, key: &HeldKey) -> Option<&Held> {
        self.held.borrow().get(key).copied()
    }

    fn discard(&self, key: &HeldKey) {
        self.held.borrow_mut().remove(key);
    }

    fn pooled(&self, key: &PoolKey) -> Option<&Addr> {
        self.pools.get(key)
    }

    fn count_tries(&self, bucket: u32) {
        self.tries.borrow_mut()[bucket as usize] += 1;
    }

    fn is_allowed(&self, key: &AllowKey) -> bool {
        self.allowed.iter().any(|(list, prefix, len)| *list == key.list && is_below(&key.address, prefix, *len))
    }

    fn is_blocked(&self, address: &Addr) -> bool {
        self.blocked.iter().any(|(prefix, len)| is_below(address, prefix, *len))
    }

    fn dialled(&self, key: &SockKey) -> Option<Dialled> {
        self.dialled.borrow().get(key).copied()
    }

    fn remember_dialled(&self, key: &SockKey, dialled: &Dialled) {
        self.dialled.borrow_mut().insert(*key, *dialled);
    }

    fn resolver(&self, netns_cookie: u64) -> Option<&Resolver> {
        self.names.get(&netns_cookie)
    }

    fn count(&self, hook: Hook, outcome: Outcome, add: Counter) {
        let mut counters = self.counters.borrow_mut();
        let counter = counters.entry((hook, outcome)).or_default();
        counter.packets += add.packets;
        counter.bytes += add.bytes;
    }

    fn count_drop(&self, key: &DropKey, add: Counter) {
        let mut drops = self.drops.borrow_mut();
        let counter = drops.entry(*key).or_default();
        counter.packets += add.packets;
        counter.bytes += add.bytes;
    }

    fn may_sample(&self, reason: DropReason, now_ns: u64) -> bool {
        let mut sampled = self.sampled.borrow_mut();
        let last = sampled.get(&reason).copied().unwrap_or_default();
        if now_ns.wrapping_sub(last) < SAMPLE_INTERVAL_NS {
            return false;
        }
        sampled.insert(reason, now_ns);
        true
    }

    fn send(&self, fill: impl FnOnce(&mut Event)) {
        let mut event = Event::default();
        fill(&mut event);
        self.events.borrow_mut().push(event);
    }
}
