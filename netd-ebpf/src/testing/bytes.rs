//! How is a packet in memory a [`Frame`], and what a row says of the host a [`Stack`]?
//!
//! Not modelled: CHECKSUM_PARTIAL, segmentation.

use super::random::Random;
use crate::frame::{Attempt, ChecksumOf, Frame, Readable, Refused, Route, Stack, Way, Wire};
use crate::held::Held;
use crate::parse::{ETHERNET_SIZE, Family};
use netd_common::Addr;
use netd_common::flow::FlowKey;
use std::cell::Cell;
use std::collections::{BTreeMap, BTreeSet};
use std::mem::MaybeUninit;

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

    fn fill<T: Wire>(&self, offset: u32, header: &mut MaybeUninit<T>) -> bool {
        let bytes = self.bytes.get(offset as usize..).and_then(|rest| rest.get(..size_of::<T>()));
        let Some(bytes) = bytes else { return false };
        // SAFETY: as many bytes as a T has, and any bytes are a legal T (`Wire`).
        header.write(unsafe { bytes.as_ptr().cast::<T>().read_unaligned() });
        true
    }
}

impl Frame for Bytes {
    fn peek<T: Wire>(&self) -> Option<&T> {
        const { assert!(align_of::<T>() == 1, "a packet begins anywhere") };
        let bytes = self.bytes.get(..size_of::<T>())?;
        // SAFETY: as many bytes as a T has, and any bytes are a legal T (`Wire`).
        Some(unsafe { &*bytes.as_ptr().cast::<T>() })
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
        // In 32 bits, as the kernel does it: which of the two zeros comes out depends on that.
        let mut sum = u64::from(!u32::from(u16::from_ne_bytes(old))) + u64::from(difference);
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

    fn make_room(&mut self, len: i32) -> Result<(), Refused> {
        let at = ETHERNET_SIZE as usize;
        let taken = if len < 0 { len.unsigned_abs() as usize } else { 0 };
        if at + taken > self.bytes.len() {
            return Err(Refused);
        }
        self.bytes.splice(at..at + taken, vec![0; usize::try_from(len).unwrap_or(0)]);
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

    fn exceeds_mtu(&self, ifindex: u32, growth: u32, _headers: u32) -> Option<u32> {
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
pub(super) fn is_below(address: &Addr, prefix: &Addr, len: u32) -> bool {
    let difference = u128::from_be_bytes(address.bytes) ^ u128::from_be_bytes(prefix.bytes);
    difference.leading_zeros() >= len
}
