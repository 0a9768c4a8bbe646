//! Verify: every live byte of every file, read by position, against its checksum.

use std::collections::BTreeMap;
use std::path::Path;

use crate::engine::{Calm, Core};
use crate::env::{Memory, ReadFile};
use crate::error::{Error, ErrorKind, Result};
use crate::files::File;
use crate::log::replay;
use crate::log::segment::{HeaderRead, SEGMENT_HEADER_BYTES, SegmentHeader};
use crate::manifest::{self, MANIFEST};
use crate::metrics::Verified;
use crate::sync::{Arc, epoch};
use crate::version::Version;

/// A file that stops being readable when there is an interrupt.
#[derive(Debug)]
struct Interruptible<'a> {
    file: Box<dyn ReadFile>,
    core: &'a Core,
    calm: Calm,
}

impl ReadFile for Interruptible<'_> {
    fn len(&self) -> u64 {
        self.file.len()
    }

    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> Result<()> {
        self.core.check_calm(self.calm)?;
        self.file.read_at(offset, buffer)
    }

    fn map(&self) -> Result<Memory> {
        self.file.map()
    }
}

impl Core {
    /// Reads everything that the store holds now and checks it; the first damage is the error. Writers are not held up.
    pub(crate) fn verify(&self) -> Result<Verified> {
        self.check_open()?;
        let calm = self.calm();
        // What leaves the store meanwhile stays until this has read it: the version is held.
        let (version, logs) = self.written_logs();
        let tables: BTreeMap<u64, _> =
            version.slices().map(|slice| (slice.table.meta().number, &slice.table)).collect();
        let tables = tables.into_values();
        let mut seen = Verified::default();
        self.verify_manifest()?;
        seen.files += 1;
        for (file, end) in logs {
            // Of files in memory only the log itself knows which bytes are being written.
            let bytes = match self.env.is_volatile() {
                true => file.published()[..end as usize].to_vec(),
                false => self.read_file(&file.path, end)?,
            };
            self.check_calm(calm)?;
            self.verify_log(&file, &bytes, &mut seen)?;
        }
        for table in tables {
            let path = &table.file().path;
            let read = self.env.open_read(path)?;
            // A close takes away what left the store meanwhile.
            self.check_open()?;
            let read = read.ok_or_else(|| Error::on(ErrorKind::Corruption, path, "the table is gone"))?;
            let read = Interruptible { file: read, core: self, calm };
            let (records, bytes) = table.verify(&read)?;
            seen.files += 1;
            seen.records += records;
            seen.bytes += bytes;
        }
        Ok(seen)
    }

    fn verify_manifest(&self) -> Result<()> {
        let path = self.dir.join(MANIFEST);
        // The worker replaces it now and then: not while it is compared.
        let catalog = self.catalog.lock();
        match manifest::read(&*self.env, &self.dir)? {
            // Of a store that was poisoned while it was replaced nobody knows which of the two it is.
            Some(state) if state == *catalog || self.failure().is_some() => Ok(()),
            Some(_) => Err(Error::on(ErrorKind::Corruption, &path, "the manifest is not the one of this store")),
            None => Err(Error::on(ErrorKind::Corruption, &path, "the manifest is gone")),
        }
    }

    /// Each log and how much of it is in its file: all, once what stayed in the process is written through; less only
    /// if that fails, which is for the next write to tell.
    fn written_logs(&self) -> (Arc<Version>, Vec<(Arc<File>, u64)>) {
        let mut commit = self.commit.lock();
        if self.failure().is_none() {
            let _ = self.write_through(&mut commit);
        }
        let through = commit.active.as_ref().map(|active| (active.appender.file().number, active.appender.through()));
        let version = self.version.pin(&epoch::pin());
        let end_of = |file: &File| match through {
            Some((number, through)) if number == file.number => through,
            _ => file.end(),
        };
        let logs = version.memtables.iter().map(|m| (Arc::clone(&m.file), end_of(&m.file))).collect();
        (version, logs)
    }

    fn read_file(&self, path: &Path, end: u64) -> Result<Vec<u8>> {
        let gone = || Error::on(ErrorKind::Corruption, path, "the log is gone");
        let file: Box<dyn ReadFile> = self.env.open_read(path)?.ok_or_else(gone)?;
        if file.len() < end {
            return Err(Error::corruption(path, file.len(), format!("the log ends before {end}, where its data end")));
        }
        let mut bytes = crate::error::zeroed(end, path)?;
        file.read_at(0, &mut bytes)?;
        Ok(bytes)
    }

    fn verify_log(&self, file: &File, bytes: &[u8], seen: &mut Verified) -> Result<()> {
        let header = match SegmentHeader::read(bytes, self.database, file.number) {
            HeaderRead::Good(header) => header,
            HeaderRead::Bad(what) => return Err(file.corrupt(0, what)),
            HeaderRead::Newer(message) => return Err(Error::on(ErrorKind::NewerFormat, &file.path, message)),
            HeaderRead::Prepared => return Err(file.corrupt(0, "the segment's header is gone")),
        };
        let from = SEGMENT_HEADER_BYTES as u64;
        let replayed = replay::replay(bytes, from, file.salt, self.hash_seed, header.first_seq, |entries, _| {
            seen.records += entries.len() as u64;
            Ok::<(), Error>(())
        })?;
        if replayed.end != bytes.len() as u64 {
            let bad = replayed.stop;
            let (offset, what) = bad.map_or((replayed.end, "zeros where frames were"), |bad| (bad.offset, bad.what));
            return Err(file.corrupt(offset, what));
        }
        seen.files += 1;
        seen.bytes += bytes.len() as u64;
        Ok(())
    }
}
