//! Rows 4 and 5: the consumer against its own counting transaction, and that against a COPY.

use std::time::{Duration, Instant};

use anyhow::{Context as _, bail, ensure};
use click_store::{
    Pool, RecentEvents, TopicPartition,
    counting::{Begun, CountingTransaction, Fence, LedgerEntry, Located},
    days::{Days, day_of},
    offsets::{self, Anchor},
};
use e2e::{Pipeline, Program, until_within};
use futures::pin_mut;
use proto_schemas::{AdEvent, AdId, EventId, Kind, UserAgent, topics::PARTITIONS};
use tokio_postgres::{binary_copy::BinaryCopyInWriter, types::Type};

use super::{
    Effort,
    ingest::{ADS, new_seed},
};
use crate::{
    clicks::Clicks,
    pairs::Pairs,
    report::{Row, Target, float},
    topic,
};

/// What the consumer stores at once when there is enough.
const BATCH: usize = 5000;

/// Longer than it takes on any machine on which it can be measured.
const LIMIT: Duration = Duration::from_mins(5);

/// Rows 4 and 5, and the rate of row 4's consumer.
pub(crate) struct Counted {
    pub(crate) rows: [Row; 2],
    pub(crate) per_second: f64,
}

/// Rows 4 and 5, measured together: both need the rate of the counting transaction.
pub(crate) async fn counting(effort: Effort) -> anyhow::Result<Counted> {
    let (mut consumers, mut copies) = (Vec::new(), Vec::new());
    // Once for nothing: a broker that was just started compiles itself while the first is measured.
    consumer(effort).await?;
    for pair in 0..effort.pairs {
        let events = new_events(effort.events)?;
        let consumed = async || consumed(&Pipeline::new("bench-consumer").await, &events).await;
        // In turn one after the other and the other way round, so that none always comes after what
        // leaves the server the most to tidy up.
        let (consumer, counted, copied);
        if pair % 2 == 0 {
            consumer = consumed().await?;
            counted = transactions(&events).await?;
            copied = copy(&events).await?;
        } else {
            copied = copy(&events).await?;
            counted = transactions(&events).await?;
            consumer = consumed().await?;
        }
        consumers.push((consumer, counted));
        copies.push((counted, copied));
    }
    let of_consumer = ("consumer, from Kafka to COMMIT", "only the counting transaction");
    let of_copy = ("the counting transaction", "binary COPY into a table without a key");
    let (consumers, copies) = (Pairs::of(consumers)?, Pairs::of(copies)?);
    let rows = [
        Row::of_pairs("4", of_consumer, "events/s", &consumers, Target::AtLeast(0.85)),
        Row::of_pairs("5", of_copy, "rows/s", &copies, Target::AtLeast(0.33)),
    ];
    Ok(Counted { rows, per_second: consumers.medians().0 })
}

/// So many clicks that nobody has seen yet.
pub(super) fn new_events(count: usize) -> anyhow::Result<Vec<AdEvent>> {
    let mut clicks = Clicks::new(ADS, new_seed());
    (0..count).map(|_| clicks.event()).collect()
}

/// Events a second that a consumer counts in a new pipeline.
pub(crate) async fn consumer(effort: Effort) -> anyhow::Result<f64> {
    consumed(&Pipeline::new("bench-consumer").await, &new_events(effort.events)?).await
}

/// Events a second that a consumer counts from a topic where they lie. Measured between a tenth and
/// the last of them, so that its start does not count.
pub(super) async fn consumed(pipeline: &Pipeline, events: &[AdEvent]) -> anyhow::Result<f64> {
    let before = pipeline.counted().await;
    topic::fill(pipeline.scope(), events).await?;
    let all = i64::try_from(events.len())?;
    let (tenth, last) = (before + all / 10, before + all);

    tidy(pipeline).await;
    let mut consumer = pipeline.spawn(Program::Consumer, &[]);
    until_within(LIMIT, "a tenth is counted", async || pipeline.counted().await >= tenth).await;
    let (begun, at_first) = (Instant::now(), pipeline.counted().await);
    until_within(LIMIT, "all is counted", async || pipeline.counted().await >= last).await;
    let took = begun.elapsed();

    // It leaves its group, so that the next one need not wait for its session to end.
    consumer.terminate();
    let code = consumer.exit_code().await;
    ensure!(code == 0, "the consumer ended with {code}");
    Ok(float((last - at_first).unsigned_abs()) / took.as_secs_f64())
}

/// Writes what others have left in the server's memory, so that it is not written during what is
/// measured next.
async fn tidy(pipeline: &Pipeline) {
    pipeline.execute("CHECKPOINT").await;
}

