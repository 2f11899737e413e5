//! Row 11: each link silent for a minute, and what the services keep in memory meanwhile.

use std::{collections::BTreeMap, time::Duration};

use e2e::{
    Link, Load, Memory, Observer, Pipeline, Players, Program, Proxy, Services, kafka, let_last,
    until_within,
};
use local_stack::testing::stack;

use crate::replies_lost::port_of;

const MINUTE: Duration = Duration::from_mins(1);

const KIB: u64 = 1024;
const MIB: u64 = 1024 * KIB;

/// What bounds the memory of a service, and an allocator that keeps little of what is freed: then what
/// is seen is what is held.
const SETTINGS: [(&str, &str); 4] = [
    ("INGEST_QUEUE_EVENTS", "100"),
    ("BATCH_MAX_BYTES", "1MiB"),
    ("MALLOC_MMAP_THRESHOLD_", "65536"),
    ("MALLOC_TRIM_THRESHOLD_", "131072"),
];

/// What a service may grow by that holds nothing back: stacks, buffers of connections, fragments.
/// Several times of what was ever seen.
const ALLOWANCE: u64 = 8 * MIB;

/// An event takes 1 KiB of the queue at most, on average.
const INGEST: u64 = 100 * KIB + ALLOWANCE;

/// One batch is being stored, one waits for that, one is gathered; and librdkafka fetches as much ahead
/// as `queued.max.messages.kbytes` says, and then up to 1 MiB more of the partition. What can never be
/// stored is copied for the producer of dead letters, into its request, and kept until it is
/// acknowledged. Twice the allowance: 10 MiB more than what is held was seen.
const CONSUMER: u64 = 3 * MIB + 16 * MIB + MIB + 3 * MIB + 2 * ALLOWANCE;

#[tokio::test]
async fn each_link_black_holed_for_60_s_loses_nothing_and_fills_no_memory() {
    silence("hole", Link::BlackHole).await;
}

#[tokio::test]
async fn each_link_half_open_for_60_s_loses_nothing_and_fills_no_memory() {
    // Nobody reads what is sent, until no more can be sent; and nobody is told.
    silence("halfopen", Link::HoldRequests).await;
}

/// All three at the same time, each of a pipeline of its own.
async fn silence(name: &str, link: Link) {
    tokio::join!(
        Box::pin(before_kafka(format!("fault-{name}-kafka"), link)),
        Box::pin(before_postgres(format!("fault-{name}-postgres"), link)),
        Box::pin(before_redis(format!("fault-{name}-redis"), link)),
    );
}

/// Ingest could keep each click that it cannot get rid of.
async fn before_kafka(name: String, link: Link) {
    /// More than it may grow by.
    const REFUSED: u32 = 12_000;
    const { assert!(REFUSED as u64 * KIB > INGEST + INGEST / 3) };
    let (_kafka, proxy) = kafka::start().await;
    let pipeline = Pipeline::on(&name, kafka::stack_with(&proxy)).await;
    let services = start(&pipeline, &[]).await;
    let observer = Observer::start(&pipeline, Some(&services.analytics));
    let players = Players { count: 200, every: Duration::from_millis(500), ..Players::default() };
    let load = Load::of(players, &services.ingest.url("/ads/click"));
    load.until_accepted(1000).await;

    let memory = Memory::watch(&services);
    proxy.set(link);
    // However fast this machine is.
    let enough = until_within(4 * MINUTE, "enough clicks are refused", async || {
        let overloaded = r#"ingest_events_total{kind="click",outcome="overloaded"}"#;
        services.ingest.metric(overloaded).await >= f64::from(REFUSED)
    });
    tokio::join!(let_last(MINUTE), enough);
    proxy.set(Link::Pass);
    load.until_accepted(100).await;
    let sent = load.stop().await;

    assert_eq!(sent.unanswered(), 0, "no player waits for longer than its patience");
    pipeline.check(&[sent], Some(&services.analytics)).await;
    bounded(&memory.stop().await);
    assert!(observer.stop().await.compared > 0);
}

/// The consumer could keep each record that it cannot store.
async fn before_postgres(name: String, link: Link) {
    const RECORDS: u32 = 1300;
    const RECORD_BYTES: usize = 65_536;
    const { assert!(RECORDS as u64 * RECORD_BYTES as u64 > 2 * CONSUMER) };
    let pipeline = Pipeline::new(&name).await;
    let proxy = Proxy::to(port_of(&stack().database_url)).await;
    let url = pipeline.database_url(proxy.port());
    let services = start(&pipeline, &[("DATABASE_URL", &url)]).await;
    let observer = Observer::start(&pipeline, Some(&services.analytics));
    let load = Load::start(&services.ingest.url("/ads/click"), 2);
    load.until_accepted(50).await;

    let memory = Memory::watch(&services);
    proxy.set(link);
    tokio::join!(let_last(MINUTE), pipeline.send_large_garbage(RECORDS, RECORD_BYTES));
    proxy.set(Link::Pass);
    load.until_accepted(50).await;
    let sent = load.stop().await;

    assert!(sent.other_answers().is_empty(), "clicks are accepted without it");
    pipeline.check(&[sent], Some(&services.analytics)).await;
    assert_eq!(pipeline.dead_letters().await, i64::from(RECORDS));
    bounded(&memory.stop().await);
    assert!(observer.stop().await.compared > 0);
}

/// The consumer could keep what it cannot tell Redis.
async fn before_redis(name: String, link: Link) {
    let pipeline = Pipeline::new(&name).await;
    let proxy = Proxy::to(port_of(&stack().redis_url)).await;
    let url = format!("redis://127.0.0.1:{}", proxy.port());
    // Many batches: it keeps 64 of them.
    let many = [("REDIS_URL", url.as_str()), ("BATCH_MAX_EVENTS", "20"), ("BATCH_MAX_AGE", "10ms")];
    let services = start(&pipeline, &many).await;
    let observer = Observer::start(&pipeline, Some(&services.analytics));
    let load = Load::start(&services.ingest.url("/ads/click"), 4);
    load.until_accepted(50).await;

    let memory = Memory::watch(&services);
    proxy.set(link);
    let dropped = r#"consumer_projection_updates_total{outcome="dropped"}"#;
    let enough = until_within(4 * MINUTE, "enough is dropped", async || {
        services.consumer.metric(dropped).await >= 500.0
    });
    tokio::join!(let_last(MINUTE), enough);
    proxy.set(Link::Pass);
    load.until_accepted(50).await;
    let sent = load.stop().await;

    assert!(sent.other_answers().is_empty(), "clicks are accepted without it");
    pipeline.check(&[sent], Some(&services.analytics)).await;
    bounded(&memory.stop().await);
    assert!(observer.stop().await.compared > 0);
}

async fn start(pipeline: &Pipeline, more: &[(&str, &str)]) -> Services {
    let settings = [&SETTINGS, more].concat();
    let (ingest, consumer, analytics) = tokio::join!(
        pipeline.start(Program::Ingest, &settings),
        pipeline.start(Program::Consumer, &settings),
        pipeline.start(Program::Analytics, &settings),
    );
    Services { ingest, consumer, analytics }
}

fn bounded(grown: &BTreeMap<&str, u64>) {
    let limits =
        [("ingest-api", INGEST), ("click-consumer", CONSUMER), ("analytics-api", ALLOWANCE)];
    for (name, limit) in limits {
        let by = grown[name];
        assert!(by <= limit, "{name} has grown by {by} bytes, and may by {limit}");
    }
}
