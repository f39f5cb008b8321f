//! What do the agent and the keeper of its sockets say to each other?
//!
//! One message is one packet of a `SOCK_SEQPACKET` unix socket: a word and what it needs, as text, and the descriptors
//! beside it (`SCM_RIGHTS`, unix(7)). The keeper may be of another version than the agent: it says so first, and `quit`
//! means the same in all of them.

use super::Tag;
use nix::cmsg_space;
use nix::sys::socket::{ControlMessage, ControlMessageOwned, MsgFlags, recvmsg, sendmsg};
use std::ffi::OsStr;
use std::io::{self, IoSlice, IoSliceMut};
use std::os::fd::{AsFd, AsRawFd as _, FromRawFd as _, OwnedFd, RawFd};
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;

/// Raised with every change of a message but `quit`.
pub const VERSION: u32 = 1;
/// Bytes of a message: the longest path, and the numbers before it.
const MESSAGE_SIZE_MAX: usize = 4096 + 256;

#[derive(Debug)]
pub enum Message {
    /// The keeper, first of all: its version.
    Version(u32),
    /// The sockets of a namespace, UDP and TCP: from the agent to be kept, from the keeper what it has.
    Keep(Tag, [OwnedFd; 2]),
    /// The keeper: that was all.
    All,
    /// The agent: let go of what has this cookie.
    Discard(u64),
    /// The agent: let go of everything, and end.
    Quit,
}

/// Sends the sockets of a namespace.
pub fn send_sockets(to: impl AsFd, tag: &Tag, sockets: [&dyn AsFdDyn; 2]) -> io::Result<()> {
    let Tag { cookie, port, identity: (device, inode), path } = tag;
    let mut text = format!("keep {cookie} {port} {device} {inode} ").into_bytes();
    text.extend(path.as_os_str().as_bytes());
    send(to, &text, &sockets.map(AsFdDyn::raw))
}

/// Anything that has a descriptor.
pub trait AsFdDyn {
    fn raw(&self) -> RawFd;
}

impl<T: AsFd> AsFdDyn for T {
    fn raw(&self) -> RawFd {
        self.as_fd().as_raw_fd()
    }
}

pub fn send_word(to: impl AsFd, word: &str) -> io::Result<()> {
    send(to, word.as_bytes(), &[])
}

fn send(to: impl AsFd, text: &[u8], descriptors: &[RawFd]) -> io::Result<()> {
    let rights = [ControlMessage::ScmRights(descriptors)];
    let rights = if descriptors.is_empty() { &[][..] } else { &rights[..] };
    // Whole or not at all: a packet is never cut.
    sendmsg::<()>(to.as_fd().as_raw_fd(), &[IoSlice::new(text)], rights, MsgFlags::MSG_NOSIGNAL, None)?;
    Ok(())
}

/// The next message; none at the end. What is not understood is an error of the kind `InvalidData`.
pub fn receive(from: impl AsFd) -> io::Result<Option<Message>> {
    let mut text = [0; MESSAGE_SIZE_MAX];
    let mut room = cmsg_space!([RawFd; 2]);
    let mut parts = [IoSliceMut::new(&mut text)];
    let raw = from.as_fd().as_raw_fd();
    let received = recvmsg::<()>(raw, &mut parts, Some(&mut room), MsgFlags::MSG_CMSG_CLOEXEC)?;
    let mut sockets = Vec::new();
    for message in received.cmsgs()? {
        if let ControlMessageOwned::ScmRights(descriptors) = message {
            // SAFETY: the kernel has just made these descriptors for this process, and nobody else knows them.
            sockets.extend(descriptors.into_iter().map(|raw| unsafe { OwnedFd::from_raw_fd(raw) }));
        }
    }
    let size = received.bytes;
    if size == 0 {
        return Ok(None);
    }
    let text = text.get(..size).unwrap_or_default();
    let strange = || io::Error::new(io::ErrorKind::InvalidData, format!("\"{}\" is no message", text.escape_ascii()));
    parse(text, sockets).map(Some).ok_or_else(strange)
}

fn parse(text: &[u8], sockets: Vec<OwnedFd>) -> Option<Message> {
    let mut words = text.splitn(6, |byte| *byte == b' ');
    let word = words.next()?;
    let mut number = || std::str::from_utf8(words.next()?).ok()?.parse::<u64>().ok();
    Some(match word {
        b"version" => Message::Version(u32::try_from(number()?).ok()?),
        b"keep" => {
            let (cookie, port) = (number()?, u16::try_from(number()?).ok()?);
            let identity = (number()?, number()?);
            let path = Path::new(OsStr::from_bytes(words.next()?)).to_owned();
            Message::Keep(Tag { cookie, port, identity, path }, sockets.try_into().ok()?)
        }
        b"all" => Message::All,
        b"discard" => Message::Discard(number()?),
        b"quit" => Message::Quit,
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use nix::sys::socket::{AddressFamily, SockFlag, SockType, socketpair};
    use std::net::{TcpListener, UdpSocket};

    #[test]
    fn sockets_and_words_arrive_as_they_were_sent() {
        let (agent, keeper) =
            socketpair(AddressFamily::Unix, SockType::SeqPacket, None, SockFlag::SOCK_CLOEXEC).expect("a pair");
        let udp = UdpSocket::bind("127.0.0.1:0").expect("a socket");
        let tcp = TcpListener::bind("127.0.0.1:0").expect("a socket");
        let tag = Tag { cookie: 7, port: 53, identity: (4, 5), path: "/run/with a space/web".into() };
        send_sockets(&agent, &tag, [&udp, &tcp]).expect("sent");
        send_word(&agent, "discard 7").expect("sent");
        send_word(&agent, "version 3").expect("sent");
        send_word(&agent, "nonsense").expect("sent");
        let Ok(Some(Message::Keep(seen, [first, second]))) = receive(&keeper) else { panic!("no sockets") };
        assert_eq!(seen, tag);
        assert_eq!(UdpSocket::from(first).local_addr().ok(), udp.local_addr().ok());
        assert_eq!(TcpListener::from(second).local_addr().ok(), tcp.local_addr().ok());
        assert!(matches!(receive(&keeper), Ok(Some(Message::Discard(7)))));
        assert!(matches!(receive(&keeper), Ok(Some(Message::Version(3)))));
        assert_eq!(receive(&keeper).expect_err("nonsense").kind(), io::ErrorKind::InvalidData);
        drop(agent);
        assert!(matches!(receive(&keeper), Ok(None)));
    }
}
