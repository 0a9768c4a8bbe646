//! The main interpreter only.
//!
//! What the module keeps in statics (exception classes, the list of open stores, the count of forks) is made of one interpreter's objects.
//! A subinterpreter that shared it closed the main one's stores when it ended, through its own `atexit`. So it gets an `ImportError`.
//!
//! Python asks extension modules to say what they support by a slot since 3.12, and refuses those with a GIL of their own by itself;
//! pyo3 compares interpreters for nested modules only. This asks itself, on every version.

#![expect(unsafe_code, reason = "Python's number of the interpreter has no safe wrapper")]

use pyo3::exceptions::PyImportError;
use pyo3::ffi;
use pyo3::prelude::*;

/// What Python numbers the main interpreter, ever since there are numbers.
const MAIN: i64 = 0;

/// Refuses every interpreter but the main one. The token says that the caller is in one.
pub fn check(_py: Python<'_>) -> PyResult<()> {
    // SAFETY: both need an attached thread, which `_py` proves; `PyInterpreterState_Get` never returns null then, and the state lives for
    // as long as the thread is attached to it.
    let id = unsafe { ffi::PyInterpreterState_GetID(ffi::PyInterpreterState_Get()) };
    if id == MAIN {
        return Ok(());
    }
    Err(PyImportError::new_err(
        "kvs does not support subinterpreters: import it in the main interpreter, and use threads or processes",
    ))
}
