//! Row 9: events posted in batches, against single POSTs.

use std::sync::{Arc, atomic::AtomicU64};

use e2e::{Pipeline, Program};

use super::{BEHIND_A_PROXY, Effort, ingest};
use crate::{
    load::{self, Answers, Pace, Plan},
    pairs::Pairs,
    report::{Row, Target},
    requests::Batches,
};

/// Events of one batch.
pub(super) const EVENTS: u32 = 100;

/// Enough to keep ingest busy although each waits for an acknowledgement.
const CONNECTIONS: u32 = 256;
pub(super) const CONNECTIONS_OF_BATCHES: u32 = 32;

/// Each batch comes from one viewer, and is to be accepted whole.
pub(super) const NO_LIMIT: [(&str, &str); 1] = [("TRUSTED_SENDERS", "127.0.0.1")];

/// Row 9.
pub(crate) async fn batches(effort: Effort) -> anyhow::Result<Row> {
    let pipeline = Pipeline::new("bench-batches").await;
    let batched = pipeline.start(Program::Ingest, &NO_LIMIT).await;
    let single = pipeline.start(Program::Ingest, &BEHIND_A_PROXY).await;

    let plan = Plan {
        to: batched.address(),
        connections: CONNECTIONS_OF_BATCHES,
        pace: Pace::Closed,
        lasts: effort.load,
    };
    let pairs = Pairs::measure(
        effort.pairs,
        async || Ok(post(plan).await?.all_accepted()?.per_second() * f64::from(EVENTS)),
        async || {
            let plan = Plan { to: single.address(), connections: CONNECTIONS, ..plan };
            Ok(ingest::post(plan).await?.all_accepted()?.per_second())
        },
    )
    .await?;
    drop((batched, single));
    pipeline.discard().await;
    let names = ("POST /ads/events, 100 in each", "single POSTs");
    Ok(Row::of_pairs("9", names, "events/s", &pairs, Target::AtLeast(5.0)))
}

/// Posts batches of 100 clicks.
pub(crate) async fn post(plan: Plan) -> anyhow::Result<Answers> {
    post_to(plan, ingest::ADS, Arc::default()).await
}

/// The same for ads 1 to `ads`, and adds to `accepted` whenever a batch is.
pub(crate) async fn post_to(
    plan: Plan,
    ads: u64,
    accepted: Arc<AtomicU64>,
) -> anyhow::Result<Answers> {
    let batches = move |_| Batches::new(ads, ingest::new_seed(), EVENTS as usize);
    load::run_and_tell(plan, batches, accepted).await
}
