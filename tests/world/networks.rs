//! How does a world get a second network, to see that networks are apart?
//!
//! By the door that netd itself uses: the store, written while netd is not running.

use super::World;
use netd::kernel::facts::NodeFacts;
use netd::model::command::{Command, Context, NetworkSpec};
use netd::store::Store;
use std::collections::{BTreeMap, BTreeSet};

impl World {
    /// Makes the network `name` with this subnet, by restarting netd.
    #[track_caller]
    pub fn network(&self, name: &str, subnet: &str) {
        assert!(self.stop(), "netd did not end on SIGTERM");
        let spec = NetworkSpec {
            name: name.to_owned(),
            subnets: vec![subnet.parse().expect("a subnet")],
            gateways: Vec::new(),
            ip_ranges: Vec::new(),
            aux_addresses: BTreeMap::new(),
            internal: false,
            no_icc: false,
            no_masquerade: false,
            mtu: None,
            labels: BTreeMap::new(),
            options: BTreeMap::new(),
        };
        let context = Context {
            now: jiff::Timestamp::now(),
            entropy: [7; 32],
            facts: NodeFacts::default(),
            host_sockets: BTreeSet::new(),
            namespaces: BTreeSet::new(),
        };
        let store = Store::open(&self.scratch().join("state/netd.redb")).expect("the store");
        store.write(&Command::CreateNetwork(spec), &context).expect("a second network");
        drop(store);
        self.start();
    }
}
