//! Stores a batch in one counting transaction: its steps, in the order that makes the count right.

use std::collections::{HashMap, HashSet};

use click_store::{
    Pool, RecentEvents, StoreError,
    counting::{Begun, CountingTransaction, Fence, LedgerEntry, Located},
    days::{Day, Days, day_of},
    projection::Advance,
};
use proto_schemas::{AdId, Kind, Timestamp};
use rdkafka::error::KafkaError;

use crate::{
    batch::{Batch, Run},
    dead_letters::{DeadLetter, DeadLetters},
    failpoint::{self, Point},
    metrics::Metrics,
    partition::{Partition, TopicNames},
    projector::News,
    record::DeathReason,
    spans,
};

/// Stores batches, each in one transaction.
pub(crate) struct BatchStore {
    /// A counting pool.
    pub(crate) pool: Pool,
    pub(crate) names: TopicNames,
    pub(crate) dead_letters: DeadLetters,
    pub(crate) days: Days,
    pub(crate) recent: RecentEvents,
    pub(crate) metrics: Metrics,
}

/// Why a batch was not counted.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Failure {
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
pub(crate) enum Outcome {
    Counted(Vec<Counted>),
    /// Somebody else has moved these partitions: nothing was counted.
    Moved(HashSet<Partition>),
}

/// What became of the records of one partition.
pub(crate) struct Counted {
    pub(crate) partition: Partition,
    /// The assignment of the partition under which they were read.
    pub(crate) generation: u64,
    pub(crate) ledger: LedgerEntry,
    pub(crate) news: News,
}

impl BatchStore {
    /// The counting transaction. The order of its steps is what makes the count right.
    pub(crate) async fn count(&mut self, batch: &Batch) -> Result<Outcome, Failure> {
        // The tables of new days, each in a transaction of its own. A crash leaves empty tables.
        self.days.ensure(&self.pool, days_of(batch)).await?;

        // 1. The fence: next_offset moves from the batch's start to its end. Whoever else holds the
        //    same records now waits for us, and then finds its fence missing. A crash before COMMIT
        //    leaves everything as it was.
        failpoint::reach(Point::BeforeFence);
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
            let events = events_of(batch, kind, &unknown);
            let new = transaction.insert(kind, events, &mut self.recent).await.map_err(refused)?;
            for it in new {
                let partition = Partition { kind, number: it.partition };
                stored.entry(partition).or_default().push((it.ad, it.events));
            }
        }

        failpoint::reach(Point::AfterInsert);

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
                let received = received_of(run, &unknown);
                let advance = Advance {
                    at: self.names.at(partition),
                    epoch: transaction.epoch(),
                    expected: run.expected,
                    new: run.end(),
                    increments,
                };
                let news = News { advance, received };
                Counted { partition, generation: run.generation, ledger, news }
            })
            .collect();
        let new_events: Vec<_> = counted
            .iter()
            .map(|it| &it.news.advance)
            .flat_map(|it| it.increments.iter().map(|&(ad, new)| (&it.at, ad, new)))
            .collect();
        let ledger: Vec<_> =
            counted.iter().map(|it| (&it.news.advance.at, it.ledger.clone())).collect();
        transaction.add_totals(&new_events, &ledger).await?;

        // 5. COMMIT. From its answer on the batch is counted, whatever happens to us: Redis is
        //    written anew by the partition's owner, Kafka's committed offset is only displayed.
        failpoint::reach(Point::BeforeCommit);
        spans::commit().around(transaction.commit()).await.map_err(Failure::InDoubt)?;
        failpoint::reach(Point::AfterCommit);
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
        if letters.is_empty() {
            return Ok(HashMap::new());
        }
        let span = spans::send_dead_letters(self.names.dead(), letters.len());
        span.around(self.dead_letters.send(&letters)).await?;

        let mut died = HashMap::new();
        for letter in &letters {
            self.metrics.dead_letter(letter.death.reason);
            *died.entry(letter.partition).or_default() += 1;
        }
        Ok(died)
    }
}

/// A refusal of the server is the fault of some record, unless a table is missing.
fn refused(error: StoreError) -> Failure {
    if error.is_refusal() && !error.is_missing_day() {
        Failure::Refused(error)
    } else {
        Failure::Store(error)
    }
}

fn days_of(batch: &Batch) -> HashSet<(Kind, Day)> {
    let mut days: Vec<_> = batch
        .runs()
        .flat_map(|(partition, run)| {
            let events = run.records.iter().filter_map(|it| it.content.as_ref().ok());
            events.map(move |it| (partition.kind, day_of(it.dedup_time)))
        })
        .collect();
    // Nearly all are of one day, and a comparison costs less than a hash.
    days.dedup();
    days.into_iter().collect()
}

/// When the events of a run that count were received.
fn received_of(run: &Run, unknown: &HashSet<AdId>) -> Vec<Timestamp> {
    let events = run.records.iter().filter_map(|it| it.content.as_ref().ok());
    events.filter(|it| !unknown.contains(&it.ad_id)).map(|it| it.received_at).collect()
}

fn ads_of(batch: &Batch) -> Vec<AdId> {
    let records = batch.runs().flat_map(|(_, run)| &run.records);
    let events = records.filter_map(|it| it.content.as_ref().ok());
    let mut ads: Vec<AdId> = events.map(|it| it.ad_id).collect();
    ads.sort_unstable();
    ads.dedup();
    ads
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
