//! Opening the store as each command needs it.
//!
//! 1. A command that only reads opens read-only, so that it works on read-only media and changes no byte.
//! 2. Where there is no store, reading finds nothing and makes nothing; only `set`, `load` and `bench` make one.
//! 3. "No store" is decided before the engine is asked where the directory is missing or empty, and after it
//!    has refused where the directory holds other files. A damaged store is never taken for none.

use std::path::Path;

use kvs::{Db, ErrorKind, Options};

use crate::args::{Cli, OptionArg};
use crate::exit::{Failure, Outcome};
use crate::files::{Holds, holds};

/// Where the store is and how to open it.
#[derive(Debug)]
pub struct Place<'a> {
    pub dir: &'a Path,
    options: Options,
}

impl<'a> Place<'a> {
    pub fn of(cli: &'a Cli) -> Outcome<Place<'a>> {
        let mut options = Options::default();
        for OptionArg { name, value } in &cli.options {
            options.set(name, value).map_err(Failure::from)?;
        }
        Ok(Place { dir: &cli.dir, options })
    }

    /// To write, making the store if need be.
    pub fn create(&self) -> Outcome<Db> {
        Ok(Db::open(self.dir, self.options.clone())?)
    }

    /// To write into a store that is there. None: there is no store.
    pub fn existing(&self) -> Outcome<Option<Db>> {
        self.open_existing(Options { create: false, ..self.options.clone() })
    }

    /// To read. None: there is no store.
    pub fn read(&self) -> Outcome<Option<Db>> {
        self.open_existing(Options { create: false, read_only: true, ..self.options.clone() })
    }

    /// To read what must be there.
    pub fn read_required(&self) -> Outcome<Db> {
        self.read()?.ok_or_else(|| self.missing())
    }

    /// To write into what must be there.
    pub fn existing_required(&self) -> Outcome<Db> {
        self.existing()?.ok_or_else(|| self.missing())
    }

    fn missing(&self) -> Failure {
        kvs::Error::on(ErrorKind::NotADatabase, self.dir, "there is no store here").into()
    }

    /// How it is opened, for a report.
    pub fn options(&self) -> &Options {
        &self.options
    }

    fn open_existing(&self, options: Options) -> Outcome<Option<Db>> {
        if holds(self.dir) == Holds::Nothing {
            return Ok(None);
        }
        match Db::open(self.dir, options) {
            Ok(db) => Ok(Some(db)),
            Err(e) if e.kind() == ErrorKind::NotADatabase && holds(self.dir) != Holds::Perhaps => Ok(None),
            Err(e) => Err(e.into()),
        }
    }
}
