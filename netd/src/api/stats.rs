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
use netd_common::limits::SNAT_TRIES_BUCKETS;
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
    let api_names = Arc::clone(&api.names);
    let read = blocking(move || {
        let both = api.host.counters().and_then(|counters| Ok((counters, api.host.tries()?)));
        both.map_err(|source| Error::Host { what: "the counters", source })
    });
    let (mut counters, tries) = read.await?;
    counters.sort_by_key(|(hook, outcome, _)| (*hook, *outcome));
    let counters = counters.into_iter().map(|(hook, outcome, counter)| record(hook.name(), outcome.name(), counter));
    let tries = (0..).zip(tries).filter(|(_, flows)| *flows != 0);
    let tries = tries.map(|(bucket, packets)| record(SNAT_TRIES, &tries_name(bucket), Counter { packets, bytes: 0 }));
    let names = api_names.all().filter(|(_, questions)| *questions != 0);
    let names = names.map(|(fate, packets)| record(NAMES, fate.name(), Counter { packets, bytes: 0 }));
    Ok(Json(counters.chain(tries).chain(names).collect()))
}

/// What stands in place of a hook where questions for names are counted.
const NAMES: &str = "names";

/// What stands in place of a hook where flows are counted by the tries that their source port took.
const SNAT_TRIES: &str = "snat_tries";

/// The tries that a bucket of `SNAT_TRIES` stands for: twice as many as the one before it; the last is for no port at all.
fn tries_name(bucket: u32) -> String {
    match bucket {
        0 => "1".to_owned(),
        1 => "2".to_owned(),
        _ if bucket as usize + 1 == SNAT_TRIES_BUCKETS => "none".to_owned(),
        _ => format!("{}-{}", (1 << (bucket - 1)) + 1, 1 << bucket),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use netd_common::limits::SNAT_TRIES_MAX;

    #[test]
    fn the_buckets_reach_as_far_as_the_tries() {
        let names: Vec<_> = (0..SNAT_TRIES_BUCKETS as u32).map(tries_name).collect();
        assert_eq!(names, ["1", "2", "3-4", "5-8", "9-16", "17-32", "33-64", "65-128", "129-256", "none"]);
        assert!(names.contains(&format!("129-{SNAT_TRIES_MAX}")));
    }
}
