//! The C ABI as C sees it: the header, the exported symbols, and C programs against the built library.
//!
//! The library has no Rust interface, so these tests link nothing of it. [`build`] has cargo build
//! it, in the profile of the tests, and asks cargo where it is: it can be neither missing nor stale.

#![expect(
    clippy::disallowed_methods,
    reason = "tests drive compilers and processes, the engine's environment is not concerned"
)]

mod build;
mod examples;
mod header;
mod install;
mod instructions;
mod matrix;
mod programs;
mod scripts;
mod symbols;
