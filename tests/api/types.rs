//! A store is shared and sent like any value: checked by the compiler.

use std::sync::Arc;

use kvs::{Batch, Db, Error, Iter, Options, Snapshot, Stats, Value};

fn shared<T: Send + Sync + 'static>() {}
fn sent<T: Send + 'static>() {}
fn cloned<T: Clone>() {}

/// `Db` is `Clone + Send + Sync + 'static`; what it hands out has no lifetime and can be sent.
#[test]
fn everything_can_be_sent_and_stored() {
    shared::<Db>();
    shared::<Snapshot>();
    shared::<Value>();
    shared::<Error>();
    shared::<Batch>();
    shared::<Options>();
    shared::<Stats>();
    sent::<Iter>();
    cloned::<Db>();
    cloned::<Snapshot>();
    cloned::<Value>();
    assert_eq!(size_of::<Db>(), size_of::<Arc<()>>(), "a clone is one count");
    assert_eq!(size_of::<Option<Error>>(), size_of::<usize>());
}

/// An iterator, a snapshot and a value are used on another thread after the `Db` that made them is gone here.
#[test]
fn what_a_store_hands_out_works_on_another_thread() {
    let db = super::in_memory();
    db.put("a", "1").unwrap();
    let (iter, snapshot, value) = (db.iter().unwrap(), db.snapshot().unwrap(), db.get("a").unwrap().unwrap());
    drop(db);
    std::thread::spawn(move || {
        assert_eq!(super::pairs(Ok(iter)), [(b"a".to_vec(), b"1".to_vec())]);
        assert_eq!(snapshot.get("a").unwrap().unwrap(), b"1");
        assert_eq!(value, b"1");
    })
    .join()
    .unwrap();
}
