//! What each process exposes before anything has happened.

use e2e::{Pipeline, click, until};

#[tokio::test]
async fn every_series_is_there_at_zero_before_the_first_request() {
    let pipeline = Pipeline::new("metrics").await;
    let services = pipeline.start_all().await;

    let mut ingest = Vec::new();
    for route in ["/ads/click", "/ads/impression"] {
        ingest.extend([200, 400, 408, 413, 415, 429, 500, 503].map(|it| (route, "POST", it)));
        ingest.push((route, "OTHER", 405));
    }
    let mut analytics = Vec::new();
    for route in ["/ads", "/ads/analytics"] {
        analytics.extend([200, 500, 503].map(|it| (route, "GET", it)));
        analytics.push((route, "OTHER", 405));
    }
    for (service, mut expected) in [(&services.ingest, ingest), (&services.analytics, analytics)] {
        expected.push(("other", "OTHER", 404));
        let metrics = service.metrics().await;
        for (route, method, status) in expected {
            let labels = format!(r#"{{route="{route}",method="{method}",status="{status}"}}"#);
            for name in ["http_requests_total", "http_request_duration_seconds_count"] {
                let line = format!("{name}{labels} 0");
                assert!(metrics.lines().any(|it| it == line), "no {line} in\n{metrics}");
            }
        }
    }
    for kind in ["click", "impression"] {
        for outcome in ["stored", "duplicate", "dead"] {
            let series = format!(r#"consumer_records_total{{kind="{kind}",outcome="{outcome}"}}"#);
            assert!(services.consumer.metric(&series).await.eq(&0.0), "{series}");
        }
    }

    assert_eq!(
        pipeline.http.post(&services.ingest.url("/ads/click"), &click(1, "e")).await.status,
        200
    );
    let answered = r#"http_requests_total{route="/ads/click",method="POST",status="200"}"#;
    assert!(services.ingest.metric(answered).await.eq(&1.0));
}

#[tokio::test]
async fn what_is_unaccounted_for_shows_in_a_gauge_until_it_is_mended() {
    let pipeline = Pipeline::new("unaccounted").await;
    let services = pipeline.start_all().await;
    let posted = pipeline.http.post(&services.ingest.url("/ads/click"), &click(1, "e")).await;
    assert_eq!(posted.status, 200);
    pipeline.settle().await;
    let unaccounted = async || services.consumer.metric("consumer_unaccounted_events").await;

    pipeline.execute("UPDATE partition_ledger SET dead = dead + 3 WHERE stored > 0").await;
    until("three too many in the ledger are seen", async || unaccounted().await.eq(&3.0)).await;

    pipeline.execute("UPDATE partition_ledger SET dead = dead - 3 WHERE stored > 0").await;
    until("all is accounted for again", async || unaccounted().await.eq(&0.0)).await;
}
