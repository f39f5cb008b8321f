//! What can become of a packet, and why was it dropped?
//!
//! One list, shared by the programs, `COUNTERS`, events, `netctl stats` and the tests. A program cannot drop without a
//! [`DropReason`]. To add one: a line in the macro call below, and the line of the program that raises it.

/// Builds an enum with dense numbers from 0, names, and the way back from a number.
///
/// `repr(u32)`, although no number is that large: a narrower one is masked before each use, and the compiler moves that
/// mask to where the register may hold a pointer, which the verifier forbids.
macro_rules! numbered {
    ($(#[$attr:meta])* $name:ident { $($(#[$doc:meta])* $variant:ident = $text:literal,)+ }) => {
        $(#[$attr])*
        #[repr(u32)]
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum $name { $($(#[$doc])* $variant,)+ }

        impl $name {
            /// Every value, in the order of its number.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)+];

            /// The name that metrics, events and the command line use.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self { $(Self::$variant => $text,)+ }
            }

            #[must_use]
            pub fn from_u32(number: u32) -> Option<Self> {
                Self::ALL.get(number as usize).copied()
            }
        }
    };
}

pub(crate) use numbered;

numbered! {
    /// The programs that handle packets, in the order in which `COUNTERS` holds them.
    Hook {
        ContainerEgress = "container_egress",
        UplinkIngress = "uplink_ingress",
        UplinkEgress = "uplink_egress",
        XdpGuard = "xdp_guard",
    }
}

numbered! {
    /// Why a packet was dropped.
    DropReason {
        /// Shorter than its headers say, or a header that contradicts itself.
        Malformed = "Malformed",
        /// The source MAC or IP address is not the endpoint's own; or a packet for a published port comes from the wire
        /// with the host's own address, or one that nobody can have.
        SpoofedSource = "SpoofedSource",
        /// A VLAN tag: a container cannot choose the VLAN it leaves on.
        VlanTagged = "VlanTagged",
        /// The interface is no endpoint's (any more).
        UnknownEndpoint = "UnknownEndpoint",
        /// An ARP request for an address nobody on the network has.
        ArpUnanswered = "ArpUnanswered",
        /// A neighbour solicitation (RFC 4861) for an address nobody on the network has, or another message of neighbour
        /// discovery, which nobody needs.
        NdpUnanswered = "NdpUnanswered",
        /// A frame for a MAC address nobody on the network has.
        UnknownMac = "UnknownMac",
        /// Broadcast or multicast that nobody is there to hear, or by way of the gateway, which routes none.
        Multicast = "Multicast",
        /// Broadcast or multicast past the limit of frames a second, or of members.
        MulticastLimit = "MulticastLimit",
        /// A network with inter-container communication off.
        IccDisabled = "IccDisabled",
        /// An internal network's packet for the outside.
        InternalNetwork = "InternalNetwork",
        /// The destination is a container on a network that the sender is not on.
        OtherNetwork = "OtherNetwork",
        /// The host has no route to the destination.
        NoRoute = "NoRoute",
        /// The host's route leads out of an interface that is no uplink.
        NotUplink = "NotUplink",
        /// No source port was free for this remote address and port.
        SnatExhausted = "SnatExhausted",
        /// `FLOWS` did not take the entry.
        FlowTableFull = "FlowTableFull",
        /// An answer or a reset that belongs to no flow.
        NoFlow = "NoFlow",
        /// A protocol that is not translated, towards or from the outside.
        UnsupportedProtocol = "UnsupportedProtocol",
        /// More IPv6 extension headers than are followed.
        ExtensionHeaders = "ExtensionHeaders",
        /// A container's later fragment whose first fragment has not come.
        FragmentFirstMissing = "FragmentFirstMissing",
        /// A fragment that reaches from within what came before to beyond it.
        FragmentOverlap = "FragmentOverlap",
        /// An ICMP message that is not translated.
        IcmpUnsupported = "IcmpUnsupported",
        /// A packet from the wire with a loopback destination.
        LoopbackOnWire = "LoopbackOnWire",
        /// A packet from the wire straight for a container's address, past its published ports.
        NotPublished = "NotPublished",
        /// The source is on none of the prefixes that the published port is open to.
        NotAllowed = "NotAllowed",
        /// The source is on the block list.
        Blocked = "Blocked",
        /// At the end of its time to live, and of a kind that is not answered (RFC 1122 section 3.2.2).
        TimeExceeded = "TimeExceeded",
        /// Larger than the uplink takes, and of a kind that is not answered.
        TooBig = "TooBig",
        /// The flow's or the published port's container is gone.
        EndpointGone = "EndpointGone",
        /// The kernel refused to change or redirect the packet.
        RewriteFailed = "RewriteFailed",
    }
}

/// How a packet left a program.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Outcome {
    /// Left to the host's stack.
    Passed,
    /// Sent to a container or out of an uplink.
    Redirected,
    /// Answered by the program itself: ARP, neighbour discovery, an ICMP error.
    Answered,
    /// A later fragment from the wire whose first has not come: left to the host's stack, with a copy kept until it comes.
    Kept,
    Dropped(DropReason),
}

impl Outcome {
    /// Slots per hook in `COUNTERS`.
    pub const COUNT: u32 = 64;
    const FIRST_DROP: u32 = 4;

    /// The slot of this outcome, below [`Self::COUNT`].
    #[inline(always)]
    #[must_use]
    pub const fn number(self) -> u32 {
        match self {
            Self::Passed => 0,
            Self::Redirected => 1,
            Self::Answered => 2,
            Self::Kept => 3,
            Self::Dropped(reason) => Self::FIRST_DROP.wrapping_add(reason as u32),
        }
    }

    #[must_use]
    pub fn from_number(number: u32) -> Option<Self> {
        match number {
            0 => Some(Self::Passed),
            1 => Some(Self::Redirected),
            2 => Some(Self::Answered),
            3 => Some(Self::Kept),
            number => DropReason::from_u32(number.checked_sub(Self::FIRST_DROP)?).map(Self::Dropped),
        }
    }

    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Passed => "passed",
            Self::Redirected => "redirected",
            Self::Answered => "answered",
            Self::Kept => "kept",
            Self::Dropped(reason) => reason.name(),
        }
    }
}

/// Value of `COUNTERS`, one per processor.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counter {
    pub packets: u64,
    /// Link-layer header included.
    pub bytes: u64,
}

/// Key of `DROPS`, whose value is a [`Counter`] for each processor: what a container's own packets were dropped for.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct DropKey {
    /// The endpoint's number, as in [`crate::endpoint::Endpoint`].
    pub endpoint: u32,
    /// [`DropReason`].
    pub reason: u32,
}

/// The slot of `COUNTERS` for an outcome of a hook.
#[inline(always)]
#[must_use]
pub const fn counter_index(hook: Hook, outcome: Outcome) -> u32 {
    (hook as u32).wrapping_mul(Outcome::COUNT).wrapping_add(outcome.number())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_outcome_has_its_own_slot_and_finds_the_way_back() {
        let outcomes = [Outcome::Passed, Outcome::Redirected, Outcome::Answered, Outcome::Kept]
            .into_iter()
            .chain(DropReason::ALL.iter().map(|&reason| Outcome::Dropped(reason)));
        let mut seen = [false; Outcome::COUNT as usize];
        for outcome in outcomes {
            let slot = outcome.number() as usize;
            assert!(!seen[slot], "{} shares its slot", outcome.name());
            seen[slot] = true;
            assert_eq!(Outcome::from_number(outcome.number()), Some(outcome));
        }
        assert_eq!(Outcome::from_number(Outcome::COUNT), None);
    }
}
