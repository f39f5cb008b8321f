//! Does the kernel come to hold what it should, whatever fails on the way?

use super::*;
use crate::kernel::fake::{Fake, Faults, Leaves};
use crate::model::attach::Attach;
use crate::model::command::{Command, ContainerSpec, NetworkSpec, Unpublish};
use crate::model::state::{Driver, Protocol, PublishKey};
use crate::model::testing::{any_command, container, context, facts, network, on_parent, publish, state};
use proptest::prelude::*;
use std::path::Path;

const NETNS_DIR: &str = "/run/netns";

fn reconciler() -> Reconciler<Fake> {
    Reconciler::new(Fake { facts: facts(), ..Fake::default() }, NETNS_DIR.into())
}

fn after(state: &State, command: &Command) -> Arc<State> {
    let mut state = state.clone();
    state.apply(command, &context()).unwrap();
    Arc::new(state)
}

fn removed(name: &str) -> Command {
    Command::RemoveContainers(vec![name.to_owned()])
}

fn join(name: &str, network: &str, gw_priority: i32) -> Command {
    let attach = Attach { gw_priority, ..Attach::to(network) };
    Command::Connect { container: name.to_owned(), attach }
}

fn leave(name: &str, network: &str) -> Command {
    Command::Disconnect { container: name.to_owned(), network: network.to_owned() }
}

fn web() -> Object {
    Object::Container("web".to_owned())
}

/// Passes until nothing is due, as the loop would, with a clock of its own.
fn settle(reconciler: &mut Reconciler<Fake>, state: &Arc<State>, mut now: Instant) -> Status {
    for _ in 0..20 {
        let outcome = reconciler.pass(state, Look::Remembered, now);
        match reconciler.retry_due() {
            Some(due) => now = due,
            None => return outcome.status,
        }
    }
    panic!("does not settle: {:?}", reconciler.failures);
}

#[test]
fn the_second_pass_has_nothing_to_do_and_a_look_confirms_it() {
    let (mut reconciler, state, now) = (reconciler(), Arc::new(state()), Instant::now());
    let first = reconciler.pass(&state, Look::Remembered, now);
    assert!(first.planned > 0 && first.status.failing.is_empty());
    assert_eq!((first.looked, first.status.observed_revision), (Look::Anew, state.revision));
    for look in [Look::Remembered, Look::Anew] {
        let next = reconciler.pass(&state, look, now);
        assert_eq!((next.planned, next.looked), (0, look));
    }
    assert_eq!(reconciler.kernel.looks, 2);
    // A reconciler that starts anew finds all as it should be.
    let mut restarted = Reconciler::new(reconciler.kernel.clone(), NETNS_DIR.into());
    assert_eq!(restarted.pass(&state, Look::Anew, now).planned, 0);
}

