//! What contradicts itself, or ends too soon?

use super::outside::transport;
use super::published::publish_web;
use super::{FROM_WEB, SYN};
use crate::testing::case::Case;
use crate::testing::checksum::checksum;
use crate::testing::packet::{Arp, Ip, error_about};
use crate::testing::world::{DB, Source, WEB, Who, from_host, from_wire};
use netd_common::Addr;
use netd_common::drop::DropReason;
use netd_common::publish::{ICMP, ICMPV6, TCP, UDP};

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
    for who in [Who::V4, Who::V6] {
        let name = if who.is_v4() { "IPv4" } else { "IPv6" };
        let mut inside = published(format!("headers of {name} that lie, from a container"));
        let mut outside = published(format!("headers of {name} that lie, from the wire"));
        let mut host = published(format!("headers of {name} that lie, from the host"));
        for lie in lies(&who) {
            inside = inside.drops(FROM_WEB, lie.told(&WEB.to(who.remote)), DropReason::Malformed);
            outside = outside.passes(Source::Wire, lie.told(&from_wire(who.remote, who.host)));
            host = host.passes(Source::Host, lie.told(&from_host(who.remote)));
        }
        cases.extend([inside.flows(&[]), outside.flows(&[]), host.flows(&[])]);
    }
    cases
}

/// So that whatever is taken for whole would go somewhere.
fn published(name: String) -> Case {
    Case::new(name).given(|world| {
        for any in [Addr::ANY_V4, Addr::ANY_V6] {
            world.publish(TCP, any, 80, &DB, 80);
            world.publish(UDP, any, 53, &DB, 53);
        }
        publish_web(&Who::V4)(world);
    })
}

/// A whole frame of every kind, from every place.
#[must_use]
pub fn truncations() -> Vec<(String, Source, Vec<u8>)> {
    let mut all = vec![
        ("ARP".to_owned(), FROM_WEB, Arp::request(WEB.mac(), WEB.address, WEB.gateway).frame()),
        ("neighbour solicitation".to_owned(), FROM_WEB, WEB.asks_for(WEB.address_6, WEB.gateway_6, true)),
    ];
    for who in [Who::V4, Who::V6] {
        let family = if who.is_v4() { "" } else { " (IPv6)" };
        let from = [
            ("out", FROM_WEB, WEB.to(who.remote)),
            ("to a published port", FROM_WEB, WEB.to(who.host)),
            ("to a peer", FROM_WEB, WEB.to_peer(&DB, &who)),
            ("in", Source::Wire, from_wire(who.remote, who.host)),
            ("of the host", Source::Host, from_host(who.remote)),
        ];
        for (where_to, source, ip) in from {
            let with_options = ip.with_options(16);
            let fragment = Ip { fragment: 0x2000, ..ip.clone() };
            let back = Ip { from: ip.to, to: ip.from, from_mac: ip.to_mac, to_mac: ip.from_mac, ..ip.clone() };
            let frames = [
                ("TCP", ip.tcp(4000, 80, SYN, b"payload")),
                ("UDP", ip.udp(4000, 53, b"payload")),
                ("echo", ip.echo(true, 7, b"payload")),
                ("SCTP", ip.frame(132, &[0; 12])),
                ("TCP with IP options", with_options.tcp(4000, 80, SYN, b"")),
                ("a fragment of UDP", fragment.udp(4000, 53, b"payload.")),
                ("an ICMP error", error_about(&back.udp(4000, 53, b""), ip.from, who.port_unreachable, [0; 4], 48)),
            ];
            all.extend(frames.map(|(kind, frame)| (format!("{kind} {where_to}{family}"), source, frame)));
        }
    }
    all
}

/// A header that contradicts itself or the length: of a protocol, and the bytes that it has instead.
#[derive(Clone)]
struct Lie {
    protocol: u8,
    at: &'static [(At, u8)],
}

/// A place in a frame: an offset in its IP or in its transport header.
enum At {
    Ip(usize),
    Transport(usize),
}

impl Lie {
    fn told(&self, ip: &Ip) -> Vec<u8> {
        let mut frame = match self.protocol {
            TCP => ip.tcp(4000, 80, SYN, b""),
            UDP => ip.udp(4000, 53, b"x"),
            _ => ip.echo(true, 7, b"x"),
        };
        let header = transport(&frame);
        for (at, byte) in self.at {
            let at = match at {
                At::Ip(at) => 14 + at,
                At::Transport(at) => header + at,
            };
            frame[at] = *byte;
        }
        if ip.from.is_v4() {
            // Only the lie is wrong.
            frame[24..26].fill(0);
            let sum = checksum(&frame[14..34]);
            frame[24..26].copy_from_slice(&sum);
        }
        frame
    }
}

fn lies(who: &Who) -> Vec<Lie> {
    use At::{Ip, Transport};
    let of_v4: [(u8, &[(At, u8)]); 10] = [
        (TCP, &[(Ip(0), 0x55)]),                // IP version 5
        (TCP, &[(Ip(0), 0x65)]),                // IP version 6
        (TCP, &[(Ip(0), 0x44)]),                // a header of 16 bytes
        (TCP, &[(Ip(0), 0x40)]),                // a header of none
        (TCP, &[(Ip(0), 0x4f)]),                // a header of 60 bytes: longer than the packet
        (TCP, &[(Ip(2), 0), (Ip(3), 19)]),      // a packet shorter than its header
        (TCP, &[(Ip(2), 0x05), (Ip(3), 0xdc)]), // a packet longer than the frame
        (TCP, &[(Ip(2), 0), (Ip(3), 28)]),      // the packet ends within the TCP header
        (UDP, &[(Ip(2), 0), (Ip(3), 27)]),      // the packet ends within the UDP header
        (ICMP, &[(Ip(2), 0), (Ip(3), 27)]),     // the packet ends within the ICMP header
    ];
    let of_v6: [(u8, &[(At, u8)]); 7] = [
        (TCP, &[(Ip(0), 0x50)]),                // IP version 5
        (TCP, &[(Ip(0), 0x45)]),                // IP version 4
        (TCP, &[(Ip(4), 0x05), (Ip(5), 0xdc)]), // a packet longer than the frame
        (TCP, &[(Ip(4), 0), (Ip(5), 0)]),       // nothing behind the header, and no jumbogram
        (TCP, &[(Ip(4), 0), (Ip(5), 8)]),       // the packet ends within the TCP header
        (UDP, &[(Ip(4), 0), (Ip(5), 7)]),       // the packet ends within the UDP header
        (ICMPV6, &[(Ip(4), 0), (Ip(5), 7)]),    // the packet ends within the ICMP header
    ];
    let of_both: [(u8, &[(At, u8)]); 4] = [
        (TCP, &[(Transport(12), 0x40)]),                      // a TCP header of 16 bytes
        (TCP, &[(Transport(12), 0xf0)]),                      // a TCP header longer than the packet
        (UDP, &[(Transport(4), 0), (Transport(5), 7)]),       // a datagram shorter than its header
        (UDP, &[(Transport(4), 0xff), (Transport(5), 0xff)]), // a datagram longer than the packet
    ];
    let lie = |(protocol, at)| Lie { protocol, at };
    let own = if who.is_v4() { of_v4.map(lie).to_vec() } else { of_v6.map(lie).to_vec() };
    own.into_iter().chain(of_both.map(lie)).collect()
}
