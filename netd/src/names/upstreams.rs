//! Who is asked for the names of others?
//!
//! The servers of the host's `resolv.conf`, which is read again when it has changed. netd asks from the host's own
//! namespace: so the stub of systemd-resolved on 127.0.0.53 answers it as it answers the host, and a link-local server is
//! on the link that it is named with.

use crate::kernel::names::interface_index;
use crate::resolv_conf::{ResolvConf, Server};
use netd_common::names::RESOLVER_PORT;
use std::fs;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, SocketAddrV6};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime};

/// Servers that are asked, of the host or of a container; as many as the C library asks (`MAXNS`).
pub const SERVERS_MAX: usize = 3;
/// How often the file is looked at, at most.
const LOOK_INTERVAL: Duration = Duration::from_secs(1);

#[derive(Debug)]
pub struct Upstreams {
    resolv_conf: PathBuf,
    known: Mutex<Known>,
}

#[derive(Debug, Default)]
struct Known {
    looked: Option<Instant>,
    version: Option<Version>,
    servers: Arc<[SocketAddr]>,
}

/// Time of the last change, bytes and inode of the file.
type Version = (SystemTime, u64, u64);

impl Upstreams {
    #[must_use]
    pub fn new(resolv_conf: PathBuf) -> Self {
        Self { resolv_conf, known: Mutex::default() }
    }

    /// Those of the host now.
    pub fn of_host(&self) -> Arc<[SocketAddr]> {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if known.looked.is_none_or(|looked| looked.elapsed() >= LOOK_INTERVAL) {
            let version = version(&self.resolv_conf);
            if version.is_none() || version != known.version || known.servers.is_empty() {
                let text = fs::read_to_string(&self.resolv_conf).unwrap_or_default();
                known.servers = servers(ResolvConf::parse(&text).servers).into();
                known.version = version;
            }
            known.looked = Some(Instant::now());
        }
        Arc::clone(&known.servers)
    }

    /// Those that a container was given.
    #[must_use]
    pub fn of_container(dns: &[IpAddr]) -> Arc<[SocketAddr]> {
        dns.iter().take(SERVERS_MAX).map(|&address| SocketAddr::new(address, RESOLVER_PORT)).collect()
    }
}

fn version(path: &Path) -> Option<Version> {
    let file = fs::metadata(path).ok()?;
    Some((file.modified().ok()?, file.len(), file.ino()))
}

/// None named: the one on this machine, as resolv.conf(5) has it.
fn servers(named: Vec<Server>) -> Vec<SocketAddr> {
    let mut servers: Vec<SocketAddr> = named.into_iter().filter_map(address).take(SERVERS_MAX).collect();
    if servers.is_empty() {
        servers.push(SocketAddr::new(Ipv4Addr::LOCALHOST.into(), RESOLVER_PORT));
    }
    servers
}

/// None when its link is not there.
fn address(server: Server) -> Option<SocketAddr> {
    match (server.address, server.zone) {
        (IpAddr::V6(address), Some(zone)) => {
            let index = zone.parse().ok().or_else(|| interface_index(&zone))?;
            Some(SocketAddrV6::new(address, RESOLVER_PORT, 0, index).into())
        }
        (address, _) => Some(SocketAddr::new(address, RESOLVER_PORT)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Vec<String> {
        servers(ResolvConf::parse(text).servers).iter().map(ToString::to_string).collect()
    }

    #[test]
    fn servers_are_those_of_the_file_and_their_links() {
        assert_eq!(read("nameserver 127.0.0.53\n"), ["127.0.0.53:53"]);
        assert_eq!(read("nameserver fe80::1%lo\nnameserver fe80::2%7\n"), ["[fe80::1%1]:53", "[fe80::2%7]:53"]);
        assert_eq!(read("nameserver fe80::1%no-such\n"), ["127.0.0.1:53"], "its link is not there");
        assert_eq!(read(""), ["127.0.0.1:53"]);
        let many: Vec<String> = (1..9).map(|last| format!("nameserver 198.18.0.{last}")).collect();
        assert_eq!(read(&many.join("\n")).len(), SERVERS_MAX);
    }
}
