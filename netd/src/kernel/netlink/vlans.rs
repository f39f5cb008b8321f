//! How is a VLAN sub-interface made, kept and read?
//!
//! One that netd made has the alias `netd`; no other is changed or removed. A name and an alias cannot be given in one step,
//! so it is born with a name that tells it, gets the alias, and then its own name: wherever netd is stopped, it is known.

use super::connection::{Connection, Existing};
use super::links;
use super::message::{Device, VLAN_ALIAS, VLAN_BIRTH_NAME};
use crate::model::parent::LinkDriver;
use crate::reconcile::target::{LinkName, Vlan};
use netlink_packet_route::RouteNetlinkMessage;
use netlink_packet_route::link::LinkMessage;
use rtnetlink::{LinkUnspec, LinkVlan};
use std::collections::BTreeMap;
use std::io;

/// Those that netd made. One that has not got its name yet is told by that name, which no target has.
pub(super) fn observe(devices: &[Device]) -> BTreeMap<LinkName, Vlan> {
    let of = |device: &Device| devices.iter().find(|other| Some(other.index) == device.peer);
    let vlan = |device: &Device| {
        let (of, id) = (of(device), device.vlan?);
        // The kernel takes it down and up with what it is a VLAN of.
        let is_up = device.up || !of.is_some_and(|of| of.up);
        let of = of.map(|of| of.name.clone()).unwrap_or_default();
        Some((device.name.clone(), Vlan { of, id, mtu: if is_up { device.mtu } else { 0 } }))
    };
    devices.iter().filter(|device| device.is_our_vlan()).filter_map(vlan).collect()
}

pub(super) async fn set(host: &Connection, name: &str, vlan: &Vlan) -> io::Result<()> {
    let of = links::device(host, &vlan.of).await?.ok_or_else(|| absent(&vlan.of))?;
    let index = match links::device(host, name).await? {
        Some(device) if device.is_our_vlan() => device.index,
        Some(_) => return Err(taken(name)),
        None => create(host, name, vlan, &of).await?,
    };
    let mut message = LinkUnspec::new_with_index(index).mtu(vlan.mtu);
    if of.up {
        message = message.up();
    }
    host.change(RouteNetlinkMessage::SetLink(message.build())).await
}

async fn create(host: &Connection, name: &str, vlan: &Vlan, of: &Device) -> io::Result<u32> {
    let birth_name = birth_name(of, vlan);
    if let Some(stale) = links::device(host, &birth_name).await?.filter(Device::is_our_vlan) {
        let message = LinkUnspec::new_with_index(stale.index).build();
        host.change(RouteNetlinkMessage::DelLink(message)).await?;
    }
    let message = RouteNetlinkMessage::NewLink(message(of, vlan));
    host.create(message, Existing::Refuse).await.map_err(|error| match error.raw_os_error() {
        Some(libc::EOPNOTSUPP) => io::Error::new(io::ErrorKind::Unsupported, LinkDriver::Vlan.to_string()),
        Some(libc::EEXIST) => {
            let what = format!("VLAN {} of {} is there under another name; name that with --parent", vlan.id, vlan.of);
            io::Error::new(io::ErrorKind::AlreadyExists, what)
        }
        _ => error,
    })?;
    let index = links::device(host, &birth_name).await?.ok_or_else(|| absent(&birth_name))?.index;
    let message = LinkUnspec::new_with_index(index).alias(VLAN_ALIAS.to_owned()).build();
    host.change(RouteNetlinkMessage::SetLink(message)).await?;
    let message = LinkUnspec::new_with_index(index).name(name.to_owned()).build();
    match host.change(RouteNetlinkMessage::SetLink(message)).await {
        Err(error) if error.raw_os_error() == Some(libc::EEXIST) => Err(taken(name)),
        done => done.map(|()| index),
    }
}

