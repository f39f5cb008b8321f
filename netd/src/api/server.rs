//! How is the socket made, and who is let in?

use super::CONNECTIONS_MAX;
use axum::Router;
use axum::serve::Listener;
use std::fs;
use std::io;
use std::os::unix::fs::{PermissionsExt as _, chown};
use std::os::unix::net::UnixStream as StdUnixStream;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::unix::SocketAddr;
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::time::Sleep;

/// Who may use the socket: its owner (root) and its group.
const MODE: u32 = 0o660;
/// Bytes of a socket's path (`sun_path` of unix(7), less the closing zero and the suffix of the new one).
const PATH_SIZE_MAX: usize = 107 - 4;

#[derive(Debug, thiserror::Error)]
pub enum BindError {
    #[error("somebody answers at {} already; stop that netd first, or choose another --run-dir", .0.display())]
    Answered(PathBuf),
    #[error("the path of the socket, {}, is longer than {PATH_SIZE_MAX} bytes; choose a shorter --run-dir", .0.display())]
    TooLong(PathBuf),
    #[error("the socket {}: {source}", path.display())]
    Io { path: PathBuf, source: io::Error },
}

/// How long a caller may take nothing of an answer that waits: then the connection ends, and with it what is kept for it.
/// Long enough for somebody who reads the first page of a list.
const STALL_MAX: Duration = Duration::from_mins(10);

/// Listens at `path`, in place of a socket that nobody answers at. At no moment can others than root and `group`
/// connect, and at no moment is there half a socket. Must be called in a runtime.
///
/// # Errors
/// When somebody answers there, or the folder cannot be written.
pub fn bind(path: &Path, group: Option<u32>) -> Result<UnixListener, BindError> {
    if path.as_os_str().len() > PATH_SIZE_MAX {
        return Err(BindError::TooLong(path.to_owned()));
    }
    if StdUnixStream::connect(path).is_ok() {
        return Err(BindError::Answered(path.to_owned()));
    }
    let new = path.with_extension("new");
    let listen = || {
        match fs::remove_file(&new) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            Ok(()) | Err(_) => {}
        }
        let listener = UnixListener::bind(&new)?;
        chown(&new, None, group)?;
        fs::set_permissions(&new, fs::Permissions::from_mode(MODE))?;
        fs::rename(&new, path)?;
        Ok(listener)
    };
    listen().map_err(|source| BindError::Io { path: path.to_owned(), source })
}

/// Answers until `stop` becomes true, and then until the requests under way are answered.
///
/// # Errors
/// When the socket fails.
pub async fn serve(listener: UnixListener, router: Router, mut stop: watch::Receiver<bool>) -> io::Result<()> {
    let bounded = Bounded { listener, permits: Arc::new(Semaphore::new(CONNECTIONS_MAX)), stall_max: STALL_MAX };
    let stopped = async move {
        // The sender is gone: that is the end, too.
        let _ = stop.wait_for(|stop| *stop).await;
    };
    axum::serve(bounded, router).with_graceful_shutdown(stopped).await
}

/// A listener that accepts no more than [`CONNECTIONS_MAX`] connections at one time.
struct Bounded {
    listener: UnixListener,
    permits: Arc<Semaphore>,
    stall_max: Duration,
}

impl Listener for Bounded {
    type Io = Admitted;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Admitted, SocketAddr) {
        // The semaphore is never closed; if it were, admitting without a permit is better than hanging.
        let permit = Arc::clone(&self.permits).acquire_owned().await.ok();
        let (stream, address) = Listener::accept(&mut self.listener).await;
        (Admitted { stream, stall_max: self.stall_max, stalled: None, _permit: permit }, address)
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }
}

/// A connection and its place among [`CONNECTIONS_MAX`].
struct Admitted {
    stream: UnixStream,
    stall_max: Duration,
    /// Ends when the caller has taken nothing for too long; none while it takes what is written.
    stalled: Option<Pin<Box<Sleep>>>,
    _permit: Option<OwnedSemaphorePermit>,
}

impl AsyncRead for Admitted {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(context, buffer)
    }
}

impl AsyncWrite for Admitted {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        if let Poll::Ready(written) = Pin::new(&mut self.stream).poll_write(context, bytes) {
            self.stalled = None;
            return Poll::Ready(written);
        }
        let stall_max = self.stall_max;
        let stalled = self.stalled.get_or_insert_with(|| Box::pin(tokio::time::sleep(stall_max)));
        stalled.as_mut().poll(context).map(|()| Err(io::ErrorKind::TimedOut.into()))
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_stale_socket_is_replaced_and_a_live_one_is_not() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("netd.sock");
        drop(bind(&path, None).expect("the first"));
        assert!(path.exists(), "what a killed netd leaves behind");
        let live = bind(&path, None).expect("nobody answers at the stale one");
        assert_eq!(fs::metadata(&path).expect("a socket").permissions().mode() & 0o777, MODE);
        assert!(matches!(bind(&path, None), Err(BindError::Answered(_))));
        drop(live);
    }

    #[tokio::test]
    async fn a_caller_who_takes_nothing_is_let_go_and_one_who_does_is_not() {
        use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
        let admitted = |stall_max| {
            let (stream, caller) = UnixStream::pair().expect("sockets");
            (Admitted { stream, stall_max, stalled: None, _permit: None }, caller)
        };
        // More than the sockets hold.
        let answer = vec![0; 8 * 1024 * 1024];
        let (mut stalling, caller) = admitted(Duration::from_millis(10));
        let error = stalling.write_all(&answer).await.expect_err("nobody reads");
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
        drop(caller);
        let (mut answering, mut caller) = admitted(STALL_MAX);
        let expected = answer.len();
        let written = tokio::spawn(async move { answering.write_all(&answer).await });
        let mut taken = Vec::new();
        caller.read_to_end(&mut taken).await.expect("the answer");
        written.await.expect("it ended").expect("it was taken");
        assert_eq!(taken.len(), expected);
    }

    #[tokio::test]
    async fn a_path_that_no_socket_can_have_is_named() {
        let path = Path::new("/tmp").join("x".repeat(120));
        assert!(matches!(bind(&path, None), Err(BindError::TooLong(_))));
    }
}
