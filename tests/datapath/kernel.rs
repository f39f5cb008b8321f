//! How does the kernel play a row beside the model?

use crate::host::{self, Sockets};
use aya::maps::lpm_trie::{Key, LpmTrie};
use aya::maps::{HashMap, Map, MapData, PerCpuArray};
use aya::programs::SchedClassifier;
use aya::{Ebpf, EbpfLoader, Pod};
use netd::kernel::flows::monotonic_ns;
use netd_common::Addr;
use netd_common::drop::{Counter, Hook, Outcome, counter_index};
use netd_common::endpoint::{Endpoint, EndpointKey, PoolKey, Port};
use netd_common::fdb::{FdbEntry, FdbKey};
use netd_common::flow::{Flow, FlowKey, Nominee, Timeouts};
use netd_common::fragment::{Fragment, FragmentKey};
use netd_common::publish::{AllowKey, ICMP, ICMPV6, Publish, PublishKey, UDP};
use netd_ebpf::testing::case::{Mirror, Ran, gc_frame, nominate, outcome};
use netd_ebpf::testing::model::Bytes;
use netd_ebpf::testing::world::{Container, LAN, UPLINK, World};
use netd_ebpf::verdict::Verdict;
use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::os::fd::{AsFd as _, AsRawFd as _};

type Counters = BTreeMap<(Hook, Outcome), Counter>;
type Flows = BTreeMap<FlowKey, Flow>;

/// What a TCX program returns.
const NEXT: u32 = u32::MAX;
const DROP: u32 = 2;
const REDIRECT: u32 = 7;

/// The programs and their maps, of this test alone.
pub struct Kernel {
    object: Ebpf,
    sockets: Sockets,
    /// The counters when the row began.
    base: Counters,
    /// What the model counted of frames that the kernel does not take.
    untaken: Counters,
    result: Option<RunResult>,
    /// The frame that ran last, as it came.
    frame: Vec<u8>,
    nominees: Vec<Nominee>,
    frames: usize,
    /// Whether all flows are compared after each frame, and not only when asked.
    pub compares_each: bool,
}

