//! Reading, the same from a store and from a snapshot.

use std::ops::Bound as End;

use engine::{Iter, Result, Value};
use pyo3::exceptions::PyKeyError;
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyList};

use crate::bytes::{Bytes, make_resident, to_python};
use crate::call;
use crate::pinned;

/// What a store and a snapshot have in common.
pub trait Read: Send {
    fn get(&self, key: &[u8]) -> Result<Option<Value>>;
    fn get_many(&self, keys: &[&[u8]]) -> Result<Vec<Option<Value>>>;
    fn contains(&self, key: &[u8]) -> Result<bool>;
    fn range(&self, range: &Range) -> Result<Iter>;
    /// The same data, unchanging.
    fn fixed(&self) -> Result<engine::Snapshot>;
}

impl Read for &engine::Db {
    fn get(&self, key: &[u8]) -> Result<Option<Value>> {
        engine::Db::get(self, key)
    }
    fn get_many(&self, keys: &[&[u8]]) -> Result<Vec<Option<Value>>> {
        engine::Db::get_many(self, keys)
    }
    fn contains(&self, key: &[u8]) -> Result<bool> {
        engine::Db::contains(self, key)
    }
    fn range(&self, range: &Range) -> Result<Iter> {
        engine::Db::range::<&[u8]>(self, range.bounds())
    }
    fn fixed(&self) -> Result<engine::Snapshot> {
        self.snapshot()
    }
}

impl Read for engine::Snapshot {
    fn get(&self, key: &[u8]) -> Result<Option<Value>> {
        engine::Snapshot::get(self, key)
    }
    fn get_many(&self, keys: &[&[u8]]) -> Result<Vec<Option<Value>>> {
        engine::Snapshot::get_many(self, keys)
    }
    fn contains(&self, key: &[u8]) -> Result<bool> {
        engine::Snapshot::contains(self, key)
    }
    fn range(&self, range: &Range) -> Result<Iter> {
        engine::Snapshot::range::<&[u8]>(self, range.bounds())
    }
    fn fixed(&self) -> Result<engine::Snapshot> {
        Ok(self.clone())
    }
}

/// From `start` (included) to `stop` (excluded), as the engine takes it.
pub fn range<'a>(start: &'a Option<Bytes<'_>>, stop: &'a Option<Bytes<'_>>) -> (End<&'a [u8]>, End<&'a [u8]>) {
    (
        start.as_ref().map_or(End::Unbounded, |start| End::Included(start.as_slice())),
        stop.as_ref().map_or(End::Unbounded, |stop| End::Excluded(stop.as_slice())),
    )
}

/// The keys from `low` (included) to `high` (excluded).
#[derive(Clone, Debug, Default)]
pub struct Range {
    low: Option<Vec<u8>>,
    high: Option<Vec<u8>>,
}

impl Range {
    /// The keys that begin with `prefix` and lie in `start..stop`.
    pub fn new(prefix: Option<&[u8]>, start: Option<&[u8]>, stop: Option<&[u8]>) -> Range {
        let mut range = Range { low: start.map(<[u8]>::to_vec), high: stop.map(<[u8]>::to_vec) };
        if let Some(prefix) = prefix {
            if range.low.as_deref().is_none_or(|low| low < prefix) {
                range.low = Some(prefix.to_vec());
            }
            if let Some(end) = after_prefix(prefix)
                && range.high.as_ref().is_none_or(|high| end < *high)
            {
                range.high = Some(end);
            }
        }
        range
    }

    pub fn contains(&self, key: &[u8]) -> bool {
        self.low.as_deref().is_none_or(|low| low <= key) && self.high.as_deref().is_none_or(|high| key < high)
    }

    /// The first key that may be in it, if there is a bound.
    pub fn low(&self) -> Option<&[u8]> {
        self.low.as_deref()
    }

    /// The first key behind it, if there is a bound.
    pub fn high(&self) -> Option<&[u8]> {
        self.high.as_deref()
    }

    /// As the engine takes it.
    pub fn bounds(&self) -> (End<&[u8]>, End<&[u8]>) {
        (
            self.low.as_deref().map_or(End::Unbounded, End::Included),
            self.high.as_deref().map_or(End::Unbounded, End::Excluded),
        )
    }
}

