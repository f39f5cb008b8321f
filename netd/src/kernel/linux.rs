//! How does Linux carry out a plan: which step is netlink's, which is the datapath's?

use super::backends;
use super::datapath::Datapath;
use super::names::{self, Names, led};
use super::netlink::{Devices, Netlink, Watch};
use super::netns;
use super::netns::lent::Lent;
use super::netns::made::Made;
use super::{Error, Kernel};
use crate::kernel::facts::NodeFacts;
use crate::reconcile::observed::Observed;
use crate::reconcile::op::{FlowSelector, Op};
use crate::reconcile::target::{Attachment, Link, Target};
use std::collections::BTreeSet;
use std::io;
use std::os::fd::AsFd as _;
use std::path::{Path, PathBuf};

#[derive(Clone, Debug)]
pub struct Options {
    pub datapath: super::datapath::Options,
    /// Folder of namespaces, `/run/netns`.
    pub netns_dir: PathBuf,
    /// Folder of the notes which namespaces netd made, `<run dir>/netns`. On the same tmpfs as the namespaces or another:
    /// a note of a former boot counts for nothing.
    pub netns_notes: PathBuf,
    /// Folder of the notes where the links are that leave no trace on the host, `<run dir>/links`.
    pub link_notes: PathBuf,
    /// Folder of the notes how namespaces of others were.
    pub lent_notes: PathBuf,
    /// Names of the uplinks; empty: the interfaces of the default routes.
    pub uplinks: Vec<String>,
    pub names: names::Options,
}

#[derive(Debug)]
pub struct Linux {
    netlink: Netlink,
    datapath: Datapath,
    made: Made,
    /// Tells the filters of this instance from all others.
    filter_name: String,
    names: Names,
    lent: Lent,
    uplinks: Vec<String>,
    /// The host's interfaces as the facts were taken from them: the same look goes on with them. To read a thousand of them
    /// takes the kernel a walk over a thousand namespaces for each.
    devices: Option<Devices>,
    /// Interfaces that were warned of as uplinks that cannot be.
    warned: BTreeSet<String>,
    watch: Watch,
}

impl Linux {
    /// `changed` is told whenever netlink says that something which netd cares about has changed, in the host's
    /// namespace or in a container's. The host's namespace is that of the calling thread.
    pub fn open(options: Options, changed: tokio::sync::mpsc::Sender<()>) -> Result<Self, Error> {
        let Options { datapath, netns_dir: netns, netns_notes: notes, link_notes, lent_notes, uplinks, names } =
            options;
        let mut linux = Self {
            // First, so that no change after the first look goes unheard.
            watch: Watch::open(changed.clone()).map_err(Error::of("listen to netlink"))?,
            netlink: Netlink::open().map_err(Error::of("open netlink"))?.noting(&link_notes),
            datapath: Datapath::open(&datapath).map_err(Error::of("open the datapath"))?,
            made: Made { netns, notes },
            filter_name: format!("netd {}", datapath.instance),
            names: Names::open(names, changed).map_err(Error::of("take back the name servers"))?,
            lent: Lent { notes: lent_notes },
            uplinks,
            devices: None,
            warned: BTreeSet::new(),
        };
        // Of a former agent that ended before it had made their links.
        let filters =
            linux.netlink.filters(&linux.filter_name).map_err(Error::of("read the filters of containers' links"))?;
        linux.datapath.attachments_mut().note_filters(filters);
        Ok(linux)
    }

