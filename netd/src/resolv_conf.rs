//! What does a resolv.conf(5) say?

use std::net::IpAddr;

/// The parts that netd reads. As glibc has it, the last `search` or `domain` line counts, and all `options` do.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ResolvConf {
    pub servers: Vec<Server>,
    pub search: Vec<String>,
    pub options: Vec<String>,
}

/// A name server.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Server {
    pub address: IpAddr,
    /// Name or number of the interface, of a link-local address: `fe80::1%eth0`.
    pub zone: Option<String>,
}

impl ResolvConf {
    /// What is not understood is passed over, as the C library does.
    #[must_use]
    pub fn parse(text: &str) -> Self {
        let mut conf = Self::default();
        for line in text.lines() {
            let mut words = line.split_ascii_whitespace();
            match words.next() {
                Some("nameserver") => conf.servers.extend(words.next().and_then(Server::parse)),
                Some("search") => conf.search = words.map(ToOwned::to_owned).collect(),
                Some("domain") => conf.search = words.take(1).map(ToOwned::to_owned).collect(),
                Some("options") => conf.options.extend(words.map(ToOwned::to_owned)),
                Some(_) | None => {}
            }
        }
        conf
    }
}

impl Server {
    fn parse(word: &str) -> Option<Self> {
        let (address, zone) = match word.split_once('%') {
            Some((address, zone)) => (address, Some(zone.to_owned())),
            None => (word, None),
        };
        Some(Self { address: address.parse().ok()?, zone })
    }
}

impl From<IpAddr> for Server {
    fn from(address: IpAddr) -> Self {
        Self { address, zone: None }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_known_lines_are_read_and_others_passed_over() {
        let conf = ResolvConf::parse(
            "# made by hand\n; so\ndomain old.example\nsearch a.example b.example\nnameserver 127.0.0.53 trailing\n\
             nameserver fe80::1%eth0\nnameserver nonsense\nnameserver\noptions edns0 trust-ad\noptions ndots:2\nsortlist x\n",
        );
        let servers = [
            Server::from(IpAddr::from([127, 0, 0, 53])),
            Server { address: "fe80::1".parse().expect("an address"), zone: Some("eth0".to_owned()) },
        ];
        assert_eq!(conf.servers, servers);
        assert_eq!(conf.search, ["a.example", "b.example"]);
        assert_eq!(conf.options, ["edns0", "trust-ad", "ndots:2"]);
        assert_eq!(ResolvConf::parse(""), ResolvConf::default());
    }
}
