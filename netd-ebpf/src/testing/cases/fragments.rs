//! Where do the fragments of a datagram go?

use super::outside::masqueraded;
use super::published::publish_web;
use super::{ACK, FROM_API, FROM_DB, FROM_WEB, OUT, SYN, TO_API, TO_DB, TO_WEB, both};
use crate::testing::case::{Case, Input, Sent, Step, key};
use crate::testing::packet::{HOP_BY_HOP, Ip, options};
use crate::testing::world::{API, DB, HOST_6, MOVED, REMOTE_6, Source, UPLINK, WEB, Who, from_host, from_wire};
use crate::verdict::Verdict;
use netd_common::Addr;
use netd_common::drop::DropReason;
use netd_common::endpoint::UNMASQUERADED;
use netd_common::flow::{INSIDE, OUTSIDE};
use netd_common::limits::{HELD_PER_DATAGRAM_MAX, HELD_SIZE_MAX};
use netd_common::publish::{ICMP, ICMPV6, SCTP, TCP, UDP};

const MORE: u16 = 0x2000;
const SECOND_NS: u64 = 1_000_000_000;

pub fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
    for of_both in [out_and_back, published, missing, bad, early, unclaimed] {
        cases.extend(both(of_both));
    }
    cases.push(behind_extensions());
    cases
}

/// A datagram in parts.
#[derive(Clone)]
struct Parts {
    ip: Ip,
    protocol: u8,
    segment: Vec<u8>,
}

impl Parts {
    /// The part from `from` up to `to`, in units of eight bytes.
    fn part(&self, from: usize, to: usize) -> Vec<u8> {
        let (from_byte, to_byte) = (from * 8, (to * 8).min(self.segment.len()));
        let more = if to_byte < self.segment.len() { MORE } else { 0 };
        let ip = Ip { fragment: from as u16 | more, ..self.ip.clone() };
        ip.frame(self.protocol, &self.segment[from_byte..to_byte])
    }

    fn first(&self) -> Vec<u8> {
        self.part(0, 3)
    }

    fn second(&self) -> Vec<u8> {
        self.part(3, 6)
    }

    fn last(&self) -> Vec<u8> {
        self.part(6, 99)
    }
}

const PAYLOAD: [u8; 50] = *b"fifty bytes of payload, which are seven parts here";

fn udp(ip: Ip, from: u16, to: u16) -> Parts {
    Parts { segment: ip.udp_segment(from, to, &PAYLOAD), ip, protocol: UDP }
}

fn tcp(ip: Ip, from: u16, to: u16, flags: u8) -> Parts {
    Parts { segment: ip.tcp_segment(from, to, flags, &PAYLOAD), ip, protocol: TCP }
}

fn echo(ip: Ip, is_request: bool, id: u16) -> Parts {
    let frame = ip.echo(is_request, id, &PAYLOAD);
    let (protocol, header) = if ip.from.is_v4() { (ICMP, 34) } else { (ICMPV6, 54) };
    Parts { ip, protocol, segment: frame[header..].to_vec() }
}

fn sctp(ip: Ip) -> Parts {
    let mut segment = vec![0x0f, 0xa0, 0, 80, 1, 2, 3, 4, 5, 6, 7, 8];
    segment.extend(PAYLOAD);
    Parts { ip, protocol: SCTP, segment }
}

trait Sending {
    /// All three parts, in order.
    fn whole(self, source: Source, sent: &Parts, verdict: Verdict, out: &Parts) -> Self;
    /// A part that is sent, and what copies of others are let go on with it.
    fn releases(self, frame: Vec<u8>, left: &[u8], copies: Vec<(u32, bool, Vec<u8>)>) -> Self;
    /// A part that the host gets, and of which a copy is kept.
    fn keeps(self, frame: Vec<u8>) -> Self;
}

impl Sending for Case {
    fn whole(self, source: Source, sent: &Parts, verdict: Verdict, out: &Parts) -> Self {
        self.send(source, sent.first(), verdict, out.first()).send(source, sent.second(), verdict, out.second()).send(
            source,
            sent.last(),
            verdict,
            out.last(),
        )
    }

