//! What the C interface adds to the engine, in time: the same work through `libkvs.so` and through the engine's Rust interface, on two stores
//! with the same contents, in turns of a few thousand operations. `make bench-c` runs it. Ratios within one run; medians of rounds.
//!
//! - *get*, *put*: a million shuffled keys of 16 bytes, values of 100. At most 1.1 times the Rust call.
//! - *pinned get*: a value of 1 MiB, beside XXH3-64 of the same bytes, which is what its check costs. At most 1.1 times; and what it allocates
//!   is that of a value of one byte.
//! - *fill*: `kvs_iter_fill` with a buffer of 64 KiB, beside a Rust iterator that shows each entry. At least 0.8 of its rate.
//!
//! The library is loaded as a program would, so that its calls and its thread-local storage cost what they cost there. `KVS_BENCH_KEYS`
//! (1,000,000) and `KVS_BENCH_ROUNDS` (5) change the size; `TMPDIR` says on which file system the stores lie.
#![allow(clippy::unwrap_used, reason = "a benchmark that fails stops")]
#![expect(clippy::disallowed_methods, reason = "a benchmark measures time")]

use std::ffi::{CStr, CString, c_char, c_int, c_void};
use std::hint::black_box;
use std::path::Path;
use std::ptr::{null, null_mut};
use std::time::Instant;

use engine::{Db, Options};
use xxhash_rust::xxh3::xxh3_64;

type Handle = *mut c_void;
type Error = *mut *mut c_void;
type Status = c_int;

/// The functions of the header that are measured, and how each is loaded.
macro_rules! functions {
    ($($field:ident = $name:literal: $type:ty;)*) => {
        struct Kvs { $($field: $type),* }

        impl Kvs {
            fn load(library: &Path) -> Kvs {
                let path = CString::new(library.to_str().unwrap()).unwrap();
                // SAFETY: a string of C. The library's initialisers are its own.
                let library = unsafe { libc::dlopen(path.as_ptr(), libc::RTLD_NOW | libc::RTLD_LOCAL) };
                assert!(!library.is_null(), "{path:?} cannot be loaded: make bench-c builds it first");
                Kvs { $($field: {
                    // SAFETY: a library that was loaded, which is never unloaded, and a string of C.
                    let at = unsafe { libc::dlsym(library, $name.as_ptr()) };
                    assert!(!at.is_null(), "{:?} is missing", $name);
                    // SAFETY: a function of that name has that signature, as include/kvs.h says.
                    unsafe { std::mem::transmute::<*mut c_void, $type>(at) }
                }),* }
            }
        }
    };
}

functions! {
    open = c"kvs_open": unsafe extern "C" fn(*const c_char, Handle, *mut Handle, Error) -> Status;
    free_db = c"kvs_free_db": unsafe extern "C" fn(Handle);
    put = c"kvs_put": unsafe extern "C" fn(Handle, *const u8, usize, *const u8, usize, u32, Error) -> Status;
    get_into = c"kvs_get_into":
        unsafe extern "C" fn(Handle, Handle, *const u8, usize, *mut u8, usize, *mut usize, Error) -> Status;
    get_pinned = c"kvs_get_pinned":
        unsafe extern "C" fn(Handle, Handle, *const u8, usize, *mut Handle, *mut *const u8, *mut usize, Error) -> Status;
    pin_free = c"kvs_pin_free": unsafe extern "C" fn(Handle);
    flush = c"kvs_flush": unsafe extern "C" fn(Handle, u32, Error) -> Status;
    iter_new = c"kvs_iter_new":
        unsafe extern "C" fn(Handle, Handle, *const u8, usize, *const u8, usize, u32, *mut Handle, Error) -> Status;
    iter_fill = c"kvs_iter_fill":
        unsafe extern "C" fn(Handle, *mut u8, usize, usize, u32, *mut usize, *mut usize, Error) -> Status;
    iter_free = c"kvs_iter_free": unsafe extern "C" fn(Handle);
}

/// Statuses of the header.
const OK: Status = 0;
const END: Status = 2;

fn env(name: &str, default: usize) -> usize {
    std::env::var(name).ok().and_then(|value| value.parse().ok()).unwrap_or(default)
}

/// SplitMix64.
struct Rng(u64);

impl Rng {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }
}

const VALUE: [u8; 100] = [7; 100];
/// Operations before the other side has its turn.
const TURN: usize = 5000;

