//! To which neighbour does a packet go that leaves by an uplink?

use super::maps::gateway6;
use super::skb::{AF_INET, AF_INET6, FOUND, Skb, fib, gateway_found, words};
use crate::frame::{Frame as _, Stack as _, Way};
use crate::parse::{ETHERNET_SIZE, ETHERTYPE_IPV6, Head};
use aya_ebpf::bindings::{__sk_buff, bpf_redir_neigh, bpf_redir_neigh__bindgen_ty_1};
use aya_ebpf::btf_maps::PerCpuArray;
use aya_ebpf::helpers::generated::{bpf_redirect_neigh, bpf_skb_load_bytes};
use aya_ebpf::macros::btf_map;
use netd_common::Addr;
use netd_common::flow::FlowKey;

/// Where the addresses begin in an IPv6 header.
const ADDRESSES_V6: u32 = 8;
#[expect(clippy::cast_possible_wrap, reason = "a small constant; `try_from` is not const")]
const NEIGHBOUR_SIZE: i32 = size_of::<bpf_redir_neigh>() as i32;

/// Sends the packet out of an uplink, to the neighbour that the routes name.
#[inline(always)]
pub(super) fn forward(skb: *mut __sk_buff, ifindex: u32) -> i64 {
    if is_v6(skb) { forward6(skb, ifindex) } else { forward4(skb, ifindex) }
}

/// No parameters, of size 0, means that the kernel looks for the neighbour itself.
#[inline(always)]
fn redirect(ifindex: u32) -> i64 {
    // SAFETY: as said.
    unsafe { bpf_redirect_neigh(ifindex, core::ptr::null_mut(), 0, 0) }
}

/// As [`redirect`], to a neighbour that is known.
#[inline(always)]
fn redirect_to(ifindex: u32, neighbour: &mut bpf_redir_neigh) -> i64 {
    // SAFETY: the parameters are valid for the call, and their size is given.
    unsafe { bpf_redirect_neigh(ifindex, neighbour, NEIGHBOUR_SIZE, 0) }
}

/// How long a neighbour is remembered, in nanoseconds.
const REMEMBERED_NS: u64 = 100_000_000;
/// Pairs of addresses whose neighbour a processor remembers. Two that share a place, or two protocols of one pair, ask anew
/// each time they take turns.
const HOPS_MAX: usize = 256;
/// The bits of a product that say which place.
const HOPS_SHIFT: u32 = 32 - HOPS_MAX.ilog2();
/// Spreads numbers that differ little (Knuth's multiplicative hash).
const SPREAD: u32 = 0x9e37_79b1;

/// Addresses in network order.
#[repr(C)]
#[derive(Clone, Copy)]
struct Hop {
    source: u32,
    destination: u32,
    ifindex: u32,
    /// Rules may tell protocols apart.
    protocol: u32,
    /// Of no family: the kernel is to look for it.
    neighbour: bpf_redir_neigh,
    asked_ns: u64,
}

/// Not pinned: the programs of one load share it, and no others.
#[btf_map]
static HOPS: PerCpuArray<Hop, HOPS_MAX> = PerCpuArray::new();

/// In IPv4 the kernel looks for the neighbour of each packet among the routes by that interface, in half a microsecond. So
/// it is remembered, for so short that a changed route is followed at once, by anybody's measure but a packet's, and also
/// while no agent runs. Not where the routes lead elsewhere by now, nor where the type of service is set, by which they may
/// differ.
#[inline(never)]
fn forward4(skb: *mut __sk_buff, ifindex: u32) -> i64 {
    let frame = Skb::new(skb);
    let Some(Head { ipv4, .. }) = frame.peek::<Head>() else { return redirect(ifindex) };
    if ipv4.tos & !ECN != 0 {
        return redirect(ifindex);
    }
    let (source, destination) = (u32::from_ne_bytes(ipv4.source), u32::from_ne_bytes(ipv4.destination));
    let place = (source ^ destination.rotate_left(16)).wrapping_mul(SPREAD) >> HOPS_SHIFT;
    let Some(hop) = HOPS.get_ptr_mut(place) else { return redirect(ifindex) };
    // SAFETY: this processor's own slot; a program runs to its end before another of this object does.
    let hop = unsafe { &mut *hop };
    let now_ns = frame.now_ns();
    let protocol = u32::from(ipv4.protocol);
    let is_same_pair = hop.source == source && hop.destination == destination;
    let is_it = is_same_pair && hop.protocol == protocol && hop.ifindex == ifindex;
    if !is_it || now_ns.wrapping_sub(hop.asked_ns) >= REMEMBERED_NS {
        let tuple = FlowKey {
            source: Addr::v4(ipv4.source),
            destination: Addr::v4(ipv4.destination),
            protocol: ipv4.protocol,
            ..FlowKey::default()
        };
        let mut way = Way::default();
        let is_by_it = fib(skb, &tuple, &mut way) == FOUND && way.ifindex == ifindex;
        let gateway = if is_by_it { gateway_found() } else { 0 };
        hop.source = source;
        hop.destination = destination;
        hop.ifindex = ifindex;
        hop.protocol = protocol;
        hop.asked_ns = now_ns;
        hop.neighbour.nh_family = if gateway == 0 { 0 } else { AF_INET.into() };
        hop.neighbour.__bindgen_anon_1.ipv4_nh = gateway;
    }
    if hop.neighbour.nh_family == 0 { redirect(ifindex) } else { redirect_to(ifindex, &mut hop.neighbour) }
}

/// The bits of the type of service that no route looks at (RFC 3168).
const ECN: u8 = 0x03;

/// In IPv6 the kernel takes the best route there is, and where that one is by another uplink its gateway is none of this
/// link (`ip6_route_output_flags` is strict only with an unspecified source): then the uplink's own is named.
#[inline(always)]
fn forward6(skb: *mut __sk_buff, ifindex: u32) -> i64 {
    match gateway6(ifindex) {
        Some(gateway) if *gateway != Addr::NONE && is_led_elsewhere(skb, ifindex) => {
            let mut neighbour = bpf_redir_neigh {
                nh_family: AF_INET6.into(),
                __bindgen_anon_1: bpf_redir_neigh__bindgen_ty_1 { ipv6_nh: words(gateway) },
            };
            redirect_to(ifindex, &mut neighbour)
        }
        _ => redirect(ifindex),
    }
}

#[inline(always)]
fn is_v6(skb: *mut __sk_buff) -> bool {
    // SAFETY: the context is valid for the run of the program.
    unsafe { (*skb).protocol == u32::from(u16::from_ne_bytes(ETHERTYPE_IPV6)) }
}

/// Whether the best route of a packet of IPv6 is by another interface than this one.
#[inline(never)]
fn is_led_elsewhere(skb: *mut __sk_buff, ifindex: u32) -> bool {
    let (mut tuple, mut way) = (FlowKey::default(), Way::default());
    let at = core::ptr::from_mut(&mut tuple).cast();
    // SAFETY: a tuple begins with its two addresses, in the order of the header.
    if unsafe { bpf_skb_load_bytes(skb.cast(), ETHERNET_SIZE + ADDRESSES_V6, at, 2 * size_of::<Addr>() as u32) } != 0 {
        return false;
    }
    fib(skb, &tuple, &mut way) == FOUND && way.ifindex != ifindex
}
