//! Counts events from Kafka once each: stores them in Postgres and raises the counters in Redis.
//!
//! The parts, and who tells whom:
//!
//! - `reader` is a thread that polls Kafka, gathers batches and hands them on;
//! - `counter` stores each batch in one transaction: this is where counting happens;
//! - `starter` asks Postgres where a newly assigned partition starts;
//! - `projector` tells Redis, and mends it;
//! - `lag` asks Kafka how much there is to count, and `accounts` Postgres whether nothing is missing;
//! - `assignment` is what they share: which partitions are ours, and under which generation.

mod accounts;
mod assignment;
mod batch;
mod batch_store;
mod config;
mod counter;
mod cursor;
mod dead_letters;
mod failpoint;
mod freeing;
mod in_hand;
mod kafka;
mod lag;
mod metrics;
mod partition;
mod projector;
mod reader;
mod record;
mod spans;
mod starter;

use std::{sync::Arc, time::Duration};

use anyhow::{Context, anyhow};
use click_store::{
    Pool, Projection, RecentEvents, Redis, RedisLimits, StoreError, days::Days, migrations,
};
use prometheus_client::registry::Registry;
use service_kit::{
    admin, http,
    readiness::{Check, Readiness},
    retry::Backoff,
    settings::CaFile,
};
use steady_waits as _;
use tokio::{
    runtime::Handle,
    sync::mpsc,
    task::{JoinError, JoinSet, spawn_blocking},
    time::{sleep, timeout},
};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

pub use crate::config::Config;
use crate::{
    accounts::Accounts, assignment::Assignment, batch::BatchLimits, batch_store::BatchStore,
    counter::Counter, dead_letters::DeadLetters, freeing::Freeing, lag::LagWatch, metrics::Metrics,
    partition::TopicNames, projector::Projector, reader::Reader, record::AgeLimits,
    starter::Starter,
};

/// Besides that of the counting transactions: two for repairs, and one each for starting partitions, for
/// looking whether everything is accounted for, and for the counter's questions between batches.
const POSTGRES_CONNECTIONS: usize = 5;

/// How long Redis may take for one command. Storing does not wait for it.
const REDIS_LIMITS: RedisLimits = RedisLimits { command: Duration::from_secs(1) };

/// How long Redis may take, at shutdown, to be told of the last batches.
const LAST_WORDS: Duration = Duration::from_secs(2);

/// Counts until `shutdown` is cancelled; then finishes the batch in hand, or drops it whole, and
/// leaves the group.
///
/// # Errors
///
/// Where a setting is wrong, the admin address is taken, the database belongs to another release, or
/// a part of the service has failed for good, so that whoever started it should start it again. A
/// store or a broker that is away is waited for.
pub async fn run(config: Config, shutdown: CancellationToken) -> anyhow::Result<()> {
    let mut registry = Registry::default();
    let metrics = Metrics::register(&mut registry);
    let readiness = Readiness::new();
    let checks =
        Checks { postgres: readiness.register("postgres"), kafka: readiness.register("kafka") };
    let listener = http::listen(config.admin_listen).await?;
    let drained = CancellationToken::new();
    let mut admin = JoinSet::new();
    admin.spawn(admin::serve(listener, registry, readiness.clone(), drained.clone()));

    let outcome = match shutdown.run_until_cancelled(migrate(&config, &checks.postgres)).await {
        Some(Ok(())) => count(&config, &shutdown, &readiness, metrics, checks).await,
        Some(Err(error)) => Err(error).context("migrating the database"),
        // Dropped in the middle: the server rolls back what was under way.
        None => Ok(()),
    };
    drained.cancel();
    admin.join_all().await;
    outcome
}

/// What has to be right for the service to be ready.
struct Checks {
    postgres: Check,
    kafka: Check,
}

/// Brings the database up to this release, however long Postgres is away.
async fn migrate(config: &Config, check: &Check) -> Result<(), StoreError> {
    if !config.migrate_on_start {
        return Ok(());
    }
    let mut backoff = Backoff::new(Duration::from_millis(100), Duration::from_secs(5));
    loop {
        match migrations::migrate(&config.postgres.url).await {
            Ok(_) => return Ok(()),
            Err(error) if error.is_permanent() => return Err(error),
            Err(error) => {
                warn!(%error, "the database cannot be migrated yet, trying again");
                check.fail(error.to_string());
            }
        }
        sleep(backoff.next_delay()).await;
    }
}

/// The parts that count, and the one that tells Redis.
struct Parts {
    counting: JoinSet<anyhow::Result<()>>,
    telling: JoinSet<()>,
}

