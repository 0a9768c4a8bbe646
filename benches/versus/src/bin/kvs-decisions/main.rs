//! The measurements behind four decisions of the engine, to be run again: each command prints the table of a page in `docs/decisions`.
//!
//! | command | page | what is measured |
//! |---|---|---|
//! | `index` | 0019 | the point index alone against maps that could stand in its place |
//! | `order` | 0020 | order on demand against orders that are kept: a skiplist, a B-tree |
//! | `log` | 0021 | a mapped log against written ones, with and without syncs, and what a kill leaves |
//! | `hash` | 0002 | hash functions and checksums of short inputs |
//!
//! How a number comes to be: every contender is measured once a round, by turns, with the same keys; `index` and `order` in a fresh process each, since
//! what an allocator keeps of one would help the next. A figure is the median of the rounds, a ratio the median of the ratios within each round.
//! Whatever is read is checked: the contender that loses a key or finds a wrong record fails.
//!
//! The index is no part of kvs's interface, so its sources are compiled here as they are (`source`), with the locks and epochs that they use.

mod env;
mod hashes;
mod logs;
mod orders;
mod points;
mod report;

#[path = "../../../../../src"]
#[allow(
    dead_code,
    unused_imports,
    unfulfilled_lint_expectations,
    unexpected_cfgs,
    missing_docs,
    reason = "the engine's own files, of which a part is used"
)]
mod source {
    pub mod index;
    pub mod sync;
}

// By these names the engine's files know each other.
use source::{index, sync};

use std::process::ExitCode;

use clap::{Parser, Subcommand};
use kvs_versus::Result;

/// The tables of docs/decisions, measured on this machine.
#[derive(Parser)]
#[command(version)]
struct Arguments {
    #[command(subcommand)]
    command: What,
}

#[derive(Subcommand)]
enum What {
    /// The point index against dashmap, lockfree::map, hashbrown and a B-tree: time and memory.
    Index(points::Options),
    /// Order on demand against a skiplist and a B-tree: puts with no scans, a scan now and then, a scan after every put.
    Order(orders::Options),
    /// Appends to a mapped segment against written ones, syncs, and what SIGKILL leaves.
    Log(logs::Options),
    /// XXH3, CRC-32C, rapidhash and foldhash: throughput and latency.
    Hash(hashes::Options),
    /// One contender in this process; the others start it.
    #[command(hide = true)]
    Cell {
        /// What to do, as JSON.
        spec: String,
    },
}

fn main() -> ExitCode {
    let done = match Arguments::parse().command {
        What::Index(options) => points::run(&options),
        What::Order(options) => orders::run(&options),
        What::Log(options) => logs::run(&options),
        What::Hash(options) => hashes::run(&options),
        What::Cell { spec } => cell(&spec),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("kvs-decisions: {error}");
            ExitCode::FAILURE
        }
    }
}

fn cell(spec: &str) -> Result<()> {
    let metrics = match serde_json::from_str::<report::Spec>(spec)? {
        report::Spec::Index(cell) => points::measure(&cell)?,
        report::Spec::Order(cell) => orders::measure(&cell)?,
        report::Spec::Victim(cell) => logs::be_the_victim(&cell)?,
    };
    println!("{}", serde_json::to_string(&metrics)?);
    Ok(())
}
