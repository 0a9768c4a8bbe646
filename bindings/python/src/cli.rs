//! `python -m kvs`: the command line tool itself, as a library.
//!
//! The same code as the binary, so there is one tool with one set of formats and exit codes, and none to keep in step.

use std::ffi::OsString;

use pyo3::prelude::*;

use crate::call;

/// Runs the tool with the arguments args, of which the first is the program's name; returns its exit code.
#[pyfunction]
pub fn _cli(py: Python<'_>, args: Vec<OsString>) -> PyResult<i32> {
    call::detached(py, move || kvs_cli::run(args))
}
