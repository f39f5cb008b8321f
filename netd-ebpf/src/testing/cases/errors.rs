//! What becomes of an ICMP error?

use super::outside::{masqueraded, transport, unchecked};
use super::published::publish_web;
use super::{ACK, FROM_API, FROM_DB, FROM_WEB, OUT, SYN, SYN_ACK, TO_API, TO_DB, TO_WEB, both};
use crate::testing::case::{Case, Step, key};
use crate::testing::packet::Ip;
use crate::testing::world::{API, DB, MOVED, Source, UPLINK, WEB, Who, from_host, from_wire};
use netd_common::Addr;
use netd_common::drop::DropReason;
use netd_common::endpoint::UNMASQUERADED;
use netd_common::flow::INSIDE;
use netd_common::publish::{SCTP, TCP, UDP};

/// Bytes of an IP packet that are quoted: all of it.
pub const ALL: usize = 4096;

pub fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
    for of_both in [about_what_left, about_answers, published, through, about_nothing, quotes] {
        cases.extend(both(of_both));
    }
    cases.push(mapped());
    cases
}

/// The start of a frame's packet, without its link-layer header.
pub fn quote(frame: &[u8], len: usize) -> Vec<u8> {
    let packet = &frame[14..];
    packet[..len.min(packet.len())].to_vec()
}

/// An ICMP error of this type about a frame, of which it quotes so many bytes.
fn error(ip: &Ip, (icmp_type, code): (u8, u8), about: &[u8], len: usize) -> Vec<u8> {
    ip.message(icmp_type, code, [0; 4], &quote(about, len))
}

/// With bytes behind its packet, as a frame that is too short for the link has.
fn padded(mut frame: Vec<u8>) -> Vec<u8> {
    frame.extend([0; 12]);
    frame
}

/// Length of an IP header, and of the first eight bytes of what follows.
pub const fn least(who: &Who) -> usize {
    if who.is_v4() { 28 } else { 48 }
}

/// "Too big" of the family, and the MTU that it tells.
const fn too_big(who: &Who) -> ((u8, u8), [u8; 4]) {
    if who.is_v4() { ((3, 4), [0, 0, 0x05, 0x14]) } else { ((2, 0), [0, 0, 0x05, 0x14]) }
}

