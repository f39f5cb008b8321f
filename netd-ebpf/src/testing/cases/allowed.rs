//! Who may come, when a published port is not open to all?

use super::{ACK, FROM_API, FROM_DB, FROM_WEB, SYN, TO_WEB};
use crate::testing::case::Case;
use crate::testing::packet::Ip;
use crate::testing::world::{API, DB, HOST, REMOTE, REMOTE_2, Source, WEB, World, from_wire};
use netd_common::Addr;
use netd_common::drop::DropReason;
use netd_common::globals::HAIRPIN_V4;
use netd_common::publish::{TCP, UDP};

const HAIRPIN: [u8; 4] = HAIRPIN_V4.octets_v4();

fn publish_web(world: &mut World) {
    world.publish(TCP, [0; 4], 8080, &WEB, 80);
    world.publish(UDP, [0; 4], 5353, &WEB, 53);
}

#[rustfmt::skip]
pub fn cases() -> Vec<Case> {
    let wire = from_wire(REMOTE, HOST);
    let refused = from_wire(REMOTE_2, HOST);
    vec![
        Case::new("a published port that is open to one client refuses the others, and makes no state of them")
            .given(|world| { publish_web(world); world.allow(7, &[(REMOTE, 32)]); })
            .drops(Source::Wire, refused.tcp(4000, 8080, SYN, b""), DropReason::NotAllowed)
            .drops(Source::Wire, refused.tcp(4000, 8080, ACK, b"more"), DropReason::NotAllowed)
            .drops(Source::Wire, refused.udp(4000, 5353, b"?"), DropReason::NotAllowed)
            .drops(Source::Wire, Ip { fragment: 0x2000, ..refused.clone() }.udp(4000, 5353, b"x"), DropReason::NotAllowed)
            .flows(&[])
            .passes(Source::Wire, refused.tcp(4000, 8081, SYN, b""))
            .send(Source::Wire, wire.tcp(4000, 8080, SYN, b""), TO_WEB, WEB.gets(REMOTE).tcp(4000, 80, SYN, b"")),
        Case::new("the list counts that the port names, and the longest prefix of another is none")
            .given(|world| {
                publish_web(world);
                world.allow(8, &[(REMOTE, 32)]);
                world.allow(7, &[(Addr::v4([198, 18, 0, 0]), 24), (REMOTE_2, 31)]);
            })
            .drops(Source::Wire, from_wire([198, 18, 1, 8], HOST).tcp(4000, 8080, SYN, b""), DropReason::NotAllowed)
            .drops(Source::Wire, wire.tcp(4000, 8080, SYN, b""), DropReason::NotAllowed)
            .send(Source::Wire, from_wire([198, 18, 1, 11], HOST).udp(4000, 5353, b"?"), TO_WEB,
                WEB.gets([198, 18, 1, 11]).udp(4000, 53, b"?")),
        Case::new("a list with nobody on it lets nobody in")
            .given(|world| { publish_web(world); world.allow(7, &[]); })
            .drops(Source::Wire, wire.tcp(4000, 8080, SYN, b""), DropReason::NotAllowed)
            .flows(&[]),
        Case::new("everybody of a family")
            .given(|world| { publish_web(world); world.allow(7, &[(Addr::ANY_V4, 0)]); })
            .send(Source::Wire, wire.tcp(4000, 8080, SYN, b""), TO_WEB, WEB.gets(REMOTE).tcp(4000, 80, SYN, b"")),
        Case::new("a container is a client like any other, with its own address")
            .given(|world| { publish_web(world); world.allow(7, &[(DB.address, 32), (REMOTE, 32)]); })
            .drops(FROM_API, API.to(HOST).tcp(4000, 8080, SYN, b""), DropReason::NotAllowed)
            .drops(FROM_WEB, WEB.to(HOST).tcp(4000, 8080, SYN, b""), DropReason::NotAllowed)
            .flows(&[])
            .send(FROM_DB, DB.to(HOST).tcp(4000, 8080, SYN, b""), TO_WEB,
                Ip { ttl: 63, ..WEB.gets(HAIRPIN) }.tcp(4000, 80, SYN, b"")),
        Case::new("a flow that is there goes on when the list is another")
            .given(|world| { publish_web(world); world.allow(7, &[(REMOTE, 32)]); })
            .send(Source::Wire, wire.tcp(4000, 8080, SYN, b""), TO_WEB, WEB.gets(REMOTE).tcp(4000, 80, SYN, b""))
            .change(|world| world.allow(8, &[(REMOTE_2, 32)]))
            .send(Source::Wire, wire.tcp(4000, 8080, ACK, b""), TO_WEB, WEB.gets(REMOTE).tcp(4000, 80, ACK, b""))
            .drops(Source::Wire, wire.tcp(4001, 8080, SYN, b""), DropReason::NotAllowed)
            .send(Source::Wire, refused.tcp(4000, 8080, SYN, b""), TO_WEB, WEB.gets(REMOTE_2).tcp(4000, 80, SYN, b"")),
    ]
}
