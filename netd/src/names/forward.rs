//! How is somebody else asked?
//!
//! The question goes on byte by byte under another number, from a socket of its own whose port the kernel picks: an answer
//! that nobody could guess the number, port and question of is the server's. A server that does not answer, or says that it
//! cannot, makes room for the next; each is asked twice.

use super::answer::{Forward, HEADER_SIZE, Transport, UDP_SIZE_MAX};
use std::fs::File;
use std::io::{self, Read as _};
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpStream, UdpSocket};
use tokio::time::{Instant, timeout, timeout_at};

/// How long all servers together may take: a little less than the C library waits (resolv.conf(5), `timeout`).
const PATIENCE: Duration = Duration::from_millis(4_500);
/// How often each server is asked.
const ROUNDS: u32 = 2;

/// Asks others.
#[derive(Debug)]
pub struct Forwarder {
    randomness: File,
}

/// A question, and where it may go.
#[derive(Clone, Debug)]
pub struct Question {
    pub bytes: Vec<u8>,
    pub forward: Forward,
    pub transport: Transport,
}

impl Forwarder {
    /// # Errors
    /// When there is no randomness.
    pub fn new() -> io::Result<Self> {
        Ok(Self { randomness: File::open("/dev/urandom")? })
    }

    /// The answer of one of these servers, for the client that asked; none when none gave one.
    pub async fn ask(&self, question: &Question, servers: &[SocketAddr]) -> Option<Vec<u8>> {
        let end = Instant::now() + PATIENCE;
        let tries = ROUNDS * u32::try_from(servers.len()).unwrap_or(u32::MAX).max(1);
        let patience = PATIENCE / tries;
        let mut lines: Vec<Option<(UdpSocket, Vec<u8>)>> = servers.iter().map(|_| None).collect();
        let mut last_resort = None;
        for _ in 0..ROUNDS {
            for (server, line) in servers.iter().zip(&mut lines) {
                let asked = self.ask_one(question, *server, line);
                let until = end.min(Instant::now() + patience);
                match timeout_at(until, asked).await {
                    Ok(Ok(answer)) if is_helpful(&answer) => return self.fitted(question, *server, answer, end).await,
                    Ok(Ok(answer)) => last_resort = Some(answer),
                    Ok(Err(error)) => {
                        tracing::debug!(%server, %error, "a server of others' names does not answer");
                        *line = None;
                    }
                    // A late answer is taken in the second round.
                    Err(_late) => {}
                }
            }
            if last_resort.is_some() {
                break;
            }
        }
        last_resort.map(|answer| own_number(question, answer))
    }

    /// The first time from a socket of its own; the second time the same again, so that a late answer counts too.
    async fn ask_one(
        &self,
        question: &Question,
        server: SocketAddr,
        line: &mut Option<(UdpSocket, Vec<u8>)>,
    ) -> io::Result<Vec<u8>> {
        let (socket, asked) = if let Some(line) = line {
            line
        } else {
            let any = if server.is_ipv4() { Ipv4Addr::UNSPECIFIED.into() } else { Ipv6Addr::UNSPECIFIED.into() };
            let socket = UdpSocket::bind(SocketAddr::new(any, 0)).await?;
            socket.connect(server).await?;
            line.insert((socket, self.renumbered(question)?))
        };
        socket.send(asked).await?;
        // One more than is taken: a longer one is known as such.
        let mut answer = vec![0; usize::from(UDP_SIZE_MAX) + 1];
        loop {
            let size = socket.recv(&mut answer).await?;
            if answers(asked, question.forward.question_size, answer.get(..size).unwrap_or_default()) {
                answer.truncate(size);
                return Ok(answer);
            }
        }
    }

    /// What the client can take of an answer. One that came cut is asked for again over TCP by a client that came so.
    async fn fitted(&self, question: &Question, server: SocketAddr, answer: Vec<u8>, end: Instant) -> Option<Vec<u8>> {
        let is_cut = is_truncated(&answer) || answer.len() > usize::from(UDP_SIZE_MAX);
        let answer = match question.transport {
            Transport::Tcp if is_cut => match timeout_at(end, self.ask_by_tcp(question, server)).await {
                Ok(Ok(whole)) => whole,
                Ok(Err(error)) => {
                    tracing::debug!(%server, %error, "a whole answer is not to be had");
                    return None;
                }
                Err(_late) => return None,
            },
            Transport::Udp if answer.len() > question.forward.limit => cut(question, answer),
            Transport::Udp | Transport::Tcp => answer,
        };
        Some(own_number(question, answer))
    }

    async fn ask_by_tcp(&self, question: &Question, server: SocketAddr) -> io::Result<Vec<u8>> {
        let mut stream = TcpStream::connect(server).await?;
        let asked = self.renumbered(question)?;
        stream.write_all(&framed(&asked)).await?;
        let size = stream.read_u16().await?;
        let mut answer = vec![0; usize::from(size)];
        stream.read_exact(&mut answer).await?;
        if answers(&asked, question.forward.question_size, &answer) {
            return Ok(answer);
        }
        Err(io::Error::new(io::ErrorKind::InvalidData, "it answers something else"))
    }

