//! Which flow does a packet belong to, and how is a new one opened?
//!
//! A flow is two mirrored entries of one table ([`netd_common::flow`]). Adding the answerer's entry, which fails when
//! there is one, *is* the allocation of the source port. The table is an LRU and may take one entry of a pair; the other
//! puts it back, within [`SEEN_GRANULARITY_NS`] of its next packet, and the opener's next packet finds it in its own place.

use crate::frame::{Attempt, Frame, Stack, Wire};
use crate::parse::ETHERNET_SIZE;
use crate::parse::transport::{TCP_ACK, TCP_FIN, TCP_RST, TCP_SYN};
use crate::tables::{InsertError, Room, Tables};
use netd_common::Addr;
use netd_common::drop::DropReason;
use netd_common::endpoint::PoolKey;
use netd_common::flow::{
    ANSWERED, FIN_ANSWERER, FIN_OPENER, Flow, FlowKey, Nominee, OUTSIDE, REPLY, RESET, SEEN_GRANULARITY_NS, State,
    Timeouts,
};
use netd_common::limits::{NOMINEES_MAX, SNAT_PORT_MIN, SNAT_TRIES_BUCKETS, SNAT_TRIES_MAX, SNAT_TRIES_PER_ADDRESS};
use netd_common::publish::{SCTP, TCP};

/// What a flow says of one of its packets: the tuple to write, and where to go.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Step {
    pub source: Addr,
    pub destination: Addr,
    pub source_port: u16,
    pub destination_port: u16,
    pub target: Target,
    /// Where the answers are seen.
    pub partner_side: u8,
}

/// Where packets of a flow go, as [`Flow`] holds it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Target {
    /// `TO_ENDPOINT`, `TO_UPLINK` or `TO_STACK` of [`netd_common::flow`].
    pub kind: u8,
    pub ifindex: u32,
    pub endpoint: u32,
}

impl Step {
    /// Field by field: a whole one would stand on the stack first.
    #[inline(always)]
    const fn read(&mut self, flow: &Flow) {
        self.source = flow.source;
        self.destination = flow.destination;
        self.source_port = flow.source_port;
        self.destination_port = flow.destination_port;
        self.target.kind = flow.target;
        self.target.ifindex = flow.ifindex;
        self.target.endpoint = flow.endpoint;
        self.partner_side = flow.partner_side;
    }

    /// Writes the key of the entry that the answers find, field by field, as [`Self::read`] does.
    #[inline(always)]
    const fn write_partner_key(&self, of: &FlowKey, key: &mut FlowKey) {
        key.source = self.destination;
        key.destination = self.source;
        key.source_port = self.destination_port;
        key.destination_port = self.source_port;
        key.protocol = of.protocol;
        key.side = self.partner_side;
        key.pad = [0; 2];
    }
}

/// Finds the packet's flow, by `room.key`, notes the packet in it, and leaves what it says in `room.step`.
#[inline(always)]
pub fn find<F: Frame + Stack, T: Tables>(frame: &F, tables: &T, room: &mut Room) -> bool {
    let now_ns = frame.now_ns();
    let len = u64::from(frame.len());
    let Room { key, step, packet, .. } = room;
    let is_news = tables.with_flow(key, |flow| {
        let history = next_history(flow, key.protocol, packet.tcp_flags);
        let is_news = history != flow.history || now_ns.saturating_sub(flow.seen_ns) >= SEEN_GRANULARITY_NS;
        if is_news {
            flow.history = history;
            flow.seen_ns = now_ns;
        }
        // Two processors may lose a count between them; the flow itself cannot be harmed.
        flow.packets = flow.packets.wrapping_add(1);
        flow.bytes = flow.bytes.wrapping_add(len);
        step.read(flow);
        is_news
    });
    match is_news {
        Some(true) => {
            tell_partner(tables, room, now_ns);
            true
        }
        Some(false) => true,
        None => false,
    }
}

/// What a flow says of its packets, of which this is none: nothing is noted.
#[inline(always)]
pub fn peek<T: Tables>(tables: &T, key: &FlowKey, step: &mut Step) -> bool {
    tables.with_flow(key, |flow| step.read(flow)).is_some()
}

