//! How far is the run, what has it seen, and has somebody asked it to stop?

use crate::extent::Extent;
use crate::series::{Book, Key, Metric};
use anyhow::{Context as _, Result, bail};
use indicatif::{ProgressBar, ProgressStyle};
use std::any::Any;
use std::io::IsTerminal as _;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

/// One run.
pub struct Session {
    pub extent: Extent,
    pub book: Book,
    /// What could not be measured, and why.
    pub notes: Vec<String>,
    bar: ProgressBar,
    stop: Arc<AtomicBool>,
    begin: Instant,
    /// The heading that was printed last, where there is no terminal for a bar.
    heading: String,
}

impl Session {
    pub fn new(extent: Extent) -> Result<Self> {
        let stop = Arc::new(AtomicBool::new(false));
        for signal in [libc::SIGINT, libc::SIGTERM, libc::SIGHUP] {
            signal_hook::flag::register(signal, stop.clone()).context("catching signals")?;
        }
        let bar = ProgressBar::new(0);
        bar.set_style(ProgressStyle::with_template("{elapsed_precise} [{bar:30}] {pos}/{len} {msg}")?);
        let (book, notes, begin) = (Book::default(), Vec::new(), Instant::now());
        Ok(Self { extent, book, notes, bar, stop, begin, heading: String::new() })
    }

    /// So many measurements are to come.
    pub fn expect(&self, measurements: usize) {
        self.bar.inc_length(measurements as u64);
    }

    pub fn seconds(&self) -> f64 {
        self.begin.elapsed().as_secs_f64()
    }

    /// Says what comes next.
    ///
    /// # Errors
    /// When a signal has asked for the end; what is set up goes as the error is passed up.
    pub fn next(&mut self, heading: &str, what: &str) -> Result<()> {
        if self.stop.load(Ordering::Relaxed) {
            bail!("stopped by a signal");
        }
        if heading != self.heading && !std::io::stderr().is_terminal() {
            eprintln!("{:5.0} s  {heading}", self.seconds());
        }
        heading.clone_into(&mut self.heading);
        self.bar.set_message(format!("{heading}: {what}"));
        Ok(())
    }

    /// Takes down what a measurement gave, or why it gave nothing. What went wrong after a signal is no news.
    pub fn take(&mut self, key: &Key, round: u32, figures: Result<Vec<(Metric, f64)>>) {
        self.bar.inc(1);
        match figures {
            Ok(figures) => {
                for (metric, value) in figures {
                    self.book.note(key.clone(), metric, round, value);
                }
            }
            Err(_) if self.stop.load(Ordering::Relaxed) => {}
            Err(error) => {
                let Key { part, regime, contestant, path, work, .. } = key;
                let words = [part, regime, contestant, path, work].map(String::as_str);
                let about = words.into_iter().filter(|word| !word.is_empty()).collect::<Vec<_>>().join(", ");
                self.remark(format!("{about}, round {round}: {}", format!("{error:#}").trim().replace('\n', " / ")));
            }
        }
    }

    /// Something that readers of the results should know.
    pub fn remark(&mut self, note: String) {
        self.bar.suspend(|| eprintln!("{note}"));
        self.notes.push(note);
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        self.bar.finish_and_clear();
    }
}

/// What `action` gives. The places and worlds of the tests panic where something does not work; here that is an error.
pub fn caught<T>(action: impl FnOnce() -> Result<T>) -> Result<T> {
    let before = std::panic::take_hook();
    std::panic::set_hook(Box::new(|_| {}));
    let result = catch_unwind(AssertUnwindSafe(action));
    std::panic::set_hook(before);
    result.unwrap_or_else(|panic| bail!("{}", message(&*panic)))
}

fn message(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<String>().cloned();
    text.or_else(|| panic.downcast_ref::<&str>().map(ToString::to_string)).unwrap_or_else(|| "a panic".to_owned())
}
