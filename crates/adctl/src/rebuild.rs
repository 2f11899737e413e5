//! `adctl rebuild`: Redis from Postgres, and the totals from the rows, while everything runs.

use std::process::ExitCode;

use clap::Subcommand;

use crate::until_interrupted;

mod redis;
mod totals;

/// Make Redis, or the totals, anew while everything runs
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    Redis(redis::RebuildRedis),
    Totals(totals::RebuildTotals),
}

impl Command {
    pub(crate) async fn run(self) -> anyhow::Result<ExitCode> {
        match self {
            Self::Redis(redis) => until_interrupted(async |stop| redis.run(stop).await).await,
            Self::Totals(totals) => totals.run().await,
        }
    }
}
