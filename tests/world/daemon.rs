//! How does a world's netd start, stop and die?

use super::{Finished, Process, World, binary};
use std::ffi::OsString;
use std::fs::{self, OpenOptions};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::sync::{MutexGuard, PoisonError};

/// How long netd may take until it answers: loading the programs is most of it.
const START_MAX: std::time::Duration = crate::seconds(20);

impl World {
    /// Starts netd and waits until it is ready.
    #[track_caller]
    pub fn start(&self) {
        self.launch();
        let ready = crate::holds_within(START_MAX, || {
            UnixStream::connect(self.socket()).is_ok() && self.netctl(["status"]).is_ok() || !self.runs()
        });
        assert!(ready && self.runs(), "netd did not become ready; its log follows");
    }

    fn daemon(&self) -> MutexGuard<'_, Option<Process>> {
        // A test that panics elsewhere leaves the handle as it is.
        self.daemon.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Starts netd without waiting.
    #[track_caller]
    pub fn launch(&self) {
        assert!(!self.runs(), "netd runs already");
        let log = OpenOptions::new().create(true).append(true).open(self.log_file()).expect("a log file");
        let mut words = self.words("run");
        words.extend(["--log-level".into(), self.log_level.into()]);
        let process = self.host.start_logged(words, log);
        *self.daemon() = Some(process);
    }

    /// Whether netd's process is alive.
    #[must_use]
    pub fn runs(&self) -> bool {
        self.daemon().as_mut().is_some_and(Process::is_running)
    }

    #[must_use]
    pub fn pid(&self) -> u32 {
        self.daemon().as_ref().map(Process::pid).expect("netd runs")
    }

    /// Ends netd as a crash would.
    pub fn kill9(&self) {
        if let Some(mut process) = self.daemon().take() {
            process.kill();
        }
    }

    /// Asks netd to end; whether it did so within ten seconds. Its traffic goes on.
    pub fn stop(&self) -> bool {
        let process = self.daemon().take();
        process.is_none_or(|mut process| process.terminate(crate::seconds(10)))
    }

    #[track_caller]
    pub fn restart(&self) {
        assert!(self.stop(), "netd did not end on SIGTERM");
        self.start();
    }

    /// Another verb of `netd`, with this world's folders.
    pub fn netd<'a>(&self, verb: impl IntoIterator<Item = &'a str>) -> Finished {
        let mut verb = verb.into_iter();
        let mut words = self.words(verb.next().expect("a verb"));
        words.extend(verb.map(OsString::from));
        self.host.exec(words)
    }

    /// The command line of a verb.
    #[must_use]
    pub fn words(&self, verb: &str) -> Vec<OsString> {
        let mut words: Vec<OsString> = vec![binary("netd").into(), verb.into()];
        let options: [(&str, OsString); 8] = [
            ("--instance", self.instance.clone().into()),
            ("--state-dir", self.folder.join("state").into()),
            ("--run-dir", self.folder.join("run").into()),
            ("--netns-dir", self.netns_folder().into()),
            ("--bpffs", self.bpffs().into()),
            ("--resolv-conf", self.folder.join("resolv.conf").into()),
            ("--cgroup", self.cgroup.clone().into()),
            ("--flows-max", self.flows_max.to_string().into()),
        ];
        words.extend(options.into_iter().flat_map(|(option, value)| [option.into(), value]));
        words
    }

    #[must_use]
    pub fn socket(&self) -> PathBuf {
        self.folder.join("run/netd.sock")
    }

    fn log_file(&self) -> PathBuf {
        self.folder.join("netd.log")
    }

    /// All that netd has written so far, over all its lives in this world.
    #[must_use]
    pub fn log(&self) -> String {
        fs::read_to_string(self.log_file()).unwrap_or_default()
    }

    /// How many steps netd planned on its last start.
    #[must_use]
    #[track_caller]
    pub fn steps_planned_on_start(&self) -> u64 {
        let log = self.log();
        let words = log.rsplit_once("start: ").and_then(|(_, rest)| rest.split_once(" steps planned"));
        let steps = words.and_then(|(count, _)| count.trim().parse().ok());
        steps.unwrap_or_else(|| panic!("netd's log does not say how many steps it planned:\n{log}"))
    }

    pub(super) fn print_log(&self) {
        let log = self.log();
        let lines: Vec<&str> = log.lines().collect();
        let from = lines.len().saturating_sub(80);
        eprintln!("--- the end of netd's log ---\n{}\n---", lines[from..].join("\n"));
    }
}
