//! Kafka, Postgres and Redis under chaos: killed, frozen, forgetful, and put back in time.

use std::time::Duration;

use local_stack::{kafka::Kafka, postgres::Postgres, redis::Redis};
use proto_schemas::topics::PARTITIONS;

use crate::{
    chaos::deck::Step,
    check::CAUGHT_UP_WITHIN,
    kafka,
    observer::Observer,
    pipeline::Pipeline,
    postgres::{self, Backup},
    process::{freeze, thaw},
    proxy::Proxy,
    redis,
    service::Service,
    small_disk::SmallDisk,
    wait::{let_last, until, until_within},
};

/// Enough for two hours of the players' clicks in Kafka, and for Postgres with a copy of itself; all of
/// it memory where it is filled.
const DISK_MEBIBYTES: u32 = 1024;

/// What happens to a store, or is put into one.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum StoreFault {
    KafkaKilled,
    KafkaFrozen,
    /// Stopped in good order, and away for a while.
    KafkaAway,
    /// Records that are no events.
    KafkaGarbage,
    KafkaPartitionsAdded,
    KafkaDiskFull,
    /// As `pg_ctl stop -m immediate` does.
    PostgresCrashed,
    PostgresKilled,
    PostgresAway,
    /// Every backend of the consumers is ended, whatever it does.
    PostgresBackendsKilled,
    PostgresDiskFull,
    /// Put back to a copy of its data folder, and `adctl epoch renew`.
    PostgresRestored,
    RedisKilled,
    RedisAway,
    RedisFrozen,
    RedisFlushed,
    RedisScriptsFlushed,
    /// No memory for any write.
    RedisFull,
    /// Writes a dump, with which Redis comes back after the next kill.
    RedisDumped,
}

/// The stores, and somebody who watches them.
#[derive(Debug)]
pub(super) struct Stores {
    kafka: Kafka,
    pub(super) postgres: Postgres,
    pub(super) redis: Redis,
    /// Partitions of the topic of clicks.
    partitions: usize,
    observer: Option<Observer>,
    /// Where the observer asks.
    analytics: Option<String>,
    // Behind the servers, so that they are dropped after them.
    kafka_disk: SmallDisk,
    postgres_disk: SmallDisk,
}

impl StoreFault {
    pub(super) fn all() -> Vec<Self> {
        vec![
            Self::KafkaKilled,
            Self::KafkaFrozen,
            Self::KafkaAway,
            Self::KafkaGarbage,
            Self::KafkaPartitionsAdded,
            Self::KafkaDiskFull,
            Self::PostgresCrashed,
            Self::PostgresKilled,
            Self::PostgresAway,
            Self::PostgresBackendsKilled,
            Self::PostgresDiskFull,
            Self::PostgresRestored,
            Self::RedisKilled,
            Self::RedisAway,
            Self::RedisFrozen,
            Self::RedisFlushed,
            Self::RedisScriptsFlushed,
            Self::RedisFull,
            Self::RedisDumped,
        ]
    }
}

impl Stores {
    /// Starts all three, and a proxy that Kafka sends its clients to.
    pub(super) async fn start() -> (Self, Proxy) {
        let [kafka_disk, postgres_disk] = [DISK_MEBIBYTES; 2].map(SmallDisk::new);
        let ((kafka, proxy), postgres, redis) = tokio::join!(
            kafka::start_at(kafka_disk.place_within()),
            Postgres::start(postgres_disk.place_within()),
            redis::start(),
        );
        let stores = Self {
            kafka,
            postgres: postgres.expect("postgres starts"),
            redis,
            partitions: PARTITIONS.unsigned_abs() as usize,
            observer: None,
            analytics: None,
            kafka_disk,
            postgres_disk,
        };
        (stores, proxy)
    }

    /// Begins to watch the API and Postgres.
    pub(super) fn watch(&mut self, pipeline: &Pipeline, analytics: &Service) {
        let url = analytics.url("/ads/analytics");
        self.observer = Some(Observer::at(pipeline, Some(url.clone())));
        self.analytics = Some(url);
    }

    /// Ends that.
    ///
    /// # Panics
    ///
    /// Where an answer was above Postgres, a number went down, or a ledger did not balance.
    pub(super) async fn watched(&mut self) {
        if let Some(observer) = self.observer.take() {
            observer.stop().await;
        }
    }

