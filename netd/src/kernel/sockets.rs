//! What are the host's own sockets bound to, and who has them?

use crate::model::command::HostSocket;
use std::collections::BTreeSet;
use std::io;
use std::net::IpAddr;

/// Every TCP listener and every bound, unconnected UDP socket of this network namespace, both families (sock_diag(7)).
pub fn bound() -> io::Result<BTreeSet<HostSocket>> {
    todo!()
}

/// The process that holds the socket with this inode, as `name (pid N)`; none when it cannot be known.
pub fn process_of(_inode: u32) -> Option<String> {
    todo!()
}

/// Destroys the connected UDP sockets of this network namespace whose peer is this address and port, so that their
/// programs dial again (`SOCK_DESTROY`, Linux 4.5). Returns how many.
pub fn destroy_udp(_peer: IpAddr, _port: u16) -> io::Result<usize> {
    todo!()
}

/// `SO_NETNS_COOKIE` of this network namespace (Linux 5.14).
pub fn netns_cookie() -> io::Result<u64> {
    todo!()
}
