//! The manifest knows a table by its footer, and the footer knew keys, numbers and lengths, but nothing of values: each record's
//! checksum stands with the record and depends on the file's number and place only. So if a directory was copied, both went
//! on, and a table of the one was put into the other, it passed if only its values differed, and so did `verify`. (Where values are of
//! one size, as counters are, that takes no more than the same keys in the same order.) Now the footer has a check of all
//! records' checksums. Found by `corruption.rs`.

use std::path::Path;

use kvs::env::sim::SimEnv;
use kvs::{Db, ErrorKind, Options};

#[test]
fn a_table_whose_values_are_others_is_refused() {
    let (one, other) = (SimEnv::new(1), SimEnv::new(2));
    let open = |sim: &SimEnv| Db::open_with(sim.shared(), "/db", Options::default());
    open(&one).unwrap().close().unwrap();
    for path in one.list() {
        other.write_file(&path, one.read_file(&path).unwrap());
    }
    for (sim, value) in [(&one, "1"), (&other, "2")] {
        let db = open(sim).unwrap();
        db.put("counter", value).unwrap();
        db.flush().unwrap();
        db.close().unwrap();
    }
    let path = Path::new("/db/000002.tbl");
    one.write_file(path, other.read_file(path).unwrap());
    let e = open(&one).unwrap_err();
    assert_eq!((e.kind(), e.path()), (ErrorKind::Corruption, Some(path)), "{e:?}");
}
