//! Which interface of the host may a network have as its parent, and who may be on it?

use super::network::bad;
use crate::model::command::{Context, NetworkSpec};
use crate::model::options::NetworkOptions;
use crate::model::parent::{INTERFACE_NAME_SIZE_MAX, IpvlanMode, LinkDriver, MacvlanMode, Parent, Vlan, Wire};
use crate::model::refusal::Refusal;
use crate::model::state::{Driver, MTU_MIN_V6, Mac, Network, State};
use ipnetwork::IpNetwork;

impl NetworkSpec {
    /// The drivers that the kernel may lack and that this network takes.
    #[must_use]
    pub fn link_drivers(&self) -> Vec<LinkDriver> {
        let own = match self.driver {
            Driver::Macvlan => LinkDriver::Macvlan,
            Driver::Ipvlan => LinkDriver::Ipvlan,
            Driver::Bridge | Driver::Host | Driver::None => return Vec::new(),
        };
        let parent = self.parent.as_ref().or_else(|| self.options.get("parent"));
        let vlan = parent.and_then(|name| Vlan::of_name(name)).map(|_| LinkDriver::Vlan);
        [own].into_iter().chain(vlan).collect()
    }
}

impl State {
    /// The parent that was asked for; none where the driver has none.
    pub(super) fn parent_of(&self, spec: &NetworkSpec, context: &Context) -> Result<Option<Parent>, Refusal> {
        let options = NetworkOptions::parse(&spec.options).map_err(|error| bad(spec, error.to_string()))?;
        let Some(wire) = wire_of(spec, &options)? else { return Ok(None) };
        let interface = interface_of(spec, &options)?;
        refuse_what_means_nothing(spec, &options, wire)?;
        let missing = |driver| {
            let missing = context.missing_drivers.contains(&driver);
            let refusal = || Refusal::NoDriver { network: spec.name.clone(), missing: driver };
            if missing { Err(refusal()) } else { Ok(()) }
        };
        missing(wire.driver())?;
        let interfaces = &context.facts.interfaces;
        let parent = match Vlan::of_name(&interface).filter(|vlan| interfaces.contains_key(&vlan.of)) {
            _ if interfaces.contains_key(&interface) => Parent { interface, vlan: None, wire },
            Some(vlan) => {
                missing(LinkDriver::Vlan)?;
                if interface.len() > INTERFACE_NAME_SIZE_MAX {
                    let what = format!("{interface} is longer than the {INTERFACE_NAME_SIZE_MAX} bytes of a name");
                    return Err(bad(spec, format!("{what}; make the VLAN yourself, under a shorter one")));
                }
                Parent { interface, vlan: Some(vlan), wire }
            }
            None => {
                let has = interfaces.keys().cloned().collect();
                return Err(Refusal::NoParent { network: spec.name.clone(), parent: interface, has });
            }
        };
        self.check_sharing(&parent)?;
        let most = parent.on(&context.facts).map_or(u32::MAX, |interface| interface.mtu);
        let (interface, has_ipv6) = (&parent.interface, spec.ipv6 || spec.subnets.iter().any(IpNetwork::is_ipv6));
        match spec.mtu {
            Some(mtu) if mtu > most => Err(bad(spec, format!("MTU {mtu} is more than the {most} of {interface}"))),
            _ if has_ipv6 && most < MTU_MIN_V6 => Err(bad(
                spec,
                format!("the MTU of {interface}, {most}, is too little for IPv6, which needs {MTU_MIN_V6}"),
            )),
            Some(_) | None => Ok(Some(parent)),
        }
    }

    /// Whether a network may be on this parent beside those that are.
    fn check_sharing(&self, parent: &Parent) -> Result<(), Refusal> {
        for network in self.networks.values() {
            let Some(other) = network.parent.as_ref().filter(|other| other.interface == parent.interface) else {
                continue;
            };
            let why = if parent.wire.is_alone() {
                "and passthru takes it alone"
            } else if other.wire.is_alone() {
                "which takes it alone, as passthru"
            } else if other.wire.driver() != parent.wire.driver() {
                "by another driver, and the kernel takes one"
            } else {
                continue;
            };
            return Err(Refusal::ParentInUse { parent: parent.interface.clone(), other: network.name.clone(), why });
        }
        Ok(())
    }

