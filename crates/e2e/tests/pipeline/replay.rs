//! The sample file through the whole pipeline.

use e2e::{Pipeline, Sample};

#[tokio::test]
async fn a_replayed_file_is_counted_exactly_and_replaying_it_again_changes_nothing() {
    let sample = Sample::read();
    let pipeline = Pipeline::new("replay").await;
    let services = pipeline.start_all().await;

    let replay = pipeline.replay(&sample, &services.ingest, &[]);
    assert_eq!(replay.exit_code().await, 0);
    let first = pipeline.settle_with_api(&services.analytics).await;
    let body = pipeline.until_api(&services.analytics, "redis", &first).await;

    let again = pipeline.replay(&sample, &services.ingest, &[]);
    assert_eq!(again.exit_code().await, 0);
    let second = pipeline.settle_with_api(&services.analytics).await;
    let body_again = pipeline.until_api(&services.analytics, "redis", &second).await;

    assert_eq!(first, sample.counts);
    assert_eq!(second, sample.counts);
    assert_eq!(body_again, body);
    assert!(pipeline.counted().await >= 2 * sample.events, "both were on Kafka");
}
