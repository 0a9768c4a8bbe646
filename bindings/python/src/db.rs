//! `kvs.DB`: an open store.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering, fence};
use std::sync::{Mutex, PoisonError};

use engine::{Durability, ErrorKind};
use pyo3::exceptions::{PyKeyError, PyTypeError};
use pyo3::prelude::*;
use pyo3::types::{PyBool, PyBytes, PyDict, PyList, PyMapping};

use crate::batch::{self, Batch, LikeDict};
use crate::bytes::{Bytes, make_resident, to_python};
use crate::call;
use crate::errors::{self, Class};
use crate::fork::Guarded;
use crate::read::{self, Range};
use crate::snapshot::Snapshot;
use crate::view::{Select, Source, View, ViewIterator, What};

/// An open store: a MutableMapping from bytes to bytes, in key order.
///
/// Made by kvs.open(). Safe to use from any number of threads; every call into the engine releases the GIL. Keys and
/// values are bytes-like objects, what comes back is bytes.
///
/// >>> with kvs.open(in_memory=True) as db:
/// ...     db[b"b"] = b"2"
/// ...     db[b"a"] = bytearray(b"1")
/// ...     db[b"a"], b"z" in db, len(db), list(db)
/// (b'1', False, 2, [b'a', b'b'])
#[pyclass(frozen, weakref, module = "kvs", name = "DB")]
pub struct Db {
    engine: Guarded<engine::Db>,
    /// What the caller gave, as `str` or `bytes`; `None` in memory.
    path: Option<Py<PyAny>>,
    /// Relaxed: it answers `closed`, and guards nothing; whether a call succeeds is up to the engine.
    closed: AtomicBool,
    /// Makes calls that read and then write happen one at a time. Taken without the GIL only: a holder may be waiting
    /// for the disk.
    read_then_write: Mutex<()>,
    /// How often the program itself has called `interrupt`. The engine is interrupted by Ctrl-C too, and then only the call in
    /// the main thread is meant.
    interrupts: AtomicU64,
}

impl Db {
    pub fn new(engine: engine::Db, path: Option<Py<PyAny>>) -> Db {
        Db {
            engine: Guarded::new(engine),
            path,
            closed: AtomicBool::new(false),
            read_then_write: Mutex::new(()),
            interrupts: AtomicU64::new(0),
        }
    }

    pub fn engine(&self) -> PyResult<&engine::Db> {
        self.engine.get()
    }

    pub fn is_forked(&self) -> bool {
        self.engine.is_forked()
    }

    /// What `sync=` asks for.
    fn durability(&self, sync: Option<bool>) -> PyResult<Durability> {
        let usual = self.engine()?.options().durability;
        Ok(match sync {
            None => usual,
            Some(true) => Durability::Sync,
            Some(false) if usual == Durability::Sync => Durability::Process,
            Some(false) => usual,
        })
    }

    /// Runs a write without the GIL.
    pub fn write<T: Send>(
        &self,
        py: Python<'_>,
        call: impl Fn(&engine::Db) -> engine::Result<T> + Sync,
    ) -> PyResult<T> {
        let engine = self.engine()?;
        call::run(py, || self.undisturbed(|| false, || call(engine)))
    }

    /// Runs `call` while no other thread is in here, without the GIL.
    fn exclusively<T: Send>(
        &self,
        py: Python<'_>,
        call: impl Fn(&engine::Db) -> engine::Result<T> + Sync,
    ) -> PyResult<T> {
        self.write(py, |engine| {
            let _alone = self.read_then_write.lock().unwrap_or_else(PoisonError::into_inner);
            call(engine)
        })
    }

    /// Runs a call that may take minutes; Ctrl-C ends it.
    fn long<T: Send>(&self, py: Python<'_>, call: impl Fn(&engine::Db) -> engine::Result<T> + Sync) -> PyResult<T> {
        let engine = self.engine()?;
        let stopped = AtomicBool::new(false);
        let stop = || {
            stopped.store(true, Ordering::Relaxed);
            // With the fence in `undisturbed`: who sees the interrupt sees the flag.
            fence(Ordering::Release);
            engine.interrupt();
        };
        call::interruptible(py, stop, || self.undisturbed(|| stopped.load(Ordering::Relaxed), || call(engine)))
    }

