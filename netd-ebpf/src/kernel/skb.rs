//! How is a socket buffer a [`Frame`], and its namespace a [`Stack`]?

use super::forward;
use crate::frame::{Attempt, ChecksumOf, Frame, Readable, Refused, Route, Stack, Way, Wire};
use crate::held::Held;
use crate::parse::{ETHERNET_SIZE, ETHERTYPE_IPV4, ETHERTYPE_IPV6, Family};
use crate::verdict::Verdict;
use aya_ebpf::bindings::{
    __sk_buff, BPF_F_INGRESS, BPF_F_MARK_MANGLED_0, BPF_F_PSEUDO_HDR, BPF_F_RECOMPUTE_CSUM,
    BPF_FIB_LKUP_RET_FRAG_NEEDED, BPF_FIB_LKUP_RET_FWD_DISABLED, BPF_FIB_LKUP_RET_NO_NEIGH, BPF_FIB_LKUP_RET_NOT_FWDED,
    BPF_FIB_LKUP_RET_SUCCESS, BPF_FIB_LOOKUP_SKIP_NEIGH, BPF_FIB_LOOKUP_SRC,
    bpf_adj_room_mode::BPF_ADJ_ROOM_MAC,
    bpf_check_mtu_flags::BPF_MTU_CHK_SEGS,
    bpf_check_mtu_ret::{BPF_MTU_CHK_RET_FRAG_NEEDED, BPF_MTU_CHK_RET_SEGS_TOOBIG},
    bpf_fib_lookup as FibParams, bpf_sock_tuple, bpf_sock_tuple__bindgen_ty_1__bindgen_ty_1,
    bpf_sock_tuple__bindgen_ty_1__bindgen_ty_2, tcx_action_base,
};
use aya_ebpf::btf_maps::PerCpuArray;
use aya_ebpf::helpers::generated::{
    bpf_check_mtu, bpf_clone_redirect, bpf_csum_diff, bpf_csum_update, bpf_fib_lookup, bpf_get_prandom_u32,
    bpf_ktime_get_coarse_ns, bpf_l4_csum_replace, bpf_loop, bpf_redirect, bpf_redirect_peer, bpf_sk_lookup_udp,
    bpf_sk_release, bpf_skb_adjust_room, bpf_skb_change_proto, bpf_skb_change_tail, bpf_skb_change_type,
    bpf_skb_load_bytes, bpf_skb_store_bytes, bpf_skc_lookup_tcp,
};
use aya_ebpf::macros::btf_map;
use core::mem::MaybeUninit;
use netd_common::Addr;
use netd_common::flow::FlowKey;
use netd_common::limits::HELD_SIZE_MAX;
use netd_common::publish::{TCP, UDP};

/// `pkt_type` of a packet for this host (linux/if_packet.h).
const PACKET_HOST: u32 = 0;
pub(super) const AF_INET: u8 = 2;
pub(super) const AF_INET6: u8 = 10;
#[expect(clippy::cast_possible_wrap, reason = "a small constant; `try_from` is not const")]
const FIB_PARAMS_SIZE: i32 = size_of::<FibParams>() as i32;
/// The namespace of the program's device, for socket lookups (`BPF_F_CURRENT_NETNS`).
const CURRENT_NETNS: u64 = u64::MAX;

/// The bits of a length up to [`HELD_SIZE_MAX`].
const HELD_SIZE_MASK: usize = HELD_SIZE_MAX.next_power_of_two() - 1;

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
    fn fill<T: Wire>(&self, offset: u32, header: &mut MaybeUninit<T>) -> bool {
        let size = size_of::<T>() as u32;
        // SAFETY: the destination has room for `size` bytes, and any bytes are a legal `T` (`Wire`).
        unsafe { bpf_skb_load_bytes(self.skb.cast(), offset, core::ptr::from_mut(header).cast(), size) == 0 }
    }
}

impl Frame for Skb {
    #[inline(always)]
    fn peek<T: Wire>(&self) -> Option<&T> {
        const { assert!(align_of::<T>() == 1, "a packet begins anywhere") };
        // SAFETY: as in `len`.
        let (begin, end) = unsafe { ((*self.skb).data as usize, (*self.skb).data_end as usize) };
        if begin + size_of::<T>() > end {
            return None;
        }
        // SAFETY: as many bytes are there, which the verifier has just seen compared, and any bytes are a legal `T`
        // (`Wire`). What moves the packet takes `&mut self`.
        Some(unsafe { &*(begin as *const T) })
    }

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
    fn correct_sum(&mut self, difference: u32) {
        // SAFETY: a plain call. It fails where the kernel keeps no sum.
        let _keeps_none = unsafe { bpf_csum_update(self.skb, difference) };
    }

