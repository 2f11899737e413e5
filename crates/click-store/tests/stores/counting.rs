//! What the counting transaction leaves behind.

use std::collections::HashSet;

use click_store::{
    RecentEvents,
    counting::{Begun, CountingTransaction, LedgerEntry},
    offsets, totals,
};
use proto_schemas::Kind;

use crate::harness::{Outcome, Stores, ad_id, clicks, count, event, store};

#[tokio::test]
async fn an_event_is_stored_once_when_its_batch_is_counted_twice() {
    let stores = Stores::new("twice").await;
    stores.see_partitions(1).await;
    let batch = [stores.batch(Kind::Click, 0, 0, clicks(1, 0..5))];

    let first = count(&stores.pool, &batch).await.unwrap();
    let second = count(&stores.pool, &batch).await.unwrap();

    assert_eq!(first.new_events(), 5);
    assert_eq!(second, Outcome::Lost(vec![batch[0].at.clone()]));
    assert_eq!(stores.one::<i64>("SELECT count(*) FROM clicks").await, 5);
    assert_eq!(stores.one::<i64>("SELECT events FROM ad_totals").await, 5);
    assert_eq!(stores.next_offset(&batch[0].at).await, 5);
}

#[tokio::test]
async fn duplicates_inside_a_batch_and_across_batches_count_once() {
    let stores = Stores::new("duplicates").await;
    stores.see_partitions(2).await;
    let again = |numbers: [u32; 3]| numbers.map(|it| event(Kind::Click, 1, it)).to_vec();

    let inside = [stores.batch(Kind::Click, 0, 0, again([1, 1, 2]))];
    let later = [stores.batch(Kind::Click, 0, 3, again([2, 1, 3]))];
    let elsewhere = [stores.batch(Kind::Click, 1, 0, again([3, 3, 4]))];

    assert_eq!(count(&stores.pool, &inside).await.unwrap().new_events(), 2);
    assert_eq!(count(&stores.pool, &later).await.unwrap().new_events(), 1);
    assert_eq!(count(&stores.pool, &elsewhere).await.unwrap().new_events(), 1);
    assert_eq!(stores.one::<i64>("SELECT count(*) FROM clicks").await, 4);
    assert_eq!(stores.one::<i64>("SELECT sum(events)::bigint FROM ad_totals").await, 4);
    assert_eq!(stores.one::<i64>("SELECT sum(duplicates)::bigint FROM partition_ledger").await, 5);
}

#[tokio::test]
async fn one_lost_fence_rolls_the_whole_batch_back() {
    let stores = Stores::new("onelost").await;
    stores.see_partitions(2).await;
    let moved = [stores.batch(Kind::Click, 1, 0, clicks(1, 0..2))];
    count(&stores.pool, &moved).await.unwrap();

    let batch = [
        stores.batch(Kind::Click, 0, 0, clicks(1, 10..13)),
        stores.batch(Kind::Click, 1, 0, clicks(1, 13..16)),
        stores.batch(Kind::Impression, 0, 0, vec![event(Kind::Impression, 1, 1)]),
    ];
    let outcome = count(&stores.pool, &batch).await.unwrap();

    assert_eq!(outcome, Outcome::Lost(vec![batch[1].at.clone()]));
    assert_eq!(stores.next_offset(&batch[0].at).await, 0);
    assert_eq!(stores.next_offset(&batch[1].at).await, 2);
    assert_eq!(stores.next_offset(&batch[2].at).await, 0);
    assert_eq!(stores.one::<i64>("SELECT count(*) FROM clicks").await, 2);
}

#[tokio::test]
async fn a_partition_without_a_row_is_a_lost_fence() {
    let stores = Stores::new("norow").await;
    stores.see_partitions(1).await;
    let batch = [
        stores.batch(Kind::Click, 0, 0, clicks(1, 0..1)),
        stores.batch(Kind::Click, 7, 0, clicks(1, 1..2)),
    ];

    let outcome = count(&stores.pool, &batch).await.unwrap();

    assert_eq!(outcome, Outcome::Lost(vec![batch[1].at.clone()]));
    assert_eq!(stores.next_offset(&batch[0].at).await, 0);
}

#[tokio::test]
async fn the_totals_are_the_rows_and_the_ledger_is_every_offset() {
    let stores = Stores::new("ledger").await;
    stores.see_partitions(2).await;
    for round in 0..3_u32 {
        let first = i64::from(round) * 6;
        let mixed = |from: u32| {
            let mut events = clicks(1, from..from + 3);
            events.extend(clicks(2, from + 3..from + 5));
            events.push(event(Kind::Click, 1, from));
            events
        };
        // Half of what the second partition brings was in the first one already.
        let batch = [
            stores.batch(Kind::Click, 0, first, mixed(round * 10)),
            stores.batch(Kind::Click, 1, first, mixed(round * 10 + 3)),
            stores.batch(
                Kind::Impression,
                1,
                i64::from(round),
                vec![event(Kind::Impression, 3, round)],
            ),
        ];
        count(&stores.pool, &batch).await.unwrap();
    }

    let differing: i64 = stores
        .one(
            "SELECT count(*) FROM (
                 SELECT kind, kafka_partition, ad_id, events
                 FROM ad_totals JOIN consumer_offsets USING (topic, kafka_partition)
                 EXCEPT
                 (SELECT 'click', kafka_partition, ad_id, count(*) FROM clicks GROUP BY 2, 3
                  UNION ALL
                  SELECT 'impression', kafka_partition, ad_id, count(*) FROM impressions
                  GROUP BY 2, 3)
             ) AS differing",
        )
        .await;
    assert_eq!(differing, 0);
    let rows = "SELECT (SELECT count(*) FROM clicks) + (SELECT count(*) FROM impressions)";
    let total: i64 = stores.one("SELECT sum(events)::bigint FROM ad_totals").await;
    assert_eq!(stores.one::<i64>(rows).await, total);
    let unaccounted: i64 = stores
        .one(
            "SELECT count(*) FROM consumer_offsets JOIN partition_ledger
                 USING (topic, kafka_partition)
             WHERE stored + duplicates + dead + absent <> next_offset",
        )
        .await;
    assert_eq!(unaccounted, 0);
}

