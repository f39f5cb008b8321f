//! Who may send what is not from itself: routers, and who asks for an address?

use super::{FROM_API, FROM_DB, FROM_WEB, SYN, TO_DB, both};
use crate::testing::case::Case;
use crate::testing::packet::Ip;
use crate::testing::world::{API, DB, WEB, Who};
use netd_common::Addr;
use netd_common::drop::DropReason::{IccDisabled, Multicast, SpoofedSource};
use netd_common::endpoint::{ISOLATED, ROUTER};

pub fn cases() -> Vec<Case> {
    both(routers).chain(dhcp()).collect()
}

#[rustfmt::skip]
fn routers(who: &Who) -> Vec<Case> {
    // From another network, which the router is on, too.
    let routed = &Ip { from: who.of(&API), ..WEB.to_peer(&DB, who) };
    let outwards = Ip { from: who.of(&API), ..WEB.to(who.remote) };
    let from = |from: Addr| Ip { from, ..routed.clone() };
    vec![
        Case::new("only a router sends in the name of others")
            .drops(FROM_WEB, routed.udp(4000, 53, b"x"), SpoofedSource)
            .drops(FROM_WEB, outwards.udp(4000, 53, b"x"), SpoofedSource)
            .change(|world| world.flags(ROUTER))
            .leaves(FROM_WEB, routed.udp(4000, 53, b"x"), TO_DB)
            .leaves(FROM_WEB, routed.tcp(4000, 80, SYN, b""), TO_DB)
            .leaves(FROM_WEB, from(who.stranger).echo(true, 7, b"x"), TO_DB)
            .leaves(FROM_WEB, WEB.to_peer(&DB, who).udp(1, 2, b""), TO_DB)
            .flows(&[])
            .change(|world| world.flags(0))
            .drops(FROM_WEB, routed.udp(4000, 53, b"x"), SpoofedSource),
        Case::new("a router does not pretend to be a member of the network, the host or nobody")
            .given(|world| world.flags(ROUTER))
            .drops(FROM_WEB, from(who.of(&DB)).udp(1, 2, b""), SpoofedSource)
            .drops(FROM_WEB, from(who.gateway(&WEB)).udp(1, 2, b""), SpoofedSource)
            .drops(FROM_WEB, from(who.host).udp(1, 2, b""), SpoofedSource)
            .drops(FROM_WEB, from(who.loopback).udp(1, 2, b""), SpoofedSource)
            .drops(FROM_WEB, from(who.group).udp(1, 2, b""), SpoofedSource)
            .drops(FROM_WEB, Ip { from_mac: DB.mac(), ..routed.clone() }.udp(1, 2, b""), SpoofedSource),
    ]
}

fn dhcp() -> Vec<Case> {
    let nobody = Addr::ANY_V4;
    let all = Addr::v4([0xff; 4]);
    let asks = Ip { from: nobody, to: all, to_mac: [0xff; 6], ..WEB.to(all) };
    let asks = &asks;
    let offers = Ip { to: all, to_mac: [0xff; 6], ..DB.to(all) };
    let discover = &[1_u8, 1, 6, 0][..];
    vec![
        Case::new("who asks for an address by DHCP asks all members, and any of them may answer")
            .floods(FROM_WEB, asks.udp(68, 67, discover), &[&DB])
            .floods(FROM_WEB, Ip { fragment: 0x4000, ..asks.clone() }.udp(68, 67, discover), &[&DB])
            .floods(FROM_DB, offers.udp(67, 68, discover), &[&WEB])
            .drops(
                FROM_API,
                Ip { from: nobody, to: all, to_mac: [0xff; 6], ..API.to(all) }.udp(68, 67, discover),
                Multicast,
            )
            .flows(&[])
            .change(|world| world.flags(ISOLATED))
            .drops(FROM_WEB, asks.udp(68, 67, discover), IccDisabled),
        Case::new("nothing else comes from nobody")
            .drops(FROM_WEB, asks.udp(67, 68, discover), SpoofedSource)
            .drops(FROM_WEB, asks.udp(68, 53, discover), SpoofedSource)
            .drops(FROM_WEB, asks.tcp(68, 67, SYN, b""), SpoofedSource)
            .drops(FROM_WEB, asks.echo(true, 7, b"x"), SpoofedSource)
            .drops(FROM_WEB, Ip { fragment: 0x0001, ..asks.clone() }.udp(68, 67, discover), SpoofedSource)
            .drops(FROM_WEB, Ip { fragment: 0x2000, ..asks.clone() }.udp(68, 67, discover), SpoofedSource)
            .drops(FROM_WEB, asks.with_options(4).udp(68, 67, discover), SpoofedSource)
            .drops(FROM_WEB, Ip { to: DB.address, ..asks.clone() }.udp(68, 67, discover), SpoofedSource)
            .drops(FROM_WEB, Ip { to_mac: DB.mac(), ..asks.clone() }.udp(68, 67, discover), SpoofedSource)
            .drops(FROM_WEB, Ip { to_mac: WEB.gateway_mac(), ..asks.clone() }.udp(68, 67, discover), SpoofedSource)
            .drops(FROM_WEB, Ip { from: DB.address, ..asks.clone() }.udp(68, 67, discover), SpoofedSource),
        Case::new("a router that asks for an address asks as all do")
            .given(|world| world.flags(ROUTER))
            .floods(FROM_WEB, asks.udp(68, 67, discover), &[&DB])
            .drops(FROM_WEB, asks.udp(68, 53, discover), SpoofedSource),
    ]
}
