//! `/v1/blocks`: whose packets are dropped at the uplinks?
//!
//! There may be very many, so a body may be larger here than elsewhere, and the list is written a piece at a time.

use super::error::Error;
use super::extract::{Asked, Body, Wait};
use super::host::Host;
use super::records::{BlockRecord, BlocksChangedRecord, Health};
use super::{Api, BLOCKS_SIZE_MAX};
use crate::kernel::facts::NodeFacts;
use crate::model::command::{Command, Unblock};
use crate::model::prefix::{Prefix, Prefixes};
use axum::body::Body as Answer;
use axum::extract::{DefaultBodyLimit, State};
use axum::http::StatusCode;
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use bytes::Bytes;
use futures_util::stream;
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;
use std::io;
use std::ops::Bound;
use std::sync::Arc;

/// Prefixes in a piece of the list.
const PIECE: usize = 512;

pub fn routes<H: Host>() -> Router<Arc<Api<H>>> {
    Router::new()
        .route("/v1/blocks", get(list).post(block))
        .route("/v1/blocks:remove", post(unblock))
        .layer(DefaultBodyLimit::max(BLOCKS_SIZE_MAX))
}

#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BlockRequest {
    /// `ADDRESS[/LENGTH]` each.
    pub prefixes: BTreeSet<Prefix>,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct UnblockRequest {
    /// `"all"` or `{"prefixes": [PREFIX, …]}`.
    pub what: Unblock,
}

async fn list<H: Host>(State(api): State<Arc<Api<H>>>) -> Response {
    let snapshot = api.snapshot();
    let (blocked, status) = (snapshot.state.blocked.clone(), snapshot.view().blocks());
    let begin = Some(Bound::Unbounded);
    let pieces = stream::unfold(begin, move |from| {
        let piece = from.map(|from| piece(&blocked, from, status));
        std::future::ready(piece)
    });
    ([(CONTENT_TYPE, "application/json")], Answer::from_stream(pieces)).into_response()
}

/// A piece of the array, and where the next one begins, if there is one.
fn piece(blocked: &Prefixes, from: Bound<Prefix>, status: Health) -> (io::Result<Bytes>, Option<Bound<Prefix>>) {
    let mut text = Vec::new();
    let mut last = None;
    for prefix in blocked.range((from, Bound::Unbounded)).take(PIECE) {
        text.push(if from == Bound::Unbounded && last.is_none() { b'[' } else { b',' });
        last = Some(*prefix);
        if let Err(error) = serde_json::to_writer(&mut text, &BlockRecord { prefix: *prefix, status }) {
            return (Err(error.into()), None);
        }
    }
    if last.is_none() {
        text.extend_from_slice(if from == Bound::Unbounded { b"[]" } else { b"]" });
    }
    (Ok(text.into()), last.map(Bound::Excluded))
}

async fn block<H: Host>(
    State(api): State<Arc<Api<H>>>,
    Asked(wait): Asked<Wait>,
    Body(BlockRequest { prefixes }): Body<BlockRequest>,
) -> Result<(StatusCode, Json<BlocksChangedRecord>), Error> {
    let notes = notes(&prefixes, &api.facts.borrow());
    let changed = api.change(Command::Block(prefixes), wait).await?;
    let (before, after) = (changed.before.blocked.len(), changed.after.blocked.len());
    let record = BlocksChangedRecord { changed: after.saturating_sub(before), blocked: after, notes };
    Ok((StatusCode::CREATED, Json(record)))
}

async fn unblock<H: Host>(
    State(api): State<Arc<Api<H>>>,
    Asked(wait): Asked<Wait>,
    Body(UnblockRequest { what }): Body<UnblockRequest>,
) -> Result<Json<BlocksChangedRecord>, Error> {
    let changed = api.change(Command::Unblock(what), wait).await?;
    let (before, after) = (changed.before.blocked.len(), changed.after.blocked.len());
    Ok(Json(BlocksChangedRecord { changed: before.saturating_sub(after), blocked: after, notes: Vec::new() }))
}

/// What the caller may not have meant.
fn notes(prefixes: &BTreeSet<Prefix>, facts: &NodeFacts) -> Vec<String> {
    let mut notes = Vec::new();
    for prefix in prefixes.iter().filter(|prefix| prefix.length() == 0) {
        let family = if prefix.address().is_ipv4() { "IPv4" } else { "IPv6, neighbour discovery included," };
        notes.push(format!("{prefix} is everybody: nothing of {family} comes in by an uplink any more"));
    }
    if facts.uplinks.is_empty() {
        notes.push("this host has no uplink: nobody is held up until it has one".to_owned());
    }
    notes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_pieces_are_one_array() {
        for count in [0, 1, PIECE, PIECE + 1, 3 * PIECE] {
            let addresses = (0..count as u32).map(|number| std::net::Ipv4Addr::from_bits(number).to_string());
            let blocked: Prefixes = addresses.map(|text| text.parse().expect("an address")).collect();
            let (mut text, mut from) = (Vec::new(), Some(Bound::Unbounded));
            while let Some(at) = from {
                let (bytes, next) = piece(&blocked, at, Health::Ready);
                text.extend(bytes.expect("a piece"));
                from = next;
            }
            let records: Vec<BlockRecord> = serde_json::from_slice(&text).expect("an array");
            assert_eq!(records.iter().map(|record| record.prefix).collect::<Prefixes>(), blocked);
            assert_eq!(records.len(), count);
        }
    }

    #[test]
    fn who_blocks_everybody_is_told() {
        let told = |texts: &[&str], facts: &NodeFacts| notes(&crate::model::testing::prefixes(texts), facts);
        let facts = crate::model::testing::facts();
        assert_eq!(told(&["10.0.0.0/8"], &facts), Vec::<String>::new());
        assert_eq!(
            told(&["0.0.0.0/0", "::/0"], &facts),
            [
                "0.0.0.0/0 is everybody: nothing of IPv4 comes in by an uplink any more",
                "::/0 is everybody: nothing of IPv6, neighbour discovery included, comes in by an uplink any more",
            ]
        );
        assert_eq!(
            told(&["10.0.0.0/8"], &NodeFacts::default()),
            ["this host has no uplink: nobody is held up until it has one"]
        );
    }
}
