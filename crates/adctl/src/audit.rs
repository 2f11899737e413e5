//! `adctl audit`: whether every event that was read is accounted for.

use std::{collections::HashMap, process::ExitCode, time::Duration};

use clap::Args;
use click_store::{
    Pool, Projection, StoreError, TopicPartition,
    audit::{self, Books, RedisState, Rows},
};
use service_kit::settings::Value as _;
use tokio::time::sleep;

use crate::{
    connections::{KafkaAt, PostgresAt, RedisAt},
    output,
};

mod logs;
mod report;
mod table;

use logs::Logs;
use report::Report;

/// The code where it could not be found out whether all is well.
const UNKNOWN: u8 = 2;

/// How often a partition that is moving in Redis is looked at. With the pause between, this is longer
/// than its owner takes to mend it.
const LOOKS: u32 = 30;

/// Time between two looks.
const PAUSE: Duration = Duration::from_millis(150);

/// Check that every event is accounted for
///
/// Compares, partition by partition: the ends of Kafka's log, how far it is counted, the ledger
/// (stored + duplicates + dead + absent = every offset that was passed), the rows of clicks and
/// impressions, the totals of each ad, and what Redis holds. May be run at any time, also under
/// traffic: what Postgres says is of one moment, and Redis is compared where it stands at the same
/// offset. A partition in Redis that is behind ("moving"), absent or of another epoch is no
/// difference: readers know, and its consumer mends it.
///
/// It reads every row there is, which takes some seconds for each ten million and loads the disk of
/// Postgres like a backup does; --quick leaves that out, and then finds no row that is missing.
///
/// The exit code is 0 where everything is accounted for, 1 where something is not, and 2 where it
/// could not be found out.
#[derive(Args, Debug)]
#[command(after_help = "What to do about a difference:\n  \
    rows, totals and ledger differ   adctl rebuild totals\n  \
    Redis differs                    adctl rebuild redis\n  \
    the log was cut or made again    docs/ARCHITECTURE.md, \"Where a partition starts\"")]
pub(crate) struct Audit {
    /// Print JSON instead of a table
    #[arg(long)]
    json: bool,
    /// Do not count rows: compare the ledger with the totals, and these with Redis
    #[arg(long)]
    quick: bool,
    /// How long counting the rows may take
    #[arg(long, value_name = "TIME", default_value = "1h", value_parser = Duration::parse)]
    time_limit: Duration,
    #[command(flatten)]
    kafka: KafkaAt,
    #[command(flatten)]
    postgres: PostgresAt,
    #[command(flatten)]
    redis: RedisAt,
}

/// What Redis holds of each partition.
type RedisStates = HashMap<TopicPartition, RedisState>;

impl Audit {
    pub(crate) async fn run(self) -> ExitCode {
        let printed = match self.report().await {
            Ok(report) => self.print(&report).map(|()| report.exit_code()),
            Err(error) => Err(error),
        };
        printed.unwrap_or_else(|error| {
            output::problem(&error);
            ExitCode::from(UNKNOWN)
        })
    }

    async fn report(&self) -> anyhow::Result<Report> {
        let pool = self.postgres.pool()?;
        // Where logs begin is asked first and where they end last. The other way round, a log that
        // moved on meanwhile would look as if it had been cut.
        let begins = logs::read(&self.kafka, &[]).await;
        let rows = if self.quick { Rows::Skipped } else { Rows::Counted };
        let books = audit::books(&pool, rows, self.time_limit)
            .await
            .map_err(|error| self.postgres.explain(error))?;
        let redis = self.redis_states(&pool, &books).await;
        let ends = logs::read(&self.kafka, &books.partitions).await;

        let mut unknown = Vec::new();
        let logs = match begins.and_then(|begins| Ok(Logs::spanning(&begins, ends?))) {
            Ok(logs) => Some(logs),
            Err(error) => {
                unknown.push(format!("{error:#}"));
                None
            }
        };
        let redis = redis.unwrap_or_else(|error| {
            unknown.push(format!("{error:#}"));
            RedisStates::new()
        });
        Ok(Report::new(&books, logs.as_ref(), &redis, unknown))
    }

    /// Compares every partition with Redis, and looks again at those that are moving.
    async fn redis_states(&self, pool: &Pool, books: &Books) -> anyhow::Result<RedisStates> {
        let projection = Projection::new(self.redis.connect()?);
        let mut states = RedisStates::new();
        let mut pending: Vec<&TopicPartition> = books.partitions.iter().map(|it| &it.at).collect();
        for look in 0..LOOKS {
            if look > 0 {
                sleep(PAUSE).await;
            }
            let mut moving = Vec::new();
            for at in pending {
                let state = audit::compare_redis(pool, &projection, at).await;
                let state = state.map_err(|error| self.explain(error))?;
                if state != RedisState::Equal && !state.is_difference() {
                    moving.push(at);
                }
                states.insert(at.clone(), state);
            }
            pending = moving;
            if pending.is_empty() {
                break;
            }
        }
        Ok(states)
    }

    fn explain(&self, error: StoreError) -> anyhow::Error {
        match error {
            StoreError::Redis(error) => self.redis.unreachable(&error),
            other => self.postgres.explain(other),
        }
    }

    fn print(&self, report: &Report) -> anyhow::Result<()> {
        if self.json {
            output::result(serde_json::to_string_pretty(report)?)?;
            return Ok(());
        }
        output::result(table::render(report))?;
        Ok(())
    }
}
