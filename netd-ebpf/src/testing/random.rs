//! What traffic would nobody have thought of?
//!
//! Frames among few addresses and few ports, so that they meet: in each other's flows, in published ports, in taken ports.
//! A seed gives the same traffic everywhere.

use super::case::Ran;
use super::packet::{Arp, Ip, aged, answer_to, error_about};
use super::world::{
    ABSENT, ABSENT_6, API, CONTAINERS, Container, DB, HOST, HOST_6, LAN_HOST, LAN_REMOTE, REMOTE, REMOTE_2, REMOTE_6,
    ROUTER, ROUTER_6, ROUTER_MAC, Source, UPLINK, UPLINK_MAC, WEB, World, from_host, from_wire, mac_of,
};
use crate::verdict::Verdict;
use netd_common::Addr;
use netd_common::endpoint::{INTERNAL, ISOLATED, UNMASQUERADED};
use netd_common::globals::{HAIRPIN_V4, PROXY_V4};
use netd_common::publish::{ICMP, ICMPV6, TCP, UDP};

/// SplitMix64: enough for tests, and the same everywhere.
#[derive(Debug)]
pub struct Random {
    state: u64,
}

impl Random {
    #[must_use]
    pub const fn new(seed: u64) -> Self {
        Self { state: seed }
    }

