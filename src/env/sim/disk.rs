//! The whole disk: directories, files, capacity, locks, and the moment at which the power goes.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::{OsStr, OsString};
use std::path::{Component, Path, PathBuf};
use std::time::Duration;

use rustix::io::Errno;

use super::CutModel;
use super::directory::{Node, SimDir};
use super::fate::{Fate, Rng};
use super::file::{SECTOR, SimFile};
use crate::env::{LockMode, SegmentKind};
use crate::error::{Error, ErrorKind, Result};

/// Where a name stands: its directory, in the one spelling that the disk knows, and the name in it.
pub(super) type Place = (PathBuf, OsString);

/// What a simulated machine is like; the same after a reboot.
#[derive(Clone, Copy)]
pub(super) struct Settings {
    pub(super) capacity: Option<u64>,
    pub(super) segment: SegmentKind,
    pub(super) reserves: bool,
    pub(super) written_back_once_in: usize,
}

pub(super) struct Disk {
    pub(super) settings: Settings,
    pub(super) clock: Duration,
    /// Effects so far: changes of files and directories, stores, syncs.
    pub(super) ops: u64,
    /// The power is off once there were so many.
    pub(super) cut: Option<u64>,
    /// The value of `ops` right after each sync that succeeded.
    pub(super) syncs: Vec<u64>,
    /// What the next sync answers, having lost everything.
    pub(super) broken_sync: Option<Errno>,
    pub(super) locks: BTreeMap<Place, (LockMode, u32)>,
    /// By path without the leading `/`; the root is the empty path and always there.
    dirs: BTreeMap<PathBuf, SimDir>,
    files: BTreeMap<u64, SimFile>,
    next_file: u64,
    used: u64,
    rng: Rng,
}

impl Disk {
    pub(super) fn new(seed: u64, settings: Settings) -> Disk {
        Disk {
            settings,
            clock: Duration::ZERO,
            ops: 0,
            cut: None,
            syncs: Vec::new(),
            broken_sync: None,
            locks: BTreeMap::new(),
            dirs: BTreeMap::from([(PathBuf::new(), SimDir::default())]),
            files: BTreeMap::new(),
            next_file: 1,
            used: 0,
            rng: Rng::new(seed),
        }
    }

    /// Counts an effect that is about to happen, unless the power is off.
    pub(super) fn effect(&mut self, what: &str, path: &Path) -> Result<()> {
        if self.power_is_off() {
            return Err(Error::on(ErrorKind::Io, path, format!("{what}: the power is off")));
        }
        self.ops += 1;
        Ok(())
    }

    pub(super) fn random(&mut self) -> u64 {
        self.rng.next()
    }

    pub(super) fn power_is_off(&self) -> bool {
        self.cut.is_some_and(|cut| self.ops >= cut)
    }

    // --- names -------------------------------------------------------------------------------------------

    pub(super) fn dir(&mut self, what: &str, path: &Path) -> Result<&mut SimDir> {
        match self.dirs.get_mut(&plain(path)) {
            Some(dir) => Ok(dir),
            None => Err(refused(what, path, Errno::NOENT)),
        }
    }

    pub(super) fn node(&self, place: &Place) -> Option<Node> {
        self.dirs.get(&place.0)?.get(&place.1)
    }

    /// The file of that name, if there is one.
    pub(super) fn lookup(&self, what: &str, path: &Path) -> Result<Option<u64>> {
        match self.node(&place(what, path)?) {
            None => Ok(None),
            Some(Node::File(file)) => Ok(Some(file)),
            Some(Node::Dir) => Err(Error::on(ErrorKind::NotADatabase, path, "is not a regular file but a directory")),
        }
    }

    pub(super) fn make_dir(&mut self, path: &Path) -> Result<()> {
        let what = "create the directory";
        if plain(path).as_os_str().is_empty() {
            return Ok(());
        }
        let place = place(what, path)?;
        match self.node(&place) {
            Some(Node::Dir) => return Ok(()),
            Some(Node::File(_)) => return Err(Error::on(ErrorKind::NotADatabase, path, "is not a directory")),
            None => {}
        }
        if !self.dirs.contains_key(&place.0) {
            return Err(refused(what, path, Errno::NOENT));
        }
        self.effect(what, path)?;
        self.set(&place, Some(Node::Dir));
        self.dirs.insert(plain(path), SimDir::default());
        Ok(())
    }

    /// Creates a file that takes `charge` bytes from the beginning.
    pub(super) fn make_file(&mut self, what: &str, path: &Path, charge: u64) -> Result<u64> {
        let place = place(what, path)?;
        if !self.dirs.contains_key(&place.0) {
            return Err(refused(what, path, Errno::NOENT));
        }
        if self.node(&place).is_some() {
            return Err(refused(what, path, Errno::EXIST));
        }
        // A full disk has no room for one more inode.
        if self.free() < charge.max(1) {
            return Err(refused(what, path, Errno::NOSPC));
        }
        self.effect(what, path)?;
        let file = self.add_file(SimFile::default(), charge);
        self.set(&place, Some(Node::File(file)));
        Ok(file)
    }

