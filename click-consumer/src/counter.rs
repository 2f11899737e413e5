//! The loop that counts: one transaction for each batch.

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
    time::{Duration, Instant},
};

use click_store::{
    Pool, StoreError,
    counting::{Begun, CountingTransaction, Fence, LedgerEntry, Located},
    days::{Days, day_of},
    offsets,
    projection::Advance,
};
use proto_schemas::{AdId, Kind};
use rdkafka::{
    Offset, TopicPartitionList,
    consumer::Consumer,
    error::{KafkaError, RDKafkaErrorCode},
};
use service_kit::retry::Backoff;
use tokio::{
    sync::mpsc,
    time::{MissedTickBehavior, interval, sleep, timeout},
};
use tokio_util::sync::CancellationToken;
use tracing::{debug, info, warn};

use crate::{
    assignment::Assignment,
    batch::Batch,
    dead_letters::{DeadLetter, DeadLetters},
    kafka::KafkaConsumer,
    metrics::Metrics,
    partition::{Partition, TopicNames},
    projector::Projections,
    record::DeathReason,
};

/// How often the positions of partitions without traffic are compared with Postgres, which may have
/// been set back.
const COMPARE_EVERY: Duration = Duration::from_secs(2);

/// After this, a transaction counts as in doubt. Longer than Postgres lets any part of it wait.
const TRANSACTION_LIMIT: Duration = Duration::from_secs(45);

/// Days whose tables are made before they begin.
const DAYS_AHEAD: u8 = 2;

/// Stores batches and tells everybody else how far counting has come.
pub(crate) struct Counter {
    pub(crate) pool: Pool,
    pub(crate) consumer: Arc<KafkaConsumer>,
    pub(crate) names: TopicNames,
    pub(crate) assignment: Assignment,
    pub(crate) dead_letters: DeadLetters,
    pub(crate) projections: Projections,
    pub(crate) metrics: Metrics,
    pub(crate) days: Days,
}

