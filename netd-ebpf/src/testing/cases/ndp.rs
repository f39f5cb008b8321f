//! Who answers for an IPv6 address?

use super::FROM_WEB;
use crate::testing::case::Case;
use crate::testing::packet::{HOP_BY_HOP, Ip, options};
use crate::testing::world::{
    ABSENT_6, API, DB, HOST_6, REMOTE_6, ROUTER_6, ROUTER_MAC, Source, UPLINK_MAC, WEB, Who, from_host, from_wire,
};
use crate::verdict::Verdict;
use netd_common::Addr;
use netd_common::drop::DropReason;
use netd_common::endpoint::ISOLATED;
use netd_common::publish::ICMPV6;

const ANSWERED: Verdict = Verdict::Answer { ifindex: WEB.ifindex };
/// Flags of an answer.
const ROUTER: u8 = 0x80;
const SOLICITED: u8 = 0x40;
const OVERRIDE: u8 = 0x20;
/// Where WEB has an address besides its own.
const LINK_LOCAL: Addr = Addr::link_local_of(WEB.mac());
/// All routers that can learn of groups (RFC 3810 section 5.2.14).
const ALL_MLD_ROUTERS: Addr = Addr::v6([0xff, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x16]);
const PEER_LINK_LOCAL: Addr = Addr::link_local_of(DB.mac());

pub fn cases() -> Vec<Case> {
    answers().into_iter().chain(silence()).chain(no_discovery()).collect()
}

#[rustfmt::skip]
fn answers() -> Vec<Case> {
    let ask = |target| WEB.asks_for(WEB.address_6, target, true);
    let told = |target, mac, flags| WEB.is_told(WEB.address_6, target, mac, flags);
    let solicited = SOLICITED | OVERRIDE;
    // Straight to whom it asks about, as a neighbour's entry that grows old is probed.
    let unicast = |to_mac, target| {
        let ip = Ip { to_mac, ttl: 255, ..WEB.to(target) };
        ip.message(135, 0, [0; 4], &body(target, &[]))
    };
    // With a number of its own that is to come back (RFC 3971 section 5.3.2), which no answer has here.
    let with_nonce = |target: Addr| {
        let ip = Ip { to_mac: [0x33, 0x33, 0xff, 0, 0, 3], ttl: 255, ..WEB.to(target) };
        ip.message(135, 0, [0; 4], &body(target, &[14, 1, 1, 2, 3, 4, 5, 6]))
    };
    vec![
        Case::new("a solicitation for the gateway, a peer and its link-local address is answered")
            .send(FROM_WEB, ask(WEB.gateway_6), ANSWERED, told(WEB.gateway_6, WEB.gateway_mac(), ROUTER | solicited))
            .send(FROM_WEB, ask(DB.address_6), ANSWERED, told(DB.address_6, DB.mac(), solicited))
            .send(FROM_WEB, ask(PEER_LINK_LOCAL), ANSWERED, told(PEER_LINK_LOCAL, DB.mac(), solicited))
            .flows(&[]),
        Case::new("a solicitation from the link-local address is answered to that")
            .send(FROM_WEB, WEB.asks_for(LINK_LOCAL, WEB.gateway_6, true), ANSWERED,
                WEB.is_told(LINK_LOCAL, WEB.gateway_6, WEB.gateway_mac(), ROUTER | solicited))
            .send(FROM_WEB, WEB.asks_for(LINK_LOCAL, PEER_LINK_LOCAL, true), ANSWERED,
                WEB.is_told(LINK_LOCAL, PEER_LINK_LOCAL, DB.mac(), solicited)),
        Case::new("a solicitation without its sender's MAC address, which its frame has, is answered")
            .send(FROM_WEB, WEB.asks_for(WEB.address_6, WEB.gateway_6, false), ANSWERED,
                told(WEB.gateway_6, WEB.gateway_mac(), ROUTER | solicited))
            .send(FROM_WEB, WEB.asks_for(WEB.address_6, DB.address_6, false), ANSWERED,
                told(DB.address_6, DB.mac(), solicited)),
        Case::new("a solicitation with more options is answered with the one")
            .send(FROM_WEB, with_nonce(DB.address_6), ANSWERED, told(DB.address_6, DB.mac(), solicited)),
        Case::new("a solicitation straight to whom it asks about is answered")
            .send(FROM_WEB, unicast(WEB.gateway_mac(), WEB.gateway_6), ANSWERED,
                told(WEB.gateway_6, WEB.gateway_mac(), ROUTER | solicited))
            .send(FROM_WEB, unicast(DB.mac(), DB.address_6), ANSWERED, told(DB.address_6, DB.mac(), solicited)),
        Case::new("who asks whether another's address is free learns that it is not, with all nodes")
            .send(FROM_WEB, WEB.asks_for(Addr::NONE, DB.address_6, false), ANSWERED,
                WEB.is_told(Addr::NONE, DB.address_6, DB.mac(), OVERRIDE))
            .send(FROM_WEB, WEB.asks_for(Addr::NONE, PEER_LINK_LOCAL, false), ANSWERED,
                WEB.is_told(Addr::NONE, PEER_LINK_LOCAL, DB.mac(), OVERRIDE))
            .send(FROM_WEB, WEB.asks_for(Addr::NONE, WEB.gateway_6, false), ANSWERED,
                WEB.is_told(Addr::NONE, WEB.gateway_6, WEB.gateway_mac(), ROUTER | OVERRIDE)),
        Case::new("a peer is found when the two may not talk")
            .given(|world| world.flags(ISOLATED))
            .send(FROM_WEB, ask(DB.address_6), ANSWERED, told(DB.address_6, DB.mac(), solicited)),
    ]
}

