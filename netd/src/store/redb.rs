//! How does the state look on disk?
//!
//! One redb file. A table per kind of object, whole records as JSON under the object's name; one table of numbers.
//! Every record denies unknown fields, so that a schema that changed is an error and never half read.

use super::WriteError;
use crate::joined::differing;
use crate::model::prefix::{Prefix, Prefixes};
use crate::model::state::State;
use netd_common::Addr;
use redb::{Database, DatabaseError, ReadTransaction, ReadableDatabase, TableDefinition, TableError, WriteTransaction};
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

type Records = TableDefinition<'static, &'static str, &'static [u8]>;

const NETWORKS: Records = TableDefinition::new("networks");
const CONTAINERS: Records = TableDefinition::new("containers");
/// Keyed by the publish key as JSON.
const PUBLISHES: Records = TableDefinition::new("publishes");
/// Keyed by the list's number.
const ALLOW_LISTS: Records = TableDefinition::new("allow_lists");
/// A row a prefix, since there may be very many: the address in its 16-byte form, and how many bits of it count.
const BLOCKED: TableDefinition<'static, &'static [u8; 17], ()> = TableDefinition::new("blocked");
const NUMBERS: TableDefinition<'static, &'static str, u64> = TableDefinition::new("numbers");

const SCHEMA: &str = "schema";
const REVISION: &str = "revision";
const NEXT_ENDPOINT: &str = "next_endpoint";
const NEXT_NETWORK: &str = "next_network";
const NEXT_ALLOW_LIST: &str = "next_allow_list";

/// What the tables hold. To be raised by whoever changes a record; the old form then needs a migration.
const SCHEMA_VERSION: u64 = 1;

/// Bytes of pages that redb keeps in memory. The snapshot is read, not the file, so little is enough.
const CACHE_SIZE: usize = 4 * 1024 * 1024;

#[derive(Debug)]
pub(super) struct Disk {
    database: Database,
    path: PathBuf,
}

impl Disk {
    pub(super) fn open(path: &Path) -> Result<(Self, State), WriteError> {
        let database = Database::builder().set_cache_size(CACHE_SIZE).create(path).map_err(|error| match error {
            DatabaseError::DatabaseAlreadyOpen => WriteError::Storage(format!(
                "{} is open in another process; another netd of this instance is running: stop it, or use another \
                 --instance and --state-dir",
                path.display()
            )),
            error => failed(path)(error.into()),
        })?;
        let disk = Self { database, path: path.to_owned() };
        let state = disk.read()?;
        Ok((disk, state))
    }

    fn read(&self) -> Result<State, WriteError> {
        let failed = failed(&self.path);
        let transaction = self.database.begin_read().map_err(|error| failed(error.into()))?;
        let numbers = match transaction.open_table(NUMBERS) {
            Ok(numbers) => numbers,
            // Nothing was ever written: a new file.
            Err(TableError::TableDoesNotExist(_)) => return Ok(State::default()),
            Err(error) => return Err(failed(error.into())),
        };
        let number = |name| match numbers.get(name) {
            Ok(Some(number)) => Ok(number.value()),
            Ok(None) => Err(WriteError::Storage(format!("{} lacks the number \"{name}\"", self.path.display()))),
            Err(error) => Err(failed(error.into())),
        };
        let schema = number(SCHEMA)?;
        if schema != SCHEMA_VERSION {
            let path = self.path.display();
            return Err(WriteError::Storage(format!(
                "{path} has schema {schema}, and this netd knows {SCHEMA_VERSION}: a newer netd wrote it; run that one"
            )));
        }
        let small = |number: u64, name| {
            u32::try_from(number)
                .map_err(|_| WriteError::Storage(format!("{}: \"{name}\" is out of range", self.path.display())))
        };
        Ok(State {
            revision: number(REVISION)?,
            next_endpoint: small(number(NEXT_ENDPOINT)?, NEXT_ENDPOINT)?,
            next_network: small(number(NEXT_NETWORK)?, NEXT_NETWORK)?,
            next_allow_list: small(number(NEXT_ALLOW_LIST)?, NEXT_ALLOW_LIST)?,
            networks: self.records(&transaction, NETWORKS, |name| Ok(name.to_owned()))?,
            containers: self.records(&transaction, CONTAINERS, |name| Ok(name.to_owned()))?,
            publishes: self.records(&transaction, PUBLISHES, |key| serde_json::from_str(key))?,
            allow_lists: self.records(&transaction, ALLOW_LISTS, |number| serde_json::from_str(number))?,
            blocked: self.blocked(&transaction)?,
        })
    }

    fn records<K: Ord, V: DeserializeOwned>(
        &self,
        transaction: &ReadTransaction,
        table: Records,
        key_of: impl Fn(&str) -> Result<K, serde_json::Error>,
    ) -> Result<BTreeMap<K, V>, WriteError> {
        let failed = failed(&self.path);
        let mut records = BTreeMap::new();
        let rows = transaction.open_table(table).map_err(|error| failed(error.into()))?;
        for row in rows.range::<&str>(..).map_err(|error| failed(error.into()))? {
            let (key, value) = row.map_err(|error| failed(error.into()))?;
            let (name, path) = (key.value(), self.path.display());
            let damaged =
                |error| WriteError::Storage(format!("{path}: the record {name} of {table} is not readable: {error}"));
            records.insert(key_of(name).map_err(damaged)?, serde_json::from_slice(value.value()).map_err(damaged)?);
        }
        Ok(records)
    }

