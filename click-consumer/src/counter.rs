//! The loop that counts: one transaction for each batch.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use click_store::{Pool, StoreError, offsets, within};
use rdkafka::{
    Offset, TopicPartitionList,
    consumer::Consumer,
    error::{KafkaError, RDKafkaErrorCode},
};
use service_kit::{readiness::Check, retry::Backoff};
use tokio::{
    sync::mpsc,
    time::{MissedTickBehavior, interval, sleep, timeout},
};
use tokio_util::sync::CancellationToken;
use tracing::{debug, info, warn};

use crate::{
    assignment::Assignment,
    batch::Batch,
    batch_store::{BatchStore, Counted, Failure, Outcome},
    failpoint::{self, Point},
    freeing::Freeing,
    kafka::KafkaConsumer,
    metrics::Metrics,
    partition::{Partition, TopicNames},
    projector::Projections,
    record::DeathReason,
    spans,
};

/// How often the positions of partitions without traffic are compared with Postgres, which may have
/// been set back.
const COMPARE_EVERY: Duration = Duration::from_secs(2);

/// How long that may take.
const COMPARE_LIMIT: Duration = Duration::from_secs(10);

/// After this, a transaction counts as in doubt.
const TRANSACTION_LIMIT: Duration = Duration::from_secs(45);

/// Days whose tables are made before they begin.
const DAYS_AHEAD: u8 = 2;

/// Stores batches and tells everybody else how far counting has come.
pub(crate) struct Counter {
    pub(crate) store: BatchStore,
    /// For questions between the batches.
    pub(crate) pool: Pool,
    pub(crate) consumer: Arc<KafkaConsumer>,
    pub(crate) names: TopicNames,
    pub(crate) assignment: Assignment,
    pub(crate) projections: Projections,
    pub(crate) metrics: Metrics,
    /// Whether Postgres answers.
    pub(crate) postgres: Check,
    /// The consumer group, for traces.
    pub(crate) group: String,
    pub(crate) freeing: Freeing,
}

