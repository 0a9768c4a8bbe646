//! Options are checked at open, each with a message that names it; nothing is made when one is wrong.

use kvs::{Db, ErrorKind, OPTIONS, Options};

/// Values out of bounds are refused before the directory is touched, and the message says what is allowed.
#[test]
fn values_out_of_bounds() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("db");
    let d = Options::default;
    for (options, name) in [
        (Options { segment_bytes_min: 4095, ..d() }, "segment_bytes_min"),
        (Options { segment_bytes_min: 0, ..d() }, "segment_bytes_min"),
        (Options { segment_bytes_min: (1 << 30) + 1, ..d() }, "segment_bytes_min"),
        (Options { segment_bytes_max: 1, ..d() }, "segment_bytes_max"),
        (Options { segment_bytes_max: (4 << 30) + 1, ..d() }, "segment_bytes_max"),
        (Options { memtable_bytes_max: 4096, ..d() }, "memtable_bytes_max"),
        (Options { table_bytes_max: 4095, ..d() }, "table_bytes_max"),
        (Options { block_bytes: 255, ..d() }, "block_bytes"),
        (Options { block_bytes: (64 << 10) + 1, ..d() }, "block_bytes"),
        (Options { space_percent: 100, ..d() }, "space_percent"),
        (Options { runs_max: 0, ..d() }, "runs_max"),
    ] {
        for refused in [Db::open(&path, options.clone()), Db::in_memory(options.clone())] {
            let refused = refused.unwrap_err();
            assert_eq!(refused.kind(), ErrorKind::InvalidArgument, "{name}");
            assert!(refused.to_string().contains(&format!("{name} is ")), "{refused}");
        }
    }
    assert!(!path.exists());
    let refused = Db::in_memory(Options { read_only: true, ..d() }).unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::InvalidArgument);
    assert!(Db::in_memory(Options { create: false, ..d() }).is_ok(), "there never is one to be opened");
}

/// By name, as text: every listed option, with its default; unknown names and unusable values say what would do.
#[test]
fn by_name() {
    let mut options = Options::default();
    for option in OPTIONS {
        options.set(option.name, option.default).unwrap();
        let refused = options.set(option.name, "nonsense").unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::InvalidArgument);
        assert!(refused.to_string().contains(option.name) && refused.to_string().contains("must be"), "{refused}");
    }
    assert_eq!(options, Options::default());
    let refused = options.set("colour", "red").unwrap_err();
    assert!(refused.to_string().contains("known are create, read_only"), "{refused}");
}
