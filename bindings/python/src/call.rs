//! The one way from Python into the engine: the GIL is released, a panic becomes `InternalError`.

use std::panic::{AssertUnwindSafe, catch_unwind};

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
    py.detach(|| catch_unwind(AssertUnwindSafe(call))).map_err(|payload| {
        let what = match (payload.downcast_ref::<&str>(), payload.downcast_ref::<String>()) {
            (Some(text), _) => text,
            (_, Some(text)) => text.as_str(),
            _ => "no message",
        };
        errors::new(Class::Internal, &format!("a bug in kvs, please report it: panic: {what}"))
    })
}

/// Panics the way a bug in the engine would, so that the tests can see what becomes of it.
#[pyfunction]
pub fn _panic(py: Python<'_>, message: &str) -> PyResult<()> {
    run(py, || panic!("{message}"))
}
