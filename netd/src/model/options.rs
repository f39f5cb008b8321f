//! Which options of a network does netd act on, and what do they say?
//!
//! `--opt K=V` keeps whatever it is given. The keys here mean something: `timeout-…` and `snat-pool`; and as Docker has
//! them, `parent`, `macvlan_mode`, `ipvlan_mode` and `ipvlan_flag`.

use super::parent::{IpvlanMode, MacvlanMode};
use netd_common::flow::Timeouts;
use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// What every option about timeouts begins with; behind it comes the name of a field of [`Timeouts`], with hyphens.
const TIMEOUT: &str = "timeout-";
/// The addresses that a network's flows to the outside take.
const SNAT_POOL: &str = "snat-pool";
/// The interface on whose wire the containers are: `--parent` in other words.
const PARENT: &str = "parent";
const MACVLAN_MODE: &str = "macvlan_mode";
const IPVLAN_MODE: &str = "ipvlan_mode";
const IPVLAN_FLAG: &str = "ipvlan_flag";

const MACVLAN_MODES: [(&str, MacvlanMode); 4] = [
    ("bridge", MacvlanMode::Bridge),
    ("vepa", MacvlanMode::Vepa),
    ("private", MacvlanMode::Private),
    ("passthru", MacvlanMode::Passthru),
];
const IPVLAN_MODES: [(&str, IpvlanMode); 2] = [("l2", IpvlanMode::L2), ("l3", IpvlanMode::L3)];
/// What the kernel does when it is told nothing.
const IPVLAN_FLAGS: [(&str, ()); 1] = [("bridge", ())];

/// Seconds: below, a flow would be over between two of its packets; above, it only fills the table.
pub const TIMEOUTS_S: std::ops::RangeInclusive<u32> = 1..=30 * 24 * 3600;
/// Addresses of each family in the pool of one network; more are refused. Each gives 64,512 flows to one remote port.
pub const POOL_MAX: usize = 256;

/// The options of a network that netd acts on.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NetworkOptions {
    /// None: [`Timeouts::DEFAULT`].
    pub timeouts: Option<Timeouts>,
    /// In the order given, none of them twice. Empty: the address of the uplink.
    pub snat_pool: Vec<IpAddr>,
    pub parent: Option<String>,
    pub macvlan_mode: Option<MacvlanMode>,
    pub ipvlan_mode: Option<IpvlanMode>,
    /// Whether `ipvlan_flag` was given, which can say one thing only.
    pub ipvlan_flag: Option<()>,
}

/// Why the options are not understood.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum OptionError {
    #[error("there is no option \"{}\"; there are {}", .0.escape_debug(), timeout_names())]
    UnknownTimeout(String),
    #[error("{key} is \"{}\"; write whole seconds, or a number with s, m, h or d, such as 30s, 5m or 2h", value.escape_debug())]
    NoTime { key: String, value: String },
    #[error("{key} is {value}; it must be from {} s to {} days", TIMEOUTS_S.start(), TIMEOUTS_S.end() / (24 * 3600))]
    OutOfRange { key: String, value: String },
    #[error("{key} is \"{}\"; write {}", value.escape_debug(), one_of(choices))]
    NoChoice { key: &'static str, value: String, choices: Vec<&'static str> },
    #[error("{SNAT_POOL}: \"{}\" is no address; write ADDR or ADDR-ADDR, with commas between them", .0.escape_debug())]
    NoAddress(String),
    #[error("{SNAT_POOL}: the range {0}-{1} runs backwards, or from one family to the other")]
    Backwards(IpAddr, IpAddr),
    #[error("{SNAT_POOL}: {address} is {what}; name addresses that the host has on an uplink")]
    Special { address: IpAddr, what: &'static str },
    #[error("{SNAT_POOL}: more than {POOL_MAX} addresses of IPv{family}; name fewer")]
    TooMany { family: u8 },
}

type Field = fn(&mut Timeouts) -> &mut u32;

/// The fields of [`Timeouts`] by the names of their options, behind [`TIMEOUT`].
const FIELDS: [(&str, Field); 7] = [
    ("tcp-opening", |timeouts| &mut timeouts.tcp_opening),
    ("tcp-established", |timeouts| &mut timeouts.tcp_established),
    ("tcp-half-closed", |timeouts| &mut timeouts.tcp_half_closed),
    ("tcp-closing", |timeouts| &mut timeouts.tcp_closing),
    ("udp-opening", |timeouts| &mut timeouts.udp_opening),
    ("udp-established", |timeouts| &mut timeouts.udp_established),
    ("icmp", |timeouts| &mut timeouts.icmp),
];

