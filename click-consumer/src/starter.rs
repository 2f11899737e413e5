//! Asks Postgres where each newly assigned partition starts, off the polling thread.

use std::{sync::Arc, time::Duration};

use click_store::{Pool, StoreError, offsets, within};
use futures::future::join_all;
use rdkafka::{consumer::Consumer, error::KafkaError};
use service_kit::retry::Backoff;
use tokio::{task::spawn_blocking, time::sleep};
use tokio_util::sync::CancellationToken;
use tracing::warn;

use crate::{
    assignment::Assignment,
    cursor::Start,
    kafka::KafkaConsumer,
    metrics::Metrics,
    partition::{Partition, TopicNames},
    projector::Projections,
};

/// How long the broker may take to say where a log begins and ends.
const WATERMARK_TIMEOUT: Duration = Duration::from_secs(5);

/// How long Postgres may take to say where partitions stand.
const POSTGRES_LIMIT: Duration = Duration::from_secs(10);

/// Starts partitions.
pub(crate) struct Starter {
    pub(crate) pool: Pool,
    pub(crate) consumer: Arc<KafkaConsumer>,
    pub(crate) names: TopicNames,
    pub(crate) assignment: Assignment,
    pub(crate) projections: Projections,
    pub(crate) metrics: Metrics,
}

/// Why partitions could not be started yet.
#[derive(Debug, thiserror::Error)]
enum NotYet {
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error("kafka: {0}")]
    Kafka(#[from] KafkaError),
    #[error("the process stops")]
    Stopping,
}

impl Starter {
    /// Starts whatever wants a start, again and again until it succeeds, until `shutdown` is
    /// cancelled.
    pub(crate) async fn run(self, shutdown: CancellationToken) {
        let mut backoff = Backoff::new(Duration::from_millis(100), Duration::from_secs(5));
        while shutdown.run_until_cancelled(self.assignment.start_wanted()).await.is_some() {
            while let Err(error) = self.start_wanted().await {
                self.metrics.retried(match &error {
                    NotYet::Store(error) => Some(error.retry_reason()),
                    NotYet::Kafka(_) | NotYet::Stopping => None,
                });
                warn!(%error, "partitions cannot be started yet, trying again");
                if shutdown.run_until_cancelled(sleep(backoff.next_delay())).await.is_none() {
                    return;
                }
            }
            backoff.reset();
        }
    }

    /// Starts what can be started.
    ///
    /// # Errors
    ///
    /// The first failure. Partitions that it does not concern are started all the same.
    async fn start_wanted(&self) -> Result<(), NotYet> {
        let wanted = self.assignment.wanted();
        if wanted.is_empty() {
            return Ok(());
        }
        let kinds: Vec<_> = wanted.iter().map(|&(it, _)| (self.names.at(it), it.kind)).collect();
        let positions = within(POSTGRES_LIMIT, offsets::ensure(&self.pool, &kinds)).await?;

        let started = join_all(wanted.into_iter().map(async |(partition, generation)| {
            let Some(position) = positions.get(&self.names.at(partition)) else { return Ok(()) };
            let (low, high) = self.watermarks(partition).await?;
            match Start::decide(position.clone(), low, high) {
                Ok(start) => self.assignment.ready(partition, generation, start),
                Err(reason) => self.assignment.stopped(partition, generation, &reason),
            }
            Ok(())
        }));
        let outcome = started.await.into_iter().collect();
        self.projections.compare();
        outcome
    }

    /// The first and the next offset of a partition's log.
    async fn watermarks(&self, partition: Partition) -> Result<(i64, i64), NotYet> {
        let (consumer, names) = (Arc::clone(&self.consumer), self.names.clone());
        let asked = spawn_blocking(move || {
            let topic = names.topic(partition.kind);
            consumer.fetch_watermarks(topic, partition.number, WATERMARK_TIMEOUT)
        });
        Ok(asked.await.map_err(|_| NotYet::Stopping)??)
    }
}
