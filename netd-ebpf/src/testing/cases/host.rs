//! What does the host itself send, and does it take a container's tuple?

use super::outside::masqueraded;
use super::{ACK, FROM_WEB, OUT, SYN, SYN_ACK, TO_WEB};
use crate::testing::case::Case;
use crate::testing::packet::{Arp, Ip, answer_to};
use crate::testing::world::{HOST, MOVED, REMOTE, ROUTER, Source, UPLINK_MAC, WEB, from_host, from_wire};
use crate::verdict::Verdict;

#[rustfmt::skip]
pub fn cases() -> Vec<Case> {
    let host = from_host(REMOTE);
    let wire = from_wire(REMOTE, HOST);
    let web_sends = |case: Case| case
        .send(FROM_WEB, WEB.to(REMOTE).tcp(4000, 80, SYN, b""), OUT, masqueraded(REMOTE).tcp(4000, 80, SYN, b""));
    vec![
        Case::new("what the host sends passes without a flow")
            .passes(Source::Host, host.tcp(4000, 80, SYN, b""))
            .passes(Source::Host, host.udp(4000, 53, b""))
            .passes(Source::Host, host.icmp(8, 1, b""))
            .passes(Source::Host, host.icmp(3, 1, &[0; 28]))
            .passes(Source::Host, host.frame(132, &[0; 12]))
            .passes(Source::Host, Ip { fragment: 0x2000, ..host.clone() }.udp(1, 2, b"x"))
            .passes(Source::Host, Arp::request(UPLINK_MAC, HOST, ROUTER).frame())
            .passes(Source::Host, [&[0xff; 12][..], &[0x86, 0xdd], &[0; 40]].concat())
            .flows(&[]),
        web_sends(Case::new("a socket of the host that takes a container's tuple gets another port, and each its answers"))
            .send(Source::Host, host.tcp(4000, 80, SYN, b"host"), Verdict::Pass, Ip { from: HOST, ..host.clone() }.tcp(MOVED, 80, SYN, b"host"))
            .answer(Source::Wire, wire_answers, Verdict::Pass, wire.tcp(80, 4000, SYN_ACK, b"yes"))
            .send(Source::Wire, wire.tcp(80, 4000, SYN_ACK, b"web"), TO_WEB, WEB.gets(REMOTE).tcp(80, 4000, SYN_ACK, b"web"))
            .flows(&[
                "tcp inside 10.1.0.2:4000>198.18.1.9:80 = 198.18.0.1:4000>198.18.1.9:80 uplink 102, established, 1",
                "tcp host 198.18.0.1:4000>198.18.1.9:80 = 198.18.0.1:33280>198.18.1.9:80 stack, established, 1",
                "tcp outside 198.18.1.9:80>198.18.0.1:4000 = 198.18.1.9:80>10.1.0.2:4000 endpoint 1, established, 1",
                "tcp outside 198.18.1.9:80>198.18.0.1:33280 = 198.18.1.9:80>198.18.0.1:4000 stack, established, 1",
            ]),
        Case::new("a socket of the host that shares a port with a container's UDP flow to the same remote")
            .send(FROM_WEB, WEB.to(REMOTE).udp(4000, 53, b"?"), OUT, masqueraded(REMOTE).udp(4000, 53, b"?"))
            .send(Source::Host, host.udp(4000, 53, b"??"), Verdict::Pass, host.udp(MOVED, 53, b"??"))
            .answer(Source::Wire, wire_answers, Verdict::Pass, wire.udp(53, 4000, b"yes")),
        Case::new("an echo of the host that shares an identifier with a container's")
            .send(FROM_WEB, WEB.to(REMOTE).icmp(8, 77, b"?"), OUT, masqueraded(REMOTE).icmp(8, 77, b"?"))
            .send(Source::Host, host.icmp(8, 77, b"??"), Verdict::Pass, host.icmp(8, MOVED, b"??"))
            .answer(Source::Wire, wire_answers, Verdict::Pass, wire.icmp(0, 77, b"yes")),
        web_sends(Case::new("what the host sends from another port, or to another, shares nothing"))
            .passes(Source::Host, host.tcp(4001, 80, SYN, b""))
            .passes(Source::Host, host.tcp(4000, 81, SYN, b""))
            .passes(Source::Host, host.udp(4000, 80, b"")),
        web_sends(Case::new("what the host forwards for others is not the host's"))
            .passes(Source::Forwarded, host.tcp(4000, 80, SYN, b"")),
        Case::new("what the host sends on a published port in its own name")
            .given(|world| world.publish(6, [0; 4], 8080, &WEB, 80))
            .passes(Source::Host, host.tcp(8080, 4000, ACK, b"")),
    ]
}

/// The answer of the last frame's receiver.
fn wire_answers(frame: &[u8]) -> Vec<u8> {
    answer_to(frame, b"yes")
}