    fn releases(self, frame: Vec<u8>, left: &[u8], copies: Vec<(u32, bool, Vec<u8>)>) -> Self {
        let input = Input::Frame(frame);
        let (source, verdict, out) = (Source::Wire, Verdict::Spent, Some(left.to_vec()));
        self.step(Step::Send(Sent { source, input, has_vlan_tag: false, verdict, out, copies }))
    }

    fn keeps(self, frame: Vec<u8>) -> Self {
        self.leaves(Source::Wire, frame, Verdict::Keep)
    }
}

#[rustfmt::skip]
fn out_and_back(who: &Who) -> Vec<Case> {
    let (remote, host) = (who.remote, who.host);
    let (web, out, wire, got) = (WEB.to(remote), masqueraded(remote), from_wire(remote, host), WEB.gets(remote));
    let id = |ip: &Ip, id| Ip { id, ..ip.clone() };
    vec![
        Case::new("the fragments of a datagram go out, and those of the answer come back")
            .whole(FROM_WEB, &udp(web.clone(), 4000, 53), OUT, &udp(out.clone(), 4000, 53))
            .whole(Source::Wire, &udp(wire.clone(), 53, 4000), TO_WEB, &udp(got.clone(), 53, 4000))
            .flows(&[
                "udp inside 10.1.0.2:4000>198.18.1.9:53 = 198.18.0.1:4000>198.18.1.9:53 uplink 102, established, 3",
                "udp outside 198.18.1.9:53>198.18.0.1:4000 = 198.18.1.9:53>10.1.0.2:4000 endpoint 1, established, 3",
            ]),
        Case::new("a fragmented echo and its fragmented answer")
            .whole(FROM_WEB, &echo(web.clone(), true, 77), OUT, &echo(out.clone(), true, 77))
            .whole(Source::Wire, &echo(wire.clone(), false, 77), TO_WEB, &echo(got.clone(), false, 77)),
        Case::new("a fragmented segment of TCP, and that of its answer")
            .whole(FROM_WEB, &tcp(web.clone(), 4000, 80, SYN), OUT, &tcp(out.clone(), 4000, 80, SYN))
            .whole(Source::Wire, &tcp(wire.clone(), 80, 4000, ACK), TO_WEB, &tcp(got.clone(), 80, 4000, ACK)),
        Case::new("a fragmented packet of SCTP")
            .whole(FROM_WEB, &sctp(web.clone()), OUT, &sctp(out.clone())),
        Case::new("the fragments of two datagrams between each other's")
            .send(FROM_WEB, udp(id(&web, 1), 4000, 53).first(), OUT, udp(id(&out, 1), 4000, 53).first())
            .send(FROM_WEB, udp(id(&web, 2), 4001, 53).first(), OUT, udp(id(&out, 2), 4001, 53).first())
            .send(FROM_WEB, udp(id(&web, 1), 4000, 53).second(), OUT, udp(id(&out, 1), 4000, 53).second())
            .send(FROM_WEB, udp(id(&web, 2), 4001, 53).second(), OUT, udp(id(&out, 2), 4001, 53).second())
            .flows(&[
                "udp inside 10.1.0.2:4000>198.18.1.9:53 = 198.18.0.1:4000>198.18.1.9:53 uplink 102, opening, 2",
                "udp inside 10.1.0.2:4001>198.18.1.9:53 = 198.18.0.1:4001>198.18.1.9:53 uplink 102, opening, 2",
                "udp outside 198.18.1.9:53>198.18.0.1:4000 = 198.18.1.9:53>10.1.0.2:4000 endpoint 1, opening, 0",
                "udp outside 198.18.1.9:53>198.18.0.1:4001 = 198.18.1.9:53>10.1.0.2:4001 endpoint 1, opening, 0",
            ]),
        Case::new("a datagram whose port is exchanged, which its first fragment alone has")
            .given(|world| world.listen(UDP, host, 4000))
            .whole(FROM_WEB, &udp(web.clone(), 4000, 53), OUT, &udp(out.clone(), MOVED, 53)),
        Case::new("fragments that keep their source")
            .given(|world| world.flags(UNMASQUERADED))
            .whole(FROM_WEB, &udp(web.clone(), 4000, 53), OUT, &udp(Ip { ttl: 63, ..web.clone() }, 4000, 53))
            .whole(Source::Wire, &udp(from_wire(remote, who.of(&WEB)), 53, 4000), TO_WEB, &udp(got.clone(), 53, 4000)),
        Case::new("fragments with IP options")
            .whole(FROM_WEB, &udp(web.with_options(8), 4000, 53), OUT, &udp(out.with_options(8), 4000, 53)),
        Case::new("the later fragments come in any order, and twice")
            .send(FROM_WEB, udp(web.clone(), 4000, 53).first(), OUT, udp(out.clone(), 4000, 53).first())
            .send(FROM_WEB, udp(web.clone(), 4000, 53).last(), OUT, udp(out.clone(), 4000, 53).last())
            .send(FROM_WEB, udp(web.clone(), 4000, 53).second(), OUT, udp(out.clone(), 4000, 53).second())
            .send(FROM_WEB, udp(web.clone(), 4000, 53).second(), OUT, udp(out.clone(), 4000, 53).second())
            .send(FROM_WEB, udp(web.clone(), 4000, 53).first(), OUT, udp(out.clone(), 4000, 53).first())
            .send(FROM_WEB, udp(web, 4000, 53).last(), OUT, udp(out, 4000, 53).last()),
    ]
}

