//! Row 3: the time to an acknowledgement at half of capacity, against a bare produce loop.

use std::{
    cell::RefCell,
    rc::Rc,
    time::{Duration, Instant},
};

use anyhow::Context as _;
use e2e::{Pipeline, Program};
use hdrhistogram::Histogram;
use proto_schemas::Kind;
use tokio::{
    task::{JoinSet, LocalSet},
    time::sleep_until,
};

use super::{
    BEHIND_A_PROXY, Effort,
    ingest::{self, WAITING_CONNECTIONS},
};
use crate::{
    bare::{LINGER, ProduceLoop},
    load::{LONGEST_US, Pace, Plan},
    pairs::Pairs,
    report::{Row, Target, float, number},
};

const SHARE: f64 = 0.99;

/// Row 3.
pub(crate) async fn at_half_of_capacity(effort: Effort) -> anyhow::Result<Row> {
    let pipeline = Pipeline::new("bench-latency").await;
    let ingest = pipeline.start(Program::Ingest, &BEHIND_A_PROXY).await;
    let topic = pipeline.scope().topics().of(Kind::Click).to_owned();
    let bare = BareLoop { brokers: pipeline.scope().stack.kafka_brokers.clone(), topic };

    let to = ingest.address();
    let push =
        Plan { to, connections: WAITING_CONNECTIONS, pace: Pace::Closed, lasts: effort.load };
    let half = ingest::post(push).await?.all_accepted()?.per_second() / 2.0;
    let at_half = Plan { pace: Pace::Open { per_second: half }, ..push };

    let linger_ms = LINGER.as_secs_f64() * 1000.0;
    let pairs = Pairs::measure(
        effort.pairs,
        async || Ok(ingest::post(at_half).await?.all_accepted()?.ms(SHARE)),
        async || Ok(linger_ms + bare.clone().p99_ms(half, effort.load).await?),
    )
    .await?;
    let (_, allowed) = pairs.medians();
    let measured = format!("acknowledged in (p99), at {} POSTs/s, half of capacity", number(half));
    let against = format!(
        "linger ({} ms) and p99 of the bare produce loop ({} ms, its own linger in it)",
        number(linger_ms),
        number(allowed - linger_ms)
    );
    Ok(Row::of_pairs("3", (&measured, &against), "ms", &pairs, Target::AtMost(1.5)))
}

/// Records sent at a fixed rate with nothing before the producer.
#[derive(Clone)]
struct BareLoop {
    brokers: String,
    topic: String,
}

impl BareLoop {
    /// The time in which 99 of 100 are acknowledged, from when each was due.
    async fn p99_ms(self, per_second: f64, lasts: Duration) -> anyhow::Result<f64> {
        // A thread of its own, as the load has.
        let thread = tokio::task::spawn_blocking(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
            runtime.block_on(LocalSet::new().run_until(self.drive(per_second, lasts)))
        });
        Ok(float(thread.await??.value_at_quantile(SHARE)) / 1000.0)
    }

    async fn drive(self, per_second: f64, lasts: Duration) -> anyhow::Result<Histogram<u64>> {
        let kafka = Rc::new(ProduceLoop::new(&self.brokers, self.topic)?);
        // The first has to wait for the connection.
        kafka.produce().await?;
        let times = Rc::new(RefCell::new(Histogram::new_with_bounds(1, LONGEST_US, 3)?));
        let mut sent = JoinSet::new();
        let begun = Instant::now();
        for number in 0.. {
            let due = begun + Duration::from_secs_f64(f64::from(number) / per_second);
            if due >= begun + lasts {
                break;
            }
            if due > Instant::now() {
                sleep_until(due.into()).await;
            }
            let (kafka, times) = (Rc::clone(&kafka), Rc::clone(&times));
            sent.spawn_local(async move {
                kafka.produce().await?;
                let us = u64::try_from(due.elapsed().as_micros()).unwrap_or(LONGEST_US);
                times.borrow_mut().saturating_record(us.max(1));
                anyhow::Ok(())
            });
            // Those that are done are let go, so that they do not pile up.
            while let Some(done) = sent.try_join_next() {
                done??;
            }
        }
        while let Some(done) = sent.join_next().await {
            done??;
        }
        Rc::into_inner(times).map(RefCell::into_inner).context("a record that is still on its way")
    }
}
