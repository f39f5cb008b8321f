//! How is a socket buffer a [`Frame`], and its namespace a [`Stack`]?

use crate::frame::{Attempt, ChecksumOf, Frame, Readable, Refused, Route, Stack, Wire};
use crate::verdict::Verdict;
use aya_ebpf::bindings::{
    __sk_buff, BPF_F_MARK_MANGLED_0, BPF_F_PSEUDO_HDR, BPF_FIB_LKUP_RET_FRAG_NEEDED, BPF_FIB_LKUP_RET_FWD_DISABLED,
    BPF_FIB_LKUP_RET_NO_NEIGH, BPF_FIB_LKUP_RET_NOT_FWDED, BPF_FIB_LKUP_RET_SUCCESS, BPF_FIB_LOOKUP_SKIP_NEIGH,
    BPF_FIB_LOOKUP_SRC, bpf_fib_lookup as FibParams, bpf_sock_tuple, bpf_sock_tuple__bindgen_ty_1,
    bpf_sock_tuple__bindgen_ty_1__bindgen_ty_1, tcx_action_base,
};
use aya_ebpf::helpers::generated::{
    bpf_fib_lookup, bpf_get_prandom_u32, bpf_ktime_get_ns, bpf_l4_csum_replace, bpf_loop, bpf_redirect,
    bpf_redirect_neigh, bpf_redirect_peer, bpf_sk_lookup_udp, bpf_sk_release, bpf_skb_change_type, bpf_skb_load_bytes,
    bpf_skb_store_bytes, bpf_skc_lookup_tcp,
};
use core::mem::MaybeUninit;
use netd_common::Addr;
use netd_common::flow::FlowKey;
use netd_common::publish::{TCP, UDP};

/// `pkt_type` of a packet for this host (linux/if_packet.h).
const PACKET_HOST: u32 = 0;
const AF_INET: u8 = 2;
#[expect(clippy::cast_possible_wrap, reason = "a small constant; `try_from` is not const")]
const FIB_PARAMS_SIZE: i32 = size_of::<FibParams>() as i32;
/// The namespace of the program's device, for socket lookups (`BPF_F_CURRENT_NETNS`).
const CURRENT_NETNS: u64 = u64::MAX;

/// The packet that a TC program runs on.
pub struct Skb {
    skb: *mut __sk_buff,
}

impl Skb {
    #[inline(always)]
    #[must_use]
    pub const fn new(skb: *mut __sk_buff) -> Self {
        Self { skb }
    }
}

impl Readable for Skb {
    #[inline(always)]
    fn len(&self) -> u32 {
        // SAFETY: the context is valid for the run of the program; the verifier checks each field.
        unsafe { (*self.skb).len }
    }

    #[inline(always)]
    fn read<T: Wire>(&self, offset: u32, header: &mut T) -> bool {
        let size = size_of::<T>() as u32;
        // SAFETY: the destination has room for `size` bytes, and any bytes are a legal `T` (`Wire`).
        unsafe { bpf_skb_load_bytes(self.skb.cast(), offset, core::ptr::from_mut(header).cast(), size) == 0 }
    }
}

impl Frame for Skb {
    #[inline(always)]
    fn ifindex(&self) -> u32 {
        // SAFETY: as in `len`.
        unsafe { (*self.skb).ifindex }
    }

    #[inline(always)]
    fn is_from_host(&self) -> bool {
        // SAFETY: as in `len`.
        unsafe { (*self.skb).ingress_ifindex == 0 }
    }

    #[inline(always)]
    fn is_for_host(&self) -> bool {
        // SAFETY: as in `len`.
        unsafe { (*self.skb).pkt_type == PACKET_HOST }
    }

    #[inline(always)]
    fn has_vlan_tag(&self) -> bool {
        // SAFETY: as in `len`.
        unsafe { (*self.skb).vlan_present != 0 }
    }

    #[inline(always)]
    fn store<T: Wire>(&mut self, offset: u32, value: &T) -> Result<(), Refused> {
        // SAFETY: the source is `size_of::<T>()` bytes.
        let failed = unsafe {
            bpf_skb_store_bytes(self.skb.cast(), offset, core::ptr::from_ref(value).cast(), size_of::<T>() as u32, 0)
        };
        if failed == 0 { Ok(()) } else { Err(Refused) }
    }

    #[inline(always)]
    fn update_checksum(&mut self, offset: u32, difference: u32, of: ChecksumOf) -> Result<(), Refused> {
        // No size: `difference` is one already. MARK_MANGLED_0 keeps UDP's zero a zero, and makes no other one.
        let flags = match of {
            ChecksumOf::PseudoHeader => BPF_F_PSEUDO_HDR,
            ChecksumOf::UdpPseudoHeader => BPF_F_PSEUDO_HDR | BPF_F_MARK_MANGLED_0,
            ChecksumOf::Segment => 0,
            ChecksumOf::UdpSegment => BPF_F_MARK_MANGLED_0,
        };
        // SAFETY: a plain call; the helper checks the offset.
        let failed =
            unsafe { bpf_l4_csum_replace(self.skb.cast(), offset, 0, u64::from(difference), u64::from(flags)) };
        if failed == 0 { Ok(()) } else { Err(Refused) }
    }

    #[inline(always)]
    fn accept(&mut self) {
        if !self.is_for_host() {
            // SAFETY: a plain call. It fails only for types that cannot be set to HOST, which ingress never has.
            let _failed = unsafe { bpf_skb_change_type(self.skb, PACKET_HOST) };
        }
    }
}

