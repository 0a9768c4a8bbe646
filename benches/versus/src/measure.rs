//! Clocks, latencies, and what the kernel says of this process.

use std::fs::File;
use std::os::fd::AsRawFd;
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

/// How much was done in each second.
#[derive(Clone, Debug, Default)]
pub struct Seconds(Vec<f64>);

impl Seconds {
    /// One more operation, which ended so long after the begin.
    #[inline]
    pub fn add(&mut self, passed: Duration) {
        let second = passed.as_secs() as usize;
        if second >= self.0.len() {
            // Seconds in which nothing ended stay at zero.
            self.0.resize(second + 1, 0.0);
        }
        self.0[second] += 1.0;
    }

    /// The whole seconds of so long: a last one that was not over counts for nothing.
    pub fn whole(mut self, passed: Duration) -> Vec<f64> {
        self.0.resize(passed.as_secs() as usize, 0.0);
        self.0
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

/// Writes the files of a directory out and takes them out of the page cache, so that whoever reads them next reads the disk, and has them
/// counted. Fails if more than a hundredth of them, or a MiB, stays.
pub fn drop_cached(dir: &Path) -> Result<()> {
    let (mut files, mut dirs) = (Vec::new(), vec![dir.to_owned()]);
    while let Some(dir) = dirs.pop() {
        for entry in std::fs::read_dir(dir)? {
            let entry = entry?;
            if entry.file_type()?.is_dir() { dirs.push(entry.path()) } else { files.push(entry.path()) }
        }
    }
    let (mut bytes, mut kept) = (0, 0);
    for path in files {
        let file = File::open(&path)?;
        file.sync_all()?;
        // SAFETY: the descriptor is open; the call changes nothing but what the kernel keeps of the file.
        let failure = unsafe { libc::posix_fadvise(file.as_raw_fd(), 0, 0, libc::POSIX_FADV_DONTNEED) };
        if failure != 0 {
            return Err(std::io::Error::from_raw_os_error(failure).into());
        }
        bytes += file.metadata()?.blocks() * 512;
        kept += cached_bytes(&file)?;
    }
    if kept > (bytes / 100).max(1 << 20) {
        return Err(format!("{kept} bytes of {bytes} stay in the page cache, though they were given up").into());
    }
    Ok(())
}

/// Bytes of a file that are in the page cache.
fn cached_bytes(file: &File) -> Result<u64> {
    const STEP: u64 = 1 << 30;
    const PAGE: usize = 4096;
    let len = file.metadata()?.len();
    let mut pages = 0;
    for from in (0..len).step_by(STEP as usize) {
        let part = usize::try_from(STEP.min(len - from))?;
        let mut seen = vec![0u8; part.div_ceil(PAGE)];
        // SAFETY: a new mapping at an address of the kernel's choice, which nothing reads: `mincore` only asks for it. `seen` has a byte for each page of
        // it (a page is at least `PAGE` bytes), and the mapping goes as it came.
        let failed = unsafe {
            let fd = file.as_raw_fd();
            let at = libc::mmap(std::ptr::null_mut(), part, libc::PROT_READ, libc::MAP_SHARED, fd, from as libc::off_t);
            if at == libc::MAP_FAILED {
                return Err(std::io::Error::last_os_error().into());
            }
            let failed = libc::mincore(at, part, seen.as_mut_ptr().cast()) != 0;
            libc::munmap(at, part);
            failed
        };
        if failed {
            return Err("mincore failed".into());
        }
        pages += seen.iter().filter(|page| **page & 1 != 0).count();
    }
    Ok((pages * PAGE) as u64)
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

/// KiB that the kernel reads ahead on the disk that this directory lies on, where it says so. Whoever reads a page of a mapped file without other advice reads
/// as much, or half as much on each side.
pub fn read_ahead_kib(dir: &Path) -> Option<u64> {
    let device = std::fs::metadata(dir).ok()?.dev();
    let sys = format!("/sys/dev/block/{}:{}", libc::major(device), libc::minor(device));
    // A part of a disk has no queue of its own.
    let read = |path: &str| std::fs::read_to_string(format!("{sys}/{path}")).ok();
    let text = read("queue/read_ahead_kb").or_else(|| read("../queue/read_ahead_kb"))?;
    text.trim().parse().ok()
}

/// Asks the kernel to kill this process when its parent ends, so that a run that is killed leaves nobody who goes on writing.
pub fn end_with_parent() -> Result<()> {
    // SAFETY: takes two numbers and changes nothing in this process's memory.
    if unsafe { libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL) } != 0 {
        return Err(std::io::Error::last_os_error().into());
    }
    Ok(())
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

    /// Where the crate lies on a disk; what it is not is told apart from a number.
    #[test]
    fn read_ahead_is_that_of_the_disk() {
        let told = read_ahead_kib(Path::new(env!("CARGO_MANIFEST_DIR")));
        assert!(told.is_none_or(|kib| kib < 1 << 24), "{told:?}");
        assert_eq!(read_ahead_kib(Path::new("/proc")), None);
        assert_eq!(read_ahead_kib(Path::new("/there/is/nothing")), None);
    }

    /// A second without any is zero, and a part of one at the end is left out.
    #[test]
    fn seconds_are_whole() {
        let mut seconds = Seconds::default();
        for millis in [0, 999, 1000, 3500, 3999, 4001] {
            seconds.add(Duration::from_millis(millis));
        }
        assert_eq!(seconds.clone().whole(Duration::from_millis(4001)), [2.0, 1.0, 0.0, 2.0]);
        assert_eq!(seconds.whole(Duration::from_millis(5001)), [2.0, 1.0, 0.0, 2.0, 1.0]);
        assert!(Seconds::default().whole(Duration::from_millis(900)).is_empty());
    }

    /// What was just written is in the page cache, and then it is not. On the disk of this crate: a file system in memory cannot do so.
    #[test]
    fn the_page_cache_is_dropped() {
        let dir = tempfile::tempdir_in(env!("CARGO_MANIFEST_DIR")).unwrap();
        std::fs::create_dir(dir.path().join("a")).unwrap();
        let path = dir.path().join("a/b");
        std::fs::write(&path, vec![1u8; 5_000_000]).unwrap();
        let file = File::open(&path).unwrap();
        assert!(cached_bytes(&file).unwrap() >= 5_000_000);
        drop_cached(dir.path()).unwrap();
        assert_eq!(cached_bytes(&file).unwrap(), 0);
        std::io::Read::read_to_end(&mut &file, &mut Vec::new()).unwrap();
        assert!(cached_bytes(&file).unwrap() >= 5_000_000);
        // Pages that somebody has locked into memory stay, and that is told.
        // SAFETY: a new mapping of an open file, which is locked and never read; it goes with the process.
        let locked = unsafe {
            let at =
                libc::mmap(std::ptr::null_mut(), 4_000_000, libc::PROT_READ, libc::MAP_SHARED, file.as_raw_fd(), 0);
            at != libc::MAP_FAILED && libc::mlock(at, 4_000_000) == 0
        };
        assert!(!locked || drop_cached(dir.path()).unwrap_err().to_string().contains("stay in the page cache"));
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
