//! How do questions come in, and how do answers go out?
//!
//! A task a namespace reads what waits on its UDP socket, as much as there is before it waits again, and takes TCP
//! connections. What is asked of others is waited for in a task of its own, so that nobody's own names wait for it.

use super::answer::{Outcome, Transport, UDP_SIZE_MAX, answer, failure};
use super::forward::{Forwarder, Question, framed, patiently};
use super::upstreams::Upstreams;
use super::zone::{View, Zone};
use super::{Counts, Fate};
use crate::kernel::names::{Change, Listener};
use crate::model::state::State;
use hickory_proto::op::ResponseCode;
use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream, UdpSocket};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, watch};
use tokio::task::{JoinHandle, JoinSet, yield_now};

/// Questions to others under way, of all containers; a further one is answered with SERVFAIL.
pub const FORWARDS_MAX: usize = 1024;
/// The same, of one container, so that others still may ask.
pub const FORWARDS_OF_ONE_MAX: usize = 256;
/// TCP connections of all containers; a further one is closed.
pub const CONNECTIONS_MAX: usize = 1024;
/// The same, of one container.
pub const CONNECTIONS_OF_ONE_MAX: usize = 64;
/// How long a TCP connection may be silent, and one question or answer may take to pass.
pub const IDLE: Duration = Duration::from_secs(10);
/// Questions that are answered before others' tasks have their turn.
const BATCH: usize = 64;

/// What all listeners share.
#[derive(Debug)]
pub struct Server {
    state: watch::Receiver<Arc<State>>,
    /// Folder of the namespaces that netd makes.
    netns_dir: PathBuf,
    /// Of the revision that was asked about last.
    zone: Mutex<Arc<Zone>>,
    forwarder: Forwarder,
    upstreams: Upstreams,
    counts: Arc<Counts>,
    /// Questions so far.
    turn: AtomicUsize,
    forwards: Arc<Semaphore>,
    connections: Arc<Semaphore>,
}

impl Server {
    /// `resolv_conf` is the host's.
    ///
    /// # Errors
    /// When there is no randomness.
    pub fn new(
        state: watch::Receiver<Arc<State>>,
        netns_dir: PathBuf,
        resolv_conf: PathBuf,
        counts: Arc<Counts>,
    ) -> io::Result<Self> {
        Ok(Self {
            state,
            netns_dir,
            zone: Mutex::default(),
            forwarder: Forwarder::new()?,
            upstreams: Upstreams::new(resolv_conf),
            counts,
            turn: AtomicUsize::new(0),
            forwards: Arc::new(Semaphore::new(FORWARDS_MAX)),
            connections: Arc::new(Semaphore::new(CONNECTIONS_MAX)),
        })
    }

    /// Serves what is opened, until it is closed.
    pub async fn run(self: Arc<Self>, mut changes: mpsc::Receiver<Change>) {
        let mut tasks: BTreeMap<u64, JoinHandle<()>> = BTreeMap::new();
        while let Some(change) = changes.recv().await {
            match change {
                Change::Opened(listener) => {
                    let cookie = listener.tag.cookie;
                    let task = tokio::spawn(Arc::clone(&self).serve(listener));
                    if let Some(former) = tasks.insert(cookie, task) {
                        former.abort();
                    }
                }
                Change::Closed(cookie) => {
                    if let Some(task) = tasks.remove(&cookie) {
                        task.abort();
                    }
                }
            }
        }
        for task in tasks.into_values() {
            task.abort();
        }
    }

    async fn serve(self: Arc<Self>, listener: Arc<Listener>) {
        let desk = Arc::new(Desk {
            forwards: Arc::new(Semaphore::new(FORWARDS_OF_ONE_MAX)),
            connections: Arc::new(Semaphore::new(CONNECTIONS_OF_ONE_MAX)),
            server: self,
            listener,
        });
        let (udp, tcp) = tokio::join!(Arc::clone(&desk).serve_udp(), Arc::clone(&desk).serve_tcp());
        for error in [udp.err(), tcp.err()].into_iter().flatten() {
            tracing::error!(path = %desk.listener.tag.path.display(), %error, "names are not answered");
        }
    }

    fn zone(&self) -> Arc<Zone> {
        let state = self.state.borrow().clone();
        let mut zone = self.zone.lock().unwrap_or_else(PoisonError::into_inner);
        if zone.revision != state.revision {
            *zone = Arc::new(Zone::of(&state, &self.netns_dir));
        }
        Arc::clone(&zone)
    }

    /// Whom to ask for this container.
    fn servers(&self, view: &View) -> Arc<[SocketAddr]> {
        if view.dns.is_empty() { self.upstreams.of_host() } else { Upstreams::of_container(&view.dns) }
    }

    async fn forward(&self, question: &Question, servers: &[SocketAddr]) -> Option<Vec<u8>> {
        if let Some(bytes) = self.forwarder.ask(question, servers).await {
            self.counts.add(Fate::Forwarded);
            return Some(bytes);
        }
        self.fail(&question.bytes)
    }

    fn fail(&self, question: &[u8]) -> Option<Vec<u8>> {
        self.counts.add(Fate::Failed);
        failure(question, ResponseCode::ServFail)
    }
}

/// Where the questions of one namespace come in.
#[derive(Debug)]
struct Desk {
    server: Arc<Server>,
    listener: Arc<Listener>,
    forwards: Arc<Semaphore>,
    connections: Arc<Semaphore>,
}

