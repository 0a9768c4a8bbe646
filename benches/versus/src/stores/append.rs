//! A floor, not a store: one `write()` of the record for each put, and an fdatasync for each synced one. Whoever is
//! faster than that saves system calls.

use std::fs::File;
use std::io::Write;
use std::path::Path;
use std::sync::Mutex;

use crate::Result;
use crate::store::{Budget, Class, Contestant, Pairs, Store};

pub const APPEND: Contestant = Contestant {
    name: "append",
    class: Class::Acknowledged,
    syncs: true,
    ordered: false,
    reads: false,
    looks: false,
    vanishes: false,
    peer: false,
    only_named: false,
    idles: false,
    version: "",
    settings: |_| "write() of lengths, key and value for each put or batch; fdatasync for synced ones".to_owned(),
    open,
};

fn open(path: &Path, _budget: &Budget, _synced: bool) -> Result<Box<dyn Store>> {
    std::fs::create_dir_all(path)?;
    let file = File::options().create(true).append(true).open(path.join("log"))?;
    Ok(Box::new(Append(Mutex::new((file, Vec::new())))))
}

struct Append(Mutex<(File, Vec<u8>)>);

impl Append {
    fn append<'a>(&self, pairs: impl Iterator<Item = (&'a [u8], &'a [u8])>, sync: bool) -> Result<()> {
        let mut guard = self.0.lock().map_err(|_| "a writer panicked")?;
        let (file, record) = &mut *guard;
        record.clear();
        for (key, value) in pairs {
            record.extend_from_slice(&(key.len() as u32).to_le_bytes());
            record.extend_from_slice(&(value.len() as u32).to_le_bytes());
            record.extend_from_slice(key);
            record.extend_from_slice(value);
        }
        file.write_all(record)?;
        if sync {
            file.sync_data()?;
        }
        Ok(())
    }
}

impl Store for Append {
    fn put(&self, key: &[u8], value: &[u8]) -> Result<()> {
        self.append(std::iter::once((key, value)), false)
    }

    fn put_synced(&self, key: &[u8], value: &[u8]) -> Result<()> {
        self.append(std::iter::once((key, value)), true)
    }

    fn write(&self, pairs: &Pairs) -> Result<()> {
        self.append(pairs.iter(), false)
    }

    fn delete(&self, key: &[u8]) -> Result<()> {
        self.append(std::iter::once((key, &[][..])), false)
    }

    fn get(&self, _key: &[u8], _value: &mut Vec<u8>) -> Result<bool> {
        Err("a floor does not read".into())
    }
}
