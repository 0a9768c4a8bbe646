//! Every command but `load` and `dump`: outputs, exit codes, arguments.

use crate::tool::Tool;

const NONE: &[&str] = &[];

#[test]
fn get_set_and_rm() {
    let tool = Tool::new();
    tool.run(&["set", "key1", "value1"]).is(0, "");
    tool.run(&["get", "key1"]).is(0, "value1\n");
    tool.run(&["set", "key1", "value2"]).is(0, "");
    tool.run(&["get", "key1"]).is(0, "value2\n");
    tool.run(&["get", "key2"]).is(0, "Key not found\n");
    tool.run(&["rm", "key2"]).is(1, "Key not found\n");
    tool.run(&["rm", "key1"]).is(0, "");
    tool.run(&["rm", "key1"]).is(1, "Key not found\n");
    tool.run(&["get", "key1"]).is(0, "Key not found\n");
}

/// Commands that read find nothing where there is no store, and leave the directory as it was.
#[test]
fn no_store() {
    let tool = Tool::new();
    for dir in [".", "nowhere"] {
        tool.run(&["-d", dir, "get", "key1"]).is(0, "Key not found\n");
        tool.run(&["-d", dir, "rm", "key1"]).is(1, "Key not found\n");
        tool.run(&["-d", dir, "scan"]).is(0, "");
        tool.run(&["-d", dir, "dump"]).is(0, "");
        tool.run(&["-d", dir, "stats"]).fails(1, &["no store here", "kvs set", dir]);
        tool.run(&["-d", dir, "stats", "--json"]).fails(1, &["no store here"]);
        tool.run(&["-d", dir, "rm", "--prefix", "k"]).is(1, "Key not found\n");
        tool.run(&["-d", dir, "compact"]).fails(1, &["no store here", dir]);
        tool.run(&["-d", dir, "verify"]).fails(1, &["no store here"]);
        tool.run(&["repair", dir, "mended"]).fails(1, &["no store here", dir]);
        assert_eq!(tool.names(), NONE);
    }
    tool.run(&["-d", "new", "set", "key1", "value1"]).is(0, "");
    assert_eq!(tool.names(), ["new"]);
    tool.run(&["-d", "no/parent", "set", "key1", "value1"]).fails(3, &["no/parent"]);
}

#[test]
fn usage_errors() {
    let tool = Tool::new();
    for args in [
        &[][..],
        &["unknown"],
        &["get"],
        &["get", "key", "extra"],
        &["get", "-k"],
        &["get", "key", "--encoding", "morse"],
        &["set"],
        &["set", "key"],
        &["set", "key", "value", "extra"],
        &["rm"],
        &["rm", "key", "extra"],
        &["rm", "key", "--value-encoding", "hex"],
        &["rm", "key", "--prefix", "k"],
        &["rm", "--start"],
        &["compact", "a", "b", "extra"],
        &["compact", "--encoding", "morse"],
        &["scan", "extra"],
        &["scan", "--limit", "-1"],
        &["load", "file", "extra"],
        &["load", "--batch", "0"],
        &["load", "--sync=maybe"],
        &["dump", "--format", "xml"],
        &["stats", "extra"],
        &["verify", "extra"],
        &["repair"],
        &["repair", "store"],
        &["repair", "store", "out", "extra"],
        &["-d", "store", "repair", "store", "out"],
        &["repair", "store", "out", "--dir", "store"],
        &["bench", "--num", "0"],
        &["-d"],
        &["--option", "durability", "get", "key"],
        &["--option", "colour=red", "get", "key"],
        &["set", "key", "value", "--option", "durability=maybe"],
    ] {
        tool.run(args).is_usage();
    }
    assert_eq!(tool.names(), NONE, "nothing was made");
    let run = tool.run(NONE);
    assert!(run.err.contains("Usage: kvs [OPTIONS] <COMMAND>") && run.err.contains("scan"), "{}", run.err);
    assert!(tool.run(&["get", "k", "--option", "colour=red"]).err.contains("known are create,"));
}

