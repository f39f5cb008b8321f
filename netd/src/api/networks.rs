//! `/v1/networks`: which networks are there, and how are they made and removed?

use super::Api;
use super::containers::Names;
use super::error::Error;
use super::extract::{Asked, Body, Wait};
use super::host::Host;
use super::records::{NetworkRecord, RemovedRecord};
use crate::model::command::{Command, NetworkSpec};
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::routing::{get, post};
use axum::{Json, Router};
use std::sync::Arc;

pub fn routes<H: Host>() -> Router<Arc<Api<H>>> {
    Router::new()
        .route("/v1/networks", get(list).post(create))
        .route("/v1/networks:remove", post(remove))
        .route("/v1/networks/{name}", get(show).delete(remove_one))
}

async fn list<H: Host>(State(api): State<Arc<Api<H>>>) -> Json<Vec<NetworkRecord>> {
    let snapshot = api.snapshot();
    Json(snapshot.state.networks.values().map(|network| snapshot.view().network(network)).collect())
}

async fn show<H: Host>(State(api): State<Arc<Api<H>>>, Path(name): Path<String>) -> Result<Json<NetworkRecord>, Error> {
    let snapshot = api.snapshot();
    Ok(Json(snapshot.view().network(snapshot.state.network(&name)?)))
}

async fn create<H: Host>(
    State(api): State<Arc<Api<H>>>,
    Asked(wait): Asked<Wait>,
    Body(spec): Body<NetworkSpec>,
) -> Result<(StatusCode, Json<NetworkRecord>), Error> {
    let name = spec.name.clone();
    api.change(Command::CreateNetwork(spec), wait).await?;
    let snapshot = api.snapshot();
    Ok((StatusCode::CREATED, Json(snapshot.view().network(snapshot.state.network(&name)?))))
}

async fn remove_one<H: Host>(
    State(api): State<Arc<Api<H>>>,
    Asked(wait): Asked<Wait>,
    Path(name): Path<String>,
) -> Result<Json<RemovedRecord>, Error> {
    let removed = vec![name];
    api.change(Command::RemoveNetworks(removed.clone()), wait).await?;
    Ok(Json(RemovedRecord { removed }))
}

/// All of them or, when one is refused, none.
async fn remove<H: Host>(
    State(api): State<Arc<Api<H>>>,
    Asked(wait): Asked<Wait>,
    Body(Names { names }): Body<Names>,
) -> Result<Json<RemovedRecord>, Error> {
    api.change(Command::RemoveNetworks(names.clone()), wait).await?;
    Ok(Json(RemovedRecord { removed: names }))
}
