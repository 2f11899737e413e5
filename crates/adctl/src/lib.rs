//! The operator's command line, as a library: what each command does, and its arguments.

use std::{process::ExitCode, time::Duration};

use clap::{Parser, Subcommand};
use service_kit::shutdown::Signals;
use tokio_util::sync::CancellationToken;

mod ads;
mod audit;
mod connections;
mod csv_file;
mod dead;
mod epoch;
mod event_json;
mod link;
mod migrate;
mod output;
mod progress;
mod rebuild;
pub mod replay;
mod roles;
mod tap;
mod topics;

/// The code of a process that a signal ended, as shells have it for SIGINT.
const INTERRUPTED: u8 = 130;

/// How long a blocking call that nobody waits for any more may hold up the end of the process.
const END_TIMEOUT: Duration = Duration::from_millis(100);

/// Registers ads, replays traffic, checks that every event is accounted for, and mends what is not
///
/// Without settings it talks to what `make run` starts.
#[derive(Debug, Parser)]
#[command(
    name = "adctl",
    version,
    arg_required_else_help = true,
    after_help = "Examples:\n  \
        adctl ads add --file data/ads.csv\n  \
        adctl ads add --id 35 --image-url https://example.com/35.jpg \
        --target-url https://example.com/35\n  \
        adctl replay data/open-bandit-bts-men.csv --rate 500\n  \
        adctl tap click --from-beginning --count 3\n  \
        adctl topics create --replication 3\n  \
        adctl audit\n  \
        adctl dead list --reason unknown_ad\n\n\
        `adctl help COMMAND` says more about each."
)]
pub struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    #[command(subcommand)]
    Ads(ads::Command),
    Link(link::MakeLink),
    Replay(replay::Replay),
    Tap(tap::Tap),
    #[command(subcommand)]
    Topics(topics::Command),
    Migrate(migrate::Migrate),
    Roles(roles::Roles),
    #[command(subcommand)]
    Epoch(epoch::Command),
    Audit(audit::Audit),
    #[command(subcommand)]
    Dead(dead::Command),
    #[command(subcommand)]
    Rebuild(rebuild::Command),
}

/// Does what the command line says, and returns the code to end with.
pub fn main(cli: Cli) -> ExitCode {
    let runtime = match tokio::runtime::Runtime::new() {
        Ok(runtime) => runtime,
        Err(error) => {
            output::problem(&error.into());
            return ExitCode::FAILURE;
        }
    };
    let outcome = runtime.block_on(run(cli.command));
    // Not waited for without end: a write to a pipe that nobody reads is a blocking call too.
    runtime.shutdown_timeout(END_TIMEOUT);

    outcome.unwrap_or_else(|error| {
        output::problem(&error);
        ExitCode::FAILURE
    })
}

async fn run(command: Command) -> anyhow::Result<ExitCode> {
    match command {
        Command::Ads(command) => command.run().await?,
        Command::Link(link) => link.run()?,
        Command::Replay(replay) => {
            return until_interrupted(async |stop| replay.run(stop).await).await;
        }
        Command::Tap(tap) => return until_interrupted(async |stop| tap.run(stop).await).await,
        Command::Topics(command) => command.run().await?,
        Command::Migrate(migrate) => migrate.run().await?,
        Command::Roles(roles) => roles.run().await?,
        Command::Epoch(command) => command.run().await?,
        Command::Audit(audit) => return Ok(audit.run().await),
        Command::Dead(command) => return command.run().await,
        Command::Rebuild(command) => return command.run().await,
    }
    Ok(ExitCode::SUCCESS)
}

/// Runs `work` with a token that the first SIGINT or SIGTERM cancels. The second one drops the work.
async fn until_interrupted(
    work: impl AsyncFnOnce(CancellationToken) -> anyhow::Result<ExitCode>,
) -> anyhow::Result<ExitCode> {
    let mut signals = Signals::catch()?;
    let stop = CancellationToken::new();
    let mut work = std::pin::pin!(work(stop.clone()));
    loop {
        // `Signals::next` is cancel safe, and the work is polled on, not dropped.
        tokio::select! {
            outcome = &mut work => return outcome,
            _ = signals.next() => {
                if stop.is_cancelled() {
                    return Ok(ExitCode::from(INTERRUPTED));
                }
                stop.cancel();
            }
        }
    }
}
