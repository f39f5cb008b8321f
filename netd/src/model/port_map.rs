//! What does `[HOSTIP:]HOSTPORT[-END]:PORT[-END][/PROTOCOL]` say?

use super::state::Protocol;
use super::text::as_text;
use serde::{Deserialize, Serialize};
use std::fmt;
use std::net::{IpAddr, Ipv6Addr};
use std::str::FromStr;

/// One parsed SPEC of `netctl publish`. In JSON it is the same text.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct PortMap {
    /// None: every address of both families.
    pub host_ip: Option<IpAddr>,
    /// First port of the host; none: netd picks.
    pub host_port: Option<u16>,
    pub container_port: u16,
    /// How many ports, from 1.
    pub count: u16,
    pub protocol: Protocol,
}

/// Why a text is not a port map.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("\"{}\" is not a port map: {reason}; write [HOSTIP:]HOSTPORT[-END]:PORT[-END][/tcp|/udp|/sctp], such as 8080:80",
    text.escape_debug())]
pub struct PortMapError {
    pub text: String,
    pub reason: Reason,
}

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Reason {
    #[error("\"{}\" is not a protocol", .0.escape_debug())]
    Protocol(String),
    #[error("\"{}\" is not an IP address", .0.escape_debug())]
    Address(String),
    #[error("an IPv6 address stands in brackets, such as [::1]:8080:80")]
    Brackets,
    #[error("\"{}\" is not a port from 1 to 65535", .0.escape_debug())]
    Port(String),
    #[error("the range {0}-{1} runs backwards")]
    Backwards(u16, u16),
    #[error("{host} host ports cannot stand for {container} container ports")]
    Unequal { host: u32, container: u32 },
}

impl PortMap {
    /// Each container port with its port of the host; the latter is none when netd picks.
    pub fn pairs(&self) -> impl Iterator<Item = (Option<u16>, u16)> + '_ {
        (0..self.count).map_while(|index| {
            let host_port = match self.host_port {
                Some(first) => Some(first.checked_add(index)?),
                None => None,
            };
            Some((host_port, self.container_port.checked_add(index)?))
        })
    }
}

impl FromStr for PortMap {
    type Err = PortMapError;

    fn from_str(text: &str) -> Result<Self, PortMapError> {
        parse(text).map_err(|reason| PortMapError { text: text.to_owned(), reason })
    }
}

fn parse(text: &str) -> Result<PortMap, Reason> {
    let (rest, protocol) = match text.rsplit_once('/') {
        Some((rest, protocol)) => (rest, parse_protocol(protocol)?),
        None => (text, Protocol::Tcp),
    };
    let (host_ip, ports) = split_address(rest)?;
    let (host, container) = match (ports.split_once(':'), host_ip) {
        (Some((host, container)), _) => (host, container),
        // With an address the colon is needed: 127.0.0.1:80 reads as the address of a host port.
        (None, Some(_)) => return Err(Reason::Port(ports.to_owned())),
        (None, None) => ("", ports),
    };
    let (container_port, count) = parse_range(container)?;
    let host_port = match host {
        "" | "0" => None,
        range => {
            let (first, host_count) = parse_range(range)?;
            if host_count != count {
                return Err(Reason::Unequal { host: host_count.into(), container: count.into() });
            }
            Some(first)
        }
    };
    Ok(PortMap { host_ip, host_port, container_port, count, protocol })
}

/// Splits `HOSTIP:` off, if it is there.
fn split_address(text: &str) -> Result<(Option<IpAddr>, &str), Reason> {
    if let Some(rest) = text.strip_prefix('[') {
        let (address, ports) = rest.split_once("]:").ok_or_else(|| Reason::Address(text.to_owned()))?;
        let address: Ipv6Addr = address.parse().map_err(|_| Reason::Address(address.to_owned()))?;
        // One that is v4-mapped is IPv4's, as it is to a socket.
        return Ok((Some(address.to_canonical()), ports));
    }
    match text.matches(':').count() {
        0 | 1 => Ok((None, text)),
        2 => {
            let (address, ports) = text.split_once(':').unwrap_or(("", text));
            let address = address.parse().map_err(|_| Reason::Address(address.to_owned()))?;
            Ok((Some(IpAddr::V4(address)), ports))
        }
        _more => Err(Reason::Brackets),
    }
}