fn timeout_names() -> String {
    FIELDS.map(|(name, _)| format!("{TIMEOUT}{name}")).join(", ")
}

fn one_of(choices: &[&str]) -> String {
    match choices {
        [rest @ .., last] if !rest.is_empty() => format!("{} or {last}", rest.join(", ")),
        all => all.join(""),
    }
}

impl NetworkOptions {
    /// # Errors
    /// When a key of these says nothing that can be understood. Other keys are anybody's.
    pub fn parse(options: &BTreeMap<String, String>) -> Result<Self, OptionError> {
        let mut parsed = Self::default();
        for (key, value) in options {
            if let Some(name) = key.strip_prefix(TIMEOUT) {
                let field = FIELDS.iter().find(|(known, _)| *known == name).map(|(_, field)| field);
                let field = field.ok_or_else(|| OptionError::UnknownTimeout(key.clone()))?;
                *field(parsed.timeouts.get_or_insert_default()) = seconds(key, value)?;
            } else if key == SNAT_POOL {
                parsed.snat_pool = pool(value)?;
            } else if key == PARENT {
                parsed.parent = Some(value.clone());
            } else if key == MACVLAN_MODE {
                parsed.macvlan_mode = Some(choice(MACVLAN_MODE, value, &MACVLAN_MODES)?);
            } else if key == IPVLAN_MODE {
                parsed.ipvlan_mode = Some(choice(IPVLAN_MODE, value, &IPVLAN_MODES)?);
            } else if key == IPVLAN_FLAG {
                parsed.ipvlan_flag = Some(choice(IPVLAN_FLAG, value, &IPVLAN_FLAGS)?);
            }
        }
        Ok(parsed)
    }
}

fn choice<T: Copy>(key: &'static str, value: &str, choices: &[(&'static str, T)]) -> Result<T, OptionError> {
    let found = choices.iter().find(|(name, _)| *name == value).map(|(_, meaning)| *meaning);
    found.ok_or_else(|| {
        let choices = choices.iter().map(|(name, _)| *name).collect();
        OptionError::NoChoice { key, value: value.to_owned(), choices }
    })
}

fn seconds(key: &str, value: &str) -> Result<u32, OptionError> {
    let no_time = || OptionError::NoTime { key: key.to_owned(), value: value.to_owned() };
    let units = [("s", 1), ("m", 60), ("h", 3600), ("d", 24 * 3600), ("", 1)];
    let digits = |unit| value.strip_suffix(unit).filter(|digits| digits.bytes().all(|byte| byte.is_ascii_digit()));
    let (digits, unit) = units.into_iter().find_map(|(unit, s)| Some((digits(unit)?, s))).ok_or_else(no_time)?;
    if digits.is_empty() {
        return Err(no_time());
    }
    // Digits that are no number are too many of them.
    let seconds = digits.parse().ok().and_then(|number: u32| number.checked_mul(unit));
    seconds
        .filter(|seconds| TIMEOUTS_S.contains(seconds))
        .ok_or_else(|| OptionError::OutOfRange { key: key.to_owned(), value: value.to_owned() })
}

fn pool(text: &str) -> Result<Vec<IpAddr>, OptionError> {
    let mut addresses = Vec::new();
    let mut known = BTreeSet::new();
    for part in text.split(',') {
        let address = |text: &str| text.parse::<IpAddr>().map_err(|_| OptionError::NoAddress(part.to_owned()));
        let (first, last) = match part.split_once('-') {
            Some((first, last)) => (address(first)?, address(last)?),
            None => (address(part)?, address(part)?),
        };
        for address in range(first, last)? {
            if let Some(what) = special(address) {
                return Err(OptionError::Special { address, what });
            }
            if known.insert(address) {
                addresses.push(address);
            }
        }
        for (family, is_of) in [(4, IpAddr::is_ipv4 as fn(&IpAddr) -> bool), (6, IpAddr::is_ipv6)] {
            if addresses.iter().filter(|address| is_of(address)).count() > POOL_MAX {
                return Err(OptionError::TooMany { family });
            }
        }
    }
    Ok(addresses)
}

