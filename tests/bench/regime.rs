//! Under which conditions is measured, the same for all?

use netd_tests::world::{Place, binary};
use std::io;
use std::process::{Child, Command, Stdio};

/// Where clients and servers run. With one core both are on it.
pub const CLIENT_CORE: usize = 0;

pub fn server_core() -> usize {
    usize::from(std::thread::available_parallelism().is_ok_and(|cores| cores.get() > 1))
}

/// Of every socket of clients and servers, which set it themselves.
pub const CONGESTION_CONTROL: &str = "cubic";
/// For the sockets of others, docker-proxy's: what a namespace may have as its default wherever the machine's own does not
/// allow cubic. Without loss the two do the same, and bbr, a default of some kernels, does not.
const ELSE: &str = "reno";
/// Of every interface, loopback included.
pub const MTU: u32 = 1500;
/// Where clients take their ports from: more than one measurement uses, and none that is published.
const LOCAL_PORTS: &str = "15000 64999";

/// Makes a namespace as all are.
pub fn prepare(place: &Place) {
    let set = |value: &str| place.run(|| std::fs::write("/proc/sys/net/ipv4/tcp_congestion_control", value));
    if set(CONGESTION_CONTROL).is_err()
        && let Err(error) = set(ELSE)
    {
        eprintln!("a namespace keeps its default congestion control: {error}");
    }
    place.sysctl("net/ipv4/ip_local_port_range", LOCAL_PORTS);
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Regime {
    Stable,
    IdleCores,
}

impl Regime {
    pub const fn name(self) -> &'static str {
        match self {
            Self::Stable => "stable",
            Self::IdleCores => "idle cores",
        }
    }

    pub fn describe(self) -> String {
        let spinners = match self {
            Self::Stable => "a SCHED_IDLE spinner on each of the two, so that none of them sleeps",
            Self::IdleCores => "no spinners: cores sleep when they have nothing to do",
        };
        format!(
            "{}: {CONGESTION_CONTROL} on every socket, MTU {MTU} everywhere, clients on core {CLIENT_CORE} and servers on \
             core {}, {spinners}",
            self.name(),
            server_core()
        )
    }

    /// Keeps the machine in this regime until it is dropped.
    pub fn enter(self) -> io::Result<Spinners> {
        let mut cores = vec![CLIENT_CORE, server_core()];
        cores.dedup();
        let spinners = cores.into_iter().filter(|_| self == Self::Stable).map(|core| {
            let core = core.to_string();
            Command::new(binary("netd-load")).args(["spin", &core]).stdin(Stdio::null()).spawn()
        });
        Ok(Spinners(spinners.collect::<io::Result<_>>()?))
    }
}

/// What keeps the cores awake.
pub struct Spinners(Vec<Child>);

impl Drop for Spinners {
    fn drop(&mut self) {
        for spinner in &mut self.0 {
            let _ = spinner.kill();
            let _ = spinner.wait();
        }
    }
}
