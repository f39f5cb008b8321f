//! How is everything that an instance made taken away again?
//!
//! The kernel is brought to an empty target by the same plan that keeps it in step; what cannot be taken away is
//! reported, and the rest goes on.

use crate::config::Config;
use crate::daemon::{self, DaemonError};
use crate::instance::{Claim, ClaimError};
use crate::kernel::linux::Linux;
use crate::kernel::names::keep;
use crate::kernel::{Kernel as _, pins, process};
use crate::reconcile::plan::plan;
use crate::reconcile::target::Target;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use tokio::sync::mpsc;

#[derive(Debug, thiserror::Error)]
pub enum CleanupError {
    #[error("netd cleanup needs root; run it with sudo")]
    NotRoot,
    #[error(transparent)]
    Claim(#[from] ClaimError),
    #[error(transparent)]
    Machine(#[from] DaemonError),
    #[error("the folder {}: {source}", path.display())]
    Folder { path: PathBuf, source: io::Error },
    #[error("not everything could be removed: {}", .0.join("; "))]
    Left(Vec<String>),
}

/// Takes away every link, route, program, pin and namespace of the instance, and its store unless `keep_state`.
/// Returns how many steps it took.
///
/// # Errors
/// When the instance's daemon runs, or something could not be taken away: all else is gone then.
pub fn run(config: &Config, keep_state: bool) -> Result<usize, CleanupError> {
    if !process::is_root() {
        return Err(CleanupError::NotRoot);
    }
    fs::create_dir_all(&config.run_dir)
        .map_err(|source| CleanupError::Folder { path: config.run_dir.clone(), source })?;
    let _claim = Claim::take(config)?;
    // Nobody is served any more.
    let (server, nobody) = mpsc::channel(1);
    drop(nobody);
    let options = daemon::open_machine(config, server)?;
    let mut left = Vec::new();
    let steps = empty_kernel(options.clone(), &mut left);
    let mut note = |what: &str, result: io::Result<()>| match result {
        Err(error) if error.kind() != io::ErrorKind::NotFound => left.push(format!("{what}: {error}")),
        Ok(()) | Err(_) => {}
    };
    note("the programs and maps", pins::remove_all(&options.datapath));
    note("the keeper of name servers", keep::quit(&config.keeper()));
    note("the containers' files", fs::remove_dir_all(config.container_files()));
    note("the notes of namespaces", fs::remove_dir_all(config.netns_notes()));
    note("the notes of links", fs::remove_dir_all(config.link_notes()));
    note("the notes of others' namespaces", fs::remove_dir_all(config.lent_notes()));
    note("the socket", fs::remove_file(config.socket()));
    note("the lock", fs::remove_file(config.lock()));
    remove_if_empty(&config.run_dir);
    if !keep_state {
        note("the store", fs::remove_file(config.store()));
        remove_if_empty(&config.state_dir);
    }
    if left.is_empty() { Ok(steps) } else { Err(CleanupError::Left(left)) }
}

/// Carries out the plan for nothing at all. What fails is added to `left`.
fn empty_kernel(options: crate::kernel::linux::Options, left: &mut Vec<String>) -> usize {
    // Nobody looks again after this, so nobody listens for changes.
    let (changed, _listener) = mpsc::channel(1);
    let opened = Linux::open(options, changed).and_then(|mut kernel| Ok((kernel.observe()?, kernel)));
    let (observed, mut kernel) = match opened {
        Ok(opened) => opened,
        Err(error) => {
            left.push(error.to_string());
            return 0;
        }
    };
    let steps = plan(&Target::default(), &observed);
    left.extend(steps.iter().filter_map(|step| kernel.apply(step).err()).map(|error| error.to_string()));
    steps.len()
}

/// A folder in which others put something stays.
fn remove_if_empty(path: &Path) {
    if let Err(error) = fs::remove_dir(path) {
        tracing::debug!(path = %path.display(), %error, "the folder stays");
    }
}
