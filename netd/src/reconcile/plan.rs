//! Which steps lead from what the kernel holds to what it should hold?
//!
//! A comparison, map by map. Two things make it more than that. A link that is made again has another interface index,
//! so everything that names it is written again, whatever it says now (`Links`). And what was removed may still have
//! flows, which are then forgotten (`purges`).

use super::observed::Observed;
use super::op::{FlowSelector, Op};
use super::target::{Attachment, Link, LinkName, Route, Target, Vlan};
use crate::joined::{differing, joined};
use crate::model::prefix::Prefixes;
use netd_common::Addr;
use netd_common::publish::Publish;
use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::path::PathBuf;

/// The steps, in the order of their phases; none when all is as it should be.
#[must_use]
pub fn plan(target: &Target, observed: &Observed) -> Vec<Op> {
    let Observed(now) = observed;
    let links = Links::compare(target, now);
    let mut ops = Vec::new();
    remove_entries(&mut ops, target, now, &links);
    let selectors = purges(target, now, &links);
    if !selectors.is_empty() {
        ops.push(Op::PurgeFlows(selectors.into_iter().collect()));
    }
    take_down(&mut ops, target, now, &links);
    set_up(&mut ops, target, now, &links);
    upsert_entries(&mut ops, target, now, &links);
    ops
}

/// What becomes of the links.
#[derive(Default)]
struct Links<'a> {
    deleted: BTreeSet<&'a str>,
    created: BTreeSet<&'a str>,
    /// VLAN sub-interfaces that go.
    vlans: BTreeSet<&'a str>,
}

impl<'a> Links<'a> {
    fn compare(target: &'a Target, now: &'a Target) -> Self {
        // A namespace that goes or comes is not the one that the link was seen in, even if the path is the same.
        let exchanged: BTreeSet<_> = differing(&target.namespaces, &now.namespaces).map(|(path, _, _)| path).collect();
        let stays = |link: &Link| exchanged.is_empty() || !exchanged.contains(&link.namespace);
        let goes = |name: &LinkName, vlan: &Vlan| {
            !target.vlans.get(name).is_some_and(|wanted| wanted.of == vlan.of && wanted.id == vlan.id)
        };
        let vlans: BTreeSet<&str> =
            now.vlans.iter().filter(|(name, vlan)| goes(name, vlan)).map(|(name, _)| name.as_str()).collect();
        let is_held = |link: &Link| !link.kind.parent().is_some_and(|parent| vlans.contains(parent.as_str()));
        let same = |a: &Link, b: &Link| {
            a.namespace == b.namespace && a.interface == b.interface && a.kind.is_as(&b.kind) && stays(a) && is_held(b)
        };
        let mut links = Self { vlans: vlans.clone(), ..Self::default() };
        for (name, link) in &now.links {
            if !target.links.get(name).is_some_and(|wanted| same(wanted, link)) {
                links.deleted.insert(name);
            }
        }
        for name in target.links.keys() {
            if !now.links.contains_key(name) || links.deleted.contains(name.as_str()) {
                links.created.insert(name);
            }
        }
        links
    }

    /// Whether what names this link now, names another than it should.
    fn renews(&self, name: &str) -> bool {
        self.deleted.contains(name) || self.created.contains(name)
    }

    fn renews_route(&self, route: &Route) -> bool {
        match route {
            Route::Endpoint { link, .. } => self.renews(link),
            Route::Unreachable => false,
        }
    }

    fn deletes(&self, attachment: &Attachment) -> bool {
        match attachment {
            Attachment::ContainerEgress(link) => self.deleted.contains(link.as_str()),
            Attachment::UplinkIngress(_)
            | Attachment::UplinkEgress(_)
            | Attachment::XdpGuard(_)
            | Attachment::SockAddr(_) => false,
        }
    }

    fn renews_attachment(&self, attachment: &Attachment) -> bool {
        match attachment {
            Attachment::ContainerEgress(link) => self.renews(link),
            Attachment::UplinkIngress(_)
            | Attachment::UplinkEgress(_)
            | Attachment::XdpGuard(_)
            | Attachment::SockAddr(_) => false,
        }
    }
}

fn remove_entries(ops: &mut Vec<Op>, target: &Target, now: &Target, links: &Links<'_>) {
    ops.extend(removed(&target.publishes, &now.publishes, |_, _| false).map(|key| Op::RemovePublish(*key)));
    let stale = removed(&target.endpoints, &now.endpoints, |_, entry| links.renews(&entry.link));
    ops.extend(stale.map(|key| Op::RemoveEndpoint(*key)));
    let stale = removed(&target.ports, &now.ports, |link, _| links.renews(link));
    ops.extend(stale.map(|link| Op::RemovePort(link.clone())));
    let stale = removed(&target.fdb, &now.fdb, |_, entry| links.renews(&entry.link));
    ops.extend(stale.map(|&(network, mac)| Op::RemoveFdb(network, mac)));
    ops.extend(removed(&target.uplinks, &now.uplinks, |_, _| false).map(|name| Op::RemoveUplink(name.clone())));
    ops.extend(now.names.difference(&target.names).cloned().map(Op::CloseNames));
}

