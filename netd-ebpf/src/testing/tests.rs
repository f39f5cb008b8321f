//! Does every row hold on the model?

use super::case::run;
use super::cases;
use super::packet::Ip;
use super::random::Random;
use super::world::{ABSENT, Container, DB, REMOTE, Source, WEB, World};
use crate::verdict::Verdict;
use netd_common::drop::{DropReason, Hook};
use netd_common::event::{Event, Kind, SAMPLE_INTERVAL_NS};
use netd_common::fdb::{FdbEntry, FdbKey};
use netd_common::limits::{MULTICAST_FRAMES_MAX, MULTICAST_MEMBERS_MAX};
use netd_common::publish::UDP;

#[test]
fn every_row_holds_on_the_model() {
    let mut failed = Vec::new();
    for case in cases::all() {
        let name = case.name.clone();
        if std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| case.play(&mut ()))).is_err() {
            failed.push(name);
        }
    }
    assert!(failed.is_empty(), "rows that do not hold: {failed:#?}");
}

#[test]
fn rows_have_names_of_their_own() {
    let mut names: Vec<String> = cases::all().into_iter().map(|case| case.name).collect();
    let count = names.len();
    names.sort();
    names.dedup();
    assert_eq!(names.len(), count);
}

#[test]
fn sixty_thousand_flows_to_one_remote_at_once() {
    let mut world = World::default();
    let mut random = Random::new(1);
    let mut refused = 0;
    let mut send = |container: &Container, port: u16| {
        world.stack.random = random.next() as u32;
        let source = Source::from(container);
        let ran = run(&world, source.hook(), world.frame(source, container.to(REMOTE).tcp(port, 80, 2, b"")));
        refused += u32::from(matches!(ran.verdict, Verdict::Drop(_)));
    };
    // The same ports in both, one after the other: the worst for a search that goes on where it began.
    for container in [WEB, DB] {
        (20_000..50_000).for_each(|port| send(&container, port));
    }
    assert_eq!(refused, 0, "flows refused of 60,000");
}

#[test]
fn broadcast_is_copied_once_to_each_member_within_limits() {
    let mut world = World::default();
    let members = 200..200 + MULTICAST_MEMBERS_MAX as u32;
    for ifindex in members.clone().chain([WEB.ifindex]) {
        let [a, b, c, d] = ifindex.to_be_bytes();
        let key = FdbKey { network: WEB.network, mac: [2, 0, a, b, c, d], pad: [0; 2] };
        world.model.fdb.insert(key, FdbEntry { ifindex, flags: 0 });
    }
    world.model.fdb.retain(|key, entry| {
        key.network != WEB.network || members.contains(&entry.ifindex) || entry.ifindex == WEB.ifindex
    });
    let frame = Ip { to_mac: [0xff; 6], ..WEB.to([255; 4]) }.udp(1, 2, b"hear ye");
    let send = |world: &World| run(world, Hook::ContainerEgress, world.frame((&WEB).into(), frame.clone()));
    let ran = send(&world);
    assert_eq!(ran.verdict, Verdict::Spent);
    let copies: Vec<_> =
        ran.frame.copies.iter().map(|(ifindex, is_in, bytes)| (*ifindex, *is_in, bytes == &frame)).collect();
    assert_eq!(copies, members.map(|ifindex| (ifindex, false, true)).collect::<Vec<_>>());
    // One member too many.
    let key = FdbKey { network: WEB.network, mac: [2, 1, 1, 1, 1, 1], pad: [0; 2] };
    world.model.fdb.insert(key, FdbEntry { ifindex: 9, flags: 0 });
    let ran = send(&world);
    assert_eq!(ran.verdict, Verdict::Drop(DropReason::MulticastLimit));
    assert_eq!(ran.frame.copies.len(), MULTICAST_MEMBERS_MAX as usize);
    world.model.fdb.remove(&key);
    for _ in 2..MULTICAST_FRAMES_MAX {
        assert_eq!(send(&world).verdict, Verdict::Spent);
    }
    assert_eq!(send(&world).verdict, Verdict::Drop(DropReason::MulticastLimit));
    world.stack.now_ns += 1_000_000_000;
    assert_eq!(send(&world).verdict, Verdict::Spent);
}

#[test]
fn a_drop_is_told_now_and_then() {
    let mut world = World::default();
    world.stack.now_ns = SAMPLE_INTERVAL_NS * 5;
    let mut drop_at = |ns: u64, port: u16| {
        world.stack.now_ns = SAMPLE_INTERVAL_NS * 5 + ns;
        let ran = run(&world, Hook::ContainerEgress, world.frame((&WEB).into(), WEB.to(ABSENT).udp(port, 53, b"")));
        assert_eq!(ran.verdict, Verdict::Drop(DropReason::NoRoute));
    };
    drop_at(0, 1);
    drop_at(SAMPLE_INTERVAL_NS - 1, 2);
    drop_at(SAMPLE_INTERVAL_NS, 3);
    let spoofed = Ip { from_mac: DB.mac(), ..WEB.to(ABSENT) }.udp(4, 53, b"");
    let _another_reason = run(&world, Hook::ContainerEgress, world.frame((&WEB).into(), spoofed));
    let events = world.model.events.borrow();
    let told: Vec<_> =
        events.iter().map(|event| (DropReason::from_u32(event.reason.into()), event.source_port)).collect();
    assert_eq!(
        told,
        [(Some(DropReason::NoRoute), 1), (Some(DropReason::NoRoute), 3), (Some(DropReason::SpoofedSource), 4)]
    );
    let first = Event {
        time_ns: SAMPLE_INTERVAL_NS * 5,
        source: WEB.address,
        destination: ABSENT,
        source_port: 1,
        destination_port: 53,
        ifindex: WEB.ifindex,
        kind: Kind::Dropped as u8,
        hook: Hook::ContainerEgress as u8,
        reason: DropReason::NoRoute as u8,
        protocol: UDP,
        pad: [0; 4],
    };
    assert_eq!(events[0], first);
}