    /// Does `call` again when it was interrupted although that was meant for another one: by Ctrl-C, while the main thread was in
    /// another call on this store. What is interrupted has not happened.
    fn undisturbed<T>(&self, is_meant: impl Fn() -> bool, call: impl Fn() -> engine::Result<T>) -> engine::Result<T> {
        let before = self.interrupts.load(Ordering::Relaxed);
        loop {
            match call() {
                Err(error) if error.kind() == ErrorKind::Interrupted => {
                    fence(Ordering::Acquire);
                    if is_meant() || self.interrupts.load(Ordering::Relaxed) != before {
                        return Err(error);
                    }
                }
                outcome => return outcome,
            }
        }
    }

    /// Closes; what `close`, leaving the `with` block and the exit of the interpreter do.
    pub fn shut(&self, py: Python<'_>) -> PyResult<()> {
        self.closed.store(true, Ordering::Relaxed);
        if self.is_forked() {
            // The files are the parent's.
            return Ok(());
        }
        let engine = self.engine()?;
        call::run(py, move || engine.close())
    }

    fn open_check(&self) -> PyResult<()> {
        self.engine()?;
        if self.closed.load(Ordering::Relaxed) {
            return Err(errors::new(Class::Closed, "the store is closed; open it again"));
        }
        Ok(())
    }
}

/// The argument `default` of `pop`, where `None` is a value like any other.
enum Default<'py> {
    Missing,
    Given(Bound<'py, PyAny>),
}

impl<'py> FromPyObject<'_, 'py> for Default<'py> {
    type Error = PyErr;

    fn extract(object: Borrowed<'_, 'py, PyAny>) -> PyResult<Default<'py>> {
        Ok(Default::Given(object.to_owned()))
    }
}

