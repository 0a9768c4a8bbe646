//! `kvs.open`, and the closing of what is still open when the interpreter exits.

use std::ffi::OsString;

use engine::Options;
use pyo3::exceptions::PyTypeError;
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::{PyBool, PyBytes, PyDict, PyInt, PyString};

use crate::call;
use crate::db::Db;
use crate::errors::{self, Class};

/// Weak references to what is open, by identity.
static OPEN: PyOnceLock<Py<PyAny>> = PyOnceLock::new();

/// Puts `open` into the module and has the interpreter close what it leaves open.
pub fn register(module: &Bound<'_, PyModule>) -> PyResult<()> {
    let py = module.py();
    module.add_function(wrap_pyfunction!(open, module)?)?;
    module.add_function(wrap_pyfunction!(_options, module)?)?;
    module.add_function(wrap_pyfunction!(_not_at_exit, module)?)?;
    let closing = wrap_pyfunction!(_close_all, module)?;
    py.import("atexit")?.call_method1("register", (closing,))?;
    Ok(())
}

fn still_open(py: Python<'_>) -> PyResult<&Bound<'_, PyAny>> {
    let stores =
        OPEN.get_or_try_init(py, || py.import("weakref")?.getattr("WeakValueDictionary")?.call0().map(Bound::unbind))?;
    Ok(stores.bind(py))
}

/// Leaves db to the garbage collector, which closes what a program keeps to its end after the finalizers that may still write to it.
///
/// A shelf with writeback writes from its `__del__`. Where the collector does not come that far, the store is left as by `kill -9`:
/// what was written is there.
#[pyfunction]
fn _not_at_exit(py: Python<'_>, db: &Bound<'_, Db>) -> PyResult<()> {
    still_open(py)?.call_method1("pop", (db.as_ptr() as usize, py.None())).map(drop)
}

/// At the exit of the interpreter, after its threads have been waited for.
#[pyfunction]
fn _close_all(py: Python<'_>) -> PyResult<()> {
    for store in
        py.import("builtins")?.getattr("list")?.call1((still_open(py)?.call_method0("values")?,))?.try_iter()?
    {
        let store = store?;
        if let Err(error) = store.cast::<Db>()?.get().shut(py) {
            // One store that cannot be closed must not keep the others from it.
            error.write_unraisable(py, Some(&store));
        }
    }
    Ok(())
}

/// Opens the store in the directory path, which is created if there is none.
///
/// One process has a store open at a time, except for reading; a second one gets LockedError.
///
/// create: False is an error if there is no store.
/// read_only: True writes nothing, and several processes may do so at once.
/// durability: what a write survives if the call does not say: "process" (kill -9), "sync" (power loss) or "none".
/// in_memory: True has no path and no files.
/// codec, key_codec: how values and keys that are not bytes are written; the result is a TypedDB, see there.
///
/// The others are the engine's. None is its default; sizes are numbers of bytes, or text such as "64m".
///
/// log_backend: how log segments reach their files: "auto", "mapped" or "positioned".
/// segment_bytes_min: of the first log segment; each later one is twice as large (1m).
/// segment_bytes_max: of the largest ordinary log segment (32m).
/// memtable_bytes_max: of log that is not in tables yet; writes wait beyond. Larger: more room for bursts, longer recovery (96m).
/// table_bytes_max: of a table, about (32m).
/// block_bytes: of a block of a table, about. Larger: less memory. Smaller: less to read at a time (4k).
/// table_io: how tables are read: "auto", "mapped" or "positioned".
/// cache_bytes: of the block cache, where tables are read by position (32m).
/// memory_bytes_max: for segments, cache and point index; with less than it needs old tables are searched in their files (1g).
/// space_percent: bytes of tables for 100 live bytes before they are merged. Larger: fewer bytes written. Smaller: less disk (150).
/// runs_max: runs of tables before some are merged. Larger: fewer bytes written. Smaller: faster scans (12).
///
/// >>> with kvs.open(tmp / "store", durability="sync", memtable_bytes_max="64m") as db:
/// ...     db[b"k"] = b"v"
/// >>> with kvs.open(tmp / "store", create=False) as db:
/// ...     db[b"k"]
/// b'v'
#[pyfunction]
#[pyo3(
    signature = (
        path = None, *, create = true, read_only = false, durability = "process", in_memory = false, codec = None, key_codec = None,
        **options
    ),
    // The names of the options stand in the engine, which also says what is wrong with others. Here they are for the reader.
    text_signature = "(path=None, *, create=True, read_only=False, durability='process', in_memory=False, codec=None, key_codec=None, \
                      log_backend=None, segment_bytes_min=None, segment_bytes_max=None, memtable_bytes_max=None, \
                      table_bytes_max=None, block_bytes=None, table_io=None, cache_bytes=None, memory_bytes_max=None, \
                      space_percent=None, runs_max=None)"
)]
#[expect(clippy::too_many_arguments, reason = "keywords, each by its name")]
fn open<'py>(
    py: Python<'py>,
    path: Option<Bound<'py, PyAny>>,
    create: bool,
    read_only: bool,
    durability: &str,
    in_memory: bool,
    codec: Option<Bound<'py, PyAny>>,
    key_codec: Option<Bound<'py, PyAny>>,
    options: Option<Bound<'py, PyDict>>,
) -> PyResult<Bound<'py, PyAny>> {
    let mut chosen = Options { create, read_only, ..Options::default() };
    chosen.set("durability", durability).map_err(|error| errors::from_engine(py, &error))?;
    set_options(py, &mut chosen, options.as_ref())?;
    // Before the store is opened: what cannot be used must not make one.
    let codecs = if codec.is_some() || key_codec.is_some() {
        Some(py.import("kvs._typed")?.getattr("codecs_of")?.call1((codec, key_codec))?)
    } else {
        None
    };
    let (path, engine) = match path {
        Some(_) if in_memory => {
            return Err(errors::new(
                Class::InvalidArgument,
                "a store in memory has no path: pass None, or leave in_memory out",
            ));
        }
        None if !in_memory => {
            return Err(PyTypeError::new_err("open() needs a path, or in_memory=True"));
        }
        None => (None, call::run(py, move || engine::Db::in_memory(chosen))?),
        Some(path) => {
            let path = py.import("os")?.call_method1("fspath", (path,))?;
            let native = native(&path)?;
            (Some(path.unbind()), call::run(py, move || engine::Db::open(native, chosen))?)
        }
    };
    let db = Bound::new(py, Db::new(engine, path))?;
    still_open(py)?.set_item(db.as_ptr() as usize, &db)?;
    match codecs {
        None => Ok(db.into_any()),
        Some(codecs) => {
            py.import("kvs._typed")?.getattr("TypedDB")?.call1((db, codecs.get_item(0)?, codecs.get_item(1)?))
        }
    }
}

