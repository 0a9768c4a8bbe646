//! Limits: maps that live in memory and keep nothing, class m.
//!
//! Keys and values are boxed slices, as a program would hold them. `BTreeMap` stands behind a read-write lock. `lockfree::map` is here
//! to be measured; `crossbeam-skiplist` takes a key out before it puts it in again, so a reader beside a writer may miss it. `docs/decisions/0001-dependencies.md` says why nothing else may link it.

use std::collections::BTreeMap;
use std::ops::Bound;
use std::path::Path;
use std::sync::RwLock;

use crossbeam_skiplist::SkipMap;
use dashmap::DashMap;

use crate::Result;
use crate::store::{Budget, Class, Contestant, Scan, Store, Tally};

type Bytes = Box<[u8]>;

pub const BTREEMAP: Contestant = Contestant {
    name: "btreemap",
    class: Class::Memory,
    syncs: false,
    ordered: true,
    reads: true,
    looks: false,
    vanishes: false,
    peer: true,
    only_named: false,
    idles: false,
    version: "std",
    settings: |_| "behind a RwLock of the standard library".to_owned(),
    open: open::<Tree>,
};

pub const DASHMAP: Contestant = Contestant {
    name: "dashmap",
    ordered: false,
    version: env!("DASHMAP_VERSION"),
    settings: |_| "defaults".to_owned(),
    open: open::<Dash>,
    ..BTREEMAP
};

pub const SKIPLIST: Contestant = Contestant {
    name: "skiplist",
    version: env!("CROSSBEAM_SKIPLIST_VERSION"),
    vanishes: true,
    settings: |_| "defaults; a key that is being overwritten is missing for a moment (crossbeam#1023)".to_owned(),
    open: open::<Skips>,
    ..BTREEMAP
};

pub const LOCKFREE: Contestant = Contestant {
    name: "lockfree",
    ordered: false,
    version: env!("LOCKFREE_VERSION"),
    settings: |_| "lockfree::map, defaults".to_owned(),
    open: open::<Lockfree>,
    ..BTREEMAP
};

fn open<S: Store + Default + 'static>(_path: &Path, _budget: &Budget, _synced: bool) -> Result<Box<dyn Store>> {
    Ok(Box::new(S::default()))
}

fn copy(found: Option<&[u8]>, value: &mut Vec<u8>) -> bool {
    value.clear();
    value.extend_from_slice(found.unwrap_or_default());
    found.is_some()
}

/// Shows a tally the entries of an ascending and a descending iterator, from where the scan starts.
fn visit<'a, I>(scan: &Scan<'_>, tally: &mut Tally, forward: I, backward: impl Iterator<Item = I::Item>)
where
    I: Iterator<Item = (&'a [u8], &'a [u8])>,
{
    if scan.reverse {
        for (key, value) in backward {
            if !tally.see(key, value) {
                break;
            }
        }
        return;
    }
    for (key, value) in forward {
        if scan.prefix.is_some_and(|prefix| !key.starts_with(prefix)) || !tally.see(key, value) {
            break;
        }
    }
}

fn start<'a>(scan: &Scan<'a>) -> (Bound<&'a [u8]>, Bound<&'a [u8]>) {
    (scan.start().map_or(Bound::Unbounded, Bound::Included), Bound::Unbounded)
}

#[derive(Default)]
struct Tree(RwLock<BTreeMap<Bytes, Bytes>>);

const PANICKED: &str = "a writer panicked";

impl Store for Tree {
    fn put(&self, key: &[u8], value: &[u8]) -> Result<()> {
        self.0.write().map_err(|_| PANICKED)?.insert(key.into(), value.into());
        Ok(())
    }

    fn delete(&self, key: &[u8]) -> Result<()> {
        self.0.write().map_err(|_| PANICKED)?.remove(key);
        Ok(())
    }

    fn get(&self, key: &[u8], value: &mut Vec<u8>) -> Result<bool> {
        Ok(copy(self.0.read().map_err(|_| PANICKED)?.get(key).map(|found| &**found), value))
    }

    fn scan(&self, scan: &Scan<'_>, tally: &mut Tally) -> Result<()> {
        let map = self.0.read().map_err(|_| PANICKED)?;
        let range = map.range::<[u8], _>(start(scan)).map(|(key, value)| (&**key, &**value));
        visit(scan, tally, range, map.iter().rev().map(|(key, value)| (&**key, &**value)));
        Ok(())
    }
}

#[derive(Default)]
struct Dash(DashMap<Bytes, Bytes>);

impl Store for Dash {
    fn put(&self, key: &[u8], value: &[u8]) -> Result<()> {
        self.0.insert(key.into(), value.into());
        Ok(())
    }

    fn delete(&self, key: &[u8]) -> Result<()> {
        self.0.remove(key);
        Ok(())
    }

    fn get(&self, key: &[u8], value: &mut Vec<u8>) -> Result<bool> {
        Ok(copy(self.0.get(key).as_deref().map(|found| &**found), value))
    }
}

#[derive(Default)]
struct Skips(SkipMap<Bytes, Bytes>);

impl Store for Skips {
    fn put(&self, key: &[u8], value: &[u8]) -> Result<()> {
        self.0.insert(key.into(), value.into());
        Ok(())
    }

    fn delete(&self, key: &[u8]) -> Result<()> {
        self.0.remove(key);
        Ok(())
    }

    fn get(&self, key: &[u8], value: &mut Vec<u8>) -> Result<bool> {
        Ok(copy(self.0.get(key).as_ref().map(|entry| &**entry.value()), value))
    }

    fn scan(&self, scan: &Scan<'_>, tally: &mut Tally) -> Result<()> {
        // An entry lends what it holds for as long as it lives: it cannot be handed on as the others' can.
        if scan.reverse {
            for entry in self.0.iter().rev() {
                if !tally.see(entry.key(), entry.value()) {
                    break;
                }
            }
            return Ok(());
        }
        for entry in self.0.range::<[u8], _>(start(scan)) {
            if scan.prefix.is_some_and(|prefix| !entry.key().starts_with(prefix))
                || !tally.see(entry.key(), entry.value())
            {
                break;
            }
        }
        Ok(())
    }
}

#[derive(Default)]
struct Lockfree(lockfree::map::Map<Bytes, Bytes>);

impl Store for Lockfree {
    fn put(&self, key: &[u8], value: &[u8]) -> Result<()> {
        self.0.insert(key.into(), value.into());
        Ok(())
    }

    fn delete(&self, key: &[u8]) -> Result<()> {
        self.0.remove(key);
        Ok(())
    }

    fn get(&self, key: &[u8], value: &mut Vec<u8>) -> Result<bool> {
        Ok(copy(self.0.get(key).as_ref().map(|guard| &**guard.val()), value))
    }
}