/// Of a solicitation: the target, the asker's MAC address, and more options.
fn body(target: Addr, options: &[u8]) -> Vec<u8> {
    let mut body = target.bytes.to_vec();
    body.extend([1, 1]);
    body.extend(WEB.mac());
    body.extend(options);
    body
}

#[rustfmt::skip]
fn silence() -> Vec<Case> {
    let ask = |target| WEB.asks_for(WEB.address_6, target, true);
    // A message of this type to all nodes.
    let message = |icmp_type, body: &[u8]| {
        let ip = Ip { to_mac: [0x33, 0x33, 0, 0, 0, 1], ttl: 255, ..WEB.to(Who::V6.group) };
        ip.message(icmp_type, 0, [0; 4], body)
    };
    let short = |len: usize| message(135, &DB.address_6.bytes[..len]);
    vec![
        Case::new("a solicitation for an address nobody has is silent")
            .drops(FROM_WEB, ask(ABSENT_6), DropReason::NdpUnanswered)
            .drops(FROM_WEB, ask(API.address_6), DropReason::NdpUnanswered)
            .drops(FROM_WEB, ask(API.gateway_6), DropReason::NdpUnanswered)
            .drops(FROM_WEB, ask(Addr::link_local_of(API.mac())), DropReason::NdpUnanswered)
            .drops(FROM_WEB, ask(Addr::link_local_of(WEB.gateway_mac())), DropReason::NdpUnanswered)
            .drops(FROM_WEB, ask(HOST_6), DropReason::NdpUnanswered)
            .drops(FROM_WEB, ask(REMOTE_6), DropReason::NdpUnanswered),
        Case::new("a peer's IPv4 address is none that neighbour discovery knows, nor is no address")
            .change(|world| world.model.ports.entry(WEB.ifindex).or_default().gateway6 = Addr::NONE)
            .drops(FROM_WEB, ask(DB.address), DropReason::NdpUnanswered)
            .drops(FROM_WEB, ask(WEB.gateway), DropReason::NdpUnanswered)
            .drops(FROM_WEB, ask(Addr::NONE), DropReason::NdpUnanswered),
        Case::new("who asks for its own address, to see whether it is free, hears nothing")
            .drops(FROM_WEB, WEB.asks_for(Addr::NONE, WEB.address_6, false), DropReason::NdpUnanswered)
            .drops(FROM_WEB, WEB.asks_for(Addr::NONE, LINK_LOCAL, false), DropReason::NdpUnanswered)
            .drops(FROM_WEB, ask(WEB.address_6), DropReason::NdpUnanswered)
            .drops(FROM_WEB, WEB.asks_for(Addr::NONE, ABSENT_6, false), DropReason::NdpUnanswered),
        Case::new("a peer that is gone is silent")
            .given(|world| world.unplug(&DB))
            .drops(FROM_WEB, ask(DB.address_6), DropReason::NdpUnanswered)
            .drops(FROM_WEB, ask(PEER_LINK_LOCAL), DropReason::NdpUnanswered),
        Case::new("nobody plays the router, and no answer is heard that nobody asked for")
            .drops(FROM_WEB, message(133, &[]), DropReason::NdpUnanswered)
            .drops(FROM_WEB, message(134, &[0; 8]), DropReason::NdpUnanswered)
            .drops(FROM_WEB, message(136, &WEB.address_6.bytes), DropReason::NdpUnanswered)
            .drops(FROM_WEB, message(137, &[0; 32]), DropReason::NdpUnanswered)
            .drops(FROM_WEB, WEB.is_told(WEB.address_6, DB.address_6, WEB.mac(), SOLICITED | OVERRIDE), DropReason::SpoofedSource),
        Case::new("neighbour discovery in another's name")
            .drops(FROM_WEB, WEB.asks_for(DB.address_6, WEB.gateway_6, true), DropReason::SpoofedSource)
            .drops(FROM_WEB, WEB.asks_for(PEER_LINK_LOCAL, WEB.gateway_6, true), DropReason::SpoofedSource)
            .drops(FROM_WEB, WEB.asks_for(WEB.gateway_6, DB.address_6, true), DropReason::SpoofedSource)
            .drops(FROM_WEB, DB.asks_for(DB.address_6, WEB.gateway_6, true), DropReason::SpoofedSource)
            .drops(FROM_WEB, DB.asks_for(WEB.address_6, WEB.gateway_6, true), DropReason::SpoofedSource),
        Case::new("a solicitation that is too short, or has a code")
            .drops(FROM_WEB, short(0), DropReason::Malformed)
            .drops(FROM_WEB, short(15), DropReason::Malformed)
            .drops(FROM_WEB, Ip { to_mac: [0x33, 0x33, 0, 0, 0, 1], ttl: 255, ..WEB.to(REMOTE_6) }.frame(ICMPV6, &[]), DropReason::Malformed)
            .drops(FROM_WEB, Ip { ttl: 255, ..WEB.to(WEB.gateway_6) }.message(135, 1, [0; 4], &WEB.gateway_6.bytes), DropReason::Malformed),
        Case::new("a container that has no IPv6 address says nothing by it")
            .change(|world| world.model.ports.entry(WEB.ifindex).or_default().ipv6 = Addr::NONE)
            .drops(FROM_WEB, WEB.asks_for(LINK_LOCAL, WEB.gateway_6, true), DropReason::SpoofedSource)
            .drops(FROM_WEB, WEB.asks_for(WEB.address_6, WEB.gateway_6, true), DropReason::SpoofedSource)
            .drops(FROM_WEB, WEB.to(REMOTE_6).udp(1, 2, b""), DropReason::SpoofedSource)
            .drops(FROM_WEB, Ip { from: LINK_LOCAL, ..WEB.to(WEB.gateway_6) }.udp(1, 2, b""), DropReason::SpoofedSource),
    ]
}

