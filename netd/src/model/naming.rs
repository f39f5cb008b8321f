//! What may a user say about how a container finds names?

use super::text::as_text;
use serde::{Deserialize, Serialize};
use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

/// Bytes of a domain name at most, as text (RFC 1035 section 3.1).
const DOMAIN_SIZE_MAX: usize = 253;
/// Bytes of one label of it.
const LABEL_SIZE_MAX: usize = 63;
/// Bytes of one resolver option.
const OPTION_SIZE_MAX: usize = 64;
/// Search domains, resolver options and name servers of a container, each; more are refused.
pub const RESOLVER_LINES_MAX: usize = 32;
/// Further lines of a container's `hosts`; more are refused.
pub const EXTRA_HOSTS_MAX: usize = 256;
/// What `--add-host` takes in place of an address: the gateway of the container's first network.
const HOST_GATEWAY: &str = "host-gateway";

/// A domain that is tried behind a name, or `.` for none.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub struct SearchDomain(String);

/// One word of a resolver's `options`, such as `ndots:2` (resolv.conf(5)).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub struct ResolverOption(String);

/// A line of a container's `hosts`: `NAME:IP`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub struct ExtraHost {
    pub name: String,
    pub address: HostAddress,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HostAddress {
    Ip(IpAddr),
    /// The gateway of the container's first network, in each family that it has.
    Gateway,
}

impl SearchDomain {
    /// None: no search at all.
    #[must_use]
    pub fn domain(&self) -> Option<&str> {
        Some(self.0.as_str()).filter(|domain| *domain != ".")
    }
}

impl fmt::Display for SearchDomain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl ResolverOption {
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for ResolverOption {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for SearchDomain {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text == "." || is_domain(text.strip_suffix('.').unwrap_or(text)) {
            return Ok(Self(text.to_owned()));
        }
        Err(format!("\"{}\" is no domain; write one such as example.org, or \".\" for none", text.escape_debug()))
    }
}

impl FromStr for ResolverOption {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if (1..=OPTION_SIZE_MAX).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Ok(Self(text.to_owned()));
        }
        Err(format!("\"{}\" is no resolver option; write one word, such as ndots:2", text.escape_debug()))
    }
}

impl FromStr for ExtraHost {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let refused = || {
            format!("\"{}\" is no host; write NAME:IP, such as db:192.0.2.7, or NAME:host-gateway", text.escape_debug())
        };
        let (name, address) = text.split_once([':', '=']).ok_or_else(refused)?;
        let address = match address.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(address) {
            HOST_GATEWAY => HostAddress::Gateway,
            address => HostAddress::Ip(address.parse().map_err(|_| refused())?),
        };
        if is_domain(name) { Ok(Self { name: name.to_owned(), address }) } else { Err(refused()) }
    }
}

impl fmt::Display for ExtraHost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.address {
            HostAddress::Ip(address) => write!(f, "{}:{address}", self.name),
            HostAddress::Gateway => write!(f, "{}:{HOST_GATEWAY}", self.name),
        }
    }
}

/// Labels of letters, digits, `-` and `_`, with dots between.
fn is_domain(text: &str) -> bool {
    let is_label = |label: &str| {
        (1..=LABEL_SIZE_MAX).contains(&label.len())
            && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'))
    };
    text.len() <= DOMAIN_SIZE_MAX && text.split('.').all(is_label)
}

as_text!(SearchDomain, ResolverOption, ExtraHost);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_is_a_name_and_an_address_of_either_family_or_the_gateway() {
        for (written, read) in [
            ("db:192.0.2.7", "db:192.0.2.7"),
            ("db=192.0.2.7", "db:192.0.2.7"),
            ("db.example.org:2001:db8::7", "db.example.org:2001:db8::7"),
            ("db:[2001:db8::7]", "db:2001:db8::7"),
            ("host.docker.internal:host-gateway", "host.docker.internal:host-gateway"),
        ] {
            let host: ExtraHost = written.parse().expect(written);
            assert_eq!(host.to_string(), read);
            assert_eq!(host.to_string().parse::<ExtraHost>().as_ref(), Ok(&host));
        }
        for wrong in ["db", "db:", ":192.0.2.7", "a b:192.0.2.7", "db:192.0.2", "db:host", "a..b:192.0.2.7", "a\n:::1"]
        {
            assert!(wrong.parse::<ExtraHost>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn lines_of_resolv_conf_stay_lines() {
        for good in ["example.org", "example.org.", "lan", "_tcp.example.org"] {
            assert_eq!(good.parse::<SearchDomain>().expect(good).domain(), Some(good));
        }
        assert_eq!(".".parse::<SearchDomain>().expect("none").domain(), None);
        for wrong in ["", "..", "a b", "a\nnameserver 192.0.2.1", &"a.".repeat(128)] {
            assert!(wrong.parse::<SearchDomain>().is_err(), "{wrong}");
        }
        assert!("ndots:2".parse::<ResolverOption>().is_ok());
        for wrong in ["", "a b", "a\n", &"a".repeat(65)] {
            assert!(wrong.parse::<ResolverOption>().is_err(), "{wrong}");
        }
    }
}
