//! What do this kernel and this machine offer netd, what is missing, and what does that cost?

use crate::config::Config;
use crate::kernel::facts::{Ipv6, NodeFacts};
use crate::kernel::netlink::Netlink;
use crate::kernel::{mounts, probe, process};
use crate::model::parent::LinkDriver;
use std::fs;
use std::io;
use std::path::Path;

/// The oldest kernel that netd is made for: the first with TCX.
const KERNEL_MIN: (u32, u32) = (6, 7);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    Ok,
    /// Missing, and netd works without it at the cost that the detail names.
    Reduced,
    /// Missing, and netd cannot run.
    Missing,
    /// It could not be found out.
    Unknown,
}

impl Verdict {
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Reduced => "reduced",
            Self::Missing => "missing",
            Self::Unknown => "unknown",
        }
    }
}

/// One line of the answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    pub subject: String,
    pub verdict: Verdict,
    /// What was found, or what its absence costs and what to do.
    pub detail: String,
}

impl Finding {
    fn new(subject: impl Into<String>, verdict: Verdict, detail: impl Into<String>) -> Self {
        Self { subject: subject.into(), verdict, detail: detail.into() }
    }

    fn ok(subject: impl Into<String>, detail: impl Into<String>) -> Self {
        Self::new(subject, Verdict::Ok, detail)
    }
}

/// Looks at all that netd uses. Changes nothing.
#[must_use]
pub fn run(config: &Config) -> Vec<Finding> {
    let root = process::is_root();
    let mut findings = vec![if root {
        Finding::ok("root", "this process is root")
    } else {
        Finding::new("root", Verdict::Missing, "netd needs root, and so do some of the checks below; run it with sudo")
    }];
    findings.push(kernel(&fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default()));
    findings.extend(features(root));
    findings.push(bpffs(&config.bpffs));
    findings.push(cgroup(config));
    findings.push(btf());
    findings.extend(network(&config.uplinks));
    findings.extend(host_settings());
    findings
}

/// Whether netd can run with these.
#[must_use]
pub fn can_run(findings: &[Finding]) -> bool {
    findings.iter().all(|finding| finding.verdict != Verdict::Missing)
}

fn kernel(release: &str) -> Finding {
    let (major, minor) = KERNEL_MIN;
    let release = release.trim();
    let mut numbers = release.split(['.', '-']).map(|number| number.parse::<u32>().ok());
    match (numbers.next().flatten(), numbers.next().flatten()) {
        (Some(this), Some(sub)) if (this, sub) >= KERNEL_MIN => Finding::ok("kernel", release),
        (Some(_), Some(_)) => Finding::new(
            "kernel",
            Verdict::Reduced,
            format!(
                "{release} is older than {major}.{minor}, which netd is made for; what counts are the features below"
            ),
        ),
        (_, _) => Finding::new("kernel", Verdict::Unknown, format!("the release \"{release}\" is not understood")),
    }
}

fn features(root: bool) -> Vec<Finding> {
    if !root {
        return vec![Finding::new("kernel features", Verdict::Unknown, "only root can try them")];
    }
    let tried = |subject: &str, result: io::Result<()>, here: &str, missing: &str| match result {
        Ok(()) => Finding::ok(subject, here),
        Err(error) => Finding::new(subject, Verdict::Missing, format!("{missing} ({error})")),
    };
    let mut findings = vec![
        tried(
            "TCX",
            probe::tcx(),
            "programs attach to interfaces beside those of others",
            "no program can be attached to an interface; it takes Linux 6.6 with CONFIG_NET_XGRESS",
        ),
        tried(
            "veth",
            probe::veth(),
            "containers can be plugged in",
            "no container can be plugged in; it takes CONFIG_VETH (modprobe veth)",
        ),
    ];
    match probe::helpers() {
        Ok(helpers) => findings.extend(helpers.into_iter().map(|(name, supported)| {
            if supported {
                Finding::ok(name, "TC programs may call it")
            } else {
                Finding::new(name, Verdict::Missing, "the kernel lacks this helper; no packet could be delivered")
            }
        })),
        Err(error) => findings.push(Finding::new(
            "BPF",
            Verdict::Missing,
            format!(
                "no program can be loaded ({error}); it takes CONFIG_BPF_SYSCALL, and a lockdown mode that allows it"
            ),
        )),
    }
    findings.extend(LinkDriver::ALL.map(|driver| link_driver(driver, Netlink::has_driver(driver))));
    findings
}

