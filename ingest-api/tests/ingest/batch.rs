//! Batches: each event has a verdict of its own, and what is received is on its topic.

use std::collections::BTreeSet;

use local_stack::testing::stack;
use proto_schemas::Kind;
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

use crate::harness::{
    Answer, TestIngest, answer, client_at, decoded, event, event_named, first_records, records,
};

/// Enough for the batches here.
const ROOM: (&str, &str) = ("RATE_LIMIT_BURST", "1000");
/// So that a slow machine gives nobody another click while a test runs.
const SLOW_REFILL: (&str, &str) = ("RATE_LIMIT_PER_MINUTE", "1");
/// Nobody listens there.
const NO_KAFKA: (&str, &str) = ("KAFKA_BROKERS", "127.0.0.1:1");

fn typed(kind: &str, id: &str) -> Value {
    let mut event = event_named(id);
    event["type"] = kind.into();
    event
}

fn clicks(count: usize) -> Value {
    (0..count).map(|n| typed("click", &format!("c-{n}"))).collect()
}

async fn post(ingest: &TestIngest, batch: &Value) -> Answer {
    ingest.post("/ads/events", batch, &[]).await
}

async fn post_as(ingest: &TestIngest, media_type: &str, body: impl Into<reqwest::Body>) -> Answer {
    let request = ingest.request(Method::POST, "/ads/events");
    answer(request.header("content-type", media_type).body(body)).await
}

/// The code of each verdict.
fn codes(answer: &Answer) -> Vec<&str> {
    assert_eq!(answer.status, StatusCode::OK, "{}", answer.body);
    let results = answer.body["results"].as_array().expect("results");
    results.iter().map(|it| it["code"].as_str().expect("a code")).collect()
}

#[tokio::test]
async fn every_event_of_a_batch_is_on_its_topic_and_told_its_id() {
    let scope = stack().scope("batch");
    let ingest = TestIngest::start(&scope, &[]).await;

    let batch = json!([typed("click", "1"), typed("impression", "2"), typed("click", "3")]);
    let answer = post(&ingest, &batch).await;

    assert_eq!(codes(&answer), ["received"; 3]);
    let told = |n: usize| answer.body["results"][n]["click_id"].as_str().expect("an id").to_owned();
    let on_topic = async |kind, count| -> BTreeSet<String> {
        let records = records(&scope, kind, count).await;
        records.iter().map(|it| decoded(it).dedup_key.to_string()).collect()
    };
    assert_eq!(on_topic(Kind::Click, 2).await, BTreeSet::from([told(0), told(2)]));
    assert_eq!(on_topic(Kind::Impression, 1).await, BTreeSet::from([told(1)]));
    let alone = ingest.post_click(&batch[0]).await;
    assert_eq!(alone.body["click_id"], told(0), "the same event, however it comes");
    let received = |kind| format!("ingest_events_total{{kind=\"{kind}\",outcome=\"received\"}}");
    assert!(ingest.metric(&received("click")).await.eq(&3.0));
    assert!(ingest.metric(&received("impression")).await.eq(&1.0));
}

#[tokio::test]
async fn a_bad_event_does_not_refuse_the_others() {
    let scope = stack().scope("mixed");
    let ingest = TestIngest::start(&scope, &[ROOM]).await;
    let mut old = typed("click", "old");
    old["timestamp"] = "2019-01-01T00:00:00Z".into();
    let mut without_ad = typed("impression", "none");
    without_ad["ad_id"] = Value::Null;

    let batch = json!([
        typed("click", "1"),
        old,
        7,
        typed("view", "2"),
        event(),
        without_ad,
        typed("impression", "3")
    ]);
    let answer = post(&ingest, &batch).await;

    let expected = [
        "received",
        "timestamp_too_old",
        "invalid_json",
        "invalid_field",
        "missing_field",
        "missing_field",
        "received",
    ];
    assert_eq!(codes(&answer), expected);
    let results = answer.body["results"].as_array().expect("results");
    let fields: Vec<_> = results.iter().map(|it| it["field"].as_str()).collect();
    let at_fault = [None, Some("timestamp"), None, Some("type"), Some("type"), Some("ad_id"), None];
    assert_eq!(fields, at_fault);
    for verdict in &results[1..6] {
        let sentence = verdict["error"].as_str().expect("a sentence");
        assert!(sentence.starts_with(char::is_uppercase) && sentence.ends_with('.'), "{sentence}");
        assert_eq!(verdict["retry_after"], Value::Null, "it would not help");
    }
    let refused = |kind| format!("ingest_events_total{{kind=\"{kind}\",outcome=\"refused\"}}");
    for (kind, count) in [("click", 1.0), ("impression", 1.0), ("unknown", 3.0)] {
        assert!(ingest.metric(&refused(kind)).await.eq(&count), "{kind}");
    }
}