pub(super) fn parse_protocol(text: &str) -> Result<Protocol, Reason> {
    match text.to_ascii_lowercase().as_str() {
        "tcp" => Ok(Protocol::Tcp),
        "udp" => Ok(Protocol::Udp),
        "sctp" => Ok(Protocol::Sctp),
        _other => Err(Reason::Protocol(text.to_owned())),
    }
}

/// First port and count of `PORT` or `PORT-END`.
pub(super) fn parse_range(text: &str) -> Result<(u16, u16), Reason> {
    let Some((first, last)) = text.split_once('-') else { return Ok((parse_port(text)?, 1)) };
    let (first, last) = (parse_port(first)?, parse_port(last)?);
    match last.checked_sub(first) {
        // Port 0 is no port, so 65,535 is the largest count.
        Some(more) => Ok((first, more.saturating_add(1))),
        None => Err(Reason::Backwards(first, last)),
    }
}

fn parse_port(text: &str) -> Result<u16, Reason> {
    let refused = || Reason::Port(text.to_owned());
    if !text.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(refused());
    }
    text.parse().ok().filter(|&port| port != 0).ok_or_else(refused)
}

impl fmt::Display for PortMap {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.host_ip {
            Some(IpAddr::V4(address)) => write!(f, "{address}:")?,
            Some(IpAddr::V6(address)) => write!(f, "[{address}]:")?,
            None => {}
        }
        match (self.host_port, self.host_ip) {
            (Some(first), _) => write!(f, "{}:", Range(first, self.count))?,
            (None, Some(_)) => f.write_str(":")?,
            (None, None) => {}
        }
        write!(f, "{}/{}", Range(self.container_port, self.count), self.protocol)
    }
}

/// First port and count, as `PORT` or `PORT-END`.
struct Range(u16, u16);

impl fmt::Display for Range {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self(first, count) = *self;
        if count == 1 { write!(f, "{first}") } else { write!(f, "{first}-{}", first.saturating_add(count - 1)) }
    }
}

impl fmt::Display for Protocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Tcp => "tcp",
            Self::Udp => "udp",
            Self::Sctp => "sctp",
        })
    }
}