#[rustfmt::skip]
fn published(who: &Who) -> Vec<Case> {
    let (remote, host) = (who.remote, who.host);
    let (wire, got, web) = (from_wire(remote, host), WEB.gets(remote), WEB.to(remote));
    let answered = Ip { from: host, ttl: 63, ..WEB.to(remote) };
    let hop = |ip: Ip| Ip { ttl: 63, ..ip };
    vec![
        Case::new("a fragmented question to a published port, and its fragmented answer")
            .given(publish_web(who))
            .whole(Source::Wire, &udp(wire.clone(), 4000, 5353), TO_WEB, &udp(got.clone(), 4000, 53))
            .whole(FROM_WEB, &udp(web, 53, 4000), OUT, &udp(answered, 5353, 4000)),
        Case::new("a fragmented segment to a published port")
            .given(publish_web(who))
            .whole(Source::Wire, &tcp(wire, 4000, 8080, SYN), TO_WEB, &tcp(got, 4000, 80, SYN)),
        Case::new("fragments through a published port of a peer, of another network and of itself")
            .given(publish_web(who))
            .whole(FROM_DB, &udp(DB.to(host), 4000, 5353), TO_WEB, &udp(hop(WEB.gets(who.hairpin)), 4000, 53))
            .whole(FROM_WEB, &udp(WEB.to(who.hairpin), 53, 4000), TO_DB, &udp(hop(DB.gets(host)), 5353, 4000))
            .whole(FROM_API, &udp(API.to(host), 4000, 5353), TO_WEB, &udp(hop(WEB.gets(who.of(&API))), 4000, 53))
            .whole(FROM_WEB, &udp(WEB.to(who.of(&API)), 53, 4000), TO_API, &udp(hop(API.gets(host)), 5353, 4000)),
        Case::new("fragments of a peer by way of the gateway, or straight, need no first")
            .send(FROM_WEB, udp(WEB.to(who.of(&DB)), 1, 2).last(), TO_DB, udp(hop(DB.gets(who.of(&WEB))), 1, 2).last())
            .send(FROM_WEB, udp(WEB.to(who.of(&DB)), 1, 2).first(), TO_DB, udp(hop(DB.gets(who.of(&WEB))), 1, 2).first())
            .leaves(FROM_WEB, udp(WEB.to_peer(&DB, who), 1, 2).second(), TO_DB)
            .flows(&[]),
    ]
}

