//! What is written about the metrics is what running services show, and no request adds to it.

use std::collections::BTreeSet;

use e2e::{Answer, Pipeline, Services, click, telemetry, until};
use reqwest::Method;
use serde_json::json;

#[tokio::test]
async fn the_list_of_metrics_is_what_running_services_show_to_a_strict_parser() {
    let pipeline = Pipeline::new("telemetry").await;
    let services = pipeline.start_all().await;

    let families = telemetry::families(&pipeline, &services).await;

    let document = std::fs::read_to_string(telemetry::document()).expect("the document");
    let expected = telemetry::with_list(&document, &telemetry::list(&families));
    assert!(
        document == expected.expect("the markers of the list"),
        "docs/TELEMETRY.md is not what services show: run `target/debug/local-stack exec -- cargo \
         run -p e2e --example telemetry`"
    );
}

#[tokio::test]
async fn whatever_is_sent_adds_no_series() {
    let pipeline = Pipeline::new("series").await;
    let services = pipeline.start_all().await;
    telemetry::families(&pipeline, &services).await;
    until("every partition's lag is known", async || {
        series(&services).await.iter().filter(|it| it.contains("consumer_lag_events")).count() == 24
    })
    .await;
    let before = series(&services).await;

    send_all_sorts(&pipeline, &services).await;
    // The unknown ad's click dies, the other one is stored and read by the API.
    let dead = r#"consumer_dead_letters_total{reason="unknown_ad"}"#;
    until("a click dies", async || services.consumer.metric(dead).await >= 1.0).await;
    pipeline.settle().await;
    let answer = pipeline.http.get(&services.analytics.url("/ads/analytics")).await;
    assert_eq!(answer.status, 200);
    telemetry::families(&pipeline, &services).await;

    let after = series(&services).await;
    let added: Vec<_> = after.difference(&before).collect();
    assert!(added.is_empty(), "{added:?}");
    assert_eq!(before.difference(&after).count(), 0);
}

/// Requests that differ in everything that a client may choose.
async fn send_all_sorts(pipeline: &Pipeline, services: &Services) {
    let (ingest, analytics) = (&services.ingest, &services.analytics);
    let mut unknown_ad = click(1, "of-nobody");
    unknown_ad["ad_id"] = json!(987_654_321);
    for (body, status) in [
        (click(1, "a-click"), 200),
        (unknown_ad, 200),
        (json!({ "ad_id": "x", "timestamp": "yesterday" }), 400),
        (json!({ "timestamp": "2031-01-01T00:00:00Z", "ad_id": 1 }), 400),
    ] {
        let answer = pipeline.http.post(&ingest.url("/ads/click"), &body).await;
        assert_eq!(answer.status, status, "{}", answer.body);
    }
    let batch = json!([{ "type": "view", "ad_id": 1 }, click(2, "untyped"), 7]);
    assert_eq!(pipeline.http.post(&ingest.url("/ads/events"), &batch).await.status, 200);
    for service in [ingest, analytics] {
        for (method, path) in [
            ("GET", "/made/up?by=somebody"),
            ("BREW", "/ads/click"),
            ("DELETE", "/ads/analytics"),
            ("GET", "/ads/77/vast.xml"),
            ("GET", "/ads/click?to=x&sig=y"),
            ("GET", "/ads/impression.gif?ad_id=1&event_id=pixel"),
            ("POST", "/ads/events"),
        ] {
            let method = Method::from_bytes(method.as_bytes()).expect("a method");
            let request = pipeline.http.request(method, &service.url(path));
            let request = request
                .header("user-agent", "Somebody/1.0")
                .header("x-forwarded-for", "203.0.113.77")
                .header("content-type", "application/made-up")
                .header("origin", "https://somewhere.example");
            Answer::to(request).await;
        }
    }
}

/// Every series of every service.
async fn series(services: &Services) -> BTreeSet<String> {
    let mut all = BTreeSet::new();
    for service in [&services.ingest, &services.consumer, &services.analytics] {
        let page = service.metrics().await;
        let lines = page.lines().filter(|it| !it.starts_with('#'));
        let name = service.program().name();
        all.extend(lines.filter_map(|it| Some(format!("{name} {}", it.rsplit_once(' ')?.0))));
    }
    all
}
