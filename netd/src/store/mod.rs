//! Where does the state live, and how does it change?
//!
//! The file is the truth; the snapshot is what everybody reads. A command is applied to a copy of the snapshot, the
//! difference goes to the file in one durable transaction, and then the copy becomes the snapshot. So nobody ever sees
//! what is not on disk, and a refused command or a full disk changes nothing.

mod redb;

use self::redb::Disk;
use crate::model::command::{Command, Context};
use crate::model::state::State;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use tokio::sync::watch;

/// The state on disk (redb) and the snapshot of it in memory that everybody reads.
#[derive(Debug)]
pub struct Store {
    /// Held for the whole of a write: commands are carried out one after the other.
    disk: Mutex<Disk>,
    /// Changed only while `disk` is held.
    snapshot: watch::Sender<Arc<State>>,
}

#[derive(Debug, thiserror::Error)]
pub enum WriteError {
    #[error(transparent)]
    Refused(#[from] crate::model::command::Refusal),
    #[error("the store: {0}")]
    Storage(String),
}

impl Store {
    /// Opens the file, or makes it in a folder that exists.
    ///
    /// # Errors
    /// When another netd has it open, when a newer netd wrote it, when it is damaged, and when the disk refuses.
    pub fn open(path: &Path) -> Result<Self, WriteError> {
        let (disk, state) = Disk::open(path)?;
        Ok(Self { disk: Mutex::new(disk), snapshot: watch::Sender::new(Arc::new(state)) })
    }

    /// One transaction: applied, on disk, then visible. Nothing changed on error. A command that changes nothing keeps
    /// the revision and touches no disk. Returns the state after it. Blocks for as long as the disk takes.
    ///
    /// # Errors
    /// When a rule refuses the command, and when the disk refuses.
    pub fn write(&self, command: &Command, context: &Context) -> Result<Arc<State>, WriteError> {
        // A writer that panicked has committed or not; either way the snapshot is what was committed and shown last,
        // and redb has rolled the rest back.
        let mut disk = self.disk.lock().unwrap_or_else(PoisonError::into_inner);
        let old = self.snapshot.borrow().clone();
        let mut new = State::clone(&old);
        new.apply(command, context)?;
        if new.revision == old.revision {
            return Ok(old);
        }
        disk.write(&old, &new)?;
        let new = Arc::new(new);
        self.snapshot.send_replace(Arc::clone(&new));
        Ok(new)
    }

    /// The snapshot, and news of the next ones.
    #[must_use]
    pub fn subscribe(&self) -> watch::Receiver<Arc<State>> {
        self.snapshot.subscribe()
    }
}

#[cfg(test)]
mod tests {
    use super::redb::pretend_schema;
    use super::*;
    use crate::model::command::Unpublish;
    use crate::model::testing::{block, container, context, publish_to, unblock};

    fn publish(name: &str, spec: &str) -> Command {
        crate::model::testing::publish(name, &[spec])
    }

    /// A store in a fresh folder, with a container and two ports.
    fn filled() -> (tempfile::TempDir, std::path::PathBuf, Store) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("state.redb");
        let store = Store::open(&path).unwrap();
        for command in [
            Command::InstallBuiltins,
            Command::CreateContainer(container("web")),
            Command::CreateContainer(container("client")),
            publish("web", "8080-8081:80-81"),
        ] {
            store.write(&command, &context()).unwrap();
        }
        (folder, path, store)
    }

    #[test]
    fn reopening_gives_the_same_state() {
        let (_folder, path, store) = filled();
        let gone = Command::Unpublish {
            container: "web".to_owned(),
            ports: Unpublish::Ports(vec!["8081:81".parse().unwrap()]),
        };
        store.write(&gone, &context()).unwrap();
        store.write(&Command::RemoveContainers(vec!["client".to_owned()]), &context()).unwrap();
        let state = store.subscribe().borrow().clone();
        assert_eq!((state.revision, state.containers.len(), state.publishes.len()), (6, 1, 1));
        drop(store);
        let reopened = Store::open(&path).unwrap();
        assert_eq!(*reopened.subscribe().borrow(), state);
    }

