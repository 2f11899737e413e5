//! Row 3: a consumer killed at each step of counting.

use e2e::{Load, Observer, Pipeline, Players, Program};

/// What a process that aborted leaves as its code: 128 and the number of SIGABRT.
const ABORTED: i32 = 134;

#[tokio::test]
async fn a_consumer_killed_before_the_fence_counts_every_click_once() {
    die_at("before-fence").await;
}

#[tokio::test]
async fn a_consumer_killed_after_the_insert_counts_every_click_once() {
    die_at("after-insert").await;
}

#[tokio::test]
async fn a_consumer_killed_before_commit_counts_every_click_once() {
    die_at("before-commit").await;
}

#[tokio::test]
async fn a_consumer_killed_after_commit_counts_every_click_once() {
    die_at("after-commit").await;
}

#[tokio::test]
async fn a_consumer_killed_during_the_scripts_of_redis_counts_every_click_once() {
    die_at("during-redis").await;
}

#[tokio::test]
async fn a_consumer_killed_before_kafka_is_told_counts_every_click_once() {
    die_at("before-kafka-offset").await;
}

/// Lets four consumers die at this step, one after the other and each at another batch.
async fn die_at(point: &str) {
    let pipeline = Pipeline::new(&format!("fault-{point}")).await;
    let ingest = pipeline.start(Program::Ingest, &[]).await;
    let analytics = pipeline.start(Program::Analytics, &[]).await;
    let observer = Observer::start(&pipeline, Some(&analytics));
    let load = Load::of(Players { count: 2, ..Players::default() }, &ingest.url("/ads/click"));

    for nth in [1, 2, 5, 12] {
        let mut consumer = pipeline.spawn_doomed(point, nth);
        assert_eq!(consumer.exit_code().await, ABORTED, "{}", consumer.process().said());
    }
    let _consumer = pipeline.start(Program::Consumer, &[]).await;
    load.until_accepted(50).await;
    let sent = load.stop().await;

    pipeline.check(&[sent], Some(&analytics)).await;
    assert!(observer.stop().await.offsets > 0);
}
