//! What holds for every packet?

use super::case::{Mirror, Ran, run};
use super::cases::truncations;
use super::checksum::are_right;
use super::model::Bytes;
use super::packet::{Ip, aged, answer_to};
use super::scene::{self, Scene, Tally};
use super::world::{CONTAINERS, Container, HOST, HOST_6, Source, UPLINK, WEB, World, from_wire};
use crate::verdict::Verdict;
use netd_common::Addr;
use netd_common::drop::Hook;
use netd_common::endpoint::UNMASQUERADED;
use netd_common::flow::{Flow, FlowKey, OUTSIDE, REPLY};
use netd_common::publish::{ICMP, TCP, UDP};
use proptest::prelude::*;

const OUT: Verdict = Verdict::Forward { ifindex: UPLINK };
const TO_WEB: Verdict = Verdict::Deliver { ifindex: WEB.ifindex };
const FROM_WEB: Source = Source::Container(WEB.ifindex);

fn source() -> impl Strategy<Value = Source> {
    let container = prop::sample::select(CONTAINERS.to_vec()).prop_map(|of| Source::Container(of.ifindex));
    prop_oneof![container, Just(Source::Wire), Just(Source::Host), Just(Source::Forwarded)]
}

/// A unicast address of the outside, of either family.
fn remote() -> impl Strategy<Value = Addr> {
    let is_special = |of: &[u8; 4]| matches!(of, [0 | 10 | 127 | 224.., ..] | [198, 18 | 19, 0, _] | [169, 254, ..]);
    let v4 = any::<[u8; 4]>().prop_filter("outside", move |of| !is_special(of)).prop_map(Addr::v4);
    let v6 = any::<[u8; 8]>()
        .prop_map(|[a, b, c, d, e, f, g, h]| Addr::v6([0x20, 1, 0xd, 0xb8, a, b, c, d, 1, 1, 1, 1, e, f, g, h]));
    prop_oneof![v4, v6]
}

/// The host's address of the same family.
const fn host(with: Addr) -> Addr {
    if with.is_v4() { HOST } else { HOST_6 }
}

#[derive(Clone, Debug)]
struct Message {
    protocol: u8,
    from_port: u16,
    to_port: u16,
    payload: Vec<u8>,
}

impl Message {
    fn on(&self, ip: &Ip) -> Vec<u8> {
        match self.protocol {
            TCP => ip.tcp(self.from_port, self.to_port, 0x02, &self.payload),
            UDP => ip.udp(self.from_port, self.to_port, &self.payload),
            _ => ip.echo(true, self.from_port, &self.payload),
        }
    }
}

fn message(protocols: &'static [u8]) -> impl Strategy<Value = Message> {
    let payload = prop::collection::vec(any::<u8>(), 0..100);
    (prop::sample::select(protocols), any::<u16>(), any::<u16>(), payload)
        .prop_map(|(protocol, from_port, to_port, payload)| Message { protocol, from_port, to_port, payload })
}

fn play(world: &World, source: Source, bytes: Vec<u8>) -> Ran {
    run(world, source.hook(), world.frame(source, bytes))
}

/// The frame with its checksums blanked: one's complement has two zeros.
fn blanked(mut frame: Vec<u8>) -> Vec<u8> {
    let is_v4 = frame[12..14] == [0x08, 0x00];
    let (protocol, transport) = if is_v4 { (frame[23], 34) } else { (frame[20], 54) };
    let at = match protocol {
        TCP => transport + 16,
        UDP => transport + 6,
        _ => transport + 2,
    };
    if is_v4 {
        frame[24..26].fill(0);
    }
    frame[at..at + 2].fill(0);
    frame
}

#[track_caller]
fn assert_same(frame: &[u8], expected: &[u8]) {
    assert_eq!(are_right(frame), Some(true), "checksums of {frame:02x?}");
    assert_eq!(blanked(frame.to_vec()), blanked(expected.to_vec()));
}

/// The source (0) or destination (1) of a whole IP packet.
fn address(frame: &[u8], which: usize) -> Addr {
    if frame[12..14] == [0x86, 0xdd] {
        return Addr::v6(std::array::from_fn(|index| frame[22 + which * 16 + index]));
    }
    Addr::v4(std::array::from_fn(|index| frame[26 + which * 4 + index]))
}

