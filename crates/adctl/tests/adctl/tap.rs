//! `adctl tap` against real Kafka.

use proto_schemas::Kind;
use rdkafka::{
    ClientConfig,
    consumer::{BaseConsumer, Consumer as _},
};
use serde_json::{Value, json};

use crate::harness::{PATIENCE, Test, event, next_line, record};

async fn with_topics(name: &str) -> Test {
    let test = Test::new(name);
    let topics = test.scope.topics();
    let one_partition = Kind::ALL.map(|kind| (topics.of(kind), 1));
    test.scope.create_topics(&one_partition).await;
    test
}

#[tokio::test]
async fn every_field_of_an_event_is_shown() {
    let test = with_topics("tapFields").await;
    let click = event(Kind::Click, 1);
    test.produce(Kind::Click, &[record(&click)]).await;

    let said = test.adctl(&["tap", "click", "--from-beginning", "--count", "1"]).await;

    said.success();
    let mut line = said.json();
    let taken = line["kafka_timestamp"].take();
    assert!(taken.as_str().is_some_and(|it| it.starts_with("20") && it.ends_with('Z')), "{taken}");
    assert_eq!(
        line,
        json!({
            "partition": 0,
            "offset": 0,
            "kafka_timestamp": null,
            "dedup_key": click.dedup_key.to_string(),
            "dedup_time": "2025-04-15T16:55:00.25Z",
            "kind": "click",
            "ad_id": 7,
            "occurred_at": "2025-04-15T16:55:00.25Z",
            "received_at": "2025-04-15T16:55:01.000001Z",
            "address": "198.18.0.1",
            "playback_ms": 12_500,
            "event_id": "event-1",
            "user_agent": "Player/1.0",
        })
    );
}

#[tokio::test]
async fn what_is_no_event_is_shown_as_it_is() {
    let test = with_topics("tapUndecodable").await;
    let garbage = (b"key".to_vec(), b"\xff\xffno event".to_vec());
    test.produce(Kind::Impression, &[garbage, record(&event(Kind::Impression, 2))]).await;

    let said = test.adctl(&["tap", "impression", "--from-beginning", "--count", "2"]).await;

    let lines: Vec<Value> = said
        .success()
        .lines()
        .map(|line| serde_json::from_str(line).expect("a line of JSON"))
        .collect();
    assert_eq!((&lines[0]["partition"], &lines[0]["offset"]), (&json!(0), &json!(0)));
    assert_eq!(lines[0]["value_base64"], json!("//9ubyBldmVudA=="));
    assert!(lines[0]["error"].as_str().is_some_and(|it| it.contains("AdEvent")), "{said:?}");
    assert_eq!(lines[1]["event_id"], json!("event-2"));
}

#[tokio::test]
async fn a_tap_begins_with_the_next_event_and_leaves_no_trace() {
    let test = with_topics("tapEnd").await;
    test.produce(Kind::Click, &[record(&event(Kind::Click, 1))]).await;

    let mut tap = test.start_adctl(&["tap", "click"]);
    assert!(next_line(&mut tap.err).await.contains("from now on; Ctrl-C ends it"));
    test.produce(Kind::Click, &[record(&event(Kind::Click, 2))]).await;
    let line: Value = serde_json::from_str(&next_line(tap.out()).await).expect("JSON");
    let groups = groups(&test).await;
    tap.interrupt();

    assert_eq!(line["event_id"], json!("event-2"));
    assert!(!groups.contains(&"adctl-tap".to_owned()), "{groups:?}");
    assert!(tap.ended().await.success());
}

#[tokio::test]
async fn a_reader_that_has_seen_enough_ends_the_tap() {
    let test = with_topics("tapPipe").await;
    test.produce(Kind::Click, &[record(&event(Kind::Click, 1))]).await;
    let mut tap = test.start_adctl(&["tap", "click", "--from-beginning"]);
    assert!(next_line(&mut tap.err).await.contains("from the beginning"));
    next_line(tap.out()).await;

    tap.close_out();
    test.produce(Kind::Click, &[record(&event(Kind::Click, 2))]).await;

    assert!(tap.ended().await.success());
    let more = tap.err.next_line().await.expect("read");
    assert_eq!(more, None, "it ends without a word");
}

#[tokio::test]
async fn a_topic_that_is_missing_is_an_error_that_says_how_it_is_made() {
    let test = Test::new("tapMissing");

    let said = test.adctl(&["tap", "click"]).await;

    let topic = test.scope.topics().of(Kind::Click).to_owned();
    assert!(said.failure().contains(&format!("topic {topic} is not there")), "{said:?}");
    assert!(said.err.contains("`adctl topics create`"), "{said:?}");
}

#[tokio::test]
async fn without_kafka_the_error_says_where_it_was_looked_for() {
    let test = Test::new("tapNoKafka");

    let said = test.adctl_with_env(("KAFKA_BROKERS", "127.0.0.1:1"), &["tap", "click"]).await;

    assert!(said.failure().contains("Kafka at 127.0.0.1:1 does not answer"), "{said:?}");
    assert!(said.err.contains("`make run` starts one"), "{said:?}");
}

async fn groups(test: &Test) -> Vec<String> {
    let brokers = test.scope.stack.kafka_brokers.clone();
    let asked = tokio::task::spawn_blocking(move || {
        let consumer: BaseConsumer =
            ClientConfig::new().set("bootstrap.servers", &brokers).create().expect("a consumer");
        let list = consumer.fetch_group_list(None, PATIENCE).expect("Kafka answers");
        list.groups().iter().map(|it| it.name().to_owned()).collect()
    });
    asked.await.expect("no panic")
}
