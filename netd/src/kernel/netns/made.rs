//! Which namespaces did netd make?
//!
//! A note per namespace in a folder of the instance: the boot and the inode of the namespace, and what it was made for. A namespace whose inode
//! differs is somebody else's, whatever its name, and is never deleted. The note is written before the namespace stands
//! at its path, so that a crash between leaves no namespace that nobody owns.

use super::{create, delete, is_absent, open};
use crate::reconcile::target::Sandbox;
use std::collections::BTreeMap;
use std::fs::DirBuilder;
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

#[derive(Clone, Debug)]
pub struct Made {
    /// Folder of the namespaces, `/run/netns`.
    pub netns: PathBuf,
    /// Folder of the notes.
    pub notes: PathBuf,
}

impl Made {
    /// All namespaces that stand and were made by this, by path.
    pub fn paths(&self) -> io::Result<BTreeMap<PathBuf, Sandbox>> {
        let mut paths = BTreeMap::new();
        for name in super::names(&self.notes)? {
            let path = self.netns.join(name);
            if let Some(sandbox) = self.made(&path)? {
                paths.insert(path, sandbox);
            }
        }
        Ok(paths)
    }

    /// Makes the namespace at `path`, unless it stands already and is this one. Refused when it is another's.
    pub fn create(&self, path: &Path, sandbox: &Sandbox) -> io::Result<()> {
        let note = self.note(path)?;
        if self.made(path)?.as_ref() == Some(sandbox) {
            return Ok(());
        }
        let empty = path.symlink_metadata().is_ok_and(|file| file.is_file() && file.len() == 0);
        if note.exists() && empty && open(path).is_err_and(|error| is_absent(&error)) {
            // We ended between making the file and mounting on it.
            std::fs::remove_file(path)?;
        }
        DirBuilder::new().recursive(true).mode(0o755).create(&self.notes)?;
        create(path, sandbox.forwards, |inode| std::fs::write(&note, text(&identity(inode)?, sandbox))).map_err(
            |error| match error.kind() {
                io::ErrorKind::AlreadyExists => io::Error::new(
                    io::ErrorKind::AlreadyExists,
                    format!("{} exists, and netd did not make it; choose another name", path.display()),
                ),
                _ => error,
            },
        )
    }

    /// Removes the namespace at `path`. No error when it is gone already; refused when it is not ours.
    pub fn delete(&self, path: &Path) -> io::Result<()> {
        let note = self.note(path)?;
        if self.made(path)?.is_some() {
            delete(path)?;
        } else if path.symlink_metadata().is_ok() {
            return Err(io::Error::new(
                io::ErrorKind::PermissionDenied,
                format!("{} is left alone: netd did not make it", path.display()),
            ));
        }
        match std::fs::remove_file(note) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            Ok(()) | Err(_) => Ok(()),
        }
    }

    /// Whether the namespace at `path` stands and is ours.
    pub fn is_made(&self, path: &Path) -> io::Result<bool> {
        Ok(path.parent() == Some(&self.netns) && self.made(path)?.is_some())
    }

    /// What the namespace at `path` was made for, if it stands and is ours.
    fn made(&self, path: &Path) -> io::Result<Option<Sandbox>> {
        let noted = std::fs::read_to_string(self.note(path)?);
        match noted.and_then(|noted| Ok((noted, open(path)?))) {
            Ok((noted, namespace)) => {
                let identity = identity(namespace.metadata()?.ino())?;
                Ok(noted.strip_prefix(&identity).map(sandbox))
            }
            Err(error) if is_absent(&error) => Ok(None),
            Err(error) => Err(error),
        }
    }

    fn note(&self, path: &Path) -> io::Result<PathBuf> {
        let outside = || {
            io::Error::new(
                io::ErrorKind::InvalidInput,
                format!("{} is not in {}, where netd makes its namespaces", path.display(), self.netns.display()),
            )
        };
        let name = path.file_name().filter(|_| path.parent() == Some(&self.netns)).ok_or_else(outside)?;
        Ok(self.notes.join(name))
    }
}

/// Inodes of namespaces start anew with each boot.
pub(super) fn identity(inode: u64) -> io::Result<String> {
    Ok(format!("{} {inode}\n", boot()?))
}

/// Read once: a look asks for each namespace.
fn boot() -> io::Result<&'static str> {
    static BOOT: OnceLock<String> = OnceLock::new();
    if let Some(boot) = BOOT.get() {
        return Ok(boot);
    }
    let boot = std::fs::read_to_string("/proc/sys/kernel/random/boot_id")?;
    Ok(BOOT.get_or_init(|| boot.trim().to_owned()))
}

/// What follows the identity in a note.
const FORWARDS: &str = "forwards";

fn text(identity: &str, sandbox: &Sandbox) -> String {
    let forwards = if sandbox.forwards { FORWARDS } else { "" };
    format!("{identity}{}\n{forwards}\n", sandbox.owner)
}

fn sandbox(text: &str) -> Sandbox {
    let mut lines = text.lines();
    let owner = lines.next().unwrap_or_default().to_owned();
    Sandbox { owner, forwards: lines.next() == Some(FORWARDS) }
}
