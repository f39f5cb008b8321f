//! How does a command become one of a container's?

use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, setns, unshare};
use std::ffi::OsString;
use std::io;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Files of the host that a container sees others in place of.
#[derive(Clone, Debug, Default)]
pub struct Files {
    /// (file of the host to show, path at which it is shown), such as (`…/resolv.conf`, `/etc/resolv.conf`). Not shown
    /// where nothing stands at that path: there is nothing to mount over.
    pub binds: Vec<(PathBuf, PathBuf)>,
    pub hostname: Option<String>,
}

/// Enters the namespace at `path` and a mount namespace of its own with `files` bound over, then becomes `command`:
/// signals and the exit code are the command's own. Returns only an error; `NotFound` and `PermissionDenied` of the
/// command itself come back as such, for the shell's 127 and 126.
#[must_use]
pub fn exec(path: &Path, files: &Files, command: &[OsString]) -> io::Error {
    let Some((program, arguments)) = command.split_first() else {
        return io::Error::new(io::ErrorKind::InvalidInput, "no command was given");
    };
    match enter(path, files) {
        // `exec` of the standard library also gives SIGPIPE and the signal mask back as they were at the start.
        Ok(()) => Command::new(program).args(arguments).exec(),
        // Never `NotFound`, which would read as "command not found".
        Err(error) => io::Error::other(format!("cannot enter the container at {}: {error}", path.display())),
    }
}

/// `/sys` is left as it is, so that bpffs and cgroups stay in sight; in return, `/sys/class/net` shows the host's
/// interfaces.
fn enter(path: &Path, files: &Files) -> io::Result<()> {
    setns(super::open(path)?, CloneFlags::CLONE_NEWNET)?;
    unshare(CloneFlags::CLONE_NEWNS)?;
    // What is mounted here stays here; what the host mounts later is seen.
    mount(None::<&str>, "/", None::<&str>, MsFlags::MS_REC | MsFlags::MS_SLAVE, None::<&str>)?;
    for (source, target) in &files.binds {
        if target.exists() {
            mount(Some(source), target, None::<&str>, MsFlags::MS_BIND, None::<&str>)?;
        }
    }
    if let Some(hostname) = &files.hostname {
        unshare(CloneFlags::CLONE_NEWUTS)?;
        nix::unistd::sethostname(hostname)?;
    }
    Ok(())
}
