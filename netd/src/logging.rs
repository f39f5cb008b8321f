//! Where do log lines go, and which are written?

use crate::config::LogFormat;
use std::io;
use tracing_subscriber::EnvFilter;

/// Sends log lines to the standard error stream. Called once, before anything is logged.
///
/// # Errors
/// When `level` is neither a level nor directives.
pub fn init(format: LogFormat, level: &str) -> Result<(), String> {
    // At debug, the loader tells every relocation of every program.
    let filter = EnvFilter::try_new(format!("aya_obj=warn,{level}")).map_err(|error| {
        format!("the log level \"{level}\" is not understood ({error}); write error, warn, info, debug or trace")
    })?;
    let lines = tracing_subscriber::fmt().with_env_filter(filter).with_writer(io::stderr);
    let installed = match format {
        LogFormat::Text => lines.with_target(false).with_ansi(io::IsTerminal::is_terminal(&io::stderr())).try_init(),
        LogFormat::Json => lines.json().flatten_event(true).try_init(),
    };
    installed.map_err(|error| format!("the log: {error}"))
}
