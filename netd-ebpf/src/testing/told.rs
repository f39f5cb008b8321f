//! How is a flow told in words, as a row expects it?

use super::model::Model;
use super::world::{
    API, DB, HOST as HOST_4, HOST_6, LAN_HOST, LAN_HOST_6, REMOTE, REMOTE_2, REMOTE_2_6, REMOTE_6, WEB,
};
use netd_common::Addr;
use netd_common::flow::{Flow, FlowKey, HOST, INSIDE, OUTSIDE, TO_ENDPOINT, TO_UPLINK};
use netd_common::globals::{HAIRPIN_V4, HAIRPIN_V6};
use netd_common::publish::{ICMP, ICMPV6, TCP, UDP};

/// The flows in words, in the order of the map: `tcp inside 10.1.0.2:4000>198.18.1.9:80 = 198.18.0.1:4000>198.18.1.9:80
/// uplink 102, opening, 1`. The last is the number of packets.
#[must_use]
pub fn tell(model: &Model) -> Vec<String> {
    model.flows.borrow().iter().map(|(key, flow)| tell_flow(key, flow)).collect()
}

fn tell_flow(key: &FlowKey, flow: &Flow) -> String {
    let protocol = match key.protocol {
        TCP => "tcp",
        UDP => "udp",
        ICMP | ICMPV6 => "icmp",
        _ => "other",
    };
    let side = match key.side {
        INSIDE => "inside",
        OUTSIDE => "outside",
        HOST => "host",
        _ => "nowhere",
    };
    let target = match flow.target {
        TO_ENDPOINT => format!("endpoint {}", flow.endpoint),
        TO_UPLINK => format!("uplink {}", flow.ifindex),
        _ => "stack".to_owned(),
    };
    let at = |address: &Addr, port| {
        let ip = std::net::Ipv6Addr::from(address.bytes).to_canonical();
        std::net::SocketAddr::new(ip, port).to_string()
    };
    format!(
        "{protocol} {side} {}>{} = {}>{} {target}, {}, {}",
        at(&key.source, key.source_port),
        at(&key.destination, key.destination_port),
        at(&flow.source, flow.source_port),
        at(&flow.destination, flow.destination_port),
        flow.state().name(),
        flow.packets,
    )
}

/// A flow that is told with IPv4 addresses, told with those that mean the same in IPv6.
pub fn flow_in_ipv6(flow: &str) -> String {
    let pairs = [
        (WEB.address, WEB.address_6),
        (DB.address, DB.address_6),
        (API.address, API.address_6),
        (WEB.gateway, WEB.gateway_6),
        (HOST_4, HOST_6),
        (LAN_HOST, LAN_HOST_6),
        (REMOTE, REMOTE_6),
        (REMOTE_2, REMOTE_2_6),
        (HAIRPIN_V4, HAIRPIN_V6),
    ];
    let text = |address: Addr| std::net::Ipv6Addr::from(address.bytes).to_canonical().to_string();
    // With the colon behind it, so that no address is taken for the start of another.
    let replaced = |flow: String, (v4, v6)| flow.replace(&format!("{}:", text(v4)), &format!("[{}]:", text(v6)));
    pairs.into_iter().fold(flow.to_owned(), replaced)
}
