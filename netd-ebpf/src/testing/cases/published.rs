//! What comes from the outside for a published port?

use super::outside::unchecked;
use super::{ACK, FROM_WEB, OUT, RST, SYN, SYN_ACK, TO_API, TO_DB, TO_WEB, both};
use crate::testing::case::Case;
use crate::testing::packet::{Ip, aged, answer_to};
use crate::testing::world::{API, Container, DB, HOST, MOVED, REMOTE, ROUTER_MAC, Source, WEB, Who, World, from_wire};
use netd_common::drop::DropReason;
use netd_common::endpoint::INTERNAL;
use netd_common::publish::{TCP, UDP};

/// What the answer of a published port looks like on the wire.
fn answered(who: &Who) -> Ip {
    Ip { from: who.host, ttl: 63, ..WEB.to(who.remote) }
}

pub fn publish_web(who: &Who) -> impl Fn(&mut World) + use<> {
    let any = who.any;
    move |world| {
        world.publish(TCP, any, 8080, &WEB, 80);
        world.publish(UDP, any, 5353, &WEB, 53);
    }
}

pub fn cases() -> Vec<Case> {
    let mut cases: Vec<Case> = both(open).chain(both(gone)).collect();
    cases.push(only_of_v4());
    cases
}

#[rustfmt::skip]
fn open(who: &Who) -> Vec<Case> {
    let publish_web = publish_web(who);
    let publish_web = &publish_web;
    let wire = from_wire(who.remote, who.host);
    vec![
        Case::new("a published TCP port leads to its container, and the answers go back")
            .given(publish_web)
            .send(Source::Wire, wire.tcp(4000, 8080, SYN, b""), TO_WEB, WEB.gets(who.remote).tcp(4000, 80, SYN, b""))
            .flows(&[
                "tcp inside 10.1.0.2:80>198.18.1.9:4000 = 198.18.0.1:8080>198.18.1.9:4000 uplink 102, opening, 0",
                "tcp outside 198.18.1.9:4000>198.18.0.1:8080 = 198.18.1.9:4000>10.1.0.2:80 endpoint 1, opening, 1",
            ])
            .send(FROM_WEB, WEB.to(who.remote).tcp(80, 4000, SYN_ACK, b""), OUT, answered(who).tcp(8080, 4000, SYN_ACK, b""))
            .send(Source::Wire, wire.tcp(4000, 8080, ACK, b"GET /"), TO_WEB, WEB.gets(who.remote).tcp(4000, 80, ACK, b"GET /"))
            .flows(&[
                "tcp inside 10.1.0.2:80>198.18.1.9:4000 = 198.18.0.1:8080>198.18.1.9:4000 uplink 102, established, 1",
                "tcp outside 198.18.1.9:4000>198.18.0.1:8080 = 198.18.1.9:4000>10.1.0.2:80 endpoint 1, established, 2",
            ]),
        Case::new("a published UDP port leads to its container, and the answers go back")
            .given(publish_web)
            .send(Source::Wire, wire.udp(4000, 5353, b"?"), TO_WEB, WEB.gets(who.remote).udp(4000, 53, b"?"))
            .send(FROM_WEB, WEB.to(who.remote).udp(53, 4000, b"!!!"), OUT, answered(who).udp(5353, 4000, b"!!!"))
            .send(Source::Wire, unchecked(wire.udp(4000, 5353, b"?")), TO_WEB, unchecked(WEB.gets(who.remote).udp(4000, 53, b"?"))),
        Case::new("a padded frame is translated, and its padding left")
            .given(publish_web)
            .send(Source::Wire, [wire.tcp(4000, 8080, SYN, b""), vec![0; 6]].concat(), TO_WEB,
                [WEB.gets(who.remote).tcp(4000, 80, SYN, b""), vec![0; 6]].concat()),
        Case::new("a published port is one of its protocol, and a flow keeps its time to live")
            .given(publish_web)
            .passes(Source::Wire, wire.udp(4000, 8080, b""))
            .passes(Source::Wire, wire.tcp(4000, 5353, SYN, b""))
            .passes(Source::Wire, wire.tcp(4000, 80, SYN, b""))
            .passes(Source::Wire, wire.frame(132, &[0x0f, 0xa0, 0x1f, 0x90, 0, 0, 0, 0, 0, 0, 0, 0]))
            .send(Source::Wire, Ip { ttl: 1, ..wire.clone() }.tcp(4000, 8080, SYN, b""), TO_WEB,
                Ip { ttl: 1, ..WEB.gets(who.remote) }.tcp(4000, 80, SYN, b"")),
        Case::new("an exact address comes before every address")
            .given(|world| {
                publish_web(world);
                world.publish(TCP, who.lan_host, 8080, &DB, 81);
            })
            .send(Source::Wire, from_wire(who.remote, who.lan_host).tcp(4000, 8080, SYN, b""), TO_DB, DB.gets(who.remote).tcp(4000, 81, SYN, b""))
            .send(Source::Wire, wire.tcp(4000, 8080, SYN, b""), TO_WEB, WEB.gets(who.remote).tcp(4000, 80, SYN, b"")),
        Case::new("every address is every one of the host's, and no other")
            .given(publish_web)
            .send(Source::Wire, from_wire(who.remote, who.gateway(&WEB)).tcp(4000, 8080, SYN, b""), TO_WEB, WEB.gets(who.remote).tcp(4000, 80, SYN, b""))
            .passes(Source::Wire, from_wire(who.remote, who.absent).tcp(4000, 8080, SYN, b""))
            .passes(Source::Wire, from_wire(who.remote, who.stranger).tcp(4000, 8080, SYN, b"")),
        Case::new("the unspecified address is none of the host's on the wire")
            .given(publish_web)
            .passes(Source::Wire, from_wire(who.remote, who.any).tcp(4000, 8080, SYN, b"")),
        Case::new("a source from the wire that the wire cannot have opens nothing")
            .given(publish_web)
            .drops(Source::Wire, from_wire(who.loopback, who.host).udp(4000, 5353, b""), DropReason::SpoofedSource)
            .drops(Source::Wire, from_wire(who.host, who.host).udp(4000, 5353, b""), DropReason::SpoofedSource)
            .drops(Source::Wire, from_wire(who.gateway(&WEB), who.host).udp(4000, 5353, b""), DropReason::SpoofedSource)
            .drops(Source::Wire, from_wire(who.group, who.host).udp(4000, 5353, b""), DropReason::SpoofedSource)
            .drops(Source::Wire, from_wire(who.any, who.host).tcp(4000, 8080, SYN, b""), DropReason::SpoofedSource)
            .flows(&[]),
        Case::new("loopback on the wire")
            .given(|world| world.publish(TCP, who.loopback, 8080, &WEB, 80))
            .drops(Source::Wire, from_wire(who.remote, who.loopback).tcp(4000, 8080, SYN, b""), DropReason::LoopbackOnWire)
            .drops(Source::Wire, from_wire(who.remote, who.loopback).echo(true, 1, b""), DropReason::LoopbackOnWire)
            .drops(Source::Wire, from_wire(who.remote, who.loopback).frame(132, &[0; 12]), DropReason::LoopbackOnWire)
            .passes(Source::Wire, wire.tcp(4000, 8080, SYN, b"")),
        Case::new("a frame for another machine, or for all, is left alone")
            .given(publish_web)
            .passes(Source::Wire, Ip { to_mac: ROUTER_MAC, ..wire.clone() }.tcp(4000, 8080, SYN, b""))
            .passes(Source::Wire, Ip { to_mac: [0xff; 6], ..wire.clone() }.udp(4000, 5353, b""))
            .passes(Source::Wire, from_wire(who.remote, who.group).udp(4000, 5353, b"")),
    ]
}

