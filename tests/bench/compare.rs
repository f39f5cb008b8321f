//! What has moved since an earlier run?

use crate::results::Results;
use crate::series::{Key, Series};
use crate::table::{number, spread};

/// A change that is smaller is not told, whatever the spread.
const SHARE_MIN: f64 = 0.03;

/// Lines that say what moved, those that got worse first. A figure has moved when the two runs' values do not overlap.
pub fn moved(before: &Results, now: &Results) -> Vec<String> {
    let (old, new) = (before.book(), now.book());
    let mut found: Vec<(bool, f64, String)> = Vec::new();
    for series in new.all() {
        let Some(former) = old.get(&series.key) else { continue };
        if let Some((is_worse, share)) = movement(former, series) {
            let word = if is_worse { "worse" } else { "better" };
            let (from, to) = (spread(&former.spread()), spread(&series.spread()));
            let line =
                format!("{word} {:+.0} %: {}: {from} -> {to} {}", share * 100.0, about(&series.key), series.unit);
            found.push((!is_worse, -share.abs(), line));
        }
    }
    found.sort_by(|a, b| (a.0, a.1).partial_cmp(&(b.0, b.1)).unwrap_or(std::cmp::Ordering::Equal));
    found.into_iter().map(|(_, _, line)| line).collect()
}

/// Whether it got worse, and by which share of the former median.
fn movement(former: &Series, series: &Series) -> Option<(bool, f64)> {
    let (from, to) = (former.spread(), series.spread());
    let share = (to.median - from.median) / from.median.abs().max(f64::MIN_POSITIVE);
    let has_moved = from.is_apart_from(&to) && share.abs() >= SHARE_MIN;
    has_moved.then_some(((share > 0.0) != series.more_is_better, share))
}

fn about(key: &Key) -> String {
    let size = if key.size == 0 { String::new() } else { number(key.size as f64) };
    let words = [&key.part, &key.regime, &key.contestant, &key.path, &key.work, &key.metric, &size];
    words.into_iter().filter(|word| !word.is_empty()).map(String::as_str).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn series(more_is_better: bool, values: [f64; 2]) -> Series {
        let values = values.into_iter().enumerate().map(|(round, value)| (round as u32, value)).collect();
        Series { key: Key::default(), unit: String::new(), more_is_better, values }
    }

    #[test]
    fn what_overlaps_has_not_moved() {
        assert_eq!(movement(&series(true, [1.0, 2.0]), &series(true, [1.9, 3.0])), None);
        assert_eq!(movement(&series(true, [1.0, 1.0]), &series(true, [1.01, 1.01])), None);
    }

    #[test]
    fn which_way_is_worse_is_the_metrics_own() {
        assert_eq!(movement(&series(true, [1.0, 1.0]), &series(true, [0.5, 0.5])), Some((true, -0.5)));
        assert_eq!(movement(&series(false, [1.0, 1.0]), &series(false, [0.5, 0.5])), Some((false, -0.5)));
    }
}
