//! What `crate::sync` exports in the place of the standard library's `OnceLock` when ThreadSanitizer watches.
//!
//! The standard library is not instrumented: what its `OnceLock` orders looks unordered. This one is made of a lock and an atomic that
//! are, around the same cell.

use std::sync::OnceLock as Cell;
use std::sync::atomic::{AtomicBool, Ordering};

use parking_lot::Mutex;

/// As `std::sync::OnceLock`.
#[derive(Debug, Default)]
pub struct OnceLock<T> {
    cell: Cell<T>,
    /// Set, with Release, when the cell is full: pairs with the Acquire in [`get`](OnceLock::get).
    full: AtomicBool,
    /// Held by whoever fills it.
    filling: Mutex<()>,
}

impl<T> OnceLock<T> {
    /// An empty one.
    pub const fn new() -> OnceLock<T> {
        OnceLock { cell: Cell::new(), full: AtomicBool::new(false), filling: Mutex::new(()) }
    }

    /// What is in it.
    pub fn get(&self) -> Option<&T> {
        if self.full.load(Ordering::Acquire) { self.cell.get() } else { None }
    }

    /// What is in it, alone.
    pub fn get_mut(&mut self) -> Option<&mut T> {
        self.cell.get_mut()
    }

    /// Fills it, unless it is full.
    pub fn set(&self, value: T) -> Result<(), T> {
        let _filling = self.filling.lock();
        let set = self.cell.set(value);
        self.full.store(true, Ordering::Release);
        set
    }

    /// What is in it, made by `make` if there is nothing.
    pub fn get_or_init(&self, make: impl FnOnce() -> T) -> &T {
        if let Some(value) = self.get() {
            return value;
        }
        let _filling = self.filling.lock();
        let value = self.cell.get_or_init(make);
        self.full.store(true, Ordering::Release);
        value
    }
}