#[test]
fn help_and_version() {
    let tool = Tool::new();
    let version = format!("kvs {}\n", env!("CARGO_PKG_VERSION"));
    assert_eq!(tool.text(&["-V"]), version);
    assert_eq!(tool.text(&["--version"]), version);
    let help = tool.text(&["--help"]);
    for part in ["Exit codes:", "5  locked", "segment_bytes_min=", "Usage: kvs"] {
        assert!(help.contains(part), "{part}");
    }
    for command in ["get", "set", "rm", "scan", "load", "dump", "stats", "compact", "verify", "repair", "bench"] {
        assert!(help.contains(&format!("\n  {command} ")), "{command}");
        let help = tool.text(&[command, "--help"]);
        assert!(help.contains("\nExamples:\n  kvs "), "{command}: {help}");
        assert!(help.lines().all(|line| line.chars().count() <= 100), "{command}: too wide");
    }
}

/// Both places of `--option` count, also together.
#[test]
fn options_before_and_after_the_command() {
    let tool = Tool::new();
    let set = |before: &str, after: &str| {
        tool.run(&[
            "-d",
            "store",
            "--option",
            before,
            "set",
            "--option",
            after,
            "--option",
            "log_backend=auto",
            "k",
            "v",
        ])
    };
    set("create=false", "durability=sync").fails(1, &["store"]);
    set("durability=sync", "create=false").fails(1, &["store"]);
    assert_eq!(tool.names(), NONE);
    set("durability=sync", "segment_bytes_max=128m").is(0, "");
    tool.run(&["get", "k", "-d", "store"]).is(0, "v\n");
    set("read_only=true", "durability=sync").fails(3, &["read-only", "without read_only"]);
}

#[test]
fn scan_ranges_and_order() {
    let tool = Tool::new();
    let lines: String = ["a", "b1", "b2", "b3", "c"].map(|k| format!("{k}\tv{k}\n")).concat();
    assert_eq!(tool.run_with(&["load"], lines.as_bytes()).code, 0);
    assert_eq!(tool.text(&["scan"]), lines);
    let keys = |args: &[&str]| {
        let args = [&["scan", "--keys-only"], args].concat();
        tool.text(&args).lines().collect::<Vec<_>>().join(" ")
    };
    assert_eq!(keys(&["--reverse"]), "c b3 b2 b1 a");
    assert_eq!(keys(&["--prefix", "b"]), "b1 b2 b3");
    assert_eq!(keys(&["--prefix", "b", "--reverse", "--limit", "2"]), "b3 b2");
    assert_eq!(keys(&["--prefix", ""]), "a b1 b2 b3 c");
    assert_eq!(keys(&["--start", "b2"]), "b2 b3 c");
    assert_eq!(keys(&["--stop", "b2"]), "a b1");
    assert_eq!(keys(&["--start", "b", "--stop", "b3"]), "b1 b2");
    assert_eq!(keys(&["--prefix", "b", "--start", "b2", "--stop", "z"]), "b2 b3");
    assert_eq!(keys(&["--start", "c", "--stop", "a"]), "", "inverted");
    assert_eq!(keys(&["--limit", "0"]), "");
    assert_eq!(keys(&["--limit", "3"]), "a b1 b2");
    assert_eq!(keys(&["--encoding", "hex", "--prefix", "62", "--limit", "1"]), "6231");
    assert_eq!(tool.text(&["scan", "--limit", "1", "--value-encoding", "base64"]), "a\tdmE=\n");
    tool.run(&["scan", "--encoding", "hex", "--start", "xyz"]).fails(2, &["--start", "hexadecimal", "--encoding"]);
}

