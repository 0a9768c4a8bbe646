//! `items`, `keys` and `values`: lazy views, and the iterators that walk them.
//!
//! An iterator crosses into the engine once for 64 to 1024 entries (or about 64 KiB), without the GIL, and hands
//! them out without another crossing:
//!
//! 1. A small entry is copied into a buffer when it is read, a large one is pinned ([`Ready`]). Copying twice what fits into a
//!    few cache lines costs less than pinning and unpinning it (`docs/decisions/0015-python-copies.md`).
//! 2. `__next__` takes one entry under the lock. Of a small one it makes `bytes` there and then: they are not tracked by the
//!    garbage collector. It lets go of the lock before it makes anything else, since that can run the collector, and the
//!    collector can call this iterator again.
//! 3. If the queue is empty it looks at signals (`list(view)` has no other chance to), locks, and fills it.
//! 4. An error in the middle of a filling is kept until what came before it is handed out; then it is final.
//! 5. `seek` throws away what was read ahead and moves the engine's iterator, which therefore is let go of only when the end was
//!    handed out, not when it was read.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};

use engine::{Error, Iter, Value};
use pyo3::exceptions::PyTypeError;
use pyo3::prelude::*;
use pyo3::sync::MutexExt;
use pyo3::types::{PyBytes, PyType};

use crate::bytes::{Bytes, make_resident, to_python};
use crate::call;
use crate::db::Db;
use crate::errors::{self, Class};
use crate::fork::Guarded;
use crate::pinned;
use crate::read::{self, Range, Read};
use crate::snapshot::Snapshot;

/// Which half of an entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum What {
    Items,
    Keys,
    Values,
}

/// Where a view reads. Holding the object keeps it from being closed by the garbage collector.
pub enum Source {
    Db(Py<Db>),
    Snapshot(Py<Snapshot>),
}

/// The arguments of `items`, `keys` and `values`.
pub struct Select<'py> {
    pub prefix: Option<Bytes<'py>>,
    pub start: Option<Bytes<'py>>,
    pub stop: Option<Bytes<'py>>,
    pub reverse: bool,
    pub limit: Option<i64>,
    /// Values as memoryviews of where they lie.
    pub zero_copy: bool,
}

/// Entries in key order, read when they are iterated over.
///
/// A view holds no data: each iteration sees the store as it is when it begins, and goes on seeing that whatever is
/// written meanwhile. A view can be iterated over again and again, from several threads too.
///
/// >>> with kvs.open(in_memory=True) as db:
/// ...     db.update({b"a": b"1", b"b": b"2"})
/// ...     view = db.items()
/// ...     db[b"c"] = b"3"
/// ...     list(view), len(view), (b"a", b"1") in view
/// ([(b'a', b'1'), (b'b', b'2'), (b'c', b'3')], 3, True)
#[pyclass(frozen, module = "kvs")]
pub struct View {
    source: Source,
    what: What,
    range: Range,
    reverse: bool,
    /// `None`: all.
    limit: Option<u64>,
    zero_copy: bool,
}

impl View {
    pub fn new(source: Source, what: What, select: Select<'_>) -> PyResult<View> {
        let limit = match select.limit.map(u64::try_from) {
            Some(Err(_)) => return Err(errors::new(Class::InvalidArgument, "limit is negative; None means no limit")),
            Some(Ok(limit)) => Some(limit),
            None => None,
        };
        let [prefix, start, stop] =
            [&select.prefix, &select.start, &select.stop].map(|bytes| bytes.as_ref().map(Bytes::as_slice));
        let range = Range::new(prefix, start, stop);
        Ok(View { source, what, range, reverse: select.reverse, limit, zero_copy: select.zero_copy })
    }

    pub fn all(source: Source, what: What) -> View {
        View { source, what, range: Range::default(), reverse: false, limit: None, zero_copy: false }
    }

    /// An iterator over what the store holds now.
    pub fn walk(&self, py: Python<'_>, reverse: bool) -> PyResult<ViewIterator> {
        fn open(py: Python<'_>, from: impl Read, range: &Range) -> PyResult<Iter> {
            call::run(py, move || from.range(range))
        }
        let iter = match &self.source {
            Source::Db(db) => open(py, db.get().engine()?, &self.range)?,
            Source::Snapshot(snapshot) => open(py, snapshot.get().engine(py)?, &self.range)?,
        };
        let left = self.limit.unwrap_or(u64::MAX);
        let walk = Walk {
            iter: Some(iter),
            ready: Ready::default(),
            stands: false,
            ended: false,
            failed: None,
            left,
            fill: Walk::FILL_MIN,
        };
        let range = self.range.clone();
        let (what, zero_copy) = (self.what, self.zero_copy);
        Ok(ViewIterator { walk: Guarded::new(Mutex::new(walk)), what, zero_copy, reverse, range })
    }