#[rustfmt::skip]
fn about_what_left(who: &Who) -> Vec<Case> {
    let (remote, host, router) = (who.remote, who.host, who.router);
    // What the container sent, as it left, and as the container knows it.
    let udp = [WEB.to(remote), masqueraded(remote), kept(who)].map(|ip| ip.udp(4000, 53, b"a question"));
    let syn = [WEB.to(remote), masqueraded(remote), kept(who)].map(|ip| ip.tcp(4000, 80, SYN, b""));
    let data = [WEB.to(remote), masqueraded(remote), kept(who)].map(|ip| ip.tcp(4000, 80, ACK, b"a long question"));
    let echo = [WEB.to(remote), masqueraded(remote), kept(who)].map(|ip| ip.echo(true, 77, b"ping"));
    let opened = |name: &str, [sent, left, _]: &[Vec<u8>; 3]| Case::new(name).send(FROM_WEB, sent.clone(), OUT, left.clone());
    let from = |sender, message, [_, left, _]: &[Vec<u8>; 3], len| error(&from_wire(sender, host), message, left, len);
    let told = |sender, message, [_, _, kept]: &[Vec<u8>; 3], len| error(&WEB.gets(sender), message, kept, len);
    let (too_big, mtu) = too_big(who);
    let with_mtu = |ip: Ip, about: &[u8], len| ip.message(too_big.0, too_big.1, mtu, &quote(about, len));
    let unchecked_udp = udp.clone().map(unchecked);
    vec![
        opened("the answerer says that nobody listens", &udp)
            .send(Source::Wire, from(remote, who.port_unreachable, &udp, least(who)), TO_WEB, told(remote, who.port_unreachable, &udp, least(who)))
            .send(Source::Wire, from(remote, who.port_unreachable, &udp, ALL), TO_WEB, told(remote, who.port_unreachable, &udp, ALL)),
        opened("an error is no sign of life, and ends nothing", &syn)
            .send(Source::Wire, from(remote, who.port_unreachable, &syn, ALL), TO_WEB, told(remote, who.port_unreachable, &syn, ALL))
            .waits(59_000_000_000)
            .send(Source::Wire, from(router, who.time_exceeded, &syn, ALL), TO_WEB, told(router, who.time_exceeded, &syn, ALL))
            .flows(&[
                "tcp inside 10.1.0.2:4000>198.18.1.9:80 = 198.18.0.1:4000>198.18.1.9:80 uplink 102, opening, 1",
                "tcp outside 198.18.1.9:80>198.18.0.1:4000 = 198.18.1.9:80>10.1.0.2:4000 endpoint 1, opening, 0",
            ])
            .waits(2_000_000_000)
            .step(Step::Nominate).step(Step::Collect(1)),
        opened("a router says that the time to live is exceeded, in its own name", &udp)
            .send(Source::Wire, from(router, who.time_exceeded, &udp, least(who)), TO_WEB, told(router, who.time_exceeded, &udp, least(who)))
            .send(Source::Wire, from(who.remote_2, who.time_exceeded, &udp, ALL), TO_WEB, told(who.remote_2, who.time_exceeded, &udp, ALL)),
        opened("a router says what fits through, and that is told as it is", &data)
            .send(Source::Wire, with_mtu(from_wire(router, host), &data[1], ALL), TO_WEB, with_mtu(WEB.gets(router), &data[2], ALL))
            .send(Source::Wire, with_mtu(from_wire(router, host), &data[1], least(who)), TO_WEB, with_mtu(WEB.gets(router), &data[2], least(who))),
        opened("a quoted TCP segment has its checksum, when it is quoted so far", &data)
            .send(Source::Wire, from(router, who.time_exceeded, &data, least(who) + 8), TO_WEB, told(router, who.time_exceeded, &data, least(who) + 8))
            .send(Source::Wire, from(router, who.time_exceeded, &data, least(who) + 10), TO_WEB, told(router, who.time_exceeded, &data, least(who) + 10))
            .send(Source::Wire, from(router, who.time_exceeded, &data, ALL), TO_WEB, told(router, who.time_exceeded, &data, ALL)),
        opened("padding behind a quote is none of it", &data)
            .send(Source::Wire, padded(from(router, who.time_exceeded, &data, least(who))), TO_WEB, padded(told(router, who.time_exceeded, &data, least(who))))
            .passes(Source::Wire, padded(from(router, who.time_exceeded, &data, least(who) - 1))),
        opened("a quoted datagram without a checksum has none afterwards", &unchecked_udp)
            .send(Source::Wire, from(remote, who.port_unreachable, &unchecked_udp, ALL), TO_WEB, told(remote, who.port_unreachable, &unchecked_udp, ALL))
            .send(Source::Wire, from(remote, who.port_unreachable, &unchecked_udp, least(who)), TO_WEB, told(remote, who.port_unreachable, &unchecked_udp, least(who))),
        opened("a quoted echo is known by its identifier", &echo)
            .send(Source::Wire, from(router, who.time_exceeded, &echo, least(who)), TO_WEB, told(router, who.time_exceeded, &echo, least(who)))
            .send(Source::Wire, from(router, who.time_exceeded, &echo, ALL), TO_WEB, told(router, who.time_exceeded, &echo, ALL))
            .flows(&[
                "icmp inside 10.1.0.2:77>198.18.1.9:0 = 198.18.0.1:77>198.18.1.9:0 uplink 102, opening, 1",
                "icmp outside 198.18.1.9:0>198.18.0.1:77 = 198.18.1.9:0>10.1.0.2:77 endpoint 1, opening, 0",
            ]),
        Case::new("a port that was exchanged is exchanged in the quote")
            .given(|world| { world.listen(UDP, host, 4000); world.listen(TCP, host, 4000); })
            .send(FROM_WEB, udp[0].clone(), OUT, masqueraded(remote).udp(MOVED, 53, b"a question"))
            .answer(Source::Wire, nobody_listens, TO_WEB, error(&WEB.gets(remote), who.port_unreachable, &udp[2], ALL))
            .send(FROM_WEB, data[0].clone(), OUT, masqueraded(remote).tcp(MOVED, 80, ACK, b"a long question"))
            .answer(Source::Wire, nobody_listens, TO_WEB, error(&WEB.gets(remote), who.port_unreachable, &data[2], ALL))
            .send(FROM_WEB, WEB.to(remote).echo(true, 0, b"ping"), OUT, masqueraded(remote).echo(true, MOVED, b"ping"))
            .answer(Source::Wire, nobody_listens, TO_WEB, error(&WEB.gets(remote), who.port_unreachable, &kept(who).echo(true, 0, b"ping"), ALL)),
        Case::new("an error about a packet that kept its source")
            .given(|world| world.flags(UNMASQUERADED))
            .send(FROM_WEB, udp[0].clone(), OUT, udp[2].clone())
            .send(Source::Wire, error(&from_wire(router, who.of(&WEB)), who.time_exceeded, &udp[2], ALL), TO_WEB,
                error(&WEB.gets(router), who.time_exceeded, &udp[2], ALL)),
        opened("an error for a container that is gone, which leaves the flow as it is", &udp)
            .change(|world| world.unplug(&WEB))
            .drops(Source::Wire, from(remote, who.port_unreachable, &udp, ALL), DropReason::EndpointGone)
            .flows(&[
                "udp inside 10.1.0.2:4000>198.18.1.9:53 = 198.18.0.1:4000>198.18.1.9:53 uplink 102, opening, 1",
                "udp outside 198.18.1.9:53>198.18.0.1:4000 = 198.18.1.9:53>10.1.0.2:4000 endpoint 1, opening, 0",
            ]),
        opened("an error that half a pair is enough for", &udp)
            .step(Step::Evict(key(INSIDE, UDP, (who.of(&WEB), 4000), (remote, 53))))
            .send(Source::Wire, from(remote, who.port_unreachable, &udp, ALL), TO_WEB, told(remote, who.port_unreachable, &udp, ALL)),
    ]
}

