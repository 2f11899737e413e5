//! Row 4: a consumer frozen past its session, while another takes over, and then woken.

use e2e::{Load, Observer, Pipeline, Players, Program, Service, until};

/// Small batches: one is under way at nearly every moment.
const SMALL: [(&str, &str); 2] = [("BATCH_MAX_EVENTS", "20"), ("BATCH_MAX_AGE", "10ms")];

const READING: &str = r#"consumer_partitions{stage="reading"}"#;

#[tokio::test]
async fn a_zombie_that_wakes_after_another_took_over_counts_nothing_again() {
    let pipeline = Pipeline::new("faultzombie").await;
    let ingest = pipeline.start(Program::Ingest, &[]).await;
    let analytics = pipeline.start(Program::Analytics, &[]).await;
    let zombie = pipeline.start(Program::Consumer, &SMALL).await;
    let observer = Observer::start(&pipeline, Some(&analytics));
    let load = Load::start(&ingest.url("/ads/click"), 4);
    load.until_accepted(200).await;
    pipeline.until_counted(100).await;

    zombie.freeze();
    let heir = heir_of_all(&pipeline, &load).await;

    zombie.thaw();
    load.until_accepted(300).await;
    until("both share the partitions again", async || {
        zombie.metric(READING).await > 0.0 && heir.metric(READING).await > 0.0
    })
    .await;
    load.until_accepted(300).await;
    let sent = load.stop().await;

    pipeline.check(&[sent], Some(&analytics)).await;
    assert!(observer.stop().await.compared > 0);
}

#[tokio::test]
async fn a_zombie_that_wakes_before_its_fence_finds_it_moved() {
    let fences_lost = wake_at("before-fence").await;

    // What it held was counted by another: nothing but the fence says so.
    assert!(fences_lost > 0.0);
}

#[tokio::test]
async fn a_zombie_that_wakes_before_commit_counts_nothing_again() {
    wake_at("before-commit").await;
}

#[tokio::test]
async fn a_zombie_that_wakes_after_commit_adds_nothing_to_redis_again() {
    wake_at("after-commit").await;
}

#[tokio::test]
async fn a_zombie_that_wakes_during_the_scripts_of_redis_adds_nothing_again() {
    wake_at("during-redis").await;
}

/// Lets a consumer stand still at this step of counting, a batch in its hands, until another has counted
/// that batch too; returns how many fences it found moved after it woke.
async fn wake_at(point: &str) -> f64 {
    let pipeline = Pipeline::new(&format!("faultzombie-{point}")).await;
    let ingest = pipeline.start(Program::Ingest, &[]).await;
    let analytics = pipeline.start(Program::Analytics, &[]).await;
    let observer = Observer::start(&pipeline, Some(&analytics));
    let load = Load::of(Players { count: 2, ..Players::default() }, &ingest.url("/ads/click"));
    let zombie = pipeline.spawn_zombie(point, 5, &SMALL);
    until("it stands still", async || zombie.process().is_frozen()).await;
    let _heir = heir_of_all(&pipeline, &load).await;

    zombie.thaw();
    until("both share the partitions again", async || zombie.metric(READING).await > 0.0).await;
    load.until_accepted(100).await;
    let sent = load.stop().await;

    pipeline.check(&[sent], Some(&analytics)).await;
    assert!(observer.stop().await.compared > 0);
    zombie.metric("consumer_fences_lost_total").await
}

/// Starts a second consumer, and waits until it has counted whatever the frozen one held. Kafka gives
/// that one up after 10 s, and what it held in Postgres ends after 15 s at most.
async fn heir_of_all(pipeline: &Pipeline, load: &Load) -> Service {
    let heir = pipeline.start(Program::Consumer, &SMALL).await;
    until("the heir reads all partitions", async || heir.metric(READING).await >= 24.0).await;
    let accepted = i64::try_from(load.accepted()).expect("few");
    pipeline.until_counted(accepted).await;
    heir
}
