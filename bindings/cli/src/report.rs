//! What goes to stderr: time, and how much of it a number of things took.

use std::fmt;
use std::io::{self, Write};
use std::time::{Duration, Instant};

/// The one clock of the tool.
#[expect(clippy::disallowed_methods, reason = "the ban guards the engine; the tool only reports how long things took")]
pub fn now() -> Instant {
    Instant::now()
}

/// Writes a line to stderr. Where that is closed nobody wants to know, and it is no reason to panic.
pub fn tell(line: fmt::Arguments<'_>) {
    let _ = writeln!(io::stderr(), "{line}");
}

/// `138000 pairs, 12.3 MB in 0.41 s (336k pairs/s)`.
pub fn pairs(pairs: u64, bytes: u64, took: Duration) -> String {
    let seconds = took.as_secs_f64();
    // Too quick to measure is no rate of infinity.
    let rate = rate(pairs as f64 / seconds.max(1e-6));
    format!("{pairs} pairs, {:.1} MB in {seconds:.2} s ({rate} pairs/s)", bytes as f64 / 1e6)
}

/// Three digits or so, with k and M for thousands and millions.
pub fn rate(each_second: f64) -> String {
    match each_second {
        r if r < 1e3 => format!("{r:.0}"),
        r if r < 1e4 => format!("{:.1}k", r / 1e3),
        r if r < 1e6 => format!("{:.0}k", r / 1e3),
        r => format!("{:.1}M", r / 1e6),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_are_written_so() {
        assert_eq!(
            pairs(138_000, 12_345_678, Duration::from_millis(411)),
            "138000 pairs, 12.3 MB in 0.41 s (336k pairs/s)"
        );
        assert_eq!(pairs(0, 0, Duration::ZERO), "0 pairs, 0.0 MB in 0.00 s (0 pairs/s)");
        assert_eq!([rate(999.0), rate(1500.0), rate(2_500_000.0)], ["999", "1.5k", "2.5M"]);
    }
}
