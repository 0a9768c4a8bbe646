//! The bar: which rows there are, and what kvs must reach in each. The data is `bar.json`; two columns, for a million keys and for ten.
//!
//! A ratio compares with the best peer of the same durability class in the same run, medians both, so that more is better: where
//! less is better (latencies) it is theirs over ours. `at_most` bounds our own number.

use serde::Deserialize;

use crate::Result;

/// All rows.
#[derive(Clone, Debug, Deserialize)]
pub struct Bar {
    /// The sizes of keys and values that it is for.
    pub shape: String,
    /// The numbers of keys that the columns are for.
    pub sizes: [u64; 2],
    /// So many rows may fall short, none of them below the best peer.
    pub short_rows_max: usize,
    /// Where memory is limited.
    pub beyond: Beyond,
    /// As the number of keys grows.
    pub growth: Growth,
    /// In the order of the report.
    pub rows: Vec<Row>,
}

/// The bar of cells whose memory is limited: their rates, and no other number.
#[derive(Clone, Debug, Deserialize)]
pub struct Beyond {
    /// Who they are compared with.
    pub peer: String,
    /// So many times as slow they may be.
    pub behind_max: f64,
}

/// The bar of an operation's cost at the most keys to that at the fewest.
#[derive(Clone, Debug, Deserialize)]
pub struct Growth {
    /// So many times as much it may be.
    pub times_max: f64,
    /// What is looked at.
    pub rows: Vec<GrowthRow>,
}

/// One kind of operation.
#[derive(Clone, Debug, Deserialize)]
pub struct GrowthRow {
    /// As the report calls it.
    pub title: String,
    /// The workload whose rate tells the cost.
    pub workload: String,
}

/// Which of two numbers is better.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Better {
    /// Rates.
    #[default]
    Higher,
    /// Times and sizes.
    Lower,
}

/// One row.
#[derive(Clone, Debug, Deserialize)]
pub struct Row {
    /// As the report calls it.
    pub title: String,
    /// The workload that measures it.
    pub workload: String,
    /// The number of that workload.
    pub metric: String,
    /// Which is better.
    #[serde(default)]
    pub better: Better,
    /// The ratio to reach.
    #[serde(default)]
    pub ratio: [Option<f64>; 2],
    /// The number not to exceed.
    #[serde(default)]
    pub at_most: [Option<f64>; 2],
}

/// What is to be reached in a row at some size.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Aim {
    /// At least this ratio to the best peer.
    Ratio(f64),
    /// At most this.
    AtMost(f64),
    /// It is reported only.
    None,
}

/// Was it reached?
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Yes.
    Reached,
    /// No, but not behind the best peer, or not comparable with one.
    Short,
    /// No, and behind the best peer.
    Behind,
    /// There is nothing to reach, or a number is missing.
    Open,
}

impl Bar {
    /// The bar of this crate.
    pub fn load() -> Result<Bar> {
        Ok(serde_json::from_str(include_str!("../bar.json"))?)
    }

    /// The column for `n` keys: the nearer one, by ratio.
    pub fn column(&self, n: u64) -> usize {
        let [small, large] = self.sizes.map(|size| size as f64);
        usize::from(n as f64 > (small * large).sqrt())
    }
}

impl Row {
    /// What is to be reached in this column.
    pub fn aim(&self, column: usize) -> Aim {
        match (self.ratio[column], self.at_most[column]) {
            (Some(ratio), _) => Aim::Ratio(ratio),
            (None, Some(most)) => Aim::AtMost(most),
            (None, None) => Aim::None,
        }
    }

    /// Ours to theirs, more is better. Nothing against nothing is as good.
    pub fn ratio_of(&self, ours: f64, theirs: f64) -> f64 {
        let (over, under) = match self.better {
            Better::Higher => (ours, theirs),
            Better::Lower => (theirs, ours),
        };
        if over == under { 1.0 } else { over / under }
    }

    /// The better of two.
    pub fn best(&self, numbers: impl Iterator<Item = f64>) -> Option<f64> {
        match self.better {
            Better::Higher => numbers.max_by(f64::total_cmp),
            Better::Lower => numbers.min_by(f64::total_cmp),
        }
    }

