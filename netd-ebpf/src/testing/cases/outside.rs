//! What goes from a container to the outside, and what comes back?

use super::{ACK, FROM_DB, FROM_WEB, OUT, RST, SYN, SYN_ACK, TO_DB, TO_WEB, both};
use crate::testing::case::{Case, key};
use crate::testing::checksum::checksum;
use crate::testing::packet::{Ip, answer_to};
use crate::testing::world::{DB, HOST, HOST_6, MOVED, REMOTE, Source, UPLINK, WEB, Who, World, from_wire};
use netd_common::Addr;
use netd_common::drop::DropReason;
use netd_common::endpoint::UNMASQUERADED;
use netd_common::flow::{Flow, OUTSIDE};
use netd_common::publish::{TCP, UDP};

/// The sender's packet as it leaves.
pub fn masqueraded(to: Addr) -> Ip {
    let from = if to.is_v4() { HOST } else { HOST_6 };
    Ip { from, ttl: 63, ..WEB.to(to) }
}

pub fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
    for of_both in [there_and_back, headers, ports, unmasqueraded] {
        cases.extend(both(of_both));
    }
    cases.push(Case::new("the flag that forbids fragments is carried").send(
        FROM_WEB,
        Ip { fragment: 0x4000, ..WEB.to(REMOTE) }.udp(4000, 53, b""),
        OUT,
        Ip { fragment: 0x4000, ..masqueraded(REMOTE) }.udp(4000, 53, b""),
    ));
    cases
}

