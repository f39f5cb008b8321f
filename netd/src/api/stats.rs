//! `/v1/stats`: what became of the packets?

use super::Api;
use super::change::blocking;
use super::error::Error;
use super::host::Host;
use super::records::StatsRecord;
use axum::extract::State;
use axum::routing::get;
use axum::{Json, Router};
use std::sync::Arc;

pub fn routes<H: Host>() -> Router<Arc<Api<H>>> {
    Router::new().route("/v1/stats", get(list))
}

async fn list<H: Host>(State(api): State<Arc<Api<H>>>) -> Result<Json<Vec<StatsRecord>>, Error> {
    let mut counters =
        blocking(move || api.host.counters().map_err(|source| Error::Host { what: "the counters", source })).await?;
    counters.sort_by_key(|(hook, outcome, _)| (*hook, *outcome));
    let records = counters.into_iter().map(|(hook, outcome, counter)| StatsRecord {
        hook: hook.name().to_owned(),
        outcome: outcome.name().to_owned(),
        packets: counter.packets,
        bytes: counter.bytes,
    });
    Ok(Json(records.collect()))
}
