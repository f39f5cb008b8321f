//! Are all checksums right, written or left to a device, whichever way a packet takes?

use netd_tests::probe::{self, Mode, stream::Connection};
use netd_tests::watch::Watch;
use netd_tests::world::{HOST, HOST6, OUTLINK, OUTSIDE, OUTSIDE6, UPLINK, World, at};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

const MANY: u64 = 1 << 20;
const BOTH: [&str; 2] = ["tcp/[::]:80", "udp/[::]:80"];

#[test]
fn checksums_left_to_the_device() {
    check(false);
}

#[test]
fn checksums_written_by_the_sender() {
    check(true);
}

#[track_caller]
fn check(are_written: bool) {
    let world = World::new();
    let [web, client] = world.pair_on("dual", &["--ipv6"]);
    let old = world.plain("old");
    world.netctl_ok(["publish", "web", "8080:80", "8080:80/udp", "8090:90"]);
    world.netctl_ok(["publish", "old", "8081:80", "8081:80/udp", "8091:90"]);
    if are_written {
        world.host.sum_in_software(UPLINK);
        world.outside.sum_in_software(OUTLINK);
        for container in [&web, &client, &old] {
            container.place.sum_in_software("eth0");
        }
    }
    let _servers = [
        world.serve(&web.place, "web", &BOTH),
        world.serve(&old.place, "old", &["tcp/0.0.0.0:80", "udp/0.0.0.0:80"]),
        world.serve(
            &world.outside,
            "outside",
            &["tcp/[::]:80", &format!("udp/{OUTSIDE}:80"), &format!("udp/[{OUTSIDE6}]:80")],
        ),
    ];
    let watched = [&web.place, &client.place, &old.place].map(|place| Watch::begin(place, "eth0"));
    let outside = Watch::begin(&world.outside, OUTLINK);

    for (far, host) in [(IpAddr::from(OUTSIDE), IpAddr::from(HOST)), (OUTSIDE6.into(), HOST6.into())] {
        for mode in Mode::ALL {
            let ways = [
                ("to the outside", &client.place, at(far, 80), "outside"),
                ("to a published port", &world.outside, at(host, 8080), "web"),
                ("to a published port of IPv4", &world.outside, at(host, 8081), "old"),
                ("to a port of its network", &client.place, at(host, 8080), "web"),
                ("to a port of another network", &client.place, at(host, 8081), "old"),
                ("to its own port", &web.place, at(host, 8080), "web"),
            ];
            for (way, from, to, server) in ways {
                let reply = from.run(|| probe::dial(mode, to));
                let reply = reply.unwrap_or_else(|error| panic!("{way}, {to} by {mode:?}: {error}"));
                assert_eq!(reply.server, server, "{way}, {to} by {mode:?}");
            }
        }
        client.place.ok(["ping", "-q", "-c3", "-i0.02", "-W2", &far.to_string()]);
        let any: IpAddr = if far.is_ipv4() { Ipv4Addr::UNSPECIFIED.into() } else { Ipv6Addr::UNSPECIFIED.into() };
        for (from, to, server, listening) in [
            (&client.place, at(far, 90), &world.outside, at(any, 90)),
            (&world.outside, at(host, 8090), &web.place, at(any, 90)),
            (&world.outside, at(host, 8091), &old.place, at(Ipv4Addr::UNSPECIFIED, 90)),
            (&client.place, at(host, 8091), &old.place, at(Ipv4Addr::UNSPECIFIED, 90)),
        ] {
            let connection = Connection::open(from, to, server, listening).expect("a connection");
            connection.upload(MANY).unwrap_or_else(|error| panic!("to {to}: {error}"));
            connection.download(MANY).unwrap_or_else(|error| panic!("from {to}: {error}"));
        }
    }
    let how = if are_written { "written" } else { "left" };
    for (watch, name) in watched.into_iter().chain([outside]).zip(["web", "client", "old", "outside"]) {
        let tally = watch.end();
        assert!(tally.wrong.is_empty(), "{name}: {:#?}", tally.wrong);
        // The last container has IPv4 alone, which the outside's IPv6 becomes on the way.
        for family in if name == "old" { &["v4"][..] } else { &["v4", "v6"] } {
            for protocol in ["tcp", "udp"] {
                let kind = format!("{family} {protocol} {how}");
                assert!(tally.right.contains_key(&kind), "{name} has seen no {kind}: {:?}", tally.right);
            }
        }
        assert_eq!(tally.largest > 60_000, !are_written, "{name}: large segments stay large: {}", tally.largest);
    }
}
