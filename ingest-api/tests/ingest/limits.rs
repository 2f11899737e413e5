//! Who is limited, and who is not.

use std::net::Ipv4Addr;

use local_stack::testing::stack;
use reqwest::{Method, StatusCode};

use crate::harness::{TestIngest, answer, client_at, event};

/// So that a slow machine does not give an address another click while a test runs.
const SLOW_REFILL: (&str, &str) = ("RATE_LIMIT_PER_MINUTE", "1");

#[tokio::test]
async fn an_address_over_its_limit_is_told_when_to_come_back_while_others_pass() {
    let scope = stack().scope("limit");
    let ingest = TestIngest::start(&scope, &[SLOW_REFILL]).await;

    for _ in 0..10 {
        assert_eq!(ingest.post_click(&event()).await.status, StatusCode::OK);
    }
    let limited = ingest.post_click(&event()).await;

    assert_eq!((limited.status, limited.code()), (StatusCode::TOO_MANY_REQUESTS, "rate_limited"));
    let wait = limited.retry_after_secs().expect("whole seconds");
    assert!((1..=60).contains(&wait), "one a minute: {wait}");
    let other = client_at(Ipv4Addr::new(127, 0, 0, 2));
    let passed = ingest.post_as(&other, "/ads/click", &event(), &[]).await;
    assert_eq!(passed.status, StatusCode::OK, "{}", passed.body);
    let impression = ingest.post("/ads/impression", &event(), &[]).await;
    assert_eq!(impression.status, StatusCode::OK, "impressions have a limit of their own");
}

#[tokio::test]
async fn impressions_are_limited_too() {
    let scope = stack().scope("impressions");
    let settings =
        [("IMPRESSION_RATE_LIMIT_PER_MINUTE", "1"), ("IMPRESSION_RATE_LIMIT_BURST", "2")];
    let ingest = TestIngest::start(&scope, &settings).await;

    for _ in 0..2 {
        let passed = ingest.post("/ads/impression", &event(), &[]).await;
        assert_eq!(passed.status, StatusCode::OK, "{}", passed.body);
    }
    let limited = ingest.post("/ads/impression", &event(), &[]).await;

    assert_eq!(limited.status, StatusCode::TOO_MANY_REQUESTS);
    assert!(limited.retry_after_secs().is_some_and(|wait| (1..=60).contains(&wait)));
}

#[tokio::test]
async fn a_limited_request_is_refused_before_its_body_is_read() {
    let scope = stack().scope("cheap");
    let ingest = TestIngest::start(&scope, &[SLOW_REFILL, ("RATE_LIMIT_BURST", "1")]).await;
    let post = || ingest.request(Method::POST, "/ads/click").body("no JSON");

    let counted = answer(post()).await;
    let limited = answer(post()).await;

    assert_eq!(counted.status, StatusCode::UNSUPPORTED_MEDIA_TYPE, "a bad request counts");
    assert_eq!(limited.status, StatusCode::TOO_MANY_REQUESTS);
}

#[tokio::test]
async fn a_trusted_sender_is_never_limited() {
    let scope = stack().scope("unlimited");
    let settings = [SLOW_REFILL, ("RATE_LIMIT_BURST", "1"), ("TRUSTED_SENDERS", "127.0.0.1")];
    let ingest = TestIngest::start(&scope, &settings).await;

    for _ in 0..20 {
        assert_eq!(ingest.post_click(&event()).await.status, StatusCode::OK);
    }

    assert!(ingest.metric("ingest_rate_limiter_keys{kind=\"click\"}").await.eq(&0.0));
}

#[tokio::test]
async fn behind_a_proxy_each_viewer_has_its_own_limit() {
    let scope = stack().scope("viewers");
    let settings = [SLOW_REFILL, ("RATE_LIMIT_BURST", "1"), ("TRUSTED_PROXIES", "127.0.0.1")];
    let ingest = TestIngest::start(&scope, &settings).await;
    let status = async |forwarded: &str| {
        let headers = [("x-forwarded-for", forwarded)];
        ingest.post("/ads/click", &event(), &headers).await.status
    };

    assert_eq!(status("198.51.100.1").await, StatusCode::OK);
    assert_eq!(status("198.51.100.1").await, StatusCode::TOO_MANY_REQUESTS);
    assert_eq!(status("6.6.6.6, 198.51.100.1").await, StatusCode::TOO_MANY_REQUESTS);
    assert_eq!(status("198.51.100.2").await, StatusCode::OK);
    assert_eq!(status("2001:db8::1").await, StatusCode::OK);
    assert_eq!(status("2001:db8::2").await, StatusCode::TOO_MANY_REQUESTS);
}
