//! Where do calls of the host's sockets go, and what are the sockets told?

use super::*;
use crate::testing::world::{API, COOKIE, DB, HOST, LAN_HOST, REMOTE, WEB, World};
use netd_common::names::Resolver;
use netd_common::publish::{TCP, UDP};

/// A call in memory.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Double {
    netns_cookie: u64,
    cookie: u64,
    protocol: u8,
    address: Addr,
    port: u16,
}

impl Call for Double {
    fn netns_cookie(&self) -> u64 {
        self.netns_cookie
    }
    fn cookie(&self) -> u64 {
        self.cookie
    }
    fn protocol(&self) -> u8 {
        self.protocol
    }
    fn address(&self) -> Addr {
        self.address
    }
    fn port(&self) -> u16 {
        self.port
    }
    fn redirect(&mut self, address: Addr, port: u16) {
        self.address = address;
        self.port = port;
    }
}

fn call(protocol: u8, text: &str) -> Double {
    let at: std::net::SocketAddr = text.parse().expect("an address and a port");
    let address = match at.ip() {
        std::net::IpAddr::V4(v4) => Addr::v4(v4.octets()),
        std::net::IpAddr::V6(v6) => Addr::v6(v6.octets()),
    };
    Double { netns_cookie: COOKIE, cookie: 5, protocol, address, port: at.port() }
}

fn world() -> World {
    let mut world = World::default();
    world.publish(TCP, [0; 4], 8080, &WEB, 80);
    world.publish(TCP, LAN_HOST, 8080, &DB, 81);
    world.publish(UDP, [0; 4], 5353, &WEB, 53);
    world.publish(TCP, [127, 0, 0, 1], 9090, &API, 90);
    world
}

#[test]
fn a_call_for_a_published_port_is_turned_to_the_container() {
    let world = world();
    let rows = [
        (TCP, "127.0.0.1:8080", "10.1.0.2:80"),
        (TCP, "127.9.9.9:8080", "10.1.0.2:80"),
        (TCP, "198.18.0.1:8080", "10.1.0.2:80"),
        (TCP, "10.1.0.1:8080", "10.1.0.2:80"),
        // An exact address before every address.
        (TCP, "198.19.0.1:8080", "10.1.0.3:81"),
        // The unspecified address is the host itself.
        (TCP, "0.0.0.0:8080", "10.1.0.2:80"),
        (TCP, "0.0.0.0:9090", "10.2.0.2:90"),
        (UDP, "127.0.0.1:5353", "10.1.0.2:53"),
        // An IPv6 socket that speaks IPv4.
        (TCP, "[::ffff:127.0.0.1]:8080", "10.1.0.2:80"),
        (TCP, "[::ffff:198.18.0.1]:8080", "10.1.0.2:80"),
        (TCP, "[::ffff:0.0.0.0]:8080", "10.1.0.2:80"),
        (TCP, "127.0.0.1:9090", "10.2.0.2:90"),
        // Not published: another protocol, port or address, and addresses that are not the host's.
        (UDP, "127.0.0.1:8080", "127.0.0.1:8080"),
        (TCP, "127.0.0.1:80", "127.0.0.1:80"),
        (TCP, "198.18.0.1:9090", "198.18.0.1:9090"),
        (TCP, "198.18.1.9:8080", "198.18.1.9:8080"),
        (TCP, "10.1.0.2:80", "10.1.0.2:80"),
        (TCP, "10.1.0.2:8080", "10.1.0.2:8080"),
        (TCP, "[::1]:8080", "[::1]:8080"),
        (TCP, "[::]:8080", "[::]:8080"),
        (TCP, "[fd00::1]:8080", "[fd00::1]:8080"),
        (132, "127.0.0.1:8080", "127.0.0.1:8080"),
    ];
    for (protocol, dialled, reached) in rows {
        let mut seen = call(protocol, dialled);
        dial(&mut seen, &world.model);
        assert_eq!(seen, call(protocol, reached), "{protocol} {dialled}");
        // And the socket is told what it dialled, word for word.
        undial(&mut seen, &world.model);
        assert_eq!(seen, call(protocol, dialled), "{protocol} {dialled}, told");
        world.model.dialled.borrow_mut().clear();
    }
}

