//! How do the programs run without a kernel?
//!
//! A [`Bytes`] is a packet in memory with what the host's stack knows beside it, a [`Model`] is the maps. Not modelled:
//! CHECKSUM_PARTIAL, segmentation, LRU eviction, several processors.

use super::random::Random;
use crate::frame::{Attempt, ChecksumOf, Frame, Readable, Refused, Route, Stack, Way, Wire};
use crate::held::{Held, HeldKey};
use crate::parse::{ETHERNET_SIZE, Family};
use crate::tables::{Flooded, InsertError, Room, Tables, Visit};
use netd_common::Addr;
use netd_common::drop::{Counter, DropKey, DropReason, Hook, Outcome};
use netd_common::endpoint::{Endpoint, EndpointKey, PoolKey, Port};
use netd_common::event::{Event, SAMPLE_INTERVAL_NS};
use netd_common::fdb::{FdbEntry, FdbKey};
use netd_common::flow::{Flow, FlowKey, Timeouts};
use netd_common::fragment::{Fragment, FragmentKey, WAITING};
use netd_common::limits::SNAT_TRIES_BUCKETS;
use netd_common::names::Resolver;
use netd_common::publish::{AllowKey, Publish, PublishKey};
use netd_common::sock::{Dialled, SockKey};
use std::cell::{Cell, RefCell, UnsafeCell};
use std::collections::{BTreeMap, BTreeSet};

/// Of every interface that has no other, in bytes (RFC 894).
pub const MTU: u32 = 1500;

/// A packet in memory, and what the kernel knows of it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Bytes {
    pub bytes: Vec<u8>,
    pub ifindex: u32,
    pub is_from_host: bool,
    pub is_for_host: bool,
    pub has_vlan_tag: bool,
    pub stack: Knowledge,
    /// Copies that were sent: by which interface, whether in, and what.
    pub copies: Vec<(u32, bool, Vec<u8>)>,
    /// Random numbers drawn so far.
    pub draws: Cell<u64>,
}

/// What the stack knows.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Knowledge {
    /// Routing, by prefix and its length in the 16-byte form; the longest counts.
    pub routes: Vec<(Addr, u32, Reach)>,
    /// MTUs other than [`MTU`], by interface.
    pub mtus: BTreeMap<u32, u32>,
    /// Interfaces from which the kernel forwards.
    pub forwarding: BTreeSet<u32>,
    pub sockets: BTreeSet<Socket>,
    pub now_ns: u64,
    pub random: u32,
}

/// A socket of the host.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Socket {
    /// TCP, which listens, or UDP.
    pub protocol: u8,
    pub address: Addr,
    pub port: u16,
    /// The only peer of a socket that is connected.
    pub peer: Option<(Addr, u16)>,
}

impl Socket {
    /// Whether it would receive a packet with this tuple.
    #[must_use]
    pub fn receives(&self, tuple: &FlowKey) -> bool {
        (self.protocol, self.address, self.port) == (tuple.protocol, tuple.destination, tuple.destination_port)
            && self.peer.is_none_or(|peer| peer == (tuple.source, tuple.source_port))
    }
}

/// Where a route leads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reach {
    /// Out of this interface, with this source.
    Via(u32, Addr),
    Unreachable,
    /// To the host itself.
    Local,
}

impl Readable for Bytes {
    fn len(&self) -> u32 {
        self.bytes.len() as u32
    }

    fn read<T: Wire>(&self, offset: u32, header: &mut T) -> bool {
        let bytes = self.bytes.get(offset as usize..).and_then(|rest| rest.get(..size_of::<T>()));
        let Some(bytes) = bytes else { return false };
        // SAFETY: as many bytes as a T has, and any bytes are a legal T (`Wire`).
        *header = unsafe { bytes.as_ptr().cast::<T>().read_unaligned() };
        true
    }
}

impl Frame for Bytes {
    fn ifindex(&self) -> u32 {
        self.ifindex
    }

    fn is_from_host(&self) -> bool {
        self.is_from_host
    }

    fn is_for_host(&self) -> bool {
        self.is_for_host
    }

    fn has_vlan_tag(&self) -> bool {
        self.has_vlan_tag
    }

    fn store<T: Wire>(&mut self, offset: u32, value: &T) -> Result<(), Refused> {
        let bytes = self.bytes.get_mut(offset as usize..).and_then(|rest| rest.get_mut(..size_of::<T>()));
        let bytes = bytes.ok_or(Refused)?;
        // SAFETY: as many bytes as a T has.
        unsafe { bytes.as_mut_ptr().cast::<T>().write_unaligned(*value) };
        Ok(())
    }

