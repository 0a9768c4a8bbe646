//! `kvs.Snapshot`: the store as it was at one point in time.

use std::sync::{Mutex, PoisonError};

use pyo3::exceptions::{PyKeyError, PyTypeError};
use pyo3::prelude::*;
use pyo3::sync::MutexExt;
use pyo3::types::{PyBytes, PyList};

use crate::bytes::Bytes;
use crate::db::{Db, equal};
use crate::errors::{self, Class};
use crate::fork::Guarded;
use crate::read::{self, Range};
use crate::view::{Select, Source, View, ViewIterator, What};

/// The store as it was at one point in time: a Mapping that does not change.
///
/// Made by DB.snapshot(). It keeps old values from being reclaimed: close it, or leave the with block, when done.
///
/// >>> with kvs.open(in_memory=True) as db:
/// ...     db[b"k"] = b"before"
/// ...     with db.snapshot() as snapshot:
/// ...         db[b"k"] = b"after"
/// ...         snapshot[b"k"], db[b"k"]
/// (b'before', b'after')
#[pyclass(frozen, weakref, module = "kvs")]
pub struct Snapshot {
    /// `None`: closed. The lock is held for a moment only, never while the engine works.
    engine: Guarded<Mutex<Option<engine::Snapshot>>>,
    db: Py<Db>,
}

impl Snapshot {
    pub fn new(engine: engine::Snapshot, db: Py<Db>) -> Snapshot {
        Snapshot { engine: Guarded::new(Mutex::new(Some(engine))), db }
    }

    /// The engine's snapshot, for as long as one call takes.
    pub fn engine(&self, py: Python<'_>) -> PyResult<engine::Snapshot> {
        let snapshot = self.engine.get()?.lock_py_attached(py).unwrap_or_else(PoisonError::into_inner).clone();
        snapshot.ok_or_else(|| errors::new(Class::Closed, "the snapshot is closed; take another with DB.snapshot()"))
    }
}

