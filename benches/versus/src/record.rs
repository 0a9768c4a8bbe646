//! What one cell reports: one line of JSON.

use std::collections::BTreeMap;
use std::io::Write;
use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::Result;
use crate::store::Class;

/// Numbers by name. `rate` is operations a second; names end with their unit where there is one.
pub type Metrics = BTreeMap<String, f64>;

/// One cell of one repetition.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Record {
    /// The store.
    pub store: String,
    /// What a put of this cell survived.
    pub class: Class,
    /// The workload.
    pub workload: String,
    /// Sizes of keys and values.
    pub shape: String,
    /// Keys.
    pub n: u64,
    /// The repetition, from 1.
    pub repetition: u32,
    /// What was measured; empty if it failed.
    pub metrics: Metrics,
    /// Operations in each whole second, of a workload that counts them.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub series: Vec<f64>,
    /// Bytes that the group of its process could use, if it was in one.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub memory_limit_bytes: Option<u64>,
    /// A limit of time came before the work was done; rates are those until then.
    pub cut: bool,
    /// Why there are no numbers.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub error: Option<String>,
    /// The load average when it began.
    pub load_average: f64,
    /// How the store was set.
    pub settings: String,
    /// The store's version.
    pub version: String,
    /// When.
    pub date: String,
    /// The commit of kvs.
    pub commit: String,
    /// Where.
    pub machine: String,
    /// How the run was started.
    pub command: String,
}

impl Record {
    /// As a line.
    pub fn to_line(&self) -> Result<String> {
        Ok(serde_json::to_string(self)?)
    }
}

/// Reads a file of lines. One that was cut off in the middle of a write is an error, and says where.
pub fn read(path: &Path) -> Result<Vec<Record>> {
    let text = std::fs::read_to_string(path).map_err(|error| format!("{}: {error}", path.display()))?;
    let lines = text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty());
    let parsed = lines.map(|(number, line)| {
        serde_json::from_str(line).map_err(|error| format!("{}:{}: {error}", path.display(), number + 1).into())
    });
    parsed.collect()
}

/// Adds a line to a file.
pub fn append(path: &Path, record: &Record) -> Result<()> {
    let mut file = std::fs::File::options().create(true).append(true).open(path)?;
    Ok(file.write_all(format!("{}\n", record.to_line()?).as_bytes())?)
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    pub(crate) fn example(store: &str, class: Class, workload: &str, metrics: &[(&str, f64)]) -> Record {
        Record {
            store: store.to_owned(),
            class,
            workload: workload.to_owned(),
            shape: "16/100".to_owned(),
            n: 1_000_000,
            repetition: 1,
            metrics: metrics.iter().map(|&(name, value)| (name.to_owned(), value)).collect(),
            series: Vec::new(),
            memory_limit_bytes: None,
            cut: false,
            error: None,
            load_average: 0.25,
            settings: "a \"quoted\" setting".to_owned(),
            version: "1.2".to_owned(),
            date: "2026-11-30".to_owned(),
            commit: "abcdef".to_owned(),
            machine: "2 cores".to_owned(),
            command: "run".to_owned(),
        }
    }

    #[test]
    fn records_survive_their_file() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("lines");
        let mut failed = example("redb", Class::Weaker, "put_64k", &[]);
        failed.error = Some("it said\nno".to_owned());
        failed.cut = true;
        failed.series = vec![3.0, 0.0, 1e6];
        failed.memory_limit_bytes = Some(1 << 28);
        let all = [example("kvs", Class::Acknowledged, "fill", &[("rate", 1e6 / 3.0), ("p50_us", 0.1)]), failed];
        all.iter().for_each(|record| append(&path, record).unwrap());
        assert_eq!(read(&path).unwrap(), all);
        assert_eq!(std::fs::read_to_string(&path).unwrap().lines().count(), 2);
    }

    /// Lines from before there were series and limits still count, and lines without them look as those did.
    #[test]
    fn lines_without_series_are_read() {
        let record = example("kvs", Class::Acknowledged, "fill", &[("rate", 2.0)]);
        let line = record.to_line().unwrap();
        assert!(!line.contains("series") && !line.contains("memory_limit"));
        assert_eq!(serde_json::from_str::<Record>(&line).unwrap(), record);
    }

    #[test]
    fn a_torn_line_is_told() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("lines");
        let line = example("kvs", Class::Acknowledged, "fill", &[]).to_line().unwrap();
        std::fs::write(&path, format!("{line}\n{}", &line[..40])).unwrap();
        assert!(read(&path).unwrap_err().to_string().contains("lines:2"));
    }
}
