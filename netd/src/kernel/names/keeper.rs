//! What does the process do that keeps the name servers' sockets while no agent is there?
//!
//! Nothing but hold descriptors: no thread, no runtime, no file. It answers one agent at a time, on the listening socket
//! that it was started with as its standard input; a newer agent takes the place of an older one. It ends when it is told
//! to, or when it holds nothing and no agent is there.

use super::Tag;
use super::wire::{self, Message, VERSION};
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::socket::{SockFlag, accept4};
use std::collections::BTreeMap;
use std::io;
use std::os::fd::{AsFd, AsRawFd as _, BorrowedFd, FromRawFd as _, OwnedFd};

/// The verb of netd that is this process. Not for people.
pub const VERB: &str = "keep-names";
/// How long the agent that started it may take to come, in milliseconds.
const FIRST_AGENT_MS: u16 = 10_000;

/// What is kept, by cookie.
type Kept = BTreeMap<u64, (Tag, [OwnedFd; 2])>;

/// Keeps until it is over.
///
/// # Errors
/// When the standard input is no listening socket.
pub fn run() -> io::Result<()> {
    let listener = io::stdin().as_fd().try_clone_to_owned()?;
    let mut kept = Kept::new();
    let mut agent = None;
    let mut is_first = true;
    loop {
        let lonely = agent.is_none() && kept.is_empty();
        let timeout = match (lonely, is_first) {
            (true, true) => PollTimeout::from(FIRST_AGENT_MS),
            (true, false) => return Ok(()),
            (false, _) => PollTimeout::NONE,
        };
        let (is_called, is_spoken_to) = wait(&listener, agent.as_ref(), timeout)?;
        if !is_called && !is_spoken_to && lonely {
            return Ok(());
        }
        if is_spoken_to && let Some(speaker) = &agent {
            match wire::receive(speaker) {
                Ok(Some(Message::Keep(tag, sockets))) => drop(kept.insert(tag.cookie, (tag, sockets))),
                Ok(Some(Message::Discard(cookie))) => drop(kept.remove(&cookie)),
                Ok(Some(Message::Quit)) => return Ok(()),
                Ok(Some(Message::Version(_) | Message::All)) => {}
                Ok(None) | Err(_) => agent = None,
            }
        }
        if is_called {
            agent = greet(&listener, &kept).ok();
            is_first = false;
        }
    }
}

/// Whether an agent calls, and whether the present one says something.
fn wait(listener: &OwnedFd, agent: Option<&OwnedFd>, timeout: PollTimeout) -> io::Result<(bool, bool)> {
    let of = |fd: BorrowedFd<'_>, asked: &[PollFd<'_>]| {
        asked.iter().any(|one| one.as_fd().as_raw_fd() == fd.as_raw_fd() && one.any() == Some(true))
    };
    let watched = [Some(listener), agent].into_iter().flatten();
    let mut asked: Vec<PollFd<'_>> = watched.map(|fd| PollFd::new(fd.as_fd(), PollFlags::POLLIN)).collect();
    match poll(&mut asked, timeout) {
        Ok(_) => Ok((of(listener.as_fd(), &asked), agent.is_some_and(|agent| of(agent.as_fd(), &asked)))),
        Err(Errno::EINTR) => Ok((false, false)),
        Err(errno) => Err(errno.into()),
    }
}

/// Tells an agent what there is.
fn greet(listener: &OwnedFd, kept: &Kept) -> io::Result<OwnedFd> {
    let raw = accept4(listener.as_raw_fd(), SockFlag::SOCK_CLOEXEC)?;
    // SAFETY: `accept4` has just made it, and nobody else knows it.
    let agent = unsafe { OwnedFd::from_raw_fd(raw) };
    wire::send_word(&agent, &format!("version {VERSION}"))?;
    for (tag, [udp, tcp]) in kept.values() {
        wire::send_sockets(&agent, tag, [udp, tcp])?;
    }
    wire::send_word(&agent, "all")?;
    Ok(agent)
}
