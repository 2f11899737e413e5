//! Row 4: a consumer frozen past its session, while another takes over, and then woken.

use e2e::{Load, Observer, Pipeline, Program, until};

#[tokio::test]
async fn a_zombie_that_wakes_after_another_took_over_counts_nothing_again() {
    let pipeline = Pipeline::new("faultzombie").await;
    let ingest = pipeline.start(Program::Ingest, &[]).await;
    let analytics = pipeline.start(Program::Analytics, &[]).await;
    // Small batches: one is under way at nearly every moment.
    let small = [("BATCH_MAX_EVENTS", "20"), ("BATCH_MAX_AGE", "10ms")];
    let zombie = pipeline.start(Program::Consumer, &small).await;
    let observer = Observer::start(&pipeline, Some(&analytics));
    let load = Load::start(&ingest.url("/ads/click"), 4);
    load.until_accepted(200).await;
    pipeline.until_counted(100).await;

    zombie.freeze();
    let heir = pipeline.start(Program::Consumer, &small).await;
    // Kafka gives the zombie up after 10 s; what it held in Postgres ends after 15 s at most.
    until("the heir reads all partitions", async || {
        heir.metric(r#"consumer_partitions{stage="reading"}"#).await >= 24.0
    })
    .await;
    let now = load.accepted();
    pipeline.until_counted(i64::try_from(now).expect("few")).await;

    zombie.thaw();
    load.until_accepted(300).await;
    until("both share the partitions again", async || {
        let reading = r#"consumer_partitions{stage="reading"}"#;
        zombie.metric(reading).await > 0.0 && heir.metric(reading).await > 0.0
    })
    .await;
    load.until_accepted(300).await;
    let sent = load.stop().await;

    pipeline.check(&[sent], Some(&analytics)).await;
    assert!(observer.stop().await.compared > 0);
}