/// Why a batch was not counted.
#[derive(Debug, thiserror::Error)]
enum Failure {
    /// Certainly not counted: nothing of it was kept.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// Certainly not counted: the dead letters could not be sent.
    #[error("dead letters: {0}")]
    DeadLetters(#[from] KafkaError),
    /// Certainly not counted: Postgres refuses a value of some record.
    #[error(transparent)]
    Refused(StoreError),
    /// Perhaps counted: COMMIT was sent, and its answer did not come.
    #[error("in doubt: {0}")]
    InDoubt(StoreError),
}

/// What became of a batch.
enum Outcome {
    Counted(Vec<Counted>),
    /// Somebody else has moved these partitions: nothing was counted.
    Moved(HashSet<Partition>),
}

/// What became of the records of one partition.
struct Counted {
    partition: Partition,
    ledger: LedgerEntry,
    advance: Advance,
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
                    Some(batch) => self.count(batch, &shutdown).await,
                    None => return,
                },
            }
        }
    }

    /// Counts a batch, however long it takes.
    async fn count(&mut self, batch: Batch, shutdown: &CancellationToken) {
        let mut backoff = Backoff::new(Duration::from_millis(50), Duration::from_secs(10));
        // Halves of the batch, the first on top. Halving bounds it: 17 levels for 100,000 records.
        let mut waiting = vec![batch];
        while let Some(mut batch) = waiting.pop() {
            batch.retain(|partition, generation| self.assignment.is_current(partition, generation));
            if batch.is_empty() {
                continue;
            }
            let started = Instant::now();
            let failure = match timeout(TRANSACTION_LIMIT, self.try_to_count(&batch)).await {
                Ok(Ok(Outcome::Counted(counted))) => {
                    self.metrics.committed(batch.records(), started.elapsed());
                    self.tell(&batch, counted);
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
                    self.projections.compare();
                }
                Failure::Refused(error) => waiting.extend(isolate(batch, &error)),
                Failure::Store(_) | Failure::DeadLetters(_) => {
                    self.note_retry(&failure);
                    waiting.push(batch);
                    if shutdown.run_until_cancelled(sleep(backoff.next_delay())).await.is_none() {
                        return;
                    }
                }
            }
        }
    }

    /// The counting transaction. The order of its steps is what makes the count right.
    async fn try_to_count(&mut self, batch: &Batch) -> Result<Outcome, Failure> {
        // The tables of new days, each in a transaction of its own. A crash leaves empty tables.
        self.days.ensure(&self.pool, days_of(batch)).await?;

        // 1. The fence: next_offset moves from the batch's start to its end. Whoever else holds the
        //    same records now waits for us, and then finds its fence missing. A crash before COMMIT
        //    leaves everything as it was.
        let fences = self.fences(batch);
        let transaction = match CountingTransaction::begin(&self.pool, &fences).await? {
            Begun::Open(transaction) => transaction,
            Begun::Lost(lost) => {
                let moved = batch.partitions().into_iter();
                return Ok(Outcome::Moved(
                    moved.filter(|&it| lost.contains(&self.names.at(it))).collect(),
                ));
            }
        };

        // 2. What can never count goes to the dead letters, acknowledged before COMMIT. A crash in
        //    between sends it again: a dead letter is known by its origin.
        let unknown = transaction.unknown_ads(&ads_of(batch)).await?;
        let died = self.send_dead_letters(batch, &unknown).await?;

        // 3. Rows. The unique key drops what a player or a producer sent twice, whenever it came.
        let mut stored: HashMap<Partition, Vec<(AdId, i64)>> = HashMap::new();
        for kind in Kind::ALL {
            let mut events = events_of(batch, kind, &unknown);
            let new = transaction.insert(kind, &mut events).await.map_err(refused)?;
            for it in new {
                let partition = Partition { kind, number: it.partition };
                stored.entry(partition).or_default().push((it.ad, it.events));
            }
        }

        // 4. Totals and ledger, from what came back as new.
        let counted: Vec<Counted> = batch
            .runs()
            .map(|(partition, run)| {
                let increments = stored.remove(&partition).unwrap_or_default();
                let new: i64 = increments.iter().map(|it| it.1).sum();
                let dead = died.get(&partition).copied().unwrap_or(0);
                let ledger = LedgerEntry {
                    stored: new,
                    duplicates: run.records.len().cast_signed() as i64 - new - dead,
                    dead,
                    absent: run.absent(),
                };
                let advance = Advance {
                    at: self.names.at(partition),
                    epoch: transaction.epoch(),
                    expected: run.expected,
                    new: run.end(),
                    increments,
                };
                Counted { partition, ledger, advance }
            })
            .collect();
        let new_events: Vec<_> = counted
            .iter()
            .flat_map(|it| it.advance.increments.iter().map(|&(ad, new)| (&it.advance.at, ad, new)))
            .collect();
        let ledger: Vec<_> = counted.iter().map(|it| (&it.advance.at, it.ledger.clone())).collect();
        transaction.add_totals(&new_events, &ledger).await?;

        // 5. COMMIT. From its answer on the batch is counted, whatever happens to us: Redis is
        //    written anew by the partition's owner, Kafka's committed offset is only displayed.
        transaction.commit().await.map_err(Failure::InDoubt)?;
        Ok(Outcome::Counted(counted))
    }

    fn fences(&self, batch: &Batch) -> Vec<Fence> {
        batch
            .runs()
            .filter_map(|(partition, run)| {
                Some(Fence {
                    at: self.names.at(partition),
                    expected: run.expected,
                    new: run.end(),
                    anchor: run.anchor()?,
                })
            })
            .collect()
    }

    /// Sends what can never count, and returns how many records of each partition that were.
    async fn send_dead_letters(
        &mut self,
        batch: &Batch,
        unknown: &HashSet<AdId>,
    ) -> Result<HashMap<Partition, i64>, KafkaError> {
        let nobody = DeathReason::UnknownAd.with("nobody has registered this ad");
        let mut letters = Vec::new();
        for (partition, run) in batch.runs() {
            for record in &run.records {
                let death = match &record.content {
                    Ok(event) if unknown.contains(&event.ad_id) => &nobody,
                    Ok(_) => continue,
                    Err(death) => death,
                };
                letters.push(DeadLetter {
                    partition,
                    offset: record.offset,
                    raw: &record.raw,
                    death,
                });
            }
        }
        self.dead_letters.send(&letters).await?;

        let mut died = HashMap::new();
        for letter in &letters {
            self.metrics.dead_letter(letter.death.reason);
            *died.entry(letter.partition).or_default() += 1;
        }
        Ok(died)
    }

    /// After COMMIT. A crash anywhere in here costs nothing: all of it is made anew from Postgres.
    fn tell(&self, batch: &Batch, counted: Vec<Counted>) {
        let mut kafka_offsets = TopicPartitionList::new();
        let mut advances = Vec::with_capacity(counted.len());
        let generations: HashMap<Partition, u64> =
            batch.runs().map(|(partition, run)| (partition, run.generation)).collect();
        for Counted { partition, ledger, advance } in counted {
            self.metrics.counted(partition.kind, ledger.stored, ledger.duplicates, ledger.dead);
            if let Some(&generation) = generations.get(&partition) {
                self.assignment.stored(partition, generation, advance.new);
            }
            let (topic, next) = (self.names.topic(partition.kind), Offset::Offset(advance.new));
            if let Err(error) = kafka_offsets.add_partition_offset(topic, partition.number, next) {
                debug!(%error, "an offset is not shown in kafka");
            }
            advances.push(advance);
        }
        self.projections.advance(advances);
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
                if error.is_missing_day() {
                    self.days.forget();
                }
                Some(error.retry_reason())
            }
            _ => None,
        };
        self.metrics.retried(reason);
        warn!(error = %failure, "a batch could not be counted, trying again");
    }

    /// Compares where reading stands with Postgres, and follows a `next_offset` that was put back;
    /// and makes the tables of the coming days. What fails here is tried again at the next turn.
    async fn compare_positions(&mut self) {
        self.metrics.stages(self.assignment.stages());
        if let Err(error) = self.days.ensure_ahead(&self.pool, DAYS_AHEAD).await {
            debug!(%error, "tables of the coming days could not be made yet");
        }
        let reading = self.assignment.positions();
        let wanted: Vec<_> = reading.keys().map(|&it| self.names.at(it)).collect();
        if wanted.is_empty() {
            return;
        }
        let stored = match timeout(COMPARE_EVERY, offsets::read(&self.pool, &wanted)).await {
            Ok(Ok(stored)) => stored,
            Ok(Err(error)) => return debug!(%error, "positions could not be compared"),
            Err(_elapsed) => return debug!("positions could not be compared in time"),
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

/// A refusal of the server is the fault of some record, unless a table is missing.
fn refused(error: StoreError) -> Failure {
    if error.is_refusal() && !error.is_missing_day() {
        Failure::Refused(error)
    } else {
        Failure::Store(error)
    }
}

fn days_of(batch: &Batch) -> HashSet<(Kind, click_store::days::Day)> {
    batch
        .runs()
        .flat_map(|(partition, run)| {
            let events = run.records.iter().filter_map(|it| it.content.as_ref().ok());
            events.map(move |it| (partition.kind, day_of(it.dedup_time)))
        })
        .collect()
}

fn ads_of(batch: &Batch) -> Vec<AdId> {
    let records = batch.runs().flat_map(|(_, run)| &run.records);
    let ads: HashSet<AdId> =
        records.filter_map(|it| it.content.as_ref().ok()).map(|it| it.ad_id).collect();
    ads.into_iter().collect()
}

fn events_of<'a>(batch: &'a Batch, kind: Kind, unknown: &HashSet<AdId>) -> Vec<Located<'a>> {
    batch
        .runs()
        .filter(|(partition, _)| partition.kind == kind)
        .flat_map(|(partition, run)| {
            run.records.iter().filter_map(move |record| {
                let event = record.content.as_ref().ok()?;
                Some(Located { event, partition: partition.number, offset: record.offset })
            })
        })
        .filter(|it| !unknown.contains(&it.event.ad_id))
        .collect()
}
