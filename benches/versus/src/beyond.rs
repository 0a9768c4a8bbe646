//! What stands below the table of a part whose memory was limited: what each store used of it, and what less of it costs kvs.

use std::fmt::Write;

use crate::bar::Bar;
use crate::record::Record;
use crate::table::{OURS, Part, median, number, times};

/// Ours with less, or read otherwise.
const VARIANTS: [&str; 3] = ["kvs_index50", "kvs_index10", "kvs_pread"];

/// As Markdown; empty where memory was not limited.
pub fn notes(part: &Part<'_>, bar: &Bar) -> String {
    let Some(limit) = part.memory_limit_bytes else { return String::new() };
    let mut out = format!(
        "\nThe process of each cell, loads too, had {} of memory, page cache and kernel memory included (cgroups); the pairs are {} of it. A cell that begins \
         with a loaded store found nothing of it in the page cache. Ratios are to {}; no row may be behind it by more than {}.\n",
        number("_bytes", limit as f64),
        times(raw_bytes(part).unwrap_or(f64::NAN) / limit as f64),
        bar.beyond.peer,
        times(bar.beyond.behind_max)
    );
    let ahead = part.records().iter().find_map(|record| record.metrics.get("read_ahead_kib"));
    if let Some(ahead) = ahead {
        let _ = writeln!(
            out,
            "The kernel reads up to {ahead} KiB ahead on this disk, in mapped files too, unless it is told not to."
        );
    }
    out += &less(part);
    out += &used(part, limit);
    out
}

fn raw_bytes(part: &Part<'_>) -> Option<f64> {
    Some(crate::shape::by_name(part.shape)?.raw_bytes(part.n, part.n) as f64)
}

/// Rates of the variants to those of kvs with all of its index, mapped.
fn less(part: &Part<'_>) -> String {
    let stores: Vec<&str> = VARIANTS.into_iter().filter(|store| part.stores.contains(store)).collect();
    if stores.is_empty() || !part.stores.contains(&OURS) {
        return String::new();
    }
    let mut out = format!(
        "\nRates to those of kvs with its whole index and mapped tables:\n\n| row | {} |\n",
        stores.join(" | ")
    );
    let _ = writeln!(out, "|---|{}", "--:|".repeat(stores.len()));
    let mut workloads: Vec<&str> = Vec::new();
    for record in part.records() {
        if !workloads.contains(&record.workload.as_str()) {
            workloads.push(&record.workload);
        }
    }
    let rate = |store: &str, workload: &str| {
        let cells = part.records().iter().filter(|r| r.store == store && r.workload == workload);
        median(cells.filter_map(|r| r.metrics.get("rate").copied()).collect())
    };
    for workload in workloads {
        let Some(ours) = rate(OURS, workload) else { continue };
        let cells: Vec<String> = stores
            .iter()
            .map(|store| rate(store, workload).map_or("–".to_owned(), |rate| times(rate / ours)))
            .collect();
        let _ = writeln!(out, "| {} | {} |", workload.replace('_', " "), cells.join(" | "));
    }
    out
}

