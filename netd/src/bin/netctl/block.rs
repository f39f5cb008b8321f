//! `netctl block`, `unblock`, `block ls`: whose packets are dropped, and how are very many of them named?

use super::Failure;
use super::output::{self, Column, Format, Out};
use clap::{Args, Subcommand};
use hyper::Method;
use netd::api::blocks::{BlockRequest, UnblockRequest};
use netd::api::client::Client;
use netd::api::records::{BlockRecord, BlocksChangedRecord};
use netd::model::command::Unblock as What;
use netd::model::prefix::Prefix;
use std::collections::BTreeSet;
use std::io::Read as _;
use std::path::{Path, PathBuf};

const CIDR: &str = "ADDRESS or ADDRESS/LENGTH, such as 203.0.113.0/24 or 2001:db8::/32";
const FILE: &str = "A file with one CIDR a line, and comments behind #; - is the standard input";

#[derive(Args)]
#[command(args_conflicts_with_subcommands = true, subcommand_negates_reqs = true)]
pub struct Block {
    #[command(subcommand)]
    verb: Option<BlockVerb>,
    #[arg(required_unless_present = "file", value_name = "CIDR", help = CIDR)]
    prefixes: Vec<Prefix>,
    #[arg(long, value_name = "FILE", help = FILE)]
    file: Option<PathBuf>,
}

#[derive(Subcommand)]
pub enum BlockVerb {
    /// List who is blocked
    Ls,
}

#[derive(Args)]
pub struct Unblock {
    #[arg(required_unless_present_any = ["file", "all"], value_name = "CIDR", help = CIDR)]
    prefixes: Vec<Prefix>,
    #[arg(long, value_name = "FILE", help = FILE)]
    file: Option<PathBuf>,
    /// Everybody
    #[arg(long, conflicts_with_all = ["prefixes", "file"])]
    all: bool,
}

pub async fn block(block: Block, client: &Client, out: Out) -> Result<(), Failure> {
    let Block { verb, prefixes, file } = block;
    if let Some(BlockVerb::Ls) = verb {
        return list(client, out).await;
    }
    let request = BlockRequest { prefixes: gathered(prefixes, file.as_deref())? };
    let record: BlocksChangedRecord = client.change(Method::POST, "/v1/blocks", &request).await?;
    for note in &record.notes {
        eprintln!("netctl: note: {note}");
    }
    out.changed(&record, file.map(|_| format!("{} blocked", record.changed)))?;
    Ok(())
}

pub async fn unblock(unblock: Unblock, client: &Client, out: Out) -> Result<(), Failure> {
    let Unblock { prefixes, file, all } = unblock;
    let what = if all { What::All } else { What::Prefixes(gathered(prefixes, file.as_deref())?) };
    let record: BlocksChangedRecord =
        client.change(Method::POST, "/v1/blocks:remove", &UnblockRequest { what }).await?;
    out.changed(&record, (all || file.is_some()).then(|| format!("{} unblocked", record.changed)))?;
    Ok(())
}

async fn list(client: &Client, out: Out) -> Result<(), Failure> {
    if out.format == Format::Json {
        // Straight through: there may be very many.
        let mut pieces = client.stream("/v1/blocks").await?;
        while let Some(piece) = pieces.next().await? {
            output::write(&piece)?;
        }
        return Ok(output::write(b"\n")?);
    }
    let records: Vec<BlockRecord> = client.read("/v1/blocks").await?;
    let columns = ["PREFIX", "STATUS"].map(Column::Text);
    let row = |record: &BlockRecord| [record.prefix.to_string(), record.status.name().to_owned()];
    Ok(out.list(&records, |record| record.prefix.to_string(), columns, row)?)
}

/// What was named on the command line and in a file.
fn gathered(prefixes: Vec<Prefix>, file: Option<&Path>) -> Result<BTreeSet<Prefix>, Failure> {
    let mut gathered: BTreeSet<Prefix> = prefixes.into_iter().collect();
    if let Some(file) = file {
        let unreadable = |why: String| Failure::Input(format!("{}: {why}", file.display()));
        let text = read(file).map_err(|error| unreadable(error.to_string()))?;
        gathered.extend(parse(&text).map_err(unreadable)?);
    }
    Ok(gathered)
}

fn read(file: &Path) -> std::io::Result<String> {
    if file.as_os_str() != "-" {
        return std::fs::read_to_string(file);
    }
    let mut text = String::new();
    std::io::stdin().lock().read_to_string(&mut text)?;
    Ok(text)
}

/// One prefix a line; an error names the line.
fn parse(text: &str) -> Result<Vec<Prefix>, String> {
    let lines = text.lines().enumerate().map(|(index, line)| {
        let told = line.split_once('#').map_or(line, |(told, _)| told).trim();
        (index, told)
    });
    let prefixes = lines.filter(|(_, told)| !told.is_empty());
    prefixes.map(|(index, told)| told.parse().map_err(|error| format!("line {}: {error}", index + 1))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_has_one_prefix_a_line() {
        let text = "# bad people\n203.0.113.0/24\n\n  198.51.100.7   # one of them\r\n2001:db8::/32";
        let prefixes: Vec<String> = parse(text).expect("a list").iter().map(ToString::to_string).collect();
        assert_eq!(prefixes, ["203.0.113.0/24", "198.51.100.7/32", "2001:db8::/32"]);
        assert_eq!(
            parse("10.0.0.0/8\n\n10.0.0.1/8\n"),
            Err("line 3: \"10.0.0.1/8\" is not a prefix: it has bits behind its length; the network is 10.0.0.0/8, the \
                 address alone 10.0.0.1; write ADDRESS or ADDRESS/LENGTH, such as 203.0.113.0/24"
                .to_owned())
        );
    }
}