    fn update_checksum(&mut self, offset: u32, difference: u32, of: ChecksumOf) -> Result<(), Refused> {
        let old: [u8; 2] = self.load(offset).ok_or(Refused)?;
        let is_udp = matches!(of, ChecksumOf::UdpPseudoHeader | ChecksumOf::UdpSegment);
        if is_udp && old == [0, 0] {
            return Ok(());
        }
        let mut sum = u64::from(!u16::from_ne_bytes(old)) + u64::from(difference);
        while sum > 0xffff {
            sum = (sum & 0xffff) + (sum >> 16);
        }
        let mut new = !(sum as u16);
        if is_udp && new == 0 {
            new = 0xffff;
        }
        self.store(offset, &new.to_ne_bytes())
    }

    fn correct_sum(&mut self, _difference: u32) {}

    fn resize(&mut self, len: u32) -> Result<(), Refused> {
        self.bytes.resize(len as usize, 0);
        Ok(())
    }

    fn make_room(&mut self, len: u32) -> Result<(), Refused> {
        let at = ETHERNET_SIZE as usize;
        self.bytes.splice(at..at, vec![0; len as usize]);
        Ok(())
    }

    fn change_family(&mut self, to: Family) -> Result<(), Refused> {
        let at = ETHERNET_SIZE as usize;
        let (old, new) = if to == Family::V6 { (20, 40) } else { (40, 20) };
        self.bytes.splice(at..at + old, vec![0; new]);
        Ok(())
    }

    fn copy_out(&self, held: &mut Held) -> bool {
        held.len = self.len();
        let Some(room) = held.bytes.get_mut(..self.bytes.len()) else { return false };
        room.copy_from_slice(&self.bytes);
        true
    }

    fn become_held(&mut self, held: &Held) -> Result<(), Refused> {
        self.bytes = held.bytes.get(..held.len as usize).ok_or(Refused)?.to_vec();
        Ok(())
    }

    fn send_copy(&mut self, ifindex: u32, is_in: bool) {
        self.copies.push((ifindex, is_in, self.bytes.clone()));
    }

    fn exceeds_mtu(&self, ifindex: u32, growth: u32) -> Option<u32> {
        let mtu = self.stack.mtus.get(&ifindex).copied().unwrap_or(MTU);
        (self.len() + growth > mtu + ETHERNET_SIZE).then_some(mtu)
    }

    fn accept(&mut self) {
        self.is_for_host = true;
    }
}

impl Stack for Bytes {
    fn route(&self, tuple: &FlowKey, way: &mut Way) -> Route {
        if !self.stack.forwarding.contains(&self.ifindex) {
            return Route::NotForwarded;
        }
        let matches = |&&(prefix, len, _): &&(Addr, u32, Reach)| {
            prefix.is_v4() == tuple.destination.is_v4() && is_below(&tuple.destination, &prefix, len)
        };
        match self.stack.routes.iter().filter(matches).max_by_key(|(_, len, _)| *len) {
            Some((_, _, Reach::Via(ifindex, source))) => {
                *way = Way { ifindex: *ifindex, source: *source };
                Route::Via
            }
            Some((_, _, Reach::Unreachable)) | None => Route::Unreachable,
            Some((_, _, Reach::Local)) => Route::NotForwarded,
        }
    }

    fn has_socket(&self, tuple: &FlowKey) -> bool {
        self.stack.sockets.iter().any(|socket| socket.receives(tuple))
    }

    fn now_ns(&self) -> u64 {
        self.stack.now_ns
    }

    fn random(&self) -> u32 {
        let draw = self.draws.replace(self.draws.get() + 1);
        // The first is as the test wants it.
        if draw == 0 { self.stack.random } else { Random::new(u64::from(self.stack.random) + draw).next() as u32 }
    }

    fn sum<T: Wire>(&self, of: &T) -> u32 {
        // SAFETY: a `Wire` is bytes.
        let bytes = unsafe { std::slice::from_raw_parts(std::ptr::from_ref(of).cast::<u8>(), size_of::<T>()) };
        let mut sum: u64 =
            bytes.chunks_exact(4).map(|word| u64::from(u32::from_ne_bytes([word[0], word[1], word[2], word[3]]))).sum();
        while sum > u64::from(u32::MAX) {
            sum = (sum & u64::from(u32::MAX)) + (sum >> 32);
        }
        sum as u32
    }

    fn repeat<A: Attempt>(times: u32, attempts: &mut A) {
        for _ in 0..times {
            if attempts.attempt() {
                return;
            }
        }
    }
}

/// Whether the first `len` bits of the address are the prefix's.
fn is_below(address: &Addr, prefix: &Addr, len: u32) -> bool {
    let difference = u128::from_be_bytes(address.bytes) ^ u128::from_be_bytes(prefix.bytes);
    difference.leading_zeros() >= len
}

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

impl Model {
    /// Whether a later fragment waits for the first of its datagram.
    #[must_use]
    pub fn is_any_fragment_waiting(&self) -> bool {
        self.fragments.borrow().values().any(|known| known.flags == WAITING)
    }
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
