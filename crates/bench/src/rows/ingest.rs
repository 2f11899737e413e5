//! Rows 1 and 2: what ingest takes for a POST, against a bare route that parses the same JSON.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

use e2e::{Pipeline, Program};
use proto_schemas::Kind;

use super::{
    Allocator, BEHIND_A_PROXY, BareRoute, Effort,
    cost::{Cost, Server},
};
use crate::{
    load::{self, Answers, Plan},
    report::{Row, Target},
    requests::SingleClicks,
};

/// The ads that a pipeline of `e2e` has.
pub(crate) const ADS: u64 = 34;

/// Enough to keep the server busy all the time.
const CONNECTIONS: u32 = 64;

/// Enough for it although each request waits for an acknowledgement.
pub(super) const WAITING_CONNECTIONS: u32 = 256;

/// Row 1.
pub(crate) async fn without_kafka(effort: Effort) -> anyhow::Result<Row> {
    let pipeline = Pipeline::new("bench-ingest-without-kafka").await;
    let binary = "ingest-api-without-kafka";
    let ingest = pipeline.start_build(Program::Ingest, binary, &BEHIND_A_PROXY).await;
    let bare = BareRoute::start(Allocator::Jemalloc, &[]).await?;

    let servers = (Server::of(&ingest), bare.server());
    let cost = Cost::compare(effort, CONNECTIONS, servers, new_clicks).await?;
    let names =
        ("ingest, Kafka replaced by nothing", "a bare axum route that parses the same JSON");
    Ok(cost.row("1", names, "POST", Target::AtMost(1.3)))
}

/// Row 2.
pub(crate) async fn acknowledged(effort: Effort) -> anyhow::Result<Row> {
    let pipeline = Pipeline::new("bench-ingest").await;
    let ingest = pipeline.start(Program::Ingest, &BEHIND_A_PROXY).await;
    let topics = pipeline.scope().topics();
    let brokers = pipeline.scope().stack.kafka_brokers.clone();
    let args = ["--brokers", &brokers, "--topic", topics.of(Kind::Click)];
    let bare = BareRoute::start(Allocator::Jemalloc, &args).await?;

    let servers = (Server::of(&ingest), bare.server());
    let cost = Cost::compare(effort, WAITING_CONNECTIONS, servers, new_clicks).await?;
    let names = ("ingest, acknowledged by Kafka", "the bare route and a bare librdkafka loop");
    Ok(cost.row("2", names, "POST", Target::AtMost(1.2)))
}

/// Posts clicks one by one, none of which was posted before.
pub(crate) async fn post(plan: Plan) -> anyhow::Result<Answers> {
    post_to(plan, ADS, Arc::default()).await
}

/// The same for ads 1 to `ads`, and adds to `accepted` whenever one is.
pub(crate) async fn post_to(
    plan: Plan,
    ads: u64,
    accepted: Arc<AtomicU64>,
) -> anyhow::Result<Answers> {
    load::run_and_tell(plan, move |_| SingleClicks::new(ads, new_seed()), accepted).await
}

/// Clicks for one connection, none of which was posted before.
fn new_clicks(_connection: u32) -> SingleClicks {
    SingleClicks::new(ADS, new_seed())
}

/// A seed that nobody else in this process has.
pub(crate) fn new_seed() -> u64 {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    NEXT.fetch_add(1, Ordering::Relaxed)
}
