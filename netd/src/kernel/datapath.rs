//! How do the programs and their maps get into the kernel, and what do the maps hold?
//!
//! Everything is pinned below [`Options::pins`]: maps, one link per attachment, and the program that collects garbage.
//! So traffic needs no agent. A pin whose type or sizes are not those of this version is not used: a new map takes its
//! place, and the programs that hold the old one go on until their links are renewed, which is the last step of a plan.

use super::attachments::{Attached, Attachments, CONTAINER_EGRESS};
use super::pins::{self, MAPS, Pins};
use super::purge::Doomed;
use super::{batch, forget, mounts, object, programs, sockets, tries};
use crate::reconcile::op::{FlowSelector, Op};
use crate::reconcile::target::{EndpointEntry, FdbEntry, Port, Target};
use aya::maps::{Array, HashMap, Map, MapData, MapError};
use aya::programs::{ProgramInfo, SchedClassifier};
use aya::{Ebpf, EbpfLoader, Pod};
use netd_common::Addr;
use netd_common::endpoint;
use netd_common::fdb::{self, FdbKey};
use netd_common::flow::{Flow, FlowKey, Timeouts};
use netd_common::globals::Globals;
use netd_common::publish::Publish;
use std::collections::btree_map::{BTreeMap, Entry};
use std::io;
use std::ops::ControlFlow;
use std::os::fd::{AsFd as _, OwnedFd};
use std::path::PathBuf;

/// The object that `build.rs` made.
pub static OBJECT: &[u8] = aya::include_bytes_aligned!(concat!(env!("OUT_DIR"), "/netd-datapath"));

/// The program that deletes flows, pinned for whoever collects garbage.
pub const COLLECTOR: &str = "flow_gc";

/// Where and how large.
#[derive(Clone, Debug)]
pub struct Options {
    /// The bpffs mount, `/sys/fs/bpf`.
    pub bpffs: PathBuf,
    pub instance: String,
    /// The cgroup2 folder that `sock_addr` is attached to.
    pub cgroup: PathBuf,
    /// Entries of `FLOWS`.
    pub flows_max: u32,
}

impl Options {
    /// The folder of this instance: `<bpffs>/netd/<instance>`.
    #[must_use]
    pub fn instance_dir(&self) -> PathBuf {
        self.bpffs.join("netd").join(&self.instance)
    }

    /// The folder of the pins: `<bpffs>/netd/<instance>/v<ABI_VERSION>`.
    #[must_use]
    pub fn pins(&self) -> PathBuf {
        self.instance_dir().join(format!("v{}", netd_common::layout::ABI_VERSION))
    }
}

/// The loaded programs and the pinned maps of one instance.
#[derive(Debug)]
pub struct Datapath {
    options: Options,
    pins: Pins,
    /// The programs and the maps.
    object: Ebpf,
    attachments: Attachments,
    blocked: tries::Blocked,
}

impl Datapath {
    /// Loads the programs, and creates the maps or takes over the pinned ones.
    ///
    /// # Errors
    /// When bpffs, a map or a program is refused; the verifier's last words are in the error.
    pub fn open(options: &Options) -> io::Result<Self> {
        let pins = Pins::open(options)?;
        let former_flows = pins.discard_misfits(OBJECT, options.flows_max)?;
        let mut loader = EbpfLoader::new();
        loader.map_max_entries("FLOWS", options.flows_max);
        for name in MAPS {
            loader.map_pin_path(name, pins.map(name));
        }
        let object = loader.load(OBJECT).map_err(io::Error::other)?;
        let attachments = Attachments::take_over(&pins, &options.cgroup)?;
        let mut datapath =
            Self { options: options.clone(), pins, object, attachments, blocked: tries::Blocked::default() };
        programs::load(&mut datapath.object, &datapath.pins, OBJECT)?;
        let globals = Globals { netns_cookie: sockets::netns_cookie()? };
        Array::<_, Globals>::try_from(datapath.map_mut("GLOBALS")?)
            .and_then(|mut map| map.set(0, globals, 0))
            .map_err(io::Error::other)?;
        if let Some(former) = former_flows {
            datapath.copy_flows(&former)?;
        }
        datapath.pin_again()?;
        Ok(datapath)
    }

    fn copy_flows(&mut self, former: &MapData) -> io::Result<()> {
        batch::for_each_batch(former.fd().as_fd(), |keys: &[FlowKey], flows: &[Flow]| {
            for (key, flow) in keys.iter().zip(flows) {
                self.insert("FLOWS", *key, *flow)?;
            }
            Ok(ControlFlow::Continue(()))
        })
    }

