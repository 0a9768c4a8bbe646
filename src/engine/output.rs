//! Output: records in order become tables, and what moved is noted.
//!
//! Flush and merge are one loop. It takes the versions of all inputs in order, asks [`Retention`] which of them anybody may still
//! see, copies those to a table, and notes for the newest version of each key where it was and where it is now, or that it is gone.
//! Once the tables are part of the store the notes are applied to the index ([`Core::repoint`]).
//!
//! Every record was verified by the cursor that stands on it, and its checksum is never made anew: damage can't be copied under a
//! fresh one.

use std::path::PathBuf;

use crate::cursor::Cursor;
use crate::engine::Core;
use crate::engine::commit::address;
use crate::engine::moved::Sources;
use crate::error::{Error, ErrorKind, Result};
use crate::files::File;
use crate::index::Address;
use crate::merging::Merging;
use crate::record::{Header, Kind, Seq, Stored};
use crate::sync::Arc;
use crate::table;
use crate::table::builder::Builder;
use crate::table::hashes::Keyed;
use crate::table::reader::Table;
use crate::visibility::Retention;

/// So many records are copied between two looks at what is more urgent.
const BREATH: u32 = 512;
/// A step of a merge ends when so many keys are gone: where whole tables are dropped none is ever full.
const GONE_MAX: usize = if cfg!(test) { 64 } else { 1 << 18 };

/// The newest version of a key, as far as the inputs go, which was not copied: nobody can see it any more.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Gone {
    pub hash: u64,
    pub from: Address,
}

/// A finished table, not yet part of the store.
#[derive(Debug)]
pub(crate) struct Built {
    pub table: Arc<Table>,
    /// Its keys, in the order of their hashes; where each one moved from is noted.
    pub keys: Vec<Keyed>,
    pub sources: Sources,
    /// Bytes of older versions that a snapshot needs.
    pub held: u64,
    /// Bytes of tombstones.
    pub deletes: u64,
}

/// Tables in the making.
pub(crate) struct Output<'a> {
    core: &'a Core,
    /// A table is finished when it has reached so many bytes.
    table_bytes: u64,
    purged_seq: Seq,
    open: Option<Open>,
    /// Finished.
    pub built: Vec<Built>,
    pub gone: Vec<Gone>,
    /// Bytes of records read and written.
    pub bytes_read: u64,
    pub bytes_written: u64,
    /// What it made belongs to somebody else now.
    kept: bool,
}

struct Open {
    builder: Builder,
    path: PathBuf,
    sources: Sources,
    held: u64,
    deletes: u64,
}

