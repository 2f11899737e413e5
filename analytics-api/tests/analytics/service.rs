//! How the service behaves whatever the stores hold.

use futures::future::join_all;
use reqwest::{Method, StatusCode};

use crate::{harness::TestAnalytics, stores::Stores};

#[tokio::test]
async fn a_burst_of_requests_causes_one_read() {
    let stores = Stores::counted("burst").await;
    let analytics = TestAnalytics::start_with(&stores, &[("ANALYTICS_MAX_AGE", "1m")]).await;

    let answers = join_all((0..500).map(|_| analytics.analytics())).await;

    for answer in answers {
        answer.from("redis");
    }
    assert_eq!(reads(&analytics, "redis").await, 1);
    assert_eq!(reads(&analytics, "postgres").await, 0);
    let answered = r#"analytics_answers_total{route="/ads/analytics",source="redis"}"#;
    assert_eq!(analytics.metric(answered).await, 500);
}

#[tokio::test]
async fn a_burst_without_redis_causes_few_reads_of_postgres() {
    let stores = Stores::counted("fewreads").await;
    let analytics = TestAnalytics::start_with(&stores, &[("ANALYTICS_MAX_AGE", "1m")]).await;
    stores.flush_redis().await;

    let answers = join_all((0..500).map(|_| analytics.analytics())).await;

    for answer in answers {
        answer.from("postgres");
    }
    assert_eq!(reads(&analytics, "postgres").await, 1);
}

/// HEAD takes the way of all other requests, through the router.
#[tokio::test]
async fn a_head_says_of_the_analytics_what_a_get_does() {
    let stores = Stores::counted("head").await;
    for origins in ["*", "https://dashboard.example.com"] {
        let analytics = TestAnalytics::start_with(&stores, &[("CORS_ORIGINS", origins)]).await;

        let get = analytics.analytics().await;
        let head = analytics.send(Method::HEAD, "/ads/analytics").await;

        assert_eq!(get.status, head.status);
        let names = ["content-type", "content-length", "x-data-source", "vary"];
        let cors = ["access-control-allow-origin", "access-control-expose-headers"];
        for name in names.into_iter().chain(cors) {
            assert_eq!(get.headers.get(name), head.headers.get(name), "{name}");
        }
        assert_eq!(get.headers.len(), head.headers.len());
        let ok = r#"http_requests_total{route="/ads/analytics",method="GET",status="200"}"#;
        assert_eq!(analytics.metric(ok).await, 2, "both are counted alike");
    }
}

#[tokio::test]
async fn every_request_is_counted_by_route_and_status() {
    let stores = Stores::counted("httpmetrics").await;
    let analytics = TestAnalytics::start(&stores).await;
    let count =
        async |labels: &str| analytics.metric(&format!("http_requests_total{{{labels}}}")).await;
    let (ok, gone) = (
        r#"route="/ads/analytics",method="GET",status="200""#,
        r#"route="/ads",method="GET",status="503""#,
    );
    assert_eq!((count(ok).await, count(gone).await), (0, 0));

    analytics.analytics().await.from("redis");
    analytics.send(Method::HEAD, "/ads/analytics").await.from("redis");

    assert_eq!((count(ok).await, count(gone).await), (2, 0));
}

#[tokio::test]
async fn what_is_no_route_is_refused_in_the_common_shape() {
    let stores = Stores::new("refused").await;
    let analytics = TestAnalytics::start(&stores).await;

    let nowhere = analytics.get("/ads/1").await;
    let wrong = analytics.send(Method::POST, "/ads/analytics").await;

    assert_eq!(nowhere.status, StatusCode::NOT_FOUND);
    assert!(nowhere.body.contains(r#""code":"not_found""#), "{}", nowhere.body);
    assert_eq!(wrong.status, StatusCode::METHOD_NOT_ALLOWED);
    assert_eq!(wrong.headers["allow"], "GET,HEAD");
    assert!(wrong.body.contains(r#""code":"method_not_allowed""#), "{}", wrong.body);
}

#[tokio::test]
async fn a_page_of_another_origin_may_read_the_answers() {
    let stores = Stores::counted("origins").await;
    let analytics = TestAnalytics::start(&stores).await;

    let answer = analytics.analytics().await;
    let refused = analytics.send(Method::POST, "/ads/analytics").await;
    let preflight = analytics.send(Method::OPTIONS, "/ads/analytics").await;

    assert_eq!(preflight.status, StatusCode::OK);
    assert_eq!(preflight.headers["access-control-allow-methods"], "GET,HEAD");
    for answer in [answer, refused, preflight] {
        assert_eq!(answer.headers["access-control-allow-origin"], "*");
    }
    let counted = r#"http_requests_total{route="/ads/analytics",method="OPTIONS",status="200"}"#;
    assert_eq!(analytics.metric(counted).await, 1);
}

async fn reads(analytics: &TestAnalytics, source: &str) -> u64 {
    let name = "analytics_read_duration_seconds_count";
    analytics.metric(&format!(r#"{name}{{route="/ads/analytics",source="{source}"}}"#)).await
}
