//! The daemon's command line: run it, check the machine, clean up after it.

use anyhow::anyhow;
use clap::{Parser, Subcommand};
use comfy_table::{Table, presets};
use netd::config::Options;
use netd::kernel::names::keeper;
use netd::{check, cleanup, daemon, logging};
use std::io::{self, Write as _};
use std::process::ExitCode;

/// The network of containers on Linux, on eBPF alone
#[derive(Parser)]
#[command(name = "netd", version, disable_help_subcommand = true)]
struct Line {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Subcommand)]
enum Verb {
    /// Run the agent in the foreground; SIGTERM stops it and leaves traffic running
    Run(Options),
    /// Say what this kernel and machine offer, what is missing and what that costs
    Check(Options),
    /// Remove every link, route, pin and namespace that this instance made, and its store
    Cleanup {
        #[command(flatten)]
        options: Options,
        /// Keep the store: the next run makes everything again
        #[arg(long)]
        keep_state: bool,
    },
    /// Keep the sockets of name servers while no agent is there; netd starts it itself
    #[command(name = keeper::VERB, hide = true)]
    KeepNames,
}

fn main() -> ExitCode {
    match carry_out(Line::parse().verb) {
        Ok(code) => code,
        Err(error) => {
            // Each error says its cause itself.
            eprintln!("netd: {error}");
            ExitCode::FAILURE
        }
    }
}

fn carry_out(verb: Verb) -> anyhow::Result<ExitCode> {
    let mut out = io::stdout().lock();
    match verb {
        Verb::Run(options) => {
            let config = options.resolve()?;
            logging::init(config.log_format, &config.log_level).map_err(|message| anyhow!(message))?;
            daemon::run(&config)?;
            Ok(ExitCode::SUCCESS)
        }
        Verb::Check(options) => {
            let findings = check::run(&options.resolve()?);
            let mut table = Table::new();
            table.load_style(presets::NOTHING);
            for finding in &findings {
                table.add_row([
                    format!("[{}]", finding.verdict.name()),
                    finding.subject.clone(),
                    finding.detail.clone(),
                ]);
            }
            for column in table.column_iter_mut() {
                column.set_padding((0, 2));
            }
            writeln!(out, "{}", table.trim_fmt())?;
            if check::can_run(&findings) {
                writeln!(out, "netd can run here")?;
                return Ok(ExitCode::SUCCESS);
            }
            writeln!(out, "netd cannot run here: see what is missing above")?;
            Ok(ExitCode::FAILURE)
        }
        Verb::KeepNames => {
            keeper::run()?;
            Ok(ExitCode::SUCCESS)
        }
        Verb::Cleanup { options, keep_state } => {
            let config = options.resolve()?;
            logging::init(config.log_format, &config.log_level).map_err(|message| anyhow!(message))?;
            let steps = cleanup::run(&config, keep_state)?;
            writeln!(out, "instance {} is gone ({steps} steps)", config.instance.as_str())?;
            Ok(ExitCode::SUCCESS)
        }
    }
}
