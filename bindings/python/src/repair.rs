//! `kvs.repair`, and the report that it returns.

use engine::Keys;
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyDict};

use crate::bytes::Bytes;
use crate::call;
use crate::open::{self, native};
use crate::stoppable::{Stop, StoppableEnv};

/// Puts `repair` and the classes of its report into the module.
pub fn register(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add_class::<Repaired>()?;
    module.add_class::<LeftOut>()?;
    module.add_function(wrap_pyfunction!(repair, module)?)
}

/// What repair has done. str() has all of it, a line each.
#[pyclass(frozen, module = "kvs")]
pub struct Repaired(engine::Repaired);

#[pymethods]
impl Repaired {
    /// Keys in the new store.
    #[getter]
    fn keys(&self) -> u64 {
        self.0.keys
    }

    /// Bytes of these keys and their values.
    #[getter]
    fn bytes(&self) -> u64 {
        self.0.bytes
    }

    /// Files that were read.
    #[getter]
    fn files(&self) -> u64 {
        self.0.files
    }

    /// What is not in the new store although it may have been in the old one.
    #[getter]
    fn left_out(&self) -> Vec<LeftOut> {
        self.0.left_out.iter().cloned().map(LeftOut).collect()
    }

    /// Damage by which nothing was lost, and what else one should know.
    #[getter]
    fn warnings(&self) -> Vec<String> {
        self.0.warnings.clone()
    }

    /// Does the new store hold exactly what the old one held?
    #[getter]
    fn is_complete(&self) -> bool {
        self.0.is_complete()
    }

    fn __str__(&self) -> String {
        self.0.to_string()
    }

    fn __repr__(&self) -> String {
        format!("<kvs.Repaired: {} keys kept, {} parts left out>", self.0.keys, self.0.left_out.len())
    }
}

/// A part of a file that repair could not keep.
#[pyclass(frozen, module = "kvs")]
pub struct LeftOut(engine::LeftOut);

#[pymethods]
impl LeftOut {
    /// The file that it was in.
    #[getter]
    fn file<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        Ok(self.0.file.as_os_str().into_pyobject(py)?.into_any())
    }

    /// Its first byte there, and the byte behind its last.
    #[getter]
    fn span(&self) -> (u64, u64) {
        (self.0.from, self.0.to)
    }

    /// Why it was left out.
    #[getter]
    fn why(&self) -> &str {
        &self.0.why
    }

    /// How many records it has, or None where nobody knows.
    #[getter]
    fn records(&self) -> Option<u64> {
        self.0.records
    }

    /// The keys that it may have changed: the first of them, and the first behind them; None where nobody knows.
    #[getter]
    fn keys<'py>(&self, py: Python<'py>) -> (Option<Bound<'py, PyBytes>>, Option<Bound<'py, PyBytes>>) {
        let bytes = |key: &Option<Vec<u8>>| key.as_deref().map(|key| PyBytes::new(py, key));
        match &self.0.keys {
            // The first key behind this one.
            Keys::One(key) => (Some(PyBytes::new(py, key)), Some(PyBytes::new(py, &[key, &[0][..]].concat()))),
            Keys::Between { from, to } => (bytes(from), bytes(to)),
            Keys::Unknown => (None, None),
        }
    }

    /// May it have changed key?
    fn covers(&self, key: Bytes<'_>) -> bool {
        self.0.keys.covers(key.as_slice())
    }

    fn __str__(&self) -> String {
        self.0.to_string()
    }

    fn __repr__(&self) -> String {
        format!("<kvs.LeftOut {}>", self.0)
    }
}

/// Writes what is provably good of the damaged store in the directory path to a new store in the directory out.
///
/// A record is kept if its checksums prove it, if it is the newest of its key, and if nothing that is lost may have been newer. The
/// old directory is only read; out is made, or empty. options are those of the new store, as for open. The report that is returned
/// lists what was left out. Ctrl-C ends a repair, which then clears away what it has written.
///
/// >>> with kvs.open(tmp / "damaged") as db:
/// ...     db[b"k"] = b"v"
/// >>> report = kvs.repair(tmp / "damaged", tmp / "repaired")
/// >>> report.is_complete, report.keys, report.left_out
/// (True, 1, [])
/// >>> with kvs.open(tmp / "repaired", create=False) as db:
/// ...     db[b"k"]
/// b'v'
#[pyfunction]
#[pyo3(signature = (path, out, **options))]
fn repair(
    py: Python<'_>,
    path: &Bound<'_, PyAny>,
    out: &Bound<'_, PyAny>,
    options: Option<&Bound<'_, PyDict>>,
) -> PyResult<Repaired> {
    let fspath = |path: &Bound<'_, PyAny>| native(&py.import("os")?.call_method1("fspath", (path,))?);
    let (path, out) = (fspath(path)?, fspath(out)?);
    let mut chosen = engine::Options::default();
    open::set_options(py, &mut chosen, options)?;
    let stop = Stop::default();
    let env = StoppableEnv::shared(&stop);
    call::interruptible(py, || stop.pull(), move || engine::repair_with(env, path, out, &chosen)).map(Repaired)
}
