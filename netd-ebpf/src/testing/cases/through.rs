//! How does a container reach a published port: its own, a peer's, another network's?

use super::published::publish_web;
use super::{ACK, FROM_API, FROM_DB, FROM_WEB, OUT, SYN, SYN_ACK, TO_API, TO_DB, TO_WEB, both};
use crate::testing::case::Case;
use crate::testing::packet::{Ip, aged, answer_to};
use crate::testing::world::{API, DB, MOVED, WEB, Who};
use netd_common::Addr;
use netd_common::drop::DropReason;
use netd_common::endpoint::{INTERNAL, ISOLATED};
use netd_common::publish::TCP;

/// What the container gets, the time to live of its sender less one.
fn web_gets(from: Addr) -> Ip {
    Ip { ttl: 63, ..WEB.gets(from) }
}

pub fn cases() -> Vec<Case> {
    both(of).collect()
}

#[rustfmt::skip]
fn of(who: &Who) -> Vec<Case> {
    let publish_web = publish_web(who);
    let publish_web = &publish_web;
    vec![
        Case::new("a container reaches itself through its published port")
            .given(publish_web)
            .send(FROM_WEB, WEB.to(who.host).tcp(4000, 8080, SYN, b""), TO_WEB, web_gets(who.hairpin).tcp(4000, 80, SYN, b""))
            .flows(&[
                "tcp inside 10.1.0.2:80>169.254.208.1:4000 = 198.18.0.1:8080>10.1.0.2:4000 endpoint 1, opening, 0",
                "tcp inside 10.1.0.2:4000>198.18.0.1:8080 = 169.254.208.1:4000>10.1.0.2:80 endpoint 1, opening, 1",
            ])
            .send(FROM_WEB, WEB.to(who.hairpin).tcp(80, 4000, SYN_ACK, b""), TO_WEB, web_gets(who.host).tcp(8080, 4000, SYN_ACK, b""))
            .send(FROM_WEB, WEB.to(who.host).tcp(4000, 8080, ACK, b"me"), TO_WEB, web_gets(who.hairpin).tcp(4000, 80, ACK, b"me"))
            .flows(&[
                "tcp inside 10.1.0.2:80>169.254.208.1:4000 = 198.18.0.1:8080>10.1.0.2:4000 endpoint 1, established, 1",
                "tcp inside 10.1.0.2:4000>198.18.0.1:8080 = 169.254.208.1:4000>10.1.0.2:80 endpoint 1, established, 2",
            ]),
        Case::new("a peer reaches it by any address of the host, and two peers with one port do not mix")
            .given(publish_web)
            .send(FROM_DB, DB.to(who.gateway(&WEB)).udp(4000, 5353, b"?"), TO_WEB, web_gets(who.hairpin).udp(4000, 53, b"?"))
            .send(FROM_WEB, WEB.to(who.hairpin).udp(53, 4000, b"!"), TO_DB, Ip { ttl: 63, ..DB.gets(who.gateway(&WEB)) }.udp(5353, 4000, b"!"))
            .send(FROM_WEB, WEB.to(who.lan_host).udp(4000, 5353, b"?"), TO_WEB, web_gets(who.hairpin).udp(MOVED, 53, b"?"))
            .answer(FROM_WEB, answer, TO_WEB, web_gets(who.lan_host).udp(5353, 4000, b"yes"))
            .send(FROM_WEB, WEB.to(who.hairpin).udp(53, 4000, b"!"), TO_DB, Ip { ttl: 63, ..DB.gets(who.gateway(&WEB)) }.udp(5353, 4000, b"!")),
        Case::new("another network's container reaches it, and is seen as itself")
            .given(publish_web)
            .send(FROM_API, API.to(who.host).tcp(4000, 8080, SYN, b""), TO_WEB, web_gets(who.of(&API)).tcp(4000, 80, SYN, b""))
            .send(FROM_WEB, WEB.to(who.of(&API)).tcp(80, 4000, SYN_ACK, b""), TO_API, Ip { ttl: 63, ..API.gets(who.host) }.tcp(8080, 4000, SYN_ACK, b""))
            .drops(FROM_WEB, WEB.to(who.of(&API)).tcp(80, 4001, SYN_ACK, b""), DropReason::OtherNetwork)
            .flows(&[
                "tcp inside 10.1.0.2:80>10.2.0.2:4000 = 198.18.0.1:8080>10.2.0.2:4000 endpoint 3, established, 1",
                "tcp inside 10.2.0.2:4000>198.18.0.1:8080 = 10.2.0.2:4000>10.1.0.2:80 endpoint 1, established, 1",
            ]),
        Case::new("an internal network's published port is its own containers'")
            .given(|world| { publish_web(world); world.flags(INTERNAL); })
            .drops(FROM_API, API.to(who.host).tcp(4000, 8080, SYN, b""), DropReason::InternalNetwork)
            .send(FROM_DB, DB.to(who.host).tcp(4000, 8080, SYN, b""), TO_WEB, web_gets(who.hairpin).tcp(4000, 80, SYN, b"")),
        Case::new("an internal network's container reaches no other network by what that published")
            .given(|world| { world.flags(INTERNAL); world.publish(TCP, who.any, 8080, &API, 80); world.publish(TCP, who.any, 8081, &WEB, 81); })
            .drops(FROM_DB, DB.to(who.host).tcp(4000, 8080, SYN, b""), DropReason::InternalNetwork)
            .send(FROM_DB, DB.to(who.host).tcp(4000, 8081, SYN, b""), TO_WEB, web_gets(who.hairpin).tcp(4000, 81, SYN, b"")),
        Case::new("an answer to a hairpin that is forgotten does not leave")
            .drops(FROM_WEB, WEB.to(who.hairpin).udp(53, 4000, b"!"), DropReason::NoFlow)
            .drops(FROM_WEB, WEB.to(who.hairpin).tcp(80, 4000, ACK, b"!"), DropReason::NoFlow)
            .flows(&[]),
        Case::new("a peer that may not be talked to is reached by what it published")
            .given(|world| { publish_web(world); world.flags(ISOLATED); })
            .send(FROM_DB, DB.to(who.host).tcp(4000, 8080, SYN, b""), TO_WEB, web_gets(who.hairpin).tcp(4000, 80, SYN, b"")),
        Case::new("a port published on loopback is not for containers")
            .given(|world| world.publish(TCP, who.loopback, 8080, &WEB, 80))
            .passes(FROM_DB, DB.to(who.host).tcp(4000, 8080, SYN, b""))
            .drops(FROM_DB, DB.to(who.loopback).tcp(4000, 8080, SYN, b""), DropReason::LoopbackOnWire),
        Case::new("an answer that opens nothing, and a container that is gone")
            .given(publish_web)
            .drops(FROM_DB, DB.to(who.host).tcp(4000, 8080, SYN_ACK, b""), DropReason::NoFlow)
            .change(|world| world.unplug(&WEB))
            .drops(FROM_DB, DB.to(who.host).tcp(4000, 8080, SYN, b""), DropReason::EndpointGone)
            .flows(&[]),
        Case::new("a port published for an address that is routed and not the host's")
            .given(|world| world.publish(TCP, who.remote, 80, &DB, 81))
            .send(FROM_WEB, WEB.to(who.remote).tcp(4000, 80, SYN, b""), TO_DB, Ip { ttl: 63, ..DB.gets(who.hairpin) }.tcp(4000, 81, SYN, b""))
            .send(FROM_WEB, WEB.to(who.remote).tcp(4000, 81, SYN, b""), OUT, Ip { from: who.host, ttl: 63, ..WEB.to(who.remote) }.tcp(4000, 81, SYN, b"")),
    ]
}

/// The answer of the last frame's receiver.
fn answer(frame: &[u8]) -> Vec<u8> {
    aged(answer_to(frame, b"yes"), 64)
}
