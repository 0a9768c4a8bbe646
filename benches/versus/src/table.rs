//! The report: medians, ratios to the best peer of the same durability, and the bar.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;

use crate::bar::{Aim, Bar, Row, Verdict};
use crate::record::Record;
use crate::store::Class;
use crate::workload::LOAD;
use crate::{beyond, growth};

/// What the store is called that the others are compared with.
pub const OURS: &str = "kvs";
/// Its variants, the floor, and the spinner: in the table, but no peers.
const NO_PEERS: [&str; 7] = [OURS, "kvs_pinned", "kvs_pread", "kvs_index50", "kvs_index10", "append", "spinner"];
/// Columns, as far as there are records of them.
const ORDER: [&str; 18] = [
    "kvs",
    "kvs_pinned",
    "kvs_pread",
    "kvs_index50",
    "kvs_index10",
    "rocksdb",
    "lmdb",
    "lmdb_writemap",
    "leveldb",
    "fjall",
    "redb",
    "sled",
    "btreemap",
    "dashmap",
    "skiplist",
    "lockfree",
    "append",
    "spinner",
];

/// The place of a store among the columns.
pub fn order(store: &str) -> usize {
    ORDER.iter().position(|known| *known == store).unwrap_or(ORDER.len())
}

/// The records of one shape, number of keys and limit of memory.
#[derive(Debug)]
pub struct Part<'a> {
    /// Sizes of keys and values.
    pub shape: &'a str,
    /// Keys.
    pub n: u64,
    /// What the group of each cell could use.
    pub memory_limit_bytes: Option<u64>,
    /// Stores, in the order of the columns.
    pub stores: Vec<&'a str>,
    records: Vec<&'a Record>,
}

/// A median, or why there is none.
#[derive(Clone, Debug, PartialEq)]
pub struct Number {
    /// The median; `None` if every repetition failed.
    pub value: Option<f64>,
    /// A limit of time cut one of them.
    pub cut: bool,
    /// The durability of its puts.
    pub class: Class,
}

/// A row against the bar.
#[derive(Debug)]
pub struct Compared<'a> {
    /// The row.
    pub row: &'a Row,
    /// Each store that has a number here.
    pub numbers: BTreeMap<&'a str, Number>,
    /// The best peer of our class.
    pub best: Option<(&'a str, f64)>,
    /// Ours to that, more is better.
    pub ratio: Option<f64>,
    /// What is to be reached.
    pub aim: Aim,
    /// Was it?
    pub verdict: Verdict,
}

/// The parts of a run, in the order in which they were measured.
pub fn parts(records: &[Record]) -> Vec<Part<'_>> {
    fn key(record: &Record) -> (&str, u64, Option<u64>) {
        (&record.shape, record.n, record.memory_limit_bytes)
    }
    let mut seen = Vec::new();
    for record in records {
        if !seen.contains(&key(record)) {
            seen.push(key(record));
        }
    }
    let part = |part @ (shape, n, memory_limit_bytes)| {
        let records: Vec<&Record> = records.iter().filter(|record| key(record) == part).collect();
        let present: BTreeSet<&str> = records.iter().map(|r| r.store.as_str()).collect();
        let known = ORDER.into_iter().filter(|store| present.contains(store));
        let others = present.iter().copied().filter(|store| !ORDER.contains(store));
        Part { shape, n, memory_limit_bytes, stores: known.chain(others).collect(), records }
    };
    seen.into_iter().map(part).collect()
}

/// The middle one, or the mean of the two in the middle.
pub fn median(mut numbers: Vec<f64>) -> Option<f64> {
    numbers.sort_by(f64::total_cmp);
    let middle = numbers.len() / 2;
    let upper = *numbers.get(middle)?;
    Some(if numbers.len() % 2 == 1 { upper } else { (numbers[middle - 1] + upper) / 2.0 })
}

impl<'a> Part<'a> {
    /// What they were made of.
    pub fn records(&self) -> &[&'a Record] {
        &self.records
    }

