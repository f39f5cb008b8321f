//! `/v1/status`: how far is the datapath, and what is not well?

use super::Api;
use super::host::Host;
use super::records::{Health, MapRecord, ObjectRecord, StatusRecord};
use super::view::View;
use axum::extract::State;
use axum::routing::get;
use axum::{Json, Router};
use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;

pub fn routes<H: Host>() -> Router<Arc<Api<H>>> {
    Router::new().route("/v1/status", get(show))
}

async fn show<H: Host>(State(api): State<Arc<Api<H>>>) -> Json<StatusRecord> {
    let looking = Arc::clone(&api);
    let looked = tokio::task::spawn_blocking(move || (looking.host.fill(), looking.host.guarded())).await;
    let (fill, guarded) =
        looked.unwrap_or_else(|gone| (Err(io::Error::other(gone)), Err(io::Error::other("nobody looked"))));
    let snapshot = api.snapshot();
    let mut objects = snapshot.view().objects();
    objects.extend(api.shortages.borrow().iter().map(View::shortage));
    let mut unreadable = |name: &str, what: &str, error: io::Error| {
        objects.push(ObjectRecord {
            kind: "node".to_owned(),
            name: name.to_owned(),
            status: Health::Failing,
            reason: format!("{what} cannot be read: {error}"),
        });
    };
    let maps = fill.unwrap_or_else(|error| {
        unreadable("maps", "the maps", error);
        Vec::new()
    });
    let guarded = guarded.unwrap_or_else(|error| {
        unreadable("xdp", "the uplinks' XDP programs", error);
        BTreeMap::new()
    });
    let uplinks: Vec<String> = snapshot.facts.uplinks.keys().cloned().collect();
    Json(StatusRecord {
        revision: snapshot.state.revision,
        observed_revision: snapshot.status.observed_revision,
        objects,
        xdp: uplinks.iter().map(|name| (name.clone(), guarded.get(name).copied())).collect(),
        uplinks,
        maps: maps.into_iter().map(|map| MapRecord { name: map.name, entries: map.entries, max: map.max }).collect(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        abi: netd_common::layout::ABI_VERSION,
        instance: api.instance.clone(),
    })
}
