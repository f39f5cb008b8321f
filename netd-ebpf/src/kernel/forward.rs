//! To which neighbour does a packet go that leaves by an uplink?

use super::maps::gateway6;
use super::skb::{AF_INET6, FOUND, fib, words};
use crate::frame::Way;
use crate::parse::{ETHERNET_SIZE, ETHERTYPE_IPV6};
use aya_ebpf::bindings::{__sk_buff, bpf_redir_neigh, bpf_redir_neigh__bindgen_ty_1};
use aya_ebpf::helpers::generated::{bpf_redirect_neigh, bpf_skb_load_bytes};
use netd_common::Addr;
use netd_common::flow::FlowKey;

/// Where the addresses begin in an IPv6 header.
const ADDRESSES_V6: u32 = 8;
#[expect(clippy::cast_possible_wrap, reason = "a small constant; `try_from` is not const")]
const NEIGHBOUR_SIZE: i32 = size_of::<bpf_redir_neigh>() as i32;

/// Sends the packet out of an uplink, to the neighbour that the kernel looks for. In IPv4 it does so among the routes by
/// that interface. In IPv6 it takes the best route there is, and where that one is by another uplink its gateway is none
/// of this link (`ip6_route_output_flags` is strict only with an unspecified source): then the uplink's own is named.
#[inline(always)]
pub(super) fn forward(skb: *mut __sk_buff, ifindex: u32) -> i64 {
    if is_v6(skb)
        && let Some(gateway) = gateway6(ifindex)
        && *gateway != Addr::NONE
        && is_led_elsewhere(skb, ifindex)
    {
        let mut neighbour = bpf_redir_neigh {
            nh_family: AF_INET6.into(),
            __bindgen_anon_1: bpf_redir_neigh__bindgen_ty_1 { ipv6_nh: words(gateway) },
        };
        // SAFETY: the parameters are valid for the call, and their size is given.
        return unsafe { bpf_redirect_neigh(ifindex, &raw mut neighbour, NEIGHBOUR_SIZE, 0) };
    }
    // SAFETY: no parameters, of size 0, means that the kernel looks for the neighbour itself.
    unsafe { bpf_redirect_neigh(ifindex, core::ptr::null_mut(), 0, 0) }
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