#[tokio::test]
async fn lines_of_json_are_a_batch_too_and_so_is_what_a_beacon_sends() {
    let scope = stack().scope("lines");
    let ingest = TestIngest::start(&scope, &[ROOM]).await;

    let lines = format!("{}\r\n\nno JSON\n{}", typed("click", "1"), typed("click", "2"));
    let answer = post_as(&ingest, "application/x-ndjson; charset=utf-8", lines).await;
    assert_eq!(codes(&answer), ["received", "invalid_json", "received"]);

    let array = json!([typed("click", "3")]).to_string();
    let answer = post_as(&ingest, "text/plain;charset=UTF-8", array).await;
    assert_eq!(codes(&answer), ["received"]);
    assert_eq!(records(&scope, Kind::Click, 3).await.len(), 3);
}

#[tokio::test]
async fn a_batch_has_limits_and_a_form() {
    let scope = stack().scope("forms");
    let ingest = TestIngest::start(&scope, &[ROOM]).await;
    let padded = |bytes: usize| {
        let batch = json!([typed("click", "1")]).to_string();
        format!("{batch}{}", " ".repeat(bytes - batch.len()))
    };
    let json = "application/json";

    assert_eq!(codes(&post(&ingest, &clicks(500)).await), ["received"; 500]);
    assert_eq!(codes(&post_as(&ingest, json, padded(256 * 1024)).await), ["received"]);
    let empty = post(&ingest, &json!([])).await;
    assert_eq!((empty.status, &empty.body), (StatusCode::OK, &json!({ "results": [] })));

    let refused = async |media_type, body: String| {
        let refused = post_as(&ingest, media_type, body).await;
        (refused.status.as_u16(), refused.code().to_owned())
    };
    let expected = |status: u16, code: &str| (status, code.to_owned());
    let too_many = refused(json, clicks(501).to_string()).await;
    assert_eq!(too_many, expected(413, "too_many_events"));
    let too_many = refused("application/x-ndjson", "{}\n".repeat(501)).await;
    assert_eq!(too_many, expected(413, "too_many_events"));
    let too_large = refused(json, padded(256 * 1024 + 1)).await;
    assert_eq!(too_large, expected(413, "body_too_large"));
    for body in ["", "{}", "[1", "null"] {
        assert_eq!(refused(json, body.to_owned()).await, expected(400, "invalid_json"), "{body}");
    }
    let lines = refused("application/x-ndjson", " \n".to_owned()).await;
    assert_eq!(lines, expected(400, "invalid_json"));
    let html = refused("text/html", "[]".to_owned()).await;
    assert_eq!(html, expected(415, "unsupported_media_type"));
}

#[tokio::test]
async fn a_batch_is_no_way_around_the_limits() {
    let scope = stack().scope("around");
    let ingest = TestIngest::start(&scope, &[SLOW_REFILL]).await;
    let mut batch = clicks(15);
    batch.as_array_mut().expect("an array").push(typed("impression", "i"));

    let answer = post(&ingest, &batch).await;

    let mut expected = vec!["received"; 10];
    expected.extend(["rate_limited"; 5]);
    expected.push("received");
    assert_eq!(codes(&answer), expected, "the first ones pass, and impressions have another limit");
    let wait = answer.body["results"][10]["retry_after"].as_u64().expect("seconds");
    assert!((1..=60).contains(&wait), "one a minute: {wait}");
    let alone = ingest.post_click(&event()).await;
    assert_eq!(alone.status, StatusCode::TOO_MANY_REQUESTS);
    let limited = "ingest_events_total{kind=\"click\",outcome=\"rate_limited\"}";
    assert!(ingest.metric(limited).await.eq(&6.0));

    let other = client_at([127, 0, 0, 2].into());
    for _ in 0..10 {
        ingest.post_as(&other, "/ads/click", &event(), &[]).await;
    }
    let limited = ingest.post_as(&other, "/ads/events", &clicks(2), &[]).await;
    assert_eq!((limited.status, limited.code()), (StatusCode::TOO_MANY_REQUESTS, "rate_limited"));
    assert!(limited.retry_after_secs().is_some_and(|wait| (1..=60).contains(&wait)));
}

#[tokio::test]
async fn malformed_events_cost_as_much_as_others_and_one_event_is_the_least() {
    let scope = stack().scope("malformed");
    let settings = [
        SLOW_REFILL,
        ("RATE_LIMIT_BURST", "2"),
        ("IMPRESSION_RATE_LIMIT_PER_MINUTE", "1"),
        ("IMPRESSION_RATE_LIMIT_BURST", "3"),
    ];
    let ingest = TestIngest::start(&scope, &settings).await;

    let bad = post(&ingest, &json!([{ "type": "click" }, 7, 8])).await;
    assert_eq!(codes(&bad), ["missing_field", "invalid_json", "invalid_json"]);
    assert_eq!(post_as(&ingest, "text/html", "").await.status, StatusCode::UNSUPPORTED_MEDIA_TYPE);
    let left = post(&ingest, &json!([typed("impression", "i"), typed("click", "c")])).await;
    assert_eq!(codes(&left), ["rate_limited", "received"], "one click was left, and no impression");
    let refused_unread = post_as(&ingest, "text/html", "").await;
    assert_eq!(refused_unread.status, StatusCode::TOO_MANY_REQUESTS);
}

