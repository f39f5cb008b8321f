//! Does the guard stop whom it should, count it and tell of it?

use super::*;
use crate::testing::guard::{blocked, rows};
use crate::testing::model::{Bytes, Model};
use crate::testing::random::Random;
use crate::testing::world::{HOST, UPLINK, from_wire};
use netd_common::event::{Event, SAMPLE_INTERVAL_NS};
use netd_common::publish::UDP;

const NOW_NS: u64 = 7 * SAMPLE_INTERVAL_NS;

fn model() -> Model {
    Model { blocked: blocked(), ..Model::default() }
}

fn run(model: &Model, frame: &[u8], now_ns: u64) -> Verdict {
    walk(&Bytes { bytes: frame.to_vec(), ..Bytes::default() }, UPLINK, || now_ns, model)
}

#[test]
fn every_row_holds_and_drops_alone_are_counted() {
    let model = model();
    let (mut packets, mut bytes) = (0, 0);
    for row in rows() {
        let expected = if row.is_blocked { Verdict::Drop(DropReason::Blocked) } else { Verdict::Pass };
        assert_eq!(run(&model, &row.frame, NOW_NS), expected, "{}", row.name);
        packets += u64::from(row.is_blocked);
        bytes += if row.is_blocked { row.frame.len() as u64 } else { 0 };
    }
    let slot = (Hook::XdpGuard, Outcome::Dropped(DropReason::Blocked));
    assert_eq!(*model.counters.borrow(), [(slot, Counter { packets, bytes })].into());
}

#[test]
fn an_empty_list_blocks_nobody() {
    for row in rows() {
        assert_eq!(run(&Model::default(), &row.frame, NOW_NS), Verdict::Pass, "{}", row.name);
    }
}

#[test]
fn a_drop_is_told_now_and_then() {
    let model = model();
    let from = [198, 51, 100, 9];
    for ns in [0, SAMPLE_INTERVAL_NS - 1, SAMPLE_INTERVAL_NS] {
        let _drop = run(&model, &from_wire(from, HOST).udp(1, 2, b""), NOW_NS + ns);
    }
    let events = model.events.borrow();
    let times: Vec<u64> = events.iter().map(|event| event.time_ns).collect();
    assert_eq!(times, [NOW_NS, NOW_NS + SAMPLE_INTERVAL_NS]);
    let first = Event {
        time_ns: NOW_NS,
        source: Addr::v4(from),
        destination: HOST,
        ifindex: UPLINK,
        kind: Kind::Dropped as u8,
        hook: Hook::XdpGuard as u8,
        reason: DropReason::Blocked as u8,
        protocol: UDP,
        ..Event::default()
    };
    assert_eq!(events[0], first);
}

#[test]
fn any_bytes_have_a_verdict() {
    let mut model = model();
    // Half of everybody, so that both verdicts come up.
    model.blocked.insert((Addr::v4([0; 4]), 97));
    let mut random = Random::new(1);
    let mut dropped = 0;
    for _ in 0..20_000 {
        let mut frame: Vec<u8> = (0..random.next() % 70).map(|_| random.next() as u8).collect();
        if let Some(ethertype) = frame.get_mut(12..14) {
            ethertype.copy_from_slice(&[0x08, 0x00]);
        }
        dropped += u32::from(run(&model, &frame, 0) != Verdict::Pass);
    }
    assert!(dropped > 1000, "{dropped}");
}