#[tokio::test]
async fn records_that_never_count_are_in_the_ledger_alone() {
    let stores = Stores::new("dead").await;
    stores.see_partitions(1).await;
    let batch = stores.batch(Kind::Click, 0, 0, clicks(1, 0..3));
    let Begun::Open(transaction) =
        CountingTransaction::begin(&stores.pool, &[batch.fence()]).await.unwrap()
    else {
        panic!("lost")
    };

    assert!(
        transaction
            .insert(Kind::Click, Vec::new(), &mut RecentEvents::default())
            .await
            .unwrap()
            .is_empty()
    );
    let entry = LedgerEntry { dead: 2, absent: 1, ..LedgerEntry::default() };
    transaction.add_totals(&[], &[(&batch.at, entry)]).await.unwrap();
    transaction.commit().await.unwrap();

    assert_eq!(stores.next_offset(&batch.at).await, 3);
    assert_eq!(stores.one::<i64>("SELECT count(*) FROM ad_totals").await, 0);
    let ledger = "SELECT dead * 10 + absent FROM partition_ledger WHERE dead > 0";
    assert_eq!(stores.one::<i64>(ledger).await, 21);
}

#[tokio::test]
async fn ads_that_nobody_has_registered_are_named() {
    let stores = Stores::new("unknown").await;
    stores.see_partitions(1).await;
    let batch = stores.batch(Kind::Click, 0, 0, clicks(1, 0..1));
    let Begun::Open(transaction) =
        CountingTransaction::begin(&stores.pool, &[batch.fence()]).await.unwrap()
    else {
        panic!("lost")
    };

    let unknown = transaction.unknown_ads(&[1, 99, 2, 98].map(ad_id)).await.unwrap();
    // An ad that was registered a moment ago is known at once.
    click_store::ads::add(&stores.pool, &[crate::harness::registered(99)]).await.unwrap();
    let later = transaction.unknown_ads(&[1, 99, 2, 98].map(ad_id)).await.unwrap();
    transaction.roll_back().await.unwrap();

    assert_eq!(unknown, HashSet::from([98, 99].map(ad_id)));
    assert_eq!(later, HashSet::from([ad_id(98)]));
}

#[tokio::test]
async fn the_epoch_is_that_of_the_transaction() {
    let stores = Stores::new("epoch").await;
    stores.see_partitions(1).await;
    let renewed = offsets::renew_epoch(&stores.pool, "a test").await.unwrap();
    let batch = [stores.batch(Kind::Click, 0, 0, clicks(1, 0..1))];

    let outcome = count(&stores.pool, &batch).await.unwrap();

    let Outcome::Counted(_, epoch) = outcome else { panic!("lost") };
    assert_eq!(epoch, renewed);
    assert_eq!(totals::epoch(&stores.pool).await.unwrap(), renewed);
}

#[tokio::test]
async fn a_dropped_transaction_leaves_nothing() {
    let stores = Stores::new("dropped").await;
    stores.see_partitions(1).await;
    let batch = [stores.batch(Kind::Click, 0, 0, clicks(1, 0..3))];
    let Begun::Open(transaction) =
        CountingTransaction::begin(&stores.pool, &[batch[0].fence()]).await.unwrap()
    else {
        panic!("lost")
    };
    store(&transaction, &batch, &mut RecentEvents::default()).await.unwrap();

    drop(transaction);

    // This waits for the server to notice, and then holds the fence.
    let outcome = count(&stores.pool, &batch).await.unwrap();
    assert_eq!(outcome.new_events(), 3);
    assert_eq!(stores.one::<i64>("SELECT sum(stored)::bigint FROM partition_ledger").await, 3);
}

#[tokio::test]
async fn the_last_record_is_kept_beside_the_offset() {
    let stores = Stores::new("anchor").await;
    stores.see_partitions(1).await;
    let batch = [stores.batch(Kind::Click, 0, 0, clicks(1, 0..3))];
    let before = offsets::read(&stores.pool, &[batch[0].at.clone()]).await.unwrap();
    assert_eq!(before[&batch[0].at].anchor, None);

    count(&stores.pool, &batch).await.unwrap();

    let after = offsets::read(&stores.pool, &[batch[0].at.clone()]).await.unwrap();
    assert_eq!(after[&batch[0].at].anchor.as_ref(), Some(&batch[0].fence().anchor));
}
