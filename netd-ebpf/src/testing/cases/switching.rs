//! What stays on a container's own network, or goes no further than its port?

use super::{ACK, FROM_API, FROM_WEB, SYN, TO_DB, both};
use crate::testing::case::{Case, Input, Sent, Step};
use crate::testing::packet::{Arp, Ip};
use crate::testing::world::{ABSENT, API, DB, HOST, Source, WEB, Who, mac_of};
use crate::verdict::Verdict;
use netd_common::Addr;
use netd_common::drop::DropReason;
use netd_common::endpoint::{INTERNAL, ISOLATED};

pub fn cases() -> Vec<Case> {
    let mut cases: Vec<Case> = both(peers).chain(both(beyond)).collect();
    cases.extend(only_of_v4());
    cases.extend(arp());
    cases
}

#[rustfmt::skip]
fn peers(who: &Who) -> Vec<Case> {
    let to_db = WEB.to_peer(&DB, who);
    let to_db = &to_db;
    vec![
        Case::new("a peer's MAC is switched, untouched and without a flow")
            .leaves(FROM_WEB, to_db.tcp(4000, 80, SYN, b""), TO_DB)
            .leaves(FROM_WEB, to_db.udp(4000, 53, b"x"), TO_DB)
            .leaves(FROM_WEB, to_db.echo(true, 7, b"x"), TO_DB)
            .leaves(FROM_WEB, Ip { ttl: 1, ..to_db.clone() }.udp(1, 2, b""), TO_DB)
            .leaves(FROM_WEB, Ip { fragment: 0x2000, ..to_db.clone() }.udp(1, 2, b"x"), TO_DB)
            .leaves(FROM_WEB, to_db.frame(132, &[0; 12]), TO_DB)
            .flows(&[]),
        Case::new("a peer's MAC with a destination that is not the peer's goes to the peer")
            .leaves(FROM_WEB, Ip { to_mac: DB.mac(), ..WEB.to(who.remote) }.udp(4000, 53, b""), TO_DB),
        Case::new("an unknown ethertype goes by MAC")
            .leaves(FROM_WEB, ethertype(DB.mac(), [0x88, 0xb5], b"payload"), TO_DB)
            .leaves(FROM_WEB, ethertype(DB.mac(), [0x88, 0xb5], b""), TO_DB)
            .drops(FROM_WEB, ethertype(WEB.gateway_mac(), [0x88, 0xb5], b"payload"), DropReason::UnknownMac),
        Case::new("a MAC that nobody has, and one of another network")
            .drops(FROM_WEB, Ip { to_mac: mac_of(ABSENT), ..WEB.to(who.absent) }.udp(1, 2, b""), DropReason::UnknownMac)
            .drops(FROM_WEB, Ip { to_mac: API.mac(), ..WEB.to(who.of(&API)) }.udp(1, 2, b""), DropReason::UnknownMac),
        Case::new("broadcast and multicast go to the other members, and are not routed")
            .floods(FROM_WEB, Ip { to_mac: [1, 0, 0x5e, 0, 0, 1], ..WEB.to(who.group) }.udp(1, 2, b""), &[&DB])
            .floods(FROM_WEB, ethertype([0xff; 6], [0x88, 0xb5], b"x"), &[&DB])
            .drops(FROM_WEB, WEB.to(who.group).udp(1, 2, b""), DropReason::Multicast)
            .drops(FROM_API, Ip { to_mac: [1, 0, 0x5e, 0, 0, 1], ..API.to(who.group) }.udp(1, 2, b""), DropReason::Multicast)
            .change(|world| world.flags(ISOLATED))
            .drops(FROM_WEB, Ip { to_mac: [1, 0, 0x5e, 0, 0, 1], ..WEB.to(who.group) }.udp(1, 2, b""), DropReason::IccDisabled),
        Case::new("a source that is not the container's own")
            .drops(FROM_WEB, Ip { from_mac: DB.mac(), ..to_db.clone() }.udp(1, 2, b""), DropReason::SpoofedSource)
            .drops(FROM_WEB, Ip { from: who.of(&DB), ..WEB.to(who.remote) }.udp(1, 2, b""), DropReason::SpoofedSource)
            .drops(FROM_WEB, Ip { from: who.host, ..to_db.clone() }.udp(1, 2, b""), DropReason::SpoofedSource),
        Case::new("an interface that is no endpoint's")
            .drops(Source::Container(99), to_db.udp(1, 2, b""), DropReason::UnknownEndpoint)
            .only_on_the_model("the kernel runs no program on an interface that is not there"),
        Case::new("an endpoint that was removed from under its interface")
            .change(|world| world.unplug(&WEB))
            .drops(FROM_WEB, to_db.udp(1, 2, b""), DropReason::UnknownEndpoint)
            .leaves(Source::from(&DB), DB.to(who.remote).frame(255, &[]), Verdict::Drop(DropReason::UnsupportedProtocol)),
        Case::new("a VLAN tag")
            .step(Step::Send(Sent {
                source: FROM_WEB,
                input: Input::Frame(to_db.udp(1, 2, b"")),
                has_vlan_tag: true,
                verdict: Verdict::Drop(DropReason::VlanTagged),
                out: None,
                copies: Vec::new(),
            }))
            .only_on_the_model("a run of a program for a test has no way to say that there is a tag"),
    ]
}