    /// Whether a container may be plugged into a network now, as far as that is its parent's matter.
    pub(super) fn check_wire(&self, network: &str, mac: Option<Mac>) -> Result<(), Refusal> {
        let Network { name, parent: Some(parent), .. } = self.network(network)? else { return Ok(()) };
        if mac.is_some() && parent.wire.has_parents_mac() {
            return Err(Refusal::MacOfParent { network: name.clone() });
        }
        let mut others = self.containers.values().filter(|container| {
            parent.wire.is_alone() && container.endpoints.iter().any(|endpoint| endpoint.network == *name)
        });
        match others.next() {
            Some(other) => Err(Refusal::ParentTaken { network: name.clone(), container: other.name.clone() }),
            None => Ok(()),
        }
    }
}

/// How the containers would share the wire; none: their driver has no parent.
fn wire_of(spec: &NetworkSpec, options: &NetworkOptions) -> Result<Option<Wire>, Refusal> {
    let given = [
        ("macvlan_mode", options.macvlan_mode.is_some(), Driver::Macvlan),
        ("ipvlan_mode", options.ipvlan_mode.is_some(), Driver::Ipvlan),
        ("ipvlan_flag", options.ipvlan_flag.is_some(), Driver::Ipvlan),
    ];
    if let Some((option, ..)) = given.into_iter().find(|&(_, is_given, driver)| is_given && driver != spec.driver) {
        return Err(bad(
            spec,
            format!("{option} is an option of another driver; leave it out, or name that with --driver"),
        ));
    }
    match spec.driver {
        Driver::Macvlan => Ok(Some(Wire::Macvlan(options.macvlan_mode.unwrap_or(MacvlanMode::Bridge)))),
        Driver::Ipvlan => Ok(Some(Wire::Ipvlan(options.ipvlan_mode.unwrap_or(IpvlanMode::L2)))),
        Driver::Bridge if spec.parent.is_some() || options.parent.is_some() => {
            Err(bad(spec, "only networks of the drivers macvlan and ipvlan have a parent; leave it out".to_owned()))
        }
        Driver::Bridge => Ok(None),
        Driver::Host | Driver::None => {
            Err(bad(spec, "a network is made with the driver bridge, macvlan or ipvlan".to_owned()))
        }
    }
}

fn interface_of(spec: &NetworkSpec, options: &NetworkOptions) -> Result<String, Refusal> {
    match (&spec.parent, &options.parent) {
        (Some(one), Some(other)) if one != other => {
            Err(bad(spec, format!("--parent {one} and the option parent={other} are two; name one")))
        }
        (Some(interface), _) | (None, Some(interface)) => Ok(interface.clone()),
        (None, None) => {
            let what = "it needs a parent, the interface of the host on whose wire its containers are; name it with \
                        --parent, such as eth0, or eth0.20 for VLAN 20 of it";
            Err(bad(spec, what.to_owned()))
        }
    }
}

/// What is said of a network whose packets netd's programs carry.
fn refuse_what_means_nothing(spec: &NetworkSpec, options: &NetworkOptions, wire: Wire) -> Result<(), Refusal> {
    let cases = [
        (
            spec.internal,
            "--internal",
            "its containers are on the parent's wire; for a network that leads nowhere take the driver bridge",
        ),
        (
            spec.no_icc && wire.driver() == LinkDriver::Macvlan,
            "--no-icc",
            "take --opt macvlan_mode=private to keep its containers apart",
        ),
        (spec.no_icc, "--no-icc", "the kernel does not keep containers with one MAC address apart"),
        (spec.no_masquerade, "--no-masquerade", "nothing is masqueraded there"),
        (options.timeouts.is_some(), "an option timeout-…", "netd tracks no connections there"),
        (!options.snat_pool.is_empty(), "snat-pool", "nothing is masqueraded there"),
    ];
    match cases.into_iter().find(|(is_given, ..)| *is_given) {
        Some((_, option, why)) => Err(bad(spec, format!("{option} has no meaning on the wire of an interface: {why}"))),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests;
