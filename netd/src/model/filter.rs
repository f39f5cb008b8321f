//! Which objects does `label=K[=V]`, `label!=K[=V]` or `until=WHEN` mean?

use super::text::as_text;
use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

/// One `--filter`; an object is meant when all of them hold. In JSON it is the same text.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum Filter {
    /// Has the label and, where one is named, with this value.
    Label(Label),
    /// The contrary.
    NotLabel(Label),
    /// Was made longer ago than this.
    Older(SignedDuration),
    /// Was made before this.
    Before(Timestamp),
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Label {
    pub key: String,
    pub value: Option<String>,
}

impl Filter {
    /// Whether it holds for an object with these labels that was made at `created`.
    #[must_use]
    pub fn holds(&self, labels: &BTreeMap<String, String>, created: Timestamp, now: Timestamp) -> bool {
        match self {
            Self::Label(label) => label.is_on(labels),
            Self::NotLabel(label) => !label.is_on(labels),
            Self::Older(age) => now.duration_since(created) > *age,
            Self::Before(time) => created < *time,
        }
    }
}

impl Label {
    fn is_on(&self, labels: &BTreeMap<String, String>) -> bool {
        match (labels.get(&self.key), &self.value) {
            (Some(has), Some(wanted)) => has == wanted,
            (has, None) => has.is_some(),
            (None, Some(_)) => false,
        }
    }
}

impl FromStr for Filter {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let refused = |why: &str| {
            let text = text.escape_debug();
            format!("\"{text}\" is not a filter: {why}; write label=K, label=K=V, label!=K, or until=24h or until=TIME")
        };
        if let Some(label) = text.strip_prefix("label!=") {
            return label.parse().map(Self::NotLabel).map_err(refused);
        }
        match text.split_once('=') {
            Some(("label", label)) => label.parse().map(Self::Label).map_err(refused),
            Some(("until", when)) => {
                let age = when.parse::<SignedDuration>().ok().or_else(|| days(when)).filter(|age| !age.is_negative());
                let time = || when.parse().map(Self::Before);
                age.map(Self::Older)
                    .map_or_else(time, Ok)
                    .map_err(|_| refused("it names neither a time span, such as 90m or 7d, nor a time of RFC 3339"))
            }
            Some(_) | None => Err(refused("it is about neither label nor until")),
        }
    }
}

impl FromStr for Label {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, &'static str> {
        let (key, value) = match text.split_once('=') {
            Some((key, value)) => (key, Some(value.to_owned())),
            None => (text, None),
        };
        if key.is_empty() { Err("the label has no name") } else { Ok(Self { key: key.to_owned(), value }) }
    }
}

/// `7d`, of 24 hours each.
fn days(text: &str) -> Option<SignedDuration> {
    let days: i64 = text.strip_suffix('d')?.parse().ok()?;
    SignedDuration::try_from_hours(days.checked_mul(24)?)
}

impl fmt::Display for Label {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.value {
            Some(value) => write!(f, "{}={value}", self.key),
            None => f.write_str(&self.key),
        }
    }
}

impl fmt::Display for Filter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Label(label) => write!(f, "label={label}"),
            Self::NotLabel(label) => write!(f, "label!={label}"),
            Self::Older(age) => write!(f, "until={age}"),
            Self::Before(time) => write!(f, "until={time}"),
        }
    }
}

as_text!(Filter);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn filters_hold_for_what_they_say() {
        let labels = BTreeMap::from([("tier".to_owned(), "front".to_owned())]);
        let created: Timestamp = "2026-01-01T00:00:00Z".parse().unwrap();
        let now: Timestamp = "2026-01-02T12:00:00Z".parse().unwrap();
        for (text, expected) in [
            ("label=tier", true),
            ("label=tier=front", true),
            ("label=tier=back", false),
            ("label=owner", false),
            ("label!=tier", false),
            ("label!=tier=back", true),
            ("label!=owner", true),
            ("until=24h", true),
            ("until=1d", true),
            ("until=36h", false),
            ("until=1h30m", true),
            ("until=2026-01-01T00:00:01Z", true),
            ("until=2026-01-01T00:00:00Z", false),
        ] {
            let filter: Filter = text.parse().unwrap_or_else(|error| panic!("{error}"));
            assert_eq!(filter.holds(&labels, created, now), expected, "{text}");
            assert_eq!(filter.to_string().parse(), Ok(filter), "{text}");
        }
    }

    #[test]
    fn what_is_no_filter_is_refused() {
        let ending = "; write label=K, label=K=V, label!=K, or until=24h or until=TIME";
        for (text, why) in [
            ("name=x", "it is about neither label nor until"),
            ("label", "it is about neither label nor until"),
            ("label=", "the label has no name"),
            ("label!==x", "the label has no name"),
            ("until=soon", "it names neither a time span, such as 90m or 7d, nor a time of RFC 3339"),
            ("until=-1h", "it names neither a time span, such as 90m or 7d, nor a time of RFC 3339"),
        ] {
            let error = text.parse::<Filter>().unwrap_err();
            assert_eq!(error, format!("\"{text}\" is not a filter: {why}{ending}"));
        }
    }
}
