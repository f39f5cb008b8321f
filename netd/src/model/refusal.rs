//! Why is a command refused, in the words that the user reads?

use super::family::Family;
use super::name::{NAME_SIZE_MAX, NameError};
use super::node::Ipv6;
use super::parent::LinkDriver;
use super::prefix::Prefix;
use super::state::{Mac, NETWORKS_MAX, Protocol};
use ipnetwork::IpNetwork;
use netd_common::limits::BLOCKED_MAX;
use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;

/// Why a command was refused: one line that says what, why and what to do.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    #[error("{kind} name \"{}\" {reason}; use letters, digits, '_', '.' and '-', a letter or digit first, at most {NAME_SIZE_MAX}", name.escape_debug())]
    BadName { kind: Kind, name: String, reason: NameError },

    #[error("no container named \"{}\"; {}", name.escape_debug(), did_you_mean(nearest.as_deref(), "netctl container ls"))]
    UnknownContainer { name: String, nearest: Option<String> },

    #[error("no network named \"{}\"; {}", name.escape_debug(), did_you_mean(nearest.as_deref(), "netctl network ls"))]
    UnknownNetwork { name: String, nearest: Option<String> },

    #[error("there is a {kind} named \"{name}\" already; choose another name or remove it first")]
    NameTaken { kind: Kind, name: String },

    #[error(
        "a network namespace named \"{name}\" exists already and is not taken over; choose another name, or pass its path with --netns to use it"
    )]
    NamespaceExists { name: String },

    #[error("the namespace {} is used by container \"{container}\" already; remove that first", path.display())]
    NamespaceInUse { path: PathBuf, container: String },

    #[error("there is no network namespace at {}; make it first, or leave --netns out and netd makes one", path.display())]
    NoNamespace { path: PathBuf },

    #[error("{} is the host's own network namespace; use --network host", path.display())]
    HostNamespace { path: PathBuf },

    #[error("the namespace path \"{}\" is not absolute; write it from the root, such as /run/netns/web", path.display())]
    RelativeNamespace { path: PathBuf },

    #[error("port {}/{protocol} is already published by container \"{container}\"{}; unpublish that first or choose another port",
        SocketAddr::new(*host_ip, *host_port), published_as(*host_ip, *host_port, *existing_ip))]
    PortPublished { host_ip: IpAddr, host_port: u16, protocol: Protocol, container: String, existing_ip: IpAddr },

    #[error("port {}/{protocol} is already bound on the host, at {}{}; stop what holds it or choose another port",
        SocketAddr::new(*host_ip, *host_port), SocketAddr::new(*address, *host_port), by_process(process.as_deref(), *inode))]
    PortBound {
        host_ip: IpAddr,
        host_port: u16,
        protocol: Protocol,
        /// What the socket is bound to.
        address: IpAddr,
        /// The socket's inode, by which its process can be found.
        inode: u32,
        /// The process, as `name (pid N)`, once somebody has looked it up.
        process: Option<String>,
    },

    #[error("no {protocol} port of {host_ip} is free to be picked; name one, or unpublish some")]
    NoFreePort { host_ip: IpAddr, protocol: Protocol },

    #[error("the host has no address {address}; it has {}", list(has))]
    NotHostAddress { address: IpAddr, has: Vec<IpAddr> },

    #[error("container \"{container}\" has no address to publish to: {why}")]
    NoAddress { container: String, why: &'static str },

    #[error("{port} of container \"{container}\" is not published; {}", published(has))]
    NotPublished {
        container: String,
        /// As the user would write it.
        port: String,
        /// What is published of this container, as the user would write it.
        has: Vec<String>,
    },

    #[error("{prefix} is not blocked; {}", instead(*prefix, *covering, inside))]
    NotBlocked {
        prefix: Prefix,
        /// The longest prefix on the list that it lies in.
        covering: Option<Prefix>,
        /// Prefixes on the list that lie in it, the first few.
        inside: Vec<Prefix>,
    },

    #[error(
        "the block list takes {BLOCKED_MAX} prefixes: it has {has}, and {more} more do not fit; unblock some, or block \
         shorter prefixes"
    )]
    BlockListFull { has: usize, more: usize },

    #[error("address {address} is outside the subnet {subnet} of network \"{network}\"; choose one inside")]
    AddressOutside { address: IpAddr, network: String, subnet: IpNetwork },

    #[error("address {address} of network \"{network}\" is taken by {by}; choose another or leave it to netd")]
    AddressTaken { address: IpAddr, network: String, by: String },

    #[error("network \"{network}\" has no free address left in {range}; remove containers or make a larger network")]
    AddressesUsedUp { network: String, range: IpNetwork },

    #[error("MAC address {mac} of network \"{network}\" is taken by {by}; choose another with --mac")]
    MacTaken { mac: Mac, network: String, by: String },

    #[error("{mac} is no MAC address of an interface: it is {why}; choose a unicast one, such as 02:00:0a:d0:00:02")]
    BadMac { mac: Mac, why: &'static str },

    #[error("subnet {subnet} overlaps {other}, {whose}; choose another")]
    SubnetOverlaps { subnet: IpNetwork, other: IpNetwork, whose: String },

    #[error(
        "no automatic subnet of {} is free of other networks and of the host's routes; name one with --subnet, or have \
         netd run with another --subnet-pool",
        list(pools)
    )]
    SubnetsUsedUp { pools: Vec<IpNetwork> },

    #[error("network \"{network}\": {what}")]
    BadNetwork { network: String, what: String },

    #[error("network \"{network}\" is in use by {}; disconnect or remove that first", quoted(by))]
    NetworkInUse { network: String, by: Vec<String> },

    #[error("network \"{network}\" is built in and stays")]
    BuiltinNetwork { network: String },

    #[error(
        "{option} needs a network of its own, and \"{network}\" is none; leave {option} out or choose another network"
    )]
    NeedsNetwork { option: &'static str, network: String },

    #[error("\"{network}\" stands alone: a container is either on it or on other networks")]
    NetworkStandsAlone { network: String },

    #[error("network \"{network}\" is named twice; name it once")]
    NetworkTwice { network: String },

    #[error("{option} is given twice for network \"{network}\"; give it once")]
    OptionTwice { option: &'static str, network: String },

    #[error("container \"{container}\" is on network \"{network}\" already; disconnect it first to join it otherwise")]
    AlreadyConnected { container: String, network: String },

    #[error("container \"{container}\" is not on network \"{network}\"; it is on {}", quoted(has))]
    NotConnected { container: String, network: String, has: Vec<String> },

    #[error(
        "container \"{container}\" is on the host's own network, and joins and leaves no other; make it again with --network"
    )]
    OnHostNetwork { container: String },

    #[error(
        "container \"{container}\" has no network of its own, it shares the namespace of \"{other}\"; connect or \
         disconnect that one"
    )]
    SharesNetworks { container: String, other: String },

    #[error(
        "\"{network}\" is no network to join or leave; it is for a container that is made with --network {network}"
    )]
    NotJoinable { network: String },

    #[error(
        "a container is on {NETWORKS_MAX} networks at most, and \"{container}\" would be on more; disconnect it from one"
    )]
    TooManyNetworks { container: String },

    #[error(
        "{option} has no place here: the container shares the namespace of \"{other}\", which has that; leave {option} \
         out, or give it to \"{other}\""
    )]
    SharesNamespace { option: &'static str, other: String },

    #[error("container \"{other}\" itself shares the namespace of \"{end}\"; use --network container:{end}")]
    SharesSharer { other: String, end: String },

    #[error("container \"{other}\" is on the host's own network; use --network host")]
    SharesHost { other: String },

    #[error("network \"{network}\" cannot have IPv6: {why}")]
    Ipv6Unavailable { network: String, why: Ipv6 },

    #[error("network \"{network}\" cannot be made: {missing}")]
    NoDriver { network: String, missing: LinkDriver },

    #[error("network \"{network}\": the host has no Ethernet interface named \"{}\"; it has {}", parent.escape_debug(), list(has))]
    NoParent { network: String, parent: String, has: Vec<String> },

    #[error(
        "interface {parent} is the parent of network \"{other}\" already, {why}; choose another parent, or remove that first"
    )]
    ParentInUse { parent: String, other: String, why: &'static str },

    #[error(
        "network \"{network}\" takes one container, since it is passthru, and has \"{container}\"; disconnect or remove that \
         first"
    )]
    ParentTaken { network: String, container: String },

    #[error("containers of network \"{network}\" have the MAC address of its parent; leave --mac out")]
    MacOfParent { network: String },

    #[error("network \"{network}\" has no {family} subnet for {address}; leave {option} out or choose another network")]
    NoSubnet { network: String, option: &'static str, family: Family, address: IpAddr },

    #[error("{address} is {} address; give it with {instead}", Family::of(*address).with_article())]
    OtherFamily { address: IpAddr, instead: &'static str },

    #[error(
        "{address} is a link-local address, which means nothing without its interface; name another address of the host, or none"
    )]
    LinkLocal { address: IpAddr },

    #[error("{what} is not supported: {why}")]
    Unsupported { what: String, why: &'static str },

    #[error("{option} is given more than {most} times; leave some out")]
    TooMany { option: &'static str, most: usize },

    /// Of several commands, the one that was refused.
    #[error("{what}: {refusal}")]
    Among { what: String, refusal: Box<Self> },

    #[error("all numbers for {what}s are used up; start netd on a new state directory")]
    NumbersUsedUp { what: Kind },
}

/// What a name belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Container,
    Network,
    Alias,
    Host,
    AllowList,
}

