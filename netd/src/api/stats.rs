//! `/v1/stats`: what became of the packets?

use super::Api;
use super::change::blocking;
use super::error::Error;
use super::extract::{Asked, Narrowed};
use super::host::Host;
use super::records::StatsRecord;
use axum::extract::State;
use axum::routing::get;
use axum::{Json, Router};
use netd_common::drop::{Counter, Hook};
use std::sync::Arc;

pub fn routes<H: Host>() -> Router<Arc<Api<H>>> {
    Router::new().route("/v1/stats", get(list))
}

async fn list<H: Host>(
    State(api): State<Arc<Api<H>>>,
    Asked(narrowed): Asked<Narrowed>,
) -> Result<Json<Vec<StatsRecord>>, Error> {
    match narrowed.container {
        Some(name) => of_container(api, &name).await,
        None => of_programs(api).await,
    }
}

/// What its interfaces have received and sent, and what the datapath dropped of it.
async fn of_container<H: Host>(api: Arc<Api<H>>, name: &str) -> Result<Json<Vec<StatsRecord>>, Error> {
    let snapshot = api.snapshot();
    let container = snapshot.state.container(name)?.clone();
    let netns = snapshot.view().netns(&container);
    let records = blocking(move || {
        let mut records = Vec::new();
        for endpoint in &container.endpoints {
            let traffic = api.host.traffic(&netns, &endpoint.interface);
            let traffic = traffic.map_err(|source| Error::Host { what: "the container's interface", source })?;
            records.push(record(&endpoint.interface, "received", traffic.received));
            records.push(record(&endpoint.interface, "sent", traffic.sent));
        }
        let endpoints = container.endpoints.iter().map(|endpoint| endpoint.number).collect();
        let drops = api.host.drops(&endpoints).map_err(|source| Error::Host { what: "the counters", source })?;
        let hook = Hook::ContainerEgress.name();
        records.extend(drops.into_iter().map(|(reason, counter)| record(hook, reason.name(), counter)));
        Ok(records)
    });
    Ok(Json(records.await?))
}

fn record(hook: &str, outcome: &str, counter: Counter) -> StatsRecord {
    let Counter { packets, bytes } = counter;
    StatsRecord { hook: hook.to_owned(), outcome: outcome.to_owned(), packets, bytes }
}

async fn of_programs<H: Host>(api: Arc<Api<H>>) -> Result<Json<Vec<StatsRecord>>, Error> {
    let mut counters =
        blocking(move || api.host.counters().map_err(|source| Error::Host { what: "the counters", source })).await?;
    counters.sort_by_key(|(hook, outcome, _)| (*hook, *outcome));
    let records = counters.into_iter().map(|(hook, outcome, counter)| record(hook.name(), outcome.name(), counter));
    Ok(Json(records.collect()))
}