/// Nanoseconds of each side over all keys, in turns; who comes first changes from turn to turn.
fn paired(keys: &[[u8; 16]], mut c: impl FnMut(&[u8]), mut rust: impl FnMut(&[u8])) -> [f64; 2] {
    let mut total = [0.0; 2];
    for (turn, keys) in keys.chunks(TURN).enumerate() {
        for side in [turn % 2, 1 - turn % 2] {
            let start = Instant::now();
            match side {
                0 => keys.iter().for_each(|key| c(key)),
                _ => keys.iter().for_each(|key| rust(key)),
            }
            total[side] += start.elapsed().as_nanos() as f64;
        }
    }
    total.map(|nanos| nanos / keys.len() as f64)
}

/// C's side and the other of each round, per operation: their medians, and that of the ratios.
fn report(name: &str, other: &str, aim: &str, rounds: &mut [[f64; 2]]) {
    let mut median = |of: fn(&[f64; 2]) -> f64| {
        rounds.sort_by(|a, b| of(a).total_cmp(&of(b)));
        of(&rounds[rounds.len() / 2])
    };
    let (c, beside, ratio) = (median(|round| round[0]), median(|round| round[1]), median(|round| round[0] / round[1]));
    println!("{name:<28} {c:>10.1} ns   {other:<22} {beside:>10.1} ns   ratio {ratio:.3} ({aim})");
}

fn main() {
    if !std::env::args().any(|argument| argument == "--bench") {
        // Built along with the tests, and run by `cargo test --benches`: nothing to do.
        return;
    }
    let (n, rounds) = (env("KVS_BENCH_KEYS", 1_000_000), env("KVS_BENCH_ROUNDS", 5));
    let this = std::env::current_exe().unwrap();
    let c = Kvs::load(&this.parent().and_then(Path::parent).unwrap().join("libkvs.so"));
    let dir = tempfile::tempdir().unwrap();
    let mut random = Rng(7);
    let mut keys: Vec<[u8; 16]> = (0..n).map(|_| std::array::from_fn::<u8, 16, _>(|_| random.next() as u8)).collect();
    let mut db = null_mut();
    let path = CString::new(dir.path().join("c").to_str().unwrap()).unwrap();
    // SAFETY: a string of C, no options, a place for the handle, no error object.
    assert_eq!(unsafe { (c.open)(path.as_ptr(), null_mut(), &raw mut db, null_mut()) }, OK);
    let rust = Db::open(dir.path().join("rust"), Options::default()).unwrap();

    let put = |key: &[u8]| {
        // SAFETY: slices with their lengths.
        let status = unsafe { (c.put)(db, key.as_ptr(), key.len(), VALUE.as_ptr(), VALUE.len(), 0, null_mut()) };
        assert_eq!(status, OK);
    };
    let flush = || {
        // SAFETY: nothing is pointed to.
        assert_eq!(unsafe { (c.flush)(db, 0, null_mut()) }, OK);
        rust.flush().unwrap();
    };
    println!("{n} keys of 16 bytes, values of 100, {rounds} rounds");
    let mut buffer = [0u8; 100];
    let mut vec = Vec::with_capacity(VALUE.len());
    let (mut puts, mut gets, mut scans) = (Vec::new(), Vec::new(), Vec::new());
    for round in 0..=rounds {
        for i in (1..keys.len()).rev() {
            keys.swap(i, (random.next() % (i as u64 + 1)) as usize);
        }
        let times = paired(&keys, put, |key| rust.put(key, black_box(&VALUE[..])).unwrap());
        flush();
        // What was written first is cold, and what comes of it is left to settle.
        std::thread::sleep(std::time::Duration::from_secs(2));
        if round == 0 {
            continue;
        }
        puts.push(times);
        gets.push(paired(
            &keys,
            |key| {
                let mut len = 0;
                let (at, room) = (buffer.as_mut_ptr(), buffer.len());
                // SAFETY: a slice, a buffer and a place for a length.
                let status = unsafe {
                    (c.get_into)(db, null_mut(), key.as_ptr(), key.len(), at, room, &raw mut len, null_mut())
                };
                assert_eq!((status, len), (OK, VALUE.len()));
                black_box(&buffer);
            },
            |key| {
                assert!(rust.get_into(key, &mut vec).unwrap());
                black_box(&vec);
            },
        ));
        scans.push(scan(&c, db, &rust, n));
    }
    report("kvs_put", "Db::put", "aim 1.1", &mut puts);
    report("kvs_get_into", "Db::get_into", "aim 1.1", &mut gets);
    report("kvs_iter_fill, an entry", "Iter::move_next", "aim 1.25: 0.8 of the rate", &mut scans);
    report("kvs_get_pinned of 1 MiB", "XXH3-64 of 1 MiB", "aim 1.1", &mut large(&c, db, rounds * 200));
    // SAFETY: nothing is pointed to.
    unsafe { (c.free_db)(db) };
}

