//! How does the kernel play a row beside the model?

use crate::host::{self, Sockets};
use crate::maps::{self, Counters, Written, add, subtract};
use crate::run::{self, DROP, NEXT, REDIRECT, RunResult, is_first_fragment, may_check_sum, takes};
use aya::programs::SchedClassifier;
use aya::{Ebpf, EbpfLoader};
use netd::kernel::flows::monotonic_ns;
use netd_common::Addr;
use netd_common::drop::{Counter, Hook};
use netd_common::flow::{Flow, FlowKey, HOST, INSIDE, Nominee, OUTSIDE};
use netd_common::fragment::{Fragment, FragmentKey};
use netd_common::limits::{NOMINEES_MAX, SNAT_PORT_MIN};
use netd_common::publish::AllowKey;
use netd_ebpf::fragment;
use netd_ebpf::parse;
use netd_ebpf::tables::Room;
use netd_ebpf::testing::case::{Mirror, Ran, gc_frame, nominate, outcome};
use netd_ebpf::testing::model::{Bytes, Knowledge};
use netd_ebpf::testing::world::{Container, LAN, Source, UPLINK, World};
use netd_ebpf::verdict::Verdict;
use std::collections::BTreeMap;
use std::fmt::Debug;
use std::io;
use std::os::fd::AsFd as _;

type Flows = BTreeMap<FlowKey, Flow>;
type Fragments = BTreeMap<FragmentKey, Fragment>;

/// The programs and their maps, of this test alone.
pub struct Kernel {
    object: Ebpf,
    sockets: Sockets,
    /// What the stack was last made to know.
    knows: Option<Knowledge>,
    written: Written,
    /// The counters when the row began.
    base: Counters,
    /// What the model counted of frames that the kernel does not take.
    untaken: Counters,
    result: Option<RunResult>,
    /// The tuple of the frame that ran last, if it has one, and what the kernel now holds of its flow.
    flow: Option<(FlowKey, Option<Flow>)>,
    nominees: Vec<Nominee>,
    frames: usize,
    /// What the model's clock is ahead of the kernel's.
    ahead: u64,
    /// Whether all flows are compared after each frame, and not only at the end.
    pub compares_each: bool,
}

impl Kernel {
    /// Loads what handles packets, with this many entries of `FLOWS`.
    pub fn load(flows_max: u32) -> Self {
        let mut object =
            EbpfLoader::new().map_max_entries("FLOWS", flows_max).load(netd::kernel::datapath::OBJECT).expect("loaded");
        let hooks = [Hook::ContainerEgress, Hook::UplinkIngress, Hook::UplinkEgress];
        for name in hooks.map(Hook::name).into_iter().chain([netd::kernel::datapath::COLLECTOR]) {
            let program: &mut SchedClassifier = object.program_mut(name).expect("a program").try_into().expect("TC");
            program.load().unwrap_or_else(|error| panic!("{name}: {error}"));
        }
        Self {
            object,
            sockets: Sockets::default(),
            knows: None,
            written: Written::new(),
            base: Counters::new(),
            untaken: Counters::new(),
            result: None,
            flow: None,
            nominees: Vec::new(),
            frames: 0,
            ahead: 0,
            compares_each: true,
        }
    }

    /// Frames run so far.
    pub const fn frames(&self) -> usize {
        self.frames
    }

    /// Runs one frame of a container; whether it was redirected.
    pub fn redirects(&self, container: &Container, frame: &[u8]) -> bool {
        let devices = (container.ifindex, container.ifindex);
        let result = self.run(Hook::ContainerEgress.name(), devices, frame, false).expect("run");
        result.value == REDIRECT
    }

    /// Runs one frame from `source`; what the program returned, and how many nanoseconds it took.
    #[allow(dead_code, reason = "for the benchmarks, which take this file too")]
    pub fn timed(&self, source: Source, frame: &[u8]) -> (u32, u32) {
        let ingress = match source {
            Source::Container(ifindex) => ifindex,
            Source::Wire => UPLINK,
            Source::Host => 0,
            Source::Forwarded => LAN,
        };
        let devices = (source.ifindex(), ingress);
        let result = self.run(source.hook().name(), devices, frame, false).expect("run");
        (result.value, result.duration_ns)
    }

    /// Runs the collector of flows with nothing to collect: what a run takes beside its program.
    #[allow(dead_code, reason = "for the benchmarks, which take this file too")]
    pub fn timed_nothing(&self) -> u32 {
        self.run(netd::kernel::datapath::COLLECTOR, (1, 0), &gc_frame(&[]), false).expect("run").duration_ns
    }

    pub fn flows(&self) -> Flows {
        maps::entries(&self.object, "FLOWS")
    }

    /// Checks that both have the same flows, but for the times.
    #[track_caller]
    fn compare_flows(&self, world: &World) {
        compare("flows", &timeless(&self.flows()), &timeless(&world.model.flows.borrow()));
    }