fn only_of_v4() -> Case {
    Case::new("every loopback address on the wire, and broadcast")
        .given(publish_web(&Who::V4))
        .drops(Source::Wire, from_wire(REMOTE, [127, 1, 2, 3]).icmp(8, 1, b""), DropReason::LoopbackOnWire)
        .passes(Source::Wire, from_wire(REMOTE, [255; 4]).udp(4000, 5353, b""))
        .drops(Source::Wire, from_wire([255; 4], HOST).udp(4000, 5353, b""), DropReason::SpoofedSource)
}

#[rustfmt::skip]
fn gone(who: &Who) -> Vec<Case> {
    let publish_web = publish_web(who);
    let publish_web = &publish_web;
    let wire = from_wire(who.remote, who.host);
    vec![
        Case::new("the container is gone")
            .given(|world| { publish_web(world); world.unplug(&WEB); })
            .drops(Source::Wire, wire.tcp(4000, 8080, SYN, b""), DropReason::EndpointGone)
            .flows(&[]),
        Case::new("another container has the address now")
            .given(|world| { publish_web(world); world.plug(&NEW_WEB, 0); })
            .drops(Source::Wire, wire.tcp(4000, 8080, SYN, b""), DropReason::EndpointGone)
            .flows(&[]),
        Case::new("another container has the interface index now")
            .given(publish_web)
            .send(Source::Wire, wire.tcp(4000, 8080, SYN, b""), TO_WEB, WEB.gets(who.remote).tcp(4000, 80, SYN, b""))
            .change(|world| world.plug(&NEW_WEB, 0))
            .drops(Source::Wire, wire.tcp(4000, 8080, ACK, b"secret"), DropReason::EndpointGone)
            .flows(&[]),
        Case::new("a port that is unpublished keeps its flow until that is purged")
            .given(publish_web)
            .send(Source::Wire, wire.tcp(4000, 8080, SYN, b""), TO_WEB, WEB.gets(who.remote).tcp(4000, 80, SYN, b""))
            .change(|world| world.model.publishes.clear())
            .send(Source::Wire, wire.tcp(4000, 8080, ACK, b""), TO_WEB, WEB.gets(who.remote).tcp(4000, 80, ACK, b""))
            .passes(Source::Wire, wire.tcp(4001, 8080, SYN, b"")),
        Case::new("a connection to a published port is resumed whose flow was lost")
            .given(publish_web)
            .send(Source::Wire, wire.tcp(4000, 8080, ACK, b"more"), TO_WEB, WEB.gets(who.remote).tcp(4000, 80, ACK, b"more"))
            .flows(&[
                "tcp inside 10.1.0.2:80>198.18.1.9:4000 = 198.18.0.1:8080>198.18.1.9:4000 uplink 102, established, 0",
                "tcp outside 198.18.1.9:4000>198.18.0.1:8080 = 198.18.1.9:4000>10.1.0.2:80 endpoint 1, established, 1",
            ]),
        Case::new("an answer or a reset opens nothing, and is left to the host's sockets")
            .given(publish_web)
            .passes(Source::Wire, wire.tcp(80, 8080, SYN_ACK, b""))
            .passes(Source::Wire, wire.tcp(80, 8080, RST, b""))
            .flows(&[]),
        Case::new("an answer for a socket of the host that has a published port passes")
            .given(|world| {
                publish_web(world);
                world.listen(TCP, who.host, 8080);
                world.listen(UDP, who.host, 5353);
            })
            .passes(Source::Wire, wire.tcp(80, 8080, ACK, b"data"))
            .passes(Source::Wire, wire.udp(53, 5353, b"data"))
            .send(Source::Wire, wire.tcp(4000, 8080, SYN, b""), TO_WEB, WEB.gets(who.remote).tcp(4000, 80, SYN, b"")),
        Case::new("a published port that a socket of the host has for one peer alone")
            .given(|world| { publish_web(world); world.connect(who.host, 5353, who.remote, 4000); })
            .passes(Source::Wire, wire.udp(4000, 5353, b"data"))
            .send(Source::Wire, wire.udp(4001, 5353, b"?"), TO_WEB, WEB.gets(who.remote).udp(4001, 53, b"?")),
        Case::new("an internal network's container has no published port outside")
            .given(|world| { publish_web(world); world.flags(INTERNAL); })
            .drops(Source::Wire, wire.tcp(4000, 8080, SYN, b""), DropReason::InternalNetwork)
            .flows(&[]),
        Case::new("two addresses of the host that lead to one port answer as they were asked")
            .given(publish_web)
            .send(Source::Wire, wire.udp(4000, 5353, b""), TO_WEB, WEB.gets(who.remote).udp(4000, 53, b""))
            .send(Source::Wire, from_wire(who.remote, who.lan_host).udp(4000, 5353, b""), TO_WEB,
                WEB.gets(who.remote).udp(MOVED, 53, b""))
            .answer(FROM_WEB, web_answers, OUT, Ip { from: who.lan_host, ..answered(who) }.udp(5353, 4000, b"yes"))
            .send(FROM_WEB, WEB.to(who.remote).udp(53, 4000, b""), OUT, answered(who).udp(5353, 4000, b"")),
        Case::new("two networks publish two ports")
            .given(|world| { publish_web(world); world.publish(TCP, who.host, 9090, &API, 80); })
            .send(Source::Wire, wire.tcp(4000, 9090, SYN, b""), TO_API, API.gets(who.remote).tcp(4000, 80, SYN, b""))
            .send(Source::Wire, wire.tcp(4000, 8080, SYN, b""), TO_WEB, WEB.gets(who.remote).tcp(4000, 80, SYN, b"")),
    ]
}

/// Behind the same interface, with the same address.
const NEW_WEB: Container = Container { endpoint: 9, ..WEB };

/// The answer of the last frame's receiver, which is the container.
fn web_answers(frame: &[u8]) -> Vec<u8> {
    aged(answer_to(frame, b"yes"), 64)
}
