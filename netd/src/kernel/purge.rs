//! Which flows are to be forgotten?

use crate::reconcile::op::FlowSelector;
use netd_common::Addr;
use netd_common::flow::{Flow, FlowKey, PUBLISHED, REPLY};
use netd_common::publish::PublishKey;
use std::collections::HashSet;

/// Many selectors as one question, asked of each entry of the table once.
#[derive(Debug, Default)]
pub struct Doomed {
    endpoints: HashSet<u32>,
    /// Endpoint, protocol, address and port of the host.
    publishes: HashSet<(u32, u8, Addr, u16)>,
    sources: HashSet<Addr>,
}

impl Doomed {
    #[must_use]
    pub fn new(selectors: &[FlowSelector]) -> Self {
        let mut doomed = Self::default();
        for selector in selectors {
            match selector {
                FlowSelector::Endpoint(endpoint) => {
                    doomed.endpoints.insert(*endpoint);
                }
                FlowSelector::Publish { key, endpoint } => {
                    doomed.publishes.insert((*endpoint, key.protocol, key.address, key.port));
                }
                FlowSelector::Source(address) => {
                    doomed.sources.insert(*address);
                }
            }
        }
        doomed
    }

    /// Whether this entry goes; both entries of a pair give the same answer.
    #[must_use]
    pub fn contains(&self, key: &FlowKey, flow: &Flow) -> bool {
        [flow.owner, flow.endpoint, flow.partner_endpoint].iter().any(|number| self.endpoints.contains(number))
            || if flow.flags & PUBLISHED == 0 {
                self.sources.contains(&translated_source(key, flow))
            } else {
                self.contains_published(key, flow)
            }
    }

    fn contains_published(&self, key: &FlowKey, flow: &Flow) -> bool {
        let dialled = dialled(key, flow);
        let contains = |address| self.publishes.contains(&(flow.owner, dialled.protocol, address, dialled.port));
        contains(dialled.address) || contains(any_of(dialled.address))
    }
}

/// The published ports that flows came through, to find those that are published no more.
#[derive(Debug, Default)]
pub struct Dialled(HashSet<(u32, PublishKey)>);

impl Dialled {
    pub fn note(&mut self, key: &FlowKey, flow: &Flow) {
        if flow.flags & PUBLISHED != 0 {
            self.0.insert((flow.owner, dialled(key, flow)));
        }
    }

    /// The flows whose port leads to their container no more. `leads_to` gives the endpoint that a key of `PUBLISHED`
    /// leads to now; asked after the flows were noted, it knows the port of each flow that is not to go.
    #[must_use]
    pub fn orphans(&self, leads_to: impl Fn(&PublishKey) -> Option<u32>) -> Vec<FlowSelector> {
        let is_orphan = |(owner, key): &&(u32, PublishKey)| {
            let any = PublishKey { address: any_of(key.address), ..*key };
            leads_to(key).or_else(|| leads_to(&any)) != Some(*owner)
        };
        let selector = |(endpoint, key): &(u32, PublishKey)| FlowSelector::Publish { key: *key, endpoint: *endpoint };
        self.0.iter().filter(is_orphan).map(selector).collect()
    }
}

/// The source that the answerer sees.
const fn translated_source(key: &FlowKey, flow: &Flow) -> Addr {
    if flow.flags & REPLY == 0 { flow.source } else { key.destination }
}

/// What the opener dialled, as the exact key of a publish.
pub(super) const fn dialled(key: &FlowKey, flow: &Flow) -> PublishKey {
    let (address, port) =
        if flow.flags & REPLY == 0 { (key.destination, key.destination_port) } else { (flow.source, flow.source_port) };
    PublishKey { address, port, protocol: key.protocol, pad: 0 }
}

pub(super) const fn any_of(address: Addr) -> Addr {
    if address.is_v4() { Addr::ANY_V4 } else { Addr::ANY_V6 }
}

#[cfg(test)]
mod tests {
    use super::*;
    use netd_common::flow::{INSIDE, OUTSIDE};
    use netd_common::publish::{TCP, UDP};

    const HOST: Addr = Addr::v4([198, 18, 0, 1]);

    const HOST_V6: Addr = Addr::v6([0x20, 1, 0xd, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1]);
    const CLIENT_V6: Addr = Addr::v6([0x20, 1, 0xd, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 9]);
    const WEB: Addr = Addr::v4([10, 208, 0, 2]);
    const WEB_V6: Addr = Addr::v6([0xfd, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 2]);

    /// A flow from a container to the outside.
    fn masqueraded() -> [(FlowKey, Flow); 2] {
        let key = FlowKey {
            source: Addr::v4([10, 208, 0, 2]),
            destination: Addr::v4([198, 18, 0, 9]),
            source_port: 5000,
            destination_port: 80,
            protocol: TCP,
            side: INSIDE,
            pad: [0; 2],
        };
        let flow = Flow {
            source: HOST,
            destination: key.destination,
            source_port: 5000,
            destination_port: 80,
            owner: 7,
            partner_endpoint: 7,
            partner_side: OUTSIDE,
            ..Flow::default()
        };
        [(key, flow), (flow.partner_key(&key), flow.partner(&key, 0))]
    }

    /// A flow from the outside through a published port of the host.
    fn pair() -> [(FlowKey, Flow); 2] {
        pair_of(Addr::v4([198, 18, 0, 9]), HOST, Addr::v4([198, 18, 0, 9]), WEB)
    }

