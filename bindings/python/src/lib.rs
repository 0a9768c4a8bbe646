//! The module `kvs._kvs`: a thin layer over the engine, whose rules are
//!
//! 1. every call into the engine releases the GIL ([`call`]), so a class holds no Python-visible lock while it works;
//! 2. a key or value crosses once: borrowed on the way in, copied once from pinned memory on the way out ([`bytes`]);
//! 3. every class is frozen and guards its own state, so threads need no GIL to be safe;
//! 4. a panic is an `InternalError`, a fork is a `ForkedError` ([`fork`]), and both are exceptions that can be caught.

#![deny(unsafe_code)]

mod batch;
mod bytes;
mod call;
mod cli;
mod db;
mod errors;
mod fork;
mod held;
mod interpreter;
mod open;
mod pinned;
mod read;
mod repair;
mod snapshot;
mod stoppable;
mod view;

use pyo3::prelude::*;

#[pymodule]
fn _kvs(module: &Bound<'_, PyModule>) -> PyResult<()> {
    interpreter::check(module.py())?;
    errors::register(module)?;
    fork::register(module)?;
    open::register(module)?;
    module.add_class::<db::Db>()?;
    module.add_class::<snapshot::Snapshot>()?;
    module.add_class::<batch::Batch>()?;
    module.add_class::<view::View>()?;
    module.add_class::<view::ViewIterator>()?;
    module.add_class::<pinned::Pinned>()?;
    repair::register(module)?;
    module.add_function(wrap_pyfunction!(cli::_cli, module)?)?;
    module.add_function(wrap_pyfunction!(call::_panic, module)?)?;
    module.add("__version__", engine::version())?;
    // Written by pyo3, private names and all; what is public is said in python/kvs/__init__.py.
    module.delattr("__all__")?;
    let abc = module.py().import("collections.abc")?;
    abc.getattr("MutableMapping")?.call_method1("register", (module.getattr("DB")?,))?;
    abc.getattr("Mapping")?.call_method1("register", (module.getattr("Snapshot")?,))?;
    Ok(())
}
