//! How does a verb run another program, and where is everything?

use anyhow::{Context as _, Result, bail};
use std::env;
use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::Command;

/// The root of the workspace.
pub fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().map_or_else(|| PathBuf::from("."), Path::to_path_buf)
}

/// Where `setup` keeps what it made, shared by every clone of this user: `~/.cache/netd`. `netd/build.rs` looks there.
pub fn cache() -> Result<PathBuf> {
    let home = env::var_os("HOME").context("HOME is not set, so there is no place for ~/.cache/netd; set it")?;
    Ok(PathBuf::from(home).join(".cache/netd"))
}

/// The folder that the programs of this build profile are in.
pub fn binaries() -> Result<PathBuf> {
    let own = env::current_exe().context("this program's own path")?;
    Ok(own.parent().context("this program's own folder")?.to_path_buf())
}

/// A command in the root of the workspace, without the variables that `cargo run` set for this program: they would
/// make a child cargo believe that its inputs have changed.
pub fn command(program: impl AsRef<OsStr>) -> Command {
    let mut command = Command::new(program);
    command.current_dir(root());
    for (name, _) in env::vars_os() {
        let text = name.to_string_lossy();
        if ["CARGO_PKG_", "CARGO_MANIFEST_", "CARGO_BIN_", "CARGO_CRATE_"].iter().any(|start| text.starts_with(start)) {
            command.env_remove(&name);
        }
    }
    command
}

/// [`command`] with words, separated by blanks.
pub fn words(line: &str) -> Command {
    let mut words = line.split_whitespace();
    let mut command = command(words.next().unwrap_or_default());
    command.args(words);
    command
}

/// The command as one would type it.
pub fn line(command: &Command) -> String {
    let mut line = command.get_program().to_string_lossy().into_owned();
    for argument in command.get_args() {
        let text = argument.to_string_lossy();
        line.push(' ');
        if text.is_empty() || text.contains([' ', '\n', '$', '"', '|', ';', '*']) {
            line.push_str(&format!("'{text}'"));
        } else {
            line.push_str(&text);
        }
    }
    line
}

/// Says what is done, does it, and fails when it does.
pub fn step(command: &mut Command) -> Result<()> {
    println!("==> {}", line(command));
    let status = command.status().with_context(|| format!("{} did not start", line(command)))?;
    if !status.success() {
        bail!("`{}` failed ({status})", line(command));
    }
    Ok(())
}

/// What a command printed, without the last line's end; its errors are part of the failure.
pub fn output(command: &mut Command) -> Result<String> {
    let output = command.output().with_context(|| format!("{} did not start", line(command)))?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        bail!("`{}` failed ({}): {}", line(command), output.status, said.trim());
    }
    Ok(String::from_utf8_lossy(&output.stdout).trim_end().to_owned())
}

/// The path of a program, on PATH or where system programs live.
pub fn find(program: &str) -> Option<PathBuf> {
    let path = env::var_os("PATH").unwrap_or_default();
    let system = ["/usr/sbin", "/sbin", "/usr/bin", "/bin"].map(PathBuf::from);
    env::split_paths(&path).chain(system).map(|folder| folder.join(program)).find(|path| path.is_file())
}

pub fn is_root() -> bool {
    // The second number of `Uid:` is the effective user (proc(5)).
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let uid = status.lines().find_map(|line| line.strip_prefix("Uid:"));
    uid.and_then(|uid| uid.split_whitespace().nth(1)) == Some("0")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_is_shown_as_it_would_be_typed() {
        let mut command = words("nsenter --net=/run/netns/x sh");
        command.args(["-c", "echo $1", ""]);
        assert_eq!(line(&command), "nsenter --net=/run/netns/x sh -c 'echo $1' ''");
    }

    #[test]
    fn a_failure_tells_what_the_program_said() {
        let mut command = command("sh");
        command.args(["-c", "echo no luck >&2; exit 3"]);
        let error = output(&mut command).expect_err("it exits with 3").to_string();
        assert!(error.contains("no luck") && error.contains('3'), "{error}");
    }

    #[test]
    fn programs_are_found_where_system_programs_live() {
        assert!(find("sh").is_some());
        assert_eq!(find("no-such-program-anywhere"), None);
    }
}