/// What a container sent, as it knows it, but for the hop by the gateway.
fn kept(who: &Who) -> Ip {
    Ip { ttl: 63, ..WEB.to(who.remote) }
}

/// The error about the last frame, which left by the uplink, from where that went to.
fn nobody_listens(frame: &[u8]) -> Vec<u8> {
    let who = if frame[12] == 0x08 { Who::V4 } else { Who::V6 };
    error(&from_wire(who.remote, who.host), who.port_unreachable, frame, ALL)
}

#[rustfmt::skip]
fn about_answers(who: &Who) -> Vec<Case> {
    let (remote, host) = (who.remote, who.host);
    let opened = |name: &str| Case::new(name)
        .send(FROM_WEB, WEB.to(remote).udp(4000, 53, b"?"), OUT, masqueraded(remote).udp(4000, 53, b"?"));
    // The answer as it came, and as the container got it.
    let (came, got) = (from_wire(remote, host).udp(53, 4000, b"an answer"), WEB.gets(remote).udp(53, 4000, b"an answer"));
    vec![
        opened("a container says that it listens no more")
            .send(Source::Wire, came.clone(), TO_WEB, got.clone())
            .send(FROM_WEB, error(&WEB.to(remote), who.port_unreachable, &got, ALL), OUT,
                error(&masqueraded(remote), who.port_unreachable, &came, ALL))
            .send(FROM_WEB, error(&WEB.to(remote), who.port_unreachable, &got, least(who)), OUT,
                error(&masqueraded(remote), who.port_unreachable, &came, least(who)))
            .flows(&[
                "udp inside 10.1.0.2:4000>198.18.1.9:53 = 198.18.0.1:4000>198.18.1.9:53 uplink 102, established, 1",
                "udp outside 198.18.1.9:53>198.18.0.1:4000 = 198.18.1.9:53>10.1.0.2:4000 endpoint 1, established, 1",
            ]),
        opened("a container's error takes a hop, and ends where the hops do")
            .send(FROM_WEB, error(&Ip { ttl: 2, ..WEB.to(remote) }, who.port_unreachable, &got, ALL), OUT,
                error(&Ip { ttl: 1, ..masqueraded(remote) }, who.port_unreachable, &came, ALL))
            .drops(FROM_WEB, error(&Ip { ttl: 1, ..WEB.to(remote) }, who.port_unreachable, &got, ALL), DropReason::TimeExceeded)
            .drops(FROM_WEB, error(&Ip { ttl: 0, ..WEB.to(remote) }, who.port_unreachable, &got, ALL), DropReason::TimeExceeded),
    ]
}

