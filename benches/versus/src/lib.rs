//! kvs beside other ordered stores: the same workloads, the same durability, one run.
//!
//! How a number comes to be:
//!
//! 1. [`matrix`] lists the cells, a store and a workload each, and starts this program again for every one of them.
//! 2. The new process runs one [`cells`] function against one [`store::Store`] in a directory of its own, and prints one [`record::Record`].
//! 3. Records are lines of JSON. [`table`] takes medians, finds the best peer of the same durability, and compares with [`bar`]; [`plot`] draws.
//!
//! Where memory is limited, a [`group`] holds the process of a cell. [`growth`], [`beyond`] and [`over_time`] make the reports of those three presets.
//!
//! The keys and values come from [`shape`], computed from a number each, so that the harness keeps none in memory and every
//! value that is read can be checked.

pub mod bar;
pub mod beyond;
pub mod cells;
pub mod group;
pub mod growth;
pub mod lines;
pub mod matrix;
pub mod measure;
pub mod over_time;
pub mod plot;
pub mod preset;
pub mod random;
pub mod record;
pub mod shape;
pub mod store;
pub mod stores;
pub mod table;
pub mod workload;

/// Whatever goes wrong in a cell: it ends the cell, and the report shows it.
pub type Error = Box<dyn std::error::Error + Send + Sync>;
/// The result of a step of a cell.
pub type Result<T> = std::result::Result<T, Error>;