    fn blocked(&self, transaction: &ReadTransaction) -> Result<Prefixes, WriteError> {
        let failed = failed(&self.path);
        let rows = transaction.open_table(BLOCKED).map_err(|error| failed(error.into()))?;
        let mut prefixes = Vec::new();
        for row in rows.range::<&[u8; 17]>(..).map_err(|error| failed(error.into()))? {
            let (key, _) = row.map_err(|error| failed(error.into()))?;
            let prefix = prefix_of(key.value()).ok_or_else(|| {
                let path = self.path.display();
                WriteError::Storage(format!("{path}: a record of {BLOCKED} is no prefix: {:02x?}", key.value()))
            })?;
            prefixes.push(prefix);
        }
        Ok(prefixes.into_iter().collect())
    }

    /// Takes the file from `old`, which it holds, to `new`: all of it, durably, or on error nothing.
    pub(super) fn write(&mut self, old: &State, new: &State) -> Result<(), WriteError> {
        self.commit(old, new).map_err(|error| failed(&self.path)(error))
    }

    fn commit(&mut self, old: &State, new: &State) -> Result<(), redb::Error> {
        let transaction = self.database.begin_write()?;
        {
            let mut numbers = transaction.open_table(NUMBERS)?;
            for (name, number) in [
                (SCHEMA, SCHEMA_VERSION),
                (REVISION, new.revision),
                (NEXT_ENDPOINT, new.next_endpoint.into()),
                (NEXT_NETWORK, new.next_network.into()),
                (NEXT_ALLOW_LIST, new.next_allow_list.into()),
            ] {
                numbers.insert(name, number)?;
            }
        }
        write_records(&transaction, NETWORKS, &old.networks, &new.networks, |name| Ok(name.clone()))?;
        write_records(&transaction, CONTAINERS, &old.containers, &new.containers, |name| Ok(name.clone()))?;
        write_records(&transaction, PUBLISHES, &old.publishes, &new.publishes, serde_json::to_string)?;
        write_records(&transaction, ALLOW_LISTS, &old.allow_lists, &new.allow_lists, serde_json::to_string)?;
        write_blocked(&transaction, &old.blocked, &new.blocked)?;
        transaction.commit()?;
        Ok(())
    }
}

/// Writes what differs.
fn write_records<K: Ord, V: Serialize + PartialEq>(
    transaction: &WriteTransaction,
    table: Records,
    old: &BTreeMap<K, V>,
    new: &BTreeMap<K, V>,
    name_of: impl Fn(&K) -> Result<String, serde_json::Error>,
) -> Result<(), redb::Error> {
    let unwritable = |error: serde_json::Error| redb::Error::Io(error.into());
    let mut rows = transaction.open_table(table)?;
    for (key, _, value) in differing(old, new) {
        let name = name_of(key).map_err(unwritable)?;
        match value {
            Some(value) => {
                let record = serde_json::to_vec(value).map_err(unwritable)?;
                drop(rows.insert(name.as_str(), record.as_slice())?);
            }
            None => drop(rows.remove(name.as_str())?),
        }
    }
    Ok(())
}

/// Writes what differs, and nothing when nothing can.
fn write_blocked(transaction: &WriteTransaction, old: &Prefixes, new: &Prefixes) -> Result<(), redb::Error> {
    let mut rows = transaction.open_table(BLOCKED)?;
    if old.is_shared_with(new) {
        return Ok(());
    }
    for prefix in new.difference(old) {
        rows.insert(&row_of(*prefix), ())?;
    }
    for prefix in old.difference(new) {
        rows.remove(&row_of(*prefix))?;
    }
    Ok(())
}

fn row_of(prefix: Prefix) -> [u8; 17] {
    let (address, length) = prefix.key();
    let mut row = [length as u8; 17];
    row[..16].copy_from_slice(&address.bytes);
    row
}

fn prefix_of(row: &[u8; 17]) -> Option<Prefix> {
    let (bytes, length) = row.split_first_chunk()?;
    Prefix::of_key(Addr { bytes: *bytes }, u32::from(*length.first()?))
}

fn failed(path: &Path) -> impl Fn(redb::Error) -> WriteError {
    move |error| WriteError::Storage(format!("{}: {error}", path.display()))
}

/// Writes another schema number into a store.
#[cfg(test)]
pub(super) fn pretend_schema(path: &Path, schema: u64) {
    let database = Database::open(path).unwrap();
    let transaction = database.begin_write().unwrap();
    transaction.open_table(NUMBERS).unwrap().insert(SCHEMA, schema).unwrap();
    transaction.commit().unwrap();
}
