//! Is a peer installed, and does what it is told succeed?

use anyhow::{Context as _, Result, bail};
use netd_tests::world::Place;
use std::path::{Path, PathBuf};

/// A program that this repository does not build.
pub struct Peer;

impl Peer {
    /// The path of a program.
    ///
    /// # Errors
    /// Says which package has it.
    pub fn find(program: &str, package: &str) -> Result<PathBuf> {
        let folders = ["/usr/sbin", "/usr/bin", "/sbin", "/bin", "/usr/lib/cni", "/opt/cni/bin"];
        let paths = folders.iter().map(|folder| Path::new(folder).join(program));
        paths.into_iter().find(|path| path.is_file()).with_context(|| {
            format!("{program} is not installed: `cargo xtask bench --install-peers` gets it (package {package})")
        })
    }

    /// What it says of its version, in one line.
    pub fn version(path: &Path, word: &str) -> String {
        let output = std::process::Command::new(path).arg(word).output();
        let said = output.map(|output| [output.stdout, output.stderr].concat()).unwrap_or_default();
        String::from_utf8_lossy(&said).lines().find(|line| !line.is_empty()).unwrap_or("unknown").trim().to_owned()
    }
}

/// Runs a script inside a place.
///
/// # Errors
/// What it said when it failed.
pub fn sh(place: &Place, script: &str) -> Result<String> {
    let finished = place.exec(["sh", "-ec", script]);
    if !finished.is_ok() {
        let line = script.trim().lines().next().unwrap_or_default();
        bail!("`{line}` …: {finished}");
    }
    Ok(finished.stdout)
}

/// Runs a program inside a place with this on its standard input.
///
/// # Errors
/// What it said when it failed.
pub fn feed(place: &Place, words: &[&str], input: &str) -> Result<String> {
    // A file, and not a pipe that is written before it is read: rules for 10,000 ports fill any pipe.
    let mut file = tempfile::NamedTempFile::new()?;
    std::io::Write::write_all(&mut file, input.as_bytes())?;
    let path = file.path().display().to_string();
    let mut all = vec!["sh", "-c", r#"input="$1"; shift; exec "$@" <"$input""#, "sh", &path];
    all.extend(words);
    let finished = place.exec(all);
    if !finished.is_ok() {
        bail!("`{}`: {finished}", words.join(" "));
    }
    Ok(finished.stdout)
}