fn link_driver(driver: LinkDriver, found: io::Result<bool>) -> Finding {
    let (has, lacks) = match driver {
        LinkDriver::Macvlan => ("networks may have the driver macvlan", "networks of the driver macvlan are refused"),
        LinkDriver::Ipvlan => ("networks may have the driver ipvlan", "networks of the driver ipvlan are refused"),
        LinkDriver::Vlan => (
            "netd makes the VLAN sub-interfaces that networks name as their parent",
            "a parent such as eth0.20 is refused where it is not there",
        ),
    };
    match found {
        Ok(true) => Finding::ok(driver.name(), has),
        Ok(false) => Finding::new(driver.name(), Verdict::Reduced, format!("{lacks}: {driver}")),
        Err(error) => Finding::new(driver.name(), Verdict::Unknown, format!("it cannot be tried: {error}")),
    }
}

fn bpffs(path: &Path) -> Finding {
    let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    let filesystems = fs::read_to_string("/proc/filesystems").unwrap_or_default();
    if is_mounted(&mounts, path, "bpf") {
        Finding::ok("bpffs", format!("mounted at {}", path.display()))
    } else if filesystems.lines().any(|line| line.split_ascii_whitespace().last() == Some("bpf")) {
        Finding::ok("bpffs", format!("not mounted at {} yet; netd mounts it", path.display()))
    } else {
        Finding::new("bpffs", Verdict::Missing, "the kernel has no bpffs: programs could not outlive the agent")
    }
}

/// Whether a filesystem of this kind is mounted at `path`, by `/proc/self/mountinfo` (proc(5)).
fn is_mounted(mountinfo: &str, path: &Path, kind: &str) -> bool {
    mountinfo.lines().any(|line| {
        let mut halves = line.split(" - ");
        let place = halves.next().and_then(|mount| mount.split(' ').nth(4));
        let found = halves.next().and_then(|source| source.split(' ').next());
        place.map(Path::new) == Some(path) && found == Some(kind)
    })
}

fn cgroup(config: &Config) -> Finding {
    const COST: &str = "without it programs of this host do not reach published ports";
    let found = match &config.cgroup {
        Some(path) if path.is_dir() => Ok(path.clone()),
        Some(path) => Err(format!("{} is not there; {COST}", path.display())),
        None => mounts::cgroup2_mount()
            .map_err(|error| format!("no cgroup2 is mounted ({error}); {COST}; mount -t cgroup2 none /sys/fs/cgroup")),
    };
    match found {
        Ok(path) => Finding::ok("cgroup2", format!("{}: programs of this host reach published ports", path.display())),
        Err(detail) => Finding::new("cgroup2", Verdict::Missing, detail),
    }
}

fn btf() -> Finding {
    if Path::new("/sys/kernel/btf/vmlinux").exists() {
        Finding::ok("BTF", "bpftool prints maps by field")
    } else {
        Finding::new("BTF", Verdict::Reduced, "the kernel has no type information; bpftool may print maps as bytes")
    }
}

/// What the host's own network offers.
fn network(uplinks_named: &[String]) -> [Finding; 2] {
    match Netlink::open().and_then(|netlink| netlink.facts(&netlink.devices()?, uplinks_named)) {
        Ok(probed) => [ipv6(probed.facts.ipv6), uplinks(uplinks_named, &probed.facts)],
        Err(error) => {
            ["IPv6", "uplinks"].map(|subject| Finding::new(subject, Verdict::Unknown, format!("netlink: {error}")))
        }
    }
}

