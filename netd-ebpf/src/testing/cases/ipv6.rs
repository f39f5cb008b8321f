//! What is there in IPv6 that IPv4 does not have?

use super::outside::masqueraded;
use super::{FROM_API, FROM_WEB, OUT, SYN, SYN_ACK, TO_API, TO_DB, TO_WEB};
use crate::testing::case::Case;
use crate::testing::packet::{AUTHENTICATION, DESTINATION_OPTIONS, HOP_BY_HOP, Ip, ROUTING, aged, answer_to, options};
use crate::testing::world::{
    API, DB, HOST, HOST_6, REMOTE, REMOTE_6, ROUTER_MAC, Source, UPLINK, WEB, Who, World, from_host, from_wire,
};
use netd_common::Addr;
use netd_common::drop::DropReason;
use netd_common::globals::HAIRPIN_V6;
use netd_common::publish::{ICMP, ICMPV6, TCP, UDP};

/// What a container's interface calls itself on its link.
const LINK_LOCAL: Addr = Addr::link_local_of(WEB.mac());
/// Protocol numbers (IANA assigned) that end a chain.
const ESP: u8 = 50;
const NO_NEXT_HEADER: u8 = 59;
const MOBILITY: u8 = 135;

pub fn cases() -> Vec<Case> {
    sources().into_iter().chain(link_local()).chain(mapped()).chain(extensions()).collect()
}

fn publish_web(world: &mut World) {
    world.publish(TCP, Addr::ANY_V6, 8080, &WEB, 80);
    world.publish(UDP, Addr::ANY_V6, 5353, &WEB, 53);
}

#[rustfmt::skip]
fn sources() -> Vec<Case> {
    let from = |from| Ip { from, ..WEB.to(REMOTE_6) };
    vec![
        Case::new("a source of IPv6 that is not the container's own")
            .drops(FROM_WEB, from(DB.address_6).udp(1, 2, b""), DropReason::SpoofedSource)
            .drops(FROM_WEB, from(Addr::link_local_of(DB.mac())).udp(1, 2, b""), DropReason::SpoofedSource)
            .drops(FROM_WEB, from(WEB.gateway_6).udp(1, 2, b""), DropReason::SpoofedSource)
            .drops(FROM_WEB, from(HOST_6).tcp(1, 2, SYN, b""), DropReason::SpoofedSource)
            .drops(FROM_WEB, from(Addr::LOOPBACK_V6).udp(1, 2, b""), DropReason::SpoofedSource)
            .drops(FROM_WEB, from(Addr::NONE).udp(1, 2, b""), DropReason::SpoofedSource)
            .drops(FROM_WEB, from(HAIRPIN_V6).udp(1, 2, b""), DropReason::SpoofedSource)
            .drops(FROM_WEB, Ip { from: DB.address_6, to_mac: DB.mac(), ..WEB.to(DB.address_6) }.udp(1, 2, b""), DropReason::SpoofedSource)
            .drops(FROM_WEB, Ip { from_mac: DB.mac(), ..WEB.to(REMOTE_6) }.udp(1, 2, b""), DropReason::SpoofedSource)
            .flows(&[]),
        Case::new("multicast of IPv6 goes to the other members, and is not routed")
            .floods(FROM_WEB, Ip { to_mac: [0x33, 0x33, 0, 0, 0, 0xfb], ..WEB.to(group(0xfb)) }.udp(5353, 5353, b"?"), &[&DB])
            .floods(FROM_WEB, Ip { from: LINK_LOCAL, to_mac: [0x33, 0x33, 0, 0, 0, 0xfb], ..WEB.to(group(0xfb)) }.udp(5353, 5353, b"?"), &[&DB])
            .drops(FROM_WEB, WEB.to(group(1)).echo(true, 1, b"?"), DropReason::Multicast),
    ]
}

const fn group(last: u8) -> Addr {
    Addr::v6([0xff, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, last])
}