/// Events a second of the counting transaction alone, in batches such as the consumer makes.
async fn transactions(events: &[AdEvent]) -> anyhow::Result<f64> {
    let pipeline = Pipeline::new("bench-transactions").await;
    let pool = pipeline.pool();
    let topics = pipeline.scope().topics();
    let partitions: Vec<_> =
        (0..PARTITIONS).map(|it| TopicPartition::new(topics.of(Kind::Click), it)).collect();
    let kinds: Vec<_> = partitions.iter().map(|it| (it.clone(), Kind::Click)).collect();
    offsets::ensure(pool, &kinds).await?;
    let days: Vec<_> = events.iter().map(|it| (Kind::Click, day_of(it.dedup_time))).collect();
    Days::default().ensure(pool, days).await?;

    tidy(&pipeline).await;
    let begun = Instant::now();
    let mut next = vec![0_i64; partitions.len()];
    let mut recent = RecentEvents::default();
    for batch in events.chunks(BATCH) {
        count(pool, &partitions, &mut next, batch, &mut recent).await?;
    }
    Ok(float(events.len() as u64) / begun.elapsed().as_secs_f64())
}

/// Counts a batch that is spread over all partitions.
async fn count(
    pool: &Pool,
    partitions: &[TopicPartition],
    next: &mut [i64],
    batch: &[AdEvent],
    recent: &mut RecentEvents,
) -> anyhow::Result<()> {
    let before = next.to_vec();
    let located: Vec<_> = batch
        .iter()
        .enumerate()
        .map(|(number, event)| {
            let at = number % partitions.len();
            let offset = next[at];
            next[at] += 1;
            Located { event, partition: partitions[at].partition, offset }
        })
        .collect();
    let anchor = Anchor { timestamp_ms: batch[0].received_at.as_millis(), hash: [7; 32] };
    let fences: Vec<_> = partitions
        .iter()
        .zip(before.iter().zip(next.iter()))
        .map(|(at, (&expected, &new))| Fence {
            at: at.clone(),
            expected,
            new,
            anchor: anchor.clone(),
        })
        .collect();

    let Begun::Open(transaction) = CountingTransaction::begin(pool, &fences).await? else {
        bail!("somebody else counts here");
    };
    let ads: Vec<_> = (1..=ADS).filter_map(AdId::new).collect();
    transaction.unknown_ads(&ads).await?;
    let stored = transaction.insert(Kind::Click, located, recent).await?;
    let totals: Vec<_> = stored
        .iter()
        .filter_map(|it| {
            Some((partitions.get(usize::try_from(it.partition).ok()?)?, it.ad, it.events))
        })
        .collect();
    let entries: Vec<_> = partitions
        .iter()
        .zip(before.iter().zip(next.iter()))
        .map(|(at, (before, next))| {
            (at, LedgerEntry { stored: next - before, ..LedgerEntry::default() })
        })
        .collect();
    transaction.add_totals(&totals, &entries).await?;
    transaction.commit().await?;
    Ok(())
}

/// Rows a second of one binary COPY of all of them.
async fn copy(events: &[AdEvent]) -> anyhow::Result<f64> {
    const TYPES: [Type; 11] = [
        Type::TIMESTAMPTZ,
        Type::UUID,
        Type::INT8,
        Type::TIMESTAMPTZ,
        Type::TIMESTAMPTZ,
        Type::INET,
        Type::INT4,
        Type::TEXT,
        Type::TEXT,
        Type::INT4,
        Type::INT8,
    ];
    let pipeline = Pipeline::new("bench-copy").await;
    pipeline.execute("CREATE TABLE copied (LIKE clicks)").await;
    let client = pipeline.pool().get().await?;
    let statement = "COPY copied (dedup_time, dedup_key, ad_id, occurred_at, received_at, address, \
                     playback_ms, event_id, user_agent, kafka_partition, kafka_offset) \
                     FROM STDIN BINARY";

    tidy(&pipeline).await;
    let begun = Instant::now();
    let sink = client.copy_in(statement).await?;
    let writer = BinaryCopyInWriter::new(sink, &TYPES);
    pin_mut!(writer);
    for (offset, event) in (0_i64..).zip(events) {
        let time = std::time::SystemTime::from;
        let event_id = event.event_id.as_ref().map(EventId::as_str);
        let user_agent = event.user_agent.as_ref().map(UserAgent::as_str);
        writer
            .as_mut()
            .write(&[
                &time(event.dedup_time.timestamp()),
                &uuid::Uuid::from_bytes(*event.dedup_key.as_bytes()),
                &event.ad_id.as_i64(),
                &time(event.occurred_at),
                &time(event.received_at),
                &event.address,
                &event.playback_ms.map(u32::cast_signed),
                &event_id,
                &user_agent,
                &0_i32,
                &offset,
            ])
            .await?;
    }
    let rows = writer.finish().await.context("finishing the COPY")?;
    Ok(float(rows) / begun.elapsed().as_secs_f64())
}
