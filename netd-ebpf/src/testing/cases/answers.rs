//! What does the gateway answer to a packet that cannot go on?

use super::outside::masqueraded;
use super::published::publish_web;
use super::{ACK, FROM_API, FROM_DB, FROM_WEB, OUT, SYN, SYN_ACK, TO_DB, TO_WEB, both};
use crate::testing::case::Case;
use crate::testing::packet::Ip;
use crate::testing::world::{API, Container, DB, HOST_6, REMOTE_6, Source, WEB, Who, from_wire};
use crate::verdict::Verdict;
use netd_common::Addr;
use netd_common::drop::DropReason;
use netd_common::endpoint::{INTERNAL, UNMASQUERADED};
use netd_common::publish::{SCTP, TCP, UDP};

/// Bytes of the packet that come back.
const QUOTE: usize = 128;
/// Of the uplink, in bytes.
const MTU: u16 = 1500;
const DONT_FRAGMENT: u16 = 0x4000;

pub fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
    for of_both in [end_of_time, unanswered, too_big, too_big_unanswered] {
        cases.extend(both(of_both));
    }
    cases.push(between_the_families());
    cases
}

const fn answered(to: &Container) -> Verdict {
    Verdict::Answer { ifindex: to.ifindex }
}

/// The gateway's answer to a frame of `to`: a message with so many bytes of it, filled up with zeros.
fn answer(who: &Who, to: &Container, (icmp_type, code): (u8, u8), rest: [u8; 4], about: &[u8]) -> Vec<u8> {
    let mut quote = about[14..].to_vec();
    quote.resize(QUOTE, 0);
    let ip = Ip { from: who.gateway(to), ttl: 64, id: 0, ..to.gets(who.gateway(to)) };
    // As routers mark what they send themselves.
    let ip = if who.is_v4() { Ip { tos: 0xc0, fragment: DONT_FRAGMENT, ..ip } } else { ip };
    ip.message(icmp_type, code, rest, &quote)
}

/// That its time is over.
fn over(who: &Who, to: &Container, about: &[u8]) -> Vec<u8> {
    answer(who, to, who.time_exceeded, [0; 4], about)
}

/// That only so much fits.
fn fits(who: &Who, to: &Container, mtu: u16, about: &[u8]) -> Vec<u8> {
    let [high, low] = mtu.to_be_bytes();
    answer(who, to, if who.is_v4() { (3, 4) } else { (2, 0) }, [0, 0, high, low], about)
}

fn aged(ip: Ip, ttl: u8) -> Ip {
    Ip { ttl, ..ip }
}

trait Answered {
    /// A frame of WEB that is answered with "time exceeded".
    fn ends(self, who: &Who, frame: Vec<u8>) -> Self;
    /// A frame of WEB that is answered with an MTU.
    fn grows(self, who: &Who, frame: Vec<u8>, mtu: u16) -> Self;
}

impl Answered for Case {
    fn ends(self, who: &Who, frame: Vec<u8>) -> Self {
        let out = over(who, &WEB, &frame);
        self.send(FROM_WEB, frame, answered(&WEB), out)
    }

    fn grows(self, who: &Who, frame: Vec<u8>, mtu: u16) -> Self {
        let out = fits(who, &WEB, mtu, &frame);
        self.send(FROM_WEB, frame, answered(&WEB), out)
    }
}

