//! Where are the pins of an instance, and which of them can be used?

use super::datapath::Options;
use aya::maps::{MapData, MapInfo};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

/// Maps that are pinned under their own names, so that the agent, the programs and `bpftool` find them.
pub const MAPS: [&str; 20] = [
    "ENDPOINTS",
    "PORTS_BY_IF",
    "FDB",
    "PUBLISHED",
    "LOCAL_ADDRS",
    "UPLINKS",
    "FLOWS",
    "TIMEOUTS",
    "FRAGMENTS",
    "SNAT_POOLS",
    "SNAT_TRIES",
    "ALLOWED",
    "BLOCKED",
    "SOCK_ORIGIN",
    "NAMES",
    "COUNTERS",
    "DROPS",
    "SAMPLED",
    "EVENTS",
    "GLOBALS",
];

/// The folder of an instance's pins: maps by their own names, `links/` and `programs/` beside them.
#[derive(Clone, Debug)]
pub struct Pins {
    folder: PathBuf,
}

impl Pins {
    /// Makes the folders, and moves in the links of other ABI versions of this instance: they go on with their own
    /// programs and maps, without their pins, until they are renewed.
    ///
    /// # Errors
    /// When bpffs does not take them.
    pub fn open(options: &Options) -> io::Result<Self> {
        let pins = Self { folder: options.pins() };
        pins.make_folders()?;
        for entry in fs::read_dir(options.instance_dir())? {
            let other = entry?.path();
            if other == pins.folder {
                continue;
            }
            tracing::info!("taking over from {}", other.display());
            for link in files(&other.join("links"))? {
                fs::rename(other.join("links").join(&link), pins.link(&link))?;
            }
            remove_tree(&other)?;
        }
        Ok(pins)
    }

    pub fn make_folders(&self) -> io::Result<()> {
        fs::create_dir_all(self.folder.join("links"))?;
        fs::create_dir_all(self.folder.join("programs"))
    }

    #[must_use]
    pub fn map(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    #[must_use]
    pub fn link(&self, name: &str) -> PathBuf {
        self.folder.join("links").join(name)
    }

    #[must_use]
    pub fn program(&self, name: &str) -> PathBuf {
        self.folder.join("programs").join(name)
    }

    pub fn program_names(&self) -> io::Result<Vec<String>> {
        files(&self.folder.join("programs"))
    }

    pub fn link_names(&self) -> io::Result<Vec<String>> {
        files(&self.folder.join("links"))
    }

    pub fn remove_link(&self, name: &str) -> io::Result<()> {
        remove_file(&self.link(name))
    }

    /// Removes the pins of maps that differ in type, sizes or room from those of the object: a map made for other
    /// programs would be read wrongly. Returns a flow table that only changes its room, for its flows.
    ///
    /// # Errors
    /// When a pin cannot be read or removed.
    pub fn discard_misfits(&self, object: &[u8], flows_max: u32) -> io::Result<Option<MapData>> {
        let object = aya_obj::Object::parse(object).map_err(io::Error::other)?;
        let mut flows = None;
        for name in MAPS {
            let path = self.map(name);
            let Some(wanted) = object.maps.get(name) else {
                return Err(io::Error::other(format!("the object has no map {name}")));
            };
            if !path.exists() {
                continue;
            }
            let pinned = MapInfo::from_pin(&path).map_err(io::Error::other)?;
            let room = if name == "FLOWS" { flows_max } else { wanted.max_entries() };
            let shape = (pinned.map_type().ok().map(|kind| kind as u32), pinned.key_size(), pinned.value_size());
            let is_same_shape = shape == (Some(wanted.map_type()), wanted.key_size(), wanted.value_size());
            if is_same_shape && pinned.max_entries() == room {
                continue;
            }
            tracing::warn!(
                "the pinned map {name} is not this version's (type, key, value {shape:?}, room {}): a new one takes its place",
                pinned.max_entries()
            );
            if is_same_shape && name == "FLOWS" {
                flows = Some(MapData::from_pin(&path).map_err(io::Error::other)?);
            }
            remove_file(&path)?;
        }
        Ok(flows)
    }
}

/// Removes every pin of the instance, of whatever ABI version. What only pins held detaches: traffic ends.
///
/// # Errors
/// When a pin cannot be removed.
pub fn remove_all(options: &Options) -> io::Result<()> {
    remove_tree(&options.instance_dir())?;
    // The folder of all instances goes with the last of them.
    match fs::remove_dir(options.bpffs.join("netd")) {
        Ok(()) => Ok(()),
        Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::DirectoryNotEmpty) => Ok(()),
        Err(error) => Err(error),
    }
}

/// The pins in a folder of links that are of this program: see [`super::attachments`].
pub fn links_of(folder: &Path, program: &str) -> io::Result<Vec<String>> {
    let mut names = files(folder)?;
    names.retain(|name| name.strip_prefix(program).is_some_and(|rest| rest.starts_with('-')));
    Ok(names)
}

/// Removes a file; that there is none is as good.
pub fn remove_file(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        Ok(()) | Err(_) => Ok(()),
    }
}

fn remove_tree(path: &Path) -> io::Result<()> {
    match fs::remove_dir_all(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        Ok(()) | Err(_) => Ok(()),
    }
}

/// The names in a folder; none when there is no folder.
fn files(folder: &Path) -> io::Result<Vec<String>> {
    let entries = match fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(error),
    };
    let mut names = Vec::new();
    for entry in entries {
        names.push(entry?.file_name().to_string_lossy().into_owned());
    }
    names.sort_unstable();
    Ok(names)
}