    /// What the agent writes, and the stack.
    fn set_up(&mut self, world: &World) {
        let Self { object, written, .. } = self;
        let model = &world.model;
        maps::fill(object, written, "PORTS_BY_IF", model.ports.clone());
        maps::fill(object, written, "ENDPOINTS", model.endpoints.clone());
        maps::fill(object, written, "FDB", model.fdb.clone());
        maps::fill(object, written, "PUBLISHED", model.publishes.clone());
        maps::fill(object, written, "LOCAL_ADDRS", model.local.iter().map(|address| (*address, 0_u32)));
        maps::fill(object, written, "SNAT_POOLS", model.pools.clone());
        maps::fill(object, written, "TIMEOUTS", model.timeouts.clone());
        maps::fill(object, written, "UPLINKS", model.uplinks.iter().map(|ifindex| (*ifindex, Addr::NONE)));
        let allowed = model.allowed.iter();
        let allowed = allowed.map(|(list, address, len)| (32 + len, AllowKey { list: *list, address: *address }));
        maps::fill_trie(object, written, "ALLOWED", allowed);
        maps::fill_trie(object, written, "BLOCKED", model.blocked.iter().map(|(address, len)| (*len, *address)));
        let knows = |stack: &Knowledge| (stack.sockets.clone(), stack.forwarding.clone());
        if self.knows.as_ref().map(knows) != Some(knows(&world.stack)) {
            self.sockets = Sockets::default();
            self.sockets = host::set_up(world);
            self.knows = Some(world.stack.clone());
        }
    }

    fn run(&self, program: &str, devices: (u32, u32), frame: &[u8], checks_sum: bool) -> io::Result<RunResult> {
        let program: &SchedClassifier = self.object.program(program).expect("a program").try_into().expect("TC");
        run::run(program.fd().expect("loaded").as_fd(), devices, frame, checks_sum)
    }

    /// Whether the kernel's sum over the packet must be right when it has run. What is left of a first fragment that lets
    /// others go on is one of those, cut to its size, and has no sum.
    fn may_check_sum(&self, hook: Hook, frame: &[u8]) -> bool {
        let may_release = hook == Hook::UplinkIngress && is_first_fragment(frame) && !maps::holds_nothing(&self.object);
        may_check_sum(frame) && !may_release
    }

    /// The tuple of a frame that ran, and the flow that the kernel has of it now.
    fn flow_of(&self, world: &World, hook: Hook, frame: &Bytes) -> Option<(FlowKey, Option<Flow>)> {
        let side = match hook {
            Hook::ContainerEgress => INSIDE,
            Hook::UplinkIngress => OUTSIDE,
            Hook::UplinkEgress => HOST,
            Hook::XdpGuard => return None,
        };
        let mut room = Room::default();
        parse::head(frame, &mut room).ok()?;
        parse::packet(frame, &mut room, side).ok()?;
        if room.packet.is_later_fragment() {
            fragment::write_key(&mut room);
            let fragments = world.model.fragments.borrow();
            let known = fragments.get(&room.fragment_key).filter(|known| known.flags == 0)?;
            (room.key.source_port, room.key.destination_port) = (known.source_port, known.destination_port);
        }
        let flow = maps::map(&self.object, "FLOWS").get(&room.key, 0).ok();
        Some((room.key, flow))
    }
}

impl Mirror for Kernel {
    const EXPECTS_AS_WRITTEN: bool = false;

    fn begin(&mut self, world: &World) {
        self.set_up(world);
        let (now_ns, model_now_ns) = (monotonic_ns(), world.stack.now_ns);
        self.ahead = model_now_ns.wrapping_sub(now_ns);
        let here = |ns: u64| now_ns - (model_now_ns - ns);
        let flows = world.model.flows.borrow().clone().into_iter();
        let flows = flows.map(|(key, flow)| (key, Flow { seen_ns: here(flow.seen_ns), created_ns: 0, ..flow }));
        maps::refill(&mut self.object, "FLOWS", flows.collect());
        maps::refill(&mut self.object, "FRAGMENTS", Fragments::new());
        maps::forget(&mut self.object);
        self.base = maps::counters(&self.object);
        self.untaken.clear();
    }

    fn send(&mut self, world: &mut World, hook: Hook, frame: &Bytes) {
        // Both clocks go on together.
        world.stack.now_ns = self.ahead.wrapping_add(monotonic_ns());
        self.result = None;
        if !takes(&frame.bytes) {
            return;
        }
        let ingress = match hook {
            Hook::ContainerEgress => frame.ifindex,
            Hook::UplinkIngress => UPLINK,
            Hook::UplinkEgress if frame.is_from_host => 0,
            Hook::UplinkEgress => LAN,
            Hook::XdpGuard => return,
        };
        let checks_sum = self.may_check_sum(hook, &frame.bytes);
        let result = self.run(hook.name(), (frame.ifindex, ingress), &frame.bytes, checks_sum);
        let result = result.unwrap_or_else(|error| panic!("{}: {error}: {:02x?}", hook.name(), frame.bytes));
        self.flow = self.flow_of(world, hook, frame);
        if let Some((_, Some(Flow { source_port, .. }))) = self.flow
            && source_port >= SNAT_PORT_MIN
        {
            // Where the port was chosen here, the model chooses the same at its first try.
            let min = u64::from(SNAT_PORT_MIN);
            world.stack.random = ((u64::from(source_port) - min) << 32).div_ceil(65536 - min) as u32;
        }
        self.result = Some(result);
        self.frames += 1;
    }

