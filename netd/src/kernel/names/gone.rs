//! When is a namespace gone from its path, although a socket keeps it alive?
//!
//! The kernel says nothing of it: the links in the namespace stay as long as the namespace does. But the file at its path
//! is removed, and inotify(7) tells of that. Paths in `/proc`, where it does not, are found gone by the periodic look.

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::inotify::{AddWatchFlags, InitFlags, Inotify, InotifyEvent, WatchDescriptor};
use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::os::fd::AsFd as _;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use tokio::sync::mpsc;

const LOSSES: AddWatchFlags = AddWatchFlags::IN_DELETE
    .union(AddWatchFlags::IN_MOVED_FROM)
    .union(AddWatchFlags::IN_DELETE_SELF)
    .union(AddWatchFlags::IN_MOVE_SELF);

/// Watches for as long as it lives, on a thread of its own.
#[derive(Debug)]
pub struct Gone {
    inotify: Arc<Inotify>,
    /// The folders, each with what is watched in it.
    folders: BTreeMap<PathBuf, (WatchDescriptor, BTreeSet<PathBuf>)>,
    /// All that is watched, for the thread.
    paths: Arc<Mutex<BTreeSet<PathBuf>>>,
    /// Dropped to end the thread.
    stop: Option<UnixStream>,
    thread: Option<JoinHandle<()>>,
}

impl Gone {
    pub fn open(changed: mpsc::Sender<()>) -> io::Result<Self> {
        let inotify = Arc::new(Inotify::init(InitFlags::IN_CLOEXEC | InitFlags::IN_NONBLOCK)?);
        let paths = Arc::default();
        let (stop, stopped) = UnixStream::pair()?;
        let (ears, watched) = (Arc::clone(&inotify), Arc::clone(&paths));
        let thread = std::thread::Builder::new().name("names-gone".into()).spawn(move || {
            while is_told(&ears, &stopped) {
                let events = ears.read_events().unwrap_or_default();
                let paths: &Mutex<BTreeSet<PathBuf>> = &watched;
                let paths = paths.lock().unwrap_or_else(PoisonError::into_inner);
                // An event without a name is about the folder itself; IN_IGNORED answers our own `forget`.
                let is_watched = |name: &std::ffi::OsStr| paths.iter().any(|path| path.file_name() == Some(name));
                let matters = |event: &InotifyEvent| {
                    !event.mask.contains(AddWatchFlags::IN_IGNORED) && event.name.as_deref().is_none_or(is_watched)
                };
                if events.iter().any(matters) {
                    // Full: it will look anyway. Closed: nobody wants to know.
                    let _full_or_closed = changed.try_send(());
                }
            }
        })?;
        Ok(Self { inotify, folders: BTreeMap::new(), paths, stop: Some(stop), thread: Some(thread) })
    }

    pub fn watch(&mut self, path: &Path) {
        let Some(folder) = path.parent() else { return };
        if !self.folders.contains_key(folder) {
            match self.inotify.add_watch(folder, LOSSES) {
                Ok(descriptor) => drop(self.folders.insert(folder.to_owned(), (descriptor, BTreeSet::new()))),
                Err(error) => {
                    tracing::debug!(folder = %folder.display(), %error, "not watched; looked at periodically");
                    return;
                }
            }
        }
        if let Some((_, paths)) = self.folders.get_mut(folder) {
            paths.insert(path.to_owned());
        }
        self.paths.lock().unwrap_or_else(PoisonError::into_inner).insert(path.to_owned());
    }

    pub fn forget(&mut self, path: &Path) {
        self.paths.lock().unwrap_or_else(PoisonError::into_inner).remove(path);
        let Some(folder) = path.parent() else { return };
        let Some((descriptor, paths)) = self.folders.get_mut(folder) else { return };
        paths.remove(path);
        if paths.is_empty() {
            // The folder may be gone, and the watch with it.
            let _gone = self.inotify.rm_watch(*descriptor);
            self.folders.remove(folder);
        }
    }
}

/// Waits; false when it is over.
fn is_told(inotify: &Inotify, stopped: &UnixStream) -> bool {
    let mut asked = [PollFd::new(inotify.as_fd(), PollFlags::POLLIN), PollFd::new(stopped.as_fd(), PollFlags::POLLIN)];
    loop {
        match poll(&mut asked, PollTimeout::NONE) {
            Err(nix::errno::Errno::EINTR) => {}
            Err(_) => return false,
            Ok(_) => return asked[1].any() == Some(false),
        }
    }
}

impl Drop for Gone {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            // A panic of it has been printed already.
            drop(thread.join());
        }
    }
}
