//! `load` and `dump`: nothing is lost, and whatever is wrong with the input has a line number.

use std::collections::BTreeMap;

use crate::random::Random;
use crate::tool::Tool;

const FORMATS: [&str; 2] = ["tsv", "jsonl"];
const ENCODINGS: [&str; 3] = ["text", "hex", "base64"];

/// Random bytes out of one store and into another, through every format and pair of encodings.
#[test]
fn any_bytes_survive_dump_and_load() {
    let tool = Tool::new();
    let mut random = Random::printed("any_bytes_survive_dump_and_load");
    let mut pairs: BTreeMap<Vec<u8>, Vec<u8>> = (0..300).map(|_| (random.bytes(20), random.bytes(50))).collect();
    pairs.extend((0..=255).map(|byte| (vec![byte], vec![byte; 3])));
    pairs.insert(Vec::new(), random.bytes(5000));
    let db = kvs::Db::open(tool.path("from"), Default::default()).unwrap();
    for (key, value) in &pairs {
        db.put(key, value).unwrap();
    }
    db.close().unwrap();
    for format in FORMATS {
        for key in ENCODINGS {
            for value in ENCODINGS {
                let how = ["--format", format, "--encoding", key, "--value-encoding", value];
                let dump = tool.run(&[&["-d", "from", "dump"], &how[..]].concat());
                assert_eq!((dump.code, dump.err.as_str()), (0, ""));
                let text = String::from_utf8(dump.out).expect("a dump is text");
                assert!(!text.contains(|c: char| c.is_control() && c != '\n' && c != '\t'), "{how:?}");
                let to = format!("to-{format}-{key}-{value}");
                let load = tool.run_with(&[&["-d", &to, "load", "--batch", "7"], &how[..]].concat(), text.as_bytes());
                assert_eq!(load.code, 0, "{load:?}");
                let db = kvs::Db::open(tool.path(&to), Default::default()).unwrap();
                let loaded: BTreeMap<_, _> =
                    db.iter().unwrap().map(|pair| pair.unwrap()).map(|(k, v)| (k.to_vec(), v.to_vec())).collect();
                assert_eq!(loaded, pairs, "{how:?}");
            }
        }
    }
}

#[test]
fn a_load_says_what_it_did_in_one_line() {
    let tool = Tool::new();
    let run = tool.run_with(&["load"], b"a\t1\nb\t22\r\nc\t");
    assert_eq!((run.code, run.out.len()), (0, 0));
    assert!(run.err.starts_with("loaded 3 pairs, 0.0 MB in 0.") && run.err.ends_with(" pairs/s)\n"), "{}", run.err);
    assert_eq!(run.err.lines().count(), 1);
    tool.run(&["scan"]).is(0, "a\t1\nb\t22\nc\t\n");
    for sync in ["--sync", "--sync=true", "--sync=false"] {
        assert!(tool.run_with(&["load", sync], b"").err.starts_with("loaded 0 pairs,"), "{sync}");
    }
}

#[test]
fn files_and_their_formats() {
    let tool = Tool::new();
    tool.write("in.ndjson", "{\"value\": \"1\", \"key\": \"a\"}\n{\"key_hex\": \"62\", \"value_base64\": \"Mg==\"}");
    assert_eq!(tool.run(&["-d", "store", "load", "in.ndjson"]).code, 0);
    let dump = |args: &[&str]| {
        let run = tool.run(&[&["-d", "store", "dump"], args].concat());
        assert_eq!((run.code, run.out.len()), (0, 0), "{run:?}");
        assert!(run.err.starts_with("dumped 2 pairs, 0.0 MB in 0."), "{}", run.err);
    };
    dump(&["out.tsv"]);
    assert_eq!(tool.read("out.tsv"), b"a\t1\nb\t2\n");
    dump(&["out.jsonl"]);
    assert_eq!(tool.read("out.jsonl"), b"{\"key\": \"a\", \"value\": \"1\"}\n{\"key\": \"b\", \"value\": \"2\"}\n");
    dump(&["out.jsonl", "--format", "tsv"]);
    assert_eq!(tool.read("out.jsonl"), b"a\t1\nb\t2\n", "the old file is replaced");
    assert_eq!(tool.names(), ["in.ndjson", "out.jsonl", "out.tsv", "store"]);
    let run = tool.run(&["-d", "store", "dump", "--start", "b", "-v"]);
    assert_eq!(run.out, b"b\t2\n");
    assert!(run.err.starts_with("dumped 1 pairs"), "{}", run.err);
    tool.run(&["-d", "store", "dump", "no/where.tsv"]).fails(3, &["create no/where.tsv"]);
}

#[test]
fn input_that_cannot_be_read() {
    let tool = Tool::new();
    tool.run(&["-d", "store", "load", "nowhere.tsv"]).fails(3, &["open nowhere.tsv"]);
    tool.run(&["-d", "store", "load", "."]).fails(3, &["open .", "directory"]);
    assert!(tool.names().is_empty(), "no store was made for it");
}

