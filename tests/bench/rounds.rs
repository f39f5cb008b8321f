//! In which order do the contestants do their works?
//!
//! All of them stand side by side, and each does its works once a round, one after the other: A B C A B C. What the machine
//! does by and by is then in everybody's figures, and in no ratio.

use crate::contestant::Contestant;
use crate::contestants;
use crate::regime::Regime;
use crate::results::Described;
use crate::series::Key;
use crate::session::{Session, caught};
use crate::works::Work;
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
    let routes: usize = contestants.iter().map(|contestant| contestant.routes.len()).sum();
    for (_, rounds, works) in &plan {
        session.expect(*rounds as usize * routes * works.len());
    }
    for (regime, rounds, works) in plan {
        let _spinners = regime.enter()?;
        for round in 1..=rounds {
            for contestant in contestants {
                let heading = format!("{}, round {round} of {rounds}", regime.name());
                turn(session, &heading, regime, round, contestant, &works)?;
            }
        }
    }
    Ok(())
}

/// One contestant's works in one round.
fn turn(
    session: &mut Session,
    heading: &str,
    regime: Regime,
    round: u32,
    contestant: &Contestant,
    works: &[Work],
) -> Result<()> {
    let extent = session.extent.clone();
    for route in &contestant.routes {
        for work in works {
            session.next(heading, &format!("{}, {}, {}", contestant.key, route.path.name(), work.name()))?;
            let key = works_key(regime, contestant.key, route.path.name(), work.name(), "");
            let figures = caught(|| work.measure(route, &extent));
            session.take(&key, round, figures);
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
