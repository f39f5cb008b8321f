//! When does something change that netd should look at?
//!
//! A socket that listens to other namespaces makes each word from one of them a walk over all that have an id here
//! (`peernet_has_id`): with a thousand containers, the words of making one more took 2 to 3 ms. So netd does not listen
//! there while it makes one, and is told to look afterwards.

use super::message::is_our_neighbour;
use futures_util::StreamExt;
use netlink_packet_core::NetlinkPayload;
use netlink_packet_route::RouteNetlinkMessage;
use netlink_sys::{AsyncSocket as _, Socket};
use rtnetlink::MulticastGroup;
use std::io;
use std::os::fd::{AsFd as _, FromRawFd as _, IntoRawFd as _};
use std::thread::JoinHandle;
use tokio::sync::{mpsc, oneshot};

/// Links, addresses and routes; and neighbours, because a host that loses the permanent one of a container would have to
/// ask for it.
const GROUPS: [MulticastGroup; 6] = [
    MulticastGroup::Link,
    MulticastGroup::Ipv4Ifaddr,
    MulticastGroup::Ipv4Route,
    MulticastGroup::Ipv6Ifaddr,
    MulticastGroup::Ipv6Route,
    MulticastGroup::Neigh,
];

/// Room for what the kernel tells while this waits for its turn. Full: the kernel says that it lost something, which
/// counts as a change.
const BUFFER_BYTES: usize = 1 << 20;

/// Listens for as long as it lives, on a thread of its own.
#[derive(Debug)]
pub struct Watch {
    /// The socket that the thread listens to.
    socket: Socket,
    changed: mpsc::Sender<()>,
    /// Dropped to end the thread.
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Watch {
    /// Hears of the calling thread's network namespace and of every one that it has an id for: those that hold the
    /// other side of a veth pair. A change that finds `changed` full is dropped: the one in it will do.
    pub fn open(changed: mpsc::Sender<()>) -> io::Result<Self> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build()?;
        let (mut driver, handle, mut messages) = {
            let _registers_there = runtime.enter();
            rtnetlink::new_multicast_connection(&GROUPS)?
        };
        let socket = driver.socket_mut().socket_mut();
        socket.set_listen_all_namespaces(true)?;
        socket.set_rx_buf_sz(i32::try_from(BUFFER_BYTES).unwrap_or(i32::MAX))?;
        let duplicate = socket.as_fd().try_clone_to_owned()?;
        // SAFETY: the duplicate is nobody else's.
        let shared = unsafe { Socket::from_raw_fd(duplicate.into_raw_fd()) };
        let word = changed.clone();
        let (stop, mut stopped) = oneshot::channel();
        let thread = std::thread::Builder::new().name("netlink-watch".into()).spawn(move || {
            // The driver ends when the last handle of it does.
            let _handle = handle;
            runtime.block_on(async {
                let tell = async {
                    while let Some((message, _)) = messages.next().await {
                        if matters(&message.payload) {
                            // Full: it will look anyway. Closed: nobody wants to know.
                            let _full_or_closed = word.try_send(());
                        }
                    }
                };
                tokio::select! {
                    () = driver => tracing::error!("the netlink socket that tells of changes is closed; \
                        changes by others are now seen at the next periodic pass only"),
                    () = tell => {}
                    _ = &mut stopped => {}
                }
            });
        })?;
        Ok(Self { socket: shared, changed, stop: Some(stop), thread: Some(thread) })
    }

    /// Does `work`, which changes things in containers' namespaces, without listening there; what others have changed there
    /// meanwhile is to be looked for.
    pub fn without_listening<T>(&mut self, work: impl FnOnce() -> T) -> T {
        let is_off = self.socket.set_listen_all_namespaces(false).is_ok();
        let done = work();
        if is_off && let Err(error) = self.socket.set_listen_all_namespaces(true) {
            tracing::error!("changes by others in containers are now seen at the next periodic pass only: {error}");
        }
        // Full: it will look anyway. Closed: nobody wants to know.
        let _full_or_closed = self.changed.try_send(());
        done
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            // A panic of it has been printed already.
            drop(thread.join());
        }
    }
}

fn matters(payload: &NetlinkPayload<RouteNetlinkMessage>) -> bool {
    match payload {
        // Neighbours of others come and go all the time.
        NetlinkPayload::InnerMessage(
            RouteNetlinkMessage::NewNeighbour(neighbour) | RouteNetlinkMessage::DelNeighbour(neighbour),
        ) => is_our_neighbour(neighbour),
        _ => true,
    }
}
