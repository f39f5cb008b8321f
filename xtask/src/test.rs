//! Do all rings of tests pass, and how many tests does each have?
//!
//! 1 pure, 2 properties, 3 the datapath in the kernel, 4 end to end. Cargo's own output is passed on as it comes, and
//! the tests are counted from it, so that no number here can differ from what ran.

use crate::{check, run, setup, tidy};
use anyhow::{Context as _, Result, bail};
use std::collections::{BTreeMap, BTreeSet};
use std::env;
use std::io::{BufRead as _, BufReader};
use std::process::Command;
use std::thread::available_parallelism;

#[derive(clap::Args)]
pub struct Options {
    /// How much; without it, what CI runs
    #[arg(value_enum, conflicts_with = "quick")]
    length: Option<Length>,
    /// Rings 1 and 2 only, which need no root
    #[arg(long)]
    quick: bool,
}

#[derive(Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Length {
    /// The tests marked `#[ignore]` too, which take long
    Long,
    /// Those of very many networks and containers alone, with the times that they print
    Scale,
}

pub fn test(options: &Options) -> Result<()> {
    if !options.quick && !run::is_root() {
        bail!(
            "rings 3 and 4 load programs and make network namespaces: run this as root, or --quick for rings 1 and 2"
        );
    }
    if options.quick {
        setup::setup_build(&setup::Options::default())?;
    } else {
        setup::setup(&setup::Options::default())?;
    }
    check::check()?;
    if options.length == Some(Length::Scale) {
        return scale();
    }

    let mut tally = Tally::new(property_names()?);
    let mut failed = Vec::new();
    let mut rings = vec![
        run::words("cargo test --workspace --exclude netd-tests --no-fail-fast"),
        run::words("cargo test -p netd-ebpf --features testing --no-fail-fast"),
        run::words("cargo test -p netd-tests --features bench --bin netd-bench --no-fail-fast"),
    ];
    if !options.quick {
        // These tests run the programs themselves, which cargo does not build for another package's tests.
        run::step(&mut run::words("cargo build -p netd -p netd-tests --bins --quiet"))?;
        let mut command = run::words("cargo test -p netd-tests --no-fail-fast");
        // These tests wait for packets and timers more than they compute.
        if env::var_os("RUST_TEST_THREADS").is_none() {
            let threads = available_parallelism().map_or(1, |cores| cores.get().saturating_mul(2));
            command.env("RUST_TEST_THREADS", threads.to_string());
        }
        rings.push(command);
    }
    for mut command in rings {
        if options.length == Some(Length::Long) {
            command.args(["--", "--include-ignored"]);
        }
        if !run_tests(&mut command, &mut tally)? {
            failed.push(run::line(&command));
        }
    }
    println!("{}", tally.summary(options.quick));
    if !failed.is_empty() {
        bail!("tests failed in: {}", failed.join("; "));
    }
    tally.require(options.quick)
}

/// With the netd that users run: times of another say little.
fn scale() -> Result<()> {
    run::step(&mut run::words("cargo build -p netd --bins --release --quiet"))?;
    let mut command = run::words("cargo test -p netd-tests --test scale -- --ignored --nocapture --test-threads 1");
    command.env("NETD_BIN", run::root().join("target/release/netd"));
    run::step(&mut command)
}

