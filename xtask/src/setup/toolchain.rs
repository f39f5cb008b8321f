//! With which compiler and linker are the programs for the kernel built?
//!
//! They need `core` built from source for the BPF target and a linker made with the compiler's own LLVM. Two ways:
//!
//! 1. the pinned toolchain with rustup's `rust-src`, and bpf-linker against the `libLLVM` that comes with it;
//! 2. where rustup cannot add a component: Debian's compiler, its source and its LLVM, as the toolchain `debian-web`.
//!
//! What was chosen stands in `~/.cache/netd/toolchain`, which `netd/build.rs` reads. The linker is made anew whenever
//! the LLVM that it was made with is not the chosen compiler's any more.

use super::packages;
use crate::run;
use anyhow::{Context as _, Result, bail};
use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

const LINKER_VERSION: &str = "0.13.0";
/// The major version of LLVM in the pinned compiler; bpf-linker is built for exactly one.
const LLVM_FEATURE: &str = "llvm-22";

const DEBIAN_TOOLCHAIN: &str = "debian-web";
const DEBIAN_PACKAGES: [&str; 4] = ["rustc-web", "cargo-web", "rust-web-src", "llvm-22-dev"];
const DEBIAN_LLVM: &str = "/usr/lib/llvm-22";

/// The toolchain that builds the programs for the kernel.
pub struct Chosen {
    /// As rustup knows it.
    pub name: String,
    /// It is the one that builds everything else.
    pub is_pinned: bool,
}

impl Chosen {
    /// What [`install`] chose.
    pub fn read() -> Result<Self> {
        let path = remembered()?;
        let name = fs::read_to_string(&path).with_context(|| format!("{}; run `cargo xtask setup`", path.display()))?;
        let name = name.trim().to_owned();
        Ok(Self { is_pinned: name == pinned()?, name })
    }
}

/// Which of the two ways to go; the first leads on to the second where it ends.
#[derive(Clone, Copy)]
pub enum Way {
    Rustup,
    Debian,
}

pub fn install(way: Way) -> Result<()> {
    let cache = run::cache()?;
    fs::create_dir_all(&cache).with_context(|| format!("making {}", cache.display()))?;
    let sysroot = PathBuf::from(run::output(&mut run::words("rustc --print sysroot"))?);
    // Where the first way did not work, it is not tried again each time.
    let is_settled = debian_is_there() && !rust_src(&sysroot) && Chosen::read().is_ok_and(|chosen| !chosen.is_pinned);
    let name = match way {
        Way::Rustup if !is_settled => first_way(&cache, &sysroot).or_else(|error| {
            println!("    {error:#}\n    so the second way: Debian's compiler");
            second_way(&cache)
        }),
        Way::Rustup | Way::Debian => second_way(&cache),
    };
    remember(&name?)
}

/// Returns the toolchain's name.
fn first_way(cache: &Path, sysroot: &Path) -> Result<String> {
    let pinned = pinned()?;
    if !rust_src(sysroot) {
        run::step(run::words("rustup component add rust-src --toolchain").arg(&pinned))?;
        if !rust_src(sysroot) {
            bail!("rust-src was added, but not to {}, which is the compiler in use", sysroot.display());
        }
    }
    link_llvm(cache, &rustc_llvm(sysroot)?, LlvmLink::Library)?;
    build_linker(cache, Some(&sysroot.join("lib")))?;
    Ok(pinned)
}

fn rust_src(sysroot: &Path) -> bool {
    sysroot.join("lib/rustlib/src/rust/library/core/src/lib.rs").is_file()
}

/// Returns the toolchain's name.
fn second_way(cache: &Path) -> Result<String> {
    install_debian()?;
    link_llvm(cache, &Path::new(DEBIAN_LLVM).join("lib/libLLVM.so"), LlvmLink::Prefix)?;
    build_linker(cache, None)?;
    Ok(DEBIAN_TOOLCHAIN.to_owned())
}

/// The channel that `rust-toolchain.toml` names.
fn pinned() -> Result<String> {
    let path = run::root().join("rust-toolchain.toml");
    let text = fs::read_to_string(&path).with_context(|| format!("reading {}", path.display()))?;
    channel(&text).map(str::to_owned).with_context(|| format!("{} names no channel", path.display()))
}

fn channel(text: &str) -> Option<&str> {
    text.lines().find_map(|line| line.strip_prefix("channel = \"")?.strip_suffix('"'))
}

fn remembered() -> Result<PathBuf> {
    Ok(run::cache()?.join("toolchain"))
}

/// Written only when it changes: a newer file makes cargo build the programs again.
fn remember(name: &str) -> Result<()> {
    let path = remembered()?;
    if fs::read_to_string(&path).is_ok_and(|text| text.trim() == name) {
        return Ok(());
    }
    fs::write(&path, format!("{name}\n")).with_context(|| format!("writing {}", path.display()))
}

fn rustc_llvm(sysroot: &Path) -> Result<PathBuf> {
    let folder = sysroot.join("lib");
    let entries = fs::read_dir(&folder).with_context(|| format!("reading {}", folder.display()))?;
    let names = entries.flatten().map(|entry| entry.file_name().to_string_lossy().into_owned());
    let mut libraries: Vec<String> = names.filter(|name| is_llvm(name)).collect();
    libraries.sort();
    let name = libraries.pop().with_context(|| {
        format!("no libLLVM.so in {}: this compiler carries its LLVM inside itself; use rustup's", folder.display())
    })?;
    Ok(folder.join(name))
}

