//! Has a receiver found a wrong checksum?
//!
//! A sender leaves the checksum to its device, and a veth pair to its other end, which takes it for right. So that it is
//! looked at, some device on the way has to write it: one that [`Place::sum_in_software`] was called for.

use super::{Place, World};
use std::fs;
use std::io;
use std::net::UdpSocket;
use std::os::fd::AsRawFd;
use std::sync::PoisonError;

/// The kernel's files about a namespace that have counters named `InCsumErrors`, in two forms: names and values in lines
/// one under the other, and a line for each.
const TABLES: [&str; 2] = ["snmp", "netstat"];
const LIST: &str = "snmp6";

impl World {
    /// What receivers in this world say of checksums: one line for each counter that has moved.
    #[must_use]
    pub fn wrong_checksums(&self) -> Vec<String> {
        let receivers = self.receivers.lock().unwrap_or_else(PoisonError::into_inner);
        // Of none: of no container either.
        let containers = self.containers().into_iter().filter(|_| !receivers.is_empty());
        receivers.iter().cloned().chain(containers).flat_map(|place| place.wrong_checksums()).collect()
    }

    /// Has another place looked at in the end.
    pub(super) fn receives(&self, place: &Place) {
        self.receivers.lock().unwrap_or_else(PoisonError::into_inner).push(place.clone());
    }

    /// Says that this test sends wrong checksums itself: nobody is looked at.
    pub fn sends_wrong_checksums(&self) {
        self.receivers.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }

    fn containers(&self) -> Vec<Place> {
        let files = fs::read_dir(self.netns_folder()).into_iter().flatten().flatten();
        files.filter_map(|file| Place::try_open(&file.file_name().to_string_lossy(), &file.path())).collect()
    }
}

impl Place {
    fn wrong_checksums(&self) -> Vec<String> {
        let read = |name: &str| fs::read_to_string(format!("/proc/thread-self/net/{name}")).unwrap_or_default();
        let (tables, list) = self.run(|| (TABLES.map(read), read(LIST)));
        let rows = list.lines().filter_map(|line| line.split_once(char::is_whitespace));
        let mut counters: Vec<(String, String)> =
            rows.map(|(name, value)| (name.to_owned(), value.trim().to_owned())).collect();
        for table in tables {
            let lines: Vec<&str> = table.lines().collect();
            for pair in lines.chunks_exact(2) {
                let [names, values] = [pair[0], pair[1]].map(str::split_whitespace);
                let protocol = pair[0].split(':').next().unwrap_or_default();
                counters
                    .extend(names.zip(values).map(|(name, value)| (format!("{protocol} {name}"), value.to_owned())));
            }
        }
        let wrong = counters.iter().filter(|(name, value)| name.ends_with("InCsumErrors") && value != "0");
        wrong.map(|(name, value)| format!("{}: {value} {name}", self.name)).collect()
    }

    /// Has the kernel write the checksums of what leaves by an interface, and cut large segments before that.
    #[track_caller]
    pub fn sum_in_software(&self, interface: &str) {
        self.run(|| switch_off_sums(interface))
            .unwrap_or_else(|error| panic!("in {}, {interface}: {error}", self.name));
    }
}

/// `ethtool -K INTERFACE tx off`.
fn switch_off_sums(interface: &str) -> io::Result<()> {
    /// `struct ethtool_value` of linux/ethtool.h.
    #[repr(C)]
    struct Value {
        command: u32,
        data: u32,
    }
    const ETHTOOL_STXCSUM: u32 = 0x17;
    let mut value = Value { command: ETHTOOL_STXCSUM, data: 0 };
    // SAFETY: all zero is a legal value of this struct of bytes, integers and pointers.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    for (to, from) in request.ifr_name.iter_mut().zip(interface.bytes()) {
        *to = from.cast_signed();
    }
    request.ifr_ifru.ifru_data = (&raw mut value).cast();
    let socket = UdpSocket::bind("127.0.0.1:0")?;
    // SAFETY: the request and what it points to outlive the call.
    let result = unsafe { libc::ioctl(socket.as_raw_fd(), libc::SIOCETHTOOL, &raw mut request) };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}
