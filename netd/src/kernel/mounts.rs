//! Where are bpffs and cgroup2 mounted?

use nix::mount::{MsFlags, mount};
use nix::sys::statfs::{BPF_FS_MAGIC, statfs};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

/// Mounts bpffs at `path` unless it is there already.
///
/// # Errors
/// When the folder or the mount is refused.
pub fn mount_bpffs(path: &Path) -> io::Result<()> {
    if is_bpffs(path) {
        return Ok(());
    }
    fs::create_dir_all(path)?;
    mount(Some("bpf"), path, Some("bpf"), MsFlags::empty(), Some("mode=0700"))?;
    tracing::info!("mounted bpffs at {}", path.display());
    Ok(())
}

#[must_use]
pub fn is_bpffs(path: &Path) -> bool {
    statfs(path).is_ok_and(|answer| answer.filesystem_type() == BPF_FS_MAGIC)
}

/// The cgroup2 mount of this machine, from `/proc/self/mountinfo`: on hybrid hosts it is not `/sys/fs/cgroup`.
///
/// # Errors
/// When there is none.
pub fn cgroup2_mount() -> io::Result<PathBuf> {
    let mounts = fs::read_to_string("/proc/self/mountinfo")?;
    first_cgroup2(&mounts).ok_or_else(|| {
        io::Error::new(
            io::ErrorKind::NotFound,
            "cgroup2 is not mounted; mount it with: mount -t cgroup2 none /sys/fs/cgroup/unified",
        )
    })
}

/// The mount point of the first cgroup2 of a mountinfo (proc_pid_mountinfo(5)): the type stands behind the lone dash.
fn first_cgroup2(mounts: &str) -> Option<PathBuf> {
    mounts.lines().find_map(|line| {
        let (fields, filesystem) = line.split_once(" - ")?;
        filesystem.starts_with("cgroup2 ").then(|| fields.split(' ').nth(4).map(PathBuf::from)).flatten()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hybrid_host_has_its_cgroup2_elsewhere() {
        let mounts = "31 24 0:27 / /sys/fs/cgroup ro,nosuid - tmpfs tmpfs ro,mode=755\n\
                      32 31 0:28 / /sys/fs/cgroup/unified rw,nosuid shared:10 - cgroup2 cgroup2 rw,nsdelegate\n";
        assert_eq!(first_cgroup2(mounts), Some(PathBuf::from("/sys/fs/cgroup/unified")));
        assert_eq!(first_cgroup2("31 24 0:27 / /sys rw - sysfs sysfs rw\n"), None);
    }
}
