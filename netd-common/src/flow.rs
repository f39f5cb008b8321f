//! How is a translated flow remembered, and when is it forgotten?
//!
//! A flow is two entries of `FLOWS` that mirror each other: one is found by what the opener sends, one by what the
//! answerer sends. An entry's key is the tuple *before* translation and its value holds the tuple *after* it, so the
//! partner's key is the value's tuple turned round ([`Flow::partner_key`]), and either entry suffices to write the other
//! again ([`Flow::partner`]).

use crate::Addr;
use crate::publish::{SCTP, TCP, UDP};

/// [`FlowKey::side`]: the packet came out of a container.
pub const INSIDE: u8 = 0;
/// [`FlowKey::side`]: the packet came in from an uplink.
pub const OUTSIDE: u8 = 1;
/// [`FlowKey::side`]: the host itself sent it towards an uplink.
pub const HOST: u8 = 2;

/// [`Flow::target`]: deliver to the container behind `ifindex`.
pub const TO_ENDPOINT: u8 = 0;
/// [`Flow::target`]: send out of the uplink `ifindex`.
pub const TO_UPLINK: u8 = 1;
/// [`Flow::target`]: leave it to the host's stack.
pub const TO_STACK: u8 = 2;

/// [`Flow::history`]: the answerer has sent something.
pub const ANSWERED: u8 = 1 << 0;
/// [`Flow::history`]: the opener has sent a FIN.
pub const FIN_OPENER: u8 = 1 << 1;
/// [`Flow::history`]: the answerer has sent a FIN.
pub const FIN_ANSWERER: u8 = 1 << 2;
/// [`Flow::history`]: the last packet that mattered was a RST. Cleared by data, so that a stray one kills nothing.
pub const RESET: u8 = 1 << 3;

/// [`Flow::flags`]: this entry is found by what the answerer sends.
pub const REPLY: u8 = 1 << 0;
/// [`Flow::flags`]: the destination was translated: the flow came through a published port.
pub const PUBLISHED: u8 = 1 << 1;

/// Key of `FLOWS`: a 5-tuple as a packet carries it, and where the packet was seen. For ICMP echo the identifier is the
/// port of the asking side, and the other port is 0.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FlowKey {
    pub source: Addr,
    pub destination: Addr,
    pub source_port: u16,
    pub destination_port: u16,
    pub protocol: u8,
    /// [`INSIDE`], [`OUTSIDE`] or [`HOST`]: so that no packet from the wire can use a container's entry.
    pub side: u8,
    pub pad: [u8; 2],
}

impl FlowKey {
    /// The tuple that an answer carries, seen at `side`.
    #[must_use]
    pub fn reversed(&self, side: u8) -> Self {
        let mut key = Self::default();
        self.write_reversed(side, &mut key);
        key
    }

    /// Writes the tuple that an answer carries, seen at `side`: where the stack has no room for another key.
    #[inline(always)]
    pub const fn write_reversed(&self, side: u8, key: &mut Self) {
        key.source = self.destination;
        key.destination = self.source;
        key.source_port = self.destination_port;
        key.destination_port = self.source_port;
        key.protocol = self.protocol;
        key.side = side;
        key.pad = [0; 2];
    }
}

/// Value of `FLOWS`.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Flow {
    /// The tuple after translation.
    pub source: Addr,
    pub destination: Addr,
    pub source_port: u16,
    pub destination_port: u16,
    /// What has been seen of this flow, in either direction: the same in both entries.
    pub history: u8,
    /// [`REPLY`], [`PUBLISHED`].
    pub flags: u8,
    /// Where a packet goes after translation: [`TO_ENDPOINT`], [`TO_UPLINK`] or [`TO_STACK`].
    pub target: u8,
    /// [`FlowKey::side`] of the partner's key.
    pub partner_side: u8,
    /// Interface index of `target`; 0 for the stack.
    pub ifindex: u32,
    /// The endpoint behind `ifindex` when `target` is [`TO_ENDPOINT`], else 0. Checked against `PORTS_BY_IF`, since
    /// interface indexes are used again.
    pub endpoint: u32,
    /// The endpoint this flow belongs to: of the container that opened it, or, if it came through a published port, of
    /// the one that answers. 0 for the host's own. Purges go by it.
    pub owner: u32,
    /// The partner's `target`, `ifindex` and `endpoint`, so that a lost partner can be written again.
    pub partner_ifindex: u32,
    pub partner_endpoint: u32,
    pub partner_target: u8,
    pub pad: [u8; 7],
    /// The network of the endpoint in `owner`, whose [`Timeouts`] count; 0 for the host's own.
    pub network: u32,
    /// Monotonic time (`bpf_ktime_get_ns`) when the flow was opened.
    pub created_ns: u64,
    /// Monotonic time of the last packet that used this entry, at most [`SEEN_GRANULARITY_NS`] too old.
    pub seen_ns: u64,
    /// Packets that used this entry.
    pub packets: u64,
    /// Bytes of those packets, link-layer header included.
    pub bytes: u64,
}