    #[inline(always)]
    fn resize(&mut self, len: u32) -> Result<(), Refused> {
        // SAFETY: a plain call.
        if unsafe { bpf_skb_change_tail(self.skb, len, 0) } == 0 { Ok(()) } else { Err(Refused) }
    }

    #[inline(always)]
    fn make_room(&mut self, len: i32) -> Result<(), Refused> {
        // SAFETY: a plain call.
        let failed = unsafe { bpf_skb_adjust_room(self.skb, len, BPF_ADJ_ROOM_MAC, 0) };
        if failed == 0 { Ok(()) } else { Err(Refused) }
    }

    #[inline(always)]
    fn change_family(&mut self, to: Family) -> Result<(), Refused> {
        let ethertype = if to == Family::V6 { ETHERTYPE_IPV6 } else { ETHERTYPE_IPV4 };
        // SAFETY: a plain call.
        if unsafe { bpf_skb_change_proto(self.skb, u16::from_ne_bytes(ethertype), 0) } == 0 {
            Ok(())
        } else {
            Err(Refused)
        }
    }

    #[inline(always)]
    fn copy_out(&self, held: &mut Held) -> bool {
        held.len = self.len();
        // Bounded in a way that the verifier sees: the helper takes no size of zero.
        let len = held.len & (HELD_SIZE_MASK as u32);
        if len == 0 || len != held.len || len > HELD_SIZE_MAX as u32 {
            return false;
        }
        // SAFETY: the destination has room for `len` bytes.
        unsafe { bpf_skb_load_bytes(self.skb.cast(), 0, held.bytes.as_mut_ptr().cast(), len) == 0 }
    }

    #[inline(always)]
    fn become_held(&mut self, held: &Held) -> Result<(), Refused> {
        let len = held.len & (HELD_SIZE_MASK as u32);
        if len <= ETHERNET_SIZE || len > HELD_SIZE_MAX as u32 {
            return Err(Refused);
        }
        self.resize(len)?;
        // A sum that a device took begins behind the link-layer header.
        let bytes = held.bytes.as_ptr();
        let summed = u64::from(BPF_F_RECOMPUTE_CSUM);
        // SAFETY: `held` has `len` bytes and more.
        let (head, behind) = unsafe {
            let behind = bytes.add(ETHERNET_SIZE as usize).cast();
            (
                bpf_skb_store_bytes(self.skb.cast(), 0, bytes.cast(), ETHERNET_SIZE, 0),
                bpf_skb_store_bytes(self.skb.cast(), ETHERNET_SIZE, behind, len - ETHERNET_SIZE, summed),
            )
        };
        if head == 0 && behind == 0 { Ok(()) } else { Err(Refused) }
    }

    #[inline(always)]
    fn send_copy(&mut self, ifindex: u32, is_in: bool) {
        let flags = if is_in { u64::from(BPF_F_INGRESS) } else { 0 };
        // SAFETY: a plain call. What cannot be sent is lost, as on any wire.
        let _lost = unsafe { bpf_clone_redirect(self.skb, ifindex, flags) };
    }

