//! `/v1/networks`: which networks are there, and how are they made and removed?

use super::Api;
use super::containers::{Names, Narrowing};
use super::error::Error;
use super::extract::{Asked, Body, OrNothing, Wait};
use super::host::Host;
use super::records::{ContainerRecord, NetworkRecord, RemovedRecord};
use crate::model::attach::Attach;
use crate::model::command::{Command, NetworkSpec};
use crate::model::state::Mac;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::routing::{delete, get, post};
use axum::{Json, Router};
use serde::{Deserialize, Serialize};
use std::net::IpAddr;
use std::sync::Arc;

pub fn routes<H: Host>() -> Router<Arc<Api<H>>> {
    Router::new()
        .route("/v1/networks", get(list).post(create))
        .route("/v1/networks:remove", post(remove))
        .route("/v1/networks:prune", post(prune))
        .route("/v1/networks/{name}", get(show).delete(remove_one))
        .route("/v1/networks/{name}/containers", post(connect))
        .route("/v1/networks/{name}/containers/{container}", delete(disconnect))
}

/// What is wanted on a network by a container that joins it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ConnectRequest {
    pub container: String,
    #[serde(default)]
    pub ip: Option<IpAddr>,
    #[serde(default)]
    pub ip6: Option<IpAddr>,
    #[serde(default)]
    pub mac: Option<Mac>,
    #[serde(default)]
    pub aliases: Vec<String>,
    #[serde(default)]
    pub gw_priority: i32,
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

/// Removes the networks that no container is on.
async fn prune<H: Host>(
    State(api): State<Arc<Api<H>>>,
    Asked(wait): Asked<Wait>,
    OrNothing(Narrowing { filters }): OrNothing<Narrowing>,
) -> Result<Json<RemovedRecord>, Error> {
    let changed = api.change(Command::PruneNetworks(filters), wait).await?;
    let gone = changed.before.networks.keys().filter(|name| !changed.after.networks.contains_key(*name));
    Ok(Json(RemovedRecord { removed: gone.cloned().collect() }))
}

async fn connect<H: Host>(
    State(api): State<Arc<Api<H>>>,
    Asked(wait): Asked<Wait>,
    Path(network): Path<String>,
    Body(request): Body<ConnectRequest>,
) -> Result<(StatusCode, Json<ContainerRecord>), Error> {
    let ConnectRequest { container, ip, ip6, mac, aliases, gw_priority } = request;
    let attach = Attach { network, ip, ip6, mac, aliases, gw_priority };
    api.change(Command::Connect { container: container.clone(), attach }, wait).await?;
    let snapshot = api.snapshot();
    Ok((StatusCode::CREATED, Json(snapshot.view().container(snapshot.state.container(&container)?))))
}

async fn disconnect<H: Host>(
    State(api): State<Arc<Api<H>>>,
    Asked(wait): Asked<Wait>,
    Path((network, container)): Path<(String, String)>,
) -> Result<Json<ContainerRecord>, Error> {
    api.change(Command::Disconnect { container: container.clone(), network }, wait).await?;
    let snapshot = api.snapshot();
    Ok(Json(snapshot.view().container(snapshot.state.container(&container)?)))
}