    /// Fills in the map entries, attachments and uplinks of `target`, all that is not netlink's.
    /// `name_of` gives the name of an interface index of the host's namespace; an entry whose index has no name is
    /// reported with an empty one, so that it differs from every target.
    ///
    /// # Errors
    /// When a map or a link does not answer.
    pub fn observe(&mut self, target: &mut Target, name_of: &dyn Fn(u32) -> Option<String>) -> io::Result<()> {
        self.pin_again()?;
        let link_of = |ifindex| name_of(ifindex).unwrap_or_default();
        self.for_each("ENDPOINTS", |key, value: &endpoint::Endpoint| {
            let endpoint::Endpoint { ifindex, endpoint, flags, mac, pad: _ } = *value;
            target.endpoints.insert(*key, EndpointEntry { link: link_of(ifindex), endpoint, flags, mac });
        })?;
        self.for_each("PORTS_BY_IF", |ifindex, value: &endpoint::Port| {
            target.ports.insert(indexed_name(*ifindex, name_of), port_of(value));
        })?;
        self.for_each("FDB", |key: &FdbKey, value: &fdb::FdbEntry| {
            target.fdb.insert((key.network, key.mac), FdbEntry { link: link_of(value.ifindex), flags: value.flags });
        })?;
        self.for_each("PUBLISHED", |key, value| {
            target.publishes.insert(*key, *value);
        })?;
        target.allowed = tries::allowed(object::fd(&self.object, "ALLOWED")?)?;
        target.blocked = self.blocked.look(object::fd(&self.object, "BLOCKED")?)?;
        self.for_each("LOCAL_ADDRS", |address, _: &u32| {
            target.local_addresses.insert(*address);
        })?;
        self.for_each("UPLINKS", |ifindex, gateway: &Addr| {
            target.uplinks.insert(indexed_name(*ifindex, name_of), *gateway);
        })?;
        self.for_each("TIMEOUTS", |network, timeouts| {
            target.timeouts.insert(*network, *timeouts);
        })?;
        self.for_each("SNAT_POOLS", |key, address| {
            target.snat_pools.insert(*key, *address);
        })?;
        // Thousands of links run a few programs, and the answer takes a look at every program of the machine.
        let mut known = BTreeMap::new();
        for Attached { attachment, program, program_id } in self.attachments.observe(&link_of)? {
            let is_current = match known.entry((program, program_id)) {
                Entry::Occupied(answer) => *answer.get(),
                Entry::Vacant(question) => {
                    let is_current = object::is_current(&self.object, &question.key().0, program_id)?;
                    *question.insert(is_current)
                }
            };
            if !is_current {
                target.stale_attachments.insert(attachment.clone());
            }
            target.attachments.insert(attachment);
        }
        Ok(())
    }