    fn sent(&mut self, world: &World, ran: &Ran) {
        let Some(result) = self.result.take() else {
            let counter = Counter { packets: 1, bytes: ran.frame.bytes.len() as u64 };
            add(self.untaken.entry((ran.hook, outcome(ran.verdict))).or_default(), counter);
            return;
        };
        let expected = match ran.verdict {
            Verdict::Pass | Verdict::Keep => NEXT,
            Verdict::Drop(_) | Verdict::Spent => DROP,
            Verdict::Deliver { .. } | Verdict::Forward { .. } | Verdict::Answer { .. } => REDIRECT,
        };
        let name = |value| match value {
            NEXT => "next".to_owned(),
            DROP => "drop".to_owned(),
            REDIRECT => "redirect".to_owned(),
            other => other.to_string(),
        };
        let mut model = world.model.counters.borrow().clone();
        let mut kernel = maps::counters(&self.object);
        for (slot, counter) in &self.base {
            subtract(&mut kernel, slot, *counter);
        }
        for (slot, counter) in &self.untaken {
            subtract(&mut model, slot, *counter);
        }
        let values = (name(result.value), name(expected));
        assert!(result.value == expected, "the kernel returns {}, the model {}: {:?}", values.0, values.1, ran.verdict);
        compare("counters", &kernel, &model);
        assert!(
            result.bytes == ran.frame.bytes,
            "bytes\nkernel: {:02x?}\nmodel:  {:02x?}",
            result.bytes,
            ran.frame.bytes
        );
        if let Some((key, flow)) = self.flow.take() {
            let of = |flow: Option<&Flow>| flow.map(|flow| Flow { created_ns: 0, seen_ns: 0, ..*flow });
            let model = of(world.model.flows.borrow().get(&key));
            assert!(of(flow.as_ref()) == model, "the flow of {key:?}\nkernel: {flow:?}\nmodel:  {model:?}");
        }
        if self.compares_each {
            self.compare_flows(world);
        }
    }

    /// Instead of time going on, the flows and fragments grow older.
    fn wait(&mut self, ns: u64) {
        self.ahead = self.ahead.wrapping_add(ns);
        let older = self.flows().into_iter().map(|(key, flow)| (key, Flow { seen_ns: flow.seen_ns - ns, ..flow }));
        maps::refill(&mut self.object, "FLOWS", older.collect());
        let fragments: Fragments = maps::entries(&self.object, "FRAGMENTS");
        let older = fragments.into_iter().map(|(key, known)| (key, Fragment { seen_ns: known.seen_ns - ns, ..known }));
        maps::refill(&mut self.object, "FRAGMENTS", older.collect());
    }

    fn evict(&mut self, key: &FlowKey) {
        maps::map_mut::<FlowKey, Flow>(&mut self.object, "FLOWS").remove(key).expect("an entry");
    }

    fn change(&mut self, world: &World) {
        self.set_up(world);
    }

    fn nominate(&mut self, world: &World) {
        self.nominees = nominate(world, &self.flows(), monotonic_ns());
        self.nominees.truncate(NOMINEES_MAX);
    }

    fn collect(&mut self, deleted: u32) {
        let result =
            self.run(netd::kernel::datapath::COLLECTOR, (1, 0), &gc_frame(&self.nominees), false).expect("run");
        assert_eq!(result.value, deleted, "pairs deleted, the kernel's first");
    }

    fn end(&mut self, world: &World) {
        self.compare_flows(world);
        let timeless = |fragments: &Fragments| -> Fragments {
            fragments.iter().map(|(key, known)| (*key, Fragment { seen_ns: 0, ..*known })).collect()
        };
        let fragments: Fragments = maps::entries(&self.object, "FRAGMENTS");
        compare("fragments", &timeless(&fragments), &timeless(&world.model.fragments.borrow()));
        if self.untaken.is_empty() {
            compare("drops", &maps::drops(&self.object), &world.model.drops.borrow());
        }
    }
}

fn timeless(flows: &Flows) -> Flows {
    flows.iter().map(|(key, flow)| (*key, Flow { created_ns: 0, seen_ns: 0, ..*flow })).collect()
}

/// Says what only one of both has.
#[track_caller]
fn compare<K: Ord + Debug, V: PartialEq + Debug>(what: &str, kernel: &BTreeMap<K, V>, model: &BTreeMap<K, V>) {
    let only = |a: &BTreeMap<K, V>, b: &BTreeMap<K, V>| {
        let entries = a.iter().filter(|(key, value)| b.get(key) != Some(value));
        entries.map(|(key, value)| format!("\n  {key:?} {value:?}")).collect::<String>()
    };
    assert!(kernel == model, "{what}\nkernel: {}\nmodel: {}", only(kernel, model), only(model, kernel));
}
