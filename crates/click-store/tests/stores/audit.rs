//! Every kind of difference planted by hand, and found.

use std::time::Duration;

use click_store::{
    TopicPartition,
    audit::{self, AdDifference, Books, PartitionBooks, RedisState, Rows, Stray},
    events, offsets, repair,
};
use fred::interfaces::{HashesInterface, KeysInterface};
use proto_schemas::Kind;

use crate::harness::{Stores, ad_id, clicks, count, event};

const LIMIT: Duration = Duration::from_mins(1);

#[tokio::test]
async fn healthy_books_balance() {
    let test = Test::counted().await;

    let books = test.books().await;

    assert_eq!(books.partitions.len(), 4);
    assert!(books.partitions.iter().all(PartitionBooks::balances), "{books:?}");
    assert_eq!(books.strays, []);
    let clicks = test.clicks_of(&books);
    assert_eq!((clicks.next_offset, clicks.totals, clicks.rows), (6, 5, Some(5)));
    assert_eq!((clicks.ledger.stored, clicks.ledger.duplicates), (5, 1));
    assert_eq!(test.unaccounted().await, 0);
}

#[tokio::test]
async fn a_row_that_was_deleted_is_found_and_only_by_counting_rows() {
    let test = Test::counted().await;
    test.stores.execute("DELETE FROM clicks WHERE event_id = 'e3'").await;

    let books = test.books().await;
    let quick = audit::books(&test.stores.pool, Rows::Skipped, LIMIT).await.unwrap();

    let clicks = test.clicks_of(&books);
    assert!(!clicks.balances());
    assert_eq!(clicks.rows, Some(4));
    assert_eq!(clicks.ads, [AdDifference { ad: ad_id(1), rows: 4, total: 5 }]);
    assert!(test.clicks_of(&quick).balances());
    assert_eq!(test.clicks_of(&quick).rows, None);
}

#[tokio::test]
async fn a_total_that_was_changed_is_found() {
    let test = Test::counted().await;
    test.stores.execute("UPDATE ad_totals SET events = 7 WHERE ad_id = 1").await;

    let books = test.books().await;

    let clicks = test.clicks_of(&books);
    assert!(!clicks.balances());
    assert_eq!((clicks.totals, clicks.missing_in_ledger()), (7, 0));
    assert_eq!(clicks.ads, [AdDifference { ad: ad_id(1), rows: 5, total: 7 }]);
    assert_eq!(test.unaccounted().await, 2);
}

#[tokio::test]
async fn events_that_moved_from_one_ad_to_another_are_found() {
    let test = Test::counted().await;
    test.stores
        .execute(
            "UPDATE ad_totals SET events = 4 WHERE ad_id = 1;
             INSERT INTO ad_totals SELECT topic, kafka_partition, 2, 1 FROM ad_totals",
        )
        .await;

    let books = test.books().await;

    let clicks = test.clicks_of(&books);
    assert_eq!((clicks.totals, clicks.rows), (5, Some(5)));
    assert!(!clicks.balances());
    assert_eq!(
        clicks.ads.iter().map(|it| (it.rows, it.total)).collect::<Vec<_>>(),
        [(5, 4), (0, 1)]
    );
}

#[tokio::test]
async fn a_ledger_that_was_changed_or_lost_is_found() {
    let test = Test::counted().await;
    test.stores.execute("UPDATE partition_ledger SET dead = dead + 3 WHERE stored > 0").await;
    assert_eq!(test.clicks_of(&test.books().await).missing_in_ledger(), -3);
    assert_eq!(test.unaccounted().await, 3);

    test.stores.execute("DELETE FROM partition_ledger").await;

    assert_eq!(test.clicks_of(&test.books().await).missing_in_ledger(), 6);
    // Six offsets that nobody accounts for, and five events in the totals that were not stored.
    assert_eq!(test.unaccounted().await, 11);
}

#[tokio::test]
async fn what_belongs_to_no_partition_that_is_counted_is_found() {
    let test = Test::counted().await;
    test.stores.execute("DELETE FROM consumer_offsets WHERE next_offset > 0").await;

    let books = test.books().await;

    let topic = Some(test.at.topic.to_string());
    let stray = |table, topic, events| Stray { table, topic, partition: 0, events };
    assert_eq!(
        books.strays,
        [
            stray("partition_ledger", topic.clone(), 6),
            stray("ad_totals", topic, 5),
            stray("clicks", None, 5)
        ]
    );
}

#[tokio::test]
async fn redis_is_compared_at_its_own_offset() {
    let test = Test::counted().await;
    let raw = test.stores.raw_redis().await;
    let key = test.stores.key(&test.at);
    assert_eq!(test.redis().await, RedisState::Absent);
    test.mend().await;
    assert_eq!(test.redis().await, RedisState::Equal);

    raw.hincrby::<i64, _, _>(&key, "1", 1).await.unwrap();
    assert_eq!(test.redis().await, RedisState::Different { ads: 1 });

    raw.hset::<(), _, _>(&key, ("1", "many")).await.unwrap();
    assert_eq!(test.redis().await, RedisState::Malformed);

    raw.hset::<(), _, _>(&key, [("1", "5"), ("offset", "9")]).await.unwrap();
    assert_eq!(test.redis().await, RedisState::Ahead(3));

    raw.hset::<(), _, _>(&key, ("offset", "4")).await.unwrap();
    assert_eq!(test.redis().await, RedisState::Behind(2));

    offsets::renew_epoch(&test.stores.pool, "a test").await.unwrap();
    assert_eq!(test.redis().await, RedisState::OtherEpoch);

    raw.del::<(), _>(&key).await.unwrap();
    assert_eq!(test.redis().await, RedisState::Absent);
}

#[tokio::test]
async fn a_stored_event_is_known_by_its_key() {
    let test = Test::counted().await;
    let (here, gone) = (event(Kind::Click, 1, 3), event(Kind::Click, 1, 77));
    let impression = event(Kind::Impression, 1, 3);

    let asked = [&here, &gone, &impression];
    let found = events::stored(&test.stores.pool, Kind::Click, asked.into_iter()).await.unwrap();

    assert_eq!(found.into_iter().collect::<Vec<_>>(), [here.dedup_key]);
}

/// One partition with six records counted, of which the last is a duplicate; and three that are empty.
struct Test {
    stores: Stores,
    at: TopicPartition,
}

impl Test {
    async fn counted() -> Self {
        let stores = Stores::new("audit").await;
        stores.see_partitions(2).await;
        let at = stores.partition(Kind::Click, 0);
        let mut events = clicks(1, 0..5);
        events.push(event(Kind::Click, 1, 0));
        count(&stores.pool, &[stores.batch(Kind::Click, 0, 0, events)]).await.unwrap();
        Self { stores, at }
    }

    async fn books(&self) -> Books {
        audit::books(&self.stores.pool, Rows::Counted, LIMIT).await.unwrap()
    }

    fn clicks_of<'a>(&self, books: &'a Books) -> &'a PartitionBooks {
        books.partitions.iter().find(|it| it.at == self.at).unwrap()
    }

    async fn unaccounted(&self) -> i64 {
        let at = std::slice::from_ref(&self.at);
        audit::unaccounted(&self.stores.pool, at).await.unwrap()
    }

    async fn redis(&self) -> RedisState {
        let stores = &self.stores;
        audit::compare_redis(&stores.pool, &stores.projection, &self.at).await.unwrap()
    }

    async fn mend(&self) {
        repair::repair(&self.stores.pool, &self.stores.projection, &self.at).await.unwrap();
    }
}