/// Passes on what cargo and the tests say, counting; whether all of it went well.
fn run_tests(command: &mut Command, tally: &mut Tally) -> Result<bool> {
    println!("==> {}", run::line(command));
    // One pipe for both, because cargo names each test program on the one, and the program its tests on the other.
    let (reader, writer) = std::io::pipe().context("making a pipe")?;
    command.stdout(writer.try_clone().context("a second end of the pipe")?).stderr(writer);
    let mut child = command.spawn().with_context(|| format!("{} did not start", run::line(command)))?;
    // The command holds the pipe's writing ends; the reading below ends only when they are closed.
    command.stdout(std::process::Stdio::inherit()).stderr(std::process::Stdio::inherit());
    for line in BufReader::new(reader).split(b'\n') {
        let line = line.context("reading what the tests say")?;
        let line = String::from_utf8_lossy(&line);
        println!("{line}");
        tally.line(&line);
    }
    Ok(child.wait().context("waiting for cargo")?.success())
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Ring {
    Pure,
    Properties,
    Datapath,
    EndToEnd,
}

impl Ring {
    const ALL: [Self; 4] = [Self::Pure, Self::Properties, Self::Datapath, Self::EndToEnd];

    const fn title(self) -> &'static str {
        match self {
            Self::Pure => "ring 1 (pure)",
            Self::Properties => "ring 2 (properties)",
            Self::Datapath => "ring 3 (datapath in the kernel)",
            Self::EndToEnd => "ring 4 (end to end)",
        }
    }

    const fn needs_root(self) -> bool {
        match self {
            Self::Pure | Self::Properties => false,
            Self::Datapath | Self::EndToEnd => true,
        }
    }
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Count {
    passed: usize,
    failed: usize,
    ignored: usize,
}

/// What has run so far.
struct Tally {
    /// Names of the tests that are properties.
    properties: BTreeSet<String>,
    /// Where the test program that speaks now belongs.
    program: Program,
    /// By program and name: `netd-ebpf` runs twice, with more tests the second time, and each counts once.
    seen: BTreeMap<(String, String), (Ring, Outcome)>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Program {
    name: String,
    ring: Ring,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Outcome {
    Passed,
    Failed,
    Ignored,
}

impl Tally {
    fn new(properties: BTreeSet<String>) -> Self {
        let program = Program { name: String::new(), ring: Ring::Pure };
        Self { properties, program, seen: BTreeMap::new() }
    }

    fn line(&mut self, line: &str) {
        if let Some(program) = program(line) {
            self.program = program;
        } else if let Some((name, outcome)) = outcome(line) {
            let own = name.rsplit("::").next().unwrap_or(name);
            let ring = match self.program.ring {
                Ring::Pure if self.properties.contains(own) => Ring::Properties,
                ring => ring,
            };
            self.seen.insert((self.program.name.clone(), name.to_owned()), (ring, outcome));
        }
    }

    fn count(&self, ring: Ring) -> Count {
        let mut count = Count::default();
        for (_, outcome) in self.seen.values().filter(|(of, _)| *of == ring) {
            match outcome {
                Outcome::Passed => count.passed += 1,
                Outcome::Failed => count.failed += 1,
                Outcome::Ignored => count.ignored += 1,
            }
        }
        count
    }

    fn summary(&self, quick: bool) -> String {
        let mut parts = Vec::new();
        for ring in Ring::ALL {
            if quick && ring.needs_root() {
                parts.push(format!("{}: not asked for (--quick)", ring.title()));
                continue;
            }
            let Count { passed, failed, ignored } = self.count(ring);
            let mut part = format!("{}: {passed} passed", ring.title());
            if failed > 0 {
                part.push_str(&format!(", {failed} FAILED"));
            }
            if ignored > 0 {
                part.push_str(&format!(", {ignored} left for the long run"));
            }
            parts.push(part);
        }
        format!("tests by ring: {}", parts.join("; "))
    }

    /// A ring in which nothing ran has not passed.
    fn require(&self, quick: bool) -> Result<()> {
        for ring in Ring::ALL {
            if (!quick || !ring.needs_root()) && self.count(ring) == Count::default() {
                bail!("{} has no test at all", ring.title());
            }
        }
        Ok(())
    }
}

/// `     Running unittests src/lib.rs (target/debug/deps/netd-0123456789abcdef)`, `   Doc-tests netd`.
fn program(line: &str) -> Option<Program> {
    let line = line.trim_start();
    if let Some(name) = line.strip_prefix("Doc-tests ") {
        return Some(Program { name: format!("doc {name}"), ring: Ring::Pure });
    }
    let (source, path) = line.strip_prefix("Running ")?.strip_suffix(')')?.rsplit_once(" (")?;
    let file = path.rsplit('/').next()?;
    let (name, _hash) = file.rsplit_once('-')?;
    let ring = match source.strip_prefix("unittests ") {
        Some(_) => Ring::Pure,
        None if name.starts_with("datapath") => Ring::Datapath,
        None => Ring::EndToEnd,
    };
    Some(Program { name: name.to_owned(), ring })
}

/// `test model::ipam::tests::it_skips ... ok`; an ignored test may give its reason behind a comma.
fn outcome(line: &str) -> Option<(&str, Outcome)> {
    let (name, said) = line.strip_prefix("test ")?.rsplit_once(" ... ")?;
    let name = name.trim_end_matches(" - should panic");
    match said.split(',').next()?.trim() {
        "ok" => Some((name, Outcome::Passed)),
        "FAILED" => Some((name, Outcome::Failed)),
        "ignored" => Some((name, Outcome::Ignored)),
        _ => None,
    }
}

/// The tests inside `proptest! { … }`, in all sources: that is what makes a test a property.
fn property_names() -> Result<BTreeSet<String>> {
    let mut names = BTreeSet::new();
    for source in tidy::sources()? {
        if source.is_rust() {
            names.extend(properties_in(&tidy::code::code_only(&source.text)));
        }
    }
    Ok(names)
}

fn properties_in(code: &str) -> Vec<String> {
    let mut names = Vec::new();
    let mut rest = code;
    while let Some(at) = rest.find("proptest! {") {
        let block = tidy::code::braced(&rest[at..]);
        for after in block.split("fn ").skip(1) {
            let name: String = after.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect();
            names.push(name);
        }
        rest = &rest[at + block.len()..];
    }
    names
}

#[cfg(test)]
mod tests {
    use super::*;

    const OUTPUT: &str = "\
     Running unittests src/lib.rs (target/debug/deps/netd-0123456789abcdef)

running 3 tests
test model::ipam::tests::it_skips ... ok
test reconcile::plan::tests::a_plan_is_done_once ... ok
test model::name::tests::long ... ignored, takes a minute

test result: ok. 2 passed; 0 failed; 1 ignored; 0 measured; 0 filtered out; finished in 0.00s
   Doc-tests netd
test netd/src/lib.rs - model (line 3) ... ok
     Running datapath.rs (target/debug/deps/datapath-0123456789abcdef)
test parse_agrees ... ok
     Running publish.rs (target/debug/deps/publish-0123456789abcdef)
test p1_outside ... FAILED
";

    fn tally(text: &str) -> Tally {
        let mut tally = Tally::new(["a_plan_is_done_once".to_owned()].into());
        text.lines().for_each(|line| tally.line(line));
        tally
    }

    #[test]
    fn tests_are_counted_by_ring() {
        let tally = tally(OUTPUT);
        let counts = Ring::ALL.map(|ring| tally.count(ring));
        let count = |passed, failed, ignored| Count { passed, failed, ignored };
        assert_eq!(counts, [count(2, 0, 1), count(1, 0, 0), count(1, 0, 0), count(0, 1, 0)]);
        assert_eq!(
            tally.summary(false),
            "tests by ring: ring 1 (pure): 2 passed, 1 left for the long run; ring 2 (properties): 1 passed; \
             ring 3 (datapath in the kernel): 1 passed; ring 4 (end to end): 0 passed, 1 FAILED"
        );
    }

    #[test]
    fn the_same_test_run_twice_counts_once() {
        let twice = format!("{OUTPUT}{OUTPUT}");
        assert_eq!(tally(&twice).count(Ring::Pure), tally(OUTPUT).count(Ring::Pure));
    }

    #[test]
    fn a_ring_without_tests_is_a_failure_unless_it_was_not_asked_for() {
        let no_kernel =
            OUTPUT.replace("datapath.rs (target/debug/deps/datapath-", "other.rs (target/debug/deps/other-");
        assert!(tally(&no_kernel).require(false).is_err());
        assert!(tally(&no_kernel).require(true).is_ok());
        assert!(tally(OUTPUT).require(false).is_ok());
    }

    #[test]
    fn properties_are_known_by_their_block() {
        let code =
            "fn helper() {}\nproptest! {\n  #[test]\n  fn a(x in 0..3) { if x { y() } }\n  fn b() {}\n}\nfn c() {}";
        assert_eq!(properties_in(code), ["a", "b"]);
    }
}
