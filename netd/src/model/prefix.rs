//! Which addresses does `ADDRESS[/LENGTH]` mean, and how are many of them kept?

use super::text::as_text;
use ipnetwork::IpNetwork;
use netd_common::Addr;
use serde::{Deserialize, Serialize, Serializer};
use std::collections::BTreeSet;
use std::fmt;
use std::net::{IpAddr, Ipv6Addr};
use std::ops::Deref;
use std::str::FromStr;
use std::sync::Arc;

/// Bits in front of an IPv4 address in its 16-byte form: `::ffff:0:0/96`.
const MAPPED: u8 = 96;
const MAPPED_BITS: u128 = 0xffff << 32;

/// Prefixes that a log line has at most.
const TOLD_MAX: usize = 8;

/// All addresses with the same first bits. IPv4, or IPv6 that is not v4-mapped; no bit behind the length is set. In JSON
/// it is text.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Prefix(IpNetwork);

/// Why a text is not a prefix.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("\"{}\" is not a prefix: {reason}; write ADDRESS or ADDRESS/LENGTH, such as 203.0.113.0/24", text.escape_debug())]
pub struct PrefixError {
    pub text: String,
    pub reason: Reason,
}

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Reason {
    #[error("\"{}\" is not an IP address", .0.escape_debug())]
    Address(String),
    #[error("\"{}\" is not a length from 0 to {max}", text.escape_debug())]
    Length { text: String, max: u8 },
    #[error("it has bits behind its length; the network is {network}, the address alone {address}")]
    HostBits { network: Prefix, address: IpAddr },
}

impl Prefix {
    #[must_use]
    pub fn address(&self) -> IpAddr {
        self.0.ip()
    }

    /// Bits that count, from 0.
    #[must_use]
    pub fn length(&self) -> u8 {
        self.0.prefix()
    }

    /// How a trie has it: the 16-byte form, and the bits of that which count.
    #[must_use]
    pub fn key(&self) -> (Addr, u32) {
        let mapped = if self.0.is_ipv4() { MAPPED } else { 0 };
        (self.address().into(), u32::from(mapped + self.length()))
    }

    /// The prefix that a trie has so; bits behind the length do not count there. None when the length is no length.
    #[must_use]
    pub fn of_key(address: Addr, length: u32) -> Option<Self> {
        let length = u8::try_from(length).ok()?;
        match (address.is_v4(), length.checked_sub(MAPPED)) {
            (true, Some(length)) => truncated(address.into(), length),
            (_, _) => truncated(Ipv6Addr::from(address.bytes).into(), length),
        }
    }

    /// The prefix of this length that it lies in; none when it is shorter.
    #[must_use]
    pub fn within(&self, length: u8) -> Option<Self> {
        if length > self.length() { None } else { truncated(self.address(), length) }
    }

    /// Whether all of `other` is in it.
    #[must_use]
    pub fn contains(&self, other: &Self) -> bool {
        self.0.is_ipv4() == other.0.is_ipv4() && other.within(self.length()).as_ref() == Some(self)
    }

    /// Whether its key has all of IPv4 below it: in a trie one key serves both families.
    #[must_use]
    pub fn spans_mapped(&self) -> bool {
        match self.address() {
            IpAddr::V4(_) => false,
            IpAddr::V6(v6) => (v6.to_bits() ^ MAPPED_BITS).leading_zeros() >= u32::from(self.length()),
        }
    }

    /// The prefixes that make it up without the v4-mapped addresses, which are IPv4's: itself, or at most 96.
    #[must_use]
    pub fn without_mapped(&self) -> Vec<Self> {
        if !self.spans_mapped() {
            return vec![*self];
        }
        // Those that differ first in one of the bits that follow.
        let beside = (self.length()..MAPPED).filter_map(|bit| {
            let other = Ipv6Addr::from_bits(MAPPED_BITS ^ 1 << (127 - bit));
            truncated(other.into(), bit + 1)
        });
        beside.collect()
    }
}

/// The network of this length that the address is in; none when the family has no such length.
fn truncated(address: IpAddr, length: u8) -> Option<Prefix> {
    let network = IpNetwork::new(address, length).ok()?;
    IpNetwork::new(network.network(), length).ok().map(Prefix)
}

impl FromStr for Prefix {
    type Err = PrefixError;

    fn from_str(text: &str) -> Result<Self, PrefixError> {
        parse(text).map_err(|reason| PrefixError { text: text.to_owned(), reason })
    }
}