#[rustfmt::skip]
fn no_discovery() -> Vec<Case> {
    let solicitation = |ip: &Ip| ip.message(135, 0, [0; 4], &WEB.gateway_6.bytes);
    let group = [0x33, 0x33, 0, 0, 0, 1];
    let far = WEB.to(WEB.gateway_6);
    let joining = Ip { from: Addr::NONE, to_mac: group, ..WEB.to(ALL_MLD_ROUTERS) };
    let behind_an_extension = Ip { ttl: 255, extensions: vec![(HOP_BY_HOP, options(8))], ..WEB.to(WEB.gateway_6) };
    let on_the_wire = |from, to| Ip { ttl: 255, ..from_wire(from, to) };
    vec![
        Case::new("what a router may have touched is no neighbour discovery, and the host's stack knows it")
            .passes(FROM_WEB, solicitation(&far))
            .passes(FROM_WEB, solicitation(&Ip { ttl: 254, ..far.clone() }))
            .passes(FROM_WEB, solicitation(&behind_an_extension))
            .floods(FROM_WEB, solicitation(&Ip { to_mac: group, ..far.clone() }), &[&DB])
            .drops(FROM_WEB, solicitation(&Ip { from: Addr::NONE, ..far }), DropReason::SpoofedSource),
        Case::new("an echo with a hop limit of 255 is one")
            .passes(FROM_WEB, Ip { ttl: 255, ..WEB.to(WEB.gateway_6) }.echo(true, 7, b"x"))
            .drops(FROM_WEB, Ip { ttl: 255, from: DB.address_6, ..WEB.to(WEB.gateway_6) }.echo(true, 7, b"x"), DropReason::SpoofedSource),
        Case::new("an interface that joins its groups before it has an address")
            .drops(FROM_WEB, Ip { extensions: vec![(HOP_BY_HOP, options(8))], ..joining.clone() }.message(143, 0, [0; 4], b""), DropReason::Multicast)
            .drops(FROM_WEB, Ip { ttl: 255, ..joining.clone() }.message(143, 0, [0; 4], b""), DropReason::Multicast)
            .drops(FROM_WEB, Ip { to: REMOTE_6, to_mac: WEB.gateway_mac(), ..joining }.udp(1, 2, b""), DropReason::SpoofedSource),
        Case::new("neighbour discovery on the wire is the host's")
            .passes(Source::Wire, on_the_wire(ROUTER_6, HOST_6).message(135, 0, [0; 4], &HOST_6.bytes))
            .passes(Source::Wire, on_the_wire(ROUTER_6, HOST_6).message(136, 0, [0; 4], &ROUTER_6.bytes))
            .passes(Source::Wire, on_the_wire(Addr::link_local_of(ROUTER_MAC), HOST_6).message(134, 0, [0; 4], &[0; 8]))
            .passes(Source::Wire, Ip { to_mac: group, ..on_the_wire(ROUTER_6, HOST_6) }.message(134, 0, [0; 4], &[0; 8]))
            .passes(Source::Host, Ip { ttl: 255, ..from_host(ROUTER_6) }.message(135, 0, [0; 4], &ROUTER_6.bytes))
            .passes(Source::Host, Ip { ttl: 255, from: Addr::link_local_of(UPLINK_MAC), ..from_host(ROUTER_6) }.message(136, 0, [0; 4], &HOST_6.bytes))
            .flows(&[]),
    ]
}
