//! `/v1/changes`: how are several changes made at once, all of them or none?

use super::Api;
use super::error::Error;
use super::extract::{Asked, Body, Wait};
use super::host::Host;
use super::networks::ConnectRequest;
use super::publishes::{PublishRequest, UnpublishRequest};
use super::records::{ChangesRecord, PublishRecord};
use crate::model::attach::Attach;
use crate::model::command::{Command, ContainerSpec, NetworkSpec};
use axum::extract::State;
use axum::routing::post;
use axum::{Json, Router};
use serde::{Deserialize, Serialize};
use std::sync::Arc;

pub fn routes<H: Host>() -> Router<Arc<Api<H>>> {
    Router::new().route("/v1/changes", post(change))
}

#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ChangesRequest {
    /// In this order: each sees what those before it have done.
    pub changes: Vec<OneChange>,
    /// Only find out whether they would be refused.
    #[serde(default)]
    pub dry_run: bool,
}

/// What the other resources take, under the name of what is done.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OneChange {
    CreateNetwork(NetworkSpec),
    RemoveNetworks(Vec<String>),
    CreateContainer(ContainerSpec),
    RemoveContainers(Vec<String>),
    Connect { network: String, request: ConnectRequest },
    Disconnect { network: String, container: String },
    Publish(PublishRequest),
    Unpublish(UnpublishRequest),
}

impl From<OneChange> for Command {
    fn from(change: OneChange) -> Self {
        match change {
            OneChange::CreateNetwork(spec) => Self::CreateNetwork(spec),
            OneChange::RemoveNetworks(names) => Self::RemoveNetworks(names),
            OneChange::CreateContainer(spec) => Self::CreateContainer(spec),
            OneChange::RemoveContainers(names) => Self::RemoveContainers(names),
            OneChange::Connect { network, request } => {
                let ConnectRequest { container, ip, ip6, mac, aliases, gw_priority } = request;
                Self::Connect { container, attach: Attach { network, ip, ip6, mac, aliases, gw_priority } }
            }
            OneChange::Disconnect { network, container } => Self::Disconnect { container, network },
            OneChange::Publish(PublishRequest { container, ports, allow }) => Self::Publish { container, ports, allow },
            OneChange::Unpublish(UnpublishRequest { container, what }) => Self::Unpublish { container, ports: what },
        }
    }
}

/// Answers with the ports that are published now and were not before, those that netd picked included; of what is only tried,
/// with none.
async fn change<H: Host>(
    State(api): State<Arc<Api<H>>>,
    Asked(wait): Asked<Wait>,
    Body(ChangesRequest { changes, dry_run }): Body<ChangesRequest>,
) -> Result<Json<ChangesRecord>, Error> {
    let command = Command::All(changes.into_iter().map(Command::from).collect());
    if dry_run {
        let tried = api.rehearse(command).await?;
        return Ok(Json(ChangesRecord { revision: tried.before.revision, published: Vec::new() }));
    }
    let changed = api.change(command, wait).await?;
    let snapshot = api.snapshot();
    let new = changed.after.publishes.iter().filter(|(key, publish)| {
        changed.before.publishes.get(key).is_none_or(|then| !then.leads_to(&publish.container, publish.container_port))
    });
    let published: Vec<PublishRecord> = new.map(|(key, publish)| snapshot.view().publish(key, publish)).collect();
    Ok(Json(ChangesRecord { revision: changed.after.revision, published }))
}