#[rustfmt::skip]
fn missing(who: &Who) -> Vec<Case> {
    let (remote, host) = (who.remote, who.host);
    let (web, out) = (WEB.to(remote), masqueraded(remote));
    let sent = udp(web.clone(), 4000, 53);
    let first = |name: &str| Case::new(name).send(FROM_WEB, sent.first(), OUT, udp(out.clone(), 4000, 53).first());
    let other_id = Ip { id: 0x4321, ..web.clone() };
    let as_tcp = Parts { protocol: TCP, ..sent.clone() };
    vec![
        Case::new("a container's fragment before the first of its datagram")
            .drops(FROM_WEB, sent.second(), DropReason::FragmentFirstMissing)
            .drops(FROM_WEB, sent.last(), DropReason::FragmentFirstMissing)
            .flows(&[])
            .send(FROM_WEB, sent.first(), OUT, udp(out.clone(), 4000, 53).first())
            .send(FROM_WEB, sent.second(), OUT, udp(out.clone(), 4000, 53).second()),
        first("a fragment of another datagram, protocol or receiver")
            .drops(FROM_WEB, udp(other_id, 4000, 53).second(), DropReason::FragmentFirstMissing)
            .drops(FROM_WEB, as_tcp.second(), DropReason::FragmentFirstMissing)
            .drops(FROM_WEB, udp(WEB.to(who.remote_2), 4000, 53).second(), DropReason::FragmentFirstMissing)
            .drops(FROM_DB, udp(DB.to(remote), 4000, 53).second(), DropReason::FragmentFirstMissing),
        first("a fragment is late after half a minute, and not before")
            .waits(29 * SECOND_NS)
            .send(FROM_WEB, sent.second(), OUT, udp(out.clone(), 4000, 53).second())
            .waits(2 * SECOND_NS)
            .drops(FROM_WEB, sent.last(), DropReason::FragmentFirstMissing)
            .send(FROM_WEB, sent.first(), OUT, udp(out.clone(), 4000, 53).first())
            .send(FROM_WEB, sent.last(), OUT, udp(out.clone(), 4000, 53).last()),
        first("a fragment whose flow has been forgotten since its first")
            .step(Step::Evict(key(INSIDE, UDP, (who.of(&WEB), 4000), (remote, 53))))
            .step(Step::Evict(key(OUTSIDE, UDP, (remote, 53), (host, 4000))))
            .drops(FROM_WEB, sent.second(), DropReason::NoFlow)
            .flows(&[]),
        first("a fragment whose container is gone")
            .send(Source::Wire, udp(from_wire(remote, host), 53, 4000).first(), TO_WEB, udp(WEB.gets(remote), 53, 4000).first())
            .change(|world| world.unplug(&WEB))
            .drops(Source::Wire, udp(from_wire(remote, host), 53, 4000).second(), DropReason::EndpointGone)
            .flows(&[]),
    ]
}

