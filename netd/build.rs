//! Compiles the programs for the kernel and hands the object to `kernel::datapath`.
//!
//! `build-std` is unstable, so the child build, and nothing else, runs with `RUSTC_BOOTSTRAP`. The toolchain and
//! bpf-linker are what `cargo xtask setup` made and noted under `~/.cache/netd`; `NETD_BPF_TOOLCHAIN` names another
//! rustup toolchain.

use anyhow::{Context as _, Result};
use aya_build::{Package, Toolchain};
use std::env;
use std::path::{Path, PathBuf};

fn main() -> Result<()> {
    println!("cargo:rerun-if-env-changed=NETD_BPF_TOOLCHAIN");
    println!("cargo:rerun-if-changed=../netd-common/src");
    let cache = PathBuf::from(env::var_os("HOME").unwrap_or_default()).join(".cache/netd");
    let toolchain = toolchain(&cache);
    let path = env::var_os("PATH").unwrap_or_default();
    let path = env::join_paths(std::iter::once(cache.join("bin")).chain(env::split_paths(&path)))?;
    let root_dir = concat!(env!("CARGO_MANIFEST_DIR"), "/../netd-ebpf");
    // SAFETY: a build script's main function is the only thread.
    unsafe {
        env::set_var("PATH", path);
        env::set_var("RUSTC_BOOTSTRAP", "1");
        // More than one codegen unit overflows the 512-byte stack; debug information becomes the maps' BTF.
        env::set_var("CARGO_PROFILE_RELEASE_CODEGEN_UNITS", "1");
        env::set_var("CARGO_PROFILE_RELEASE_LTO", "fat");
        env::set_var("CARGO_PROFILE_RELEASE_PANIC", "abort");
        env::set_var("CARGO_PROFILE_RELEASE_DEBUG", "2");
        env::set_var("CARGO_PROFILE_RELEASE_STRIP", "none");
    }
    aya_build::build_ebpf(
        [Package { name: "netd-ebpf", root_dir, ..Package::default() }],
        Toolchain::Custom(&toolchain),
    )
    .context("the programs for the kernel did not build; `cargo xtask setup` installs what that needs")
}

/// The rustup toolchain: what the variable says, what setup chose, or the one that builds everything else.
fn toolchain(cache: &Path) -> String {
    let chosen = cache.join("toolchain");
    let linker = cache.join("bin/bpf-linker");
    // A file that is not there would make cargo run this every time.
    for file in [&chosen, &linker].into_iter().filter(|file| file.is_file()) {
        println!("cargo:rerun-if-changed={}", file.display());
    }
    env::var("NETD_BPF_TOOLCHAIN")
        .ok()
        .or_else(|| std::fs::read_to_string(&chosen).ok().map(|name| name.trim().to_owned()))
        .or_else(|| env::var("RUSTUP_TOOLCHAIN").ok())
        .unwrap_or_else(|| "stable".to_owned())
}