/// Each change, stopped at each step, with and without the last step's effect: by a kernel that refuses for a while, and
/// by a reconciler that dies there.
#[test]
fn stopped_at_any_step_a_retry_converges_and_nothing_is_left() {
    let before = after(&state(), &publish("web", &["8080:80", "127.0.0.1:53:53/udp"]));
    let multi = ContainerSpec {
        networks: vec!["bridge".into(), "back".into()],
        publish: vec!["9090:90".parse().unwrap()],
        ..container("new")
    };
    let lan = |name: &str, parent: &str, subnet: &str| {
        Command::CreateNetwork(on_parent(name, Driver::Macvlan, parent, subnet, &[]))
    };
    let on_lan = |name: &str, networks: &[&str]| {
        let networks = networks.iter().copied().map(Attach::to).collect();
        Command::CreateContainer(ContainerSpec { networks, ..container(name) })
    };
    let on_vlan =
        [lan("lan", "lan0.20", "10.9.0.0/24"), lan("too", "lan0.20", "10.9.1.0/24"), on_lan("db", &["lan", "bridge"])];
    let before = on_vlan.iter().fold(before, |state, command| after(&state, command));
    let changes = [
        vec![lan("other", "lan0.30", "10.9.2.0/24"), on_lan("new", &["bridge", "other", "lan"])],
        vec![removed("db"), Command::RemoveNetworks(vec!["lan".to_owned(), "too".to_owned()])],
        vec![removed("db"), on_lan("db", &["too"])],
        vec![Command::CreateNetwork(network("back")), Command::CreateContainer(multi)],
        vec![removed("web")],
        vec![removed("web"), Command::CreateContainer(container("web")), publish("web", &["0.0.0.0:8080:80"])],
        vec![publish("client", &["9000-9003:90-93"])],
        vec![Command::Unpublish { container: "web".to_owned(), ports: Unpublish::All }],
        vec![Command::CreateNetwork(network("back")), join("web", "back", 1)],
        vec![Command::CreateNetwork(network("back")), join("web", "back", 0), leave("web", "bridge")],
        vec![Command::CreateContainer(ContainerSpec { router: true, ..container("gate") })],
    ];
    let now = Instant::now();
    for commands in changes {
        let goal = commands.iter().fold(before.clone(), |state, command| after(&state, command));
        let wanted = lower(&goal, &facts(), Path::new(NETNS_DIR));
        for leaves in [Leaves::Nothing, Leaves::All] {
            let mut steps = 0;
            loop {
                let mut reconciler = reconciler();
                settle(&mut reconciler, &before, now);
                reconciler.kernel.faults = Faults { steps_left: Some(steps), leaves, ..Faults::default() };
                let stopped = reconciler.pass(&goal, Look::Remembered, now);
                reconciler.kernel.faults = Faults::default();

                let mut restarted = Reconciler::new(reconciler.kernel.clone(), NETNS_DIR.into());
                let status = settle(&mut restarted, &goal, now);
                assert_eq!(restarted.kernel.content.0, wanted, "restarted after {steps} steps of {commands:?}");
                assert!(status.failing.is_empty());

                let status = settle(&mut reconciler, &goal, now);
                assert_eq!(reconciler.kernel.content.0, wanted, "retried after {steps} steps of {commands:?}");
                assert_eq!(status, Status { observed_revision: goal.revision, failing: BTreeMap::new() });
                if stopped.status.failing.is_empty() {
                    break;
                }
                steps += 1;
            }
            assert!(steps > 1, "{commands:?} was stopped nowhere");
        }
    }
}

#[test]
fn a_parent_that_goes_takes_its_links_and_brings_them_back() {
    let (mut reconciler, now) = (reconciler(), Instant::now());
    let lan = Command::CreateNetwork(on_parent("lan", Driver::Macvlan, "lan0.20", "10.9.0.0/24", &[]));
    let db = ContainerSpec { networks: vec![Attach::to("lan")], ..container("db") };
    let state = [lan, Command::CreateContainer(db)].iter().fold(Arc::new(state()), |state, c| after(&state, c));
    assert_eq!(settle(&mut reconciler, &state, now).failing, BTreeMap::new());
    let whole = reconciler.kernel.content.clone();
    // The kernel takes the VLAN and what is on it along.
    let lan0 = reconciler.kernel.facts.interfaces.remove("lan0").unwrap();
    reconciler.kernel.content.apply(&Op::DeleteVlan("lan0.20".to_owned()));
    let outcome = reconciler.pass(&state, Look::Anew, now);
    let failing: Vec<_> = outcome.status.failing.keys().cloned().collect();
    assert_eq!(failing, [Object::Network("lan".to_owned()), Object::Container("db".to_owned())]);
    assert_eq!((outcome.planned, reconciler.retry_due()), (0, None), "nothing can be done, and nothing is tried");
    reconciler.kernel.facts.interfaces.insert("lan0".to_owned(), lan0);
    let outcome = reconciler.pass(&state, Look::Anew, now);
    assert_eq!(outcome.status.failing, BTreeMap::new());
    assert_eq!(reconciler.kernel.content, whole);
    // The link alone.
    reconciler.kernel.content.apply(&Op::DeleteLink("nd3".to_owned()));
    reconciler.pass(&state, Look::Anew, now);
    assert_eq!(reconciler.kernel.content, whole);
    // The last network that uses it takes the VLAN along.
    let gone = [removed("db"), Command::RemoveNetworks(vec!["lan".to_owned()])];
    let state = gone.iter().fold(state, |state, command| after(&state, command));
    reconciler.pass(&state, Look::Anew, now);
    assert!(reconciler.kernel.content.0.vlans.is_empty());
}

