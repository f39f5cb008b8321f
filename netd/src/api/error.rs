//! How does the API say that something did not happen?
//!
//! `{"code": "…", "message": "…"}`: the code is stable and for programs, the message is one line for people.

use crate::model::command::Refusal;
use axum::Json;
use axum::http::{Method, StatusCode, Uri};
use axum::response::{IntoResponse, Response};
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// The body of every answer that is an error.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ErrorRecord {
    pub code: String,
    pub message: String,
}

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("{0}")]
    Refused(#[from] Refusal),
    #[error("no resource at {path}; docs/api.md lists them")]
    UnknownPath { path: String },
    #[error("{path} does not know {method}")]
    MethodNotAllowed { method: Method, path: String },
    #[error("the body is not what this resource takes: {0}")]
    InvalidBody(String),
    #[error("the query is not what this resource takes: {0}")]
    InvalidQuery(String),
    #[error("the body is larger than {} bytes, {} for the block list", super::BODY_SIZE_MAX, super::BLOCKS_SIZE_MAX)]
    BodyTooLarge,
    #[error("{} answers are being streamed already; end one of them, then try again", super::STREAMS_MAX)]
    TooManyStreams,
    #[error("{object}: the change is kept, but not done yet: {reason}; netd goes on trying, see \"netctl status\"")]
    NotReady { object: String, reason: String },
    #[error(
        "the change is kept, but is not in the datapath after {} s; netd goes on trying, see \"netctl status\"",
        .0.as_secs()
    )]
    TimedOut(Duration),
    #[error("netd is stopping; what it has kept is made when it runs again: look then")]
    Stopping,
    #[error("the store: {0}")]
    Storage(String),
    #[error("{what}: {source}")]
    Host { what: &'static str, source: std::io::Error },
}

impl Error {
    /// Stable: programs decide by it.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::Refused(refusal) => refusal.code(),
            Self::UnknownPath { .. } => "unknown_path",
            Self::MethodNotAllowed { .. } => "method_not_allowed",
            Self::InvalidBody(_) => "invalid_body",
            Self::InvalidQuery(_) => "invalid_query",
            Self::BodyTooLarge => "body_too_large",
            Self::TooManyStreams => "too_many_streams",
            Self::NotReady { .. } => "not_ready",
            Self::TimedOut(_) => "timed_out",
            Self::Stopping => "stopping",
            Self::Storage(_) => "storage",
            Self::Host { .. } => "host",
        }
    }

    fn status(&self) -> StatusCode {
        match self {
            Self::Refused(refusal) => refused(refusal),
            Self::UnknownPath { .. } => StatusCode::NOT_FOUND,
            Self::MethodNotAllowed { .. } => StatusCode::METHOD_NOT_ALLOWED,
            Self::InvalidBody(_) | Self::InvalidQuery(_) => StatusCode::BAD_REQUEST,
            Self::BodyTooLarge => StatusCode::PAYLOAD_TOO_LARGE,
            Self::TooManyStreams | Self::Stopping | Self::NotReady { .. } => StatusCode::SERVICE_UNAVAILABLE,
            Self::TimedOut(_) => StatusCode::GATEWAY_TIMEOUT,
            Self::Storage(_) | Self::Host { .. } => StatusCode::INTERNAL_SERVER_ERROR,
        }
    }
}

/// The name is unknown, the request makes no sense by itself, or it conflicts with what is there.
fn refused(refusal: &Refusal) -> StatusCode {
    match refusal {
        Refusal::Among { refusal, .. } => refused(refusal),
        Refusal::UnknownContainer { .. }
        | Refusal::UnknownNetwork { .. }
        | Refusal::NotPublished { .. }
        | Refusal::NotBlocked { .. }
        | Refusal::NotConnected { .. } => StatusCode::NOT_FOUND,
        Refusal::BadName { .. }
        | Refusal::RelativeNamespace { .. }
        | Refusal::NoNamespace { .. }
        | Refusal::HostNamespace { .. }
        | Refusal::NotHostAddress { .. }
        | Refusal::AddressOutside { .. }
        | Refusal::BadMac { .. }
        | Refusal::BadNetwork { .. }
        | Refusal::NeedsNetwork { .. }
        | Refusal::NetworkStandsAlone { .. }
        | Refusal::NetworkTwice { .. }
        | Refusal::NoParent { .. }
        | Refusal::MacOfParent { .. }
        | Refusal::OptionTwice { .. }
        | Refusal::NotJoinable { .. }
        | Refusal::SharesNamespace { .. }
        | Refusal::NoSubnet { .. }
        | Refusal::OtherFamily { .. }
        | Refusal::LinkLocal { .. }
        | Refusal::TooMany { .. }
        | Refusal::Unsupported { .. } => StatusCode::BAD_REQUEST,
        Refusal::NameTaken { .. }
        | Refusal::NamespaceExists { .. }
        | Refusal::NamespaceInUse { .. }
        | Refusal::PortPublished { .. }
        | Refusal::PortBound { .. }
        | Refusal::NoFreePort { .. }
        | Refusal::NoAddress { .. }
        | Refusal::AddressTaken { .. }
        | Refusal::AddressesUsedUp { .. }
        | Refusal::MacTaken { .. }
        | Refusal::SubnetOverlaps { .. }
        | Refusal::SubnetsUsedUp { .. }
        | Refusal::Ipv6Unavailable { .. }
        | Refusal::NoDriver { .. }
        | Refusal::ParentInUse { .. }
        | Refusal::ParentTaken { .. }
        | Refusal::AlreadyConnected { .. }
        | Refusal::OnHostNetwork { .. }
        | Refusal::SharesNetworks { .. }
        | Refusal::TooManyNetworks { .. }
        | Refusal::SharesSharer { .. }
        | Refusal::SharesHost { .. }
        | Refusal::NetworkInUse { .. }
        | Refusal::BuiltinNetwork { .. }
        | Refusal::BlockListFull { .. }
        | Refusal::NumbersUsedUp { .. } => StatusCode::CONFLICT,
    }
}

impl IntoResponse for Error {
    fn into_response(self) -> Response {
        let record = ErrorRecord { code: self.code().to_owned(), message: self.to_string() };
        (self.status(), Json(record)).into_response()
    }
}

pub async fn unknown_path(uri: Uri) -> Error {
    Error::UnknownPath { path: uri.path().to_owned() }
}

pub async fn method_not_allowed(method: Method, uri: Uri) -> Error {
    Error::MethodNotAllowed { method, path: uri.path().to_owned() }
}