    pub(super) fn rename(&mut self, from: &Path, to: &Path) -> Result<()> {
        let what = "rename";
        let (source, target) = (place(what, from)?, place(what, to)?);
        if source.0 != target.0 {
            return Err(refused(what, from, Errno::XDEV));
        }
        let node = self.node(&source).ok_or_else(|| refused(what, from, Errno::NOENT))?;
        if node == Node::Dir || self.node(&target) == Some(Node::Dir) {
            return Err(refused(what, from, Errno::ISDIR));
        }
        self.effect(what, from)?;
        if source != target {
            // Two effects of one call: either, both or none may survive.
            self.set(&target, Some(node));
            self.set(&source, None);
        }
        Ok(())
    }

    pub(super) fn unlink(&mut self, path: &Path) -> Result<()> {
        let what = "remove the file";
        if self.lookup(what, path)?.is_none() {
            return Err(refused(what, path, Errno::NOENT));
        }
        self.effect(what, path)?;
        self.set(&place(what, path)?, None);
        Ok(())
    }

    pub(super) fn sync_dir(&mut self, path: &Path) -> Result<()> {
        let what = "sync the directory";
        let broken = self.broken_sync.take();
        self.dir(what, path)?;
        self.effect(what, path)?;
        if let Some(errno) = broken {
            self.dir(what, path)?.lose();
            return Err(refused(what, path, errno));
        }
        self.dir(what, path)?.sync();
        self.syncs.push(self.ops);
        self.forget_unreachable();
        Ok(())
    }

    /// A change of a name, not durable; the file counts its names.
    fn set(&mut self, place: &Place, node: Option<Node>) {
        let call = self.ops;
        if let Some(dir) = self.dirs.get_mut(&place.0) {
            let old = dir.set(call, &place.1, node);
            self.relink(old, node);
        }
    }

    fn relink(&mut self, old: Option<Node>, new: Option<Node>) {
        if let Some(Node::File(file)) = new
            && let Some(file) = self.files.get_mut(&file)
        {
            file.links += 1;
        }
        if let Some(Node::File(number)) = old
            && let Some(file) = self.files.get_mut(&number)
        {
            file.links = file.links.saturating_sub(1);
            self.release(number);
        }
    }

    // --- files -------------------------------------------------------------------------------------------

    fn add_file(&mut self, file: SimFile, charged: u64) -> u64 {
        let number = self.next_file;
        self.next_file += 1;
        self.files.insert(number, file);
        self.charge(number, charged);
        number
    }

    /// The file of an open handle or a name; both keep it in being.
    pub(super) fn file(&mut self, number: u64) -> &mut SimFile {
        self.files.entry(number).or_default()
    }

    pub(super) fn open(&mut self, number: u64) {
        self.file(number).open += 1;
    }

    pub(super) fn close(&mut self, number: u64) {
        let file = self.file(number);
        file.open = file.open.saturating_sub(1);
        self.release(number);
    }

    /// A file that nobody can reach any more gives its space back. Its bytes stay as long as a power cut may bring
    /// them back to light.
    fn release(&mut self, number: u64) {
        let file = self.file(number);
        if file.links == 0 && file.open == 0 {
            let charged = std::mem::take(&mut file.charged);
            self.used -= charged;
        }
    }

    fn forget_unreachable(&mut self) {
        let named: BTreeSet<u64> = self.dirs.values().flat_map(SimDir::files).collect();
        self.files.retain(|number, file| file.open > 0 || named.contains(number));
    }

    #[cfg(test)]
    pub(super) fn file_count(&self) -> usize {
        self.files.len()
    }

    /// Writes and charges what the file grows by.
    pub(super) fn write(&mut self, what: &str, path: &Path, number: u64, offset: usize, bytes: &[u8]) -> Result<()> {
        let charged = self.file(number).charged;
        let needed = charge(offset as u64 + bytes.len() as u64).max(charged);
        if self.free() < needed - charged {
            return Err(refused(what, path, Errno::NOSPC));
        }
        self.effect(what, path)?;
        self.charge(number, needed);
        self.put(number, offset, bytes);
        Ok(())
    }

    /// A store into a mapping: no error, and without power no effect.
    pub(super) fn store(&mut self, number: u64, offset: usize, bytes: &[u8]) {
        if self.power_is_off() {
            return;
        }
        self.ops += 1;
        let end = offset.checked_add(bytes.len());
        assert!(
            end.is_some_and(|end| end <= self.file(number).bytes().len()),
            "a store of {} bytes at {offset}, beyond the file's end: on a real machine this is SIGBUS",
            bytes.len()
        );
        self.put(number, offset, bytes);
    }

    fn put(&mut self, number: u64, offset: usize, bytes: &[u8]) {
        let once_in = self.settings.written_back_once_in;
        let file = self.files.entry(number).or_default();
        file.write(offset, bytes, once_in, &mut self.rng);
    }

