//! `netctl flow`, `stats`, `events`, `status`, `version`: what is seen, and how is it shown?

use super::Failure;
use super::output::{self, Column, Format, Growing, Out};
use clap::{Args, Subcommand};
use hyper::Method;
use netd::api::client::{Client, escaped};
use netd::api::elements::Elements;
use netd::api::records::{FlowRecord, FlushedRecord, StatsRecord, StatusRecord, VersionRecord};
use netd::events::Record;
use serde::Serialize;

#[derive(Subcommand)]
pub enum FlowVerb {
    /// List tracked connections
    Ls {
        /// Of this container only
        name: Option<String>,
    },
    /// Forget tracked connections; those that go on are tracked anew
    Flush {
        /// Of this container only
        name: Option<String>,
    },
}

#[derive(Args)]
pub struct Stats {
    /// Of this container only: what its interfaces received and sent, and its packets that were dropped
    name: Option<String>,
}

#[derive(Args)]
pub struct Events {
    /// Stay, and print what happens from now on
    #[arg(short, long)]
    follow: bool,
}

pub async fn flows(verb: FlowVerb, client: &Client, out: Out) -> Result<(), Failure> {
    match verb {
        FlowVerb::Ls { name } => list_flows(&narrowed("/v1/flows", name.as_deref()), client, out).await,
        FlowVerb::Flush { name } => {
            let record: FlushedRecord = client.ask(Method::DELETE, &narrowed("/v1/flows", name.as_deref())).await?;
            out.changed(&record, [format!("{} flushed", record.flushed)])?;
            Ok(())
        }
    }
}

/// A path, for everything or for one container.
fn narrowed(path: &str, container: Option<&str>) -> String {
    match container {
        Some(name) => format!("{path}?container={}", escaped(name)),
        None => path.to_owned(),
    }
}

async fn list_flows(path: &str, client: &Client, out: Out) -> Result<(), Failure> {
    // There may be very many: what has come is written, and let go.
    match out.format {
        Format::Json => {
            let mut pieces = client.stream(path).await?;
            while let Some(piece) = pieces.next().await? {
                output::write(&piece)?;
            }
            output::write(b"\n")?;
        }
        Format::Table => {
            let mut table = Growing::new([
                Column::Text("CONTAINER"),
                Column::Text("PROTOCOL"),
                Column::Text("STATE"),
                Column::Text("SOURCE"),
                Column::Text("DESTINATION"),
                Column::Text("TRANSLATED SOURCE"),
                Column::Text("TRANSLATED DESTINATION"),
                Column::Number("PACKETS"),
                Column::Number("BYTES"),
                Column::Number("AGE"),
                Column::Number("IDLE"),
            ]);
            let mut flows = Elements::of(client.stream(path).await?);
            while let Some(flow) = flows.next().await? {
                table.push(flow_row(flow))?;
            }
            table.finish()?;
        }
    }
    Ok(())
}

fn flow_row(flow: FlowRecord) -> [String; 11] {
    [
        output::or_dash(flow.container),
        flow.protocol,
        flow.state,
        flow.source,
        flow.destination,
        flow.translated_source,
        flow.translated_destination,
        flow.packets.to_string(),
        flow.bytes.to_string(),
        format!("{}s", flow.age_s),
        format!("{}s", flow.idle_s),
    ]
}

pub async fn stats(stats: Stats, client: &Client, out: Out) -> Result<(), Failure> {
    let records: Vec<StatsRecord> = client.read(&narrowed("/v1/stats", stats.name.as_deref())).await?;
    let columns = [Column::Text("HOOK"), Column::Text("OUTCOME"), Column::Number("PACKETS"), Column::Number("BYTES")];
    out.list(
        &records,
        |record| format!("{} {}", record.hook, record.outcome),
        columns,
        |record| [record.hook.clone(), record.outcome.clone(), record.packets.to_string(), record.bytes.to_string()],
    )?;
    Ok(())
}

/// Without `--follow` what happened lately; in JSON one document. With it, in JSON, one record a line.
pub async fn events(events: Events, client: &Client, out: Out) -> Result<(), Failure> {
    if !events.follow {
        let records: Vec<Record> = client.read("/v1/events").await?;
        match out.format {
            Format::Json => output::json(&records)?,
            Format::Table => output::lines(records.iter().map(line))?,
        }
        return Ok(());
    }
    let mut pieces = client.stream("/v1/events?follow=true").await?;
    let mut waiting = Vec::new();
    while let Some(piece) = pieces.next().await? {
        waiting.extend_from_slice(&piece);
        // A piece may end in the middle of a line.
        let Some(end) = waiting.iter().rposition(|byte| *byte == b'\n') else { continue };
        let whole: Vec<u8> = waiting.drain(..=end).collect();
        match out.format {
            Format::Json => output::write(&whole)?,
            Format::Table => {
                let texts = whole.split(|byte| *byte == b'\n').filter(|text| !text.is_empty());
                let records: Result<Vec<Record>, _> = texts.map(serde_json::from_slice).collect();
                output::lines(records.map_err(netd::api::client::ClientError::from)?.iter().map(line))?;
            }
        }
    }
    Ok(())
}

