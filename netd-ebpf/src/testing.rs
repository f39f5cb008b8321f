//! How do the programs run without a kernel?
//!
//! A [`Bytes`] is a packet in memory, a [`Model`] the maps and what the stack knows; [`packet`] builds frames. The
//! checksum arithmetic here is written again from the RFCs and not shared with the programs, so that a mistake there is
//! seen. Not modelled: CHECKSUM_PARTIAL, segmentation, LRU eviction, several processors.

use crate::frame::{Attempt, ChecksumOf, Frame, Refused, Route, Stack, Wire};
use crate::tables::{InsertError, Room, Tables};
use netd_common::Addr;
use netd_common::drop::{Counter, DropReason, Hook, Outcome};
use netd_common::endpoint::{Endpoint, EndpointKey, Port};
use netd_common::event::{Event, SAMPLE_INTERVAL_NS};
use netd_common::fdb::{FdbEntry, FdbKey};
use netd_common::flow::{Flow, FlowKey};
use netd_common::publish::{Publish, PublishKey};
use netd_common::sock::{Dialled, SockKey};
use std::cell::{RefCell, UnsafeCell};
use std::collections::{BTreeMap, BTreeSet};

/// A packet in memory, and what the kernel knows of it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Bytes {
    pub bytes: Vec<u8>,
    pub ifindex: u32,
    pub is_from_host: bool,
    pub is_for_host: bool,
    pub has_vlan_tag: bool,
    pub stack: Knowledge,
}

/// What the stack knows.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Knowledge {
    /// By destination.
    pub routes: BTreeMap<Addr, (u32, Addr)>,
    /// Where everything else goes: interface and source.
    pub default_route: Option<(u32, Addr)>,
    /// What sockets of the host would receive.
    pub sockets: BTreeSet<FlowKey>,
    pub now_ns: u64,
    pub random: u32,
}

impl Frame for Bytes {
    fn len(&self) -> u32 {
        self.bytes.len() as u32
    }

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

    fn read<T: Wire>(&self, offset: u32, header: &mut T) -> bool {
        let bytes = self.bytes.get(offset as usize..).and_then(|rest| rest.get(..size_of::<T>()));
        let Some(bytes) = bytes else { return false };
        // SAFETY: as many bytes as a T has, and any bytes are a legal T (`Wire`).
        *header = unsafe { bytes.as_ptr().cast::<T>().read_unaligned() };
        true
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

    fn accept(&mut self) {
        self.is_for_host = true;
    }
}

impl Stack for Bytes {
    fn route(&self, _source: Addr, destination: Addr, _protocol: u8) -> Route {
        match self.stack.routes.get(&destination).or(self.stack.default_route.as_ref()) {
            Some(&(ifindex, source)) => Route::Via { ifindex, source },
            None => Route::Unreachable,
        }
    }

    fn has_socket(&self, tuple: &FlowKey) -> bool {
        self.stack.sockets.contains(&FlowKey { side: 0, ..*tuple })
    }

    fn now_ns(&self) -> u64 {
        self.stack.now_ns
    }

    fn random(&self) -> u32 {
        self.stack.random
    }

    fn repeat<A: Attempt>(&self, times: u32, attempts: &mut A) {
        for _ in 0..times {
            if attempts.attempt() {
                return;
            }
        }
    }
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
    pub dialled: RefCell<BTreeMap<SockKey, Dialled>>,
    pub counters: RefCell<BTreeMap<(Hook, Outcome), Counter>>,
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

    fn dialled(&self, key: &SockKey) -> Option<Dialled> {
        self.dialled.borrow().get(key).copied()
    }

    fn remember_dialled(&self, key: &SockKey, dialled: &Dialled) {
        self.dialled.borrow_mut().insert(*key, *dialled);
    }