/// The most that any cell of a store used.
fn used(part: &Part<'_>, limit: u64) -> String {
    let mut out = String::from(
        "\nThe most that any cell of a store used. **At the limit**: how often the kernel had to take pages back, all cells together; – where it does not count that. **Major faults**: \
         mapped pages that were read from the disk, all cells together. **Anonymous** and **mapped**: \
         resident when the store was closed. **Budgets**: neither the group nor the index of kvs went beyond what it may use, in any cell.\n\n\
         | store | group | at the limit | major faults | anonymous | mapped | index | index may use | tables covered | budgets |\n\
         |---|--:|--:|--:|--:|--:|--:|--:|--:|---|\n",
    );
    for store in &part.stores {
        let cells: Vec<&&Record> = part.records().iter().filter(|r| r.store == *store && r.error.is_none()).collect();
        let most = |metric: &str| cells.iter().filter_map(|r| r.metrics.get(metric).copied()).reduce(f64::max);
        let told = |metric: &str| most(metric).map_or("–".to_owned(), |value| number(metric, value));
        let all = |metric: &str| {
            let told = cells.iter().filter_map(|r| r.metrics.get(metric).copied()).reduce(|sum, more| sum + more);
            told.map_or("–".to_owned(), |value| number("count", value))
        };
        // Of the cell that reads everywhere: in others a flush or a merge may be under way.
        let covered = cells
            .iter()
            .find(|r| r.workload == "read_random")
            .and_then(|r| Some(format!("{} of {}", r.metrics.get("covered_tables")?, r.metrics.get("tables")?)));
        let mut broken = Vec::new();
        if most("group_peak_bytes").is_some_and(|peak| peak > limit as f64) {
            broken.push("group");
        }
        let over = |r: &&&&Record| {
            r.metrics.get("index_bytes").zip(r.metrics.get("index_budget_bytes")).is_some_and(|(is, may)| is > may)
        };
        broken.extend(cells.iter().filter(over).map(|r| r.workload.as_str()));
        let verdict = if broken.is_empty() { "obeyed".to_owned() } else { format!("exceeded: {}", broken.join(", ")) };
        let _ = writeln!(
            out,
            "| {store} | {} | {} | {} | {} | {} | {} | {} | {} | {} |",
            told("group_peak_bytes"),
            all("group_limited"),
            all("group_major_faults"),
            told("anonymous_bytes"),
            told("mapped_bytes"),
            told("index_bytes"),
            told("index_budget_bytes"),
            covered.unwrap_or("–".to_owned()),
            if cells.is_empty() { "–" } else { &verdict }
        );
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::tests::example;
    use crate::store::Class;
    use crate::table::{parts, render};

    fn of(store: &str, workload: &str, metrics: &[(&str, f64)]) -> Record {
        Record {
            n: 10_000_000,
            memory_limit_bytes: Some(290_000_000),
            ..example(store, Class::Acknowledged, workload, metrics)
        }
    }

    fn records() -> Vec<Record> {
        let used = |rate: f64, peak: f64, index: f64| {
            vec![
                ("rate", rate),
                ("group_peak_bytes", peak),
                ("group_limited", 7.0),
                ("group_major_faults", 1000.0),
                ("anonymous_bytes", 200e6),
                ("mapped_bytes", 50e6),
                ("index_bytes", index),
                ("index_budget_bytes", 170e6),
                ("tables", 31.0),
                ("covered_tables", 30.0),
            ]
        };
        vec![
            of("kvs", "read_random", &used(80e3, 289e6, 160e6)),
            of("kvs", "overwrite", &used(500e3, 290e6, 150e6)),
            of("kvs_index10", "read_random", &used(40e3, 290e6, 171e6)),
            of("rocksdb", "read_random", &[("rate", 100e3), ("group_peak_bytes", 291e6)]),
            of("rocksdb", "overwrite", &[("rate", 700e3), ("group_peak_bytes", 280e6)]),
            of("lmdb", "overwrite", &[("rate", 900e3), ("read_ahead_kib", 128.0)]),
        ]
    }

    /// 0.80 of RocksDB is not behind by more than 1.3, 0.71 is; what LMDB does sets no bar here.
    #[test]
    fn rows_are_compared_with_rocksdb() {
        let text = render(&records(), &Bar::load().unwrap());
        assert!(text.contains("## 10 million keys, 16/100, in 290 MB of memory"), "{text}");
        assert!(
            text.contains("| read random | **80.0k** | 40.0k | **100k** | – | 0.80x | 0.77x | reached |"),
            "{text}"
        );
        assert!(text.contains("| overwrite | **500k** | – | **700k** | 900k | 0.71x | 0.77x | behind |"), "{text}");
        assert!(text.contains("1 reached it; 1 are behind rocksdb by more than 1.30x (overwrite)"), "{text}");
        assert!(text.contains("the pairs are 4.00x of it") && text.contains("up to 128 KiB ahead"), "{text}");
    }

    /// A budget that was exceeded is told with the row where it was.
    #[test]
    fn budgets_are_looked_at() {
        let (records, bar) = (records(), Bar::load().unwrap());
        let text = notes(&parts(&records)[0], &bar);
        assert!(
            text.contains("| kvs | 290 MB | 14 | 2,000 | 200 MB | 50.0 MB | 160 MB | 170 MB | 30 of 31 | obeyed |"),
            "{text}"
        );
        assert!(text.contains("| 171 MB | 170 MB | 30 of 31 | exceeded: read_random |"), "{text}");
        assert!(text.contains("| rocksdb | 291 MB | – | – | – | – | – | – | – | exceeded: group |"), "{text}");
        assert!(text.contains("| row | kvs_index10 |\n") && text.contains("| read random | 0.50x |"), "{text}");
        let unlimited = [Record { memory_limit_bytes: None, ..records[0].clone() }];
        assert!(notes(&parts(&unlimited)[0], &bar).is_empty());
    }

    /// The same keys with and without a limit are two parts.
    #[test]
    fn limited_cells_are_not_mixed_with_others() {
        let mut records = records();
        records.push(Record { memory_limit_bytes: None, ..of("rocksdb", "read_random", &[("rate", 900e3)]) });
        let parts = parts(&records);
        assert_eq!(parts.iter().map(|part| part.memory_limit_bytes).collect::<Vec<_>>(), [Some(290_000_000), None]);
    }
}
