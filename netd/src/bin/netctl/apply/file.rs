//! What is asked for by a file of networks, containers and published ports?

use super::options::{Entry, Options, Wrong, entries, texts, unknown, wrong};
use crate::{container, network, publish};
use netd::model::command::{ContainerSpec, NetworkSpec};
use netd::model::name;
use netd::model::port_map::PortMap;
use netd::model::prefix::Prefix;
use std::collections::BTreeSet;
use std::ops::Range;
use toml::Spanned;
use toml::de::{DeTable, DeValue};

/// The label of what apply has made: it says of which file.
pub const LABEL: &str = "netd.apply";
/// What a file cannot make.
const BUILTINS: [&str; 3] = ["bridge", "host", "none"];
const NAME: &str = "name";
const NETWORK: &str = "network";
const CONTAINER: &str = "container";
/// Of a container: ports, which are objects of their own.
const PUBLISH: &str = "publish";
/// Of a port that is open to some clients: the port itself.
const PORT: &str = "port";

/// What a file says, by name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct File {
    /// Whose objects these are: see [`LABEL`].
    pub id: String,
    pub networks: Vec<WantedNetwork>,
    pub containers: Vec<WantedContainer>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WantedNetwork {
    /// Without [`LABEL`].
    pub spec: NetworkSpec,
    /// For people.
    pub said: String,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WantedContainer {
    /// Without [`LABEL`], and without ports to publish.
    pub spec: ContainerSpec,
    /// What is published, and for whom; for nobody in particular: for everybody.
    pub ports: Vec<(PortMap, BTreeSet<Prefix>)>,
    /// For people.
    pub said: String,
}

impl File {
    /// Reads a file; `place` is its name in errors, and `id` what it is known by unless it names itself.
    pub fn parse(text: &str, place: &str, id: &str) -> Result<Self, String> {
        let located = |Wrong { at, why }: Wrong| {
            let line = text.get(..at).map_or(1, |before| before.matches('\n').count() + 1);
            format!("{place}:{line}: {why}")
        };
        let table = DeTable::parse(text).map_err(|error| {
            let at = error.span().map_or(0, |span| span.start);
            located(Wrong { at, why: error.message().lines().collect::<Vec<_>>().join("; ") })
        })?;
        read(table.get_ref(), id).map_err(located)
    }
}

fn read(table: &DeTable<'_>, id: &str) -> Result<File, Wrong> {
    let mut file = File { id: id.to_owned(), networks: Vec::new(), containers: Vec::new() };
    for (key, value) in entries(table) {
        match key.get_ref().as_ref() {
            NAME => file.id = own_name(value)?,
            NETWORK => {
                for (name, value) in objects(NETWORK, value)? {
                    file.networks.push(wanted_network(name, value)?);
                }
            }
            CONTAINER => {
                for (name, value) in objects(CONTAINER, value)? {
                    file.containers.push(wanted_container(name, value)?);
                }
            }
            other => {
                let known = [NAME, NETWORK, CONTAINER].map(str::to_owned);
                return unknown(&key.span(), "section", other, &known);
            }
        }
    }
    file.networks.sort_by(|a, b| a.spec.name.cmp(&b.spec.name));
    file.containers.sort_by(|a, b| a.spec.name.cmp(&b.spec.name));
    Ok(file)
}

fn own_name(value: &Spanned<DeValue<'_>>) -> Result<String, Wrong> {
    let Some(text) = value.get_ref().as_str() else { return wrong(&value.span(), "\"name\" takes a text in quotes") };
    match name::check(text) {
        Ok(()) => Ok(text.to_owned()),
        Err(why) => wrong(&value.span(), format!("the name \"{}\" {why}", text.escape_debug())),
    }
}

/// The tables `[kind.NAME]`.
fn objects<'t, 'i>(kind: &str, value: &'t Spanned<DeValue<'i>>) -> Result<Vec<Entry<'t, 'i>>, Wrong> {
    match value.get_ref() {
        DeValue::Table(table) => Ok(entries(table)),
        _ => wrong(&value.span(), format!("\"{kind}\" is no value; write [{kind}.NAME], and options below it")),
    }
}

/// The options of `[kind.NAME]`, and where it stands.
fn options<'t, 'i>(
    kind: &str,
    name: &Spanned<impl AsRef<str>>,
    value: &'t Spanned<DeValue<'i>>,
) -> Result<Vec<Entry<'t, 'i>>, Wrong> {
    let text = name.get_ref().as_ref();
    if let Err(why) = name::check(text) {
        return wrong(&name.span(), format!("{kind} name \"{}\" {why}", text.escape_debug()));
    }
    match value.get_ref() {
        DeValue::Table(table) => Ok(entries(table)),
        _ => wrong(&name.span(), format!("\"{text}\" is no table; write [{kind}.{text}], and options below it")),
    }
}

fn wanted_network(name: &Spanned<impl AsRef<str>>, value: &Spanned<DeValue<'_>>) -> Result<WantedNetwork, Wrong> {
    let entries = options(NETWORK, name, value)?;
    let (text, at) = (name.get_ref().as_ref().to_owned(), name.span());
    let of = |Wrong { at, why }| Wrong { at, why: format!("network \"{text}\": {why}") };
    if BUILTINS.contains(&text.as_str()) {
        return wrong(&at, format!("network \"{text}\" is built in, and no file describes it; leave it out"));
    }
    let options = Options::of::<network::Create>(&entries).map_err(of)?;
    let create: network::Create = options.read(&[(text.clone(), at.start)], at.start).map_err(of)?;
    let spec = create.spec();
    refuse_label(&at, spec.labels.contains_key(LABEL)).map_err(of)?;
    Ok(WantedNetwork { spec, said: options.said() })
}

fn wanted_container(name: &Spanned<impl AsRef<str>>, value: &Spanned<DeValue<'_>>) -> Result<WantedContainer, Wrong> {
    let entries = options(CONTAINER, name, value)?;
    let (text, at) = (name.get_ref().as_ref().to_owned(), name.span());
    let of = |Wrong { at, why }| Wrong { at, why: format!("container \"{text}\": {why}") };
    let (ports, entries): (Vec<_>, Vec<_>) = entries.into_iter().partition(|(key, _)| key.get_ref() == PUBLISH);
    let options = Options::of::<container::Create>(&entries).map_err(of)?;
    let create: container::Create = options.read(&[(text.clone(), at.start)], at.start).map_err(of)?;
    let mut spec = create.spec().or_else(|error| wrong(&at, error.to_string())).map_err(of)?;
    refuse_label(&at, spec.labels.contains_key(LABEL)).map_err(of)?;
    let mut wanted = Vec::new();
    for (_, value) in ports {
        let values: Vec<&Spanned<DeValue<'_>>> = match value.get_ref() {
            DeValue::Array(values) => values.iter().collect(),
            _ => vec![value],
        };
        for value in values {
            wanted.extend(published(&text, value).map_err(of)?);
        }
    }
    if std::mem::take(&mut spec.publish_all) {
        wanted.extend(spec.expose.iter().map(|exposed| (exposed.published(), BTreeSet::new())));
    }
    Ok(WantedContainer { spec, ports: wanted, said: options.said() })
}

