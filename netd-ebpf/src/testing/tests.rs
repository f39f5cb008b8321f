//! Does every row hold on the model?

use super::case::run;
use super::cases;
use super::random::Random;
use super::world::{Container, DB, REMOTE, Source, WEB, World};
use crate::verdict::Verdict;

#[test]
fn every_row_holds_on_the_model() {
    let mut failed = Vec::new();
    for case in cases::all() {
        let name = case.name.clone();
        if std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| case.play(&mut ()))).is_err() {
            failed.push(name);
        }
    }
    assert!(failed.is_empty(), "rows that do not hold: {failed:#?}");
}

#[test]
fn rows_have_names_of_their_own() {
    let mut names: Vec<String> = cases::all().into_iter().map(|case| case.name).collect();
    let count = names.len();
    names.sort();
    names.dedup();
    assert_eq!(names.len(), count);
}

#[test]
fn sixty_thousand_flows_to_one_remote_at_once() {
    let mut world = World::default();
    let mut random = Random::new(1);
    let mut refused = 0;
    let mut send = |container: &Container, port: u16| {
        world.stack.random = random.next() as u32;
        let source = Source::from(container);
        let ran = run(&world, source.hook(), world.frame(source, container.to(REMOTE).tcp(port, 80, 2, b"")));
        refused += u32::from(matches!(ran.verdict, Verdict::Drop(_)));
    };
    // The same ports in both, one after the other: the worst for a search that goes on where it began.
    for container in [WEB, DB] {
        (20_000..50_000).for_each(|port| send(&container, port));
    }
    assert_eq!(refused, 0, "flows refused of 60,000");
}
