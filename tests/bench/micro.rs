//! How long does each program take for a packet, path by path, and is that within its budget?
//!
//! By `BPF_PROG_TEST_RUN`, each run with a fresh copy of the packet, since a program rewrites it. What the kernel takes
//! besides is measured by a program that does nothing, and shown. Programs of sockets (`sock_addr`) cannot be run so.

use crate::host;
use crate::kernel::Kernel;
use crate::regime::CLIENT_CORE;
use crate::run::{DROP, NEXT, REDIRECT};
use crate::series::{self, Metric, quantile};
use crate::session::{Session, caught};
use anyhow::{Context as _, Result, bail, ensure};
use aya::maps::lpm_trie::{Key, LpmTrie};
use aya::programs::{TestRun as _, TestRunOptions, Xdp};
use comfy_table::{CellAlignment, Table, presets};
use netd_common::publish::UDP;
use netd_ebpf::testing::case::Mirror as _;
use netd_ebpf::testing::guard;
use netd_ebpf::testing::packet::Ip;
use netd_ebpf::testing::world::{DB, HOST, REMOTE, Source, WEB, World, from_host, from_wire};
use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

/// Nanoseconds of each path, by its name.
const BUDGET: &str = "tests/bench/budget.toml";
/// How much of a budget the measurement that sets it fills.
const FILLED: f64 = 0.5;
/// A budget is no less: what a run takes besides differs by some ten nanoseconds.
const LEAST: f64 = 200.0;
const HEAD: &str = "\
# Nanoseconds that a packet may take at most in each program, path by path, without what a run takes beside its program.
# `cargo xtask bench micro` checks them, and `cargo xtask bench micro --bless` writes them anew, with room for a slower
# machine; lower one by hand when a program got faster and is to stay so.
";
/// Runs of each path, and those before the first that counts.
const RUNS: u16 = 20_000;
const WARM_UP: u16 = 2_000;
/// The first source port of flows that are new.
const PORTS_FROM: u16 = 20_000;
/// Entries of the flow table.
const FLOWS: u32 = 131_072;
/// What a datagram says.
const PAYLOAD: &[u8] = b"0123456789012345678901234567890123456789012345678901234567890123";

#[derive(clap::Args)]
pub struct Options {
    /// Write the budget file anew by what is measured now
    #[arg(long)]
    bless: bool,
}

/// A packet, given the number of the run.
type Make = fn(u16) -> Vec<u8>;

/// A path through a program.
struct Walk {
    name: &'static str,
    /// What opens the flow.
    before: &'static [(Source, Make)],
    source: Source,
    packet: Make,
    /// What the program returns.
    returns: u32,
}

const FROM_WEB: Source = Source::Container(WEB.ifindex);

fn out(port: u16) -> Vec<u8> {
    WEB.to(REMOTE).udp(port, 53, PAYLOAD)
}

fn back(_: u16) -> Vec<u8> {
    from_wire(REMOTE, HOST).udp(53, 4000, PAYLOAD)
}

fn come_in(port: u16) -> Vec<u8> {
    from_wire(REMOTE, HOST).udp(port, 5353, PAYLOAD)
}

fn answer(_: u16) -> Vec<u8> {
    WEB.to(REMOTE).udp(53, 4000, PAYLOAD)
}

fn known(make: fn(u16) -> Vec<u8>) -> Vec<u8> {
    make(4000)
}