#[rustfmt::skip]
fn bad(who: &Who) -> Vec<Case> {
    let (remote, host) = (who.remote, who.host);
    let sent = udp(WEB.to(remote), 4000, 53);
    let out = udp(masqueraded(remote), 4000, 53);
    let first = |name: &str| Case::new(name).send(FROM_WEB, sent.first(), OUT, out.first());
    let (came, got) = (udp(from_wire(remote, host), 53, 4000), udp(WEB.gets(remote), 53, 4000));
    let cut = |protocol, len: usize| Ip { fragment: MORE, ..WEB.to(remote) }.frame(protocol, &sent.segment[..len]);
    vec![
        first("a fragment that overlaps the first")
            .drops(FROM_WEB, sent.part(1, 4), DropReason::FragmentOverlap)
            .drops(FROM_WEB, sent.part(2, 99), DropReason::FragmentOverlap)
            .drops(FROM_WEB, sent.part(1, 3), DropReason::FragmentOverlap)
            .send(FROM_WEB, sent.second(), OUT, out.second()),
        first("a fragment that begins within what came before and ends behind it")
            .send(FROM_WEB, sent.second(), OUT, out.second())
            .drops(FROM_WEB, sent.part(4, 7), DropReason::FragmentOverlap)
            .drops(FROM_WEB, sent.part(5, 99), DropReason::FragmentOverlap)
            .send(FROM_WEB, sent.part(4, 6), OUT, out.part(4, 6))
            .send(FROM_WEB, sent.last(), OUT, out.last())
            .send(FROM_WEB, sent.part(4, 7), OUT, out.part(4, 7)),
        first("a fragment from the wire that overlaps what came before")
            .send(Source::Wire, came.first(), TO_WEB, got.first())
            .drops(Source::Wire, came.part(2, 5), DropReason::FragmentOverlap)
            .send(Source::Wire, came.second(), TO_WEB, got.second())
            .drops(Source::Wire, came.part(5, 7), DropReason::FragmentOverlap),
        Case::new("a first fragment that is too short for its header")
            .drops(FROM_WEB, cut(TCP, 16), DropReason::Malformed)
            .drops(FROM_WEB, cut(TCP, 8), DropReason::Malformed)
            .drops(FROM_WEB, cut(UDP, 7), DropReason::Malformed)
            .passes(Source::Wire, Ip { fragment: MORE, ..from_wire(remote, host) }.frame(TCP, &sent.segment[..16]))
            .flows(&[]),
        Case::new("fragments of what is not translated")
            .drops(FROM_WEB, Ip { fragment: MORE, ..WEB.to(remote) }.frame(47, &[0; 16]), DropReason::UnsupportedProtocol)
            .drops(FROM_WEB, Ip { fragment: MORE, ..WEB.to(remote) }.icmp(who.odd_message, 1, b"12345678"), DropReason::IcmpUnsupported)
            .drops(FROM_WEB, Ip { fragment: 2, ..WEB.to(remote) }.frame(47, &[0; 16]), DropReason::FragmentFirstMissing),
    ]
}

#[rustfmt::skip]
fn early(who: &Who) -> Vec<Case> {
    let (remote, host) = (who.remote, who.host);
    let opened = |name: &str| Case::new(name)
        .send(FROM_WEB, WEB.to(remote).udp(4000, 53, b"?"), OUT, masqueraded(remote).udp(4000, 53, b"?"));
    let (came, got) = (udp(from_wire(remote, host), 53, 4000), udp(WEB.gets(remote), 53, 4000));
    let (asked, taken) = (udp(from_wire(remote, host), 4000, 5353), udp(WEB.gets(remote), 4000, 53));
    let to_web = |frame: Vec<u8>| (WEB.ifindex, false, frame);
    let again = |frame: Vec<u8>| (UPLINK, true, frame);
    vec![
        opened("fragments of an answer that come before the first come in again behind it")
            .keeps(came.second())
            .keeps(came.last())
            .releases(came.first(), &came.last(), vec![to_web(got.first()), again(came.second()), again(came.last())])
            .send(Source::Wire, came.second(), TO_WEB, got.second())
            .send(Source::Wire, came.last(), TO_WEB, got.last())
            .send(Source::Wire, came.first(), TO_WEB, got.first()),
        Case::new("fragments of a question to a published port that come before the first")
            .given(publish_web(who))
            .keeps(asked.last())
            .flows(&[])
            .releases(asked.first(), &asked.last(), vec![to_web(taken.first()), again(asked.last())])
            .send(Source::Wire, asked.last(), TO_WEB, taken.last())
            .send(Source::Wire, asked.second(), TO_WEB, taken.second())
            .flows(&[
                "udp inside 10.1.0.2:53>198.18.1.9:4000 = 198.18.0.1:5353>198.18.1.9:4000 uplink 102, opening, 0",
                "udp outside 198.18.1.9:4000>198.18.0.1:5353 = 198.18.1.9:4000>10.1.0.2:53 endpoint 1, opening, 3",
            ]),
        opened("a fragment that comes half a minute before the first is forgotten")
            .keeps(came.second())
            .waits(31 * SECOND_NS)
            .send(Source::Wire, came.first(), TO_WEB, got.first())
            .send(Source::Wire, came.second(), TO_WEB, got.second()),
        many_kept(opened("as many fragments are kept for the first as are let go again"), &came, &got),
        opened("a fragment that is too long to be kept")
            .passes(Source::Wire, Ip { fragment: 9, ..from_wire(remote, host) }.frame(UDP, &[7; HELD_SIZE_MAX]))
            .send(Source::Wire, came.first(), TO_WEB, got.first()),
        opened("a fragment that is kept anew when it has been forgotten")
            .keeps(came.second())
            .waits(31 * SECOND_NS)
            .keeps(came.last())
            .releases(came.first(), &came.last(), vec![to_web(got.first()), again(came.last())]),
    ]
}

