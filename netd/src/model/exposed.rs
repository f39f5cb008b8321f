//! At which ports does a container say that it answers: `PORT[-END][/PROTOCOL]`?

use super::port_map::{PortMap, parse_protocol, parse_range};
use super::state::Protocol;
use super::text::as_text;
use serde::{Deserialize, Serialize};
use std::fmt;
use std::str::FromStr;

/// One word of `--expose`. In JSON it is the same text.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Exposed {
    pub port: u16,
    /// How many ports, from 1.
    pub count: u16,
    pub protocol: Protocol,
}

impl Exposed {
    /// Its publishing, at ports of the host that netd picks.
    #[must_use]
    pub const fn published(self) -> PortMap {
        let Self { port, count, protocol } = self;
        PortMap { host_ip: None, host_port: None, container_port: port, count, protocol }
    }
}

impl FromStr for Exposed {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let parse = || {
            let (ports, protocol) = match text.rsplit_once('/') {
                Some((ports, protocol)) => (ports, parse_protocol(protocol)?),
                None => (text, Protocol::Tcp),
            };
            let (port, count) = parse_range(ports)?;
            Ok(Self { port, count, protocol })
        };
        parse().map_err(|reason: super::port_map::Reason| {
            format!(
                "\"{}\" is not a port to expose: {reason}; write PORT[-END][/tcp|/udp|/sctp], such as 80",
                text.escape_debug()
            )
        })
    }
}

impl fmt::Display for Exposed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // A port map without the host's side is the same text.
        self.published().fmt(f)
    }
}

as_text!(Exposed);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_are_read_and_written() {
        for (text, written) in [("80", "80/tcp"), ("53/udp", "53/udp"), ("9000-9010/TCP", "9000-9010/tcp")] {
            let exposed: Exposed = text.parse().unwrap();
            assert_eq!(exposed.to_string(), written);
            assert_eq!(written.parse(), Ok(exposed));
        }
        for (text, said) in [
            ("", "\"\" is not a port to expose: \"\" is not a port from 1 to 65535"),
            ("8080:80", "\"8080:80\" is not a port to expose: \"8080:80\" is not a port"),
            ("90-80", "the range 90-80 runs backwards; write PORT[-END][/tcp|/udp|/sctp], such as 80"),
            ("80/icmp", "\"icmp\" is not a protocol"),
        ] {
            let error = text.parse::<Exposed>().unwrap_err();
            assert!(error.contains(said), "{error}");
        }
    }
}
