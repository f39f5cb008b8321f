//! What is in the loaded object, and does a link run it?

use super::bpf;
use super::pins::MAPS;
use aya::Ebpf;
use aya::maps::{Map, MapData, MapInfo, MapType};
use aya::programs::{Program, ProgramInfo};
use std::collections::BTreeSet;
use std::io;
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};

/// The descriptor of a map that is a hash or a trie, for the calls that aya does not make.
///
/// # Errors
/// When there is no such map.
pub fn fd<'a>(object: &'a Ebpf, name: &str) -> io::Result<BorrowedFd<'a>> {
    match map(object, name)? {
        Map::HashMap(data) | Map::LruHashMap(data) | Map::LpmTrie(data) => Ok(data.fd().as_fd()),
        _ => Err(io::Error::other(format!("{name} is no hash and no trie"))),
    }
}

/// The descriptor of a loaded program.
///
/// # Errors
/// When there is no such program, or it is not loaded.
pub fn program_fd(object: &Ebpf, name: &str) -> io::Result<OwnedFd> {
    program(object, name)?.fd().map_err(io::Error::other)?.as_fd().try_clone_to_owned()
}

/// The number of a loaded program.
///
/// # Errors
/// As [`program_fd`].
pub fn program_id(object: &Ebpf, name: &str) -> io::Result<u32> {
    Ok(program(object, name)?.info().map_err(io::Error::other)?.id())
}

/// Whether a link runs this program of the object, on the maps of the object; `id` is the number of the program that it
/// runs. After a restart that is a former load of it, which is as good.
///
/// # Errors
/// When the kernel does not answer.
pub fn is_current(object: &Ebpf, name: &str, id: u32) -> io::Result<bool> {
    let own = program(object, name)?.info().map_err(io::Error::other)?;
    if own.id() == id {
        return Ok(true);
    }
    let Some(linked) = aya::programs::loaded_programs().flatten().find(|info| info.id() == id) else {
        return Ok(false);
    };
    Ok(own.tag() == linked.tag() && uses(object, &own)? == uses(object, &linked)?)
}

/// What a program works with: the pinned maps by their numbers, and its constants, which are a new map with each load, by
/// their bytes.
fn uses(object: &Ebpf, program: &ProgramInfo) -> io::Result<(BTreeSet<u32>, Vec<Vec<u8>>)> {
    let shared = map_ids(object)?;
    let ids: BTreeSet<u32> = program.map_ids().map_err(io::Error::other)?.unwrap_or_default().into_iter().collect();
    let mut constants = Vec::new();
    for id in ids.difference(&shared) {
        let map = MapData::from_id(*id).map_err(io::Error::other)?;
        let info = map.info().map_err(io::Error::other)?;
        if info.map_type().is_ok_and(|kind| kind == MapType::Array) {
            constants.push(bpf::first_value(map.fd().as_fd(), info.value_size() as usize)?);
        }
    }
    constants.sort_unstable();
    Ok((&ids & &shared, constants))
}

/// The numbers of the pinned maps.
///
/// # Errors
/// When the kernel does not answer.
pub fn map_ids(object: &Ebpf) -> io::Result<BTreeSet<u32>> {
    MAPS.iter().map(|name| Ok(info_of(map(object, name)?)?.id())).collect()
}

fn map<'a>(object: &'a Ebpf, name: &str) -> io::Result<&'a Map> {
    object.map(name).ok_or_else(|| io::Error::other(format!("the object has no map {name}")))
}

fn program<'a>(object: &'a Ebpf, name: &str) -> io::Result<&'a Program> {
    object.program(name).ok_or_else(|| io::Error::other(format!("the object has no program {name}")))
}

fn info_of(map: &Map) -> io::Result<MapInfo> {
    match map {
        Map::HashMap(data)
        | Map::LruHashMap(data)
        | Map::PerCpuLruHashMap(data)
        | Map::LpmTrie(data)
        | Map::Array(data)
        | Map::PerCpuArray(data)
        | Map::RingBuf(data) => data.info().map_err(io::Error::other),
        _ => Err(io::Error::other("the object has no map of this type")),
    }
}
