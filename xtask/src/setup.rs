//! What is missing before netd can be built, tested and shown, and how does it get here?
//!
//! Everything that is there already is left alone, so the second run only looks. Nothing is asked.

mod packages;
mod toolchain;

use anyhow::Result;
use toolchain::Way;

pub use packages::install_debian;
pub use toolchain::Chosen;

#[derive(clap::Args, Default)]
pub struct Options {
    /// Build the programs for the kernel with Debian's compiler, even where rustup has all that it takes
    #[arg(long)]
    debian_compiler: bool,
}

/// For the demo and all rings of tests.
pub fn setup(options: &Options) -> Result<()> {
    setup_build(options)?;
    packages::install()
}

/// For building and for the rings that need no root.
pub fn setup_build(options: &Options) -> Result<()> {
    toolchain::install(if options.debian_compiler { Way::Debian } else { Way::Rustup })
}
