//! How are links, addresses, routes and neighbours read and changed?
//!
//! Requests go one at a time, from the one thread that owns a [`Netlink`], on a small runtime of its own. All that
//! netd makes here bears [`PROTOCOL`], is a veth named `nd…` or a filter on one (`filters`), or has an alias that says so
//! (`vlans`, `wires`); nothing else is ever changed or removed.

mod addresses;
mod connection;
mod filters;
mod ipv6;
mod links;
mod loopback;
pub(crate) mod message;
mod notes;
mod routes;
mod vlans;
mod watch;
mod wires;

pub use loopback::Loopback;
pub use message::PROTOCOL;
pub use watch::Watch;

use crate::kernel::facts::{self, NodeFacts};
use crate::kernel::netns;
use crate::model::node::XdpMode;
use crate::model::parent::LinkDriver;
use crate::reconcile::target::{Link, LinkKind, LinkName, Route, Target, Vlan};
use connection::Connection;
use ipnetwork::IpNetwork;
use message::{Address, Device, LOOPBACK, RouteEntry};
use netlink_packet_route::address::AddressMessage;
use netlink_packet_route::route::RouteMessage;
use nix::errno::Errno;
use notes::Notes;
use std::collections::BTreeMap;
use std::fs::File;
use std::io;
use std::net::IpAddr;
use std::os::fd::BorrowedFd;
use std::path::{Path, PathBuf};
use tokio::runtime::{Builder, Runtime};

/// Interfaces, as they were when they were read.
#[derive(Debug)]
pub struct Devices(Vec<Device>);

/// The links, routes and addresses of the namespace that this was opened in, which netd calls the host's.
#[derive(Debug)]
pub struct Netlink {
    runtime: Runtime,
    host: Connection,
    /// The host's namespace.
    own: File,
    notes: Notes,
}

impl Netlink {
    /// In the network namespace of the calling thread.
    pub fn open() -> io::Result<Self> {
        let runtime = Builder::new_current_thread().enable_io().build()?;
        let host = runtime.block_on(async { Connection::here() })?;
        Ok(Self { runtime, host, own: netns::own()?, notes: Notes::none() })
    }

    /// The same, for links on the wire of a parent too, which leave no trace on the host: where they are is noted in `folder`,
    /// which is made when it is needed.
    #[must_use]
    pub fn noting(self, folder: &Path) -> Self {
        Self { notes: Notes::in_folder(folder), ..self }
    }

    /// The interfaces of the host.
    pub fn devices(&self) -> io::Result<Devices> {
        Ok(Devices(self.runtime.block_on(self.host.links())?.iter().map(Device::of).collect()))
    }

    /// What this node is. The interfaces named in `uplinks` are its uplinks; none named: those of the default routes.
    pub fn facts(&self, Devices(devices): &Devices, uplinks: &[String]) -> io::Result<facts::Probed> {
        self.runtime.block_on(async {
            let addresses = self.host.addresses(AddressMessage::default()).await?;
            let addresses: Vec<Address> = addresses.iter().filter_map(Address::of).collect();
            let mut routes = Vec::new();
            for family in routes::FAMILIES {
                let mut filter = RouteMessage::default();
                filter.header.address_family = family;
                routes.extend(self.host.routes(filter).await?.iter().filter_map(RouteEntry::of));
            }
            Ok(NodeFacts::from_kernel(devices, &addresses, &routes, uplinks))
        })
    }

    /// How the loopback device of the namespace at `path` is.
    pub fn loopback(&self, path: &Path) -> io::Result<Loopback> {
        let namespace = netns::open(path)?;
        self.runtime.block_on(async {
            let inside = Connection::inside(&[&namespace])?.pop().ok_or(Errno::ESRCH)?;
            inside.run(async |inside| loopback::read(inside).await).await
        })
    }

    /// Puts the loopback device of the namespace at `path` back to what it was.
    pub fn put_loopback_back(&self, path: &Path, was: &Loopback) -> io::Result<()> {
        let namespace = netns::open(path)?;
        self.runtime.block_on(async {
            let inside = Connection::inside(&[&namespace])?.pop().ok_or(Errno::ESRCH)?;
            inside.run(async |inside| loopback::put_back(inside, &namespace, was).await).await
        })
    }

    /// Whether the namespace at `path` has a default route of that family which is not netd's and would have to give way.
    pub fn has_other_default(&self, path: &Path, is_ipv4: bool) -> io::Result<bool> {
        let namespace = netns::open(path)?;
        self.runtime.block_on(async {
            let inside = Connection::inside(&[&namespace])?.pop().ok_or(Errno::ESRCH)?;
            inside.run(async |inside| loopback::has_other_default(inside, is_ipv4).await).await
        })
    }

    /// The path of the namespace that a container's link says it leads into, and whether no other link leads there.
    pub fn leads_into(&self, name: &str) -> io::Result<Option<(PathBuf, bool)>> {
        let devices: Vec<Device> = self.runtime.block_on(self.host.links())?.iter().map(Device::of).collect();
        let ours: Vec<&Device> = devices.iter().filter(|device| device.is_ours()).collect();
        let alias = ours.iter().find(|device| device.name == name).and_then(|device| device.alias.as_ref());
        Ok(alias.map(|alias| {
            let leading = ours.iter().filter(|device| device.alias.as_ref() == Some(alias)).count();
            (PathBuf::from(alias), leading == 1)
        }))
    }