#[rustfmt::skip]
fn there_and_back(who: &Who) -> Vec<Case> {
    let wire = from_wire(who.remote, who.host);
    vec![
        Case::new("TCP is masqueraded, keeps its port, and the answers come back")
            .send(FROM_WEB, WEB.to(who.remote).tcp(4000, 80, SYN, b""), OUT, masqueraded(who.remote).tcp(4000, 80, SYN, b""))
            .flows(&[
                "tcp inside 10.1.0.2:4000>198.18.1.9:80 = 198.18.0.1:4000>198.18.1.9:80 uplink 102, opening, 1",
                "tcp outside 198.18.1.9:80>198.18.0.1:4000 = 198.18.1.9:80>10.1.0.2:4000 endpoint 1, opening, 0",
            ])
            .send(Source::Wire, wire.tcp(80, 4000, SYN_ACK, b""), TO_WEB, WEB.gets(who.remote).tcp(80, 4000, SYN_ACK, b""))
            .send(FROM_WEB, WEB.to(who.remote).tcp(4000, 80, ACK, b"GET"), OUT, masqueraded(who.remote).tcp(4000, 80, ACK, b"GET"))
            .send(Source::Wire, wire.tcp(80, 4000, ACK, b"odd"), TO_WEB, WEB.gets(who.remote).tcp(80, 4000, ACK, b"odd"))
            .flows(&[
                "tcp inside 10.1.0.2:4000>198.18.1.9:80 = 198.18.0.1:4000>198.18.1.9:80 uplink 102, established, 2",
                "tcp outside 198.18.1.9:80>198.18.0.1:4000 = 198.18.1.9:80>10.1.0.2:4000 endpoint 1, established, 2",
            ]),
        Case::new("UDP is masqueraded and comes back")
            .send(FROM_WEB, WEB.to(who.remote).udp(4000, 53, b"?"), OUT, masqueraded(who.remote).udp(4000, 53, b"?"))
            .send(Source::Wire, wire.udp(53, 4000, b"!!"), TO_WEB, WEB.gets(who.remote).udp(53, 4000, b"!!"))
            .flows(&[
                "udp inside 10.1.0.2:4000>198.18.1.9:53 = 198.18.0.1:4000>198.18.1.9:53 uplink 102, established, 1",
                "udp outside 198.18.1.9:53>198.18.0.1:4000 = 198.18.1.9:53>10.1.0.2:4000 endpoint 1, established, 1",
            ]),
        Case::new("an echo is masqueraded by its identifier and comes back")
            .send(FROM_WEB, WEB.to(who.remote).echo(true, 77, b"ping"), OUT, masqueraded(who.remote).echo(true, 77, b"ping"))
            .send(Source::Wire, wire.echo(false, 77, b"ping"), TO_WEB, WEB.gets(who.remote).echo(false, 77, b"ping"))
            .passes(Source::Wire, wire.echo(false, 78, b"ping"))
            .flows(&[
                "icmp inside 10.1.0.2:77>198.18.1.9:0 = 198.18.0.1:77>198.18.1.9:0 uplink 102, established, 1",
                "icmp outside 198.18.1.9:0>198.18.0.1:77 = 198.18.1.9:0>10.1.0.2:77 endpoint 1, established, 1",
            ]),
        Case::new("an echo with the identifier 0 gets another, since a request for the host may have that")
            .send(FROM_WEB, WEB.to(who.remote).echo(true, 0, b"ping"), OUT, masqueraded(who.remote).echo(true, MOVED, b"ping"))
            .answer(Source::Wire, answer, TO_WEB, WEB.gets(who.remote).echo(false, 0, b"yes"))
            .passes(Source::Wire, wire.echo(true, 0, b"for the host")),
        Case::new("a next hop on the uplink itself")
            .send(FROM_WEB, WEB.to(who.router).udp(4000, 53, b""), OUT, masqueraded(who.router).udp(4000, 53, b"")),
        Case::new("one port serves two remotes")
            .send(FROM_WEB, WEB.to(who.remote).udp(4000, 53, b""), OUT, masqueraded(who.remote).udp(4000, 53, b""))
            .send(FROM_DB, DB.to(who.remote_2).udp(4000, 53, b""), OUT, Ip { from: who.host, ttl: 63, ..DB.to(who.remote_2) }.udp(4000, 53, b""))
            .send(Source::Wire, from_wire(who.remote_2, who.host).udp(53, 4000, b""), TO_DB, DB.gets(who.remote_2).udp(53, 4000, b""))
            .send(Source::Wire, wire.udp(53, 4000, b""), TO_WEB, WEB.gets(who.remote).udp(53, 4000, b"")),
        Case::new("a protocol that is not translated stays inside")
            .drops(FROM_WEB, WEB.to(who.remote).frame(50, &[0; 12]), DropReason::UnsupportedProtocol)
            .drops(FROM_WEB, WEB.to(who.remote).frame(47, &[0; 12]), DropReason::UnsupportedProtocol)
            .drops(FROM_WEB, WEB.to(who.remote).icmp(who.odd_message, 1, b""), DropReason::IcmpUnsupported)
            .drops(FROM_WEB, WEB.to(who.remote).icmp(who.port_unreachable.0, 1, &[0; 28]), DropReason::Malformed)
            .flows(&[]),
        Case::new("what cannot be the first of a flow")
            .drops(FROM_WEB, WEB.to(who.remote).tcp(4000, 80, SYN_ACK, b""), DropReason::NoFlow)
            .drops(FROM_WEB, WEB.to(who.remote).tcp(4000, 80, RST, b""), DropReason::NoFlow)
            .drops(FROM_WEB, WEB.to(who.remote).tcp(4000, 80, RST | ACK, b""), DropReason::NoFlow)
            .drops(FROM_WEB, WEB.to(who.remote).echo(false, 1, b""), DropReason::NoFlow)
            .flows(&[]),
        Case::new("a connection is resumed whose flow was lost")
            .send(FROM_WEB, WEB.to(who.remote).tcp(4000, 80, ACK, b"x"), OUT, masqueraded(who.remote).tcp(4000, 80, ACK, b"x"))
            .flows(&[
                "tcp inside 10.1.0.2:4000>198.18.1.9:80 = 198.18.0.1:4000>198.18.1.9:80 uplink 102, established, 1",
                "tcp outside 198.18.1.9:80>198.18.0.1:4000 = 198.18.1.9:80>10.1.0.2:4000 endpoint 1, established, 0",
            ]),
        Case::new("no route, and a route that is no uplink's")
            .drops(FROM_WEB, WEB.to(who.absent).udp(4000, 53, b""), DropReason::NoRoute)
            .drops(FROM_WEB, WEB.to(who.lan_remote).udp(4000, 53, b""), DropReason::NotUplink)
            .flows(&[]),
        Case::new("what was sent to a flow's address without being its answer passes")
            .send(FROM_WEB, WEB.to(who.remote).udp(4000, 53, b""), OUT, masqueraded(who.remote).udp(4000, 53, b""))
            .passes(Source::Wire, wire.udp(54, 4000, b""))
            .passes(Source::Wire, from_wire(who.remote_2, who.host).udp(53, 4000, b""))
            .passes(Source::Wire, wire.tcp(53, 4000, SYN, b"")),
        Case::new("a container that is gone gets no more answers, and its flow goes with them")
            .send(FROM_WEB, WEB.to(who.remote).udp(4000, 53, b""), OUT, masqueraded(who.remote).udp(4000, 53, b""))
            .change(|world| world.unplug(&WEB))
            .drops(Source::Wire, wire.udp(53, 4000, b""), DropReason::EndpointGone)
            .flows(&[]),
    ]
}

