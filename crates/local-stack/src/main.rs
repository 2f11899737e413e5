//! Runs the pipeline, or any command, beside real servers on this machine.

use std::process::ExitCode;

use clap::{Parser, Subcommand};

mod command;

/// Private Kafka, Postgres and Redis for this clone.
#[derive(Debug, Parser)]
#[command(version)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Run(command::run::Run),
    Up(command::up::Up),
    Exec(command::exec::Exec),
}

#[tokio::main]
async fn main() -> ExitCode {
    let outcome = match Cli::parse().command {
        Command::Run(run) => run.run().await,
        Command::Up(up) => up.run().await,
        Command::Exec(exec) => exec.run().await,
    };
    outcome.unwrap_or_else(|error| {
        command::say::problem(&error);
        ExitCode::FAILURE
    })
}