    /// Fills in links, gateways and routes of `target`. Returns the name of every interface of the host, by index.
    pub fn observe(&self, Devices(devices): Devices, target: &mut Target) -> io::Result<BTreeMap<u32, LinkName>> {
        self.runtime.block_on(async {
            let ours: Vec<&Device> = devices.iter().filter(|device| device.is_ours()).collect();
            target.links = links::observe(&self.host, &ours).await?;
            target.links.extend(wires::observe(&self.wires(), &devices).await?);
            target.vlans = vlans::observe(&devices);
            let gateways = addresses::ours(&self.host, LOOPBACK).await?;
            target.gateways = gateways.iter().map(IpNetwork::ip).collect();
            let names = devices.into_iter().map(|device| (device.index, device.name)).collect();
            target.routes = routes::observe(&self.host, &names).await?;
            Ok(names)
        })
    }

    /// Whether the interface is one side of a veth pair.
    pub fn is_veth(&self, name: &str) -> io::Result<bool> {
        let device = self.runtime.block_on(links::device(&self.host, name))?;
        Ok(device.is_some_and(|device| device.veth))
    }

    /// Every XDP program on an interface of the host: the interface's index and name, the mode and the program's number.
    pub fn xdp(&self) -> io::Result<Vec<(u32, LinkName, XdpMode, u32)>> {
        let links = self.runtime.block_on(self.host.links())?;
        let devices = links.iter().map(Device::of);
        let programs = devices.flat_map(|Device { index, name, xdp, .. }| {
            xdp.into_iter().map(move |(mode, id)| (index, name.clone(), mode, id))
        });
        Ok(programs.collect())
    }

    /// Makes the link, down and without addresses. A stale one of that name is replaced.
    pub fn create_link(&self, name: &str, link: &Link) -> io::Result<()> {
        self.runtime.block_on(async {
            match &link.kind {
                LinkKind::Veth { gateway_mac } => links::create(&self.host, name, link, *gateway_mac).await,
                LinkKind::OnParent { parent, wire } => wires::create(&self.wires(), name, link, parent, *wire).await,
            }
        })
    }

    /// Sets what differs on an existing link.
    pub fn configure_link(&self, name: &str, link: &Link) -> io::Result<()> {
        self.runtime.block_on(async {
            match &link.kind {
                LinkKind::Veth { gateway_mac } => links::configure(&self.host, name, link, *gateway_mac).await,
                LinkKind::OnParent { .. } => wires::configure(name, link).await,
            }
        })
    }

    pub fn delete_link(&self, name: &str) -> io::Result<()> {
        self.runtime.block_on(async {
            wires::delete(&self.wires(), name).await?;
            links::delete(&self.host, name).await
        })
    }

    /// Runs a program on what the interface of this index receives, at once, by a filter of this name.
    pub fn put_filter(&self, ifindex: u32, program: BorrowedFd<'_>, name: &str) -> io::Result<()> {
        self.runtime.block_on(filters::put(&self.host, ifindex, program, name))
    }

    /// Takes such a filter away.
    pub fn remove_filter(&self, ifindex: u32) -> io::Result<()> {
        self.runtime.block_on(filters::remove(&self.host, ifindex))
    }

    /// The numbers of the programs that filters of this name run, by the index of the interface.
    pub fn filters(&self, name: &str) -> io::Result<BTreeMap<u32, u32>> {
        self.runtime.block_on(filters::observe(&self.host, name))
    }

    /// Makes a VLAN sub-interface, or brings the one that netd made to this.
    pub fn set_vlan(&self, name: &str, vlan: &Vlan) -> io::Result<()> {
        self.runtime.block_on(vlans::set(&self.host, name, vlan))
    }

    pub fn delete_vlan(&self, name: &str) -> io::Result<()> {
        self.runtime.block_on(vlans::delete(&self.host, name))
    }

    /// Whether the kernel can make such interfaces: tries one in a namespace that lives only for that, and so loads the
    /// module where there is one.
    pub fn has_driver(driver: LinkDriver) -> io::Result<bool> {
        netns::in_new(|| {
            let runtime = Builder::new_current_thread().enable_io().build()?;
            runtime.block_on(async { wires::is_known(&Connection::here()?, driver).await })
        })
    }

    const fn wires(&self) -> wires::Wires<'_> {
        wires::Wires { host: &self.host, own: &self.own, notes: &self.notes }
    }

    pub fn add_gateway(&self, gateway: IpAddr) -> io::Result<()> {
        self.runtime.block_on(addresses::add_gateway(&self.host, gateway))
    }

    pub fn delete_gateway(&self, gateway: IpAddr) -> io::Result<()> {
        self.runtime.block_on(addresses::delete_gateway(&self.host, gateway))
    }

    pub fn set_route(&self, prefix: IpNetwork, route: &Route) -> io::Result<()> {
        self.runtime.block_on(routes::set(&self.host, prefix, route))
    }

    pub fn delete_route(&self, prefix: IpNetwork) -> io::Result<()> {
        self.runtime.block_on(routes::delete(&self.host, prefix))
    }
}