/// The batch of the malformed line is not written, those before it are, and the message counts them.
#[test]
fn a_malformed_line_has_a_number() {
    let good: String = (1..=4).map(|i| format!("k{i}\tv{i}\n")).collect();
    for (batch, written) in [("1", 4), ("2", 4), ("3", 3), ("5", 0)] {
        let tool = Tool::new();
        tool.write("pairs.tsv", format!("{good}bad\nk6\tv6\n"));
        let run = tool.run(&["-d", "store", "load", "--batch", batch, "pairs.tsv"]);
        run.fails(2, &["pairs.tsv: line 5: no tab", &format!("({written} pairs were written before)")]);
        assert_eq!(tool.text(&["-d", "store", "scan"]).lines().count(), written);
    }
    for (args, line, why) in [
        (&[][..], "k\\q\tv", r#"key: "\\q""#),
        (&[], "k\tv\\x4", "value: "),
        (&[], "k\tv\tw", "more than one tab"),
        (&[], "", "no tab"),
        (&["--encoding", "hex"], "6b\t7", "value: not hexadecimal"),
        (&["--value-encoding", "base64"], "k\tYQ", "value: not base64"),
        (&["--format", "jsonl"], "k\tv", "column 1: expected value"),
        (&["--format", "jsonl"], r#"{"key":"k"}"#, "no \"value\""),
        (&["--format", "jsonl"], r#"{"key":"k","value":"v","x":1}"#, "unknown field \"x\""),
    ] {
        let first = if args.contains(&"jsonl") { r#"{"key":"","value":""}"# } else { "\t" };
        let run = Tool::new().run_with(&[&["load"], args].concat(), format!("{first}\n{line}\n").as_bytes());
        run.fails(2, &["stdin: line 2: ", why, "correct the line", "0 pairs were written"]);
    }
}

/// Lines that are too long end the load with their number; what is just short enough goes in.
#[test]
fn long_lines() {
    let tool = Tool::new();
    let limited = |input: &str| tool.run_with(&["load", "--line-bytes-max", "10"], input.as_bytes());
    assert_eq!(limited("1234\t67890\n1234\t67890").code, 0);
    limited("k\tv\n1234\t678901\n").fails(2, &["line 2: longer than 10 bytes", "--line-bytes-max"]);
    limited("k\tv\n1234\t678901").fails(2, &["line 2"]);
    assert_eq!(tool.run_with(&["load", "--line-bytes-max", &u64::MAX.to_string()], b"k\tv\n").code, 0);

    let key = "k".repeat(kvs::KEY_BYTES_MAX);
    let escaped = "\\x6b".repeat(kvs::KEY_BYTES_MAX);
    assert_eq!(tool.run_with(&["load"], format!("{key}\tv\n{escaped}\tw\n").as_bytes()).code, 0);
    tool.run(&["get", &key]).is(0, "w\n");
    tool.run_with(&["load"], format!("a\tb\nk{key}\tv\n").as_bytes())
        .fails(2, &["line 2: a key of 65537 bytes", "65536"]);
    tool.run_with(&["load"], &vec![b'k'; 10 << 20]).fails(2, &["line 1: no tab in its first", "key"]);
    let value = "v".repeat(20 << 20);
    assert_eq!(tool.run_with(&["load"], format!("big\t{value}\nafter\t1\n").as_bytes()).code, 0);
    assert_eq!(tool.run(&["get", "big"]).out.len(), (20 << 20) + 1);
}

/// `kvs dump | head -1`: the reader goes away in the middle, and that is no failure.
#[test]
fn a_reader_that_goes_away() {
    use std::io::{BufRead, BufReader};
    let tool = Tool::new();
    let lines: String = (0..50_000).map(|i| format!("key{i:08}\tvalue\n")).collect();
    assert_eq!(tool.run_with(&["load"], lines.as_bytes()).code, 0);
    for command in ["scan", "dump"] {
        let pipe = std::process::Stdio::piped;
        let mut child = tool.command(&[command]).stdout(pipe()).stderr(pipe()).spawn().unwrap();
        let mut first = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut first).unwrap();
        assert_eq!(first, "key00000000\tvalue\n");
        crate::tool::Run::of(child.wait_with_output().unwrap()).is(0, "");
    }
}

/// A device is no file that could be replaced; what it refuses is reported.
#[cfg(target_os = "linux")]
#[test]
fn devices_are_written_directly() {
    let tool = Tool::new();
    tool.run(&["set", "k", "v"]).is(0, "");
    tool.run(&["dump", "/dev/full"]).fails(3, &["write /dev/full", "No space left"]);
    let run = tool.run(&["dump", "/dev/null"]);
    assert_eq!(run.code, 0, "{run:?}");
}
