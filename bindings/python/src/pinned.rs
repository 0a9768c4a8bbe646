//! A value of the engine as a Python buffer: no copy, and nothing that can dangle.
//!
//! ```text
//! memoryview --(Py_buffer.obj, a strong reference)--> Pinned --> engine::Value --> file or block
//! ```
//!
//! `memoryview.release()` gives the reference back, and the last reference unpins. Slices and arrays made of the memoryview hold
//! it too. A child of fork has a copy at the same address (held.rs). Closing the store does not touch what is pinned; the engine keeps the file for as long as a value needs it.

#![expect(unsafe_code, reason = "the buffer protocol is a C structure that is filled in place")]

use std::ffi::c_int;

use engine::Value;
use pyo3::exceptions::PyBufferError;
use pyo3::ffi;
use pyo3::prelude::*;
use pyo3::types::PyMemoryView;

use crate::fork::Guarded;
use crate::held;

/// What a memoryview of get_view, or of a view with zero_copy, holds.
#[pyclass(frozen, module = "kvs._kvs")]
pub struct Pinned(Guarded<Value>);

impl Pinned {
    pub fn new(value: Value) -> Pinned {
        held::hold(&value);
        Pinned(Guarded::new(value))
    }
}

impl Drop for Pinned {
    fn drop(&mut self) {
        // In a child what is held stays as it is: see held.rs.
        if let Ok(value) = self.0.get() {
            held::release(value);
        }
    }
}

/// A memoryview of a value, where it lies.
pub fn show<'py>(py: Python<'py>, value: Value) -> PyResult<Bound<'py, PyAny>> {
    Ok(PyMemoryView::from(Bound::new(py, Pinned::new(value))?.as_any())?.into_any())
}

#[pymethods]
impl Pinned {
    // SAFETY (of the declaration, which pyo3 requires to be unsafe): called by Python only, as `bf_getbuffer`.
    unsafe fn __getbuffer__(this: Bound<'_, Self>, view: *mut ffi::Py_buffer, flags: c_int) -> PyResult<()> {
        if view.is_null() {
            return Err(PyBufferError::new_err("no place for the view"));
        }
        let bytes: &[u8] = this.get().0.get()?;
        // No value is longer than 1 GiB.
        let len = ffi::Py_ssize_t::try_from(bytes.len()).map_err(|_| PyBufferError::new_err("value too long"))?;
        // SAFETY: `view` is not null and Python's to fill, by the protocol of `bf_getbuffer`. `bytes` lies where the value pins it: not
        // inside `this`, and unchanging, since published bytes of the engine are never written again. `PyBuffer_FillInfo` stores a
        // strong reference to `this` in `view.obj`; the class is frozen and gives its value away only when it is dropped, so the bytes
        // stay for as long as the view has not been released. `readonly` is 1: with a request for a writable buffer the call fails, sets
        // an exception, and leaves `obj` null. The pointer is cast to mutable for the C signature only.
        let filled =
            unsafe { ffi::PyBuffer_FillInfo(view, this.as_ptr(), bytes.as_ptr().cast_mut().cast(), len, 1, flags) };
        if filled == 0 { Ok(()) } else { Err(PyErr::fetch(this.py())) }
    }

    fn __len__(&self) -> PyResult<usize> {
        Ok(self.0.get()?.len())
    }
}