#[test]
fn rm_ranges() {
    let tool = Tool::new();
    let lines: String = ["a", "b1", "b2", "b3", "c"].map(|k| format!("{k}\tv\n")).concat();
    let left = |args: &[&str]| {
        assert_eq!(tool.run_with(&["load"], lines.as_bytes()).code, 0);
        tool.run(&[&["rm"], args].concat()).is(0, "");
        tool.text(&["scan", "--keys-only"]).lines().collect::<Vec<_>>().join(" ")
    };
    assert_eq!(left(&["--prefix", "b"]), "a c");
    assert_eq!(left(&["--start", "b2"]), "a b1");
    assert_eq!(left(&["--stop", "b2"]), "b2 b3 c");
    assert_eq!(left(&["--start", "b", "--stop", "b3"]), "a b3 c");
    assert_eq!(left(&["--prefix", "b", "--start", "b2", "--stop", "z"]), "a b1 c");
    assert_eq!(left(&["--encoding", "hex", "--prefix", "62"]), "a c");
    for none in [&["--prefix", "x"][..], &["--start", "c", "--stop", "a"], &["--start", "d"]] {
        tool.run(&[&["rm"], none].concat()).is(1, "Key not found\n");
    }
    assert_eq!(left(&["--prefix", ""]), "");
    tool.run(&["rm", "--encoding", "hex", "--stop", "xyz"]).fails(2, &["--stop", "hexadecimal"]);
}

/// The keys stay, what was overwritten or deleted goes.
#[test]
fn compact_gives_space_back() {
    let tool = Tool::new();
    let stat = |name: &str| {
        let stats: serde_json::Value = serde_json::from_str(&tool.text(&["stats", "--json"])).unwrap();
        stats[name].as_u64().unwrap()
    };
    let lines: String = (0..2000).map(|i| format!("key{i:04}\t{}\n", "v".repeat(100))).collect();
    assert_eq!(tool.run_with(&["load"], lines.as_bytes()).code, 0);
    tool.run(&["compact"]).is(0, "");
    let full = stat("table_bytes");
    assert!(full > 200_000 && stat("log_bytes") < full, "{full}");
    tool.run(&["rm", "--start", "key0100"]).is(0, "");
    tool.run(&["compact", "key0000", "key0050"]).is(0, "");
    tool.run(&["compact", "", "key0050"]).is(0, "");
    tool.run(&["compact", "key0050"]).is(0, "");
    let less = stat("table_bytes");
    assert!(less < full / 5, "{less} of {full}");
    assert_eq!(tool.text(&["scan", "--keys-only"]).lines().count(), 100);
    assert!(tool.text(&["verify"]).starts_with("sound: "));
    tool.run(&["compact", "--encoding", "hex", "xyz"]).fails(2, &["START", "hexadecimal"]);
    tool.run(&["compact", "z", "a"]).is(0, "");
}

#[test]
fn encodings_of_arguments() {
    let tool = Tool::new();
    tool.run(&["set", "--encoding", "hex", "00ff", "0a09"]).is(0, "");
    tool.run(&["get", "--encoding", "base64", "AP8="]).is(0, "Cgk=\n");
    tool.run(&["get", "--encoding", "hex", "00FF", "--value-encoding", "text"]).is(0, "\n\t\n");
    tool.run(&["scan"]).is(0, "\\x00\\xff\t\\n\\t\n");
    tool.run(&["rm", "--encoding", "hex", "00ff"]).is(0, "");
    tool.run(&["get", "--encoding", "hex", "0"]).fails(2, &["key", "hexadecimal"]);
    tool.run(&["set", "--value-encoding", "base64", "k", "?"]).fails(2, &["value", "base64"]);
    tool.run(&["set", r"back\slash", r"\x41"]).is(0, "");
    tool.run(&["get", r"back\slash"]).is(0, "\\x41\n");
    tool.run(&["scan"]).is(0, "back\\\\slash\t\\\\x41\n");
}

#[cfg(unix)]
#[test]
fn arguments_and_values_of_any_bytes() {
    use std::ffi::OsStr;
    use std::os::unix::ffi::OsStrExt;
    let tool = Tool::new();
    let (key, value) = (OsStr::from_bytes(b"k\xff"), OsStr::from_bytes(b"\xfe\x80\tv"));
    tool.run(&[OsStr::new("set"), key, value]).is(0, "");
    assert_eq!(tool.run(&[OsStr::new("get"), key]).out, b"\xfe\x80\tv\n");
    tool.run(&["get", "--encoding", "hex", "6bff"]).is(0, "fe800976\n");
}

