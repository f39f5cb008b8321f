//! What can be asked of one packet, and of the stack that carries it?

use crate::held::Held;
use crate::parse::Family;
use core::mem::MaybeUninit;
use netd_common::Addr;
use netd_common::flow::FlowKey;

/// What a packet may be read as: every bit pattern is legal.
///
/// # Safety
///
/// The type must be `repr(C)`, without padding, and made of integers and byte arrays only.
pub unsafe trait Wire: Copy {}

/// The kernel refused a change to the packet, or the packet is too short for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Refused;

/// The bytes of one packet, link-layer header first.
#[expect(clippy::len_without_is_empty, reason = "no packet is empty: it has a link-layer header")]
pub trait Readable {
    /// Bytes of the whole packet. Not the IPv4 length field, which BIG TCP (Linux 6.3) sets to 0.
    fn len(&self) -> u32;

    /// Reads a whole header into `header`, and says whether the packet is long enough; where it is not, what stands there
    /// counts for nothing.
    fn fill<T: Wire>(&self, offset: u32, header: &mut MaybeUninit<T>) -> bool;

    /// As [`Self::fill`], over what is there.
    #[inline(always)]
    fn read<T: Wire>(&self, offset: u32, header: &mut T) -> bool {
        // SAFETY: a `T` is room for a `T`, and what is written is one (`Wire`).
        self.fill(offset, unsafe { &mut *core::ptr::from_mut(header).cast::<MaybeUninit<T>>() })
    }

    /// Reads a whole, small header; none when the packet is too short.
    #[inline(always)]
    fn load<T: Wire>(&self, offset: u32) -> Option<T> {
        // Not cleared first: that is a loop in a function.
        let mut header = MaybeUninit::uninit();
        // SAFETY: it was filled, and any bytes are a legal T (`Wire`).
        if self.fill(offset, &mut header) { Some(unsafe { header.assume_init() }) } else { None }
    }
}

/// One packet that can be changed and sent on.
pub trait Frame: Readable {
    /// The first bytes of the packet where they stand, which takes no call of a helper; none where the kernel does not have
    /// as many at hand, whatever the packet's length.
    fn peek<T: Wire>(&self) -> Option<&T>;

    /// The interface whose hook runs.
    fn ifindex(&self) -> u32;

    /// Whether a socket of the host sent it: it came in by no interface.
    fn is_from_host(&self) -> bool;

    /// Whether the link layer addressed it to this host.
    fn is_for_host(&self) -> bool;

    /// Whether a VLAN tag stands beside it.
    fn has_vlan_tag(&self) -> bool;

    /// Overwrites bytes. The checksums are the caller's business.
    ///
    /// # Errors
    /// When the packet is too short or cannot be made writable.
    fn store<T: Wire>(&mut self, offset: u32, value: &T) -> Result<(), Refused>;

    /// Adds `difference` to the TCP, UDP or ICMP checksum at `offset`, and to what the kernel remembers of it.
    ///
    /// # Errors
    /// As [`Self::store`].
    fn update_checksum(&mut self, offset: u32, difference: u32, of: ChecksumOf) -> Result<(), Refused>;

    /// Adds `difference` to the kernel's own sum over the packet, where it keeps one (CHECKSUM_COMPLETE). In IPv4 a header
    /// sums up to nothing, whatever its addresses; in IPv6 nothing makes up for a changed address but this.
    fn correct_sum(&mut self, difference: u32);

    /// Cuts the packet to `len` bytes, or adds zeros up to it, and makes it one packet if it was to be segmented.
    ///
    /// # Errors
    /// When the kernel has no room.
    fn resize(&mut self, len: u32) -> Result<(), Refused>;

    /// Makes `len` bytes of room between the link-layer header and the IP header, or takes as many away from there.
    ///
    /// # Errors
    /// When the kernel has no room.
    fn make_room(&mut self, len: i32) -> Result<(), Refused>;

    /// Exchanges room for an IPv4 header without options for room for an IPv6 header, or the other way round.
    ///
    /// # Errors
    /// When the kernel cannot, as with segments of UDP.
    fn change_family(&mut self, to: Family) -> Result<(), Refused>;

    /// Copies the whole packet out; false when it is longer than that.
    fn copy_out(&self, held: &mut Held) -> bool;

    /// Makes the packet another one: what was copied out.
    ///
    /// # Errors
    /// When the kernel has no room.
    fn become_held(&mut self, held: &Held) -> Result<(), Refused>;

    /// Sends a copy: out of an interface, or in by it, as if it had just come.
    fn send_copy(&mut self, ifindex: u32, is_in: bool);

    /// The MTU of an interface, in bytes, when the packet with `growth` more bytes is larger, or a segment of it, which has
    /// `headers` bytes from the IP header to the payload.
    fn exceeds_mtu(&self, ifindex: u32, growth: u32, headers: u32) -> Option<u32>;

    /// Marks it as addressed to the host, so that the receiver behind `redirect_peer` accepts it (needed before 6.15).
    fn accept(&mut self);
}

/// What a changed checksum covers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ChecksumOf {
    /// The bytes that changed are in the pseudo-header (addresses). Anything else must not say so, or the kernel's own
    /// sum over the packet is spoilt.
    PseudoHeader,
    /// As [`Self::PseudoHeader`], in UDP, where zero means "none" and stays (RFC 768).
    UdpPseudoHeader,
    /// The bytes that changed are in the segment itself.
    Segment,
    /// As [`Self::Segment`], in UDP.
    UdpSegment,
}

/// What the host's stack would do with a packet.
pub trait Stack {
    /// Where the host routes a packet with this tuple that came in by this frame's interface; the answer's details are
    /// left in `way`, which the caller has room for.
    fn route(&self, tuple: &FlowKey, way: &mut Way) -> Route;

    /// Whether a socket of the host answers to this tuple: it is connected so, listens or is bound there, or lingers in
    /// TIME_WAIT. `tuple` is what the socket would receive.
    fn has_socket(&self, tuple: &FlowKey) -> bool;

    /// Nanoseconds, monotonic, as of the last tick of the kernel's clock.
    fn now_ns(&self) -> u64;

    fn random(&self) -> u32;

    /// The one's complement sum of a value of at most 512 bytes, a multiple of four, in the byte order of memory.
    fn sum<T: Wire>(&self, of: &T) -> u32;

    /// Attempts until one succeeds, at most `times`. In the kernel the attempt is verified once, and not once a turn
    /// (`bpf_loop`, Linux 5.17).
    fn repeat<A: Attempt>(times: u32, attempts: &mut A);
}

/// Something to be tried again.
pub trait Attempt {
    /// Whether it succeeded.
    fn attempt(&mut self) -> bool;
}

/// Answer of [`Stack::route`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Route {
    /// As [`Way`] says.
    Via,
    /// The host does not know, or has a route that says no.
    Unreachable,
    /// The destination is the host itself, or the kernel does not forward from this interface.
    NotForwarded,
}

/// Details of [`Route::Via`].
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Way {
    /// The interface.
    pub ifindex: u32,
    /// The address that the host uses there, none when the kernel did not say.
    pub source: Addr,
}