/// `libLLVM.so.22.1-rust-1.95.0-stable` is the library; `libLLVM-22-…so`, where it exists, is a script that names it.
fn is_llvm(name: &str) -> bool {
    name.starts_with("libLLVM.so")
}

/// How bpf-linker's build finds LLVM: it takes a folder with `lib/libLLVM.so` in it.
#[derive(Clone, Copy)]
enum LlvmLink {
    /// The folder is made around this library.
    Library,
    /// The library's folder is such a folder already.
    Prefix,
}

/// Makes `~/.cache/netd/llvm`. A linker that was made with another LLVM is removed, so that it is made anew.
fn link_llvm(cache: &Path, library: &Path, how: LlvmLink) -> Result<()> {
    let prefix = cache.join("llvm");
    let wanted = fs::canonicalize(library).with_context(|| format!("finding {}", library.display()))?;
    if fs::canonicalize(prefix.join("lib/libLLVM.so")).is_ok_and(|there| there == wanted) {
        return Ok(());
    }
    println!("==> {} -> {}", prefix.display(), wanted.display());
    remove(&cache.join("bin/bpf-linker"))?;
    remove(&prefix)?;
    match how {
        LlvmLink::Library => {
            let folder = prefix.join("lib");
            fs::create_dir_all(&folder).with_context(|| format!("making {}", folder.display()))?;
            symlink(&wanted, folder.join("libLLVM.so")).context("linking libLLVM.so")
        }
        LlvmLink::Prefix => symlink(DEBIAN_LLVM, &prefix).context("linking llvm"),
    }
}

fn remove(path: &Path) -> Result<()> {
    let gone = match fs::symlink_metadata(path) {
        Err(_) => return Ok(()),
        Ok(data) if data.is_dir() => fs::remove_dir_all(path),
        Ok(_) => fs::remove_file(path),
    };
    gone.with_context(|| format!("removing {}", path.display()))
}

fn build_linker(cache: &Path, rpath: Option<&Path>) -> Result<()> {
    let linker = cache.join("bin/bpf-linker");
    let version = run::output(run::command(&linker).arg("--version")).unwrap_or_default();
    if version.split_whitespace().nth(1) == Some(LINKER_VERSION) {
        return Ok(());
    }
    let mut command = run::words("cargo install bpf-linker --force --locked --no-default-features");
    command.args(["--version", LINKER_VERSION, "--features", LLVM_FEATURE]).arg("--root").arg(cache);
    command.env("LLVM_PREFIX", cache.join("llvm"));
    if let Some(folder) = rpath {
        command.env("RUSTFLAGS", format!("-C link-arg=-Wl,-rpath,{}", folder.display()));
    }
    run::step(&mut command)?;
    run::output(run::command(&linker).arg("--version")).context("bpf-linker was built but does not run")?;
    Ok(())
}

fn install_debian() -> Result<()> {
    if !debian_is_there() {
        if run::find("apt-get").is_none() || !run::is_root() {
            bail!(
                "rust-src cannot be added to the pinned toolchain, and {} cannot be installed (that takes root and \
                 apt-get); install one of the two",
                DEBIAN_PACKAGES.join(" ")
            );
        }
        packages::install_debian(&DEBIAN_PACKAGES)?;
    }
    let known = run::output(&mut run::words("rustup toolchain list"))?;
    if !known.lines().any(|line| line.split_whitespace().next() == Some(DEBIAN_TOOLCHAIN)) {
        run::step(run::words("rustup toolchain link").args([DEBIAN_TOOLCHAIN, "/usr"]))?;
    }
    Ok(())
}

fn debian_is_there() -> bool {
    let programs = ["/usr/bin/rustc", "/usr/bin/cargo"].map(|program| Path::new(program).is_file());
    programs == [true, true] && Path::new(DEBIAN_LLVM).join("lib/libLLVM.so").exists()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_pinned_channel_is_found() {
        assert_eq!(channel("# why\n[toolchain]\nchannel = \"1.95.0\"\n"), Some("1.95.0"));
        assert_eq!(channel("[toolchain]\n"), None);
    }

    #[test]
    fn the_library_is_told_from_its_linker_script() {
        assert!(is_llvm("libLLVM.so.22.1-rust-1.95.0-stable"));
        assert!(!is_llvm("libLLVM-22-rust-1.95.0-stable.so"));
        assert!(!is_llvm("librustc_driver-1.so"));
    }

    #[test]
    fn another_llvm_makes_the_linker_go() {
        let cache = std::env::temp_dir().join(format!("netd-xtask-llvm-{}", std::process::id()));
        fs::create_dir_all(cache.join("bin")).expect("a folder");
        for name in ["old", "new"] {
            fs::write(cache.join(name), name).expect("a library");
        }
        let linker = cache.join("bin/bpf-linker");
        link_llvm(&cache, &cache.join("old"), LlvmLink::Library).expect("a first link");
        fs::write(&linker, "made with the old one").expect("a linker");
        link_llvm(&cache, &cache.join("old"), LlvmLink::Library).expect("nothing to do");
        assert!(linker.exists(), "the same LLVM keeps the linker");
        link_llvm(&cache, &cache.join("new"), LlvmLink::Library).expect("another link");
        assert!(!linker.exists(), "another LLVM removes the linker");
        fs::remove_dir_all(&cache).expect("tidying up");
    }
}
