//! How is a network namespace made, entered, listed and removed?
//!
//! The files in the netns folder are those of `ip netns`: a bind mount of nsfs on an empty file, in a folder that is a
//! shared mount. So `ip netns exec NAME` and `nsenter --net=/run/netns/NAME` work on them. A thread that changes its
//! namespace ends after it, so that none ever goes back to a pool in the wrong one.

pub mod exec;
mod forwarding;
pub mod lent;
pub mod made;
mod settings;

pub use exec::{Files, exec};
pub use settings::Settings;

use crate::model::command::NamespaceAt;
use nix::errno::Errno;
use nix::fcntl::{Flock, FlockArg, OFlag};
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sched::{CloneFlags, setns, unshare};
use nix::sys::socket::{AddressFamily, SockFlag, SockType};
use nix::sys::statfs::{NSFS_MAGIC, fstatfs};
use std::collections::BTreeSet;
use std::fs::{DirBuilder, File, OpenOptions};
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::Path;

/// The network namespace of the calling thread.
const OWN: &str = "/proc/thread-self/ns/net";

/// The network namespace of the calling thread.
pub fn own() -> io::Result<File> {
    File::open(OWN)
}

/// Runs `work` in a new network namespace, which lives as long as that and what `work` leaves open.
pub fn in_new<T: Send>(work: impl FnOnce() -> io::Result<T> + Send) -> io::Result<T> {
    on_own_thread(|| {
        unshare(CloneFlags::CLONE_NEWNET)?;
        work()
    })?
}

/// Makes a new network namespace with nothing but its loopback device, which is up, kept by a bind mount at `path`.
/// Refused when `path` exists.
///
/// With `forwards`, its stack sends packets on between its interfaces; without, it does not, whatever it inherited: a new
/// namespace begins with the settings of the host or of its maker (`net.core.devconf_inherit_init_net`).
///
/// `identified` is told the new namespace's inode before anything stands at `path`, so that a crash leaves nothing that
/// cannot be recognised.
pub fn create(path: &Path, forwards: bool, identified: impl FnOnce(u64) -> io::Result<()> + Send) -> io::Result<()> {
    let folder = path.parent().ok_or(Errno::EINVAL)?;
    DirBuilder::new().recursive(true).mode(0o755).create(folder)?;
    let lock = Flock::lock(File::open(folder)?, FlockArg::LockExclusive).map_err(|(_, errno)| errno)?;
    share(folder)?;
    drop(lock);
    on_own_thread(|| {
        unshare(CloneFlags::CLONE_NEWNET)?;
        if path.symlink_metadata().is_ok() {
            return Err(Errno::EEXIST.into());
        }
        forwarding::set(forwards)?;
        raise_loopback()?;
        identified(std::fs::metadata(OWN)?.ino())?;
        OpenOptions::new().write(true).create_new(true).mode(0o444).open(path)?;
        let mounted = mount(Some(OWN), path, None::<&str>, MsFlags::MS_BIND, None::<&str>);
        if mounted.is_err() {
            std::fs::remove_file(path)?;
        }
        Ok(mounted?)
    })?
}

/// Sets the loopback device of this thread's namespace up: what listens on 127.0.0.0/8 needs it. A request by netlink
/// would need a socket and its reader.
pub fn raise_loopback() -> io::Result<()> {
    let socket = nix::sys::socket::socket(AddressFamily::Inet, SockType::Datagram, SockFlag::SOCK_CLOEXEC, None)?;
    // SAFETY: all zero is a legal `ifreq`: an empty name, and no flags.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    for (to, from) in request.ifr_name.iter_mut().zip(*b"lo") {
        *to = from.cast_signed();
    }
    request.ifr_ifru.ifru_flags = (libc::IFF_UP | libc::IFF_RUNNING) as libc::c_short;
    // SAFETY: SIOCSIFFLAGS reads an `ifreq`, which outlives the call.
    Errno::result(unsafe { libc::ioctl(socket.as_raw_fd(), libc::SIOCSIFFLAGS as _, &request) })?;
    Ok(())
}

/// Unmounts and removes `path`. No error when it is gone already. The namespace itself lives on while a process or an
/// open file holds it.
pub fn delete(path: &Path) -> io::Result<()> {
    loop {
        // Mounted twice means unmounted twice; EINVAL: nothing is mounted there.
        match umount2(path, MntFlags::MNT_DETACH | MntFlags::UMOUNT_NOFOLLOW) {
            Ok(()) => {}
            Err(Errno::EINVAL | Errno::ENOENT) => break,
            Err(errno) => return Err(errno.into()),
        }
    }
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        Ok(()) | Err(_) => Ok(()),
    }
}

/// File names in a folder; empty when it does not exist.
pub fn names(folder: &Path) -> io::Result<BTreeSet<String>> {
    let entries = match std::fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(BTreeSet::new()),
        Err(error) => return Err(error),
    };
    entries.map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned())).collect()
}

