//! Events as the URLs of images, the way VAST has them.

use std::collections::BTreeSet;

use local_stack::testing::stack;
use proto_schemas::{EventId, Kind, Timestamp, headers};
use reqwest::{Method, StatusCode};
use serde_json::json;

use crate::harness::{Answer, TestIngest, answer, decoded, records};

/// Nobody listens there.
const NO_KAFKA: (&str, &str) = ("KAFKA_BROKERS", "127.0.0.1:1");

fn now() -> String {
    headers::rfc3339(Timestamp::now())
}

/// Asks for a pixel and checks that it is one.
async fn see(ingest: &TestIngest, path_and_query: &str) {
    let request = ingest.request(Method::GET, path_and_query);
    let pixel = request.send().await.expect("an answer");
    let (status, headers) = (pixel.status(), pixel.headers().clone());
    let body = pixel.bytes().await.expect("a body");
    assert_eq!(status, StatusCode::OK, "{path_and_query}: {}", body.escape_ascii());
    assert_eq!(headers["content-type"], "image/gif");
    assert_eq!(headers["cache-control"], "no-store");
    assert_eq!(headers["cross-origin-resource-policy"], "cross-origin");
    assert_eq!(headers["access-control-allow-origin"], "*");
    assert!(body.starts_with(b"GIF89a\x01\0\x01\0") && body.ends_with(b";"), "one by one");
}

async fn refused(ingest: &TestIngest, path_and_query: &str) -> Answer {
    let refused = answer(ingest.request(Method::GET, path_and_query)).await;
    assert_eq!(refused.headers["cache-control"], "no-store");
    refused
}

#[tokio::test]
async fn a_pixel_is_the_event_that_a_post_of_the_same_would_be() {
    let scope = stack().scope("pixel");
    let ingest = TestIngest::start(&scope, &[]).await;
    let now = now();

    let query = format!("ad_id=7&ts={now}&event_id=e-1&playback_time=00:00:12.500&cb=4711");
    see(&ingest, &format!("/ads/impression.gif?{query}")).await;
    see(&ingest, &format!("/ads/click.gif?{query}")).await;
    let event = json!({ "ad_id": 7, "timestamp": now, "event_id": "e-1", "playback_time": 12.5 });
    let click = ingest.post_click(&event).await;
    let impression = ingest.post("/ads/impression", &event, &[]).await;

    for (kind, answer) in [(Kind::Click, click), (Kind::Impression, impression)] {
        let [pixel, post] = <[_; 2]>::try_from(records(&scope, kind, 2).await).expect("two");
        let (pixel, post) = (decoded(&pixel), decoded(&post));
        assert_eq!(answer.body["click_id"], pixel.dedup_key.to_string());
        assert_eq!(pixel.dedup_key, post.dedup_key);
        assert_eq!(pixel.playback_ms, Some(12_500));
        assert_eq!(pixel.event_id.as_ref().map(EventId::as_str), Some("e-1"));
        assert_eq!(pixel.address, post.address);
    }
}

#[tokio::test]
async fn macros_of_vast_are_read_and_those_left_as_they_were_are_not() {
    let scope = stack().scope("macros");
    let ingest = TestIngest::start(&scope, &[("MAX_EVENT_AGE", "100y")]).await;
    let path = "/ads/impression.gif?ad_id=7";

    see(&ingest, &format!("{path}&ts=2016-01-17T8:15:07.127-05&playback_time=1:02:03.004")).await;
    let before = Timestamp::now();
    see(&ingest, &format!("{path}&ts=[TIMESTAMP]&playback_time=%5BADPLAYHEAD%5D&event_id=-1"))
        .await;

    let mut events: Vec<_> =
        records(&scope, Kind::Impression, 2).await.iter().map(decoded).collect();
    events.sort_by_key(|it| it.occurred_at);
    assert_eq!(headers::rfc3339(events[0].occurred_at), "2016-01-17T13:15:07.127Z");
    assert_eq!(events[0].playback_ms, Some(3_723_004));
    assert!(events[1].occurred_at >= before, "our own clock");
    assert_eq!(events[1].occurred_at, events[1].received_at);
    assert_eq!((events[1].playback_ms, &events[1].event_id), (None, &None));
}