    fn renumbered(&self, question: &Question) -> io::Result<Vec<u8>> {
        let mut asked = question.bytes.clone();
        let number = asked.get_mut(..2).ok_or(io::ErrorKind::InvalidData)?;
        (&self.randomness).read_exact(number)?;
        Ok(asked)
    }
}

/// A message as TCP carries it (RFC 1035 section 4.2.2), in one piece.
#[must_use]
pub fn framed(message: &[u8]) -> Vec<u8> {
    let size = u16::try_from(message.len()).unwrap_or(u16::MAX);
    let mut framed = size.to_be_bytes().to_vec();
    framed.extend(message.iter().take(usize::from(size)));
    framed
}

/// Whether it is the answer to what was asked: the number, that it is an answer, the kind, and the question, in which some
/// servers change the case of letters.
fn answers(asked: &[u8], question_size: usize, answer: &[u8]) -> bool {
    let part = |of: &[u8], from: usize, size: usize| of.get(from..from + size).map(<[u8]>::to_ascii_lowercase);
    let flags = |of: &[u8]| of.get(2).map(|flags| flags & 0xf8);
    let count = |of: &[u8]| of.get(4..6).map(<[u8]>::to_vec);
    asked.get(..2) == answer.get(..2)
        && flags(answer) == flags(asked).map(|flags| flags | 0x80)
        && count(answer) == count(asked)
        && part(answer, HEADER_SIZE, question_size) == part(asked, HEADER_SIZE, question_size)
        && answer.len() >= HEADER_SIZE + question_size
}

/// SERVFAIL, NOTIMP and REFUSED (RFC 1035 section 4.1.1): another server may do better.
fn is_helpful(answer: &[u8]) -> bool {
    answer.get(3).is_some_and(|flags| !matches!(flags & 0x0f, 2 | 4 | 5))
}

fn is_truncated(answer: &[u8]) -> bool {
    answer.get(2).is_some_and(|flags| flags & 0x02 != 0)
}

/// The header and the question alone, with word that there is more.
fn cut(question: &Question, mut answer: Vec<u8>) -> Vec<u8> {
    answer.truncate(HEADER_SIZE + question.forward.question_size);
    if let Some(flags) = answer.get_mut(2) {
        *flags |= 0x02;
    }
    if let Some(counts) = answer.get_mut(6..HEADER_SIZE) {
        counts.fill(0);
    }
    answer
}

fn own_number(question: &Question, mut answer: Vec<u8>) -> Vec<u8> {
    if let (Some(number), Some(own)) = (answer.get_mut(..2), question.bytes.get(..2)) {
        number.copy_from_slice(own);
    }
    answer
}

/// Runs `work` no longer than a client waits.
pub async fn patiently<T>(patience: Duration, work: impl Future<Output = io::Result<T>>) -> io::Result<T> {
    timeout(patience, work).await.unwrap_or_else(|_late| Err(io::ErrorKind::TimedOut.into()))
}

#[cfg(test)]
mod tests {
    use super::*;

    const ASKED: &[u8] = b"\x12\x34\x01\x00\x00\x01\x00\x00\x00\x00\x00\x00\x01a\x00\x00\x01\x00\x01";

    fn question() -> Question {
        let forward = Forward { question_size: ASKED.len() - HEADER_SIZE, limit: 512 };
        Question { bytes: ASKED.to_vec(), forward, transport: Transport::Udp }
    }

    fn changed(at: usize, byte: u8) -> Vec<u8> {
        let mut answer = ASKED.to_vec();
        answer[2] |= 0x80;
        answer[at] = byte;
        answer
    }

    #[test]
    fn only_the_answer_to_the_question_is_taken() {
        let size = question().forward.question_size;
        let good = changed(3, 0x80);
        assert!(answers(ASKED, size, &good));
        assert!(answers(ASKED, size, &changed(13, b'A')), "another case");
        assert!(answers(ASKED, size, &[good.clone(), vec![1; 16]].concat()), "with an answer in it");
        for (at, byte, why) in [
            (0, 0, "another number"),
            (2, 0x01, "a question"),
            (2, 0x89, "another kind"),
            (5, 0, "no question"),
            (13, b'b', "another name"),
            (16, 28, "another type"),
        ] {
            assert!(!answers(ASKED, size, &changed(at, byte)), "{why}");
        }
        for end in 0..good.len() {
            assert!(!answers(ASKED, size, &good[..end]), "cut at {end}");
        }
    }

    #[test]
    fn what_a_client_cannot_take_is_cut_to_the_question_and_says_so() {
        let answer = [changed(7, 9), vec![1; 600]].concat();
        let cut = cut(&question(), answer);
        assert_eq!((cut.len(), cut[7]), (ASKED.len(), 0));
        assert!(is_truncated(&cut) && !is_truncated(ASKED));
        let mut strange = cut;
        strange[0] = 0;
        assert_eq!(own_number(&question(), strange)[..2], ASKED[..2]);
    }

    #[test]
    fn servers_that_cannot_say_make_room_for_the_next() {
        for (code, is_good) in [(0, true), (3, true), (2, false), (4, false), (5, false)] {
            assert_eq!(is_helpful(&changed(3, 0x80 | code)), is_good, "{code}");
        }
    }
}
