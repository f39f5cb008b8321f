//! How is IPv6 switched on and off on the two sides of a container's link?
//!
//! By the files below `/proc/sys/net/ipv6/conf`: netlink has no message for these. They are those of the namespace of the
//! thread that opens them.

use super::connection::Connection;
use super::message::{Device, RouteEntry};
use crate::kernel::netns::{self, Settings};
use netlink_packet_route::AddressFamily;
use netlink_packet_route::route::{RouteMessage, RouteProtocol};
use nix::net::if_::if_indextoname;
use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io;
use std::path::PathBuf;

/// What the host side of a link with IPv6 has. It has no address of its own; with `forwarding`, the programs may ask for
/// the route of a packet that comes in by it (`bpf_fib_lookup`). The host's stack forwards nothing for that alone, but
/// only with `net.ipv6.conf.all.forwarding`.
const OUTSIDE: [(&str, &str); 3] = [("disable_ipv6", "0"), ("accept_ra", "0"), ("forwarding", "1")];
/// What the container side has: netd's addresses and routes, and none that somebody else on the network announces.
const INSIDE: [(&str, &str); 3] = [("accept_ra", "0"), ("autoconf", "0"), ("disable_ipv6", "0")];

/// Whether IPv6 is on and as it should be, on a host side.
pub(super) fn is_on_outside(device: &Device) -> bool {
    device.ipv6.is_some_and(|conf| !conf.disabled && !conf.accept_ra && conf.forwarding)
}

/// The same of a container side.
pub(super) fn is_on_inside(device: &Device, loopback: Option<&Device>) -> bool {
    let is_loopback_on = loopback.and_then(|device| device.ipv6).is_some_and(|conf| !conf.disabled);
    is_loopback_on && device.ipv6.is_some_and(|conf| !conf.disabled && !conf.accept_ra && !conf.autoconf)
}

/// Switches IPv6 on, on a host side.
pub(super) async fn turn_on_outside(host: &Connection, name: &str) -> io::Result<()> {
    let _spared = Spared::new(host).await?;
    set(name, &OUTSIDE)
}

/// Switches IPv6 on, on a container side, and on its loopback device.
pub(super) fn turn_on_inside(namespace: &File, interface: &str) -> io::Result<()> {
    let set = || set("lo", &[("disable_ipv6", "0")]).and_then(|()| set(interface, &INSIDE));
    netns::in_each(&[namespace], set)?.into_iter().collect()
}

/// Switches IPv6 off, on the container side of a network without it, as far as that can be done: where `/proc/sys` is
/// read-only, what the container sends by IPv6 is dropped by its program.
pub(super) fn turn_off_inside(namespace: &File, interface: &str) -> io::Result<()> {
    let done = netns::in_each(&[namespace], || set(interface, &[("disable_ipv6", "1")]))?;
    if let Some(Err(error)) = done.first() {
        tracing::debug!(interface, "IPv6 stays on inside a container: {error}");
    }
    Ok(())
}

fn set(interface: &str, values: &[(&str, &str)]) -> io::Result<()> {
    let settings = Settings::open()?;
    values.iter().try_for_each(|(key, value)| settings.write(&format!("ipv6/conf/{interface}/{key}"), value))
}

fn file(interface: &str, key: &str) -> PathBuf {
    PathBuf::from(format!("/proc/sys/net/ipv6/conf/{interface}/{key}"))
}

/// The host's own routers, while it lives. When `forwarding` is switched on for any interface, Linux forgets every route
/// that it learnt from router advertisements, the host's default route with them, but for those by an interface with
/// `accept_ra=2` (`rt6_purge_dflt_routers`). So such interfaces have that for this moment. Should netd be killed within
/// it, they keep it; it differs from the default only for a host that is made a router.
struct Spared(Vec<(PathBuf, String)>);

impl Spared {
    async fn new(host: &Connection) -> io::Result<Self> {
        let mut filter = RouteMessage::default();
        filter.header.address_family = AddressFamily::Inet6;
        filter.header.protocol = RouteProtocol::Ra;
        let learnt = host.routes(filter).await?;
        let devices: BTreeSet<u32> = learnt.iter().filter_map(RouteEntry::of).flat_map(|route| route.devices).collect();
        let mut spared = Self(Vec::new());
        for index in devices {
            // One that is gone has taken its routes along.
            let Ok(name) = if_indextoname(index) else { continue };
            let file = file(&name.to_string_lossy(), "accept_ra");
            let Ok(value) = fs::read_to_string(&file) else { continue };
            if value.trim() != "2" {
                fs::write(&file, "2")?;
                spared.0.push((file, value));
            }
        }
        Ok(spared)
    }
}

impl Drop for Spared {
    fn drop(&mut self) {
        for (file, value) in &self.0 {
            if let Err(error) = fs::write(file, value) {
                tracing::warn!("{} is 2 now, and was {}: {error}", file.display(), value.trim());
            }
        }
    }
}