impl Refusal {
    /// The same, with the process that holds the socket in the way, if it is one: only the machine knows.
    #[must_use]
    pub fn naming_process(self, process_of: &dyn Fn(u32) -> Option<String>) -> Self {
        match self {
            Self::PortBound { host_ip, host_port, protocol, address, inode, process: _ } => {
                Self::PortBound { host_ip, host_port, protocol, address, inode, process: process_of(inode) }
            }
            Self::Among { what, refusal } => {
                Self::Among { what, refusal: Box::new(refusal.naming_process(process_of)) }
            }
            other => other,
        }
    }

    /// The stable code that the API carries.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::BadName { .. } => "bad_name",
            Self::UnknownContainer { .. } => "unknown_container",
            Self::UnknownNetwork { .. } => "unknown_network",
            Self::NameTaken { .. } => "name_taken",
            Self::NamespaceExists { .. } => "namespace_exists",
            Self::NamespaceInUse { .. } => "namespace_in_use",
            Self::RelativeNamespace { .. } => "relative_namespace",
            Self::NoNamespace { .. } => "no_namespace",
            Self::HostNamespace { .. } => "host_namespace",
            Self::PortPublished { .. } => "port_published",
            Self::PortBound { .. } => "port_bound",
            Self::NoFreePort { .. } => "no_free_port",
            Self::NotHostAddress { .. } => "not_host_address",
            Self::NoAddress { .. } => "no_address",
            Self::NotPublished { .. } => "not_published",
            Self::NotBlocked { .. } => "not_blocked",
            Self::BlockListFull { .. } => "block_list_full",
            Self::AddressOutside { .. } => "address_outside",
            Self::AddressTaken { .. } => "address_taken",
            Self::AddressesUsedUp { .. } => "addresses_used_up",
            Self::MacTaken { .. } => "mac_taken",
            Self::BadMac { .. } => "bad_mac",
            Self::SubnetOverlaps { .. } => "subnet_overlaps",
            Self::SubnetsUsedUp { .. } => "subnets_used_up",
            Self::BadNetwork { .. } => "bad_network",
            Self::NetworkInUse { .. } => "network_in_use",
            Self::BuiltinNetwork { .. } => "builtin_network",
            Self::NeedsNetwork { .. } => "needs_network",
            Self::NetworkStandsAlone { .. } => "network_stands_alone",
            Self::NetworkTwice { .. } => "network_twice",
            Self::OptionTwice { .. } => "option_twice",
            Self::AlreadyConnected { .. } => "already_connected",
            Self::NotConnected { .. } => "not_connected",
            Self::OnHostNetwork { .. } => "on_host_network",
            Self::SharesNetworks { .. } => "shares_networks",
            Self::NotJoinable { .. } => "not_joinable",
            Self::TooManyNetworks { .. } => "too_many_networks",
            Self::SharesNamespace { .. } => "shares_namespace",
            Self::SharesSharer { .. } => "shares_sharer",
            Self::SharesHost { .. } => "shares_host",
            Self::Ipv6Unavailable { .. } => "ipv6_unavailable",
            Self::NoDriver { .. } => "no_driver",
            Self::NoParent { .. } => "no_parent",
            Self::ParentInUse { .. } => "parent_in_use",
            Self::ParentTaken { .. } => "parent_taken",
            Self::MacOfParent { .. } => "mac_of_parent",
            Self::NoSubnet { .. } => "no_subnet",
            Self::OtherFamily { .. } => "other_family",
            Self::LinkLocal { .. } => "link_local",
            Self::Unsupported { .. } => "unsupported",
            Self::TooMany { .. } => "too_many",
            Self::NumbersUsedUp { .. } => "numbers_used_up",
            Self::Among { refusal, .. } => refusal.code(),
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Container => "container",
            Self::Network => "network",
            Self::Alias => "alias",
            Self::Host => "host",
            Self::AllowList => "allow list",
        })
    }
}