/// Brings the history to the other entry of the pair, or, where the LRU has taken that one, puts it back: without it the
/// answers would find nothing.
#[inline(never)]
fn tell_partner<T: Tables>(tables: &T, room: &mut Room, now_ns: u64) {
    let Room { key, entry_key, entry, .. } = room;
    let is_there = tables.with_flow(key, |flow| {
        *entry_key = flow.partner_key(key);
        *entry = flow.partner(key, now_ns);
    });
    if is_there.is_none() {
        return;
    }
    let history = entry.history;
    if tables.with_flow(entry_key, |partner| partner.history = history).is_none() {
        // A failure is tried again with the next news.
        let _unrepaired = tables.insert_flow(entry_key, entry);
    }
}

/// What a flow's history is after one more packet.
#[inline(always)]
const fn next_history(flow: &Flow, protocol: u8, tcp_flags: u8) -> u8 {
    let is_reply = flow.flags & REPLY != 0;
    let history = if is_reply { flow.history | ANSWERED } else { flow.history };
    if protocol != TCP {
        return history;
    }
    // A connection asked for over a finished one is a new one in the same place (RFC 6191).
    if tcp_flags & (TCP_SYN | TCP_ACK) == TCP_SYN && !is_reply && matches!(State::of(history), State::Closing) {
        return 0;
    }
    if tcp_flags & TCP_RST != 0 {
        return history | RESET;
    }
    if tcp_flags & TCP_FIN != 0 {
        return history | if is_reply { FIN_ANSWERER } else { FIN_OPENER };
    }
    // Life after a reset: it was a stray one.
    history & !RESET
}

/// What a flow to be opened needs beside its [`Step`], whose source port is a wish: [`open`] takes another when some flow
/// has that tuple.
#[derive(Clone, Copy, Debug, Default)]
pub struct Opening {
    /// Flags of [`netd_common::flow`] for the opener's entry.
    pub flags: u8,
    /// The endpoint the flow belongs to.
    pub owner: u32,
    /// The network of that endpoint.
    pub owner_network: u32,
    /// The network that the opener is on; 0 when it is outside.
    pub network: u32,
    /// How many addresses the network's SNAT pool has for a flow to the outside; 0: it has none.
    pub pool: u32,
    /// Where the answers go.
    pub back: Target,
}

/// Opens the flow of the packet with the tuple `room.key`, which `room.step` and `room.opening` describe, and notes the
/// packet in it.
///
/// # Errors
/// [`DropReason::SnatExhausted`] when no port was free in [`SNAT_TRIES_MAX`] tries, [`DropReason::FlowTableFull`] when
/// the table takes no entry.
#[inline(always)]
pub fn open<F: Frame + Stack, T: Tables>(frame: &F, tables: &T, room: &mut Room) -> Result<(), DropReason> {
    match insert_pair(frame, tables, room) {
        OPENED => Ok(()),
        NO_PORT => Err(DropReason::SnatExhausted),
        _ => Err(DropReason::FlowTableFull),
    }
}

