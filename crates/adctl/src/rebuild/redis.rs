//! `adctl rebuild redis`: has every consumer write its part of Redis anew.

use std::{process::ExitCode, time::Duration};

use anyhow::bail;
use clap::Args;
use click_store::{
    Pool, Projection, StoreError, TopicPartition,
    audit::{self, RedisState},
    offsets, totals,
};
use service_kit::settings::Value as _;
use tokio::time::{Instant, MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;

use crate::{
    INTERRUPTED,
    connections::{PostgresAt, RedisAt},
    output,
    progress::Progress,
};

/// How often it is looked at what has been written.
const LOOK_EVERY: Duration = Duration::from_millis(250);

/// Have the consumers write everything in Redis anew
///
/// Renews the epoch, by which everything that Redis holds is out of date at once, and waits until the
/// consumers have written every partition from the totals in Postgres: seconds, while counting goes
/// on. Until then analytics answer from Postgres. Once renewed, the epoch stays so: the consumers
/// finish the work also where nobody waits for it.
#[derive(Args, Debug)]
pub(crate) struct RebuildRedis {
    /// How long to wait for the consumers
    #[arg(long, value_name = "TIME", default_value = "1m", value_parser = Duration::parse)]
    time_limit: Duration,
    #[command(flatten)]
    postgres: PostgresAt,
    #[command(flatten)]
    redis: RedisAt,
}

impl RebuildRedis {
    pub(super) async fn run(self, stop: CancellationToken) -> anyhow::Result<ExitCode> {
        let redis = self.redis.connect()?;
        // Before anything is declared out of date.
        redis.ping().await.map_err(|error| self.explain(error))?;
        let (pool, projection) = (self.postgres.pool()?, Projection::new(redis));
        let partitions = totals::view(&pool).await.map_err(|error| self.explain(error))?.partitions;
        if partitions.is_empty() {
            output::note("nothing is counted yet, so Redis holds nothing");
            return Ok(ExitCode::SUCCESS);
        }
        let begun = Instant::now();
        offsets::renew_epoch(&pool, "adctl rebuild redis")
            .await
            .map_err(|error| self.explain(error))?;

        let all = partitions.len();
        let mut pending: Vec<TopicPartition> = partitions.into_iter().map(|it| it.at).collect();
        let mut progress = Progress::new("partitions", all as u64);
        let mut looks = interval(LOOK_EVERY);
        looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        while !pending.is_empty() && !stop.is_cancelled() && begun.elapsed() < self.time_limit {
            looks.tick().await;
            pending = not_written(&pool, &projection, pending)
                .await
                .map_err(|error| self.explain(error))?;
            let written = (all - pending.len()) as u64;
            progress.settled(written);
            progress.tick((written, all as u64), None);
        }
        progress.finish();

        if pending.is_empty() {
            let seconds = begun.elapsed().as_secs_f64();
            output::result(format_args!("{all} partitions are written anew, in {seconds:.1} s"))?;
            return Ok(ExitCode::SUCCESS);
        }
        if stop.is_cancelled() {
            output::note("no longer waiting; the consumers finish the work");
            return Ok(ExitCode::from(INTERRUPTED));
        }
        bail!("{}", self.too_slow(all, &pending))
    }

    fn too_slow(&self, all: usize, pending: &[TopicPartition]) -> String {
        let limit = self.time_limit;
        let meanwhile = "until it does, analytics answer from Postgres";
        if pending.len() == all {
            return format!(
                "none of {all} partitions was written within {limit:?}: is a click-consumer \
                 running, with this database and this Redis? {meanwhile}"
            );
        }
        format!(
            "{} of {all} partitions were not written within {limit:?}, {} is the first: does a \
             click-consumer hold them (consumer_partitions)? {meanwhile}",
            pending.len(),
            pending.first().map(ToString::to_string).unwrap_or_default(),
        )
    }

    fn explain(&self, error: StoreError) -> anyhow::Error {
        match error {
            StoreError::Redis(error) => self.redis.unreachable(&error),
            other => self.postgres.explain(other),
        }
    }
}

/// Those of `partitions` that are not written yet. One that is behind in the new epoch is written,
/// and counting goes on.
async fn not_written(
    pool: &Pool,
    projection: &Projection,
    partitions: Vec<TopicPartition>,
) -> Result<Vec<TopicPartition>, StoreError> {
    let mut pending = Vec::new();
    for at in partitions {
        match audit::compare_redis(pool, projection, &at).await? {
            RedisState::Equal | RedisState::Behind(_) => {}
            _ => pending.push(at),
        }
    }
    Ok(pending)
}