impl Counter {
    /// Counts batches until no more come, then returns. `shutdown` ends the retrying of a batch that
    /// cannot be stored: it is dropped whole, and whoever owns its partitions next reads it again.
    pub(crate) async fn run(
        mut self,
        mut batches: mpsc::Receiver<Batch>,
        shutdown: CancellationToken,
    ) {
        let mut compare = interval(COMPARE_EVERY);
        compare.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            // Both are cancel safe. Counting happens in an arm's body, where nothing cancels it.
            tokio::select! {
                biased;

                _ = compare.tick() => self.compare_positions().await,

                batch = batches.recv() => match batch {
                    Some(batch) => {
                        let span = spans::process(&batch, &self.names, &self.group);
                        span.around(self.count(batch, &shutdown)).await;
                    }
                    None => return,
                },
            }
        }
    }

    /// Counts a batch, however long it takes.
    async fn count(&mut self, batch: Batch, shutdown: &CancellationToken) {
        let mut backoff = Backoff::new(Duration::from_millis(50), Duration::from_secs(10));
        // Halves of the batch, the first on top. Halving bounds it: 17 levels for 100,000 records.
        let _in_hand = self.metrics.in_hand();
        let mut waiting = vec![batch];
        while let Some(mut batch) = waiting.pop() {
            batch.retain(|partition, generation| self.assignment.is_current(partition, generation));
            if batch.is_empty() {
                continue;
            }
            let started = Instant::now();
            let span = spans::transaction(batch.records());
            let counting = timeout(TRANSACTION_LIMIT, span.around(self.store.count(&batch))).await;
            spans::transaction_ended(&span, &counting);
            drop(span);
            let failure = match counting {
                Ok(Ok(Outcome::Counted(counted))) => {
                    self.metrics.committed(batch.records(), started.elapsed());
                    self.tell(counted);
                    self.freeing.free(batch).await;
                    backoff.reset();
                    continue;
                }
                Ok(Ok(Outcome::Moved(partitions))) => {
                    // Not ours any more, or an earlier COMMIT of ours arrived late: read anew from
                    // where Postgres says. The others go on.
                    self.metrics.fences_lost(partitions.len());
                    info!(partitions = partitions.len(), "fences were moved by somebody else");
                    self.read_anew(&batch, |it| partitions.contains(&it));
                    waiting.push(batch);
                    continue;
                }
                Ok(Err(failure)) => failure,
                Err(_elapsed) => Failure::InDoubt(StoreError::TimedOut(TRANSACTION_LIMIT)),
            };
            match failure {
                Failure::InDoubt(error) => {
                    // Nobody knows whether it was counted: `next_offset` does. Redis is written
                    // anew from the totals, never by this batch's increments.
                    self.metrics.in_doubt();
                    warn!(%error, "a transaction is in doubt, reading anew where postgres stands");
                    self.read_anew(&batch, |_| true);
                    // The starter compares Redis once it has asked Postgres.
                    if shutdown.run_until_cancelled(sleep(backoff.next_delay())).await.is_none() {
                        return;
                    }
                }
                Failure::Refused(error) => waiting.extend(isolate(batch, &error)),
                Failure::Store(_) | Failure::DeadLetters(_) => {
                    self.note_retry(&failure);
                    if matches!(&failure, Failure::Store(error) if error.is_too_large()) {
                        let (first, second) = batch.split();
                        waiting.extend([second, first]);
                    } else {
                        waiting.push(batch);
                    }
                    if shutdown.run_until_cancelled(sleep(backoff.next_delay())).await.is_none() {
                        return;
                    }
                }
            }
        }
    }

    /// After COMMIT. A crash anywhere in here costs nothing: all of it is made anew from Postgres.
    fn tell(&self, counted: Vec<Counted>) {
        let mut kafka_offsets = TopicPartitionList::new();
        let mut all_news = Vec::with_capacity(counted.len());
        for Counted { partition, generation, ledger, news } in counted {
            self.metrics.counted(partition.kind, ledger.stored, ledger.duplicates, ledger.dead);
            self.assignment.stored(partition, generation, news.advance.new);
            let (topic, next) =
                (self.names.topic(partition.kind), Offset::Offset(news.advance.new));
            if let Err(error) = kafka_offsets.add_partition_offset(topic, partition.number, next) {
                debug!(%error, "an offset is not shown in kafka");
            }
            all_news.push(news);
        }
        self.projections.advance(all_news);
        failpoint::reach(Point::BeforeKafkaOffset);
        // Last, and for displays of lag alone.
        match self.consumer.store_offsets(&kafka_offsets) {
            // A partition of the batch was taken away meanwhile: its new owner shows its offset.
            Ok(()) | Err(KafkaError::StoreOffset(RDKafkaErrorCode::State)) => {}
            Err(error) => debug!(%error, "offsets are not shown in kafka"),
        }
    }

    fn read_anew(&self, batch: &Batch, which: impl Fn(Partition) -> bool) {
        for (partition, run) in batch.runs().filter(|it| which(it.0)) {
            self.assignment.restart(partition, run.generation);
        }
    }

    fn note_retry(&mut self, failure: &Failure) {
        let reason = match failure {
            Failure::Store(error) => {
                self.postgres_failed(error);
                if error.is_missing_day() {
                    self.store.days.forget();
                }
                Some(error.retry_reason())
            }
            _ => None,
        };
        self.metrics.retried(reason);
        warn!(error = %failure, "a batch could not be counted, trying again");
    }

    fn postgres_failed(&self, error: &StoreError) {
        self.postgres.fail(error.to_string());
        self.metrics.postgres_answered(false);
    }

    /// Compares where reading stands with Postgres, and follows a `next_offset` that was put back; and
    /// makes the tables of the coming days. What fails here is tried again at the next turn.
    async fn compare_positions(&mut self) {
        let pool = self.pool.clone();
        let reading = self.assignment.positions();
        let wanted: Vec<_> = reading.keys().map(|&it| self.names.at(it)).collect();
        let compared = within(COMPARE_LIMIT, async {
            self.store.days.ensure_ahead(&pool, DAYS_AHEAD).await?;
            offsets::read(&pool, &wanted).await
        });
        let stored = match compared.await {
            Ok(stored) => {
                self.postgres.ok();
                self.metrics.postgres_answered(true);
                stored
            }
            Err(error) => {
                debug!(%error, "positions could not be compared");
                return self.postgres_failed(&error);
            }
        };
        for (partition, (generation, position)) in reading {
            let next_offset = stored.get(&self.names.at(partition)).map(|it| it.next_offset);
            if next_offset != Some(position) {
                warn!(
                    kafka.partition = partition.number,
                    event.kind = %partition.kind,
                    position,
                    next_offset,
                    "postgres stands elsewhere, reading anew from there"
                );
                self.assignment.restart(partition, generation);
            }
        }
    }
}

/// Cuts a batch in two until the record that Postgres refuses stands alone, and lets that die.
/// Returns what is to be counted now, the first last.
fn isolate(mut batch: Batch, error: &StoreError) -> Vec<Batch> {
    if let Some(record) = batch.only_record() {
        warn!(%error, kafka.offset = record.offset, "postgres refuses a record");
        record.content = Err(DeathReason::Refused.with(error.to_string()));
        return vec![batch];
    }
    let (first, second) = batch.split();
    vec![second, first]
}