#[rustfmt::skip]
fn headers(who: &Who) -> Vec<Case> {
    let wire = from_wire(who.remote, who.host);
    vec![
        Case::new("IP options are carried through a translation")
            .send(FROM_WEB, WEB.to(who.remote).with_options(40).tcp(4000, 80, SYN, b""), OUT,
                masqueraded(who.remote).with_options(40).tcp(4000, 80, SYN, b""))
            .send(Source::Wire, wire.with_options(4).tcp(80, 4000, SYN_ACK, b""), TO_WEB,
                WEB.gets(who.remote).with_options(4).tcp(80, 4000, SYN_ACK, b"")),
        Case::new("a UDP checksum that is none stays none")
            .send(FROM_WEB, unchecked(WEB.to(who.remote).udp(4000, 53, b"x")), OUT, unchecked(masqueraded(who.remote).udp(4000, 53, b"x")))
            .send(Source::Wire, unchecked(wire.udp(53, 4000, b"x")), TO_WEB, unchecked(WEB.gets(who.remote).udp(53, 4000, b"x"))),
        Case::new("a UDP checksum that comes to zero is written as all ones")
            .send(FROM_WEB, WEB.to(who.remote).udp(4000, 53, &zeroing(who)), OUT, masqueraded(who.remote).udp(4000, 53, &zeroing(who))),
        Case::new("a BIG TCP segment has a length of zero, and no other may")
            .given(|world| { world.stack.mtus.insert(UPLINK, 100_000); })
            .send(FROM_WEB, big(&WEB.to(who.remote), 70_000), OUT, big(&masqueraded(who.remote), 70_000))
            .drops(FROM_WEB, big(&WEB.to(who.remote), 100), DropReason::Malformed)
            .only_on_the_model("a run of a program for a test takes no frame of that length"),
    ]
}

