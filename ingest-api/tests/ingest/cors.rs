//! Pages of other origins.

use local_stack::testing::stack;
use reqwest::{Method, StatusCode, header::HeaderMap};

use crate::harness::{TestIngest, event};

const PAGE: &str = "https://player.example.com";

async fn preflight(ingest: &TestIngest, path: &str) -> (StatusCode, HeaderMap) {
    let request = ingest
        .request(Method::OPTIONS, path)
        .header("origin", PAGE)
        .header("access-control-request-method", "POST")
        .header("access-control-request-headers", "content-type");
    let response = request.send().await.expect("an answer");
    (response.status(), response.headers().clone())
}

#[tokio::test]
async fn a_preflight_is_neither_limited_nor_counted_as_an_event() {
    let scope = stack().scope("preflight");
    let settings = [("RATE_LIMIT_PER_MINUTE", "1"), ("RATE_LIMIT_BURST", "1")];
    let ingest = TestIngest::start(&scope, &settings).await;

    for path in ["/ads/click", "/ads/click", "/ads/impression", "/ads/events"] {
        let (status, headers) = preflight(&ingest, path).await;
        assert_eq!(status, StatusCode::OK);
        assert_eq!(headers["access-control-allow-origin"], "*", "{path}");
        assert_eq!(headers["access-control-allow-headers"], "content-type");
    }

    let series = "http_requests_total{route=\"/ads/click\",method=\"OPTIONS\",status=\"200\"}";
    assert!(ingest.metric(series).await.eq(&2.0));
    let metrics = ingest.metrics().await;
    let events: Vec<_> = metrics.lines().filter(|it| it.starts_with("ingest_events_")).collect();
    assert!(events.iter().all(|it| it.ends_with(" 0")), "{events:?}");
    assert_eq!(ingest.post_click(&event()).await.status, StatusCode::OK);
}

#[tokio::test]
async fn a_page_can_read_what_it_is_refused_for() {
    let scope = stack().scope("readable");
    let settings = [
        ("RATE_LIMIT_PER_MINUTE", "1"),
        ("RATE_LIMIT_BURST", "1"),
        ("CORS_ORIGINS", "https://example.com,https://player.example.com"),
    ];
    let ingest = TestIngest::start(&scope, &settings).await;

    for status in [StatusCode::OK, StatusCode::TOO_MANY_REQUESTS] {
        let answer = ingest.post("/ads/click", &event(), &[("origin", PAGE)]).await;
        assert_eq!(answer.status, status, "{}", answer.body);
        assert_eq!(answer.headers["access-control-allow-origin"], PAGE);
        assert_eq!(answer.headers["access-control-allow-credentials"], "true");
        let exposed = answer.headers["access-control-expose-headers"].to_str().expect("text");
        assert!(exposed.contains("retry-after"), "{exposed}");
    }
    let unlisted = [("origin", "https://elsewhere.example")];
    let answer = ingest.post("/ads/impression", &event(), &unlisted).await;
    assert_eq!(answer.headers.get("access-control-allow-origin"), None);
}
