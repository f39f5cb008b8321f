//! Which programs of the host talk to a container that a published port no longer leads to?
//!
//! A UDP socket that was connected to a published port is turned to the container for as long as it lives: no packet of
//! it asks again. So when the port is taken away or leads elsewhere, the socket is destroyed, and its program dials anew.
//! A socket that dialled the container itself, or by another port, keeps it.

use super::datapath::Datapath;
use super::sockets;
use crate::reconcile::op::FlowSelector;
use netd_common::Addr;
use netd_common::publish::{Publish, PublishKey, UDP};
use netd_common::sock::{Dialled, SockKey};
use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::net::IpAddr;

/// Destroys the UDP sockets of this thread's network namespace that were connected through a published port of
/// `selectors`, once the port's entry is gone. Returns how many.
///
/// # Errors
/// When a map or `sock_diag(7)` does not answer.
pub fn end_udp(datapath: &Datapath, selectors: &[FlowSelector]) -> io::Result<usize> {
    let gone: BTreeSet<PublishKey> = selectors.iter().filter_map(udp_publish).collect();
    if gone.is_empty() {
        return Ok(0);
    }
    let mut published = BTreeMap::new();
    datapath.for_each("PUBLISHED", |key: &PublishKey, publish: &Publish| {
        published.insert(*key, *publish);
    })?;
    let mut lost = BTreeSet::new();
    datapath.for_each("SOCK_ORIGIN", |socket: &SockKey, dialled: &Dialled| {
        if is_lost(socket, dialled, &gone, &published) {
            lost.insert((socket.cookie, IpAddr::from(socket.address), socket.port));
        }
    })?;
    if lost.is_empty() {
        return Ok(0);
    }
    sockets::destroy_udp(|socket| lost.contains(&(socket.cookie, socket.peer, socket.port)))
}

fn udp_publish(selector: &FlowSelector) -> Option<PublishKey> {
    match selector {
        FlowSelector::Publish { key, endpoint: _ } => (key.protocol == UDP).then_some(*key),
        // Its published ports go with it, and have selectors of their own.
        FlowSelector::Endpoint(_) | FlowSelector::Source(_) => None,
    }
}

/// Whether a socket was turned by one of the entries that are `gone`, and would not be turned the same way by those that
/// are `published` still.
fn is_lost(
    socket: &SockKey,
    dialled: &Dialled,
    gone: &BTreeSet<PublishKey>,
    published: &BTreeMap<PublishKey, Publish>,
) -> bool {
    let (any, loopback) = if dialled.address.is_v4() {
        (Addr::ANY_V4, Addr::v4([127, 0, 0, 1]))
    } else {
        (Addr::ANY_V6, Addr::LOOPBACK_V6)
    };
    // An unspecified destination means the host itself.
    let exact = if dialled.address == any { loopback } else { dialled.address };
    let keys = [exact, any].map(|address| PublishKey { address, port: dialled.port, protocol: UDP, pad: 0 });
    if !keys.iter().any(|key| gone.contains(key)) {
        return false;
    }
    // An entry that is about to be replaced is there until it is, and leads where it will not lead any more.
    let now = keys.iter().filter(|key| !gone.contains(key)).find_map(|key| published.get(key));
    now.is_none_or(|publish| (publish.address, publish.port) != (socket.address, socket.port))
}

#[cfg(test)]
mod tests {
    use super::*;

    const WEB: Addr = Addr::v4([10, 208, 0, 2]);
    const DB: Addr = Addr::v4([10, 208, 0, 3]);
    const LOOPBACK: Addr = Addr::v4([127, 0, 0, 1]);

    fn key(address: Addr) -> PublishKey {
        PublishKey { address, port: 5353, protocol: UDP, pad: 0 }
    }

    /// Whether a socket that dialled `dialled`:5353 and was turned to `WEB`:53 is lost.
    fn lost(dialled: Addr, gone: &[Addr], published: &[(Addr, Addr)]) -> bool {
        let socket = SockKey { cookie: 1, address: WEB, port: 53, pad: [0; 6] };
        let publish = |address| Publish { address, port: 53, ..Publish::default() };
        let published = published.iter().map(|&(address, to)| (key(address), publish(to))).collect();
        let gone = gone.iter().copied().map(key).collect();
        is_lost(&socket, &Dialled { address: dialled, port: 5353, pad: [0; 2] }, &gone, &published)
    }

    #[test]
    fn a_socket_whose_port_is_gone_is_lost() {
        assert!(lost(LOOPBACK, &[Addr::ANY_V4], &[]));
        assert!(lost(LOOPBACK, &[LOOPBACK], &[]));
        // As a program that connects to 0.0.0.0 does.
        assert!(lost(Addr::ANY_V4, &[LOOPBACK], &[]));
    }

    #[test]
    fn ipv6_is_looked_up_by_its_own_entries() {
        assert!(lost(Addr::LOOPBACK_V6, &[Addr::ANY_V6], &[]));
        assert!(lost(Addr::LOOPBACK_V6, &[Addr::LOOPBACK_V6], &[]));
        assert!(lost(Addr::ANY_V6, &[Addr::LOOPBACK_V6], &[]), "as a program that connects to :: does");
        assert!(!lost(Addr::LOOPBACK_V6, &[Addr::ANY_V4], &[(Addr::ANY_V6, WEB)]));
        assert!(!lost(LOOPBACK, &[Addr::ANY_V6], &[(Addr::ANY_V4, WEB)]), "v4-mapped is IPv4");
        assert!(!lost(Addr::LOOPBACK_V6, &[Addr::LOOPBACK_V6], &[(Addr::ANY_V6, WEB)]));
    }

    #[test]
    fn a_socket_of_another_port_keeps_its_container() {
        assert!(!lost(LOOPBACK, &[], &[]));
        assert!(!lost(LOOPBACK, &[Addr::v4([198, 18, 0, 1])], &[(LOOPBACK, WEB)]));
        assert!(!lost(LOOPBACK, &[Addr::ANY_V4], &[(LOOPBACK, WEB)]));
    }

    #[test]
    fn another_entry_that_takes_over_counts_by_where_it_leads() {
        assert!(!lost(LOOPBACK, &[LOOPBACK], &[(Addr::ANY_V4, WEB)]));
        assert!(lost(LOOPBACK, &[LOOPBACK], &[(Addr::ANY_V4, DB)]));
    }

    #[test]
    fn an_entry_that_will_be_replaced_does_not_count() {
        assert!(lost(LOOPBACK, &[LOOPBACK], &[(LOOPBACK, WEB)]));
    }

    #[test]
    fn the_flows_of_a_tcp_port_are_no_business_of_these() {
        let tcp = PublishKey { address: LOOPBACK, port: 80, protocol: netd_common::publish::TCP, pad: 0 };
        assert_eq!(udp_publish(&FlowSelector::Publish { key: tcp, endpoint: 1 }), None);
        assert_eq!(udp_publish(&FlowSelector::Publish { key: key(LOOPBACK), endpoint: 1 }), Some(key(LOOPBACK)));
        assert_eq!(udp_publish(&FlowSelector::Endpoint(1)), None);
    }
}