fn ipv6(found: Ipv6) -> Finding {
    match found {
        Ipv6::Available => Finding::ok("IPv6", "networks may have it; without --ipv6 they do not"),
        Ipv6::Disabled | Ipv6::Absent => Finding::new(
            "IPv6",
            Verdict::Reduced,
            format!("networks with IPv6 are refused, those with IPv4 alone work: {found}"),
        ),
    }
}

fn uplinks(named: &[String], facts: &NodeFacts) -> Finding {
    let subject = "uplinks";
    if facts.uplinks.is_empty() {
        let detail = if named.is_empty() {
            "there is no default route: until there is one, containers do not reach the outside, nor it them".to_owned()
        } else {
            format!("none of {} is there: containers do not reach the outside, nor it them", named.join(", "))
        };
        return Finding::new(subject, Verdict::Reduced, detail);
    }
    let found: Vec<String> =
        facts.uplinks.iter().map(|(name, uplink)| format!("{name} (MTU {})", uplink.mtu)).collect();
    Finding::ok(subject, found.join(", "))
}

/// What others would look at, and netd works with either way.
fn host_settings() -> Vec<Finding> {
    let ip_forward = fs::read_to_string("/proc/sys/net/ipv4/ip_forward").unwrap_or_default();
    let ip_forward = match ip_forward.trim() {
        "1" => "on; netd does not need it, and does not change it",
        "0" => "off; netd does not need it, and does not change it",
        _ => "not readable; netd does not need it",
    };
    let bridge = if Path::new("/proc/sys/net/bridge").exists() {
        "loaded; packets between containers pass no Linux bridge, so it does not see them"
    } else {
        "not loaded; netd does not need it"
    };
    vec![Finding::ok("ip_forward", ip_forward), Finding::ok("br_netfilter", bridge)]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn releases_are_compared_as_numbers() {
        assert_eq!(kernel("6.18.0-2-amd64\n").verdict, Verdict::Ok);
        assert_eq!(kernel("6.7.1").verdict, Verdict::Ok);
        assert_eq!(kernel("6.1.0-42-cloud-amd64").verdict, Verdict::Reduced);
        assert_eq!(kernel("10.0-rc1").verdict, Verdict::Ok);
        assert_eq!(kernel("").verdict, Verdict::Unknown);
    }

    #[test]
    fn a_mount_is_found_by_place_and_kind() {
        let mounts = "30 23 0:26 / /sys/fs/bpf rw,nosuid shared:9 - bpf bpf rw,mode=700\n\
            31 23 0:27 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw\n";
        assert!(is_mounted(mounts, Path::new("/sys/fs/bpf"), "bpf"));
        assert!(!is_mounted(mounts, Path::new("/sys/fs/cgroup"), "bpf"));
        assert!(!is_mounted(mounts, Path::new("/sys/fs"), "bpf"));
    }

    #[test]
    fn a_host_without_ipv6_runs_netd_all_the_same() {
        assert_eq!(ipv6(Ipv6::Available).verdict, Verdict::Ok);
        for missing in [Ipv6::Absent, Ipv6::Disabled] {
            let Finding { verdict, detail, .. } = ipv6(missing);
            assert_eq!(verdict, Verdict::Reduced);
            assert!(detail.ends_with("or use IPv4"), "{detail}");
        }
    }

    #[test]
    fn only_what_is_missing_keeps_netd_from_running() {
        let with = |verdict| can_run(&[Finding::new("a", Verdict::Ok, ""), Finding::new("b", verdict, "")]);
        assert!(with(Verdict::Reduced) && with(Verdict::Unknown));
        assert!(!with(Verdict::Missing));
    }
}
