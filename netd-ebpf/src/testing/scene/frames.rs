//! Which frames come out of nowhere, answers to nothing?

use super::changes::PORTS;
use super::damage::damage;
use crate::testing::choices::Choices;
use crate::testing::packet::{Arp, Ip, error_about, options};
use crate::testing::world::{
    ABSENT, ABSENT_6, API, CONTAINERS, Container, DB, HOST, HOST_6, LAN_HOST, LAN_HOST_6, LAN_REMOTE, LAN_REMOTE_6,
    REMOTE, REMOTE_2, REMOTE_2_6, REMOTE_6, ROUTER, ROUTER_MAC, Source, UPLINK_MAC, WEB, Who, World, from_host,
    from_wire, mac_of,
};
use netd_common::Addr;
use netd_common::globals::{HAIRPIN_V4, HAIRPIN_V6, PROXY_V4};
use netd_common::publish::{ICMP, ICMPV6, PublishKey, SCTP, TCP, UDP};

pub const TCP_FLAGS: [u8; 12] = [0x02, 0x02, 0x02, 0x12, 0x10, 0x18, 0x11, 0x04, 0x14, 0x00, 0x03, 0x29];
const GRE: u8 = 47;
const ESP: u8 = 50;
const V4: [Addr; 18] = [
    REMOTE,
    REMOTE_2,
    HOST,
    WEB.address,
    DB.address,
    API.address,
    WEB.gateway,
    API.gateway,
    LAN_HOST,
    LAN_REMOTE,
    ROUTER,
    ABSENT,
    HAIRPIN_V4,
    PROXY_V4,
    Who::V4.stranger,
    Who::V4.loopback,
    Who::V4.group,
    Addr::v4([255; 4]),
];
const V6: [Addr; 17] = [
    REMOTE_6,
    REMOTE_2_6,
    HOST_6,
    WEB.address_6,
    DB.address_6,
    API.address_6,
    WEB.gateway_6,
    API.gateway_6,
    LAN_HOST_6,
    LAN_REMOTE_6,
    ABSENT_6,
    HAIRPIN_V6,
    Who::V6.stranger,
    Who::V6.loopback,
    Who::V6.group,
    Addr::link_local_of(DB.mac()),
    Addr::link_local_of(WEB.gateway_mac()),
];

/// An address of a family, that of a remote host first.
pub fn address(choices: &mut Choices, is_v4: bool) -> Addr {
    if is_v4 { choices.pick(&V4) } else { choices.pick(&V6) }
}

/// A frame that may be anything.
pub fn fresh(choices: &mut Choices, world: &World) -> (Source, Vec<u8>) {
    if choices.once_in(14) {
        let container = choices.pick(&CONTAINERS);
        let source = if choices.once_in(4) { Source::Wire } else { (&container).into() };
        let mut frame = if choices.once_in(4) { strange(choices, &container) } else { question(choices, &container) };
        damage_now_and_then(choices, &mut frame);
        return (source, frame);
    }
    let (source, mut ip, publish) = ends(choices, world);
    oddities(choices, &mut ip);
    let mut frame = transport(choices, &ip, publish);
    damage_now_and_then(choices, &mut frame);
    (source, frame)
}

fn damage_now_and_then(choices: &mut Choices, frame: &mut Vec<u8>) {
    if choices.once_in(12) {
        damage(choices, frame);
    }
}

/// From whom to whom, and by which published port, if by one.
fn ends(choices: &mut Choices, world: &World) -> (Source, Ip, Option<PublishKey>) {
    let container = choices.pick(&CONTAINERS);
    let is_v4 = choices.below(5) < 3;
    let kind = choices.weigh(&[30, 24, 16, 6, 8, 9, 5, 2]);
    let published: Vec<PublishKey> = world.model.publishes.keys().copied().collect();
    let publish = (matches!(kind, 1 | 2) && !published.is_empty()).then(|| choices.pick(&published));
    let is_v4 = publish.map_or(is_v4, |key| key.address.is_v4());
    let who = if is_v4 { Who::V4 } else { Who::V6 };
    let remote = choices.pick(&[who.remote, who.remote_2]);
    let host = publish.map_or(who.host, |key| {
        if key.address == who.any { choices.pick(&[who.host, who.host, who.lan_host]) } else { key.address }
    });
    match kind {
        0 => ((&container).into(), container.to(remote), None),
        1 => (Source::Wire, from_wire(remote, host), publish),
        2 => ((&container).into(), container.to(host), publish),
        3 => {
            let peer = choices.pick(&CONTAINERS);
            ((&container).into(), container.to_peer(&peer, &who), None)
        }
        4 => {
            let mut ip = container.to(address(choices, is_v4));
            if choices.once_in(8) {
                ip.from = address(choices, is_v4);
            }
            ((&container).into(), ip, None)
        }
        5 => {
            let from = address(choices, is_v4);
            (Source::Wire, from_wire(from, address(choices, is_v4)), None)
        }
        6 => (Source::Host, from_host(address(choices, is_v4)), None),
        _ => (Source::Forwarded, from_host(address(choices, is_v4)), None),
    }
}

/// What few packets have.
fn oddities(choices: &mut Choices, ip: &mut Ip) {
    ip.id = choices.pick(&[1, 2, 3]);
    match choices.weigh(&[40, 2, 2, 3, 2, 3, 1]) {
        0 => {}
        1 => ip.to_mac = choices.pick(&[[0xff; 6], UPLINK_MAC, ROUTER_MAC, WEB.mac(), [1, 0, 0x5e, 0, 0, 1]]),
        2 => ip.to_mac = mac_of(choices.pick(&V4)),
        3 => ip.ttl = choices.pick(&[1, 0, 2, 255]),
        4 if ip.from.is_v4() => ip.options = vec![1; choices.below(11) * 4],
        4 | 5 => ip.extensions = chain(choices),
        _ => ip.tos = choices.next() as u8,
    }
}

