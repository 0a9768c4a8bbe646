//! The program as it is used: a run, its lines, its table and pictures; a cell that takes too long is killed, and the report says so.
#![allow(clippy::unwrap_used, reason = "a test that fails stops")]

use std::path::Path;
use std::process::{Command, Output};

use kvs_versus::group::Group;
use kvs_versus::record;

fn versus(dir: &Path, arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_kvs-versus")).args(arguments).current_dir(dir).output().unwrap()
}

#[test]
fn a_run_makes_a_report() {
    let dir = tempfile::tempdir().unwrap();
    let run = "run --n 1000 --stores kvs,append --workloads fill_random,read_random,synced_1,open_killed --seconds 0.05 \
               --repetitions 2 --shapes 16/100,urls --dir work --out lines.jsonl";
    let output = versus(dir.path(), &run.split_whitespace().collect::<Vec<_>>());
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let records = record::read(&dir.path().join("lines.jsonl")).unwrap();
    let of = |store: &str, workload: &str, shape: &str| {
        records.iter().filter(|r| (&*r.store, &*r.workload, &*r.shape) == (store, workload, shape)).count()
    };
    assert_eq!(
        [of("kvs", "fill_random", "16/100"), of("append", "fill_random", "16/100"), of("kvs", "fill_random", "urls")],
        [2, 2, 1]
    );
    assert_eq!(
        [of("kvs", "load", "16/100"), of("append", "read_random", "16/100"), of("kvs", "synced_1", "urls")],
        [1, 0, 0]
    );
    assert!(
        records
            .iter()
            .all(|r| r.error.is_none() && !r.settings.is_empty() && !r.commit.is_empty() && r.date.len() == 10)
    );
    assert!(records.iter().all(|r| !r.command.contains("lines.jsonl") && r.command.contains("--repetitions 2")));
    let table = versus(dir.path(), &["table", "lines.jsonl"]);
    let table = String::from_utf8(table.stdout).unwrap();
    assert!(
        table.contains("## 1,000 keys, 16/100")
            && table.contains("## 1,000 keys, urls")
            && table.contains("| fill random |"),
        "{table}"
    );
    assert!(versus(dir.path(), &["plot", "lines.jsonl", "picture"]).status.success());
    for picture in ["picture-ratios.svg", "picture-rates.svg"] {
        assert!(std::fs::read_to_string(dir.path().join(picture)).unwrap().ends_with("</svg>\n"));
    }
    // Nothing is left but the lines.
    assert!(!dir.path().join("work/cells").exists());
}

#[test]
fn a_slow_cell_is_killed_and_marked() {
    let dir = tempfile::tempdir().unwrap();
    let run = "run --n 1000 --stores kvs --workloads synced_1,fill_random --seconds 600 --limit 8 --repetitions 1 --shapes 16/100 --dir work --out l";
    let output = versus(dir.path(), &run.split_whitespace().collect::<Vec<_>>());
    assert!(!output.status.success(), "a run with a failed cell says so");
    let records = record::read(&dir.path().join("l")).unwrap();
    assert_eq!(records.len(), 2);
    let slow = records.iter().find(|r| r.workload == "synced_1").unwrap();
    assert!(slow.error.as_ref().unwrap().contains("killed after"));
    assert!(records.iter().any(|r| r.workload == "fill_random" && r.error.is_none()));
    let table = String::from_utf8(versus(dir.path(), &["table", "l"]).stdout).unwrap();
    assert!(table.contains("failed") && table.contains("killed after"), "{table}");
}

/// A fill that does not come to its end in time has a rate and a mark.
#[test]
fn a_cut_fill_is_marked() {
    let dir = tempfile::tempdir().unwrap();
    let run = "run --n 100000000 --stores append --workloads fill_random --fill-seconds 0.1 --repetitions 1 --shapes 16/100 --dir work --out l";
    assert!(versus(dir.path(), &run.split_whitespace().collect::<Vec<_>>()).status.success());
    let records = record::read(&dir.path().join("l")).unwrap();
    assert!(records[0].cut && records[0].metrics["rate"] > 0.0);
}

/// Two numbers of keys, one after the other: a table of growth and one picture.
#[test]
fn growth_makes_a_report() {
    let dir = tempfile::tempdir().unwrap();
    let run = "run --preset growth --n 1000,3000 --seconds 0.05 --dir work --out l";
    let output = versus(dir.path(), &run.split_whitespace().collect::<Vec<_>>());
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let records = record::read(&dir.path().join("l")).unwrap();
    let loads: Vec<u64> = records.iter().filter(|r| r.workload == "load").map(|r| r.n).collect();
    assert_eq!((records.len(), loads), (8, vec![1000, 3000]));
    let table = String::from_utf8(versus(dir.path(), &["table", "l"]).stdout).unwrap();
    assert!(
        table.contains("| store | operation | 1,000 | 3,000 | times |") && table.contains("| kvs | get | "),
        "{table}"
    );
    assert!(versus(dir.path(), &["plot", "l", "growth"]).status.success());
    assert!(std::fs::read_to_string(dir.path().join("growth.svg")).unwrap().contains("kvs seek + 10: "));
    assert!(!dir.path().join("growth-rates.svg").exists());
}

