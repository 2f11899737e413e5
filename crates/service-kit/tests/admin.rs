//! What the admin port answers.

use axum::Router;
use axum::body::Body;
use axum::http::{Request, StatusCode, header};
use http_body_util::BodyExt as _;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::registry::Registry;
use service_kit::admin;
use service_kit::readiness::Readiness;
use tower::ServiceExt as _;

async fn get(router: &Router, path: &str) -> (StatusCode, String, String) {
    let request = Request::get(path).body(Body::empty()).expect("a request");
    let answer = router.clone().oneshot(request).await.expect("an answer");
    let status = answer.status();
    let kind = answer.headers()[header::CONTENT_TYPE].to_str().expect("text").to_owned();
    let body = answer.into_body().collect().await.expect("a body").to_bytes();
    (status, kind, String::from_utf8(body.into()).expect("text"))
}

#[tokio::test]
async fn it_is_ready_once_every_check_is_fine_and_until_it_stops() {
    let readiness = Readiness::new();
    let kafka = readiness.register("kafka");
    let redis = readiness.register("redis");
    let router = admin::router(Registry::default(), readiness.clone());
    let ready = async || {
        let (status, _, body) = get(&router, "/readyz").await;
        (status.as_u16(), body)
    };

    assert_eq!(ready().await, (503, "kafka: starting\nredis: starting\n".to_owned()));

    kafka.ok();
    redis.fail("connection refused");
    assert_eq!(ready().await, (503, "redis: connection refused\n".to_owned()));

    redis.ok();
    assert_eq!(ready().await, (200, "ok\n".to_owned()));

    readiness.stopping();
    assert_eq!(ready().await, (503, "stopping\n".to_owned()));
}

#[tokio::test]
async fn it_lives_even_where_it_is_not_ready() {
    let readiness = Readiness::new();
    readiness.register("kafka").fail("away");
    let router = admin::router(Registry::default(), readiness);

    assert_eq!(get(&router, "/livez").await.0, 200);
}

#[tokio::test]
async fn metrics_are_openmetrics_text() {
    let mut registry = Registry::default();
    registry.register("doors", "Doors opened", Counter::<u64>::default());
    let router = admin::router(registry, Readiness::new());

    let (status, kind, body) = get(&router, "/metrics").await;

    assert_eq!(status, 200);
    assert_eq!(kind, "application/openmetrics-text; version=1.0.0; charset=utf-8");
    assert!(body.starts_with("# HELP doors Doors opened.\n# TYPE doors counter\ndoors_total 0\n"));
    assert!(body.ends_with("# EOF\n"));
}

#[tokio::test]
async fn every_process_tells_what_it_is_and_what_it_uses() {
    let readiness = Readiness::new();
    let check = readiness.register("kafka");
    let router = admin::router(Registry::default(), readiness);
    let value = async |series: &str| {
        let (_, _, body) = get(&router, "/metrics").await;
        let line = body.lines().find_map(|it| it.strip_prefix(series)?.strip_prefix(' '));
        line.unwrap_or_else(|| panic!("no {series} in\n{body}")).parse::<f64>().expect("a number")
    };

    assert!(value("service_ready").await.eq(&0.0));
    check.ok();
    assert!(value("service_ready").await.eq(&1.0));

    let version = env!("CARGO_PKG_VERSION");
    assert!(value(&format!("build_info{{version=\"{version}\"}}")).await.eq(&1.0));
    assert!(value("process_cpu_seconds_total").await >= 0.0);
    assert!(value("process_resident_memory_bytes").await > 1e6);
    let open = value("process_open_fds").await;
    assert!(open >= 3.0 && open <= value("process_max_fds").await);
    assert!(value("process_threads").await >= 1.0);
    assert!(value("process_start_time_seconds").await > 1.6e9);
}
