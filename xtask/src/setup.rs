//! What is missing before netd can be built, tested and shown, and how does it get here?
//!
//! Everything that is there already is left alone, so the second run only looks. Nothing is asked.

mod packages;
mod toolchain;

use anyhow::Result;

/// For the demo and all rings of tests.
pub fn setup() -> Result<()> {
    toolchain::install()?;
    packages::install()
}

/// For building and for the rings that need no root.
pub fn setup_build() -> Result<()> {
    toolchain::install()
}

pub use toolchain::Chosen;
