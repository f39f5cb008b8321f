//! How does a test act inside a network namespace?

use super::process::{Finished, Process};
use nix::sched::{CloneFlags, setns, unshare};
use std::ffi::OsStr;
use std::fs::{self, File};
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;

/// A network namespace, and the cgroup of the programs that are started in it.
///
/// It is held by a file descriptor and not by a mount, so that nothing is left behind even when the tests are killed.
#[derive(Clone, Debug)]
pub struct Place {
    pub(super) name: String,
    netns: Arc<OwnedFd>,
    cgroup: Option<PathBuf>,
}

impl Place {
    /// A new and empty namespace, with its loopback device up.
    #[must_use]
    pub fn new(name: &str, cgroup: Option<&Path>) -> Self {
        let netns = std::thread::spawn(|| {
            unshare(CloneFlags::CLONE_NEWNET).expect("a new network namespace: are you root?");
            File::open("/proc/thread-self/ns/net").expect("the new namespace's file")
        })
        .join()
        .expect("the thread that made the namespace");
        let place = Self { name: name.to_owned(), netns: Arc::new(netns.into()), cgroup: cgroup.map(Path::to_owned) };
        place.ok(["ip", "link", "set", "lo", "up"]);
        place
    }

    /// The namespace that is kept by the file at `path`.
    #[must_use]
    pub fn open(name: &str, path: &Path, cgroup: Option<&Path>) -> Self {
        let netns = File::open(path).unwrap_or_else(|error| panic!("namespace {}: {error}", path.display()));
        Self { name: name.to_owned(), netns: Arc::new(netns.into()), cgroup: cgroup.map(Path::to_owned) }
    }

    /// The same, if there is such a namespace.
    #[must_use]
    pub fn try_open(name: &str, path: &Path) -> Option<Self> {
        let netns = File::open(path).ok()?;
        setns_works(&netns).then(|| Self { name: name.to_owned(), netns: Arc::new(netns.into()), cgroup: None })
    }

    /// A path at which this process and its children find the namespace, as `ip link set … netns PATH` wants it.
    #[must_use]
    pub fn path(&self) -> String {
        format!("/proc/{}/fd/{}", std::process::id(), self.netns.as_raw_fd())
    }

    /// Runs `action` on a thread inside the namespace. Sockets that it opens stay there when it hands them out.
    pub fn run<T: Send>(&self, action: impl FnOnce() -> T + Send) -> T {
        let netns = &self.netns;
        let run = move || {
            setns(netns, CloneFlags::CLONE_NEWNET).expect("entering a namespace");
            action()
        };
        match std::thread::scope(|scope| scope.spawn(run).join()) {
            Ok(value) => value,
            Err(panic) => std::panic::resume_unwind(panic),
        }
    }

    /// Starts a program inside; it is ended when the handle is dropped.
    pub fn start<S: AsRef<OsStr>>(&self, words: impl IntoIterator<Item = S>) -> Process {
        self.spawn(self.command(words), None)
    }

    /// As [`Self::start`], with its standard error in a file.
    pub(super) fn start_logged<S: AsRef<OsStr>>(&self, words: impl IntoIterator<Item = S>, log: File) -> Process {
        self.spawn(self.command(words), Some(log))
    }

    /// Runs a program inside to its end.
    pub fn exec<S: AsRef<OsStr>>(&self, words: impl IntoIterator<Item = S>) -> Finished {
        let mut command = self.command(words);
        self.run(move || Finished::from(command.stdin(Stdio::null()).output()))
    }

    /// Runs a program inside that must succeed; its standard output.
    #[track_caller]
    pub fn ok<S: AsRef<OsStr>>(&self, words: impl IntoIterator<Item = S>) -> String {
        let words: Vec<_> = words.into_iter().map(|word| word.as_ref().to_owned()).collect();
        let finished = self.exec(&words);
        assert!(finished.is_ok(), "in {}, {words:?} failed: {finished}", self.name);
        finished.stdout
    }

    /// Runs a line of shell inside that must succeed; its standard output.
    #[track_caller]
    pub fn sh(&self, script: &str) -> String {
        self.ok(["sh", "-ec", script])
    }

    /// Writes a sysctl of the namespace, named by its path below `/proc/sys`.
    #[track_caller]
    pub fn sysctl(&self, path: &str, value: &str) {
        let file = Path::new("/proc/sys").join(path);
        let written = self.run(|| fs::write(&file, value));
        written.unwrap_or_else(|error| panic!("in {}, {path}={value}: {error}", self.name));
    }

    fn command<S: AsRef<OsStr>>(&self, words: impl IntoIterator<Item = S>) -> Command {
        let mut words = words.into_iter();
        let program = words.next().expect("a program to run");
        let mut command = match &self.cgroup {
            None => Command::new(program),
            // The shell moves itself into the cgroup and becomes the program, so its process id is the program's.
            Some(cgroup) => {
                let mut command = Command::new("sh");
                let procs = cgroup.join("cgroup.procs");
                command.args(["-c", r#"echo 0 >"$0" && exec "$@""#]).arg(procs).arg(program);
                command
            }
        };
        command.args(words);
        command
    }

    fn spawn(&self, mut command: Command, log: Option<File>) -> Process {
        command.stdin(Stdio::piped()).stdout(Stdio::piped());
        match log {
            Some(log) => command.stderr(log),
            None => command.stderr(Stdio::piped()),
        };
        let what = format!("{command:?}");
        let child = self.run(move || command.spawn());
        Process::new(child.unwrap_or_else(|error| panic!("in {}, {what}: {error}", self.name)))
    }
}

/// Whether the file is a namespace's, and not an empty one where a namespace was or will be mounted.
fn setns_works(file: &File) -> bool {
    std::thread::scope(|scope| scope.spawn(|| setns(file, CloneFlags::CLONE_NEWNET).is_ok()).join().unwrap_or(false))
}
