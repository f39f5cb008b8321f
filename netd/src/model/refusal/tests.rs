//! Does every refusal say what, why and what to do?

use super::*;
use std::collections::BTreeSet;

fn text(text: &str) -> String {
    text.to_owned()
}

/// Each refusal, and what the user reads.
#[expect(clippy::too_many_lines, reason = "one table of refusals")]
fn rows() -> Vec<(Refusal, &'static str)> {
    let [any, loopback, web, six] =
        ["0.0.0.0", "127.0.0.1", "10.1.0.2", "fd00::9"].map(|ip| ip.parse::<IpAddr>().unwrap());
    let subnet: IpNetwork = "10.1.0.0/24".parse().unwrap();
    let mac: Mac = "02:00:00:00:00:07".parse().unwrap();
    let path = PathBuf::from("/run/netns/x");
    let bound = || Refusal::PortBound {
        host_ip: any,
        host_port: 80,
        protocol: Protocol::Tcp,
        address: loopback,
        inode: 77,
        process: None,
    };
    let published = |existing_ip| Refusal::PortPublished {
        host_ip: any,
        host_port: 80,
        protocol: Protocol::Udp,
        container: text("web"),
        existing_ip,
    };
    let prefix = |text: &str| text.parse().unwrap();
    let not_blocked = |covering: Option<&str>, inside: &[&str]| Refusal::NotBlocked {
        prefix: prefix("10.1.0.0/16"),
        covering: covering.map(prefix),
        inside: inside.iter().map(|text| prefix(text)).collect(),
    };
    vec![
        (
            Refusal::BadName {
                kind: Kind::Container,
                name: text("a b"),
                reason: NameError::Character { character: ' ' },
            },
            "container name \"a b\" has a ' ' in it; use letters, digits, '_', '.' and '-', a letter or digit first, at most 63",
        ),
        (
            Refusal::BadName { kind: Kind::Network, name: text(""), reason: NameError::Empty },
            "network name \"\" is empty; use letters, digits, '_', '.' and '-', a letter or digit first, at most 63",
        ),
        (
            Refusal::UnknownContainer { name: text("wbe"), nearest: Some(text("web")) },
            "no container named \"wbe\"; did you mean \"web\"?",
        ),
        (
            Refusal::UnknownContainer { name: text("x"), nearest: None },
            "no container named \"x\"; `netctl container ls` lists them",
        ),
        (
            Refusal::UnknownNetwork { name: text("x\n"), nearest: None },
            "no network named \"x\\n\"; `netctl network ls` lists them",
        ),
        (
            Refusal::NameTaken { kind: Kind::Network, name: text("blue") },
            "there is a network named \"blue\" already; choose another name or remove it first",
        ),
        (
            Refusal::NamespaceExists { name: text("web") },
            "a network namespace named \"web\" exists already and is not taken over; choose another name, or pass its path with --netns to use it",
        ),
        (
            Refusal::NamespaceInUse { path: path.clone(), container: text("web") },
            "the namespace /run/netns/x is used by container \"web\" already; remove that first",
        ),
        (
            Refusal::NoNamespace { path: path.clone() },
            "there is no network namespace at /run/netns/x; make it first, or leave --netns out and netd makes one",
        ),
        (Refusal::HostNamespace { path }, "/run/netns/x is the host's own network namespace; use --network host"),
        (
            Refusal::RelativeNamespace { path: "run/x".into() },
            "the namespace path \"run/x\" is not absolute; write it from the root, such as /run/netns/web",
        ),
        (
            published(any),
            "port 0.0.0.0:80/udp is already published by container \"web\"; unpublish that first or choose another port",
        ),
        (
            published(loopback),
            "port 0.0.0.0:80/udp is already published by container \"web\" at 127.0.0.1:80; unpublish that first or choose another port",
        ),
        (
            bound(),
            "port 0.0.0.0:80/tcp is already bound on the host, at 127.0.0.1:80 (socket inode 77); stop what holds it or choose another port",
        ),
        (
            bound().naming_process(&|inode| (inode == 77).then(|| text("nginx (pid 12)"))),
            "port 0.0.0.0:80/tcp is already bound on the host, at 127.0.0.1:80 by nginx (pid 12); stop what holds it or choose another port",
        ),
        (
            Refusal::NoFreePort { host_ip: any, protocol: Protocol::Udp },
            "no udp port of 0.0.0.0 is free to be picked; name one, or unpublish some",
        ),
        (
            Refusal::NotHostAddress { address: web, has: vec![loopback] },
            "the host has no address 10.1.0.2; it has 127.0.0.1",
        ),
        (Refusal::NotHostAddress { address: web, has: Vec::new() }, "the host has no address 10.1.0.2; it has none"),
        (
            Refusal::NoAddress { container: text("web"), why: "it is on no network" },
            "container \"web\" has no address to publish to: it is on no network",
        ),
        (
            Refusal::NotPublished { container: text("web"), port: text("8080:80/tcp"), has: Vec::new() },
            "8080:80/tcp of container \"web\" is not published; nothing of it is",
        ),
        (
            Refusal::NotPublished { container: text("web"), port: text("8080:80/tcp"), has: vec![text("81:81/tcp")] },
            "8080:80/tcp of container \"web\" is not published; published are 81:81/tcp",
        ),
        (
            not_blocked(Some("10.0.0.0/8"), &[]),
            "10.1.0.0/16 is not blocked; 10.0.0.0/8, which has it, is: unblock that, and block again what is to stay blocked",
        ),
        (
            not_blocked(None, &["10.1.2.0/24", "10.1.3.0/24"]),
            "10.1.0.0/16 is not blocked; of 10.1.0.0/16 only parts are: 10.1.2.0/24, 10.1.3.0/24",
        ),
        (not_blocked(None, &[]), "10.1.0.0/16 is not blocked; `netctl block ls` lists what is"),
        (
            Refusal::BlockListFull { has: 1_048_575, more: 2 },
            "the block list takes 1048576 prefixes: it has 1048575, and 2 more do not fit; unblock some, or block shorter prefixes",
        ),
        (
            Refusal::AddressOutside { address: loopback, network: text("blue"), subnet },
            "address 127.0.0.1 is outside the subnet 10.1.0.0/24 of network \"blue\"; choose one inside",
        ),
        (
            Refusal::AddressTaken { address: web, network: text("blue"), by: text("container \"db\"") },
            "address 10.1.0.2 of network \"blue\" is taken by container \"db\"; choose another or leave it to netd",
        ),
        (
            Refusal::AddressesUsedUp { network: text("blue"), range: subnet },
            "network \"blue\" has no free address left in 10.1.0.0/24; remove containers or make a larger network",
        ),
        (
            Refusal::MacTaken { mac, network: text("blue"), by: text("the network's gateway") },
            "MAC address 02:00:00:00:00:07 of network \"blue\" is taken by the network's gateway; choose another with --mac",
        ),
        (
            Refusal::BadMac { mac, why: "all zero" },
            "02:00:00:00:00:07 is no MAC address of an interface: it is all zero; choose a unicast one, such as 02:00:0a:d0:00:02",
        ),
        (
            Refusal::SubnetOverlaps { subnet, other: subnet, whose: text("of network \"blue\"") },
            "subnet 10.1.0.0/24 overlaps 10.1.0.0/24, of network \"blue\"; choose another",
        ),
        (
            Refusal::SubnetsUsedUp { pools: vec![subnet] },
            "no automatic subnet of 10.1.0.0/24 is free of other networks and of the host's routes; name one with --subnet, or have netd run with another --subnet-pool",
        ),
        (
            Refusal::BadNetwork { network: text("blue"), what: text("MTU 67 is not from 68 to 65535") },
            "network \"blue\": MTU 67 is not from 68 to 65535",
        ),
        (
            Refusal::NetworkInUse { network: text("n"), by: (0..10).map(|n| format!("c{n}")).collect() },
            "network \"n\" is in use by \"c0\", \"c1\", \"c2\", \"c3\", \"c4\", \"c5\", \"c6\", \"c7\", 2 more; disconnect or remove that first",
        ),
        (Refusal::BuiltinNetwork { network: text("bridge") }, "network \"bridge\" is built in and stays"),
        (
            Refusal::NeedsNetwork { option: "--ip", network: text("host") },
            "--ip needs a network of its own, and \"host\" is none; leave --ip out or choose another network",
        ),
        (
            Refusal::NetworkStandsAlone { network: text("host") },
            "\"host\" stands alone: a container is either on it or on other networks",
        ),
        (Refusal::NetworkTwice { network: text("blue") }, "network \"blue\" is named twice; name it once"),
        (
            Refusal::OptionTwice { option: "--ip", network: text("blue") },
            "--ip is given twice for network \"blue\"; give it once",
        ),
        (
            Refusal::AlreadyConnected { container: text("web"), network: text("blue") },
            "container \"web\" is on network \"blue\" already; disconnect it first to join it otherwise",
        ),
        (
            Refusal::NotConnected {
                container: text("web"),
                network: text("blue"),
                has: vec![text("bridge"), text("red")],
            },
            "container \"web\" is not on network \"blue\"; it is on \"bridge\", \"red\"",
        ),
        (
            Refusal::NotConnected { container: text("web"), network: text("blue"), has: Vec::new() },
            "container \"web\" is not on network \"blue\"; it is on none",
        ),
        (
            Refusal::OnHostNetwork { container: text("web") },
            "container \"web\" is on the host's own network, and joins and leaves no other; make it again with --network",
        ),
        (
            Refusal::SharesNetworks { container: text("side"), other: text("web") },
            "container \"side\" has no network of its own, it shares the namespace of \"web\"; connect or disconnect that one",
        ),
        (
            Refusal::NotJoinable { network: text("none") },
            "\"none\" is no network to join or leave; it is for a container that is made with --network none",
        ),
        (
            Refusal::TooManyNetworks { container: text("web") },
            "a container is on 256 networks at most, and \"web\" would be on more; disconnect it from one",
        ),
        (
            Refusal::SharesNamespace { option: "--dns", other: text("web") },
            "--dns has no place here: the container shares the namespace of \"web\", which has that; leave --dns out, or give it to \"web\"",
        ),
        (
            Refusal::SharesSharer { other: text("side"), end: text("web") },
            "container \"side\" itself shares the namespace of \"web\"; use --network container:web",
        ),
        (
            Refusal::SharesHost { other: text("web") },
            "container \"web\" is on the host's own network; use --network host",
        ),
        (
            Refusal::Ipv6Unavailable { network: text("blue"), why: Ipv6::Absent },
            "network \"blue\" cannot have IPv6: this host's kernel has no IPv6 (there is no /proc/sys/net/ipv6); boot it with IPv6, without ipv6.disable=1, or use IPv4",
        ),
        (
            Refusal::NoDriver { network: text("lan"), missing: LinkDriver::Macvlan },
            "network \"lan\" cannot be made: the kernel has no driver for macvlan interfaces; load the module macvlan (modprobe macvlan), or use a kernel with CONFIG_MACVLAN",
        ),
        (
            Refusal::NoParent { network: text("lan"), parent: text("eth9"), has: vec![text("eth0"), text("eth1")] },
            "network \"lan\": the host has no Ethernet interface named \"eth9\"; it has eth0, eth1",
        ),
        (
            Refusal::ParentInUse {
                parent: text("eth0"),
                other: text("lan"),
                why: "by another driver, and the kernel takes one",
            },
            "interface eth0 is the parent of network \"lan\" already, by another driver, and the kernel takes one; choose another parent, or remove that first",
        ),
        (
            Refusal::ParentTaken { network: text("lan"), container: text("db") },
            "network \"lan\" takes one container, since it is passthru, and has \"db\"; disconnect or remove that first",
        ),
        (
            Refusal::MacOfParent { network: text("lan") },
            "containers of network \"lan\" have the MAC address of its parent; leave --mac out",
        ),
        (Refusal::TooMany { option: "--alias", most: 32 }, "--alias is given more than 32 times; leave some out"),
        (
            Refusal::NoSubnet { network: text("blue"), option: "--ip6", family: Family::V6, address: six },
            "network \"blue\" has no IPv6 subnet for fd00::9; leave --ip6 out or choose another network",
        ),
        (Refusal::OtherFamily { address: six, instead: "--ip6" }, "fd00::9 is an IPv6 address; give it with --ip6"),
        (
            Refusal::LinkLocal { address: six },
            "fd00::9 is a link-local address, which means nothing without its interface; name another address of the host, or none",
        ),
        (
            Refusal::Unsupported { what: text("publishing 80:80/sctp"), why: "publish tcp or udp" },
            "publishing 80:80/sctp is not supported: publish tcp or udp",
        ),
        (
            Refusal::NumbersUsedUp { what: Kind::Network },
            "all numbers for networks are used up; start netd on a new state directory",
        ),
        (
            Refusal::Among {
                what: text("container web"),
                refusal: Box::new(Refusal::TooMany { option: "--alias", most: 32 }),
            },
            "container web: --alias is given more than 32 times; leave some out",
        ),
    ]
}

