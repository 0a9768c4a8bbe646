//! The exception tree, and how an engine error becomes one of them.
//!
//! The classes have two bases each (`LockedError` is a `kvs.Error` and an `OSError`), which pyo3's macro cannot say:
//! they are made by calling `type`, once, when the module is loaded.

use engine::ErrorKind;
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::{PyDict, PyTuple, PyType};

/// An exception class; its place in [`TREE`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Class {
    Error,
    Closed,
    Locked,
    Corruption,
    ReadOnly,
    NoSpace,
    Io,
    Poisoned,
    NotADatabase,
    NewerFormat,
    Conflict,
    WouldBlock,
    Interrupted,
    Forked,
    InvalidArgument,
    TooLarge,
    Internal,
}

struct Row {
    class: Class,
    name: &'static str,
    /// `None`: straight from `Exception`.
    parent: Option<Class>,
    /// A builtin that callers who know nothing of kvs may catch.
    builtin: Option<&'static str>,
    doc: &'static str,
}

const fn row(class: Class, name: &'static str, builtin: Option<&'static str>, doc: &'static str) -> Row {
    Row { class, name, parent: Some(Class::Error), builtin, doc }
}

/// In the order of [`Class`]; parents first.
const TREE: &[Row] = &[
    Row {
        class: Class::Error,
        name: "Error",
        parent: None,
        builtin: None,
        doc: "What every error of kvs is. path, offset and errno say where, or are None.",
    },
    row(Class::Closed, "ClosedError", Some("ValueError"), "The store or the snapshot is closed. Open it again."),
    row(
        Class::Locked,
        "LockedError",
        Some("OSError"),
        "Another process, or another handle of this one, has the store open.",
    ),
    row(
        Class::Corruption,
        "CorruptionError",
        Some("OSError"),
        "A file is damaged: see path and offset. Other keys stay readable.",
    ),
    row(
        Class::ReadOnly,
        "ReadOnlyError",
        Some("OSError"),
        "The store was opened read-only, or its files cannot be written.",
    ),
    row(Class::NoSpace, "NoSpaceError", Some("OSError"), "The disk or the quota is full. Nothing was written."),
    row(Class::Io, "IoError", Some("OSError"), "The operating system refused an operation: see errno."),
    row(
        Class::Poisoned,
        "PoisonedError",
        Some("OSError"),
        "An earlier write failed: writes are refused until the store is opened again.",
    ),
    row(Class::NotADatabase, "NotADatabaseError", Some("OSError"), "The directory holds no kvs store."),
    row(
        Class::NewerFormat,
        "NewerFormatError",
        Some("OSError"),
        "The files were written by a newer version. Use that version.",
    ),
    row(
        Class::Conflict,
        "ConflictError",
        Some("RuntimeError"),
        "Somebody else changed what this transaction read. Run it again.",
    ),
    row(
        Class::WouldBlock,
        "WouldBlockError",
        Some("BlockingIOError"),
        "The call would have had to wait and was asked not to.",
    ),
    row(
        Class::Interrupted,
        "InterruptedError",
        Some("InterruptedError"),
        "DB.interrupt() ended the call. A write has not happened.",
    ),
    row(
        Class::Forked,
        "ForkedError",
        Some("RuntimeError"),
        "The object was made before os.fork(). Open the store in the child.",
    ),
    row(Class::InvalidArgument, "InvalidArgument", Some("ValueError"), "An argument or an option is not usable."),
    Row {
        class: Class::TooLarge,
        name: "TooLargeError",
        parent: Some(Class::InvalidArgument),
        builtin: None,
        doc: "A key, a value or a batch is larger than the format allows. Nothing was written.",
    },
    row(Class::Internal, "InternalError", Some("RuntimeError"), "A bug in kvs: please report it with the message."),
];

static CLASSES: PyOnceLock<Vec<Py<PyType>>> = PyOnceLock::new();

/// Makes the classes and puts them into the module.
pub fn register(module: &Bound<'_, PyModule>) -> PyResult<()> {
    let py = module.py();
    for (row, class) in TREE.iter().zip(classes(py)?) {
        module.add(row.name, class.clone_ref(py))?;
    }
    Ok(())
}

