//! What is accepted is counted once, everywhere.

use std::collections::BTreeSet;

use e2e::{Counts, Pipeline, click};
use futures::future::join_all;
use proto_schemas::Kind;

#[tokio::test]
async fn an_accepted_event_is_counted_once_in_postgres_in_redis_and_in_the_api() {
    let pipeline = Pipeline::new("accepted").await;
    let services = pipeline.start_all().await;
    let empty = pipeline.until_api(&services.analytics, "redis", &Counts::zero()).await;

    let (clicks, impressions) =
        (services.ingest.url("/ads/click"), services.ingest.url("/ads/impression"));
    let first = pipeline.http.post(&clicks, &click(7, "one")).await;
    let shown = pipeline.http.post(&impressions, &click(7, "one")).await;
    let other = pipeline.http.post(&impressions, &click(8, "two")).await;

    for (answer, message) in [
        (&first, "Click received"),
        (&shown, "Impression received"),
        (&other, "Impression received"),
    ] {
        assert_eq!(answer.status, 200, "{}", answer.body);
        assert_eq!(answer.json()["message"], message);
    }
    let counts = pipeline.settle_with_api(&services.analytics).await;
    let expected = Counts::zero().with(Kind::Click, 7, 1).with(Kind::Impression, 7, 1).with(
        Kind::Impression,
        8,
        1,
    );
    assert_eq!(counts, expected);
    let click_id = first.json()["click_id"].as_str().expect("an id").to_owned();
    assert_eq!(pipeline.stored_keys(Kind::Click).await, BTreeSet::from([click_id]));
    let body = pipeline.until_api(&services.analytics, "redis", &expected).await;
    assert_ne!(body, empty);
}

#[tokio::test]
async fn the_same_event_posted_100_times_at_once_is_counted_once() {
    let pipeline = Pipeline::new("hundred").await;
    let services = pipeline.start_all().await;
    let (url, event) = (services.ingest.url("/ads/click"), click(3, "the-same"));

    let answers = join_all((0..100).map(|_| pipeline.http.post(&url, &event))).await;

    let ids: BTreeSet<_> = answers
        .iter()
        .map(|answer| {
            assert_eq!(answer.status, 200, "{}", answer.body);
            answer.json()["click_id"].as_str().expect("an id").to_owned()
        })
        .collect();
    assert_eq!(ids.len(), 1);
    let counts = pipeline.settle_with_api(&services.analytics).await;
    assert_eq!(counts, Counts::zero().with(Kind::Click, 3, 1));
    assert_eq!(pipeline.counted().await, 100, "every copy was on Kafka");
    assert_eq!(pipeline.stored_keys(Kind::Click).await, ids);
}

#[tokio::test]
async fn an_event_of_an_unknown_ad_is_kept_among_the_dead_letters_and_not_counted() {
    let pipeline = Pipeline::new("unknown").await;
    let services = pipeline.start_all().await;
    let url = services.ingest.url("/ads/click");

    for event in [click(999, "unknown"), click(1, "known")] {
        assert_eq!(pipeline.http.post(&url, &event).await.status, 200);
    }

    let counts = pipeline.settle_with_api(&services.analytics).await;
    assert_eq!(counts, Counts::zero().with(Kind::Click, 1, 1));
    let dead = services.consumer.metric(r#"consumer_records_total{kind="click",outcome="dead"}"#);
    assert!(dead.await.eq(&1.0));
    assert_eq!(pipeline.dead_letters().await, 1);
}
