//! What was measured, how often, and how far do the figures lie apart?

use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// What a figure is about. Fields that do not apply are empty, or 0.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Key {
    /// `works`, `scale`, `control` or `micro`.
    pub part: String,
    pub regime: String,
    pub contestant: String,
    pub path: String,
    pub work: String,
    pub metric: String,
    /// How many publishes, containers or ports there were.
    pub size: u64,
}

/// A metric's unit, and which way is better.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Metric {
    pub name: &'static str,
    pub unit: &'static str,
    pub more_is_better: bool,
}

impl Metric {
    pub const fn more(name: &'static str, unit: &'static str) -> Self {
        Self { name, unit, more_is_better: true }
    }

    pub const fn less(name: &'static str, unit: &'static str) -> Self {
        Self { name, unit, more_is_better: false }
    }
}

/// One figure a round.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Series {
    #[serde(flatten)]
    pub key: Key,
    pub unit: String,
    pub more_is_better: bool,
    /// By round, so that two contestants are compared within one.
    pub values: BTreeMap<u32, f64>,
}

impl Series {
    pub fn spread(&self) -> Spread {
        Spread::of(self.values.values().copied())
    }
}

/// The median and the ends.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Spread {
    pub median: f64,
    pub min: f64,
    pub max: f64,
}

impl Spread {
    /// Of at least one value; of none, NaN.
    pub fn of(values: impl IntoIterator<Item = f64>) -> Self {
        let mut values: Vec<f64> = values.into_iter().collect();
        values.sort_by(f64::total_cmp);
        let at = |index: usize| values.get(index).copied().unwrap_or(f64::NAN);
        let middle = values.len() / 2;
        let median =
            if values.len() % 2 == 1 { at(middle) } else { f64::midpoint(at(middle.wrapping_sub(1)), at(middle)) };
        Self { median, min: at(0), max: at(values.len().wrapping_sub(1)) }
    }

    /// Whether no value of one lies within the other.
    pub fn is_apart_from(&self, other: &Self) -> bool {
        self.min > other.max || self.max < other.min
    }
}

/// The value at a share of the sorted values, such as 0.99.
pub fn quantile(values: &[f64], share: f64) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let rank = (share * sorted.len() as f64).ceil() as usize;
    sorted.get(rank.saturating_sub(1)).copied().unwrap_or(f64::NAN)
}

/// All series of a run.
#[derive(Clone, Debug, Default)]
pub struct Book {
    series: BTreeMap<Key, Series>,
}

impl Book {
    pub fn note(&mut self, key: Key, metric: Metric, round: u32, value: f64) {
        let key = Key { metric: metric.name.to_owned(), ..key };
        let empty = || Series {
            key: key.clone(),
            unit: metric.unit.to_owned(),
            more_is_better: metric.more_is_better,
            values: BTreeMap::new(),
        };
        self.series.entry(key.clone()).or_insert_with(empty).values.insert(round, value);
    }

    pub fn get(&self, key: &Key) -> Option<&Series> {
        self.series.get(key)
    }

    pub fn all(&self) -> impl Iterator<Item = &Series> {
        self.series.values()
    }

    /// `of` divided by `by`, round by round.
    pub fn ratio(&self, of: &Key, by: &Key) -> Option<Spread> {
        let (of, by) = (self.get(of)?, self.get(by)?);
        let rounds: Vec<f64> =
            of.values.iter().filter_map(|(round, value)| Some(value / by.values.get(round)?)).collect();
        (!rounds.is_empty()).then(|| Spread::of(rounds))
    }
}

impl FromIterator<Series> for Book {
    fn from_iter<T: IntoIterator<Item = Series>>(series: T) -> Self {
        Self { series: series.into_iter().map(|series| (series.key.clone(), series)).collect() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_is_in_the_middle() {
        assert_eq!(Spread::of([3.0, 1.0, 2.0]), Spread { median: 2.0, min: 1.0, max: 3.0 });
        assert_eq!(Spread::of([4.0, 1.0]).median, 2.5);
        assert!(Spread::of([]).median.is_nan());
    }

    #[test]
    fn quantiles_are_values_that_were_seen() {
        let values: Vec<f64> = (1..=100).map(f64::from).collect();
        assert_eq!((quantile(&values, 0.5), quantile(&values, 0.99), quantile(&values, 1.0)), (50.0, 99.0, 100.0));
        assert_eq!(quantile(&[7.0], 0.99), 7.0);
    }

    #[test]
    fn ratios_are_taken_within_a_round() {
        let key = |contestant: &str| Key { contestant: contestant.to_owned(), ..Key::default() };
        let metric = Metric::more("rate", "1/s");
        let at = |contestant| Key { metric: "rate".to_owned(), ..key(contestant) };
        let mut book = Book::default();
        // A machine that is half as fast in the second round changes no ratio.
        for (contestant, round, value) in [("a", 1, 20.0), ("b", 1, 10.0), ("a", 2, 10.0), ("b", 2, 5.0), ("a", 3, 9.0)]
        {
            book.note(key(contestant), metric, round, value);
        }
        assert_eq!(book.ratio(&at("a"), &at("b")), Some(Spread { median: 2.0, min: 2.0, max: 2.0 }));
        assert_eq!(book.ratio(&at("a"), &at("c")), None);
    }
}
