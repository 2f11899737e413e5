//! SIGTERM under load: the exit code is 0, and what was answered with success is counted.

use std::collections::BTreeSet;

use e2e::{Load, Pipeline, Watch};
use futures::future::join_all;
use proto_schemas::Kind;

#[tokio::test]
async fn an_ingest_service_that_is_terminated_has_kept_what_it_answered() {
    let pipeline = Pipeline::new("stopingest").await;
    let mut services = pipeline.start_all().await;
    let load = Load::start(&services.ingest.url("/ads/click"), 8);
    load.until_accepted(300).await;

    services.ingest.terminate();
    assert_eq!(services.ingest.exit_code().await, 0);
    let sent = load.stop().await;

    assert_eq!(
        sent.other_answers(),
        BTreeSet::new(),
        "who is answered at all is answered with success"
    );
    pipeline.settle_with_api(&services.analytics).await;
    let (stored, accepted) = (pipeline.stored_event_ids().await, sent.accepted());
    assert!(accepted.is_subset(&stored), "lost: {:?}", accepted.difference(&stored));
    // One whose connection broke may be there all the same.
    let posted: BTreeSet<_> = sent.outcomes.into_keys().collect();
    assert!(stored.is_subset(&posted), "made up: {:?}", stored.difference(&posted));
}

#[tokio::test]
async fn a_consumer_that_is_terminated_leaves_the_rest_to_the_next_one() {
    let pipeline = Pipeline::new("stopconsumer").await;
    let mut services = pipeline.start_all().await;
    let load = Load::start(&services.ingest.url("/ads/click"), 8);
    load.until_accepted(300).await;
    pipeline.until_counted(100).await;

    services.consumer.terminate();
    assert_eq!(services.consumer.exit_code().await, 0);
    load.until_accepted(300).await;
    services.consumer.restart();
    services.consumer.ready().await;
    load.until_accepted(300).await;
    let sent = load.stop().await;

    assert_eq!(sent.other_answers(), BTreeSet::new());
    pipeline.settle_with_api(&services.analytics).await;
    assert_eq!(pipeline.stored_event_ids().await, sent.accepted());
}

#[tokio::test]
async fn an_analytics_service_that_is_terminated_answers_what_it_was_asked() {
    let pipeline = Pipeline::new("stopanalytics").await;
    let mut services = pipeline.start_all().await;
    let load = Load::start(&services.ingest.url("/ads/click"), 4);
    let url = services.analytics.url("/ads/analytics");
    let readers: Vec<_> = (0..8).map(|_| Watch::start(&url)).collect();
    load.until_accepted(100).await;

    services.analytics.terminate();
    assert_eq!(services.analytics.exit_code().await, 0);
    // Each fails where an answer is no success.
    for watched in join_all(readers.into_iter().map(Watch::stop)).await {
        assert!(!watched.answers.is_empty());
    }
    services.analytics.restart();
    services.analytics.ready().await;
    let sent = load.stop().await;

    let counts = pipeline.settle_with_api(&services.analytics).await;
    assert_eq!(counts.total(Kind::Click), sent.accepted().len() as u64);
}
