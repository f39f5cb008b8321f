//! How do the programs get into the kernel, and which of them are there already?
//!
//! Most of a start is the verifier's work on the few large programs. So those stay pinned: the next agent of the same build
//! takes them as they are, when they work on the maps that it uses.

use super::object;
use super::pins::{self, MAPS, Pins};
use aya::Ebpf;
use aya::maps::MapData;
use aya::programs::{Program, ProgramError, ProgramInfo, SchedClassifier};
use std::collections::BTreeSet;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::io;
use std::num::NonZero;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

/// Loads every program of the object that is not there yet, on every core; `bytes` is what the object was read from.
///
/// # Errors
/// When the kernel does not take a program, with the verifier's last words.
pub fn load(object: &mut Ebpf, pins: &Pins, bytes: &[u8]) -> io::Result<()> {
    let kept = Kept { pins, build: build(bytes), maps: object::map_ids(object)? };
    kept.discard_former()?;
    let waiting = Mutex::new(object.programs_mut());
    let load_next = || {
        let next = waiting.lock().unwrap_or_else(PoisonError::into_inner).next();
        next.map(|(name, program)| kept.load(name, program))
    };
    let work = || std::iter::from_fn(load_next).collect::<io::Result<()>>();
    let cores = std::thread::available_parallelism().map_or(1, NonZero::get);
    std::thread::scope(|scope| {
        let workers: Vec<_> = (1..cores).map(|_| scope.spawn(work)).collect();
        let own = work();
        let others = workers.into_iter().map(|worker| {
            worker.join().unwrap_or_else(|_| Err(io::Error::other("a thread that loads programs panicked")))
        });
        others.fold(own, Result::and)
    })
}

/// What a build is told by, in the names of the pins.
fn build(object: &[u8]) -> String {
    let mut hasher = DefaultHasher::new();
    object.hash(&mut hasher);
    format!("{:016x}", hasher.finish())
}

/// The programs that stay pinned: those on interfaces, which are the large ones.
struct Kept<'a> {
    pins: &'a Pins,
    build: String,
    /// Numbers of the maps that the agent uses.
    maps: BTreeSet<u32>,
}

impl Kept<'_> {
    fn load(&self, name: &str, program: &mut Program) -> io::Result<()> {
        let refused = |error: ProgramError| {
            io::Error::other(format!("the kernel does not take the program {name}: {}", words(&error)))
        };
        match program {
            Program::SchedClassifier(program) => {
                let path = self.path(name);
                if self.is_usable(&path) {
                    *program = SchedClassifier::from_pin(&path).map_err(io::Error::other)?;
                    return Ok(());
                }
                program.load().map_err(refused)?;
                pins::remove_file(&path)?;
                program.pin(&path).map_err(io::Error::other)
            }
            Program::CgroupSockAddr(program) => program.load().map_err(refused),
            Program::Xdp(program) => program.load().map_err(refused),
            _ => Ok(()),
        }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.pins.program(&format!("{name}-{}", self.build))
    }

    /// Whether a program is pinned here that works on no map of netd's but those that the agent uses: of its constants,
    /// which have no pin, it has its own.
    fn is_usable(&self, path: &Path) -> bool {
        let Ok(Some(maps)) = ProgramInfo::from_pin(path).and_then(|pinned| pinned.map_ids()) else { return false };
        maps.iter().filter(|id| !self.maps.contains(id)).all(|id| {
            let info = MapData::from_id(*id).and_then(|map| map.info());
            info.is_ok_and(|info| info.name_as_str().is_some_and(|name| !MAPS.contains(&name)))
        })
    }

    /// Unpins the programs of other builds. Those that are attached go on.
    fn discard_former(&self) -> io::Result<()> {
        let is_former = |name: &&String| name.rsplit_once('-').is_some_and(|(_, build)| build != self.build);
        self.pins
            .program_names()?
            .iter()
            .filter(is_former)
            .try_for_each(|name| pins::remove_file(&self.pins.program(name)))
    }
}

/// The end of the verifier's log, where the reason is, behind the error itself.
fn words(error: &ProgramError) -> String {
    const LINES: usize = 12;
    if let ProgramError::LoadError { io_error, verifier_log } = error {
        let log = verifier_log.to_string();
        let lines: Vec<&str> = log.lines().collect();
        let tail = lines.get(lines.len().saturating_sub(LINES)..).unwrap_or_default();
        return format!("{io_error}; the verifier's last words:\n{}", tail.join("\n"));
    }
    error.to_string()
}