#[rustfmt::skip]
fn published(who: &Who) -> Vec<Case> {
    let (remote, host) = (who.remote, who.host);
    let answered = Ip { from: host, ttl: 63, ..WEB.to(remote) };
    // The client's packet as it came and as the container got it; the answer as the container sent it and as it left.
    let (came, got) = (from_wire(remote, host).udp(4000, 5353, b"a question"), WEB.gets(remote).udp(4000, 53, b"a question"));
    let (sent, left) = (Ip { ttl: 63, ..WEB.to(remote) }.udp(53, 4000, b"an answer"), answered.udp(5353, 4000, b"an answer"));
    let opened = |name: &str| Case::new(name).given(publish_web(who)).send(Source::Wire, came.clone(), TO_WEB, got.clone());
    vec![
        opened("the container behind a published port says that nobody listens, in the host's name")
            .send(FROM_WEB, error(&WEB.to(remote), who.port_unreachable, &got, ALL), OUT, error(&answered, who.port_unreachable, &came, ALL))
            .send(FROM_WEB, error(&WEB.to(remote), who.port_unreachable, &got, least(who)), OUT, error(&answered, who.port_unreachable, &came, least(who)))
            .flows(&[
                "udp inside 10.1.0.2:53>198.18.1.9:4000 = 198.18.0.1:5353>198.18.1.9:4000 uplink 102, opening, 0",
                "udp outside 198.18.1.9:4000>198.18.0.1:5353 = 198.18.1.9:4000>10.1.0.2:53 endpoint 1, opening, 1",
            ]),
        opened("a client of a published port, or a router before it, says that an answer did not come")
            .send(FROM_WEB, WEB.to(remote).udp(53, 4000, b"an answer"), OUT, left.clone())
            .send(Source::Wire, error(&from_wire(remote, host), who.port_unreachable, &left, ALL), TO_WEB, error(&WEB.gets(remote), who.port_unreachable, &sent, ALL))
            .send(Source::Wire, error(&from_wire(who.router, host), who.time_exceeded, &left, least(who)), TO_WEB,
                error(&WEB.gets(who.router), who.time_exceeded, &sent, least(who))),
    ]
}

#[rustfmt::skip]
fn through(who: &Who) -> Vec<Case> {
    let host = who.host;
    let hop = |ip: Ip| Ip { ttl: 63, ..ip };
    let question = |ip: &Ip, port| ip.udp(4000, port, b"a question");
    let hairpin_got = question(&hop(WEB.gets(who.hairpin)), 53);
    let api_got = question(&hop(WEB.gets(who.of(&API))), 53);
    vec![
        Case::new("a peer behind a published port says that nobody listens, in the name that was called")
            .given(publish_web(who))
            .send(FROM_DB, question(&DB.to(host), 5353), TO_WEB, hairpin_got.clone())
            .send(FROM_WEB, error(&WEB.to(who.hairpin), who.port_unreachable, &hairpin_got, ALL), TO_DB,
                error(&hop(DB.gets(host)), who.port_unreachable, &question(&hop(DB.to(host)), 5353), ALL))
            .send(FROM_DB, error(&DB.to(host), who.port_unreachable, &hop(DB.gets(host)).udp(5353, 4000, b"an answer"), ALL), TO_WEB,
                error(&hop(WEB.gets(who.hairpin)), who.port_unreachable, &hop(WEB.to(who.hairpin)).udp(53, 4000, b"an answer"), ALL))
            .flows(&[
                "udp inside 10.1.0.2:53>169.254.208.1:4000 = 198.18.0.1:5353>10.1.0.3:4000 endpoint 2, opening, 0",
                "udp inside 10.1.0.3:4000>198.18.0.1:5353 = 169.254.208.1:4000>10.1.0.2:53 endpoint 1, opening, 1",
            ]),
        Case::new("a container tells itself that nobody listens")
            .given(publish_web(who))
            .send(FROM_WEB, question(&WEB.to(host), 5353), TO_WEB, hairpin_got.clone())
            .send(FROM_WEB, error(&WEB.to(who.hairpin), who.port_unreachable, &hairpin_got, ALL), TO_WEB,
                error(&hop(WEB.gets(host)), who.port_unreachable, &question(&hop(WEB.to(host)), 5353), ALL)),
        Case::new("another network's container is told, and tells")
            .given(publish_web(who))
            .send(FROM_API, question(&API.to(host), 5353), TO_WEB, api_got.clone())
            .send(FROM_WEB, error(&WEB.to(who.of(&API)), who.port_unreachable, &api_got, ALL), TO_API,
                error(&hop(API.gets(host)), who.port_unreachable, &question(&hop(API.to(host)), 5353), ALL)),
    ]
}

