//! Keys and values on their way in and out.

use std::panic::{AssertUnwindSafe, catch_unwind};

use pyo3::exceptions::{PyMemoryError, PyTypeError};
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyMemoryView, PyString};

/// A key or a value from Python.
///
/// `bytes` are borrowed: immutable and held here, they stay put while the GIL is released. Everything else that has
/// a buffer may be written by another thread and is copied first, with the GIL held.
pub struct Bytes<'py>(Bound<'py, PyBytes>);

impl Bytes<'_> {
    pub fn as_slice(&self) -> &[u8] {
        self.0.as_bytes()
    }
}

impl<'py> Bytes<'py> {
    pub fn into_bound(self) -> Bound<'py, PyBytes> {
        self.0
    }

    /// As the store would return it: `bytes` itself, no subclass.
    pub fn into_exact(self) -> PyResult<Bound<'py, PyBytes>> {
        if self.0.is_exact_instance_of::<PyBytes>() { Ok(self.0) } else { to_python(self.0.py(), self.0.as_bytes()) }
    }
}

impl<'py> FromPyObject<'_, 'py> for Bytes<'py> {
    type Error = PyErr;

    fn extract(object: Borrowed<'_, 'py, PyAny>) -> PyResult<Bytes<'py>> {
        if let Ok(bytes) = object.cast::<PyBytes>() {
            return Ok(Bytes(bytes.to_owned()));
        }
        if object.is_instance_of::<PyString>() {
            return Err(PyTypeError::new_err("expected a bytes-like object, not str: encode it first, with .encode()"));
        }
        // A view takes every format (mmap, arrays of any type), and `tobytes` copies in C order.
        let Ok(view) = PyMemoryView::from(&object) else {
            let name = object.get_type().fully_qualified_name()?;
            return Err(PyTypeError::new_err(format!("expected a bytes-like object, not {name}")));
        };
        Ok(Bytes(view.call_method0("tobytes")?.cast_into()?))
    }
}

/// Copies a pinned value into `bytes`: the only copy on the way out.
pub fn to_python<'py>(py: Python<'py>, bytes: &[u8]) -> PyResult<Bound<'py, PyBytes>> {
    const SMALL: usize = 64 << 10;
    if bytes.len() <= SMALL {
        return Ok(PyBytes::new(py, bytes));
    }
    // pyo3 panics when there is no memory; for something as large as this that is an answer, not an accident.
    catch_unwind(AssertUnwindSafe(|| PyBytes::new(py, bytes)))
        .map_err(|_| PyMemoryError::new_err(format!("no memory for a value of {} bytes", bytes.len())))
}

/// Faults the pages of a mapped value in while the GIL is released, so that the copy does not wait for the disk with it.
pub fn make_resident(value: &[u8]) {
    const PAGE: usize = 4096;
    let mut at = 0;
    while let Some(byte) = value.get(at) {
        std::hint::black_box(*byte);
        at += PAGE;
    }
    std::hint::black_box(value.last());
}
