//! How was a namespace that somebody else made, before netd plugged a container into it?
//!
//! netd sets its loopback device up, as in those that it makes, and puts it back when the last container's link goes. A note
//! per namespace in a folder of the instance says how the device was; it is written before anything is changed, and goes
//! after all is put back, so that a crash between loses nothing.

use super::made::identity;
use super::{is_absent, open};
use crate::kernel::netlink::Loopback;
use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

#[derive(Clone, Debug)]
pub struct Lent {
    /// Folder of the notes.
    pub notes: PathBuf,
}

const UP: &str = "up";
const IPV6: &str = "ipv6";

impl Lent {
    /// Whether it is known how the namespace at `path` was.
    pub fn is_noted(&self, path: &Path) -> io::Result<bool> {
        Ok(self.note(path)?.exists())
    }

    /// Whether there is any note.
    pub fn any(&self) -> io::Result<bool> {
        match fs::read_dir(&self.notes) {
            Ok(mut entries) => Ok(entries.next().is_some()),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
            Err(error) => Err(error),
        }
    }

    pub fn write(&self, path: &Path, was: &Loopback) -> io::Result<()> {
        fs::create_dir_all(&self.notes)?;
        let flag = |is_set, word: &str| if is_set { word.to_owned() } else { String::new() };
        let lines = [flag(was.up, UP), flag(was.ipv6, IPV6)].into_iter();
        let lines = lines.chain(was.addresses.iter().map(ToString::to_string));
        fs::write(self.note(path)?, lines.collect::<Vec<_>>().join("\n"))
    }

    /// How the namespace at `path` was; none when that is not known, or the namespace is gone.
    pub fn read(&self, path: &Path) -> io::Result<Option<Loopback>> {
        let note = match self.note(path) {
            Err(error) if is_absent(&error) => return Ok(None),
            note => note?,
        };
        match fs::read_to_string(note) {
            Ok(text) => {
                let mut lines = text.lines();
                Ok(Some(Loopback {
                    up: lines.next() == Some(UP),
                    ipv6: lines.next() == Some(IPV6),
                    addresses: lines.filter_map(|line| line.parse().ok()).collect(),
                }))
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    pub fn forget(&self, path: &Path) -> io::Result<()> {
        match fs::remove_file(self.note(path)?) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            Ok(()) | Err(_) => Ok(()),
        }
    }

    /// Named after the namespace and not after its path, of which there may be several: a namespace that comes later is
    /// another one. Notes of namespaces that are gone are a few bytes until the next boot.
    fn note(&self, path: &Path) -> io::Result<PathBuf> {
        Ok(self.notes.join(identity(open(path)?.metadata()?.ino())?.trim().replace(' ', "-")))
    }
}
