//! Every event counts once: whoever repeats it, and whoever else counts.

use std::collections::HashMap;

use proto_schemas::Kind;

use crate::harness::{Pipeline, event, event_at, eventually};

#[tokio::test(flavor = "multi_thread")]
async fn an_event_that_stands_on_the_topic_twice_counts_once() {
    let mut test = Pipeline::new("twice", 3).await;
    let clicks = test.send_clicks(0..20).await;
    for repeated in &clicks[..7] {
        test.send(repeated).await;
    }
    test.send(&event(Kind::Impression, 1, 0)).await;

    let consumer = test.start_consumer();
    test.settle(28).await;

    assert_eq!(test.number("SELECT count(*) FROM clicks").await, 20);
    assert_eq!(test.number("SELECT count(*) FROM impressions").await, 1);
    assert_eq!(test.number("SELECT sum(duplicates)::bigint FROM partition_ledger").await, 7);
    test.stop(consumer).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_duplicate_that_comes_after_a_restart_does_not_count() {
    let mut test = Pipeline::new("later", 2).await;
    let clicks = test.send_clicks(0..10).await;
    let first = test.start_consumer();
    test.settle(10).await;
    test.stop(first).await;

    for repeated in &clicks {
        test.send(repeated).await;
    }
    test.send_clicks(10..13).await;
    let second = test.start_consumer();
    test.settle(23).await;

    assert_eq!(test.number("SELECT count(*) FROM clicks").await, 13);
    test.stop(second).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn events_of_days_long_past_and_of_midnight_find_their_table() {
    let mut test = Pipeline::new("days", 1).await;
    let midnight = 1_574_640_000_000_000; // 2019-11-25T00:00:00Z
    for (id, micros) in [(1, midnight - 1), (2, midnight), (3, midnight + 86_399_999_999)] {
        test.send(&event_at(Kind::Click, 1, id, micros)).await;
    }

    let consumer = test.start_consumer_with(&[("MAX_EVENT_AGE", "20y")]);
    test.settle(3).await;

    assert_eq!(test.number("SELECT count(*) FROM clicks_20191124").await, 1);
    assert_eq!(test.number("SELECT count(*) FROM clicks_20191125").await, 2);
    test.stop(consumer).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn two_consumers_share_the_partitions_and_one_leaves() {
    let mut test = Pipeline::new("share", 6).await;
    let one = test.start_consumer();
    test.send_clicks(0..50).await;
    test.settle(50).await;

    let two = test.start_consumer();
    let sent = async {
        for round in 1..=10 {
            test.send_clicks(round * 50..round * 50 + 50).await;
        }
    };
    sent.await;
    test.settle(550).await;
    test.stop(two).await;
    test.send_clicks(550..600).await;
    test.settle(600).await;

    assert_eq!(test.number("SELECT count(*) FROM clicks").await, 600);
    test.stop(one).await;
}

/// Two groups stand in for a consumer that believes it still owns its partitions while another has
/// taken them over: both read everything, and only the fence keeps them apart.
#[tokio::test(flavor = "multi_thread")]
async fn a_consumer_that_lost_its_partitions_without_knowing_counts_nothing_twice() {
    let mut test = Pipeline::new("zombie", 3).await;
    let zombie_group = format!("{}-zombie", test.scope.consumer_group);
    let owner = test.start_consumer();
    let zombie = test.start_consumer_with(&[("CONSUMER_GROUP", &zombie_group)]);

    for round in 0..10 {
        test.send_clicks(round * 40..round * 40 + 40).await;
    }
    test.settle(400).await;

    assert_eq!(test.number("SELECT count(*) FROM clicks").await, 400);
    test.stop(owner).await;
    test.send_clicks(400..450).await;
    test.settle(450).await;
    zombie_is_done(&mut test, zombie).await;
}

async fn zombie_is_done(test: &mut Pipeline, zombie: crate::harness::Consumer) {
    test.stop(zombie).await;
    assert_eq!(test.number("SELECT count(*) FROM clicks").await, 450);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_offset_that_was_put_back_is_followed() {
    let mut test = Pipeline::new("back", 2).await;
    let consumer = test.start_consumer();
    let clicks = test.send_clicks(0..30).await;
    test.settle(30).await;

    // What restoring an older backup does, by hand: everything is gone, the epoch is another one.
    test.execute(
        "BEGIN;
         DELETE FROM clicks; DELETE FROM ad_totals;
         UPDATE consumer_offsets SET next_offset = 0, last_timestamp_ms = NULL, last_hash = NULL;
         UPDATE partition_ledger SET stored = 0, duplicates = 0, dead = 0, absent = 0;
         UPDATE projection_epoch SET epoch = gen_random_uuid();
         COMMIT",
    )
    .await;
    test.settle(30).await;

    let mut per_ad: HashMap<u64, u64> = HashMap::new();
    for click in &clicks {
        *per_ad.entry(click.ad_id.get()).or_default() += 1;
    }
    assert!(test.totals().await.iter().all(|(ad, counts)| per_ad[ad] == counts.0));
    test.stop(consumer).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_ad_counts_from_the_moment_it_is_registered() {
    let mut test = Pipeline::new("register", 1).await;
    let consumer = test.start_consumer();
    test.send(&event(Kind::Click, 77, 1)).await;
    eventually("it is a dead letter", async || {
        test.number("SELECT coalesce(sum(dead), 0)::bigint FROM partition_ledger").await == 1
    })
    .await;

    click_store::ads::add(&test.pool, &[crate::harness::ad(77)]).await.expect("registered");
    test.send(&event(Kind::Click, 77, 2)).await;
    test.settle(2).await;

    assert_eq!(test.totals().await[&77], (1, 0));
    test.stop(consumer).await;
}