    fn carry_out(&mut self, op: &Op) -> io::Result<()> {
        let index_of = |name: &str| nix::net::if_::if_nametoindex(name).ok();
        match op {
            Op::CreateNamespace(path, sandbox) => self.watch.without_listening(|| self.made.create(path, sandbox)),
            Op::DeleteNamespace(path) => self.made.delete(path),
            Op::CreateLink(name, link) => self.watch.without_listening(|| self.netlink.create_link(name, link)),
            Op::ConfigureLink(name, link) => {
                if !self.made.is_made(&link.namespace)? {
                    self.enter_lent(link)?;
                }
                self.watch.without_listening(|| self.netlink.configure_link(name, link))
            }
            Op::DeleteLink(name) => {
                let index = nix::net::if_::if_nametoindex(name.as_str());
                let (netlink, lent) = (&self.netlink, &self.lent);
                self.watch.without_listening(|| delete_link(netlink, lent, name))?;
                index.map_or(Ok(()), |index| self.datapath.forget_interface(index))
            }
            Op::SetVlan(name, vlan) => self.netlink.set_vlan(name, vlan),
            Op::DeleteVlan(name) => self.netlink.delete_vlan(name),
            Op::AddGateway(gateway) => self.netlink.add_gateway(*gateway),
            Op::DeleteGateway(gateway) => self.netlink.delete_gateway(*gateway),
            Op::SetRoute(prefix, route) => self.netlink.set_route(*prefix, route),
            Op::DeleteRoute(prefix) => self.netlink.delete_route(*prefix),
            Op::OpenNames(path) => self.open_names(path),
            Op::CloseNames(path) => {
                // First the entry: nobody is led to where nobody listens.
                let cookie = self.names.cookie(path);
                cookie.map_or(Ok(()), |cookie| led::set(&mut self.datapath, cookie, None))?;
                self.names.close(path);
                Ok(())
            }
            Op::PurgeFlows(selectors) => {
                self.datapath.apply(op, &index_of)?;
                self.end_udp(selectors);
                Ok(())
            }
            Op::Attach(Attachment::ContainerEgress(name)) | Op::Renew(Attachment::ContainerEgress(name)) => {
                match index_of(name) {
                    Some(index) if !self.datapath.attachments().has_link(index) && self.put_filter(index)? => Ok(()),
                    Some(_) | None => self.datapath.apply(op, &index_of),
                }
            }
            Op::Detach(Attachment::ContainerEgress(name)) => {
                if let Some(index) =
                    index_of(name).filter(|index| self.datapath.attachments().filtered().contains_key(index))
                {
                    self.netlink.remove_filter(index)?;
                    self.datapath.attachments_mut().forget_filter(index);
                }
                self.datapath.apply(op, &index_of)
            }
            Op::Attach(Attachment::XdpGuard(name)) => {
                let is_veth = self.netlink.is_veth(name)?;
                self.datapath.attach_guard(name, is_veth, &index_of)
            }
            Op::RemovePublish(_)
            | Op::RemoveEndpoint(_)
            | Op::RemovePort(_)
            | Op::RemoveFdb(..)
            | Op::RemoveLocalAddress(_)
            | Op::RemoveUplink(_)
            | Op::Detach(_)
            | Op::Attach(_)
            | Op::SetUplink(..)
            | Op::SetLocalAddress(_)
            | Op::SetPort(..)
            | Op::SetFdb(..)
            | Op::SetEndpoint(..)
            | Op::Allow(..)
            | Op::SetPublish(..)
            | Op::SetTimeouts(..)
            | Op::RemoveTimeouts(_)
            | Op::SetPooled(..)
            | Op::RemovePooled(_)
            | Op::PurgeSources(_)
            | Op::Block(_)
            | Op::Disallow(..)
            | Op::Unblock(_)
            | Op::Renew(_) => self.datapath.apply(op, &index_of),
        }
    }

    /// Lets a filter run the program of a container's interface; false when this kernel does not.
    fn put_filter(&mut self, ifindex: u32) -> io::Result<bool> {
        let (program, program_id) = self.datapath.container_program()?;
        if let Err(error) = self.netlink.put_filter(ifindex, program.as_fd(), &self.filter_name) {
            tracing::debug!(ifindex, %error, "no filter: it gets its link at once");
            return Ok(false);
        }
        self.datapath.attachments_mut().note_filters([(ifindex, program_id)]);
        Ok(true)
    }

    fn open_names(&mut self, path: &Path) -> io::Result<()> {
        let listened = match self.names.listen(path) {
            // A namespace that somebody else made, and left as bare as the kernel makes them.
            Err(error) if error.kind() == io::ErrorKind::AddrNotAvailable => {
                netns::in_namespace(path, netns::raise_loopback)??;
                self.names.listen(path)
            }
            done => done,
        };
        let (cookie, port) = listened?;
        led::set(&mut self.datapath, cookie, Some(port))
    }