    /// The rows of the bar for which there is anything.
    pub fn compare(&self, bar: &'a Bar) -> Vec<Compared<'a>> {
        // What other shapes reach is reported; the bar does not speak of them.
        let column = (self.shape == bar.shape).then(|| bar.column(self.n));
        let aim = |row: &Row| match column {
            // Loads are no row of their own there.
            Some(_) if self.memory_limit_bytes.is_some() && row.metric == "rate" && row.workload != LOAD.name => {
                Aim::Ratio(1.0 / bar.beyond.behind_max)
            }
            Some(column) if self.memory_limit_bytes.is_none() => row.aim(column),
            _ => Aim::None,
        };
        let peer = self.memory_limit_bytes.map(|_| bar.beyond.peer.as_str());
        bar.rows.iter().filter_map(|row| self.compare_row(row, aim(row), peer)).collect()
    }

    /// Where `peer` is given, it is the only one that counts.
    fn compare_row(&self, row: &'a Row, aim: Aim, peer: Option<&str>) -> Option<Compared<'a>> {
        let mut numbers = BTreeMap::new();
        for &store in &self.stores {
            let records: Vec<_> =
                self.records.iter().filter(|r| r.store == store && r.workload == row.workload).collect();
            let Some(first) = records.first() else { continue };
            let values: Vec<f64> = records.iter().filter_map(|r| r.metrics.get(&row.metric).copied()).collect();
            if values.is_empty() && records.iter().all(|r| r.error.is_none()) {
                continue;
            }
            let number = Number { value: median(values), cut: records.iter().any(|r| r.cut), class: first.class };
            numbers.insert(store, number);
        }
        if numbers.is_empty() {
            return None;
        }
        let ours = numbers.get(OURS);
        let class = ours.map(|ours| ours.class);
        let peers = numbers.iter().filter(|(store, number)| {
            !NO_PEERS.contains(store) && Some(number.class) == class && peer.is_none_or(|peer| peer == **store)
        });
        let rivals: Vec<(&str, f64)> = peers.filter_map(|(store, number)| Some((*store, number.value?))).collect();
        let best = row.best(rivals.iter().map(|&(_, value)| value));
        let best = best.and_then(|best| rivals.iter().find(|&&(_, value)| value == best).copied());
        let ours = ours.and_then(|ours| ours.value);
        let ratio = ours.zip(best).map(|(ours, (_, best))| row.ratio_of(ours, best));
        let verdict = row.verdict(aim, ours, best.map(|(_, best)| best));
        Some(Compared { row, numbers, best, ratio, aim, verdict })
    }
}

/// The whole report as Markdown.
pub fn render(records: &[Record], bar: &Bar) -> String {
    let mut out = String::from("# kvs beside other stores\n\n");
    let _ = write!(out, "{}", header(records));
    if let Some(growth) = growth::table(records, bar) {
        let _ = write!(out, "\n{growth}");
    }
    for part in parts(records) {
        let limit = part.memory_limit_bytes.map(|bytes| format!(", in {} of memory", number("_bytes", bytes as f64)));
        let _ = write!(out, "\n## {} keys, {}{}\n\n", count(part.n), part.shape, limit.unwrap_or_default());
        let _ = write!(out, "{}{}", table(&part, bar), beyond::notes(&part, bar));
    }
    let _ = write!(out, "\n{}", footnotes(records));
    out
}

fn distinct<'a>(records: &'a [Record], of: impl Fn(&'a Record) -> &'a str) -> String {
    let mut seen: Vec<&str> = Vec::new();
    for record in records {
        let text = of(record);
        if !seen.contains(&text) {
            seen.push(text);
        }
    }
    seen.join("; ")
}

fn header(records: &[Record]) -> String {
    let loads = records.iter().map(|r| r.load_average).filter(|load| load.is_finite());
    let load = loads.clone().fold(f64::NAN, f64::max);
    let repetitions = records.iter().map(|r| r.repetition).max().unwrap_or(0);
    format!(
        "Measured on {} at commit {}, on {}. Load average at most {load:.2} (a cell itself makes 1 to 2); up to {repetitions} repetitions, medians. \
         Commands: `{}`.\n\n\
         What the rows do: [the harness](../../benches/versus/README.md). Every cell ran in a fresh process and directory. **Ratio**: kvs to the best \
         peer of the same durability in this run, so that more is better. **Class**: s survives power loss when put returns (rows of synced puts), a `kill -9`, w not even that, m lives in memory. \
         † cut by a time limit; – takes no part; failed cells are listed below.\n",
        distinct(records, |r| &r.date),
        distinct(records, |r| &r.commit),
        distinct(records, |r| &r.machine),
        distinct(records, |r| &r.command),
    )
}

/// One part as a table, and how many rows reached the bar.
fn table(part: &Part<'_>, bar: &Bar) -> String {
    let mut out = String::new();
    let classes: BTreeMap<&str, Class> = {
        let plain = part.records.iter().filter(|r| r.class != Class::Synced);
        plain.map(|r| (r.store.as_str(), r.class)).collect()
    };
    let ratio = part.memory_limit_bytes.map_or("ratio".to_owned(), |_| format!("to {}", bar.beyond.peer));
    let _ = writeln!(out, "| row | {} | {ratio} | aim | |", part.stores.join(" | "));
    let _ = writeln!(out, "|---|{}--:|--:|---|", "--:|".repeat(part.stores.len()));
    let letters: Vec<&str> =
        part.stores.iter().map(|store| classes.get(store).map_or("s", |class| class.letter())).collect();
    let _ = writeln!(out, "| class | {} | | | |", letters.join(" | "));
    let (mut reached, mut short, mut behind) = (0, Vec::new(), Vec::new());
    for compared in part.compare(bar) {
        let row = compared.row;
        let cells: Vec<String> = part
            .stores
            .iter()
            .map(|store| match compared.numbers.get(store) {
                None => "–".to_owned(),
                Some(Number { value: None, .. }) => "failed".to_owned(),
                Some(Number { value: Some(value), cut, .. }) => {
                    let text = number(&row.metric, *value) + if *cut { "†" } else { "" };
                    if compared.best.is_some_and(|(best, _)| best == *store) || *store == OURS {
                        format!("**{text}**")
                    } else {
                        text
                    }
                }
            })
            .collect();
        let ratio = compared.ratio.map_or("–".to_owned(), times);
        let aim = match compared.aim {
            // Tenths, unless it has more.
            Aim::Ratio(aim) if (aim * 10.0 - (aim * 10.0).round()).abs() < 1e-9 => format!("{aim:.1}x"),
            Aim::Ratio(aim) => times(aim),
            Aim::AtMost(most) => format!("≤ {}", number(&row.metric, most)),
            Aim::None => String::new(),
        };
        let verdict = match compared.verdict {
            Verdict::Reached => "reached",
            Verdict::Short => "short",
            Verdict::Behind => "behind",
            Verdict::Open => "",
        };
        match compared.verdict {
            Verdict::Reached => reached += 1,
            Verdict::Short => short.push(row.title.as_str()),
            Verdict::Behind => behind.push(row.title.as_str()),
            Verdict::Open => {}
        }
        let _ = writeln!(out, "| {} | {} | {ratio} | {aim} | {verdict} |", row.title, cells.join(" | "));
    }
    let list = |rows: &[&str]| if rows.is_empty() { String::new() } else { format!(" ({})", rows.join(", ")) };
    if part.memory_limit_bytes.is_some() {
        let _ = writeln!(
            out,
            "\nRows with a bar: {reached} reached it; {} are behind {} by more than {}{}.",
            behind.len(),
            bar.beyond.peer,
            times(bar.beyond.behind_max),
            list(&behind)
        );
    } else if reached + short.len() + behind.len() > 0 {
        let _ = writeln!(
            out,
            "\nRows with a bar: {reached} reached it; {} fell short but are not behind{}; {} are behind the best peer{}. At most {} may fall short, and none be behind.",
            short.len(),
            list(&short),
            behind.len(),
            list(&behind),
            bar.short_rows_max
        );
    }
    out
}

fn footnotes(records: &[Record]) -> String {
    let mut out = String::from("## Settings\n\n");
    let mut seen = BTreeSet::new();
    for record in records {
        if seen.insert((&record.store, &record.settings)) {
            let _ = writeln!(out, "- **{}** {}: {}", record.store, record.version, record.settings);
        }
    }
    let failed: Vec<&Record> = records.iter().filter(|r| r.error.is_some()).collect();
    if !failed.is_empty() {
        out += "\n## Failed cells\n\n";
        for record in failed {
            let error = record.error.as_deref().unwrap_or_default().replace('\n', " ");
            let _ = writeln!(
                out,
                "- {} {} {} keys, {}, repetition {}: {error}",
                record.store,
                record.workload,
                count(record.n),
                record.shape,
                record.repetition
            );
        }
    }
    out
}

/// `1 million` and the like.
pub fn count(n: u64) -> String {
    if n >= 1_000_000 && n.is_multiple_of(1_000_000) { format!("{} million", n / 1_000_000) } else { thousands(n) }
}

fn thousands(n: u64) -> String {
    let digits = n.to_string();
    let mut out = String::new();
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

/// A number with its unit, as its metric's name says: to three digits.
pub fn number(metric: &str, value: f64) -> String {
    if metric.ends_with("rate") {
        return scaled(value, &[(1e6, "M"), (1e3, "k")], "");
    }
    if metric.ends_with("_us") {
        return scaled(value, &[(1e6, " s"), (1e3, " ms")], " µs");
    }
    if metric.ends_with("_ms") {
        return scaled(value, &[(1e3, " s")], " ms");
    }
    if metric.ends_with("_bytes") {
        return scaled(value, &[(1e9, " GB"), (1e6, " MB"), (1e3, " kB")], " B");
    }
    if metric.ends_with("bytes_a_key") {
        return format!("{} B", digits(value));
    }
    // Counts are whole; what is left are ratios.
    if value.fract() == 0.0 && !metric.contains("of_") { thousands(value as u64) } else { digits(value) }
}

/// A ratio, with digits enough for a small one.
pub fn times(ratio: f64) -> String {
    if ratio < 0.095 { format!("{ratio:.3}x") } else { format!("{ratio:.2}x") }
}

fn scaled(value: f64, units: &[(f64, &str)], unit: &str) -> String {
    let found = units.iter().find(|(size, _)| value >= *size);
    found.map_or_else(|| format!("{}{unit}", digits(value)), |(size, unit)| format!("{}{unit}", digits(value / size)))
}

fn digits(value: f64) -> String {
    match value.abs() {
        v if v >= 99.95 => format!("{value:.0}"),
        v if v >= 9.995 => format!("{value:.1}"),
        _ => format!("{value:.2}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::tests::example;

    #[test]
    fn medians_are_in_the_middle() {
        assert_eq!(median(vec![3.0, 1.0, 2.0]), Some(2.0));
        assert_eq!(median(vec![4.0, 1.0, 2.0, 3.0]), Some(2.5));
        assert_eq!(median(vec![]), None);
    }

    #[test]
    fn numbers_have_three_digits_and_a_unit() {
        let of = |metric: &str, value| number(metric, value);
        assert_eq!(
            [of("rate", 1_060_000.0), of("rate", 435_400.0), of("writer_rate", 12.0)],
            ["1.06M", "435k", "12.0"]
        );
        assert_eq!([of("p99_us", 8.9), of("max_us", 4200.0), of("open_ms", 1580.0)], ["8.90 µs", "4.20 ms", "1.58 s"]);
        assert_eq!([of("disk_bytes", 73e6), of("of_raw", 1.234), of("missing", 1234.0)], ["73.0 MB", "1.23", "1,234"]);
        assert_eq!(of("anonymous_bytes_a_key", 21.44), "21.4 B");
    }

    /// Medians, the best peer of our class only, cut marks, failures, and the verdicts, in one small run.
    #[test]
    fn a_run_becomes_a_table() {
        let a = Class::Acknowledged;
        let mut records = vec![
            example("kvs", a, "fill_random", &[("rate", 900e3)]),
            example("kvs", a, "fill_random", &[("rate", 1000e3)]),
            example("kvs", a, "fill_random", &[("rate", 5000e3)]),
            example("rocksdb", a, "fill_random", &[("rate", 200e3)]),
            example("lmdb", a, "fill_random", &[("rate", 250e3)]),
            example("dashmap", Class::Memory, "fill_random", &[("rate", 2000e3)]),
            example("append", a, "fill_random", &[("rate", 990e3)]),
            example("kvs", a, "seek_100", &[("rate", 90e3)]),
            example("lmdb", a, "seek_100", &[("rate", 100e3)]),
        ];
        records[4].cut = true;
        let mut failed = example("rocksdb", a, "seek_100", &[]);
        failed.error = Some("no".to_owned());
        records.push(failed);
        let bar = Bar::load().unwrap();
        let parts = parts(&records);
        assert_eq!(parts.len(), 1);
        assert_eq!(parts[0].stores, ["kvs", "rocksdb", "lmdb", "dashmap", "append"]);
        let rows = parts[0].compare(&bar);
        let fill = rows.iter().find(|c| c.row.workload == "fill_random" && c.row.metric == "rate").unwrap();
        assert_eq!((fill.best, fill.ratio, fill.verdict), (Some(("lmdb", 250e3)), Some(4.0), Verdict::Reached));
        let seek = rows.iter().find(|c| c.row.workload == "seek_100").unwrap();
        assert_eq!((seek.ratio, seek.verdict), (Some(0.9), Verdict::Behind));
        let text = render(&records, &bar);
        assert!(
            text.contains("| fill random | **1.00M** | 200k | **250k†** | 2.00M | 990k | 4.00x | 4.0x | reached |"),
            "{text}"
        );
        assert!(
            text.contains("| seek + 100 | **90.0k** | failed | **100k** | – | – | 0.90x | 2.0x | behind |"),
            "{text}"
        );
        assert!(
            text.contains("Rows with a bar: 1 reached it; 0 fell short but are not behind; 1 are behind the best peer (seek + 100)."),
            "{text}"
        );
        assert!(text.contains("- rocksdb seek_100 1 million keys, 16/100, repetition 1: no"), "{text}");
    }

    /// Other shapes have ratios and no bar.
    #[test]
    fn the_bar_is_for_its_shape() {
        let urls = |store: &str, rate| Record {
            shape: "urls".to_owned(),
            ..example(store, Class::Acknowledged, "read_random", &[("rate", rate)])
        };
        let (records, bar) = ([urls("kvs", 100.0), urls("lmdb", 200.0)], Bar::load().unwrap());
        let parts = parts(&records);
        let row = &parts[0].compare(&bar)[0];
        assert_eq!((row.ratio, row.aim, row.verdict), (Some(0.5), Aim::None, Verdict::Open));
        assert!(!render(&records, &bar).contains("Rows with a bar"));
    }

    /// A peer whose puts are weaker is no rival, but one that syncs is in the rows of synced puts.
    #[test]
    fn classes_are_not_mixed() {
        let records = [
            example("kvs", Class::Acknowledged, "overwrite", &[("rate", 100.0)]),
            example("redb", Class::Weaker, "overwrite", &[("rate", 400.0)]),
            example("kvs", Class::Synced, "synced_1", &[("rate", 100.0)]),
            example("redb", Class::Synced, "synced_1", &[("rate", 50.0)]),
        ];
        let bar = Bar::load().unwrap();
        let parts = parts(&records);
        let rows = parts[0].compare(&bar);
        let of = |workload: &str| rows.iter().find(|c| c.row.workload == workload && c.row.metric == "rate").unwrap();
        assert_eq!((of("overwrite").best, of("overwrite").verdict), (None, Verdict::Open));
        assert_eq!((of("synced_1").ratio, of("synced_1").verdict), (Some(2.0), Verdict::Reached));
    }
}