/// From `first` to `last`, both included.
fn range(first: IpAddr, last: IpAddr) -> Result<Vec<IpAddr>, OptionError> {
    let (family, start, end, address): (u8, u128, u128, fn(u128) -> IpAddr) = match (first, last) {
        (IpAddr::V4(a), IpAddr::V4(b)) => {
            (4, a.to_bits().into(), b.to_bits().into(), |bits| Ipv4Addr::from_bits(bits as u32).into())
        }
        (IpAddr::V6(a), IpAddr::V6(b)) => (6, a.to_bits(), b.to_bits(), |bits| Ipv6Addr::from_bits(bits).into()),
        (IpAddr::V4(_), IpAddr::V6(_)) | (IpAddr::V6(_), IpAddr::V4(_)) => {
            return Err(OptionError::Backwards(first, last));
        }
    };
    match end.checked_sub(start) {
        None => Err(OptionError::Backwards(first, last)),
        Some(more) if more >= POOL_MAX as u128 => Err(OptionError::TooMany { family }),
        Some(_) => Ok((start..=end).map(address).collect()),
    }
}

/// What kind of an address that no packet leaves with.
fn special(address: IpAddr) -> Option<&'static str> {
    let is_link_local = match address {
        IpAddr::V4(v4) => v4.is_link_local(),
        IpAddr::V6(v6) => v6.is_unicast_link_local(),
    };
    let is_broadcast = matches!(address, IpAddr::V4(v4) if v4.is_broadcast());
    let is_mapped = matches!(address, IpAddr::V6(v6) if v6.to_ipv4_mapped().is_some());
    let kinds = [
        (address.is_unspecified(), "unspecified"),
        (address.is_loopback(), "a loopback address"),
        (address.is_multicast(), "a multicast address"),
        (is_link_local, "a link-local address"),
        (is_broadcast, "the broadcast address"),
        (is_mapped, "an IPv4 address in IPv6"),
    ];
    kinds.into_iter().find_map(|(is_of, what)| is_of.then_some(what))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(options: &[(&str, &str)]) -> Result<NetworkOptions, String> {
        let options = options.iter().map(|&(key, value)| (key.to_owned(), value.to_owned())).collect();
        NetworkOptions::parse(&options).map_err(|error| error.to_string())
    }

    #[test]
    fn every_timeout_has_its_option() {
        let mut all = Timeouts { ..Timeouts::DEFAULT };
        for (number, (name, field)) in (1..).zip(FIELDS) {
            *field(&mut all) = number;
            let parsed = parse(&[(&format!("{TIMEOUT}{name}"), &number.to_string())]).unwrap().timeouts.unwrap();
            assert_eq!(*field(&mut parsed.clone()), number);
        }
        let numbers = Timeouts {
            tcp_opening: 1,
            tcp_established: 2,
            tcp_half_closed: 3,
            tcp_closing: 4,
            udp_opening: 5,
            udp_established: 6,
            icmp: 7,
        };
        assert_eq!(all, numbers);
    }

    #[test]
    fn times_have_units() {
        for (text, expected) in [("30", 30), ("30s", 30), ("5m", 300), ("2h", 7200), ("1d", 86_400), ("1", 1)] {
            let timeouts = parse(&[("timeout-tcp-established", text)]).unwrap().timeouts;
            assert_eq!(timeouts, Some(Timeouts { tcp_established: expected, ..Timeouts::DEFAULT }), "{text}");
        }
        for text in ["", "s", "2w", "1h30m", "-1", "+1", " 1", "1.5h", "h2"] {
            assert_eq!(
                parse(&[("timeout-icmp", text)]).unwrap_err(),
                format!(
                    "timeout-icmp is \"{text}\"; write whole seconds, or a number with s, m, h or d, such as 30s, 5m or 2h"
                )
            );
        }
        for text in ["0", "0s", "31d", "4294967296", "99999999999h"] {
            let error = parse(&[("timeout-icmp", text)]).unwrap_err();
            assert_eq!(error, format!("timeout-icmp is {text}; it must be from 1 s to 30 days"));
        }
    }

    #[test]
    fn other_options_are_anybody_s_but_a_timeout_is_a_known_one() {
        let nothing = Ok(NetworkOptions::default());
        assert_eq!(parse(&[("com.example/colour", "blue"), ("timeouts", "1s"), ("snat", "x")]), nothing);
        assert_eq!(
            parse(&[("timeout-tcp", "1s")]).unwrap_err(),
            "there is no option \"timeout-tcp\"; there are timeout-tcp-opening, timeout-tcp-established, \
             timeout-tcp-half-closed, timeout-tcp-closing, timeout-udp-opening, timeout-udp-established, timeout-icmp"
        );
    }

    #[test]
    fn modes_are_those_of_the_kernel() {
        for (name, mode) in MACVLAN_MODES {
            assert_eq!(parse(&[("macvlan_mode", name)]).unwrap().macvlan_mode, Some(mode));
        }
        let ipvlan = parse(&[("ipvlan_mode", "l3"), ("ipvlan_flag", "bridge"), ("parent", "eth0")]).unwrap();
        assert_eq!((ipvlan.ipvlan_mode, ipvlan.parent.as_deref()), (Some(IpvlanMode::L3), Some("eth0")));
        assert_eq!(
            parse(&[("macvlan_mode", "Bridge")]).unwrap_err(),
            "macvlan_mode is \"Bridge\"; write bridge, vepa, private or passthru"
        );
        assert_eq!(parse(&[("ipvlan_mode", "l3s")]).unwrap_err(), "ipvlan_mode is \"l3s\"; write l2 or l3");
        assert_eq!(parse(&[("ipvlan_flag", "vepa")]).unwrap_err(), "ipvlan_flag is \"vepa\"; write bridge");
    }

    #[test]
    fn a_pool_is_addresses_and_ranges_of_both_families() {
        let pool = |text| {
            let parsed = parse(&[("snat-pool", text)]).unwrap_or_else(|error| panic!("{text}: {error}"));
            parsed.snat_pool.iter().map(ToString::to_string).collect::<Vec<_>>().join(" ")
        };
        assert_eq!(pool("198.18.0.9"), "198.18.0.9");
        assert_eq!(
            pool("198.18.0.254-198.18.1.1,198.18.0.1"),
            "198.18.0.254 198.18.0.255 198.18.1.0 198.18.1.1 198.18.0.1"
        );
        assert_eq!(
            pool("2001:db8::ff-2001:db8::101,198.18.0.1"),
            "2001:db8::ff 2001:db8::100 2001:db8::101 198.18.0.1"
        );
        assert_eq!(pool("198.18.0.1,198.18.0.1-198.18.0.2"), "198.18.0.1 198.18.0.2", "none twice");
        assert_eq!(pool("10.0.0.0-10.0.0.255").split(' ').count(), POOL_MAX);
    }

    #[test]
    fn a_pool_that_cannot_be_is_refused() {
        let cases = [
            ("", "\"\" is no address; write ADDR or ADDR-ADDR, with commas between them"),
            ("198.18.0.1,", "\"\" is no address"),
            ("198.18.0.0/24", "\"198.18.0.0/24\" is no address"),
            ("198.18.0.9-7", "\"198.18.0.9-7\" is no address"),
            ("198.18.0.9-198.18.0.7", "the range 198.18.0.9-198.18.0.7 runs backwards"),
            ("198.18.0.9-2001:db8::1", "or from one family to the other"),
            ("127.0.0.1", "127.0.0.1 is a loopback address; name addresses that the host has on an uplink"),
            ("::1", "::1 is a loopback address"),
            ("0.0.0.0", "0.0.0.0 is unspecified"),
            ("223.255.255.255-224.0.0.1", "224.0.0.0 is a multicast address"),
            ("ff02::1", "ff02::1 is a multicast address"),
            ("fe80::1", "fe80::1 is a link-local address"),
            ("169.254.0.1", "169.254.0.1 is a link-local address"),
            ("255.255.255.255", "255.255.255.255 is the broadcast address"),
            ("::ffff:10.0.0.1", "::ffff:10.0.0.1 is an IPv4 address in IPv6"),
            ("10.0.0.0-10.0.1.0", "more than 256 addresses of IPv4; name fewer"),
            ("10.0.0.0-10.0.0.255,10.0.1.0", "more than 256 addresses of IPv4"),
            ("2001:db8::-2001:db8:ffff::", "more than 256 addresses of IPv6"),
        ];
        for (text, expected) in cases {
            let error = parse(&[("snat-pool", text)]).unwrap_err();
            assert!(error.starts_with("snat-pool: ") && error.contains(expected), "{text}: {error}");
        }
    }
}