#[rustfmt::skip]
fn end_of_time(who: &Who) -> Vec<Case> {
    let (remote, host) = (who.remote, who.host);
    let last = |to: Addr| aged(WEB.to(to), 1);
    let none = |to: Addr| aged(WEB.to(to), 0);
    vec![
        Case::new("the gateway is the first hop, and opens nothing for what ends there")
            .ends(who, last(remote).udp(33434, 33434, b"trace"))
            .ends(who, last(remote).echo(true, 7, b"trace"))
            .ends(who, last(remote).tcp(4000, 80, SYN, b""))
            .ends(who, last(remote).tcp(4000, 80, ACK, &[7; 400]))
            .ends(who, last(remote).frame(SCTP, &[0; 12]))
            .ends(who, none(remote).udp(33434, 33434, b"trace"))
            .ends(who, last(remote).frame(47, &[0; 4]))
            .ends(who, last(remote).with_options(16).udp(33434, 33434, b"trace"))
            .flows(&[]),
        Case::new("the gateway is a hop to a peer, when that is called by way of it")
            .ends(who, last(who.of(&DB)).udp(1, 2, b"x"))
            .ends(who, none(who.of(&DB)).echo(true, 1, b"x"))
            .send(FROM_WEB, aged(WEB.to(who.of(&DB)), 2).udp(1, 2, b"x"), TO_DB, aged(DB.gets(who.of(&WEB)), 1).udp(1, 2, b"x"))
            .leaves(FROM_WEB, aged(WEB.to_peer(&DB, who), 1).udp(1, 2, b"x"), TO_DB),
        Case::new("the gateway is a hop to a published port, but not to the host")
            .given(publish_web(who))
            .ends(who, last(host).tcp(4000, 8080, SYN, b""))
            .ends(who, none(host).udp(4000, 5353, b"?"))
            .passes(FROM_WEB, last(host).tcp(4000, 8081, SYN, b""))
            .passes(FROM_WEB, none(host).tcp(4000, 8081, SYN, b""))
            .passes(FROM_WEB, last(who.gateway(&WEB)).udp(4000, 53, b"?"))
            .passes(FROM_WEB, last(host).echo(true, 7, b"x"))
            .passes(FROM_WEB, last(host).frame(47, &[0; 4]))
            .flows(&[]),
        Case::new("a flow's packet that ends at the gateway")
            .send(FROM_WEB, WEB.to(remote).udp(4000, 53, b"?"), OUT, masqueraded(remote).udp(4000, 53, b"?"))
            .ends(who, last(remote).udp(4000, 53, b"??"))
            .send(FROM_WEB, aged(WEB.to(remote), 2).udp(4000, 53, b"?"), OUT, aged(masqueraded(remote), 1).udp(4000, 53, b"?")),
        Case::new("an answer of a published port that ends at the gateway")
            .given(publish_web(who))
            .send(Source::Wire, from_wire(remote, host).tcp(4000, 8080, SYN, b""), TO_WEB, WEB.gets(remote).tcp(4000, 80, SYN, b""))
            .ends(who, last(remote).tcp(80, 4000, SYN_ACK, b"")),
        Case::new("the end of time is told before where it would have led")
            .given(|world| world.flags(INTERNAL))
            .ends(who, last(remote).udp(1, 2, b""))
            .ends(who, last(who.absent).udp(1, 2, b""))
            .ends(who, last(who.of(&API)).udp(1, 2, b"")),
        Case::new("another container's gateway answers in its own name")
            .send(FROM_API, aged(API.to(remote), 1).udp(1, 2, b"x"), answered(&API), over(who, &API, &aged(API.to(remote), 1).udp(1, 2, b"x"))),
        Case::new("a long packet's start comes back, and a first fragment's")
            .ends(who, last(remote).udp(1, 2, &[7; 1400]))
            .ends(who, Ip { fragment: 0x2000, ..last(remote) }.udp(1, 2, &[7; 800])),
    ]
}

#[rustfmt::skip]
fn unanswered(who: &Who) -> Vec<Case> {
    let remote = who.remote;
    let last = |to: Addr| aged(WEB.to(to), 1);
    let error = |ip: &Ip, about: &[u8]| ip.message(who.port_unreachable.0, who.port_unreachable.1, [0; 4], &about[14..]);
    let unknown = WEB.gets(remote).udp(53, 4000, b"?");
    vec![
        Case::new("no error is answered with an error, nor a fragment behind the first")
            .drops(FROM_WEB, error(&last(remote), &unknown), DropReason::TimeExceeded)
            .drops(FROM_WEB, error(&last(who.of(&DB)), &unknown), DropReason::TimeExceeded)
            .drops(FROM_WEB, Ip { fragment: 1, ..last(remote) }.frame(UDP, &[0; 16]), DropReason::TimeExceeded)
            .drops(FROM_WEB, Ip { fragment: 0x2001, ..last(remote) }.frame(UDP, &[0; 16]), DropReason::TimeExceeded)
            .drops(FROM_WEB, last(who.loopback).udp(1, 2, b""), DropReason::LoopbackOnWire)
            .drops(FROM_WEB, last(who.group).udp(1, 2, b""), DropReason::Multicast)
            .flows(&[]),
        Case::new("an error for the host has time enough")
            .passes(FROM_WEB, error(&last(who.host), &unknown)),
    ]
}

/// A datagram whose packet has this many bytes.
fn datagram(ip: &Ip, len: u16) -> Vec<u8> {
    let header = if ip.from.is_v4() { 20 } else { 40 };
    ip.udp(4000, 53, &vec![7; usize::from(len - header - 8)])
}

