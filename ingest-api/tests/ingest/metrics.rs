//! The names that dashboards and alerts depend on.

use std::collections::BTreeSet;

use crate::harness::TestIngest;

async fn fresh_metrics() -> String {
    // Nobody needs Kafka to look at metrics.
    TestIngest::start_unready(&[("KAFKA_BROKERS", "127.0.0.1:1")]).await.metrics().await
}

#[tokio::test]
async fn the_exposed_names_stay() {
    let metrics = fresh_metrics().await;

    let names: BTreeSet<_> = metrics.lines().filter_map(|it| it.strip_prefix("# TYPE ")).collect();
    let expected = [
        "build info",
        "dependency_up gauge",
        "http_request_duration_seconds histogram",
        "http_requests counter",
        "http_connections gauge",
        "http_connections_closed counter",
        "http_requests_in_flight gauge",
        "http_requests_shed counter",
        "ingest_events counter",
        "ingest_ignored_addresses counter",
        "ingest_overload gauge",
        "ingest_overload_delay_seconds gauge",
        "ingest_overload_known_overflow counter",
        "ingest_overload_turned_away counter",
        "ingest_produce_duration_seconds histogram",
        "ingest_producer_queue_events gauge",
        "ingest_producer_replaced counter",
        "ingest_rate_limit_exceeded counter",
        "ingest_rate_limit_shared counter",
        "ingest_rate_limiter_keys gauge",
        "ingest_rate_limiter_overflow counter",
        "ingest_redirects_without_click counter",
        "ingest_refusals counter",
        "ingest_spool_bytes gauge",
        "ingest_spool_drained counter",
        "ingest_spool_events gauge",
        "ingest_spool_limit_bytes gauge",
        "ingest_spool_oldest_age_seconds gauge",
        "ingest_spool_refused counter",
        "ingest_spool_spooled counter",
        "ingest_spool_sync_duration_seconds histogram",
        "process_cpu_seconds counter",
        "process_max_fds gauge",
        "process_open_fds gauge",
        "process_resident_memory_bytes gauge",
        "process_start_time_seconds gauge",
        "process_threads gauge",
        "process_virtual_memory_bytes gauge",
        "service_ready gauge",
    ];
    assert_eq!(names, BTreeSet::from(expected));
}

#[tokio::test]
async fn every_series_is_there_from_the_start_at_zero() {
    let metrics = fresh_metrics().await;

    let mut expected = vec![
        "ingest_ignored_addresses_total 0".to_owned(),
        "ingest_overload_known_overflow_total 0".to_owned(),
        "ingest_overload 0".to_owned(),
        "ingest_overload_turned_away_total 0".to_owned(),
        "ingest_produce_duration_seconds_count 0".to_owned(),
        "dependency_up{dependency=\"kafka\"} 0".to_owned(),
        "ingest_producer_queue_events 0".to_owned(),
        "ingest_producer_replaced_total 0".to_owned(),
        "ingest_spool_bytes 0".to_owned(),
        "ingest_spool_drained_total 0".to_owned(),
        "ingest_spool_events 0".to_owned(),
        "ingest_spool_limit_bytes 0".to_owned(),
        "ingest_spool_oldest_age_seconds 0.0".to_owned(),
        "ingest_spool_spooled_total 0".to_owned(),
        "ingest_spool_sync_duration_seconds_count 0".to_owned(),
    ];
    for kind in ["click", "impression"] {
        expected.push(format!("ingest_rate_limiter_keys{{kind=\"{kind}\"}} 0"));
        expected.push(format!("ingest_rate_limiter_overflow_total{{kind=\"{kind}\"}} 0"));
        let outcomes =
            ["received", "spooled", "rate_limited", "refused", "overloaded", "failed", "abandoned"];
        for outcome in outcomes {
            let labels = format!("kind=\"{kind}\",outcome=\"{outcome}\"");
            expected.push(format!("ingest_events_total{{{labels}}} 0"));
        }
    }
    expected.push("ingest_events_total{kind=\"unknown\",outcome=\"refused\"} 0".to_owned());
    for reason in
        ["invalid_json", "missing_field", "timestamp_too_old", "rate_limited", "unavailable"]
    {
        for kind in ["click", "impression", "unknown"] {
            let labels = format!("kind=\"{kind}\",reason=\"{reason}\"");
            expected.push(format!("ingest_refusals_total{{{labels}}} 0"));
        }
    }
    for route in ["/ads/click", "/ads/impression", "/ads/events"] {
        for status in [200, 400, 408, 413, 415, 429, 503] {
            let labels = format!("route=\"{route}\",method=\"POST\",status=\"{status}\"");
            expected.push(format!("http_requests_total{{{labels}}} 0"));
        }
    }
    for route in ["/ads/click.gif", "/ads/impression.gif"] {
        for status in [200, 400, 414, 429, 503] {
            let labels = format!("route=\"{route}\",method=\"GET\",status=\"{status}\"");
            expected.push(format!("http_requests_total{{{labels}}} 0"));
        }
    }
    for status in [302, 400, 403, 404, 410, 414] {
        let labels = format!("route=\"/ads/click\",method=\"GET\",status=\"{status}\"");
        expected.push(format!("http_requests_total{{{labels}}} 0"));
    }
    for reason in ["rate_limited", "refused", "overloaded", "failed"] {
        expected.push(format!("ingest_redirects_without_click_total{{reason=\"{reason}\"}} 0"));
    }
    for route in ["click", "impression", "events", "click.gif", "impression.gif"] {
        let labels = format!("route=\"/ads/{route}\",method=\"OPTIONS\",status=\"200\"");
        expected.push(format!("http_requests_total{{{labels}}} 0"));
    }
    for reason in ["full", "busy", "overdue", "disk"] {
        expected.push(format!("ingest_spool_refused_total{{reason=\"{reason}\"}} 0"));
    }
    for line in expected {
        assert!(metrics.lines().any(|it| it == line), "{line} is not in {metrics}");
    }
}
