//! The exported functions, called from Rust: what `tests/programs` does from C, where AddressSanitizer and ThreadSanitizer see both sides.
//!
//! `bindings/c/tests/sanitize.sh` runs these with either (nightly); without, they are ordinary tests. What the threads share is handles, which
//! are numbers, and what the library does with them.
//!
//! 1. *Sixteen threads* read, iterate, write, pin and take snapshots while the database is closed and freed under them, on disk and in memory.
//! 2. *Contended*: an iterator and a batch that threads fight for: every answer is KVS_OK or KVS_E_CONCURRENT, and no entry is torn.
//! 3. *Any order* of frees and of a close, while another thread uses what is being freed.
//! 4. *Lent bytes* stay what they were while the database is overwritten, flushed, merged, closed and freed by others.
//! 5. *Freed once*: objects that all threads free at the same moment; stale handles of every kind.

use std::ffi::{CStr, CString};
use std::path::Path;
use std::ptr::{null, null_mut};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use crate::batch::*;
use crate::db::*;
use crate::error::*;
use crate::iter::*;
use crate::options::*;
use crate::pin::*;
use crate::results::*;
use crate::snapshot::*;
use crate::stats::*;
use crate::status::*;

const THREADS: usize = 16;

/// So often, or as much of it as `KVS_REPEAT_PERCENT` says.
fn times(count: usize) -> usize {
    let percent = std::env::var("KVS_REPEAT_PERCENT").map_or(100, |percent| percent.parse().unwrap());
    (count * percent / 100).max(1)
}

/// Runs `work` on so many threads at once, and waits for them.
fn on_threads(count: usize, work: impl Fn(usize) + Sync) {
    std::thread::scope(|scope| {
        let work = &work;
        let threads: Vec<_> = (0..count).map(|number| scope.spawn(move || work(number))).collect();
        // Joined one by one: how a scope waits by itself is not seen by ThreadSanitizer.
        threads.into_iter().for_each(|thread| thread.join().unwrap());
    });
}

/// A database, by its handle. Copied about and used after it was freed: that is what is tested.
#[derive(Clone, Copy)]
struct D(usize);

impl D {
    fn open(path: Option<&Path>) -> D {
        let path = path.map(|path| CString::new(path.to_str().unwrap()).unwrap());
        let (mut options, mut db) = (null_mut(), null_mut());
        // SAFETY: out-pointers to variables of ours, strings of C (C2, C3); handles may be anything.
        unsafe {
            assert_eq!(kvs_options_new(&raw mut options), KVS_OK);
            assert_eq!(kvs_options_set_in_memory(options, u32::from(path.is_none()), null_mut()), KVS_OK);
            let at = path.as_ref().map_or(null(), |path| path.as_ptr());
            assert_eq!(kvs_open(at, options, &raw mut db, null_mut()), KVS_OK);
        }
        kvs_options_free(options);
        D(db.addr())
    }

    fn at(self) -> *const kvs_db {
        std::ptr::without_provenance(self.0)
    }

    fn put(self, key: &[u8], value: &[u8]) -> kvs_status {
        // SAFETY: slices are readable for their length (C1).
        unsafe { kvs_put(self.at(), key.as_ptr(), key.len(), value.as_ptr(), value.len(), 0, null_mut()) }
    }

    fn get(self, key: &[u8]) -> Result<Vec<u8>, kvs_status> {
        let (mut buffer, mut length) = (vec![0; 64], 0);
        // SAFETY: a slice, a buffer with its length and an out-pointer of ours (C1, C2).
        let status = unsafe {
            let into = (buffer.as_mut_ptr(), buffer.len(), &raw mut length);
            kvs_get_into(self.at(), null(), key.as_ptr(), key.len(), into.0, into.1, into.2, null_mut())
        };
        buffer.truncate(length);
        if status == KVS_OK { Ok(buffer) } else { Err(status) }
    }

    fn close(self) -> kvs_status {
        // SAFETY: no error object is asked for.
        unsafe { kvs_close(self.at(), null_mut()) }
    }

    fn free(self) {
        kvs_free_db(self.at().cast_mut());
    }

    fn iter(self) -> Result<I, kvs_status> {
        let mut iter = null_mut();
        // SAFETY: no bounds, and an out-pointer of ours (C1, C2).
        let status = unsafe { kvs_iter_new(self.at(), null(), null(), 0, null(), 0, 0, &raw mut iter, null_mut()) };
        if status == KVS_OK { Ok(I(iter.addr())) } else { Err(status) }
    }