const WALKS: [Walk; 10] = [
    Walk {
        name: "container_egress: to a peer",
        before: &[],
        source: FROM_WEB,
        packet: |_| Ip { to_mac: DB.mac(), ..WEB.to(DB.address) }.udp(4000, 53, PAYLOAD),
        returns: REDIRECT,
    },
    Walk {
        name: "container_egress: to the outside, known flow",
        before: &[(FROM_WEB, |_| known(out)), (Source::Wire, back)],
        source: FROM_WEB,
        packet: |_| known(out),
        returns: REDIRECT,
    },
    Walk {
        name: "container_egress: to the outside, new flow",
        before: &[],
        source: FROM_WEB,
        packet: out,
        returns: REDIRECT,
    },
    Walk {
        name: "container_egress: answer of a published port",
        before: &[(Source::Wire, |_| known(come_in))],
        source: FROM_WEB,
        packet: answer,
        returns: REDIRECT,
    },
    Walk {
        name: "container_egress: spoofed source, dropped",
        before: &[],
        source: FROM_WEB,
        packet: |_| DB.to(REMOTE).udp(4000, 53, PAYLOAD),
        returns: DROP,
    },
    Walk {
        name: "uplink_ingress: to a published port, known flow",
        before: &[(Source::Wire, |_| known(come_in)), (FROM_WEB, answer)],
        source: Source::Wire,
        packet: |_| known(come_in),
        returns: REDIRECT,
    },
    Walk {
        name: "uplink_ingress: to a published port, new flow",
        before: &[],
        source: Source::Wire,
        packet: come_in,
        returns: REDIRECT,
    },
    Walk {
        name: "uplink_ingress: answer from the outside",
        before: &[(FROM_WEB, |_| known(out))],
        source: Source::Wire,
        packet: back,
        returns: REDIRECT,
    },
    Walk {
        name: "uplink_ingress: for the host, passed on",
        before: &[],
        source: Source::Wire,
        packet: |_| from_wire(REMOTE, HOST).udp(4000, 22, PAYLOAD),
        returns: NEXT,
    },
    Walk {
        name: "uplink_egress: of the host",
        before: &[],
        source: Source::Host,
        packet: |_| from_host(REMOTE).udp(4000, 53, PAYLOAD),
        returns: NEXT,
    },
];

/// As a part of a whole run.
pub fn part(session: &mut Session) -> Result<()> {
    session.next("programs", "")?;
    session.expect(1);
    match caught(measured) {
        Err(error) => session.remark(format!("programs: {error:#}")),
        Ok((_, walks)) => {
            for (name, ns) in walks {
                let (hook, path) = name.split_once(": ").unwrap_or_default();
                let key = series::Key {
                    part: "micro".to_owned(),
                    contestant: hook.to_owned(),
                    path: path.to_owned(),
                    ..series::Key::default()
                };
                session.book.note(key, TIME, 1, ns);
            }
        }
    }
    Ok(())
}

const TIME: Metric = Metric::less("time", "ns/packet");

fn measured() -> Result<(f64, Vec<(String, f64)>)> {
    let (sender, receiver) = std::sync::mpsc::channel();
    host::host(move || {
        // The receiver is there: it waits below.
        let _ = sender.send(measure());
    });
    receiver.recv().context("the measuring thread")?
}

pub fn micro(options: &Options) -> Result<()> {
    ensure!(nix::unistd::geteuid().is_root(), "programs are loaded into the kernel: run this as root");
    let (nothing, walks) = measured()?;
    if options.bless {
        return bless(&walks);
    }
    let text = fs::read_to_string(BUDGET).with_context(|| format!("reading {BUDGET}; --bless writes it"))?;
    let budget: BTreeMap<String, f64> = toml::from_str(&text).with_context(|| format!("{BUDGET} is no budget"))?;
    check(nothing, &walks, &budget)
}

