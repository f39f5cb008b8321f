//! In which order do the contestants do their works?

use crate::contestant::Contestant;
use crate::contestants;
use crate::extent::Extent;
use crate::regime::Regime;
use crate::series::{Book, Key};
use anyhow::Result;
use std::panic::{AssertUnwindSafe, catch_unwind};

pub fn works(extent: &Extent, keys: &[&str], book: &mut Book) -> Result<()> {
    let mut all: Vec<Contestant> = Vec::new();
    for key in keys {
        match catch_unwind(AssertUnwindSafe(|| contestants::build(key))) {
            Ok(Ok(contestant)) => all.push(contestant),
            Ok(Err(error)) => eprintln!("{key}: absent: {error:#}"),
            Err(_) => eprintln!("{key}: panicked"),
        }
    }
    let _spin = Regime::Stable.enter()?;
    for contestant in &all {
        for route in &contestant.routes {
            for work in &extent.works {
                let key = Key {
                    contestant: contestant.key.to_owned(),
                    path: route.path.name().to_owned(),
                    work: work.name().to_owned(),
                    ..Key::default()
                };
                match work.measure(route, extent) {
                    Ok(figures) => {
                        for (metric, value) in figures {
                            eprintln!("{} | {} | {} | {} {value:.3}", contestant.key, route.path.name(), work.name(), metric.name);
                            book.note(key.clone(), metric, 1, value);
                        }
                    }
                    Err(error) => eprintln!("{key:?}: {error:#}"),
                }
            }
        }
    }
    Ok(())
}