/// Adds both entries of the flow. It has a stack frame of its own; the kernel lets such a function return a number only.
#[inline(never)]
fn insert_pair<F: Frame + Stack, T: Tables>(frame: &F, tables: &T, room: &mut Room) -> u32 {
    let now_ns = frame.now_ns();
    let Room { key: from, step, opening, entry_key: key, entry: flow, packet, .. } = &mut *room;
    step.write_partner_key(from, key);
    // The answerer's entry: what it writes does not depend on the port that will be found. Field by field: a whole one
    // would stand on the stack first.
    flow.source = from.destination;
    flow.destination = from.source;
    flow.source_port = from.destination_port;
    flow.destination_port = from.source_port;
    flow.history = if packet.is_resumed() { ANSWERED } else { 0 };
    flow.flags = opening.flags | REPLY;
    flow.target = opening.back.kind;
    flow.partner_side = from.side;
    flow.ifindex = opening.back.ifindex;
    flow.endpoint = opening.back.endpoint;
    flow.owner = opening.owner;
    flow.network = opening.owner_network;
    flow.partner_ifindex = step.target.ifindex;
    flow.partner_endpoint = step.target.endpoint;
    flow.partner_target = step.target.kind;
    flow.pad = [0; 7];
    flow.created_ns = now_ns;
    flow.seen_ns = now_ns;
    flow.packets = 0;
    flow.bytes = 0;
    let is_outside = key.side == OUTSIDE;
    let mut reservation = Reservation { frame, tables, room, result: NO_PORT, tries: 0, is_rejoined: false };
    F::repeat(SNAT_TRIES_MAX, &mut reservation);
    let Reservation { room, result, tries, is_rejoined, .. } = reservation;
    if is_outside {
        tables.count_tries(if result == OPENED { bucket(tries) } else { SNAT_TRIES_BUCKETS as u32 - 1 });
    }
    if result != OPENED {
        return result;
    }
    let Room { key: from, step, opening, entry_key: key, entry: flow, .. } = room;
    step.source = key.destination;
    step.source_port = key.destination_port;
    // The opener's entry, field by field over the other: the stack has no room for a second one.
    flow.source = step.source;
    flow.destination = step.destination;
    flow.source_port = step.source_port;
    flow.destination_port = step.destination_port;
    flow.flags = opening.flags;
    flow.target = step.target.kind;
    flow.partner_side = step.partner_side;
    flow.ifindex = step.target.ifindex;
    flow.endpoint = step.target.endpoint;
    flow.partner_ifindex = opening.back.ifindex;
    flow.partner_endpoint = opening.back.endpoint;
    flow.partner_target = opening.back.kind;
    flow.packets = 1;
    flow.bytes = u64::from(frame.len());
    match tables.insert_flow(from, flow) {
        Ok(()) => OPENED,
        Err(error) => {
            if !is_rejoined {
                tables.remove_flow(key);
            }
            // Another processor opened it between our look and our insert: that one counts.
            let other = tables.with_flow(from, |other| step.read(other));
            if error == InsertError::Exists && other.is_some() { OPENED } else { NO_ROOM }
        }
    }
}

/// What [`insert_pair`] returns.
const OPENED: u32 = 0;
const NO_PORT: u32 = 1;
const NO_ROOM: u32 = 2;

/// The search for a port that nobody has: the answerer's entry is added under it.
struct Reservation<'a, F, T> {
    frame: &'a F,
    tables: &'a T,
    room: &'a mut Room,
    /// [`OPENED`], or why not.
    result: u32,
    /// Attempts so far.
    tries: u32,
    /// The answerer's entry is that of this very flow, whose other one the LRU has taken.
    is_rejoined: bool,
}

/// Which bucket of `SNAT_TRIES` a search belongs to that succeeded at this try, from 1.
#[inline(always)]
const fn bucket(tries: u32) -> u32 {
    32 - tries.saturating_sub(1).leading_zeros()
}

impl<F, T: Tables> Reservation<'_, F, T> {
    /// Goes on to the next address of the pool now and then. A container begins at the same address each time, so that
    /// one remote sees it as one host (RFC 4787 section 4.1).
    #[inline(always)]
    fn choose_address(&mut self) {
        let Room { opening, entry_key: key, .. } = &mut *self.room;
        let Opening { pool, owner, owner_network: network, .. } = *opening;
        if pool == 0 || !self.tries.is_multiple_of(SNAT_TRIES_PER_ADDRESS) {
            return;
        }
        let index = owner.wrapping_add(self.tries / SNAT_TRIES_PER_ADDRESS) % pool;
        let family = if key.source.is_v4() { 4 } else { 6 };
        if let Some(address) = self.tables.pooled(&PoolKey { network, index: index as u16, family }) {
            key.destination = *address;
        }
    }
}

/// Whether the answerer's entry that stands in the way is the one of this very flow: the LRU has taken the opener's alone.
/// Then the connection goes on with the port that it has.
#[inline(always)]
fn rejoins<T: Tables>(tables: &T, key: &FlowKey, flow: &mut Flow, is_resumed: bool) -> bool {
    let rejoined = tables.with_flow(key, |there| {
        let is_same = there.flags == flow.flags
            && there.owner == flow.owner
            && there.partner_side == flow.partner_side
            && there.source_port == flow.source_port
            && there.destination_port == flow.destination_port
            && there.source == flow.source
            && there.destination == flow.destination;
        if is_same && is_resumed {
            flow.history = there.history;
            flow.created_ns = there.created_ns;
        }
        // Asked for anew in the same place.
        if is_same && !is_resumed {
            there.history = flow.history;
        }
        is_same
    });
    rejoined == Some(true)
}

