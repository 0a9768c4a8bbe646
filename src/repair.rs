//! Repair: what is provably good of a damaged store, as a new store.
//!
//! ```text
//! 1 lock the old directory as a reader does; nothing in it is written
//! 2 whose files are these, and which of them count?            (identity.rs)   what a good manifest says, else all of them
//! 3 go through every log and table; note what is damaged       (logs.rs, tables.rs)
//!   and which keys that may have changed: a *doubt*;
//!   a table that knows of more than the manifest: again from 2, without the manifest
//! 4 make the new store, with a mark that it is not whole yet
//! 5 merge what is good, in the order of keys; of each key      (choose.rs)
//!   take the newest version, unless a doubt says that there
//!   was a newer one
//! 6 verify the new store, close it, which makes it durable, and remove the mark
//! ```
//!
//! Two rules decide everything.
//!
//! * **A record counts if it proves itself**: its checksum covers every byte, its place, its file and its database. A frame of a log
//!   counts as a whole or not at all.
//! * **An older value is never passed off as the present one.** Where a newer version may be in what is lost, the older one is left out
//!   and listed. Which keys may be in what is lost is told by the sections of a table that are still good, to a single key in most
//!   cases. A part of a log may have held any key: there the keys that its bytes seem to say are left out, and the list says
//!   that others may be concerned.
//!
//! Tables are read twice, block by block; logs are held in memory, as an open holds them. A repair that is cut off, or fails, leaves
//! nothing that opens with a part of the keys.

mod chain;
mod choose;
mod identity;
mod logs;
mod report;
mod tables;
#[cfg(test)]
mod tests;

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use rustix::io::Errno;

use crate::db::Db;
use crate::engine::recovery::{self, LOCK, REPAIRING};
use crate::env::os::OsEnv;
use crate::env::{Env, LockMode};
use crate::error::{Error, ErrorKind, Result};
use crate::manifest::{MANIFEST, State};
use crate::options::Options;
use crate::record::Seq;
use crate::sync::Arc;
use crate::{log, table};

pub use report::{Keys, LeftOut, Repaired};

/// What a process has too many of; a file is not at fault then.
const OUT_OF_FILES: [Errno; 2] = [Errno::MFILE, Errno::NFILE];
/// Nor where this user may not read.
const NOT_ALLOWED: [Errno; 2] = [Errno::ACCESS, Errno::PERM];

/// Writes what is provably good of the damaged store in the directory `path` to a new store in the directory `out`, and says what it
/// left out. `options` are those of the new store.
///
/// A record is kept if its checksums prove it, if it is the newest of its key, and if nothing that is lost may have been a newer version of
/// that key. The new store holds no older versions and no tombstones. Whatever else may have been in the old one is in
/// [`Repaired::left_out`]; if that is empty nothing was lost. When this returns the new store was verified, is durable, and is closed.
///
/// The old directory is only read, under the lock of a reader: not beside a writer. Needs memory for the logs, and for tables some
/// buffers, whatever their size. `docs/durability.md` tells all that is promised.
///
/// ```
/// # let dir = tempfile::tempdir().unwrap();
/// # let (old, new) = (dir.path().join("old"), dir.path().join("new"));
/// # let db = kvs::Db::open(&old, kvs::Options::default())?;
/// # db.put("k", "v")?;
/// # db.close()?;
/// let repaired = kvs::repair(&old, &new, &kvs::Options::default())?;
/// for left_out in &repaired.left_out {
///     println!("{left_out}");
/// }
/// assert!(repaired.is_complete() && repaired.keys == 1);
/// # Ok::<(), kvs::Error>(())
/// ```
///
/// # Errors
///
/// [`NotADatabase`](ErrorKind::NotADatabase): there is no store. [`InvalidArgument`](ErrorKind::InvalidArgument): `out` is not empty, or lies in
/// `path`. [`Locked`](ErrorKind::Locked) and [`NewerFormat`](ErrorKind::NewerFormat) as for an open. [`Corruption`](ErrorKind::Corruption):
/// nothing of it can be proved. Whatever fails while the new store is written: it is removed again.
pub fn repair(path: impl AsRef<Path>, out: impl AsRef<Path>, options: &Options) -> Result<Repaired> {
    repair_with(OsEnv::shared(), path, out, options)
}

