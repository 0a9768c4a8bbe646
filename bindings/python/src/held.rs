//! What memoryviews show, in a child of `fork`.
//!
//! The engine's files are mapped so that they are not inherited (`MADV_DONTFORK`): a child could not tell when its parent writes them over. But a child
//! inherits the Python objects, and a memoryview is a bare pointer once it is made; reading it would be a SIGSEGV. So:
//!
//! ```text
//! before the fork     copy what is held: the parent's memory, which the child gets                 save
//! in the parent       drop the copies                                                              forget
//! in the child        put anonymous pages where the files were, and the copies into them           restore
//! ```
//!
//! 1. The pages are asked for with `MAP_FIXED_NOREPLACE`. Where the kernel refuses, a mapping was inherited (cached blocks, stores in
//!    memory), and the bytes are right as they are.
//! 2. Everything here happens with the GIL held, which `os.fork` keeps from the first step to the last; so what is saved is what is
//!    held at the fork, and no other thread is inside a lock of ours.
//! 3. In the child the pages stay until it ends. Its own stores are mapped elsewhere.
//!
//! A fork that Python does not know of (by a C extension) gets none of this.

#![expect(unsafe_code, reason = "memory is put at addresses that memoryviews already have")]

use std::collections::{BTreeSet, HashMap};
use std::hash::{BuildHasherDefault, Hasher};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Values that are held, by address and length; how often.
static HELD: Mutex<Option<Held>> = Mutex::new(None);
/// Between the steps around a fork: address and bytes of each.
static SAVED: Mutex<Vec<(usize, Vec<u8>)>> = Mutex::new(Vec::new());

type Held = HashMap<(usize, usize), usize, BuildHasherDefault<Mixer>>;

/// Hashes addresses and lengths, which nobody chooses to do harm: the standard hasher was the dearest part of a view.
#[derive(Default)]
struct Mixer(u64);

impl Hasher for Mixer {
    fn write(&mut self, bytes: &[u8]) {
        bytes.iter().for_each(|&byte| self.write_usize(byte.into()));
    }

    fn write_usize(&mut self, number: usize) {
        // An odd number whose bits are as good as random: 2^64 divided by the golden ratio.
        self.0 = (self.0.rotate_left(32) ^ number as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    }

    fn finish(&self) -> u64 {
        // The table looks at the lowest bits, and the highest are mixed best.
        self.0 ^ (self.0 >> 32)
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Notes that `bytes` are shown. They have to stay as they are until [`release`].
pub fn hold(bytes: &[u8]) {
    if !bytes.is_empty() {
        *lock(&HELD).get_or_insert_default().entry((bytes.as_ptr() as usize, bytes.len())).or_insert(0) += 1;
    }
}

/// Takes one [`hold`] of `bytes` back.
pub fn release(bytes: &[u8]) {
    let key = (bytes.as_ptr() as usize, bytes.len());
    let mut held = lock(&HELD);
    if let Some(held) = &mut *held
        && let Some(count) = held.get_mut(&key)
    {
        *count -= 1;
        if *count == 0 {
            held.remove(&key);
        }
    }
}

/// Before a fork.
pub fn save() {
    let mut saved = lock(&SAVED);
    saved.clear();
    for &(at, len) in lock(&HELD).iter().flat_map(HashMap::keys) {
        let mut copy = Vec::new();
        // Without memory for the copy the child gets none; the fork itself is not ours to refuse.
        if copy.try_reserve_exact(len).is_ok() {
            // SAFETY: `hold` was called with exactly these bytes and `release` was not yet, so by the contract of `hold` they are there
            // and nobody writes them; `at` is not null and `len` not 0, since it came from a slice that is not empty.
            copy.extend_from_slice(unsafe { std::slice::from_raw_parts(at as *const u8, len) });
            saved.push((at, copy));
        }
    }
}

/// After a fork, in the parent.
pub fn forget() {
    lock(&SAVED).clear();
}

/// After a fork, in the child.
pub fn restore() {
    let saved = std::mem::take(&mut *lock(&SAVED));
    // SAFETY: takes a number and returns one.
    let page = usize::try_from(unsafe { libc::sysconf(libc::_SC_PAGESIZE) }).unwrap_or(4096);
    let mut ours = BTreeSet::new();
    for (at, bytes) in saved {
        let mut done = 0;
        while done < bytes.len() {
            let from = at + done;
            let start = from - from % page;
            let len = (start + page - from).min(bytes.len() - done);
            if ours.contains(&start) || (is_free(start, page) && ours.insert(start)) {
                // SAFETY: `start..start + page` is a page that this function has mapped, readable and writable, a moment ago, and
                // that nothing unmaps; `from..from + len` lies in it. The source is memory of this process's own, so they do not
                // overlap. No other thread exists, and no Rust reference to these bytes is used in the child: every way to one
                // goes through `Guarded::get`, which refuses.
                unsafe { std::ptr::copy_nonoverlapping(bytes[done..].as_ptr(), from as *mut u8, len) };
            }
            done += len;
        }
    }
}

/// Was there nothing at this page? Then there are zeroes now.
fn is_free(start: usize, page: usize) -> bool {
    // SAFETY: anonymous memory at an address where, by MAP_FIXED_NOREPLACE, no mapping is replaced.
    let got = unsafe {
        libc::mmap(
            start as *mut libc::c_void,
            page,
            libc::PROT_READ | libc::PROT_WRITE,
            libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_FIXED_NOREPLACE,
            -1,
            0,
        )
    };
    if got == libc::MAP_FAILED {
        return false;
    }
    if got as usize != start {
        // A kernel before 4.17 takes the address for a wish, and puts the page elsewhere if the place is taken.
        // SAFETY: exactly the mapping that was made above, which nobody has seen.
        unsafe { libc::munmap(got, page) };
        return false;
    }
    true
}
