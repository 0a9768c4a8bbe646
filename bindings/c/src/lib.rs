//! The C ABI of kvs. C readers want `include/kvs.h`, which is generated from these files; this page is for who changes them.
//!
//! 1. Every exported function is written out literally (cbindgen expands no macros) and has one body:
//!    [`boundary::call`] or one of its siblings, which catches panics and builds the error object. A test holds every
//!    exported symbol to that.
//! 2. A handle is a value that [`engine::handles`] looks up, never an address. [`objects`] says what lies behind each kind.
//! 3. The caller's pointers are touched by the few functions of [`boundary`] only, which states the contract (C1 to
//!    C5) that each SAFETY line refers to.
//!
//! The modules in the order of the header: status, error, options, db, pin, results, stats, repair, batch, snapshot, iter. Then what they stand
//! on: boundary, objects, cell, fork, fault. `calls` are tests.

#[cfg(not(target_pointer_width = "64"))]
compile_error!("a handle is a 64-bit value inside a pointer: kvs's C ABI needs a 64-bit target");

mod batch;
mod boundary;
#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test that fails stops")]
mod calls;
mod cell;
mod db;
mod error;
mod fault;
mod fork;
mod iter;
mod objects;
mod options;
mod pin;
mod repair;
mod results;
mod snapshot;
mod stats;
mod status;
