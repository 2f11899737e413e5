//! Two consumers with the same records: the fence lets one of them count.

use std::{pin::Pin, time::Duration};

use bytes::Bytes;
use click_store::{
    RecentEvents, RetryReason, StoreError,
    counting::{Begun, CountingTransaction},
    offsets,
};
use proto_schemas::Kind;
use tokio::time::{sleep, timeout};
use tokio_postgres::{Client, CopyInSink};

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
    let (first, other) = in_two_partitions(&stores).await;

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
    let (first, other) = in_two_partitions(&stores).await;

    let (second, ()) = tokio::join!(count(&stores.pool, &other), async {
        until_one_waits(&stores).await;
        first.roll_back().await.unwrap();
    });

    assert_eq!(second.unwrap().new_events(), 50);
    assert_eq!(stores.one::<i64>("SELECT count(*) FROM clicks").await, 50);
}

#[tokio::test]
async fn who_sits_still_in_the_middle_of_its_rows_is_put_out_and_its_fence_free() {
    let stores = Stores::new("sitsstill").await;
    stores.see_partitions(1).await;
    let batch = [stores.batch(Kind::Click, 0, 0, clicks(1, 0..3))];
    let frozen = stores.pool.get().await.unwrap();
    let rows = in_the_middle_of_its_rows(&frozen).await;

    let outcome = after_lock_timeouts(async || count(&stores.pool, &batch).await).await;

    assert_eq!(outcome.new_events(), 3);
    drop(rows);
    assert!(frozen.batch_execute("COMMIT").await.is_err());
}

#[tokio::test]
async fn who_sits_still_in_the_middle_of_its_rows_is_put_out_by_who_starts_at_its_partition() {
    let stores = Stores::new("sitsstart").await;
    stores.see_partitions(1).await;
    let partitions = [(stores.partition(Kind::Click, 0), Kind::Click)];
    let frozen = stores.pool.get().await.unwrap();
    let _rows = in_the_middle_of_its_rows(&frozen).await;

    let ensure = async || offsets::ensure(&stores.pool, &partitions).await;
    let positions = after_lock_timeouts(ensure).await;

    assert_eq!(positions[&partitions[0].0].next_offset, 0);
}

/// A consumer that holds every fence and sends no more rows.
async fn in_the_middle_of_its_rows(client: &Client) -> Pin<Box<CopyInSink<Bytes>>> {
    client.batch_execute("BEGIN; UPDATE consumer_offsets SET next_offset = 3").await.unwrap();
    Box::pin(client.copy_in("COPY clicks FROM STDIN").await.unwrap())
}

/// Tries until no lock is waited for in vain: after the 15 s in which one may sit still.
async fn after_lock_timeouts<T>(work: impl AsyncFn() -> Result<T, StoreError>) -> T {
    timeout(Duration::from_mins(2), async {
        loop {
            match work().await {
                Ok(done) => return done,
                Err(error) => assert_eq!(error.retry_reason(), RetryReason::LockTimeout, "{error}"),
            }
        }
    })
    .await
    .expect("the fence is free")
}

/// The same events in two partitions: those of the first are stored by a transaction that is still
/// open, those of the second are returned.
async fn in_two_partitions(stores: &Stores) -> (Box<CountingTransaction>, [Batch; 1]) {
    stores.see_partitions(2).await;
    let one = [stores.batch(Kind::Click, 0, 0, clicks(1, 0..50))];
    let other = [stores.batch(Kind::Click, 1, 0, clicks(1, 0..50))];
    let first = open(stores, &one).await;
    store(&first, &one, &mut RecentEvents::default()).await.unwrap();
    (first, other)
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
