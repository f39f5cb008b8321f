//! How do containers stand on the wire of one of the host's own interfaces?
//!
//! With macvlan each has a MAC address of its own there, with ipvlan all have the interface's. netd's programs see none of
//! it: the host's kernel hands the frames over below them.

use super::node::{Interface, NodeFacts};
use serde::{Deserialize, Serialize};
use std::fmt;

/// Bytes that the kernel leaves for the name of an interface (`IFNAMSIZ`, less the terminator).
pub const INTERFACE_NAME_SIZE_MAX: usize = 15;
/// Numbers of VLANs (IEEE 802.1Q): 0 is none, 4095 is reserved.
pub const VLAN_IDS: std::ops::RangeInclusive<u16> = 1..=4094;

/// Which frames a macvlan interface sees. As the kernel's modes of the same names.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum MacvlanMode {
    /// Frames between containers of one parent go from one to the other.
    Bridge,
    /// They leave by the parent, and a switch that reflects sends them back.
    Vepa,
    /// As vepa, and those that come back are dropped.
    Private,
    /// One container has the parent to itself, and its MAC address.
    Passthru,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum IpvlanMode {
    /// Containers ask the wire for addresses, and are asked.
    L2,
    /// The parent routes for them: no broadcast, no ARP, and what is outside needs a route to them by the host.
    L3,
}

/// How the containers of a network share the wire of their parent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Wire {
    Macvlan(MacvlanMode),
    Ipvlan(IpvlanMode),
}

impl Wire {
    /// Whether a container has the parent's MAC address, and not one of its own.
    #[must_use]
    pub const fn has_parents_mac(self) -> bool {
        match self {
            Self::Ipvlan(_) | Self::Macvlan(MacvlanMode::Passthru) => true,
            Self::Macvlan(MacvlanMode::Bridge | MacvlanMode::Vepa | MacvlanMode::Private) => false,
        }
    }

    /// Whether nobody else can be on the parent.
    #[must_use]
    pub fn is_alone(self) -> bool {
        self == Self::Macvlan(MacvlanMode::Passthru)
    }

    #[must_use]
    pub const fn driver(self) -> LinkDriver {
        match self {
            Self::Macvlan(_) => LinkDriver::Macvlan,
            Self::Ipvlan(_) => LinkDriver::Ipvlan,
        }
    }
}

/// The interface on whose wire the containers of a network are.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Parent {
    pub interface: String,
    /// What netd makes the interface of, where it is not there by itself; none: it was there when the network was made.
    pub vlan: Option<Vlan>,
    pub wire: Wire,
}

/// A VLAN of an interface.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Vlan {
    pub of: String,
    /// One of [`VLAN_IDS`].
    pub id: u16,
}

impl Vlan {
    /// The VLAN that a name such as `eth0.20` stands for; none: the name has no such form.
    #[must_use]
    pub fn of_name(name: &str) -> Option<Self> {
        let (of, id) = name.rsplit_once('.')?;
        let id = id.parse().ok().filter(|number: &u16| VLAN_IDS.contains(number) && number.to_string() == id)?;
        (!of.is_empty()).then(|| Self { of: of.to_owned(), id })
    }
}

impl Parent {
    /// What the node knows of it, or of the interface that it is a VLAN of; none: neither is there.
    #[must_use]
    pub fn on<'a>(&self, facts: &'a NodeFacts) -> Option<&'a Interface> {
        facts.interfaces.get(&self.interface).or_else(|| facts.interfaces.get(&self.vlan.as_ref()?.of))
    }

    /// The VLAN that netd has to make on this node for it to be there.
    #[must_use]
    pub fn made_on(&self, facts: &NodeFacts) -> Option<&Vlan> {
        let vlan = self.vlan.as_ref()?;
        (!facts.interfaces.contains_key(&self.interface) && facts.interfaces.contains_key(&vlan.of)).then_some(vlan)
    }
}

/// A kind of interface that a kernel may lack.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum LinkDriver {
    Macvlan,
    Ipvlan,
    Vlan,
}

impl LinkDriver {
    pub const ALL: [Self; 3] = [Self::Macvlan, Self::Ipvlan, Self::Vlan];

    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Macvlan => "macvlan",
            Self::Ipvlan => "ipvlan",
            Self::Vlan => "vlan",
        }
    }
}

impl fmt::Display for LinkDriver {
    /// That there is none, and what to do.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (what, module, setting) = match self {
            Self::Macvlan => ("macvlan interfaces", "macvlan", "CONFIG_MACVLAN"),
            Self::Ipvlan => ("ipvlan interfaces", "ipvlan", "CONFIG_IPVLAN"),
            Self::Vlan => ("VLAN sub-interfaces", "8021q", "CONFIG_VLAN_8021Q"),
        };
        write!(
            f,
            "the kernel has no driver for {what}; load the module {module} (modprobe {module}), or use a kernel with \
             {setting}"
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_with_a_number_behind_a_dot_is_a_vlan() {
        let vlan = |name: &str| Vlan::of_name(name).map(|vlan| (vlan.of, vlan.id));
        assert_eq!(vlan("eth0.20"), Some(("eth0".to_owned(), 20)));
        assert_eq!(vlan("eth0.20.4094"), Some(("eth0.20".to_owned(), 4094)));
        for name in ["eth0", "eth0.", ".20", "eth0.0", "eth0.4095", "eth0.020", "eth0.+2", "eth0.x"] {
            assert_eq!(vlan(name), None, "{name}");
        }
    }

    #[test]
    fn a_missing_driver_says_what_to_load() {
        assert_eq!(
            LinkDriver::Vlan.to_string(),
            "the kernel has no driver for VLAN sub-interfaces; load the module 8021q (modprobe 8021q), or use a kernel \
             with CONFIG_VLAN_8021Q"
        );
    }
}
