//! Whom does netd ask for others' names in a test?
//!
//! A name server in the outside, on UDP and TCP, which answers by what the name begins with, and remembers what it was
//! asked.

use super::Place;
use hickory_proto::op::{Message, ResponseCode};
use hickory_proto::rr::rdata::A;
use hickory_proto::rr::{RData, Record, RecordType};
use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

/// What it answers with for every name that is nothing special.
pub const ELSEWHERE: Ipv4Addr = Ipv4Addr::new(203, 0, 113, 7);
/// Records of a name that begins with `big`: too many for a datagram.
pub const BIG: usize = 300;

/// A running server; it ends when it is dropped.
#[derive(Debug)]
pub struct Upstream {
    asked: Arc<Mutex<Vec<String>>>,
    over: Arc<AtomicBool>,
    threads: Vec<JoinHandle<()>>,
}

impl Upstream {
    /// Serves at this address inside `place`: `address` is what it answers with.
    #[track_caller]
    pub fn serve(place: &Place, at: impl Into<std::net::IpAddr>, address: Ipv4Addr) -> Self {
        Self::serve_at(place, SocketAddr::new(at.into(), 53), address)
    }

    /// The same, on a link too.
    #[track_caller]
    pub fn serve_at(place: &Place, at: SocketAddr, address: Ipv4Addr) -> Self {
        let (udp, tcp) = place.run(|| (UdpSocket::bind(at), TcpListener::bind(at)));
        let (udp, tcp) = (udp.expect("the port of a name server"), tcp.expect("the port of a name server"));
        udp.set_read_timeout(Some(Duration::from_millis(50))).expect("a timeout");
        tcp.set_nonblocking(true).expect("a socket");
        let (asked, over) = (Arc::<Mutex<Vec<String>>>::default(), Arc::<AtomicBool>::default());
        let threads = vec![
            std::thread::spawn({
                let (asked, over) = (Arc::clone(&asked), Arc::clone(&over));
                move || {
                    let mut buffer = [0; 4096];
                    while !over.load(Ordering::Relaxed) {
                        let Ok((size, client)) = udp.recv_from(&mut buffer) else { continue };
                        if let Some(reply) = answer(&buffer[..size], address, &asked, true) {
                            let _ = udp.send_to(&reply, client);
                        }
                    }
                }
            }),
            std::thread::spawn({
                let (asked, over) = (Arc::clone(&asked), Arc::clone(&over));
                move || {
                    while !over.load(Ordering::Relaxed) {
                        match tcp.accept() {
                            Ok((stream, _)) => drop(converse(stream, address, &asked)),
                            Err(_) => std::thread::sleep(Duration::from_millis(10)),
                        }
                    }
                }
            }),
        ];
        Self { asked, over, threads }
    }

    /// The names that it was asked for, each as `udp NAME` or `tcp NAME`, and forgets them.
    #[must_use]
    pub fn asked(&self) -> Vec<String> {
        std::mem::take(&mut *self.asked.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Drop for Upstream {
    fn drop(&mut self) {
        self.over.store(true, Ordering::Relaxed);
        for thread in self.threads.drain(..) {
            let _ = thread.join();
        }
    }
}

fn converse(mut stream: TcpStream, address: Ipv4Addr, asked: &Mutex<Vec<String>>) -> std::io::Result<()> {
    stream.set_nonblocking(false)?;
    stream.set_read_timeout(Some(Duration::from_secs(2)))?;
    let mut size = [0; 2];
    stream.read_exact(&mut size)?;
    let mut query = vec![0; usize::from(u16::from_be_bytes(size))];
    stream.read_exact(&mut query)?;
    let reply = answer(&query, address, asked, false).unwrap_or_default();
    stream.write_all(&u16::try_from(reply.len()).unwrap_or(0).to_be_bytes())?;
    stream.write_all(&reply)
}

fn answer(query: &[u8], address: Ipv4Addr, asked: &Mutex<Vec<String>>, is_udp: bool) -> Option<Vec<u8>> {
    let query = Message::from_vec(query).ok()?;
    let question = query.queries.first()?.clone();
    let name = question.name().to_ascii();
    let way = if is_udp { "udp" } else { "tcp" };
    asked.lock().unwrap_or_else(PoisonError::into_inner).push(format!("{way} {name}"));
    let mut reply = Message::response(query.id, query.op_code);
    reply.metadata.recursion_desired = query.recursion_desired;
    reply.metadata.recursion_available = true;
    reply.queries = query.queries.clone();
    let record = |address| Record::from_rdata(question.name().clone(), 60, RData::A(A(address)));
    match name.to_ascii_lowercase().split('.').next()? {
        "silent" => return None,
        "nx" => reply.metadata.response_code = ResponseCode::NXDomain,
        "fails" => reply.metadata.response_code = ResponseCode::ServFail,
        "big" if is_udp => reply.metadata.truncation = true,
        "big" => {
            let addresses = (0..BIG).map(|number| Ipv4Addr::from(u32::from(address) + number as u32));
            reply.answers = addresses.map(record).collect();
        }
        _ if question.query_type() == RecordType::A => reply.answers = vec![record(address)],
        _ => {}
    }
    reply.to_vec().ok()
}