    /// Carries out the steps that are about maps and programs. `index_of` gives the index of an interface of the host's
    /// namespace.
    ///
    /// # Errors
    /// When the kernel refuses, or the interface is not there.
    pub fn apply(&mut self, op: &Op, index_of: &dyn Fn(&str) -> Option<u32>) -> io::Result<()> {
        let index_of = |link: &str| unnamed_index(link).or_else(|| index_of(link)).ok_or_else(|| no_interface(link));
        match op {
            Op::RemovePublish(key) => self.remove::<_, Publish>("PUBLISHED", key),
            Op::RemoveEndpoint(key) => self.remove::<_, endpoint::Endpoint>("ENDPOINTS", key),
            Op::RemovePort(link) => match index_of(link) {
                Ok(ifindex) => self.remove::<_, endpoint::Port>("PORTS_BY_IF", &ifindex),
                // Its index went with the link; the next observation finds the entry under its bare index.
                Err(_) => Ok(()),
            },
            Op::RemoveFdb(network, mac) => self.remove::<_, fdb::FdbEntry>("FDB", &fdb_key(*network, *mac)),
            Op::RemoveLocalAddress(address) => self.remove::<_, u32>("LOCAL_ADDRS", address),
            Op::RemoveUplink(link) => match index_of(link) {
                Ok(ifindex) => self.remove::<_, Addr>("UPLINKS", &ifindex),
                Err(_) => Ok(()),
            },
            Op::PurgeFlows(selectors) => self.purge(selectors),
            Op::PurgeSources(addresses) => {
                self.purge(&addresses.iter().copied().map(FlowSelector::Source).collect::<Vec<_>>())
            }
            Op::Detach(attachment) => self.attachments.detach(attachment, &index_of),
            Op::Attach(attachment) => {
                self.attachments.attach(attachment, &|name| object::program_fd(&self.object, name), &index_of)
            }
            Op::Renew(attachment) => {
                self.attachments.renew(attachment, &|name| object::program_fd(&self.object, name), &index_of)
            }
            Op::SetUplink(link, gateway) => self.insert("UPLINKS", index_of(link)?, *gateway),
            Op::SetLocalAddress(address) => self.insert("LOCAL_ADDRS", *address, 1_u32),
            Op::SetPort(link, port) => self.insert("PORTS_BY_IF", index_of(link)?, port_value(port)),
            Op::SetFdb(network, mac, entry) => {
                let value = fdb::FdbEntry { ifindex: index_of(&entry.link)?, flags: entry.flags };
                self.insert("FDB", fdb_key(*network, *mac), value)
            }
            Op::SetEndpoint(key, entry) => {
                let EndpointEntry { link, endpoint, flags, mac } = entry;
                let ifindex = index_of(link)?;
                let value = endpoint::Endpoint { ifindex, endpoint: *endpoint, flags: *flags, mac: *mac, pad: [0; 2] };
                self.insert("ENDPOINTS", *key, value)
            }
            Op::Allow(list, prefixes) => tries::allow(object::fd(&self.object, "ALLOWED")?, *list, prefixes),
            Op::SetPublish(key, publish) => self.insert("PUBLISHED", *key, *publish),
            Op::SetTimeouts(network, timeouts) => self.insert("TIMEOUTS", *network, *timeouts),
            Op::RemoveTimeouts(network) => self.remove::<_, Timeouts>("TIMEOUTS", network),
            Op::SetPooled(key, address) => self.insert("SNAT_POOLS", *key, *address),
            Op::RemovePooled(key) => self.remove::<_, Addr>("SNAT_POOLS", key),
            Op::Block(prefixes) => self.blocked.block(object::fd(&self.object, "BLOCKED")?, prefixes),
            Op::Disallow(list, prefixes) => tries::disallow(object::fd(&self.object, "ALLOWED")?, *list, prefixes),
            Op::Unblock(prefixes) => self.blocked.unblock(object::fd(&self.object, "BLOCKED")?, prefixes),
            Op::DeleteRoute(_)
            | Op::DeleteGateway(_)
            | Op::DeleteLink(_)
            | Op::DeleteNamespace(_)
            | Op::CreateNamespace(..)
            | Op::CreateLink(..)
            | Op::ConfigureLink(..)
            | Op::AddGateway(_)
            | Op::OpenNames(_)
            | Op::CloseNames(_)
            | Op::SetVlan(..)
            | Op::DeleteVlan(_)
            | Op::SetRoute(..) => Ok(()),
        }
    }

    /// Attaches the guard to an uplink.
    ///
    /// # Errors
    /// As [`super::guard::attach`].
    pub fn attach_guard(
        &mut self,
        link: &str,
        is_veth: bool,
        index_of: &dyn Fn(&str) -> Option<u32>,
    ) -> io::Result<()> {
        let index_of = |link: &str| index_of(link).ok_or_else(|| no_interface(link));
        self.attachments.attach_guard(link, is_veth, &|name| object::program_fd(&self.object, name), &index_of)
    }

    /// The loaded program of containers' interfaces, for a filter that is to run it at once, and its number.
    ///
    /// # Errors
    /// When it is not loaded.
    pub fn container_program(&self) -> io::Result<(OwnedFd, u32)> {
        Ok((object::program_fd(&self.object, CONTAINER_EGRESS)?, object::program_id(&self.object, CONTAINER_EGRESS)?))
    }

    /// What is attached, and by what.
    pub const fn attachments(&self) -> &Attachments {
        &self.attachments
    }

    pub const fn attachments_mut(&mut self) -> &mut Attachments {
        &mut self.attachments
    }

    /// Makes the link of a container's interface where a filter runs the program.
    ///
    /// # Errors
    /// As [`Attachments::link_container`].
    pub fn link_container(&mut self, ifindex: u32) -> io::Result<()> {
        self.attachments.link_container(ifindex, &|name| object::program_fd(&self.object, name))
    }

    /// Lets go of what was attached to an interface that is gone: its index may be another's soon.
    ///
    /// # Errors
    /// When a pin cannot be removed.
    pub fn forget_interface(&mut self, ifindex: u32) -> io::Result<()> {
        self.attachments.forget_interface(ifindex)
    }

