//! Clocks, latencies, and what the kernel says of this process.

use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;

use crate::Result;
use crate::record::Metrics;

/// Latencies from 1 ns to 10 minutes, to three digits.
#[derive(Clone, Debug)]
pub struct Latencies(Histogram<u64>);

impl Latencies {
    /// None yet.
    pub fn new() -> Result<Latencies> {
        Ok(Latencies(Histogram::new_with_bounds(1, 600_000_000_000, 3)?))
    }

    /// One more.
    #[inline]
    pub fn add(&mut self, latency: Duration) {
        self.0.saturating_record(latency.as_nanos() as u64);
    }

    /// Those of another thread too.
    pub fn join(&mut self, other: &Latencies) -> Result<()> {
        Ok(self.0.add(&other.0)?)
    }

    /// Writes them to the metrics, in microseconds.
    pub fn tell(&self, metrics: &mut Metrics) {
        for (name, quantile) in [("p50_us", 0.5), ("p99_us", 0.99), ("p999_us", 0.999), ("p9999_us", 0.9999)] {
            metrics.insert(name.to_owned(), self.0.value_at_quantile(quantile) as f64 / 1e3);
        }
        metrics.insert("max_us".to_owned(), self.0.max() as f64 / 1e3);
    }
}

/// How much was done in how long.
#[derive(Clone, Copy, Debug, Default)]
pub struct Done {
    /// Operations, or entries where a row counts those.
    pub operations: u64,
    /// How long they took.
    pub seconds: f64,
}

impl Done {
    /// Operations a second.
    pub fn rate(&self) -> f64 {
        self.operations as f64 / self.seconds.max(1e-9)
    }
}

/// Calls `work` until `seconds` have passed; it answers how much it did. The clock is read after every `stride` calls.
pub fn for_seconds(seconds: f64, stride: u32, mut work: impl FnMut() -> Result<u64>) -> Result<Done> {
    let start = Instant::now();
    let mut operations = 0;
    loop {
        for _ in 0..stride {
            operations += work()?;
        }
        let passed = start.elapsed().as_secs_f64();
        if passed >= seconds {
            return Ok(Done { operations, seconds: passed });
        }
    }
}

/// Bytes that the files in a directory occupy on disk, holes left out.
pub fn disk_bytes(dir: &Path) -> Result<u64> {
    let mut bytes = 0;
    for entry in std::fs::read_dir(dir)? {
        let entry = entry?;
        let metadata = entry.metadata()?;
        bytes += if metadata.is_dir() { disk_bytes(&entry.path())? } else { metadata.blocks() * 512 };
    }
    Ok(bytes)
}

/// Resident memory of this process, in bytes.
#[derive(Clone, Copy, Debug)]
pub struct Resident {
    /// Anonymous.
    pub anonymous: u64,
    /// Mapped files.
    pub mapped: u64,
}

impl Resident {
    /// Now.
    pub fn now() -> Result<Resident> {
        let text = std::fs::read_to_string("/proc/self/status")?;
        Ok(Resident { anonymous: field(&text, "RssAnon:")? << 10, mapped: field(&text, "RssFile:")? << 10 })
    }
}

/// Bytes that this process has written since it began.
#[derive(Clone, Copy, Debug)]
pub struct Written {
    /// By calls of `write` and its kin.
    pub calls: u64,
    /// Pages that it made dirty, mapped ones included: what the disk will have to write.
    pub pages: u64,
}

impl Written {
    /// Until now.
    pub fn now() -> Result<Written> {
        let text = std::fs::read_to_string("/proc/self/io")?;
        Ok(Written { calls: field(&text, "wchar:")?, pages: field(&text, "write_bytes:")? })
    }
}

fn field(text: &str, name: &str) -> Result<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix(name));
    let number = line.and_then(|line| line.split_whitespace().next()).ok_or_else(|| format!("no {name} in {text}"))?;
    Ok(number.parse()?)
}

/// The load average of the last minute.
pub fn load_average() -> f64 {
    let text = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
    text.split(' ').next().and_then(|first| first.parse().ok()).unwrap_or(f64::NAN)
}

/// Writes out what the system holds, so that one cell does not pay for another.
pub fn sync() {
    // SAFETY: takes no arguments and cannot fail.
    unsafe { libc::sync() };
}

/// The model of the processor, and how many there are.
pub fn machine() -> String {
    let text = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = text.lines().find_map(|line| line.strip_prefix("model name")).unwrap_or("\t: unknown processor");
    let cores = std::thread::available_parallelism().map_or(0, |count| count.get());
    let memory = std::fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let kib = field(&memory, "MemTotal:").unwrap_or(0);
    format!("{cores} cores of {}, {} GiB", model.trim_start_matches(['\t', ' ', ':']), (kib + (1 << 19)) >> 20)
}

/// Today, as `2026-11-30`, in UTC.
pub fn today() -> String {
    let seconds =
        std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).map_or(0, |passed| passed.as_secs());
    date(seconds / 86_400)
}

/// The date of a day since 1970, in the Gregorian calendar: years are counted from March, so that the leap day comes last.
fn date(day: u64) -> String {
    let day = day + 719_468;
    let (era, of_era) = (day / 146_097, day % 146_097);
    let year = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year + year / 4 - year / 100);
    let from_march = (5 * of_year + 2) / 153;
    let month = if from_march < 10 { from_march + 3 } else { from_march - 9 };
    let year = era * 400 + year + u64::from(month <= 2);
    format!("{year:04}-{month:02}-{:02}", of_year - (153 * from_march + 2) / 5 + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_are_right() {
        for (day, expected) in [
            (0, "1970-01-01"),
            (11_016, "2000-02-29"),
            (11_017, "2000-03-01"),
            (20_787, "2026-11-30"),
            (20_453, "2025-12-31"),
        ] {
            assert_eq!(date(day), expected);
        }
    }

    #[test]
    fn the_kernel_tells() {
        let before = Resident::now().unwrap();
        let kept = vec![1u8; 32 << 20];
        assert!(Resident::now().unwrap().anonymous >= before.anonymous + (30 << 20));
        drop(kept);
        let dir = tempfile::tempdir().unwrap();
        let written = Written::now().unwrap();
        std::fs::create_dir(dir.path().join("a")).unwrap();
        std::fs::write(dir.path().join("a/b"), vec![1u8; 1 << 20]).unwrap();
        assert!(Written::now().unwrap().calls >= written.calls + (1 << 20));
        // Blocks may not be assigned yet, so a length set without blocks is what can be told apart.
        let hole = std::fs::File::create(dir.path().join("hole")).unwrap();
        hole.set_len(1 << 30).unwrap();
        sync();
        let bytes = disk_bytes(dir.path()).unwrap();
        assert!((1 << 20..4 << 20).contains(&bytes), "{bytes}");
    }

    #[test]
    fn latencies_are_told_in_microseconds() {
        let mut latencies = Latencies::new().unwrap();
        (1..=1000).for_each(|us| latencies.add(Duration::from_micros(us)));
        let mut metrics = Metrics::new();
        latencies.tell(&mut metrics);
        assert!((metrics["p50_us"] - 500.0).abs() < 2.0 && (metrics["p99_us"] - 990.0).abs() < 2.0);
        assert!((metrics["max_us"] - 1000.0).abs() < 2.0);
    }
}
