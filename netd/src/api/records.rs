//! What does each JSON record of the API look like?
//!
//! The names are a contract with scripts: a field may be added, none may be renamed or left out. What is not set is null
//! or empty, never missing. `netctl` reads the same types.

use crate::model::exposed::Exposed;
use crate::model::naming::{ExtraHost, ResolverOption, SearchDomain};
use crate::model::node::XdpMode;
use crate::model::prefix::{Prefix, Prefixes};
use crate::model::state::{Driver, Mac, Mode, Protocol};
use ipnetwork::IpNetwork;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::PathBuf;

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct VersionRecord {
    pub version: String,
    pub abi: u32,
    pub instance: String,
}

/// How an object is doing, from well to not well at all.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Health {
    /// The kernel has it.
    Ready,
    /// The kernel has not been brought to the newest revision yet.
    Pending,
    /// Of what the datapath works with little is left.
    NearlyFull,
    /// None is left.
    Full,
    /// Some was asked for and not had.
    Exhausted,
    /// The kernel refuses, or the host lacks what was asked for; it is tried again.
    Failing,
}

impl Health {
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Ready => "ready",
            Self::Pending => "pending",
            Self::Failing => "failing",
            Self::Exhausted => "exhausted",
            Self::Full => "full",
            Self::NearlyFull => "nearly-full",
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ContainerRecord {
    pub name: String,
    pub id: String,
    /// The file by which its namespace is entered.
    pub netns: PathBuf,
    /// Whether somebody else made that namespace, and it was given with `--netns`.
    pub netns_given: bool,
    pub mode: Mode,
    /// The container whose namespace it shares; null: it has its own, or the host's.
    pub shares: Option<String>,
    /// Whether it forwards packets between its networks.
    pub router: bool,
    /// The ports that it says it answers at.
    pub exposed: Vec<Exposed>,
    pub hostname: String,
    pub created: jiff::Timestamp,
    pub labels: BTreeMap<String, String>,
    pub status: Health,
    pub endpoints: Vec<EndpointRecord>,
    pub publishes: Vec<ContainerPublishRecord>,
    pub dns: Vec<IpAddr>,
    pub dns_search: Vec<SearchDomain>,
    pub dns_options: Vec<ResolverOption>,
    pub extra_hosts: Vec<ExtraHost>,
    pub resolv_conf_path: Option<PathBuf>,
    pub hosts_path: Option<PathBuf>,
    pub hostname_path: Option<PathBuf>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct EndpointRecord {
    pub network: String,
    pub interface: String,
    pub host_interface: String,
    pub ipv4: Option<IpNetwork>,
    pub ipv6: Option<IpNetwork>,
    /// That of IPv4, or, where there is none, of IPv6.
    pub gateway: Option<IpAddr>,
    pub gateway6: Option<IpAddr>,
    pub mac: Mac,
    pub aliases: Vec<String>,
    /// Of the networks that lead outside, the one with the highest has the default route.
    pub gw_priority: i32,
    /// Bytes.
    pub mtu: u32,
    pub status: Health,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ContainerPublishRecord {
    pub host_ip: IpAddr,
    /// `::` where every IPv6 address of the host is meant beside `host_ip`, since none was named; else null.
    pub host_ip6: Option<IpAddr>,
    pub host_port: u16,
    pub container_port: u16,
    pub protocol: Protocol,
    /// The clients that it is open to; empty: everybody.
    pub allow: Prefixes,
    pub status: Health,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PublishRecord {
    pub container: String,
    pub host_ip: IpAddr,
    /// As in [`ContainerPublishRecord`].
    pub host_ip6: Option<IpAddr>,
    pub host_port: u16,
    pub container_port: u16,
    pub protocol: Protocol,
    /// The clients that it is open to; empty: everybody.
    pub allow: Prefixes,
    pub status: Health,
}

/// One prefix of the block list.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BlockRecord {
    pub prefix: Prefix,
    pub status: Health,
}

/// What became of the block list.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BlocksChangedRecord {
    /// Prefixes that were put on it, or taken off.
    pub changed: usize,
    /// Prefixes on it now.
    pub blocked: usize,
    /// What the caller may not have meant.
    pub notes: Vec<String>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NetworkRecord {
    pub name: String,
    pub id: String,
    pub driver: Driver,
    pub subnets: Vec<SubnetRecord>,
    pub internal: bool,
    pub icc: bool,
    pub masquerade: bool,
    /// Bytes; null: that of the uplink.
    pub mtu: Option<u32>,
    pub parent: Option<String>,
    pub labels: BTreeMap<String, String>,
    pub options: BTreeMap<String, String>,
    pub created: jiff::Timestamp,
    pub containers: Vec<MemberRecord>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SubnetRecord {
    pub subnet: IpNetwork,
    pub gateway: IpAddr,
    pub ip_range: Option<IpNetwork>,
    pub aux_addresses: BTreeMap<String, IpAddr>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MemberRecord {
    pub name: String,
    pub interface: String,
    pub ipv4: Option<IpNetwork>,
    pub ipv6: Option<IpNetwork>,
    pub mac: Mac,
    pub aliases: Vec<String>,
}

/// One tracked flow, as its opener sees it; the counts are of both directions.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FlowRecord {
    /// Null for the host's own, and while a container that is gone still has flows.
    pub container: Option<String>,
    pub protocol: String,
    pub state: String,
    pub source: String,
    pub destination: String,
    pub translated_source: String,
    pub translated_destination: String,
    pub packets: u64,
    pub bytes: u64,
    pub age_s: u64,
    pub idle_s: u64,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StatsRecord {
    pub hook: String,
    /// `passed`, `redirected`, `answered`, or a drop reason.
    pub outcome: String,
    pub packets: u64,
    pub bytes: u64,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StatusRecord {
    pub revision: u64,
    pub observed_revision: u64,
    /// Those that are not ready.
    pub objects: Vec<ObjectRecord>,
    pub uplinks: Vec<String>,
    /// In which mode the block list is held up at each uplink; null: it is not.
    pub xdp: BTreeMap<String, Option<XdpMode>>,
    pub maps: Vec<MapRecord>,
    pub version: String,
    pub abi: u32,
    pub instance: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ObjectRecord {
    pub kind: String,
    pub name: String,
    pub status: Health,
    pub reason: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MapRecord {
    pub name: String,
    pub entries: u64,
    pub max: u64,
}

/// What `DELETE /v1/flows` answers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FlushedRecord {
    /// Connections that are forgotten.
    pub flushed: u64,
}

/// What became of several changes at once.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ChangesRecord {
    /// That of the state after them; of what is only tried, that of the state as it is.
    pub revision: u64,
    /// Ports that are published now and were not before.
    pub published: Vec<PublishRecord>,
}

/// Names that a command did something to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RemovedRecord {
    pub removed: Vec<String>,
}