    fn snapshot(self) -> Result<usize, kvs_status> {
        let mut snapshot = null_mut();
        // SAFETY: an out-pointer of ours (C2).
        let status = unsafe { kvs_snapshot_new(self.at(), &raw mut snapshot, null_mut()) };
        if status == KVS_OK { Ok(snapshot.addr()) } else { Err(status) }
    }

    /// The pin, and where its bytes are.
    fn pin(self, key: &[u8]) -> Result<(usize, usize, usize), kvs_status> {
        let (mut pin, mut data, mut length) = (null_mut(), null(), 0);
        let out = (&raw mut pin, &raw mut data, &raw mut length);
        // SAFETY: a slice and out-pointers of ours (C1, C2).
        let status =
            unsafe { kvs_get_pinned(self.at(), null(), key.as_ptr(), key.len(), out.0, out.1, out.2, null_mut()) };
        if status == KVS_OK { Ok((pin.addr(), data.expose_provenance(), length)) } else { Err(status) }
    }
}

#[derive(Clone, Copy)]
struct I(usize);

impl I {
    fn at(self) -> *mut kvs_iter {
        std::ptr::without_provenance_mut(self.0)
    }

    fn first(self) -> kvs_status {
        // SAFETY: no error object is asked for.
        unsafe { kvs_iter_first(self.at(), null_mut()) }
    }

    /// All entries that a buffer of `capacity` takes: how many.
    fn fill(self, capacity: usize) -> Result<usize, kvs_status> {
        let (mut buffer, mut items, mut used) = (vec![0u8; capacity], 0, 0);
        // SAFETY: a buffer with its length, and out-pointers of ours (C2).
        let status = unsafe {
            let out = (&raw mut items, &raw mut used);
            kvs_iter_fill(self.at(), buffer.as_mut_ptr(), capacity, usize::MAX, 0, out.0, out.1, null_mut())
        };
        if status == KVS_OK { Ok(items) } else { Err(status) }
    }

    fn free(self) {
        kvs_iter_free(self.at());
    }
}

fn contains(snapshot: usize, key: &[u8]) -> kvs_status {
    // SAFETY: a slice (C1).
    unsafe { kvs_contains(null(), std::ptr::without_provenance(snapshot), key.as_ptr(), key.len(), null_mut()) }
}

fn free_snapshot(snapshot: usize) {
    kvs_snapshot_free(std::ptr::without_provenance_mut(snapshot));
}

fn free_pin(pin: usize) {
    kvs_pin_free(std::ptr::without_provenance_mut(pin));
}

/// What a pin lent.
fn lent<'a>(pin: (usize, usize, usize)) -> &'a [u8] {
    // SAFETY: `pin` gave the address and the length; the caller looks at it only until the pin is freed.
    unsafe { std::slice::from_raw_parts(std::ptr::with_exposed_provenance(pin.1), pin.2) }
}

fn batch() -> usize {
    let mut batch = null_mut();
    // SAFETY: an out-pointer of ours (C2).
    assert_eq!(unsafe { kvs_batch_new(&raw mut batch) }, KVS_OK);
    batch.addr()
}

fn batch_put(batch: usize, key: &[u8], value: &[u8]) -> kvs_status {
    // SAFETY: slices (C1).
    unsafe {
        kvs_batch_put(std::ptr::without_provenance_mut(batch), key.as_ptr(), key.len(), value.as_ptr(), value.len())
    }
}

fn ended(status: kvs_status) -> bool {
    status == KVS_E_CLOSED || status == KVS_E_BAD_HANDLE
}

/// Uses the database in one of five ways until it is closed or freed; how often it was answered before.
fn use_until_the_end(db: D, how: usize) -> usize {
    let mut answered = 0;
    loop {
        let status = match how % 5 {
            0 => db.get(b"key").map_or_else(
                |status| status,
                |value| {
                    assert!(value == b"value" || value == b"other");
                    KVS_OK
                },
            ),
            1 => db.put(b"key", if answered % 2 == 0 { b"value" } else { b"other" }),
            2 => db.iter().map_or_else(
                |status| status,
                |iter| {
                    let filled = iter.fill(4096);
                    iter.free();
                    filled.map_or_else(
                        |status| status,
                        |items| {
                            assert!(items >= 1);
                            KVS_OK
                        },
                    )
                },
            ),
            3 => db.snapshot().map_or_else(
                |status| status,
                |snapshot| {
                    let status = contains(snapshot, b"key");
                    free_snapshot(snapshot);
                    status
                },
            ),
            _ => db.pin(b"key").map_or_else(
                |status| status,
                |pin| {
                    assert!(lent(pin) == b"value" || lent(pin) == b"other");
                    free_pin(pin.0);
                    KVS_OK
                },
            ),
        };
        assert!(status == KVS_OK || ended(status), "{status}");
        if ended(status) {
            return answered;
        }
        answered += 1;
    }
}