/// `SPEC`, or a table of ports and of the options of `netctl publish`.
fn published(container: &str, value: &Spanned<DeValue<'_>>) -> Result<Vec<(PortMap, BTreeSet<Prefix>)>, Wrong> {
    let at = value.span();
    let (ports, rest) = match value.get_ref() {
        DeValue::Table(table) => {
            let (ports, rest): (Vec<_>, Vec<_>) =
                entries(table).into_iter().partition(|(key, _)| key.get_ref() == PORT);
            let Some((_, ports)) = ports.first() else {
                return wrong(
                    &at,
                    "publish: \"port\" is missing; write { port = \"8080:80\", allow = [\"10.0.0.0/8\"] }",
                );
            };
            (texts(PORT, false, ports)?, rest)
        }
        _ => (texts(PUBLISH, false, value)?, Vec::new()),
    };
    let options = Options::of::<publish::Publish>(&rest)?;
    let behind: Vec<_> = std::iter::once((container.to_owned(), at.start)).chain(ports).collect();
    let publish: publish::Publish = options.read(&behind, at.start)?;
    let (ports, allow) = publish.ports();
    Ok(ports.into_iter().map(|port| (port, allow.clone())).collect())
}

fn refuse_label(at: &Range<usize>, is_there: bool) -> Result<(), Wrong> {
    if is_there { wrong(at, format!("the label \"{LABEL}\" is apply's own; leave it out")) } else { Ok(()) }
}
