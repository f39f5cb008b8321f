//! What does a run leave behind, for people and for the next run?

use crate::goals::Judged;
use crate::machine::Machine;
use crate::series::{Book, Series};
use anyhow::{Context as _, Result};
use serde::{Deserialize, Serialize};
use std::fs;
use std::path::Path;

/// Of the JSON file; another is refused.
const FORMAT: u32 = 1;

#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Results {
    pub format: u32,
    /// `quick` or `full`.
    pub extent: String,
    /// RFC 3339.
    pub started: String,
    pub seconds: f64,
    pub machine: Machine,
    /// In words: what was the same for all.
    pub regimes: Vec<String>,
    pub contestants: Vec<Described>,
    pub goals: Vec<Judged>,
    /// What could not be measured, and why.
    pub notes: Vec<String>,
    pub series: Vec<Series>,
}

/// A contestant, and how it was set up.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Described {
    pub key: String,
    /// Why it did not take part.
    pub absent: Option<String>,
    pub setup: Vec<String>,
}

impl Results {
    pub const FORMAT: u32 = FORMAT;

    pub fn book(&self) -> Book {
        self.series.iter().cloned().collect()
    }

    pub fn read(path: &Path) -> Result<Self> {
        let text = fs::read_to_string(path).with_context(|| format!("reading {}", path.display()))?;
        let results: Self = serde_json::from_str(&text).with_context(|| format!("{} is of no run", path.display()))?;
        anyhow::ensure!(
            results.format == FORMAT,
            "{} has format {}, and this program reads {FORMAT}; take a file of the same version",
            path.display(),
            results.format
        );
        Ok(results)
    }

    pub fn write(&self, path: &Path) -> Result<()> {
        let text = serde_json::to_string_pretty(self)?;
        fs::write(path, text + "\n").with_context(|| format!("writing {}", path.display()))
    }
}
