//! What does the host itself send, and does it take a container's tuple?

use super::outside::masqueraded;
use super::{ACK, FROM_WEB, OUT, SYN, SYN_ACK, TO_WEB, both};
use crate::testing::case::Case;
use crate::testing::packet::{Arp, Ip, answer_to};
use crate::testing::world::{HOST, MOVED, ROUTER, Source, UPLINK_MAC, WEB, Who, from_host, from_wire};
use crate::verdict::Verdict;

pub fn cases() -> Vec<Case> {
    both(of).collect()
}

#[rustfmt::skip]
fn of(who: &Who) -> Vec<Case> {
    let host = from_host(who.remote);
    let wire = from_wire(who.remote, who.host);
    let web_sends = |case: Case| case
        .send(FROM_WEB, WEB.to(who.remote).tcp(4000, 80, SYN, b""), OUT, masqueraded(who.remote).tcp(4000, 80, SYN, b""));
    vec![
        Case::new("what the host sends passes without a flow")
            .passes(Source::Host, host.tcp(4000, 80, SYN, b""))
            .passes(Source::Host, host.udp(4000, 53, b""))
            .passes(Source::Host, host.echo(true, 1, b""))
            .passes(Source::Host, host.icmp(who.port_unreachable.0, 1, &[0; 28]))
            .passes(Source::Host, host.frame(132, &[0; 12]))
            .passes(Source::Host, Ip { fragment: 0x2000, ..host.clone() }.udp(1, 2, b"x"))
            .passes(Source::Host, Arp::request(UPLINK_MAC, HOST, ROUTER).frame())
            .passes(Source::Host, [&[0xff; 12][..], &[0x86, 0xdd], &[0; 40]].concat())
            .flows(&[]),
        web_sends(Case::new("a socket of the host that takes a container's tuple gets another port, and each its answers"))
            .send(Source::Host, host.tcp(4000, 80, SYN, b"host"), Verdict::Pass, Ip { from: who.host, ..host.clone() }.tcp(MOVED, 80, SYN, b"host"))
            .answer(Source::Wire, wire_answers, Verdict::Pass, wire.tcp(80, 4000, SYN_ACK, b"yes"))
            .send(Source::Wire, wire.tcp(80, 4000, SYN_ACK, b"web"), TO_WEB, WEB.gets(who.remote).tcp(80, 4000, SYN_ACK, b"web"))
            .flows(&[
                "tcp inside 10.1.0.2:4000>198.18.1.9:80 = 198.18.0.1:4000>198.18.1.9:80 uplink 102, established, 1",
                "tcp host 198.18.0.1:4000>198.18.1.9:80 = 198.18.0.1:33280>198.18.1.9:80 stack, established, 1",
                "tcp outside 198.18.1.9:80>198.18.0.1:4000 = 198.18.1.9:80>10.1.0.2:4000 endpoint 1, established, 1",
                "tcp outside 198.18.1.9:80>198.18.0.1:33280 = 198.18.1.9:80>198.18.0.1:4000 stack, established, 1",
            ]),
        Case::new("a socket of the host that shares a port with a container's UDP flow to the same remote")
            .send(FROM_WEB, WEB.to(who.remote).udp(4000, 53, b"?"), OUT, masqueraded(who.remote).udp(4000, 53, b"?"))
            .send(Source::Host, host.udp(4000, 53, b"??"), Verdict::Pass, host.udp(MOVED, 53, b"??"))
            .answer(Source::Wire, wire_answers, Verdict::Pass, wire.udp(53, 4000, b"yes")),
        Case::new("an echo of the host that shares an identifier with a container's")
            .send(FROM_WEB, WEB.to(who.remote).echo(true, 77, b"?"), OUT, masqueraded(who.remote).echo(true, 77, b"?"))
            .send(Source::Host, host.echo(true, 77, b"??"), Verdict::Pass, host.echo(true, MOVED, b"??"))
            .answer(Source::Wire, wire_answers, Verdict::Pass, wire.echo(false, 77, b"yes")),
        web_sends(Case::new("what the host sends from another port, or to another, shares nothing"))
            .passes(Source::Host, host.tcp(4001, 80, SYN, b""))
            .passes(Source::Host, host.tcp(4000, 81, SYN, b""))
            .passes(Source::Host, host.udp(4000, 80, b"")),
        web_sends(Case::new("what the host forwards for others is not the host's"))
            .passes(Source::Forwarded, host.tcp(4000, 80, SYN, b"")),
        Case::new("what the host sends on a published port in its own name")
            .given(|world| world.publish(6, who.any, 8080, &WEB, 80))
            .passes(Source::Host, host.tcp(8080, 4000, ACK, b"")),
    ]
}

/// The answer of the last frame's receiver.
fn wire_answers(frame: &[u8]) -> Vec<u8> {
    answer_to(frame, b"yes")
}