#[test]
fn empty_and_dashed_keys() {
    let tool = Tool::new();
    tool.run(&["set", "", ""]).is(0, "");
    tool.run(&["get", ""]).is(0, "\n");
    tool.run(&["scan"]).is(0, "\t\n");
    tool.run(&["set", "--", "-k", "--value"]).is(0, "");
    tool.run(&["get", "--", "-k"]).is(0, "--value\n");
    tool.run(&["set", "-d", ".", "--", "-d", "-"]).is(0, "");
    tool.run(&["get", "--", "-d"]).is(0, "-\n");
    tool.run(&["rm", "--", "-k"]).is(0, "");
    tool.run(&["rm", "--", "-k"]).is(1, "Key not found\n");
}

#[test]
fn a_key_too_large() {
    let tool = Tool::new();
    let key = "k".repeat(kvs::KEY_BYTES_MAX + 1);
    tool.run(&["set", &key, "v"]).fails(2, &["too large", "nothing was written"]);
    tool.run(&["set", &key[1..], "v"]).is(0, "");
    tool.run(&["get", &key[1..]]).is(0, "v\n");
}

#[test]
fn stats_and_verify() {
    let tool = Tool::new();
    tool.run(&["set", "k", "v"]).is(0, "");
    let stats = tool.text(&["stats"]);
    assert!(!stats.is_empty() && stats.ends_with('\n') && !stats.ends_with("\n\n"), "{stats:?}");
    let json = tool.text(&["stats", "--json"]);
    assert!(json.ends_with("}\n"), "{json:?}");
    assert!(serde_json::from_str::<serde_json::Value>(&json).unwrap().is_object());
    let sound = tool.text(&["verify"]);
    let words: Vec<_> = sound.trim_end().split([' ', ',']).filter(|word| word.parse::<u64>().is_err()).collect();
    assert_eq!(words, ["sound:", "files", "", "records", "", "bytes"], "{sound:?}");
}

/// `kvs get | head -c1` ends quietly, a full disk does not.
#[cfg(target_os = "linux")]
#[test]
fn stdout_closed_or_full() {
    use std::process::Stdio;
    let tool = Tool::new();
    tool.run(&["set", "k", &"v".repeat(100_000)]).is(0, "");
    for args in [&["get", "k"][..], &["scan"], &["dump"]] {
        let mut child = tool.command(args).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        drop(child.stdout.take());
        crate::tool::Run::of(child.wait_with_output().unwrap()).is(0, "");

        let full = crate::tool::open_write("/dev/full");
        let run = crate::tool::Run::of(tool.command(args).stdout(full).output().unwrap());
        run.fails(3, &["write stdout", "No space left"]);
    }
}

#[test]
fn bench_measures_and_cleans_up() {
    let tool = Tool::new();
    let table = tool.text(&["bench", "--num", "50", "--threads", "2", "--value-size", "5", "--key-size", "2"]);
    let (table, figures) = table.rsplit_once("\n\n").unwrap();
    let rows: Vec<Vec<_>> = table.lines().skip(3).map(|line| line.split_whitespace().collect()).collect();
    let ops: Vec<_> = rows.iter().map(|row| format!("{} {}", row[0], row[1])).collect();
    assert_eq!(ops, ["fill 50", "read 50", "missing 50", "scan 100", "overwrite 50", "mixed 50", "delete 50"]);
    assert!(rows.iter().all(|row| row.len() == 6), "{table}");
    let names: String = figures.chars().filter(|c| !c.is_ascii_digit() && *c != '.').collect();
    assert_eq!(names, "flushes , merges \nwrite amplification , space amplification \n");
    assert_eq!(tool.names(), NONE);

    tool.run(&["bench", "--num", "101", "--key-size", "2"]).fails(2, &["--key-size", "3 (for --num)"]);
    tool.run(&["bench", "--key-size", "65537"]).fails(2, &["--key-size"]);
    tool.run(&["bench", "--num", "5", "-d", "nowhere"]).fails(3, &["nowhere"]);
}

#[test]
fn bench_keeps_the_store_when_asked() {
    let tool = Tool::new();
    let table = tool.text(&["-d", "kept", "bench", "--num", "10", "--keep"]);
    assert!(!table.contains("delete"), "{table}");
    assert_eq!(tool.text(&["-d", "kept", "scan", "--keys-only"]).lines().count(), 10);
    tool.run(&["-d", "kept", "bench", "--keep"]).fails(2, &["kept", "empty"]);
}