/// 1. The caller closes, or frees at once, when all threads have been answered.
#[test]
fn sixteen_threads_are_in_calls_when_it_is_closed() {
    let directory = std::env::temp_dir().join(format!("kvs-c-calls-{}", std::process::id()));
    for round in 0..times(16) {
        let on_disk = round % 4 == 0;
        let db = D::open(on_disk.then_some(directory.as_path()));
        assert_eq!(db.put(b"key", b"value"), KVS_OK);
        let answered = AtomicUsize::new(0);
        on_threads(THREADS + 1, |number| {
            if number < THREADS {
                // Once before, so that all are in the middle of it when it ends.
                assert!(db.get(b"key").is_ok());
                answered.fetch_add(1, Ordering::Relaxed);
                use_until_the_end(db, number);
                return;
            }
            while answered.load(Ordering::Relaxed) < THREADS {
                std::hint::spin_loop();
            }
            for _ in 0..round * 10 {
                assert!(db.get(b"key").is_ok());
            }
            if round % 2 == 0 {
                assert_eq!(db.close(), KVS_OK);
            }
            db.free();
        });
        assert_eq!(db.close(), KVS_E_BAD_HANDLE);
    }
    let _ = std::fs::remove_dir_all(directory);
}

/// 2.
#[test]
fn iterators_and_batches_are_for_one_thread_at_a_time() {
    let db = D::open(None);
    (0..100u8).for_each(|i| assert_eq!(db.put(&[i], &[i; 20]), KVS_OK));
    let (iter, shared, concurrent) = (db.iter().unwrap(), batch(), AtomicUsize::new(0));
    let mut attempts = 0;
    while concurrent.load(Ordering::Relaxed) == 0 || attempts == 0 {
        on_threads(THREADS, |number| {
            for i in 0..times(2000) {
                let status = match (number + i) % 4 {
                    0 => iter.first(),
                    1 => iter.fill(1000).map_or_else(|status| status, |_| KVS_OK),
                    2 => batch_put(shared, b"key", b"value"),
                    // SAFETY: no pointers at all.
                    _ => unsafe { kvs_write(db.at(), std::ptr::without_provenance_mut(shared), 0, null_mut()) },
                };
                assert!([KVS_OK, KVS_END, KVS_E_CONCURRENT].contains(&status), "{status}");
                concurrent.fetch_add(usize::from(status == KVS_E_CONCURRENT), Ordering::Relaxed);
                if i % 64 == 0 {
                    kvs_batch_clear(std::ptr::without_provenance_mut(shared));
                }
            }
        });
        attempts += 1;
        assert!(attempts < 100, "no two threads ever met");
    }
    iter.free();
    kvs_batch_free(std::ptr::without_provenance_mut(shared));
    db.free();
}

/// 3. In each of the 24 orders of four steps, while three threads use the three objects.
#[test]
fn objects_are_freed_in_any_order_under_their_users() {
    let mut orders = vec![vec![]];
    for next in 0..4 {
        let insert =
            |order: Vec<usize>| (0..=order.len()).map(move |at| [&order[..at], &[next], &order[at..]].concat());
        orders = orders.into_iter().flat_map(insert).collect();
    }
    assert_eq!(orders.len(), 24);
    for order in orders.iter().cycle().take(times(96)) {
        let db = D::open(None);
        assert_eq!(db.put(b"key", b"value"), KVS_OK);
        let (snapshot, iter) = (db.snapshot().unwrap(), db.iter().unwrap());
        on_threads(4, |number| {
            let until = |call: &dyn Fn() -> kvs_status| while !ended(call()) {};
            match number {
                0 => until(&|| db.get(b"key").map_or_else(|status| status, |_| KVS_OK)),
                1 => until(&|| contains(snapshot, b"key")),
                2 => until(&|| iter.first()),
                _ => {
                    for step in order {
                        match step {
                            0 => db.free(),
                            1 => free_snapshot(snapshot),
                            2 => iter.free(),
                            _ => assert!([KVS_OK, KVS_E_BAD_HANDLE].contains(&db.close())),
                        }
                    }
                }
            }
        });
    }
}

