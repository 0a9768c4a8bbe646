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
/// The call runs in a thread of its own, which knows nothing of Python, and this one looks at signals until it has ended. If a
/// handler raises, the call is told to give up (`stop`), and what the handler raised goes on its way when it has: nothing runs on
/// in the background. A call that may have been told before it had begun is told again.
pub fn interruptible<T: Send>(
    py: Python<'_>,
    stop: impl Fn() + Sync,
    call: impl FnOnce() -> engine::Result<T> + Send,
) -> PyResult<T> {
    /// How often signals are looked at; each time costs other threads the GIL for a moment.
    const EVERY: Duration = Duration::from_millis(10);
    let (answer, ended) = mpsc::sync_channel(1);
    // Only one thread at a time waits on it; the mutex says so to the compiler.
    let ended = Mutex::new(ended);
    let wait = || ended.lock().unwrap_or_else(PoisonError::into_inner).recv_timeout(EVERY);
    thread::scope(|scope| {
        // Unwind safe: see `detached`. The answer fits, so sending it does not wait.
        let work = move || drop(answer.send(catch_unwind(AssertUnwindSafe(call))));
        let thread = thread::Builder::new().name("kvs-python".into()).spawn_scoped(scope, work)?;
        let mut raised = None;
        let answer = loop {
            match py.detach(wait) {
                Ok(answer) => break Some(answer),
                Err(RecvTimeoutError::Disconnected) => break None,
                Err(RecvTimeoutError::Timeout) if raised.is_some() => py.detach(&stop),
                Err(RecvTimeoutError::Timeout) => {
                    if let Err(error) = py.check_signals() {
                        raised = Some(error);
                        py.detach(&stop);
                    }
                }
            }
        };
        // The scope waits for what the thread does, not for its end. A panic has been caught.
        let _ = py.detach(move || thread.join());
        match (raised, answer) {
            (Some(error), _) => Err(error),
            (None, Some(Ok(result))) => result.map_err(|error| errors::from_engine(py, &error)),
            (None, Some(Err(payload))) => Err(panicked(&*payload)),
            (None, None) => Err(errors::new(Class::Internal, "a call ended without an answer")),
        }
    })
}

/// Panics the way a bug in the engine would, so that the tests can see what becomes of it.
#[pyfunction]
#[pyo3(signature = (message, in_thread = false))]
pub fn _panic(py: Python<'_>, message: String, in_thread: bool) -> PyResult<()> {
    if in_thread { interruptible(py, || {}, move || panic!("{message}")) } else { run(py, move || panic!("{message}")) }
}
