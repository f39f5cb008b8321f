//! How does a program hold thousands of flows at once?
//!
//! A [`Crowd`] is `netd-probe crowd` in a place: UDP sockets, each with a port of its own, all connected to one server. It
//! is a program and not a thread, so that several of them share no limit of file descriptors.

use super::{set_option, udp_from};
use crate::world::{Place, Process, binary};
use std::io::{self, BufRead, Write};
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::time::{Duration, Instant};

/// How long answers may take from the last one to the next.
const SILENCE_MAX: Duration = Duration::from_millis(500);

/// The sockets of one such program.
#[derive(Debug)]
pub struct Crowd {
    program: Process,
    pub size: usize,
}

impl Crowd {
    /// Starts the program: `size` sockets bound to `ip` from the port `first` up. Each sends its first datagram.
    #[track_caller]
    #[must_use]
    pub fn start(place: &Place, ip: IpAddr, first: u16, size: usize, server: SocketAddr) -> Self {
        let words = [ip.to_string(), first.to_string(), size.to_string(), server.to_string()];
        let probe = binary("netd-probe").display().to_string();
        let program = place.start([probe, "crowd".to_owned()].into_iter().chain(words));
        Self { program, size }
    }

    /// Waits until all sockets have sent; how many have been answered.
    #[track_caller]
    pub fn answered(&mut self) -> usize {
        let line = self.program.line();
        line.parse().unwrap_or_else(|_| panic!("the crowd did not start: {line:?}"))
    }

    /// Sends a datagram from every `step`th socket; how many are answered.
    #[track_caller]
    pub fn ask(&mut self, step: usize) -> usize {
        self.program.say(&step.to_string());
        self.answered()
    }
}

/// The program.
///
/// # Errors
/// What the sockets say.
pub fn run(ip: IpAddr, first: u16, size: usize, server: SocketAddr) -> io::Result<()> {
    raise_descriptors()?;
    let ports = (first..=u16::MAX).take(size);
    let sockets = ports
        .map(|port| {
            let socket = udp_from(SocketAddr::new(ip, port))?;
            // Nobody needs more for an answer, and there are many.
            set_option(&socket, libc::SOL_SOCKET, libc::SO_RCVBUF, 4096)?;
            socket.set_nonblocking(true)?;
            socket.connect(server)?;
            Ok(socket)
        })
        .collect::<io::Result<Vec<_>>>()?;
    report(exchange(&sockets, 1)?)?;
    for line in io::stdin().lock().lines() {
        let step = line?.parse().map_err(io::Error::other)?;
        report(exchange(&sockets, step)?)?;
    }
    Ok(())
}

fn report(answered: usize) -> io::Result<()> {
    println!("{answered}");
    io::stdout().flush()
}

/// Sends a datagram from every `step`th socket; how many are answered. Each waits for those before it, a little, so that
/// no queue on the way runs over.
fn exchange(sockets: &[UdpSocket], step: usize) -> io::Result<usize> {
    const AT_ONCE: usize = 64;
    let asking: Vec<&UdpSocket> = sockets.iter().step_by(step).collect();
    let mut unanswered: Vec<&UdpSocket> = Vec::new();
    for part in asking.chunks(AT_ONCE) {
        for socket in part {
            socket.send(b"hello")?;
        }
        unanswered.extend(part);
        let patience = Instant::now() + Duration::from_millis(2);
        while unanswered.len() > AT_ONCE / 2 && Instant::now() < patience {
            unanswered.retain(|socket| !is_answered(socket));
        }
    }
    let mut last = Instant::now();
    while !unanswered.is_empty() && last.elapsed() < SILENCE_MAX {
        let before = unanswered.len();
        unanswered.retain(|socket| !is_answered(socket));
        if unanswered.len() < before {
            last = Instant::now();
        } else {
            std::thread::sleep(Duration::from_millis(5));
        }
    }
    Ok(asking.len() - unanswered.len())
}

fn is_answered(socket: &UdpSocket) -> bool {
    socket.recv(&mut [0; 64]).is_ok()
}

/// Allows itself as many descriptors as it may have.
fn raise_descriptors() -> io::Result<()> {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: plain calls with a struct that outlives them.
    let result = unsafe {
        libc::getrlimit(libc::RLIMIT_NOFILE, &raw mut limit);
        limit.rlim_cur = limit.rlim_max;
        libc::setrlimit(libc::RLIMIT_NOFILE, &raw const limit)
    };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}