    /// Before anything is changed in a namespace that somebody else made: what netd finds there.
    fn enter_lent(&self, link: &Link) -> io::Result<()> {
        let path = &link.namespace;
        for gateway in &link.default_routes {
            if self.netlink.has_other_default(path, gateway.is_ipv4())? {
                let text = format!(
                    "{} has a default route already, and not by netd; remove it, or join an internal network",
                    path.display()
                );
                return Err(io::Error::new(io::ErrorKind::AlreadyExists, text));
            }
        }
        if self.lent.is_noted(path)? {
            return Ok(());
        }
        let found = self.netlink.loopback(path)?;
        if found.up && (found.ipv6 || !link.ipv6) {
            // Nothing will be changed.
            return Ok(());
        }
        self.lent.write(path, &found)
    }

    /// Trying again would not help: a kernel without `SOCK_DESTROY` never does it, and the next purge is of other ports.
    fn end_udp(&self, selectors: &[FlowSelector]) {
        match backends::end_udp(&self.datapath, selectors) {
            Ok(0) => {}
            Ok(count) => tracing::debug!(count, "ended UDP sockets of the host whose container is gone"),
            Err(error) => tracing::warn!(%error, "UDP sockets of the host may keep a container that is gone"),
        }
    }
}

impl Kernel for Linux {
    fn facts(&mut self) -> Result<NodeFacts, Error> {
        let of = || Error::of("probe this node");
        let devices = self.netlink.devices().map_err(of())?;
        let probed = self.netlink.facts(&devices, &self.uplinks).map_err(of())?;
        self.devices = Some(devices);
        for name in probed.not_ethernet.difference(&self.warned) {
            tracing::warn!(interface = %name, "not used as an uplink: it does not carry Ethernet frames");
        }
        self.warned = probed.not_ethernet;
        Ok(probed.facts)
    }

    fn observe(&mut self) -> Result<Observed, Error> {
        let namespaces = self.made.paths().map_err(Error::of("list the namespaces"))?;
        let mut target = Target { namespaces, ..Target::default() };
        let of = || Error::of("read links and routes");
        let devices = self.devices.take().map_or_else(|| self.netlink.devices(), Ok).map_err(of())?;
        let names = self.netlink.observe(devices, &mut target).map_err(of())?;
        self.datapath
            .observe(&mut target, &|index| names.get(&index).cloned())
            .map_err(Error::of("read the datapath"))?;
        let ports = led::ports(&self.datapath).map_err(Error::of("read the name servers"))?;
        target.names = self.names.observe(&ports);
        Ok(Observed(target))
    }

    fn apply(&mut self, op: &Op) -> Result<(), Error> {
        self.carry_out(op).map_err(|source| Error::new(describe(op), source))
    }

    fn is_unsettled(&self) -> bool {
        !self.datapath.attachments().filtered().is_empty()
    }

    fn settle(&mut self) -> Result<(), Error> {
        let Some(ifindex) = self.datapath.attachments().filtered().keys().next().copied() else { return Ok(()) };
        match self.datapath.link_container(ifindex).and_then(|()| self.netlink.remove_filter(ifindex)) {
            // Somebody has removed the interface, which the next look sees.
            Err(error) if error.raw_os_error() == Some(libc::ENODEV) => {}
            done => done.map_err(Error::of("link the program of a container's interface"))?,
        }
        self.datapath.attachments_mut().forget_filter(ifindex);
        Ok(())
    }
}

fn delete_link(netlink: &Netlink, lent: &Lent, name: &str) -> io::Result<()> {
    let Some((path, true)) = lent.any()?.then(|| netlink.leads_into(name)).transpose()?.flatten() else {
        return netlink.delete_link(name);
    };
    // Nobody is left there who needs what netd has set.
    let was = lent.read(&path)?;
    if let Some(was) = &was {
        netlink.put_loopback_back(&path, was)?;
    }
    netlink.delete_link(name)?;
    was.map_or(Ok(()), |_| lent.forget(&path))
}

