//! The one way from Python into the engine: the GIL is released, a panic becomes `InternalError`.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use pyo3::prelude::*;

use crate::errors::{self, Class};

/// Runs an engine call without the GIL.
///
/// A panic must not reach pyo3: its `PanicException` is a `BaseException`, which `except Exception` lets through.
pub fn run<T: Send>(py: Python<'_>, call: impl FnOnce() -> engine::Result<T> + Send) -> PyResult<T> {
    detached(py, call)?.map_err(|error| errors::from_engine(py, &error))
}

/// Runs `call` without the GIL; only a panic is an error.
pub fn detached<T: Send>(py: Python<'_>, call: impl FnOnce() -> T + Send) -> PyResult<T> {
    // Unwind safe: a panic leaves the engine's state to the engine, which is built for it, and ours is replaced
    // as a whole or not at all.
    py.detach(|| catch_unwind(AssertUnwindSafe(call))).map_err(|payload| panicked(&*payload))
}

#[cold]
fn panicked(payload: &(dyn Any + Send)) -> PyErr {
    let what = match (payload.downcast_ref::<&str>(), payload.downcast_ref::<String>()) {
        (Some(text), _) => text,
        (_, Some(text)) => text.as_str(),
        _ => "no message",
    };
    errors::new(Class::Internal, &format!("a bug in kvs, please report it: panic: {what}"))
}

/// Runs an engine call that may take minutes, and answers Ctrl-C meanwhile.
///
/// The engine has no way to give such a call up. So it runs in a thread of its own, and this one looks at signals until it has ended. If a handler
/// raises, that is what the caller gets, and the call is left to end by itself: merging and checking change nothing that is read, and
/// closing the store ends or outlives them as it does calls of other threads. The thread knows nothing of Python.
pub fn interruptible<T, F>(py: Python<'_>, call: F) -> PyResult<T>
where
    T: Send + 'static,
    F: FnOnce() -> engine::Result<T> + Send + 'static,
{
    /// How often signals are looked at; each time costs other threads the GIL for a moment.
    const EVERY: Duration = Duration::from_millis(10);
    let (answer, ended) = mpsc::sync_channel(1);
    let work = move || {
        // Unwind safe: see `detached`. Nobody listens any more after a Ctrl-C.
        let _ = answer.send(catch_unwind(AssertUnwindSafe(call)));
    };
    if let Err(error) = thread::Builder::new().name("kvs-python".into()).spawn(work) {
        return Err(error.into());
    }
    // Only one thread at a time waits on it; the mutex says so to the compiler.
    let ended = Mutex::new(ended);
    loop {
        let waited = py.detach(|| ended.lock().unwrap_or_else(PoisonError::into_inner).recv_timeout(EVERY));
        match waited {
            Ok(Ok(result)) => return result.map_err(|error| errors::from_engine(py, &error)),
            Ok(Err(payload)) => return Err(panicked(&*payload)),
            Err(RecvTimeoutError::Timeout) => py.check_signals()?,
            Err(RecvTimeoutError::Disconnected) => {
                return Err(errors::new(Class::Internal, "a call ended without an answer"));
            }
        }
    }
}

/// Panics the way a bug in the engine would, so that the tests can see what becomes of it.
#[pyfunction]
#[pyo3(signature = (message, in_thread = false))]
pub fn _panic(py: Python<'_>, message: String, in_thread: bool) -> PyResult<()> {
    if in_thread { interruptible(py, move || panic!("{message}")) } else { run(py, move || panic!("{message}")) }
}
