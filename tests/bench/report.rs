//! Which files does a run write?

use crate::plot;
use crate::results::Results;
use crate::table::{self, Style, capital};
use anyhow::{Context as _, Result, ensure};
use std::fmt::Write as _;
use std::fs;
use std::path::Path;

/// What stands between these in `docs/benchmarks.md` is written by a full run; the rest is written by hand.
const BEGIN: &str = "<!-- measured: begin -->";
const END: &str = "<!-- measured: end -->";

/// Writes `results.json`, `results.md` and the plots into a folder.
pub fn write(results: &Results, folder: &Path) -> Result<()> {
    fs::create_dir_all(folder).with_context(|| format!("making {}", folder.display()))?;
    results.write(&folder.join("results.json"))?;
    let plots = plot::all(&results.book(), folder)?;
    let text = format!("# netd's benchmarks\n\n{}", markdown(results, &plots, ""));
    fs::write(folder.join("results.md"), text).context("writing results.md")?;
    Ok(())
}

/// Puts the results into the repository's own `docs/benchmarks.md`, with the plots beside it.
pub fn write_docs(results: &Results, docs: &Path) -> Result<()> {
    let path = docs.join("benchmarks.md");
    let text = fs::read_to_string(&path).with_context(|| format!("reading {}", path.display()))?;
    let folder = docs.join("benchmarks");
    fs::create_dir_all(&folder)?;
    let plots = plot::all(&results.book(), &folder)?;
    results.write(&folder.join("results.json"))?;
    fs::write(&path, replaced(&text, &markdown(results, &plots, "benchmarks/"))?)?;
    Ok(())
}

fn replaced(text: &str, measured: &str) -> Result<String> {
    let (before, rest) = text.split_once(BEGIN).with_context(|| format!("benchmarks.md has no line {BEGIN}"))?;
    let (_, after) = rest.split_once(END).with_context(|| format!("benchmarks.md has no line {END}"))?;
    ensure!(!after.contains(BEGIN), "benchmarks.md has two parts that are measured");
    Ok(format!("{before}{BEGIN}\n\n{}\n{END}{after}", measured.trim_end()))
}

fn markdown(results: &Results, plots: &[(String, String)], folder: &str) -> String {
    let mut text = String::new();
    let machine = &results.machine;
    let kind = if machine.virtualised { "virtual machine" } else { "machine" };
    let _ = writeln!(
        text,
        "A {} run of netd {} on {}, {:.0} minutes long.\n",
        results.extent,
        machine.netd,
        results.started,
        results.seconds / 60.0
    );
    let _ = writeln!(
        text,
        "- {}: {} cores of {}, {} MiB, {}, Linux {}; load before the run: {}",
        capital(kind),
        machine.cores,
        machine.processor,
        table::number(machine.memory_mib as f64),
        machine.system,
        machine.kernel,
        machine.load
    );
    let _ = writeln!(text, "- {}; netd-load of the same revision as netd", machine.iperf3);
    for regime in &results.regimes {
        let _ = writeln!(text, "- {}", capital(regime));
    }
    text.push_str(
        "\nEach figure is a median, with the least and the greatest in brackets. Ratios are taken within a round.\n",
    );
    let _ = writeln!(text, "\n### Goals\n\n{}", table::goals(&results.goals, Style::Markdown));
    for (name, title) in plots {
        let _ = writeln!(text, "\n![{title}]({folder}{name})");
    }
    let book = results.book();
    for (title, table) in table::works(&book, Style::Markdown) {
        let _ = writeln!(text, "\n### {title}\n\n{table}");
    }
    for (title, table) in table::scales(&book, Style::Markdown) {
        let _ = writeln!(text, "\n### {title}\n\n{table}");
    }
    for (part, title) in [("control", "Control plane"), ("micro", "Programs, nanoseconds a packet")] {
        if let Some(table) = table::others(&book, Style::Markdown, part) {
            let _ = writeln!(text, "\n### {title}\n\n{table}");
        }
    }
    text.push_str("\n### The contestants' set-up\n");
    for contestant in &results.contestants {
        let _ = writeln!(text, "\n**{}**", contestant.key);
        if let Some(reason) = &contestant.absent {
            let _ = writeln!(text, "\nAbsent: {reason}");
        } else {
            let _ = writeln!(text, "\n```\n{}\n```", contestant.setup.join("\n").trim_end());
        }
    }
    if !results.notes.is_empty() {
        text.push_str("\n### What was not measured\n\n");
        for note in &results.notes {
            let _ = writeln!(text, "- {note}");
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_measured_is_replaced() {
        let text = format!("by hand\n{BEGIN}\nold\n{END}\nby hand too\n");
        assert_eq!(
            replaced(&text, "new\n").expect("both lines"),
            format!("by hand\n{BEGIN}\n\nnew\n{END}\nby hand too\n")
        );
        assert!(replaced("by hand", "new").is_err());
    }
}