    #[test]
    fn allow_lists_and_the_block_list_are_read_back() {
        let (_folder, path, store) = filled();
        for command in [
            publish_to("client", &["9090:90"], &["10.0.0.0/8", "2001:db8::/32"]),
            block(&["203.0.113.0/24", "2001:db8::/32", "0.0.0.0/0", "::/0"]),
            block(&["203.0.113.7"]),
            unblock(&["2001:db8::/32", "0.0.0.0/0"]),
            publish_to("client", &["9090:90"], &["198.18.0.7"]),
        ] {
            store.write(&command, &context()).unwrap();
        }
        let state = store.subscribe().borrow().clone();
        assert_eq!(*state.blocked, crate::model::testing::prefixes(&["203.0.113.0/24", "203.0.113.7", "::/0"]));
        assert_eq!((state.allow_lists.len(), state.next_allow_list), (1, 3));
        drop(store);
        let reopened = Store::open(&path).unwrap();
        assert_eq!(*reopened.subscribe().borrow(), state);
        assert_eq!(format!("{:?}", state.blocked), r#"{"203.0.113.0/24", "203.0.113.7/32", "::/0"}"#);
    }

    #[test]
    fn a_refused_command_changes_nothing() {
        let (_folder, path, store) = filled();
        let before = store.subscribe().borrow().clone();
        // The second port is taken by "web": the first must not stay behind.
        let refused = store.write(&publish("client", "8079-8080:79-80"), &context());
        assert!(matches!(refused, Err(WriteError::Refused(_))), "{refused:?}");
        assert_eq!(*store.subscribe().borrow(), before);
        drop(store);
        assert_eq!(*Store::open(&path).unwrap().subscribe().borrow(), before);
    }

    #[test]
    fn a_command_that_changes_nothing_wakes_nobody() {
        let (_folder, _path, store) = filled();
        let mut news = store.subscribe();
        news.mark_unchanged();
        let state = store.write(&publish("web", "8080:80"), &context()).unwrap();
        assert_eq!(state.revision, 4);
        assert!(!news.has_changed().unwrap());
    }

    #[test]
    fn a_machine_that_stops_at_any_commit_finds_that_commit() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("state.redb");
        let store = Store::open(&path).unwrap();
        store.write(&Command::InstallBuiltins, &context()).unwrap();
        for round in 0..8 {
            let state = store.write(&Command::CreateContainer(container(&format!("c{round}"))), &context()).unwrap();
            // The file as it is on disk now, without the tidying of an orderly close.
            let copy = folder.path().join(format!("copy{round}.redb"));
            std::fs::copy(&path, &copy).unwrap();
            assert_eq!(*Store::open(&copy).unwrap().subscribe().borrow(), state);
        }
    }

    #[test]
    fn a_second_open_says_who_is_in_the_way() {
        let (_folder, path, _store) = filled();
        let error = Store::open(&path).unwrap_err().to_string();
        let expected = format!(
            "the store: {} is open in another process; another netd of this instance is running: stop it, or use \
             another --instance and --state-dir",
            path.display()
        );
        assert_eq!(error, expected);
    }

    #[test]
    fn what_a_newer_netd_wrote_and_what_is_no_store_is_left_alone() {
        let (_folder, path, store) = filled();
        drop(store);
        pretend_schema(&path, 99);
        let error = Store::open(&path).unwrap_err().to_string();
        assert!(
            error.ends_with("has schema 99, and this netd knows 1: a newer netd wrote it; run that one"),
            "{error}"
        );

        std::fs::write(&path, "this is not a database, and is long enough to be read as the header of one".repeat(99))
            .unwrap();
        let before = std::fs::read(&path).unwrap();
        Store::open(&path).unwrap_err();
        assert_eq!(std::fs::read(&path).unwrap(), before);
    }
}
