//! How do the host's own programs reach published ports, how are these ports kept for the containers, and how do the
//! containers' programs reach their name server?
//!
//! A socket that dials a published port is turned to the container when it dials, so nothing is translated per packet.
//! What it dialled is remembered, for `getpeername` and for the source that `recvmsg` tells. Only sockets of the
//! namespace that netd serves are touched: these programs see every process below their cgroup.
//!
//! In the namespaces that `NAMES` has, and in no other, port 53 of 127.0.0.11 is turned to the port of that address at
//! which the agent listens, and told as port 53 again. Nothing is remembered for it: there is one such port in each.

use crate::published;
use crate::tables::Tables;
use netd_common::Addr;
use netd_common::names::{RESOLVER, RESOLVER_PORT};
use netd_common::publish::{Publish, PublishKey, TCP, UDP};
use netd_common::sock::{Dialled, SockKey};

/// One call of a socket, as a cgroup program sees it (`struct bpf_sock_addr`).
pub trait Call {
    /// `SO_NETNS_COOKIE` of the socket's namespace.
    fn netns_cookie(&self) -> u64;
    /// `SO_COOKIE` of the socket.
    fn cookie(&self) -> u64;
    fn protocol(&self) -> u8;
    /// The address in the call: v4-mapped for IPv4, and as it is in a call of an IPv6 socket.
    fn address(&self) -> Addr;
    fn port(&self) -> u16;
    /// Exchanges both.
    fn redirect(&mut self, address: Addr, port: u16);
}

/// `connect`: dial the container instead.
#[inline(always)]
pub fn dial<C: Call, T: Tables>(call: &mut C, tables: &T) {
    turn(call, tables, true);
}

/// `sendmsg` of an unconnected socket: the same, but that the kernel takes no IPv4 destination there for one in IPv6.
#[inline(always)]
pub fn send<C: Call, T: Tables>(call: &mut C, tables: &T) {
    turn(call, tables, false);
}

#[inline(always)]
fn turn<C: Call, T: Tables>(call: &mut C, tables: &T, may_change_family: bool) {
    let netns_cookie = call.netns_cookie();
    if netns_cookie != tables.netns_cookie() {
        return ask_resolver(call, netns_cookie, tables);
    }
    let address = dialled_address(call.address());
    let port = call.port();
    let Some(publish) = published::find(tables, &address, port, call.protocol()) else { return };
    // An IPv4 socket cannot speak IPv6 at all.
    let changes_family = address.is_v4() != publish.address.is_v4();
    if changes_family && (address.is_v4() || !may_change_family) {
        return;
    }
    let key = sock_key(call, publish);
    tables.remember_dialled(&key, &Dialled { address: call.address(), port, pad: [0; 2] });
    call.redirect(publish.address, publish.port);
}

/// `recvmsg` and `getpeername`: tell what was dialled.
#[inline(always)]
pub fn undial<C: Call, T: Tables>(call: &mut C, tables: &T) {
    let netns_cookie = call.netns_cookie();
    if netns_cookie != tables.netns_cookie() {
        return tell_resolver(call, netns_cookie, tables);
    }
    let key = SockKey { cookie: call.cookie(), address: call.address(), port: call.port(), pad: [0; 6] };
    if let Some(dialled) = tables.dialled(&key) {
        call.redirect(dialled.address, dialled.port);
    }
}

/// A container's program asks its name server.
#[inline(always)]
fn ask_resolver<C: Call, T: Tables>(call: &mut C, netns_cookie: u64, tables: &T) {
    // Cheap questions first: every call of every container comes by here.
    if call.port() != RESOLVER_PORT || !matches!(call.protocol(), TCP | UDP) || call.address() != RESOLVER {
        return;
    }
    if let Some(resolver) = tables.resolver(netns_cookie) {
        call.redirect(RESOLVER, resolver.port);
    }
}

/// It is told that the answer comes from where it asked.
#[inline(always)]
fn tell_resolver<C: Call, T: Tables>(call: &mut C, netns_cookie: u64, tables: &T) {
    let port = call.port();
    if call.address() != RESOLVER {
        return;
    }
    if tables.resolver(netns_cookie).is_some_and(|resolver| resolver.port == port) {
        call.redirect(RESOLVER, RESOLVER_PORT);
    }
}

/// `bind`: whether the address is free of published ports.
#[must_use]
#[inline(always)]
pub fn may_bind<C: Call, T: Tables>(call: &C, tables: &T) -> bool {
    let port = call.port();
    if port == 0 || call.netns_cookie() != tables.netns_cookie() {
        return true;
    }
    let address = call.address();
    let protocol = call.protocol();
    let is_taken = |address| tables.publish(&PublishKey { address, port, protocol, pad: 0 }).is_some();
    // An IPv6 wildcard takes IPv4 too, unless the socket says otherwise (RFC 3493 section 5.3), which is not seen here.
    let every = if address.is_v4() { Addr::ANY_V4 } else { Addr::ANY_V6 };
    !(is_taken(address) || is_taken(every) || address == Addr::ANY_V6 && is_taken(Addr::ANY_V4))
}

/// An unspecified destination means the host itself.
#[inline(always)]
fn dialled_address(address: Addr) -> Addr {
    match address {
        Addr::ANY_V4 => Addr::v4([127, 0, 0, 1]),
        Addr::ANY_V6 => Addr::LOOPBACK_V6,
        address => address,
    }
}

#[inline(always)]
fn sock_key<C: Call>(call: &C, publish: &Publish) -> SockKey {
    SockKey { cookie: call.cookie(), address: publish.address, port: publish.port, pad: [0; 6] }
}

#[cfg(test)]
mod tests;
