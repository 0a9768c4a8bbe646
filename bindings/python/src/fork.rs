//! What a `fork` does to handles.
//!
//! 1. `os.register_at_fork` counts the forks that this process is the child of ([`FORKS`]).
//! 2. Every object that reaches into the engine notes the count when it is made ([`Guarded`]).
//! 3. A call whose object was made under another count raises `ForkedError` before it takes a lock: the thread that
//!    held it in the parent does not exist here.
//! 4. In the child such an object is leaked, not dropped: dropping would flush, unlock and delete files that are the
//!    parent's.
//! 5. What memoryviews show is in the child too, as a copy ([`held`](crate::held)).

use std::sync::atomic::{AtomicU64, Ordering};

use pyo3::prelude::*;

use crate::errors::{self, Class};
use crate::held;

/// Forks between the process that loaded the module and this one.
/// Relaxed: it is written only in a child that still has a single thread.
static FORKS: AtomicU64 = AtomicU64::new(0);

#[pyfunction]
fn _before_fork() {
    held::save();
}

#[pyfunction]
fn _after_fork_in_parent() {
    held::forget();
}

#[pyfunction]
fn _after_fork_in_child() {
    FORKS.fetch_add(1, Ordering::Relaxed);
    held::restore();
}

/// Has Python call us around every fork.
pub fn register(module: &Bound<'_, PyModule>) -> PyResult<()> {
    let os = module.py().import("os")?;
    // Absent where there is no fork.
    if let Some(register) = os.getattr_opt("register_at_fork")? {
        let hooks = pyo3::types::PyDict::new(module.py());
        hooks.set_item("before", wrap_pyfunction!(_before_fork, module)?)?;
        hooks.set_item("after_in_parent", wrap_pyfunction!(_after_fork_in_parent, module)?)?;
        hooks.set_item("after_in_child", wrap_pyfunction!(_after_fork_in_child, module)?)?;
        register.call((), Some(&hooks))?;
    }
    Ok(())
}

/// Something of the engine that only the process that made it may touch.
pub struct Guarded<T: Send> {
    /// `None` only while it is dropped.
    inner: Option<T>,
    forks: u64,
}

impl<T: Send> Guarded<T> {
    pub fn new(inner: T) -> Guarded<T> {
        Guarded { inner: Some(inner), forks: FORKS.load(Ordering::Relaxed) }
    }

    /// Was it made before a fork that this process is the child of?
    pub fn is_forked(&self) -> bool {
        self.forks != FORKS.load(Ordering::Relaxed)
    }

    pub fn get(&self) -> PyResult<&T> {
        match &self.inner {
            Some(inner) if !self.is_forked() => Ok(inner),
            _ => Err(forked()),
        }
    }
}

#[cold]
fn forked() -> PyErr {
    errors::new(
        Class::Forked,
        "this object was made before os.fork(): only the parent may use it; \
         in the child open a store of its own, or start workers with the spawn or forkserver method",
    )
}

impl<T: Send> Drop for Guarded<T> {
    fn drop(&mut self) {
        let Some(inner) = self.inner.take() else { return };
        if self.forks != FORKS.load(Ordering::Relaxed) {
            std::mem::forget(inner);
            return;
        }
        // The last handle closes the store, which may wait for the disk: let other threads run. Late in the exit of
        // the interpreter there is nothing to detach from.
        let mut inner = Some(inner);
        Python::try_attach(|py| {
            let inner = inner.take();
            crate::call::detached(py, move || drop(inner))
        });
        drop(inner);
    }
}
