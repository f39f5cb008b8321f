//! How does netd compare with what else there is, on this machine?
//!
//! Run by `cargo xtask bench`, which builds netd and this first. Everything happens in namespaces of its own; what is
//! started is ended, also after a signal.

mod agent;
mod compare;
mod contestant;
mod contestants;
mod control;
mod cpu;
mod extent;
mod goals;
#[path = "../datapath/host.rs"]
mod host;
#[allow(dead_code, reason = "the datapath's tests use the rest")]
#[path = "../datapath/kernel.rs"]
mod kernel;
mod machine;
#[allow(dead_code, reason = "the datapath's tests use the rest")]
#[path = "../datapath/maps.rs"]
mod maps;
mod micro;
mod plot;
mod regime;
mod report;
mod results;
mod rounds;
#[allow(dead_code, reason = "the datapath's tests use the rest")]
#[path = "../datapath/run.rs"]
mod run;
mod scale;
mod series;
mod session;
mod table;
mod works;

use anyhow::{Context as _, Result, bail, ensure};
use clap::{Parser, Subcommand, ValueEnum};
use contestant::Service;
use extent::Extent;
use regime::Regime;
use results::{Described, Results};
use session::Session;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// netd beside loopback, the host's own namespace, a veth pair, a Linux bridge with Docker's rules, the CNI plugins and a
/// real dockerd, interleaved in one run. As root, on a machine that does nothing else.
#[derive(Parser)]
#[command(
    name = "cargo xtask bench",
    bin_name = "cargo xtask bench",
    after_help = "`cargo xtask bench --install-peers` installs the peers that are missing, and does nothing else."
)]
struct Arguments {
    /// Less than three minutes: one round of the main works, small sizes
    #[arg(long)]
    quick: bool,
    /// Rounds in the stable regime, instead of the run's own number
    #[arg(long)]
    rounds: Option<u32>,
    /// Only these contestants; names as in the results, separated by commas
    #[arg(long, value_delimiter = ',')]
    only: Vec<String>,
    /// Only these parts
    #[arg(long, value_delimiter = ',', value_enum)]
    part: Vec<Part>,
    /// Where results.json, results.md and the plots go
    #[arg(long, default_value = "target/bench")]
    out: PathBuf,
    /// Tell what has moved since the run whose results.json this is
    #[arg(long, value_name = "OLD.json")]
    compare: Option<PathBuf>,
    /// Put the results of a full run into docs/benchmarks.md
    #[arg(long, conflicts_with_all = ["quick", "only", "part"])]
    write_docs: bool,
    #[command(subcommand)]
    other: Option<Other>,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Part {
    Works,
    Scale,
    Control,
    Micro,
}

#[derive(Subcommand)]
enum Other {
    /// Make tables and plots anew of a results.json, without measuring
    Report { results: PathBuf },
    /// Set the contestants up (those of --only), tell where they are, and wait for a line: for perf, tcpdump and one's own works
    Stand,
    /// Nanoseconds a packet of each program, path by path; fails when one is beyond its budget
    Micro(micro::Options),
}

fn main() -> ExitCode {
    match carry_out(&Arguments::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("bench: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn carry_out(arguments: &Arguments) -> Result<()> {
    match &arguments.other {
        Some(Other::Report { results }) => return finish(arguments, &Results::read(results)?),
        Some(Other::Micro(options)) => return micro::micro(options),
        Some(Other::Stand) => return stand(&chosen(&arguments.only)?),
        None => {}
    }
    // Before anything is measured, so that a mistyped name costs no half an hour.
    let before = arguments.compare.as_deref().map(Results::read).transpose()?;
    let (results, outcome) = measure(arguments)?;
    if outcome.is_err() {
        report::write(&results, &arguments.out)?;
        return outcome.with_context(|| format!("{} has what was measured until then", arguments.out.display()));
    }
    finish(arguments, &results)?;
    if let Some(before) = before {
        let moved = compare::moved(&before, &results);
        println!("\nSince {} (netd {}):", before.started, before.machine.netd);
        println!(
            "{}",
            if moved.is_empty() { "nothing has moved beyond its spread".to_owned() } else { moved.join("\n") }
        );
    }
    Ok(())
}

/// What a figure comes from can be looked at by any tool while it stands.
fn stand(keys: &[&'static str]) -> Result<()> {
    let mut session = Session::new(Extent::quick())?;
    let contestants = rounds::build(&mut session, keys, &mut Vec::new())?;
    for contestant in &contestants {
        for route in &contestant.routes {
            println!("{}, {}", contestant.key, route.path.name());
            println!("  client: nsenter --net={}", route.client.path());
            println!("  server: nsenter --net={}", route.server.path());
            println!("  {}", Service::ALL.map(|service| format!("{service:?} {}", route.at(service))).join(", "));
        }
    }
    println!("Press Enter to take all of it down");
    std::io::stdin().read_line(&mut String::new()).context("waiting for a line")?;
    Ok(())
}

fn finish(arguments: &Arguments, results: &Results) -> Result<()> {
    // First of all, since it took its time to get them.
    report::write(results, &arguments.out)?;
    println!("{}", table::terminal(results));
    println!("{0}/results.json, {0}/results.md and plots are written", arguments.out.display());
    if arguments.write_docs {
        ensure!(results.extent == "full", "docs/benchmarks.md is of full runs alone");
        report::write_docs(results, Path::new("docs"))?;
        println!("docs/benchmarks.md is written");
    }
    Ok(())
}

/// What was measured, and whether to the end.
fn measure(arguments: &Arguments) -> Result<(Results, Result<()>)> {
    ensure!(nix::unistd::geteuid().is_root(), "the benchmarks make namespaces and load programs: run them as root");
    let mut extent = if arguments.quick { Extent::quick() } else { Extent::full() };
    extent.rounds = arguments.rounds.unwrap_or(extent.rounds);
    let keys = chosen(&arguments.only)?;
    let started = jiff::Zoned::now().strftime("%Y-%m-%dT%H:%M:%S%:z").to_string();
    let machine = machine::Machine::look();
    let mut name = extent.name.to_owned();
    let mut session = Session::new(extent)?;
    let mut described = Vec::new();
    let outcome = parts(arguments, &keys, &mut session, &mut described);
    if !arguments.part.is_empty() || !arguments.only.is_empty() {
        name.push_str(", of parts");
    }
    if outcome.is_err() {
        name.push_str(", cut short");
    }
    let results = Results {
        format: Results::FORMAT,
        extent: name,
        started,
        seconds: session.seconds(),
        machine,
        regimes: [Regime::Stable, Regime::IdleCores].map(Regime::describe).to_vec(),
        contestants: described,
        goals: goals::judge(&session.book),
        notes: std::mem::take(&mut session.notes),
        series: session.book.all().cloned().collect(),
    };
    Ok((results, outcome))
}

fn parts(
    arguments: &Arguments,
    keys: &[&'static str],
    session: &mut Session,
    described: &mut Vec<Described>,
) -> Result<()> {
    let does = |part: Part| arguments.part.is_empty() || arguments.part.contains(&part);
    if does(Part::Micro) {
        micro::part(session)?;
    }
    if does(Part::Works) {
        // All of them go before the next part begins.
        let contestants = rounds::build(session, keys, described)?;
        rounds::works(session, &contestants)?;
    }
    if does(Part::Scale) {
        scale::scale(session, keys)?;
    }
    if does(Part::Control) {
        control::control(session, keys)?;
    }
    Ok(())
}

fn chosen(only: &[String]) -> Result<Vec<&'static str>> {
    let known = |name: &String| {
        let found = contestants::ALL.into_iter().find(|known| known == name);
        found.with_context(|| format!("there is no contestant \"{name}\"; there are: {}", contestants::ALL.join(", ")))
    };
    let chosen = only.iter().map(known).collect::<Result<Vec<_>>>()?;
    if chosen.is_empty() && !only.is_empty() {
        bail!("no contestant is left");
    }
    Ok(if only.is_empty() { contestants::ALL.to_vec() } else { chosen })
}
