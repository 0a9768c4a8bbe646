//! What an operation costs as the number of keys grows: a table, and a picture.

use std::collections::BTreeSet;
use std::fmt::Write;

use crate::bar::Bar;
use crate::lines::{COLOURS, Chart, Curve, DASHES};
use crate::record::Record;
use crate::table::{count, median, number, order, times};

/// One kind of operation in one store.
#[derive(Debug)]
struct Line<'a> {
    store: &'a str,
    title: &'a str,
    /// Its place among the kinds.
    kind: usize,
    points: Vec<Point>,
}

#[derive(Clone, Copy, Debug)]
struct Point {
    n: u64,
    nanos: f64,
    /// A limit of time cut it: a fill's cost is that of its beginning.
    cut: bool,
}

impl Line<'_> {
    /// The cost at the most keys to that at the fewest, where all were measured.
    fn times(&self, sizes: &BTreeSet<u64>) -> Option<f64> {
        let [first, .., last] = &self.points[..] else { return None };
        (Some(&first.n) == sizes.first() && Some(&last.n) == sizes.last()).then_some(last.nanos / first.nanos)
    }

    fn is_cut(&self) -> bool {
        self.points.iter().any(|point| point.cut)
    }
}

/// Those of the first shape, and its numbers of keys. None: there is one number only.
fn lines<'a>(records: &'a [Record], bar: &'a Bar) -> Option<(BTreeSet<u64>, Vec<Line<'a>>)> {
    let shape = &records.first()?.shape;
    let of_rows = |record: &&Record| bar.growth.rows.iter().any(|row| row.workload == record.workload);
    let records: Vec<&Record> =
        records.iter().filter(|r| r.shape == *shape && r.memory_limit_bytes.is_none()).filter(of_rows).collect();
    let sizes: BTreeSet<u64> = records.iter().map(|r| r.n).collect();
    if sizes.len() < 2 {
        return None;
    }
    let mut stores: Vec<&str> = records.iter().map(|r| r.store.as_str()).collect::<BTreeSet<_>>().into_iter().collect();
    stores.sort_by_key(|store| order(store));
    let mut lines = Vec::new();
    for store in stores {
        for (kind, row) in bar.growth.rows.iter().enumerate() {
            let points = sizes.iter().filter_map(|&n| {
                let cells: Vec<_> = records
                    .iter()
                    .filter(|r| (r.store.as_str(), r.n) == (store, n) && r.workload == row.workload)
                    .collect();
                let rate = median(cells.iter().filter_map(|r| r.metrics.get("rate").copied()).collect())?;
                (rate > 0.0).then(|| Point { n, nanos: 1e9 / rate, cut: cells.iter().any(|r| r.cut) })
            });
            let points: Vec<Point> = points.collect();
            if !points.is_empty() {
                lines.push(Line { store, title: &row.title, kind, points });
            }
        }
    }
    Some((sizes, lines))
}

/// As Markdown. None: nothing was measured at several numbers of keys.
pub fn table(records: &[Record], bar: &Bar) -> Option<String> {
    let (sizes, lines) = lines(records, bar)?;
    let mut out = format!(
        "## Growth\n\nNanoseconds an operation, of one thread, by the number of keys. **Times**: the cost at the most keys to that at the fewest; \
         of kvs it may be {} at most.\n\n| store | operation |",
        times(bar.growth.times_max)
    );
    sizes.iter().for_each(|&n| out += &format!(" {} |", count(n)));
    let _ = write!(out, " times | aim | |\n|---|---|{}--:|--:|---|\n", "--:|".repeat(sizes.len()));
    for line in &lines {
        let _ = write!(out, "| {} | {} |", line.store, line.title);
        for n in &sizes {
            let _ = match line.points.iter().find(|point| point.n == *n) {
                Some(point) => write!(out, " {:.0}{} |", point.nanos, if point.cut { "†" } else { "" }),
                None => write!(out, " – |"),
            };
        }
        let grown = line.times(&sizes);
        let _ = write!(out, " {} |", grown.map_or("–".to_owned(), times));
        let is_ours = line.store == crate::table::OURS;
        let verdict = match grown {
            _ if !is_ours => "",
            // What was cut is no measurement of its size.
            Some(_) if line.is_cut() => "cut",
            Some(grown) if grown <= bar.growth.times_max => "reached",
            Some(_) => "short",
            None => "",
        };
        let aim = if is_ours { format!("≤ {}", times(bar.growth.times_max)) } else { String::new() };
        let _ = writeln!(out, " {aim} | {verdict} |");
    }
    Some(out)
}

