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
    assert_eq!(limited.headers["ratelimit-policy"], r#""clicks";q=10;w=600"#);
    let state = limited.headers["ratelimit"].to_str().expect("text");
    assert!(state.starts_with(r#""clicks";r=0;t="#), "{state}");
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

#[tokio::test]
async fn who_is_within_its_limits_is_told_what_is_left_of_them() {
    let scope = stack().scope("left");
    let settings =
        [SLOW_REFILL, ("RATE_LIMIT_PER_AD_PER_MINUTE", "1"), ("RATE_LIMIT_PER_AD_BURST", "3")];
    let ingest = TestIngest::start(&scope, &settings).await;

    let passed = ingest.post_click(&event()).await;

    assert_eq!(passed.status, StatusCode::OK, "{}", passed.body);
    let policy = r#""clicks";q=10;w=600, "clicks-per-ad";q=3;w=180"#;
    assert_eq!(passed.headers["ratelimit-policy"], policy);
    assert_eq!(passed.headers["ratelimit"], r#""clicks";r=9;t=60, "clicks-per-ad";r=2;t=60"#);
    let pixel = ingest.request(Method::GET, "/ads/click.gif?ad_id=1").send().await;
    let pixel = pixel.expect("an answer").headers().clone();
    assert_eq!(pixel["ratelimit-policy"], policy);
    let state = pixel["ratelimit"].to_str().expect("text");
    assert!(state.starts_with(r#""clicks";r=8;t="#), "{state}");
    let unlimited = TestIngest::start(&scope, &[("RATE_LIMIT_MODE", "off")]).await;
    assert!(!unlimited.post_click(&event()).await.headers.contains_key("ratelimit"));
}

#[tokio::test]
async fn one_ad_can_have_a_limit_of_its_own() {
    let scope = stack().scope("perad");
    let settings =
        [SLOW_REFILL, ("RATE_LIMIT_PER_AD_PER_MINUTE", "1"), ("RATE_LIMIT_PER_AD_BURST", "2")];
    let ingest = TestIngest::start(&scope, &settings).await;
    let click = async |ad: u64| {
        let mut event = event();
        event["ad_id"] = ad.into();
        ingest.post_click(&event).await
    };

    for _ in 0..2 {
        assert_eq!(click(7).await.status, StatusCode::OK);
    }
    let limited = click(7).await;

    assert_eq!((limited.status, limited.code()), (StatusCode::TOO_MANY_REQUESTS, "rate_limited"));
    assert!(limited.retry_after_secs().is_some_and(|wait| (1..=60).contains(&wait)));
    assert_eq!(click(8).await.status, StatusCode::OK);
    let series = "ingest_rate_limit_exceeded_total{kind=\"click\",layer=\"ad\",mode=\"enforce\"}";
    assert!(ingest.metric(series).await.eq(&1.0));
}

#[tokio::test]
async fn limits_that_are_observed_refuse_nobody_and_count() {
    let scope = stack().scope("observed");
    let settings = [SLOW_REFILL, ("RATE_LIMIT_BURST", "2"), ("RATE_LIMIT_MODE", "observe")];
    let ingest = TestIngest::start(&scope, &settings).await;

    for _ in 0..5 {
        assert_eq!(ingest.post_click(&event()).await.status, StatusCode::OK);
    }

    let series =
        "ingest_rate_limit_exceeded_total{kind=\"click\",layer=\"address\",mode=\"observe\"}";
    assert!(ingest.metric(series).await.eq(&3.0));
}

#[tokio::test]
async fn a_network_can_have_a_limit_of_its_own() {
    let scope = stack().scope("override");
    let settings =
        [SLOW_REFILL, ("RATE_LIMIT_BURST", "1"), ("RATE_LIMIT_OVERRIDES", "127.0.0.2=1/3")];
    let ingest = TestIngest::start(&scope, &settings).await;
    let office = client_at(Ipv4Addr::new(127, 0, 0, 2));

    let mut statuses = Vec::new();
    for _ in 0..4 {
        let answer = ingest.post_as(&office, "/ads/click", &event(), &[]).await;
        statuses.push(answer.status.as_u16());
    }

    assert_eq!(statuses, [200, 200, 200, 429]);
    assert_eq!(ingest.post_click(&event()).await.status, StatusCode::OK);
    assert_eq!(ingest.post_click(&event()).await.status, StatusCode::TOO_MANY_REQUESTS);
}