#[pymethods]
impl Db {
    /// The value of key, or default if there is none.
    ///
    /// >>> with kvs.open(in_memory=True) as db:
    /// ...     db.get(b"k"), db.get(b"k", b"nothing")
    /// (None, b'nothing')
    #[pyo3(signature = (key, default = None))]
    fn get<'py>(
        &self,
        py: Python<'py>,
        key: Bytes<'py>,
        default: Option<Bound<'py, PyAny>>,
    ) -> PyResult<Option<Bound<'py, PyAny>>> {
        Ok(read::get(py, self.engine()?, &key)?.map(Bound::into_any).or(default))
    }

    /// The values of keys, in their order and from one point in time; default for those that are missing.
    ///
    /// Much cheaper than one get for each.
    ///
    /// >>> with kvs.open(in_memory=True) as db:
    /// ...     db[b"a"] = b"1"
    /// ...     db.get_many([b"a", b"b"])
    /// [b'1', None]
    #[pyo3(signature = (keys, default = None))]
    fn get_many<'py>(
        &self,
        py: Python<'py>,
        keys: &Bound<'py, PyAny>,
        default: Option<Bound<'py, PyAny>>,
    ) -> PyResult<Bound<'py, PyList>> {
        read::get_many(py, self.engine()?, keys, default)
    }

    /// The value of key as a read-only memoryview of where it lies, without a copy; KeyError if there is none.
    ///
    /// It stays valid and unchanged whatever happens to the key and to the store, close included, until it is released: by
    /// leaving the with block, by release(), or with its last reference. Until then it keeps the file that it lies in, so do not
    /// keep many.
    ///
    /// >>> with kvs.open(in_memory=True) as db:
    /// ...     db[b"k"] = b"a long value"
    /// ...     with db.get_view(b"k") as view:
    /// ...         del db[b"k"]
    /// ...         bytes(view[2:6]), view.readonly
    /// (b'long', True)
    fn get_view<'py>(&self, py: Python<'py>, key: Bytes<'py>) -> PyResult<Bound<'py, PyAny>> {
        read::get_view(py, self.engine()?, key)
    }

    /// Sets key to value.
    ///
    /// sync=True returns once the write, and all before it, survive power loss; sync=False does not wait for the disk;
    /// None is what the store was opened with.
    ///
    /// >>> with kvs.open(in_memory=True) as db:
    /// ...     db.put(b"k", b"v", sync=True)
    #[pyo3(signature = (key, value, *, sync = None))]
    fn put(&self, py: Python<'_>, key: Bytes<'_>, value: Bytes<'_>, sync: Option<bool>) -> PyResult<()> {
        let durability = self.durability(sync)?;
        let (key, value) = (key.as_slice(), value.as_slice());
        self.write(py, move |engine| engine.put_with(key, value, durability))
    }

    /// Removes key, whether it is there or not. sync as in put.
    ///
    /// >>> with kvs.open(in_memory=True) as db:
    /// ...     db.delete(b"never there")
    #[pyo3(signature = (key, *, sync = None))]
    fn delete(&self, py: Python<'_>, key: Bytes<'_>, sync: Option<bool>) -> PyResult<()> {
        let durability = self.durability(sync)?;
        let key = key.as_slice();
        self.write(py, move |engine| engine.delete_with(key, durability))
    }

    /// Removes every key between start (included) and stop (excluded), whether there are any or not: one write, however
    /// many keys those are. None is no bound. sync as in put.
    ///
    /// >>> with kvs.open(in_memory=True) as db:
    /// ...     db.update({b"a": b"1", b"b": b"2", b"c": b"3"})
    /// ...     db.delete_range(b"a", b"c")
    /// ...     list(db)
    /// [b'c']
    #[pyo3(signature = (start = None, stop = None, *, sync = None))]
    fn delete_range(
        &self,
        py: Python<'_>,
        start: Option<Bytes<'_>>,
        stop: Option<Bytes<'_>>,
        sync: Option<bool>,
    ) -> PyResult<()> {
        let durability = self.durability(sync)?;
        let range = read::range(&start, &stop);
        self.write(py, move |engine| {
            let mut batch = engine::Batch::new();
            batch.delete_range::<&[u8]>(range);
            engine.write_with(&batch, durability)
        })
    }

    /// Writes all pairs of a mapping or of an iterable: all of them or, after an error, none. sync as in put.
    ///
    /// >>> with kvs.open(in_memory=True) as db:
    /// ...     db.put_many((b"%d" % n, b"x") for n in range(3))
    /// ...     list(db)
    /// [b'0', b'1', b'2']
    #[pyo3(signature = (items, *, sync = None))]
    fn put_many(&self, py: Python<'_>, items: &Bound<'_, PyAny>, sync: Option<bool>) -> PyResult<()> {
        let durability = self.durability(sync)?;
        let batch = batch::of_items(items, LikeDict(false))?;
        self.write(py, move |engine| engine.write_with(&batch, durability))
    }

    /// Removes key and returns its value, or default; without a default a missing key is a KeyError.
    ///
    /// Of several threads that pop a key, one gets it. pop, popitem, setdefault and del exclude each other, but not a
    /// put or a delete at the same moment.
    ///
    /// >>> with kvs.open(in_memory=True) as db:
    /// ...     db[b"k"] = b"v"
    /// ...     db.pop(b"k"), db.pop(b"k", None)
    /// (b'v', None)
    #[pyo3(signature = (key, default = Default::Missing))]
    fn pop<'py>(&self, py: Python<'py>, key: Bytes<'py>, default: Default<'py>) -> PyResult<Bound<'py, PyAny>> {
        let slice = key.as_slice();
        let found = self.exclusively(py, move |engine| {
            let found = engine.get(slice)?;
            if let Some(value) = &found {
                make_resident(value);
                engine.delete(slice)?;
            }
            Ok(found)
        })?;
        match (found, default) {
            (Some(value), _) => Ok(to_python(py, &value)?.into_any()),
            (None, Default::Given(default)) => Ok(default),
            (None, Default::Missing) => Err(PyKeyError::new_err(key.into_bound().unbind())),
        }
    }

    /// Removes the first pair and returns it; KeyError if there is none. See pop about threads.
    ///
    /// >>> with kvs.open(in_memory=True) as db:
    /// ...     db.update({b"b": b"2", b"a": b"1"})
    /// ...     db.popitem()
    /// (b'a', b'1')
    fn popitem<'py>(&self, py: Python<'py>) -> PyResult<(Bound<'py, PyBytes>, Bound<'py, PyBytes>)> {
        let found = self.exclusively(py, |engine| {
            let Some(first) = engine.iter()?.next() else { return Ok(None) };
            let (key, value) = first?;
            make_resident(&value);
            engine.delete(&key)?;
            Ok(Some((key, value)))
        })?;
        let (key, value) = found.ok_or_else(|| PyKeyError::new_err("popitem(): the store is empty"))?;
        Ok((to_python(py, &key)?, to_python(py, &value)?))
    }

    /// The value of key; if there is none, default, which is written. See pop about threads.
    ///
    /// >>> with kvs.open(in_memory=True) as db:
    /// ...     db.setdefault(b"k", b"first"), db.setdefault(b"k", b"second")
    /// (b'first', b'first')
    fn setdefault<'py>(&self, py: Python<'py>, key: Bytes<'py>, default: Bytes<'py>) -> PyResult<Bound<'py, PyBytes>> {
        let (slice, value) = (key.as_slice(), default.as_slice());
        let found = self.exclusively(py, move |engine| {
            let found = engine.get(slice)?;
            match &found {
                Some(value) => make_resident(value),
                None => engine.put(slice, value)?,
            }
            Ok(found)
        })?;
        match found {
            Some(value) => to_python(py, &value),
            None => default.into_exact(),
        }
    }

    /// put_many under the name that a dict has for it, with the errors that a dict has. Names of keywords are text, so none is a
    /// key.
    ///
    /// >>> with kvs.open(in_memory=True) as db:
    /// ...     db.update({b"a": b"1"})
    #[pyo3(signature = (items = None, /, **names))]
    fn update(
        &self,
        py: Python<'_>,
        items: Option<&Bound<'_, PyAny>>,
        names: Option<&Bound<'_, PyDict>>,
    ) -> PyResult<()> {
        let durability = self.durability(None)?;
        if names.is_some_and(|names| !names.is_empty()) {
            return Err(PyTypeError::new_err(
                "update() takes no keyword arguments: their names are str and keys are bytes; pass {b\"name\": value}",
            ));
        }
        let batch = match items {
            Some(items) => batch::of_items(items, LikeDict(true))?,
            None => engine::Batch::new(),
        };
        self.write(py, move |engine| engine.write_with(&batch, durability))
    }

    /// Removes every key that is there when it is called. Not atomic: it goes in steps.
    ///
    /// >>> with kvs.open(in_memory=True) as db:
    /// ...     db[b"a"] = b"1"
    /// ...     db.clear()
    /// ...     bool(db)
    /// False
    fn clear(&self, py: Python<'_>) -> PyResult<()> {
        /// Keys a step: then signals are looked at.
        const CHUNK: usize = 4096;
        let engine = self.engine()?;
        let mut iter = call::run(py, move || engine.iter())?;
        loop {
            let step = &mut iter;
            let removed = call::run(py, move || {
                let mut batch = engine::Batch::new();
                while batch.len() < CHUNK && step.move_next()? {
                    batch.delete(step.key());
                }
                self.undisturbed(|| false, || engine.write(&batch))?;
                Ok(batch.len())
            })?;
            if removed < CHUNK {
                return Ok(());
            }
            py.check_signals()?;
        }
    }

    /// The pairs in key order: a lazy view that can be iterated over again and again.
    ///
    /// Of the keys that begin with prefix and lie between start (included) and stop (excluded); reverse=True begins with the
    /// last; at most limit. zero_copy=True gives the values as memoryviews, each as get_view does: it holds what it shows until
    /// it is released, so do not keep many.
    ///
    /// >>> with kvs.open(in_memory=True) as db:
    /// ...     db.update({b"a1": b"x", b"a2": b"y", b"b1": b"z"})
    /// ...     list(db.items(b"a", reverse=True)), list(db.items(start=b"a2", limit=1))
    /// ([(b'a2', b'y'), (b'a1', b'x')], [(b'a2', b'y')])
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
        View::new(Source::Db(this), What::Items, Select { prefix, start, stop, reverse, limit, zero_copy })
    }

    /// The keys in order. Arguments as for items.
    ///
    /// >>> with kvs.open(in_memory=True) as db:
    /// ...     db.update({b"a": b"1", b"b": b"2"})
    /// ...     list(db.keys(start=b"b"))
    /// [b'b']
    #[pyo3(signature = (prefix = None, *, start = None, stop = None, reverse = false, limit = None))]
    fn keys<'py>(
        this: Py<Self>,
        prefix: Option<Bytes<'py>>,
        start: Option<Bytes<'py>>,
        stop: Option<Bytes<'py>>,
        reverse: bool,
        limit: Option<i64>,
    ) -> PyResult<View> {
        View::new(Source::Db(this), What::Keys, Select { prefix, start, stop, reverse, limit, zero_copy: false })
    }

    /// The values in the order of their keys. Arguments as for items.
    ///
    /// >>> with kvs.open(in_memory=True) as db:
    /// ...     db.update({b"a": b"1", b"b": b"2"})
    /// ...     list(db.values(reverse=True)), sum(len(view) for view in db.values(zero_copy=True))
    /// ([b'2', b'1'], 2)
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
        View::new(Source::Db(this), What::Values, Select { prefix, start, stop, reverse, limit, zero_copy })
    }

    /// Collects writes that become visible, and survive, together: see Batch. sync as in put.
    ///
    /// >>> with kvs.open(in_memory=True) as db:
    /// ...     with db.batch() as batch:
    /// ...         batch[b"k"] = b"v"
    /// ...     db[b"k"]
    /// b'v'
    #[pyo3(signature = (sync = None))]
    fn batch(this: Bound<'_, Self>, sync: Option<bool>) -> PyResult<Batch> {
        this.get().open_check()?;
        let durability = this.get().durability(sync)?;
        Ok(Batch::new(this.unbind(), durability))
    }

    /// The store as it is now, unchanging: see Snapshot.
    ///
    /// >>> with kvs.open(in_memory=True) as db, db.snapshot() as snapshot:
    /// ...     db[b"k"] = b"v"
    /// ...     b"k" in snapshot
    /// False
    fn snapshot(this: Bound<'_, Self>) -> PyResult<Snapshot> {
        let engine = this.get().engine()?;
        let snapshot = call::run(this.py(), move || engine.snapshot())?;
        Ok(Snapshot::new(snapshot, this.unbind()))
    }

    /// Returns once every write that was acknowledged before the call survives power loss.
    ///
    /// >>> with kvs.open(in_memory=True) as db:
    /// ...     db[b"k"] = b"v"
    /// ...     db.sync()
    fn sync(&self, py: Python<'_>) -> PyResult<()> {
        let engine = self.engine()?;
        call::run(py, move || engine.sync())
    }

    /// Returns once every write that was acknowledged before the call is in tables, and so survives power loss.
    ///
    /// The store does this by itself when there is enough to flush. For durability alone sync is cheaper.
    ///
    /// >>> with kvs.open(in_memory=True) as db:
    /// ...     db[b"k"] = b"v"
    /// ...     db.flush()
    /// ...     db.stats()["tables"]
    /// 1
    fn flush(&self, py: Python<'_>) -> PyResult<()> {
        self.long(py, engine::Db::flush)
    }

    /// Flushes, and merges all tables with keys between start (included) and stop (excluded): what was overwritten or
    /// deleted there gives its space back, but for what snapshots see. None is no bound.
    ///
    /// The store merges by itself when there is need; this does all of it at once, and waits.
    ///
    /// >>> with kvs.open(in_memory=True) as db:
    /// ...     for _ in range(3):
    /// ...         db[b"k"] = b"v"
    /// ...         db.flush()
    /// ...     db.compact()
    /// ...     db.stats()["tables"]
    /// 1
    #[pyo3(signature = (start = None, stop = None))]
    fn compact(&self, py: Python<'_>, start: Option<Bytes<'_>>, stop: Option<Bytes<'_>>) -> PyResult<()> {
        let range = read::range(&start, &stop);
        self.long(py, move |engine| engine.compact::<&[u8]>(range))
    }

    /// What the store counts about itself, by name.
    ///
    /// >>> with kvs.open(in_memory=True) as db:
    /// ...     type(db.stats())
    /// <class 'dict'>
    fn stats<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        self.open_check()?;
        let engine = self.engine()?;
        let text = call::detached(py, move || engine.stats().to_json())?;
        Ok(py.import("json")?.call_method1("loads", (text,))?.cast_into()?)
    }

    /// One of the numbers of stats(), by its name.
    ///
    /// >>> with kvs.open(in_memory=True) as db:
    /// ...     db[b"k"] = b"v"
    /// ...     db.property("writes"), db.property("write_amplification") > 1
    /// (1, True)
    fn property<'py>(&self, py: Python<'py>, name: &str) -> PyResult<Bound<'py, PyAny>> {
        let stats = self.stats(py)?;
        if let Some(number) = stats.get_item(name)? {
            return Ok(number);
        }
        let message = format!(
            "there is no property {name:?}; known are {}",
            stats.keys().iter().map(|k| k.to_string()).collect::<Vec<_>>().join(", ")
        );
        Err(errors::new(Class::InvalidArgument, &message))
    }

    /// About how many keys there are, without looking at them: len(db) counts, and takes its time.
    ///
    /// Deleted keys count until a merge has removed them. With less memory than the index needs, keys of old tables do not count.
    ///
    /// >>> with kvs.open(in_memory=True) as db:
    /// ...     db.update({b"a": b"1", b"b": b"2"})
    /// ...     db.approximate_len
    /// 2
    #[getter]
    fn approximate_len(&self, py: Python<'_>) -> PyResult<u64> {
        self.open_check()?;
        let engine = self.engine()?;
        call::detached(py, move || engine.stats().index_keys)
    }

    /// Reads every byte of the store and checks it; damage is a CorruptionError with path and offset.
    ///
    /// Returns how many files, records and bytes were checked.
    ///
    /// >>> with kvs.open(in_memory=True) as db:
    /// ...     sorted(db.verify())
    /// ['bytes', 'files', 'records']
    fn verify<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        let verified = self.long(py, engine::Db::verify)?;
        let answer = PyDict::new(py);
        answer.set_item("files", verified.files)?;
        answer.set_item("records", verified.records)?;
        answer.set_item("bytes", verified.bytes)?;
        Ok(answer)
    }

    /// Ends what runs on the store now, in other threads, and takes long or waits: verify, compact, flush, and writes that wait
    /// for room.
    ///
    /// They raise InterruptedError as soon as they notice. Such a write has not happened; what compact has done by then stays
    /// done. What begins later is not concerned. Ctrl-C does the same, for the call that the main thread is in.
    ///
    /// >>> with kvs.open(in_memory=True) as db:
    /// ...     db.interrupt()      # Nothing was under way.
    /// ...     db.flush()
    fn interrupt(&self, py: Python<'_>) -> PyResult<()> {
        self.open_check()?;
        let engine = self.engine()?;
        self.interrupts.fetch_add(1, Ordering::Relaxed);
        // With the fence in `undisturbed`: who sees the interrupt sees the number.
        fence(Ordering::Release);
        call::detached(py, move || engine.interrupt())
    }

    /// Closes the store. May be called twice; later calls of anything else raise ClosedError.
    ///
    /// Leaving the with block does it, and so does the exit of the interpreter. In a child of os.fork() it does
    /// nothing: the store is the parent's.
    ///
    /// >>> db = kvs.open(in_memory=True)
    /// >>> db.close()
    /// >>> db.closed
    /// True
    fn close(&self, py: Python<'_>) -> PyResult<()> {
        self.shut(py)
    }

    /// Has it been closed?
    #[getter]
    fn closed(&self) -> bool {
        self.closed.load(Ordering::Relaxed)
    }

    /// The path it was opened with, str or bytes as it was given; None for a store in memory.
    #[getter]
    fn path(&self, py: Python<'_>) -> Option<Py<PyAny>> {
        self.path.as_ref().map(|path| path.clone_ref(py))
    }

    fn __enter__(this: Bound<'_, Self>) -> PyResult<Bound<'_, Self>> {
        this.get().open_check()?;
        Ok(this)
    }

    #[pyo3(signature = (*_exc_info))]
    fn __exit__(&self, py: Python<'_>, _exc_info: &Bound<'_, PyAny>) -> PyResult<()> {
        self.shut(py)
    }

    fn __getitem__<'py>(&self, py: Python<'py>, key: Bytes<'py>) -> PyResult<Bound<'py, PyBytes>> {
        read::get(py, self.engine()?, &key)?.ok_or_else(|| PyKeyError::new_err(key.into_bound().unbind()))
    }

    fn __setitem__(&self, py: Python<'_>, key: Bytes<'_>, value: Bytes<'_>) -> PyResult<()> {
        self.put(py, key, value, None)
    }

    /// Removes key; KeyError if it is not there. See pop about threads.
    fn __delitem__<'py>(&self, py: Python<'py>, key: Bytes<'py>) -> PyResult<()> {
        let slice = key.as_slice();
        let found = self.exclusively(py, move |engine| {
            let found = engine.contains(slice)?;
            if found {
                engine.delete(slice)?;
            }
            Ok(found)
        })?;
        if found { Ok(()) } else { Err(PyKeyError::new_err(key.into_bound().unbind())) }
    }

    fn __contains__<'py>(&self, py: Python<'py>, key: Bytes<'py>) -> PyResult<bool> {
        read::contains(py, self.engine()?, &key)
    }

    /// The exact number of keys: walks all of them.
    fn __len__(&self, py: Python<'_>) -> PyResult<usize> {
        read::count(py, self.engine()?, &Range::default(), u64::MAX)
    }

    /// Is there any key? Looks at one only.
    fn __bool__(&self, py: Python<'_>) -> PyResult<bool> {
        Ok(read::count(py, self.engine()?, &Range::default(), 1)? > 0)
    }

    fn __iter__(this: Bound<'_, Self>) -> PyResult<ViewIterator> {
        let py = this.py();
        View::all(Source::Db(this.unbind()), What::Keys).walk(py, false)
    }

    fn __reversed__(this: Bound<'_, Self>) -> PyResult<ViewIterator> {
        let py = this.py();
        View::all(Source::Db(this.unbind()), What::Keys).walk(py, true)
    }

    /// Equal to any Mapping with the same pairs, as a dict is. Walks all of them.
    fn __eq__<'py>(this: &Bound<'py, Self>, other: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyAny>> {
        let items = || View::all(Source::Db(this.clone().unbind()), What::Items).walk(this.py(), false);
        equal(this.as_any(), items, other)
    }

    fn __reduce__(&self) -> PyResult<()> {
        Err(PyTypeError::new_err(
            "a kvs.DB cannot be pickled or copied: send its path, and open the store where it is used \
             (one process at a time, or several with read_only=True)",
        ))
    }

    /// What a notebook shows: path, state and the numbers of stats().
    fn _repr_html_<'py>(this: &Bound<'py, Self>) -> PyResult<Bound<'py, PyAny>> {
        this.py().import("kvs._html")?.getattr("of_store")?.call1((this,))
    }

    fn __repr__(&self, py: Python<'_>) -> PyResult<String> {
        let state = match (self.is_forked(), self.closed()) {
            (true, _) => "of the parent process".to_owned(),
            (false, true) => "closed".to_owned(),
            (false, false) => {
                let engine = self.engine()?;
                let stats = call::detached(py, move || engine.stats())?;
                format!("open, {}", human(stats.table_bytes + stats.log_bytes))
            }
        };
        Ok(match &self.path {
            Some(path) => format!("<kvs.DB {}, {state}>", path.bind(py).repr()?),
            None => format!("<kvs.DB in memory, {state}>"),
        })
    }
}

