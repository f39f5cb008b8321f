//! Compiles the programs for the kernel and hands the object to `kernel::datapath`.
//!
//! `build-std` is unstable, so the child build, and nothing else, runs with `RUSTC_BOOTSTRAP`. The toolchain and
//! bpf-linker are what `cargo xtask setup` made; `NETD_BPF_TOOLCHAIN` names another rustup toolchain.

use anyhow::{Context as _, Result};
use aya_build::{Package, Toolchain};
use std::env;
use std::path::PathBuf;

fn main() -> Result<()> {
    println!("cargo:rerun-if-env-changed=NETD_BPF_TOOLCHAIN");
    println!("cargo:rerun-if-changed=../netd-common/src");
    let toolchain = env::var("NETD_BPF_TOOLCHAIN").unwrap_or_else(|_| "1.95.0".to_owned());
    let path = env::var_os("PATH").unwrap_or_default();
    let tools = PathBuf::from(env::var_os("HOME").unwrap_or_default()).join(".cache/netd/bin");
    let path = env::join_paths(std::iter::once(tools).chain(env::split_paths(&path)))?;
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