#[rustfmt::skip]
fn too_big(who: &Who) -> Vec<Case> {
    let (remote, host) = (who.remote, who.host);
    let without_fragments = |ip: Ip| if who.is_v4() { Ip { fragment: DONT_FRAGMENT, ..ip } } else { ip };
    vec![
        Case::new("what the uplink takes goes out, and one byte more does not, whether it may be fragmented or not")
            .send(FROM_WEB, datagram(&WEB.to(remote), MTU), OUT, datagram(&masqueraded(remote), MTU))
            .grows(who, datagram(&WEB.to(remote), MTU + 1), MTU)
            .grows(who, datagram(&without_fragments(WEB.to(remote)), MTU + 1), MTU)
            .send(FROM_WEB, datagram(&without_fragments(WEB.to(remote)), MTU), OUT, datagram(&without_fragments(masqueraded(remote)), MTU)),
        Case::new("a segment, and an echo, that the uplink does not take")
            .grows(who, WEB.to(remote).tcp(4000, 80, ACK, &[7; 1500]), MTU)
            .grows(who, WEB.to(remote).echo(true, 7, &[7; 1500]), MTU),
        Case::new("a packet that keeps its source, and is too large for the uplink")
            .given(|world| world.flags(UNMASQUERADED))
            .grows(who, datagram(&WEB.to(remote), 2000), MTU),
        Case::new("an answer of a published port that the uplink does not take")
            .given(publish_web(who))
            .send(Source::Wire, from_wire(remote, host).tcp(4000, 8080, SYN, b""), TO_WEB, WEB.gets(remote).tcp(4000, 80, SYN, b""))
            .grows(who, WEB.to(remote).tcp(80, 4000, ACK, &[7; 1500]), MTU),
        Case::new("the uplink's MTU is no container's")
            .given(publish_web(who))
            .send(FROM_DB, DB.to(host).udp(4000, 5353, &[7; 1600]), TO_WEB, aged(WEB.gets(who.hairpin), 63).udp(4000, 53, &[7; 1600]))
            .send(FROM_WEB, datagram(&WEB.to(who.of(&DB)), 1600), TO_DB, datagram(&aged(DB.gets(who.of(&WEB)), 63), 1600))
            .passes(FROM_WEB, datagram(&WEB.to(host), 1600)),
    ]
}

#[rustfmt::skip]
fn too_big_unanswered(who: &Who) -> Vec<Case> {
    let remote = who.remote;
    // Of one datagram: each has the ports at its start, and a checksum of none.
    let part = |ip: Ip, fragment, len: usize| {
        let mut segment = vec![0x0f, 0xa0, 0, 53, 0x20, 0, 0, 0];
        segment.resize(8 + len, 7);
        Ip { fragment, ..ip }.frame(UDP, &segment)
    };
    vec![
        Case::new("a later fragment that the uplink does not take is not answered, and a first one is")
            .send(FROM_WEB, part(WEB.to(remote), 0x2000, 1000), OUT, part(masqueraded(remote), 0x2000, 1000))
            .drops(FROM_WEB, part(WEB.to(remote), 126, 1500), DropReason::TooBig)
            .grows(who, part(WEB.to(remote), 0x2000, 1500), MTU),
    ]
}

#[rustfmt::skip]
fn between_the_families() -> Case {
    let proxy = netd_common::globals::PROXY_V4;
    let fitting = WEB.to(proxy).tcp(80, 4000, ACK, &[7; 1440]);
    let too_long = WEB.to(proxy).tcp(80, 4000, ACK, &[7; 1441]);
    Case::new("an answer that is too large as IPv6 is told what fits as IPv4")
        .given(|world| world.publish_at(TCP, (Addr::ANY_V6, 8080), &WEB, (WEB.address, 80)))
        .send(Source::Wire, from_wire(REMOTE_6, HOST_6).tcp(4000, 8080, SYN, b""), TO_WEB,
            Ip { id: 0, fragment: DONT_FRAGMENT, ..WEB.gets(proxy) }.tcp(4000, 80, SYN, b""))
        .send(FROM_WEB, fitting, OUT, masqueraded(REMOTE_6).tcp(8080, 4000, ACK, &[7; 1440]))
        .grows(&Who::V4, too_long, MTU - 20)
        .send(FROM_WEB, aged(WEB.to(proxy), 1).tcp(80, 4000, ACK, b""), answered(&WEB),
            over(&Who::V4, &WEB, &aged(WEB.to(proxy), 1).tcp(80, 4000, ACK, b"")))
}