fn parse(text: &str) -> Result<Prefix, Reason> {
    let (address, length) = match text.split_once('/') {
        Some((address, length)) => (address, Some(length)),
        None => (text, None),
    };
    let address: IpAddr = address.parse().map_err(|_| Reason::Address(address.to_owned()))?;
    let max = if address.is_ipv4() { 32 } else { 128 };
    let length = match length {
        None => max,
        Some(text) => {
            let refused = || Reason::Length { text: text.to_owned(), max };
            let digits = text.bytes().all(|byte| byte.is_ascii_digit());
            text.parse().ok().filter(|&length: &u8| digits && length <= max).ok_or_else(refused)?
        }
    };
    // `::ffff:192.0.2.0/120` is `192.0.2.0/24`.
    let (address, length) = match (address.to_canonical(), length.checked_sub(MAPPED)) {
        (IpAddr::V4(v4), Some(shorter)) if address.is_ipv6() => (IpAddr::V4(v4), shorter),
        (_, _) => (address, length),
    };
    let refused = || Reason::Length { text: length.to_string(), max };
    let network = truncated(address, length).ok_or_else(refused)?;
    if network.address() == address { Ok(network) } else { Err(Reason::HostBits { network, address }) }
}

impl fmt::Display for Prefix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

as_text!(Prefix);

/// A set of prefixes, of which there may be very many: copies share it until one of them is changed, and what is shared is
/// known to be equal without being read.
#[derive(Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(from = "BTreeSet<Prefix>")]
pub struct Prefixes(Arc<BTreeSet<Prefix>>);

impl Prefixes {
    /// For a change; others that share it keep theirs.
    pub fn change(&mut self) -> &mut BTreeSet<Prefix> {
        Arc::make_mut(&mut self.0)
    }

    /// Whether these are known to be equal without being read.
    #[must_use]
    pub fn is_shared_with(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }

    /// The same set as a trie can have it: what has v4-mapped addresses is taken apart.
    #[must_use]
    pub fn without_mapped(&self) -> Self {
        // Few can, and they are known.
        let mapped = IpAddr::V6(Ipv6Addr::from_bits(MAPPED_BITS));
        let spans = (0..MAPPED).filter_map(|length| truncated(mapped, length)).any(|prefix| self.contains(&prefix));
        if spans { self.iter().flat_map(Prefix::without_mapped).collect() } else { self.clone() }
    }
}

/// The first few, and how many more there are.
impl fmt::Debug for Prefixes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let told = self.iter().take(TOLD_MAX).map(ToString::to_string);
        let more = self.len().checked_sub(TOLD_MAX).filter(|&more| more > 0).map(|more| format!("{more} more"));
        f.debug_set().entries(told.chain(more)).finish()
    }
}

impl Deref for Prefixes {
    type Target = BTreeSet<Prefix>;

    fn deref(&self) -> &BTreeSet<Prefix> {
        &self.0
    }
}

impl From<BTreeSet<Prefix>> for Prefixes {
    fn from(prefixes: BTreeSet<Prefix>) -> Self {
        Self(Arc::new(prefixes))
    }
}

impl FromIterator<Prefix> for Prefixes {
    fn from_iter<I: IntoIterator<Item = Prefix>>(prefixes: I) -> Self {
        prefixes.into_iter().collect::<BTreeSet<_>>().into()
    }
}

impl Serialize for Prefixes {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(self.iter())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn prefix(text: &str) -> Prefix {
        text.parse().unwrap_or_else(|error| panic!("{error}"))
    }

    #[test]
    fn every_form_reads_as_documented() {
        for (text, canonical) in [
            ("10.0.0.0/8", "10.0.0.0/8"),
            ("10.0.0.1", "10.0.0.1/32"),
            ("0.0.0.0/0", "0.0.0.0/0"),
            ("2001:DB8::/32", "2001:db8::/32"),
            ("2001:db8::1", "2001:db8::1/128"),
            ("::/0", "::/0"),
            ("::ffff:192.0.2.0/120", "192.0.2.0/24"),
            ("::ffff:192.0.2.1", "192.0.2.1/32"),
            ("::ffff:0:0/96", "0.0.0.0/0"),
        ] {
            assert_eq!(prefix(text).to_string(), canonical, "{text}");
        }
    }

    #[test]
    fn what_is_wrong_is_said() {
        for (text, reason) in [
            ("", "\"\" is not an IP address"),
            ("web", "\"web\" is not an IP address"),
            ("10.0.0/8", "\"10.0.0\" is not an IP address"),
            ("10.0.0.0/", "\"\" is not a length from 0 to 32"),
            ("10.0.0.0/33", "\"33\" is not a length from 0 to 32"),
            ("10.0.0.0/+8", "\"+8\" is not a length from 0 to 32"),
            ("10.0.0.0/255.0.0.0", "\"255.0.0.0\" is not a length from 0 to 32"),
            ("2001:db8::/129", "\"129\" is not a length from 0 to 128"),
            ("10.1.2.3/8", "it has bits behind its length; the network is 10.0.0.0/8, the address alone 10.1.2.3"),
            (
                "2001:db8::1/32",
                "it has bits behind its length; the network is 2001:db8::/32, the address alone 2001:db8::1",
            ),
            (
                "::ffff:10.1.2.3/104",
                "it has bits behind its length; the network is 10.0.0.0/8, the address alone 10.1.2.3",
            ),
        ] {
            let error = text.parse::<Prefix>().unwrap_err();
            assert_eq!(error.reason.to_string(), reason, "{text}");
        }
        assert_eq!(
            "web".parse::<Prefix>().unwrap_err().to_string(),
            "\"web\" is not a prefix: \"web\" is not an IP address; \
             write ADDRESS or ADDRESS/LENGTH, such as 203.0.113.0/24"
        );
    }

