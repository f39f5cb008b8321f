//! Does traffic outlive the agent, and does the agent come back to what the user asked for? Scenarios L1, L2, L3 and L6.

use netd_tests::probe::hammer::Hammer;
use netd_tests::probe::{self, Mode};
use netd_tests::world::{
    Container, Direction, ForeignProgram, HOST, OUTSIDE, Position, Process, UPLINK, World, at, binary, programs,
};
use netd_tests::{seconds, wait_until};
use serde_json::Value;
use std::collections::BTreeSet;
use std::io::{Read, Write};
use std::net::{IpAddr, Ipv4Addr, TcpStream};
use std::time::Duration;

const BOTH: [&str; 2] = ["tcp/0.0.0.0:80", "udp/0.0.0.0:80"];

#[test]
fn l1_a_crash_breaks_no_flow_and_refuses_no_connection() {
    let world = World::new();
    let web = world.container("web", ["-p", "8080:80", "-p", "8080:80/udp"]);
    let client = world.plain("client");
    let _servers = [world.serve(&web.place, "web", &BOTH), world.serve(&world.outside, "outside", &BOTH)];
    let _iperf_server = world.outside.start(["iperf3", "-s", "-p", "5201"]);
    let flows = long_flows(&world, &client, 500);
    let mut local = world.probe_on_host(&["hold", "127.0.0.1:8080"]);
    assert!(held(&mut local).is_ok());
    let outside = OUTSIDE.to_string();
    wait_until("iperf3 listens", seconds(5), || {
        client.place.run(|| TcpStream::connect_timeout(&at(OUTSIDE, 5201), seconds(1))).is_ok()
    });
    let iperf = client.place.start(["iperf3", "-c", &outside, "-p", "5201", "-t", "4", "-C", "cubic", "-J"]);
    let clients = [
        Hammer::start(&world.outside, at(HOST, 8080)),
        Hammer::start(&client.place, at(OUTSIDE, 80)),
        Hammer::start(&client.place, web.at(80)),
        Hammer::start(&client.place, at(HOST, 8080)),
    ];
    wait_for_each(&clients, 50);

    world.kill9();
    wait_for_each(&clients, 200);
    still_echo(&flows);
    assert!(held(&mut local).is_ok(), "a flow to 127.0.0.1 broke");
    assert_eq!(
        world.dial_from_host(Mode::UdpConnected, at(Ipv4Addr::LOCALHOST, 8080)).expect("an answer").server,
        "web"
    );

    world.start();
    assert_eq!(world.steps_planned_on_start(), 0, "nothing was wrong");
    wait_for_each(&clients, 50);
    still_echo(&flows);
    assert!(held(&mut local).is_ok(), "a flow to 127.0.0.1 broke");
    for (tally, path) in clients.into_iter().map(Hammer::stop).zip(["published", "outside", "peer", "hairpin"]) {
        assert_eq!(tally.failures(), 0, "{path}: {tally:?}");
        assert!(tally.successes() >= 300, "{path}: {tally:?}");
    }
    let iperf = iperf.finish();
    assert!(iperf.is_ok(), "{iperf}");
    let report: Value = serde_json::from_str(&iperf.stdout).expect("iperf3's report");
    for second in report["intervals"].as_array().expect("intervals") {
        assert!(
            second["sum"]["bits_per_second"].as_f64().is_some_and(|rate| rate > 1e6),
            "the stream stalled: {second}"
        );
    }
}