    pub const fn next(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.state ^ (self.state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// Below `end`, which is not 0.
    pub const fn below(&mut self, end: usize) -> usize {
        (self.next() % end as u64) as usize
    }

    /// Once in `times`.
    pub const fn once_in(&mut self, times: usize) -> bool {
        self.below(times) == 0
    }

    /// One of a list that is not empty.
    pub fn pick<T: Clone>(&mut self, of: &[T]) -> T {
        of[self.below(of.len())].clone()
    }
}

const PORTS: [u16; 5] = [80, 81, 4000, 4001, 8080];
const ADDRESSES: [Addr; 25] = [
    WEB.address,
    DB.address,
    API.address,
    WEB.gateway,
    API.gateway,
    HOST,
    LAN_HOST,
    LAN_REMOTE,
    REMOTE,
    REMOTE_2,
    ABSENT,
    HAIRPIN_V4,
    Addr::v4([127, 0, 0, 1]),
    Addr::v4([224, 0, 0, 1]),
    Addr::v4([255; 4]),
    WEB.address_6,
    DB.address_6,
    API.address_6,
    WEB.gateway_6,
    HOST_6,
    REMOTE_6,
    ABSENT_6,
    PROXY_V4,
    Addr::link_local_of(DB.mac()),
    Addr::LOOPBACK_V6,
];
const TCP_FLAGS: [u8; 12] = [0x02, 0x02, 0x02, 0x02, 0x12, 0x10, 0x18, 0x11, 0x04, 0x14, 0x00, 0x03];

/// A world with random flags, published ports, clients they are open to, and sockets.
#[must_use]
pub fn world(random: &mut Random) -> World {
    let mut world = World::default();
    for container in CONTAINERS {
        let flags = random.pick(&[0, 0, 0, UNMASQUERADED, ISOLATED, INTERNAL]);
        world.plug(&container, flags);
    }
    for _ in 0..5 {
        let address = random.pick(&[Addr::ANY_V4, Addr::ANY_V4, HOST, LAN_HOST, Addr::v4([127, 0, 0, 1])]);
        let container = random.pick(&CONTAINERS);
        // Now and then of a container that is gone.
        let container = if random.once_in(8) { Container { endpoint: 9, ..container } } else { container };
        let (protocol, port, to_port) = (random.pick(&[TCP, UDP]), random.pick(&PORTS), random.pick(&PORTS));
        if random.once_in(3) {
            let to = if random.once_in(2) { container.address } else { container.address_6 };
            world.publish_at(protocol, (random.pick(&[Addr::ANY_V6, HOST_6]), port), &container, (to, to_port));
        } else {
            world.publish(protocol, address, port, &container, to_port);
        }
    }
    if random.once_in(4) {
        world.allow(1, &[(random.pick(&[REMOTE, REMOTE_2, DB.address]), random.pick(&[24, 31, 32]))]);
    }
    for _ in 0..2 {
        let (protocol, port) = (random.pick(&[TCP, UDP]), random.pick(&PORTS));
        if world.stack.sockets.iter().any(|socket| (socket.protocol, socket.port) == (protocol, port)) {
            continue;
        }
        if protocol == UDP && random.once_in(2) {
            world.connect(HOST, port, random.pick(&[REMOTE, REMOTE_2]), random.pick(&PORTS));
        } else {
            world.listen(protocol, HOST, port);
        }
    }
    if random.once_in(3) {
        world.stack.forwarding.insert(UPLINK);
    }
    world
}

/// The next frame: sometimes the answer to what came out last.
#[must_use]
pub fn frame(random: &mut Random, last: Option<&Ran>) -> (Source, Vec<u8>) {
    if let Some(answer) = last.filter(|_| !random.once_in(3)).and_then(|ran| answer(random, ran)) {
        return answer;
    }
    let (source, ip) = ends(random);
    if random.once_in(12) {
        return (source, question(random, source));
    }
    let mut frame = transport(random, &ip);
    damage(random, &mut frame);
    (source, frame)
}

fn ends(random: &mut Random) -> (Source, Ip) {
    let (source, mut ip) = match random.below(8) {
        0..4 => {
            let container = random.pick(&CONTAINERS);
            let to = if random.once_in(2) {
                random.pick(&ADDRESSES)
            } else {
                random.pick(&[REMOTE, REMOTE_2, HOST, REMOTE_6, HOST_6])
            };
            let mut ip = container.to(to);
            if random.once_in(8) {
                ip.to_mac = mac_of(random.pick(&ADDRESSES));
            }
            if random.once_in(20) {
                let is_v4 = ip.from.is_v4();
                ip.from = random.pick(&ADDRESSES);
                if ip.from.is_v4() != is_v4 {
                    ip.from = container.to(to).from;
                }
            }
            (Source::Container(container.ifindex), ip)
        }
        4..7 => {
            let from = if random.once_in(3) { random.pick(&ADDRESSES) } else { random.pick(&[REMOTE, REMOTE_2]) };
            let to = if random.once_in(4) { random.pick(&ADDRESSES) } else { HOST };
            let from = if random.once_in(3) { REMOTE_6 } else { from };
            let to = if from.is_v4() == to.is_v4() {
                to
            } else if from.is_v4() {
                HOST
            } else {
                HOST_6
            };
            (Source::Wire, from_wire(from, to))
        }
        _ => {
            let source = if random.once_in(5) { Source::Forwarded } else { Source::Host };
            (source, from_host(random.pick(&ADDRESSES)))
        }
    };
    if random.once_in(20) {
        ip.to_mac = random.pick(&[[0xff; 6], UPLINK_MAC, ROUTER_MAC, WEB.mac(), [1, 0, 0x5e, 0, 0, 1]]);
    }
    if random.once_in(10) {
        ip.ttl = random.pick(&[0, 1, 2, 255]);
    }
    if random.once_in(12) {
        ip.fragment = random.pick(&[0x2000, 0x2001, 0x0001, 0x4000]);
    }
    if random.once_in(10) {
        let words = random.below(11);
        ip.options = vec![1; words * 4];
    }
    if random.once_in(10) {
        let count = random.below(12);
        ip.extensions = (0..count).map(|_| (random.pick(&[0, 43, 51, 60, 60, 60]), vec![0; 8])).collect();
    }
    ip.id = random.pick(&[1, 2, 3]);
    (source, ip)
}

fn transport(random: &mut Random, ip: &Ip) -> Vec<u8> {
    let (from_port, to_port) = (random.pick(&PORTS), random.pick(&PORTS));
    let len = random.below(20);
    let payload: Vec<u8> = (0..len).map(|_| random.next() as u8).collect();
    match random.below(10) {
        0..4 => ip.tcp(from_port, to_port, random.pick(&TCP_FLAGS), &payload),
        4..7 => {
            let mut frame = ip.udp(from_port, to_port, &payload);
            if random.once_in(6) {
                let at = frame.len() - len - 2;
                frame[at..at + 2].fill(0);
            }
            frame
        }
        7 => ip.echo(random.once_in(2), from_port, &payload),
        8 => ip.icmp(random.pick(&[0, 8, 3, 11, 1, 2, 128, 130, 133, 136]), from_port, &payload),
        _ => ip.frame(random.pick(&[132, 47, 255, TCP, UDP, ICMP, ICMPV6]), &payload),
    }
}

/// A question for a MAC address, in either family.
fn question(random: &mut Random, source: Source) -> Vec<u8> {
    let container = CONTAINERS.into_iter().find(|of| of.ifindex == source.ifindex()).unwrap_or(WEB);
    let target = random.pick(&ADDRESSES);
    let mut frame = if target.is_v4() {
        let sender = if random.once_in(6) { random.pick(&ADDRESSES) } else { container.address };
        let mut arp = Arp::request(container.mac(), sender, target);
        if random.once_in(8) {
            arp.operation = 2;
        }
        arp.frame()
    } else {
        let from =
            random.pick(&[container.address_6, container.address_6, Addr::link_local_of(container.mac()), Addr::NONE]);
        container.asks_for(from, target, random.once_in(2))
    };
    damage(random, &mut frame);
    frame
}

/// Now and then a byte is another, or the end is missing.
fn damage(random: &mut Random, frame: &mut Vec<u8>) {
    if random.once_in(10) {
        let at = random.below(frame.len());
        frame[at] = random.next() as u8;
    }
    if random.once_in(25) {
        frame.truncate(random.below(frame.len()));
    }
}

/// What the receiver of the last frame might say, where it went on to one: an answer, or that something is wrong with it.
fn answer(random: &mut Random, ran: &Ran) -> Option<(Source, Vec<u8>)> {
    let frame = &ran.frame.bytes;
    let is_v4 = frame.len() >= 54 && frame[12..15] == [0x08, 0x00, 0x45];
    let is_v6 = frame.len() >= 74 && frame[12..14] == [0x86, 0xdd];
    let protocol = if is_v4 { frame[23] } else { *frame.get(20)? };
    if !(is_v4 || is_v6) || !matches!(protocol, TCP | UDP | ICMP | ICMPV6) {
        return None;
    }
    let is_error = random.once_in(6);
    let mut answer = if is_error { error(random, frame) } else { answer_to(frame, b"answer") };
    let source = match ran.verdict {
        Verdict::Deliver { ifindex } => Source::Container(ifindex),
        Verdict::Forward { .. } | Verdict::Pass | Verdict::Keep => {
            answer[..6].copy_from_slice(&UPLINK_MAC);
            Source::Wire
        }
        Verdict::Answer { .. } | Verdict::Drop(_) | Verdict::Spent => return None,
    };
    if protocol == TCP && !is_error {
        let flags = if is_v4 { 47 } else { 67 };
        answer[flags] = random.pick(&TCP_FLAGS);
    }
    if random.once_in(20) {
        damage(random, &mut answer);
    }
    if answer.len() < 54 {
        return Some((source, answer));
    }
    Some((source, aged(answer, 64)))
}

fn error(random: &mut Random, frame: &[u8]) -> Vec<u8> {
    let is_v4 = frame[12] == 0x08;
    let message =
        if is_v4 { random.pick(&[(3, 3), (3, 4), (11, 0), (12, 0)]) } else { random.pick(&[(1, 4), (2, 0), (3, 0)]) };
    let router = match (random.once_in(2), is_v4) {
        (true, true) => ROUTER,
        (true, false) => ROUTER_6,
        (false, true) => Addr::v4(std::array::from_fn(|index| frame[30 + index])),
        (false, false) => Addr::v6(std::array::from_fn(|index| frame[38 + index])),
    };
    let len = if is_v4 { 28 } else { 48 } + random.pick(&[0, 0, 4, 20, 100]);
    error_about(frame, router, message, [0, 0, 5, 0], len)
}