    /// Of a client that dialled `dialled`, and came to `web` as `seen_as`.
    fn pair_of(client: Addr, dialled: Addr, seen_as: Addr, web: Addr) -> [(FlowKey, Flow); 2] {
        let key = FlowKey {
            source: client,
            destination: dialled,
            source_port: 4000,
            destination_port: 8080,
            protocol: TCP,
            side: OUTSIDE,
            pad: [0; 2],
        };
        let flow = Flow {
            source: seen_as,
            destination: web,
            source_port: 4000,
            destination_port: 80,
            flags: PUBLISHED,
            endpoint: 7,
            owner: 7,
            partner_side: INSIDE,
            ..Flow::default()
        };
        [(key, flow), (flow.partner_key(&key), flow.partner(&key, 0))]
    }

    fn dooms(selector: FlowSelector) -> bool {
        dooms_of(&pair(), selector)
    }

    fn dooms_of(pair: &[(FlowKey, Flow); 2], selector: FlowSelector) -> bool {
        let doomed = Doomed::new(&[selector]);
        let [opener, answerer] = pair.each_ref().map(|(key, flow)| doomed.contains(key, flow));
        assert_eq!(opener, answerer, "a pair goes or stays as one");
        opener
    }

    fn published(address: Addr, port: u16, protocol: u8, endpoint: u32) -> bool {
        dooms(FlowSelector::Publish { key: PublishKey { address, port, protocol, pad: 0 }, endpoint })
    }

    #[test]
    fn a_flow_whose_port_leads_elsewhere_or_nowhere_is_an_orphan() {
        let mut dialled = Dialled::default();
        for (key, flow) in pair() {
            dialled.note(&key, &flow);
        }
        let exact = PublishKey { address: HOST, port: 8080, protocol: TCP, pad: 0 };
        let any = PublishKey { address: Addr::ANY_V4, ..exact };
        let orphans = |leads: &[(PublishKey, u32)]| {
            dialled.orphans(|key| leads.iter().find(|(published, _)| published == key).map(|(_, endpoint)| *endpoint))
        };
        assert_eq!(orphans(&[(exact, 7)]), []);
        assert_eq!(orphans(&[(any, 7)]), []);
        let gone = [FlowSelector::Publish { key: exact, endpoint: 7 }];
        assert_eq!(orphans(&[]), gone);
        assert_eq!(orphans(&[(any, 8)]), gone);
        assert_eq!(orphans(&[(exact, 8), (any, 7)]), gone, "an exact address comes first");
    }

    #[test]
    fn an_endpoint_takes_its_flows_along() {
        assert!(dooms(FlowSelector::Endpoint(7)));
        assert!(!dooms(FlowSelector::Endpoint(8)));
    }

    #[test]
    fn a_flow_of_an_ipv6_client_goes_with_the_ipv6_half_of_its_port() {
        let proxy = Addr::v4([169, 254, 208, 2]);
        // Carried as it is, and translated for a container without IPv6.
        for (seen_as, web) in [(CLIENT_V6, WEB_V6), (proxy, WEB)] {
            let pair = pair_of(CLIENT_V6, HOST_V6, seen_as, web);
            let dooms = |address| {
                let key = PublishKey { address, port: 8080, protocol: TCP, pad: 0 };
                let doomed = Doomed::new(&[FlowSelector::Publish { key, endpoint: 7 }]);
                pair.map(|(key, flow)| doomed.contains(&key, &flow))
            };
            assert_eq!(dooms(Addr::ANY_V6), [true; 2]);
            assert_eq!(dooms(HOST_V6), [true; 2]);
            assert_eq!(dooms(Addr::ANY_V4), [false; 2]);
            let mut dialled = Dialled::default();
            for (key, flow) in pair {
                dialled.note(&key, &flow);
            }
            let leads_to = |address: Addr| move |key: &PublishKey| (key.address == address).then_some(7);
            assert_eq!(dialled.orphans(leads_to(Addr::ANY_V6)), []);
            assert_eq!(dialled.orphans(leads_to(Addr::ANY_V4)).len(), 1);
        }
    }

    #[test]
    fn an_address_takes_the_flows_along_that_are_translated_to_it_and_no_others() {
        let (gone, other) = (FlowSelector::Source(HOST), FlowSelector::Source(Addr::v4([198, 18, 0, 2])));
        assert!(dooms_of(&masqueraded(), gone.clone()));
        assert!(!dooms_of(&masqueraded(), other));
        assert!(!dooms_of(&masqueraded(), FlowSelector::Source(Addr::v4([10, 208, 0, 2]))));
        assert!(!dooms(gone), "a client that dialled the address may find it again");
    }

    #[test]
    fn a_published_port_takes_its_flows_along_and_no_others() {
        assert!(published(Addr::ANY_V4, 8080, TCP, 7));
        assert!(published(HOST, 8080, TCP, 7));
        assert!(!published(Addr::v4([198, 18, 0, 2]), 8080, TCP, 7));
        assert!(!published(Addr::ANY_V4, 8081, TCP, 7));
        assert!(!published(Addr::ANY_V4, 8080, UDP, 7));
        assert!(!published(Addr::ANY_V4, 8080, TCP, 8));
    }
}