    #[test]
    fn one_prefix_contains_another_of_its_family() {
        for (outer, inner, contains) in [
            ("10.0.0.0/8", "10.1.0.0/16", true),
            ("10.0.0.0/8", "10.0.0.0/8", true),
            ("10.1.0.0/16", "10.0.0.0/8", false),
            ("10.0.0.0/8", "11.0.0.0/16", false),
            ("0.0.0.0/0", "198.18.0.1", true),
            ("::/0", "10.0.0.0/8", false),
            ("0.0.0.0/0", "2001:db8::/32", false),
            ("2001:db8::/32", "2001:db8:1::/48", true),
        ] {
            assert_eq!(prefix(outer).contains(&prefix(inner)), contains, "{outer} {inner}");
        }
    }

    #[test]
    fn all_of_ipv6_is_none_of_ipv4() {
        for text in ["::/0", "::/1", "::/80", "::/8"] {
            let pieces = prefix(text).without_mapped();
            assert!(pieces.len() <= 96 && !pieces.iter().any(Prefix::spans_mapped), "{text}: {pieces:?}");
            let has = |address: &str| pieces.iter().any(|piece| piece.contains(&prefix(address)));
            assert!(has("::1") && has("::fffe:0:1"), "{text}");
            assert_eq!(has("2001:db8::1"), matches!(text, "::/0" | "::/1"), "{text}");
            assert_eq!(has("8000::1"), text == "::/0", "{text}");
        }
        assert_eq!(prefix("8000::/1").without_mapped(), [prefix("8000::/1")]);
        let few: Prefixes = [prefix("10.0.0.0/8"), prefix("2001:db8::/32")].into_iter().collect();
        assert!(few.without_mapped().is_shared_with(&few));
        let all: Prefixes = [prefix("10.0.0.0/8"), prefix("::/0")].into_iter().collect();
        assert_eq!(all.without_mapped().len(), 97);
    }

    #[test]
    fn a_copy_that_is_changed_leaves_the_others() {
        let one: Prefixes = [prefix("10.0.0.0/8")].into_iter().collect();
        let mut two = one.clone();
        two.change().insert(prefix("11.0.0.0/8"));
        assert_eq!((one.len(), two.len()), (1, 2));
        assert_eq!(format!("{two:?}"), r#"{"10.0.0.0/8", "11.0.0.0/8"}"#);
        let many: Prefixes = (0..10_u8).map(|n| prefix(&format!("10.{n}.0.0/16"))).collect();
        assert!(format!("{many:?}").ends_with(r#""10.7.0.0/16", "2 more"}"#));
        let text = serde_json::to_string(&two).unwrap();
        assert_eq!(text, r#"["10.0.0.0/8","11.0.0.0/8"]"#);
        assert_eq!(serde_json::from_str::<Prefixes>(&text).unwrap(), two);
    }

    proptest! {
        #[test]
        fn any_text_is_read_or_refused(text in "\\PC{0,40}|[0-9a-f:./]{0,30}") {
            if let Ok(prefix) = text.parse::<Prefix>() {
                prop_assert_eq!(prefix.to_string().parse::<Prefix>(), Ok(prefix));
            }
        }

        #[test]
        fn a_key_is_the_prefix_again(address: IpAddr, length in 0..=128_u8) {
            let prefix = Prefix::of_key(address.into(), length.into()).unwrap();
            let (key, bits) = prefix.key();
            prop_assert_eq!((Prefix::of_key(key, bits), bits), (Some(prefix), length.into()));
            prop_assert_eq!(prefix.to_string().parse::<Prefix>(), Ok(prefix));
        }

        #[test]
        fn the_pieces_are_all_but_the_mapped(address: u128, shift in 0..128_u32, length in 0..128_u8) {
            // One that has the mapped addresses, and an address that is near them.
            let whole = truncated(Ipv6Addr::from_bits(MAPPED_BITS).into(), length.min(MAPPED - 1)).unwrap();
            let near = MAPPED_BITS ^ (address >> shift);
            let one = truncated(Ipv6Addr::from_bits(near).into(), 128).unwrap();
            let pieces = whole.without_mapped().iter().filter(|piece| piece.contains(&one)).count();
            prop_assert_eq!(pieces, usize::from(whole.contains(&one) && near >> 32 != 0xffff));
        }
    }
}