/// All entries, in turns of whole scans.
fn scan(c: &Kvs, db: Handle, rust: &Db, n: usize) -> [f64; 2] {
    let mut times = [0.0; 2];
    let start = Instant::now();
    let (mut iter, mut entries, mut buffer) = (null_mut(), 0, vec![0u8; 64 << 10]);
    // SAFETY: no bounds, a place for the handle.
    let made = unsafe { (c.iter_new)(db, null_mut(), null(), 0, null(), 0, 0, &raw mut iter, null_mut()) };
    assert_eq!(made, OK);
    loop {
        let (mut items, mut used) = (0, 0);
        let (at, room) = (buffer.as_mut_ptr(), buffer.len());
        // SAFETY: a buffer with its length, and places for two numbers.
        let status = unsafe { (c.iter_fill)(iter, at, room, usize::MAX, 0, &raw mut items, &raw mut used, null_mut()) };
        match status {
            OK => entries += items,
            END => break,
            other => panic!("kvs_iter_fill: {other}"),
        }
        black_box(&buffer[..used]);
    }
    // SAFETY: nothing is pointed to.
    unsafe { (c.iter_free)(iter) };
    times[0] = start.elapsed().as_nanos() as f64 / n as f64;
    assert_eq!(entries, n);
    let start = Instant::now();
    let (mut iter, mut entries) = (rust.iter().unwrap(), 0);
    while iter.move_next().unwrap() {
        black_box((iter.key(), iter.value()));
        entries += 1;
    }
    times[1] = start.elapsed().as_nanos() as f64 / n as f64;
    assert_eq!(entries, n);
    times
}

/// A value of 1 MiB, pinned and let go; beside the hash of what the pin lent.
fn large(c: &Kvs, db: Handle, times: usize) -> Vec<[f64; 2]> {
    let values = [vec![3u8; 1], vec![5u8; 1 << 20]];
    let names: [&CStr; 2] = [c"small", c"large"];
    for (name, value) in names.iter().zip(&values) {
        let key = name.to_bytes();
        // SAFETY: slices with their lengths.
        let status = unsafe { (c.put)(db, key.as_ptr(), key.len(), value.as_ptr(), value.len(), 0, null_mut()) };
        assert_eq!(status, OK);
    }
    let pin = |name: &CStr| {
        let (mut pin, mut data, mut len) = (null_mut(), null(), 0);
        let (key, key_len) = (name.as_ptr().cast(), name.count_bytes());
        // SAFETY: a slice and places for the three.
        let status = unsafe {
            (c.get_pinned)(db, null_mut(), key, key_len, &raw mut pin, &raw mut data, &raw mut len, null_mut())
        };
        assert_eq!(status, OK);
        // SAFETY: lent until the pin is freed.
        (pin, unsafe { std::slice::from_raw_parts(data, len) })
    };
    // SAFETY: nothing is pointed to.
    let free = |pin: Handle| unsafe { (c.pin_free)(pin) };
    // The allocator of C counts for the whole process, the library's own included. What is made once was made by the first.
    // SAFETY: it only reads counters.
    let allocated = || unsafe { libc::mallinfo2() }.uordblks;
    free(pin(names[0]).0);
    let held = names.map(|name| {
        let before = allocated();
        let (pin, _) = pin(name);
        let held = allocated().wrapping_sub(before);
        free(pin);
        held
    });
    println!("a pin of 1 byte and one of 1 MiB allocate {} and {} bytes", held[0], held[1]);
    assert_eq!(held[0], held[1], "a pin allocates nothing that depends on the size");
    (0..times)
        .map(|_| {
            let start = Instant::now();
            let (pinned, data) = pin(names[1]);
            let took = start.elapsed();
            let start = Instant::now();
            black_box(xxh3_64(black_box(data)));
            let bare = start.elapsed();
            let start = Instant::now();
            free(pinned);
            [(took + start.elapsed()).as_nanos() as f64, bare.as_nanos() as f64]
        })
        .collect()
}