#[rustfmt::skip]
fn about_nothing(who: &Who) -> Vec<Case> {
    let (remote, host) = (who.remote, who.host);
    // Of no flow.
    let unknown = |ip: &Ip| error(ip, who.port_unreachable, &Ip { from: ip.to, to: ip.from, ..Ip::default() }.udp(4000, 53, b"?"), ALL);
    vec![
        Case::new("an error about no flow, from a container")
            .drops(FROM_WEB, unknown(&WEB.to(remote)), DropReason::NoFlow)
            .drops(FROM_WEB, unknown(&WEB.to(who.hairpin)), DropReason::NoFlow)
            .drops(FROM_WEB, unknown(&WEB.to(who.of(&API))), DropReason::OtherNetwork)
            .passes(FROM_WEB, unknown(&WEB.to(host)))
            .passes(FROM_WEB, unknown(&WEB.to(who.gateway(&WEB))))
            .send(FROM_WEB, unknown(&WEB.to(who.of(&DB))), TO_DB, aged_to(63, &unknown(&DB.gets(who.of(&WEB)))))
            .leaves(FROM_WEB, unknown(&WEB.to_peer(&DB, who)), TO_DB)
            .flows(&[]),
        Case::new("an error about no flow, from the wire")
            .given(|world| { world.stack.forwarding.insert(UPLINK); })
            .passes(Source::Wire, unknown(&from_wire(remote, host)))
            .drops(Source::Wire, unknown(&from_wire(remote, who.of(&WEB))), DropReason::NotPublished)
            .passes(Source::Host, unknown(&from_host(remote)))
            .flows(&[]),
        Case::new("an error about the host's own packet is the host's")
            .send(FROM_WEB, WEB.to(remote).udp(4000, 53, b"?"), OUT, masqueraded(remote).udp(4000, 53, b"?"))
            .passes(Source::Wire, error(&from_wire(remote, host), who.port_unreachable, &from_host(remote).udp(4001, 53, b"?"), ALL))
            .passes(Source::Wire, error(&from_wire(remote, host), who.port_unreachable, &from_host(remote).tcp(4000, 53, SYN, b""), ALL))
            .passes(Source::Wire, error(&from_wire(remote, host), who.port_unreachable, &from_host(who.remote_2).udp(4000, 53, b"?"), ALL)),
        Case::new("an error about a flow of the host that had to take another port goes to the host's port")
            .send(FROM_WEB, WEB.to(remote).udp(4000, 53, b"?"), OUT, masqueraded(remote).udp(4000, 53, b"?"))
            .send(Source::Host, from_host(remote).udp(4000, 53, b"?"), crate::verdict::Verdict::Pass, from_host(remote).udp(MOVED, 53, b"?"))
            .answer(Source::Wire, nobody_listens, crate::verdict::Verdict::Pass,
                error(&from_wire(remote, host), who.port_unreachable, &from_host(remote).udp(4000, 53, b"?"), ALL)),
    ]
}

