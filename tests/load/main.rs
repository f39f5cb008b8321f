//! The traffic generator of the benchmarks: what does a client see, and how often?
//!
//! ```text
//! netd-load serve CORE                                  HTTP, requests and datagrams; prints "ready", serves until it is killed
//! netd-load requests CORE MS ADDR:PORT                  one connection, 64 bytes to and fro; latencies
//! netd-load connections CORE MS AT_ONCE ADDR:PORT       an HTTP request each, as many as go
//! netd-load datagrams CORE MS send|receive RATE ADDR:PORT   of 64 bytes; RATE a second, 0 for as many as go
//! netd-load spin CORE                                   keeps a core from sleeping, at SCHED_IDLE, until it is killed
//! ```
//!
//! A client prints one line of JSON. CORE is where the program stays.

mod core;
mod datagrams;
mod http;
mod mmsg;
mod requests;
mod socket;

use anyhow::{Context as _, Result, bail};
use hdrhistogram::Histogram;
use serde_json::{Value, json};
use std::io::{self, Write as _};
use std::time::Duration;

/// Where `serve` listens. The published ports that lead there are these plus 8000.
const HTTP: u16 = 80;
const REQUESTS: u16 = 7;
const DATAGRAMS: u16 = 9;

fn main() -> Result<()> {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let milliseconds = |text: &str| Ok::<_, anyhow::Error>(Duration::from_millis(text.parse()?));
    let said = match words.as_slice() {
        ["serve", core] => {
            core::stay(core.parse()?)?;
            return serve();
        }
        ["spin", core] => {
            core::stay(core.parse()?)?;
            return core::spin();
        }
        ["requests", core, time, address] => {
            core::stay(core.parse()?)?;
            requests::client(address.parse()?, milliseconds(time)?)?
        }
        ["connections", core, time, at_once, address] => {
            core::stay(core.parse()?)?;
            http::client(address.parse()?, milliseconds(time)?, at_once.parse()?)?
        }
        ["datagrams", core, time, way, rate, address] => {
            core::stay(core.parse()?)?;
            let time = milliseconds(time)?;
            match *way {
                "send" => datagrams::send(address.parse()?, time, rate.parse()?)?,
                "receive" => datagrams::receive(address.parse()?, time)?,
                _ => bail!("send or receive, not {way}"),
            }
        }
        _ => bail!("unknown words {words:?}"),
    };
    println!("{said}");
    Ok(())
}

fn serve() -> Result<()> {
    let any = std::net::Ipv4Addr::UNSPECIFIED;
    let requests = std::net::TcpListener::bind((any, REQUESTS)).context("binding the port of requests")?;
    let datagrams = std::net::UdpSocket::bind((any, DATAGRAMS)).context("binding the port of datagrams")?;
    let http = std::net::TcpListener::bind((any, HTTP)).context("binding the port of HTTP")?;
    socket::control(&requests)?;
    socket::control(&http)?;
    std::thread::spawn(move || requests::serve(&requests));
    std::thread::spawn(move || datagrams::serve(&datagrams));
    println!("ready");
    io::stdout().flush()?;
    http::serve(http)
}

/// Latencies in nanoseconds, to three digits, up to a minute.
fn histogram() -> Result<Histogram<u64>> {
    Ok(Histogram::new_with_bounds(1, 60_000_000_000, 3)?)
}

/// A histogram as microseconds.
fn latencies(histogram: &Histogram<u64>) -> Value {
    let at = |quantile: f64| histogram.value_at_quantile(quantile) as f64 / 1000.0;
    json!({ "p50_us": at(0.5), "p99_us": at(0.99), "p999_us": at(0.999), "max_us": histogram.max() as f64 / 1000.0 })
}