struct RunResult {
    value: u32,
    bytes: Vec<u8>,
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
            base: Counters::new(),
            untaken: Counters::new(),
            result: None,
            frame: Vec::new(),
            nominees: Vec::new(),
            frames: 0,
            compares_each: true,
        }
    }

    /// Frames run so far.
    pub const fn frames(&self) -> usize {
        self.frames
    }

    /// Runs one frame of a container; whether it was redirected.
    pub fn redirects(&self, container: &Container, frame: &[u8]) -> bool {
        let result =
            self.run(Hook::ContainerEgress.name(), container.ifindex, container.ifindex, frame, 0).expect("run");
        result.value == REDIRECT
    }

    pub fn flows(&self) -> Flows {
        entries(self.map("FLOWS"))
    }

    /// Checks that both have the same flows, but for the times.
    #[track_caller]
    pub fn compare_flows(&self, world: &World) {
        let timeless = |flows: &Flows| -> Flows {
            flows.iter().map(|(key, flow)| (*key, Flow { created_ns: 0, seen_ns: 0, ..*flow })).collect()
        };
        let (kernel, model) = (timeless(&self.flows()), timeless(&world.model.flows.borrow()));
        if kernel != model {
            let only = |a: &Flows, b: &Flows| {
                a.iter().filter(|(k, v)| b.get(k) != Some(v)).map(|(k, v)| format!("{k:?} {v:?}")).collect::<Vec<_>>()
            };
            panic!("flows\nkernel: {:#?}\nmodel: {:#?}", only(&kernel, &model), only(&model, &kernel));
        }
    }

    fn map<K: Pod, V: Pod>(&self, name: &str) -> HashMap<&MapData, K, V> {
        HashMap::try_from(self.object.map(name).expect("a map")).expect("a hash")
    }

    /// Makes a map hold these entries and no others.
    fn fill<K: Pod + Ord, V: Pod>(&mut self, name: &str, wanted: impl IntoIterator<Item = (K, V)>) {
        let mut map: HashMap<_, K, V> = HashMap::try_from(self.object.map_mut(name).expect("a map")).expect("a hash");
        let mut former: BTreeSet<K> = map.keys().map(|key| key.expect("a key")).collect();
        for (key, value) in wanted {
            former.remove(&key);
            map.insert(key, value, 0).expect("inserted");
        }
        for key in former {
            map.remove(&key).expect("removed");
        }
    }

    /// As [`Self::fill`], for a trie: the length of each prefix, and the prefix.
    fn fill_trie<K: Pod + Ord>(&mut self, name: &str, wanted: impl IntoIterator<Item = (u32, K)>) {
        let mut trie: LpmTrie<_, K, u32> = self.object.map_mut(name).expect("a map").try_into().expect("a trie");
        let parts = |key: Key<K>| (key.prefix_len(), key.data());
        let former: BTreeSet<(u32, K)> = trie.keys().map(|key| parts(key.expect("a key"))).collect();
        let wanted: BTreeSet<(u32, K)> = wanted.into_iter().collect();
        // First, since bits behind the length tell two prefixes apart here and not in the kernel.
        for (len, prefix) in former.difference(&wanted) {
            trie.remove(&Key::new(*len, *prefix)).expect("removed");
        }
        for (len, prefix) in wanted.difference(&former) {
            trie.insert(&Key::new(*len, *prefix), 1, 0).expect("inserted");
        }
    }

    /// What the agent writes, and the stack.
    fn set_up(&mut self, world: &World) {
        let model = &world.model;
        self.fill::<u32, Port>("PORTS_BY_IF", model.ports.clone());
        self.fill::<EndpointKey, Endpoint>("ENDPOINTS", model.endpoints.clone());
        self.fill::<FdbKey, FdbEntry>("FDB", model.fdb.clone());
        self.fill::<PublishKey, Publish>("PUBLISHED", model.publishes.clone());
        self.fill::<Addr, u32>("LOCAL_ADDRS", model.local.iter().map(|address| (*address, 0)));
        self.fill::<PoolKey, Addr>("SNAT_POOLS", model.pools.clone());
        self.fill::<u32, Timeouts>("TIMEOUTS", model.timeouts.clone());
        self.fill::<u32, u32>("UPLINKS", model.uplinks.iter().map(|ifindex| (*ifindex, 0)));
        let allowed = model.allowed.iter();
        self.fill_trie(
            "ALLOWED",
            allowed.map(|(list, address, len)| (32 + len, AllowKey { list: *list, address: *address })),
        );
        self.fill_trie("BLOCKED", model.blocked.iter().map(|(address, len)| (*len, *address)));
        self.sockets = Sockets::default();
        self.sockets = host::set_up(world);
    }

    fn counters(&self) -> Counters {
        let map: PerCpuArray<_, Counter> = self.object.map("COUNTERS").expect("a map").try_into().expect("an array");
        let mut counters = Counters::new();
        for &hook in Hook::ALL {
            for outcome in (0..Outcome::COUNT).filter_map(Outcome::from_number) {
                let slots = map.get(&counter_index(hook, outcome), 0).expect("a counter");
                for slot in slots.iter().filter(|slot| slot.packets != 0) {
                    add(counters.entry((hook, outcome)).or_default(), *slot);
                }
            }
        }
        counters
    }

    /// Runs a program on a frame. `ingress` is the interface that it came in by, 0 for none.
    fn run(&self, program: &str, ifindex: u32, ingress: u32, frame: &[u8], flags: u32) -> io::Result<RunResult> {
        // `struct __sk_buff` up to the last field that is set; the kernel takes the rest for zero.
        let mut context = [0_u32; 11];
        context[9] = ingress;
        context[10] = ifindex;
        let mut out = vec![0; frame.len() + 256];
        let program: &SchedClassifier = self.object.program(program).expect("a program").try_into().expect("TC");
        let mut attr = TestAttr {
            program_fd: program.fd().expect("loaded").as_fd().as_raw_fd() as u32,
            size_in: frame.len() as u32,
            size_out: out.len() as u32,
            data_in: frame.as_ptr() as u64,
            data_out: out.as_mut_ptr() as u64,
            repeat: 1,
            context_size_in: size_of_val(&context) as u32,
            context_in: context.as_ptr() as u64,
            flags,
            ..TestAttr::default()
        };
        // SAFETY: `attr` is the `test` member of `union bpf_attr`, its size is given, and its pointers are valid for the
        // sizes beside them for the time of the call.
        let result = unsafe { libc::syscall(libc::SYS_bpf, BPF_PROG_TEST_RUN, &raw mut attr, size_of::<TestAttr>()) };
        if result < 0 {
            return Err(io::Error::last_os_error());
        }
        out.truncate(attr.size_out as usize);
        Ok(RunResult { value: attr.return_value, bytes: out })
    }
}

