//! `/v1/publishes`: which ports of the host lead to which container?

use super::Api;
use super::change::published;
use super::error::Error;
use super::extract::{Asked, Body, Narrowed, Wait};
use super::host::Host;
use super::records::PublishRecord;
use crate::model::command::{Command, Unpublish};
use crate::model::port_map::PortMap;
use crate::model::prefix::Prefix;
use axum::extract::State;
use axum::http::StatusCode;
use axum::routing::{get, post};
use axum::{Json, Router};
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;
use std::sync::Arc;

pub fn routes<H: Host>() -> Router<Arc<Api<H>>> {
    Router::new().route("/v1/publishes", get(list).post(publish)).route("/v1/publishes:remove", post(unpublish))
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PublishRequest {
    pub container: String,
    /// `[HOSTIP:]HOSTPORT[-END]:PORT[-END][/PROTOCOL]` each.
    pub ports: Vec<PortMap>,
    /// The clients that these ports are open to, `ADDRESS[/LENGTH]` each; empty: everybody. Takes the place of what a port
    /// has that is published already.
    #[serde(default)]
    pub allow: BTreeSet<Prefix>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct UnpublishRequest {
    pub container: String,
    /// `"all"` or `{"ports": [SPEC, …]}`.
    pub what: Unpublish,
}

async fn list<H: Host>(
    State(api): State<Arc<Api<H>>>,
    Asked(narrowed): Asked<Narrowed>,
) -> Result<Json<Vec<PublishRecord>>, Error> {
    let snapshot = api.snapshot();
    if let Some(name) = &narrowed.container {
        snapshot.state.container(name)?;
    }
    let wanted = |owner: &String| narrowed.container.as_ref().is_none_or(|name| name == owner);
    let publishes = snapshot.state.publishes.iter().filter(|(_, publish)| wanted(&publish.container));
    Ok(Json(publishes.map(|(key, publish)| snapshot.view().publish(key, publish)).collect()))
}

/// Answers with the ports that were asked for, those that netd picked included.
async fn publish<H: Host>(
    State(api): State<Arc<Api<H>>>,
    Asked(wait): Asked<Wait>,
    Body(PublishRequest { container, ports, allow }): Body<PublishRequest>,
) -> Result<(StatusCode, Json<Vec<PublishRecord>>), Error> {
    let command = Command::Publish { container: container.clone(), ports: ports.clone(), allow };
    let changed = api.change(command, wait).await?;
    let snapshot = api.snapshot();
    let keys = published(&container, &ports, &changed);
    let records = keys.iter().filter_map(|key| changed.after.publishes.get_key_value(key));
    let records = records.map(|(key, publish)| snapshot.view().publish(key, publish)).collect();
    Ok((StatusCode::CREATED, Json(records)))
}

/// Answers with the ports that are no longer published.
async fn unpublish<H: Host>(
    State(api): State<Arc<Api<H>>>,
    Asked(wait): Asked<Wait>,
    Body(UnpublishRequest { container, what }): Body<UnpublishRequest>,
) -> Result<Json<Vec<PublishRecord>>, Error> {
    let changed = api.change(Command::Unpublish { container, ports: what }, wait).await?;
    let snapshot = api.snapshot();
    let gone = changed.before.publishes.iter().filter(|(key, _)| !changed.after.publishes.contains_key(key));
    Ok(Json(gone.map(|(key, publish)| snapshot.view().publish(key, publish)).collect()))
}
