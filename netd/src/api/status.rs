//! `/v1/status`: how far is the datapath, and what is not well?

use super::Api;
use super::host::Host;
use super::records::{Health, MapRecord, ObjectRecord, StatusRecord, View};
use axum::extract::State;
use axum::routing::get;
use axum::{Json, Router};
use std::io;
use std::sync::Arc;

pub fn routes<H: Host>() -> Router<Arc<Api<H>>> {
    Router::new().route("/v1/status", get(show))
}

async fn show<H: Host>(State(api): State<Arc<Api<H>>>) -> Json<StatusRecord> {
    let looking = Arc::clone(&api);
    let fill = tokio::task::spawn_blocking(move || looking.host.fill())
        .await
        .unwrap_or_else(|gone| Err(io::Error::other(gone)));
    let snapshot = api.snapshot();
    let mut objects = snapshot.view().objects();
    objects.extend(api.shortages.borrow().iter().map(View::shortage));
    let maps = fill.unwrap_or_else(|error| {
        objects.push(ObjectRecord {
            kind: "node".to_owned(),
            name: "maps".to_owned(),
            status: Health::Failing,
            reason: format!("the maps cannot be read: {error}"),
        });
        Vec::new()
    });
    Json(StatusRecord {
        revision: snapshot.state.revision,
        observed_revision: snapshot.status.observed_revision,
        objects,
        uplinks: snapshot.facts.uplinks.keys().cloned().collect(),
        maps: maps.into_iter().map(|map| MapRecord { name: map.name, entries: map.entries, max: map.max }).collect(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        abi: netd_common::layout::ABI_VERSION,
        instance: api.instance.clone(),
    })
}
