//! Statistics add up, and their two forms say the same.

use kvs::Batch;

/// Each number is what was done, and `to_json` parses to the same numbers as `fields` and the text.
#[test]
fn numbers_add_up() {
    let dir = tempfile::tempdir().unwrap();
    let db = super::open(dir.path().join("db"));
    assert_eq!((db.stats().writes, db.stats().segments, db.stats().visible_seq), (0, 0, 0));
    for i in 0..1000u32 {
        db.put(i.to_be_bytes(), [0; 46]).unwrap();
    }
    db.delete(0u32.to_be_bytes()).unwrap();
    db.write(Batch::new().put("a", "b").put("c", "d").delete("e")).unwrap();
    db.sync().unwrap();
    let snapshot = db.snapshot().unwrap();
    let iterated = db.iter().unwrap().count();
    let stats = db.stats();
    assert_eq!(iterated, 1001);
    assert_eq!((stats.writes, stats.commits), (1004, 1002));
    assert_eq!(stats.user_bytes_written, 1000 * 50 + 4 + 5);
    assert_eq!((stats.visible_seq, stats.durable_seq), (1004, 1004));
    assert!(stats.syncs >= 1 && stats.rotations > 3 && stats.segments <= stats.rotations, "{stats:?}");
    assert_eq!(stats.iterators, 1);
    assert_eq!(stats.index_keys, 1003);
    assert_eq!((stats.snapshots, stats.oldest_snapshot_seq), (1, snapshot.sequence()));
    assert!(stats.log_bytes_written > stats.user_bytes_written);
    assert!(stats.log_bytes <= stats.log_bytes_allocated);
    assert!(stats.index_bytes > 0);
    assert_eq!(stats.poisoned, 0);

    let json: serde_json::Value = serde_json::from_str(&stats.to_json()).unwrap();
    let object = json.as_object().unwrap();
    assert_eq!(object.len(), stats.fields().len() + 3, "and three ratios");
    let text = stats.to_string();
    for (name, value) in stats.fields() {
        assert_eq!(object[name].as_u64(), Some(value), "{name}");
        assert!(text.lines().any(|line| line == format!("{name} {value}")), "{name}");
    }
    let verified = db.verify().unwrap();
    assert_eq!(verified.records, 1004);
    assert!(verified.files > stats.segments && verified.records >= 1002, "{verified:?}");
}