    pub(super) fn set_len(&mut self, number: u64, len: usize) {
        let charged = self.file(number).charged.min(charge(len as u64));
        self.file(number).set_len(len);
        self.charge(number, charged);
    }

    pub(super) fn sync(&mut self, path: &Path, number: u64) -> Result<()> {
        let what = "sync the file";
        let broken = self.broken_sync.take();
        self.effect(what, path)?;
        if let Some(errno) = broken {
            self.file(number).lose();
            return Err(refused(what, path, errno));
        }
        self.file(number).sync();
        self.syncs.push(self.ops);
        Ok(())
    }

    fn charge(&mut self, number: u64, charged: u64) {
        let file = self.file(number);
        let before = std::mem::replace(&mut file.charged, charged);
        self.used = self.used - before + charged;
    }

    pub(super) fn free(&self) -> u64 {
        self.settings.capacity.unwrap_or(1 << 50).saturating_sub(self.used)
    }

    // --- from outside ------------------------------------------------------------------------------------

    /// Puts a file, or nothing, on the disk itself; missing directories too.
    pub(super) fn replace(&mut self, path: &Path, bytes: Option<Vec<u8>>) {
        let Ok(place) = place("replace", path) else { return };
        let mut above = PathBuf::new();
        for name in place.0.iter() {
            if let Some(dir) = self.dirs.get_mut(&above) {
                dir.set_durably(name, Some(Node::Dir));
            }
            above.push(name);
            self.dirs.entry(above.clone()).or_default();
        }
        let node = bytes.map(|bytes| {
            let charged = charge(bytes.len() as u64);
            Node::File(self.add_file(SimFile::durable(bytes), charged))
        });
        if let Some(dir) = self.dirs.get_mut(&place.0) {
            let old = dir.set_durably(&place.1, node);
            self.relink(old, node);
        }
    }

    /// The path of every file, in order.
    pub(super) fn list(&self) -> Vec<PathBuf> {
        let of_dir = |(path, dir): (&PathBuf, &SimDir)| -> Vec<PathBuf> {
            let files = dir.names().filter(|(_, node)| *node != Node::Dir);
            files.map(|(name, _)| Path::new("/").join(path).join(name)).collect()
        };
        self.dirs.iter().flat_map(of_dir).collect()
    }

    /// How many decisions a power cut has to make.
    pub(super) fn unsynced(&self) -> usize {
        let files: BTreeSet<u64> = self.dirs.values().flat_map(SimDir::files).collect();
        let files = files.iter().filter_map(|number| self.files.get(number)).map(SimFile::unsynced);
        files.sum::<usize>() + self.dirs.values().map(SimDir::unsynced).sum::<usize>()
    }

    /// The machine after a power cut right now and a reboot.
    pub(super) fn survive(&self, seed: u64, model: CutModel, fate: &mut dyn Fate) -> Disk {
        let mut disk = Disk { clock: self.clock, ..Disk::new(seed, self.settings) };
        disk.dirs.clear();
        // By old number: a file may have come out of a torn rename with two names.
        let mut files: BTreeMap<u64, u64> = BTreeMap::new();
        for (path, dir) in &self.dirs {
            // In order of their paths, so a directory comes after the one that it is in.
            let stands = match (path.parent(), path.file_name()) {
                (Some(parent), Some(name)) => disk.dirs.get(parent).is_some_and(|dir| dir.get(name).is_some()),
                _ => true,
            };
            if !stands {
                continue;
            }
            let mut names = dir.survive(model, fate);
            for node in names.values_mut() {
                let Node::File(old) = *node else { continue };
                let new = *files.entry(old).or_insert_with(|| {
                    let bytes = self.files.get(&old).map(|file| file.survive(model, fate)).unwrap_or_default();
                    let charged = charge(bytes.len() as u64);
                    disk.add_file(SimFile::durable(bytes), charged)
                });
                *node = Node::File(new);
                disk.file(new).links += 1;
            }
            disk.dirs.insert(path.clone(), SimDir::durable(names));
        }
        disk
    }
}

/// What `len` bytes take of the disk.
pub(super) fn charge(len: u64) -> u64 {
    len.div_ceil(SECTOR as u64) * SECTOR as u64
}

/// The one spelling of a path: relative to the root, without `.` and `..`.
fn plain(path: &Path) -> PathBuf {
    let mut plain = PathBuf::new();
    for component in path.components() {
        match component {
            Component::Normal(name) => plain.push(name),
            Component::ParentDir => {
                plain.pop();
            }
            Component::Prefix(_) | Component::RootDir | Component::CurDir => {}
        }
    }
    plain
}

pub(super) fn place(what: &str, path: &Path) -> Result<Place> {
    let mut dir = plain(path);
    match dir.file_name().map(OsStr::to_owned) {
        Some(name) => {
            dir.pop();
            Ok((dir, name))
        }
        None => Err(refused(what, path, Errno::ISDIR)),
    }
}

pub(super) fn refused(what: &str, path: &Path, errno: Errno) -> Error {
    Error::io(what, path, errno.into())
}