#[test]
fn l2_traffic_goes_on_without_the_agent_and_what_vanished_meanwhile_is_made_again() {
    let world = World::new();
    let web = world.container("web", ["-p", "8080:80"]);
    let client = world.plain("client");
    let _servers = [world.serve(&web.place, "web", &BOTH), world.serve(&world.outside, "outside", &BOTH)];
    let flows = long_flows(&world, &client, 10);
    assert!(world.stop(), "SIGTERM ends the agent");
    assert!(world.outside.run(|| probe::dial_tcp(at(HOST, 8080))).is_ok());
    assert!(client.place.run(|| probe::dial_tcp(at(OUTSIDE, 80))).is_ok());
    assert!(world.dial_from_host(Mode::Tcp, at(Ipv4Addr::LOCALHOST, 8080)).is_ok());
    still_echo(&flows);
    let refused = world.netctl(["status"]);
    assert_eq!(refused.code, 1);
    assert!(refused.stderr.contains(&world.socket().display().to_string()), "which socket? {refused}");

    let netns = world.netns("client");
    let ip = client.ip;
    drop(client);
    nix::mount::umount2(&netns, nix::mount::MntFlags::MNT_DETACH).expect("the namespace was mounted");
    std::fs::remove_file(&netns).expect("the namespace's file");
    world.start();
    let client = world.inspect("client");
    assert_eq!(client.ip, ip);
    assert!(world.steps_planned_on_start() > 0);
    assert_eq!(client.place.run(|| probe::dial_tcp(web.at(80))).expect("an answer").server, "web");
    assert!(client.place.run(|| probe::dial_tcp(at(OUTSIDE, 80))).is_ok());
}

#[test]
fn l2_a_restart_keeps_containers_and_publishes() {
    let world = World::new();
    let web = world.container("web", ["-p", "8080:80", "--label", "tier=front"]);
    let _server = world.serve(&web.place, "web", &BOTH);
    let before = [world.netctl_json(["container", "inspect", "web"]), world.netctl_json(["port", "ls"])];
    world.restart();
    assert_eq!(world.steps_planned_on_start(), 0);
    let after = [world.netctl_json(["container", "inspect", "web"]), world.netctl_json(["port", "ls"])];
    assert_eq!(before, after);
    assert!(world.outside.run(|| probe::dial_tcp(at(HOST, 8080))).is_ok());
}

#[test]
fn l2_after_a_reboot_all_is_built_again() {
    let world = World::new();
    let web = world.container("web", ["-p", "8080:80", "-p", "8080:80/udp"]);
    let (ip, mac) = (web.ip, web.mac);
    assert!(world.stop(), "SIGTERM ends the agent");
    drop(web);
    // What a reboot leaves of processes and of the kernel's state: nothing.
    for keeper in world.keepers() {
        let keeper = nix::unistd::Pid::from_raw(keeper);
        nix::sys::signal::kill(keeper, nix::sys::signal::Signal::SIGKILL).expect("the keeper of name servers");
    }
    for name in std::fs::read_dir(world.netns_folder()).expect("namespaces").flatten() {
        nix::mount::umount2(&name.path(), nix::mount::MntFlags::MNT_DETACH).expect("a mount");
        std::fs::remove_file(name.path()).expect("a file");
    }
    nix::mount::umount2(&world.bpffs(), nix::mount::MntFlags::MNT_DETACH).expect("bpffs");
    world.host.sh(
        "for link in $(ip -o link show | sed -n 's/^[0-9]*: \\(nd[0-9a-f]*\\)@.*/\\1/p'); do ip link del $link 2>/dev/null || ! ip link show $link 2>/dev/null; done
         ip route flush root 10.0.0.0/8
         ip -o -4 addr show dev lo | sed -n 's/.*inet \\(10[^ ]*\\).*/\\1/p' | xargs -r -I{} ip addr del {} dev lo",
    );
    assert_eq!(world.left_behind(), Vec::<String>::new(), "this is how a machine comes up");
    world.start();
    let web = world.inspect("web");
    assert_eq!((web.ip, web.mac), (ip, mac));
    let _servers = [world.serve(&web.place, "web", &BOTH), world.serve(&world.outside, "outside", &BOTH)];
    for mode in Mode::ALL {
        assert_eq!(world.outside.run(|| probe::dial(mode, at(HOST, 8080))).expect("an answer").server, "web");
        assert_eq!(world.dial_from_host(mode, at(Ipv4Addr::LOCALHOST, 8080)).expect("an answer").server, "web");
        let reply = web.place.run(|| probe::dial(mode, at(OUTSIDE, 80))).expect("an answer");
        assert_eq!(reply.seen_as.ip(), IpAddr::from(HOST));
    }
}