/// The frame with this time to live.
fn aged_to(ttl: u8, frame: &[u8]) -> Vec<u8> {
    crate::testing::packet::aged(frame.to_vec(), ttl)
}

#[rustfmt::skip]
fn quotes(who: &Who) -> Vec<Case> {
    let (remote, host) = (who.remote, who.host);
    let udp = [WEB.to(remote), masqueraded(remote), kept(who)].map(|ip| ip.udp(4000, 53, b"a question"));
    let opened = |name: &str| Case::new(name).send(FROM_WEB, udp[0].clone(), OUT, udp[1].clone());
    let wire = |about: &[u8], len| error(&from_wire(remote, host), who.port_unreachable, about, len);
    let web = |about: &[u8], len| error(&WEB.to(remote), who.port_unreachable, about, len);
    let got = WEB.gets(remote).udp(53, 4000, b"an answer");
    let changed = |at: usize, byte: u8| { let mut frame = got.clone(); frame[at] = byte; frame };
    let mut malformed = opened("a quote that cannot be read");
    for len in 0..least(who) {
        malformed = malformed.drops(FROM_WEB, web(&got, len), DropReason::Malformed).passes(Source::Wire, wire(&udp[1], len));
    }
    // Of the other family, or of none.
    for version in [0x00, 0x45, 0x60, 0xf0] {
        if changed(14, version) != got && version >> 4 != got[14] >> 4 {
            malformed = malformed.drops(FROM_WEB, web(&changed(14, version), ALL), DropReason::Malformed);
        }
    }
    let with_options = |ip: Ip| ip.with_options(16).udp(4000, 53, b"a question");
    let sctp = [0x0f, 0xa0, 0, 80, 1, 2, 3, 4, 5, 6, 7, 8];
    let fragment = |ip: Ip, fragment| Ip { fragment, ..ip };
    let first = |ip: Ip| { let mut frame = fragment(ip, 0x2000).udp(4000, 53, b"a question that is long"); frame.truncate(frame.len() - 15); frame };
    let of_protocol = |protocol| error(&WEB.to(remote), who.port_unreachable, &WEB.gets(remote).frame(protocol, &[0; 8]), ALL);
    vec![
        malformed.flows(&[
            "udp inside 10.1.0.2:4000>198.18.1.9:53 = 198.18.0.1:4000>198.18.1.9:53 uplink 102, opening, 1",
            "udp outside 198.18.1.9:53>198.18.0.1:4000 = 198.18.1.9:53>10.1.0.2:4000 endpoint 1, opening, 0",
        ]),
        opened("a quoted packet with options")
            .send(Source::Wire, wire(&with_options(masqueraded(remote)), ALL), TO_WEB,
                error(&WEB.gets(remote), who.port_unreachable, &with_options(kept(who)), ALL)),
        opened("an error with options of its own")
            .send(Source::Wire, error(&from_wire(remote, host).with_options(8), who.port_unreachable, &udp[1], ALL), TO_WEB,
                error(&WEB.gets(remote).with_options(8), who.port_unreachable, &udp[2], ALL)),
        opened("a quoted first fragment, whose checksum is that of the whole")
            .send(Source::Wire, wire(&first(masqueraded(remote)), ALL), TO_WEB, error(&WEB.gets(remote), who.port_unreachable, &first(kept(who)), ALL)),
        opened("a quoted later fragment, an error, and what has no flows are about nothing")
            .drops(FROM_WEB, error(&WEB.to(remote), who.port_unreachable, &fragment(WEB.gets(remote), 2).udp(53, 4000, b"x"), ALL), DropReason::NoFlow)
            .drops(FROM_WEB, error(&WEB.to(remote), who.port_unreachable, &error(&WEB.gets(remote), who.time_exceeded, &got, ALL), ALL), DropReason::NoFlow)
            .drops(FROM_WEB, of_protocol(47), DropReason::NoFlow)
            .drops(FROM_WEB, of_protocol(50), DropReason::NoFlow)
            .passes(Source::Wire, wire(&fragment(masqueraded(remote), 2).udp(4000, 53, b"x"), ALL))
            .passes(Source::Wire, wire(&error(&masqueraded(remote), who.port_unreachable, &got, ALL), ALL)),
        Case::new("a quoted SCTP packet keeps its ports and its checksum")
            .send(FROM_WEB, WEB.to(remote).frame(SCTP, &sctp), OUT, masqueraded(remote).frame(SCTP, &sctp))
            .send(Source::Wire, wire(&masqueraded(remote).frame(SCTP, &sctp), ALL), TO_WEB,
                error(&WEB.gets(remote), who.port_unreachable, &kept(who).frame(SCTP, &sctp), ALL)),
        Case::new("an error that is padded is translated, and its padding left")
            .send(FROM_WEB, udp[0].clone(), OUT, udp[1].clone())
            .send(Source::Wire, [wire(&udp[1], ALL), vec![0; 6]].concat(), TO_WEB,
                [error(&WEB.gets(remote), who.port_unreachable, &udp[2], ALL), vec![0; 6]].concat()),
        Case::new("an error about a quoted answer to an echo")
            .send(FROM_WEB, WEB.to(remote).echo(true, 77, b"ping"), OUT, masqueraded(remote).echo(true, 77, b"ping"))
            .send(Source::Wire, from_wire(remote, host).echo(false, 77, b"ping"), TO_WEB, WEB.gets(remote).echo(false, 77, b"ping"))
            .send(FROM_WEB, error(&WEB.to(remote), who.port_unreachable, &WEB.gets(remote).echo(false, 77, b"ping"), ALL), OUT,
                error(&masqueraded(remote), who.port_unreachable, &from_wire(remote, host).echo(false, 77, b"ping"), ALL)),
        opened("a checksum in a quote that is wrong stays as wrong as it was")
            .send(Source::Wire, wire(&spoilt(&udp[1]), ALL), TO_WEB, error(&WEB.gets(remote), who.port_unreachable, &spoilt(&udp[2]), ALL)),
        opened("a SYN with an ACK of a quote says nothing of the flow")
            .send(Source::Wire, from_wire(remote, host).udp(53, 4000, b"!"), TO_WEB, WEB.gets(remote).udp(53, 4000, b"!"))
            .drops(FROM_WEB, error(&WEB.to(remote), who.port_unreachable, &WEB.gets(remote).tcp(53, 4000, SYN_ACK, b""), ALL), DropReason::NoFlow),
    ]
}