impl<F: Frame + Stack, T: Tables> Attempt for Reservation<'_, F, T> {
    #[inline(always)]
    fn attempt(&mut self) -> bool {
        self.choose_address();
        self.tries += 1;
        let Room { entry_key: key, entry: flow, packet, .. } = &mut *self.room;
        // Only answers from outside could be meant for the host: for one of its sockets, or, as an echo with the identifier
        // 0 looks the same in both directions, for itself.
        if key.side != OUTSIDE || (key.destination_port != 0 && !self.frame.has_socket(key)) {
            match self.tables.insert_flow(key, flow) {
                Ok(()) => {
                    self.result = OPENED;
                    return true;
                }
                Err(InsertError::Exists) => {
                    if rejoins(self.tables, key, flow, packet.is_resumed()) {
                        self.is_rejoined = true;
                        self.result = OPENED;
                        return true;
                    }
                }
                Err(InsertError::Full) => self.result = NO_ROOM,
            }
        }
        if key.protocol == SCTP {
            // Its checksum keeps the port where it is.
            return true;
        }
        // The opener's source port is where the answers go; for an echo, the identifier.
        key.destination_port = next_port(self.frame);
        false
    }
}

/// The next source port to try: any. Not the one behind the last, since taken ports stand side by side: programs count
/// theirs up, and each flow that can keeps its own.
#[inline(always)]
fn next_port<F: Stack>(frame: &F) -> u16 {
    const PORTS: u32 = 65536 - SNAT_PORT_MIN as u32;
    // Scaled and not taken modulo, so that every port of the range can come, the last one too.
    let offset = (u64::from(frame.random()) * u64::from(PORTS)) >> 32;
    SNAT_PORT_MIN.wrapping_add(offset as u16)
}

/// Deletes the pair of `room.key`, whose entry says `room.step`.
#[inline(never)]
pub fn forget<T: Tables>(tables: &T, room: &mut Room) {
    let Room { key, step, entry_key, .. } = room;
    step.write_partner_key(key, entry_key);
    tables.remove_flow(entry_key);
    tables.remove_flow(key);
}

// SAFETY: integers and byte arrays without padding, as `netd_common::layout` asserts.
unsafe impl Wire for Nominee {}

/// Deletes the flows that the frame names as over, unless a packet has used them since: the agent's list is old news by
/// the time it is read. The frame is a run of [`Nominee`]s behind an Ethernet header.
///
/// Returns how many pairs were deleted.
#[inline(always)]
pub fn collect<F: Frame + Stack, T: Tables>(frame: &F, tables: &T) -> u32 {
    let Some(room) = tables.room() else { return 0 };
    let mut collection = Collection { frame, tables, room, offset: ETHERNET_SIZE, deleted: 0 };
    F::repeat(NOMINEES_MAX as u32, &mut collection);
    collection.deleted
}

struct Collection<'a, F, T> {
    frame: &'a F,
    tables: &'a T,
    room: &'a mut Room,
    offset: u32,
    deleted: u32,
}

impl<F: Frame + Stack, T: Tables> Attempt for Collection<'_, F, T> {
    /// Looks at one nominee; ends where the frame does.
    #[inline(always)]
    fn attempt(&mut self) -> bool {
        let Self { frame, tables, room, offset, deleted } = self;
        if !frame.read(*offset, &mut room.nominee) {
            return true;
        }
        *offset = offset.wrapping_add(size_of::<Nominee>() as u32);
        let Room { key, step, entry_key, nominee, .. } = &mut **room;
        *key = nominee.key;
        let mut network = 0;
        let is_unused = tables.with_flow(key, |flow| {
            step.read(flow);
            network = flow.network;
            flow.seen_ns == nominee.seen_ns
        });
        if is_unused != Some(true) {
            return false;
        }
        step.write_partner_key(key, entry_key);
        let now_ns = frame.now_ns();
        let timeouts = tables.timeouts(network).unwrap_or(&Timeouts::DEFAULT);
        let is_expired = |partner: &mut Flow| partner.is_expired(key.protocol, timeouts, now_ns);
        // A partner that is gone keeps nothing alive.
        if tables.with_flow(entry_key, is_expired) != Some(false) {
            forget(*tables, room);
            *deleted = deleted.wrapping_add(1);
        }
        false
    }
}