#[test]
fn refusals_say_what_why_and_what_to_do() {
    for (refusal, text) in rows() {
        assert_eq!(refusal.to_string(), text);
        assert!(!text.contains('\n'), "one line: {text}");
    }
}

#[test]
fn every_refusal_has_a_row_here_and_its_code_a_place_in_the_documentation() {
    let (_, source) = include_str!("../refusal.rs").split_once("pub enum Refusal {").expect("the refusals");
    let (variants, _) = source.split_once("\n}\n").expect("their end");
    // A variant begins a line of its own, four spaces in: `    Name { .. },`.
    let named = variants.lines().filter_map(|line| line.strip_prefix("    ")?.split([' ', ',', '(']).next());
    let variants: BTreeSet<&str> = named.filter(|name| name.starts_with(|c: char| c.is_ascii_uppercase())).collect();
    assert!(variants.len() > 50, "the refusals are not read: {variants:?}");
    let rows = rows();
    let shown: Vec<String> = rows.iter().map(|(refusal, _)| format!("{refusal:?}")).collect();
    let shown: BTreeSet<&str> = shown.iter().filter_map(|shown| shown.split(' ').next()).collect();
    let missing: Vec<_> = variants.difference(&shown).collect();
    assert!(missing.is_empty(), "without a row: {missing:?}");
    let codes: BTreeSet<&str> = rows.iter().map(|(refusal, _)| refusal.code()).collect();
    assert_eq!(codes.len(), variants.len() - 1, "each has a code of its own, but one among others has theirs");
    let documentation = include_str!("../../../../docs/api.md");
    let unknown: Vec<_> = codes.iter().filter(|code| !documentation.contains(&format!("`{code}`"))).collect();
    assert!(unknown.is_empty(), "not in docs/api.md: {unknown:?}");
}
