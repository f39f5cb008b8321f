//! How are figures laid out for people?

use crate::contestant::Path;
use crate::contestants::{ALL, IPTABLES, NETD};
use crate::goals::Judged;
use crate::regime::Regime;
use crate::results::Results;
use crate::rounds::works_key;
use crate::scale;
use crate::series::{Book, Key, Metric, Series, Spread};
use crate::works::{
    CONNECTIONS, CPU_PER_CONNECTION, CPU_PER_GB, DATAGRAMS, FAILED, P50, P99, P999, RATE, RETRANSMITS, Work,
};
use comfy_table::{CellAlignment, Table, presets};
use std::collections::BTreeSet;

/// For a terminal, or for a Markdown file.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Style {
    Terminal,
    Markdown,
}

impl Style {
    fn table(self, head: &[String]) -> Table {
        let mut table = Table::new();
        table.load_style(if self == Self::Terminal { presets::UTF8_FULL_CONDENSED } else { presets::ASCII_MARKDOWN });
        table.set_header(head);
        for column in table.column_iter_mut().skip(1) {
            column.set_cell_alignment(CellAlignment::Right);
        }
        table
    }
}

/// Three digits that count.
pub fn number(value: f64) -> String {
    match value.abs() {
        v if !v.is_finite() => "–".to_owned(),
        v if v >= 1000.0 => {
            let digits = format!("{value:.0}");
            let (sign, digits) = digits.strip_prefix('-').map_or(("", digits.as_str()), |digits| ("-", digits));
            let first = digits.len() % 3;
            let mut groups: Vec<&str> = if first > 0 { vec![&digits[..first]] } else { Vec::new() };
            groups.extend((first..digits.len()).step_by(3).map(|at| &digits[at..at + 3]));
            format!("{sign}{}", groups.join(","))
        }
        v if v >= 100.0 || value.fract() == 0.0 => format!("{value:.0}"),
        v if v >= 10.0 => format!("{value:.1}"),
        _ => format!("{value:.2}"),
    }
}

/// The median, and the ends where there is more than one value.
pub fn spread(spread: &Spread) -> String {
    let median = number(spread.median);
    if number(spread.min) == number(spread.max) {
        return median;
    }
    format!("{median} ({}–{})", number(spread.min), number(spread.max))
}

const SPEED: [(Work, Metric); 10] = [
    (Work::Stream, RATE),
    (Work::Streams, RATE),
    (Work::StreamBack, RATE),
    (Work::Requests, P50),
    (Work::Requests, P99),
    (Work::Requests, P999),
    (Work::Connections, CONNECTIONS),
    (Work::Connections, P99),
    (Work::Datagrams, DATAGRAMS),
    (Work::DatagramsBack, DATAGRAMS),
];

const COST: [(Work, Metric); 5] = [
    (Work::Stream, CPU_PER_GB),
    (Work::Stream, RETRANSMITS),
    (Work::Streams, RETRANSMITS),
    (Work::Connections, CPU_PER_CONNECTION),
    (Work::Connections, FAILED),
];

/// One path in one regime; None when nothing of it was measured.
fn path_table(book: &Book, style: Style, regime: Regime, path: Path, columns: &[(Work, Metric)]) -> Option<String> {
    let cell = |contestant: &str, (work, metric): &(Work, Metric)| {
        book.get(&works_key(regime, contestant, path.name(), work.name(), metric.name)).map(Series::spread)
    };
    let columns: Vec<&(Work, Metric)> =
        columns.iter().filter(|column| ALL.iter().any(|contestant| cell(contestant, column).is_some())).collect();
    let mut head = vec![String::new()];
    let between = if style == Style::Terminal { "\n" } else { ": " };
    head.extend(
        columns.iter().map(|(work, metric)| format!("{}{between}{}, {}", work.name(), metric.name, metric.unit)),
    );
    let mut table = style.table(&head);
    for contestant in ALL {
        let cells: Vec<Option<Spread>> = columns.iter().map(|column| cell(contestant, column)).collect();
        if cells.iter().any(Option::is_some) {
            let mut row = vec![if contestant == NETD && style == Style::Markdown {
                "**netd**".to_owned()
            } else {
                contestant.to_owned()
            }];
            row.extend(cells.iter().map(|cell| cell.as_ref().map_or("–".to_owned(), spread)));
            table.add_row(row);
        }
    }
    (!table.is_empty()).then(|| table.to_string())
}

/// All tables of the works, each with its title. What speed costs is for files alone.
pub fn works(book: &Book, style: Style) -> Vec<(String, String)> {
    let mut all = Vec::new();
    for regime in [Regime::Stable, Regime::IdleCores] {
        let kinds = [(&SPEED[..], ""), (&COST[..], ": cost")];
        for (columns, what) in kinds.into_iter().take(if style == Style::Terminal { 1 } else { 2 }) {
            for path in Path::ALL {
                let title = format!("{} ({}){what}", capital(path.name()), regime.name());
                all.extend(path_table(book, style, regime, path, columns).map(|table| (title, table)));
            }
        }
    }
    all
}

