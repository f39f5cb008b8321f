//! What has an interface inside a container received and sent?

use super::netns;
use netd_common::drop::Counter;
use std::io;
use std::path::Path;

/// Of one interface, since it was made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Traffic {
    pub received: Counter,
    pub sent: Counter,
}

/// Reads the counters of an interface in the namespace at `path`.
///
/// # Errors
/// When the namespace or the interface is not there.
pub fn of(path: &Path, interface: &str) -> io::Result<Traffic> {
    // The link itself shows what its thread's namespace shows.
    let table = netns::in_namespace(path, || std::fs::read_to_string("/proc/thread-self/net/dev"))??;
    parse(&table, interface).ok_or_else(|| {
        io::Error::new(io::ErrorKind::NotFound, format!("no interface {interface} in {}", path.display()))
    })
}

/// A row of `/proc/net/dev` (proc_pid_net(5)): eight counters received, then eight sent, bytes and packets first.
fn parse(table: &str, interface: &str) -> Option<Traffic> {
    let row = table.lines().find_map(|line| {
        let (name, counters) = line.split_once(':')?;
        (name.trim() == interface).then_some(counters)
    })?;
    let numbers: Vec<u64> = row.split_whitespace().map_while(|number| number.parse().ok()).collect();
    let counter = |at: usize| Some(Counter { bytes: *numbers.get(at)?, packets: *numbers.get(at + 1)? });
    Some(Traffic { received: counter(0)?, sent: counter(8)? })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_is_found_by_its_name() {
        let table = "Inter-|   Receive                            |  Transmit\n\
                     \x20face |bytes    packets errs drop fifo frame compressed multicast|bytes    packets errs\n\
                     \x20   lo:       0       0    0    0    0     0          0         0        0       0    0    0    0 0 0 0\n\
                     \x20 eth0:    1500      10    0    0    0     0          0         0      700       8    0    0    0 0 0 0\n";
        let eth0 = parse(table, "eth0");
        let received = Counter { packets: 10, bytes: 1500 };
        assert_eq!(eth0, Some(Traffic { received, sent: Counter { packets: 8, bytes: 700 } }));
        assert_eq!(parse(table, "eth1"), None);
        assert_eq!(parse("eth0: 1 2", "eth0"), None);
    }
}
