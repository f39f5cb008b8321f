//! In which order do the contestants do their works?
//!
//! All of them stand side by side. In a round each work is done by one after the other, A B C, and in the next the other way
//! round, C B A: what is compared is measured within seconds of each other, since a virtual machine may be half as fast a
//! minute later; and nobody always comes after the same one.

use crate::contestant::{Contestant, Route};
use crate::contestants;
use crate::regime::Regime;
use crate::results::Described;
use crate::series::Key;
use crate::session::{Session, caught};
use anyhow::Result;

/// Builds the contestants, and describes them; those that are absent with the reason.
pub fn build(session: &mut Session, keys: &[&'static str], described: &mut Vec<Described>) -> Result<Vec<Contestant>> {
    let mut built = Vec::new();
    for &key in keys {
        session.next("setting up", key)?;
        match caught(|| contestants::build(key)) {
            Ok(contestant) => {
                described.push(Described { key: key.to_owned(), absent: None, setup: contestant.setup.clone() });
                built.push(contestant);
            }
            Err(error) => {
                let reason = format!("{error:#}").trim().replace('\n', " / ");
                session.remark(format!("{key}: absent: {reason}"));
                described.push(Described { key: key.to_owned(), absent: Some(reason), setup: Vec::new() });
            }
        }
    }
    Ok(built)
}

/// All rounds of both regimes.
pub fn works(session: &mut Session, contestants: &[Contestant]) -> Result<()> {
    let extent = session.extent.clone();
    let plan = [
        (Regime::Stable, extent.rounds, extent.works.clone()),
        (Regime::IdleCores, extent.idle_rounds, extent.idle_works.clone()),
    ];
    let mut turns: Vec<(&'static str, &Route)> =
        contestants.iter().flat_map(|of| of.routes.iter().map(|route| (of.key, route))).collect();
    // By path: those are what is compared.
    turns.sort_by_key(|(_, route)| route.path);
    for (_, rounds, works) in &plan {
        session.expect(*rounds as usize * turns.len() * works.len());
    }
    for (regime, rounds, works) in plan {
        let _spinners = regime.enter()?;
        for round in 1..=rounds {
            for work in &works {
                for (contestant, route) in &turns {
                    let what = format!("{contestant}, {}, {}", route.path.name(), work.name());
                    session.next(&format!("{}, round {round} of {rounds}", regime.name()), &what)?;
                    let key = works_key(regime, contestant, route.path.name(), work.name(), "");
                    let figures = caught(|| work.measure(route, &extent));
                    session.take(&key, round, figures);
                }
            }
            turns.reverse();
        }
    }
    Ok(())
}

/// The key of a figure of this part.
pub fn works_key(regime: Regime, contestant: &str, path: &str, work: &str, metric: &str) -> Key {
    Key {
        part: "works".to_owned(),
        regime: regime.name().to_owned(),
        contestant: contestant.to_owned(),
        path: path.to_owned(),
        work: work.to_owned(),
        metric: metric.to_owned(),
        size: 0,
    }
}
