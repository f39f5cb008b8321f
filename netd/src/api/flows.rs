//! `/v1/flows`: which connections are tracked, and how are they forgotten?
//!
//! The table may hold hundreds of thousands, so the array is written while it is read, a piece at a time.

use super::Api;
use super::change::blocking;
use super::error::Error;
use super::extract::{Asked, Narrowed};
use super::host::Host;
use super::records::{FlowRecord, FlushedRecord};
use crate::tuple;
use axum::body::Body;
use axum::extract::State;
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use bytes::Bytes;
use futures_util::{StreamExt as _, stream};
use netd_common::flow::{Flow, FlowKey, REPLY};
use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::ops::ControlFlow;
use std::sync::Arc;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;

/// Bytes that are collected before they are sent.
const PIECE_SIZE: usize = 32 * 1024;
/// Pieces that wait for a slow reader; past it the table is read no further until it has caught up.
const PIECES_MAX: usize = 4;

pub fn routes<H: Host>() -> Router<Arc<Api<H>>> {
    Router::new().route("/v1/flows", get(list).delete(flush))
}

async fn list<H: Host>(State(api): State<Arc<Api<H>>>, Asked(narrowed): Asked<Narrowed>) -> Result<Response, Error> {
    let state = api.state.borrow().clone();
    if let Some(name) = &narrowed.container {
        state.container(name)?;
    }
    let names: BTreeMap<u32, String> = state
        .containers
        .values()
        .flat_map(|container| container.endpoints.iter().map(|endpoint| (endpoint.number, container.name.clone())))
        .filter(|(_, name)| narrowed.container.as_ref().is_none_or(|wanted| wanted == name))
        .collect();
    let permit = Arc::clone(&api.streams).try_acquire_owned().map_err(|_| Error::TooManyStreams)?;
    let (pieces, mut rest) = mpsc::channel(PIECES_MAX);
    let all = narrowed.container.is_none();
    tokio::task::spawn_blocking(move || {
        write_array(&api.host, &names, all, &pieces);
        drop(permit);
    });
    // The first piece is waited for, so that a table that cannot be read is an error and not an empty list.
    let first = rest.recv().await.unwrap_or(Err(io::Error::other("the reader stopped")));
    let first = first.map_err(|source| Error::Host { what: "the flow table", source })?;
    let body = Body::from_stream(stream::iter([Ok(first)]).chain(ReceiverStream::new(rest)));
    Ok(([(CONTENT_TYPE, "application/json")], body).into_response())
}

/// Answers with how many connections are forgotten.
async fn flush<H: Host>(
    State(api): State<Arc<Api<H>>>,
    Asked(narrowed): Asked<Narrowed>,
) -> Result<Json<FlushedRecord>, Error> {
    let endpoints: Option<BTreeSet<u32>> = match &narrowed.container {
        Some(name) => {
            let state = api.state.borrow();
            Some(state.container(name)?.endpoints.iter().map(|endpoint| endpoint.number).collect())
        }
        None => None,
    };
    let flushed = blocking(move || {
        let flushed = api.host.flush(endpoints.as_ref());
        flushed.map_err(|source| Error::Host { what: "the flow table", source })
    });
    Ok(Json(FlushedRecord { flushed: flushed.await? }))
}

/// Sends the array, piece by piece. `names` are the containers by endpoint number; flows of others are listed if `all`.
fn write_array<H: Host>(host: &H, names: &BTreeMap<u32, String>, all: bool, pieces: &mpsc::Sender<io::Result<Bytes>>) {
    let now_ns = host.monotonic_ns();
    let mut piece = Vec::new();
    let mut separator = b'[';
    let read = host.flows(&mut |key, flow| {
        let name = names.get(&flow.owner);
        if flow.flags & REPLY != 0 || name.is_none() && !all {
            return ControlFlow::Continue(());
        }
        piece.push(separator);
        separator = b',';
        let written = serde_json::to_writer(&mut piece, &record(key, flow, name, now_ns));
        let sent = match written {
            Ok(()) if piece.len() < PIECE_SIZE => Ok(()),
            Ok(()) => pieces.blocking_send(Ok(std::mem::take(&mut piece).into())),
            Err(error) => pieces.blocking_send(Err(error.into())),
        };
        // Nobody listens any more, or what came is of no use to them.
        if sent.is_err() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    });
    if separator == b'[' {
        piece.push(separator);
    }
    piece.push(b']');
    // Nobody listens any more if this fails.
    let _ = pieces.blocking_send(read.map(|()| piece.into()));
}

fn record(key: &FlowKey, flow: &Flow, container: Option<&String>, now_ns: u64) -> FlowRecord {
    let seconds_since = |then_ns: u64| now_ns.saturating_sub(then_ns) / 1_000_000_000;
    FlowRecord {
        container: container.cloned(),
        protocol: tuple::protocol(key.protocol),
        state: flow.state().name().to_owned(),
        source: tuple::socket(key.source, key.source_port),
        destination: tuple::socket(key.destination, key.destination_port),
        translated_source: tuple::socket(flow.source, flow.source_port),
        translated_destination: tuple::socket(flow.destination, flow.destination_port),
        packets: flow.packets,
        bytes: flow.bytes,
        age_s: seconds_since(flow.created_ns),
        idle_s: seconds_since(flow.seen_ns),
    }
}
