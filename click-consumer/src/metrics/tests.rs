//! Tests of the names and labels of the consumer's metrics.

use prometheus_client::encoding::text::encode;

use super::*;

/// Dashboards and alerts depend on these names and labels.
#[test]
fn every_metric_is_there_from_the_start() {
    let mut registry = Registry::default();
    let _metrics = Metrics::register(&mut registry);
    let mut page = String::new();
    encode(&mut page, &registry).expect("encoded");

    let zeros: Vec<&str> = page.lines().filter_map(|it| it.strip_suffix(" 0")).collect();
    let expected = [
        "consumer_records_total{kind=\"click\",outcome=\"stored\"}",
        "consumer_records_total{kind=\"impression\",outcome=\"dead\"}",
        "consumer_dead_letters_total{reason=\"undecodable\"}",
        "consumer_dead_letters_total{reason=\"unknown_ad\"}",
        "consumer_retries_total{reason=\"kafka\"}",
        "consumer_retries_total{reason=\"postgres_connection\"}",
        "consumer_fences_lost_total",
        "consumer_transactions_in_doubt_total",
        "consumer_rebalances_total",
        "consumer_partitions{stage=\"stopped\"}",
        "consumer_projection_updates_total{outcome=\"gap\"}",
        "consumer_projection_repairs_total",
        "consumer_unaccounted_events",
        "consumer_projection_behind_events",
        "consumer_projection_wrong_partitions",
        "consumer_visible_delay_seconds_count",
        "dependency_up{dependency=\"kafka\"}",
        "dependency_up{dependency=\"postgres\"}",
        "dependency_up{dependency=\"redis\"}",
        "consumer_batch_records_count",
        "consumer_transaction_seconds_count",
    ];
    for name in expected {
        assert!(zeros.contains(&name), "{name} is not in\n{page}");
    }
    let series = |name: &str| zeros.iter().filter(|it| it.starts_with(name)).count();
    assert_eq!(series("consumer_records_total"), 6);
    assert_eq!(series("consumer_dead_letters_total"), DeathReason::ALL.len());
    assert_eq!(series("consumer_retries_total"), RetryReason::ALL.len() + 1);
    assert_eq!(series("consumer_projection_updates_total"), Projected::ALL.len());
}
