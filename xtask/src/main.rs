//! Which verb of development is asked for?
//!
//! One file per verb. The crate depends on as little as possible, and not on netd: `setup` comes before anything of
//! netd can be built.

mod bench;
mod check;
mod demo;
mod run;
mod setup;
mod test;
mod tidy;

use anyhow::Result;
use clap::{Parser, Subcommand};
use std::process::ExitCode;

/// The verbs of development; CI calls `cargo xtask test` and nothing else.
#[derive(Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask")]
struct Arguments {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Subcommand)]
enum Verb {
    /// Install what building, testing and the demo need; does nothing when all is there
    Setup(setup::Options),
    /// Show netd at work in network namespaces of its own (as root)
    Demo(demo::Options),
    /// Set up, check, and run every ring of tests (as root)
    Test(test::Options),
    /// Compare netd with loopback, bridges, CNI plugins and Docker on this machine (as root); --help lists the options
    Bench(bench::Options),
    /// Format, lints for host and BPF, documentation, tidy
    Check,
    /// The rules of this repository that no other tool knows
    Tidy(tidy::Options),
}

fn main() -> ExitCode {
    match carry_out(&Arguments::parse().verb) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("xtask: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn carry_out(verb: &Verb) -> Result<()> {
    match verb {
        Verb::Setup(options) => setup::setup(options),
        Verb::Demo(options) => demo::demo(options),
        Verb::Test(options) => test::test(options),
        Verb::Bench(options) => bench::bench(options),
        Verb::Check => check::check(),
        Verb::Tidy(options) => tidy::tidy(options),
    }
}