/// At most 15 bytes: an index has seven digits at most, since there can hardly be more interfaces.
fn birth_name(of: &Device, vlan: &Vlan) -> String {
    format!("{VLAN_BIRTH_NAME}{}.{}", of.index, vlan.id)
}

fn message(of: &Device, vlan: &Vlan) -> LinkMessage {
    LinkVlan::new(&birth_name(of, vlan), of.index, vlan.id).build()
}

/// No error when it is gone already; refused for what netd did not make.
pub(super) async fn delete(host: &Connection, name: &str) -> io::Result<()> {
    let message = match links::device(host, name).await? {
        None => return Ok(()),
        Some(device) if device.is_our_vlan() => LinkUnspec::new_with_index(device.index).build(),
        Some(_) => return Err(taken(name)),
    };
    match host.change(RouteNetlinkMessage::DelLink(message)).await {
        Err(error) if error.raw_os_error() == Some(libc::ENODEV) => Ok(()),
        done => done,
    }
}

fn absent(name: &str) -> io::Error {
    io::Error::new(io::ErrorKind::NotFound, format!("there is no interface {name}"))
}

fn taken(name: &str) -> io::Error {
    let what = format!("an interface named {name} exists, and netd did not make it; rename or remove it");
    io::Error::new(io::ErrorKind::AlreadyExists, what)
}

#[cfg(test)]
mod tests {
    use super::*;
    use netlink_packet_core::{Emitable, Parseable};

    fn eth0(up: bool) -> Device {
        Device { index: 2, name: "eth0".to_owned(), up, mtu: 1500, ..Device::default() }
    }

    fn sub(name: &str, alias: Option<&str>, up: bool) -> Device {
        let alias = alias.map(str::to_owned);
        Device {
            index: 9,
            name: name.to_owned(),
            alias,
            up,
            mtu: 1500,
            vlan: Some(20),
            peer: Some(2),
            ..Device::default()
        }
    }

    #[test]
    fn the_message_says_what_the_kernel_reads() {
        let vlan = Vlan { of: "eth0".to_owned(), id: 20, mtu: 1500 };
        let message = message(&eth0(true), &vlan);
        let mut bytes = vec![0; message.buffer_len()];
        message.emit(&mut bytes);
        let read = LinkMessage::parse(&bytes).expect("a message");
        let device = Device::of(&read);
        assert_eq!((device.name.as_str(), device.peer, device.vlan), ("nd.2.20", Some(2), Some(20)));
        assert!(device.is_our_vlan(), "from its birth");
        // IFLA_LINKINFO (18) with IFLA_INFO_KIND (1) "vlan" and IFLA_INFO_DATA (2) of IFLA_VLAN_ID (1) 20.
        let info = [&[9, 0, 1, 0][..], b"vlan\0\0\0\0", &[12, 0, 2, 0, 6, 0, 1, 0, 20, 0, 0, 0]].concat();
        assert!(bytes.windows(info.len()).any(|window| window == info), "{bytes:?}");
    }

    #[test]
    fn only_what_netd_made_is_its_own() {
        let observed = |device: Device, up| observe(&[eth0(up), device]);
        let vlan = |mtu| Vlan { of: "eth0".to_owned(), id: 20, mtu };
        assert_eq!(observed(sub("eth0.20", None, true), true), BTreeMap::new());
        assert_eq!(observed(sub("eth0.20", Some("lan"), true), true), BTreeMap::new());
        let ours = |up| sub("eth0.20", Some("netd"), up);
        assert_eq!(observed(ours(true), true), [("eth0.20".to_owned(), vlan(1500))].into());
        assert_eq!(observed(ours(false), true), [("eth0.20".to_owned(), vlan(0))].into(), "to be set up");
        assert_eq!(observed(ours(false), false), [("eth0.20".to_owned(), vlan(1500))].into(), "as eth0 is");
        assert_eq!(observed(sub("nd.2.20", None, false), true), [("nd.2.20".to_owned(), vlan(0))].into());
    }
}