    fn count(&self, hook: Hook, outcome: Outcome, add: Counter) {
        let mut counters = self.counters.borrow_mut();
        let counter = counters.entry((hook, outcome)).or_default();
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

/// Builds frames, checksums included.
pub mod packet {
    use netd_common::publish::{ICMP, TCP, UDP};

    /// An IPv4 packet to be built.
    #[derive(Clone, Debug)]
    pub struct Ip {
        pub from_mac: [u8; 6],
        pub to_mac: [u8; 6],
        pub from: [u8; 4],
        pub to: [u8; 4],
        pub ttl: u8,
        pub tos: u8,
        /// Flags and fragment offset, host order.
        pub fragment: u16,
        /// IPv4 options, a multiple of four bytes.
        pub options: Vec<u8>,
    }

    impl Ip {
        /// A frame with this transport header and payload.
        #[must_use]
        pub fn frame(&self, protocol: u8, segment: &[u8]) -> Vec<u8> {
            let header_len = 20 + self.options.len();
            let mut ip = vec![0x40 | (header_len / 4) as u8, self.tos];
            ip.extend(((header_len + segment.len()) as u16).to_be_bytes());
            ip.extend([0x12, 0x34]);
            ip.extend(self.fragment.to_be_bytes());
            ip.extend([self.ttl, protocol, 0, 0]);
            ip.extend(self.from);
            ip.extend(self.to);
            ip.extend(&self.options);
            let sum = checksum(&ip);
            ip[10..12].copy_from_slice(&sum);
            let mut frame = Vec::new();
            frame.extend(self.to_mac);
            frame.extend(self.from_mac);
            frame.extend([0x08, 0x00]);
            frame.extend(ip);
            frame.extend(segment);
            frame
        }

        #[must_use]
        pub fn tcp(&self, from_port: u16, to_port: u16, flags: u8, payload: &[u8]) -> Vec<u8> {
            let mut segment = Vec::new();
            segment.extend(from_port.to_be_bytes());
            segment.extend(to_port.to_be_bytes());
            segment.extend([0, 0, 0, 1, 0, 0, 0, 2, 0x50, flags, 0xff, 0xff, 0, 0, 0, 0]);
            segment.extend(payload);
            let sum = self.transport_checksum(TCP, &segment);
            segment[16..18].copy_from_slice(&sum);
            self.frame(TCP, &segment)
        }

        #[must_use]
        pub fn udp(&self, from_port: u16, to_port: u16, payload: &[u8]) -> Vec<u8> {
            let mut segment = Vec::new();
            segment.extend(from_port.to_be_bytes());
            segment.extend(to_port.to_be_bytes());
            segment.extend(((8 + payload.len()) as u16).to_be_bytes());
            segment.extend([0, 0]);
            segment.extend(payload);
            let sum = match self.transport_checksum(UDP, &segment) {
                [0, 0] => [0xff, 0xff],
                sum => sum,
            };
            segment[6..8].copy_from_slice(&sum);
            self.frame(UDP, &segment)
        }

        /// An ICMP message with an identifier, such as an echo.
        #[must_use]
        pub fn icmp(&self, icmp_type: u8, id: u16, payload: &[u8]) -> Vec<u8> {
            let mut segment = vec![icmp_type, 0, 0, 0];
            segment.extend(id.to_be_bytes());
            segment.extend([0, 1]);
            segment.extend(payload);
            let sum = checksum(&segment);
            segment[2..4].copy_from_slice(&sum);
            self.frame(ICMP, &segment)
        }

        fn transport_checksum(&self, protocol: u8, segment: &[u8]) -> [u8; 2] {
            let mut all = Vec::new();
            all.extend(self.from);
            all.extend(self.to);
            all.extend([0, protocol]);
            all.extend((segment.len() as u16).to_be_bytes());
            all.extend(segment);
            checksum(&all)
        }
    }

    /// An ARP request (RFC 826).
    #[must_use]
    pub fn arp_request(from_mac: [u8; 6], from: [u8; 4], to: [u8; 4]) -> Vec<u8> {
        let mut frame = vec![0xff; 6];
        frame.extend(from_mac);
        frame.extend([0x08, 0x06, 0, 1, 0x08, 0, 6, 4, 0, 1]);
        frame.extend(from_mac);
        frame.extend(from);
        frame.extend([0; 6]);
        frame.extend(to);
        frame
    }

    /// The Internet checksum (RFC 1071).
    #[must_use]
    pub fn checksum(bytes: &[u8]) -> [u8; 2] {
        let mut sum = 0_u64;
        for pair in bytes.chunks(2) {
            sum += u64::from(u16::from_be_bytes([pair[0], pair.get(1).copied().unwrap_or(0)]));
        }
        while sum > 0xffff {
            sum = (sum & 0xffff) + (sum >> 16);
        }
        (!(sum as u16)).to_be_bytes()
    }

    /// Whether the IPv4 header's and the transport's checksum of a whole, unfragmented frame are right. A UDP checksum of
    /// zero is none, and right.
    #[must_use]
    pub fn has_right_checksums(frame: &[u8]) -> bool {
        let ip = &frame[14..];
        let header_len = usize::from(ip[0] & 0x0f) * 4;
        let segment = &ip[header_len..];
        let is_right = |bytes: &[u8]| checksum(bytes) == [0, 0];
        if !is_right(&ip[..header_len]) {
            return false;
        }
        match ip[9] {
            ICMP => is_right(segment),
            UDP if segment[6..8] == [0, 0] => true,
            TCP | UDP => {
                let mut all = ip[12..20].to_vec();
                all.extend([0, ip[9]]);
                all.extend((segment.len() as u16).to_be_bytes());
                all.extend(segment);
                is_right(&all)
            }
            _ => true,
        }
    }
}