    fn holds<'py>(&self, py: Python<'py>, from: impl Read, item: &Bound<'py, PyAny>) -> PyResult<bool> {
        if self.what == What::Keys {
            let key: Bytes<'py> = item.extract()?;
            return Ok(self.range.contains(key.as_slice()) && read::contains(py, from, &key)?);
        }
        let Ok((key, value)) = item.extract::<(Bytes<'py>, Bytes<'py>)>() else { return Ok(false) };
        if !self.range.contains(key.as_slice()) {
            return Ok(false);
        }
        Ok(read::get(py, from, &key)?.is_some_and(|found| found.as_bytes() == value.as_slice()))
    }
}

#[pymethods]
impl View {
    fn __iter__(&self, py: Python<'_>) -> PyResult<ViewIterator> {
        self.walk(py, self.reverse)
    }

    /// The same entries, last first. A view with a limit cannot be turned round: ask for reverse=True instead.
    fn __reversed__(&self, py: Python<'_>) -> PyResult<ViewIterator> {
        if self.limit.is_some() {
            return Err(PyTypeError::new_err(
                "a view with a limit is not reversible: pass reverse=True to begin at the other end",
            ));
        }
        self.walk(py, !self.reverse)
    }

    /// Counts the entries: walks all of them.
    fn __len__(&self, py: Python<'_>) -> PyResult<usize> {
        let limit = self.limit.unwrap_or(u64::MAX);
        match &self.source {
            Source::Db(db) => read::count(py, db.get().engine()?, &self.range, limit),
            Source::Snapshot(snapshot) => read::count(py, snapshot.get().engine(py)?, &self.range, limit),
        }
    }

    /// Looks at one entry only.
    fn __bool__(&self, py: Python<'_>) -> PyResult<bool> {
        let limit = self.limit.unwrap_or(1).min(1);
        Ok(match &self.source {
            Source::Db(db) => read::count(py, db.get().engine()?, &self.range, limit)?,
            Source::Snapshot(snapshot) => read::count(py, snapshot.get().engine(py)?, &self.range, limit)?,
        } > 0)
    }

    /// One look-up for keys and items; a walk for values, and where there is a limit.
    fn __contains__<'py>(&self, py: Python<'py>, item: &Bound<'py, PyAny>) -> PyResult<bool> {
        if self.what == What::Values || self.limit.is_some() {
            let walk = self.walk(py, self.reverse)?;
            while let Some(entry) = walk.__next__(py)? {
                if entry.eq(item)? {
                    return Ok(true);
                }
            }
            return Ok(false);
        }
        match &self.source {
            Source::Db(db) => self.holds(py, db.get().engine()?, item),
            Source::Snapshot(snapshot) => self.holds(py, snapshot.get().engine(py)?, item),
        }
    }

    /// View[bytes] in annotations.
    #[classmethod]
    fn __class_getitem__<'py>(class: &Bound<'py, PyType>, item: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyAny>> {
        class.py().import("types")?.getattr("GenericAlias")?.call1((class, item))
    }

    fn __repr__(&self, py: Python<'_>) -> PyResult<String> {
        let what = match self.what {
            What::Items => "items",
            What::Keys => "keys",
            What::Values => "values",
        };
        let source = match &self.source {
            Source::Db(db) => db.bind(py).repr()?,
            Source::Snapshot(snapshot) => snapshot.bind(py).repr()?,
        };
        Ok(format!("<kvs.View, {what} of {source}>"))
    }
}

/// One iteration over a view. Threads may share it: each entry goes to one of them.
#[pyclass(frozen, module = "kvs")]
pub struct ViewIterator {
    walk: Guarded<Mutex<Walk>>,
    what: What,
    zero_copy: bool,
    reverse: bool,
    /// What `seek` stays inside of.
    range: Range,
}

/// Where an iteration stands.
struct Walk {
    /// `None`: the end was handed out. Let go of then, since it pins what it reads.
    iter: Option<Iter>,
    ready: Ready,
    /// `iter` stands on an entry that is not in `ready` yet: it was sought.
    stands: bool,
    /// `iter` has nothing more, in its direction.
    ended: bool,
    /// What `iter` met; comes after all of `ready`.
    failed: Option<Error>,
    /// Entries that the limit still allows to be read.
    left: u64,
    /// Entries of the next filling: small first, for those who stop after a few.
    fill: usize,
}