/// `seen_ns` is written at most this often for one entry; each such write also checks that the partner is still there.
/// Far below every timeout, and it keeps a second lookup off nearly all packets.
pub const SEEN_GRANULARITY_NS: u64 = SECOND_NS;

const SECOND_NS: u64 = 1_000_000_000;

/// How long a flow of each protocol may be silent in each state, in seconds. Value of `TIMEOUTS`, by network, for the
/// networks that have their own; [`Self::DEFAULT`] for the others.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timeouts {
    /// No answer yet to a TCP SYN (netfilter: 120 s for SYN_SENT, 60 s for SYN_RECV).
    pub tcp_opening: u32,
    pub tcp_established: u32,
    /// One side has sent a FIN, the other may still send (netfilter: 120 s for FIN_WAIT).
    pub tcp_half_closed: u32,
    /// Both FINs, or a RST.
    pub tcp_closing: u32,
    /// UDP seen one way only. SCTP too, which shows its life every 30 s (RFC 9260 section 8.3).
    pub udp_opening: u32,
    /// RFC 4787 section 4.3 asks for 120 s at least.
    pub udp_established: u32,
    /// ICMP echo, and what has no ports.
    pub icmp: u32,
}

impl Timeouts {
    pub const DEFAULT: Self = Self {
        tcp_opening: 60,
        tcp_established: 6 * 3600,
        tcp_half_closed: 120,
        tcp_closing: 30,
        udp_opening: 30,
        udp_established: 180,
        icmp: 30,
    };
}

impl Default for Timeouts {
    fn default() -> Self {
        Self::DEFAULT
    }
}

/// What a flow is doing, derived from its history.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    Opening,
    Established,
    HalfClosed,
    Closing,
}

impl State {
    #[inline(always)]
    #[must_use]
    pub const fn of(history: u8) -> Self {
        let both = FIN_OPENER | FIN_ANSWERER;
        if history & RESET != 0 || history & both == both {
            Self::Closing
        } else if history & both != 0 {
            Self::HalfClosed
        } else if history & ANSWERED != 0 {
            Self::Established
        } else {
            Self::Opening
        }
    }

    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Opening => "opening",
            Self::Established => "established",
            Self::HalfClosed => "half-closed",
            Self::Closing => "closing",
        }
    }

    /// How long a flow of this protocol may be silent in this state.
    #[inline(always)]
    #[must_use]
    pub const fn timeout_ns(self, protocol: u8, timeouts: &Timeouts) -> u64 {
        let seconds = match (protocol, self) {
            (TCP, Self::Opening) => timeouts.tcp_opening,
            (TCP, Self::Established) => timeouts.tcp_established,
            (TCP, Self::HalfClosed) => timeouts.tcp_half_closed,
            (TCP, Self::Closing) => timeouts.tcp_closing,
            (UDP | SCTP, Self::Opening) => timeouts.udp_opening,
            (UDP | SCTP, _) => timeouts.udp_established,
            (_, _) => timeouts.icmp,
        };
        (seconds as u64).wrapping_mul(SECOND_NS)
    }
}

