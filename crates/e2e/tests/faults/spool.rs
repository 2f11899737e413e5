//! Row 16: Kafka away with the spool on, while ingest is killed, and until the spool is full.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::{Duration, Instant},
};

use e2e::{
    Link, Load, Observer, Pipeline, Players, Program, Service, Services, kafka, let_last, until,
    until_within,
};
use proto_schemas::Kind;
use tempfile::TempDir;

/// `INGEST_PRODUCE_TIMEOUT`, its default.
const PRODUCE_TIMEOUT: Duration = Duration::from_secs(2);

/// What a player waits at most: [`PRODUCE_TIMEOUT`], half a second for the answer, 2 s for the disk,
/// and what a busy machine adds.
const DEADLINE: Duration = Duration::from_secs(8);

const DRAINED: &str = "ingest_spool_drained_total";

/// How many events a second leave the spool: few enough that one can be killed at it.
const DRAIN_RATE: u32 = 1000;

/// Several players who together post some 200 clicks a second.
const STEADY: Players = Players {
    count: 4,
    every: Duration::from_millis(20),
    tries: 1,
    patience: Duration::from_secs(30),
};

#[tokio::test]
async fn a_minute_without_kafka_is_spooled_and_counted_once_though_ingest_is_killed() {
    const OUTAGE: Duration = Duration::from_mins(1);
    let (mut kafka, proxy) = kafka::start().await;
    let pipeline = Pipeline::on("faultspool", kafka::stack_with(&proxy)).await;
    let folder = TempDir::new().expect("a folder");
    let mut services = start(&pipeline, &folder, &[]).await;
    let observer = Observer::start(&pipeline, Some(&services.analytics));
    let url = services.ingest.url("/ads/click");
    let once = Load::of(STEADY, &url);
    let again = Load::of(Players { tries: 5, ..STEADY }, &url);
    once.until_accepted(100).await;

    kafka.kill();
    proxy.cut();
    let (away_since, before) = (Instant::now(), once.accepted() + again.accepted());
    for _ in 0..3 {
        let_last(OUTAGE / 5).await;
        let waiting = spooled(&services.ingest).await + 200.0;
        until("more is spooled", async || spooled(&services.ingest).await >= waiting).await;
        services.ingest.kill_9();
        services.ingest.restart();
        // Without Kafka: the spool takes events.
        services.ingest.ready().await;
        assert!(spooled(&services.ingest).await >= waiting, "what was answered is kept");
    }
    let_last(OUTAGE.saturating_sub(away_since.elapsed())).await;
    let accepted = once.accepted() + again.accepted() - before;
    assert_few_waited(accepted, 2 * STEADY.count, away_since.elapsed());

    kafka.restart().await.expect("kafka starts again");
    until("it is drained", async || services.ingest.metric(DRAINED).await > 0.0).await;
    // In the middle of it: what Kafka has and the disk too is sent once more.
    assert!(spooled(&services.ingest).await > 0.0);
    services.ingest.kill_9();
    services.ingest.restart();
    services.ingest.ready().await;
    until_drained(&services.ingest).await;
    again.until_accepted(50).await;
    let sent = [once.stop().await, again.stop().await];

    assert!(sent[0].unanswered() > 0, "some were killed while they waited");
    assert!(sent[1].other_answers().is_empty(), "nobody is refused: {:?}", sent[1].other_answers());
    for sent in &sent {
        assert!(sent.slowest < DEADLINE, "{:?}", sent.slowest);
    }
    pipeline.check(&sent, Some(&services.analytics)).await;
    assert!(observer.stop().await.compared > 0);
}

#[tokio::test]
async fn a_full_spool_refuses_clicks_also_after_a_kill_and_every_accepted_one_counts_once() {
    const REFUSED: &str = r#"ingest_spool_refused_total{reason="full"}"#;
    let (mut kafka, proxy) = kafka::start().await;
    let pipeline = Pipeline::on("faultspoolfull", kafka::stack_with(&proxy)).await;
    let folder = TempDir::new().expect("a folder");
    let mut services = start(&pipeline, &folder, &[("SPOOL_MAX_BYTES", "1MiB")]).await;
    let observer = Observer::start(&pipeline, Some(&services.analytics));
    let load = Load::start(&services.ingest.url("/ads/click"), 8);
    load.until_accepted(100).await;

    kafka.kill();
    proxy.cut();
    until("it is full", async || services.ingest.metric(REFUSED).await >= 100.0).await;
    let kept = spooled(&services.ingest).await;
    assert!(services.ingest.metric("ingest_spool_bytes").await >= 1024.0 * 1024.0);
    services.ingest.kill_9();
    services.ingest.restart();
    services.ingest.alive().await;
    until("it is still full", async || services.ingest.metric(REFUSED).await >= 100.0).await;
    assert!(spooled(&services.ingest).await >= kept);

    kafka.restart().await.expect("kafka starts again");
    until_drained(&services.ingest).await;
    load.until_accepted(100).await;
    let sent = load.stop().await;

    assert_eq!(sent.other_answers(), BTreeSet::from([503]));
    assert!(sent.slowest < DEADLINE, "{:?}", sent.slowest);
    pipeline.check(&[sent], Some(&services.analytics)).await;
    assert!(observer.stop().await.compared > 0);
}

