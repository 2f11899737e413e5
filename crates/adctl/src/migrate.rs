//! `adctl migrate`: brings the database up to this release.

use clap::Args;
use click_store::migrations;

use crate::{connections::PostgresAt, output};

/// Bring the tables of the database up to this release
///
/// Safe at any time and as often as you like: it waits for anybody else who migrates. The consumer
/// does the same at its start unless `MIGRATE_ON_START=false`.
#[derive(Args, Debug)]
pub(crate) struct Migrate {
    #[command(flatten)]
    postgres: PostgresAt,
}

impl Migrate {
    pub(crate) async fn run(self) -> anyhow::Result<()> {
        let applied = migrations::migrate(&self.postgres.url()?)
            .await
            .map_err(|error| self.postgres.explain(error))?;
        if applied.is_empty() {
            output::result("nothing to do: the database is up to date")?;
        }
        for migration in applied {
            output::result(format_args!("applied {migration}"))?;
        }
        Ok(())
    }
}
