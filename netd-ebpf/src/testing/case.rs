//! What is a row, and how is it played?
//!
//! A row is steps on a [`World`]. Each frame says its verdict and its bytes afterwards; that one counter moved, by one
//! packet, follows from the verdict and is checked for all. A [`Mirror`] plays along somewhere else.

use super::checksum::are_right;
use super::model::Bytes;
use super::told::{flow_in_ipv6, tell};
use super::world::{Container, Source, World};
use crate::conntrack;
use crate::hook::{container_egress, uplink_egress, uplink_ingress};
use crate::verdict::{self, Verdict};
use netd_common::Addr;
use netd_common::drop::{Counter, DropReason, Hook, Outcome};
use netd_common::flow::{Flow, FlowKey, Nominee, Timeouts};
use std::collections::BTreeMap;

/// One row.
#[derive(Debug)]
pub struct Case {
    pub name: String,
    pub world: World,
    pub steps: Vec<Step>,
    /// Why the kernel cannot play it, when it cannot.
    pub is_for_model_only: Option<&'static str>,
}

#[derive(Debug)]
pub enum Step {
    Send(Sent),
    /// Time passes.
    Wait(u64),
    /// The LRU takes this entry.
    Evict(FlowKey),
    /// The agent changes what it owns, or a socket is opened.
    Change(fn(&mut World)),
    /// `FLOWS` holds these, each as [`tell`] says it, in any order.
    Flows(Vec<String>),
    /// The agent lists the flows that seem to be over.
    Nominate,
    /// The list is handed to `flow_gc`, which deletes so many pairs.
    Collect(u32),
}

/// A frame, and what becomes of it.
#[derive(Debug)]
pub struct Sent {
    pub source: Source,
    pub input: Input,
    pub has_vlan_tag: bool,
    pub verdict: Verdict,
    /// The frame afterwards; none when it is unchanged.
    pub out: Option<Vec<u8>>,
    /// Copies that are sent on the way: by which interface, whether in by it, and what.
    pub copies: Vec<(u32, bool, Vec<u8>)>,
}

#[derive(Debug)]
pub enum Input {
    Frame(Vec<u8>),
    /// Made from the last frame that came out.
    Answer(fn(&[u8]) -> Vec<u8>),
}

/// A frame that was played.
#[derive(Debug)]
pub struct Ran {
    pub hook: Hook,
    pub verdict: Verdict,
    pub frame: Bytes,
}

/// Plays along. The default does nothing, so that `()` is the model alone.
pub trait Mirror {
    /// Whether the row's own expectations hold here: a random port is another every time in the kernel.
    const EXPECTS_AS_WRITTEN: bool = true;
    fn begin(&mut self, _world: &World) {}
    /// Before the model plays the frame; may set its randomness and its clock to what came up here.
    fn send(&mut self, _world: &mut World, _hook: Hook, _frame: &Bytes) {}
    /// After it.
    fn sent(&mut self, _world: &World, _ran: &Ran) {}
    fn wait(&mut self, _ns: u64) {}
    fn evict(&mut self, _key: &FlowKey) {}
    fn change(&mut self, _world: &World) {}
    fn nominate(&mut self, _world: &World) {}
    /// `deleted` is the model's answer.
    fn collect(&mut self, _deleted: u32) {}
    /// Behind the last step.
    fn end(&mut self, _world: &World) {}
}

impl Mirror for () {}

impl Case {
    #[must_use]
    pub fn new(name: impl Into<String>) -> Self {
        Self { name: name.into(), world: World::default(), steps: Vec::new(), is_for_model_only: None }
    }

    /// Changes the world before the first step.
    #[must_use]
    pub fn given(mut self, change: impl FnOnce(&mut World)) -> Self {
        change(&mut self.world);
        self
    }

    #[must_use]
    pub const fn only_on_the_model(mut self, why: &'static str) -> Self {
        self.is_for_model_only = Some(why);
        self
    }

    #[must_use]
    pub fn step(mut self, step: Step) -> Self {
        self.steps.push(step);
        self
    }

    #[must_use]
    pub fn send(self, source: Source, frame: Vec<u8>, verdict: Verdict, out: Vec<u8>) -> Self {
        self.sends(source, Input::Frame(frame), verdict, Some(out))
    }

    /// A frame that stays as it is.
    #[must_use]
    pub fn leaves(self, source: Source, frame: Vec<u8>, verdict: Verdict) -> Self {
        self.sends(source, Input::Frame(frame), verdict, None)
    }

