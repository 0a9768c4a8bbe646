//! A read stores into nothing that threads share: no count of references, no statistic, no lock. So readers on many cores don't
//! take cache lines from each other.
//!
//! A process opens a store and makes all of its memory read-only but what is the reading thread's own: its stack, with its thread-local
//! variables, and what it has allocated itself. Then it reads. A store anywhere else is a fatal signal, which the test sees.
//!
//! One read does store: a pinned value counts in the file that it lies in, as long as it is held.
//!
//! An epoch is pinned all the while, as whoever reads much at a time may do. Otherwise each read pins it, which stores into the thread's own
//! entry of the epoch's list; and once in 128 pins a thread tries to move the epoch on, a line that all threads read.
#![cfg(all(target_os = "linux", not(kvs_tsan)))]
#![allow(clippy::unwrap_used, reason = "a test that fails panics")]
#![expect(clippy::disallowed_methods, reason = "the test starts itself as another process")]
#![expect(unsafe_code, reason = "memory is made read-only, and an allocator keeps the thread's own apart")]

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::os::unix::process::ExitStatusExt;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use kvs::{Db, Options, TableIo};

/// What the reading thread allocates comes out of one piece, which stays writable.
struct Apart;

const OWN_BYTES: usize = 16 << 20;
/// Where the piece starts; 0 before it is mapped. And how much of it is given out.
static OWN: AtomicUsize = AtomicUsize::new(0);
static GIVEN: AtomicUsize = AtomicUsize::new(0);

thread_local! {
    static READS: Cell<bool> = const { Cell::new(false) };
}

// SAFETY: memory is `System`'s, or a part of the piece that is given out once, aligned, and never taken back.
unsafe impl GlobalAlloc for Apart {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        if !READS.try_with(Cell::get).unwrap_or(false) {
            // SAFETY: the caller's promises are `System`'s.
            return unsafe { System.alloc(layout) };
        }
        let size = layout.size().next_multiple_of(16).max(16) + layout.align();
        let at = OWN.load(Ordering::Relaxed) + GIVEN.fetch_add(size, Ordering::Relaxed);
        assert!(at + size <= OWN.load(Ordering::Relaxed) + OWN_BYTES);
        at.next_multiple_of(layout.align()) as *mut u8
    }
    unsafe fn dealloc(&self, at: *mut u8, layout: Layout) {
        let own = OWN.load(Ordering::Relaxed);
        if !(own..own + OWN_BYTES).contains(&(at as usize)) || own == 0 {
            // SAFETY: it is not of the piece, so it came from `System`.
            unsafe { System.dealloc(at, layout) }
        }
    }
}

#[global_allocator]
static APART: Apart = Apart;

const CHILD: &str = "KVS_TEST_READ_PATH";
const KEYS: u32 = 50_000;

/// What the other process does while memory is read-only.
const READS_ONLY: [&str; 4] = ["gets", "misses", "scan", "scan back"];

#[test]
fn a_read_stores_into_nothing_shared() {
    let tasks = READS_ONLY.iter().flat_map(|what| ["mapped", "log"].map(|io| (what, io)));
    let children: Vec<_> = tasks.map(|(what, io)| (what, io, child(what, io))).collect();
    for (what, io, child) in children {
        let output = child.wait_with_output().unwrap();
        let text = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{what}, {io}: {:?}: {text}", output.status);
    }
}

/// The trap works: a put stores into the log, and a pinned value counts in its file.
#[test]
fn a_store_is_seen() {
    for (what, child) in ["put", "pin"].map(|what| (what, child(what, "log"))) {
        let status = child.wait_with_output().unwrap().status;
        assert_eq!(status.signal(), Some(libc::SIGSEGV), "{what}: {status:?}");
    }
}

/// The other process; as a test of its own it does nothing.
#[test]
fn the_other_process() {
    let Ok(task) = std::env::var(CHILD) else { return };
    let (what, io) = task.split_once(',').unwrap();
    let dir = tempfile::tempdir().unwrap();
    let db = Db::open(dir.path().join("db"), Options { table_io: TableIo::Mapped, ..Options::default() }).unwrap();
    for i in 0..KEYS {
        db.put(i.to_be_bytes(), [i as u8; 50]).unwrap();
    }
    if io == "mapped" {
        db.compact::<&[u8]>(..).unwrap();
        assert_eq!((db.stats().segments, db.stats().index_keys), (0, u64::from(KEYS)));
    }
    // The first scans sort the log, in memory that is shared then.
    for _ in 0..3 {
        assert_eq!(db.iter().unwrap().count(), KEYS as usize);
    }
    // SAFETY: anonymous memory somewhere.
    let own = unsafe {
        let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS;
        libc::mmap(std::ptr::null_mut(), OWN_BYTES, libc::PROT_READ | libc::PROT_WRITE, flags, -1, 0)
    };
    assert_ne!(own, libc::MAP_FAILED);
    OWN.store(own as usize, Ordering::Relaxed);
    let what = what.to_owned();
    std::thread::spawn(move || {
        wait_until_nobody_else_runs();
        READS.set(true);
        read(&db, &what);
        READS.set(false);
        db.close().unwrap();
    })
    .join()
    .unwrap();
}

