//! Every refusal of the ingest service, over real HTTP.

use e2e::{Answer, LIMIT, Pipeline, Program, Service, click};
use proto_schemas::Kind;
use reqwest::{Method, RequestBuilder};
use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    time::timeout,
};

#[tokio::test]
async fn each_thing_that_is_wrong_with_a_request_has_its_status_and_code() {
    let pipeline = Pipeline::new("wrong").await;
    let ingest = pipeline.start(Program::Ingest, &[("INGEST_BODY_TIMEOUT", "200ms")]).await;
    let post = |content_type: &str, body: String| -> RequestBuilder {
        let request = pipeline.http.request(Method::POST, &ingest.url("/ads/click"));
        request.header("content-type", content_type).body(body)
    };
    let with = |field: &str, value: Value| {
        let mut event = click(1, "e");
        event[field] = value;
        event.to_string()
    };

    for (body, code, field) in [
        ("{".to_owned(), "invalid_json", None),
        (r#"{"ad_id":1}"#.to_owned(), "missing_field", Some("timestamp")),
        (with("ad_id", json!("1")), "invalid_field", Some("ad_id")),
        (with("ad_id", json!(9_007_199_254_740_992_u64)), "invalid_field", Some("ad_id")),
        (with("playback_time", json!(86_401)), "invalid_field", Some("playback_time")),
        (with("event_id", json!("x".repeat(65))), "invalid_field", Some("event_id")),
        (with("timestamp", json!("1999-01-01T00:00:00Z")), "timestamp_too_old", Some("timestamp")),
        (
            with("timestamp", json!("2199-01-01T00:00:00Z")),
            "timestamp_in_future",
            Some("timestamp"),
        ),
    ] {
        let answer = Answer::to(post("application/json", body.clone())).await;
        assert_eq!((answer.status, answer.error_code().as_str()), (400, code), "{body}");
        assert_eq!(answer.json()["field"], json!(field), "{body}");
    }

    let large = post("application/json", " ".repeat(4097));
    expect(large, 413, "body_too_large").await;
    expect(post("text/html", click(1, "e").to_string()), 415, "unsupported_media_type").await;
    let elsewhere = pipeline.http.request(Method::POST, &ingest.url("/ads")).json(&click(1, "e"));
    expect(elsewhere, 404, "not_found").await;
    let get = pipeline.http.request(Method::GET, &ingest.url("/ads/impression"));
    let get = expect(get, 405, "method_not_allowed").await;
    assert_eq!(get.header("allow"), "POST");
    let slow = half_a_request(&ingest).await;
    assert!(slow.starts_with("HTTP/1.1 408 ") && slow.contains("body_too_slow"), "{slow}");

    assert_eq!(pipeline.on_topic(Kind::Click).await, [], "nothing of it is on Kafka");
}

#[tokio::test]
async fn a_click_that_kafka_does_not_take_is_a_503_that_says_when_to_try_again() {
    let pipeline = Pipeline::new("nokafka").await;
    let settings = [("KAFKA_BROKERS", "127.0.0.1:1"), ("INGEST_PRODUCE_TIMEOUT", "300ms")];
    let mut ingest = pipeline.spawn(Program::Ingest, &settings);
    ingest.alive().await;

    let request = pipeline.http.request(Method::POST, &ingest.url("/ads/click"));
    let refused = expect(request.json(&click(1, "e")), 503, "unavailable").await;

    assert!(refused.retry_after_secs().is_some_and(|wait| wait >= 1), "{refused:?}");
}

async fn expect(request: RequestBuilder, status: u16, code: &str) -> Answer {
    let answer = Answer::to(request).await;
    assert_eq!((answer.status, answer.error_code().as_str()), (status, code), "{answer:?}");
    answer
}

/// Sends less than it announces, and returns what comes back.
async fn half_a_request(ingest: &Service) -> String {
    let mut stream = TcpStream::connect(ingest.address()).await.expect("connected");
    let begun = b"POST /ads/click HTTP/1.1\r\nhost: ingest\r\ncontent-type: application/json\r\n\
                  content-length: 100\r\n\r\n{\"ad_id\":";
    stream.write_all(begun).await.expect("sent");
    let mut answer = String::new();
    let read = timeout(LIMIT, stream.read_to_string(&mut answer));
    read.await.expect("closed in time").expect("text");
    answer
}