impl Stack for Skb {
    #[inline(always)]
    fn route(&self, source: Addr, destination: Addr, protocol: u8) -> Route {
        let source = u32::from_ne_bytes(source.octets_v4());
        let destination = u32::from_ne_bytes(destination.octets_v4());
        match fib(self.skb, source, destination, protocol) {
            NOT_FORWARDED => Route::NotForwarded,
            UNREACHABLE => Route::Unreachable,
            found => {
                let source = (found as u32).to_ne_bytes();
                Route::Via { ifindex: (found >> 32) as u32, source: Addr::v4(source) }
            }
        }
    }

    #[inline(always)]
    fn has_socket(&self, tuple: &FlowKey) -> bool {
        let mut sockets = bpf_sock_tuple {
            __bindgen_anon_1: bpf_sock_tuple__bindgen_ty_1 {
                ipv4: bpf_sock_tuple__bindgen_ty_1__bindgen_ty_1 {
                    saddr: u32::from_ne_bytes(tuple.source.octets_v4()),
                    daddr: u32::from_ne_bytes(tuple.destination.octets_v4()),
                    sport: tuple.source_port.to_be(),
                    dport: tuple.destination_port.to_be(),
                },
            },
        };
        let size = size_of::<bpf_sock_tuple__bindgen_ty_1__bindgen_ty_1>() as u32;
        // SAFETY: the tuple is valid for `size` bytes; a socket that is found is released at once.
        unsafe {
            let socket = match tuple.protocol {
                TCP => bpf_skc_lookup_tcp(self.skb.cast(), &raw mut sockets, size, CURRENT_NETNS, 0),
                UDP => bpf_sk_lookup_udp(self.skb.cast(), &raw mut sockets, size, CURRENT_NETNS, 0),
                _ => return false,
            };
            if socket.is_null() {
                return false;
            }
            bpf_sk_release(socket.cast());
        }
        true
    }

    #[inline(always)]
    fn now_ns(&self) -> u64 {
        // SAFETY: a plain call.
        unsafe { bpf_ktime_get_ns() }
    }

    #[inline(always)]
    fn random(&self) -> u32 {
        // SAFETY: a plain call.
        unsafe { bpf_get_prandom_u32() }
    }

    #[inline(always)]
    fn repeat<A: Attempt>(&self, times: u32, attempts: &mut A) {
        let turn: unsafe extern "C" fn(u32, *mut A) -> i64 = turn::<A>;
        // SAFETY: the callback takes what it is given here.
        unsafe { bpf_loop(times, turn as *mut core::ffi::c_void, core::ptr::from_mut(attempts).cast(), 0) };
    }
}

/// What [`fib`] returns for no route: no interface has the index 0.
const UNREACHABLE: u64 = 0;
const NOT_FORWARDED: u64 = 1;

/// Asks the host's routing, in a stack frame of its own. Returns the interface in the high half and the source address in
/// the low one, as it stands in memory.
#[inline(never)]
fn fib(skb: *mut __sk_buff, source: u32, destination: u32, protocol: u8) -> u64 {
    // SAFETY: all zero is a legal value of this struct of integers.
    let mut params: FibParams = unsafe { MaybeUninit::zeroed().assume_init() };
    params.family = AF_INET;
    params.l4_protocol = protocol;
    // SAFETY: the context is valid for the run of the program.
    params.ifindex = unsafe { (*skb).ifindex };
    params.__bindgen_anon_3.ipv4_src = source;
    params.__bindgen_anon_4.ipv4_dst = destination;
    let flags = BPF_FIB_LOOKUP_SKIP_NEIGH | BPF_FIB_LOOKUP_SRC;
    // SAFETY: `params` is valid and its size is given.
    let result = unsafe { bpf_fib_lookup(skb.cast(), &raw mut params, FIB_PARAMS_SIZE, flags) };
    match u32::try_from(result) {
        // The route was found before the packet was held against the device's MTU, which is no business of the first
        // packet alone; a segmentation-offloaded one is larger in any case.
        Ok(BPF_FIB_LKUP_RET_SUCCESS | BPF_FIB_LKUP_RET_NO_NEIGH | BPF_FIB_LKUP_RET_FRAG_NEEDED) => {
            // SAFETY: the helper wrote the IPv4 member.
            u64::from(params.ifindex) << 32 | u64::from(unsafe { params.__bindgen_anon_3.ipv4_src })
        }
        Ok(BPF_FIB_LKUP_RET_NOT_FWDED | BPF_FIB_LKUP_RET_FWD_DISABLED) => NOT_FORWARDED,
        Ok(_) | Err(_) => UNREACHABLE,
    }
}

/// One turn of [`Stack::repeat`], as `bpf_loop` calls it: 1 ends the loop.
#[inline(never)]
unsafe extern "C" fn turn<A: Attempt>(_index: u32, attempts: *mut A) -> i64 {
    // SAFETY: `repeat` passes what it holds by `&mut`.
    i64::from(unsafe { (*attempts).attempt() })
}

/// What a TCX program returns for a verdict.
#[inline(always)]
#[must_use]
pub fn act(verdict: Verdict) -> i32 {
    // A redirect returns TCX_REDIRECT, or TCX_DROP where it cannot be.
    let action = match verdict {
        Verdict::Pass => return tcx_action_base::TCX_NEXT,
        Verdict::Drop(_) => return tcx_action_base::TCX_DROP,
        // SAFETY: the helper takes two numbers, whatever they are.
        Verdict::Deliver { ifindex } => unsafe { bpf_redirect_peer(ifindex, 0) },
        // SAFETY: no parameters, of size 0, means that the kernel looks for the neighbour itself.
        Verdict::Forward { ifindex } => unsafe { bpf_redirect_neigh(ifindex, core::ptr::null_mut(), 0, 0) },
        // SAFETY: as `bpf_redirect_peer`.
        Verdict::Answer { ifindex } => unsafe { bpf_redirect(ifindex, 0) },
    };
    action as i32
}
