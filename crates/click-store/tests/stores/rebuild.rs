//! Totals and ledger corrected from the rows, also while others count.

use std::time::Duration;

use click_store::{
    audit::{self, PartitionBooks, Rows},
    rebuild::{self, Rebuilt},
    totals,
};
use proto_schemas::Kind;
use tokio::task::JoinSet;

use crate::harness::{Batch, Stores, clicks, count};

const LIMIT: Duration = Duration::from_mins(1);

#[tokio::test]
async fn what_was_changed_by_hand_is_corrected_under_a_new_epoch() {
    let stores = counted("mended").await;
    let before = totals::epoch(&stores.pool).await.unwrap();
    stores
        .execute(
            "UPDATE ad_totals SET events = 1 WHERE kafka_partition = 0;
             DELETE FROM ad_totals WHERE kafka_partition = 1;
             UPDATE partition_ledger SET stored = stored + 9 WHERE kafka_partition = 0 AND stored > 0",
        )
        .await;

    let rebuilt = rebuild::totals(&stores.pool, LIMIT).await.unwrap();

    let by: Vec<_> = rebuilt.totals.iter().map(|it| (it.at.partition, it.by)).collect();
    assert_eq!(by, [(0, 9), (1, 10)]);
    assert_eq!(rebuilt.ledgers, [(stores.partition(Kind::Click, 0), -9)]);
    let after = totals::epoch(&stores.pool).await.unwrap();
    assert_eq!(rebuilt.epoch, Some(after));
    assert_ne!(after, before);
    assert_balanced(&stores).await;
    assert_eq!(rebuild::totals(&stores.pool, LIMIT).await.unwrap(), Rebuilt::default());
}

#[tokio::test]
async fn books_that_balance_are_left_as_they_are() {
    let stores = counted("untouched").await;
    let before = totals::epoch(&stores.pool).await.unwrap();

    let rebuilt = rebuild::totals(&stores.pool, LIMIT).await.unwrap();

    assert_eq!(rebuilt, Rebuilt::default());
    assert_eq!(totals::epoch(&stores.pool).await.unwrap(), before);
}

#[tokio::test]
async fn a_row_that_was_deleted_stays_missing_in_the_ledger() {
    let stores = counted("deleted").await;
    stores.execute("DELETE FROM clicks WHERE event_id = 'e3'").await;

    rebuild::totals(&stores.pool, LIMIT).await.unwrap();

    let books = audit::books(&stores.pool, Rows::Counted, LIMIT).await.unwrap();
    let missing: i64 = books.partitions.iter().map(PartitionBooks::missing_in_ledger).sum();
    assert_eq!(missing, 1);
    assert!(books.partitions.iter().all(|it| it.rows == Some(it.totals) && it.ads.is_empty()));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_rebuild_loses_nothing_of_what_is_counted_meanwhile() {
    const ROUNDS: u32 = 60;
    let stores = counted("meanwhile").await;
    let mut counting = JoinSet::new();
    for partition in [0, 1] {
        let batches: Vec<Batch> = (0..ROUNDS)
            .map(|round| {
                let first = 1000 * (partition + 1) + round * 10;
                let offset = i64::from(10 + round * 10);
                let number = partition.cast_signed();
                stores.batch(
                    Kind::Click,
                    number,
                    offset,
                    clicks(u64::from(1 + round % 3), first..first + 10),
                )
            })
            .collect();
        let pool = stores.pool.clone();
        counting.spawn(async move {
            for batch in batches {
                assert_eq!(count(&pool, &[batch]).await.unwrap().new_events(), 10);
            }
        });
    }

    // Each round plants a difference and mends it, as often as there is time.
    let mut rebuilds = 0;
    loop {
        // One transaction each: whoever counts takes these rows in the other order.
        for difference in [
            "UPDATE ad_totals SET events = events + 5 WHERE ad_id = 1",
            "UPDATE partition_ledger SET stored = stored + 2 WHERE kafka_partition = 1",
        ] {
            stores.execute(difference).await;
        }
        let done = counting.is_empty();
        assert!(rebuild::totals(&stores.pool, LIMIT).await.unwrap().epoch.is_some());
        rebuilds += 1;
        if done {
            break;
        }
        while let Some(ended) = counting.try_join_next() {
            ended.unwrap();
        }
    }

    assert!(rebuilds > 2, "only {rebuilds} rebuilds while counting");
    assert_balanced(&stores).await;
    let events: i64 = stores.one("SELECT sum(events)::bigint FROM ad_totals").await;
    assert_eq!(events, i64::from(2 * (10 + ROUNDS * 10)));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn two_rebuilds_at_once_correct_a_difference_once() {
    let stores = counted("twice").await;
    stores.execute("UPDATE ad_totals SET events = events - 3").await;

    let (one, other) =
        tokio::join!(rebuild::totals(&stores.pool, LIMIT), rebuild::totals(&stores.pool, LIMIT));

    let corrected = [one, other].map(|it| it.unwrap().totals.len());
    assert_eq!(corrected.iter().sum::<usize>(), 2);
    assert_balanced(&stores).await;
}

/// Ten clicks of ad 1 in each of two partitions.
async fn counted(name: &str) -> Stores {
    let stores = Stores::new(name).await;
    stores.see_partitions(2).await;
    let batch = [
        stores.batch(Kind::Click, 0, 0, clicks(1, 0..10)),
        stores.batch(Kind::Click, 1, 0, clicks(1, 10..20)),
    ];
    count(&stores.pool, &batch).await.unwrap();
    stores
}

async fn assert_balanced(stores: &Stores) {
    let books = audit::books(&stores.pool, Rows::Counted, LIMIT).await.unwrap();
    assert!(books.partitions.iter().all(PartitionBooks::balances), "{books:?}");
    assert_eq!(books.strays, []);
}
