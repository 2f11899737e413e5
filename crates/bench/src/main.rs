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
mod report;
mod requests;
mod rows;
mod topic;

use std::path::PathBuf;

use clap::{Parser, Subcommand};
use e2e::Pipeline;

use crate::{
    machine::Machine,
    report::{Row, render},
    rows::{Effort, analytics, batches, counting, headline, ingest},
};

#[derive(Parser)]
#[command(about = "Measure the pipeline side by side with what it is compared to")]
struct Cli {
    #[command(subcommand)]
    command: Option<Hidden>,
    /// Rows 1, 2, 4, 5, 7 and headlines of 15 s, in some ten minutes
    #[arg(long)]
    quick: bool,
    /// Only these rows, such as `--row 1 --row headline`
    #[arg(long)]
    row: Vec<String>,
    /// Writes the report to this file too
    #[arg(long)]
    write: Option<PathBuf>,
}

#[derive(Subcommand)]
enum Hidden {
    /// Serves what a service is measured against
    #[command(hide = true)]
    Bare(bare::Bare),
}

fn main() -> anyhow::Result<()> {
    let cli = Cli::parse();
    match cli.command {
        Some(Hidden::Bare(bare)) => {
            let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
            runtime.block_on(bare.serve())
        }
        None => {
            // One thread, as processes that it starts end with it; loads have threads of their own.
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
            runtime.block_on(measure(&cli))
        }
    }
}

#[expect(clippy::print_stdout, reason = "the report is what this program is for")]
async fn measure(cli: &Cli) -> anyhow::Result<()> {
    let effort = if cli.quick { Effort::QUICK } else { Effort::FULL };
    let wanted = |row: &str| {
        let by_name = cli.row.iter().any(|it| it == row);
        by_name || (cli.row.is_empty() && !(cli.quick && row == "9"))
    };
    let mut rows: Vec<Row> = Vec::new();
    if wanted("1") {
        rows.push(told(ingest::without_kafka(effort).await?));
    }
    if wanted("2") {
        rows.push(told(ingest::acknowledged(effort).await?));
    }
    if wanted("4") || wanted("5") {
        rows.extend(counting::counting(effort).await?.map(told));
    }
    if wanted("7") {
        rows.push(told(analytics::answers(effort).await?));
    }
    if wanted("9") {
        rows.push(told(batches::batches(effort).await?));
    }
    if wanted("headline") {
        rows.push(told(headline::one_by_one(effort).await?));
        rows.push(told(headline::in_batches(effort).await?));
    }

    let report = render(&Machine::here(postgres_version().await?), &rows);
    println!("\n{report}");
    if let Some(file) = &cli.write {
        std::fs::write(file, report)?;
    }
    Ok(())
}

/// Says at once what was found: all of it takes minutes.
#[expect(clippy::print_stderr, reason = "progress, beside the report")]
fn told(row: Row) -> Row {
    eprintln!("row {}: {}; {}: {}", row.number, row.measured, row.against, row.result);
    row
}

async fn postgres_version() -> anyhow::Result<String> {
    let pipeline = Pipeline::new("bench-versions").await;
    let client = pipeline.pool().get().await?;
    Ok(client.query_one("SHOW server_version", &[]).await?.try_get(0)?)
}
