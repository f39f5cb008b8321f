//! Which flows are to be forgotten?

use crate::reconcile::op::FlowSelector;
use netd_common::Addr;
use netd_common::flow::{Flow, FlowKey, PUBLISHED, REPLY};
use std::collections::HashSet;

/// Many selectors as one question, asked of each entry of the table once.
#[derive(Debug, Default)]
pub struct Doomed {
    endpoints: HashSet<u32>,
    /// Endpoint, protocol, address and port of the host.
    publishes: HashSet<(u32, u8, Addr, u16)>,
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
            }
        }
        doomed
    }

    /// Whether this entry goes; both entries of a pair give the same answer.
    #[must_use]
    pub fn contains(&self, key: &FlowKey, flow: &Flow) -> bool {
        [flow.owner, flow.endpoint, flow.partner_endpoint].iter().any(|number| self.endpoints.contains(number))
            || (flow.flags & PUBLISHED != 0 && self.contains_published(key, flow))
    }

    fn contains_published(&self, key: &FlowKey, flow: &Flow) -> bool {
        // What the opener dialled.
        let (address, port) = if flow.flags & REPLY == 0 {
            (key.destination, key.destination_port)
        } else {
            (flow.source, flow.source_port)
        };
        let any = if address.is_v4() { Addr::ANY_V4 } else { Addr::ANY_V6 };
        [address, any].iter().any(|&address| self.publishes.contains(&(flow.owner, key.protocol, address, port)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use netd_common::flow::{INSIDE, OUTSIDE};
    use netd_common::publish::{PublishKey, TCP, UDP};

    const HOST: Addr = Addr::v4([198, 18, 0, 1]);

    fn pair() -> [(FlowKey, Flow); 2] {
        let key = FlowKey {
            source: Addr::v4([198, 18, 0, 9]),
            destination: HOST,
            source_port: 4000,
            destination_port: 8080,
            protocol: TCP,
            side: OUTSIDE,
            pad: [0; 2],
        };
        let flow = Flow {
            source: key.source,
            destination: Addr::v4([10, 208, 0, 2]),
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
        let doomed = Doomed::new(&[selector]);
        let [opener, answerer] = pair().map(|(key, flow)| doomed.contains(&key, &flow));
        assert_eq!(opener, answerer, "a pair goes or stays as one");
        opener
    }

    fn published(address: Addr, port: u16, protocol: u8, endpoint: u32) -> bool {
        dooms(FlowSelector::Publish { key: PublishKey { address, port, protocol, pad: 0 }, endpoint })
    }

    #[test]
    fn an_endpoint_takes_its_flows_along() {
        assert!(dooms(FlowSelector::Endpoint(7)));
        assert!(!dooms(FlowSelector::Endpoint(8)));
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