impl<'a> Output<'a> {
    /// Of tables of about `table_bytes`, in which every range delete up to `purged_seq` has been applied.
    pub fn new(core: &'a Core, table_bytes: u64, purged_seq: Seq) -> Output<'a> {
        Output {
            core,
            table_bytes,
            purged_seq,
            open: None,
            built: Vec::new(),
            gone: Vec::new(),
            bytes_read: 0,
            bytes_written: 0,
            kept: false,
        }
    }

    /// Takes over what is left of `merging`, which stands on its first record, all of it or as much as one step of a merge takes:
    /// a table, or so many keys that are gone; returns the first key that it left. `breathe` is called now and then, with the
    /// bytes that it has read.
    pub fn take(
        &mut self,
        merging: &mut Merging<Cursor>,
        retention: &mut Retention,
        all: bool,
        mut breathe: impl FnMut(u64) -> Result<()>,
    ) -> Result<Option<Vec<u8>>> {
        let mut key = Vec::new();
        let mut first = true;
        let mut breath = BREATH;
        while let Some(place) = merging.top().and_then(|source| merging.source(source).place()) {
            let Stored { offset, header } = place.stored;
            let this = header.key(place.bytes);
            let newest = first || this != key.as_slice();
            if newest {
                let is_full = self.open.as_ref().is_some_and(|open| open.builder.len() >= self.table_bytes);
                if is_full || (!all && self.gone.len() >= GONE_MAX) {
                    let left = (!all).then(|| this.to_vec());
                    self.finish_table()?;
                    if left.is_some() {
                        return Ok(left);
                    }
                }
                key.clear();
                key.extend_from_slice(this);
                first = false;
            }
            let kept = retention.keeps(newest, this, header.seq(), header.kind);
            let from = address(place.slot, *offset)?;
            self.bytes_read += header.len() as u64;
            if kept {
                self.add(place.file, place.bytes, header, *offset, newest.then_some(from))?;
            } else if newest {
                let hash = crate::coding::hash_seeded(this, self.core.hash_seed);
                self.gone.push(Gone { hash, from });
            }
            let source = merging.top();
            merging.step()?;
            source.into_iter().for_each(|source| merging.release_source(source));
            breath -= 1;
            if breath == 0 {
                breath = BREATH;
                breathe(self.bytes_read)?;
            }
        }
        self.finish_table()?;
        Ok(None)
    }

    fn add(&mut self, file: &File, bytes: &[u8], header: &Header, offset: u64, newest: Option<Address>) -> Result<()> {
        let len = header.len() as u64;
        let note = match newest {
            Some(from) => self.note(from, file.size(), len)?,
            None => 0,
        };
        let open = self.open()?;
        open.builder.add(file, bytes, header, offset, note)?;
        if newest.is_none() {
            open.held += len;
        } else if header.kind == Kind::Delete {
            open.deletes += len;
        }
        self.bytes_written += len;
        Ok(())
    }

    /// Notes where a key moves from. Where no more sources have room, it is the first key of another table.
    fn note(&mut self, from: Address, size: u64, len: u64) -> Result<u32> {
        if let Some(note) = self.open()?.sources.note(from, size, len) {
            return Ok(note);
        }
        self.finish_table()?;
        let note = self.open()?.sources.note(from, size, len);
        note.ok_or_else(|| {
            Error::new(ErrorKind::Internal, "a table without sources has no room for one: please report this bug")
        })
    }

    /// The table in the making.
    #[inline]
    fn open(&mut self) -> Result<&mut Open> {
        if self.open.is_none() {
            self.open = Some(self.start_table()?);
        }
        Ok(self.open.as_mut().unwrap_or_else(|| unreachable!("it was started above")))
    }

    fn start_table(&self) -> Result<Open> {
        let core = self.core;
        let number = core.take_file_number()?;
        let path = core.dir.join(table::name(number));
        let file = core.create_table(&path)?;
        let block_bytes = core.options.block_bytes as u32;
        let mut builder = Builder::over(file, &path, core.database, core.hash_seed, number, block_bytes);
        builder.expect(self.table_bytes);
        Ok(Open { builder, path, sources: Sources::default(), held: 0, deletes: 0 })
    }

    fn finish_table(&mut self) -> Result<()> {
        let Some(Open { builder, path, sources, held, deletes }) = self.open.take() else { return Ok(()) };
        let finished = builder.finish(self.purged_seq);
        let opened = finished.and_then(|(meta, keys)| Ok((self.core.open_table(meta)?, keys)));
        match opened {
            Ok((table, keys)) => {
                self.built.push(Built { table: Arc::new(table), keys, sources, held, deletes });
                Ok(())
            }
            Err(failure) => {
                let _ = self.core.env.unlink(&path);
                Err(failure)
            }
        }
    }

    /// What it made is part of the store now, or may be.
    pub fn keep(&mut self) {
        self.kept = true;
    }
}

impl Drop for Output<'_> {
    fn drop(&mut self) {
        if self.kept {
            return;
        }
        // Nobody knows of them. If that fails they are orphans, which the next open removes.
        if let Some(open) = self.open.take() {
            let path = open.path.clone();
            drop(open);
            let _ = self.core.env.unlink(&path);
        }
        for built in self.built.drain(..) {
            let path = built.table.file().path.clone();
            let _ = self.core.env.unlink(&path);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::engine::recovery;
    use crate::env::sim::SimEnv;
    use crate::options::{Durability, Options};

    /// A merge that drops everything goes step by step, although no table is ever full, and forgets no key.
    #[test]
    fn a_merge_that_drops_everything_has_steps() {
        let core = recovery::open(SimEnv::new(1).shared(), Path::new("/db"), Options::default()).unwrap();
        for kind in [Kind::Put, Kind::Delete] {
            for n in 0..5 * GONE_MAX as u32 {
                core.write_one(kind, &n.to_be_bytes(), b"", Durability::Process, true).unwrap();
            }
            core.flush_all().unwrap();
        }
        core.compact(None, None).unwrap();
        let stats = core.stats();
        assert_eq!((stats.index_keys, stats.tables), (0, 0), "{stats}");
        assert!(stats.merge_steps >= 4, "{stats}");
    }
}
