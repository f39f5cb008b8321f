//! Which frames does the guard of an uplink see, and which does it stop?
//!
//! Rows of their own, since it makes nothing of a frame but a verdict.

use super::packet::Ip;
use super::world::{HOST, from_wire};
use netd_common::Addr;
use std::collections::BTreeSet;
use std::net::Ipv6Addr;

/// A frame, and whether it is stopped.
#[derive(Clone, Debug)]
pub struct Row {
    pub name: String,
    pub frame: Vec<u8>,
    pub is_blocked: bool,
}

const CUSTOMER: [u8; 4] = [0x81, 0x00, 0x00, 0x05];
const PROVIDER: [u8; 4] = [0x88, 0xa8, 0x00, 0x06];
const BAD_V6: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0xbad, 0, 0, 0, 0, 9);
const GOOD_V6: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0x900d, 0, 0, 0, 0, 9);
/// Blocked alone, and its neighbour.
const ONE_V6: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0xf00, 0, 0, 0, 0, 1);
const NEXT_V6: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0xf00, 0, 0, 0, 0, 2);

/// What is blocked: a prefix in its 16-byte form, and its length there.
#[must_use]
pub fn blocked() -> BTreeSet<(Addr, u32)> {
    [
        (Addr::v4([198, 51, 100, 0]), 96 + 24),
        (Addr::v4([203, 0, 113, 7]), 96 + 32),
        (Addr::v4([192, 0, 2, 160]), 96 + 27),
        (Addr::v6(Ipv6Addr::new(0x2001, 0xdb8, 0xbad, 0, 0, 0, 0, 0).octets()), 48),
        (Addr::v6(ONE_V6.octets()), 128),
    ]
    .into()
}

#[must_use]
pub fn rows() -> Vec<Row> {
    let mut rows = Vec::new();
    let mut row = |name: String, frame: Vec<u8>, is_blocked| rows.push(Row { name, frame, is_blocked });
    for (from, is_blocked) in [
        ([198, 51, 100, 0], true),
        ([198, 51, 100, 255], true),
        ([198, 51, 101, 0], false),
        ([198, 51, 99, 255], false),
        ([203, 0, 113, 7], true),
        ([203, 0, 113, 6], false),
        ([192, 0, 2, 159], false),
        ([192, 0, 2, 160], true),
        ([192, 0, 2, 191], true),
        ([192, 0, 2, 192], false),
        ([0, 0, 0, 0], false),
    ] {
        row(format!("TCP from {from:?}"), from_wire(from, HOST).tcp(4000, 80, 2, b""), is_blocked);
        row(format!("UDP from {from:?}"), from_wire(from, HOST).udp(4000, 53, b"?"), is_blocked);
    }
    let bad = from_wire([198, 51, 100, 9], HOST);
    let good = from_wire(HOST, [198, 51, 100, 9]);
    row("to a blocked address".to_owned(), good.udp(1, 2, b""), false);
    row("a protocol nobody knows".to_owned(), bad.frame(200, b""), true);
    row("a later fragment".to_owned(), Ip { fragment: 7, ..bad.clone() }.frame(17, b"rest"), true);
    row("IPv4 options".to_owned(), Ip { options: vec![1; 8], ..bad.clone() }.icmp(8, 1, b""), true);
    row("for all".to_owned(), Ip { to_mac: [0xff; 6], ..bad.clone() }.udp(1, 2, b""), true);
    let sources = [(BAD_V6, true), (GOOD_V6, false), (ONE_V6, true), (NEXT_V6, false), (Ipv6Addr::UNSPECIFIED, false)];
    for (from, is_blocked) in sources {
        row(format!("IPv6 from {from}"), frame_v6(from, GOOD_V6), is_blocked);
    }
    row("IPv6 to a blocked address".to_owned(), frame_v6(GOOD_V6, BAD_V6), false);
    let tags: [(&str, &[[u8; 4]], bool); 5] = [
        ("a tag", &[CUSTOMER], true),
        ("a provider's tag", &[PROVIDER], true),
        ("two tags", &[PROVIDER, CUSTOMER], true),
        ("two customers' tags", &[CUSTOMER, CUSTOMER], true),
        ("three tags", &[PROVIDER, CUSTOMER, CUSTOMER], false),
    ];
    for (name, tags, is_read) in tags {
        row(format!("{name}, IPv4"), tagged(bad.udp(1, 2, b""), tags), is_read);
        row(format!("{name}, IPv6"), tagged(frame_v6(BAD_V6, GOOD_V6), tags), is_read);
        row(format!("{name}, allowed"), tagged(good.udp(1, 2, b""), tags), false);
    }
    // ARP has a sender, too, but no source that is blocked.
    let arp = [vec![0xff; 12], vec![0x08, 0x06, 0, 1, 8, 0, 6, 4, 0, 1], vec![198; 20]].concat();
    row("ARP".to_owned(), arp, false);
    for whole in [bad.udp(1, 2, b""), tagged(bad.udp(1, 2, b""), &[PROVIDER, CUSTOMER]), frame_v6(BAD_V6, GOOD_V6)] {
        let addresses_end = whole.len() - if whole[12..14] == [0x86, 0xdd] { 0 } else { 8 };
        for len in 0..whole.len() {
            row(format!("{len} bytes of {}", whole.len()), whole[..len].to_vec(), len >= addresses_end);
        }
    }
    rows
}

/// An IPv6 header with nothing behind it.
fn frame_v6(from: Ipv6Addr, to: Ipv6Addr) -> Vec<u8> {
    let mut frame = from_wire(HOST, HOST).frame(0, b"");
    frame.truncate(12);
    frame.extend([0x86, 0xdd, 0x60, 0, 0, 0, 0, 0, 59, 64]);
    frame.extend(from.octets());
    frame.extend(to.octets());
    frame
}

fn tagged(mut frame: Vec<u8>, tags: &[[u8; 4]]) -> Vec<u8> {
    frame.splice(12..12, tags.concat());
    frame
}