    /// The answer to the last frame that came out.
    #[must_use]
    pub fn answer(self, source: Source, answer: fn(&[u8]) -> Vec<u8>, verdict: Verdict, out: Vec<u8>) -> Self {
        self.sends(source, Input::Answer(answer), verdict, Some(out))
    }

    /// A frame of which each of these containers gets a copy.
    #[must_use]
    pub fn floods(self, source: Source, frame: Vec<u8>, members: &[&Container]) -> Self {
        let copies = members.iter().map(|member| (member.ifindex, false, frame.clone())).collect();
        let input = Input::Frame(frame);
        self.step(Step::Send(Sent { source, input, has_vlan_tag: false, verdict: Verdict::Spent, out: None, copies }))
    }

    fn sends(self, source: Source, input: Input, verdict: Verdict, out: Option<Vec<u8>>) -> Self {
        self.step(Step::Send(Sent { source, input, has_vlan_tag: false, verdict, out, copies: Vec::new() }))
    }

    #[must_use]
    pub fn drops(self, source: Source, frame: Vec<u8>, reason: DropReason) -> Self {
        self.leaves(source, frame, Verdict::Drop(reason))
    }

    #[must_use]
    pub fn passes(self, source: Source, frame: Vec<u8>) -> Self {
        self.leaves(source, frame, Verdict::Pass)
    }

    #[must_use]
    pub fn change(self, change: fn(&mut World)) -> Self {
        self.step(Step::Change(change))
    }

    #[must_use]
    pub fn waits(self, ns: u64) -> Self {
        self.step(Step::Wait(ns))
    }

    #[must_use]
    pub fn flows(self, flows: &[&str]) -> Self {
        self.step(Step::Flows(flows.iter().map(|flow| (*flow).to_owned()).collect()))
    }

    /// The row as IPv6's: it has another name, and the flows are told with the addresses that mean the same there.
    #[must_use]
    pub fn in_ipv6(mut self) -> Self {
        self.name.push_str(" (IPv6)");
        for step in &mut self.steps {
            if let Step::Flows(flows) = step {
                for flow in flows {
                    *flow = flow_in_ipv6(flow);
                }
            }
        }
        self
    }

    /// Plays the row on the model and the mirror.
    ///
    /// # Panics
    /// When something differs from what the row says.
    pub fn play<M: Mirror>(mut self, mirror: &mut M) {
        let mut last = Vec::new();
        let mut nominees = Vec::new();
        mirror.begin(&self.world);
        for (number, step) in self.steps.iter().enumerate() {
            let place = format!("{}, step {}", self.name, number + 1);
            match step {
                Step::Send(sent) => last = send(&mut self.world, mirror, sent, &last, &place),
                Step::Wait(ns) => {
                    self.world.stack.now_ns += ns;
                    mirror.wait(*ns);
                }
                Step::Evict(key) => {
                    let evicted = self.world.model.flows.borrow_mut().remove(key);
                    assert!(evicted.is_some(), "{place}: there is no {key:?}");
                    mirror.evict(key);
                }
                Step::Change(change) => {
                    change(&mut self.world);
                    mirror.change(&self.world);
                }
                Step::Flows(flows) => {
                    if M::EXPECTS_AS_WRITTEN {
                        let (mut told, mut expected) = (tell(&self.world.model), flows.clone());
                        told.sort();
                        expected.sort();
                        assert_eq!(told, expected, "{place}: the flows");
                    }
                }
                Step::Nominate => {
                    nominees = nominate(&self.world, &self.world.model.flows.borrow(), self.world.stack.now_ns);
                    mirror.nominate(&self.world);
                }
                Step::Collect(deleted) => {
                    let frame =
                        Bytes { bytes: gc_frame(&nominees), stack: self.world.stack.clone(), ..Bytes::default() };
                    assert_eq!(conntrack::collect(&frame, &self.world.model), *deleted, "{place}: pairs deleted");
                    mirror.collect(*deleted);
                }
            }
        }
    }
}

fn send<M: Mirror>(world: &mut World, mirror: &mut M, sent: &Sent, last: &[u8], place: &str) -> Vec<u8> {
    let bytes = match &sent.input {
        Input::Frame(frame) => frame.clone(),
        Input::Answer(answer) => answer(last),
    };
    let mut frame = world.frame(sent.source, bytes.clone());
    frame.has_vlan_tag = sent.has_vlan_tag;
    mirror.send(world, sent.source.hook(), &frame);
    frame.stack.random = world.stack.random;
    frame.stack.now_ns = world.stack.now_ns;
    let ran = run(world, sent.source.hook(), frame);
    if M::EXPECTS_AS_WRITTEN {
        assert_eq!(ran.verdict, sent.verdict, "{place}: the verdict");
        let out = sent.out.as_ref().unwrap_or(&bytes);
        assert_eq!(ran.frame.copies, sent.copies, "{place}: the copies");
        assert_eq!(&ran.frame.bytes, out, "{place}: the frame afterwards\n{:02x?}\n{out:02x?}", ran.frame.bytes);
    }
    mirror.sent(world, &ran);
    ran.frame.bytes
}

