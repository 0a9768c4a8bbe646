//! `kvs-versus run` measures, `table` and `plot` make the report of its lines.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};
use kvs_versus::bar::Bar;
use kvs_versus::cells::{Cell, Spec, open};
use kvs_versus::matrix::{self, Answer};
use kvs_versus::{Result, group, growth, measure, over_time, plot, record, stores, table, workload};

/// kvs beside other ordered stores, measured in one run.
#[derive(Parser)]
#[command(version)]
struct Arguments {
    #[command(subcommand)]
    command: What,
}

#[derive(Subcommand)]
enum What {
    /// Runs stores and workloads, each in a process and directory of its own, and adds a line of JSON for each to a file.
    Run(Box<matrix::Options>),
    /// Prints the report of such a file as Markdown.
    Table {
        /// The file.
        lines: PathBuf,
    },
    /// Draws such a file: PREFIX-ratios.svg and PREFIX-rates.svg for the first shape. Of a run over time, or of several numbers of keys, PREFIX.svg.
    Plot {
        /// The file.
        lines: PathBuf,
        /// What the pictures' names start with.
        prefix: PathBuf,
    },
    /// Lists stores, with their settings, and workloads.
    List,
    /// Runs one cell in this process; `run` starts it.
    #[command(hide = true)]
    Cell {
        /// What to do, as JSON.
        spec: String,
    },
    /// Puts until it is killed; a cell starts it.
    #[command(hide = true)]
    Victim {
        /// What to do, as JSON.
        spec: String,
    },
}

fn main() -> ExitCode {
    match act(Arguments::parse().command) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("kvs-versus: {error}");
            ExitCode::FAILURE
        }
    }
}

fn act(what: What) -> Result<()> {
    match what {
        What::Run(options) => {
            let summary = matrix::run(&options)?;
            eprintln!("{} cells, {} failed, {} left out", summary.cells, summary.failed, summary.left_out);
            if summary.failed > 0 {
                return Err("some cells failed; their lines say why".into());
            }
            if summary.incomplete {
                return Err(
                    "the time was over before every row was measured once: give it more minutes, or fewer rows".into(),
                );
            }
            Ok(())
        }
        What::Table { lines } => {
            print!("{}", table::render(&record::read(&lines)?, &Bar::load()?));
            Ok(())
        }
        What::Plot { lines, prefix } => {
            let records = record::read(&lines)?;
            let bar = Bar::load()?;
            // One picture of a run that looks at one thing, or the two of a run of rows.
            if let Some(picture) = over_time::picture(&records).or_else(|| growth::picture(&records, &bar)) {
                let mut path = prefix.into_os_string();
                path.push(".svg");
                return Ok(std::fs::write(path, picture)?);
            }
            let parts = table::parts(&records);
            let part = parts.first().ok_or("there are no lines to draw")?;
            let path = |name: &str| {
                let mut path = prefix.clone().into_os_string();
                path.push(name);
                PathBuf::from(path)
            };
            std::fs::write(path("-ratios.svg"), plot::ratios(part, &bar))?;
            std::fs::write(path("-rates.svg"), plot::rates(part, &bar))?;
            Ok(())
        }
        What::List => {
            for contestant in stores::all() {
                let settings = (contestant.settings)(&Default::default());
                println!(
                    "{} {} (class {}): {settings}",
                    contestant.name,
                    contestant.version,
                    contestant.class.letter()
                );
            }
            println!();
            workload::WORKLOADS.iter().for_each(|workload| println!("{}", workload.name));
            Ok(())
        }
        What::Cell { spec } => {
            measure::end_with_parent()?;
            let spec = serde_json::from_str::<Spec>(&spec)?;
            // Before anything is opened: what was read earlier is not counted.
            spec.group.as_deref().map_or(Ok(()), group::join)?;
            let outcome = Cell::new(spec).and_then(|cell| cell.run());
            let answer = match outcome {
                Ok(outcome) => Answer::Measured(outcome.metrics, outcome.series, outcome.cut),
                Err(error) => Answer::Failed(error.to_string()),
            };
            println!("{}", serde_json::to_string(&answer)?);
            Ok(())
        }
        What::Victim { spec } => open::be_the_victim(&Cell::new(serde_json::from_str(&spec)?)?),
    }
}
