//! `adctl epoch`: declares everything that Redis holds out of date.

use clap::{Args, Subcommand, builder::NonEmptyStringValueParser};
use click_store::offsets;

use crate::{connections::PostgresAt, output};

/// Renew the epoch, after Postgres was restored from a backup
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    Renew(Renew),
}

/// Declare everything that Redis holds out of date
///
/// A step of every restore of Postgres: Redis may hold counts of a future that no longer exists. The
/// consumers write the counters anew within seconds; until then analytics answer from Postgres.
#[derive(Args, Debug)]
pub(crate) struct Renew {
    /// Why, for whoever reads the table `projection_epoch` later
    #[arg(
        long,
        value_name = "TEXT",
        default_value = "renewed by adctl",
        value_parser = NonEmptyStringValueParser::new()
    )]
    reason: String,
    #[command(flatten)]
    postgres: PostgresAt,
}

impl Command {
    pub(crate) async fn run(self) -> anyhow::Result<()> {
        let Self::Renew(renew) = self;
        let epoch = offsets::renew_epoch(&renew.postgres.pool()?, &renew.reason)
            .await
            .map_err(|error| renew.postgres.explain(error))?;
        output::result(format_args!("the epoch is now {epoch}"))?;
        Ok(())
    }
}