#[test]
fn one_object_fails_and_the_rest_proceeds() {
    let (mut reconciler, now) = (reconciler(), Instant::now());
    reconciler.kernel.faults.matching = Some(|op| matches!(op, Op::CreateLink(name, _) if name == "nd1"));
    let state = after(&state(), &publish("web", &["0.0.0.0:8080:80"]));
    let status = reconciler.pass(&state, Look::Anew, now).status;
    assert_eq!(status.failing.keys().collect::<Vec<_>>(), [&web()]);
    let reason = &status.failing[&web()];
    assert!(reason.starts_with("CreateLink(\"nd1\""), "the first failure is the reason, not what follows: {reason}");
    assert!(reconciler.kernel.content.0.links.contains_key("nd2"));
    reconciler.kernel.faults = Faults::default();
    assert_eq!(settle(&mut reconciler, &state, now).failing, BTreeMap::new());
}

#[test]
fn what_failed_waits_longer_each_time_and_other_changes_do_not_wait_for_it() {
    let (mut reconciler, mut now) = (reconciler(), Instant::now());
    reconciler.kernel.faults.matching = Some(|op| matches!(op, Op::CreateLink(name, _) if name == "nd1"));
    let state = Arc::new(state());
    let mut waited = Vec::new();
    for _ in 0..12 {
        reconciler.pass(&state, Look::Remembered, now);
        let due = reconciler.retry_due().unwrap();
        waited.push((due - now).as_millis());
        now = due;
    }
    assert_eq!(waited, [100, 200, 400, 800, 1600, 3200, 6400, 12_800, 25_600, 30_000, 30_000, 30_000]);

    now += Duration::from_secs(30);
    reconciler.pass(&state, Look::Remembered, now);
    let looks = reconciler.kernel.looks;
    let published = after(&state, &publish("client", &["0.0.0.0:8080:80"]));
    let outcome = reconciler.pass(&published, Look::Remembered, now + Duration::from_millis(1));
    assert_eq!(outcome.status.failing.keys().collect::<Vec<_>>(), [&web()], "still failing, not tried");
    assert_eq!(reconciler.kernel.content.0.publishes.len(), 1);
    let third = after(&published, &publish("client", &["8081:81"]));
    reconciler.pass(&third, Look::Remembered, now + Duration::from_millis(2));
    assert_eq!(reconciler.kernel.looks, looks + 1, "one look after the failure, and no more");

    // Removing what fails is another step, and done at once.
    let gone = after(&third, &removed("web"));
    let outcome = reconciler.pass(&gone, Look::Remembered, now + Duration::from_millis(3));
    assert_eq!(outcome.status.failing, BTreeMap::new());
    assert!(!reconciler.kernel.content.0.namespaces.contains_key(Path::new("/run/netns/web")));
}

#[test]
fn a_removed_container_that_cannot_be_taken_down_is_named() {
    let (mut reconciler, now) = (reconciler(), Instant::now());
    let state = Arc::new(state());
    settle(&mut reconciler, &state, now);
    reconciler.kernel.faults.matching = Some(|op| matches!(op, Op::DeleteLink(_)));
    let gone = after(&state, &removed("web"));
    let mut now = now;
    for _ in 0..3 {
        // The namespace takes the link along, so let it stay too.
        reconciler.kernel.faults.matching = Some(|op| matches!(op, Op::DeleteLink(_) | Op::DeleteNamespace(_)));
        let status = reconciler.pass(&gone, Look::Remembered, now).status;
        assert_eq!(status.failing.keys().collect::<Vec<_>>(), [&web()]);
        now = reconciler.retry_due().unwrap();
    }
}

