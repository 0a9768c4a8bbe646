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
    let closing = wrap_pyfunction!(_close_all, module)?;
    py.import("atexit")?.call_method1("register", (closing,))?;
    Ok(())
}

fn still_open(py: Python<'_>) -> PyResult<&Bound<'_, PyAny>> {
    let stores =
        OPEN.get_or_try_init(py, || py.import("weakref")?.getattr("WeakValueDictionary")?.call0().map(Bound::unbind))?;
    Ok(stores.bind(py))
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
/// create=False: an error if there is no store. read_only=True: writes nothing, and several processes may do so at
/// once. durability: what a write survives if the call does not say: "process" (kill -9), "sync" (power loss) or
/// "none". in_memory=True: no path and no files. Further options are the engine's, by name: sizes are numbers of
/// bytes, or text such as "64m".
///
/// One process has a store open at a time, except for reading; a second one gets LockedError.
///
/// >>> with kvs.open(tmp / "store", durability="sync", memtable_bytes_max="64m") as db:
/// ...     db[b"k"] = b"v"
/// >>> with kvs.open(tmp / "store", create=False) as db:
/// ...     db[b"k"]
/// b'v'
#[pyfunction]
#[pyo3(signature = (path = None, *, create = true, read_only = false, durability = "process", in_memory = false, **options))]
fn open<'py>(
    py: Python<'py>,
    path: Option<Bound<'py, PyAny>>,
    create: bool,
    read_only: bool,
    durability: &str,
    in_memory: bool,
    options: Option<Bound<'py, PyDict>>,
) -> PyResult<Bound<'py, Db>> {
    let mut chosen = Options { create, read_only, ..Options::default() };
    let mut set = |name: &str, value: &str| chosen.set(name, value).map_err(|error| errors::from_engine(py, &error));
    set("durability", durability)?;
    for (name, value) in options.iter().flatten() {
        let name: String = name.extract()?;
        set(&name, &option_text(&name, &value)?)?;
    }
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
    Ok(db)
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
fn native(path: &Bound<'_, PyAny>) -> PyResult<OsString> {
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
