//! The counting transaction alone: batch after batch from memory, without Kafka and without Redis.

use std::{
    collections::{BTreeMap, HashMap},
    time::Instant,
};

use anyhow::{Context as _, bail};
use click_store::{
    Pool, RecentEvents, TopicPartition,
    counting::{Begun, CountingTransaction, Fence, LedgerEntry, Located},
    days::{Days, day_of},
    offsets::{self, Anchor},
};
use e2e::Pipeline;
use proto_schemas::{AdEvent, AdId, Kind, topics::PARTITIONS};

use super::ingest::ADS;
use crate::report::float;

/// What the consumer stores at once when there is enough.
const BATCH: usize = 10_000;

/// Events that are counted together.
pub(super) type Batch<'a> = Vec<Located<'a>>;

/// Batches of events as they came, each spread over all partitions.
pub(super) fn in_order(events: &[AdEvent]) -> Vec<Batch<'_>> {
    let located: Vec<_> = events
        .iter()
        .zip((0_i64..).flat_map(|offset| (0..PARTITIONS).map(move |it| (it, offset))))
        .map(|(event, (partition, offset))| Located { event, partition, offset })
        .collect();
    located.chunks(BATCH).map(<[_]>::to_vec).collect()
}

/// The batches in which the consumer of `pipeline` has counted `events`, in the order in which it did.
///
/// Each was a transaction of its own, and Postgres knows by which a row was written.
pub(super) async fn as_counted<'a>(
    pipeline: &Pipeline,
    events: &'a [AdEvent],
) -> anyhow::Result<Vec<Batch<'a>>> {
    let by_key: HashMap<_, _> = events.iter().map(|it| (*it.dedup_key.as_bytes(), it)).collect();
    let select = "SELECT dedup_key, kafka_partition, kafka_offset, xmin::text::bigint FROM clicks";
    let mut batches: BTreeMap<i64, Batch<'a>> = BTreeMap::new();
    for row in pipeline.pool().get().await?.query(select, &[]).await? {
        let key: uuid::Uuid = row.try_get(0)?;
        let event = by_key.get(key.as_bytes()).context("a row of another event")?;
        let (partition, offset) = (row.try_get(1)?, row.try_get(2)?);
        batches.entry(row.try_get(3)?).or_default().push(Located { event, partition, offset });
    }
    for batch in batches.values_mut() {
        batch.sort_unstable_by_key(|it| (it.partition, it.offset));
    }
    Ok(batches.into_values().collect())
}

/// Writes what others have left in the server's memory, so that it is not written during what is
/// measured next.
pub(super) async fn tidy(pipeline: &Pipeline) {
    pipeline.execute("CHECKPOINT").await;
}

/// Events a second of the counting transaction alone.
pub(super) async fn transactions(batches: &[Batch<'_>]) -> anyhow::Result<f64> {
    let pipeline = Pipeline::new("bench-transactions").await;
    let url = pipeline.own_database_url();
    let pool = &click_store::counting_pool(&url.as_str().into(), "bench")?;
    let topics = pipeline.scope().topics();
    let partitions: Vec<_> =
        (0..PARTITIONS).map(|it| TopicPartition::new(topics.of(Kind::Click), it)).collect();
    let kinds: Vec<_> = partitions.iter().map(|it| (it.clone(), Kind::Click)).collect();
    offsets::ensure(pool, &kinds).await?;
    let all = batches.iter().flatten();
    let days: Vec<_> = all.clone().map(|it| (Kind::Click, day_of(it.event.dedup_time))).collect();
    Days::default().ensure(pool, days).await?;

    tidy(&pipeline).await;
    let begun = Instant::now();
    let mut next = HashMap::new();
    let mut recent = RecentEvents::default();
    for batch in batches {
        count(pool, &partitions, &mut next, batch, &mut recent).await?;
    }
    let per_second = float(all.count() as u64) / begun.elapsed().as_secs_f64();
    pipeline.discard().await;
    Ok(per_second)
}

/// Counts a batch. `next` is where each partition stands.
async fn count(
    pool: &Pool,
    partitions: &[TopicPartition],
    next: &mut HashMap<i32, i64>,
    batch: &Batch<'_>,
    recent: &mut RecentEvents,
) -> anyhow::Result<()> {
    let first = batch.first().context("an empty batch")?;
    let anchor = Anchor { timestamp_ms: first.event.received_at.as_millis(), hash: [7; 32] };
    let mut ends: BTreeMap<i32, i64> = BTreeMap::new();
    for it in batch {
        let end = ends.entry(it.partition).or_default();
        *end = (*end).max(it.offset + 1);
    }
    let at = |partition: i32| &partitions[partition.unsigned_abs() as usize];
    let fences: Vec<_> = ends
        .iter()
        .map(|(&partition, &new)| {
            let expected = next.insert(partition, new).unwrap_or(0);
            Fence { at: at(partition).clone(), expected, new, anchor: anchor.clone() }
        })
        .collect();

    let Begun::Open(transaction) = CountingTransaction::begin(pool, &fences).await? else {
        bail!("somebody else counts here");
    };
    let ads: Vec<_> = (1..=ADS).filter_map(AdId::new).collect();
    transaction.unknown_ads(&ads).await?;
    let stored = transaction.insert(Kind::Click, batch.clone(), recent).await?;
    let totals: Vec<_> = stored.iter().map(|it| (at(it.partition), it.ad, it.events)).collect();
    let entries: Vec<_> = fences
        .iter()
        .map(|it| (&it.at, LedgerEntry { stored: it.new - it.expected, ..LedgerEntry::default() }))
        .collect();
    transaction.add_totals(&totals, &entries).await?;
    transaction.commit().await?;
    Ok(())
}