#[pymethods]
impl Snapshot {
    /// The value of key, or default if there is none.
    #[pyo3(signature = (key, default = None))]
    fn get<'py>(
        &self,
        py: Python<'py>,
        key: Bytes<'py>,
        default: Option<Bound<'py, PyAny>>,
    ) -> PyResult<Option<Bound<'py, PyAny>>> {
        Ok(read::get(py, self.engine(py)?, &key)?.map(Bound::into_any).or(default))
    }

    /// The values of keys, in their order; default for those that are missing.
    #[pyo3(signature = (keys, default = None))]
    fn get_many<'py>(
        &self,
        py: Python<'py>,
        keys: &Bound<'py, PyAny>,
        default: Option<Bound<'py, PyAny>>,
    ) -> PyResult<Bound<'py, PyList>> {
        read::get_many(py, self.engine(py)?, keys, default)
    }

    /// The value of key as a read-only memoryview of where it lies, as DB.get_view; KeyError if there is none.
    fn get_view<'py>(&self, py: Python<'py>, key: Bytes<'py>) -> PyResult<Bound<'py, PyAny>> {
        read::get_view(py, self.engine(py)?, key)
    }

    /// The pairs in a range, as DB.items.
    #[pyo3(signature = (prefix = None, *, start = None, stop = None, reverse = false, limit = None, zero_copy = false))]
    fn items<'py>(
        this: Py<Self>,
        prefix: Option<Bytes<'py>>,
        start: Option<Bytes<'py>>,
        stop: Option<Bytes<'py>>,
        reverse: bool,
        limit: Option<i64>,
        zero_copy: bool,
    ) -> PyResult<View> {
        View::new(Source::Snapshot(this), What::Items, Select { prefix, start, stop, reverse, limit, zero_copy })
    }

    /// The keys in a range, as DB.keys.
    #[pyo3(signature = (prefix = None, *, start = None, stop = None, reverse = false, limit = None))]
    fn keys<'py>(
        this: Py<Self>,
        prefix: Option<Bytes<'py>>,
        start: Option<Bytes<'py>>,
        stop: Option<Bytes<'py>>,
        reverse: bool,
        limit: Option<i64>,
    ) -> PyResult<View> {
        View::new(Source::Snapshot(this), What::Keys, Select { prefix, start, stop, reverse, limit, zero_copy: false })
    }

    /// The values of the keys in a range, as DB.values.
    #[pyo3(signature = (prefix = None, *, start = None, stop = None, reverse = false, limit = None, zero_copy = false))]
    fn values<'py>(
        this: Py<Self>,
        prefix: Option<Bytes<'py>>,
        start: Option<Bytes<'py>>,
        stop: Option<Bytes<'py>>,
        reverse: bool,
        limit: Option<i64>,
        zero_copy: bool,
    ) -> PyResult<View> {
        View::new(Source::Snapshot(this), What::Values, Select { prefix, start, stop, reverse, limit, zero_copy })
    }

    /// Lets go of the old values. May be called twice; later reads raise ClosedError.
    fn close(&self, py: Python<'_>) -> PyResult<()> {
        if self.engine.is_forked() {
            return Ok(());
        }
        let taken = self.engine.get()?.lock_py_attached(py).unwrap_or_else(PoisonError::into_inner).take();
        crate::call::detached(py, move || drop(taken))
    }

    /// Has it been closed?
    #[getter]
    fn closed(&self, py: Python<'_>) -> PyResult<bool> {
        Ok(self.engine.get()?.lock_py_attached(py).unwrap_or_else(PoisonError::into_inner).is_none())
    }

    fn __enter__(this: Bound<'_, Self>) -> PyResult<Bound<'_, Self>> {
        this.get().engine(this.py())?;
        Ok(this)
    }

    #[pyo3(signature = (*_exc_info))]
    fn __exit__(&self, py: Python<'_>, _exc_info: &Bound<'_, PyAny>) -> PyResult<()> {
        self.close(py)
    }

    fn __getitem__<'py>(&self, py: Python<'py>, key: Bytes<'py>) -> PyResult<Bound<'py, PyBytes>> {
        read::get(py, self.engine(py)?, &key)?.ok_or_else(|| PyKeyError::new_err(key.into_bound().unbind()))
    }

    fn __contains__<'py>(&self, py: Python<'py>, key: Bytes<'py>) -> PyResult<bool> {
        read::contains(py, self.engine(py)?, &key)
    }

    /// The exact number of keys: walks all of them.
    fn __len__(&self, py: Python<'_>) -> PyResult<usize> {
        read::count(py, self.engine(py)?, &Range::default(), u64::MAX)
    }

    /// Is there any key? Looks at one only.
    fn __bool__(&self, py: Python<'_>) -> PyResult<bool> {
        Ok(read::count(py, self.engine(py)?, &Range::default(), 1)? > 0)
    }

    fn __iter__(this: Bound<'_, Self>) -> PyResult<ViewIterator> {
        let py = this.py();
        View::all(Source::Snapshot(this.unbind()), What::Keys).walk(py, false)
    }

    fn __reversed__(this: Bound<'_, Self>) -> PyResult<ViewIterator> {
        let py = this.py();
        View::all(Source::Snapshot(this.unbind()), What::Keys).walk(py, true)
    }

    /// Equal to any Mapping with the same pairs. Walks all of them.
    fn __eq__<'py>(this: &Bound<'py, Self>, other: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyAny>> {
        let items = || View::all(Source::Snapshot(this.clone().unbind()), What::Items).walk(this.py(), false);
        equal(this.as_any(), items, other)
    }

    fn __reduce__(&self) -> PyResult<()> {
        Err(PyTypeError::new_err(
            "a kvs.Snapshot cannot be pickled or copied: send what was read from it, such as dict(snapshot)",
        ))
    }

    fn __repr__(&self, py: Python<'_>) -> PyResult<String> {
        let state = match self.closed(py) {
            Ok(true) => "closed",
            Ok(false) => "open",
            Err(_) => "of the parent process",
        };
        Ok(format!("<kvs.Snapshot of {}, {state}>", self.db.bind(py).repr()?))
    }
}
