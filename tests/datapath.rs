//! Ring 3: do the programs do in the kernel what they do on the model?
//!
//! Needs root. Each test is a thread with a network namespace of its own, real interfaces in it, and programs and maps of
//! its own that are attached and pinned nowhere: frames go in by `BPF_PROG_TEST_RUN`, and what is redirected comes back
//! instead. What that cannot say: where a frame was redirected to (the flow's entry does), a VLAN tag, a segment that is
//! not cut yet, a checksum that is not filled in yet.

#[path = "datapath/differential.rs"]
mod differential;
#[path = "datapath/guard.rs"]
mod guard;
#[path = "datapath/host.rs"]
mod host;
#[path = "datapath/kernel.rs"]
mod kernel;
#[path = "datapath/maps.rs"]
mod maps;
#[path = "datapath/run.rs"]
mod run;
#[path = "datapath/verifier.rs"]
mod verifier;

use kernel::Kernel;
use netd_ebpf::testing::case::{Case, Mirror as _, Step};
use netd_ebpf::testing::cases;
use netd_ebpf::testing::world::{DB, REMOTE, WEB, World};

#[test]
fn every_row_gives_the_same_in_the_kernel() {
    host::host(|| {
        let mut kernel = Kernel::load(8192);
        let (mut played, mut left) = (0, Vec::new());
        for case in cases::all() {
            match reason_to_leave(&case) {
                None => {
                    played += 1;
                    case.play(&mut kernel);
                }
                Some(reason) => left.push(format!("{}: {reason}", case.name)),
            }
        }
        println!("{played} rows played, {} frames; left out:\n{}", kernel.frames(), left.join("\n"));
        assert!(played > 100, "{played} rows");
    });
}

/// Why a row cannot be played here.
fn reason_to_leave(case: &Case) -> Option<String> {
    let waits = |step: &Step| if let Step::Wait(ns) = step { *ns } else { 0 };
    let slept: u64 = case.steps.iter().map(waits).sum();
    if slept >= netd::kernel::flows::monotonic_ns() {
        return Some("it is older than this machine has been up".to_owned());
    }
    case.is_for_model_only.map(str::to_owned)
}

/// In the run that everybody makes.
const FRAMES: usize = 20_000;
const FRAMES_LONG: usize = 1_000_000;

#[test]
fn scenes_give_the_same_in_the_kernel() {
    host::host(|| differential::scenes_give_the_same(FRAMES));
}

#[test]
#[ignore = "a million frames"]
fn a_million_frames_give_the_same_in_the_kernel() {
    host::host(|| differential::scenes_give_the_same(FRAMES_LONG));
}

#[test]
fn sixty_thousand_flows_to_one_remote_at_once_in_the_kernel() {
    host::host(|| {
        let mut kernel = Kernel::load(262_144);
        kernel.begin(&World::default());
        let mut refused = 0;
        for container in [WEB, DB] {
            for port in 20_000..50_000 {
                refused += u32::from(!kernel.redirects(&container, &container.to(REMOTE).tcp(port, 80, 2, b"")));
            }
        }
        // The last searches may fail, once in ten thousand.
        assert!(refused < 10, "{refused} of 60,000 flows were refused");
        let flows = kernel.flows();
        assert_eq!(flows.len(), 2 * (60_000 - refused as usize));
        assert!(flows.iter().all(|(key, flow)| flows.contains_key(&flow.partner_key(key))), "each has its partner");
    });
}

#[test]
fn the_guard_stops_the_same_in_the_kernel() {
    host::host(guard::rows_give_the_same);
}

#[test]
fn the_verifier_is_not_near_its_limit() {
    verifier::no_program_is_near_its_limits();
}

/// Memory of the maps of one instance with nothing in them, at the sizes that netd chooses.
const MAPS_MAX: u64 = 80 << 20;

#[test]
fn the_maps_do_not_take_all_the_memory() {
    let object = aya::EbpfLoader::new().load(netd::kernel::datapath::OBJECT).expect("loaded");
    let mut total = 0;
    for (name, map) in object.maps() {
        let bytes = maps::memory(map);
        println!("{name}: {} KiB", bytes >> 10);
        total += bytes;
    }
    println!("all: {} KiB", total >> 10);
    assert!(total < MAPS_MAX, "{total}");
}