#[rustfmt::skip]
fn ports(who: &Who) -> Vec<Case> {
    let who = *who;
    let out = masqueraded(who.remote);
    let moved = |protocol: fn(&Ip, u16) -> Vec<u8>| protocol(&masqueraded(who.remote), MOVED);
    vec![
        Case::new("a port that a peer's flow has is exchanged for another, and the answers still come back")
            .send(FROM_DB, DB.to(who.remote).tcp(4000, 80, SYN, b""), OUT, Ip { from: who.host, ttl: 63, ..DB.to(who.remote) }.tcp(4000, 80, SYN, b""))
            .send(FROM_WEB, WEB.to(who.remote).tcp(4000, 80, SYN, b""), OUT, moved(|ip, port| ip.tcp(port, 80, SYN, b"")))
            .answer(Source::Wire, answer, TO_WEB, WEB.gets(who.remote).tcp(80, 4000, SYN_ACK, b"yes"))
            .send(Source::Wire, from_wire(who.remote, who.host).tcp(80, 4000, SYN_ACK, b""), TO_DB, DB.gets(who.remote).tcp(80, 4000, SYN_ACK, b""))
            .flows(&[
                "tcp inside 10.1.0.2:4000>198.18.1.9:80 = 198.18.0.1:33280>198.18.1.9:80 uplink 102, established, 1",
                "tcp inside 10.1.0.3:4000>198.18.1.9:80 = 198.18.0.1:4000>198.18.1.9:80 uplink 102, established, 1",
                "tcp outside 198.18.1.9:80>198.18.0.1:4000 = 198.18.1.9:80>10.1.0.3:4000 endpoint 2, established, 1",
                "tcp outside 198.18.1.9:80>198.18.0.1:33280 = 198.18.1.9:80>10.1.0.2:4000 endpoint 1, established, 1",
            ]),
        Case::new("an echo identifier that a peer's flow has is exchanged for another")
            .send(FROM_DB, DB.to(who.remote).echo(true, 77, b"a"), OUT, Ip { from: who.host, ttl: 63, ..DB.to(who.remote) }.echo(true, 77, b"a"))
            .send(FROM_WEB, WEB.to(who.remote).echo(true, 77, b"b"), OUT, moved(|ip, port| ip.echo(true, port, b"b")))
            .answer(Source::Wire, answer, TO_WEB, WEB.gets(who.remote).echo(false, 77, b"yes")),
        Case::new("a port that a socket of the host has is exchanged for another")
            .given(|world| world.listen(UDP, who.host, 4000))
            .send(FROM_WEB, WEB.to(who.remote).udp(4000, 53, b"x"), OUT, moved(|ip, port| ip.udp(port, 53, b"x")))
            .answer(Source::Wire, answer, TO_WEB, WEB.gets(who.remote).udp(53, 4000, b"yes")),
        Case::new("a port that a socket of the host has for this remote alone")
            .given(|world| world.connect(who.host, 4000, who.remote, 53))
            .send(FROM_WEB, WEB.to(who.remote_2).udp(4000, 53, b"x"), OUT, masqueraded(who.remote_2).udp(4000, 53, b"x"))
            .send(FROM_WEB, WEB.to(who.remote).udp(4000, 54, b"x"), OUT, out.udp(4000, 54, b"x"))
            .send(FROM_WEB, WEB.to(who.remote).udp(4000, 53, b"x"), OUT, moved(|ip, port| ip.udp(port, 53, b"x"))),
        Case::new("a port that the host listens on is exchanged for another")
            .given(|world| world.listen(TCP, who.host, 4000))
            .send(FROM_WEB, WEB.to(who.remote).tcp(4000, 80, SYN, b""), OUT, moved(|ip, port| ip.tcp(port, 80, SYN, b"")))
            .send(FROM_WEB, WEB.to(who.remote).udp(4000, 80, b""), OUT, out.udp(4000, 80, b"")),
        Case::new("a UDP checksum that is none stays none when the port changes")
            .given(|world| world.listen(UDP, who.host, 4000))
            .send(FROM_WEB, unchecked(WEB.to(who.remote).udp(4000, 53, b"x")), OUT, moved(|ip, port| unchecked(ip.udp(port, 53, b"x")))),
        Case::new("the lowest port of the range can come")
            .given(|world| { world.stack.random = 0; take(world, &who, 4000); })
            .send(FROM_WEB, WEB.to(who.remote).tcp(4000, 80, SYN, b""), OUT, out.tcp(1024, 80, SYN, b"")),
        Case::new("the highest port of the range can come")
            .given(|world| { world.stack.random = u32::MAX; take(world, &who, 4000); })
            .send(FROM_WEB, WEB.to(who.remote).tcp(4000, 80, SYN, b""), OUT, out.tcp(65535, 80, SYN, b"")),
        Case::new("no port is free for this remote, and all are for another")
            .given(|world| (1024..=65535).for_each(|port| take(world, &who, port)))
            .drops(FROM_WEB, WEB.to(who.remote).tcp(4000, 80, SYN, b""), DropReason::SnatExhausted)
            .send(FROM_WEB, WEB.to(who.remote_2).tcp(4000, 80, SYN, b""), OUT, masqueraded(who.remote_2).tcp(4000, 80, SYN, b""))
            .only_on_the_model("the table of these tests has no room for every port"),
        Case::new("the table takes no entry")
            .given(|world| world.model.flows_max = Some(0))
            .drops(FROM_WEB, WEB.to(who.remote).tcp(4000, 80, SYN, b""), DropReason::FlowTableFull)
            .flows(&[])
            .only_on_the_model("an LRU makes room"),
        Case::new("the table takes half a pair, and is rid of it again")
            .given(|world| world.model.flows_max = Some(1))
            .drops(FROM_WEB, WEB.to(who.remote).udp(4000, 53, b""), DropReason::FlowTableFull)
            .flows(&[])
            .only_on_the_model("an LRU makes room"),
    ]
}

