//! Rounds, medians, ratios, Markdown; and cells, which are processes.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::Command;

use kvs_versus::Result;
use kvs_versus::measure::{load_average, machine, today};
use serde::{Deserialize, Serialize};

use crate::{logs, orders, points};

/// What one process measured: figures by name.
pub type Metrics = BTreeMap<String, f64>;

/// What a process is started for.
#[derive(Serialize, Deserialize)]
pub enum Spec {
    Index(points::Cell),
    Order(orders::Cell),
    Victim(logs::Victim),
}

impl Spec {
    /// The command of a process that does it.
    pub fn command(&self) -> Result<Command> {
        let mut command = Command::new(std::env::current_exe()?);
        command.arg("cell").arg(serde_json::to_string(self)?);
        Ok(command)
    }

    /// What a process of its own measures.
    pub fn measure(&self) -> Result<Metrics> {
        let output = self.command()?.output()?;
        if !output.status.success() {
            return Err(format!("{}: {}", output.status, String::from_utf8_lossy(&output.stderr).trim()).into());
        }
        Ok(serde_json::from_slice(&output.stdout)?)
    }
}

/// Every figure of every round: by contender and column.
pub struct Rounds {
    contenders: Vec<String>,
    columns: Vec<&'static str>,
    values: Vec<Vec<Vec<f64>>>,
}

impl Rounds {
    pub fn new(contenders: Vec<String>, columns: &[&'static str]) -> Rounds {
        let values = vec![vec![Vec::new(); columns.len()]; contenders.len()];
        Rounds { contenders, columns: columns.to_vec(), values }
    }

    pub fn add(&mut self, contender: usize, column: usize, value: f64) {
        self.values[contender][column].push(value);
    }

    /// What a contender measured in one process, by the columns' names. A column that it does not have stays empty.
    pub fn add_all(&mut self, contender: usize, metrics: &Metrics) {
        for column in 0..self.columns.len() {
            if let Some(&value) = metrics.get(self.columns[column]) {
                self.add(contender, column, value);
            }
        }
    }

    /// A table: medians, and behind each in brackets how many times that of the contender `base` it is.
    pub fn print(&self, first: &str, base: Option<usize>) {
        println!("| {first} | {} |", self.columns.join(" | "));
        println!("|---|{}", "--:|".repeat(self.columns.len()));
        for (contender, name) in self.contenders.iter().enumerate() {
            let cells: Vec<String> = (0..self.columns.len()).map(|column| self.text(contender, column, base)).collect();
            println!("| {name} | {} |", cells.join(" | "));
        }
        println!();
    }

    fn text(&self, contender: usize, column: usize, base: Option<usize>) -> String {
        let Some(value) = median(&self.values[contender][column]) else { return String::new() };
        let ratios = |base: usize| -> Vec<f64> {
            let pairs = self.values[contender][column].iter().zip(&self.values[base][column]);
            pairs.map(|(value, base)| value / base).collect()
        };
        match base.filter(|&base| base != contender).and_then(|base| median(&ratios(base))) {
            Some(ratio) => format!("{} ({})", number(value), number(ratio)),
            None => number(value),
        }
    }
}

/// The middle one; of none, nothing.
pub fn median(values: &[f64]) -> Option<f64> {
    let mut sorted: Vec<f64> = values.iter().copied().filter(|value| value.is_finite()).collect();
    sorted.sort_by(f64::total_cmp);
    sorted.get(sorted.len() / 2).copied()
}

/// Three digits, or as many as stand before the point.
pub fn number(value: f64) -> String {
    let decimals = match value.abs() {
        v if v >= 99.95 => 0,
        v if v >= 9.995 => 1,
        _ => 2,
    };
    format!("{value:.decimals$}")
}

/// Where and when: the line above every table.
pub fn tell_where(what: &str) {
    let read = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
    let kernel = read("/proc/sys/kernel/osrelease");
    println!("{}, Linux {}, {}; load average {:.1}. {what}\n", machine(), kernel.trim(), today(), load_average());
}

/// The version of a crate, as the lock file has it.
pub fn version(krate: &str) -> &'static str {
    const LOCK: &str = include_str!("../../../Cargo.lock");
    let named = format!("name = \"{krate}\"");
    let mut lines = LOCK.lines().skip_while(|line| *line != named);
    lines.nth(1).and_then(|line| line.split('"').nth(1)).unwrap_or("?")
}

/// The contenders in whose names one of these parts is, all if there are no parts; and the first, with which the others are compared.
pub fn asked_for<'a, C>(contenders: &'a [C], name: impl Fn(&C) -> &str, parts: &[String]) -> Vec<&'a C> {
    let is_wanted = |at: usize, contender: &C| {
        at == 0 || parts.is_empty() || parts.iter().any(|part| name(contender).contains(part.as_str()))
    };
    contenders.iter().enumerate().filter(|(at, contender)| is_wanted(*at, contender)).map(|(_, found)| found).collect()
}

/// A directory of this process that is removed with everything in it.
pub struct Scratch(PathBuf);

impl Scratch {
    pub fn new(parent: Option<&PathBuf>) -> Result<Scratch> {
        let parent = parent.cloned().unwrap_or_else(std::env::temp_dir);
        let path = parent.join(format!("kvs-decisions-{}", std::process::id()));
        std::fs::create_dir_all(&path)?;
        Ok(Scratch(path))
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}
