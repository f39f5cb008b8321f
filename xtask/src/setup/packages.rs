//! Which programs do the tests and the demo run, and which package has each?

use crate::run;
use anyhow::{Context as _, Result, bail};
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

/// A program, and Debian's package that has it.
const PROGRAMS: &[(&str, &str)] = &[
    ("bpftool", "bpftool"),
    ("curl", "curl"),
    ("dig", "dnsutils"),
    ("ip", "iproute2"),
    ("iperf3", "iperf3"),
    ("iptables", "iptables"),
    ("nc", "netcat-openbsd"),
    ("nft", "nftables"),
    ("nginx", "nginx-light"),
    ("nsenter", "util-linux"),
    ("ping", "iputils-ping"),
    ("ps", "procps"),
    ("python3", "python3"),
    ("tcpdump", "tcpdump"),
    ("traceroute", "traceroute"),
];

/// Installs the packages of the programs that are missing.
pub fn install() -> Result<()> {
    let missing = missing(|program| run::find(program).is_some());
    if missing.is_empty() {
        return Ok(());
    }
    let list = missing.join(" ");
    if run::find("apt-get").is_none() {
        bail!("these are missing and there is no apt-get; install them by this system's own means: {list}");
    }
    if !run::is_root() {
        bail!("these packages are missing: {list}; run `sudo apt-get install {list}`, or this as root");
    }
    install_debian(&missing)
}

/// Installs packages of Debian without starting the services that are in them.
pub fn install_debian<T: AsRef<str>>(packages: &[T]) -> Result<()> {
    let _quiet = NoServices::new()?;
    run::step(&mut run::words("apt-get --quiet update"))?;
    let mut command = run::words("apt-get --quiet --yes --no-install-recommends install");
    command.args(packages.iter().map(AsRef::as_ref)).env("DEBIAN_FRONTEND", "noninteractive");
    run::step(&mut command)
}

fn missing(is_there: impl Fn(&str) -> bool) -> Vec<&'static str> {
    PROGRAMS.iter().filter(|(program, _)| !is_there(program)).map(|&(_, package)| package).collect()
}

/// While it lives, packages start no service (policy-rc.d, Debian Policy section 9.3.3): nginx would take port 80.
struct NoServices {
    ours: bool,
}

const POLICY: &str = "/usr/sbin/policy-rc.d";
/// By this a file that an interrupted run left behind is known.
const POLICY_TEXT: &str =
    "#!/bin/sh\n# netd: cargo xtask setup is installing packages; this file goes when it is done\nexit 101\n";

impl NoServices {
    fn new() -> Result<Self> {
        let path = Path::new(POLICY);
        if fs::read_to_string(path).is_ok_and(|text| text != POLICY_TEXT) {
            return Ok(Self { ours: false });
        }
        fs::write(path, POLICY_TEXT).with_context(|| format!("writing {POLICY}"))?;
        let guard = Self { ours: true };
        fs::set_permissions(path, fs::Permissions::from_mode(0o755)).with_context(|| format!("mode of {POLICY}"))?;
        Ok(guard)
    }
}

impl Drop for NoServices {
    fn drop(&mut self) {
        if self.ours
            && let Err(error) = fs::remove_file(POLICY)
        {
            eprintln!("{POLICY} is still there and keeps services from starting ({error}); remove it");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_missing_is_installed() {
        assert_eq!(missing(|program| program != "dig" && program != "nft"), ["dnsutils", "nftables"]);
        assert!(missing(|_| true).is_empty());
    }
}