/// A number of bytes for people.
fn human(bytes: u64) -> String {
    let mut number = bytes as f64;
    if bytes < 1000 {
        return format!("{bytes} B");
    }
    let mut units = ["KiB", "MiB", "GiB"].into_iter();
    number /= 1024.0;
    while number >= 1000.0
        && let Some(_) = units.next()
    {
        number /= 1024.0;
    }
    format!("{number:.1} {}", units.next().unwrap_or("TiB"))
}

/// `this == other` for mappings: the same pairs. Anything that is no mapping is for the other side to judge.
pub fn equal<'py>(
    this: &Bound<'py, PyAny>,
    items: impl FnOnce() -> PyResult<ViewIterator>,
    other: &Bound<'py, PyAny>,
) -> PyResult<Bound<'py, PyAny>> {
    let py = this.py();
    let answer = |same: bool| Ok(PyBool::new(py, same).to_owned().into_any());
    if this.is(other) {
        return answer(true);
    }
    if other.cast::<PyMapping>().is_err() {
        return Ok(py.NotImplemented().into_bound(py));
    }
    // Equal to no value.
    let missing = py.import("builtins")?.getattr("object")?.call0()?;
    let items = items()?;
    let mut walked = 0;
    while let Some(pair) = items.__next__(py)? {
        let (key, value): (Bound<'py, PyAny>, Bound<'py, PyAny>) = pair.extract()?;
        let found = other.call_method1("get", (key, &missing))?;
        if !found.eq(value)? {
            return answer(false);
        }
        walked += 1;
    }
    answer(other.len()? == walked)
}