/// As [`repair`], in another [environment](crate::env).
pub fn repair_with(
    env: Arc<dyn Env>,
    path: impl AsRef<Path>,
    out: impl AsRef<Path>,
    options: &Options,
) -> Result<Repaired> {
    let (dir, out) = (path.as_ref(), out.as_ref());
    let options = Options { create: true, read_only: false, ..options.clone() };
    options.validate()?;
    // As in an open.
    env.fork_generation();
    let names = look(&*env, dir)?;
    refuse(&*env, dir, out)?;
    // Where there is no lock file there is no writer, and none is made: nothing is written here.
    let is_locked = names.iter().any(|name| name == LOCK);
    let _lock = if is_locked { Some(env.lock(&dir.join(LOCK), LockMode::Shared)?) } else { None };
    let mut newer = None;
    let (mut repair, chains, logged) = loop {
        // Again, now that nobody else can change it.
        let names = look(&*env, dir)?;
        let tables: Vec<u64> = table::numbers(&names).into_keys().collect();
        let logs: Vec<u64> = log::numbers(&names).into_keys().collect();
        let found = identity::find(&*env, dir, &tables, &logs, newer.as_deref())?;
        let mut repair = Repair::new(&*env, dir, found);
        let logged = repair.logs(&logs)?;
        if let Some(table) = repair.newer_than_manifest(&tables, &logged)? {
            newer = Some(table);
            continue;
        }
        let chains = repair.tables(&tables)?;
        break (repair, chains, logged);
    };

    let db = Db::open_with(Arc::clone(&env), out, options).inspect_err(|failure| {
        // Nothing was there a moment ago. Somebody else's store is not to be cleared away.
        if matches!(failure.kind(), ErrorKind::Io | ErrorKind::NoSpace) {
            clear(&*env, out);
        }
    })?;
    if db.iter()?.next().is_some() {
        return Err(Error::on(ErrorKind::InvalidArgument, out, "somebody else has just made a store here"));
    }
    let written = mark(&*env, out)
        .and_then(|()| repair.choose(&chains, &logged, &db))
        .and_then(|()| if is_locked { Ok(()) } else { still_alone(&*env, dir) });
    // Everything is in the new store: is it as it was written, and durable?
    let written = written.and_then(|()| db.verify()).and_then(|_| db.close()).and_then(|()| unmark(&*env, out));
    if let Err(failure) = written {
        let _ = db.close();
        drop(db);
        clear(&*env, out);
        return Err(failure);
    }
    Ok(repair.report)
}

/// Refuses if somebody has made a lock file.
fn still_alone(env: &dyn Env, dir: &Path) -> Result<()> {
    if look(env, dir)?.iter().any(|name| name == LOCK) {
        let message = "somebody has opened the store while it was repaired: close it there, and repair it again";
        return Err(Error::on(ErrorKind::Locked, dir, message));
    }
    Ok(())
}

/// Says that the store in `out` is not whole yet: an open refuses it.
fn mark(env: &dyn Env, out: &Path) -> Result<()> {
    env.create(&out.join(REPAIRING))?.sync()?;
    env.sync_dir(out)
}

/// Says that it is, once everything in it is durable.
fn unmark(env: &dyn Env, out: &Path) -> Result<()> {
    env.unlink(&out.join(REPAIRING))?;
    env.sync_dir(out)
}

/// Removes what there is of a store that is not whole; the mark last.
fn clear(env: &dyn Env, out: &Path) {
    let names = env.list_dir(out).unwrap_or_default();
    let (marks, others): (Vec<_>, Vec<_>) = names.into_iter().partition(|name| name == REPAIRING);
    for name in others.into_iter().chain(marks) {
        let _ = env.unlink(&out.join(name));
    }
}