async fn count(
    config: &Config,
    shutdown: &CancellationToken,
    readiness: &Readiness,
    metrics: Metrics,
    checks: Checks,
) -> anyhow::Result<()> {
    let url = &config.postgres.url;
    let pool = click_store::pool(url, "click-consumer", POSTGRES_CONNECTIONS)?;
    let counting = click_store::counting_pool(url, "click-consumer")?;
    let redis = &config.redis;
    let ca_file = redis.ca_file.as_ref().map(CaFile::path);
    let redis = Redis::connect(&redis.url, ca_file, &redis.prefix, REDIS_LIMITS)?;
    let names = TopicNames::new(&config.kafka.topic_prefix);
    let dead_letters = DeadLetters::new(&config.kafka, names.clone())?;
    let assignment = Assignment::default();
    let consumer =
        kafka::subscribe(config, &names, assignment.clone(), metrics.clone(), checks.kafka)?;
    let consumer = Arc::new(consumer);

    // A part that fails stops the others too, and so does whoever drops this future: the reader is a
    // thread, which nothing else would end.
    let stop = shutdown.child_token();
    let _stop_when_dropped = stop.clone().drop_guard();
    let shared =
        Shared { pool, counting, names, assignment, consumer: Arc::clone(&consumer), metrics };
    let mut parts = shared.start(config, redis, dead_letters, checks.postgres, &stop);
    let outcome = tokio::select! {
        // First: once it is cancelled, parts end because they should.
        biased;

        () = stop.cancelled() => Ok(()),
        Some(ended) = parts.counting.join_next() => Err(why(ended)),
        Some(ended) = parts.telling.join_next() => Err(why(ended.map(Ok))),
    };
    readiness.stopping();
    stop.cancel();
    leave(config.shutdown.timeout, parts, consumer).await;
    outcome
}

/// Why a part has ended that should not have.
fn why(ended: Result<anyhow::Result<()>, JoinError>) -> anyhow::Error {
    match ended {
        Ok(Ok(())) => anyhow!("a part of the service ended"),
        Ok(Err(error)) => error,
        Err(panic) => anyhow!(panic).context("a part of the service failed"),
    }
}

/// What several parts use.
struct Shared {
    pool: Pool,
    /// For the counting transactions.
    counting: Pool,
    names: TopicNames,
    assignment: Assignment,
    consumer: Arc<kafka::KafkaConsumer>,
    metrics: Metrics,
}

impl Shared {
    /// Starts every part. Each ends by itself once the one before it has: the reader when `stop` is
    /// cancelled, the counter when no more batches come, the projector when nobody tells it more.
    fn start(
        self,
        config: &Config,
        redis: Redis,
        dead_letters: DeadLetters,
        postgres: Check,
        stop: &CancellationToken,
    ) -> Parts {
        let Self { pool, counting: counting_pool, names, assignment, consumer, metrics } = self;
        let (projections, projector) = Projector::new(
            pool.clone(),
            Projection::new(redis),
            assignment.clone(),
            names.clone(),
            metrics.clone(),
        );
        let (sender, batches) = mpsc::channel(1);
        let reader = Reader {
            consumer: Arc::clone(&consumer),
            names: names.clone(),
            assignment: assignment.clone(),
            age: AgeLimits {
                max_age: config.age.max_event_age,
                max_ahead: config.age.max_event_ahead,
            },
            limits: BatchLimits {
                records: config.batch_max_events,
                bytes: config.batch_max_bytes.as_usize(),
                age: config.batch_max_age,
            },
            batches: sender,
            runtime: Handle::current(),
            metrics: metrics.clone(),
        };
        let starter = Starter {
            pool: pool.clone(),
            consumer: Arc::clone(&consumer),
            names: names.clone(),
            assignment: assignment.clone(),
            projections: projections.clone(),
            metrics: metrics.clone(),
        };
        let group = config.group.clone();
        let store = BatchStore {
            pool: counting_pool,
            names: names.clone(),
            dead_letters,
            days: Days::default(),
            recent: RecentEvents::default(),
            metrics: metrics.clone(),
        };
        let accounts = Accounts {
            pool: pool.clone(),
            names: names.clone(),
            assignment: assignment.clone(),
            metrics: metrics.clone(),
        };
        let lag = LagWatch {
            consumer: Arc::clone(&consumer),
            names: names.clone(),
            assignment: assignment.clone(),
            metrics: metrics.clone(),
        };
        let counter = Counter {
            store,
            pool,
            consumer,
            names,
            assignment,
            projections,
            metrics,
            postgres,
            group,
            freeing: Freeing::default(),
        };

        let mut parts = Parts { counting: JoinSet::new(), telling: JoinSet::new() };
        let (until, starting, counting) = (stop.clone(), stop.clone(), stop.clone());
        let (watching, looking) = (stop.clone(), stop.clone());
        parts.counting.spawn_blocking(move || Ok(reader.run(&until)?));
        parts.counting.spawn(async move {
            starter.run(starting).await;
            Ok(())
        });
        parts.counting.spawn(async move {
            counter.run(batches, counting).await;
            Ok(())
        });
        parts.counting.spawn(async move {
            lag.run(watching).await;
            Ok(())
        });
        parts.counting.spawn(async move {
            accounts.run(looking).await;
            Ok(())
        });
        parts.telling.spawn(projector.run());
        parts
    }
}

/// Waits for the parts to end, and leaves the group, all within `limit`.
async fn leave(limit: Duration, parts: Parts, consumer: Arc<kafka::KafkaConsumer>) {
    let Parts { mut counting, mut telling } = parts;
    let left = timeout(limit, async {
        while counting.join_next().await.is_some() {}
        // Commits what is displayed and leaves the group, so that others need not wait for the
        // session to end. It may fail, or crash, where the coordinator is away: nothing hangs on it.
        let closed = spawn_blocking(move || drop(consumer));
        // What Redis is not told now, the partitions' next owners mend.
        if timeout(LAST_WORDS, telling.join_next()).await.is_err() {
            info!("redis is not told of the last batches, it will be mended");
        }
        closed.await
    });
    match left.await {
        Ok(_) => info!("left the group"),
        Err(_elapsed) => {
            warn!(?limit, "shutdown was cut short: what was not committed will be read again");
        }
    }
}
