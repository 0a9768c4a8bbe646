//! The binary `kvs`, run as a user runs it: exit codes and outputs word for word.
//!
//! Stores live in temporary directories. Random tests print their seed; `KVS_SEED=n` repeats one.

#[path = "cli/commands.rs"]
mod commands;
#[path = "cli/engine.rs"]
mod engine;
#[path = "cli/load_dump.rs"]
mod load_dump;
#[path = "../src/random.rs"]
mod random;
#[path = "cli/tool.rs"]
mod tool;
