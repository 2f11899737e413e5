//! Row 15: bytes that are no event, and partitions that are added, under load.

use e2e::{Load, Observer, Pipeline, Players, until};

#[tokio::test]
async fn garbage_among_the_clicks_becomes_dead_letters_and_every_click_counts_once() {
    const GARBAGE: u32 = 100;
    let pipeline = Pipeline::new("faultgarbage").await;
    let services = pipeline.start_all().await;
    let observer = Observer::start(&pipeline, Some(&services.analytics));
    let load = Load::start(&services.ingest.url("/ads/click"), 2);
    load.until_accepted(50).await;

    pipeline.send_garbage(GARBAGE).await;
    load.until_accepted(50).await;
    let sent = load.stop().await;

    pipeline.check(&[sent], Some(&services.analytics)).await;
    let dead = "SELECT coalesce(sum(dead), 0)::bigint FROM partition_ledger";
    assert_eq!(pipeline.number(dead).await, i64::from(GARBAGE));
    assert_eq!(pipeline.dead_letters().await, i64::from(GARBAGE));
    assert!(observer.stop().await.compared > 0);
}

#[tokio::test]
async fn partitions_that_are_added_under_load_are_counted_from_their_first_record() {
    let pipeline = Pipeline::new("faultpartitions").await;
    let mut services = pipeline.start_all().await;
    let observer = Observer::start(&pipeline, Some(&services.analytics));
    let load = Load::of(Players::persistent(), &services.ingest.url("/ads/click"));
    load.until_accepted(50).await;

    pipeline.add_partitions(15).await;
    // Producers look for new partitions every five minutes; one that starts knows them at once.
    services.ingest.terminate();
    assert_eq!(services.ingest.exit_code().await, 0);
    services.ingest.restart();
    services.ingest.ready().await;
    load.until_accepted(100).await;
    until("the consumer knows every partition", async || {
        let known = "SELECT count(*) FROM consumer_offsets WHERE kind = 'click'";
        pipeline.number(known).await == 15
    })
    .await;
    load.until_accepted(50).await;
    let sent = load.stop().await;

    pipeline.check(&[sent], Some(&services.analytics)).await;
    assert!(observer.stop().await.compared > 0);
}
