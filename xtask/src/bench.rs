//! How does the benchmark harness get what it needs, and start?
//!
//! The harness itself is a program of `netd-tests`, because it takes the tests' worlds, and this crate does not depend on
//! anything of netd.

use crate::setup::install_debian;
use crate::{run, setup};
use anyhow::{Context as _, Result, bail};
use std::path::Path;

/// What the harness can do without, and Debian's package of each.
const PEERS: &[(&str, &str)] = &[
    ("/usr/sbin/dockerd", "docker.io"),
    ("/usr/bin/containerd", "containerd"),
    ("/usr/bin/runc", "runc"),
    ("/usr/bin/busybox", "busybox-static"),
    ("/usr/lib/cni/bridge", "containernetworking-plugins"),
    ("/usr/sbin/iptables", "iptables"),
    ("/usr/sbin/nft", "nftables"),
];
/// Units that those packages enable; the harness starts its own dockerd, and nobody else's is to be there.
const UNITS: &[&str] = &["docker.service", "docker.socket", "containerd.service"];
const INSTALL: &str = "--install-peers";

#[derive(clap::Args)]
#[command(disable_help_flag = true)]
pub struct Options {
    /// For the harness: `cargo xtask bench --help` lists them; --install-peers installs what it compares netd with
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    words: Vec<String>,
}

pub fn bench(options: &Options) -> Result<()> {
    if options.words.iter().any(|word| word == INSTALL) {
        install_peers()?;
        if options.words.len() == 1 {
            return Ok(());
        }
    }
    setup::setup_build(&setup::Options::default())?;
    run::step(&mut run::words("cargo build --release --quiet -p netd --bins"))?;
    run::step(&mut run::words("cargo build --release --quiet -p netd-tests --features bench --bins"))?;
    let release = run::root().join("target/release");
    let mut command = run::command(release.join("netd-bench"));
    command.args(options.words.iter().filter(|word| *word != INSTALL)).env("NETD_BIN", release.join("netd"));
    let status = command.status().context("starting netd-bench")?;
    if !status.success() {
        bail!("netd-bench ended with {status}");
    }
    Ok(())
}

/// Installs the peers that are missing, starts nothing, and leaves disabled what was not there before.
fn install_peers() -> Result<()> {
    let missing = missing(Path::exists);
    if missing.is_empty() {
        println!("every peer is installed");
        return Ok(());
    }
    let list = missing.join(" ");
    if run::find("apt-get").is_none() {
        bail!("these peers are missing, and there is no apt-get: {list}; install them by this system's own means");
    }
    if !run::is_root() {
        bail!("these peers are missing: {list}; run this as root");
    }
    install_debian(&missing)?;
    if missing.contains(&"docker.io") && run::find("systemctl").is_some() {
        let mut disable = run::words("systemctl --quiet disable");
        run::step(disable.args(UNITS))?;
    }
    Ok(())
}

fn missing(is_there: impl Fn(&Path) -> bool) -> Vec<&'static str> {
    PEERS.iter().filter(|(path, _)| !is_there(Path::new(path))).map(|&(_, package)| package).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_missing_peers_are_installed() {
        assert_eq!(missing(|path| !path.ends_with("dockerd")), ["docker.io"]);
        assert!(missing(|_| true).is_empty());
    }
}