#[rustfmt::skip]
fn link_local() -> Vec<Case> {
    let from = |ip: Ip| Ip { from: LINK_LOCAL, ..ip };
    let peer = Addr::link_local_of(DB.mac());
    let router = Addr::link_local_of(ROUTER_MAC);
    let hairpin = |ttl| Ip { ttl, ..WEB.gets(HAIRPIN_V6) };
    vec![
        Case::new("peers talk by their link-local addresses")
            .leaves(FROM_WEB, from(Ip { to_mac: DB.mac(), ..WEB.to(peer) }).tcp(4000, 80, SYN, b""), TO_DB)
            .leaves(FROM_WEB, from(WEB.to_peer(&DB, &Who::V6)).udp(4000, 53, b"x"), TO_DB)
            .leaves(FROM_WEB, Ip { to_mac: DB.mac(), ..WEB.to(peer) }.echo(true, 1, b"x"), TO_DB)
            .flows(&[]),
        Case::new("a link-local destination is not sent on by the gateway")
            .drops(FROM_WEB, WEB.to(peer).udp(1, 2, b""), DropReason::NoRoute)
            .drops(FROM_WEB, from(WEB.to(peer)).udp(1, 2, b""), DropReason::NoRoute)
            .drops(FROM_WEB, WEB.to(router).tcp(1, 2, SYN, b""), DropReason::NoRoute)
            .drops(FROM_WEB, WEB.to(Addr::link_local_of(WEB.gateway_mac())).echo(true, 1, b""), DropReason::NoRoute)
            .flows(&[]),
        Case::new("a link-local source reaches the host and peers, and nothing outside")
            .passes(FROM_WEB, from(WEB.to(WEB.gateway_6)).udp(1, 53, b""))
            .passes(FROM_WEB, from(WEB.to(HOST_6)).tcp(1, 80, SYN, b""))
            .send(FROM_WEB, from(WEB.to(DB.address_6)).udp(4000, 53, b""), TO_DB, Ip { ttl: 63, ..DB.gets(LINK_LOCAL) }.udp(4000, 53, b""))
            .drops(FROM_WEB, from(WEB.to(REMOTE_6)).udp(1, 53, b""), DropReason::NoRoute)
            .drops(FROM_WEB, from(WEB.to(API.address_6)).udp(1, 53, b""), DropReason::NoRoute)
            .flows(&[]),
        Case::new("a container that calls a published port by its link-local address is answered there")
            .given(publish_web)
            .send(FROM_API, Ip { from: Addr::link_local_of(API.mac()), ..API.to(HOST_6) }.udp(4000, 5353, b"?"), TO_WEB,
                hairpin(63).udp(4000, 53, b"?"))
            .answer(FROM_WEB, answer, TO_API,
                Ip { ttl: 63, to: Addr::link_local_of(API.mac()), ..API.gets(HOST_6) }.udp(5353, 4000, b"yes")),
        Case::new("a client of the uplink's link calls a published port by its link-local address")
            .given(publish_web)
            .send(Source::Wire, from_wire(router, HOST_6).tcp(4000, 8080, SYN, b""), TO_WEB, hairpin(60).tcp(4000, 80, SYN, b""))
            .send(FROM_WEB, WEB.to(HAIRPIN_V6).tcp(80, 4000, SYN_ACK, b""), OUT,
                Ip { from: HOST_6, to: router, ttl: 63, ..WEB.to(REMOTE_6) }.tcp(8080, 4000, SYN_ACK, b"")),
        Case::new("what the wire sends to a link-local address is the host's")
            .given(|world| { world.stack.forwarding.insert(UPLINK); })
            .passes(Source::Wire, from_wire(router, Addr::link_local_of([2, 0, 0, 0, 0, 2])).udp(1, 2, b""))
            .passes(Source::Wire, from_wire(router, WEB.address_6).udp(1, 2, b""))
            .drops(Source::Wire, from_wire(REMOTE_6, WEB.address_6).udp(1, 2, b""), DropReason::NotPublished),
    ]
}

#[rustfmt::skip]
fn mapped() -> Vec<Case> {
    // IPv6 headers with addresses that the maps know as IPv4's.
    let v6 = |ip: Ip, from: Addr, to: Addr| {
        let mut frame = Ip { from: REMOTE_6, to: HOST_6, ..ip }.tcp(4000, 8080, SYN, b"");
        frame[22..38].copy_from_slice(&from.bytes);
        frame[38..54].copy_from_slice(&to.bytes);
        frame
    };
    let inside = |from, to| v6(WEB.to(REMOTE_6), from, to);
    let wire = |from, to| v6(from_wire(REMOTE_6, HOST_6), from, to);
    vec![
        Case::new("an IPv6 header has no v4-mapped addresses")
            .given(|world| { publish_web(world); world.publish(TCP, HOST, 8080, &DB, 80); world.stack.forwarding.insert(UPLINK); })
            .drops(FROM_WEB, inside(WEB.address_6, REMOTE), DropReason::Malformed)
            .drops(FROM_WEB, inside(WEB.address_6, HOST), DropReason::Malformed)
            .drops(FROM_WEB, inside(WEB.address_6, DB.address), DropReason::Malformed)
            .drops(FROM_WEB, inside(WEB.address, HOST_6), DropReason::SpoofedSource)
            .passes(Source::Wire, wire(REMOTE_6, HOST))
            .passes(Source::Wire, wire(REMOTE, HOST_6))
            .passes(Source::Wire, wire(REMOTE, HOST))
            .passes(Source::Wire, wire(REMOTE_6, WEB.address))
            .passes(Source::Host, v6(from_host(REMOTE_6), HOST_6, REMOTE))
            .flows(&[]),
        Case::new("a v4-mapped source of IPv6 is no client's of a port that is open to that client")
            .given(|world| { publish_web(world); world.allow(7, &[(REMOTE, 32)]); })
            .passes(Source::Wire, wire(REMOTE, HOST_6))
            .flows(&[]),
        Case::new("ICMP of the other family is nobody's")
            .drops(FROM_WEB, WEB.to(REMOTE_6).frame(ICMP, &[8, 0, 0, 0, 0, 1, 0, 1]), DropReason::UnsupportedProtocol)
            .drops(FROM_WEB, WEB.to(REMOTE).frame(ICMPV6, &[128, 0, 0, 0, 0, 1, 0, 1]), DropReason::UnsupportedProtocol)
            .passes(FROM_WEB, WEB.to(HOST_6).frame(ICMP, &[8, 0, 0, 0, 0, 1, 0, 1]))
            .passes(Source::Wire, from_wire(REMOTE_6, HOST_6).frame(ICMP, &[0, 0, 0, 0, 0, 1, 0, 1]))
            .passes(Source::Wire, from_wire(REMOTE, HOST).frame(ICMPV6, &[129, 0, 0, 0, 0, 1, 0, 1])),
    ]
}

