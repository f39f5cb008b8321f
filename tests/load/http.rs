//! How many new connections go, with an HTTP request each?
//!
//! Client and server are one thread each. The server closes first, as HTTP/1.0 servers do.

use super::{histogram, latencies};
use anyhow::{Context as _, Result};
use serde_json::{Value, json};
use std::cell::RefCell;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::{Duration, Instant};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpSocket, TcpStream};

const REQUEST: &[u8] = b"GET / HTTP/1.0\r\nHost: bench\r\n\r\n";
const ANSWER: &[u8] =
    b"HTTP/1.0 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 6\r\nConnection: close\r\n\r\nhello\n";
/// Of one connection; it then counts as failed.
const PATIENCE: Duration = Duration::from_secs(3);

fn runtime() -> Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_current_thread().enable_all().build().context("a runtime")
}

pub fn serve(listener: std::net::TcpListener) -> Result<()> {
    listener.set_nonblocking(true)?;
    runtime()?.block_on(async {
        let listener = TcpListener::from_std(listener)?;
        loop {
            // What fails is one client's; running out of files is none of this server's life.
            if let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(answer(stream));
            }
        }
    })
}

async fn answer(mut stream: TcpStream) {
    let mut request = [0; 1024];
    let mut length = 0;
    while !request[..length].ends_with(b"\r\n\r\n") {
        match stream.read(&mut request[length..]).await {
            Ok(1..) if length == request.len() => return,
            Ok(read @ 1..) => length += read,
            Ok(0) | Err(_) => return,
        }
    }
    if stream.write_all(ANSWER).await.is_ok() {
        let _ = stream.shutdown().await;
    }
}

/// `at_once` connections at any moment, for `time`.
pub fn client(address: SocketAddr, time: Duration, at_once: usize) -> Result<Value> {
    let seen = Rc::new(RefCell::new((histogram()?, 0_u64)));
    let begin = Instant::now();
    let local = tokio::task::LocalSet::new();
    for _ in 0..at_once {
        let seen = seen.clone();
        local.spawn_local(async move {
            while begin.elapsed() < time {
                let start = Instant::now();
                let done = tokio::time::timeout(PATIENCE, fetch(address)).await;
                let (latencies, failed) = &mut *seen.borrow_mut();
                match done {
                    Ok(Ok(())) => latencies.saturating_record(start.elapsed().as_nanos() as u64),
                    _ => *failed += 1,
                }
            }
        });
    }
    runtime()?.block_on(local);
    let seconds = begin.elapsed().as_secs_f64();
    let (seen, failed) = &*seen.borrow();
    Ok(json!({ "count": seen.len(), "failed": failed, "seconds": seconds, "latency": latencies(seen) }))
}

async fn fetch(address: SocketAddr) -> std::io::Result<()> {
    let mut stream = {
        let socket = TcpSocket::new_v4()?;
        super::socket::control(&socket)?;
        socket.connect(address).await?
    };
    stream.write_all(REQUEST).await?;
    let mut answer = Vec::with_capacity(ANSWER.len() + 1);
    stream.read_to_end(&mut answer).await?;
    if answer == ANSWER { Ok(()) } else { Err(std::io::ErrorKind::InvalidData.into()) }
}