/// The flows of endpoints that are gone or get another link, and of published ports that are gone or lead elsewhere.
fn purges(target: &Target, now: &Target, links: &Links<'_>) -> BTreeSet<FlowSelector> {
    let numbers = |of: &Target, counts: &dyn Fn(&LinkName) -> bool| -> BTreeSet<u32> {
        let ports = of.ports.iter().map(|(link, port)| (link, port.endpoint));
        let endpoints = of.endpoints.values().map(|entry| (&entry.link, entry.endpoint));
        ports.chain(endpoints).filter(|(link, _)| counts(link)).map(|(_, endpoint)| endpoint).collect()
    };
    let live = numbers(target, &|link| !links.renews(link));
    let gone = numbers(now, &|_| true).into_iter().filter(|endpoint| !live.contains(endpoint));
    let publishes = joined(&target.publishes, &now.publishes).filter_map(|(key, wanted, present)| {
        // To whom a port is open is asked of new flows alone.
        let leads_to = |publish: &Publish| Publish { allow: 0, ..*publish };
        let endpoint = present.filter(|&present| wanted.map(leads_to) != Some(leads_to(present)))?.endpoint;
        Some(FlowSelector::Publish { key: *key, endpoint })
    });
    gone.map(FlowSelector::Endpoint).chain(publishes).collect()
}

fn take_down(ops: &mut Vec<Op>, target: &Target, now: &Target, links: &Links<'_>) {
    // A link that is deleted takes its program along, and not before: its container is never let past the program.
    let stale = now.attachments.difference(&target.attachments).filter(|attachment| !links.deletes(attachment));
    ops.extend(stale.cloned().map(Op::Detach));
    ops.extend(removed(&target.routes, &now.routes, |_, _| false).map(|prefix| Op::DeleteRoute(*prefix)));
    ops.extend(now.gateways.difference(&target.gateways).map(|&gateway| Op::DeleteGateway(gateway)));
    ops.extend(links.deleted.iter().map(|&name| Op::DeleteLink(name.to_owned())));
    ops.extend(links.vlans.iter().map(|&name| Op::DeleteVlan(name.to_owned())));
    // One of another container goes, too, and another is made at its path.
    let stale = now.namespaces.iter().filter(|&(path, sandbox)| target.namespaces.get(path) != Some(sandbox));
    ops.extend(stale.map(|(path, _)| Op::DeleteNamespace(path.clone())));
}

fn set_up(ops: &mut Vec<Op>, target: &Target, now: &Target, links: &Links<'_>) {
    let missing = upserted(&target.namespaces, &now.namespaces, |_, _| false);
    ops.extend(missing.map(|(path, sandbox)| Op::CreateNamespace(path.clone(), sandbox.clone())));
    let vlans = upserted(&target.vlans, &now.vlans, |_, _| false);
    ops.extend(vlans.map(|(name, vlan)| Op::SetVlan(name.clone(), vlan.clone())));
    let created = target.links.iter().filter(|(name, _)| links.created.contains(name.as_str()));
    ops.extend(created.map(|(name, link)| Op::CreateLink(name.clone(), link.clone())));
    ops.extend(
        upserted(&target.timeouts, &now.timeouts, |_, _| false).map(|(&network, own)| Op::SetTimeouts(network, *own)),
    );
    let pooled = upserted(&target.snat_pools, &now.snat_pools, |_, _| false);
    ops.extend(pooled.map(|(key, address)| Op::SetPooled(*key, *address)));
    let ports = upserted(&target.ports, &now.ports, |link, _| links.renews(link));
    ops.extend(ports.map(|(link, port)| Op::SetPort(link.clone(), port.clone())));
    let missing = target
        .attachments
        .iter()
        .filter(|&attachment| !now.attachments.contains(attachment) || links.renews_attachment(attachment));
    ops.extend(missing.cloned().map(Op::Attach));
    let configured = upserted(&target.links, &now.links, |name, _| links.created.contains(name.as_str()));
    ops.extend(configured.map(|(name, link)| Op::ConfigureLink(name.clone(), link.clone())));
    ops.extend(target.gateways.difference(&now.gateways).map(|&gateway| Op::AddGateway(gateway)));
    let routes = upserted(&target.routes, &now.routes, |_, route| links.renews_route(route));
    ops.extend(routes.map(|(prefix, route)| Op::SetRoute(*prefix, route.clone())));
}

