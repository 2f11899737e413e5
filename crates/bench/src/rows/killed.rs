//! Row 10: `kill -9` of the consumer under load, until its successor has caught up.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use anyhow::ensure;
use e2e::{Pipeline, Program, Service};
use proto_schemas::Kind;
use tokio::time::sleep;

use super::{Effort, batches};
use crate::{
    load::{Pace, Plan},
    pairs::Pairs,
    progress::note,
    report::{Row, Target, float, number},
};

const EVENTS_PER_SECOND: u32 = 5000;

/// What Kafka misses a consumer for before it gives its partitions to another, as the consumer asks.
const SESSION_TIMEOUT: Duration = Duration::from_secs(10);

/// `group.initial.rebalance.delay.ms` of the local Kafka.
const REBALANCE_DELAY: Duration = Duration::ZERO;

/// How long all runs as usual before the kill; the lag of its last part is the usual one.
const BEFORE: Duration = Duration::from_secs(5);
const LOOKED_AT: Duration = Duration::from_secs(2);

/// From the kill until the load ends; it must not end first.
const AFTER: Duration = Duration::from_secs(22);

const POLL: Duration = Duration::from_millis(10);

/// Row 10, given the rate of row 4.
pub(crate) async fn killed(effort: Effort, counted_per_second: f64) -> anyhow::Result<Row> {
    ensure!(counted_per_second > f64::from(EVENTS_PER_SECOND), "it would never catch up");
    let (mut pairs, mut backlogs) = (Vec::new(), 0.0);
    for _ in 0..effort.pairs {
        let Recovery { took, backlog } = recovery().await?;
        let to_catch_up = backlog / (counted_per_second - f64::from(EVENTS_PER_SECOND));
        let expected = (SESSION_TIMEOUT + REBALANCE_DELAY).as_secs_f64() + to_catch_up;
        note(&format!("{took:?} with a backlog of {} events", number(backlog)));
        backlogs += backlog;
        pairs.push((took.as_secs_f64(), expected));
    }
    #[expect(clippy::cast_precision_loss, reason = "a handful")]
    let backlog = backlogs / effort.pairs as f64;
    let measured = "kill -9 of the consumer at 5,000 events/s until the lag is what it was";
    let against = format!(
        "session timeout ({SESSION_TIMEOUT:?}), rebalance delay ({REBALANCE_DELAY:?}) and the backlog \
         ({} events) at the rate of row 4 ({} events/s) less 5,000",
        number(backlog),
        number(counted_per_second)
    );
    let pairs = Pairs::of(pairs)?;
    Ok(Row::of_pairs("10", (measured, &against), "s", &pairs, Target::AtMost(1.2)))
}

struct Recovery {
    took: Duration,
    /// The most events that waited.
    backlog: f64,
}

async fn recovery() -> anyhow::Result<Recovery> {
    let pipeline = Pipeline::new("bench-killed").await;
    let ingest = pipeline.start(Program::Ingest, &batches::NO_LIMIT).await;
    let mut consumer = pipeline.start(Program::Consumer, &[]).await;
    let accepted = Arc::new(AtomicU64::new(0));
    let plan = Plan {
        to: ingest.address(),
        connections: batches::CONNECTIONS_OF_BATCHES,
        pace: Pace::Open { per_second: f64::from(EVENTS_PER_SECOND / batches::EVENTS) },
        lasts: BEFORE + AFTER,
    };
    let load = batches::post_to(plan, super::ingest::ADS, Arc::clone(&accepted));
    let watch = watch(&pipeline, &mut consumer, &accepted);
    let (answers, recovery) = tokio::join!(load, watch);

    let posted = answers?.all_accepted()?.accepted() * u64::from(batches::EVENTS);
    let stored = pipeline.settle().await.total(Kind::Click);
    ensure!(stored == posted, "{posted} were accepted, {stored} are stored");
    recovery
}

/// Kills the consumer, and starts another at once.
async fn watch(
    pipeline: &Pipeline,
    consumer: &mut Service,
    accepted: &AtomicU64,
) -> anyhow::Result<Recovery> {
    let begun = Instant::now();
    let mut usual = 0.0_f64;
    while begun.elapsed() < BEFORE {
        let lag = lag(pipeline, accepted).await;
        if begun.elapsed() >= BEFORE.saturating_sub(LOOKED_AT) {
            usual = usual.max(lag);
        }
        sleep(POLL).await;
    }

    let killed = Instant::now();
    consumer.restart();
    let mut backlog = 0.0_f64;
    // Until Kafka has missed it, there is no successor who counts.
    let mut is_behind = false;
    loop {
        let lag = lag(pipeline, accepted).await;
        backlog = backlog.max(lag);
        is_behind |= lag > usual + f64::from(EVENTS_PER_SECOND);
        if is_behind && lag <= usual {
            return Ok(Recovery { took: killed.elapsed(), backlog });
        }
        ensure!(killed.elapsed() < AFTER, "not caught up within {AFTER:?}");
        sleep(POLL).await;
    }
}

/// Events that were accepted and are not counted yet.
async fn lag(pipeline: &Pipeline, accepted: &AtomicU64) -> f64 {
    let accepted = accepted.load(Ordering::Relaxed) * u64::from(batches::EVENTS);
    let counted = pipeline.counted().await.unsigned_abs();
    float(accepted.saturating_sub(counted))
}