    pub(super) async fn inject(&mut self, pipeline: &Pipeline, step: Step<StoreFault>) {
        /// Records that are no events, at each time.
        const GARBAGE: u32 = 10;
        let Self { kafka, postgres, redis, kafka_disk, postgres_disk, .. } = self;
        let lasting = let_last(step.lasting);
        match step.fault {
            StoreFault::KafkaKilled => kafka.restart().await.expect("kafka starts again"),
            StoreFault::KafkaFrozen => {
                freeze(kafka);
                lasting.await;
                thaw(kafka);
            }
            StoreFault::KafkaAway => {
                kafka.stop().await;
                lasting.await;
                kafka.restart().await.expect("kafka starts again");
            }
            StoreFault::KafkaGarbage => pipeline.send_garbage(GARBAGE).await,
            StoreFault::KafkaPartitionsAdded => {
                self.partitions += 1;
                // Its answer may be lost on a broken link; the next one adds this one too.
                drop(pipeline.try_add_partitions(self.partitions).await);
            }
            StoreFault::KafkaDiskFull => {
                kafka_disk.fill_under(kafka);
                lasting.await;
                kafka_disk.make_space_under(kafka);
                // It has stopped itself, unless nothing was written meanwhile.
                kafka.restart().await.expect("kafka starts again");
            }
            StoreFault::PostgresCrashed => {
                postgres::crash(postgres).await;
                lasting.await;
                postgres.restart().await.expect("postgres recovers");
            }
            StoreFault::PostgresKilled => postgres.restart().await.expect("postgres recovers"),
            StoreFault::PostgresAway => {
                postgres.stop().await;
                lasting.await;
                postgres.restart().await.expect("postgres starts again");
            }
            StoreFault::PostgresBackendsKilled => {
                const KILL: &str = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity
                                    WHERE application_name = 'click-consumer'";
                pipeline.execute(KILL).await;
            }
            StoreFault::PostgresDiskFull => {
                postgres_disk.fill_under(postgres);
                lasting.await;
                postgres_disk.make_space_under(postgres);
                until("postgres serves again", async || {
                    // It stops itself where its log cannot grow.
                    if !postgres.is_running() {
                        postgres.restart().await.expect("postgres starts again");
                    }
                    pipeline.try_execute("SELECT pg_switch_wal()").await.is_ok()
                })
                .await;
            }
            StoreFault::PostgresRestored => self.put_postgres_back(pipeline, step.lasting).await,
            StoreFault::RedisKilled => redis.restart().await.expect("redis starts again"),
            StoreFault::RedisAway => {
                redis.stop().await;
                lasting.await;
                redis.restart().await.expect("redis starts again");
            }
            StoreFault::RedisFrozen => {
                freeze(redis);
                lasting.await;
                thaw(redis);
            }
            StoreFault::RedisFlushed => redis::flush(redis).await,
            StoreFault::RedisScriptsFlushed => redis::tell(redis, "SCRIPT FLUSH").await,
            StoreFault::RedisFull => {
                redis::tell(redis, "CONFIG SET maxmemory 1").await;
                lasting.await;
                redis::tell(redis, "CONFIG SET maxmemory 0").await;
            }
            StoreFault::RedisDumped => redis::tell(redis, "SAVE").await,
        }
    }

    /// A copy is made, some more is counted, and the copy takes the place of the data.
    ///
    /// Until Postgres has counted again what it forgot, answers may be lower than before, or of the
    /// other past: this alone is not promised, so nobody watches meanwhile.
    async fn put_postgres_back(&mut self, pipeline: &Pipeline, lasting: Duration) {
        let Self { postgres, .. } = self;
        postgres.stop().await;
        let backup = Backup::of(postgres);
        postgres.restart().await.expect("postgres starts again");
        let_last(lasting).await;
        let ahead = pipeline.counted().await;

        self.watched().await;
        let Self { postgres, .. } = self;
        postgres.stop().await;
        backup.restore(postgres);
        postgres.restart().await.expect("postgres starts with the copy");
        assert_eq!(pipeline.adctl(&["epoch", "renew"]).exit_code().await, 0);
        let what = "what Postgres has forgotten is counted again";
        until_within(CAUGHT_UP_WITHIN, what, async || pipeline.counted().await >= ahead).await;
        self.observer = Some(Observer::at(pipeline, self.analytics.clone()));
    }
}