/// Nanoseconds of each path, without those of a run of nothing, which come first.
fn measure() -> Result<(f64, Vec<(String, f64)>)> {
    let mut cores = nix::sched::CpuSet::new();
    cores.set(CLIENT_CORE)?;
    nix::sched::sched_setaffinity(nix::unistd::Pid::from_raw(0), &cores)?;
    let mut kernel = Kernel::load(FLOWS);
    let nothing = median(|_| Ok(f64::from(kernel.timed_nothing())))?;
    let mut walks = Vec::new();
    for walk in &WALKS {
        let mut world = World::default();
        world.publish(UDP, HOST, 5353, &WEB, 53);
        kernel.begin(&world);
        for (source, packet) in walk.before {
            ensure!(
                kernel.timed(*source, &packet(0)).0 == REDIRECT,
                "{}: what opens the flow does not pass",
                walk.name
            );
        }
        let ns = median(|run| {
            let (value, ns) = kernel.timed(walk.source, &(walk.packet)(PORTS_FROM + run));
            ensure!(value == walk.returns, "{}: the program returned {value}, not {}", walk.name, walk.returns);
            Ok(f64::from(ns))
        })?;
        walks.push((walk.name.to_owned(), (ns - nothing).max(0.0)));
    }
    walks.extend(guards(nothing)?);
    Ok((nothing, walks))
}

fn median(mut run: impl FnMut(u16) -> Result<f64>) -> Result<f64> {
    let times = (0..WARM_UP + RUNS).map(&mut run).collect::<Result<Vec<f64>>>()?;
    Ok(quantile(&times[usize::from(WARM_UP)..], 0.5))
}

/// The guard of an uplink is XDP, and has no flows.
fn guards(nothing: f64) -> Result<Vec<(String, f64)>> {
    let mut object = aya::EbpfLoader::new().load(netd::kernel::datapath::OBJECT)?;
    let mut trie: LpmTrie<_, netd_common::Addr, u32> = object.map_mut("BLOCKED").context("a map")?.try_into()?;
    for (prefix, len) in guard::blocked() {
        trie.insert(&Key::new(len, prefix), 1, 0)?;
    }
    let program: &mut Xdp = object.program_mut("xdp_guard").context("a program")?.try_into()?;
    program.load()?;
    let mut walks = Vec::new();
    for (name, is_blocked) in [("xdp_guard: not blocked", false), ("xdp_guard: blocked", true)] {
        let rows = guard::rows();
        let row = rows.iter().find(|row| row.is_blocked == is_blocked && row.frame.len() > 40).context("a row")?;
        let ns = median(|_| {
            let run = TestRunOptions { data_in: Some(&row.frame), ..TestRunOptions::default() };
            Ok(program.test_run(run)?.duration.as_nanos() as f64)
        })?;
        walks.push((name.to_owned(), (ns - nothing).max(0.0)));
    }
    Ok(walks)
}

fn bless(walks: &[(String, f64)]) -> Result<()> {
    // Up to the next ten, so that two runs seldom differ.
    let budget = walks.iter().map(|(name, ns)| (name.clone(), ((ns / FILLED / 10.0).ceil() * 10.0).max(LEAST) as i64));
    let text = toml::to_string(&budget.collect::<BTreeMap<_, _>>())?;
    fs::write(Path::new(BUDGET), format!("{HEAD}\n{text}")).with_context(|| format!("writing {BUDGET}"))?;
    println!("{BUDGET} is written");
    Ok(())
}

fn check(nothing: f64, walks: &[(String, f64)], budget: &BTreeMap<String, f64>) -> Result<()> {
    let mut table = Table::new();
    table.load_style(presets::UTF8_FULL_CONDENSED).set_header(["path", "ns", "budget"]);
    for column in table.column_iter_mut().skip(1) {
        column.set_cell_alignment(CellAlignment::Right);
    }
    let mut broken = Vec::new();
    for (name, ns) in walks {
        let bound = budget.get(name).with_context(|| format!("{BUDGET} has no \"{name}\"; --bless writes it anew"))?;
        table.add_row([name.as_str(), &format!("{ns:.0}"), &format!("{bound:.0}")]);
        if ns > bound {
            broken.push(format!("{name}: {ns:.0} ns, and the budget is {bound:.0}"));
        }
    }
    println!("{table}\nA run takes {nothing:.0} ns beside its program; that is taken off.");
    if !broken.is_empty() {
        bail!("beyond the budget of {BUDGET}: {}", broken.join("; "));
    }
    Ok(())
}
