//! What does a table of the file say, in the words of a verb of netctl?
//!
//! A key is the long name of an option, without the hyphens, and its value is what the option takes. The table is made a
//! command line of these and read as one, so there is one definition of every option and of every value.

use clap::error::ContextKind;
use clap::{Arg, ArgAction, Args, Command};
use netd::model::name::nearest;
use std::error::Error as _;
use std::ops::Range;
use toml::Spanned;
use toml::de::{DeString, DeTable, DeValue};

/// What is wrong with the file, and where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wrong {
    /// Bytes from the beginning of the text.
    pub at: usize,
    pub why: String,
}

/// An entry of a table.
pub type Entry<'t, 'i> = (&'t Spanned<DeString<'i>>, &'t Spanned<DeValue<'i>>);

/// The options of one table, as they are written.
#[derive(Debug, Default)]
pub struct Options {
    /// Command line words, with the place of each.
    words: Vec<(String, usize)>,
    /// The same for people: the key, and what it says.
    said: Vec<String>,
}

/// Entries in the order of the file.
pub fn entries<'t, 'i>(table: &'t DeTable<'i>) -> Vec<Entry<'t, 'i>> {
    let mut entries: Vec<_> = table.iter().collect();
    entries.sort_by_key(|(key, _)| key.span().start);
    entries
}

pub fn wrong<T>(at: &Range<usize>, why: impl Into<String>) -> Result<T, Wrong> {
    Err(Wrong { at: at.start, why: why.into() })
}

/// That there is no such key, with what was probably meant.
pub fn unknown<T>(at: &Range<usize>, what: &str, key: &str, known: &[String]) -> Result<T, Wrong> {
    let instead = match nearest(key, known) {
        Some(name) => format!("did you mean \"{name}\"?"),
        None => format!("there are {}", known.join(", ")),
    };
    wrong(at, format!("there is no {what} \"{}\"; {instead}", key.escape_debug()))
}

impl Options {
    /// Takes the entries of a table that are options of `T`.
    pub fn of<T: Args>(entries: &[Entry<'_, '_>]) -> Result<Self, Wrong> {
        let command = T::augment_args(Command::new("netctl"));
        let mut options = Self::default();
        for (key, value) in entries {
            let name = key.get_ref().as_ref();
            let Some(arg) = command.get_arguments().find(|arg| arg.get_long() == Some(name)) else {
                let known: Vec<String> =
                    command.get_arguments().filter_map(|arg| arg.get_long().map(str::to_owned)).collect();
                return unknown(&key.span(), "option", name, &known);
            };
            options.take(name, arg, value)?;
        }
        Ok(options)
    }

    fn take(&mut self, name: &str, arg: &Arg, value: &Spanned<DeValue<'_>>) -> Result<(), Wrong> {
        match arg.get_action() {
            ArgAction::SetTrue => match value.get_ref() {
                DeValue::Boolean(true) => {
                    self.words.push((format!("--{name}"), value.span().start));
                    self.said.push(name.to_owned());
                }
                DeValue::Boolean(false) => {}
                _ => return wrong(&value.span(), format!("\"{name}\" is true or false")),
            },
            action => {
                let texts = texts(name, is_pair(arg), value)?;
                if !matches!(action, ArgAction::Append) && texts.len() > 1 {
                    return wrong(&value.span(), format!("\"{name}\" has one value"));
                }
                if !texts.is_empty() {
                    let all: Vec<&str> = texts.iter().map(|(text, _)| text.as_str()).collect();
                    self.said.push(format!("{name} {}", all.join(", ")));
                }
                self.words.extend(texts.into_iter().map(|(text, at)| (format!("--{name}={text}"), at)));
            }
        }
        Ok(())
    }

    /// What is said, for people.
    pub fn said(&self) -> String {
        self.said.join("; ")
    }

    /// Reads the options, and what stands behind them on a command line, as those of `T`; `at` is the place of the table.
    pub fn read<T: Args>(&self, behind: &[(String, usize)], at: usize) -> Result<T, Wrong> {
        let command = T::augment_args(Command::new("netctl").no_binary_name(true));
        let words = self.words.iter().map(|(word, _)| word.as_str());
        let words = words.chain(["--"]).chain(behind.iter().map(|(word, _)| word.as_str()));
        let read = command.try_get_matches_from(words).and_then(|matches| T::from_arg_matches(&matches));
        read.map_err(|error| self.explained(&error, behind, at))
    }

    /// One line of what a command line would have been refused with, at the value that it is about.
    fn explained(&self, error: &clap::Error, behind: &[(String, usize)], at: usize) -> Wrong {
        let context = |kind| error.get(kind).map(ToString::to_string);
        let value = context(ContextKind::InvalidValue).unwrap_or_default();
        let option = context(ContextKind::InvalidArg).unwrap_or_default();
        let name = option.strip_prefix("--").and_then(|option| option.split(' ').next());
        let written = name.map_or_else(|| value.clone(), |name| format!("--{name}={value}"));
        let found = self.words.iter().chain(behind).find(|(word, _)| *word == written);
        let why = match (error.source(), context(ContextKind::ValidValue)) {
            (Some(source), _) => source.to_string(),
            (None, Some(valid)) => format!("it is one of {valid}"),
            (None, None) => {
                let text = error.to_string();
                text.lines().next().unwrap_or_default().trim_start_matches("error: ").to_owned()
            }
        };
        let why = match name {
            Some(name) if !value.is_empty() => format!("{name} = \"{}\": {why}", value.escape_debug()),
            Some(_) | None => why,
        };
        Wrong { at: found.map_or(at, |(_, at)| *at), why }
    }
}

/// Whether an option's values are of the kind `K=V`, and so may be a table.
fn is_pair(arg: &Arg) -> bool {
    arg.get_value_names().is_some_and(|names| names.iter().any(|name| name.contains('=')))
}

/// The values of an option, with their places.
pub fn texts(name: &str, is_pair: bool, value: &Spanned<DeValue<'_>>) -> Result<Vec<(String, usize)>, Wrong> {
    match value.get_ref() {
        DeValue::Array(values) => {
            let texts = values.iter().map(|value| Ok((text(name, value)?, value.span().start)));
            texts.collect()
        }
        DeValue::Table(table) if is_pair => {
            let pair = |(key, value): Entry<'_, '_>| {
                Ok((format!("{}={}", key.get_ref(), text(name, value)?), value.span().start))
            };
            entries(table).into_iter().map(pair).collect()
        }
        _ => Ok(vec![(text(name, value)?, value.span().start)]),
    }
}

fn text(name: &str, value: &Spanned<DeValue<'_>>) -> Result<String, Wrong> {
    match value.get_ref() {
        DeValue::String(text) => Ok(text.to_string()),
        DeValue::Integer(number) if number.radix() == 10 => Ok(number.as_str().to_owned()),
        _ => wrong(&value.span(), format!("\"{name}\" takes texts in quotes")),
    }
}
