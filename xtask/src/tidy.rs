//! Which rules does this repository have that no other tool knows, and who breaks them?

mod abi;
pub mod code;
mod doors;
mod layers;
mod text;

use crate::run;
use anyhow::{Context as _, Result, bail};
use std::fs;
use std::path::Path;

#[derive(clap::Args, Default)]
pub struct Options {
    /// Write netd-common/abi.lock anew, once `ABI_VERSION` is raised
    #[arg(long)]
    bless: bool,
}

/// A file of the repository.
pub struct Source {
    /// From the root, with `/`.
    pub path: String,
    pub text: String,
}

impl Source {
    pub fn is_rust(&self) -> bool {
        Path::new(&self.path).extension().is_some_and(|extension| extension == "rs")
    }
}

pub fn tidy(options: &Options) -> Result<()> {
    println!("==> tidy");
    let sources = sources()?;
    let mut breaches = Vec::new();
    for source in &sources {
        if source.is_rust() {
            breaches.extend(text::header(source));
            breaches.extend(doors::breaches(source));
            breaches.extend(layers::breaches(source));
            if let Some(warning) = text::length(source) {
                println!("    {warning}");
            }
        }
    }
    breaches.extend(abi::check(&sources, options.bless)?);
    if breaches.is_empty() {
        return Ok(());
    }
    bail!("{} tidy rules are broken:\n{}", breaches.len(), breaches.join("\n"));
}

/// Every text file that git knows or would add.
pub fn sources() -> Result<Vec<Source>> {
    let list = run::output(&mut run::words("git ls-files --cached --others --exclude-standard"))
        .context("listing the files of this repository")?;
    let mut sources = Vec::new();
    for path in list.lines() {
        // A file that is deleted but still in git's index, or not text, has nothing to say here.
        if let Ok(text) = fs::read_to_string(run::root().join(path)) {
            sources.push(Source { path: path.to_owned(), text });
        }
    }
    Ok(sources)
}
