//! In which namespaces are the links that leave no trace on the host?
//!
//! A note per link in a folder of the instance, written before the link is made: the id by which the host's namespace knows
//! the container's, and the path of that. The id leads to the link also when the path leads nowhere any more. A note says
//! only where to look: what is found there must have the alias.

use crate::kernel::netns;
use std::collections::BTreeMap;
use std::fs::DirBuilder;
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Note {
    pub(super) id: i32,
    pub(super) namespace: PathBuf,
}

#[derive(Clone, Debug)]
pub(super) struct Notes(Option<PathBuf>);

impl Notes {
    pub(super) fn in_folder(folder: &Path) -> Self {
        Self(Some(folder.to_owned()))
    }

    /// For who makes no such links.
    pub(super) const fn none() -> Self {
        Self(None)
    }

    /// All notes, by the name of the link.
    pub(super) fn all(&self) -> io::Result<BTreeMap<String, Note>> {
        let mut notes = BTreeMap::new();
        let Some(folder) = &self.0 else { return Ok(notes) };
        for name in netns::names(folder)? {
            if let Some(note) = self.of(&name)? {
                notes.insert(name, note);
            }
        }
        Ok(notes)
    }

    /// None also for one that was being written when netd was ended: the link was not made then.
    pub(super) fn of(&self, name: &str) -> io::Result<Option<Note>> {
        let Some(folder) = &self.0 else { return Ok(None) };
        match std::fs::read_to_string(folder.join(name)) {
            Ok(text) => Ok(parse(&text)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    pub(super) fn write(&self, name: &str, note: &Note) -> io::Result<()> {
        let folder = self.0.as_ref().ok_or_else(|| io::Error::other("there is no folder for the notes of links"))?;
        DirBuilder::new().recursive(true).mode(0o755).create(folder)?;
        let path = note.namespace.to_str().ok_or(io::ErrorKind::InvalidInput)?;
        std::fs::write(folder.join(name), format!("{} {path}\n", note.id))
    }

    /// No error when it is gone already.
    pub(super) fn remove(&self, name: &str) -> io::Result<()> {
        let Some(folder) = &self.0 else { return Ok(()) };
        match std::fs::remove_file(folder.join(name)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            Ok(()) | Err(_) => Ok(()),
        }
    }
}

fn parse(text: &str) -> Option<Note> {
    let (id, path) = text.strip_suffix('\n')?.split_once(' ')?;
    Some(Note { id: id.parse().ok()?, namespace: path.into() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_noted_is_read_and_half_a_note_is_none() {
        let folder = tempfile::tempdir().expect("a folder");
        let notes = Notes::in_folder(&folder.path().join("links"));
        assert_eq!(notes.all().expect("read"), BTreeMap::new());
        let note = Note { id: 3, namespace: "/run/netns/a b".into() };
        notes.write("nd1", &note).expect("written");
        std::fs::write(folder.path().join("links/nd2"), "4 /run/ne").expect("written");
        assert_eq!(notes.all().expect("read"), BTreeMap::from([("nd1".to_owned(), note)]));
        for _ in 0..2 {
            notes.remove("nd1").expect("removed");
        }
        assert_eq!(notes.of("nd1").expect("read"), None);
    }
}
