//! Doubt: how a store comes back after a sync failed.
//!
//! When fdatasync fails, Linux marks the pages that it could not write as clean. They can still be read, by this process and by
//! the next one, but they may not be on the disk, and no later sync writes them or fails because of them. Poisoning keeps this
//! process from building on such pages. The next one would build on them if it did not know: it would replay
//! them, sync them with success, record them in the manifest, acknowledge writes that follow them, and a power cut
//! would leave a store that lacks what its manifest says it has.
//!
//! 1. Whoever sees a sync fail leaves the file `UNSYNCED` behind. It need not be durable: a machine that has gone down has
//!    no pages left to doubt.
//! 2. The next open that may write finds it and, before it believes anything, copies every file of the store, syncs the copy and
//!    renames it into the file's place; then it syncs the directory. New pages, new names.
//! 3. It removes the mark. Cut off before that it starts again: the copies say what the files said.
//!
//! If not even the mark can be made there is nothing left to write to; whoever then makes the medium writable again without
//! unmounting it is not protected.

use std::ffi::OsString;
use std::path::Path;

use crate::env::Env;
use crate::error::{Error, Result};
use crate::log;
use crate::manifest::MANIFEST;

/// The mark.
pub(crate) const UNSYNCED: &str = "UNSYNCED";
/// What ends a copy's name until it is complete. The manifest's is called so wherever one is made.
const COPY: &str = ".tmp";
const COPY_BYTES: u64 = 1 << 20;

/// Leaves the mark. The failure that is the reason is the one to tell.
#[cold]
pub(crate) fn leave_mark(env: &dyn Env, dir: &Path) {
    // Fails if it is there already, and if nothing can be written any more.
    let _ = env.create(&dir.join(UNSYNCED));
}

/// Leaves the mark if the manifest's replacement failed because the directory could not be synced.
#[cold]
pub(crate) fn mark_names(env: &dyn Env, dir: &Path, failure: &Error) {
    if failure.path() == Some(dir) {
        leave_mark(env, dir);
    }
}

/// Steps 2 and 3, and removes copies of an earlier try. `names` is what the directory holds; its lock is held.
pub(crate) fn resolve(env: &dyn Env, dir: &Path, names: &[OsString]) -> Result<()> {
    let here = |name: &OsString| names.contains(name);
    let files = || log::numbers(names).into_values().chain([OsString::from(MANIFEST)]);
    let copy_of = |name: &OsString| OsString::from_iter([name.as_os_str(), COPY.as_ref()]);
    for copy in files().map(|name| copy_of(&name)).filter(here) {
        env.unlink(&dir.join(copy))?;
    }
    if !here(&UNSYNCED.into()) {
        return Ok(());
    }
    for name in files().filter(here) {
        renew(env, &dir.join(&name), &dir.join(copy_of(&name)))?;
    }
    env.sync_dir(dir)?;
    env.unlink(&dir.join(UNSYNCED))
}

/// Puts a synced copy in the place of the file at `path`.
fn renew(env: &dyn Env, path: &Path, tmp: &Path) -> Result<()> {
    let Some(file) = env.open_read(path)? else { return Ok(()) };
    let copy = env.create(tmp)?;
    let mut buffer = vec![0; COPY_BYTES.min(file.len()) as usize];
    let mut at = 0;
    while at < file.len() {
        let part = &mut buffer[..COPY_BYTES.min(file.len() - at) as usize];
        file.read_at(at, part)?;
        copy.append(part)?;
        at += part.len() as u64;
    }
    copy.sync()?;
    env.rename(tmp, path)
}