/// Items that a message names at most; the rest is counted.
const LISTED_MAX: usize = 8;

fn list<T: ToString>(items: &[T]) -> String {
    let mut text: Vec<String> = items.iter().take(LISTED_MAX).map(ToString::to_string).collect();
    if text.is_empty() {
        return "none".to_owned();
    }
    if let Some(more) = items.len().checked_sub(LISTED_MAX).filter(|&more| more > 0) {
        text.push(format!("{more} more"));
    }
    text.join(", ")
}

fn quoted(names: &[String]) -> String {
    list(&names.iter().map(|name| format!("\"{name}\"")).collect::<Vec<_>>())
}

fn did_you_mean(nearest: Option<&str>, lister: &str) -> String {
    match nearest {
        Some(name) => format!("did you mean \"{name}\"?"),
        None => format!("`{lister}` lists them"),
    }
}

fn published_as(asked: IpAddr, port: u16, existing: IpAddr) -> String {
    if asked == existing { String::new() } else { format!(" at {}", SocketAddr::new(existing, port)) }
}

fn by_process(process: Option<&str>, inode: u32) -> String {
    match process {
        Some(process) => format!(" by {process}"),
        None => format!(" (socket inode {inode})"),
    }
}

fn published(has: &[String]) -> String {
    if has.is_empty() { "nothing of it is".to_owned() } else { format!("published are {}", list(has)) }
}

fn instead(prefix: Prefix, covering: Option<Prefix>, inside: &[Prefix]) -> String {
    match covering {
        Some(covering) => {
            format!("{covering}, which has it, is: unblock that, and block again what is to stay blocked")
        }
        None if inside.is_empty() => "`netctl block ls` lists what is".to_owned(),
        None => format!("of {prefix} only parts are: {}", list(inside)),
    }
}

#[cfg(test)]
mod tests;
