//! Who may come, when a published port is not open to all?

use super::published::publish_web;
use super::{ACK, FROM_API, FROM_DB, FROM_WEB, SYN, TO_WEB, both};
use crate::testing::case::Case;
use crate::testing::packet::Ip;
use crate::testing::world::{API, DB, REMOTE_2, REMOTE_2_6, Source, WEB, Who, from_wire};
use netd_common::Addr;
use netd_common::drop::DropReason;

pub fn cases() -> Vec<Case> {
    both(of).collect()
}

#[rustfmt::skip]
fn of(who: &Who) -> Vec<Case> {
    let who = *who;
    let publish_web = publish_web(&who);
    let publish_web = &publish_web;
    let wire = from_wire(who.remote, who.host);
    let refused = from_wire(who.remote_2, who.host);
    vec![
        Case::new("a published port that is open to one client refuses the others, and makes no state of them")
            .given(|world| { publish_web(world); world.allow(7, &[(who.remote, who.bits)]); })
            .drops(Source::Wire, refused.tcp(4000, 8080, SYN, b""), DropReason::NotAllowed)
            .drops(Source::Wire, refused.tcp(4000, 8080, ACK, b"more"), DropReason::NotAllowed)
            .drops(Source::Wire, refused.udp(4000, 5353, b"?"), DropReason::NotAllowed)
            .drops(Source::Wire, Ip { fragment: 0x2000, ..refused.clone() }.udp(4000, 5353, b"x"), DropReason::NotAllowed)
            .flows(&[])
            .passes(Source::Wire, refused.tcp(4000, 8081, SYN, b""))
            .send(Source::Wire, wire.tcp(4000, 8080, SYN, b""), TO_WEB, WEB.gets(who.remote).tcp(4000, 80, SYN, b"")),
        Case::new("the list counts that the port names, and the longest prefix of another is none")
            .given(|world| {
                publish_web(world);
                world.allow(8, &[(who.remote, who.bits)]);
                world.allow(7, &[(who.host, who.bits - 8), (who.remote_2, who.bits - 1)]);
            })
            .drops(Source::Wire, from_wire(next(who.remote, -1), who.host).tcp(4000, 8080, SYN, b""), DropReason::NotAllowed)
            .drops(Source::Wire, wire.tcp(4000, 8080, SYN, b""), DropReason::NotAllowed)
            .send(Source::Wire, from_wire(next(who.remote_2, 1), who.host).udp(4000, 5353, b"?"), TO_WEB,
                WEB.gets(next(who.remote_2, 1)).udp(4000, 53, b"?")),
        Case::new("a list with nobody on it lets nobody in")
            .given(|world| { publish_web(world); world.allow(7, &[]); })
            .drops(Source::Wire, wire.tcp(4000, 8080, SYN, b""), DropReason::NotAllowed)
            .flows(&[]),
        Case::new("one half of a family")
            .given(|world| { publish_web(world); world.allow(7, &[(half(who.remote), 1)]); })
            .send(Source::Wire, wire.tcp(4000, 8080, SYN, b""), TO_WEB, WEB.gets(who.remote).tcp(4000, 80, SYN, b"")),
        Case::new("a container is a client like any other, with its own address")
            .given(|world| { publish_web(world); world.allow(7, &[(who.of(&DB), who.bits), (who.remote, who.bits)]); })
            .drops(FROM_API, API.to(who.host).tcp(4000, 8080, SYN, b""), DropReason::NotAllowed)
            .drops(FROM_WEB, WEB.to(who.host).tcp(4000, 8080, SYN, b""), DropReason::NotAllowed)
            .flows(&[])
            .send(FROM_DB, DB.to(who.host).tcp(4000, 8080, SYN, b""), TO_WEB,
                Ip { ttl: 63, ..WEB.gets(who.hairpin) }.tcp(4000, 80, SYN, b"")),
        Case::new("a flow that is there goes on when the list is another")
            .given(|world| { publish_web(world); world.allow(7, &[(who.remote, who.bits)]); })
            .send(Source::Wire, wire.tcp(4000, 8080, SYN, b""), TO_WEB, WEB.gets(who.remote).tcp(4000, 80, SYN, b""))
            .change(|world| world.allow(8, &[(REMOTE_2, 32), (REMOTE_2_6, 128)]))
            .send(Source::Wire, wire.tcp(4000, 8080, ACK, b""), TO_WEB, WEB.gets(who.remote).tcp(4000, 80, ACK, b""))
            .drops(Source::Wire, wire.tcp(4001, 8080, SYN, b""), DropReason::NotAllowed)
            .send(Source::Wire, refused.tcp(4000, 8080, SYN, b""), TO_WEB, WEB.gets(who.remote_2).tcp(4000, 80, SYN, b"")),
    ]
}

/// An address and its neighbours.
fn next(of: Addr, by: i8) -> Addr {
    let mut bytes = of.bytes;
    bytes[15] = bytes[15].wrapping_add_signed(by);
    Addr { bytes }
}

/// The addresses of its family whose first bit is the same.
fn half(of: Addr) -> Addr {
    if of.is_v4() { Addr::v4([128, 0, 0, 0]) } else { Addr::NONE }
}
