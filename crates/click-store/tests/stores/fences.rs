//! Two consumers with the same records: the fence lets one of them count.

use std::time::Duration;

use click_store::{
    RecentEvents, RetryReason,
    counting::{Begun, CountingTransaction},
};
use proto_schemas::Kind;
use tokio::time::{sleep, timeout};

use crate::harness::{Batch, Outcome, Stores, clicks, count, store};

/// Much longer than anything here takes, below the server's lock timeout.
const LIMIT: Duration = Duration::from_secs(4);

#[tokio::test]
async fn the_second_on_the_same_fence_waits_and_loses() {
    let stores = Stores::new("samefence").await;
    stores.see_partitions(1).await;
    let batch = [stores.batch(Kind::Click, 0, 0, clicks(1, 0..3))];
    let first = open(&stores, &batch).await;
    store(&first, &batch, &mut RecentEvents::default()).await.unwrap();

    let (second, ()) = tokio::join!(count(&stores.pool, &batch), async {
        until_one_waits(&stores).await;
        first.commit().await.unwrap();
    });

    assert_eq!(second.unwrap(), Outcome::Lost(vec![batch[0].at.clone()]));
    assert_eq!(stores.one::<i64>("SELECT count(*) FROM clicks").await, 3);
    assert_eq!(stores.one::<i64>("SELECT sum(events)::bigint FROM ad_totals").await, 3);
}

#[tokio::test]
async fn the_second_on_the_same_fence_counts_where_the_first_gave_up() {
    let stores = Stores::new("gaveup").await;
    stores.see_partitions(1).await;
    let batch = [stores.batch(Kind::Click, 0, 0, clicks(1, 0..3))];
    let first = open(&stores, &batch).await;
    store(&first, &batch, &mut RecentEvents::default()).await.unwrap();

    let (second, ()) = tokio::join!(count(&stores.pool, &batch), async {
        until_one_waits(&stores).await;
        first.roll_back().await.unwrap();
    });

    assert_eq!(second.unwrap().new_events(), 3);
}

#[tokio::test]
async fn batches_of_many_partitions_in_any_order_never_wait_in_a_circle() {
    let stores = Stores::new("circle").await;
    stores.see_partitions(6).await;
    let batch = |reverse: bool| {
        let mut parts: Vec<Batch> =
            (0..6).map(|it| stores.batch(Kind::Click, it, 0, clicks(1, 0..20))).collect();
        if reverse {
            parts.reverse();
        }
        parts
    };

    for round in 0..20 {
        stores.execute("UPDATE consumer_offsets SET next_offset = 0").await;
        let (forth, back) = (batch(round % 2 == 0), batch(round % 2 == 1));
        let (one, other) = tokio::join!(count(&stores.pool, &forth), count(&stores.pool, &back));
        let won = [one.unwrap(), other.unwrap()]
            .into_iter()
            .filter(|it| matches!(it, Outcome::Counted(..)))
            .count();
        assert_eq!(won, 1);
    }
    // The same 20 events came by way of all six partitions.
    assert_eq!(stores.one::<i64>("SELECT count(*) FROM clicks").await, 20);
}

#[tokio::test]
async fn the_same_event_from_two_partitions_at_once_is_stored_once() {
    let stores = Stores::new("twopartitions").await;
    stores.see_partitions(2).await;
    let one = [stores.batch(Kind::Click, 0, 0, clicks(1, 0..50))];
    let other = [stores.batch(Kind::Click, 1, 0, clicks(1, 0..50))];
    let first = open(&stores, &one).await;
    store(&first, &one, &mut RecentEvents::default()).await.unwrap();

    // Its fence is free; it waits at the first row that the other has inserted.
    let (second, ()) = tokio::join!(count(&stores.pool, &other), async {
        until_one_waits(&stores).await;
        first.commit().await.unwrap();
    });

    assert_eq!(second.unwrap().new_events(), 0);
    assert_eq!(stores.one::<i64>("SELECT count(*) FROM clicks").await, 50);
    assert_eq!(stores.next_offset(&other[0].at).await, 50);
}

#[tokio::test]
async fn the_same_event_from_two_partitions_at_once_is_stored_by_the_second_where_the_first_gives_up()
 {
    let stores = Stores::new("twogaveup").await;
    stores.see_partitions(2).await;
    let one = [stores.batch(Kind::Click, 0, 0, clicks(1, 0..50))];
    let other = [stores.batch(Kind::Click, 1, 0, clicks(1, 0..50))];
    let first = open(&stores, &one).await;
    store(&first, &one, &mut RecentEvents::default()).await.unwrap();

    let (second, ()) = tokio::join!(count(&stores.pool, &other), async {
        until_one_waits(&stores).await;
        first.roll_back().await.unwrap();
    });

    assert_eq!(second.unwrap().new_events(), 50);
    assert_eq!(stores.one::<i64>("SELECT count(*) FROM clicks").await, 50);
}

#[tokio::test]
async fn who_sits_still_in_the_middle_of_its_rows_is_put_out_and_its_fence_free() {
    /// The 15 s after which it is put out, and the waits for its fence until then.
    const LIMIT: Duration = Duration::from_mins(2);
    let stores = Stores::new("sitsstill").await;
    stores.see_partitions(1).await;
    let batch = [stores.batch(Kind::Click, 0, 0, clicks(1, 0..3))];
    let frozen = stores.pool.get().await.unwrap();
    frozen.batch_execute("BEGIN; UPDATE consumer_offsets SET next_offset = 3").await.unwrap();
    let rows = frozen.copy_in::<_, &[u8]>("COPY clicks FROM STDIN").await.unwrap();

    let outcome = timeout(LIMIT, async {
        loop {
            match count(&stores.pool, &batch).await {
                Ok(outcome) => return outcome,
                Err(error) => assert_eq!(error.retry_reason(), RetryReason::LockTimeout, "{error}"),
            }
        }
    })
    .await
    .expect("the fence is free");

    assert_eq!(outcome.new_events(), 3);
    drop(rows);
    assert!(frozen.batch_execute("COMMIT").await.is_err());
}

async fn open(stores: &Stores, batch: &[Batch]) -> Box<CountingTransaction> {
    let fences: Vec<_> = batch.iter().map(Batch::fence).collect();
    match CountingTransaction::begin(&stores.pool, &fences).await.unwrap() {
        Begun::Open(transaction) => transaction,
        Begun::Lost(lost) => panic!("lost {lost:?}"),
    }
}

/// Waits until a session of this database waits for a lock.
async fn until_one_waits(stores: &Stores) {
    let waiting = "SELECT count(*) FROM pg_stat_activity
                   WHERE datname = current_database() AND wait_event_type = 'Lock'";
    timeout(LIMIT, async {
        while stores.one::<i64>(waiting).await == 0 {
            sleep(Duration::from_millis(5)).await;
        }
    })
    .await
    .expect("somebody waits");
}