/// What its programs see, as of a revision.
#[derive(Debug, Default)]
struct Sight {
    revision: Option<u64>,
    view: Option<Arc<View>>,
}

/// What there is to do about a question.
enum Step {
    Reply(Vec<u8>),
    Ask { question: Question, servers: Arc<[SocketAddr]>, permits: [OwnedSemaphorePermit; 2] },
    Nothing,
}

impl Desk {
    async fn serve_udp(self: Arc<Self>) -> io::Result<()> {
        let socket = Arc::new(UdpSocket::from_std(self.listener.udp.try_clone()?)?);
        let mut buffer = vec![0; usize::from(UDP_SIZE_MAX)];
        let mut sight = Sight::default();
        let mut asking = JoinSet::new();
        loop {
            socket.readable().await?;
            for _ in 0..BATCH {
                let (size, client) = match socket.try_recv_from(&mut buffer) {
                    Ok(received) => received,
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                    // Of one question, such as one that came damaged.
                    Err(_) => continue,
                };
                match self.take(buffer.get(..size).unwrap_or_default(), Transport::Udp, &mut sight) {
                    // Who cannot take it asks again.
                    Step::Reply(bytes) => drop(socket.try_send_to(&bytes, client)),
                    Step::Ask { question, servers, permits } => {
                        let (desk, socket) = (Arc::clone(&self), Arc::clone(&socket));
                        asking.spawn(async move {
                            if let Some(bytes) = desk.server.forward(&question, &servers).await {
                                drop(socket.send_to(&bytes, client).await);
                            }
                            drop(permits);
                        });
                    }
                    Step::Nothing => {}
                }
            }
            while asking.try_join_next().is_some() {}
            yield_now().await;
        }
    }

    async fn serve_tcp(self: Arc<Self>) -> io::Result<()> {
        let listener = TcpListener::from_std(self.listener.tcp.try_clone()?)?;
        let mut connections = JoinSet::new();
        loop {
            match listener.accept().await {
                Ok((stream, _client)) => {
                    if let Some(permits) = both(&self.connections, &self.server.connections) {
                        let desk = Arc::clone(&self);
                        connections.spawn(async move {
                            if let Err(error) = desk.converse(stream).await {
                                tracing::debug!(%error, "a connection for names ended");
                            }
                            drop(permits);
                        });
                    }
                }
                // Out of descriptors, say: others give theirs back.
                Err(_) => tokio::time::sleep(Duration::from_millis(50)).await,
            }
            while connections.try_join_next().is_some() {}
        }
    }

    /// One question after the other, until the client leaves.
    async fn converse(&self, mut stream: TcpStream) -> io::Result<()> {
        let mut sight = Sight::default();
        loop {
            let size = match patiently(IDLE, stream.read_u16()).await {
                Ok(size) => size,
                Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(()),
                Err(error) => return Err(error),
            };
            let mut bytes = vec![0; usize::from(size)];
            patiently(IDLE, stream.read_exact(&mut bytes)).await?;
            let reply = match self.take(&bytes, Transport::Tcp, &mut sight) {
                Step::Reply(reply) => Some(reply),
                Step::Ask { question, servers, permits: _permits } => self.server.forward(&question, &servers).await,
                Step::Nothing => None,
            };
            let Some(reply) = reply else { return Ok(()) };
            patiently(IDLE, stream.write_all(&framed(&reply))).await?;
        }
    }

    fn take(&self, bytes: &[u8], transport: Transport, sight: &mut Sight) -> Step {
        let server = &self.server;
        let revision = server.state.borrow().revision;
        if sight.revision != Some(revision) {
            let zone = server.zone();
            *sight = Sight { revision: Some(zone.revision), view: zone.view(&self.listener.tag.path).cloned() };
        }
        let view = sight.view.as_ref();
        let turn = server.turn.fetch_add(1, Ordering::Relaxed);
        match (answer(bytes, view.map(AsRef::as_ref), transport, turn), view) {
            (Outcome::Answer(reply), _) => {
                server.counts.add(Fate::Answered);
                Step::Reply(reply)
            }
            (Outcome::Refuse(reply), _) => {
                server.counts.add(Fate::Refused);
                Step::Reply(reply)
            }
            (Outcome::Ignore, _) => {
                server.counts.add(Fate::Refused);
                Step::Nothing
            }
            (Outcome::Forward(forward), Some(view)) if view.is_outside => {
                match both(&self.forwards, &server.forwards) {
                    Some(permits) => {
                        let question = Question { bytes: bytes.to_vec(), forward, transport };
                        Step::Ask { question, servers: server.servers(view), permits }
                    }
                    None => self.fail(bytes),
                }
            }
            // Nothing of it leaves, not even its questions.
            (Outcome::Forward(_), _) => self.fail(bytes),
        }
    }

    fn fail(&self, bytes: &[u8]) -> Step {
        self.server.fail(bytes).map_or(Step::Nothing, Step::Reply)
    }
}

/// A permit of each.
fn both(own: &Arc<Semaphore>, all: &Arc<Semaphore>) -> Option<[OwnedSemaphorePermit; 2]> {
    Some([Arc::clone(own).try_acquire_owned().ok()?, Arc::clone(all).try_acquire_owned().ok()?])
}