#[rustfmt::skip]
fn beyond(who: &Who) -> Vec<Case> {
    let to_db = WEB.to_peer(&DB, who);
    let to_db = &to_db;
    let by_gateway = || by_gateway(who);
    vec![
        Case::new("inter-container communication is off")
            .given(|world| world.flags(ISOLATED))
            .drops(FROM_WEB, to_db.udp(1, 2, b""), DropReason::IccDisabled)
            .drops(FROM_WEB, WEB.to(who.of(&DB)).udp(1, 2, b""), DropReason::IccDisabled)
            .drops(FROM_WEB, ethertype(DB.mac(), [0x88, 0xb5], b""), DropReason::IccDisabled)
            .passes(FROM_WEB, WEB.to(who.gateway(&WEB)).udp(1, 53, b"")),
        Case::new("an internal network has peers and the host, and nothing outside")
            .given(|world| world.flags(INTERNAL))
            .leaves(FROM_WEB, to_db.udp(1, 2, b""), TO_DB)
            .passes(FROM_WEB, WEB.to(who.gateway(&WEB)).udp(1, 53, b""))
            .drops(FROM_WEB, WEB.to(who.remote).udp(1, 53, b""), DropReason::InternalNetwork)
            .drops(FROM_WEB, WEB.to(who.remote).echo(true, 1, b""), DropReason::InternalNetwork)
            .drops(FROM_WEB, WEB.to(who.of(&API)).udp(1, 53, b""), DropReason::InternalNetwork)
            .flows(&[]),
        Case::new("a peer by way of the gateway")
            .send(FROM_WEB, WEB.to(who.of(&DB)).tcp(4000, 80, SYN, b""), TO_DB, by_gateway().tcp(4000, 80, SYN, b""))
            .send(FROM_WEB, WEB.to(who.of(&DB)).echo(true, 9, b"abc"), TO_DB, by_gateway().echo(true, 9, b"abc"))
            .send(FROM_WEB, WEB.to(who.of(&DB)).frame(132, &[0; 12]), TO_DB, by_gateway().frame(132, &[0; 12]))
            .flows(&[]),
        Case::new("every address of the host passes, in any protocol")
            .passes(FROM_WEB, WEB.to(who.gateway(&WEB)).tcp(4000, 80, SYN, b""))
            .passes(FROM_WEB, WEB.to(who.host).udp(4000, 53, b""))
            .passes(FROM_WEB, WEB.to(who.lan_host).echo(true, 1, b""))
            .passes(FROM_WEB, WEB.to(who.gateway(&API)).tcp(4000, 80, ACK, b""))
            .passes(FROM_WEB, WEB.to(who.host).frame(132, &[0; 12]))
            .passes(FROM_WEB, Ip { fragment: 0x2000, ..WEB.to(who.host) }.udp(1, 2, b"x"))
            .passes(FROM_WEB, Ip { fragment: 0x0001, ..WEB.to(who.host) }.udp(1, 2, b"x"))
            .flows(&[]),
        Case::new("a loopback destination does not leave the container")
            .given(|world| world.publish(17, who.loopback, 53, &DB, 53))
            .drops(FROM_WEB, WEB.to(who.loopback).udp(1, 53, b""), DropReason::LoopbackOnWire)
            .drops(FROM_WEB, WEB.to(who.loopback).tcp(1, 53, SYN, b""), DropReason::LoopbackOnWire),
        Case::new("IP options are carried to a peer")
            .send(FROM_WEB,
                WEB.to(who.of(&DB)).with_options(8).udp(4000, 53, b"x"), TO_DB,
                by_gateway().with_options(8).udp(4000, 53, b"x")),
        Case::new("another network's container is not reached by its address")
            .drops(FROM_WEB, WEB.to(who.of(&API)).tcp(4000, 80, SYN, b""), DropReason::OtherNetwork)
            .drops(FROM_API, API.to(who.of(&WEB)).udp(4000, 80, b""), DropReason::OtherNetwork)
            .drops(FROM_API, API.to(who.of(&WEB)).frame(132, &[0; 12]), DropReason::OtherNetwork)
            .flows(&[]),
    ]
}