#[test]
fn somebody_elses_namespace_that_vanished_is_not_made() {
    let (mut reconciler, now) = (reconciler(), Instant::now());
    let theirs = ContainerSpec { netns: Some("/run/theirs".into()), ..container("guest") };
    let state = after(&state(), &Command::CreateContainer(theirs));
    let status = reconciler.pass(&state, Look::Anew, now).status;
    let guest = Object::Container("guest".to_owned());
    assert_eq!(status.failing.keys().collect::<Vec<_>>(), [&guest]);
    assert!(!reconciler.kernel.content.0.namespaces.contains_key(Path::new("/run/theirs")));
    reconciler.kernel.their_namespaces.insert("/run/theirs".into());
    assert_eq!(settle(&mut reconciler, &state, now).failing, BTreeMap::new());
}

#[test]
fn namespaces_that_are_gone_after_a_reboot_are_made_again() {
    let (mut reconciler, now) = (reconciler(), Instant::now());
    let state = after(&state(), &publish("web", &["0.0.0.0:8080:80"]));
    settle(&mut reconciler, &state, now);
    let wanted = reconciler.kernel.content.clone();
    reconciler.kernel.content = Observed::default();
    reconciler.pass(&state, Look::Anew, now);
    assert_eq!(reconciler.kernel.content, wanted);
}

#[test]
fn flows_that_could_not_be_purged_are_purged_later_although_their_entries_are_gone() {
    let (mut reconciler, now) = (reconciler(), Instant::now());
    let state = after(&state(), &publish("web", &["0.0.0.0:8080:80"]));
    settle(&mut reconciler, &state, now);
    reconciler.kernel.faults.matching = Some(|op| matches!(op, Op::PurgeFlows(_)));
    let gone = after(&state, &Command::Unpublish { container: "web".to_owned(), ports: Unpublish::All });
    let status = reconciler.pass(&gone, Look::Remembered, now).status;
    assert_eq!(status.failing.keys().collect::<Vec<_>>(), [&Object::Node]);
    reconciler.kernel.faults = Faults::default();
    reconciler.kernel.done.clear();
    assert_eq!(settle(&mut reconciler, &gone, now + Duration::from_secs(1)).failing, BTreeMap::new());
    assert!(
        matches!(reconciler.kernel.done.as_slice(), [Op::PurgeFlows(selectors)] if selectors.len() == 1),
        "{:?}",
        reconciler.kernel.done
    );
}

#[test]
fn flows_of_an_address_that_is_gone_are_purged_later_when_they_could_not_be() {
    let (mut reconciler, state, now) = (reconciler(), Arc::new(state()), Instant::now());
    settle(&mut reconciler, &state, now);
    reconciler.kernel.faults.matching = Some(|op| matches!(op, Op::PurgeSources(_)));
    let address = "198.18.0.1".parse().unwrap();
    reconciler.kernel.facts.addresses.remove(&address);
    let status = reconciler.pass(&state, Look::Anew, now).status;
    assert_eq!(status.failing.keys().collect::<Vec<_>>(), [&Object::Node]);
    reconciler.kernel.done.clear();
    assert_eq!(settle(&mut reconciler, &state, now + Duration::from_secs(1)).failing, BTreeMap::new());
    let purge = Op::PurgeFlows(vec![FlowSelector::Source(address.into())]);
    assert_eq!(reconciler.kernel.done, [purge]);
}