/// What must hold of every frame that ran, whatever it was. `is_disturbed` says that a flow may be of a network that was
/// another when it was opened.
fn check(world: &World, before: &[u8], ran: &Ran, is_disturbed: bool) {
    let after = &ran.frame.bytes;
    let keeps_family = before.get(12..14) == after.get(12..14);
    let is_another = matches!(ran.verdict, Verdict::Answer { .. } | Verdict::Spent);
    assert!(before.len() == after.len() || !keeps_family || is_another);
    match ran.verdict {
        Verdict::Deliver { ifindex } => {
            let port = world.model.ports.get(&ifindex).expect("an endpoint's interface");
            assert_eq!(after[..6], port.mac, "delivered to the container that it is addressed to");
            if before != after {
                let to = address(after, 1);
                assert!(to == port.ipv4 || port.has_ipv6(&to));
            }
        }
        Verdict::Forward { ifindex } => {
            assert!(world.model.uplinks.contains(&ifindex));
            let port = world.model.ports.get(&ran.frame.ifindex).expect("an endpoint's interface");
            let own = address(after, 0);
            let is_unmasqueraded = is_disturbed || port.flags & UNMASQUERADED != 0;
            let is_kept = is_unmasqueraded && (own == port.ipv4 || port.has_ipv6(&own));
            let is_pooled = world.model.pools.values().any(|pooled| *pooled == own);
            assert!(world.model.local.contains(&own) || is_pooled || is_kept);
        }
        Verdict::Answer { ifindex } => {
            let port = world.model.ports.get(&ifindex).expect("an endpoint's interface");
            assert!(after[..6] == port.mac || after[0] & 1 != 0, "an answer is for its asker");
        }
        Verdict::Pass if ran.hook == Hook::ContainerEgress => assert_eq!(before, after),
        Verdict::Drop(_) => assert_eq!(before, after, "a dropped frame is as it was"),
        Verdict::Pass | Verdict::Keep | Verdict::Spent => {}
    }
}

/// Whether the flows are whole: each entry has a partner that points back, and nobody else's.
fn check_flows(world: &World) {
    let flows = world.model.flows.borrow();
    for (key, flow) in &*flows {
        let partner_key = flow.partner_key(key);
        let partner = flows.get(&partner_key).unwrap_or_else(|| panic!("{key:?} {flow:?} has no partner"));
        assert_eq!(partner.partner_key(&partner_key), *key, "two flows share an answer");
        assert_eq!((partner.owner, partner.history, partner.flags ^ REPLY), (flow.owner, flow.history, flow.flags));
        assert_eq!(flow.partner(key, 0), Flow { seen_ns: 0, packets: 0, bytes: 0, ..*partner });
        let is_for_socket = world.stack.sockets.iter().any(|socket| socket.receives(key));
        assert!(key.side != OUTSIDE || flow.flags & REPLY == 0 || !is_for_socket, "{key:?} is a socket's");
    }
}

/// Looks at every frame of a scene, and at the flows in the end.
#[derive(Default)]
struct Judge {
    before: Vec<u8>,
    /// Whether flows may have lost a partner, or stand where a socket was opened later.
    is_disturbed: bool,
}

impl Mirror for Judge {
    fn send(&mut self, _world: &mut World, _hook: Hook, frame: &Bytes) {
        self.before.clone_from(&frame.bytes);
    }

    fn sent(&mut self, world: &World, ran: &Ran) {
        check(world, &self.before, ran, self.is_disturbed);
    }

    fn evict(&mut self, _key: &FlowKey) {
        self.is_disturbed = true;
    }

    fn change(&mut self, _world: &World) {
        self.is_disturbed = true;
    }

    fn end(&mut self, world: &World) {
        if !self.is_disturbed {
            check_flows(world);
        }
    }
}

