//! What is a client made to do, and which figures come of it?

use crate::contestant::{Route, Service};
use crate::cpu;
use crate::extent::Extent;
use crate::regime::{CLIENT_CORE, CONGESTION_CONTROL, server_core};
use crate::series::Metric;
use anyhow::{Context as _, Result, bail};
use netd_tests::world::{Place, binary};
use serde_json::Value;
use std::ffi::OsString;

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Work {
    Stream,
    Streams,
    StreamBack,
    Requests,
    Connections,
    Datagrams,
    DatagramsBack,
}

pub const RATE: Metric = Metric::more("rate", "Gbit/s");
pub const RETRANSMITS: Metric = Metric::less("retransmits", "segments");
pub const CPU_PER_GB: Metric = Metric::less("processor time", "s/GB");
pub const P50: Metric = Metric::less("p50", "µs");
pub const P99: Metric = Metric::less("p99", "µs");
pub const P999: Metric = Metric::less("p99.9", "µs");
pub const CONNECTIONS: Metric = Metric::more("rate", "1/s");
pub const FAILED: Metric = Metric::less("failed", "connections");
pub const CPU_PER_CONNECTION: Metric = Metric::less("processor time", "µs/connection");
pub const DATAGRAMS: Metric = Metric::more("rate", "1/s");

/// Streams of [`Work::Streams`], and connections of [`Work::Connections`] at any moment.
const MANY: &str = "8";
/// A run that takes longer has hung.
const SECONDS_MAX: &str = "20";

impl Work {
    pub const ALL: [Self; 7] = [
        Self::Stream,
        Self::Streams,
        Self::StreamBack,
        Self::Requests,
        Self::Connections,
        Self::Datagrams,
        Self::DatagramsBack,
    ];

    pub const fn name(self) -> &'static str {
        match self {
            Self::Stream => "one TCP stream",
            Self::Streams => "8 TCP streams",
            Self::StreamBack => "one TCP stream, server to client",
            Self::Requests => "request/response",
            Self::Connections => "new connections",
            Self::Datagrams => "UDP of 64 bytes",
            Self::DatagramsBack => "UDP of 64 bytes, server to client",
        }
    }

    /// The metric that says most.
    pub const fn metric(self) -> Metric {
        match self {
            Self::Stream | Self::Streams | Self::StreamBack => RATE,
            Self::Requests => P50,
            Self::Connections => CONNECTIONS,
            Self::Datagrams | Self::DatagramsBack => DATAGRAMS,
        }
    }

    /// Does the work once.
    pub fn measure(self, route: &Route, extent: &Extent) -> Result<Vec<(Metric, f64)>> {
        match self {
            Self::Stream => stream(route, extent, &[]),
            Self::Streams => stream(route, extent, &["-P", MANY]),
            Self::StreamBack => stream(route, extent, &["-R"]),
            Self::Requests => {
                let time = extent.latency_time.as_millis().to_string();
                let said =
                    load(&route.client, &["requests", &core(), &time, &route.at(Service::Requests).to_string()])?;
                latencies(&said["latency"])
            }
            Self::Connections => connections(route, extent),
            Self::Datagrams => {
                let time = extent.rate_time.as_millis().to_string();
                let address = route.at(Service::Datagrams).to_string();
                per_second(&load(&route.client, &["datagrams", &core(), &time, "send", "0", &address])?)
            }
            Self::DatagramsBack => {
                let time = extent.rate_time.as_millis().to_string();
                let address = route.at(Service::Datagrams).to_string();
                per_second(&load(&route.client, &["datagrams", &core(), &time, "receive", "0", &address])?)
            }
        }
    }
}

fn core() -> String {
    CLIENT_CORE.to_string()
}

/// Runs the generator to its end, for what it says.
pub fn load(client: &Place, words: &[&str]) -> Result<Value> {
    let mut all: Vec<OsString> = vec!["timeout".into(), SECONDS_MAX.into(), binary("netd-load").into()];
    all.extend(words.iter().map(Into::into));
    json_of(client, all)
}

fn json_of(client: &Place, words: Vec<OsString>) -> Result<Value> {
    let line = words.iter().skip(2).map(|word| word.to_string_lossy()).collect::<Vec<_>>().join(" ");
    let finished = client.exec(words);
    if !finished.is_ok() {
        bail!("`{line}`: {finished}");
    }
    serde_json::from_str(&finished.stdout).with_context(|| format!("`{line}` said {}", finished.stdout))
}

fn float(value: &Value) -> Result<f64> {
    value.as_f64().with_context(|| format!("{value} is no number"))
}

fn stream(route: &Route, extent: &Extent, options: &[&str]) -> Result<Vec<(Metric, f64)>> {
    let address = route.at(Service::Bulk);
    let (time, cores) = (extent.stream_seconds.to_string(), format!("{CLIENT_CORE},{}", server_core()));
    let (ip, port) = (address.ip().to_string(), address.port().to_string());
    let mut words = vec!["timeout", SECONDS_MAX, "iperf3", "-J", "-c", &ip, "-p", &port, "-t", &time, "-A", &cores];
    words.extend(["-C", CONGESTION_CONTROL, "--connect-timeout", "3000"]);
    words.extend(options);
    let before = cpu::busy()?;
    let said = json_of(&route.client, words.into_iter().map(OsString::from).collect())?;
    let busy = cpu::busy()? - before;
    let (sent, received) = (&said["end"]["sum_sent"], &said["end"]["sum_received"]);
    let bytes = float(&received["bytes"])?;
    if bytes == 0.0 {
        bail!("nothing arrived: {}", said["error"]);
    }
    Ok(vec![
        (RATE, float(&received["bits_per_second"])? / 1e9),
        (RETRANSMITS, float(&sent["retransmits"])?),
        (CPU_PER_GB, busy / (bytes / 1e9)),
    ])
}

fn latencies(latency: &Value) -> Result<Vec<(Metric, f64)>> {
    Ok(vec![(P50, float(&latency["p50_us"])?), (P99, float(&latency["p99_us"])?), (P999, float(&latency["p999_us"])?)])
}

fn connections(route: &Route, extent: &Extent) -> Result<Vec<(Metric, f64)>> {
    let time = extent.latency_time.as_millis().to_string();
    let address = route.at(Service::Http).to_string();
    let before = cpu::busy()?;
    let said = load(&route.client, &["connections", &core(), &time, MANY, &address])?;
    let busy = cpu::busy()? - before;
    let count = float(&said["count"])?;
    if count == 0.0 {
        bail!("no connection of {} came about", said["failed"]);
    }
    let mut figures = vec![
        (CONNECTIONS, count / float(&said["seconds"])?),
        (FAILED, float(&said["failed"])?),
        (CPU_PER_CONNECTION, busy * 1e6 / count),
    ];
    figures.extend(latencies(&said["latency"])?);
    Ok(figures)
}

fn per_second(said: &Value) -> Result<Vec<(Metric, f64)>> {
    Ok(vec![(DATAGRAMS, float(&said["received"])? / float(&said["seconds"])?.max(1e-9))])
}
