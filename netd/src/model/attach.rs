//! How does a container join a network?
//!
//! In JSON and on the command line a network's name alone, or the name with what is wanted there.

use super::state::Mac;
use serde::de::value::MapAccessDeserializer;
use serde::de::{MapAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

/// A network to join, and what the container wants to have there.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Attach {
    /// A network's name; of a container that is made also `host`, `none` or `container:OTHER`.
    pub network: String,
    pub ip: Option<IpAddr>,
    pub ip6: Option<IpAddr>,
    pub mac: Option<Mac>,
    pub aliases: Vec<String>,
    /// Of the networks that lead outside, the one with the highest has the default route of each family; of several, the
    /// one that was joined first.
    pub gw_priority: i32,
}

/// What [`Attach`] is in JSON when it says more than a name.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Fields {
    name: String,
    #[serde(default)]
    ip: Option<IpAddr>,
    #[serde(default)]
    ip6: Option<IpAddr>,
    #[serde(default)]
    mac: Option<Mac>,
    #[serde(default)]
    aliases: Vec<String>,
    #[serde(default)]
    gw_priority: i32,
}

impl Attach {
    /// The network alone.
    #[must_use]
    pub fn to(network: &str) -> Self {
        Self { network: network.to_owned(), ..Self::default() }
    }
}

impl From<&str> for Attach {
    fn from(network: &str) -> Self {
        Self::to(network)
    }
}

impl From<Fields> for Attach {
    fn from(Fields { name, ip, ip6, mac, aliases, gw_priority }: Fields) -> Self {
        Self { network: name, ip, ip6, mac, aliases, gw_priority }
    }
}

/// `NET`, or `name=NET,ip=IP,ip6=IP,mac=MAC,alias=A,gw-priority=N`; `alias` is repeatable, `mac-address` is `mac`.
impl FromStr for Attach {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if !text.contains('=') {
            return Ok(Self::to(text));
        }
        let mut attach = Self::default();
        for part in text.split(',') {
            let (key, value) = part.split_once('=').ok_or_else(|| format!("\"{part}\" has no \"=\""))?;
            match key {
                "name" => value.clone_into(&mut attach.network),
                "ip" => attach.ip = Some(parsed(key, value)?),
                "ip6" => attach.ip6 = Some(parsed(key, value)?),
                "mac" | "mac-address" => attach.mac = Some(value.parse()?),
                "alias" => attach.aliases.push(value.to_owned()),
                "gw-priority" => attach.gw_priority = parsed(key, value)?,
                _ => {
                    return Err(format!(
                        "\"{key}\" is unknown; there are name, ip, ip6, mac (or mac-address), alias and gw-priority"
                    ));
                }
            }
        }
        if attach.network.is_empty() { Err("the network is missing; write name=NET".to_owned()) } else { Ok(attach) }
    }
}

fn parsed<T: FromStr<Err: fmt::Display>>(key: &str, value: &str) -> Result<T, String> {
    value.parse().map_err(|error| format!("{key}=\"{value}\": {error}"))
}

impl Serialize for Attach {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if *self == Self::to(&self.network) {
            return serializer.serialize_str(&self.network);
        }
        let Self { network: name, ip, ip6, mac, aliases, gw_priority } = self.clone();
        Fields { name, ip, ip6, mac, aliases, gw_priority }.serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Attach {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Either;

        impl<'de> Visitor<'de> for Either {
            type Value = Attach;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a network's name, or an object with the name and what is wanted there")
            }

            fn visit_str<E>(self, name: &str) -> Result<Attach, E> {
                Ok(Attach::to(name))
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Attach, A::Error> {
                Fields::deserialize(MapAccessDeserializer::new(map)).map(Attach::from)
            }
        }

        deserializer.deserialize_any(Either)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn full() -> Attach {
        Attach {
            network: "blue".to_owned(),
            ip: Some("10.1.0.9".parse().unwrap()),
            ip6: Some("fd00::9".parse().unwrap()),
            mac: Some("02:00:00:00:00:09".parse().unwrap()),
            aliases: vec!["db".to_owned(), "store".to_owned()],
            gw_priority: -3,
        }
    }

    #[test]
    fn a_name_alone_is_a_string_and_more_is_an_object() {
        for (attach, json) in [
            (Attach::to("blue"), r#""blue""#),
            (
                full(),
                r#"{"name":"blue","ip":"10.1.0.9","ip6":"fd00::9","mac":"02:00:00:00:00:09","aliases":["db","store"],"gw_priority":-3}"#,
            ),
        ] {
            assert_eq!(serde_json::to_string(&attach).unwrap(), json);
            assert_eq!(serde_json::from_str::<Attach>(json).unwrap(), attach);
        }
        for json in ["1", r#"{"ip":"10.1.0.9"}"#, r#"{"name":"blue","adress":"10.1.0.9"}"#] {
            serde_json::from_str::<Attach>(json).expect_err(json);
        }
    }

    #[test]
    fn the_long_form_is_understood() {
        let long =
            "name=blue,ip=10.1.0.9,ip6=fd00::9,mac-address=02:00:00:00:00:09,alias=db,alias=store,gw-priority=-3";
        assert_eq!(long.parse(), Ok(full()));
        assert_eq!("container:web".parse(), Ok(Attach::to("container:web")));
        for (text, said) in [
            ("ip=10.1.0.9", "the network is missing; write name=NET"),
            ("name=blue,up", "\"up\" has no \"=\""),
            ("name=blue,ip=x", "ip=\"x\": invalid IP address syntax"),
            (
                "name=blue,driver-opt=x",
                "\"driver-opt\" is unknown; there are name, ip, ip6, mac (or mac-address), alias and gw-priority",
            ),
        ] {
            assert_eq!(text.parse::<Attach>().unwrap_err(), said);
        }
    }
}