/// More fragments before the first than are kept of one datagram.
fn many_kept(mut case: Case, came: &Parts, got: &Parts) -> Case {
    let piece =
        |index: u32| Ip { fragment: (3 + index as u16) | MORE, ..came.ip.clone() }.frame(UDP, &[index as u8; 8]);
    let mut copies = vec![(WEB.ifindex, false, got.first())];
    for index in 0..HELD_PER_DATAGRAM_MAX {
        case = case.keeps(piece(index));
        copies.push((UPLINK, true, piece(index)));
    }
    case.passes(Source::Wire, piece(HELD_PER_DATAGRAM_MAX)).releases(
        came.first(),
        &piece(HELD_PER_DATAGRAM_MAX - 1),
        copies,
    )
}

#[rustfmt::skip]
fn unclaimed(who: &Who) -> Vec<Case> {
    let (remote, host) = (who.remote, who.host);
    let wire = |to| udp(from_wire(remote, to), 53, 4000);
    vec![
        Case::new("the fragments of a datagram for the host itself are the host's")
            .passes(Source::Wire, wire(host).first())
            .passes(Source::Wire, wire(host).second())
            .passes(Source::Wire, wire(host).last())
            .flows(&[]),
        Case::new("the fragments of a datagram for the host itself, the first last")
            .keeps(wire(host).last())
            .passes(Source::Wire, wire(host).first())
            .passes(Source::Wire, wire(host).second())
            .waits(31 * SECOND_NS)
            .keeps(wire(host).last()),
        Case::new("fragments on the wire for a container, and for nobody")
            .given(|world| { world.stack.forwarding.insert(UPLINK); })
            .drops(Source::Wire, wire(who.of(&WEB)).second(), DropReason::NotPublished)
            .drops(Source::Wire, wire(who.of(&WEB)).first(), DropReason::NotPublished)
            .passes(Source::Wire, wire(who.stranger).second())
            .passes(Source::Wire, wire(who.group).second()),
        Case::new("a container's fragments for the host are the host's")
            .passes(FROM_WEB, udp(WEB.to(host), 4000, 53).second())
            .passes(FROM_WEB, udp(WEB.to(host), 4000, 53).first())
            .passes(FROM_WEB, udp(WEB.to(who.gateway(&WEB)), 4000, 53).last()),
        Case::new("the host's own fragments pass")
            .passes(Source::Host, udp(from_host(remote), 4000, 53).first())
            .passes(Source::Host, udp(from_host(remote), 4000, 53).second()),
    ]
}

/// The fragment header stands behind those that every hop reads, and before those for the destination.
fn behind_extensions() -> Case {
    let ip = |ip: Ip| Ip { extensions: vec![(HOP_BY_HOP, options(8))], ..ip };
    let sent = udp(ip(WEB.to(REMOTE_6)), 4000, 53);
    let out = udp(ip(masqueraded(REMOTE_6)), 4000, 53);
    // Payload that looks like an extension header is payload.
    let later = |ip: Ip| Ip { fragment: 3, ..ip }.frame(60, &[17, 0, 1, 4, 0, 0, 0, 0]);
    let got = |from: Addr| udp(ip(WEB.gets(from)), 53, 4000);
    Case::new("fragments behind an extension header")
        .whole(FROM_WEB, &sent, OUT, &out)
        .whole(Source::Wire, &udp(ip(from_wire(REMOTE_6, HOST_6)), 53, 4000), TO_WEB, &got(REMOTE_6))
        .drops(FROM_WEB, later(ip(WEB.to(REMOTE_6))), DropReason::FragmentFirstMissing)
}
