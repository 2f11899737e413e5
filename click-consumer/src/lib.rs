//! Counts events from Kafka once each: stores them in Postgres and raises the counters in Redis.
//!
//! The parts, and who tells whom:
//!
//! - [`reader`] is a thread that polls Kafka, gathers batches and hands them on;
//! - [`counter`] stores each batch in one transaction: this is where counting happens;
//! - [`starter`] asks Postgres where a newly assigned partition starts;
//! - [`projector`] tells Redis, and mends it;
//! - [`assignment`] is what they share: which partitions are ours, and under which generation.

mod assignment;
mod batch;
mod batch_store;
mod config;
mod counter;
mod cursor;
mod dead_letters;
mod kafka;
mod metrics;
mod partition;
mod projector;
mod reader;
mod record;
mod starter;

use std::{sync::Arc, time::Duration};

use anyhow::Context;
use click_store::{Pool, Projection, Redis, RedisLimits, StoreError, days::Days, migrations};
use prometheus_client::registry::Registry;
use service_kit::{admin, http, readiness::Readiness, retry::Backoff};
use tokio::{runtime::Handle, sync::mpsc, task::spawn_blocking, time::sleep, time::timeout};
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tracing::{info, warn};

pub use crate::config::Config;
use crate::{
    assignment::Assignment, batch::BatchLimits, batch_store::BatchStore, counter::Counter,
    dead_letters::DeadLetters, metrics::Metrics, partition::TopicNames, projector::Projector,
    reader::Reader, record::AgeLimits, starter::Starter,
};

/// One for the counting transaction, one for starting partitions, two for repairs.
const POSTGRES_CONNECTIONS: usize = 4;

/// How long Redis may take for one command. Storing does not wait for it.
const REDIS_LIMITS: RedisLimits = RedisLimits { command: Duration::from_secs(1) };

/// Counts until `shutdown` is cancelled; then finishes the batch in hand, or drops it whole, and
/// leaves the group.
///
/// # Errors
///
/// Only where a setting is wrong or the admin address is taken. A store or a broker that is away is
/// waited for.
pub async fn run(config: Config, shutdown: CancellationToken) -> anyhow::Result<()> {
    let mut registry = Registry::default();
    let metrics = Metrics::register(&mut registry);
    let readiness = Readiness::new();
    let (postgres, joined) = (readiness.register("postgres"), readiness.register("kafka"));
    let listener = http::listen(config.admin_listen).await?;
    let drained = CancellationToken::new();
    let tasks = TaskTracker::new();
    tasks.spawn(admin::serve(listener, registry, readiness.clone(), drained.clone()));
    tasks.close();

    if migrate(&config, &shutdown).await? {
        postgres.ok();
        count(&config, &shutdown, &readiness, metrics, joined).await?;
    }
    drained.cancel();
    tasks.wait().await;
    Ok(())
}

/// Brings the database up to this release; says whether to go on.
async fn migrate(config: &Config, shutdown: &CancellationToken) -> anyhow::Result<bool> {
    if !config.migrate_on_start {
        return Ok(true);
    }
    let mut backoff = Backoff::new(Duration::from_millis(100), Duration::from_secs(5));
    loop {
        match migrations::migrate(&config.postgres.url).await {
            Ok(_) => return Ok(true),
            // A schema that does not fit this release stays so.
            Err(error @ (StoreError::Migration(_) | StoreError::Setting(_))) => {
                return Err(error).context("migrating the database");
            }
            Err(error) => warn!(%error, "the database cannot be migrated yet, trying again"),
        }
        if shutdown.run_until_cancelled(sleep(backoff.next_delay())).await.is_none() {
            return Ok(false);
        }
    }
}

async fn count(
    config: &Config,
    shutdown: &CancellationToken,
    readiness: &Readiness,
    metrics: Metrics,
    joined: service_kit::readiness::Check,
) -> anyhow::Result<()> {
    let pool = click_store::pool(&config.postgres.url, "click-consumer", POSTGRES_CONNECTIONS)?;
    let redis = Redis::connect(&config.redis.url, &config.redis.prefix, REDIS_LIMITS)?;
    let names = TopicNames::new(&config.kafka.topic_prefix);
    let assignment = Assignment::default();
    let consumer = kafka::subscribe(config, &names, assignment.clone(), metrics.clone(), joined)?;
    let consumer = Arc::new(consumer);
    let (projections, projector) = Projector::new(
        pool.clone(),
        Projection::new(redis),
        assignment.clone(),
        names.clone(),
        metrics.clone(),
    );
    let (sender, batches) = mpsc::channel(1);

    let tasks = TaskTracker::new();
    let reader = Reader {
        consumer: Arc::clone(&consumer),
        names: names.clone(),
        assignment: assignment.clone(),
        age: AgeLimits { max_age: config.age.max_event_age, max_ahead: config.age.max_event_ahead },
        limits: BatchLimits {
            records: config.batch_max_events,
            bytes: config.batch_max_bytes.as_usize(),
            age: config.batch_max_age,
        },
        batches: sender,
        runtime: Handle::current(),
    };
    let stop = shutdown.clone();
    tasks.spawn_blocking(move || reader.run(&stop));
    let starter = Starter {
        pool: pool.clone(),
        consumer: Arc::clone(&consumer),
        names: names.clone(),
        assignment: assignment.clone(),
        projections: projections.clone(),
        metrics: metrics.clone(),
    };
    tasks.spawn(starter.run(shutdown.clone()));
    let store = BatchStore {
        pool: pool.clone(),
        names: names.clone(),
        dead_letters: DeadLetters::new(&config.kafka.brokers, names.clone())?,
        days: Days::default(),
        metrics: metrics.clone(),
    };
    let counter =
        Counter { store, consumer: Arc::clone(&consumer), names, assignment, projections, metrics };
    tasks.spawn(counter.run(batches, shutdown.clone()));
    tasks.spawn(projector.run());
    tasks.close();

    shutdown.cancelled().await;
    readiness.stopping();
    leave(config.shutdown.timeout, tasks, consumer, pool).await;
    Ok(())
}

/// Waits for the parts to end in order, and leaves the group, all within `limit`.
///
/// Each part ends by itself once the one before it has: the reader at shutdown, the counter when no
/// more batches come, the projector when nobody tells it anything more.
async fn leave(
    limit: Duration,
    tasks: TaskTracker,
    consumer: Arc<kafka::KafkaConsumer>,
    pool: Pool,
) {
    let left = timeout(limit, async {
        tasks.wait().await;
        pool.close();
        // Commits what is displayed and leaves the group, so that others need not wait for the
        // session to end. It may fail, or crash, where the coordinator is away: nothing hangs on it.
        spawn_blocking(move || drop(consumer)).await
    });
    match left.await {
        Ok(_) => info!("left the group"),
        Err(_elapsed) => {
            warn!(?limit, "shutdown was cut short: what was not committed will be read again");
        }
    }
}
