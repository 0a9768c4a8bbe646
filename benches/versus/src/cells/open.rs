//! Opening: after a clean close, and after `kill -9`.
//!
//! For the second, a child of this process puts key after key. After each put that returned it counts it in a file that both have mapped, so the count
//! survives the kill as the kernel's memory does. When all `n` are acknowledged, and while it puts more, it is killed. Then the
//! store is opened here, and every acknowledged put is asked for.

use std::fs::File;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use super::Cell;
use crate::Result;
use crate::measure;
use crate::workload::Outcome;

/// Milliseconds from opening to the first value, and the store.
fn timed(cell: &Cell, present: u64) -> Result<(Box<dyn crate::store::Store>, f64)> {
    let (mut key, mut value) = (Vec::new(), Vec::new());
    cell.shape.key(present / 2, cell.n(), &mut key);
    let start = Instant::now();
    let store = cell.open()?;
    store.get(&key, &mut value)?;
    Ok((store, start.elapsed().as_secs_f64() * 1e3))
}

/// The store was closed by the process that loaded it.
pub fn after_close(cell: &Cell) -> Result<Outcome> {
    measure::sync();
    let (store, open_ms) = timed(cell, cell.n())?;
    cell.check_some(&*store, cell.n())?;
    Ok(Outcome::default().with("open_ms", open_ms))
}

/// It was killed while it put.
pub fn after_kill(cell: &Cell) -> Result<Outcome> {
    std::fs::create_dir_all(&cell.spec.dir)?;
    let counter = Counter::create(&counter_path(&cell.spec.dir))?;
    let mut child = Command::new(&cell.spec.program)
        .arg("victim")
        .arg(serde_json::to_string(&cell.spec)?)
        .stdin(Stdio::null())
        .spawn()?;
    let start = Instant::now();
    let mut acknowledged = 0;
    let early = loop {
        std::thread::sleep(Duration::from_millis(5));
        if let Some(status) = child.try_wait()? {
            break Some(status);
        }
        acknowledged = counter.get();
        let over = start.elapsed().as_secs_f64() > cell.spec.fill_seconds;
        if acknowledged >= cell.n() || (over && acknowledged > 0) || start.elapsed() > Duration::from_secs(60) {
            break None;
        }
    };
    if let Some(status) = early {
        return Err(format!("the process that puts ended by itself: {status}").into());
    }
    let cut = acknowledged < cell.n();
    child.kill()?;
    let status = child.wait()?;
    if status.signal() != Some(libc::SIGKILL) {
        return Err(format!("it was not killed but ended: {status}").into());
    }
    let acknowledged = counter.get();
    let (store, open_ms) = timed(cell, acknowledged)?;
    let (mut key, mut value, mut scratch, mut missing) = (Vec::new(), Vec::new(), Vec::new(), 0u64);
    for i in 0..acknowledged {
        cell.shape.key(i, cell.n(), &mut key);
        if !store.get(&key, &mut value)? {
            missing += 1;
        } else if !cell.shape.is_exactly_of(i, &value, &mut scratch) {
            return Err(format!("key {i} has a value that was never written").into());
        }
    }
    let outcome = Outcome { cut, ..Outcome::default() };
    Ok(outcome.with("open_ms", open_ms).with("missing", missing as f64).with("acknowledged", acknowledged as f64))
}

/// What the child does until it is killed.
pub fn be_the_victim(cell: &Cell) -> Result<()> {
    measure::end_with_parent()?;
    let counter = Counter::open(&counter_path(&cell.spec.dir))?;
    let store = cell.open()?;
    let (mut key, mut value) = (Vec::new(), Vec::new());
    for i in 0.. {
        cell.shape.key(i, cell.n(), &mut key);
        cell.shape.value(i, 0, &mut value);
        store.put(&key, &value)?;
        counter.set(i + 1);
    }
    Ok(())
}

/// Beside the store's directory, not inside.
fn counter_path(dir: &Path) -> PathBuf {
    dir.with_extension("acknowledged")
}

/// A number in a file that several processes have mapped.
struct Counter(*mut AtomicU64);

impl Counter {
    fn create(path: &Path) -> Result<Counter> {
        let file = File::options().read(true).write(true).create(true).truncate(true).open(path)?;
        file.set_len(8)?;
        Counter::map(&file)
    }

    fn open(path: &Path) -> Result<Counter> {
        Counter::map(&File::options().read(true).write(true).open(path)?)
    }

    fn map(file: &File) -> Result<Counter> {
        use std::os::fd::AsRawFd;
        // SAFETY: a new shared mapping of the file's 8 bytes, at an address that the kernel chooses: it takes the place of nothing.
        let address = unsafe {
            libc::mmap(
                std::ptr::null_mut(),
                8,
                libc::PROT_READ | libc::PROT_WRITE,
                libc::MAP_SHARED,
                file.as_raw_fd(),
                0,
            )
        };
        if address == libc::MAP_FAILED {
            return Err(std::io::Error::last_os_error().into());
        }
        Ok(Counter(address.cast()))
    }

    fn atomic(&self) -> &AtomicU64 {
        // SAFETY: the mapping lives as long as `self`, begins at a page, so it is aligned, and holds 8 bytes that are changed by atomics only, here
        // and in the other process; the file is never made shorter.
        unsafe { &*self.0 }
    }

    fn get(&self) -> u64 {
        // Acquire, with the Release of `set`: no matter here, since what is counted is in another process, but it costs nothing.
        self.atomic().load(Ordering::Acquire)
    }

    fn set(&self, count: u64) {
        self.atomic().store(count, Ordering::Release);
    }
}

impl Drop for Counter {
    fn drop(&mut self) {
        // SAFETY: the mapping that `map` made, of that length; nobody has a reference to it, since `atomic` borrows `self`.
        unsafe { libc::munmap(self.0.cast(), 8) };
    }
}