#[tokio::test]
async fn a_click_that_is_on_kafka_and_in_the_spool_and_is_posted_again_counts_once() {
    let (_kafka, proxy) = kafka::start().await;
    let pipeline = Pipeline::on("faultspooltwice", kafka::stack_with(&proxy)).await;
    let folder = TempDir::new().expect("a folder");
    let services = start(&pipeline, &folder, &[]).await;
    let observer = Observer::start(&pipeline, Some(&services.analytics));
    let url = services.ingest.url("/ads/click");
    let patient = Load::of(STEADY, &url);
    // They post again before ingest gives Kafka up.
    let hasty = Players { tries: 5, patience: PRODUCE_TIMEOUT / 2, ..STEADY };
    let hasty = Load::of(hasty, &url);

    for _ in 0..3 {
        patient.until_accepted(50).await;
        // Kafka takes what it is sent, and ingest does not learn of it.
        proxy.set(Link::HoldAnswers);
        until("clicks are spooled", async || spooled(&services.ingest).await >= 100.0).await;
        proxy.set(Link::Pass);
        until_drained(&services.ingest).await;
    }
    patient.until_accepted(50).await;
    let sent = [patient.stop().await, hasty.stop().await];

    assert!(sent[0].other_answers().is_empty() && sent[0].unanswered() == 0);
    pipeline.check(&sent, Some(&services.analytics)).await;
    assert!(observer.stop().await.compared > 0);
    let mut copies: BTreeMap<_, u32> = BTreeMap::new();
    for event in pipeline.on_topic(Kind::Click).await {
        *copies.entry((event.dedup_key.to_string(), event.received_at)).or_default() += 1;
    }
    // One request, two records: the second came through the spool.
    assert!(copies.values().any(|it| *it >= 2), "no click was in both");
    let clicks: BTreeSet<_> = copies.keys().map(|(click, _)| click).collect();
    assert!(clicks.len() < copies.len(), "no click was posted again");
}

/// Starts the services, ingest with a spool.
async fn start(pipeline: &Pipeline, folder: &TempDir, more: &[(&str, &str)]) -> Services {
    let rate = DRAIN_RATE.to_string();
    let spool = [
        ("SPOOL_DIR", folder.path().to_str().expect("a path")),
        ("SPOOL_DRAIN_RATE", rate.as_str()),
    ];
    let settings = [&spool[..], more].concat();
    let (ingest, consumer, analytics) = tokio::join!(
        pipeline.start(Program::Ingest, &settings),
        pipeline.start(Program::Consumer, &[]),
        pipeline.start(Program::Analytics, &[]),
    );
    Services { ingest, consumer, analytics }
}

/// How many events wait on disk.
async fn spooled(ingest: &Service) -> f64 {
    ingest.metric("ingest_spool_events").await
}

/// Waits until nothing does, for not much longer than the drain rate allows for.
async fn until_drained(ingest: &Service) {
    let waiting = spooled(ingest).await;
    // Half a minute for Kafka to be found, and a machine that does other things too.
    let limit = Duration::from_secs(30) + Duration::from_secs_f64(4.0 * waiting) / DRAIN_RATE;
    until_within(limit, "the spool is empty", async || spooled(ingest).await.eq(&0.0)).await;
    assert!(ingest.metric(DRAINED).await > 0.0);
}

/// If each click had waited for Kafka first, not a quarter as many could have been accepted.
fn assert_few_waited(accepted: u64, players: u64, outage: Duration) {
    let one_waits = PRODUCE_TIMEOUT.as_millis();
    let if_all_wait = u128::from(players) * outage.as_millis() / one_waits;
    assert!(u128::from(accepted) >= 4 * if_all_wait, "{accepted} in {outage:?}");
}
