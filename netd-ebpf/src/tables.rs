//! What do the maps answer?

use crate::across::Errors;
use crate::answer::Answer;
use crate::conntrack::{Opening, Step};
use crate::frame::Way;
use crate::held::{Held, HeldKey};
use crate::ndp::Advertisement;
use crate::parse::ip::Ipv6;
use crate::parse::{Head, Packet};
use crate::related::Quoted;
use netd_common::Addr;
use netd_common::drop::{Counter, DropKey, DropReason, Hook, Outcome};
use netd_common::endpoint::{Endpoint, EndpointKey, PoolKey, Port};
use netd_common::event::Event;
use netd_common::fdb::{FdbEntry, FdbKey};
use netd_common::flow::{Flow, FlowKey, Nominee, Timeouts};
use netd_common::fragment::{Fragment, FragmentKey};
use netd_common::limits::MULTICAST_FRAMES_MAX;
use netd_common::names::Resolver;
use netd_common::publish::{AllowKey, Publish, PublishKey};
use netd_common::sock::{Dialled, SockKey};

/// The maps, as the programs use them. Shared by all processors, so nothing takes `&mut self`. What only the agent writes
/// is handed out by reference: it stays as it is for the run of a program, which has little stack for copies.
pub trait Tables {
    fn port(&self, ifindex: u32) -> Option<&Port>;
    fn endpoint(&self, key: &EndpointKey) -> Option<&Endpoint>;
    fn fdb(&self, key: &FdbKey) -> Option<&FdbEntry>;
    /// Shows every entry of the forwarding table, until the visitor has seen enough.
    fn visit_members<V: Visit>(&self, visitor: &mut V);
    /// What has been copied to members on this processor.
    #[expect(clippy::mut_from_ref, reason = "a program runs to its end on its processor before another does")]
    fn flooded(&self) -> Option<&mut Flooded>;
    fn publish(&self, key: &PublishKey) -> Option<&Publish>;
    fn is_local(&self, address: &Addr) -> bool;
    fn is_uplink(&self, ifindex: u32) -> bool;
    /// `SO_NETNS_COOKIE` of the namespace that netd serves; 0 for none.
    fn netns_cookie(&self) -> u64;

    /// Runs `change` on the entry in place, if there is one.
    fn with_flow<R>(&self, key: &FlowKey, change: impl FnOnce(&mut Flow) -> R) -> Option<R>;

    /// Adds an entry where none is.
    ///
    /// # Errors
    /// When there is one, or no room.
    fn insert_flow(&self, key: &FlowKey, flow: &Flow) -> Result<(), InsertError>;

    /// This processor's room; what stands in it is left from a former walk.
    #[expect(clippy::mut_from_ref, reason = "a program runs to its end on its processor before another does")]
    fn room(&self) -> Option<&mut Room>;

    fn remove_flow(&self, key: &FlowKey);

    /// The timeouts of a network that has its own.
    fn timeouts(&self, network: u32) -> Option<&Timeouts>;

    /// Runs `change` on what is known of a datagram, if it is known.
    fn with_fragment<R>(&self, key: &FragmentKey, change: impl FnOnce(&mut Fragment) -> R) -> Option<R>;
    /// Adds or overwrites.
    fn remember_fragment(&self, key: &FragmentKey, fragment: &Fragment);

    /// This processor's room for a packet.
    #[expect(clippy::mut_from_ref, reason = "a program runs to its end on its processor before another does")]
    fn held_room(&self) -> Option<&mut Held>;
    /// Keeps a packet; the oldest of all makes room for it.
    fn keep(&self, key: &HeldKey, held: &Held);
    /// A packet that was kept.
    fn kept(&self, key: &HeldKey) -> Option<&Held>;
    fn discard(&self, key: &HeldKey);

    /// An address of a SNAT pool.
    fn pooled(&self, key: &PoolKey) -> Option<&Addr>;
    /// Counts a search for a source port, in one of [`netd_common::limits::SNAT_TRIES_BUCKETS`].
    fn count_tries(&self, bucket: u32);

    /// Whether a prefix on the list has the address.
    fn is_allowed(&self, key: &AllowKey) -> bool;
    /// Whether a prefix on the block list has the address.
    fn is_blocked(&self, address: &Addr) -> bool;

    fn dialled(&self, key: &SockKey) -> Option<Dialled>;
    fn remember_dialled(&self, key: &SockKey, dialled: &Dialled);
    /// Where the namespace with this cookie has its name server.
    fn resolver(&self, netns_cookie: u64) -> Option<&Resolver>;

    /// Adds to the counter of this outcome.
    fn count(&self, hook: Hook, outcome: Outcome, add: Counter);

    /// Adds to the counter of what an endpoint's packets were dropped for.
    fn count_drop(&self, key: &DropKey, add: Counter);

    /// Whether an event of this reason may be sent now: one in [`netd_common::event::SAMPLE_INTERVAL_NS`].
    fn may_sample(&self, reason: DropReason, now_ns: u64) -> bool;
    /// Sends an event, which `fill` writes over a default one.
    fn send(&self, fill: impl FnOnce(&mut Event));
}

/// Room for what a walk works on: a program has 512 bytes of stack in all, and what stands here costs the verifier
/// nothing to remember.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub struct Room {
    pub head: Head,
    /// Aligns what follows.
    pub pad: [u8; 2],
    /// Meaningful when the ethertype says so.
    pub ipv6: Ipv6,
    pub packet: Packet,
    /// The packet's tuple.
    pub key: FlowKey,
    /// What its flow says.
    pub step: Step,
    /// The flow being opened.
    pub opening: Opening,
    /// Where the host's routing leads.
    pub way: Way,
    /// The entry being added.
    pub entry_key: FlowKey,
    pub entry: Flow,
    /// The datagram that a fragment belongs to.
    pub fragment_key: FragmentKey,
    pub fragment: Fragment,
    pub held_key: HeldKey,
    /// What an ICMP error quotes.
    pub quoted: Quoted,
    /// What it becomes in the other family.
    pub errors: Errors,
    /// The answers that the packet may become.
    pub answer: Answer,
    pub advertisement: Advertisement,
    /// The flow that may be over.
    pub nominee: Nominee,
}

/// Somebody who looks at the entries of the forwarding table.
pub trait Visit {
    /// Whether that is enough.
    fn visit(&mut self, key: &FdbKey, entry: &FdbEntry) -> bool;
}

/// How many frames have been copied to members in the running second, on one processor. It is in a map also because the
/// verifier would follow a count on the stack through every turn of a loop.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Flooded {
    /// When the second began.
    pub since_ns: u64,
    pub frames: u64,
    /// Copies of the frame at hand.
    pub copies: u64,
}

impl Flooded {
    /// Whether one more is within the limit, and counts it.
    #[inline(always)]
    pub const fn one_more(&mut self, now_ns: u64) -> bool {
        if now_ns.saturating_sub(self.since_ns) >= SECOND_NS {
            self.since_ns = now_ns;
            self.frames = 0;
        }
        self.frames = self.frames.wrapping_add(1);
        self.copies = 0;
        self.frames <= MULTICAST_FRAMES_MAX
    }
}

const SECOND_NS: u64 = 1_000_000_000;

/// Why an entry was not added.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum InsertError {
    Exists,
    /// No memory, or the LRU list was contended (before Linux 6.15).
    Full,
}
