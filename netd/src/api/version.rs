//! Which netd is this?

use super::Api;
use super::host::Host;
use super::records::VersionRecord;
use axum::extract::State;
use axum::routing::get;
use axum::{Json, Router};
use std::sync::Arc;

pub fn routes<H: Host>() -> Router<Arc<Api<H>>> {
    Router::new().route("/v1/version", get(show))
}

async fn show<H: Host>(State(api): State<Arc<Api<H>>>) -> Json<VersionRecord> {
    Json(VersionRecord {
        version: env!("CARGO_PKG_VERSION").to_owned(),
        abi: netd_common::layout::ABI_VERSION,
        instance: api.instance.clone(),
    })
}
