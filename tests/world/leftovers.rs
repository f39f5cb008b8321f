//! What of netd is still in the kernel, and how does the rest of a world go?

use super::tcx::{Direction, programs};
use super::{UPLINK, World};
use nix::mount::{MntFlags, umount2};
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Once;

impl World {
    /// What netd has made and not taken away again, one line each.
    #[must_use]
    pub fn left_behind(&self) -> Vec<String> {
        let mut left = Vec::new();
        for line in self.host.sh("ip -o link show").lines() {
            let name = line.split_whitespace().nth(1).unwrap_or_default();
            if !["lo:", UPLINK].iter().any(|own| name.starts_with(own)) && name.starts_with("nd") {
                left.push(format!("link {line}"));
            }
            if line.contains(" xdp") {
                left.push(format!("an XDP program at {line}"));
            }
        }
        // Containers' networks are parts of 10.0.0.0/8 and fd00::/8, and nothing else in a world is.
        let routes = self.host.sh("ip -4 route show table all; ip -6 route show table all");
        let is_ours = |line: &&str| line.split(' ').any(|word| word.starts_with("10.") || word.starts_with("fd"));
        left.extend(routes.lines().filter(is_ours).map(|line| format!("route {line}")));
        let addresses = self.host.sh("ip -o addr show");
        left.extend(addresses.lines().filter(is_ours).map(|line| format!("address {line}")));
        let neighbours = self.host.sh("ip neigh show nud permanent");
        left.extend(neighbours.lines().map(|line| format!("neighbour {line}")));
        left.extend(names_in(&self.netns_folder()).into_iter().map(|name| format!("namespace {name}")));
        left.extend(names_in(&self.bpffs().join("netd")).into_iter().map(|name| format!("pins {name}")));
        // The folder of namespaces is made a shared mount, as ip-netns(8) makes it for all, and stays one.
        let kept = [self.bpffs(), self.netns_folder()];
        let mounts = mounts_below(&self.folder).into_iter().filter(|mount| !kept.contains(mount));
        left.extend(mounts.map(|mount| format!("mount {}", mount.display())));
        for name in self.host.sh("ls /proc/sys/net/ipv4/conf").split_whitespace() {
            for direction in Direction::ALL.into_iter().filter(|_| !["all", "default"].contains(&name)) {
                let count = programs(&self.host, name, direction);
                left.extend((count > 0).then(|| format!("{count} programs at {name} {direction:?}")));
            }
        }
        let attached = self.host.sh(&format!("bpftool cgroup show {}", self.cgroup.display()));
        let rows = attached.lines().filter(|line| line.trim_start().starts_with(|first: char| first.is_ascii_digit()));
        left.extend(rows.map(|line| format!("cgroup program {line}")));
        // It ends by itself, a moment after it was told.
        crate::holds_within(crate::seconds(2), || self.keepers().is_empty());
        left.extend(self.keepers().into_iter().map(|pid| format!("keeper of name servers {pid}")));
        left
    }

    /// Takes away what is the world's own, and what a failed netd has left.
    pub(super) fn demolish(&self) {
        demolish(&self.folder, &self.cgroup);
    }
}

fn names_in(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    entries.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect()
}

fn mounts_below(folder: &Path) -> Vec<PathBuf> {
    let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    let points = mounts.lines().filter_map(|line| line.split(' ').nth(4)).map(PathBuf::from);
    points.filter(|point| point.starts_with(folder)).collect()
}

fn demolish(folder: &Path, cgroup: &Path) {
    // cgroup.kill ends every process that was started in the cgroup and no other (Linux 5.14).
    let _ = fs::write(cgroup.join("cgroup.kill"), "1");
    for mount in mounts_below(folder).iter().rev() {
        let _ = umount2(mount, MntFlags::MNT_DETACH);
    }
    let _ = fs::remove_dir_all(folder);
    crate::holds_within(crate::seconds(2), || fs::remove_dir(cgroup).is_ok() || !cgroup.exists());
}

/// Takes away the worlds of test processes that were killed before they could do it themselves.
pub(super) fn sweep() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let cgroups = super::cgroup2_mount();
        let temporary = std::env::temp_dir();
        for name in names_in(&temporary).into_iter().chain(names_in(&cgroups)) {
            let pid = name.strip_prefix("netd-test-").and_then(|rest| rest.split('-').next());
            if pid.is_some_and(|pid| pid.parse::<u32>().is_ok() && !Path::new("/proc").join(pid).exists()) {
                demolish(&temporary.join(&name), &cgroups.join(&name));
            }
        }
    });
}
