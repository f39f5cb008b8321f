//! Does the guard of an uplink stop in the kernel whom it stops on the model?

use aya::Ebpf;
use aya::maps::PerCpuArray;
use aya::maps::lpm_trie::{Key, LpmTrie};
use aya::programs::{TestRun as _, TestRunOptions, Xdp};
use netd_common::Addr;
use netd_common::drop::{Counter, DropReason, Hook, Outcome, counter_index};
use netd_ebpf::testing::guard::{blocked, rows};

/// What an XDP program returns.
const DROP: u32 = 1;
const PASS: u32 = 2;
/// The kernel runs no program on less than a link-layer header.
const FRAME_MIN: usize = 14;

pub fn rows_give_the_same() {
    let mut object = aya::EbpfLoader::new().load(netd::kernel::datapath::OBJECT).expect("loaded");
    let mut trie: LpmTrie<_, Addr, u32> = object.map_mut("BLOCKED").expect("a map").try_into().expect("a trie");
    for (prefix, len) in blocked() {
        trie.insert(&Key::new(len, prefix), 1, 0).expect("inserted");
    }
    let mut expected = Counter::default();
    for name in ["xdp_guard", "xdp_guard_generic"] {
        let program: &mut Xdp = object.program_mut(name).expect("a program").try_into().expect("XDP");
        program.load().unwrap_or_else(|error| panic!("{name}: {error}"));
        for row in rows().iter().filter(|row| row.frame.len() >= FRAME_MIN) {
            let run = TestRunOptions { data_in: Some(&row.frame), ..TestRunOptions::default() };
            let result = program.test_run(run).unwrap_or_else(|error| panic!("{name}, {}: {error}", row.name));
            assert_eq!(result.return_value, if row.is_blocked { DROP } else { PASS }, "{name}, {}", row.name);
            if row.is_blocked {
                expected.packets += 1;
                expected.bytes += row.frame.len() as u64;
            }
        }
    }
    let drops = counted(&object, Outcome::Dropped(DropReason::Blocked));
    assert_eq!((drops, counted(&object, Outcome::Passed)), (expected, Counter::default()), "drops alone are counted");
}

fn counted(object: &Ebpf, outcome: Outcome) -> Counter {
    let map: PerCpuArray<_, Counter> = object.map("COUNTERS").expect("a map").try_into().expect("an array");
    let slots = map.get(&counter_index(Hook::XdpGuard, outcome), 0).expect("a counter");
    let sum = |field: fn(&Counter) -> u64| slots.iter().map(field).sum();
    Counter { packets: sum(|slot| slot.packets), bytes: sum(|slot| slot.bytes) }
}