#[test]
fn l3_a_crash_at_any_moment_of_a_change_leaves_nothing_half_made() {
    let world = World::new();
    let netctl = binary("netctl").display().to_string();
    let socket = world.socket().display().to_string();
    let changes: [&[&str]; 4] = [
        &["container", "create", "web", "-p", "8080-8089:80-89"],
        &["publish", "web", "9090:80"],
        &["unpublish", "web", "9090:80"],
        &["container", "rm", "web"],
    ];
    // The moments spread over the time that such a change takes.
    for delay_ms in [1, 5, 12, 25] {
        for change in changes {
            let mut words = vec![netctl.as_str(), "--socket", &socket];
            words.extend(change);
            let asked = world.host.start(words);
            std::thread::sleep(Duration::from_millis(delay_ms));
            world.kill9();
            drop(asked);
            world.start();
            wait_until("every object is ready", seconds(5), || {
                let status = world.netctl_json(["status"]);
                status["objects"].as_array().is_some_and(Vec::is_empty)
                    && status["revision"] == status["observed_revision"]
            });
            // Asked again, it is done, or it was done before the crash.
            let again = world.netctl(change);
            let is_done_before = again.code == 1;
            assert!(again.is_ok() || is_done_before, "{change:?} after {delay_ms} ms: {again}");
        }
        assert_eq!(world.netctl_json(["container", "ls"]).as_array().map(Vec::len), Some(0));
        assert_eq!(world.netctl_json(["port", "ls"]).as_array().map(Vec::len), Some(0));
        assert_eq!(names_in(&world.netns_folder()), Vec::<String>::new());
        let links = world.host.sh("ip -o link show");
        assert!(!links.contains(": nd"), "after a crash {delay_ms} ms into each change: {links}");
    }
    // And it works: a container of the same name, through the same port.
    let web = world.container("web", ["-p", "8080:80"]);
    let _server = world.serve(&web.place, "web", &BOTH);
    assert!(world.outside.run(|| probe::dial_tcp(at(HOST, 8080))).is_ok());
}

#[test]
fn l3_many_changes_at_once_are_all_made() {
    let world = World::new();
    let names: Vec<String> = (0..12).map(|number| format!("c{number}")).collect();
    std::thread::scope(|scope| {
        for (name, port) in names.iter().zip(8000..) {
            let world = &world;
            scope.spawn(move || world.netctl_ok(["container", "create", name, "-p", &format!("{port}:80")]));
        }
    });
    let containers: Vec<Container> = names.iter().map(|name| world.inspect(name)).collect();
    let addresses: BTreeSet<Ipv4Addr> = containers.iter().map(|container| container.ip).collect();
    assert_eq!(addresses.len(), names.len(), "each has an address of its own: {addresses:?}");
    let _servers: Vec<Process> = containers
        .iter()
        .map(|container| world.serve(&container.place, &container.name, &["tcp/0.0.0.0:80"]))
        .collect();
    for (name, port) in names.iter().zip(8000..) {
        assert_eq!(&world.outside.run(|| probe::dial_tcp(at(HOST, port))).expect("an answer").server, name);
    }
    std::thread::scope(|scope| {
        for name in &names {
            let world = &world;
            scope.spawn(move || world.netctl_ok(["container", "rm", name]));
        }
    });
    assert_eq!(world.netctl_json(["container", "ls"]), Value::Array(Vec::new()));
}

#[test]
fn l6_a_second_instance_on_the_same_host_is_refused() {
    let world = World::new();
    let web = world.container("web", ["-p", "8080:80"]);
    let _server = world.serve(&web.place, "web", &BOTH);
    let mut twin = world.words("run");
    let again = world.host.exec(&twin);
    assert_eq!(again.code, 1, "the same instance: {again}");
    for option in ["--state-dir", "--run-dir"] {
        let at = twin.iter().position(|word| word == option).expect("an option") + 1;
        twin[at] = world.scratch().join(format!("other{option}")).into();
        std::fs::create_dir_all(&twin[at]).expect("a folder");
    }
    let at_name = twin.iter().position(|word| word == "--instance").expect("an option") + 1;
    twin[at_name] = format!("{}b", world.instance).into();
    let other = world.host.exec(&twin);
    assert_eq!(other.code, 1, "another instance: {other}");
    assert!(other.stderr.contains(&world.instance), "it names the one that is there: {other}");
    assert!(world.outside.run(|| probe::dial_tcp(at(HOST, 8080))).is_ok(), "the first is untouched");
    assert!(!world.bpffs().join("netd").join(format!("{}b", world.instance)).exists(), "the second left pins");
}

