//! Every error of the API that does not need a broken Kafka.

use std::time::Duration;

use local_stack::testing::stack;
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    time::timeout,
};

use crate::harness::{PATIENCE, TestIngest, answer, event};

/// Posts a body that is no event, and returns the status, the code and the field.
async fn refused(ingest: &TestIngest, body: impl Into<String>) -> (u16, String, Value) {
    let body: String = body.into();
    let request = ingest
        .request(Method::POST, "/ads/click")
        .header("content-type", "application/json")
        .body(body.clone());
    let answer = answer(request).await;
    let sentence = answer.body["error"].as_str().unwrap_or_default();
    assert!(sentence.starts_with(char::is_uppercase) && sentence.ends_with('.'), "{sentence:?}");
    (answer.status.as_u16(), answer.code().to_owned(), answer.body["field"].clone())
}

#[tokio::test]
async fn a_body_that_is_no_event_is_a_400_that_names_the_field() {
    let scope = stack().scope("invalid");
    let ingest = TestIngest::start(&scope, &[("RATE_LIMIT_BURST", "1000")]).await;
    let with = |field: &str, value: Value| {
        let mut event = event();
        event[field] = value;
        event.to_string()
    };

    for (body, code, field) in [
        (String::new(), "invalid_json", None),
        ("{".to_owned(), "invalid_json", None),
        ("[]".to_owned(), "invalid_json", None),
        ("{}".to_owned(), "missing_field", Some("ad_id")),
        (r#"{"ad_id":1}"#.to_owned(), "missing_field", Some("timestamp")),
        (with("ad_id", Value::Null), "missing_field", Some("ad_id")),
        (with("ad_id", json!("1")), "invalid_field", Some("ad_id")),
        (with("ad_id", json!(0)), "invalid_field", Some("ad_id")),
        (with("ad_id", json!(9_007_199_254_740_992_u64)), "invalid_field", Some("ad_id")),
        (with("timestamp", json!("yesterday")), "invalid_field", Some("timestamp")),
        (with("timestamp", json!("2019-01-01T00:00:00Z")), "timestamp_too_old", Some("timestamp")),
        (
            with("timestamp", json!("2199-01-01T00:00:00Z")),
            "timestamp_in_future",
            Some("timestamp"),
        ),
        (with("ip", json!("nowhere")), "invalid_field", Some("ip")),
        (with("playback_time", json!(-1)), "invalid_field", Some("playback_time")),
        (with("playback_time", json!(86_401)), "invalid_field", Some("playback_time")),
        (with("event_id", json!("x".repeat(65))), "invalid_field", Some("event_id")),
        (with("video_playback_time", json!(1)), "contradicting_fields", Some("playback_time")),
        (r#"{"ad_id":1,"ad_id":2}"#.to_owned(), "duplicate_field", Some("ad_id")),
    ] {
        let expected = (400, code.to_owned(), json!(field));
        assert_eq!(refused(&ingest, body.clone()).await, expected, "{body}");
    }
}

#[tokio::test]
async fn another_route_method_or_media_type_has_an_error_of_its_own() {
    let scope = stack().scope("http");
    let ingest = TestIngest::start(&scope, &[]).await;

    let unknown = answer(ingest.request(Method::POST, "/ads/clicks").json(&event())).await;
    assert_eq!((unknown.status, unknown.code()), (StatusCode::NOT_FOUND, "not_found"));

    let get = answer(ingest.request(Method::GET, "/ads/impression")).await;
    assert_eq!((get.status, get.code()), (StatusCode::METHOD_NOT_ALLOWED, "method_not_allowed"));
    assert_eq!(get.headers["allow"], "POST");

    let post = || ingest.request(Method::POST, "/ads/click").body(event().to_string());
    for request in [
        post(),
        post().header("content-type", "application/x-www-form-urlencoded"),
        post().header("content-type", "application/x-ndjson"),
    ] {
        let other = answer(request).await;
        let expected = (StatusCode::UNSUPPORTED_MEDIA_TYPE, "unsupported_media_type");
        assert_eq!((other.status, other.code()), expected);
    }
}

#[tokio::test]
async fn a_body_may_have_4_kib() {
    let scope = stack().scope("large");
    let ingest = TestIngest::start(&scope, &[]).await;
    let sized = |len: usize| {
        let event = event().to_string();
        format!("{event}{}", " ".repeat(len - event.len()))
    };
    let post = |body: reqwest::Body| {
        let request = ingest.request(Method::POST, "/ads/click");
        answer(request.header("content-type", "application/json").body(body))
    };

    assert_eq!(post(sized(4096).into()).await.status, StatusCode::OK);
    let announced = post(sized(4097).into()).await;
    assert_eq!(
        (announced.status, announced.code()),
        (StatusCode::PAYLOAD_TOO_LARGE, "body_too_large")
    );
}

#[tokio::test]
async fn a_chunked_body_may_have_4_kib_too() {
    let scope = stack().scope("chunked");
    let ingest = TestIngest::start(&scope, &[]).await;

    let head = "POST /ads/click HTTP/1.1\r\nhost: ingest\r\ncontent-type: application/json\r\n\
                transfer-encoding: chunked\r\n\r\n";
    let chunks = format!("1000\r\n{}\r\n1\r\n \r\n0\r\n\r\n", " ".repeat(4096));
    let answer = exchange(&ingest, &[head.as_bytes(), chunks.as_bytes()].concat()).await;

    assert!(answer.starts_with("HTTP/1.1 413 "), "{answer}");
}

#[tokio::test]
async fn a_body_that_does_not_come_is_a_408() {
    let scope = stack().scope("slow");
    let ingest = TestIngest::start(&scope, &[("INGEST_BODY_TIMEOUT", "100ms")]).await;

    let begun = b"POST /ads/click HTTP/1.1\r\nhost: ingest\r\ncontent-type: application/json\r\n\
                  content-length: 100\r\n\r\n{\"ad_id\":";
    let answer = exchange(&ingest, begun).await;

    assert!(answer.starts_with("HTTP/1.1 408 "), "{answer}");
    assert!(answer.contains("\"code\":\"body_too_slow\""), "{answer}");
}

#[tokio::test]
async fn a_head_that_does_not_come_closes_the_connection() {
    let scope = stack().scope("slowhead");
    let ingest = TestIngest::start(&scope, &[("INGEST_HEADER_TIMEOUT", "100ms")]).await;

    let answer = exchange(&ingest, b"POST /ads/click HTTP/1.1\r\nhost:").await;

    assert!(!answer.contains(" 200 "), "{answer}");
}

/// Sends bytes and returns what comes back until the service closes the connection.
async fn exchange(ingest: &TestIngest, bytes: &[u8]) -> String {
    let mut stream = TcpStream::connect(ingest.address).await.expect("connected");
    stream.write_all(bytes).await.expect("sent");
    let mut answer = Vec::new();
    let read = timeout(PATIENCE.min(Duration::from_secs(10)), stream.read_to_end(&mut answer));
    read.await.expect("closed in time").expect("readable");
    String::from_utf8(answer).expect("text")
}
