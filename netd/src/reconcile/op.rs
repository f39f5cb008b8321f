//! What single steps take the kernel from what it holds to what it should hold?

use super::target::{Attachment, EndpointEntry, FdbEntry, Link, LinkName, Port, Route, Sandbox, Vlan};
use crate::model::prefix::Prefixes;
use ipnetwork::IpNetwork;
use netd_common::Addr;
use netd_common::endpoint::{EndpointKey, PoolKey};
use netd_common::flow::Timeouts;
use netd_common::publish::{Publish, PublishKey};
use std::net::IpAddr;
use std::path::PathBuf;

/// One idempotent step. A plan holds them sorted by [`Op::phase`]: entries go first and come last, so that a program
/// never finds an entry whose link is not there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Op {
    RemovePublish(PublishKey),
    RemoveEndpoint(EndpointKey),
    RemovePort(LinkName),
    RemoveFdb(u32, [u8; 6]),
    RemoveUplink(LinkName),
    /// Listen no longer in a namespace, and turn its programs to no name server.
    CloseNames(PathBuf),
    /// Forget the flows that any of these describe.
    PurgeFlows(Vec<FlowSelector>),
    Detach(Attachment),
    DeleteRoute(IpNetwork),
    DeleteGateway(IpAddr),
    DeleteLink(LinkName),
    /// Takes away a VLAN sub-interface that netd made, and with it what stands on it.
    DeleteVlan(LinkName),
    DeleteNamespace(PathBuf),
    CreateNamespace(PathBuf, Sandbox),
    /// Make the VLAN sub-interface, or bring the one that netd made to this.
    SetVlan(LinkName, Vlan),
    /// Make the interface in the namespace, with what belongs to it on the host; a [`Self::ConfigureLink`] always follows.
    CreateLink(LinkName, Link),
    /// Bring an existing link to this: what is missing or different is set, nothing else is touched.
    ConfigureLink(LinkName, Link),
    AddGateway(IpAddr),
    SetRoute(IpNetwork, Route),
    Attach(Attachment),
    SetTimeouts(u32, Timeouts),
    SetPooled(PoolKey, Addr),
    /// With the gateway of IPv6, where the programs need it.
    SetUplink(LinkName, Addr),
    /// Listen in a namespace as its name server, and turn its programs there.
    OpenNames(PathBuf),
    SetLocalAddress(Addr),
    SetPort(LinkName, Port),
    SetFdb(u32, [u8; 6], FdbEntry),
    SetEndpoint(EndpointKey, EndpointEntry),
    /// Put these on an allow list.
    Allow(u32, Prefixes),
    SetPublish(PublishKey, Publish),
    Block(Prefixes),
    RemoveTimeouts(u32),
    RemovePooled(PoolKey),
    /// Forget the flows that are translated to any of these addresses, which the host has no more.
    PurgeSources(Vec<Addr>),
    /// After the purge: until then the entry is what tells of it.
    RemoveLocalAddress(Addr),
    /// Take these off an allow list.
    Disallow(u32, Prefixes),
    Unblock(Prefixes),
    /// Exchange the program of an attachment for this version's, in place.
    Renew(Attachment),
}

/// Which flows to forget.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum FlowSelector {
    /// Those that belong to this endpoint or are delivered to it.
    Endpoint(u32),
    /// Those that came through a published port and are answered by this endpoint at this address and port.
    Publish { key: PublishKey, endpoint: u32 },
    /// Those to the outside whose source is translated to this address.
    Source(Addr),
}

/// The order in which a plan is carried out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Phase {
    RemoveEntry,
    PurgeFlows,
    Detach,
    DeleteLink,
    CreateLink,
    /// What a port's numbers speak of is there before the port: the addresses of a SNAT pool, below its count.
    Provide,
    /// Before a link is brought up: no packet of a container comes by without its program, nor finds it without the port.
    Attach,
    Configure,
    UpsertEntry,
    /// What no port speaks of any more, and the flows with an address that no new flow takes. What allow lists and the block
    /// list lose goes here, too: no port is open to half a list, and who stays blocked by another prefix is so all the time.
    Retire,
    /// Last: the new programs' maps are filled by now.
    Renew,
}

impl Op {
    #[must_use]
    pub const fn phase(&self) -> Phase {
        match self {
            Self::RemovePublish(_)
            | Self::RemoveEndpoint(_)
            | Self::RemovePort(_)
            | Self::RemoveFdb(..)
            | Self::RemoveUplink(_)
            | Self::CloseNames(_) => Phase::RemoveEntry,
            Self::PurgeFlows(_) => Phase::PurgeFlows,
            Self::Detach(_) => Phase::Detach,
            Self::DeleteRoute(_)
            | Self::DeleteGateway(_)
            | Self::DeleteLink(_)
            | Self::DeleteVlan(_)
            | Self::DeleteNamespace(_) => Phase::DeleteLink,
            Self::CreateNamespace(..) | Self::SetVlan(..) | Self::CreateLink(..) => Phase::CreateLink,
            Self::ConfigureLink(..) | Self::AddGateway(_) | Self::SetRoute(..) => Phase::Configure,
            Self::SetTimeouts(..) | Self::SetPooled(..) => Phase::Provide,
            Self::SetPort(..) | Self::Attach(_) => Phase::Attach,
            Self::SetUplink(..)
            | Self::OpenNames(_)
            | Self::SetLocalAddress(_)
            | Self::SetFdb(..)
            | Self::SetEndpoint(..)
            | Self::Allow(..)
            | Self::SetPublish(..)
            | Self::Block(_) => Phase::UpsertEntry,
            Self::RemoveTimeouts(_)
            | Self::RemovePooled(_)
            | Self::PurgeSources(_)
            | Self::RemoveLocalAddress(_)
            | Self::Disallow(..)
            | Self::Unblock(_) => Phase::Retire,
            Self::Renew(_) => Phase::Renew,
        }
    }
}

/// Names of the cgroup programs, as the object file has them.
pub const SOCK_ADDR_PROGRAMS: [&str; 10] = [
    "connect4",
    "connect6",
    "sendmsg4",
    "sendmsg6",
    "recvmsg4",
    "recvmsg6",
    "getpeername4",
    "getpeername6",
    "bind4",
    "bind6",
];
