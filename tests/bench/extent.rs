//! How much is measured, and for how long?

use crate::works::Work;
use std::time::Duration;

/// The size of a run.
#[derive(Clone, Debug)]
pub struct Extent {
    pub name: &'static str,
    /// Rounds through all contestants in the stable regime.
    pub rounds: u32,
    /// The same with idle cores; 0 leaves it out.
    pub idle_rounds: u32,
    pub works: Vec<Work>,
    /// What is measured with idle cores.
    pub idle_works: Vec<Work>,
    /// Of one measurement of requests or connections.
    pub latency_time: Duration,
    /// Of one measurement of datagrams.
    pub rate_time: Duration,
    /// Of one stream; iperf3 takes whole seconds.
    pub stream_seconds: u64,
    /// Numbers of published ports, and of containers, along which latency and rates are measured.
    pub publishes: Vec<u64>,
    pub containers: Vec<u64>,
    /// How often each size is measured.
    pub scale_rounds: u32,
    /// Ports of which publishing is timed, and ports that Docker and the CNI plugins are asked for at most.
    pub ports: Vec<u64>,
    pub peer_ports_max: u64,
    /// How often each change of the control plane is timed.
    pub changes: u32,
    /// Containers of a peer that are made and removed for its latencies.
    pub peer_containers: u64,
}

impl Extent {
    pub fn quick() -> Self {
        Self {
            name: "quick",
            rounds: 1,
            idle_rounds: 0,
            works: vec![Work::Stream, Work::Requests, Work::Connections, Work::Datagrams],
            idle_works: Vec::new(),
            latency_time: Duration::from_millis(300),
            rate_time: Duration::from_millis(300),
            stream_seconds: 1,
            publishes: vec![1, 1_000],
            containers: vec![2, 50],
            scale_rounds: 1,
            ports: vec![1, 1_000],
            peer_ports_max: 20,
            changes: 3,
            peer_containers: 5,
        }
    }

    pub fn full() -> Self {
        Self {
            name: "full",
            rounds: 7,
            idle_rounds: 3,
            works: Work::ALL.to_vec(),
            idle_works: vec![Work::Stream, Work::Requests, Work::Connections],
            latency_time: Duration::from_millis(400),
            rate_time: Duration::from_millis(400),
            stream_seconds: 1,
            publishes: vec![1, 100, 1_000, 10_000],
            containers: vec![2, 100, 1_000],
            scale_rounds: 3,
            ports: vec![1, 1_000, 10_000],
            peer_ports_max: 1_000,
            changes: 5,
            peer_containers: 20,
        }
    }
}
