//! `kvs.Batch`: writes that happen together or not at all.

use std::sync::{Mutex, PoisonError};

use engine::Durability;
use pyo3::exceptions::{PyTypeError, PyValueError};
use pyo3::prelude::*;
use pyo3::sync::MutexExt;
use pyo3::types::{PyDict, PyTuple};

use crate::bytes::Bytes;
use crate::db::Db;
use crate::errors::{self, Class};
use crate::read;
use crate::snapshot::Snapshot;

/// Writes that become visible, and survive, together or not at all.
///
/// Made by DB.batch(). Leaving the with block writes it; leaving it by an exception discards it. Nothing of it can be
/// read before. A later write to the same key wins. Size limits are checked when it is written.
///
/// >>> with kvs.open(in_memory=True) as db:
/// ...     with db.batch() as batch:
/// ...         batch.put(b"from", b"90")
/// ...         batch[b"to"] = b"110"
/// ...         batch.delete(b"pending")
/// ...         len(batch), len(db)
/// ...     dict(db)
/// (3, 0)
/// {b'from': b'90', b'to': b'110'}
#[pyclass(frozen, module = "kvs")]
pub struct Batch {
    db: Py<Db>,
    durability: Durability,
    /// `None`: written or discarded. The lock is held for a copy in memory only.
    pending: Mutex<Option<engine::Batch>>,
}

impl Batch {
    pub fn new(db: Py<Db>, durability: Durability) -> Batch {
        Batch { db, durability, pending: Mutex::new(Some(engine::Batch::new())) }
    }

    fn change<T>(&self, py: Python<'_>, change: impl FnOnce(&mut engine::Batch) -> T) -> PyResult<T> {
        // The lock may have been held by a thread that a fork left behind.
        self.db.get().engine()?;
        match &mut *self.pending.lock_py_attached(py).unwrap_or_else(PoisonError::into_inner) {
            Some(batch) => Ok(change(batch)),
            None => Err(finished()),
        }
    }
}

#[cold]
fn finished() -> PyErr {
    errors::new(Class::InvalidArgument, "the batch is already written or discarded; make another with DB.batch()")
}

#[pymethods]
impl Batch {
    /// Sets key to value.
    fn put(&self, py: Python<'_>, key: Bytes<'_>, value: Bytes<'_>) -> PyResult<()> {
        self.change(py, |batch| {
            batch.put(key.as_slice(), value.as_slice());
        })
    }

    /// Removes key, whether it is there or not.
    fn delete(&self, py: Python<'_>, key: Bytes<'_>) -> PyResult<()> {
        self.change(py, |batch| {
            batch.delete(key.as_slice());
        })
    }

    /// Removes every key between start (included) and stop (excluded), whether there are any or not; None is no bound.
    ///
    /// What the batch wrote there before is removed too, what it writes there later is not.
    #[pyo3(signature = (start = None, stop = None))]
    fn delete_range(&self, py: Python<'_>, start: Option<Bytes<'_>>, stop: Option<Bytes<'_>>) -> PyResult<()> {
        self.change(py, |batch| {
            batch.delete_range::<&[u8]>(read::range(&start, &stop));
        })
    }

    fn __setitem__(&self, py: Python<'_>, key: Bytes<'_>, value: Bytes<'_>) -> PyResult<()> {
        self.put(py, key, value)
    }

    /// Removes key, whether it is there or not: a batch reads nothing, so it raises no KeyError.
    fn __delitem__(&self, py: Python<'_>, key: Bytes<'_>) -> PyResult<()> {
        self.delete(py, key)
    }

    /// How many writes it holds.
    fn __len__(&self, py: Python<'_>) -> PyResult<usize> {
        self.change(py, |batch| batch.len())
    }

    fn __enter__(this: Bound<'_, Self>) -> PyResult<Bound<'_, Self>> {
        this.get().change(this.py(), |_| ())?;
        Ok(this)
    }

    fn __exit__(
        &self,
        py: Python<'_>,
        exc_type: &Bound<'_, PyAny>,
        _exc: &Bound<'_, PyAny>,
        _traceback: &Bound<'_, PyAny>,
    ) -> PyResult<()> {
        if !exc_type.is_none() && self.db.get().is_forked() {
            // The exception that is on its way says more than ours would.
            return Ok(());
        }
        let db = self.db.get();
        db.engine()?;
        let taken = self.pending.lock_py_attached(py).unwrap_or_else(PoisonError::into_inner).take();
        if !exc_type.is_none() {
            return Ok(());
        }
        let (batch, durability) = (taken.ok_or_else(finished)?, self.durability);
        db.write(py, move |engine| engine.write_with(&batch, durability))
    }

    fn __reduce__(&self) -> PyResult<()> {
        Err(PyTypeError::new_err("a kvs.Batch cannot be pickled or copied: it belongs to one open store"))
    }

    fn __repr__(&self, py: Python<'_>) -> String {
        match self.__len__(py) {
            Ok(len) => format!("<kvs.Batch of {len} writes>"),
            Err(_) => "<kvs.Batch, finished>".to_owned(),
        }
    }
}

/// Is a pair of the wrong length a `ValueError`, as `dict.update` has it?
#[derive(Clone, Copy)]
pub struct LikeDict(pub bool);

/// A batch of puts from a mapping or from an iterable of pairs.
pub fn of_items(items: &Bound<'_, PyAny>, like_dict: LikeDict) -> PyResult<engine::Batch> {
    /// Pairs between looks at signals.
    const CHUNK: usize = 4096;
    let py = items.py();
    let mut batch = engine::Batch::new();
    // A store may change between its keys and their values; its items are of one point in time.
    let has_items =
        items.is_instance_of::<PyDict>() || items.is_instance_of::<Db>() || items.is_instance_of::<Snapshot>();
    if has_items || !items.hasattr("keys")? {
        let pairs = if has_items { items.call_method0("items")? } else { items.clone() };
        for (at, pair) in pairs.try_iter()?.enumerate() {
            let (key, value) = split(&pair?, at, like_dict)?;
            batch.put(key.as_slice(), value.as_slice());
            if at % CHUNK == CHUNK - 1 {
                py.check_signals()?;
            }
        }
    } else {
        for (at, key) in items.call_method0("keys")?.try_iter()?.enumerate() {
            let key = key?;
            let value: Bytes<'_> = items.get_item(&key)?.extract()?;
            batch.put(key.extract::<Bytes<'_>>()?.as_slice(), value.as_slice());
            if at % CHUNK == CHUNK - 1 {
                py.check_signals()?;
            }
        }
    }
    Ok(batch)
}

fn split<'py>(pair: &Bound<'py, PyAny>, at: usize, like_dict: LikeDict) -> PyResult<(Bytes<'py>, Bytes<'py>)> {
    let wrong = |what: &str| PyTypeError::new_err(format!("item {at} is {what}, expected a pair of key and value"));
    let pair = match pair.cast::<PyTuple>() {
        Ok(tuple) => tuple.clone(),
        Err(_) => {
            let Ok(items) = pair.try_iter() else { return Err(wrong("no sequence")) };
            PyTuple::new(pair.py(), items.collect::<PyResult<Vec<_>>>()?)?
        }
    };
    if pair.len() != 2 {
        let wrong = wrong(&format!("of length {}", pair.len()));
        return Err(if like_dict.0 { PyValueError::new_err(wrong.value(pair.py()).str()?.unbind()) } else { wrong });
    }
    Ok((pair.get_item(0)?.extract()?, pair.get_item(1)?.extract()?))
}
