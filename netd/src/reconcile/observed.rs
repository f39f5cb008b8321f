//! What does the kernel contain now?

use super::op::Op;
use super::target::{Attachment, Link, Route, Target};
use crate::model::prefix::Prefixes;
use std::path::Path;

/// What was read of the kernel: the same shape as [`Target`], but another type, so that the two arguments of `plan`
/// cannot be swapped.
///
/// An entry whose interface is gone has the link name `""` in its value. One whose *key* is the interface has a key that
/// no link can have, such as `"#17"`, and so has the path of a name server whose namespace is not known; the kernel
/// adapter knows what it means when it is asked to remove it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Observed(pub Target);

impl Observed {
    /// Shares large parts that are equal with `target`, so that the next comparison need not read them.
    pub fn share(&mut self, target: &Target) {
        let Self(now) = self;
        if now.blocked == target.blocked {
            now.blocked.clone_from(&target.blocked);
        }
        for (number, list) in &mut now.allowed {
            if let Some(wanted) = target.allowed.get(number).filter(|wanted| *wanted == list) {
                list.clone_from(wanted);
            }
        }
    }

    /// What a step that succeeded has changed. It saves looking again after each.
    pub fn apply(&mut self, op: &Op) {
        let Self(now) = self;
        match op {
            Op::RemovePublish(key) => drop(now.publishes.remove(key)),
            Op::RemoveEndpoint(key) => drop(now.endpoints.remove(key)),
            Op::RemovePort(link) => drop(now.ports.remove(link)),
            Op::RemoveFdb(network, mac) => drop(now.fdb.remove(&(*network, *mac))),
            Op::RemoveLocalAddress(address) => drop(now.local_addresses.remove(address)),
            Op::RemoveUplink(name) => drop(now.uplinks.remove(name)),
            Op::CloseNames(path) => drop(now.names.remove(path)),
            Op::OpenNames(path) => drop(now.names.insert(path.clone())),
            // Flows come and go by themselves; nobody plans them.
            Op::PurgeFlows(_) | Op::PurgeSources(_) => {}
            Op::Detach(attachment) => {
                now.attachments.remove(attachment);
                now.stale_attachments.remove(attachment);
            }
            Op::DeleteRoute(prefix) => drop(now.routes.remove(prefix)),
            Op::DeleteGateway(gateway) => drop(now.gateways.remove(gateway)),
            Op::DeleteLink(link) => delete_link(now, link),
            Op::DeleteVlan(name) => delete_vlan(now, name),
            Op::SetVlan(name, vlan) => drop(now.vlans.insert(name.clone(), vlan.clone())),
            Op::DeleteNamespace(path) => delete_namespace(now, path),
            Op::CreateNamespace(path, sandbox) => drop(now.namespaces.insert(path.clone(), sandbox.clone())),
            Op::CreateLink(name, link) => {
                let mut bare = link.clone();
                bare.addresses.clear();
                bare.default_routes.clear();
                now.links.insert(name.clone(), bare);
            }
            Op::ConfigureLink(name, link) => drop(now.links.insert(name.clone(), link.clone())),
            Op::AddGateway(gateway) => drop(now.gateways.insert(*gateway)),
            Op::SetRoute(prefix, route) => drop(now.routes.insert(*prefix, route.clone())),
            Op::Attach(attachment) => drop(now.attachments.insert(attachment.clone())),
            Op::SetUplink(name, gateway) => drop(now.uplinks.insert(name.clone(), *gateway)),
            Op::SetLocalAddress(address) => drop(now.local_addresses.insert(*address)),
            Op::SetPort(link, port) => drop(now.ports.insert(link.clone(), port.clone())),
            Op::SetFdb(network, mac, entry) => drop(now.fdb.insert((*network, *mac), entry.clone())),
            Op::SetEndpoint(key, entry) => drop(now.endpoints.insert(*key, entry.clone())),
            Op::Allow(list, prefixes) => now.allowed.entry(*list).or_default().change().extend(prefixes.iter()),
            Op::SetPublish(key, publish) => drop(now.publishes.insert(*key, *publish)),
            Op::SetTimeouts(network, timeouts) => drop(now.timeouts.insert(*network, *timeouts)),
            Op::RemoveTimeouts(network) => drop(now.timeouts.remove(network)),
            Op::SetPooled(key, address) => drop(now.snat_pools.insert(*key, *address)),
            Op::RemovePooled(key) => drop(now.snat_pools.remove(key)),
            Op::Block(prefixes) => now.blocked.change().extend(prefixes.iter()),
            Op::Disallow(list, prefixes) => disallow(now, *list, prefixes),
            Op::Unblock(prefixes) => remove_all(&mut now.blocked, prefixes),
            Op::Renew(attachment) => drop(now.stale_attachments.remove(attachment)),
        }
    }
}

/// A list with nobody on it is none.
fn disallow(now: &mut Target, list: u32, prefixes: &Prefixes) {
    if let Some(present) = now.allowed.get_mut(&list) {
        remove_all(present, prefixes);
    }
    now.allowed.retain(|_, present| !present.is_empty());
}

fn remove_all(from: &mut Prefixes, prefixes: &Prefixes) {
    let from = from.change();
    for prefix in prefixes.iter() {
        from.remove(prefix);
    }
}

/// A link takes its programs and routes along; the entries that name its index stay, and name nothing.
fn delete_link(now: &mut Target, link: &str) {
    now.links.remove(link);
    let attachment = Attachment::ContainerEgress(link.to_owned());
    now.attachments.remove(&attachment);
    now.stale_attachments.remove(&attachment);
    now.routes.retain(|_, route| match route {
        Route::Endpoint { link: over, .. } => over != link,
        Route::Unreachable => true,
    });
    for entry in now.endpoints.values_mut().filter(|entry| entry.link == link) {
        entry.link.clear();
    }
    for entry in now.fdb.values_mut().filter(|entry| entry.link == link) {
        entry.link.clear();
    }
    if let Some(port) = now.ports.remove(link) {
        now.ports.insert(format!("#{link}"), port);
    }
}

/// A sub-interface takes what stands on its wire along.
fn delete_vlan(now: &mut Target, name: &str) {
    now.vlans.remove(name);
    let on_it = |link: &Link| link.kind.parent().is_some_and(|parent| parent == name);
    let gone: Vec<_> = now.links.iter().filter(|(_, link)| on_it(link)).map(|(name, _)| name.clone()).collect();
    for link in gone {
        delete_link(now, &link);
    }
}

/// A veth pair ends with the namespace of either side.
fn delete_namespace(now: &mut Target, path: &Path) {
    now.namespaces.remove(path);
    now.names.remove(path);
    let gone: Vec<_> =
        now.links.iter().filter(|(_, link)| link.namespace == path).map(|(name, _)| name.clone()).collect();
    for link in gone {
        delete_link(now, &link);
    }
}
