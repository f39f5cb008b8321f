//! How does the service manager learn that netd is ready? (`sd_notify(3)`)

use std::env;
use std::io;
use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::net::{SocketAddr, UnixDatagram};

/// Tells the service manager `state`, such as `READY=1`. Nothing happens where there is none.
pub fn tell(state: &str) {
    let Some(path) = env::var_os("NOTIFY_SOCKET") else { return };
    if let Err(error) = send(path.as_bytes(), state) {
        tracing::warn!(%error, "the service manager was not told {state}");
    }
}

fn send(path: &[u8], state: &str) -> io::Result<()> {
    let address = match path.strip_prefix(b"@") {
        Some(name) => SocketAddr::from_abstract_name(name)?,
        None => SocketAddr::from_pathname(std::ffi::OsStr::from_bytes(path))?,
    };
    UnixDatagram::unbound()?.send_to_addr(state.as_bytes(), &address).map(|_| ())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_kinds_of_address_are_told() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("notify");
        let by_path = UnixDatagram::bind(&path).expect("a socket");
        let name = format!("@netd-notify-test-{}", std::process::id());
        let address = SocketAddr::from_abstract_name(&name[1..]).expect("an address");
        let by_name = UnixDatagram::bind_addr(&address).expect("a socket");
        for (socket, text) in [(by_path, path.as_os_str().as_bytes()), (by_name, name.as_bytes())] {
            send(text, "READY=1").expect("sent");
            let mut buffer = [0; 16];
            let size = socket.recv(&mut buffer).expect("received");
            assert_eq!(&buffer[..size], b"READY=1");
        }
    }
}
