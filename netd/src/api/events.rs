//! `/v1/events`: what has happened, and what is happening?

use super::Api;
use super::error::Error;
use super::extract::Asked;
use super::host::Host;
use crate::events::Record;
use axum::body::Body;
use axum::extract::State;
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use bytes::Bytes;
use futures_util::stream;
use serde::Deserialize;
use std::io;
use std::sync::Arc;
use tokio::sync::{OwnedSemaphorePermit, broadcast, watch};

pub fn routes<H: Host>() -> Router<Arc<Api<H>>> {
    Router::new().route("/v1/events", get(list))
}

#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Query {
    /// Stay, and send what happens from now on, one JSON record a line.
    #[serde(default)]
    follow: bool,
}

async fn list<H: Host>(State(api): State<Arc<Api<H>>>, Asked(query): Asked<Query>) -> Result<Response, Error> {
    if !query.follow {
        let recent = api.events.recent();
        return Ok(Json(recent.iter().map(AsRef::as_ref).collect::<Vec<&Record>>()).into_response());
    }
    let permit = Arc::clone(&api.streams).try_acquire_owned().map_err(|_| Error::TooManyStreams)?;
    let following = Following { events: api.events.subscribe(), stop: api.stop.clone(), _permit: permit };
    let lines = stream::unfold(following, |mut following| async {
        let line = following.next_line().await?;
        Some((line, following))
    });
    Ok(([(CONTENT_TYPE, "application/x-ndjson")], Body::from_stream(lines)).into_response())
}

struct Following {
    events: broadcast::Receiver<Arc<Record>>,
    stop: watch::Receiver<bool>,
    /// One of the streams that there may be at one time, until this one ends.
    _permit: OwnedSemaphorePermit,
}

impl Following {
    /// None when netd stops.
    async fn next_line(&mut self) -> Option<io::Result<Bytes>> {
        let received = tokio::select! {
            received = self.events.recv() => received,
            _ = self.stop.wait_for(|stop| *stop) => return None,
        };
        let line = match received {
            Ok(record) => serde_json::to_vec(&*record),
            Err(broadcast::error::RecvError::Lagged(count)) => {
                serde_json::to_vec(&Record::lost(jiff::Timestamp::now(), count))
            }
            Err(broadcast::error::RecvError::Closed) => return None,
        };
        Some(line.map_err(io::Error::from).map(|mut line| {
            line.push(b'\n');
            line.into()
        }))
    }
}
