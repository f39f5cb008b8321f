//! Does a container's program run from the first packet on, and does it get its link for good?

use netd_tests::probe::hammer::Hammer;
use netd_tests::world::{Container, Direction, World, programs};
use netd_tests::{seconds, wait_until};

const TCP: [&str; 1] = ["tcp/0.0.0.0:80"];

/// Whether the program runs by a link, and no filter is left.
fn is_linked(world: &World, container: &Container) -> bool {
    let interface = &container.host_interface;
    programs(&world.host, interface, Direction::Ingress) == 1
        && !world.host.sh(&format!("tc qdisc show dev {interface}")).contains("ingress")
}

fn wait_for_links(world: &World, containers: &[Container]) {
    for container in containers {
        wait_until("the container's link", seconds(20), || is_linked(world, container));
    }
}

#[test]
fn no_packet_is_lost_while_a_filter_gives_way_to_a_link() {
    let world = World::new();
    let pair = ["client", "server"].map(|name| world.plain(name));
    let [client, server] = &pair;
    let _server = world.serve(&server.place, "server", &TCP);
    let ping = client.place.start(["ping", "-q", "-i0.002", "-c1000", "-W2", &server.ip.to_string()]);
    let hammer = Hammer::start(&client.place, server.at(80));
    wait_for_links(&world, &pair);
    let ping = ping.finish();
    assert!(ping.stdout.contains(" 0% packet loss"), "{ping}");
    let tally = hammer.stop();
    assert_eq!(tally.failures(), 0, "{tally:?}");
    let pins = std::fs::read_dir(world.pins().join("links")).expect("the pins of links");
    let names: Vec<_> = pins.map(|pin| pin.expect("a pin").file_name().to_string_lossy().into_owned()).collect();
    assert_eq!(names.iter().filter(|name| name.starts_with("container_egress-")).count(), 2, "{names:?}");
}

#[test]
fn an_agent_that_is_killed_before_leaves_it_to_the_next() {
    let world = World::new();
    let pair = [world.plain("client"), world.plain("server")];
    world.kill9();
    let [client, server] = &pair;
    client.place.ok(["ping", "-q", "-i0.002", "-c50", "-W2", &server.ip.to_string()]);
    world.start();
    assert_eq!(world.steps_planned_on_start(), 0, "a filter is as good as a link");
    wait_for_links(&world, &pair);
    client.place.ok(["ping", "-q", "-i0.002", "-c50", "-W2", &server.ip.to_string()]);
}

#[test]
fn another_s_filter_stays() {
    let world = World::new();
    let web = world.plain("web");
    let interface = &web.host_interface;
    // netd may take its qdisc away in between.
    world.host.sh(&format!(
        "for i in 1 2 3; do tc qdisc add dev {interface} clsact 2>/dev/null || true
         tc filter add dev {interface} ingress pref 10 protocol ip u32 match ip protocol 0 0 flowid 1:1 && break; done"
    ));
    wait_until("the container's link", seconds(20), || {
        programs(&world.host, interface, Direction::Ingress) == 1
            && !world.host.sh(&format!("tc filter show dev {interface} ingress")).contains("bpf")
    });
    let filters = world.host.sh(&format!("tc filter show dev {interface} ingress"));
    assert!(filters.contains("u32"), "the other's filter is gone: {filters}");
    web.place.ok(["ping", "-q", "-c1", "-W2", &web.gateway.to_string()]);
}