/// Runs one frame through a hook of the model, and checks what holds for every frame.
///
/// # Panics
/// When other than one counter moved by one packet, a frame is delivered that the container would not accept, or one whose
/// checksums were right has wrong ones.
#[must_use]
pub fn run(world: &World, hook: Hook, mut frame: Bytes) -> Ran {
    let before = world.model.counters.borrow().clone();
    let input = frame.bytes.clone();
    let model = &world.model;
    let walk = match hook {
        Hook::XdpGuard => unreachable!("no frame of a row comes here"),
        Hook::ContainerEgress => container_egress::walk(&mut frame, model),
        Hook::UplinkIngress => uplink_ingress::walk(&mut frame, model),
        Hook::UplinkEgress => uplink_egress::walk(&mut frame, model),
    };
    let verdict = verdict::finish(hook, walk, &frame, model);
    let mut expected = before;
    let counter = expected.entry((hook, outcome(verdict))).or_default();
    counter.packets += 1;
    counter.bytes += frame.bytes.len() as u64;
    assert_eq!(*model.counters.borrow(), expected, "one counter moves by one packet");
    assert!(!matches!(verdict, Verdict::Deliver { .. }) || frame.is_for_host, "a delivered frame is for its receiver");
    if are_right(&input) == Some(true) {
        assert_ne!(are_right(&frame.bytes), Some(false), "checksums: {input:02x?}\nbecame {:02x?}", frame.bytes);
    }
    Ran { hook, verdict, frame }
}

/// How a verdict is counted.
#[must_use]
pub const fn outcome(verdict: Verdict) -> Outcome {
    match verdict {
        Verdict::Pass => Outcome::Passed,
        Verdict::Keep => Outcome::Kept,
        Verdict::Deliver { .. } | Verdict::Forward { .. } | Verdict::Spent => Outcome::Redirected,
        Verdict::Answer { .. } => Outcome::Answered,
        Verdict::Drop(reason) => Outcome::Dropped(reason),
    }
}

/// What moved between two readings of the counters.
#[must_use]
pub fn moved(
    before: &BTreeMap<(Hook, Outcome), Counter>,
    after: &BTreeMap<(Hook, Outcome), Counter>,
) -> BTreeMap<(Hook, Outcome), Counter> {
    let mut moved = BTreeMap::new();
    for (&slot, &Counter { packets, bytes }) in after {
        let old = before.get(&slot).copied().unwrap_or_default();
        if (packets, bytes) != (old.packets, old.bytes) {
            moved.insert(slot, Counter { packets: packets - old.packets, bytes: bytes - old.bytes });
        }
    }
    moved
}

/// The flows that seem to be over, by the timeouts of their networks.
#[must_use]
pub fn nominate(world: &World, flows: &BTreeMap<FlowKey, Flow>, now_ns: u64) -> Vec<Nominee> {
    let timeouts = |flow: &Flow| world.model.timeouts.get(&flow.network).unwrap_or(&Timeouts::DEFAULT);
    let expired = flows.iter().filter(|(key, flow)| flow.is_expired(key.protocol, timeouts(flow), now_ns));
    expired.map(|(key, flow)| Nominee { key: *key, seen_ns: flow.seen_ns }).collect()
}

/// The frame that `flow_gc` is run with.
#[must_use]
pub fn gc_frame(nominees: &[Nominee]) -> Vec<u8> {
    let mut frame = vec![0; 14];
    for nominee in nominees {
        // SAFETY: a Nominee is integers and byte arrays without padding, as `netd_common::layout` asserts.
        let bytes: [u8; size_of::<Nominee>()] = unsafe { std::mem::transmute(*nominee) };
        frame.extend(bytes);
    }
    frame
}

/// The key of a flow's entry.
#[must_use]
pub const fn key(side: u8, protocol: u8, from: (Addr, u16), to: (Addr, u16)) -> FlowKey {
    FlowKey {
        source: from.0,
        destination: to.0,
        source_port: from.1,
        destination_port: to.1,
        protocol,
        side,
        pad: [0; 2],
    }
}

/// Where a container's frames come from.
impl From<&Container> for Source {
    fn from(container: &Container) -> Self {
        Self::Container(container.ifindex)
    }
}