#[rustfmt::skip]
fn extensions() -> Vec<Case> {
    let with = |ip: Ip, chain: &[(u8, u8)]| {
        Ip { extensions: chain.iter().map(|&(header, len)| (header, if header == AUTHENTICATION { authentication(len) } else { options(len) })).collect(), ..ip }
    };
    let chains: [(&str, &[(u8, u8)]); 6] = [
        ("hop-by-hop options", &[(HOP_BY_HOP, 8)]),
        ("a routing header", &[(ROUTING, 24)]),
        ("options for the destination", &[(DESTINATION_OPTIONS, 16)]),
        ("an authentication header", &[(AUTHENTICATION, 24)]),
        ("all of them", &[(HOP_BY_HOP, 16), (DESTINATION_OPTIONS, 8), (ROUTING, 8), (AUTHENTICATION, 16), (DESTINATION_OPTIONS, 40)]),
        ("as many as are followed", &[(DESTINATION_OPTIONS, 8); 8]),
    ];
    let mut cases: Vec<Case> = chains.into_iter().map(|(name, chain)| {
        Case::new(format!("a flow of packets with {name}"))
            .send(FROM_WEB, with(WEB.to(REMOTE_6), chain).tcp(4000, 80, SYN, b"x"), OUT, with(masqueraded(REMOTE_6), chain).tcp(4000, 80, SYN, b"x"))
            .send(Source::Wire, with(from_wire(REMOTE_6, HOST_6), chain).tcp(80, 4000, SYN_ACK, b"y"), TO_WEB,
                with(WEB.gets(REMOTE_6), chain).tcp(80, 4000, SYN_ACK, b"y"))
            .send(FROM_WEB, with(WEB.to(REMOTE_6), chain).udp(4000, 53, b"?"), OUT, with(masqueraded(REMOTE_6), chain).udp(4000, 53, b"?"))
            .send(FROM_WEB, with(WEB.to(REMOTE_6), chain).echo(true, 7, b"?"), OUT, with(masqueraded(REMOTE_6), chain).echo(true, 7, b"?"))
            .send(Source::Wire, with(from_wire(REMOTE_6, HOST_6), chain).echo(false, 7, b"?"), TO_WEB, with(WEB.gets(REMOTE_6), chain).echo(false, 7, b"?"))
    }).collect();
    let too_many = [(DESTINATION_OPTIONS, 8); 9];
    let ending = |with_last: (u8, Vec<u8>)| Ip { extensions: vec![(HOP_BY_HOP, options(8)), with_last], ..WEB.to(REMOTE_6) };
    // A header that says it is longer than what is left.
    let leaving = |header, len| { let mut bytes = options(8); bytes[1] = len; ending((header, bytes)) };
    let atomic = |ip: Ip| Ip { extensions: vec![(44, vec![0, 0, 0, 0, 0, 0, 0, 9])], ..ip };
    let no_transport = |header, bytes: &[u8]| with(WEB.to(REMOTE_6), &[(DESTINATION_OPTIONS, 8)]).frame(header, bytes);
    cases.extend(vec![
        Case::new("more extension headers than are followed")
            .drops(FROM_WEB, with(WEB.to(REMOTE_6), &too_many).udp(1, 2, b""), DropReason::ExtensionHeaders)
            .drops(FROM_WEB, with(WEB.to(HOST_6), &too_many).udp(1, 2, b""), DropReason::ExtensionHeaders)
            .leaves(FROM_WEB, with(Ip { to_mac: DB.mac(), ..WEB.to(DB.address_6) }, &too_many).udp(1, 2, b""), TO_DB)
            .passes(Source::Wire, with(from_wire(REMOTE_6, HOST_6), &too_many).udp(1, 2, b""))
            .passes(Source::Host, with(from_host(REMOTE_6), &too_many).udp(1, 2, b""))
            .flows(&[]),
        Case::new("an extension header that leaves the packet")
            .drops(FROM_WEB, leaving(DESTINATION_OPTIONS, 200).udp(1, 2, b"x"), DropReason::Malformed)
            .drops(FROM_WEB, leaving(ROUTING, 3).udp(1, 2, b"x"), DropReason::Malformed)
            .drops(FROM_WEB, leaving(AUTHENTICATION, 255).udp(1, 2, b"x"), DropReason::Malformed)
            .drops(FROM_WEB, leaving(HOP_BY_HOP, 2).udp(1, 2, b"x"), DropReason::Malformed)
            .drops(FROM_WEB, WEB.to(REMOTE_6).frame(DESTINATION_OPTIONS, &[17, 0, 1, 4]), DropReason::Malformed)
            .drops(FROM_WEB, WEB.to(REMOTE_6).frame(DESTINATION_OPTIONS, &[17, 0, 1, 4, 0, 0, 0, 0]), DropReason::Malformed)
            .passes(Source::Wire, from_wire(REMOTE_6, HOST_6).frame(DESTINATION_OPTIONS, &[17, 0, 1, 4]))
            .flows(&[]),
        Case::new("a chain of extension headers that ends in none that is translated")
            .drops(FROM_WEB, no_transport(ESP, &[0; 16]), DropReason::UnsupportedProtocol)
            .drops(FROM_WEB, no_transport(NO_NEXT_HEADER, &[]), DropReason::UnsupportedProtocol)
            .drops(FROM_WEB, no_transport(MOBILITY, &[0; 8]), DropReason::UnsupportedProtocol)
            .flows(&[]),
        Case::new("a lone fragment with nothing behind it is whole")
            .send(FROM_WEB, atomic(WEB.to(REMOTE_6)).udp(4000, 53, b"?"), OUT, atomic(masqueraded(REMOTE_6)).udp(4000, 53, b"?"))
            .send(Source::Wire, atomic(from_wire(REMOTE_6, HOST_6)).udp(53, 4000, b"!"), TO_WEB, atomic(WEB.gets(REMOTE_6)).udp(53, 4000, b"!"))
            .flows(&[
                "udp inside [fd00:1::2]:4000>[2001:db8:181::9]:53 = [2001:db8:18::1]:4000>[2001:db8:181::9]:53 uplink 102, established, 1",
                "udp outside [2001:db8:181::9]:53>[2001:db8:18::1]:4000 = [2001:db8:181::9]:53>[fd00:1::2]:4000 endpoint 1, established, 1",
            ]),
        Case::new("extension headers are carried to a peer and through a published port")
            .given(publish_web)
            .send(FROM_WEB, with(WEB.to(DB.address_6), &[(ROUTING, 24)]).udp(1, 2, b"x"), TO_DB,
                with(Ip { ttl: 63, ..DB.gets(WEB.address_6) }, &[(ROUTING, 24)]).udp(1, 2, b"x"))
            .send(Source::Wire, with(from_wire(REMOTE_6, HOST_6), &[(HOP_BY_HOP, 8)]).tcp(4000, 8080, SYN, b""), TO_WEB,
                with(WEB.gets(REMOTE_6), &[(HOP_BY_HOP, 8)]).tcp(4000, 80, SYN, b"")),
        Case::new("traffic class and flow label are carried")
            .send(FROM_WEB, labelled(Ip { tos: 0xb9, ..WEB.to(REMOTE_6) }.udp(4000, 53, b"?")), OUT,
                labelled(Ip { tos: 0xb9, ..masqueraded(REMOTE_6) }.udp(4000, 53, b"?"))),
    ]);
    cases
}

/// An authentication header (RFC 4302 section 2), whose length is counted in fours, less two.
fn authentication(len: u8) -> Vec<u8> {
    let mut bytes = vec![0x55; len.into()];
    bytes[1] = len / 4 - 2;
    bytes
}

/// With a flow label.
fn labelled(mut frame: Vec<u8>) -> Vec<u8> {
    frame[15] |= 0x0a;
    frame[16..18].copy_from_slice(&[0xbc, 0xde]);
    frame
}

/// The answer of the last frame's receiver.
fn answer(frame: &[u8]) -> Vec<u8> {
    aged(answer_to(frame, b"yes"), 64)
}