/// Entries that were read and not handed out yet, in order.
#[derive(Default)]
struct Ready {
    /// Bytes of key and value, or of what there is of them, for each entry; [`PINNED`](Ready::PINNED) for those that are in
    /// `pinned`. The first `taken` are gone.
    lengths: Vec<(u32, u32)>,
    taken: usize,
    /// The bytes of the small ones, one after the other. The first `used` are gone.
    bytes: Vec<u8>,
    used: usize,
    pinned: VecDeque<Pinned>,
}

/// A large entry, where it lies.
struct Pinned {
    key: Option<Value>,
    value: Option<Value>,
}

/// An entry on its way out.
enum Entry<'py> {
    /// Key and value, or what there is of them.
    Small(Bound<'py, PyBytes>, Option<Bound<'py, PyBytes>>),
    Large(Pinned),
}

impl Ready {
    /// Up to here entries are copied. Twice the time for so many bytes is about what pinning costs.
    const SMALL: usize = 1024;
    const PINNED: (u32, u32) = (u32::MAX, u32::MAX);

    fn len(&self) -> usize {
        self.lengths.len() - self.taken
    }

    fn clear(&mut self) {
        self.lengths.clear();
        self.bytes.clear();
        self.pinned.clear();
        (self.taken, self.used) = (0, 0);
    }

    /// Copies what `iter` stands on, or pins it. Returns its bytes.
    fn push(&mut self, iter: &Iter, what: What, zero_copy: bool) -> usize {
        let key = if what == What::Values { &[][..] } else { iter.key() };
        let value = if what == What::Keys { &[][..] } else { iter.value() };
        let len = key.len() + value.len();
        if zero_copy || len > Ready::SMALL {
            // What is not copied may never be looked at.
            if !zero_copy {
                make_resident(value);
            }
            let key = if what == What::Values { None } else { iter.key_pinned() };
            let value = if what == What::Keys { None } else { iter.value_pinned() };
            self.pinned.push_back(Pinned { key, value });
            self.lengths.push(Ready::PINNED);
        } else {
            self.bytes.extend_from_slice(key);
            self.bytes.extend_from_slice(value);
            // Both are at most SMALL.
            self.lengths.push((key.len() as u32, value.len() as u32));
        }
        len
    }

    fn pop<'py>(&mut self, py: Python<'py>, what: What) -> Option<Entry<'py>> {
        let lengths = *self.lengths.get(self.taken)?;
        self.taken += 1;
        if lengths == Ready::PINNED {
            return self.pinned.pop_front().map(Entry::Large);
        }
        let middle = self.used + lengths.0 as usize;
        let end = middle + lengths.1 as usize;
        let (key, value) = (self.bytes.get(self.used..middle)?, self.bytes.get(middle..end)?);
        self.used = end;
        Some(match what {
            What::Items => Entry::Small(PyBytes::new(py, key), Some(PyBytes::new(py, value))),
            What::Keys => Entry::Small(PyBytes::new(py, key), None),
            What::Values => Entry::Small(PyBytes::new(py, value), None),
        })
    }
}

impl Walk {
    const FILL_MIN: usize = 64;
    const FILL_MAX: usize = 1024;
    const FILL_BYTES: usize = 64 << 10;

    /// Reads the next entries. Runs without the GIL.
    fn refill(&mut self, what: What, zero_copy: bool, reverse: bool) {
        // Only ever called when it is empty.
        self.ready.clear();
        let mut bytes = 0;
        while self.ready.len() < self.fill && bytes < Walk::FILL_BYTES && self.left > 0 {
            let Some(iter) = &mut self.iter else { return };
            let moved = match (std::mem::take(&mut self.stands), reverse) {
                (true, _) => Ok(true),
                (false, true) => iter.move_prev(),
                (false, false) => iter.move_next(),
            };
            match moved {
                Ok(true) => {}
                Ok(false) => {
                    self.ended = true;
                    return;
                }
                Err(error) => {
                    self.fail(error);
                    return;
                }
            }
            bytes += self.ready.push(iter, what, zero_copy);
            self.left -= 1;
        }
        self.ended |= self.left == 0;
        self.fill = (self.fill * 2).min(Walk::FILL_MAX);
    }

    /// Moves to the first entry at `key` or behind it, in the direction of the walk. Runs without the GIL.
    fn seek(&mut self, key: &[u8], range: &Range, reverse: bool) -> bool {
        let Some(iter) = &mut self.iter else { return false };
        self.left += self.ready.len() as u64;
        self.ready.clear();
        self.fill = Walk::FILL_MIN;
        // Beyond the end at which the walk begins there is nothing to skip.
        let sought = match (reverse, range.low(), range.high()) {
            (false, Some(low), _) if key < low => iter.seek(low),
            (false, ..) => iter.seek(key),
            (true, _, Some(high)) if key >= high => iter.seek_to_last(),
            (true, ..) => iter.seek_for_prev(key),
        };
        match sought {
            Ok(found) => {
                self.stands = found;
                self.ended = !found || self.left == 0;
            }
            Err(error) => self.fail(error),
        }
        !self.ended
    }