/// Second by second: whole seconds only, their sum is what the rate says, and the spinner stands beside.
#[test]
fn overwrites_over_time_make_a_report() {
    let dir = tempfile::tempdir().unwrap();
    let run = "run --preset over-time --n 1000 --seconds 2.2 --stores kvs,spinner --dir work --out l";
    let output = versus(dir.path(), &run.split_whitespace().collect::<Vec<_>>());
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let records = record::read(&dir.path().join("l")).unwrap();
    for store in ["kvs", "spinner"] {
        let record = records.iter().find(|r| r.store == store && r.workload == "over_time").unwrap();
        assert_eq!(record.series.len(), 2, "{store}");
        let mean = record.series.iter().sum::<f64>() / 2.0;
        assert!((mean / record.metrics["rate"] - 1.0).abs() < 0.5, "{store}: {record:?}");
        assert_eq!(record.metrics["slowest_second_rate"], record.series[0].min(record.series[1]));
        assert!(record.metrics["p9999_us"] <= record.metrics["max_us"]);
    }
    assert!(records.iter().all(|r| r.workload != "load" || (r.store == "kvs" && r.series.is_empty())));
    let table = String::from_utf8(versus(dir.path(), &["table", "l"]).stdout).unwrap();
    assert!(table.contains("| overwrites over time: p99.99 | **") && table.contains("≤ 20.0 ms"), "{table}");
    assert!(versus(dir.path(), &["plot", "l", "over-time"]).status.success());
    assert!(std::fs::read_to_string(dir.path().join("over-time.svg")).unwrap().contains("kvs: mean "));
}

/// Loads and cells run inside of a group, and the report says what they used. Where groups cannot be made the run does not begin, and says why.
#[test]
fn a_run_beyond_memory_is_limited() {
    const MIB: u64 = 1 << 20;
    let dir = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    // More bytes of pairs than the group has.
    let run = "run --preset beyond --n 700000 --memory-mib 48 --stores kvs --workloads fill_random,read_miss --seconds 0.2 --dir work --out l";
    let output = versus(dir.path(), &run.split_whitespace().collect::<Vec<_>>());
    let told = String::from_utf8_lossy(&output.stderr);
    if let Err(error) = Group::create(48 * MIB) {
        eprintln!("no groups here: {error}");
        assert!(!output.status.success() && told.contains("memory cannot be limited here"), "{told}");
        return;
    }
    assert!(output.status.success(), "{told}");
    let records = record::read(&dir.path().join("l")).unwrap();
    assert_eq!(records.iter().map(|r| &*r.workload).collect::<Vec<_>>(), ["fill_random", "load", "read_miss"]);
    for record in &records {
        let (limit, metrics) = (48 * MIB, &record.metrics);
        assert_eq!(record.memory_limit_bytes, Some(limit));
        // All of the pairs went through it, so it was full.
        let peak = metrics["group_peak_bytes"];
        assert!(peak > 0.9 * limit as f64 && peak <= (limit + MIB) as f64, "{}: {metrics:?}", record.workload);
        assert!(metrics["anonymous_bytes"] < limit as f64 && metrics["index_bytes"] <= metrics["index_budget_bytes"]);
        assert!(record.settings.contains("MiB of that for the index"), "{}", record.settings);
    }
    let table = String::from_utf8(versus(dir.path(), &["table", "l"]).stdout).unwrap();
    assert!(table.contains("keys, 16/100, in 50.3 MB of memory") && table.contains("obeyed"), "{table}");
}

/// Rows that were never measured are not passed over in silence; further repetitions may be.
#[test]
fn a_run_that_ends_early_says_so() {
    let dir = tempfile::tempdir().unwrap();
    let run = |repetitions: &str, minutes: &str| {
        let run =
            "run --n 1000 --stores kvs --workloads synced_1 --seconds 1 --shapes 16/100 --dir work --out l --fresh";
        let options = ["--repetitions", repetitions, "--minutes", minutes];
        versus(dir.path(), &run.split_whitespace().chain(options).collect::<Vec<_>>())
    };
    let none = run("1", "0");
    assert!(!none.status.success() && String::from_utf8_lossy(&none.stderr).contains("before every row"));
    let once = run("100", "0.01");
    assert!(once.status.success(), "{}", String::from_utf8_lossy(&once.stderr));
    assert!(record::read(&dir.path().join("l")).unwrap().len() < 50);
}

#[test]
fn unknown_names_are_refused_with_those_that_are_known() {
    let dir = tempfile::tempdir().unwrap();
    for (option, known) in [("--stores", "kvs_pinned"), ("--workloads", "ycsb_a")] {
        let output = versus(dir.path(), &["run", option, "nonsense", "--out", "l"]);
        assert!(!output.status.success() && String::from_utf8_lossy(&output.stderr).contains(known));
    }
}
