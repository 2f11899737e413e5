//! Day partitions: made once, sharp at both edges, and missed by name.

use click_store::days::{Days, day_of};
use futures::future::join_all;
use proto_schemas::Kind;

use crate::harness::{Stores, count, event_at};

/// 2026-05-05T00:00:00Z, microseconds since 1970.
const MIDNIGHT_MICROS: i64 = 1_777_939_200_000_000;
const DAY_MICROS: i64 = 86_400_000_000;

#[tokio::test]
async fn a_day_is_made_once_however_many_ask_for_it() {
    let stores = Stores::new("once").await;
    let day = day_of(event_at(Kind::Click, 1, 0, MIDNIGHT_MICROS).dedup_time);

    let makers = (0..8).map(|_| async {
        let mut days = Days::default();
        days.ensure(&stores.pool, Kind::ALL.map(|kind| (kind, day))).await.unwrap();
        days.ensure(&stores.pool, Kind::ALL.map(|kind| (kind, day))).await.unwrap();
    });
    join_all(makers).await;

    let made = "SELECT count(*) FROM pg_inherits
                WHERE inhrelid IN (to_regclass('clicks_20260505'),
                                   to_regclass('impressions_20260505'))";
    assert_eq!(stores.one::<i64>(made).await, 2);
}

#[tokio::test]
async fn both_edges_of_a_day_lie_in_its_table() {
    let stores = Stores::new("edges").await;
    stores.see_partitions(1).await;
    let first = event_at(Kind::Click, 1, 1, MIDNIGHT_MICROS);
    let last = event_at(Kind::Click, 1, 2, MIDNIGHT_MICROS + DAY_MICROS - 1000);
    let day = day_of(first.dedup_time);
    assert_eq!(day_of(last.dedup_time), day);
    Days::default().ensure(&stores.pool, [(Kind::Click, day)]).await.unwrap();

    let batch = [stores.batch(Kind::Click, 0, 0, vec![first, last])];
    count(&stores.pool, &batch).await.unwrap();

    assert_eq!(stores.one::<i64>("SELECT count(*) FROM clicks_20260505").await, 2);
}

#[tokio::test]
async fn an_event_whose_day_has_no_table_is_reported_as_such() {
    let stores = Stores::new("noday").await;
    stores.see_partitions(1).await;
    let (before, after) = (MIDNIGHT_MICROS - 1000, MIDNIGHT_MICROS + DAY_MICROS);
    let day = day_of(event_at(Kind::Click, 1, 0, MIDNIGHT_MICROS).dedup_time);
    Days::default().ensure(&stores.pool, [(Kind::Click, day)]).await.unwrap();

    for micros in [before, after] {
        let batch = [stores.batch(Kind::Click, 0, 0, vec![event_at(Kind::Click, 1, 1, micros)])];
        let error = count(&stores.pool, &batch).await.unwrap_err();

        assert!(error.is_missing_day(), "{error}");
        assert_eq!(stores.next_offset(&batch[0].at).await, 0);
    }
}

#[tokio::test]
async fn a_check_that_fails_by_name_is_no_missing_day() {
    let stores = Stores::new("namedcheck").await;
    let client = stores.pool.get().await.unwrap();

    let error = client
        .execute(
            "INSERT INTO consumer_offsets (topic, kafka_partition, kind) VALUES ('t', 0, 'x')",
            &[],
        )
        .await
        .unwrap_err();

    let error = click_store::StoreError::from(error);
    assert!(error.is_refusal() && !error.is_missing_day(), "{error}");
}

#[tokio::test]
async fn the_coming_days_are_made_ahead() {
    let stores = Stores::new("ahead").await;
    let count = "SELECT count(*) FROM pg_inherits";
    let before: i64 = stores.one(count).await;

    let mut days = Days::default();
    days.ensure_ahead(&stores.pool, 2).await.unwrap();
    days.forget();
    days.ensure_ahead(&stores.pool, 2).await.unwrap();

    // Indexes are attached to that of the parent too: each day counts twice.
    assert_eq!(stores.one::<i64>(count).await - before, 2 * 2 * 3);
}