fn line(record: &Record) -> String {
    let container = record.container.as_deref().filter(|_| record.hook.is_some());
    let named = container.map(|name| format!(" ({name})")).unwrap_or_default();
    let about = match (&record.object, &record.name) {
        (Some(object), Some(name)) => match record.kind {
            netd::events::Kind::Failing | netd::events::Kind::Ready => format!("{object} {name}: "),
            netd::events::Kind::Created
            | netd::events::Kind::Removed
            | netd::events::Kind::Connected
            | netd::events::Kind::Disconnected
            | netd::events::Kind::Published
            | netd::events::Kind::Unpublished
            | netd::events::Kind::Blocked
            | netd::events::Kind::Unblocked
            | netd::events::Kind::Dropped
            | netd::events::Kind::Lost => String::new(),
        },
        (_, _) => String::new(),
    };
    format!("{:.3} {} {about}{}{named}", record.time, record.kind.name(), record.message)
}

pub async fn status(client: &Client, out: Out) -> Result<(), Failure> {
    let record: StatusRecord = client.read("/v1/status").await?;
    match out.format {
        Format::Json => output::json(&record)?,
        Format::Table => output::write(status_text(&record).as_bytes())?,
    }
    Ok(())
}

fn status_text(record: &StatusRecord) -> String {
    let uplink = |name: &String| match record.xdp.get(name).copied().flatten() {
        Some(mode) => format!("{name} (XDP {})", mode.name()),
        None => name.clone(),
    };
    let uplinks: Vec<String> = record.uplinks.iter().map(uplink).collect();
    let uplinks = if uplinks.is_empty() { "none".to_owned() } else { uplinks.join(", ") };
    let mut text = format!(
        "netd {}, ABI {}, instance {}\nrevision {}, datapath at {}\nuplinks: {uplinks}\n\n",
        record.version, record.abi, record.instance, record.revision, record.observed_revision
    );
    let maps = record.maps.iter().map(|map| [map.name.clone(), map.entries.to_string(), map.max.to_string()]);
    text += &output::table([Column::Text("MAP"), Column::Number("ENTRIES"), Column::Number("MAX")], maps);
    text.push('\n');
    if record.objects.is_empty() {
        text += if record.observed_revision < record.revision { "on the way\n" } else { "everything is ready\n" };
        return text;
    }
    let objects = record.objects.iter().map(|object| {
        let name = output::or_dash(Some(&object.name).filter(|name| !name.is_empty()));
        [object.kind.clone(), name, object.status.name().to_owned(), object.reason.clone()]
    });
    text + &output::table(["KIND", "NAME", "STATUS", "REASON"].map(Column::Text), objects)
}

#[derive(Serialize)]
struct Versions<'a> {
    client: ClientVersion<'a>,
    /// Null when netd does not answer.
    server: Option<&'a VersionRecord>,
}

#[derive(Serialize)]
struct ClientVersion<'a> {
    version: &'a str,
    abi: u32,
}

/// Tells its own version in any case.
pub async fn version(client: &Client, out: Out) -> Result<(), Failure> {
    let answer: Result<VersionRecord, _> = client.read("/v1/version").await;
    let own = ClientVersion { version: env!("CARGO_PKG_VERSION"), abi: netd_common::layout::ABI_VERSION };
    match out.format {
        Format::Json => output::json(&Versions { client: own, server: answer.as_ref().ok() })?,
        Format::Table => {
            let server = answer
                .as_ref()
                .ok()
                .map(|server| format!("netd {}, ABI {}, instance {}", server.version, server.abi, server.instance));
            output::lines([format!("netctl {}, ABI {}", own.version, own.abi)].into_iter().chain(server))?;
        }
    }
    answer.map(|_| ()).map_err(Failure::from)
}

#[cfg(test)]
mod tests {
    use super::*;
    use netd::api::records::{Health, MapRecord, ObjectRecord};
    use netd::events::Kind;
    use netd::model::node::XdpMode;

    #[test]
    fn a_status_says_what_is_not_ready_and_why() {
        let mut record = StatusRecord {
            revision: 42,
            observed_revision: 42,
            objects: Vec::new(),
            uplinks: ["eth0", "eth1", "eth2"].map(str::to_owned).to_vec(),
            xdp: [("eth0".to_owned(), None), ("eth1".to_owned(), Some(XdpMode::Generic))].into(),
            maps: vec![MapRecord { name: "FLOWS".to_owned(), entries: 2, max: 262_144 }],
            version: "0.1.0".to_owned(),
            abi: 1,
            instance: "default".to_owned(),
        };
        assert_eq!(
            status_text(&record),
            "netd 0.1.0, ABI 1, instance default\nrevision 42, datapath at 42\nuplinks: eth0, eth1 (XDP generic), eth2\n\n\
             MAP    ENTRIES     MAX\nFLOWS        2  262144\n\neverything is ready\n"
        );
        record.objects.push(ObjectRecord {
            kind: "container".to_owned(),
            name: "web".to_owned(),
            status: Health::Failing,
            reason: "create link nd1: no memory".to_owned(),
        });
        assert!(
            status_text(&record)
                .ends_with("KIND       NAME  STATUS   REASON\ncontainer  web   failing  create link nd1: no memory\n")
        );
    }

    #[test]
    fn an_event_is_one_line() {
        let record = Record {
            time: "2026-01-02T03:04:05.6789Z".parse().expect("a time"),
            kind: Kind::Failing,
            object: Some("container".to_owned()),
            name: Some("web".to_owned()),
            container: Some("web".to_owned()),
            hook: None,
            reason: None,
            protocol: None,
            source: None,
            destination: None,
            message: "no namespace".to_owned(),
        };
        assert_eq!(line(&record), "2026-01-02T03:04:05.678Z failing container web: no namespace");
    }
}