    #[inline(always)]
    fn exceeds_mtu(&self, ifindex: u32, growth: u32, headers: u32) -> Option<u32> {
        let mut mtu = 0;
        // The helper takes either, so segments that grow are measured here.
        let flags = if growth == 0 { BPF_MTU_CHK_SEGS } else { 0 };
        // SAFETY: the hook's context, which lives as long as the program runs.
        let payload = unsafe { (*self.skb).gso_size };
        // SAFETY: `mtu` is valid for the call.
        let result =
            unsafe { bpf_check_mtu(self.skb.cast(), ifindex, &raw mut mtu, growth.cast_signed(), u64::from(flags)) };
        let is_exceeded = result == i64::from(BPF_MTU_CHK_RET_FRAG_NEEDED)
            || result == i64::from(BPF_MTU_CHK_RET_SEGS_TOOBIG)
            || (growth != 0 && payload != 0 && result >= 0 && headers + payload + growth > mtu);
        if is_exceeded { Some(mtu) } else { None }
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
    fn route(&self, tuple: &FlowKey, way: &mut Way) -> Route {
        match fib(self.skb, tuple, way) {
            FOUND => Route::Via,
            NOT_FORWARDED => Route::NotForwarded,
            _ => Route::Unreachable,
        }
    }

    #[inline(always)]
    fn has_socket(&self, tuple: &FlowKey) -> bool {
        has_socket(self.skb, tuple)
    }

    #[inline(always)]
    fn now_ns(&self) -> u64 {
        // As of the last tick (Linux 5.11): nothing here is told apart by less, and no clock has to be read.
        // SAFETY: a plain call.
        unsafe { bpf_ktime_get_coarse_ns() }
    }

    #[inline(always)]
    fn random(&self) -> u32 {
        // SAFETY: a plain call.
        unsafe { bpf_get_prandom_u32() }
    }

    #[inline(always)]
    fn sum<T: Wire>(&self, of: &T) -> u32 {
        let of = core::ptr::from_ref(of).cast_mut().cast();
        // SAFETY: `of` is valid for its size, and nothing is taken off.
        unsafe { bpf_csum_diff(core::ptr::null_mut(), 0, of, size_of::<T>() as u32, 0).cast_unsigned() as u32 }
    }

    #[inline(always)]
    fn repeat<A: Attempt>(times: u32, attempts: &mut A) {
        let turn: unsafe extern "C" fn(u32, *mut A) -> i64 = turn::<A>;
        // SAFETY: the callback takes what it is given here.
        unsafe { bpf_loop(times, turn as *mut core::ffi::c_void, core::ptr::from_mut(attempts).cast(), 0) };
    }
}

/// Room for the arguments of helpers, which the stack has none for.
#[repr(C)]
#[derive(Clone, Copy)]
struct Arguments {
    fib: FibParams,
    tuple: bpf_sock_tuple,
}

/// This processor's own.
#[btf_map]
static ARGUMENTS: PerCpuArray<Arguments, 1> = PerCpuArray::new();

/// What [`fib`] returns.
pub(super) const FOUND: u32 = 0;
const UNREACHABLE: u32 = 1;
const NOT_FORWARDED: u32 = 2;

/// Asks the host's routing, in a stack frame of its own.
#[inline(never)]
pub(super) fn fib(skb: *mut __sk_buff, tuple: &FlowKey, way: &mut Way) -> u32 {
    let Some(arguments) = ARGUMENTS.get_ptr_mut(0) else { return UNREACHABLE };
    // SAFETY: this processor's own slot; a program runs to its end before another of this object does.
    let params = unsafe { &mut (*arguments).fib };
    // SAFETY: all zero is a legal value of this struct of integers.
    *params = unsafe { MaybeUninit::zeroed().assume_init() };
    params.l4_protocol = tuple.protocol;
    // SAFETY: the context is valid for the run of the program.
    params.ifindex = unsafe { (*skb).ifindex };
    let is_v4 = tuple.source.is_v4();
    if is_v4 {
        params.family = AF_INET;
        params.__bindgen_anon_3.ipv4_src = u32::from_ne_bytes(tuple.source.octets_v4());
        params.__bindgen_anon_4.ipv4_dst = u32::from_ne_bytes(tuple.destination.octets_v4());
    } else {
        params.family = AF_INET6;
        params.__bindgen_anon_3.ipv6_src = words(&tuple.source);
        params.__bindgen_anon_4.ipv6_dst = words(&tuple.destination);
    }
    let flags = BPF_FIB_LOOKUP_SKIP_NEIGH | BPF_FIB_LOOKUP_SRC;
    // SAFETY: `params` is valid and its size is given.
    let result = unsafe { bpf_fib_lookup(skb.cast(), core::ptr::from_mut(params), FIB_PARAMS_SIZE, flags) };
    match u32::try_from(result) {
        // The route was found before the packet was held against the device's MTU, which the walk sees to.
        Ok(BPF_FIB_LKUP_RET_SUCCESS | BPF_FIB_LKUP_RET_NO_NEIGH | BPF_FIB_LKUP_RET_FRAG_NEEDED) => {
            way.ifindex = params.ifindex;
            // SAFETY: the helper wrote the member of this family.
            way.source = unsafe {
                if is_v4 {
                    Addr::v4(params.__bindgen_anon_3.ipv4_src.to_ne_bytes())
                } else {
                    address(params.__bindgen_anon_3.ipv6_src)
                }
            };
            FOUND
        }
        Ok(BPF_FIB_LKUP_RET_NOT_FWDED | BPF_FIB_LKUP_RET_FWD_DISABLED) => NOT_FORWARDED,
        Ok(_) | Err(_) => UNREACHABLE,
    }
}

/// The neighbour that the last [`fib`] of IPv4 on this processor found, in network order: the gateway, or the destination
/// itself. 0 where it is one of IPv6 (RFC 5549).
#[inline(always)]
pub(super) fn gateway_found() -> u32 {
    let Some(arguments) = ARGUMENTS.get_ptr_mut(0) else { return 0 };
    // SAFETY: as in `fib`, and the member of the family that is named.
    unsafe {
        let params = &(*arguments).fib;
        if params.family == AF_INET { params.__bindgen_anon_4.ipv4_dst } else { 0 }
    }
}

/// A stack frame of its own, too.
#[inline(never)]
fn has_socket(skb: *mut __sk_buff, tuple: &FlowKey) -> bool {
    let Some(arguments) = ARGUMENTS.get_ptr_mut(0) else { return false };
    // SAFETY: as in `fib`.
    let sockets = unsafe { &mut (*arguments).tuple };
    let (source_port, destination_port) = (tuple.source_port.to_be(), tuple.destination_port.to_be());
    let size = if tuple.source.is_v4() {
        sockets.__bindgen_anon_1.ipv4 = bpf_sock_tuple__bindgen_ty_1__bindgen_ty_1 {
            saddr: u32::from_ne_bytes(tuple.source.octets_v4()),
            daddr: u32::from_ne_bytes(tuple.destination.octets_v4()),
            sport: source_port,
            dport: destination_port,
        };
        size_of::<bpf_sock_tuple__bindgen_ty_1__bindgen_ty_1>()
    } else {
        sockets.__bindgen_anon_1.ipv6 = bpf_sock_tuple__bindgen_ty_1__bindgen_ty_2 {
            saddr: words(&tuple.source),
            daddr: words(&tuple.destination),
            sport: source_port,
            dport: destination_port,
        };
        size_of::<bpf_sock_tuple__bindgen_ty_1__bindgen_ty_2>()
    };
    let sockets = core::ptr::from_mut(sockets);
    // SAFETY: the tuple is valid for `size` bytes; a socket that is found is released at once.
    unsafe {
        let socket = match tuple.protocol {
            TCP => bpf_skc_lookup_tcp(skb.cast(), sockets, size as u32, CURRENT_NETNS, 0),
            UDP => bpf_sk_lookup_udp(skb.cast(), sockets, size as u32, CURRENT_NETNS, 0),
            _ => return false,
        };
        if socket.is_null() {
            return false;
        }
        bpf_sk_release(socket.cast());
    }
    true
}

/// An IPv6 address as the kernel's structs hold it, in network order.
#[inline(always)]
pub(super) const fn words(address: &Addr) -> [u32; 4] {
    let [a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, p] = address.bytes;
    [
        u32::from_ne_bytes([a, b, c, d]),
        u32::from_ne_bytes([e, f, g, h]),
        u32::from_ne_bytes([i, j, k, l]),
        u32::from_ne_bytes([m, n, o, p]),
    ]
}

/// The way back.
#[inline(always)]
const fn address([a, b, c, d]: [u32; 4]) -> Addr {
    let [a, b, c, d] = [a.to_ne_bytes(), b.to_ne_bytes(), c.to_ne_bytes(), d.to_ne_bytes()];
    Addr::v6([a[0], a[1], a[2], a[3], b[0], b[1], b[2], b[3], c[0], c[1], c[2], c[3], d[0], d[1], d[2], d[3]])
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
pub fn act(verdict: Verdict, skb: &Skb) -> i32 {
    // A redirect returns TCX_REDIRECT, or TCX_DROP where it cannot be.
    let action = match verdict {
        Verdict::Pass | Verdict::Keep => return tcx_action_base::TCX_NEXT,
        Verdict::Drop(_) | Verdict::Spent => return tcx_action_base::TCX_DROP,
        // SAFETY: the helper takes two numbers, whatever they are.
        Verdict::Deliver { ifindex } => unsafe { bpf_redirect_peer(ifindex, 0) },
        Verdict::Forward { ifindex } => forward::forward(skb.skb, ifindex),
        // SAFETY: as `bpf_redirect_peer`.
        Verdict::Answer { ifindex } => unsafe { bpf_redirect(ifindex, 0) },
    };
    action as i32
}
