//! The spool: what is answered while Kafka is away reaches Kafka when it is back.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::{Duration, Instant},
};

use local_stack::{Place, kafka::Kafka, testing::stack};
use proto_schemas::{Kind, Timestamp};
use rdkafka::Message as _;
use reqwest::StatusCode;
use tempfile::TempDir;

use crate::harness::{
    Answer, TestIngest, config, decoded, event, event_named, first_records, record_header,
};

/// Nobody listens there.
const NO_KAFKA: (&str, &str) = ("KAFKA_BROKERS", "127.0.0.1:1");

/// Less than any wait for Kafka, and more than a sync takes on a busy machine.
const AT_ONCE: Duration = Duration::from_millis(400);

/// A folder for a spool, and the settings of a service that uses it and gives up on Kafka soon.
fn spool_in(folder: &TempDir) -> [(&'static str, &str); 4] {
    [
        ("SPOOL_DIR", folder.path().to_str().expect("a path")),
        ("INGEST_PRODUCE_TIMEOUT", "500ms"),
        ("RATE_LIMIT_BURST", "1000000"),
        ("SPOOL_DRAIN_RATE", "100"),
    ]
}

fn folder() -> TempDir {
    TempDir::new().expect("a folder")
}

fn click_id(answer: &Answer) -> String {
    assert_eq!(answer.status, StatusCode::OK, "{:?}", answer.body);
    assert_eq!(answer.body["message"], "Click received");
    answer.body["click_id"].as_str().expect("an id").to_owned()
}

async fn is_empty(ingest: &TestIngest) -> bool {
    ingest.metric("ingest_spool_events").await.eq(&0.0)
}

#[tokio::test]
async fn events_answered_while_kafka_is_away_are_on_the_topic_in_order_when_it_is_back() {
    let mut kafka = Kafka::start(Place::temporary().expect("a folder")).await.expect("kafka");
    let mut scope = stack().scope("spooloutage");
    scope.stack.kafka_brokers = kafka.brokers();
    let folder = folder();
    let ingest = TestIngest::start(&scope, &spool_in(&folder)).await;
    let mut all = BTreeSet::new();
    all.insert(click_id(&ingest.post_click(&event_named("before")).await));

    kafka.kill();
    let mut spooled = Vec::new();
    let mut quick = 0;
    for number in 0..40 {
        let begun = Instant::now();
        let answer = ingest.post_click(&event_named(&format!("away-{number}"))).await;
        spooled.push(click_id(&answer));
        quick += usize::from(begun.elapsed() < AT_ONCE);
    }
    // Five found out that Kafka is away, and some that it still is.
    assert!(quick >= 25, "{quick}");
    assert_eq!(ingest.readyz().await.0, StatusCode::OK, "it can be used without kafka");
    let seen = "ingest_events_total{kind=\"click\",outcome=\"spooled\"}";
    // One more where the broker was too slow for the first event of its life.
    assert!(ingest.metric(seen).await >= 40.0);
    assert!(ingest.metric("ingest_spool_events").await >= 40.0);
    assert!(ingest.metric("ingest_spool_oldest_age_seconds").await > 0.0);
    assert!(ingest.metric("ingest_spool_bytes").await > 40.0 * 200.0);

    kafka.restart().await.expect("kafka again");
    let mut beside = 0;
    while !is_empty(&ingest).await {
        let answer = ingest.post_click(&event_named(&format!("beside-{beside}"))).await;
        all.insert(click_id(&answer));
        beside += 1;
    }

    all.extend(spooled.iter().cloned());
    let records = first_records(&scope, Kind::Click, &all).await;
    let on_topic: BTreeSet<_> =
        records.iter().map(|it| decoded(it).dedup_key.to_string()).collect();
    assert_eq!(on_topic, all, "and nothing else");
    let mut by_partition: BTreeMap<i32, Vec<String>> = BTreeMap::new();
    for record in &records {
        let id = decoded(record).dedup_key.to_string();
        if spooled.contains(&id) {
            by_partition.entry(record.partition()).or_default().push(id);
        }
    }
    for ids in by_partition.values() {
        let places = ids.iter().map(|id| spooled.iter().position(|it| it == id));
        assert!(places.is_sorted(), "in the order in which they were answered");
    }
    // A probe that timed out was already there when its copy left the spool.
    assert!(ingest.metric("ingest_spool_drained_total").await >= 40.0);
    ingest.begin_shutdown();
    ingest.stopped().await.expect("a clean end");
}

#[tokio::test]
async fn players_who_hang_up_before_the_timeout_do_not_hide_that_kafka_is_away() {
    let folder = folder();
    let mut settings = spool_in(&folder).to_vec();
    settings.extend([NO_KAFKA, ("INGEST_PRODUCE_TIMEOUT", "2s")]);
    let ingest = TestIngest::start_unready(&settings).await;
    let hasty = reqwest::Client::builder().timeout(AT_ONCE).build().expect("a client");
    let post = async |it: &TestIngest| {
        let request = hasty.post(format!("http://{}/ads/click", it.address));
        request.json(&event()).send().await.is_ok_and(|it| it.status() == StatusCode::OK)
    };

    ingest.until("answered", async |it| post(it).await).await;

    assert!(ingest.metric("ingest_spool_events").await >= 1.0);
    let abandoned = "ingest_events_total{kind=\"click\",outcome=\"abandoned\"}";
    assert!(ingest.metric(abandoned).await >= 5.0, "the first ones hung up");
}

#[tokio::test]
async fn what_a_process_leaves_in_the_spool_the_next_one_sends_as_it_was_received() {
    const TRACE: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
    let scope = stack().scope("spoolrestart");
    let folder = folder();
    let mut settings = spool_in(&folder).to_vec();
    settings.push(NO_KAFKA);
    let first = TestIngest::start_unready(&settings).await;
    first.until("ready", async |it| it.readyz().await.0 == StatusCode::OK).await;
    let trace = [("traceparent", TRACE), ("tracestate", "player=7")];
    let answer = first.post("/ads/click", &event(), &trace).await;
    let id = click_id(&answer);
    first.begin_shutdown();
    first.stopped().await.expect("a clean end");
    let between = Timestamp::now();

    let second = TestIngest::start(&scope, &spool_in(&folder)).await;

    second.until("drained", is_empty).await;
    let records = first_records(&scope, Kind::Click, &BTreeSet::from([id])).await;
    assert_eq!(records.len(), 1);
    assert!(decoded(&records[0]).received_at < between);
    assert_eq!(record_header(&records[0], "traceparent").as_deref(), Some(TRACE));
    assert_eq!(record_header(&records[0], "tracestate").as_deref(), Some("player=7"));
    assert!(second.metric("ingest_spool_bytes").await.eq(&0.0));
}

/// Fills a spool with `count` clicks that Kafka does not have, and returns their ids.
async fn filled(folder: &TempDir, count: usize) -> BTreeSet<String> {
    let mut settings = spool_in(folder).to_vec();
    settings.push(NO_KAFKA);
    let ingest = TestIngest::start_unready(&settings).await;
    let events: Vec<_> = (0..count).map(|number| event_named(&format!("left-{number}"))).collect();
    let answers =
        futures::future::join_all(events.iter().map(|event| ingest.post_click(event))).await;
    ingest.begin_shutdown();
    ingest.stopped().await.expect("a clean end");
    answers.iter().map(click_id).collect()
}

#[tokio::test]
async fn a_service_that_is_told_to_drain_at_stop_leaves_an_empty_spool() {
    let scope = stack().scope("spoolleave");
    let folder = folder();
    let ids = filled(&folder, 60).await;
    let mut settings = spool_in(&folder).to_vec();
    // Slower than the stop, were it not to wait.
    settings.extend([("SPOOL_DRAIN_RATE", "20"), ("SPOOL_DRAIN_AT_STOP", "10s")]);
    let leaving = TestIngest::start(&scope, &settings).await;

    leaving.begin_shutdown();
    leaving.stopped().await.expect("a clean end");

    assert_eq!(first_records(&scope, Kind::Click, &ids).await.len(), ids.len());
    let next = TestIngest::start(&scope, &settings).await;
    assert!(is_empty(&next).await);
}

#[tokio::test]
async fn a_service_that_is_told_to_drain_at_stop_does_not_wait_for_a_kafka_that_is_away() {
    let folder = folder();
    let ids = filled(&folder, 8).await;
    let mut settings = spool_in(&folder).to_vec();
    // Longer than `stopped` has patience.
    settings.extend([NO_KAFKA, ("SPOOL_DRAIN_AT_STOP", "10m"), ("SHUTDOWN_TIMEOUT", "11m")]);
    let leaving = TestIngest::start_unready(&settings).await;

    leaving.begin_shutdown();
    leaving.stopped().await.expect("a clean end");

    let scope = stack().scope("spoolaway");
    let next = TestIngest::start(&scope, &spool_in(&folder)).await;
    next.until("drained", is_empty).await;
    assert_eq!(first_records(&scope, Kind::Click, &ids).await.len(), ids.len());
}

#[tokio::test]
async fn a_full_spool_is_a_503_at_once_and_takes_events_again_when_it_was_drained() {
    let scope = stack().scope("spoolfull");
    let folder = folder();
    let mut settings = spool_in(&folder).to_vec();
    settings.push(("SPOOL_MAX_BYTES", "1MiB"));
    let broken = [settings.clone(), vec![NO_KAFKA]].concat();
    let ingest = TestIngest::start_unready(&broken).await;
    let mut ids = BTreeSet::new();
    let mut number = 0;

    let refused = loop {
        let posts: Vec<_> =
            (0..32).map(|at| event_named(&format!("full-{}", number + at))).collect();
        let posts = posts.iter().map(|it| ingest.post_click(it));
        let answers = futures::future::join_all(posts).await;
        number += 32;
        let (kept, refused): (Vec<_>, Vec<_>) =
            answers.into_iter().partition(|it| it.status == StatusCode::OK);
        ids.extend(kept.iter().map(click_id));
        if let Some(refused) = refused.into_iter().next() {
            break refused;
        }
        assert!(number < 10_000, "never full");
    };

    assert_eq!((refused.status, refused.code()), (StatusCode::SERVICE_UNAVAILABLE, "overloaded"));
    assert_eq!(refused.retry_after_secs(), Some(2));
    ingest.until("unready", async |it| it.readyz().await.0 != StatusCode::OK).await;
    assert!(ingest.metric("ingest_spool_refused_total{reason=\"full\"}").await >= 1.0);
    ingest.begin_shutdown();
    ingest.stopped().await.expect("a clean end");

    settings.retain(|(name, _)| *name != "SPOOL_DRAIN_RATE");
    let ingest = TestIngest::start(&scope, &settings).await;
    ingest.until("drained", is_empty).await;
    let on_topic = first_records(&scope, Kind::Click, &ids).await;
    assert_eq!(on_topic.len(), ids.len());
}

#[tokio::test]
async fn a_second_process_on_the_same_spool_is_refused_and_so_is_a_folder_that_cannot_be_made() {
    let folder = folder();
    let mut settings = spool_in(&folder).to_vec();
    settings.push(NO_KAFKA);
    let _first = TestIngest::start_unready(&settings).await;

    let error = ingest_api::bind(config(&settings)).await.err().expect("refused");
    assert!(error.to_string().starts_with("another process uses the spool directory "), "{error}");

    let file = folder.path().join("lock").join("below-a-file");
    let impossible = [NO_KAFKA, ("SPOOL_DIR", file.to_str().expect("a path"))];
    let error = ingest_api::bind(config(&impossible)).await.err().expect("refused");
    assert!(error.to_string().contains("below-a-file cannot be used"), "{error}");
}