/// Sets the engine's options by their names; `None` leaves one as it is.
pub fn set_options(py: Python<'_>, chosen: &mut Options, options: Option<&Bound<'_, PyDict>>) -> PyResult<()> {
    for (name, value) in options.into_iter().flatten() {
        let name: String = name.extract()?;
        let known = engine::OPTIONS.iter().any(|option| option.name == name);
        let text = match value.is_none() {
            true if known => continue,
            // The engine says which there are.
            true => String::new(),
            false => option_text(&name, &value)?,
        };
        chosen.set(&name, &text).map_err(|error| errors::from_engine(py, &error))?;
    }
    Ok(())
}

/// Name, default and meaning of each option of the engine, so that the tests can compare them with what is said here.
#[pyfunction]
fn _options() -> Vec<(&'static str, &'static str, &'static str)> {
    engine::OPTIONS.iter().map(|option| (option.name, option.default, option.doc)).collect()
}

/// An option's value as the engine reads it.
fn option_text(name: &str, value: &Bound<'_, PyAny>) -> PyResult<String> {
    if let Ok(flag) = value.cast::<PyBool>() {
        Ok(flag.is_true().to_string())
    } else if value.is_instance_of::<PyString>() {
        value.extract()
    } else if value.is_instance_of::<PyInt>() {
        Ok(value.str()?.to_string())
    } else {
        let kind = value.get_type().fully_qualified_name()?;
        Err(PyTypeError::new_err(format!("option {name} is of type {kind}, expected str, int or bool")))
    }
}

/// The path for the operating system. Bytes stay as they are where paths are bytes: not every one is UTF-8.
pub fn native(path: &Bound<'_, PyAny>) -> PyResult<OsString> {
    let native: OsString = match path.cast::<PyBytes>() {
        Err(_) => path.extract()?,
        #[cfg(unix)]
        Ok(bytes) => std::os::unix::ffi::OsStringExt::from_vec(bytes.as_bytes().to_vec()),
        #[cfg(not(unix))]
        Ok(bytes) => path.py().import("os")?.call_method1("fsdecode", (bytes,))?.extract()?,
    };
    if native.as_encoded_bytes().contains(&0) {
        return Err(errors::new(Class::InvalidArgument, "the path has a null byte in it"));
    }
    Ok(native)
}
