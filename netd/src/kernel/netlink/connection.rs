//! How is one netlink request made and answered?

use crate::kernel::netns;
use futures_util::StreamExt;
use netlink_packet_core::{
    NLM_F_ACK, NLM_F_CREATE, NLM_F_DUMP, NLM_F_DUMP_INTR, NLM_F_EXCL, NLM_F_REPLACE, NLM_F_REQUEST, NetlinkMessage,
    NetlinkPayload,
};
use netlink_packet_route::RouteNetlinkMessage;
use netlink_packet_route::address::AddressMessage;
use netlink_packet_route::link::{LinkAttribute, LinkExtentMask, LinkMessage};
use netlink_packet_route::neighbour::NeighbourMessage;
use netlink_packet_route::route::RouteMessage;
use netlink_packet_route::tc::TcMessage;
use std::fs::File;
use std::io;

/// A dump that the kernel's tables changed under is made again, at most so often in all. Past it the last one counts:
/// the change itself has been announced by then, and is looked at again.
const DUMP_TRIES_MAX: u32 = 4;

/// What a request that makes something does when it is there already.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Existing {
    /// `EEXIST`.
    Refuse,
    Replace,
}

/// A route netlink socket in one network namespace.
#[derive(Clone, Debug)]
pub(super) struct Connection(rtnetlink::Handle);

impl Connection {
    /// In the namespace of this thread. A task of the current runtime moves its messages.
    pub(super) fn here() -> io::Result<Self> {
        let (driver, handle, _) = rtnetlink::new_connection_with_strict_check()?;
        tokio::spawn(driver);
        Ok(Self(handle))
    }

    /// One in each of these namespaces. None is kept for longer than its work: an open socket would keep a namespace
    /// alive that its owner has ended, and cost a descriptor for each container.
    pub(super) fn inside(namespaces: &[&File]) -> io::Result<Vec<Inside>> {
        let runtime = tokio::runtime::Handle::current();
        let opened = netns::in_each(namespaces, || {
            let _registers_there = runtime.enter();
            rtnetlink::new_connection_with_strict_check()
        })?;
        opened
            .into_iter()
            .map(|opened| opened.map(|(driver, handle, _)| Inside { driver, connection: Self(handle) }))
            .collect()
    }

    pub(super) async fn create(&self, message: RouteNetlinkMessage, existing: Existing) -> io::Result<()> {
        let existing = match existing {
            Existing::Refuse => NLM_F_EXCL,
            Existing::Replace => NLM_F_REPLACE,
        };
        self.request(message, NLM_F_ACK | NLM_F_CREATE | existing).await.map(drop)
    }

    /// For messages that set or delete.
    pub(super) async fn change(&self, message: RouteNetlinkMessage) -> io::Result<()> {
        self.request(message, NLM_F_ACK).await.map(drop)
    }

    /// For a message that asks for one thing.
    pub(super) async fn ask(&self, message: RouteNetlinkMessage) -> io::Result<Option<RouteNetlinkMessage>> {
        Ok(self.request(message, 0).await?.messages.pop())
    }

    pub(super) async fn links(&self) -> io::Result<Vec<LinkMessage>> {
        self.links_of(None).await
    }

    /// Those of the namespace that this one knows by `id`; none: its own.
    pub(super) async fn links_of(&self, id: Option<i32>) -> io::Result<Vec<LinkMessage>> {
        let mut filter = LinkMessage::default();
        filter.attributes.extend(id.map(LinkAttribute::IfNetnsId));
        filter.attributes.push(LinkAttribute::ExtMask(vec![LinkExtentMask::SkipStats]));
        self.dump(RouteNetlinkMessage::GetLink(filter), |m| {
            if let RouteNetlinkMessage::NewLink(l) = m { Some(l) } else { None }
        })
        .await
    }

    /// Those of both families that `filter` lets through (its interface index, when it is set).
    pub(super) async fn addresses(&self, filter: AddressMessage) -> io::Result<Vec<AddressMessage>> {
        self.dump(RouteNetlinkMessage::GetAddress(filter), |m| {
            if let RouteNetlinkMessage::NewAddress(a) = m { Some(a) } else { None }
        })
        .await
    }

