//! How many datagrams of 64 bytes arrive in a second?
//!
//! Every message begins with what it is and with the number of the run, so that what is late from an earlier run does not
//! count: `d` counts, `q` asks for the count and is answered with `r`, `g` asks the server to send `d` for some
//! milliseconds.

use super::mmsg::{Batch, SIZE};
use anyhow::{Context as _, Result, bail};
use serde_json::{Value, json};
use std::io;
use std::net::{SocketAddr, UdpSocket};
use std::time::{Duration, Instant};

/// Bytes of a receiver's queue.
const QUEUE: libc::c_int = 4 << 20;
/// How long an answer is waited for, and how often it is asked for.
const PATIENCE: Duration = Duration::from_millis(50);
const TRIES: usize = 40;

pub type Message = [u8; SIZE];

fn message(kind: u8, run: u32, number: u32) -> Message {
    let mut message = [0; SIZE];
    message[0] = kind;
    message[4..8].copy_from_slice(&run.to_be_bytes());
    message[8..12].copy_from_slice(&number.to_be_bytes());
    message
}

/// What it is, its run, and its number.
fn parts(message: &Message) -> (u8, u32, u32) {
    let number = |at: usize| u32::from_be_bytes([message[at], message[at + 1], message[at + 2], message[at + 3]]);
    (message[0], number(4), number(8))
}

fn deepen_queue(socket: &UdpSocket) -> io::Result<()> {
    netd_tests::probe::set_option(socket, libc::SOL_SOCKET, libc::SO_RCVBUFFORCE, QUEUE)
}

pub fn serve(socket: &UdpSocket) {
    let _ = deepen_queue(socket);
    let mut batch = Batch::new([0; SIZE]);
    let (mut run, mut count) = (0, 0_u32);
    loop {
        // An ICMP error that a client's end has caused is reported by the next call, and is not the end.
        let Ok(messages) = batch.receive(socket) else { continue };
        let mut asked = Vec::new();
        for (message, from) in messages {
            let (kind, of, number) = parts(message);
            if of != run {
                (run, count) = (of, 0);
            }
            match kind {
                b'd' => count += 1,
                b'q' => asked.push((message_of_count(run, count), from)),
                b'g' if count == 0 => {
                    count = 1;
                    blast_back(socket, run, Duration::from_millis(number.into()), from);
                }
                _ => {}
            }
        }
        for (answer, to) in asked {
            let _ = socket.send_to(&answer, to);
        }
    }
}

fn message_of_count(run: u32, count: u32) -> Message {
    message(b'r', run, count)
}

fn blast_back(socket: &UdpSocket, run: u32, time: Duration, to: SocketAddr) {
    let mut batch = Batch::new(message(b'd', run, 0));
    batch.address_to(to);
    let begin = Instant::now();
    while begin.elapsed() < time {
        let _ = batch.send(socket, usize::MAX);
    }
}

fn connected(address: SocketAddr) -> Result<(UdpSocket, u32)> {
    let socket = UdpSocket::bind("0.0.0.0:0")?;
    deepen_queue(&socket)?;
    socket.connect(address)?;
    socket.set_read_timeout(Some(PATIENCE))?;
    // The process id tells two runs apart that come to one server.
    Ok((socket, std::process::id()))
}

/// Asks the server how many it has counted.
fn count_of(socket: &UdpSocket, run: u32) -> Result<u32> {
    let mut answer = [0; SIZE];
    for _ in 0..TRIES {
        let _ = socket.send(&message(b'q', run, 0));
        if socket.recv(&mut answer).is_ok_and(|length| length == SIZE) {
            let (kind, of, count) = parts(&answer);
            if (kind, of) == (b'r', run) {
                return Ok(count);
            }
        }
    }
    bail!("the server does not tell what it has counted");
}

/// Sends for `time`, `rate` a second or, with 0, as many as go.
pub fn send(address: SocketAddr, time: Duration, rate: u64) -> Result<Value> {
    let (socket, run) = connected(address)?;
    // Opens the flow, so that the first burst finds it there.
    count_of(&socket, run).context("before the run")?;
    let mut batch = Batch::new(message(b'd', run, 0));
    let (begin, mut sent) = (Instant::now(), 0_u64);
    let mut now = Duration::ZERO;
    while now < time {
        let due = if rate == 0 { u64::MAX } else { (now.as_secs_f64() * rate as f64) as u64 + 1 };
        if due > sent {
            sent += batch.send(&socket, usize::try_from(due - sent).unwrap_or(usize::MAX)).unwrap_or(0) as u64;
        } else {
            std::thread::sleep(Duration::from_micros(100));
        }
        now = begin.elapsed();
    }
    let seconds = now.as_secs_f64();
    let received = count_of(&socket, run).context("after the run")?;
    Ok(json!({ "sent": sent, "received": received, "seconds": seconds }))
}

/// Has the server send for `time`, as many as go.
pub fn receive(address: SocketAddr, time: Duration) -> Result<Value> {
    let (socket, run) = connected(address)?;
    let mut batch = Batch::new([0; SIZE]);
    let mut first = None;
    for _ in 0..TRIES {
        socket.send(&message(b'g', run, u32::try_from(time.as_millis())?))?;
        first = batch.receive(&socket).ok().map(|messages| messages.len());
        if first.is_some() {
            break;
        }
    }
    let mut received = first.context("the server sends nothing")? as u64;
    let begin = Instant::now();
    let mut last = begin;
    while let Ok(messages) = batch.receive(&socket) {
        received += messages.len() as u64;
        last = Instant::now();
    }
    Ok(json!({ "received": received, "seconds": (last - begin).as_secs_f64() }))
}
