//! The one connection on which a consumer counts batch after batch.

use std::time::Duration;

use click_store::{Pool, RecentEvents, StoreError, counting_pool};
use proto_schemas::{AdEvent, Kind};
use tokio::time::{sleep, timeout};

use crate::harness::{Stores, count_after, event};

const PATIENCE: Duration = Duration::from_secs(30);

#[tokio::test]
async fn a_counting_connection_that_was_ended_is_replaced() {
    let stores = Stores::empty("counting-ended").await;
    let counting = counting_pool(&stores.url, "tests").unwrap();
    let first = backend(&counting).await.unwrap();

    stores.execute(&format!("SELECT pg_terminate_backend({first})")).await;
    // Who finds it out gets the error: a moment after it was used it is not asked.
    let replaced = async {
        while !matches!(backend(&counting).await, Ok(other) if other != first) {
            sleep(Duration::from_millis(10)).await;
        }
    };

    timeout(PATIENCE, replaced).await.expect("another connection");
}

#[tokio::test]
async fn a_batch_of_many_ads_does_not_read_all_totals() {
    const ADS: u32 = 5000;
    let stores = Stores::new("many-ads").await;
    stores.see_partitions(1).await;
    let counting = counting_pool(&stores.url, "tests").unwrap();
    let mut recent = RecentEvents::default();
    let mut count = async |round: u32| {
        let first = round * ADS;
        let events: Vec<AdEvent> =
            (0..ADS).map(|ad| event(Kind::Click, u64::from(ad + 1), first + ad)).collect();
        let batch = stores.batch(Kind::Click, 0, i64::from(first), events);
        let counted = count_after(&counting, &[batch], &mut recent).await.unwrap();
        assert_eq!(counted.new_events(), i64::from(ADS));
    };
    count(0).await;
    let before = scans(&stores, &counting).await;

    count(1).await;

    assert_eq!(scans(&stores, &counting).await, before);
    let totals = "SELECT count(*) FROM ad_totals WHERE events = 2";
    assert_eq!(stores.one::<i64>(totals).await, i64::from(ADS));
}

/// The process of the server at the other end of the pool's connection.
async fn backend(pool: &Pool) -> Result<i32, StoreError> {
    Ok(pool.get().await?.query_one("SELECT pg_backend_pid()", &[]).await?.try_get(0)?)
}

/// How often all of `ad_totals` was read.
async fn scans(stores: &Stores, counting: &Pool) -> i64 {
    // What a connection has done is known to others once it has told, which it else does now and then.
    let tell = "SELECT pg_stat_force_next_flush()";
    counting.get().await.unwrap().batch_execute(tell).await.unwrap();
    stores.one("SELECT seq_scan FROM pg_stat_user_tables WHERE relname = 'ad_totals'").await
}