    /// Ours against the aim; `best` is the best peer's.
    pub fn verdict(&self, aim: Aim, ours: Option<f64>, best: Option<f64>) -> Verdict {
        let Some(ours) = ours else { return Verdict::Open };
        let ratio = best.map(|best| self.ratio_of(ours, best));
        let reached = match (aim, ratio) {
            (Aim::None, _) | (Aim::Ratio(_), None) => return Verdict::Open,
            (Aim::Ratio(aim), Some(ratio)) => ratio >= aim,
            (Aim::AtMost(most), _) => ours <= most,
        };
        match (reached, aim, ratio) {
            (true, ..) => Verdict::Reached,
            (false, Aim::Ratio(_), Some(ratio)) if ratio < 1.0 => Verdict::Behind,
            (false, ..) => Verdict::Short,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::workload;

    fn row(better: Better, ratio: Option<f64>, at_most: Option<f64>) -> Row {
        Row {
            title: String::new(),
            workload: String::new(),
            metric: String::new(),
            better,
            ratio: [ratio, None],
            at_most: [at_most, None],
        }
    }

    #[test]
    fn ratios_point_upwards() {
        let rate = row(Better::Higher, Some(2.0), None);
        assert_eq!(rate.ratio_of(300.0, 100.0), 3.0);
        assert_eq!(rate.best([1.0, 5.0, 3.0].into_iter()), Some(5.0));
        let latency = row(Better::Lower, Some(1.0), None);
        assert_eq!(latency.ratio_of(5.0, 10.0), 2.0);
        assert_eq!(latency.best([1.0, 5.0, 3.0].into_iter()), Some(1.0));
        assert_eq!(latency.ratio_of(0.0, 0.0), 1.0);
        assert_eq!(latency.best(std::iter::empty()), None);
    }

    #[test]
    fn verdicts_keep_to_the_bar() {
        let rate = row(Better::Higher, Some(2.0), None);
        assert_eq!(rate.verdict(rate.aim(0), Some(200.0), Some(100.0)), Verdict::Reached);
        assert_eq!(rate.verdict(rate.aim(0), Some(199.0), Some(100.0)), Verdict::Short);
        assert_eq!(rate.verdict(rate.aim(0), Some(99.0), Some(100.0)), Verdict::Behind);
        assert_eq!(rate.verdict(rate.aim(0), Some(99.0), None), Verdict::Open);
        assert_eq!(rate.verdict(rate.aim(0), None, Some(1.0)), Verdict::Open);
        assert_eq!(rate.verdict(rate.aim(1), Some(1.0), Some(100.0)), Verdict::Open, "no bar in this column");
        let opening = row(Better::Lower, None, Some(10.0));
        assert_eq!(opening.verdict(opening.aim(0), Some(10.0), Some(0.2)), Verdict::Reached);
        assert_eq!(opening.verdict(opening.aim(0), Some(10.1), Some(0.2)), Verdict::Short);
        let half = row(Better::Higher, Some(0.5), None);
        assert_eq!(half.verdict(half.aim(0), Some(60.0), Some(100.0)), Verdict::Reached);
        let tail = row(Better::Lower, Some(1.0), None);
        assert_eq!(tail.verdict(tail.aim(0), Some(11.0), Some(10.0)), Verdict::Behind);
    }

    /// Each row names a workload that there is, and the columns are chosen by size.
    #[test]
    fn the_data_is_sound() {
        let bar = Bar::load().unwrap();
        for row in &bar.rows {
            workload::by_name(&row.workload).unwrap();
            assert!(row.ratio == [None; 2] || row.at_most == [None; 2], "{} has two aims", row.title);
        }
        for row in &bar.growth.rows {
            workload::by_name(&row.workload).unwrap();
        }
        for workload in workload::WORKLOADS {
            assert!(bar.rows.iter().any(|row| row.workload == workload.name), "{} is in no row", workload.name);
        }
        assert_eq!([1_000, 1_000_000, 3_000_000, 4_000_000, 10_000_000].map(|n| bar.column(n)), [0, 0, 0, 1, 1]);
    }
}