/// The step, as one would say it.
fn describe(op: &Op) -> String {
    match op {
        Op::CreateNamespace(path, _) => format!("create namespace {}", path.display()),
        Op::DeleteNamespace(path) => format!("delete namespace {}", path.display()),
        Op::SetVlan(name, vlan) => format!("set {name}, VLAN {} of {}", vlan.id, vlan.of),
        Op::DeleteVlan(name) => format!("delete VLAN {name}"),
        Op::CreateLink(name, link) => format!("create link {name} into {}", on(link)),
        Op::ConfigureLink(name, link) => format!("configure link {name} into {}", on(link)),
        Op::DeleteLink(name) => format!("delete link {name}"),
        Op::AddGateway(gateway) => format!("add gateway {gateway}"),
        Op::DeleteGateway(gateway) => format!("delete gateway {gateway}"),
        Op::SetRoute(prefix, _) => format!("set route {prefix}"),
        Op::DeleteRoute(prefix) => format!("delete route {prefix}"),
        Op::RemovePublish(key) => format!("remove published port {}", publish(key)),
        Op::SetPublish(key, _) => format!("set published port {}", publish(key)),
        Op::RemoveEndpoint(key) => format!("remove endpoint {}", std::net::IpAddr::from(key.address)),
        Op::SetEndpoint(key, _) => format!("set endpoint {}", std::net::IpAddr::from(key.address)),
        Op::RemovePort(name) => format!("unplug link {name}"),
        Op::SetPort(name, _) => format!("plug in link {name}"),
        Op::RemoveFdb(network, mac) => format!("remove {} of network {network}", Mac(mac)),
        Op::SetFdb(network, mac, _) => format!("set {} of network {network}", Mac(mac)),
        Op::RemoveLocalAddress(address) => format!("remove host address {}", std::net::IpAddr::from(*address)),
        Op::SetLocalAddress(address) => format!("set host address {}", std::net::IpAddr::from(*address)),
        Op::OpenNames(path) => format!("answer names in {}", path.display()),
        Op::CloseNames(path) => format!("answer no names in {}", path.display()),
        Op::RemoveUplink(name) => format!("remove uplink {name}"),
        Op::SetUplink(name, _) => format!("set uplink {name}"),
        Op::PurgeFlows(_) | Op::PurgeSources(_) => "purge flows".to_owned(),
        Op::SetTimeouts(network, _) => format!("set timeouts of network {network}"),
        Op::RemoveTimeouts(network) => format!("remove timeouts of network {network}"),
        Op::SetPooled(key, address) => {
            format!("set SNAT address {} of network {}", std::net::IpAddr::from(*address), key.network)
        }
        Op::RemovePooled(key) => format!("remove a SNAT address of network {}", key.network),
        Op::Allow(list, prefixes) => format!("put {} prefixes on allow list {list}", prefixes.len()),
        Op::Disallow(list, prefixes) => format!("take {} prefixes off allow list {list}", prefixes.len()),
        Op::Block(prefixes) => format!("block {} prefixes", prefixes.len()),
        Op::Unblock(prefixes) => format!("unblock {} prefixes", prefixes.len()),
        Op::Attach(Attachment::XdpGuard(name)) => format!("guard uplink {name}"),
        Op::Attach(attachment) => format!("attach {attachment:?}"),
        Op::Detach(attachment) => format!("detach {attachment:?}"),
        Op::Renew(attachment) => format!("renew {attachment:?}"),
    }
}

fn on(link: &Link) -> String {
    let parent = link.kind.parent().map(|parent| format!(" on {parent}")).unwrap_or_default();
    format!("{}{parent}", link.namespace.display())
}

fn publish(key: &netd_common::publish::PublishKey) -> String {
    std::net::SocketAddr::new(key.address.into(), key.port).to_string()
}

struct Mac<'a>(&'a [u8; 6]);

impl std::fmt::Display for Mac<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        for (position, byte) in self.0.iter().enumerate() {
            write!(f, "{}{byte:02x}", if position == 0 { "" } else { ":" })?;
        }
        Ok(())
    }
}