#[rustfmt::skip]
fn only_of_v4() -> Vec<Case> {
    vec![
        Case::new("broadcast goes to the other members, and is not routed")
            .floods(FROM_WEB, Ip { to_mac: [0xff; 6], ..WEB.to([255; 4]) }.udp(68, 67, b"x"), &[&DB])
            .drops(FROM_WEB, WEB.to([255; 4]).udp(1, 2, b""), DropReason::Multicast),
        Case::new("every loopback destination stays in the container")
            .drops(FROM_WEB, WEB.to([127, 9, 9, 9]).tcp(1, 53, SYN, b""), DropReason::LoopbackOnWire),
    ]
}

/// What a peer gets that was addressed by way of the gateway.
fn by_gateway(who: &Who) -> Ip {
    Ip { ttl: 63, ..DB.gets(who.of(&WEB)) }
}

fn ethertype(to_mac: [u8; 6], ethertype: [u8; 2], payload: &[u8]) -> Vec<u8> {
    [&to_mac[..], &WEB.mac(), &ethertype, payload].concat()
}

#[rustfmt::skip]
fn arp() -> Vec<Case> {
    let ask = |target| Arp::request(WEB.mac(), WEB.address, target);
    let answer = |mac, sender| Arp { to_mac: WEB.mac(), operation: 2, sender_mac: mac, sender, target_mac: WEB.mac(), target: WEB.address };
    let answered = Verdict::Answer { ifindex: WEB.ifindex };
    let broken = |at: usize, byte: u8| { let mut frame = ask(DB.address).frame(); frame[at] = byte; frame };
    vec![
        Case::new("ARP for the gateway and for a peer is answered")
            .send(FROM_WEB, ask(WEB.gateway).frame(), answered, answer(WEB.gateway_mac(), WEB.gateway).frame())
            .send(FROM_WEB, ask(DB.address).frame(), answered, answer(DB.mac(), DB.address).frame())
            .send(FROM_WEB, Arp { to_mac: DB.mac(), ..ask(DB.address) }.frame(), answered, answer(DB.mac(), DB.address).frame()),
        Case::new("an ARP request with padding keeps it")
            .send(FROM_WEB, [ask(DB.address).frame(), vec![0; 18]].concat(), answered,
                [answer(DB.mac(), DB.address).frame(), vec![0; 18]].concat()),
        Case::new("ARP for an address nobody has is silent")
            .drops(FROM_WEB, ask(ABSENT).frame(), DropReason::ArpUnanswered)
            .drops(FROM_WEB, ask(API.address).frame(), DropReason::ArpUnanswered)
            .drops(FROM_WEB, ask(API.gateway).frame(), DropReason::ArpUnanswered)
            .drops(FROM_WEB, ask(HOST).frame(), DropReason::ArpUnanswered),
        Case::new("an announcement and a probe of its own address are silent, of another's answered")
            .drops(FROM_WEB, ask(WEB.address).frame(), DropReason::ArpUnanswered)
            .drops(FROM_WEB, Arp { sender: Addr::ANY_V4, ..ask(WEB.address) }.frame(), DropReason::ArpUnanswered)
            .send(FROM_WEB, Arp { sender: Addr::ANY_V4, ..ask(DB.address) }.frame(), answered,
                Arp { target: Addr::ANY_V4, ..answer(DB.mac(), DB.address) }.frame()),
        Case::new("an ARP answer that nobody asked for")
            .drops(FROM_WEB, Arp { operation: 2, to_mac: DB.mac(), target_mac: DB.mac(), ..ask(DB.address) }.frame(), DropReason::ArpUnanswered),
        Case::new("ARP in another's name")
            .drops(FROM_WEB, Arp { sender: DB.address, ..ask(WEB.gateway) }.frame(), DropReason::SpoofedSource)
            .drops(FROM_WEB, broken(22 + 5, 0x77), DropReason::SpoofedSource)
            .drops(FROM_WEB, Arp { sender: WEB.gateway, operation: 2, ..ask(DB.address) }.frame(), DropReason::SpoofedSource),
        Case::new("ARP of another kind")
            .drops(FROM_WEB, broken(15, 6), DropReason::Malformed)
            .drops(FROM_WEB, broken(17, 6), DropReason::Malformed)
            .drops(FROM_WEB, broken(18, 8), DropReason::Malformed)
            .drops(FROM_WEB, broken(19, 16), DropReason::Malformed)
            .drops(FROM_WEB, broken(21, 9), DropReason::ArpUnanswered),
        Case::new("a peer is found by ARP when the two may not talk")
            .given(|world| world.flags(ISOLATED))
            .send(FROM_WEB, ask(DB.address).frame(), answered, answer(DB.mac(), DB.address).frame()),
    ]
}
