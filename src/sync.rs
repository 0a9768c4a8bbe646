//! The one place that names atomics, locks and epochs.
//!
//! Everything else imports them from here, so that a model checker can take their place (`--cfg kvs_loom`), and so can locks that
//! ThreadSanitizer understands (`--cfg kvs_tsan`): those of parking_lot, since what the standard library does is not instrumented.

#[cfg(not(kvs_loom))]
pub mod epoch;
#[cfg(not(kvs_loom))]
pub mod forks;
#[cfg(not(any(kvs_loom, kvs_tsan)))]
mod locks;
#[cfg(kvs_loom)]
#[allow(dead_code, unused_imports, reason = "models use a part of it")]
mod loom;
#[cfg(kvs_tsan)]
mod tsan;

#[cfg(not(kvs_loom))]
pub use std::sync::Arc;
#[cfg(not(any(kvs_loom, kvs_tsan)))]
pub use std::sync::OnceLock;
#[cfg(not(kvs_loom))]
pub use std::sync::atomic::{AtomicBool, AtomicPtr, AtomicU8, AtomicU32, AtomicU64, AtomicUsize, Ordering};
#[cfg(kvs_tsan)]
pub use tsan::OnceLock;

#[cfg(not(kvs_loom))]
pub use crossbeam_utils::{Backoff, CachePadded};
#[cfg(not(any(kvs_loom, kvs_tsan)))]
pub use locks::{Condvar, Mutex, MutexGuard};
#[cfg(kvs_tsan)]
pub use parking_lot::{Condvar, Mutex, MutexGuard};

#[cfg(kvs_loom)]
#[allow(unused_imports, reason = "models use a part of it")]
pub use self::loom::*;
