//! What becomes of an ICMP error between the families?

use super::errors::{ALL, least, quote};
use super::outside::masqueraded;
use super::{ACK, FROM_WEB, OUT, SYN, TO_WEB};
use crate::parse::ip::DONT_FRAGMENT;
use crate::testing::case::Case;
use crate::testing::packet::{DESTINATION_OPTIONS, Ip, options};
use crate::testing::world::{HOST_6, REMOTE_6, ROUTER_6, Source, WEB, Who, from_wire};
use netd_common::Addr;
use netd_common::drop::DropReason;
use netd_common::globals::PROXY_V4;
use netd_common::publish::{TCP, UDP};

#[rustfmt::skip]
pub fn cases() -> Vec<Case> {
    // As a translated IPv4 packet has it.
    let plain = |ip: Ip| Ip { id: 0, fragment: DONT_FRAGMENT, ..ip };
    // What the client sends, and as the container gets it; what the container sends, as a quote of it is made, and as it leaves.
    let asked = from_wire(REMOTE_6, HOST_6).udp(4000, 5353, b"?");
    let got = plain(WEB.gets(PROXY_V4)).udp(4000, 53, b"?");
    let syn = from_wire(REMOTE_6, HOST_6).tcp(4000, 8080, SYN, b"");
    let got_syn = plain(WEB.gets(PROXY_V4)).tcp(4000, 80, SYN, b"");
    let data = plain(WEB.to(PROXY_V4)).tcp(80, 4000, ACK, &[7; 1400]);
    let known = Ip { ttl: 63, ..plain(WEB.to(PROXY_V4)) }.tcp(80, 4000, ACK, &[7; 1400]);
    let left = masqueraded(REMOTE_6).tcp(8080, 4000, ACK, &[7; 1400]);
    let opened = |name: &str| Case::new(name)
        .given(|world| {
            world.publish_at(TCP, (Addr::ANY_V6, 8080), &WEB, (WEB.address, 80));
            world.publish_at(UDP, (Addr::ANY_V6, 5353), &WEB, (WEB.address, 53));
        })
        .send(Source::Wire, asked.clone(), TO_WEB, got.clone())
        .send(Source::Wire, syn.clone(), TO_WEB, got_syn.clone())
        .send(FROM_WEB, data.clone(), OUT, left.clone());
    let says = |(icmp_type, code): (u8, u8), word: u32, about: &[u8], len| WEB.to(PROXY_V4).message(icmp_type, code, word.to_be_bytes(), &quote(about, len));
    let client_is_told = |(icmp_type, code): (u8, u8), word: u32, about: &[u8], len| {
        masqueraded(REMOTE_6).message(icmp_type, code, word.to_be_bytes(), &quote(about, len))
    };
    let arrives = |sender, (icmp_type, code): (u8, u8), word: u32, len| {
        from_wire(sender, HOST_6).message(icmp_type, code, word.to_be_bytes(), &quote(&left, len))
    };
    let container_is_told = |(icmp_type, code): (u8, u8), word: u32, len| {
        plain(WEB.gets(PROXY_V4)).message(icmp_type, code, word.to_be_bytes(), &quote(&known, len))
    };
    let mut outward = opened("what an IPv4 container says of an IPv6 client's packets")
        .send(FROM_WEB, says((3, 3), 0, &got, ALL), OUT, client_is_told((1, 4), 0, &asked, ALL))
        .send(FROM_WEB, says((3, 3), 0, &got, least(&Who::V4)), OUT, client_is_told((1, 4), 0, &asked, least(&Who::V6)));
    for (said, word, told, told_word) in [
        ((3, 1), 0, (1, 0), 0), ((3, 2), 0, (4, 1), 6), ((3, 13), 0, (1, 1), 0), ((11, 0), 0, (3, 0), 0), ((11, 1), 0, (3, 1), 0),
        ((3, 4), 1400, (2, 0), 1420), ((3, 4), 0, (2, 0), 1280),
    ] {
        outward = outward.send(FROM_WEB, says(said, word, &got_syn, ALL), OUT, client_is_told(told, told_word, &syn, ALL));
    }
    let mut inward = opened("what IPv6 says of an IPv4 container's packets");
    for (said, word, told, told_word) in [
        ((2, 0), 1300, (3, 4), 1280), ((2, 0), 1000, (3, 4), 1260), ((2, 0), 100_000, (3, 4), 65_535),
        ((1, 0), 0, (3, 1), 0), ((1, 1), 0, (3, 10), 0), ((1, 3), 0, (3, 1), 0), ((1, 4), 0, (3, 3), 0), ((3, 0), 0, (11, 0), 0), ((4, 1), 6, (3, 2), 0),
    ] {
        inward = inward
            .send(Source::Wire, arrives(ROUTER_6, said, word, 1000), TO_WEB, container_is_told(told, told_word, 980))
            .send(Source::Wire, arrives(REMOTE_6, said, word, least(&Who::V6) + 1), TO_WEB, container_is_told(told, told_word, least(&Who::V4) + 1));
    }
    vec![
        outward
            .drops(FROM_WEB, says((12, 0), 0, &got, ALL), DropReason::IcmpUnsupported)
            .drops(FROM_WEB, says((3, 14), 0, &got, ALL), DropReason::IcmpUnsupported)
            .drops(FROM_WEB, WEB.to(PROXY_V4).with_options(8).message(3, 3, [0; 4], &quote(&got, ALL)), DropReason::IcmpUnsupported),
        inward
            .drops(Source::Wire, arrives(ROUTER_6, (4, 0), 0, ALL), DropReason::IcmpUnsupported)
            .drops(Source::Wire, arrives(ROUTER_6, (1, 9), 0, ALL), DropReason::IcmpUnsupported)
            .drops(Source::Wire, Ip { extensions: vec![(DESTINATION_OPTIONS, options(8))], ..from_wire(ROUTER_6, HOST_6) }
                .message(2, 0, 1300_u32.to_be_bytes(), &quote(&left, 1000)), DropReason::IcmpUnsupported)
            .change(|world| world.unplug(&WEB))
            .drops(Source::Wire, arrives(ROUTER_6, (2, 0), 1300, ALL), DropReason::EndpointGone),
    ]
}
