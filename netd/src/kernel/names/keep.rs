//! How does the agent give its sockets to the keeper, and get them back?
//!
//! The keeper is a convenience: without it names are answered all the same, and what is asked during a restart of the
//! agent is refused instead of answered late. So nothing here is an error of a container; it is logged, and tried again at
//! the next look.

use super::keeper::VERB;
use super::wire::{self, Message, VERSION};
use super::{Listener, Tag};
use nix::sys::socket::{
    AddressFamily, Backlog, SockFlag, SockType, UnixAddr, bind, connect, listen, setsockopt, socket, sockopt,
};
use nix::sys::stat::{Mode, fchmod};
use nix::sys::time::TimeVal;
use std::collections::BTreeSet;
use std::io;
use std::os::fd::{AsRawFd as _, OwnedFd};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;

/// How long the keeper may take for one message.
const PATIENCE: TimeVal = TimeVal::new(2, 0);
/// Agents that wait to be greeted.
const BACKLOG: i32 = 8;

/// The sockets of a namespace as they come back.
pub type Kept = (Tag, [OwnedFd; 2]);

#[derive(Debug)]
pub struct Keep {
    path: PathBuf,
    program: Option<PathBuf>,
    /// To the keeper; none: there is none.
    connection: Option<OwnedFd>,
    /// The cookies of what it has.
    kept: BTreeSet<u64>,
    /// One that this agent has started.
    child: Option<Child>,
    has_warned: bool,
}

impl Keep {
    /// What a former agent's keeper has, if there is one.
    pub fn take_back(path: PathBuf, program: Option<PathBuf>) -> (Self, Vec<Kept>) {
        let connected = call(&path);
        let mut keep = Self { path, program, connection: None, kept: BTreeSet::new(), child: None, has_warned: false };
        match connected {
            Ok((connection, kept)) => {
                keep.connection = Some(connection);
                keep.kept = kept.iter().map(|(tag, _)| tag.cookie).collect();
                (keep, kept)
            }
            Err(error) => {
                if !matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused) {
                    tracing::warn!(%error, "what the keeper of name servers has is not to be had");
                }
                (keep, Vec::new())
            }
        }
    }

    /// Gives the sockets, unless they are kept already.
    pub fn keep(&mut self, listener: &Listener) {
        if self.program.is_none() || self.kept.contains(&listener.tag.cookie) {
            return;
        }
        let kept =
            self.connection().and_then(|to| wire::send_sockets(to, &listener.tag, [&listener.udp, &listener.tcp]));
        match kept {
            Ok(()) => {
                self.kept.insert(listener.tag.cookie);
                self.has_warned = false;
            }
            Err(error) => self.lost(&error),
        }
    }

    /// Has the keeper let go of them.
    pub fn discard(&mut self, cookie: u64) {
        if self.kept.remove(&cookie)
            && let Some(connection) = &self.connection
            && let Err(error) = wire::send_word(connection, &format!("discard {cookie}"))
        {
            self.lost(&error);
        }
    }

    /// Gives all of them anew when the keeper is gone.
    pub fn revive<'a>(&mut self, listeners: impl Iterator<Item = &'a Arc<Listener>>) {
        if self.connection.as_ref().is_some_and(is_closed) {
            self.lost(&io::ErrorKind::ConnectionReset.into());
        }
        listeners.for_each(|listener| self.keep(listener));
    }

    fn lost(&mut self, error: &io::Error) {
        if !self.has_warned {
            tracing::warn!(%error, "the keeper of name servers is gone; it is started again");
            self.has_warned = true;
        }
        self.connection = None;
        self.kept.clear();
        // It may have ended, and is not to stay a zombie.
        if self.child.as_mut().is_some_and(|child| matches!(child.try_wait(), Ok(Some(_)))) {
            self.child = None;
        }
    }

    fn connection(&mut self) -> io::Result<&OwnedFd> {
        let connection = match self.connection.take() {
            Some(connection) => connection,
            None => self.start()?,
        };
        Ok(self.connection.insert(connection))
    }

    fn start(&mut self) -> io::Result<OwnedFd> {
        let program = self.program.as_ref().ok_or(io::ErrorKind::NotFound)?;
        let listener = seqpacket()?;
        // Of the file that `bind` makes (unix(7)): nobody but root may call.
        fchmod(&listener, Mode::S_IRUSR | Mode::S_IWUSR)?;
        super::super::pins::remove_file(&self.path)?;
        bind(listener.as_raw_fd(), &UnixAddr::new(&self.path)?)?;
        listen(&listener, Backlog::new(BACKLOG)?)?;
        let child = Command::new(program)
            .arg0("netd")
            .arg(VERB)
            // What ends the agent's terminal is not for it, and no folder stays busy for it.
            .process_group(0)
            .current_dir("/")
            .env_clear()
            .stdin(Stdio::from(listener))
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()?;
        self.child = Some(child);
        let (connection, _nothing) = call(&self.path)?;
        Ok(connection)
    }
}

/// Ends the keeper at `path`, if there is one.
pub fn quit(path: &Path) -> io::Result<()> {
    match dial(path) {
        Ok(connection) => {
            match wire::send_word(&connection, "quit") {
                // It was just ending by itself.
                Err(error) if matches!(error.kind(), io::ErrorKind::BrokenPipe | io::ErrorKind::ConnectionReset) => {}
                told => told?,
            }
            // It says what it has, and then nothing more.
            while !matches!(wire::receive(&connection), Ok(None) | Err(_)) {}
        }
        Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused) => {}
        Err(error) => return Err(error),
    }
    super::super::pins::remove_file(path)
}

/// Connects, and hears what the keeper has. One of another version is told to end.
fn call(path: &Path) -> io::Result<(OwnedFd, Vec<Kept>)> {
    let connection = dial(path)?;
    let ended = || io::Error::from(io::ErrorKind::ConnectionReset);
    match wire::receive(&connection)?.ok_or_else(ended)? {
        Message::Version(VERSION) => {}
        other => {
            wire::send_word(&connection, "quit")?;
            return Err(io::Error::other(format!("it is another version's ({other:?}), and ends")));
        }
    }
    let mut kept = Vec::new();
    loop {
        match wire::receive(&connection)?.ok_or_else(ended)? {
            Message::Keep(tag, sockets) => kept.push((tag, sockets)),
            Message::All => return Ok((connection, kept)),
            Message::Version(_) | Message::Discard(_) | Message::Quit => {}
        }
    }
}

fn dial(path: &Path) -> io::Result<OwnedFd> {
    let connection = seqpacket()?;
    setsockopt(&connection, sockopt::ReceiveTimeout, &PATIENCE)?;
    setsockopt(&connection, sockopt::SendTimeout, &PATIENCE)?;
    connect(connection.as_raw_fd(), &UnixAddr::new(path)?)?;
    Ok(connection)
}

fn seqpacket() -> io::Result<OwnedFd> {
    Ok(socket(AddressFamily::Unix, SockType::SeqPacket, SockFlag::SOCK_CLOEXEC, None)?)
}

/// The keeper says nothing of itself after its greeting: what can be read is the end.
fn is_closed(connection: &OwnedFd) -> bool {
    use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
    use std::os::fd::AsFd as _;
    let mut asked = [PollFd::new(connection.as_fd(), PollFlags::POLLIN)];
    poll(&mut asked, PollTimeout::ZERO).is_ok_and(|ready| ready > 0)
}