    fn fail(&mut self, error: Error) {
        self.failed = Some(error);
        self.iter = None;
        self.ended = true;
    }
}

impl ViewIterator {
    fn lock<'a>(&self, py: Python<'_>, walk: &'a Mutex<Walk>) -> MutexGuard<'a, Walk> {
        // Poison says nothing here: a panicking refill has left whole entries.
        walk.lock_py_attached(py).unwrap_or_else(PoisonError::into_inner)
    }

    fn take<'py>(&self, py: Python<'py>) -> PyResult<Option<Entry<'py>>> {
        let walk = self.walk.get()?;
        if let Some(entry) = self.lock(py, walk).ready.pop(py, self.what) {
            return Ok(Some(entry));
        }
        py.check_signals()?;
        let mut guard = self.lock(py, walk);
        let walk = &mut *guard;
        if walk.ready.len() == 0 && !walk.ended {
            let (what, zero_copy, reverse) = (self.what, self.zero_copy, self.reverse);
            call::detached(py, || walk.refill(what, zero_copy, reverse))?;
        }
        match (walk.ready.pop(py, self.what), &walk.failed) {
            (Some(entry), _) => Ok(Some(entry)),
            (None, None) => {
                let iter = walk.iter.take();
                walk.ready = Ready::default();
                drop(guard);
                call::detached(py, move || drop(iter))?;
                Ok(None)
            }
            (None, Some(error)) => {
                let error = error.clone();
                drop(guard);
                Err(errors::from_engine(py, &error))
            }
        }
    }
}

#[pymethods]
impl ViewIterator {
    /// ViewIterator[bytes] in annotations.
    #[classmethod]
    fn __class_getitem__<'py>(class: &Bound<'py, PyType>, item: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyAny>> {
        class.py().import("types")?.getattr("GenericAlias")?.call1((class, item))
    }

    fn __iter__(this: Py<ViewIterator>) -> Py<ViewIterator> {
        this
    }

    /// Moves to the first entry whose key is at least key; with reverse=True, to the first from the end whose key is at most key.
    ///
    /// Forwards or backwards, inside the range of the view and in the state of the store that the iteration began with. Entries
    /// that are skipped do not count for limit. Returns whether there is an entry; next() gives it. After StopIteration an
    /// iterator has let go of the store: InvalidArgument.
    ///
    /// >>> with kvs.open(in_memory=True) as db:
    /// ...     db.put_many((b"%02d" % n, b"") for n in range(50))
    /// ...     keys = iter(db.keys())
    /// ...     keys.seek(b"30"), next(keys), next(keys), keys.seek(b"07x"), next(keys), keys.seek(b"99")
    /// (True, b'30', b'31', True, b'08', False)
    fn seek(&self, py: Python<'_>, key: Bytes<'_>) -> PyResult<bool> {
        let walk = self.walk.get()?;
        let mut guard = self.lock(py, walk);
        let walk = &mut *guard;
        let key = key.as_slice();
        let found = call::detached(py, || walk.seek(key, &self.range, self.reverse))?;
        if let Some(error) = &walk.failed {
            let error = error.clone();
            drop(guard);
            return Err(errors::from_engine(py, &error));
        }
        if walk.iter.is_none() {
            return Err(errors::new(
                Class::InvalidArgument,
                "the iteration is at its end; begin another with iter(view)",
            ));
        }
        Ok(found)
    }

    pub fn __next__<'py>(&self, py: Python<'py>) -> PyResult<Option<Bound<'py, PyAny>>> {
        let shown = |value: Option<Value>| match value {
            Some(value) if self.zero_copy => pinned::show(py, value),
            Some(value) => Ok(to_python(py, &value)?.into_any()),
            // The iterator has just said that it stands on an entry.
            None => Err(errors::new(Class::Internal, "an entry without a value")),
        };
        let copied = |key: Option<Value>| to_python(py, key.as_deref().unwrap_or_default());
        Ok(Some(match self.take(py)? {
            None => return Ok(None),
            Some(Entry::Small(half, None)) => half.into_any(),
            Some(Entry::Small(key, Some(value))) => (key, value).into_pyobject(py)?.into_any(),
            Some(Entry::Large(Pinned { key, value })) => match self.what {
                What::Items => (copied(key)?, shown(value)?).into_pyobject(py)?.into_any(),
                What::Keys => copied(key)?.into_any(),
                What::Values => shown(value)?,
            },
        }))
    }
}