#[rustfmt::skip]
fn unmasqueraded(who: &Who) -> Vec<Case> {
    let out = Ip { ttl: 63, ..WEB.to(who.remote) };
    let wire = from_wire(who.remote, who.of(&WEB));
    vec![
        Case::new("without masquerading the source is kept, and only answers come in")
            .given(|world| world.flags(UNMASQUERADED))
            .send(FROM_WEB, WEB.to(who.remote).tcp(4000, 80, SYN, b""), OUT, out.tcp(4000, 80, SYN, b""))
            .send(Source::Wire, wire.tcp(80, 4000, SYN_ACK, b""), TO_WEB, WEB.gets(who.remote).tcp(80, 4000, SYN_ACK, b""))
            .flows(&[
                "tcp inside 10.1.0.2:4000>198.18.1.9:80 = 10.1.0.2:4000>198.18.1.9:80 uplink 102, established, 1",
                "tcp outside 198.18.1.9:80>10.1.0.2:4000 = 198.18.1.9:80>10.1.0.2:4000 endpoint 1, established, 1",
            ]),
        Case::new("a packet from the wire straight for a container is not let in, where the host would forward it")
            .given(|world| { world.stack.forwarding.insert(UPLINK); })
            .drops(Source::Wire, wire.tcp(80, 4000, SYN, b""), DropReason::NotPublished)
            .drops(Source::Wire, wire.echo(true, 1, b""), DropReason::NotPublished)
            .drops(Source::Wire, wire.icmp(who.port_unreachable.0, 1, &[0; 28]), DropReason::NotPublished)
            .drops(Source::Wire, wire.frame(132, &[0; 12]), DropReason::NotPublished)
            .drops(Source::Wire, Ip { fragment: 1, ..wire.clone() }.udp(1, 2, b""), DropReason::NotPublished)
            .passes(Source::Wire, from_wire(who.remote, who.absent).udp(1, 2, b""))
            .passes(Source::Wire, from_wire(who.remote, who.lan_remote).udp(1, 2, b"")),
        Case::new("a packet from the wire straight for a container is left to a host that does not forward")
            .passes(Source::Wire, wire.tcp(80, 4000, SYN, b"")),
    ]
}

/// The answer of the last frame's receiver.
fn answer(frame: &[u8]) -> Vec<u8> {
    let mut answer = answer_to(frame, b"yes");
    let wire = from_wire([0; 4], [0; 4]);
    answer[..6].copy_from_slice(&wire.to_mac);
    answer[6..12].copy_from_slice(&wire.from_mac);
    answer
}

/// Another's flow to the same remote has this port.
fn take(world: &mut World, who: &Who, port: u16) {
    let answer = key(OUTSIDE, TCP, (who.remote, 80), (who.host, port));
    world.model.flows.borrow_mut().insert(answer, Flow { seen_ns: world.stack.now_ns, ..Flow::default() });
}

/// Without a UDP checksum.
pub fn unchecked(mut frame: Vec<u8>) -> Vec<u8> {
    let at = transport(&frame) + 6;
    frame[at..at + 2].fill(0);
    frame
}

/// Where the transport header stands, in a frame without extension headers.
pub fn transport(frame: &[u8]) -> usize {
    if frame[12] == 0x08 { 14 + usize::from(frame[14] & 0x0f) * 4 } else { 14 + 40 }
}

/// A payload with which the masqueraded datagram's sum comes to zero.
fn zeroing(who: &Who) -> [u8; 2] {
    let frame = masqueraded(who.remote).udp(4000, 53, &[0, 0]);
    let at = transport(&frame) + 6;
    [frame[at], frame[at + 1]]
}

/// A segment whose IP length says nothing.
fn big(ip: &Ip, len: usize) -> Vec<u8> {
    let mut frame = ip.tcp(4000, 80, ACK, &vec![7; len]);
    if !ip.from.is_v4() {
        frame[18..20].fill(0);
        return frame;
    }
    frame[16..18].fill(0);
    frame[24..26].fill(0);
    let sum = checksum(&frame[14..34]);
    frame[24..26].copy_from_slice(&sum);
    frame
}
