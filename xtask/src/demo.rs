//! (to be written)
use anyhow::Result;
#[derive(clap::Args)]
pub struct Options {}
pub fn demo(_: &Options) -> Result<()> { Ok(()) }