fn classes(py: Python<'_>) -> PyResult<&Vec<Py<PyType>>> {
    CLASSES.get_or_try_init(py, || {
        let builtins = py.import("builtins")?;
        let mut made: Vec<Py<PyType>> = Vec::with_capacity(TREE.len());
        for row in TREE {
            debug_assert_eq!(row.class as usize, made.len());
            let body = PyDict::new(py);
            body.set_item("__doc__", row.doc)?;
            body.set_item("__module__", "kvs")?;
            let mut bases = Vec::with_capacity(2);
            match row.parent {
                Some(parent) => bases.push(made[parent as usize].bind(py).clone().into_any()),
                None => {
                    bases.push(builtins.getattr("Exception")?);
                    for attribute in ["path", "offset", "errno"] {
                        body.set_item(attribute, py.None())?;
                    }
                }
            }
            if let Some(name) = row.builtin {
                let base = builtins.getattr(name)?;
                if is_os_error(name) {
                    // `Error.errno`, a plain None, stands before OSError's own slot: put the slot in front again.
                    body.set_item("errno", base.getattr("errno")?)?;
                }
                bases.push(base);
            }
            let class = builtins.getattr("type")?.call1((row.name, PyTuple::new(py, bases)?, body))?;
            made.push(class.cast_into::<PyType>()?.unbind());
        }
        Ok(made)
    })
}

/// `BlockingIOError` and `InterruptedError` are some.
fn is_os_error(builtin: &str) -> bool {
    matches!(builtin, "OSError" | "BlockingIOError" | "InterruptedError")
}

/// An exception of `class` that names no file.
#[cold]
pub fn new(class: Class, message: &str) -> PyErr {
    Python::attach(|py| instance(py, class, message, None).map_or_else(|error| error, PyErr::from_value))
}

/// The exception that says what `error` says.
#[cold]
pub fn from_engine(py: Python<'_>, error: &engine::Error) -> PyErr {
    if error.kind() == ErrorKind::NoMemory {
        return pyo3::exceptions::PyMemoryError::new_err(error.to_string());
    }
    let class = match error.kind() {
        ErrorKind::InvalidArgument => Class::InvalidArgument,
        ErrorKind::TooLarge => Class::TooLarge,
        ErrorKind::Closed => Class::Closed,
        ErrorKind::Io => Class::Io,
        ErrorKind::Corruption => Class::Corruption,
        ErrorKind::Locked => Class::Locked,
        ErrorKind::ReadOnly => Class::ReadOnly,
        ErrorKind::NoSpace => Class::NoSpace,
        ErrorKind::NewerFormat => Class::NewerFormat,
        ErrorKind::NotADatabase => Class::NotADatabase,
        ErrorKind::Poisoned => Class::Poisoned,
        ErrorKind::Forked => Class::Forked,
        ErrorKind::WouldBlock => Class::WouldBlock,
        ErrorKind::Interrupted => Class::Interrupted,
        ErrorKind::Internal => Class::Internal,
        _ => Class::Error,
    };
    instance(py, class, &error.to_string(), Some(error)).map_or_else(|error| error, PyErr::from_value)
}

fn instance<'py>(
    py: Python<'py>,
    class: Class,
    message: &str,
    source: Option<&engine::Error>,
) -> PyResult<Bound<'py, PyAny>> {
    let is_os_error = TREE[class as usize].builtin.is_some_and(is_os_error);
    let class = classes(py)?[class as usize].bind(py);
    let errno = source.and_then(engine::Error::os_code);
    // An OSError of two arguments has errno and strerror, and keeps them through pickle.
    let exception = match errno {
        Some(errno) if is_os_error => class.call1((errno, message))?,
        _ => class.call1((message,))?,
    };
    if let Some(source) = source {
        if let Some(path) = source.path() {
            exception.setattr("path", path.as_os_str())?;
        }
        if let Some(offset) = source.offset() {
            exception.setattr("offset", offset)?;
        }
        if let Some(errno) = errno
            && !is_os_error
        {
            exception.setattr("errno", errno)?;
        }
    }
    Ok(exception)
}
