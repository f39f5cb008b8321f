//! Does traffic go on while another version of netd takes over what a former one pinned?

use netd_tests::probe::hammer::Hammer;
use netd_tests::world::{HOST, OUTSIDE, World, at};
use std::fs;

const TCP: [&str; 1] = ["tcp/0.0.0.0:80"];

/// Crashes netd under clients on every path, changes what it left in bpffs, starts it again, and expects that no client
/// has seen more of it than `lost_max` connections that ended.
fn taken_over(lost_max: u64, change: impl FnOnce(&World)) -> World {
    let world = World::new();
    let web = world.container("web", ["-p", "8080:80"]);
    let client = world.plain("client");
    let servers = [world.serve(&web.place, "web", &TCP), world.serve(&world.outside, "outside", &TCP)];
    let clients = [
        Hammer::start(&world.outside, at(HOST, 8080)),
        Hammer::start(&client.place, at(OUTSIDE, 80)),
        Hammer::start(&client.place, at(HOST, 8080)),
    ];
    let get_on = || clients.iter().for_each(|client| client.wait_for(50));
    get_on();
    world.kill9();
    change(&world);
    get_on();
    world.start();
    get_on();
    for (tally, path) in clients.into_iter().map(Hammer::stop).zip(["published", "outside", "hairpin"]) {
        assert!(tally.failures() <= lost_max, "{path}: {tally:?}");
    }
    drop(servers);
    world
}

#[test]
fn another_layout_of_the_maps_is_an_upgrade() {
    // Flows of another layout are not kept: what a client has open when the programs change ends, and a client here has
    // one connection at a time.
    let world = taken_over(1, |world| {
        fs::rename(world.pins(), world.pins().with_file_name("v0")).expect("the former version's folder");
    });
    assert!(!world.pins().with_file_name("v0").exists(), "the former version's pins are gone");
    assert!(world.steps_planned_on_start() > 0, "new maps are filled, and links are renewed");
    world.restart();
    assert_eq!(world.steps_planned_on_start(), 0, "and that was all");
}

#[test]
fn a_flow_table_of_another_size_is_the_one_that_garbage_is_collected_in() {
    // A connection that is opened between the copy of the table and the exchange of the programs is in the old one.
    let world = taken_over(1, |world| {
        let pin = world.pins().join("FLOWS");
        fs::remove_file(&pin).expect("the pin");
        let pin = pin.to_str().expect("a path in UTF-8");
        let shape = ["type", "lru_hash", "key", "40", "value", "104", "entries", "512", "name", "FLOWS"];
        world.host.ok(["bpftool", "map", "create", pin].into_iter().chain(shape));
    });
    let shown = |kind: &str, name: &str| -> serde_json::Value {
        let pin = world.pins().join(name);
        let text = world.host.ok(["bpftool", "-j", kind, "show", "pinned", pin.to_str().expect("a path in UTF-8")]);
        serde_json::from_str(&text).expect("JSON")
    };
    let used = shown("prog", "programs/flow_gc")["map_ids"].as_array().expect("an array").clone();
    assert!(used.contains(&shown("map", "FLOWS")["id"]), "{used:?}");
}

#[test]
fn programs_are_loaded_once_for_the_same_maps() {
    let world = World::new();
    let programs = || -> Vec<(String, String)> {
        let named = fs::read_dir(world.pins().join("programs")).expect("the pins").map(|entry| {
            let entry = entry.expect("a pin");
            let path = entry.path();
            let shown = world.host.ok(["bpftool", "-j", "prog", "show", "pinned", path.to_str().expect("UTF-8")]);
            let shown: serde_json::Value = serde_json::from_str(&shown).expect("JSON");
            (entry.file_name().to_string_lossy().into_owned(), shown["id"].to_string())
        });
        let mut named: Vec<_> = named.collect();
        named.sort();
        named
    };
    let first = programs();
    assert!(first.len() > 3 && first.iter().any(|(name, _)| name.starts_with("container_egress-")), "{first:?}");
    world.restart();
    assert_eq!(programs(), first);
    assert!(world.stop());
    fs::remove_file(world.pins().join("PUBLISHED")).expect("the pin");
    let former = world.pins().join("programs/container_egress-0123456789abcdef");
    fs::rename(world.pins().join("programs").join(&first[0].0), &former).expect("a pin of another build");
    world.start();
    let second = programs();
    assert_eq!(
        second.iter().map(|(name, _)| name).collect::<Vec<_>>(),
        first.iter().map(|(name, _)| name).collect::<Vec<_>>()
    );
    let id = |of: &[(String, String)]| of.iter().find(|(name, _)| name.starts_with("container_egress-")).cloned();
    assert_ne!(id(&second), id(&first), "it works on a map that is no longer used");
    assert!(world.steps_planned_on_start() > 0);
    let [web, client] = ["web", "client"].map(|name| world.plain(name));
    client.place.ok(["ping", "-q", "-c1", "-W2", &web.ip.to_string()]);
    world.restart();
    assert_eq!((programs(), world.steps_planned_on_start()), (second, 0));
}

#[test]
fn a_pinned_map_of_another_shape_is_not_used() {
    let world = taken_over(0, |world| {
        let pin = world.pins().join("PUBLISHED");
        fs::remove_file(&pin).expect("the pin");
        let pin = pin.to_str().expect("a path in UTF-8").to_owned();
        world.host.ok([
            "bpftool", "map", "create", &pin, "type", "hash", "key", "8", "value", "8", "entries", "4", "name", "x",
        ]);
    });
    assert!(world.log().contains("the pinned map PUBLISHED is not this version's"), "{}", world.log());
    world.restart();
    assert_eq!(world.steps_planned_on_start(), 0, "and that was all");
}