/// With the last byte of the payload another, so that the checksum does not fit it.
fn spoilt(frame: &[u8]) -> Vec<u8> {
    let mut frame = frame.to_vec();
    let last = frame.len() - 1;
    assert!(last > transport(&frame) + 8);
    frame[last] ^= 0x55;
    frame
}

/// In a quoted IPv6 header too, v4-mapped addresses are none: in the maps they are an IPv4 flow's.
fn mapped() -> Case {
    let (v4, v6) = (Who::V4, Who::V6);
    let mut quoted = Ip { from: v6.host, to: v6.remote, ..Ip::default() }.udp(4000, 53, b"?");
    quoted[22..38].copy_from_slice(&v4.host.bytes);
    quoted[38..54].copy_from_slice(&v4.remote.bytes);
    let turned = |mut frame: Vec<u8>, own: Addr| {
        frame[22..38].copy_from_slice(&v4.remote.bytes);
        frame[38..54].copy_from_slice(&own.bytes);
        frame
    };
    Case::new("a quoted IPv6 header has no v4-mapped addresses")
        .send(FROM_WEB, WEB.to(v4.remote).udp(4000, 53, b"?"), OUT, masqueraded(v4.remote).udp(4000, 53, b"?"))
        .passes(Source::Wire, error(&from_wire(v6.remote, v6.host), v6.port_unreachable, &quoted, ALL))
        .drops(
            FROM_WEB,
            error(&WEB.to(v6.remote), v6.port_unreachable, &turned(quoted.clone(), WEB.address), ALL),
            DropReason::Malformed,
        )
}
