//! How does a program ask netd something?

use super::error::ErrorRecord;
use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::client::conn::http1;
use hyper::header::{CONTENT_TYPE, HOST};
use hyper::{Method, Request, Response};
use hyper_util::rt::TokioIo;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::io;
use std::path::PathBuf;
use std::time::Duration;
use tokio::net::UnixStream;

/// How long a connection may take: netd accepts at once unless it serves as many callers as it can.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// How much longer than netd the caller waits, so that netd's own answer about the time is the one that is seen.
const PATIENCE: Duration = Duration::from_secs(5);
/// What stays as it is in a path or a query (RFC 3986 section 2.3).
const RESERVED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// The way to one netd. Each request is a connection of its own.
#[derive(Clone, Debug)]
pub struct Client {
    pub socket: PathBuf,
    /// How long netd waits for the datapath.
    pub timeout: Duration,
}

#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    #[error(
        "netd is not running at {}; start it with \"netd run\" or \"systemctl start netd\", or name its socket with --socket",
        .0.display()
    )]
    NotRunning(PathBuf),
    #[error("{} is not yours to use; run this as root, or join the group that netd's socket_group names", .0.display())]
    Denied(PathBuf),
    #[error("netd at {} did not answer within {} s", socket.display(), after.as_secs())]
    TimedOut { socket: PathBuf, after: Duration },
    #[error("the socket {}: {source}", socket.display())]
    Io { socket: PathBuf, source: io::Error },
    #[error("netd broke off: {0}")]
    Http(#[from] hyper::Error),
    /// netd's own words.
    #[error("{}", .0.message)]
    Refused(ErrorRecord),
    #[error("netd's answer is not what this version understands ({0}); are netctl and netd of the same version?")]
    Malformed(#[from] serde_json::Error),
}

/// One part of a path or a query, escaped.
#[must_use]
pub fn escaped(text: &str) -> String {
    utf8_percent_encode(text, RESERVED).to_string()
}

impl Client {
    /// Asks for a resource.
    ///
    /// # Errors
    /// When netd does not answer, or answers no.
    pub async fn read<R: DeserializeOwned>(&self, path: &str) -> Result<R, ClientError> {
        self.ask(Method::GET, path).await
    }

    /// Asks with a path alone, for what is done when it is answered.
    ///
    /// # Errors
    /// When netd does not answer, or answers no.
    pub async fn ask<R: DeserializeOwned>(&self, method: Method, path: &str) -> Result<R, ClientError> {
        self.within(async {
            let response = self.send(method, path, Bytes::new()).await?;
            whole(response).await
        })
        .await
    }

    /// Asks for a change and waits for it.
    ///
    /// # Errors
    /// When netd does not answer, or answers no.
    pub async fn change<R: DeserializeOwned>(
        &self,
        method: Method,
        path: &str,
        body: &impl Serialize,
    ) -> Result<R, ClientError> {
        let body = serde_json::to_vec(body)?.into();
        let path = format!("{path}?timeout_s={}", self.timeout.as_secs());
        self.within(async {
            let response = self.send(method, &path, body).await?;
            whole(response).await
        })
        .await
    }

    /// Asks for a resource whose answer is handed over while it comes, with no limit of time once it has begun.
    ///
    /// # Errors
    /// When netd does not answer, or answers no.
    pub async fn stream(&self, path: &str) -> Result<Pieces, ClientError> {
        self.within(async {
            let response = self.send(Method::GET, path, Bytes::new()).await?;
            Ok(Pieces(refused(response).await?.into_body()))
        })
        .await
    }

    async fn within<R>(&self, answer: impl Future<Output = Result<R, ClientError>>) -> Result<R, ClientError> {
        let after = self.timeout.saturating_add(PATIENCE);
        tokio::time::timeout(after, answer)
            .await
            .unwrap_or_else(|_| Err(ClientError::TimedOut { socket: self.socket.clone(), after }))
    }

    async fn send(&self, method: Method, path: &str, body: Bytes) -> Result<Response<Incoming>, ClientError> {
        let (mut sender, connection) = http1::handshake(TokioIo::new(self.connect().await?)).await?;
        tokio::spawn(async move {
            if let Err(error) = connection.await {
                tracing::debug!(%error, "the connection to netd");
            }
        });
        let request = Request::builder()
            .method(method)
            .uri(path)
            .header(HOST, "netd")
            .header(CONTENT_TYPE, "application/json")
            .body(Full::new(body))
            .map_err(|error| self.io(io::Error::new(io::ErrorKind::InvalidInput, error)))?;
        Ok(sender.send_request(request).await?)
    }

    async fn connect(&self) -> Result<UnixStream, ClientError> {
        let connected = tokio::time::timeout(CONNECT_TIMEOUT, UnixStream::connect(&self.socket))
            .await
            .map_err(|_| ClientError::TimedOut { socket: self.socket.clone(), after: CONNECT_TIMEOUT })?;
        connected.map_err(|error| match error.kind() {
            io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused => ClientError::NotRunning(self.socket.clone()),
            io::ErrorKind::PermissionDenied => ClientError::Denied(self.socket.clone()),
            _ => self.io(error),
        })
    }

    fn io(&self, source: io::Error) -> ClientError {
        ClientError::Io { socket: self.socket.clone(), source }
    }
}

/// An answer that comes in pieces.
#[derive(Debug)]
pub struct Pieces(Incoming);

impl Pieces {
    /// The next bytes; none at the end.
    ///
    /// # Errors
    /// When the connection breaks.
    pub async fn next(&mut self) -> Result<Option<Bytes>, ClientError> {
        while let Some(frame) = self.0.frame().await {
            if let Ok(bytes) = frame?.into_data() {
                return Ok(Some(bytes));
            }
        }
        Ok(None)
    }
}

async fn whole<R: DeserializeOwned>(response: Response<Incoming>) -> Result<R, ClientError> {
    let bytes = refused(response).await?.into_body().collect().await?.to_bytes();
    Ok(serde_json::from_slice(&bytes)?)
}

/// An answer that is an error, as such.
async fn refused(response: Response<Incoming>) -> Result<Response<Incoming>, ClientError> {
    if response.status().is_success() {
        return Ok(response);
    }
    let bytes = response.into_body().collect().await?.to_bytes();
    Err(ClientError::Refused(serde_json::from_slice(&bytes)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn client(socket: PathBuf) -> Client {
        Client { socket, timeout: Duration::from_secs(1) }
    }

    #[tokio::test]
    async fn a_netd_that_is_not_there_is_named() {
        let folder = tempfile::tempdir().expect("a folder");
        let socket = folder.path().join("netd.sock");
        let error = client(socket.clone()).read::<()>("/v1/version").await.expect_err("nobody is there");
        assert!(error.to_string().starts_with(&format!("netd is not running at {}; start it", socket.display())));
        drop(std::os::unix::net::UnixListener::bind(&socket).expect("a socket"));
        let error = client(socket).read::<()>("/v1/version").await.expect_err("nobody listens any more");
        assert!(matches!(error, ClientError::NotRunning(_)));
    }

    #[test]
    fn names_cannot_leave_their_place_in_a_path() {
        assert_eq!(escaped("web-1.a_b"), "web-1.a_b");
        assert_eq!(escaped("../x?y=z"), "..%2Fx%3Fy%3Dz");
    }
}