/// The first key after all that begin with `prefix`; none if they reach to the end (`b""`, `b"\xff"`).
fn after_prefix(prefix: &[u8]) -> Option<Vec<u8>> {
    let last = prefix.iter().rposition(|&byte| byte != u8::MAX)?;
    let mut end = prefix[..=last].to_vec();
    end[last] += 1;
    Some(end)
}

pub fn get<'py>(py: Python<'py>, from: impl Read, key: &Bytes<'py>) -> PyResult<Option<Bound<'py, PyBytes>>> {
    let key = key.as_slice();
    let found = call::run(py, move || {
        let found = from.get(key)?;
        found.as_deref().inspect(|value| make_resident(value));
        Ok(found)
    })?;
    found.map(|value| to_python(py, &value)).transpose()
}

/// A memoryview of the value of `key`, where it lies.
pub fn get_view<'py>(py: Python<'py>, from: impl Read, key: Bytes<'py>) -> PyResult<Bound<'py, PyAny>> {
    let slice = key.as_slice();
    match call::run(py, move || from.get(slice))? {
        Some(value) => pinned::show(py, value),
        None => Err(PyKeyError::new_err(key.into_bound().unbind())),
    }
}

pub fn contains(py: Python<'_>, from: impl Read, key: &Bytes<'_>) -> PyResult<bool> {
    let key = key.as_slice();
    call::run(py, move || from.contains(key))
}

/// The values of `keys` at one point in time, `default` for those that are missing.
pub fn get_many<'py>(
    py: Python<'py>,
    from: impl Read,
    keys: &Bound<'py, PyAny>,
    default: Option<Bound<'py, PyAny>>,
) -> PyResult<Bound<'py, PyList>> {
    /// Keys a crossing: enough to make it cheap, few enough for Ctrl-C to be answered.
    const CHUNK: usize = 1024;
    let keys = collected(keys)?;
    let keys: Vec<&[u8]> = keys.iter().map(Bytes::as_slice).collect();
    let default = default.unwrap_or_else(|| py.None().into_bound(py));
    let mut answer = Vec::with_capacity(keys.len());
    let mut append = |found: Vec<Option<Value>>| {
        found.into_iter().try_for_each(|value| {
            answer.push(match value {
                Some(value) => to_python(py, &value)?.into_any(),
                None => default.clone(),
            });
            PyResult::Ok(())
        })
    };
    fn resident(found: Vec<Option<Value>>) -> Vec<Option<Value>> {
        found.iter().flatten().for_each(|value| make_resident(value));
        found
    }
    if keys.len() <= CHUNK {
        append(call::run(py, move || from.get_many(&keys).map(resident))?)?;
    } else {
        let snapshot = &call::run(py, move || from.fixed())?;
        for chunk in keys.chunks(CHUNK) {
            py.check_signals()?;
            append(call::run(py, || snapshot.get_many(chunk).map(resident))?)?;
        }
    }
    PyList::new(py, answer)
}

/// The keys of an iterable, which are held.
fn collected<'py>(keys: &Bound<'py, PyAny>) -> PyResult<Vec<Bytes<'py>>> {
    // Extracting one can run code of the caller, so a list may change meanwhile; its iterator knows how to live with that.
    if let Ok(keys) = keys.cast_exact::<PyList>() {
        let mut held = Vec::with_capacity(keys.len());
        for key in keys.iter() {
            held.push(key.extract()?);
        }
        return Ok(held);
    }
    keys.try_iter()?.map(|key| key?.extract()).collect()
}

/// How many entries `range` holds, up to `limit`. Walks all of them.
pub fn count(py: Python<'_>, from: impl Read, range: &Range, limit: u64) -> PyResult<usize> {
    /// Steps a crossing: some milliseconds at most, then signals are looked at.
    const CHUNK: u64 = 1 << 14;
    let mut iter = call::run(py, move || from.range(range))?;
    let mut counted = 0;
    while counted < limit {
        let most = CHUNK.min(limit - counted);
        let step = &mut iter;
        let moved = call::run(py, move || {
            let mut moved = 0;
            // It stands on the last one counted: nothing behind that is looked at that need not be.
            if counted == 0 || step.move_next()? {
                step.visit(true, |_, _| {
                    moved += 1;
                    moved < most
                })?;
            }
            Ok(moved)
        })?;
        counted += moved;
        if moved < most {
            break;
        }
        py.check_signals()?;
    }
    // No store holds more entries than an address has values.
    Ok(usize::try_from(counted).unwrap_or(usize::MAX))
}