#[test]
fn ipv6_addresses_of_the_host_reach_what_is_published_for_them() {
    let mut world = world();
    let value = *world.model.publishes.values().next().expect("a publish");
    let key = PublishKey { address: Addr::ANY_V6, port: 7070, protocol: TCP, pad: 0 };
    world.model.publishes.insert(key, value);
    for (dialled, is_turned) in
        [("[::1]:7070", true), ("[::]:7070", true), ("[fd00::1]:7070", false), ("127.0.0.1:7070", false)]
    {
        let mut seen = call(TCP, dialled);
        dial(&mut seen, &world.model);
        assert_eq!(seen != call(TCP, dialled), is_turned, "{dialled}");
        undial(&mut seen, &world.model);
        assert_eq!(seen, call(TCP, dialled), "{dialled}, told");
    }
}

#[test]
fn a_message_keeps_its_family_and_a_connection_may_change_it() {
    let mut world = world();
    world.publish_at(UDP, (Addr::ANY_V6, 5353), &WEB, (WEB.address, 53));
    let (dialled, turned) = ("[::1]:5353", "10.1.0.2:53");
    let mut connected = call(UDP, dialled);
    dial(&mut connected, &world.model);
    assert_eq!(connected, call(UDP, turned));
    let mut sent = call(UDP, dialled);
    send(&mut sent, &world.model);
    assert_eq!(sent, call(UDP, dialled));
    let mut sent = call(UDP, "127.0.0.1:5353");
    send(&mut sent, &world.model);
    assert_eq!(sent, call(UDP, turned));
}

#[test]
fn only_the_socket_that_was_turned_is_told_so() {
    let world = world();
    dial(&mut call(TCP, "127.0.0.1:8080"), &world.model);
    let told = |changed: Double| {
        let mut seen = changed.clone();
        undial(&mut seen, &world.model);
        seen != changed
    };
    let own = call(TCP, "10.1.0.2:80");
    assert!(told(own.clone()));
    assert!(!told(Double { cookie: 6, ..own.clone() }), "another socket");
    assert!(!told(Double { port: 81, ..own.clone() }), "another peer's port");
    assert!(!told(Double { address: REMOTE, ..own.clone() }), "another peer");
    assert!(!told(Double { netns_cookie: 1, ..own }), "another namespace");
}

#[test]
fn one_udp_socket_is_told_of_each_of_its_peers() {
    let mut world = world();
    world.publish(UDP, [0; 4], 5354, &DB, 53);
    for dialled in ["127.0.0.1:5353", "198.18.0.1:5354"] {
        dial(&mut call(UDP, dialled), &world.model);
    }
    for (from, told) in
        [("10.1.0.2:53", "127.0.0.1:5353"), ("10.1.0.3:53", "198.18.0.1:5354"), ("198.18.1.9:53", "198.18.1.9:53")]
    {
        let mut seen = call(UDP, from);
        undial(&mut seen, &world.model);
        assert_eq!(seen, call(UDP, told), "{from}");
    }
}

#[test]
fn sockets_of_other_namespaces_are_left_alone() {
    let mut world = world();
    let elsewhere = Double { netns_cookie: COOKIE + 1, ..call(TCP, "127.0.0.1:8080") };
    let mut seen = elsewhere.clone();
    dial(&mut seen, &world.model);
    assert_eq!(seen, elsewhere);
    assert!(world.model.dialled.borrow().is_empty());
    assert!(may_bind(&Double { address: HOST, ..elsewhere.clone() }, &world.model));
    // Before the agent has said which namespace is its own, none is.
    world.model.netns_cookie = 0;
    let mut seen = call(TCP, "127.0.0.1:8080");
    dial(&mut seen, &world.model);
    assert_eq!(seen, call(TCP, "127.0.0.1:8080"));
}