#[tokio::test]
async fn a_repeated_pixel_is_one_event_only_if_it_has_a_timestamp() {
    let scope = stack().scope("repeated");
    let ingest = TestIngest::start(&scope, &[]).await;
    let path = "/ads/impression.gif?ad_id=7&event_id=e-1";

    let with_timestamp = format!("{path}&ts={}", now());
    see(&ingest, &with_timestamp).await;
    see(&ingest, &with_timestamp).await;
    see(&ingest, path).await;
    // The clocks of two events differ by more than the millisecond that makes them one.
    let seen = Timestamp::now().as_millis();
    ingest.until("a later millisecond", async |_| Timestamp::now().as_millis() > seen + 1).await;
    see(&ingest, path).await;

    let keys: BTreeSet<_> =
        records(&scope, Kind::Impression, 4).await.iter().map(|it| decoded(it).dedup_key).collect();
    assert_eq!(keys.len(), 3);
}

#[tokio::test]
async fn head_counts_nothing() {
    let scope = stack().scope("head");
    let settings = [("RATE_LIMIT_PER_MINUTE", "1"), ("RATE_LIMIT_BURST", "1")];
    let ingest = TestIngest::start(&scope, &settings).await;
    let path = format!("/ads/click.gif?ad_id=7&ts={}", now());

    for _ in 0..3 {
        let head = ingest.request(Method::HEAD, &path).send().await.expect("an answer");
        assert_eq!(head.status(), StatusCode::OK);
        assert_eq!(head.headers()["content-type"], "image/gif");
    }
    see(&ingest, &path).await;

    let received = "ingest_events_total{kind=\"click\",outcome=\"received\"}";
    assert!(ingest.metric(received).await.eq(&1.0));
    assert_eq!(records(&scope, Kind::Click, 1).await.len(), 1);
}

#[tokio::test]
async fn a_pixel_that_is_no_event_is_an_error_that_says_why() {
    let scope = stack().scope("badpixels");
    let ingest = TestIngest::start(&scope, &[("RATE_LIMIT_BURST", "1000")]).await;

    for (query, status, code) in [
        ("", 400, "missing_field"),
        ("?ts=2025-04-15T16:55:00Z", 400, "missing_field"),
        ("?ad_id=0", 400, "invalid_field"),
        ("?ad_id=7&ts=now", 400, "invalid_field"),
        ("?ad_id=7&ts=2019-01-01T00:00:00Z", 400, "timestamp_too_old"),
        ("?ad_id=7&ad_id=7", 400, "duplicate_field"),
        ("?ad_id=7&event_id=%zz", 400, "invalid_field"),
    ] {
        let refused = refused(&ingest, &format!("/ads/click.gif{query}")).await;
        assert_eq!((refused.status.as_u16(), refused.code()), (status, code), "{query}");
    }
    let long = format!("/ads/click.gif?ad_id=7&cb={}", "x".repeat(8192));
    let long = refused(&ingest, &long).await;
    assert_eq!((long.status, long.code()), (StatusCode::URI_TOO_LONG, "query_too_long"));
    let post = answer(ingest.request(Method::POST, "/ads/click.gif")).await;
    assert_eq!(post.status, StatusCode::METHOD_NOT_ALLOWED);
    assert_eq!(post.headers["allow"], "GET,HEAD");

    let refused = "ingest_events_total{kind=\"click\",outcome=\"refused\"}";
    assert!(ingest.metric(refused).await.eq(&8.0));
}

#[tokio::test]
async fn pixels_are_limited_like_posts() {
    let scope = stack().scope("pixellimit");
    let settings = [("RATE_LIMIT_PER_MINUTE", "1"), ("RATE_LIMIT_BURST", "1")];
    let ingest = TestIngest::start(&scope, &settings).await;

    see(&ingest, &format!("/ads/click.gif?ad_id=7&ts={}", now())).await;
    let limited = refused(&ingest, "/ads/click.gif?ad_id=7").await;

    assert_eq!((limited.status, limited.code()), (StatusCode::TOO_MANY_REQUESTS, "rate_limited"));
    assert!(limited.retry_after_secs().is_some());
    see(&ingest, "/ads/impression.gif?ad_id=7").await;
}

#[tokio::test]
async fn a_pixel_that_cannot_be_kept_is_a_503() {
    let settings = [NO_KAFKA, ("INGEST_PRODUCE_TIMEOUT", "300ms")];
    let ingest = TestIngest::start_unready(&settings).await;

    let refused = refused(&ingest, "/ads/impression.gif?ad_id=7").await;

    let expected = (StatusCode::SERVICE_UNAVAILABLE, "unavailable");
    assert_eq!((refused.status, refused.code()), expected);
}
