//! What was typed, and which part of netctl carries it out?

mod apply;
mod block;
mod container;
mod network;
mod observe;
mod output;
mod publish;

use clap::{CommandFactory as _, Parser, Subcommand};
use clap_complete::Shell;
use netd::api::client::{Client, ClientError};
use output::{Format, Out};
use std::io;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

/// Containers' networks, published ports and connections, as netd keeps them
#[derive(Parser)]
#[command(name = "netctl", version, disable_help_subcommand = true)]
struct Line {
    #[command(flatten)]
    global: Global,
    #[command(subcommand)]
    verb: Verb,
}

#[derive(clap::Args)]
struct Global {
    /// Socket of the netd to talk to
    #[arg(long, global = true, env = "NETCTL_SOCKET", value_name = "PATH", default_value = "/run/netd/netd.sock")]
    socket: PathBuf,
    /// For people or for programs; json is one document with stable names
    #[arg(short, long, global = true, value_name = "FORMAT", default_value = "table")]
    output: Format,
    /// Seconds to wait until the datapath has a change
    #[arg(long, global = true, value_name = "SECONDS", default_value_t = 30,
          value_parser = clap::value_parser!(u64).range(1..=3600))]
    timeout: u64,
    /// Print names only, and nothing after a change
    #[arg(short, long, global = true)]
    quiet: bool,
}

#[derive(Subcommand)]
enum Verb {
    /// Bring networks, containers and published ports to what a file says, and print the difference first
    Apply(apply::Apply),
    /// Make, list, look at and remove containers
    #[command(subcommand)]
    Container(container::Verb),
    /// Run a command in a container's network namespace, with its resolv.conf and hosts
    Exec(container::Exec),
    /// Make ports of a container answer at ports of this host
    Publish(publish::Publish),
    /// Take published ports back
    Unpublish(publish::Unpublish),
    /// List published ports
    #[command(subcommand)]
    Port(publish::PortVerb),
    /// Make, list, look at and remove networks
    #[command(subcommand)]
    Network(network::Verb),
    /// Drop what these addresses send, at every uplink and before anything else: new connections and old ones alike
    Block(block::Block),
    /// Let these addresses in again
    Unblock(block::Unblock),
    /// List tracked connections
    #[command(subcommand)]
    Flow(observe::FlowVerb),
    /// Packets and bytes by what became of them, drops by reason
    Stats(observe::Stats),
    /// Changes, and sampled drops, one per line
    Events(observe::Events),
    /// How far the datapath is, what is not ready and why, how full the maps are
    Status,
    /// Versions of netctl and of the netd it talks to
    Version,
    /// Print a script that completes netctl's words in a shell
    Completions { shell: Shell },
}

/// Why netctl did not do what was asked; one line on the standard error stream.
#[derive(Debug, thiserror::Error)]
enum Failure {
    #[error(transparent)]
    Client(#[from] ClientError),
    #[error("{0}")]
    Input(String),
    #[error("the output: {0}")]
    Output(#[from] io::Error),
    #[error("{message}")]
    Exec { code: u8, message: String },
    #[error("the runtime: {0}")]
    Runtime(io::Error),
}

impl Failure {
    fn code(&self) -> ExitCode {
        match self {
            Self::Client(_) | Self::Input(_) | Self::Output(_) | Self::Runtime(_) => ExitCode::FAILURE,
            Self::Exec { code, .. } => ExitCode::from(*code),
        }
    }
}

fn main() -> ExitCode {
    match carry_out(Line::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        // Whoever read the output has seen enough, such as head(1).
        Err(Failure::Output(error)) if error.kind() == io::ErrorKind::BrokenPipe => ExitCode::SUCCESS,
        Err(failure) => {
            eprintln!("netctl: {failure}");
            failure.code()
        }
    }
}

fn carry_out(line: Line) -> Result<(), Failure> {
    let Line { global, verb } = line;
    let client = Client { socket: global.socket, timeout: Duration::from_secs(global.timeout) };
    let out = Out { format: global.output, quiet: global.quiet };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(Failure::Runtime)?;
    match verb {
        Verb::Apply(apply) => runtime.block_on(apply::run(apply, &client, out)),
        Verb::Container(verb) => runtime.block_on(container::run(verb, &client, out)),
        Verb::Exec(exec) => {
            let prepared = runtime.block_on(container::prepare(exec, &client))?;
            drop(runtime);
            Err(prepared.become_command())
        }
        Verb::Publish(publish) => runtime.block_on(publish::publish(publish, &client, out)),
        Verb::Unpublish(unpublish) => runtime.block_on(publish::unpublish(unpublish, &client, out)),
        Verb::Port(verb) => runtime.block_on(publish::list(verb, &client, out)),
        Verb::Block(block) => runtime.block_on(block::block(block, &client, out)),
        Verb::Unblock(unblock) => runtime.block_on(block::unblock(unblock, &client, out)),
        Verb::Network(verb) => runtime.block_on(network::run(verb, &client, out)),
        Verb::Flow(verb) => runtime.block_on(observe::flows(verb, &client, out)),
        Verb::Stats(stats) => runtime.block_on(observe::stats(stats, &client, out)),
        Verb::Events(events) => runtime.block_on(observe::events(events, &client, out)),
        Verb::Status => runtime.block_on(observe::status(&client, out)),
        Verb::Version => runtime.block_on(observe::version(&client, out)),
        Verb::Completions { shell } => {
            let mut script = Vec::new();
            clap_complete::generate(shell, &mut Line::command(), "netctl", &mut script);
            Ok(output::write(&script)?)
        }
    }
}

#[cfg(test)]
mod tests;
