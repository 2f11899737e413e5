//! Services that are killed.

use e2e::{Pipeline, Program, Sample, Watch};

#[tokio::test]
async fn a_consumer_killed_five_times_during_a_replay_changes_no_count() {
    /// Events each second. Kafka misses a killed member for 10 s; with this the file lasts for as
    /// long as five of those.
    const RATE: &str = "140";
    let sample = Sample::read();
    let pipeline = Pipeline::new("killed").await;
    let ingest = pipeline.start(Program::Ingest, &[]).await;
    let analytics = pipeline.start(Program::Analytics, &[]).await;
    // Small batches, so that a kill finds one under way.
    let mut consumer = pipeline.start(Program::Consumer, &[("BATCH_MAX_EVENTS", "20")]).await;
    let watch = Watch::start(&analytics.url("/ads/analytics"));

    let replay = pipeline.replay(&sample, &ingest, &["--rate", RATE]);
    for kill in 1..=5 {
        pipeline.until_counted(sample.events * kill / 6).await;
        consumer.kill_9();
        consumer.restart();
    }
    assert_eq!(replay.exit_code().await, 0);

    assert_eq!(pipeline.settle_with_api(&analytics).await, sample.counts);
    assert_eq!(watch.stop().await.unanswered, 0);
}