as_text!(PortMap);

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn every_form_reads_as_documented() {
        for (text, canonical) in [
            ("80", "80/tcp"),
            (":80", "80/tcp"),
            ("0:80", "80/tcp"),
            ("8080:80", "8080:80/tcp"),
            ("8080:80/udp", "8080:80/udp"),
            ("8080:80/UDP", "8080:80/udp"),
            ("8080:80/sctp", "8080:80/sctp"),
            ("127.0.0.1:8080:80", "127.0.0.1:8080:80/tcp"),
            ("127.0.0.1::80", "127.0.0.1::80/tcp"),
            ("0.0.0.0:0:80", "0.0.0.0::80/tcp"),
            ("[::1]:80:80", "[::1]:80:80/tcp"),
            ("[::1]::80/udp", "[::1]::80/udp"),
            ("[::]:80:80", "[::]:80:80/tcp"),
            ("[::ffff:127.0.0.1]:80:80", "127.0.0.1:80:80/tcp"),
            ("8000-8010:9000-9010", "8000-8010:9000-9010/tcp"),
            ("8000-8000:9000", "8000:9000/tcp"),
            ("1-65535:1-65535", "1-65535:1-65535/tcp"),
            ("9000-9010", "9000-9010/tcp"),
        ] {
            let map: PortMap = text.parse().unwrap_or_else(|error| panic!("{error}"));
            assert_eq!(map.to_string(), canonical, "{text}");
        }
        let map: PortMap = "127.0.0.1:8000-8001:90-91/udp".parse().unwrap();
        assert_eq!(map.pairs().collect::<Vec<_>>(), [(Some(8000), 90), (Some(8001), 91)]);
        let map: PortMap = "90-91".parse().unwrap();
        assert_eq!(map.pairs().collect::<Vec<_>>(), [(None, 90), (None, 91)]);
    }

    #[test]
    fn what_is_wrong_is_said() {
        for (text, reason) in [
            ("", "\"\" is not a port from 1 to 65535"),
            ("x", "\"x\" is not a port from 1 to 65535"),
            ("8080:", "\"\" is not a port from 1 to 65535"),
            ("8080:0", "\"0\" is not a port from 1 to 65535"),
            ("8080:65536", "\"65536\" is not a port from 1 to 65535"),
            ("+8080:80", "\"+8080\" is not a port from 1 to 65535"),
            ("0-5:0-5", "\"0\" is not a port from 1 to 65535"),
            ("8080:80/icmp", "\"icmp\" is not a protocol"),
            ("8080:80/", "\"\" is not a protocol"),
            ("8010-8000:90", "the range 8010-8000 runs backwards"),
            ("8000-8010:80", "11 host ports cannot stand for 1 container ports"),
            ("8000:80-81", "1 host ports cannot stand for 2 container ports"),
            ("127.0.0.1:80", "\"127.0.0.1\" is not a port from 1 to 65535"),
            ("localhost:80:80", "\"localhost\" is not an IP address"),
            ("::1:80:80", "an IPv6 address stands in brackets, such as [::1]:8080:80"),
            ("[::1:80:80", "\"[::1:80:80\" is not an IP address"),
            ("[127.0.0.1]:80:80", "\"127.0.0.1\" is not an IP address"),
            ("[::1]:80", "\"80\" is not a port from 1 to 65535"),
        ] {
            let error = text.parse::<PortMap>().unwrap_err();
            assert_eq!(error.reason.to_string(), reason, "{text}");
        }
        assert_eq!(
            "a:80".parse::<PortMap>().unwrap_err().to_string(),
            "\"a:80\" is not a port map: \"a\" is not a port from 1 to 65535; \
             write [HOSTIP:]HOSTPORT[-END]:PORT[-END][/tcp|/udp|/sctp], such as 8080:80"
        );
    }

    #[test]
    fn json_is_the_text() {
        let map: PortMap = serde_json::from_str("\"8080:80\"").unwrap();
        assert_eq!(serde_json::to_string(&map).unwrap(), "\"8080:80/tcp\"");
        assert!(serde_json::from_str::<PortMap>("\"8080:x\"").is_err());
    }

    fn any_map() -> impl Strategy<Value = PortMap> {
        let protocol = prop_oneof![Just(Protocol::Tcp), Just(Protocol::Udp), Just(Protocol::Sctp)];
        (any::<Option<IpAddr>>(), any::<Option<u16>>(), 1..=u16::MAX, 1..=u16::MAX, protocol).prop_map(
            |(host_ip, host_port, container_port, count, protocol)| {
                let host_port = host_port.map(|port| port.max(1));
                let room = u16::MAX - host_port.unwrap_or(1).max(container_port);
                let host_ip = host_ip.map(|ip| ip.to_canonical());
                PortMap { host_ip, host_port, container_port, count: count.min(room.saturating_add(1)), protocol }
            },
        )
    }

    proptest! {
        #[test]
        fn any_text_is_read_or_refused(text in "\\PC{0,40}|[0-9:./\\[\\]a-z-]{0,30}") {
            if let Ok(map) = text.parse::<PortMap>() {
                prop_assert_eq!(map.to_string().parse::<PortMap>(), Ok(map));
            }
        }

        #[test]
        fn what_is_written_reads_as_the_same(map in any_map()) {
            prop_assert_eq!(map.to_string().parse::<PortMap>(), Ok(map.clone()));
            prop_assert_eq!(map.pairs().count(), usize::from(map.count));
        }
    }
}
