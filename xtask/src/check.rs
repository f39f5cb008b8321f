//! Is everything written as this repository wants it, before any of it runs?

use crate::{run, setup, tidy};
use anyhow::Result;
use std::process::Command;

pub fn check() -> Result<()> {
    setup::setup_build(&setup::Options::default())?;
    let chosen = setup::Chosen::read()?;
    run::step(&mut run::words("cargo fmt --all --check"))?;
    tidy::tidy(&tidy::Options::default())?;
    run::step(&mut run::words("cargo clippy --workspace --all-targets --quiet -- -D warnings"))?;
    run::step(&mut run::words("cargo clippy -p netd-ebpf --features testing --all-targets --quiet -- -D warnings"))?;
    run::step(&mut run::words("cargo clippy -p netd-tests --features bench --bins --quiet -- -D warnings"))?;
    if chosen.is_pinned {
        run::step(&mut clippy_bpf())?;
    } else {
        println!("==> no clippy for the BPF target: {} has none, and rust-src is missing from the pinned", chosen.name);
    }
    run::step(run::words("cargo doc --workspace --no-deps --quiet").env("RUSTDOCFLAGS", "-D warnings"))
}

/// What is compiled for the kernel, and only there, is held to one lint more: `indexing_slicing`, because a reachable
/// panic makes the verifier refuse the program.
///
/// Not to `arithmetic_side_effects`: overflow checks are off there, so a sum cannot panic; the sums are of lengths and
/// offsets that a header's own 16 bits bound, and the kernel's loads refuse an offset beyond the packet.
fn clippy_bpf() -> Command {
    let mut command = run::words(
        "cargo clippy -p netd-ebpf --bin netd-datapath --target bpfel-unknown-none -Z build-std=core --release --quiet",
    );
    // Another target directory, because the same crates are built with other flags here.
    command.arg("--target-dir").arg(run::root().join("target/clippy-bpf"));
    command.args(["--", "-D", "warnings", "-D", "clippy::indexing_slicing"]);
    // `build-std` is unstable; the variable is set for this command and nothing else.
    command.env("RUSTC_BOOTSTRAP", "1");
    command
}