impl Flow {
    /// Key of the other entry of the pair.
    #[inline(always)]
    #[must_use]
    pub const fn partner_key(&self, key: &FlowKey) -> FlowKey {
        FlowKey {
            source: self.destination,
            destination: self.source,
            source_port: self.destination_port,
            destination_port: self.source_port,
            protocol: key.protocol,
            side: self.partner_side,
            pad: [0; 2],
        }
    }

    /// The other entry of the pair, as it was when the flow was opened, but with this entry's history.
    #[inline(always)]
    #[must_use]
    pub const fn partner(&self, key: &FlowKey, now_ns: u64) -> Self {
        Self {
            source: key.destination,
            destination: key.source,
            source_port: key.destination_port,
            destination_port: key.source_port,
            history: self.history,
            flags: self.flags ^ REPLY,
            target: self.partner_target,
            partner_side: key.side,
            ifindex: self.partner_ifindex,
            endpoint: self.partner_endpoint,
            owner: self.owner,
            partner_ifindex: self.ifindex,
            partner_endpoint: self.endpoint,
            partner_target: self.target,
            pad: [0; 7],
            network: self.network,
            created_ns: self.created_ns,
            seen_ns: now_ns,
            packets: 0,
            bytes: 0,
        }
    }

    #[inline(always)]
    #[must_use]
    pub const fn state(&self) -> State {
        State::of(self.history)
    }

    /// Whether this entry alone says that the flow is over. The flow is over when both entries say so.
    #[inline(always)]
    #[must_use]
    pub const fn is_expired(&self, protocol: u8, timeouts: &Timeouts, now_ns: u64) -> bool {
        now_ns.saturating_sub(self.seen_ns) > self.state().timeout_ns(protocol, timeouts)
    }
}

/// One record of the frame that `flow_gc` is run with: delete this flow if it has not been used since. The agent only
/// nominates; the program in the kernel looks again, so a packet that came meanwhile is not lost.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Nominee {
    pub key: FlowKey,
    /// `seen_ns` of the nominated entry when the agent read it.
    pub seen_ns: u64,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pair() -> (FlowKey, Flow) {
        let key = FlowKey {
            source: Addr::v4([10, 0, 0, 2]),
            destination: Addr::v4([198, 18, 0, 9]),
            source_port: 4000,
            destination_port: 80,
            protocol: TCP,
            side: INSIDE,
            pad: [0; 2],
        };
        let flow = Flow {
            source: Addr::v4([198, 18, 0, 1]),
            destination: key.destination,
            source_port: 4001,
            destination_port: 80,
            target: TO_UPLINK,
            ifindex: 7,
            owner: 3,
            partner_side: OUTSIDE,
            partner_ifindex: 9,
            partner_endpoint: 3,
            partner_target: TO_ENDPOINT,
            network: 2,
            created_ns: 5,
            seen_ns: 5,
            ..Flow::default()
        };
        (key, flow)
    }

    #[test]
    fn the_partner_of_the_partner_is_the_flow() {
        let (key, flow) = pair();
        let partner_key = flow.partner_key(&key);
        let partner = flow.partner(&key, 5);
        assert_eq!(partner_key.side, OUTSIDE);
        assert_eq!(partner.partner_key(&partner_key), key);
        assert_eq!(partner.partner(&partner_key, 5), flow);
    }

    #[test]
    fn history_gives_the_state() {
        assert_eq!(State::of(0), State::Opening);
        assert_eq!(State::of(ANSWERED), State::Established);
        assert_eq!(State::of(ANSWERED | FIN_OPENER), State::HalfClosed);
        assert_eq!(State::of(ANSWERED | FIN_OPENER | FIN_ANSWERER), State::Closing);
        assert_eq!(State::of(RESET), State::Closing);
    }

    #[test]
    fn an_entry_expires_after_its_timeout_and_not_before() {
        let (key, flow) = pair();
        let timeouts = Timeouts { tcp_opening: 7, ..Timeouts::DEFAULT };
        let expires_ns = flow.seen_ns + 7 * SECOND_NS;
        assert!(!flow.is_expired(key.protocol, &timeouts, expires_ns));
        assert!(flow.is_expired(key.protocol, &timeouts, expires_ns + 1));
        assert!(!flow.is_expired(key.protocol, &timeouts, 0), "a clock that lags is not a timeout");
    }
}
