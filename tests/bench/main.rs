//! How does netd compare with what else there is, on this machine?
//!
//! Run it by `cargo xtask bench`, which builds it and netd first.

mod agent;
mod contestant;
mod contestants;
mod cpu;
mod extent;
mod machine;
mod regime;
mod run;
mod series;
mod works;

use anyhow::Result;

fn main() -> Result<()> {
    let extent = extent::Extent::quick();
    let mut book = series::Book::default();
    run::works(&extent, &contestants::ALL, &mut book)?;
    for series in book.all() {
        println!("{:?} {:?}", series.key, series.spread());
    }
    Ok(())
}
