//! Is there a netd here already?
//!
//! Two claims are held until the process ends, and are gone with it, however it ends: a lock on a file in the run
//! folder, since two daemons cannot share a store and a socket, and an abstract unix socket, whose names belong to a
//! network namespace (unix(7)), since two daemons cannot share the links, routes and hooks of one namespace.

use crate::config::Config;
use std::fs::{File, OpenOptions, TryLockError};
use std::io::{self, Read as _, Seek as _, Write as _};
use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::net::{SocketAddr, UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Duration;

/// The abstract name that stands for "netd works in this network namespace".
const NAMESPACE_CLAIM: &str = "netd";
/// Bytes of an answer about who holds the namespace.
const ANSWER_SIZE_MAX: u64 = 256;
const ANSWER_TIMEOUT: Duration = Duration::from_secs(1);

/// The right to work here, until the process ends.
#[derive(Debug)]
pub struct Claim {
    _lock: File,
    _namespace: UnixListener,
}

#[derive(Debug, thiserror::Error)]
pub enum ClaimError {
    #[error("{holder} is running with the folder {}; stop it first (systemctl stop netd, or kill it)", folder.display())]
    Folder { holder: String, folder: PathBuf },
    #[error(
        "{holder} is running in this network namespace; stop it first (systemctl stop netd, or kill it), or work in \
         another network namespace"
    )]
    Namespace { holder: String },
    #[error("the lock {}: {source}", path.display())]
    Lock { path: PathBuf, source: io::Error },
    #[error("the claim on this network namespace: {0}")]
    Socket(io::Error),
}

impl Claim {
    /// Claims the run folder and the network namespace of the calling thread.
    ///
    /// # Errors
    /// When another netd holds one of them; it is named.
    pub fn take(config: &Config) -> Result<Self, ClaimError> {
        let me = format!("netd instance \"{}\" (pid {})", config.instance.as_str(), std::process::id());
        let lock = lock(&config.lock(), &config.run_dir, &me)?;
        let namespace = claim_namespace(NAMESPACE_CLAIM, me)?;
        Ok(Self { _lock: lock, _namespace: namespace })
    }
}

fn lock(path: &Path, folder: &Path, me: &str) -> Result<File, ClaimError> {
    let failed = |source| ClaimError::Lock { path: path.to_owned(), source };
    let mut file = OpenOptions::new().read(true).write(true).create(true).truncate(false).open(path).map_err(failed)?;
    match file.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => {
            let mut holder = String::new();
            // Who holds it is a courtesy: without it, "netd" will do.
            let _ = file.take(ANSWER_SIZE_MAX).read_to_string(&mut holder);
            return Err(ClaimError::Folder { holder: or_netd(&holder), folder: folder.to_owned() });
        }
        Err(TryLockError::Error(source)) => return Err(failed(source)),
    }
    file.set_len(0).and_then(|()| file.rewind()).and_then(|()| file.write_all(me.as_bytes())).map_err(failed)?;
    Ok(file)
}

/// Binds `name` in this network namespace and tells everybody who connects that it is `me`.
fn claim_namespace(name: &str, me: String) -> Result<UnixListener, ClaimError> {
    let address = SocketAddr::from_abstract_name(name).map_err(ClaimError::Socket)?;
    match UnixListener::bind_addr(&address) {
        Ok(listener) => {
            let answering = listener.try_clone().map_err(ClaimError::Socket)?;
            thread::Builder::new()
                .name("claim".to_owned())
                .stack_size(64 * 1024)
                .spawn(move || answer(&answering, &me))
                .map_err(ClaimError::Socket)?;
            Ok(listener)
        }
        Err(error) if error.kind() == io::ErrorKind::AddrInUse => {
            Err(ClaimError::Namespace { holder: or_netd(&ask(&address).unwrap_or_default()) })
        }
        Err(error) => Err(ClaimError::Socket(error)),
    }
}

/// Ends when accepting fails, such as when there are too many open files: the name stays claimed.
fn answer(listener: &UnixListener, me: &str) {
    while let Ok((mut stream, _)) = listener.accept() {
        // Who asked and went away needs no answer.
        let _ = stream.write_all(me.as_bytes());
    }
}

fn ask(address: &SocketAddr) -> io::Result<String> {
    let stream = UnixStream::connect_addr(address)?;
    stream.set_read_timeout(Some(ANSWER_TIMEOUT))?;
    let mut holder = String::new();
    stream.take(ANSWER_SIZE_MAX).read_to_string(&mut holder)?;
    Ok(holder)
}

/// What another process says about itself, on one line.
fn or_netd(holder: &str) -> String {
    let printable: String = holder.chars().filter(|character| !character.is_control()).collect();
    if printable.is_empty() { "another netd".to_owned() } else { printable }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_claim_on_a_folder_names_the_first() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("netd.lock");
        let first = lock(&path, folder.path(), "netd instance \"a\" (pid 1)").expect("the first");
        let refused = lock(&path, folder.path(), "b").expect_err("the second").to_string();
        assert!(refused.starts_with("netd instance \"a\" (pid 1) is running with the folder"), "{refused}");
        drop(first);
        lock(&path, folder.path(), "b").expect("the first has gone");
    }

    #[test]
    fn a_second_claim_on_a_namespace_names_the_first() {
        let name = format!("netd-test-{}", std::process::id());
        let _first = claim_namespace(&name, "netd instance \"a\" (pid 1)".to_owned()).expect("the first");
        let refused = claim_namespace(&name, "b".to_owned()).expect_err("the second").to_string();
        assert!(refused.starts_with("netd instance \"a\" (pid 1) is running in this network namespace"), "{refused}");
    }
}