/// 4.
#[test]
fn lent_bytes_outlive_everything() {
    let directory = std::env::temp_dir().join(format!("kvs-c-lent-{}", std::process::id()));
    for round in 0..times(8) {
        let db = D::open(Some(&directory));
        let large = vec![round as u8; 100_000];
        (0..20u8).for_each(|i| assert_eq!(db.put(&[i], &large), KVS_OK));
        let keys: Vec<u8> = (0..20).collect();
        let (ends, mut results): (Vec<usize>, _) = ((1..=20).collect(), null_mut());
        // SAFETY: slices, of which the second has as many numbers as said, and an out-pointer of ours (C1, C2).
        let status = unsafe {
            kvs_multi_get(db.at(), null(), keys.as_ptr(), 20, ends.as_ptr(), 20, &raw mut results, null_mut())
        };
        assert_eq!(status, KVS_OK);
        let results = results.addr();
        let pins: Vec<_> = (0..20u8).map(|i| db.pin(&[i]).unwrap()).collect();
        let over = AtomicBool::new(false);
        on_threads(4, |number| {
            if number == 0 {
                (0..20u8).for_each(|i| assert_eq!(db.put(&[i], b"small"), KVS_OK));
                // SAFETY: no bounds, no error objects.
                unsafe {
                    assert_eq!(kvs_flush(db.at(), 0, null_mut()), KVS_OK);
                    assert_eq!(kvs_compact(db.at(), null(), 0, null(), 0, 0, null_mut()), KVS_OK);
                }
                assert_eq!(db.close(), KVS_OK);
                db.free();
                over.store(true, Ordering::Relaxed);
                return;
            }
            let mut last = false;
            while !last {
                last = over.load(Ordering::Relaxed);
                for (i, pin) in pins.iter().enumerate() {
                    assert!(lent(*pin) == large);
                    let (mut data, mut length) = (null(), 0);
                    // SAFETY: out-pointers of ours (C2).
                    let status = unsafe {
                        kvs_results_get(std::ptr::without_provenance(results), i, &raw mut data, &raw mut length)
                    };
                    assert!(status == KVS_OK && lent((0, data.expose_provenance(), length)) == large);
                }
            }
        });
        pins.iter().for_each(|pin| free_pin(pin.0));
        kvs_results_free(std::ptr::without_provenance_mut(results));
    }
    let _ = std::fs::remove_dir_all(directory);
}

/// 5.
#[test]
fn what_all_free_at_once_is_freed_once() {
    for _ in 0..times(100) {
        let db = D::open(None);
        assert_eq!(db.put(b"key", b"value"), KVS_OK);
        let (snapshot, iter, pin, shared) =
            (db.snapshot().unwrap(), db.iter().unwrap(), db.pin(b"key").unwrap(), batch());
        let mut error = null_mut();
        // SAFETY: a slice and an out-pointer of ours (C1, C2).
        let status = unsafe { kvs_put(db.at(), b"k".as_ptr(), 1, b"v".as_ptr(), 1, 1 << 31, &raw mut error) };
        assert_eq!(status, KVS_E_INVALID);
        let error = error.addr();
        on_threads(4, |_| {
            let err = std::ptr::without_provenance_mut(error);
            assert!([KVS_E_INVALID, KVS_E_BAD_HANDLE].contains(&kvs_error_code(err)));
            kvs_error_free(err);
            assert_eq!(kvs_error_code(err), KVS_E_BAD_HANDLE);
            iter.free();
            free_pin(pin.0);
            free_snapshot(snapshot);
            kvs_batch_free(std::ptr::without_provenance_mut(shared));
            db.free();
            assert_eq!(batch_put(shared, b"key", b"value"), KVS_E_BAD_HANDLE);
            assert_eq!(iter.first(), KVS_E_BAD_HANDLE);
            assert_eq!(contains(snapshot, b"key"), KVS_E_BAD_HANDLE);
            assert_eq!(db.put(b"key", b"value"), KVS_E_BAD_HANDLE);
        });
    }
    // What is lent as text lives as long as its owner.
    let db = D::open(None);
    let (mut text, mut length, mut error) = (null_mut(), 0, null_mut());
    // SAFETY: strings of C and out-pointers of ours (C2, C3); what they were set to is looked at before it is freed, once (C4).
    unsafe {
        assert_eq!(kvs_property(db.at(), c"stats".as_ptr(), &raw mut text, &raw mut length, null_mut()), KVS_OK);
        assert_eq!(CStr::from_ptr(text.cast_const().cast()).count_bytes(), length);
        kvs_free(text.cast());
        let status = kvs_property(db.at(), c"none".as_ptr(), &raw mut text, &raw mut length, &raw mut error);
        assert!(status == KVS_E_INVALID && text.is_null());
        assert!(CStr::from_ptr(kvs_error_message(error)).to_str().unwrap().contains("none"));
    }
    kvs_error_free(error);
    db.free();
}
