//! `netctl apply`: how do networks, containers and published ports become what a file says?

mod around;
mod change;
mod difference;
mod differs;
mod file;
mod options;
mod ports;

use super::Failure;
use super::output::{Format, Out};
use super::publish;
use around::Live;
use change::{Change, Difference};
use clap::Args;
use difference::difference;
use file::File;
use hyper::Method;
use netd::api::BODY_SIZE_MAX;
use netd::api::changes::ChangesRequest;
use netd::api::client::Client;
use netd::api::records::{ChangesRecord, Health, PublishRecord};
use netd::model::port_map::PortMap;
use serde::Serialize;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};

#[derive(Args)]
pub struct Apply {
    /// The file, in TOML; - is the standard input
    #[arg(short, long, value_name = "FILE")]
    file: PathBuf,
    /// Print the difference, and change nothing
    #[arg(long)]
    dry_run: bool,
    /// Remove what apply made of this file and is not in it any more, and ports of its containers that it does not name
    #[arg(long)]
    prune: bool,
}

/// The document of `-o json`.
#[derive(Serialize)]
struct Record<'a> {
    changes: &'a [Change],
    /// What the file does not have any more, and was left alone.
    left: Vec<String>,
    /// Whether the changes were made.
    applied: bool,
    /// Ports that are published now and were not before.
    published: Vec<PublishRecord>,
}

/// What the standard input is known by.
const STDIN: &str = "-";

pub async fn run(apply: Apply, client: &Client, out: Out) -> Result<(), Failure> {
    let Apply { file, dry_run, prune } = apply;
    let (place, id) = if file.as_os_str() == STDIN {
        ("standard input".to_owned(), STDIN.to_owned())
    } else {
        (file.display().to_string(), identity(&file).map_err(|error| unreadable(&file, &error))?)
    };
    let text = read(&file).map_err(|error| unreadable(&file, &error))?;
    let file = File::parse(&text, &place, &id).map_err(Failure::Input)?;
    let live = Live { networks: client.read("/v1/networks").await?, containers: client.read("/v1/containers").await? };
    let refused = |why: String| Failure::Input(format!("{place}: {why}"));
    let difference = difference(&file, &live, prune).map_err(refused)?;
    tell(&difference, out)?;
    if !out.quiet {
        for name in failing(&file, &live) {
            eprintln!("netctl: note: container {name} is not ready; \"netctl status\" says why");
        }
    }
    let mut record =
        Record { changes: &difference.changes, left: left(&difference), applied: false, published: Vec::new() };
    if !difference.changes.is_empty() {
        let request = ChangesRequest { changes: difference.steps(), dry_run };
        let made: ChangesRecord = client.change(Method::POST, "/v1/changes", &request).await?;
        record.applied = !dry_run;
        record.published = made.published;
    }
    match (out.format, out.quiet) {
        (_, true) => Ok(()),
        (Format::Json, false) => Ok(super::output::json(&record)?),
        (Format::Table, false) => Ok(super::output::lines(publish::picked(&named(&file), &record.published))?),
    }
}

/// Before anything is done.
fn tell(difference: &Difference, out: Out) -> io::Result<()> {
    if out.quiet || out.format == Format::Json {
        return Ok(());
    }
    for left in left(difference) {
        eprintln!("netctl: note: {left} is not in the file, and stays; --prune removes it");
    }
    if difference.changes.is_empty() {
        return super::output::lines(["nothing to do".to_owned()]);
    }
    super::output::lines(difference.changes.iter().map(ToString::to_string))
}

fn left(difference: &Difference) -> Vec<String> {
    difference.left.iter().map(|(kind, name)| format!("{kind} {name}")).collect()
}

/// What is as the file says and still not well.
fn failing<'a>(file: &'a File, live: &Live) -> Vec<&'a str> {
    let names = file.containers.iter().map(|wanted| wanted.spec.name.as_str());
    let fails = |name: &&str| live.containers.iter().any(|one| one.name == *name && one.status == Health::Failing);
    names.filter(fails).collect()
}

/// All ports that the file names.
fn named(file: &File) -> Vec<PortMap> {
    file.containers.iter().flat_map(|container| &container.ports).map(|(port, _)| port.clone()).collect()
}

/// What a file is known by that does not name itself: where it is.
fn identity(file: &Path) -> io::Result<String> {
    let absolute = std::path::absolute(file)?;
    let (Some(folder), Some(name)) = (absolute.parent(), absolute.file_name()) else {
        return Ok(absolute.display().to_string());
    };
    Ok(folder.canonicalize()?.join(name).display().to_string())
}

fn read(file: &Path) -> io::Result<String> {
    // netd takes no longer request.
    let limit = BODY_SIZE_MAX as u64;
    let mut text = String::new();
    let read = if file.as_os_str() == STDIN {
        io::stdin().lock().take(limit + 1).read_to_string(&mut text)?
    } else {
        std::fs::File::open(file)?.take(limit + 1).read_to_string(&mut text)?
    };
    if read as u64 > limit {
        return Err(io::Error::other(format!("it is larger than {limit} bytes; make several files of it")));
    }
    Ok(text)
}

fn unreadable(file: &Path, error: &io::Error) -> Failure {
    Failure::Input(format!("{}: {error}", file.display()))
}

#[cfg(test)]
mod tests;
