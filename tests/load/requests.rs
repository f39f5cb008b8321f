//! How long does a request take over a connection that is there?

use super::{histogram, latencies};
use anyhow::Result;
use serde_json::{Value, json};
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::time::{Duration, Instant};

/// Bytes of a request, and of its answer.
const SIZE: usize = 64;
/// Exchanges before the first that counts.
const WARM_UP: usize = 200;

pub fn serve(listener: &TcpListener) {
    for stream in listener.incoming().flatten() {
        std::thread::spawn(move || {
            let _ = echo(stream);
        });
    }
}

fn echo(mut stream: TcpStream) -> std::io::Result<()> {
    stream.set_nodelay(true)?;
    let mut message = [0; SIZE];
    loop {
        stream.read_exact(&mut message)?;
        stream.write_all(&message)?;
    }
}

/// One exchange after the other for `time`.
pub fn client(address: SocketAddr, time: Duration) -> Result<Value> {
    let mut stream = super::socket::dial(address)?;
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(Duration::from_secs(3)))?;
    let mut message = [7; SIZE];
    let mut exchange = || -> std::io::Result<()> {
        stream.write_all(&message)?;
        stream.read_exact(&mut message)
    };
    for _ in 0..WARM_UP {
        exchange()?;
    }
    let mut seen = histogram()?;
    let begin = Instant::now();
    let mut before = begin;
    while before - begin < time {
        exchange()?;
        let after = Instant::now();
        seen.saturating_record((after - before).as_nanos() as u64);
        before = after;
    }
    let seconds = (before - begin).as_secs_f64();
    Ok(json!({ "count": seen.len(), "seconds": seconds, "latency": latencies(&seen) }))
}
