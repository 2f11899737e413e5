//! Rows 4 and 5: the consumer against its own counting transaction, and that against a COPY.

use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use e2e::{Pipeline, Program, until_within};
use futures::pin_mut;
use proto_schemas::{AdEvent, EventId, UserAgent};
use tokio_postgres::{binary_copy::BinaryCopyInWriter, types::Type};

use super::{
    Effort,
    ingest::{ADS, new_seed},
    transactions::{as_counted, in_order, tidy, transactions},
};
use crate::{
    clicks::Clicks,
    pairs::Pairs,
    report::{Row, Target, float},
    topic,
};

/// Longer than it takes on any machine on which it can be measured.
const LIMIT: Duration = Duration::from_mins(5);

/// Rows 4 and 5, and the rate of row 4's consumer.
pub(crate) struct Counted {
    pub(crate) rows: [Row; 2],
    pub(crate) per_second: f64,
}

/// Rows 4 and 5.
pub(crate) async fn counting(effort: Effort) -> anyhow::Result<Counted> {
    let (mut consumers, mut copies) = (Vec::new(), Vec::new());
    // Once for nothing: a broker that was just started compiles itself while the first is measured.
    consumer(effort).await?;
    for pair in 0..effort.pairs {
        let events = new_events(effort.events)?;
        let pipeline = Pipeline::new("bench-consumer").await;
        let consumer = consumed(&pipeline, &events).await?;
        let same = as_counted(&pipeline, &events).await?;
        pipeline.discard().await;
        consumers.push((consumer, transactions(&same).await?));
        // In turn one after the other and the other way round, so that none always comes after what
        // leaves the server the more to tidy up.
        let ordered = in_order(&events);
        copies.push(if pair % 2 == 0 {
            let transactions = transactions(&ordered).await?;
            (transactions, copy(&events).await?)
        } else {
            let copy = copy(&events).await?;
            (transactions(&ordered).await?, copy)
        });
    }
    let of_consumer =
        ("consumer, from Kafka to COMMIT", "only the counting transaction, the same batches");
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
    let pipeline = Pipeline::new("bench-consumer").await;
    let per_second = consumed(&pipeline, &new_events(effort.events)?).await?;
    pipeline.discard().await;
    Ok(per_second)
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
    let per_second = float(rows) / begun.elapsed().as_secs_f64();
    drop(client);
    pipeline.discard().await;
    Ok(per_second)
}