#[test]
fn a_published_port_cannot_be_bound() {
    let world = world();
    let rows = [
        (TCP, "0.0.0.0:8080", false),
        (TCP, "127.0.0.1:8080", false),
        (TCP, "198.18.0.1:8080", false),
        (TCP, "198.19.0.1:8080", false),
        (TCP, "[::]:8080", false),
        (TCP, "[::ffff:0.0.0.0]:8080", false),
        (TCP, "[::ffff:127.0.0.1]:8080", false),
        (TCP, "127.0.0.1:9090", false),
        (UDP, "0.0.0.0:5353", false),
        // Free: another protocol, port, address or family, and the port that the kernel chooses.
        (UDP, "0.0.0.0:8080", true),
        (TCP, "0.0.0.0:8081", true),
        (TCP, "198.18.0.1:9090", true),
        (TCP, "0.0.0.0:9090", true),
        (TCP, "[::1]:8080", true),
        (TCP, "0.0.0.0:0", true),
    ];
    for (protocol, at, is_free) in rows {
        assert_eq!(may_bind(&call(protocol, at), &world.model), is_free, "{protocol} {at}");
    }
}

/// Port 53 of the name server's address in a container that has one at port 40053.
fn asking(protocol: u8, text: &str) -> Double {
    Double { netns_cookie: CONTAINER, ..call(protocol, text) }
}

const CONTAINER: u64 = COOKIE + 7;

#[test]
fn a_container_s_questions_are_turned_to_its_name_server_and_the_answers_back() {
    let mut world = world();
    world.model.names.insert(CONTAINER, Resolver { port: 40_053, pad: [0; 2] });
    let rows = [
        (UDP, "127.0.0.11:53", "127.0.0.11:40053"),
        (TCP, "127.0.0.11:53", "127.0.0.11:40053"),
        // An IPv6 socket that speaks IPv4.
        (UDP, "[::ffff:127.0.0.11]:53", "[::ffff:127.0.0.11]:40053"),
        (TCP, "[::ffff:127.0.0.11]:53", "[::ffff:127.0.0.11]:40053"),
        // The container's own, and others'.
        (UDP, "127.0.0.1:53", "127.0.0.1:53"),
        (UDP, "127.0.0.11:5353", "127.0.0.11:5353"),
        (UDP, "127.0.0.12:53", "127.0.0.12:53"),
        (UDP, "198.18.1.9:53", "198.18.1.9:53"),
        (UDP, "[::1]:53", "[::1]:53"),
        (132, "127.0.0.11:53", "127.0.0.11:53"),
        // What is published is so in the host's namespace alone.
        (TCP, "127.0.0.1:8080", "127.0.0.1:8080"),
    ];
    for (protocol, asked, reached) in rows {
        for story in [dial, send] {
            let mut seen = asking(protocol, asked);
            story(&mut seen, &world.model);
            assert_eq!(seen, asking(protocol, reached), "{protocol} {asked}");
            undial(&mut seen, &world.model);
            assert_eq!(seen, asking(protocol, asked), "{protocol} {asked}, told");
        }
    }
    assert!(world.model.dialled.borrow().is_empty(), "nothing needs to be remembered");
    let mut other = asking(UDP, "127.0.0.11:40054");
    undial(&mut other, &world.model);
    assert_eq!(other, asking(UDP, "127.0.0.11:40054"), "another port of that address");
    assert!(may_bind(&asking(UDP, "0.0.0.0:53"), &world.model), "port 53 is the container's own");
}

#[test]
fn namespaces_without_a_name_server_of_netd_keep_their_own() {
    let mut world = world();
    world.model.names.insert(CONTAINER, Resolver { port: 40_053, pad: [0; 2] });
    for netns_cookie in [COOKIE, COOKIE + 1] {
        for text in ["127.0.0.11:53", "127.0.0.11:40053"] {
            let there = Double { netns_cookie, ..call(UDP, text) };
            for story in [dial, send, undial] {
                let mut seen = there.clone();
                story(&mut seen, &world.model);
                assert_eq!(seen, there, "{text}");
            }
        }
    }
}