const BPF_PROG_TEST_RUN: libc::c_long = 10;
/// The kernel keeps a sum over the packet, as for a network card that made one, and checks afterwards that the program
/// kept it right (Linux 6.16).
const CHECKSUM_COMPLETE: u32 = 1 << 2;

/// The `test` member of `union bpf_attr`.
#[repr(C)]
#[derive(Default)]
struct TestAttr {
    program_fd: u32,
    return_value: u32,
    size_in: u32,
    size_out: u32,
    data_in: u64,
    data_out: u64,
    repeat: u32,
    duration: u32,
    context_size_in: u32,
    context_size_out: u32,
    context_in: u64,
    context_out: u64,
    flags: u32,
    cpu: u32,
    batch_size: u32,
    pad: u32,
}

/// Whether the kernel makes a packet of it for such a run: it wants whole Ethernet and IP headers.
fn takes(frame: &[u8]) -> bool {
    let size_min = match frame.get(12..14) {
        None => return false,
        Some([0x08, 0x00]) => 14 + 20,
        Some([0x86, 0xdd]) => 14 + 40,
        Some(_) => 14,
    };
    frame.len() >= size_min
}

/// Bytes of a frame that every link takes, whatever becomes of it.
const FITTING: usize = 1480;

/// Whether the kernel's sum must hold: of IP. UDP without a checksum cannot make up for a changed port, but nobody looks
/// at the sum of such a datagram, nor at that of an ARP answer. One that is cut or grows into an answer has no such sum
/// any more: packets at the end of their time, those too large, and neighbour solicitations without an option.
fn may_check_sum(frame: &[u8]) -> bool {
    let is_none = |at: usize| frame.get(at..at + 2) == Some(&[0, 0]);
    let (ttl, is_v6) = (frame.get(if frame.get(12) == Some(&0x86) { 21 } else { 22 }), frame.get(12) == Some(&0x86));
    if matches!(ttl, Some(0 | 1)) || frame.len() > FITTING || is_v6 && frame.len() < 86 && ttl == Some(&255) {
        return false;
    }
    transport(frame).is_some_and(|(protocol, at)| protocol != UDP || !is_none(at + 6))
}

impl Mirror for Kernel {
    const EXPECTS_AS_WRITTEN: bool = false;

    fn begin(&mut self, world: &World) {
        self.set_up(world);
        let (now_ns, model_now_ns) = (monotonic_ns(), world.stack.now_ns);
        let here = |ns: u64| now_ns - (model_now_ns - ns);
        let flows = world.model.flows.borrow().clone();
        self.fill(
            "FLOWS",
            flows.into_iter().map(|(key, flow)| (key, Flow { seen_ns: here(flow.seen_ns), created_ns: 0, ..flow })),
        );
        self.fill::<FragmentKey, Fragment>("FRAGMENTS", []);
        self.base = self.counters();
        self.untaken.clear();
    }

    fn send(&mut self, world: &mut World, hook: Hook, frame: &Bytes) {
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
        // Where fragments wait for their first, it may become one of them on the way, of which the kernel keeps no sum.
        let may_check = may_check_sum(&frame.bytes) && !world.model.is_any_fragment_waiting();
        let flags = if may_check { CHECKSUM_COMPLETE } else { 0 };
        let result = self.run(hook.name(), frame.ifindex, ingress, &frame.bytes, flags);
        let result = result.unwrap_or_else(|error| panic!("{}: {error}: {:02x?}", hook.name(), frame.bytes));
        if let Some(port) = source_port(&result.bytes).filter(|port| *port >= 1024) {
            // Where the port was chosen here, the model chooses the same at its first try.
            world.stack.random = ((u64::from(port - 1024) << 32).div_ceil(65536 - 1024)) as u32;
        }
        self.result = Some(result);
        self.frame.clone_from(&frame.bytes);
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
        let mut model = world.model.counters.borrow().clone();
        let mut kernel = self.counters();
        for (slot, counter) in &self.base {
            subtract(&mut kernel, slot, *counter);
        }
        for (slot, counter) in &self.untaken {
            subtract(&mut model, slot, *counter);
        }
        let frame = &self.frame;
        assert_eq!(
            (result.value, &kernel),
            (expected, &model),
            "verdict and counters, the kernel's first: {frame:02x?}"
        );
        assert_eq!(
            result.bytes, ran.frame.bytes,
            "bytes, the kernel's first: {:02x?}\n{:02x?}",
            result.bytes, ran.frame.bytes
        );
        if self.compares_each {
            self.compare_flows(world);
        }
    }

