//! Which flows are of clients that a published port is not open to any more?
//!
//! The programs ask an allow list when a flow begins and not again. So when a port gets another list, the flows of those
//! who are not on it are looked for here.

use super::purge::{any_of, dialled};
use netd_common::Addr;
use netd_common::flow::{Flow, FlowKey, PUBLISHED, REPLY};
use netd_common::publish::{Publish, PublishKey};
use std::collections::HashMap;

/// A client of a published port that is not open to everybody.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Guest {
    /// The entry of the port.
    pub key: PublishKey,
    /// The list that it names.
    pub list: u32,
    pub address: Addr,
}

impl Guest {
    /// The client of a flow, by its opener's entry; none for a flow that no list was asked about. `published` is what
    /// `PUBLISHED` holds.
    #[must_use]
    pub fn of(published: &HashMap<PublishKey, Publish>, key: &FlowKey, flow: &Flow) -> Option<Self> {
        if flow.flags & PUBLISHED == 0 || flow.flags & REPLY != 0 {
            return None;
        }
        let exact = dialled(key, flow);
        let any = PublishKey { address: any_of(exact.address), ..exact };
        // An exact address comes first, as it does in the programs.
        let (entry, publish) = [exact, any].into_iter().find_map(|key| Some((key, published.get(&key)?)))?;
        let is_asked = publish.allow != 0 && publish.endpoint == flow.owner;
        is_asked.then_some(Self { key: entry, list: publish.allow, address: key.source })
    }

    /// Whether the client may stay. `is_allowed` asks the list; `list_now` gives the list that a port names, and is asked
    /// afterwards: a list is whole for as long as a port names it.
    pub fn is_welcome<E>(
        &self,
        is_allowed: impl FnOnce(&Self) -> Result<bool, E>,
        list_now: impl FnOnce(&PublishKey) -> Option<u32>,
    ) -> Result<bool, E> {
        Ok(is_allowed(self)? || list_now(&self.key) != Some(self.list))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use netd_common::flow::{INSIDE, OUTSIDE};
    use netd_common::publish::TCP;
    use std::convert::Infallible;

    const HOST: Addr = Addr::v4([198, 18, 0, 1]);
    const CLIENT: Addr = Addr::v4([198, 18, 0, 9]);
    const EXACT: PublishKey = PublishKey { address: HOST, port: 8080, protocol: TCP, pad: 0 };
    const ANY: PublishKey = PublishKey { address: Addr::ANY_V4, ..EXACT };

    fn pair(flags: u8) -> [(FlowKey, Flow); 2] {
        let key = FlowKey {
            source: CLIENT,
            destination: HOST,
            source_port: 4000,
            destination_port: 8080,
            protocol: TCP,
            side: OUTSIDE,
            pad: [0; 2],
        };
        let destination = Addr::v4([10, 208, 0, 2]);
        let ends = Flow { source: CLIENT, destination, source_port: 4000, destination_port: 80, ..Flow::default() };
        let flow = Flow { flags, endpoint: 7, owner: 7, partner_side: INSIDE, ..ends };
        [(key, flow), (flow.partner_key(&key), flow.partner(&key, 0))]
    }

    /// The guests of a flow by its two entries.
    fn guests(published: &[(PublishKey, u32, u32)], flags: u8) -> [Option<Guest>; 2] {
        let entry = |&(key, endpoint, allow)| (key, Publish { endpoint, allow, ..Publish::default() });
        let published: HashMap<_, _> = published.iter().map(entry).collect();
        pair(flags).map(|(key, flow)| Guest::of(&published, &key, &flow))
    }

    #[test]
    fn the_opener_s_entry_tells_who_came_by_which_list() {
        for key in [ANY, EXACT] {
            let guest = Guest { key, list: 3, address: CLIENT };
            assert_eq!(guests(&[(key, 7, 3)], PUBLISHED), [Some(guest), None]);
        }
    }

    #[test]
    fn no_list_was_asked_about_others() {
        for (published, flags, why) in [
            (vec![], PUBLISHED, "not published: an orphan"),
            (vec![(ANY, 7, 0)], PUBLISHED, "open to everybody"),
            (vec![(ANY, 8, 3)], PUBLISHED, "another's: an orphan"),
            (vec![(ANY, 7, 3), (EXACT, 7, 0)], PUBLISHED, "an exact address comes first"),
            (vec![(ANY, 7, 3)], 0, "not through a published port"),
        ] {
            assert_eq!(guests(&published, flags), [None, None], "{why}");
        }
    }

    #[test]
    fn who_is_on_the_list_stays_and_a_list_that_is_taken_apart_says_nothing() {
        let guest = Guest { key: ANY, list: 3, address: CLIENT };
        for (is_allowed, list_now, stays) in
            [(true, Some(3), true), (false, Some(3), false), (false, Some(4), true), (false, None, true)]
        {
            let welcome = guest.is_welcome(|_| Ok::<_, Infallible>(is_allowed), |_| list_now);
            assert_eq!(welcome, Ok(stays), "{is_allowed} {list_now:?}");
        }
    }
}
