//! On which world does a scene play, and what changes on it meanwhile?

use crate::testing::choices::Choices;
use crate::testing::world::{
    CONTAINERS, Container, DB, HOST, HOST_6, LAN_HOST, LAN_HOST_6, REMOTE, REMOTE_2, REMOTE_6, ROUTER, UPLINK, World,
};
use netd_common::Addr;
use netd_common::endpoint::{INTERNAL, ISOLATED, PoolKey, UNMASQUERADED};
use netd_common::flow::Timeouts;
use netd_common::publish::{PublishKey, SCTP, TCP, UDP};

/// Few, so that flows, published ports and sockets meet.
pub const PORTS: [u16; 5] = [80, 81, 4000, 4001, 8080];
const FLAGS: [u32; 10] = [0, 0, 0, 0, 0, 0, UNMASQUERADED, UNMASQUERADED, ISOLATED, INTERNAL];

/// A world with some flags, published ports, clients they are open to, sockets, timeouts and pools.
#[must_use]
pub fn world(choices: &mut Choices) -> World {
    let mut world = World::default();
    for container in CONTAINERS {
        let flags = choices.pick(&FLAGS);
        world.plug(&container, flags);
    }
    for _ in 0..choices.pick(&[1, 3, 5, 8]) {
        publish(&mut world, choices);
    }
    for _ in 0..choices.below(4) {
        open_socket(&mut world, choices);
    }
    if choices.once_in(3) {
        world.stack.forwarding.insert(UPLINK);
    }
    if choices.once_in(6) {
        allow(&mut world, choices);
    }
    if choices.once_in(5) {
        pool(&mut world, choices);
    }
    if choices.once_in(4) {
        let short = Timeouts { tcp_opening: 20, tcp_established: 100, udp_established: 60, ..Timeouts::DEFAULT };
        world.model.timeouts.insert(1 + choices.below(2) as u32, short);
    }
    world
}

/// Changes one thing, and says which.
pub fn change(world: &mut World, choices: &mut Choices) -> String {
    match choices.weigh(&[5, 3, 3, 3, 3, 2, 2, 1]) {
        0 => publish(world, choices),
        1 => unpublish(world, choices),
        2 => {
            let container = choices.pick(&CONTAINERS);
            let flags = choices.pick(&FLAGS);
            world.plug(&container, flags);
            format!("endpoint {} is there, with flags {flags:#x}", container.endpoint)
        }
        3 => {
            let container = choices.pick(&CONTAINERS);
            world.unplug(&container);
            format!("endpoint {} goes", container.endpoint)
        }
        4 => {
            let container = Container { endpoint: 7, ..choices.pick(&CONTAINERS) };
            world.plug(&container, 0);
            format!("endpoint 7 is there, on interface {}", container.ifindex)
        }
        5 => open_socket(world, choices),
        6 => {
            let closed = world.stack.sockets.pop_first();
            format!("closed: {closed:?}")
        }
        _ => {
            let is_on = world.stack.forwarding.insert(UPLINK) || !world.stack.forwarding.remove(&UPLINK);
            format!("the uplink forwards: {is_on}")
        }
    }
}

fn publish(world: &mut World, choices: &mut Choices) -> String {
    let (protocol, port, to_port) =
        (choices.pick(&[TCP, TCP, TCP, UDP, UDP, SCTP]), choices.pick(&PORTS), choices.pick(&PORTS));
    let container = choices.pick(&CONTAINERS);
    // Now and then of a container that is gone.
    let container = if choices.once_in(10) { Container { endpoint: 9, ..container } } else { container };
    let is_v6 = choices.below(3) == 2;
    let [any, exact, lan, loopback] = if is_v6 {
        [Addr::ANY_V6, HOST_6, LAN_HOST_6, Addr::LOOPBACK_V6]
    } else {
        [Addr::ANY_V4, HOST, LAN_HOST, Addr::v4([127, 0, 0, 1])]
    };
    let address = choices.pick(&[any, any, any, exact, exact, lan, loopback]);
    // A container answers in its own family, or an IPv6 client in IPv4.
    let is_v6_inside = is_v6 != choices.once_in(4);
    let to = if is_v6_inside { container.address_6 } else { container.address };
    world.publish_at(protocol, (address, port), &container, (to, to_port));
    let text = |address: Addr| std::net::Ipv6Addr::from(address.bytes).to_canonical();
    format!(
        "published: {protocol} {} {port} to {} {to_port} of endpoint {}",
        text(address),
        text(to),
        container.endpoint
    )
}

fn unpublish(world: &mut World, choices: &mut Choices) -> String {
    let keys: Vec<PublishKey> = world.model.publishes.keys().copied().collect();
    if keys.is_empty() {
        return publish(world, choices);
    }
    let key = choices.pick(&keys);
    world.model.publishes.remove(&key);
    format!("unpublished: {} {}", key.protocol, key.port)
}

fn open_socket(world: &mut World, choices: &mut Choices) -> String {
    let (protocol, port) = (choices.pick(&[TCP, UDP]), choices.pick(&PORTS));
    if world.stack.sockets.iter().any(|socket| (socket.protocol, socket.port) == (protocol, port)) {
        return format!("{protocol} {port} stays a socket's");
    }
    let address = choices.pick(&[HOST, HOST, HOST_6]);
    if protocol == UDP && address == HOST && choices.once_in(2) {
        let (peer, peer_port) = (choices.pick(&[REMOTE, REMOTE_2]), choices.pick(&PORTS));
        world.connect(address, port, peer, peer_port);
    } else {
        world.listen(protocol, address, port);
    }
    format!("a socket for {protocol} {port}")
}

fn allow(world: &mut World, choices: &mut Choices) {
    let prefix = choices.pick(&[(REMOTE, 24), (REMOTE, 31), (REMOTE_2, 32), (DB.address, 32), (REMOTE_6, 64)]);
    world.allow(1, &[prefix]);
}

/// A pool of two addresses for the first network, in one family.
fn pool(world: &mut World, choices: &mut Choices) {
    let is_v6 = choices.once_in(2);
    let first = if is_v6 { REMOTE_6 } else { ROUTER };
    for index in 0..2 {
        let mut address = first;
        address.bytes[15] = 0x40 + index;
        let family = if is_v6 { 6 } else { 4 };
        world.model.pools.insert(PoolKey { network: 1, index: index.into(), family }, address);
    }
    for port in world.model.ports.values_mut().filter(|port| port.network == 1) {
        if is_v6 {
            port.pool6 = 2;
        } else {
            port.pool4 = 2;
        }
    }
}
