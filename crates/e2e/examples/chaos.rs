//! `make chaos`: every fault of the matrix at random, and then the five invariants.

use std::time::Duration;

use clap::Parser;
use e2e::chaos::Chaos;

/// Break the pipeline at random, and check that every accepted click is counted once
///
/// Starts Kafka, Postgres, Redis and the services for itself. Ends with 0 where every invariant holds.
#[derive(Debug, Parser)]
struct Args {
    /// Decides what breaks, and for how long; a random one where it is not given
    #[arg(long)]
    seed: Option<u64>,
    /// How long things break, in minutes; starting and checking take about one more
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u64).range(1..=1440))]
    minutes: u64,
}

// One thread: the servers and services end with the thread that started them.
#[tokio::main(flavor = "current_thread")]
#[expect(clippy::print_stdout, reason = "the result is for whoever started it")]
async fn main() {
    let Args { seed, minutes } = Args::parse();
    let seed = seed.unwrap_or_else(|| rand::random_range(1..1_000_000));
    println!(
        "{minutes} minutes of chaos; again in kind with: make chaos SEED={seed} MINUTES={minutes}"
    );

    let survived = Chaos { seed, lasting: Duration::from_mins(minutes) }.run().await;

    println!("{survived}");
    println!("passed: seed {seed}, {minutes} minutes");
}
