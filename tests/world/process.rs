//! How is a program that a test started watched and ended?

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use std::fmt;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::os::unix::process::ExitStatusExt;
use std::process::{Child, ChildStdout, ExitStatus, Output};
use std::time::Duration;

/// How a program ended, and what it said.
#[derive(Clone, Debug)]
pub struct Finished {
    /// The exit code; 128 + the signal's number when a signal ended it, as a shell tells it; 127 when it did not start.
    pub code: i32,
    pub stdout: String,
    pub stderr: String,
}

impl Finished {
    #[must_use]
    pub const fn is_ok(&self) -> bool {
        self.code == 0
    }
}

impl fmt::Display for Finished {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "exit code {}\n{}{}", self.code, self.stdout, self.stderr)
    }
}

impl From<io::Result<Output>> for Finished {
    fn from(output: io::Result<Output>) -> Self {
        match output {
            Ok(output) => Self {
                code: code_of(output.status),
                stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
                stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
            },
            Err(error) => Self { code: 127, stdout: String::new(), stderr: error.to_string() },
        }
    }
}

fn code_of(status: ExitStatus) -> i32 {
    status.code().unwrap_or_else(|| 128 + status.signal().unwrap_or(0))
}

/// A running program. Dropping it kills it, and waits until it is gone.
#[derive(Debug)]
pub struct Process {
    child: Child,
    stdout: Option<BufReader<ChildStdout>>,
}

impl Process {
    pub(super) fn new(mut child: Child) -> Self {
        let stdout = child.stdout.take().map(BufReader::new);
        Self { child, stdout }
    }

    #[must_use]
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Sends a signal. A program that has ended already is no error.
    pub fn signal(&self, signal: Signal) {
        let _ = kill(pid(&self.child), signal);
    }

    pub fn is_running(&mut self) -> bool {
        matches!(self.child.try_wait(), Ok(None))
    }

    /// Writes a line to its standard input.
    #[track_caller]
    pub fn say(&mut self, line: &str) {
        let stdin = self.child.stdin.as_mut().expect("standard input is open");
        writeln!(stdin, "{line}").expect("the program reads its standard input");
    }

    /// The next line of its standard output, without the line's end; empty at its end.
    #[track_caller]
    pub fn line(&mut self) -> String {
        let mut line = String::new();
        self.stdout.as_mut().expect("standard output is open").read_line(&mut line).expect("a line of text");
        line.trim_end().to_owned()
    }

    /// Closes its standard input and waits for its end.
    pub fn finish(mut self) -> Finished {
        drop(self.child.stdin.take());
        let stderr = self.child.stderr.take();
        let errors = std::thread::spawn(move || text_of(stderr));
        let stdout = text_of(self.stdout.take());
        let code = self.child.wait().map_or(127, code_of);
        Finished { code, stdout, stderr: errors.join().unwrap_or_default() }
    }

    /// Asks it to end with SIGTERM; whether it did within `timeout`.
    pub fn terminate(&mut self, timeout: Duration) -> bool {
        self.signal(Signal::SIGTERM);
        crate::holds_within(timeout, || !self.is_running())
    }

    /// Ends it at once, as a crash would.
    pub fn kill(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn text_of(stream: Option<impl Read>) -> String {
    let mut text = Vec::new();
    if let Some(mut stream) = stream {
        let _ = stream.read_to_end(&mut text);
    }
    String::from_utf8_lossy(&text).into_owned()
}

fn pid(child: &Child) -> Pid {
    Pid::from_raw(i32::try_from(child.id()).expect("a process id"))
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
    }
}
