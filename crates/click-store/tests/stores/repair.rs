//! Redis made to agree with Postgres again.

use click_store::{
    TopicPartition, offsets,
    projection::{Advance, Advanced, Mark},
    repair::{Difference, Repaired, compare, repair},
    totals,
};
use fred::interfaces::KeysInterface;
use proto_schemas::Kind;

use crate::harness::{Stores, ad_id, clicks, count};

#[tokio::test]
async fn a_missing_hash_is_written() {
    let test = Test::counted(5).await;

    assert_eq!(test.difference().await, Some(Difference::Wrong));
    assert_eq!(test.repair().await, Repaired::Replaced);

    assert_eq!(test.difference().await, None);
    assert_eq!(test.clicks_in_redis().await, 5);
}

#[tokio::test]
async fn a_hash_that_agrees_is_left_as_it_is() {
    let test = Test::counted(5).await;
    test.repair().await;

    assert_eq!(test.repair().await, Repaired::Agreed);
}

#[tokio::test]
async fn a_hash_that_is_behind_is_written_anew() {
    let test = Test::counted(5).await;
    test.repair().await;
    test.count(5, 3).await;

    assert_eq!(test.difference().await, Some(Difference::Behind { offset: 5, by: 3 }));
    assert_eq!(test.repair().await, Repaired::Replaced);

    assert_eq!(test.clicks_in_redis().await, 8);
}

#[tokio::test]
async fn a_hash_of_another_epoch_is_written_anew() {
    let test = Test::counted(5).await;
    test.repair().await;
    let epoch = offsets::renew_epoch(&test.stores.pool, "a test").await.unwrap();

    assert_eq!(test.difference().await, Some(Difference::Wrong));
    assert_eq!(test.repair().await, Repaired::Replaced);

    assert_eq!(test.mark().await, Some(Mark { epoch, offset: 5 }));
}

#[tokio::test]
async fn a_hash_that_is_ahead_renews_the_epoch_and_is_written_anew() {
    let test = Test::counted(5).await;
    test.repair().await;
    let before = totals::epoch(&test.stores.pool).await.unwrap();
    let lost = Advance {
        at: test.at.clone(),
        epoch: before,
        expected: 5,
        new: 9,
        increments: vec![(ad_id(1), 4)],
    };
    assert_eq!(test.stores.projection.advance(&lost).await.unwrap(), Advanced::Applied);

    assert_eq!(test.difference().await, Some(Difference::Wrong));
    assert_eq!(test.repair().await, Repaired::Replaced);

    let after = totals::epoch(&test.stores.pool).await.unwrap();
    assert_ne!(after, before);
    assert_eq!(test.mark().await, Some(Mark { epoch: after, offset: 5 }));
    assert_eq!(test.clicks_in_redis().await, 5);
    assert_eq!(test.repair().await, Repaired::Agreed);
}

#[tokio::test]
async fn a_partition_without_a_row_is_left_alone() {
    let test = Test::counted(5).await;
    let unseen = test.stores.partition(Kind::Click, 9);

    let repaired = repair(&test.stores.pool, &test.stores.projection, &unseen).await.unwrap();
    let differences = compare(&test.stores.pool, &test.stores.projection, &[unseen]).await.unwrap();

    assert_eq!(repaired, Repaired::LeftAlone);
    assert!(differences.is_empty());
}

#[tokio::test]
async fn only_what_differs_is_reported() {
    let test = Test::counted(5).await;
    let all = [0, 1, 2].map(|it| test.stores.partition(Kind::Click, it));
    for at in &all {
        repair(&test.stores.pool, &test.stores.projection, at).await.unwrap();
    }
    let raw = test.stores.raw_redis().await;
    raw.del::<(), _>(test.stores.key(&all[1])).await.unwrap();

    let differences = compare(&test.stores.pool, &test.stores.projection, &all).await.unwrap();

    assert_eq!(differences.into_iter().collect::<Vec<_>>(), [(all[1].clone(), Difference::Wrong)]);
}

/// One partition that was counted to some offset, and of which Redis knows nothing yet.
struct Test {
    stores: Stores,
    at: TopicPartition,
}

impl Test {
    async fn counted(events: u32) -> Self {
        let stores = Stores::new("repair").await;
        stores.see_partitions(3).await;
        let at = stores.partition(Kind::Click, 0);
        let test = Self { stores, at };
        test.count(0, events).await;
        test
    }

    async fn count(&self, first: u32, events: u32) {
        let events = clicks(1, first..first + events);
        let batch = [self.stores.batch(Kind::Click, 0, i64::from(first), events)];
        count(&self.stores.pool, &batch).await.unwrap();
    }

    async fn repair(&self) -> Repaired {
        repair(&self.stores.pool, &self.stores.projection, &self.at).await.unwrap()
    }

    async fn difference(&self) -> Option<Difference> {
        let at = std::slice::from_ref(&self.at);
        let found = compare(&self.stores.pool, &self.stores.projection, at).await.unwrap();
        found.get(&self.at).copied()
    }

    async fn mark(&self) -> Option<Mark> {
        self.stores.projection.peek(&self.at).await.unwrap()
    }

    async fn clicks_in_redis(&self) -> u64 {
        let mut view = totals::view(&self.stores.pool).await.unwrap();
        view.partitions.retain(|it| it.at == self.at);
        let snapshot = self.stores.projection.snapshot(&view).await.unwrap();
        snapshot.expect("a whole snapshot").ads[&ad_id(1)].clicks
    }
}