/// The worker comes to rest two seconds after it was last asked, and wakes a minute later: it is there when it has not run for three. By then the
/// thread that started this one has long come to its end's wait as well; it was once met on its way there, and stored on its stack.
fn wait_until_nobody_else_runs() {
    let (mut seen, mut still) = (String::new(), 0);
    while still < 30 {
        std::thread::sleep(Duration::from_millis(100));
        let now = others();
        still = if now == seen { still + 1 } else { 0 };
        seen = now;
    }
}

/// How often the process's other threads have run.
fn others() -> String {
    let this = std::fs::read_link("/proc/thread-self").unwrap();
    let mut counts = String::new();
    for task in std::fs::read_dir("/proc/self/task").unwrap() {
        let task = task.unwrap();
        if Some(&*task.file_name()) == this.file_name() {
            continue;
        }
        // A thread may end meanwhile.
        let status = std::fs::read_to_string(task.path().join("status")).unwrap_or_default();
        let lines = status.lines().filter(|line| line.contains("ctxt_switches") || line.starts_with("Pid:"));
        lines.for_each(|line| counts.push_str(line));
    }
    counts
}

fn child(what: &str, io: &str) -> Child {
    let this = std::env::current_exe().unwrap();
    let args = ["--exact", "the_other_process", "--test-threads=1", "--nocapture"];
    let mut command = Command::new(this);
    command.args(args).env(CHILD, format!("{what},{io}")).stdout(Stdio::null()).stderr(Stdio::piped());
    command.spawn().unwrap()
}

fn read(db: &Db, what: &str) {
    let mut buffer = Vec::with_capacity(64);
    let _pinned = kvs::handles::pin();
    let mut iter = db.iter().unwrap();
    assert!(if what == "scan back" { iter.seek_to_last() } else { iter.seek_to_first() }.unwrap());
    let shared = Shared::look();
    let mut found = 0u64;
    shared.may(libc::PROT_READ);
    match what {
        "gets" => {
            for i in 0..KEYS {
                let key = i.to_be_bytes();
                found += u64::from(matches!(db.get_into(key, &mut buffer), Ok(true)));
                found += u64::from(matches!(db.contains(key), Ok(true)));
            }
        }
        "misses" => {
            for i in KEYS..2 * KEYS {
                found += u64::from(matches!(db.get_into(i.to_be_bytes(), &mut buffer), Ok(false)));
            }
        }
        "scan" => {
            while matches!(iter.move_next(), Ok(true)) {
                found += iter.value().len() as u64;
            }
        }
        "scan back" => {
            while matches!(iter.move_prev(), Ok(true)) {
                found += iter.value().len() as u64;
            }
        }
        "pin" => drop(db.get(7u32.to_be_bytes())),
        _ => drop(db.put("key", "value")),
    }
    shared.may(libc::PROT_READ | libc::PROT_WRITE);
    let keys = u64::from(KEYS);
    let wanted = match what {
        "gets" => 2 * keys,
        "misses" => keys,
        _ => 50 * (keys - 1),
    };
    assert_eq!(found, wanted, "{what}");
}

/// All memory that can be written, but the calling thread's own.
struct Shared(Vec<(usize, usize)>);

impl Shared {
    fn look() -> Shared {
        let (stack, size) = stack();
        let own = [(OWN.load(Ordering::Relaxed), OWN_BYTES), (stack, size)].map(|(at, len)| at..at + len);
        let mut ranges = Vec::with_capacity(4096);
        for line in std::fs::read_to_string("/proc/self/maps").unwrap().lines() {
            let mut words = line.split_whitespace();
            let (range, rights) = (words.next().unwrap(), words.next().unwrap());
            let bounds: Vec<usize> =
                range.split('-').map(|number| usize::from_str_radix(number, 16).unwrap()).collect();
            if rights.as_bytes()[1] != b'w' {
                continue;
            }
            // The kernel joins neighbours, so the thread's own may be a part of it.
            let mut at = bounds[0];
            let mut inside: Vec<_> =
                own.iter().filter(|own| own.start < bounds[1] && own.end > bounds[0]).cloned().collect();
            inside.sort_by_key(|own| own.start);
            for own in inside {
                if own.start > at {
                    ranges.push((at, own.start));
                }
                at = own.end;
            }
            if at < bounds[1] {
                ranges.push((at, bounds[1]));
            }
        }
        assert!(ranges.len() > 5);
        Shared(ranges)
    }

    fn may(&self, rights: i32) {
        for &(from, to) in &self.0 {
            // SAFETY: these are mappings of this process, by whole pages. Who stores into them meanwhile is to die of it.
            let done = unsafe { libc::mprotect(from as *mut _, to - from, rights) };
            assert_eq!(done, 0);
        }
    }
}

/// Where the calling thread's stack lies, with its thread-local variables above it, and its size.
fn stack() -> (usize, usize) {
    // SAFETY: the attributes are filled in for the calling thread before anybody looks at them, and given back.
    unsafe {
        let mut attributes = std::mem::zeroed();
        assert_eq!(libc::pthread_getattr_np(libc::pthread_self(), &raw mut attributes), 0);
        let (mut at, mut size) = (std::ptr::null_mut(), 0);
        assert_eq!(libc::pthread_attr_getstack(&raw const attributes, &raw mut at, &raw mut size), 0);
        libc::pthread_attr_destroy(&raw mut attributes);
        (at as usize, size)
    }
}