/// Extension headers, most of them as they should be.
fn chain(choices: &mut Choices) -> Vec<(u8, Vec<u8>)> {
    let count = choices.pick(&[1, 1, 2, 3, 7, 8, 9, 11]);
    let header = |choices: &mut Choices| {
        let bytes = if choices.once_in(4) { vec![0; 8] } else { options(choices.pick(&[8, 16, 24])) };
        (choices.pick(&[60, 60, 0, 43, 51]), bytes)
    };
    (0..count).map(|_| header(choices)).collect()
}

fn transport(choices: &mut Choices, ip: &Ip, publish: Option<PublishKey>) -> Vec<u8> {
    let (from_port, mut to_port) = (choices.pick(&PORTS), choices.pick(&PORTS));
    let mut kind = choices.weigh(&[34, 28, 14, 3, 5, 6, 6, 4]);
    if let Some(PublishKey { protocol, port, .. }) = publish
        && !choices.once_in(12)
    {
        to_port = port;
        kind = match protocol {
            TCP => 0,
            UDP => 1,
            _ => 5,
        };
    }
    let len = choices.pick(&[0, 1, 8, 20, 33, 64, 100]);
    // The MTU is in sight.
    let len = if choices.once_in(30) { choices.pick(&[1440, 1452, 1460, 1472, 1473, 1500, 1900]) } else { len };
    let payload = choices.bytes(len);
    match kind {
        0 => ip.tcp(from_port, to_port, choices.pick(&TCP_FLAGS), &payload),
        1 => {
            let mut frame = ip.udp(from_port, to_port, &payload);
            if choices.once_in(8) {
                let at = frame.len() - len - 2;
                frame[at..at + 2].fill(0);
            }
            frame
        }
        2 => ip.echo(true, choices.pick(&[80, 81, 4000, 0]), &payload),
        3 => ip.echo(false, from_port, &payload),
        4 => ip.icmp(choices.pick(&[13, 3, 11, 1, 2, 4, 5, 128, 130, 133, 136]), from_port, &payload),
        5 => {
            let mut segment = [from_port.to_be_bytes(), to_port.to_be_bytes()].concat();
            segment.extend([0, 0, 0, 1, 1, 2, 3, 4]);
            segment.extend(payload);
            ip.frame(SCTP, &segment)
        }
        6 => ip.frame(choices.pick(&[GRE, ESP, 4, 41, 59, 255, SCTP, TCP, UDP, ICMP, ICMPV6]), &payload),
        _ => made_up_error(choices, ip, &payload),
    }
}

/// An error about something that was never sent.
fn made_up_error(choices: &mut Choices, ip: &Ip, payload: &[u8]) -> Vec<u8> {
    let quoted = Ip { from: ip.to, to: ip.from, from_mac: ip.to_mac, to_mac: ip.from_mac, ..Ip::default() };
    let (from_port, to_port) = (choices.pick(&PORTS), choices.pick(&PORTS));
    let about = match choices.below(3) {
        0 => quoted.udp(from_port, to_port, payload),
        1 => quoted.tcp(from_port, to_port, 0x10, payload),
        _ => quoted.echo(true, from_port, payload),
    };
    let message = if ip.from.is_v4() { (3, 3) } else { (1, 4) };
    error_about(&about, ip.from, message, [0; 4], choices.pick(&[200, 28, 48, 27, 47]))
}

/// A question for a MAC address, in either family, or what looks like one.
fn question(choices: &mut Choices, container: &Container) -> Vec<u8> {
    if choices.once_in(2) {
        let sender = if choices.once_in(6) { choices.pick(&V4) } else { container.address };
        let mut arp = Arp::request(container.mac(), sender, choices.pick(&V4[2..]));
        if choices.once_in(8) {
            arp.operation = 2;
        }
        return arp.frame();
    }
    let from =
        choices.pick(&[container.address_6, container.address_6, Addr::link_local_of(container.mac()), Addr::NONE]);
    let target = choices.pick(&V6[2..]);
    match choices.weigh(&[8, 1, 1]) {
        0 => container.asks_for(from, target, !choices.once_in(3)),
        1 => container.is_told(Who::V6.group, target, container.mac(), 0x20),
        // A router is asked for.
        _ => Ip { to_mac: [0x33, 0x33, 0, 0, 0, 2], from, to: Who::V6.group, ttl: 255, ..container.to(target) }
            .message(133, 0, [0; 4], &[]),
    }
}

/// Neither ARP nor IP.
fn strange(choices: &mut Choices, container: &Container) -> Vec<u8> {
    let to = choices.pick(&[DB.mac(), WEB.mac(), container.gateway_mac(), [0xff; 6], UPLINK_MAC]);
    let mut frame = [to, container.mac()].concat();
    let ip = container.to(REMOTE).udp(80, 81, b"");
    match choices.below(3) {
        // A VLAN tag that the device has left in its place.
        0 => {
            frame.extend(choices.pick(&[[0x81, 0x00], [0x88, 0xa8]]));
            frame.extend([0, 5]);
            frame.extend(&ip[12..]);
        }
        1 => frame.extend([0x88, 0xcc, 0, 0]),
        _ => frame.extend([0x88, 0x64, 0x11, 0, 0, 1, 0, 0]),
    }
    frame
}
