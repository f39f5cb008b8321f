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
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::unix::SocketAddr;
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};

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
    let bounded = Bounded { listener, permits: Arc::new(Semaphore::new(CONNECTIONS_MAX)) };
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
}

impl Listener for Bounded {
    type Io = Admitted;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Admitted, SocketAddr) {
        // The semaphore is never closed; if it were, admitting without a permit is better than hanging.
        let permit = Arc::clone(&self.permits).acquire_owned().await.ok();
        let (stream, address) = Listener::accept(&mut self.listener).await;
        (Admitted { stream, _permit: permit }, address)
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }
}

/// A connection and its place among [`CONNECTIONS_MAX`].
struct Admitted {
    stream: UnixStream,
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
        Pin::new(&mut self.stream).poll_write(context, bytes)
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
    async fn a_path_that_no_socket_can_have_is_named() {
        let path = Path::new("/tmp").join("x".repeat(120));
        assert!(matches!(bind(&path, None), Err(BindError::TooLong(_))));
    }
}
