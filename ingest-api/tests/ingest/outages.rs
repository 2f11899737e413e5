//! What players are told while Kafka is away, and how the service finds back.

use std::time::{Duration, Instant};

use rdkafka::{
    mocking::MockCluster,
    types::{RDKafkaApiKey, RDKafkaRespErr},
};
use reqwest::StatusCode;
use tokio::{
    io::AsyncWriteExt as _,
    net::{TcpListener, TcpStream},
};

use crate::harness::{Answer, TestIngest, event};

/// `INGEST_PRODUCE_TIMEOUT` and the half second behind it, and as much for a busy machine.
const IN_TIME: Duration = Duration::from_secs(2);

fn assert_unavailable(answer: &Answer, code: &str) {
    assert_eq!((answer.status, answer.code()), (StatusCode::SERVICE_UNAVAILABLE, code));
    assert_eq!(answer.retry_after_secs(), Some(2));
    assert!(answer.body["error"].as_str().is_some_and(|it| it.contains("again is safe")));
}

/// A broker that accepts connections (the system does so for it) and never says a word.
async fn silent_broker() -> (TcpListener, String) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("bound").to_string();
    (listener, address)
}

#[tokio::test]
async fn a_click_is_a_503_in_time_where_no_broker_is_there() {
    let (listener, closed) = silent_broker().await;
    drop(listener);
    let settings = [("KAFKA_BROKERS", closed.as_str()), ("INGEST_PRODUCE_TIMEOUT", "500ms")];
    let ingest = TestIngest::start_unready(&settings).await;

    let start = Instant::now();
    let answer = ingest.post_click(&event()).await;

    assert_unavailable(&answer, "unavailable");
    assert!(start.elapsed() < IN_TIME, "{:?}", start.elapsed());
    let (status, reasons) = ingest.readyz().await;
    assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE);
    assert!(reasons.starts_with("kafka: "), "{reasons}");
}

#[tokio::test]
async fn a_click_is_a_503_in_time_where_the_broker_never_answers() {
    let (_listener, silent) = silent_broker().await;
    let settings = [("KAFKA_BROKERS", silent.as_str()), ("INGEST_PRODUCE_TIMEOUT", "500ms")];
    let ingest = TestIngest::start_unready(&settings).await;

    let start = Instant::now();
    let answer = ingest.post_click(&event()).await;

    assert_unavailable(&answer, "unavailable");
    assert!(start.elapsed() < IN_TIME, "{:?}", start.elapsed());
    let failed = "ingest_events_total{kind=\"click\",outcome=\"failed\"}";
    assert!(ingest.metric(failed).await.eq(&1.0));
}

#[tokio::test]
async fn a_full_queue_is_a_503_at_once() {
    let (_listener, silent) = silent_broker().await;
    let settings = [
        ("KAFKA_BROKERS", silent.as_str()),
        ("INGEST_QUEUE_EVENTS", "1"),
        ("INGEST_PRODUCE_TIMEOUT", "12s"),
    ];
    let ingest = TestIngest::start_unready(&settings).await;
    let waiting = begin_post(&ingest).await;
    ingest
        .until("queued", async |it| it.metric("ingest_producer_queue_events").await.eq(&1.0))
        .await;

    let start = Instant::now();
    let answer = ingest.post_click(&event()).await;

    assert_unavailable(&answer, "overloaded");
    assert!(start.elapsed() < Duration::from_secs(1), "{:?}", start.elapsed());
    let overloaded = "ingest_events_total{kind=\"click\",outcome=\"overloaded\"}";
    assert!(ingest.metric(overloaded).await.eq(&1.0));
    drop(waiting);
}

#[tokio::test]
async fn a_player_that_hangs_up_is_counted() {
    let (_listener, silent) = silent_broker().await;
    let settings = [("KAFKA_BROKERS", silent.as_str()), ("INGEST_PRODUCE_TIMEOUT", "12s")];
    let ingest = TestIngest::start_unready(&settings).await;
    let waiting = begin_post(&ingest).await;
    ingest
        .until("queued", async |it| it.metric("ingest_producer_queue_events").await.eq(&1.0))
        .await;

    drop(waiting);

    let abandoned = "ingest_events_total{kind=\"click\",outcome=\"abandoned\"}";
    ingest.until("counted", async |it| it.metric(abandoned).await.eq(&1.0)).await;
}

#[tokio::test]
async fn the_service_becomes_ready_and_takes_clicks_once_kafka_is_there() {
    let cluster = MockCluster::new(1).expect("librdkafka's own broker");
    let brokers = cluster.bootstrap_servers();
    let settings = [
        ("KAFKA_BROKERS", brokers.as_str()),
        ("INGEST_PRODUCE_TIMEOUT", "500ms"),
        ("RATE_LIMIT_BURST", "10000"),
    ];
    cluster.broker_down(1).expect("down");
    let ingest = TestIngest::start_unready(&settings).await;
    assert_unavailable(&ingest.post_click(&event()).await, "unavailable");

    cluster.broker_up(1).expect("up");
    let (status, reasons) = ingest.readyz().await;
    assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE, "the topics are missing: {reasons}");
    for topic in ["ad-clicks", "ad-impressions"] {
        cluster.create_topic(topic, 12, 1).expect("made");
    }

    ingest.until("ready", async |it| it.readyz().await.0 == StatusCode::OK).await;
    ingest.until("taken", async |it| it.post_click(&event()).await.status == StatusCode::OK).await;
}

#[tokio::test]
async fn a_producer_with_a_fatal_error_is_replaced() {
    let cluster = MockCluster::new(1).expect("librdkafka's own broker");
    for topic in ["ad-clicks", "ad-impressions"] {
        cluster.create_topic(topic, 12, 1).expect("made");
    }
    // Fatal for an idempotent producer.
    cluster.request_errors(
        RDKafkaApiKey::InitProducerId,
        &[RDKafkaRespErr::RD_KAFKA_RESP_ERR_CLUSTER_AUTHORIZATION_FAILED],
    );
    let brokers = cluster.bootstrap_servers();
    let settings = [("KAFKA_BROKERS", brokers.as_str()), ("RATE_LIMIT_BURST", "10000")];
    let ingest = TestIngest::start_unready(&settings).await;

    ingest.until("taken", async |it| it.post_click(&event()).await.status == StatusCode::OK).await;

    assert!(ingest.metric("ingest_producer_replaced_total").await.eq(&1.0));
}

/// Posts a click over a connection of its own, whose answer nobody waits for.
async fn begin_post(ingest: &TestIngest) -> TcpStream {
    let mut stream = TcpStream::connect(ingest.address).await.expect("connected");
    let body = event().to_string();
    let request = format!(
        "POST /ads/click HTTP/1.1\r\nhost: ingest\r\ncontent-type: application/json\r\n\
         content-length: {}\r\n\r\n{body}",
        body.len()
    );
    stream.write_all(request.as_bytes()).await.expect("sent");
    stream
}
