//! `adctl ads`: registers ads, lists them, and says which of them players are told of.

use clap::{Args, Subcommand};
use click_store::{ActiveAdsCache, StoreError, ads};
use proto_schemas::AdId;

use crate::{
    connections::{PostgresAt, RedisAt},
    output,
};

mod add;
pub(crate) mod fields;
mod file;
mod list;

/// Register ads, list them, switch them on and off
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    Add(add::Add),
    List(list::List),
    /// Tell players of an ad
    Activate(Switch),
    /// Tell players of an ad no longer; its events still count
    Deactivate(Switch),
}

#[derive(Args, Debug)]
pub(crate) struct Switch {
    /// The ad
    #[arg(value_parser = fields::ad_id)]
    id: AdId,
    #[command(flatten)]
    postgres: PostgresAt,
    #[command(flatten)]
    redis: RedisAt,
}

impl Command {
    pub(crate) async fn run(self) -> anyhow::Result<()> {
        match self {
            Self::Add(add) => add.run().await,
            Self::List(list) => list.run().await,
            Self::Activate(switch) => switch.run(true).await,
            Self::Deactivate(switch) => switch.run(false).await,
        }
    }
}

impl Switch {
    async fn run(self, active: bool) -> anyhow::Result<()> {
        let known = ads::set_active(&self.postgres.pool()?, self.id, active)
            .await
            .map_err(|error| self.postgres.explain(error))?;
        if !known {
            anyhow::bail!("ad {} is unknown: `adctl ads list` shows those that are there", self.id);
        }
        forget_active_ads(&self.redis).await;
        let state = if active { "active" } else { "inactive" };
        output::result(format_args!("ad {} is {state}", self.id))?;
        Ok(())
    }
}

/// Makes `GET /ads` show a change at once. Without Redis it does so a little later.
async fn forget_active_ads(redis: &RedisAt) {
    let outcome: Result<(), StoreError> =
        async { ActiveAdsCache::new(redis.connect()?).clear().await }.await;
    if let Err(error) = outcome {
        output::note(format_args!(
            "Redis at {} does not answer ({error}); `GET /ads` shows the change in {} s at most",
            redis.server(),
            ActiveAdsCache::LIFETIME.as_secs()
        ));
    }
}