#[test]
fn l6_foreign_programs_on_the_uplink_stay_and_disturb_nothing() {
    let world = World::without_netd();
    let before =
        Direction::ALL.map(|direction| ForeignProgram::attach(&world.host, UPLINK, direction, Position::First));
    let foreign = |direction: &str, pref: u32| {
        format!("tc filter add dev up0 {direction} pref {pref} protocol ip u32 match ip protocol 0 0 flowid 1:1")
    };
    world.host.sh("tc qdisc add dev up0 clsact");
    world.host.sh(&foreign("ingress", 10));
    world.start();
    world.host.sh(&foreign("egress", 20));
    let after = Direction::ALL.into_iter().flat_map(|direction| {
        [Position::First, Position::Last]
            .map(|position| ForeignProgram::attach(&world.host, UPLINK, direction, position))
    });
    let after: Vec<_> = after.collect();
    let web = world.container("web", ["-p", "8080:80"]);
    let _servers = [world.serve(&web.place, "web", &BOTH), world.serve(&world.outside, "outside", &BOTH)];
    assert!(world.outside.run(|| probe::dial_tcp(at(HOST, 8080))).is_ok());
    assert!(web.place.run(|| probe::dial_tcp(at(OUTSIDE, 80))).is_ok());
    world.stop();
    let cleanup = world.netd(["cleanup", "--keep-state"]);
    assert!(cleanup.is_ok(), "{cleanup}");
    for direction in ["ingress", "egress"] {
        let filters = world.host.sh(&format!("tc filter show dev up0 {direction}"));
        assert!(filters.contains("u32"), "the foreign filter is gone: {filters}");
    }
    for direction in Direction::ALL {
        assert_eq!(
            programs(&world.host, UPLINK, direction),
            3,
            "the foreign programs stay, and they alone ({direction:?})"
        );
    }
    drop((before, after));
    // The state was kept, and so all comes back.
    drop(web);
    world.start();
    let web = world.inspect("web");
    let _server = world.serve(&web.place, "web", &BOTH);
    assert!(world.outside.run(|| probe::dial_tcp(at(HOST, 8080))).is_ok());
}

/// Connections that stay open: from the client to the outside, and from the outside to the published port.
fn long_flows(world: &World, client: &Container, count: usize) -> Vec<TcpStream> {
    let connect = |target| move || (0..count).map(|_| TcpStream::connect(target)).collect::<Result<Vec<_>, _>>();
    let mut flows = client.place.run(connect(at(OUTSIDE, 80))).expect("connections to the outside");
    flows.extend(world.outside.run(connect(at(HOST, 8080))).expect("connections to the published port"));
    for flow in &flows {
        probe::exchange(flow).expect("an exchange");
    }
    flows
}

#[track_caller]
fn wait_for_each(clients: &[Hammer], attempts: u64) {
    for client in clients {
        client.wait_for(attempts);
    }
}

#[track_caller]
fn still_echo(flows: &[TcpStream]) {
    for mut flow in flows {
        flow.write_all(b"still there?").expect("the flow lives");
        flow.read_exact(&mut [0; 12]).expect("the flow lives");
    }
}

/// An exchange over the probe's one connection.
fn held(probe: &mut Process) -> std::io::Result<probe::Reply> {
    probe.say("go on");
    let line = probe.line();
    probe::from_json(&line)
}

fn names_in(folder: &std::path::Path) -> Vec<String> {
    let entries = std::fs::read_dir(folder).expect("a folder").flatten();
    entries.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect()
}