#[tokio::test]
async fn a_trusted_sender_may_send_as_many_as_it_likes() {
    let scope = stack().scope("trusted");
    let settings = [SLOW_REFILL, ("TRUSTED_SENDERS", "127.0.0.1")];
    let ingest = TestIngest::start(&scope, &settings).await;

    for _ in 0..2 {
        assert_eq!(codes(&post(&ingest, &clicks(100)).await), ["received"; 100]);
    }
}

#[tokio::test]
async fn where_no_event_can_be_kept_the_batch_is_a_503_unless_one_was_bad() {
    let settings = [NO_KAFKA, ROOM, ("INGEST_PRODUCE_TIMEOUT", "300ms")];
    let ingest = TestIngest::start_unready(&settings).await;

    let unavailable = post(&ingest, &clicks(3)).await;
    let expected = (StatusCode::SERVICE_UNAVAILABLE, "unavailable");
    assert_eq!((unavailable.status, unavailable.code()), expected);
    assert_eq!(unavailable.retry_after_secs(), Some(2));

    let mixed = post(&ingest, &json!([typed("click", "1"), 7])).await;
    assert_eq!(codes(&mixed), ["unavailable", "invalid_json"]);
    assert_eq!(mixed.body["results"][0]["retry_after"], 2);
}

#[tokio::test]
async fn a_broker_that_takes_only_some_of_a_batch_is_told_event_by_event() {
    let scope = stack().scope("partial");
    let topics = scope.topics();
    // There is no topic for impressions.
    scope.create_topics(&[(topics.of(Kind::Click), proto_schemas::topics::PARTITIONS)]).await;
    let settings = [
        ("KAFKA_BROKERS", scope.stack.kafka_brokers.as_str()),
        ("TOPIC_PREFIX", scope.topic_prefix.as_str()),
        ("INGEST_PRODUCE_TIMEOUT", "5s"),
    ];
    let ingest = TestIngest::start_unready(&settings).await;

    let batch = json!([typed("impression", "1"), typed("click", "2"), typed("impression", "3")]);
    let answer = post(&ingest, &batch).await;

    assert_eq!(codes(&answer), ["unavailable", "received", "unavailable"]);
    assert_eq!(answer.body["results"][0]["retry_after"], 2, "to be sent again, unlike the click");
    assert_eq!(records(&scope, Kind::Click, 1).await.len(), 1);
}

#[tokio::test]
async fn events_beyond_the_producers_queue_are_told_so() {
    let settings =
        [NO_KAFKA, ROOM, ("INGEST_QUEUE_EVENTS", "2"), ("INGEST_PRODUCE_TIMEOUT", "300ms")];
    let ingest = TestIngest::start_unready(&settings).await;

    let answer = post(&ingest, &json!([clicks(4)[0], clicks(4)[1], clicks(4)[2], 7])).await;

    assert_eq!(codes(&answer), ["unavailable", "unavailable", "overloaded", "invalid_json"]);
}

#[tokio::test]
async fn a_batch_that_kafka_cannot_take_is_spooled_with_one_sync() {
    let scope = stack().scope("spooled");
    let folder = tempfile::TempDir::new().expect("a folder");
    let spool = [
        ("SPOOL_DIR", folder.path().to_str().expect("a path")),
        ("INGEST_PRODUCE_TIMEOUT", "300ms"),
        ROOM,
    ];
    let ingest = TestIngest::start_unready(&[&[NO_KAFKA], &spool[..]].concat()).await;

    let answer = post(&ingest, &clicks(100)).await;

    assert_eq!(codes(&answer), ["received"; 100]);
    assert!(ingest.metric("ingest_spool_spooled_total").await.eq(&100.0));
    assert!(ingest.metric("ingest_spool_sync_duration_seconds_count").await.eq(&1.0));
    let spooled = "ingest_events_total{kind=\"click\",outcome=\"spooled\"}";
    assert!(ingest.metric(spooled).await.eq(&100.0));
    let ids = answer.body["results"].as_array().expect("results").iter();
    let ids = ids.map(|it| it["click_id"].as_str().expect("an id").to_owned()).collect();
    ingest.begin_shutdown();
    ingest.stopped().await.expect("a clean end");
    let _drains = TestIngest::start(&scope, &spool).await;
    assert_eq!(first_records(&scope, Kind::Click, &ids).await.len(), 100);
}
