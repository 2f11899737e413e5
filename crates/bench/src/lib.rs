//! `bench`: how fast the pipeline is, as ratios measured side by side on one machine.
//!
//! Each row compares A with B, measured in turn so that whatever else the machine does hits both, and
//! reports the median of their ratios with its spread. `make bench` runs it with a stack of its own.

mod bare;
mod clicks;
mod cpu;
mod histogram;
mod load;
mod machine;
mod pairs;
mod progress;
mod report;
mod requests;
mod rows;
mod steps;
mod topic;

use std::path::PathBuf;

use anyhow::ensure;
use clap::{Parser, Subcommand};
use service_kit::open_files::make_room_for;

use crate::{
    machine::Machine,
    progress::{Progress, note},
    report::Report,
    rows::Effort,
    steps::Step,
};

/// More than any load opens.
const CONNECTIONS: usize = 4_096;

#[derive(Parser)]
#[command(
    about = "Measure the pipeline side by side with what it is compared to",
    long_about = "Measure the pipeline side by side with what it is compared to\n\n\
        Run it with servers of its own: `make bench`, `make bench-quick`, or, once that has built all of \
        it, `target/release/local-stack exec --durable -- target/release/bench --row 3`. The report goes \
        to standard output, progress to standard error. A service that ends, or refuses what it should \
        take, is an error: the other rows are measured all the same, and no file is written.",
    after_help = "Nothing else should run on the machine meanwhile, and the services must be those of a \
        release build."
)]
struct Cli {
    #[command(subcommand)]
    command: Option<Hidden>,
    /// Rows 1, 2, 4, 5, 7 and a headline of 15 s, each measured for a short time: below five minutes
    #[arg(long)]
    quick: bool,
    /// Only this row; may be repeated. 1 to 11, headline, headline-in-batches, and of how it grows: ads,
    /// consumers, load, saturation, or growth for all four
    #[arg(long, value_name = "NAME")]
    row: Vec<String>,
    /// Writes the report to this file too
    #[arg(long, value_name = "FILE")]
    write: Option<PathBuf>,
}

#[derive(Subcommand)]
enum Hidden {
    /// Serves what a service is measured against
    #[command(hide = true)]
    Bare(bare::Bare),
}

impl Cli {
    /// What the report says that it was written by.
    fn called(&self) -> &'static str {
        match (self.quick, self.row.is_empty()) {
            (false, true) => "make bench",
            (true, true) => "make bench-quick",
            (_, false) => "bench --row …",
        }
    }
}

/// What the program does.
pub fn main() -> anyhow::Result<()> {
    let cli = Cli::parse();
    match cli.command {
        Some(Hidden::Bare(bare)) => {
            let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
            runtime.block_on(bare.serve())
        }
        None => {
            make_room_for(CONNECTIONS);
            // One thread, as processes that it starts end with it; loads have threads of their own.
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
            runtime.block_on(measure(&cli))
        }
    }
}

#[expect(clippy::print_stdout, reason = "the report is what this program is for")]
async fn measure(cli: &Cli) -> anyhow::Result<()> {
    let effort = if cli.quick { Effort::QUICK } else { Effort::FULL };
    let steps = Step::wanted(&cli.row, cli.quick)?;
    let machine = Machine::here().await?;
    let (mut report, mut progress) = (Report::default(), Progress::of(steps.len()));
    let mut failed = Vec::new();
    for step in steps {
        progress.begins(step.title());
        let known = report.rows.len();
        // What was measured before, and what comes after, took long: it is told all the same.
        if let Err(error) = step.measure(effort, &mut report).await {
            note(&format!("failed: {error:#}"));
            failed.push(step.title());
        }
        for row in &report.rows[known..] {
            note(&format!("row {}: {}; {}: {}", row.number, row.measured, row.against, row.result));
        }
    }

    let text = report.render(&machine, cli.called(), progress.took());
    println!("\n{text}");
    ensure!(failed.is_empty(), "failed, and not in the report: {}", failed.join("; "));
    if let Some(file) = &cli.write {
        std::fs::write(file, text)?;
    }
    Ok(())
}