/// Endpoints and published ports last: what is announced answers.
fn upsert_entries(ops: &mut Vec<Op>, target: &Target, now: &Target, links: &Links<'_>) {
    let uplinks = upserted(&target.uplinks, &now.uplinks, |_, _| false);
    ops.extend(uplinks.map(|(name, gateway)| Op::SetUplink(name.clone(), *gateway)));
    // One that listens in a namespace of the same path that is gone does not listen in the new one.
    let is_other = |path: &PathBuf| target.namespaces.get(path) != now.namespaces.get(path);
    let deaf = target.names.iter().filter(|path| !now.names.contains(*path) || is_other(path));
    ops.extend(deaf.cloned().map(Op::OpenNames));
    ops.extend(target.local_addresses.difference(&now.local_addresses).map(|&address| Op::SetLocalAddress(address)));
    let fdb = upserted(&target.fdb, &now.fdb, |_, entry| links.renews(&entry.link));
    ops.extend(fdb.map(|(&(network, mac), entry)| Op::SetFdb(network, mac, entry.clone())));
    let endpoints = upserted(&target.endpoints, &now.endpoints, |_, entry| links.renews(&entry.link));
    ops.extend(endpoints.map(|(key, entry)| Op::SetEndpoint(*key, entry.clone())));
    // Before the ports that name them.
    for (list, wanted) in &target.allowed {
        let more = surplus(wanted, now.allowed.get(list));
        ops.extend((!more.is_empty()).then_some(Op::Allow(*list, more)));
    }
    let publishes = upserted(&target.publishes, &now.publishes, |_, _| false);
    ops.extend(publishes.map(|(key, publish)| Op::SetPublish(*key, *publish)));
    let more = surplus(&target.blocked, Some(&now.blocked));
    ops.extend((!more.is_empty()).then_some(Op::Block(more)));
    ops.extend(removed(&target.timeouts, &now.timeouts, |_, _| false).map(|&network| Op::RemoveTimeouts(network)));
    // The ports count fewer by now.
    ops.extend(removed(&target.snat_pools, &now.snat_pools, |_, _| false).map(|key| Op::RemovePooled(*key)));
    retire_addresses(ops, target, now);
    retire_sources(ops, target, now);
    // A former version's programs go on with their own maps until the new ones are filled.
    ops.extend(now.stale_attachments.intersection(&target.attachments).cloned().map(Op::Renew));
}

/// Addresses that the host has no more, and the flows that took one of them: as netfilter's MASQUERADE has it, their
/// answers would go astray, and a flow that goes on is opened anew with an address that is there.
fn retire_addresses(ops: &mut Vec<Op>, target: &Target, now: &Target) {
    let gone: Vec<Addr> = now.local_addresses.difference(&target.local_addresses).copied().collect();
    // No flow takes a gateway's, and a look for such costs a walk over the table.
    let is_gateway = |address: &Addr| now.gateways.contains(&IpAddr::from(*address));
    let sources: Vec<Addr> = gone.iter().filter(|address| !is_gateway(address)).copied().collect();
    if !sources.is_empty() {
        ops.push(Op::PurgeSources(sources));
    }
    ops.extend(gone.into_iter().map(Op::RemoveLocalAddress));
}

/// When nothing names them any more.
fn retire_sources(ops: &mut Vec<Op>, target: &Target, now: &Target) {
    for (list, present) in &now.allowed {
        let less = surplus(present, target.allowed.get(list));
        ops.extend((!less.is_empty()).then_some(Op::Disallow(*list, less)));
    }
    let less = surplus(&now.blocked, Some(&target.blocked));
    ops.extend((!less.is_empty()).then_some(Op::Unblock(less)));
}

/// What `one` has and `other` lacks. There may be very many, and nearly always both are one and the same.
fn surplus(one: &Prefixes, other: Option<&Prefixes>) -> Prefixes {
    match other {
        Some(other) if one.is_shared_with(other) => Prefixes::default(),
        Some(other) => one.difference(other).copied().collect(),
        None => one.clone(),
    }
}

/// The keys of `now` that `target` lacks, or whose present value is `stale` although it may look right.
fn removed<'a, K: Ord, V>(
    target: &'a BTreeMap<K, V>,
    now: &'a BTreeMap<K, V>,
    stale: impl Fn(&K, &V) -> bool + 'a,
) -> impl Iterator<Item = &'a K> {
    joined(target, now).filter_map(move |(key, wanted, present)| match (wanted, present) {
        (None, Some(_)) => Some(key),
        (Some(_), Some(present)) => stale(key, present).then_some(key),
        (_, None) => None,
    })
}

/// The entries of `target` that `now` lacks or has otherwise, or that are to be written `anew` whatever `now` has.
fn upserted<'a, K: Ord, V: PartialEq>(
    target: &'a BTreeMap<K, V>,
    now: &'a BTreeMap<K, V>,
    anew: impl Fn(&K, &V) -> bool + 'a,
) -> impl Iterator<Item = (&'a K, &'a V)> {
    joined(target, now).filter_map(move |(key, wanted, present)| {
        let wanted = wanted?;
        (present != Some(wanted) || anew(key, wanted)).then_some((key, wanted))
    })
}

#[cfg(test)]
mod tests;