    /// Those of the family, table and protocol of `filter`, as far as they are set.
    pub(super) async fn routes(&self, filter: RouteMessage) -> io::Result<Vec<RouteMessage>> {
        let family = filter.header.address_family;
        let message = RouteNetlinkMessage::GetRoute(filter);
        let mut found =
            self.dump(message, |m| if let RouteNetlinkMessage::NewRoute(r) = m { Some(r) } else { None }).await?;
        // A kernel without the family answers with all that it has.
        found.retain(|route| route.header.address_family == family);
        Ok(found)
    }

    pub(super) async fn neighbours(&self) -> io::Result<Vec<NeighbourMessage>> {
        self.dump(RouteNetlinkMessage::GetNeighbour(NeighbourMessage::default()), |m| {
            if let RouteNetlinkMessage::NewNeighbour(n) = m { Some(n) } else { None }
        })
        .await
    }

    /// Those of every interface.
    pub(super) async fn qdiscs(&self) -> io::Result<Vec<TcMessage>> {
        self.dump(RouteNetlinkMessage::GetQueueDiscipline(TcMessage::default()), |m| {
            if let RouteNetlinkMessage::NewQueueDiscipline(q) = m { Some(q) } else { None }
        })
        .await
    }

    /// The filters of traffic control at the interface and parent of `place`.
    pub(super) async fn filters(&self, place: TcMessage) -> io::Result<Vec<TcMessage>> {
        self.dump(RouteNetlinkMessage::GetTrafficFilter(place), |m| {
            if let RouteNetlinkMessage::NewTrafficFilter(f) = m { Some(f) } else { None }
        })
        .await
    }

    /// What `pick` takes out of each message of a dump.
    async fn dump<T>(
        &self,
        message: RouteNetlinkMessage,
        pick: impl FnMut(RouteNetlinkMessage) -> Option<T>,
    ) -> io::Result<Vec<T>> {
        let mut answer = self.request(message.clone(), NLM_F_DUMP).await;
        for _ in 1..DUMP_TRIES_MAX {
            match answer {
                Ok(Answer { whole: false, .. }) => answer = self.request(message.clone(), NLM_F_DUMP).await,
                Ok(Answer { whole: true, .. }) => break,
                // A table that does not exist is empty (Linux says so once strict checking is on).
                Err(error) if error.raw_os_error() == Some(libc::ENOENT) => return Ok(Vec::new()),
                Err(error) => return Err(error),
            }
        }
        Ok(answer?.messages.into_iter().filter_map(pick).collect())
    }

    async fn request(&self, message: RouteNetlinkMessage, flags: u16) -> io::Result<Answer> {
        let mut request = NetlinkMessage::from(message);
        request.header.flags = NLM_F_REQUEST | flags;
        let mut responses = self.0.clone().request(request).map_err(|_| closed())?;
        let mut answer = Answer { messages: Vec::new(), whole: true };
        while let Some(response) = responses.next().await {
            answer.whole &= response.header.flags & NLM_F_DUMP_INTR == 0;
            match response.payload {
                NetlinkPayload::InnerMessage(message) => answer.messages.push(message),
                NetlinkPayload::Error(error) => {
                    // No code: an acknowledgement.
                    if let Some(code) = error.code {
                        return Err(io::Error::from_raw_os_error(code.get().saturating_abs()));
                    }
                }
                NetlinkPayload::Overrun(_) => answer.whole = false,
                _ => {}
            }
        }
        Ok(answer)
    }
}

/// A connection inside a container, until its work is done.
pub(super) struct Inside {
    driver: rtnetlink::proto::Connection<RouteNetlinkMessage>,
    connection: Connection,
}

impl Inside {
    pub(super) async fn run<T>(self, work: impl AsyncFnOnce(&Connection) -> io::Result<T>) -> io::Result<T> {
        let Self { driver, connection } = self;
        tokio::select! {
            () = driver => Err(closed()),
            done = work(&connection) => done,
        }
    }
}

struct Answer {
    messages: Vec<RouteNetlinkMessage>,
    /// Nothing changed while the kernel was answering.
    whole: bool,
}

fn closed() -> io::Error {
    io::Error::new(io::ErrorKind::BrokenPipe, "the netlink socket is closed")
}