    /// Puts back what was removed from bpffs under us.
    fn pin_again(&mut self) -> io::Result<()> {
        mounts::mount_bpffs(&self.options.bpffs)?;
        self.pins.make_folders()?;
        for (name, map) in self.object.maps() {
            let path = self.pins.map(name);
            if MAPS.contains(&name) && !path.exists() {
                map.pin(&path).map_err(io::Error::other)?;
                tracing::warn!("the pin of the map {name} was gone, and is made again");
            }
        }
        self.attachments.pin_again()?;
        let path = self.pins.program(COLLECTOR);
        // One of a former agent must work on this agent's table, too, and that may be a new one.
        if let Ok(pinned) = ProgramInfo::from_pin(&path)
            && object::is_current(&self.object, COLLECTOR, pinned.id())?
        {
            return Ok(());
        }
        pins::remove_file(&path)?;
        self.classifier(COLLECTOR)?.pin(&path).map_err(io::Error::other)
    }

    fn purge(&self, selectors: &[FlowSelector]) -> io::Result<()> {
        let doomed = Doomed::new(selectors);
        forget::forget(object::fd(&self.object, "FLOWS")?, |key, flow| doomed.contains(key, flow)).map(drop)
    }

    fn map_mut(&mut self, name: &str) -> io::Result<&mut Map> {
        self.object.map_mut(name).ok_or_else(|| io::Error::other(format!("the object has no map {name}")))
    }

    /// Calls `each` for the entries of a hash map.
    ///
    /// # Errors
    /// When the kernel refuses to read.
    pub fn for_each<K: Pod, V: Pod>(&self, name: &str, each: impl FnMut(&K, &V)) -> io::Result<()> {
        batch::for_each(object::fd(&self.object, name)?, each)
    }

    pub(super) fn insert<K: Pod, V: Pod>(&mut self, name: &str, key: K, value: V) -> io::Result<()> {
        HashMap::<_, K, V>::try_from(self.map_mut(name)?).and_then(|mut map| map.insert(key, value, 0)).map_err(
            |error| match &error {
                MapError::SyscallError(call) if call.io_error.raw_os_error() == Some(libc::E2BIG) => {
                    io::Error::other(format!("the map {name} is full"))
                }
                _ => io::Error::other(format!("{name}: {error}")),
            },
        )
    }

    /// Removes an entry; that there was none is as good.
    pub(super) fn remove<K: Pod, V: Pod>(&mut self, name: &str, key: &K) -> io::Result<()> {
        let mut map: HashMap<_, K, V> = HashMap::try_from(self.map_mut(name)?).map_err(io::Error::other)?;
        match map.remove(key) {
            Ok(()) | Err(MapError::KeyNotFound) => Ok(()),
            Err(MapError::SyscallError(error)) if error.io_error.kind() == io::ErrorKind::NotFound => Ok(()),
            Err(error) => Err(io::Error::other(format!("{name}: {error}"))),
        }
    }

    fn classifier(&mut self, name: &str) -> io::Result<&mut SchedClassifier> {
        self.object
            .program_mut(name)
            .and_then(|program| program.try_into().ok())
            .ok_or_else(|| io::Error::other(format!("the object has no program {name}")))
    }
}

fn no_interface(link: &str) -> io::Error {
    io::Error::new(io::ErrorKind::NotFound, format!("there is no interface {link}"))
}

/// The name of an interface index, or, when it has none, one that no interface can have.
fn indexed_name(ifindex: u32, name_of: &dyn Fn(u32) -> Option<String>) -> String {
    name_of(ifindex).unwrap_or_else(|| format!("/{ifindex}"))
}

fn unnamed_index(link: &str) -> Option<u32> {
    link.strip_prefix('/')?.parse().ok()
}

const fn fdb_key(network: u32, mac: [u8; 6]) -> FdbKey {
    FdbKey { network, mac, pad: [0; 2] }
}

const fn port_of(value: &endpoint::Port) -> Port {
    let endpoint::Port { ipv4, ipv6, gateway4, gateway6, network, endpoint, flags, mac, gateway_mac, pool4, pool6 } =
        *value;
    Port { network, endpoint, flags, ipv4, ipv6, gateway4, gateway6, mac, gateway_mac, pool4, pool6 }
}

const fn port_value(port: &Port) -> endpoint::Port {
    let Port { network, endpoint, flags, ipv4, ipv6, gateway4, gateway6, mac, gateway_mac, pool4, pool6 } = *port;
    endpoint::Port { ipv4, ipv6, gateway4, gateway6, network, endpoint, flags, mac, gateway_mac, pool4, pool6 }
}