#[test]
fn a_network_is_not_ready_without_its_addresses_and_is_when_they_appear() {
    let (mut reconciler, now) = (reconciler(), Instant::now());
    let options = [("snat-pool".to_owned(), "198.18.0.1,198.18.0.7".to_owned())].into();
    let lab = Command::CreateNetwork(NetworkSpec { options, ..network("lab") });
    let state = after(&state(), &lab);
    let failing = reconciler.pass(&state, Look::Anew, now).status.failing;
    let reason = failing.get(&Object::Network("lab".to_owned())).expect("it lacks an address");
    assert!(reason.starts_with("no uplink has 198.18.0.7 of snat-pool; "), "{reason}");
    assert_eq!(reconciler.retry_due(), None, "nobody but the host can help");
    assert_eq!(reconciler.kernel.content.0.snat_pools.len(), 1, "what is there is used");
    let address = "198.18.0.7".parse().unwrap();
    reconciler.kernel.facts.uplinks.get_mut("eth0").unwrap().addresses.insert(address);
    assert_eq!(reconciler.pass(&state, Look::Anew, now).status.failing, BTreeMap::new());
    assert_eq!(reconciler.kernel.content.0.snat_pools.len(), 2);
}

#[test]
fn before_a_network_is_told_that_it_lacks_an_address_the_host_is_looked_at() {
    let (mut reconciler, now) = (reconciler(), Instant::now());
    settle(&mut reconciler, &Arc::new(state()), now);
    let address = "198.18.0.7".parse().unwrap();
    reconciler.kernel.facts.uplinks.get_mut("eth0").unwrap().addresses.insert(address);
    let options = [("snat-pool".to_owned(), "198.18.0.7".to_owned())].into();
    let state = after(&state(), &Command::CreateNetwork(NetworkSpec { options, ..network("lab") }));
    let outcome = reconciler.pass(&state, Look::Remembered, now);
    assert_eq!((outcome.status.failing, outcome.looked), (BTreeMap::new(), Look::Anew));
}

#[test]
fn a_published_port_that_fails_is_named_as_the_user_names_it() {
    let (mut reconciler, now) = (reconciler(), Instant::now());
    reconciler.kernel.faults.matching = Some(|op| matches!(op, Op::SetPublish(..)));
    let state = after(&state(), &publish("web", &["127.0.0.1:53:53/udp"]));
    let status = reconciler.pass(&state, Look::Anew, now).status;
    let key = PublishKey { host_ip: "127.0.0.1".parse().unwrap(), protocol: Protocol::Udp, host_port: 53 };
    assert_eq!(status.failing.keys().collect::<Vec<_>>(), [&Object::Publish(key)]);
}

#[test]
fn a_kernel_that_cannot_be_read_is_not_written() {
    let (mut reconciler, now) = (reconciler(), Instant::now());
    let state = Arc::new(state());
    reconciler.kernel.faults.is_blind = true;
    let status = reconciler.pass(&state, Look::Anew, now).status;
    assert_eq!(status.observed_revision, 0, "nobody is told that it is done");
    assert!(status.failing.contains_key(&Object::Node));
    assert!(reconciler.kernel.done.is_empty());
    assert_eq!(reconciler.retry_due(), Some(now + RETRY_MIN));
    reconciler.kernel.faults.is_blind = false;
    assert_eq!(settle(&mut reconciler, &state, now).observed_revision, state.revision);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]
    #[test]
    fn any_commands_are_carried_out_without_a_failure_or_a_leftover(
        commands in prop::collection::vec(any_command(), 1..40),
    ) {
        let (mut reconciler, mut state, now) = (reconciler(), Arc::new(state()), Instant::now());
        settle(&mut reconciler, &state, now);
        for command in &commands {
            let mut next = State::clone(&state);
            if next.apply(command, &context()).is_err() {
                continue;
            }
            state = Arc::new(next);
            let status = reconciler.pass(&state, Look::Remembered, now).status;
            let failing = unmet(&state, &facts());
            prop_assert_eq!(status, Status { observed_revision: state.revision, failing });
            // Also where only what has changed was compared.
            prop_assert_eq!(&reconciler.kernel.content.0, &lower(&state, &facts(), Path::new(NETNS_DIR)));
        }
        prop_assert_eq!(&reconciler.kernel.content.0, &lower(&state, &facts(), Path::new(NETNS_DIR)));
        prop_assert_eq!(reconciler.pass(&state, Look::Anew, now).planned, 0);
    }
}
