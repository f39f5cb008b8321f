//! How is a frame that has not become a packet yet [`Readable`]?

use crate::frame::{Readable, Wire};
use crate::verdict::Verdict;
use aya_ebpf::bindings::{xdp_action, xdp_md};
use aya_ebpf::helpers::generated::{bpf_ktime_get_ns, bpf_xdp_get_buff_len, bpf_xdp_load_bytes};
use core::mem::MaybeUninit;

/// The frame that an XDP program runs on.
pub struct Xdp {
    context: *mut xdp_md,
}

impl Xdp {
    #[inline(always)]
    #[must_use]
    pub const fn new(context: *mut xdp_md) -> Self {
        Self { context }
    }

    /// The interface that it came in by.
    #[inline(always)]
    #[must_use]
    pub fn ifindex(&self) -> u32 {
        // SAFETY: the context is valid for the run of the program; the verifier checks each field.
        unsafe { (*self.context).ingress_ifindex }
    }
}

impl Readable for Xdp {
    /// With all fragments of a frame that is larger than a page.
    #[inline(always)]
    fn len(&self) -> u32 {
        // SAFETY: the context is valid for the run of the program.
        unsafe { bpf_xdp_get_buff_len(self.context) as u32 }
    }

    #[inline(always)]
    fn fill<T: Wire>(&self, offset: u32, header: &mut MaybeUninit<T>) -> bool {
        let size = size_of::<T>() as u32;
        // SAFETY: the destination has room for `size` bytes, and any bytes are a legal `T` (`Wire`).
        unsafe { bpf_xdp_load_bytes(self.context, offset, core::ptr::from_mut(header).cast(), size) == 0 }
    }
}

/// Nanoseconds, monotonic.
#[inline(always)]
#[must_use]
pub fn now_ns() -> u64 {
    // SAFETY: a plain call.
    unsafe { bpf_ktime_get_ns() }
}

/// What an XDP program returns for a verdict: here frames are only let pass or dropped.
#[inline(always)]
#[must_use]
pub const fn act(verdict: Verdict) -> u32 {
    match verdict {
        Verdict::Drop(_) | Verdict::Spent => xdp_action::XDP_DROP,
        Verdict::Pass | Verdict::Keep | Verdict::Deliver { .. } | Verdict::Forward { .. } | Verdict::Answer { .. } => {
            xdp_action::XDP_PASS
        }
    }
}
