//! Who is rate-limited, and who is not.

use std::net::Ipv4Addr;

use e2e::{Answer, Client, Counts, Pipeline, Program, click};
use proto_schemas::Kind;
use reqwest::Method;

/// So that a slow machine does not give an address another click while a test runs.
const SLOW_REFILL: (&str, &str) = ("RATE_LIMIT_PER_MINUTE", "1");

/// Nobody is trusted: the rate limit holds for this machine too.
const NO_SENDERS: (&str, &str) = ("TRUSTED_SENDERS", "");

#[tokio::test]
async fn a_limited_address_gets_429_while_others_pass_and_only_what_passed_is_counted() {
    let pipeline = Pipeline::new("limited").await;
    let ingest = pipeline.start(Program::Ingest, &[NO_SENDERS, SLOW_REFILL]).await;
    let _consumer = pipeline.start(Program::Consumer, &[]).await;
    let url = ingest.url("/ads/click");

    for number in 0..10 {
        let passed = pipeline.http.post(&url, &click(1, &format!("own-{number}"))).await;
        assert_eq!(passed.status, 200, "{}", passed.body);
    }
    let limited = pipeline.http.post(&url, &click(1, "own-10")).await;
    let other = Client::at(Ipv4Addr::new(127, 0, 0, 2)).post(&url, &click(2, "other")).await;

    assert_eq!((limited.status, limited.error_code().as_str()), (429, "rate_limited"));
    assert!(limited.retry_after_secs().is_some_and(|wait| (1..=60).contains(&wait)));
    assert_eq!(other.status, 200, "{}", other.body);
    let expected = Counts::zero().with(Kind::Click, 1, 10).with(Kind::Click, 2, 1);
    assert_eq!(pipeline.settle().await, expected);
}

#[tokio::test]
async fn behind_a_trusted_proxy_each_viewer_has_a_limit_of_its_own() {
    let pipeline = Pipeline::new("proxied").await;
    let settings =
        [NO_SENDERS, SLOW_REFILL, ("RATE_LIMIT_BURST", "2"), ("TRUSTED_PROXIES", "127.0.0.1")];
    let ingest = pipeline.start(Program::Ingest, &settings).await;
    let status = async |viewer: &str, event_id: &str| {
        let request = pipeline.http.request(Method::POST, &ingest.url("/ads/click"));
        let request = request.header("x-forwarded-for", viewer).json(&click(1, event_id));
        Answer::to(request).await.status
    };

    assert_eq!(status("198.51.100.1", "a").await, 200);
    assert_eq!(status("198.51.100.1", "b").await, 200);
    assert_eq!(status("198.51.100.1", "c").await, 429);
    assert_eq!(status("203.0.113.9, 198.51.100.1", "d").await, 429, "the right-most counts");
    assert_eq!(status("198.51.100.2", "e").await, 200);
}
