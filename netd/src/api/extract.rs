//! How is a request's body or query read, and what if it cannot be?

use super::error::Error;
use axum::body::Bytes;
use axum::extract::rejection::BytesRejection;
use axum::extract::{FromRequest, FromRequestParts, Query, Request};
use axum::http::StatusCode;
use axum::http::request::Parts;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use std::time::Duration;

/// Longest wait for the datapath that a caller may ask for.
const TIMEOUT_S_MAX: u64 = 3600;
/// Wait for the datapath when the caller names none.
pub const TIMEOUT_DEFAULT: Duration = Duration::from_secs(30);

/// A JSON body. Its content type is not looked at, so that `curl -d` works as it is.
#[derive(Debug)]
pub struct Body<T>(pub T);

impl<T: DeserializeOwned, S: Send + Sync> FromRequest<S> for Body<T> {
    type Rejection = Error;

    async fn from_request(request: Request, state: &S) -> Result<Self, Error> {
        parsed(&whole(request, state).await?).map(Self)
    }
}

/// A JSON body that may be left out, or be null.
#[derive(Debug)]
pub struct OrNothing<T>(pub T);

impl<T: DeserializeOwned + Default, S: Send + Sync> FromRequest<S> for OrNothing<T> {
    type Rejection = Error;

    async fn from_request(request: Request, state: &S) -> Result<Self, Error> {
        let bytes = whole(request, state).await?;
        if bytes.is_empty() {
            return Ok(Self(T::default()));
        }
        parsed::<Option<T>>(&bytes).map(|body| Self(body.unwrap_or_default()))
    }
}

async fn whole<S: Send + Sync>(request: Request, state: &S) -> Result<Bytes, Error> {
    Bytes::from_request(request, state).await.map_err(|rejection: BytesRejection| {
        if rejection.status() == StatusCode::PAYLOAD_TOO_LARGE {
            Error::BodyTooLarge
        } else {
            Error::InvalidBody(rejection.body_text())
        }
    })
}

fn parsed<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, Error> {
    serde_json::from_slice(bytes).map_err(|error| Error::InvalidBody(error.to_string()))
}

/// The query, read as `T`.
#[derive(Debug)]
pub struct Asked<T>(pub T);

impl<T: DeserializeOwned, S: Send + Sync> FromRequestParts<S> for Asked<T> {
    type Rejection = Error;

    async fn from_request_parts(parts: &mut Parts, _state: &S) -> Result<Self, Error> {
        Query::try_from_uri(&parts.uri)
            .map(|Query(asked)| Self(asked))
            .map_err(|rejection| Error::InvalidQuery(rejection.body_text()))
    }
}

/// The query of every change.
#[derive(Clone, Copy, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Wait {
    /// How long to wait for the datapath, in seconds.
    timeout_s: Option<u64>,
}

impl Wait {
    #[must_use]
    pub fn timeout(self) -> Duration {
        self.timeout_s.map_or(TIMEOUT_DEFAULT, |seconds| Duration::from_secs(seconds.min(TIMEOUT_S_MAX)))
    }
}

/// The query of a list that can be narrowed to one container.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Narrowed {
    pub container: Option<String>,
}