/// As SVG: a curve for each kind of operation, dashed where it is not ours. None as for the table.
pub fn picture(records: &[Record], bar: &Bar) -> Option<String> {
    let (sizes, lines) = lines(records, bar)?;
    let mut stores: Vec<&str> = Vec::new();
    let curves = lines.iter().map(|line| {
        if !stores.contains(&line.store) {
            stores.push(line.store);
        }
        let grown = line.times(&sizes).map_or(String::new(), |grown| format!(": {}", times(grown)));
        let cut = if line.is_cut() { " †" } else { "" };
        Curve {
            name: format!("{} {}{grown}{cut}", line.store, line.title),
            colour: COLOURS[line.kind % COLOURS.len()],
            dashes: DASHES[(stores.len() - 1) % DASHES.len()],
            width: if stores.len() == 1 { 2.5 } else { 1.5 },
            points: line.points.iter().map(|point| (point.n as f64, point.nanos)).collect(),
        }
    });
    let curves: Vec<Curve> = curves.collect();
    let chart = Chart {
        title: "What an operation costs as the store grows".to_owned(),
        up: "time of an operation; in the legend: at the most keys to at the fewest",
        along: "keys",
        along_by_ratio: true,
        marks: sizes.iter().map(|&n| (n as f64, count(n))).collect(),
        dots: true,
        number: |nanos| if nanos < 1000.0 { format!("{nanos:.0} ns") } else { number("p50_us", nanos / 1e3) },
        curves,
    };
    Some(chart.draw())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::tests::example;
    use crate::store::Class;

    fn of(store: &str, workload: &str, n: u64, rate: f64) -> Record {
        Record { n, ..example(store, Class::Acknowledged, workload, &[("rate", rate)]) }
    }

    /// 1,000 ns to 2,500 is just what may be; to 2,600 is not; a fill that was cut is no proof; and what has no number at the end no ratio.
    #[test]
    fn costs_are_compared_from_end_to_end() {
        let mut records = vec![
            of("lmdb", "fill_random", 1_000_000, 1e5),
            of("lmdb", "fill_random", 3_000_000, 1e4),
            of("kvs", "fill_random", 1_000_000, 1e6),
            of("kvs", "fill_random", 3_000_000, 1e9 / 2400.0),
            of("kvs", "fill_random", 3_000_000, 1e9 / 2600.0),
            of("kvs", "read_random", 1_000_000, 1e6),
            of("kvs", "read_random", 3_000_000, 1e9 / 2600.0),
            of("kvs", "seek_10", 1_000_000, 1e6),
            of("kvs", "load", 5_000_000, 1e6),
        ];
        let bar = Bar::load().unwrap();
        let text = table(&records, &bar).unwrap();
        for line in [
            "| store | operation | 1 million | 3 million | times | aim | |",
            "| kvs | put | 1000 | 2496 | 2.50x | ≤ 2.50x | reached |",
            "| kvs | get | 1000 | 2600 | 2.60x | ≤ 2.50x | short |",
            "| kvs | seek + 10 | 1000 | – | – | ≤ 2.50x |  |",
            "| lmdb | put | 10000 | 100000 | 10.00x |  |  |",
        ] {
            assert!(text.contains(&format!("{line}\n")), "{line} in {text}");
        }
        assert!(text.find("| kvs |").unwrap() < text.find("| lmdb |").unwrap());
        let drawn = picture(&records, &bar).unwrap();
        assert!(
            drawn.contains("kvs put: 2.50x") && drawn.contains("kvs seek + 10<") && drawn.contains(">3 million</text>")
        );
        records[3].cut = true;
        let text = table(&records, &bar).unwrap();
        assert!(text.contains("| kvs | put | 1000 | 2496† | 2.50x | ≤ 2.50x | cut |"), "{text}");
    }

    /// One size has no growth, nor has one in a group beside one without.
    #[test]
    fn one_size_is_no_growth() {
        let bar = Bar::load().unwrap();
        let mut limited = of("kvs", "read_random", 10_000_000, 1e5);
        limited.memory_limit_bytes = Some(1 << 28);
        let records = [of("kvs", "read_random", 1_000_000, 1e6), of("kvs", "read_random", 1_000_000, 2e6), limited];
        assert!(table(&records, &bar).is_none() && picture(&records, &bar).is_none());
        assert!(table(&[], &bar).is_none());
    }
}