/// Whether `path` is a network namespace's file, and which one's.
#[must_use]
pub fn namespace_at(path: &Path) -> NamespaceAt {
    // Two files are one namespace when device and inode are the same (namespaces(7)).
    let identity = |file: File| file.metadata().map(|meta| (meta.dev(), meta.ino())).ok();
    match open(path).ok().and_then(identity) {
        None => NamespaceAt::Nothing,
        found if found == File::open(OWN).ok().and_then(identity) => NamespaceAt::Host,
        Some(_) => NamespaceAt::Other,
    }
}

/// Opens a network namespace's file. Anything else, such as a plain file that was left behind, is `InvalidInput`.
pub fn open(path: &Path) -> io::Result<File> {
    // Not blocking: the path comes from the user, and could be a FIFO.
    let opened = OpenOptions::new().read(true).custom_flags(OFlag::O_NONBLOCK.bits()).open(path);
    let file = opened.map_err(|error| match error.kind() {
        kind @ io::ErrorKind::NotFound => {
            io::Error::new(kind, format!("there is no network namespace at {}", path.display()))
        }
        _ => error,
    })?;
    // SAFETY: NS_GET_NSTYPE takes no argument, and `file` keeps the descriptor open during the call.
    let is_network = fstatfs(&file)?.filesystem_type() == NSFS_MAGIC
        && unsafe { libc::ioctl(file.as_raw_fd(), libc::NS_GET_NSTYPE) } == libc::CLONE_NEWNET;
    if is_network {
        Ok(file)
    } else {
        Err(io::Error::new(io::ErrorKind::InvalidInput, format!("{} is not a network namespace", path.display())))
    }
}

/// Whether an error of [`open`] says that there is no network namespace, and not that it could not be opened.
#[must_use]
pub fn is_absent(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::InvalidInput | io::ErrorKind::NotADirectory)
}

/// Runs `work` in the namespace at `path`, on a thread of its own. Threads that `work` starts are in it too, and so are
/// the sockets that it opens, for ever.
pub fn in_namespace<T: Send>(path: &Path, work: impl FnOnce() -> T + Send) -> io::Result<T> {
    let namespace = open(path)?;
    on_own_thread(|| {
        setns(&namespace, CloneFlags::CLONE_NEWNET)?;
        Ok(work())
    })?
}

/// Runs `work` in each of these namespaces in turn, on one thread: to start one takes longer than to change its
/// namespace.
pub fn in_each<T: Send>(namespaces: &[&File], work: impl Fn() -> T + Sync) -> io::Result<Vec<T>> {
    on_own_thread(|| {
        let enter = |namespace: &&File| {
            setns(namespace, CloneFlags::CLONE_NEWNET)?;
            Ok(work())
        };
        namespaces.iter().map(enter).collect()
    })?
}

fn on_own_thread<T: Send>(work: impl FnOnce() -> T + Send) -> io::Result<T> {
    std::thread::scope(|scope| {
        let thread = std::thread::Builder::new().name("netns".into()).spawn_scoped(scope, work)?;
        thread.join().map_err(|_| io::Error::other("the thread in the network namespace panicked"))
    })
}

/// Makes `folder` a shared mount, as `ip netns add` does: a namespace that is made or removed later is then seen in
/// mount namespaces that exist already, and does not stay busy in them.
fn share(folder: &Path) -> io::Result<()> {
    let shared = |how| mount(None::<&str>, folder, None::<&str>, MsFlags::MS_SHARED | how, None::<&str>);
    // What is mounted in a shared mount is shared: only what was there before has to be looked through.
    match shared(MsFlags::empty()) {
        // Not a mount point yet.
        Err(Errno::EINVAL) => {
            mount(Some(folder), folder, None::<&str>, MsFlags::MS_BIND | MsFlags::MS_REC, None::<&str>)?;
            Ok(shared(MsFlags::MS_REC)?)
        }
        done => Ok(done?),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_network_namespaces_are_namespaces() {
        assert_eq!(namespace_at(Path::new(OWN)), NamespaceAt::Host);
        assert_eq!(namespace_at(Path::new("/proc/thread-self/ns/mnt")), NamespaceAt::Nothing);
        assert_eq!(namespace_at(Path::new("/proc/thread-self/ns/no-such")), NamespaceAt::Nothing);
        let plain = tempfile::NamedTempFile::new().expect("a file");
        assert_eq!(namespace_at(plain.path()), NamespaceAt::Nothing);
    }

    #[test]
    fn names_of_a_folder_that_is_not_there_are_none() {
        let folder = tempfile::tempdir().expect("a folder");
        std::fs::write(folder.path().join("web"), "").expect("written");
        assert_eq!(names(folder.path()).expect("read"), BTreeSet::from(["web".to_owned()]));
        assert_eq!(names(&folder.path().join("absent")).expect("read"), BTreeSet::new());
    }
}