pub fn capital(text: &str) -> String {
    let mut chars = text.chars();
    chars.next().map_or(String::new(), |first| first.to_uppercase().chain(chars).collect())
}

const ALONG: [(Work, Metric); 5] = [
    (Work::Requests, P50),
    (Work::Requests, P99),
    (Work::Connections, CONNECTIONS),
    (Work::Connections, P99),
    (Work::Connections, CPU_PER_CONNECTION),
];

/// Figures along a number of publishes or containers, a column for each size; every table with its title.
pub fn scales(book: &Book, style: Style) -> Vec<(String, String)> {
    let mut all = Vec::new();
    for dimension in [scale::PUBLISHES, scale::CONTAINERS, scale::BOTH] {
        let of_it: Vec<&Series> = book.all().filter(|series| series.key.part == dimension).collect();
        let sizes: BTreeSet<u64> = of_it.iter().map(|series| series.key.size).collect();
        let mut head = ["", "", ""].map(str::to_owned).to_vec();
        head.extend(sizes.iter().map(|size| number(*size as f64)));
        let mut table = style.table(&head);
        for path in Path::ALL {
            for (work, metric) in ALONG {
                for contestant in [NETD, scale::SMALL, IPTABLES] {
                    let cell = |size: &u64| {
                        let key = scale::key(dimension, contestant, path, work, *size);
                        book.get(&Key { metric: metric.name.to_owned(), ..key }).map(Series::spread)
                    };
                    let cells: Vec<Option<Spread>> = sizes.iter().map(cell).collect();
                    if cells.iter().any(Option::is_some) {
                        let what = format!("{}: {}, {}", work.name(), metric.name, metric.unit);
                        let mut row = vec![path.name().to_owned(), what, contestant.to_owned()];
                        row.extend(cells.iter().map(|cell| cell.as_ref().map_or("–".to_owned(), spread)));
                        table.add_row(row);
                    }
                }
            }
        }
        if !table.is_empty() {
            all.push((capital(dimension), table.to_string()));
        }
    }
    all
}

/// Figures of the control plane or of the programs: one row a series.
pub fn others(book: &Book, style: Style, part: &str) -> Option<String> {
    let head = ["", "", "", "size", "median (ends)", "unit"].map(str::to_owned);
    let mut table = style.table(&head);
    for series in book.all().filter(|series| series.key.part == part) {
        let Key { contestant, path, work, metric, size, .. } = &series.key;
        let what = if path.is_empty() { work } else { path };
        let size = if *size == 0 { String::new() } else { number(*size as f64) };
        let row = [contestant, what, metric, &size, &spread(&series.spread()), &series.unit];
        table.add_row(row);
    }
    (!table.is_empty()).then(|| table.to_string())
}

pub fn goals(goals: &[Judged], style: Style) -> String {
    let mut table =
        style.table(&["goal", "bound", "measured (ends)", "", "a bare veth pair, the host itself"].map(str::to_owned));
    for judged in goals {
        let outcome = match judged.reached {
            None => "not measured",
            Some(true) => "reached",
            Some(false) => "not reached",
        };
        let measured = judged
            .measured
            .as_ref()
            .map_or("–".to_owned(), |measured| format!("{} {}", spread(measured), judged.unit));
        let floor = judged.floor.as_ref().map(spread).unwrap_or_default();
        table.add_row([&judged.goal, &judged.bound, measured.trim(), outcome, &floor]);
    }
    table.to_string()
}

/// What the terminal shows at the end.
pub fn terminal(results: &Results) -> String {
    let book = results.book();
    let mut text = String::new();
    for (title, table) in works(&book, Style::Terminal) {
        text.push_str(&format!("\n{title}\n{table}\n"));
    }
    for (title, table) in scales(&book, Style::Terminal) {
        text.push_str(&format!("\n{title}\n{table}\n"));
    }
    for part in ["control", "micro"] {
        if let Some(table) = others(&book, Style::Terminal, part) {
            text.push_str(&format!("\n{}\n{table}\n", capital(part)));
        }
    }
    text.push_str(&format!("\nGoals\n{}\n", goals(&results.goals, Style::Terminal)));
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_have_the_digits_that_count() {
        for (value, text) in [
            (0.123, "0.12"),
            (1.0, "1"),
            (45.67, "45.7"),
            (456.7, "457"),
            (1234.5, "1,234"),
            (1_234_567.0, "1,234,567"),
            (-12_345.0, "-12,345"),
        ] {
            assert_eq!(number(value), text);
        }
    }

    #[test]
    fn a_spread_of_one_value_has_no_ends() {
        assert_eq!(spread(&Spread { median: 2.0, min: 2.0, max: 2.0 }), "2");
        assert_eq!(spread(&Spread { median: 2.0, min: 1.5, max: 3.0 }), "2 (1.50–3)");
    }
}
