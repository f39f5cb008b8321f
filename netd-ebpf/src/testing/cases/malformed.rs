//! What contradicts itself, or ends too soon?

use super::{FROM_WEB, SYN};
use crate::testing::case::Case;
use crate::testing::packet::{Arp, Ip, checksum};
use crate::testing::world::{DB, HOST, REMOTE, Source, WEB, from_host, from_wire};
use netd_common::drop::DropReason;
use netd_common::publish::{TCP, UDP};

/// One row for every kind of frame, cut at every length; and the headers that lie. A container's are dropped, others left
/// to the host's stack as they are.
pub fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
    for (name, source, frame) in truncations() {
        let mut case = published(format!("{name}, cut at every length"));
        for len in 0..frame.len() {
            let cut = frame.get(..len).unwrap_or_default().to_vec();
            case = match source {
                Source::Container(_) => case.drops(source, cut, DropReason::Malformed),
                Source::Wire | Source::Host | Source::Forwarded => case.passes(source, cut),
            };
        }
        cases.push(case.flows(&[]));
    }
    let mut inside = published("headers that lie, from a container".to_owned());
    let mut outside = published("headers that lie, from the wire".to_owned());
    let mut host = published("headers that lie, from the host".to_owned());
    for (frame, of_host, of_wire) in bad_headers() {
        inside = inside.drops(FROM_WEB, frame, DropReason::Malformed);
        outside = outside.passes(Source::Wire, of_wire);
        host = host.passes(Source::Host, of_host);
    }
    cases.extend([inside.flows(&[]), outside.flows(&[]), host.flows(&[])]);
    cases
}

/// So that whatever is taken for whole would go somewhere.
fn published(name: String) -> Case {
    Case::new(name).given(|world| {
        world.publish(TCP, [0; 4], 80, &DB, 80);
        world.publish(UDP, [0; 4], 53, &DB, 53);
    })
}

/// A whole frame of every kind, from every place.
#[must_use]
pub fn truncations() -> Vec<(String, Source, Vec<u8>)> {
    let mut all = vec![("ARP".to_owned(), FROM_WEB, Arp::request(WEB.mac(), WEB.address, WEB.gateway).frame())];
    let from = [
        ("out", FROM_WEB, WEB.to(REMOTE)),
        ("to a published port", FROM_WEB, WEB.to(HOST)),
        ("to a peer", FROM_WEB, WEB.to_peer(&DB)),
        ("in", Source::Wire, from_wire(REMOTE, HOST)),
        ("of the host", Source::Host, from_host(REMOTE)),
    ];
    for (where_to, source, ip) in from {
        let with_options = Ip { options: vec![1; 12], ..ip.clone() };
        let fragment = Ip { fragment: 0x2000, ..ip.clone() };
        let frames = [
            ("TCP", ip.tcp(4000, 80, SYN, b"payload")),
            ("UDP", ip.udp(4000, 53, b"payload")),
            ("echo", ip.icmp(8, 7, b"payload")),
            ("SCTP", ip.frame(132, &[0; 12])),
            ("TCP with IP options", with_options.tcp(4000, 80, SYN, b"")),
            ("a fragment of UDP", fragment.udp(4000, 53, b"payload.")),
        ];
        all.extend(frames.map(|(kind, frame)| (format!("{kind} {where_to}"), source, frame)));
    }
    all
}

/// Frames whose headers contradict themselves or the length: as a container, the host and a remote would send them.
#[must_use]
pub fn bad_headers() -> Vec<(Vec<u8>, Vec<u8>, Vec<u8>)> {
    // Offsets in the frame, and what stands there instead.
    let lies: [(u8, &[(usize, u8)]); 14] = [
        (TCP, &[(14, 0x55)]),             // IP version 5
        (TCP, &[(14, 0x65)]),             // IP version 6
        (TCP, &[(14, 0x44)]),             // a header of 16 bytes
        (TCP, &[(14, 0x40)]),             // a header of none
        (TCP, &[(14, 0x4f)]),             // a header of 60 bytes: longer than the packet
        (TCP, &[(16, 0), (17, 19)]),      // a packet shorter than its header
        (TCP, &[(16, 0x05), (17, 0xdc)]), // a packet longer than the frame
        (TCP, &[(46, 0x40)]),             // a TCP header of 16 bytes
        (TCP, &[(46, 0xf0)]),             // a TCP header longer than the packet
        (TCP, &[(16, 0), (17, 28)]),      // the packet ends within the TCP header
        (UDP, &[(38, 0), (39, 7)]),       // a datagram shorter than its header
        (UDP, &[(38, 0xff), (39, 0xff)]), // a datagram longer than the packet
        (UDP, &[(16, 0), (17, 27)]),      // the packet ends within the UDP header
        (1, &[(16, 0), (17, 27)]),        // the packet ends within the ICMP header
    ];
    let frame = |ip: &Ip, (protocol, changes): (u8, &[(usize, u8)])| {
        let mut frame = match protocol {
            TCP => ip.tcp(4000, 80, SYN, b""),
            UDP => ip.udp(4000, 53, b"x"),
            _ => ip.icmp(8, 7, b"x"),
        };
        for &(at, byte) in changes {
            frame[at] = byte;
        }
        // Only the lie is wrong.
        frame[24..26].fill(0);
        let sum = checksum(&frame[14..34]);
        frame[24..26].copy_from_slice(&sum);
        frame
    };
    let [inside, host, wire] = [WEB.to(REMOTE), from_host(REMOTE), from_wire(REMOTE, HOST)];
    lies.map(|lie| (frame(&inside, lie), frame(&host, lie), frame(&wire, lie))).to_vec()
}
