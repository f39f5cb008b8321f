//! `/v1/containers`: which containers are there, and how are they made and removed?

use super::Api;
use super::change::blocking;
use super::error::Error;
use super::extract::{Asked, Body, OrNothing, Wait};
use super::host::Host;
use super::records::{ContainerRecord, RemovedRecord};
use crate::model::command::{Command, ContainerSpec, NamespaceAt};
use crate::model::filter::Filter;
use crate::reconcile::unmet::is_orphaned;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::routing::{get, post};
use axum::{Json, Router};
use serde::{Deserialize, Serialize};
use std::path::PathBuf;
use std::sync::Arc;

pub fn routes<H: Host>() -> Router<Arc<Api<H>>> {
    Router::new()
        .route("/v1/containers", get(list).post(create))
        .route("/v1/containers:remove", post(remove))
        .route("/v1/containers:prune", post(prune))
        .route("/v1/containers/{name}", get(show).delete(remove_one))
}

/// Body of every request that is about several objects.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Names {
    pub names: Vec<String>,
}

/// Body of a request that may be about some objects only; none: about all.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Narrowing {
    /// All of them must hold.
    #[serde(default)]
    pub filters: Vec<Filter>,
}

async fn list<H: Host>(State(api): State<Arc<Api<H>>>) -> Json<Vec<ContainerRecord>> {
    let snapshot = api.snapshot();
    Json(snapshot.view().containers())
}

async fn show<H: Host>(
    State(api): State<Arc<Api<H>>>,
    Path(name): Path<String>,
) -> Result<Json<ContainerRecord>, Error> {
    let snapshot = api.snapshot();
    Ok(Json(snapshot.view().container(snapshot.state.container(&name)?)))
}

async fn create<H: Host>(
    State(api): State<Arc<Api<H>>>,
    Asked(wait): Asked<Wait>,
    Body(spec): Body<ContainerSpec>,
) -> Result<(StatusCode, Json<ContainerRecord>), Error> {
    let name = spec.name.clone();
    api.change(Command::CreateContainer(spec), wait).await?;
    let snapshot = api.snapshot();
    Ok((StatusCode::CREATED, Json(snapshot.view().container(snapshot.state.container(&name)?))))
}

async fn remove_one<H: Host>(
    State(api): State<Arc<Api<H>>>,
    Asked(wait): Asked<Wait>,
    Path(name): Path<String>,
) -> Result<Json<RemovedRecord>, Error> {
    let removed = vec![name];
    api.change(Command::RemoveContainers(removed.clone()), wait).await?;
    Ok(Json(RemovedRecord { removed }))
}

/// All of them or, when one is refused, none.
async fn remove<H: Host>(
    State(api): State<Arc<Api<H>>>,
    Asked(wait): Asked<Wait>,
    Body(Names { names }): Body<Names>,
) -> Result<Json<RemovedRecord>, Error> {
    api.change(Command::RemoveContainers(names.clone()), wait).await?;
    Ok(Json(RemovedRecord { removed: names }))
}

/// Removes the containers whose namespace is gone: one that somebody else made, or another container's. One that netd made
/// is made again instead.
async fn prune<H: Host>(
    State(api): State<Arc<Api<H>>>,
    Asked(wait): Asked<Wait>,
    OrNothing(Narrowing { filters }): OrNothing<Narrowing>,
) -> Result<Json<RemovedRecord>, Error> {
    let looking = Arc::clone(&api);
    let removed = blocking(move || {
        let state = looking.state.borrow().clone();
        let now = jiff::Timestamp::now();
        let is_gone = |path: &PathBuf| looking.host.namespace_at(path) == NamespaceAt::Nothing;
        let gone = state.containers.values().filter(|container| {
            filters.iter().all(|filter| filter.holds(&container.labels, container.created, now))
                && (container.netns.as_ref().is_some_and(is_gone) || is_orphaned(&state, container))
        });
        Ok(gone.map(|container| container.name.clone()).collect::<Vec<_>>())
    })
    .await?;
    if !removed.is_empty() {
        api.change(Command::PruneContainers(removed.clone()), wait).await?;
    }
    Ok(Json(RemovedRecord { removed }))
}
