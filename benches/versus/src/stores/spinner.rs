//! No store: its put does nothing, so what a row of latencies shows of it are two reads of the clock, and whatever the machine takes away from a process
//! that only runs. Its longest "put" is how long nobody could have helped to wait in this run.

use std::path::Path;

use crate::Result;
use crate::store::{Budget, Class, Contestant, Store};

/// What it is called.
pub const SPINNER_NAME: &str = "spinner";

pub const SPINNER: Contestant = Contestant {
    name: SPINNER_NAME,
    class: Class::Memory,
    syncs: false,
    ordered: false,
    reads: false,
    looks: false,
    vanishes: false,
    peer: false,
    only_named: true,
    idles: true,
    version: "",
    settings: |_| "puts that do nothing: two clock reads, and what the machine takes away".to_owned(),
    open: |_: &Path, _: &Budget, _| Ok(Box::new(Spinner)),
};

struct Spinner;

impl Store for Spinner {
    fn put(&self, key: &[u8], value: &[u8]) -> Result<()> {
        std::hint::black_box((key, value));
        Ok(())
    }

    fn delete(&self, _key: &[u8]) -> Result<()> {
        Ok(())
    }

    fn get(&self, _key: &[u8], _value: &mut Vec<u8>) -> Result<bool> {
        Err("a spinner keeps nothing".into())
    }
}
