//! How much processor time did all that happened take?

use std::fs;
use std::io;

/// Seconds that all cores were busy since the machine started, without what ran nice: the spinners.
///
/// The kernel's own work for packets is in it (`softirq`), whoever it interrupted.
pub fn busy() -> io::Result<f64> {
    let text = fs::read_to_string("/proc/stat")?;
    // SAFETY: it takes a number alone.
    let ticks = unsafe { libc::sysconf(libc::_SC_CLK_TCK) };
    Ok(busy_ticks(&text) as f64 / ticks.max(1) as f64)
}

/// From proc_stat(5): user, nice, system, idle, iowait, irq, softirq, …
fn busy_ticks(stat: &str) -> u64 {
    let line = stat.lines().next().unwrap_or_default();
    let fields: Vec<u64> = line.split_whitespace().skip(1).filter_map(|field| field.parse().ok()).collect();
    [0, 2, 5, 6].into_iter().filter_map(|at| fields.get(at)).sum()
}

#[cfg(test)]
mod tests {
    #[test]
    fn neither_idle_nor_nice_time_is_busy() {
        assert_eq!(super::busy_ticks("cpu  1 20 300 4000 50000 600000 7000000 8 9 10\ncpu0 1"), 7_600_301);
    }
}