    /// Instead of time going on, the flows and fragments grow older.
    fn wait(&mut self, ns: u64) {
        let older = self.flows().into_iter().map(|(key, flow)| (key, Flow { seen_ns: flow.seen_ns - ns, ..flow }));
        self.fill("FLOWS", older.collect::<Vec<_>>());
        let fragments: BTreeMap<FragmentKey, Fragment> = entries(self.map("FRAGMENTS"));
        let older = fragments.into_iter().map(|(key, known)| (key, Fragment { seen_ns: known.seen_ns - ns, ..known }));
        self.fill("FRAGMENTS", older.collect::<Vec<_>>());
    }

    fn evict(&mut self, key: &FlowKey) {
        let mut flows = self.flows();
        flows.remove(key).expect("an entry");
        self.fill("FLOWS", flows);
    }

    fn change(&mut self, world: &World) {
        self.set_up(world);
    }

    fn nominate(&mut self, world: &World) {
        self.nominees = nominate(world, &self.flows(), monotonic_ns());
    }

    fn collect(&mut self, deleted: u32) {
        let result = self.run(netd::kernel::datapath::COLLECTOR, 1, 0, &gc_frame(&self.nominees), 0).expect("run");
        assert_eq!(result.value, deleted, "pairs deleted");
    }
}

fn add(sum: &mut Counter, counter: Counter) {
    sum.packets += counter.packets;
    sum.bytes += counter.bytes;
}

fn subtract(from: &mut Counters, slot: &(Hook, Outcome), counter: Counter) {
    let left = from.entry(*slot).or_default();
    left.packets -= counter.packets;
    left.bytes -= counter.bytes;
    if left.packets == 0 {
        from.remove(slot);
    }
}

fn entries<K: Pod + Ord, V: Pod>(map: HashMap<&MapData, K, V>) -> BTreeMap<K, V> {
    map.iter().map(|entry| entry.expect("an entry")).collect()
}

/// The protocol of an IP frame and the offset of its transport header.
fn transport(frame: &[u8]) -> Option<(u8, usize)> {
    let (mut protocol, mut at) = match frame.get(12..14)? {
        [0x08, 0x00] => (*frame.get(23)?, 14 + usize::from(frame.get(14)? & 0x0f) * 4),
        [0x86, 0xdd] => (*frame.get(20)?, 54),
        _ => return None,
    };
    // Extension headers of IPv6, whose lengths are counted in three ways.
    while matches!(protocol, 0 | 43 | 44 | 51 | 60) {
        let len = usize::from(*frame.get(at + 1)?);
        let size = match protocol {
            44 => 8,
            51 => (len + 2) * 4,
            _ => (len + 1) * 8,
        };
        protocol = *frame.get(at)?;
        at += size;
    }
    Some((protocol, at))
}

/// The source port of a frame, or the identifier of an echo.
fn source_port(frame: &[u8]) -> Option<u16> {
    let (protocol, at) = transport(frame)?;
    let at = if matches!(protocol, ICMP | ICMPV6) { at + 4 } else { at };
    Some(u16::from_be_bytes(frame.get(at..at + 2)?.try_into().ok()?))
}

/// What a map takes of the kernel's memory, in bytes.
pub fn memory(map: &Map) -> u64 {
    let data = match map {
        Map::HashMap(data)
        | Map::LruHashMap(data)
        | Map::PerCpuLruHashMap(data)
        | Map::LpmTrie(data)
        | Map::PerCpuArray(data)
        | Map::Array(data)
        | Map::RingBuf(data) => data,
        other => panic!("another kind of map: {other:?}"),
    };
    let path = format!("/proc/self/fdinfo/{}", data.fd().as_fd().as_raw_fd());
    let info = std::fs::read_to_string(path).expect("what the kernel says of the descriptor");
    let line = info.lines().find_map(|line| line.strip_prefix("memlock:")).expect("memlock");
    line.trim().parse().expect("a number")
}
