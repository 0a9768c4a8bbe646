//! The picture of what stores do second by second.

use crate::lines::{COLOURS, Chart, Curve};
use crate::record::Record;
use crate::stores::SPINNER_NAME;
use crate::table::{count, number, order};

/// A curve for each cell that counted its seconds. None: there is no such cell.
///
/// The spinner has none: how often a second a clock can be read twice says nothing of a store, and it is far above all of them. Its latencies stand in the
/// table.
pub fn picture(records: &[Record]) -> Option<String> {
    let mut told: Vec<&Record> =
        records.iter().filter(|record| !record.series.is_empty() && record.store != SPINNER_NAME).collect();
    told.sort_by_key(|record| order(&record.store));
    let first = told.first()?;
    let mut stores: Vec<&str> = Vec::new();
    let curves = told.iter().map(|record| {
        if !stores.contains(&record.store.as_str()) {
            stores.push(&record.store);
        }
        let place = stores.len() - 1;
        let slowest = record.series.iter().copied().fold(f64::INFINITY, f64::min);
        let mean = record.series.iter().sum::<f64>() / record.series.len() as f64;
        Curve {
            name: format!("{}: mean {}, slowest {}", record.store, number("rate", mean), number("rate", slowest)),
            colour: COLOURS[place % COLOURS.len()],
            dashes: "",
            width: if place == 0 { 2.5 } else { 1.5 },
            points: record.series.iter().enumerate().map(|(second, &done)| ((second + 1) as f64, done)).collect(),
        }
    });
    let curves: Vec<Curve> = curves.collect();
    let seconds = curves.iter().map(|curve| curve.points.len()).max().unwrap_or(0);
    // Ten marks at most, at whole numbers.
    let step = [1, 2, 5, 10, 20, 30, 60].into_iter().find(|step| seconds / step <= 12).unwrap_or(seconds / 10);
    let marks = (0..=seconds).step_by(step.max(1)).skip(1).map(|second| (second as f64, second.to_string())).collect();
    let chart = Chart {
        title: format!("Overwrites of random keys, second by second: {} keys, {}", count(first.n), first.shape),
        up: "operations in each second",
        along: "seconds",
        along_by_ratio: false,
        marks,
        dots: false,
        number: |value| number("rate", value),
        curves,
    };
    Some(chart.draw())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::tests::example;
    use crate::store::Class;

    #[test]
    fn each_store_that_has_seconds_has_a_curve() {
        let of = |store: &str, series: &[f64]| Record {
            series: series.to_vec(),
            ..example(store, Class::Acknowledged, "over_time", &[("rate", 1.0)])
        };
        let records = [
            of("spinner", &[9e7; 3]),
            of("rocksdb", &[250e3, 0.0, 240e3]),
            of("kvs", &[1e6, 1.5e6, 0.5e6]),
            of("lmdb", &[]),
        ];
        let drawn = picture(&records).unwrap();
        let kvs = drawn.find("kvs: mean 1.00M, slowest 500k").unwrap();
        assert!(kvs < drawn.find("rocksdb: mean 163k, slowest 0.00").unwrap(), "ours comes first");
        assert!(!drawn.contains("spinner") && !drawn.contains("lmdb"));
        // A curve and a sample of it each.
        assert_eq!(drawn.matches("<polyline").count(), 4);
        assert!(drawn.contains(">3</text>") && drawn.contains("1 million keys"));
        assert!(picture(&records[3..]).is_none() && picture(&records[..1]).is_none());
    }
}
