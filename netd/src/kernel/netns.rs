//! How is a network namespace made, entered, listed and removed?

use std::collections::BTreeSet;
use std::io;
use std::path::Path;

/// Makes a new, empty network namespace, kept by a bind mount at `path`. Refused when `path` exists.
pub fn create(_path: &Path) -> io::Result<()> {
    todo!()
}

/// Unmounts and removes `path`. No error when it is gone already.
pub fn delete(_path: &Path) -> io::Result<()> {
    todo!()
}

/// File names in the netns folder, `/run/netns`; empty when it does not exist.
pub fn names(_folder: &Path) -> io::Result<BTreeSet<String>> {
    todo!()
}

/// Whether `path` is a network namespace's file.
pub fn is_namespace(_path: &Path) -> bool {
    todo!()
}

/// Files of the host that a container sees others in place of.
#[derive(Clone, Debug, Default)]
pub struct Files {
    /// (file of the host to show, path at which it is shown), such as (`…/resolv.conf`, `/etc/resolv.conf`).
    pub binds: Vec<(std::path::PathBuf, std::path::PathBuf)>,
    pub hostname: Option<String>,
}

/// Enters the namespace at `path` and a mount namespace of its own with `files` bound over, then becomes `command`:
/// signals and the exit code are the command's own. Returns only an error.
pub fn exec(_path: &Path, _files: &Files, _command: &[std::ffi::OsString]) -> io::Error {
    todo!()
}
