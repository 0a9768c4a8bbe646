//! A flush that holds a range delete counts what that hides in tables as dead, for merges to come in time. It asks the tables' fences
//! for that. Where those were damaged the flush failed after all was done, and poisoned the store: writes were refused until the next
//! open, and after that until the next range delete over this table, because of an estimate. Found by `corruption.rs` in its first
//! run over tables.

use std::path::Path;

use kvs::env::sim::SimEnv;
use kvs::{Db, ErrorKind, Options};

#[test]
fn damage_in_a_table_is_not_met_by_an_estimate() {
    let (sim, path) = (SimEnv::new(1), Path::new("/db/000002.tbl"));
    let open = || Db::open_with(sim.shared(), "/db", Options::default()).unwrap();
    let db = open();
    db.put("a", "1").unwrap();
    db.put("z", "1").unwrap();
    db.flush().unwrap();
    db.close().unwrap();
    // In the properties, which stand before the footer.
    let len = sim.read_file(path).unwrap().len() as u64;
    assert!(sim.flip(path, len - 104 - 8, 0));

    let db = open();
    db.delete_range("a".."b").unwrap();
    db.flush().unwrap();
    db.put("b", "2").unwrap();
    assert_eq!(db.get("b").unwrap().as_deref(), Some(&b"2"[..]));
    assert_eq!(db.iter().unwrap().find_map(Result::err).unwrap().kind(), ErrorKind::Corruption);
    db.close().unwrap();
}
