//! Does every row hold on the model?

use super::cases;

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