/// The names in the directory; refuses what is no store.
fn look(env: &dyn Env, dir: &Path) -> Result<Vec<OsString>> {
    let none = || Error::on(ErrorKind::NotADatabase, dir, "there is no store here");
    let names = env.list_dir(dir).map_err(|failure| match failure.os_code() {
        Some(code) if code == Errno::NOENT.raw_os_error() => none(),
        Some(code) if code == Errno::NOTDIR.raw_os_error() => none(),
        _ => failure,
    })?;
    let ours = names.iter().any(|name| name == MANIFEST);
    let ours = ours || !table::numbers(&names).is_empty() || !log::numbers(&names).is_empty();
    if names.iter().any(|name| name == REPAIRING) {
        return Err(recovery::half_repaired(dir));
    }
    if ours { Ok(names) } else { Err(none()) }
}

/// Refuses to write to `out` if something is there, or if that is in `dir`.
fn refuse(env: &dyn Env, dir: &Path, out: &Path) -> Result<()> {
    let unusable = |message: &str| Err(Error::on(ErrorKind::InvalidArgument, out, message));
    match env.list_dir(out) {
        Ok(names) if names.is_empty() => {}
        Ok(_) => return unusable("the directory is not empty: a repair makes a new store, name another one"),
        Err(failure) if failure.os_code() == Some(Errno::NOENT.raw_os_error()) => {}
        Err(failure) if failure.os_code() == Some(Errno::NOTDIR.raw_os_error()) => {
            return unusable("it, or a part of its path, is a file: a repair makes a new directory, name another one");
        }
        Err(failure) => return Err(failure),
    }
    let parent = match out.parent() {
        Some(parent) if parent.as_os_str().is_empty() => Path::new("."),
        Some(parent) => parent,
        None => out,
    };
    let real_out = env.real_path(out).or_else(|_| {
        let name: PathBuf = out.file_name().map(PathBuf::from).unwrap_or_default();
        env.real_path(parent).map(|parent| parent.join(name))
    })?;
    if real_out.starts_with(env.real_path(dir)?) {
        return unusable(
            "it lies in the store that is to be repaired: nothing is written there, name another directory",
        );
    }
    Ok(())
}

/// A version that may be lost, of some key.
#[derive(Debug)]
struct Doubt {
    keys: Keys,
    /// The halves of the hashes of the keys that it can be, if that is known; ascending.
    hashes: Option<Vec<u32>>,
    /// It is not newer than this.
    last_seq: Seq,
    /// Where it was.
    place: String,
    /// How many values were left out for it, and the entries for those that are listed together.
    listed: usize,
    together: Vec<usize>,
}

impl Doubt {
    fn new(keys: Keys, hashes: Option<Vec<u32>>, last_seq: Seq, place: String) -> Doubt {
        Doubt { keys, hashes, last_seq, place, listed: 0, together: Vec::new() }
    }
}

/// A repair under way.
struct Repair<'a> {
    env: &'a dyn Env,
    dir: &'a Path,
    /// The manifest is lost, and which files count is a guess.
    is_guess: bool,
    state: State,
    report: Repaired,
    doubts: Vec<Doubt>,
}

impl<'a> Repair<'a> {
    fn new(env: &'a dyn Env, dir: &'a Path, found: identity::Identity) -> Repair<'a> {
        let identity::Identity { state, lost } = found;
        let is_guess = lost.is_some();
        let mut report = Repaired::default();
        if let Some((at, what)) = lost {
            report.warnings.push(
                "the manifest is lost, and which tables and logs counted is a guess: the newest version of each key that was found \
                 is taken, a key that had been deleted may be back, and one that was overwritten may have an older value"
                    .to_owned(),
            );
            report.left_out.push(LeftOut {
                file: dir.join(MANIFEST),
                from: at,
                to: at,
                why: format!("what it said of the store is lost: {what}"),
                keys: Keys::Unknown,
                records: None,
                seqs: None,
            });
        }
        Repair { env, dir, is_guess, state, report, doubts: Vec::new() }
    }
}

/// The smallest key after `key`.
fn behind(key: &[u8]) -> Vec<u8> {
    [key, &[0]].concat()
}

/// Does a file that could not be opened say nothing about the file?
fn is_of_this_machine(failure: &Error) -> bool {
    matches!(failure.kind(), ErrorKind::NewerFormat | ErrorKind::NoMemory)
        || OUT_OF_FILES.iter().chain(&NOT_ALLOWED).any(|code| failure.os_code() == Some(code.raw_os_error()))
}