fn scene() -> impl Strategy<Value = Scene> {
    let tape = |len: usize| prop::collection::vec(any::<u16>(), len);
    let steps = prop::collection::vec(tape(Scene::STEP), 1..40);
    (tape(Scene::WORLD), steps).prop_map(|(world, steps)| Scene { world, steps })
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(1000) })]

    #[test]
    fn any_bytes_end_in_a_verdict(source in source(), bytes in prop::collection::vec(any::<u8>(), 0..120)) {
        let world = World::default();
        let ran = play(&world, source, bytes.clone());
        check(&world, &bytes, &ran, false);
    }

    #[test]
    fn a_damaged_frame_ends_in_a_verdict(
        base in prop::sample::select(truncations()),
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..4),
        cut in prop::option::of(any::<prop::sample::Index>()),
    ) {
        let mut world = World::default();
        world.publish(TCP, [0; 4], 80, &WEB, 80);
        world.publish(UDP, [0; 4], 53, &WEB, 53);
        let (_, source, mut bytes) = base;
        for (at, byte) in changes {
            let at = at.index(bytes.len());
            bytes[at] = byte;
        }
        if let Some(cut) = cut {
            bytes.truncate(cut.index(bytes.len()));
        }
        let ran = play(&world, source, bytes.clone());
        check(&world, &bytes, &ran, false);
    }

    #[test]
    fn what_goes_out_comes_back_to_its_sender(
        message in message(&[TCP, UDP, ICMP]),
        to in remote(),
        is_taken in any::<bool>(),
        random in any::<u32>(),
    ) {
        let mut world = World::default();
        world.stack.random = random;
        let is_taken = is_taken && message.protocol != ICMP;
        if is_taken {
            world.listen(message.protocol, host(to), message.from_port);
        }
        let sent = message.on(&WEB.to(to));
        let out = play(&world, FROM_WEB, sent.clone());
        prop_assert_eq!(out.verdict, OUT);
        let out = out.frame.bytes;
        let transport = if to.is_v4() { 34 } else { 54 };
        let port_at = if message.protocol == ICMP { transport + 4 } else { transport };
        let port = u16::from_be_bytes([out[port_at], out[port_at + 1]]);
        assert_same(&out, &Message { from_port: port, ..message.clone() }.on(&Ip { from: host(to), ttl: 63, ..WEB.to(to) }));
        prop_assert_eq!(port == message.from_port, !is_taken && message.from_port != 0);

        let mut answer = answer_to(&out, b"the answer");
        answer[..12].copy_from_slice(&from_wire(to, host(to)).tcp(0, 0, 0, b"")[..12]);
        let back = play(&world, Source::Wire, answer);
        prop_assert_eq!(back.verdict, TO_WEB);
        let mut expected = answer_to(&sent, b"the answer");
        expected[..12].copy_from_slice(&WEB.gets(to).tcp(0, 0, 0, b"")[..12]);
        assert_same(&back.frame.bytes, &expected);
        check_flows(&world);
    }

    #[test]
    fn what_comes_in_by_a_published_port_is_answered_by_it(
        message in message(&[TCP, UDP]),
        from in remote(),
        to_port in any::<u16>(),
    ) {
        let mut world = World::default();
        let (every, web) = if from.is_v4() { (Addr::ANY_V4, WEB.address) } else { (Addr::ANY_V6, WEB.address_6) };
        world.publish_at(message.protocol, (every, message.to_port), &WEB, (web, to_port));
        let sent = message.on(&from_wire(from, host(from)));
        let came = play(&world, Source::Wire, sent.clone());
        prop_assert_eq!(came.verdict, TO_WEB);
        assert_same(&came.frame.bytes, &Message { to_port, ..message.clone() }.on(&WEB.gets(from)));

        let answer = aged(answer_to(&came.frame.bytes, b"the answer"), 64);
        let back = play(&world, FROM_WEB, answer);
        prop_assert_eq!(back.verdict, OUT);
        // The kernel writes the MAC addresses of the next hop.
        let mut expected = aged(answer_to(&sent, b"the answer"), 63);
        expected[..12].copy_from_slice(&WEB.to(from).tcp(0, 0, 0, b"")[..12]);
        assert_same(&back.frame.bytes, &expected);
        check_flows(&world);
    }

    #[test]
    fn what_goes_through_a_published_port_is_answered_by_it(
        message in message(&[TCP, UDP]),
        client in prop::sample::select(CONTAINERS.to_vec()),
        to_port in any::<u16>(),
    ) {
        let mut world = World::default();
        world.publish(message.protocol, [0; 4], message.to_port, &WEB, to_port);
        let sent = message.on(&client.to(HOST));
        let came = play(&world, Source::Container(client.ifindex), sent.clone());
        prop_assert_eq!(came.verdict, TO_WEB);
        let back = play(&world, FROM_WEB, aged(answer_to(&came.frame.bytes, b"the answer"), 64));
        let Container { ifindex, .. } = client;
        prop_assert_eq!(back.verdict, Verdict::Deliver { ifindex });
        let mut expected = aged(answer_to(&sent, b"the answer"), 63);
        expected[..12].copy_from_slice(&client.gets(HOST).tcp(0, 0, 0, b"")[..12]);
        assert_same(&back.frame.bytes, &expected);
        check_flows(&world);
    }

    #[test]
    fn every_scene_keeps_every_flow_whole(scene in scene()) {
        scene::play(&scene, &mut Judge::default(), &mut Tally::default(), None);
    }

    #[test]
    fn either_entry_of_a_pair_gives_the_other(key in flow_key(), step in flow_key(), numbers in any::<[u32; 6]>(), bits in any::<[u8; 4]>()) {
        let flow = Flow {
            source: step.source,
            destination: step.destination,
            source_port: step.source_port,
            destination_port: step.destination_port,
            history: bits[0],
            flags: bits[1],
            target: bits[2],
            partner_side: step.side,
            ifindex: numbers[0],
            endpoint: numbers[1],
            owner: numbers[2],
            partner_ifindex: numbers[3],
            partner_endpoint: numbers[4],
            partner_target: bits[3],
            created_ns: u64::from(numbers[5]),
            seen_ns: 7,
            ..Flow::default()
        };
        let (partner_key, partner) = (flow.partner_key(&key), flow.partner(&key, 7));
        prop_assert_eq!(partner.partner_key(&partner_key), key);
        prop_assert_eq!(partner.partner(&partner_key, 7), flow);
    }
}

fn flow_key() -> impl Strategy<Value = FlowKey> {
    (any::<[u8; 16]>(), any::<[u8; 16]>(), any::<(u16, u16)>(), any::<u8>()).prop_map(|(from, to, ports, side)| {
        FlowKey {
            source: Addr::v6(from),
            destination: Addr::v6(to),
            source_port: ports.0,
            destination_port: ports.1,
            protocol: TCP,
            side,
            pad: [0; 2],
        }
    })
}
