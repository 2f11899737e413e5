//! Every branch of the two scripts that write Redis, and of the one that reads it.

use std::collections::HashMap;

use click_store::{
    Projection, TopicPartition,
    projection::{Advance, Advanced, Mark},
    totals::{self, AdTotals, CountedPartition, PartitionTotals, View},
};
use fred::interfaces::{HashesInterface, KeysInterface, LuaInterface};
use local_stack::{Place, redis::Redis};
use proto_schemas::Kind;
use uuid::Uuid;

use crate::harness::{self, Stores, ad_id, clicks, count, raw_redis};

const EPOCH: Uuid = Uuid::from_u128(1);
const OTHER: Uuid = Uuid::from_u128(2);

#[tokio::test]
async fn a_batch_that_follows_is_added() {
    let hash = Hash::at(10).await;

    assert_eq!(hash.advance(EPOCH, 10, 15, &[(1, 3), (2, 2)]).await, Advanced::Applied);
    assert_eq!(hash.advance(EPOCH, 15, 16, &[(1, 1)]).await, Advanced::Applied);

    hash.assert_held(&[("1", 104), ("2", 2), ("offset", 16)]).await;
}

#[tokio::test]
async fn a_batch_that_brings_nothing_new_moves_the_offset() {
    let hash = Hash::at(10).await;

    assert_eq!(hash.advance(EPOCH, 10, 15, &[]).await, Advanced::Applied);

    hash.assert_held(&[("1", 100), ("offset", 15)]).await;
}

#[tokio::test]
async fn a_batch_that_arrives_twice_or_late_is_not_added_again() {
    let hash = Hash::at(10).await;
    hash.advance(EPOCH, 10, 15, &[(1, 5)]).await;

    assert_eq!(hash.advance(EPOCH, 10, 15, &[(1, 5)]).await, Advanced::Already);
    hash.advance(EPOCH, 15, 20, &[(1, 5)]).await;
    assert_eq!(hash.advance(EPOCH, 10, 15, &[(1, 5)]).await, Advanced::Further(20));

    hash.assert_held(&[("1", 110), ("offset", 20)]).await;
}

#[tokio::test]
async fn a_batch_that_does_not_follow_is_a_gap() {
    let hash = Hash::at(10).await;

    // Behind it; in its middle, where part of it is counted; of another epoch, wherever it stands.
    assert_eq!(hash.advance(EPOCH, 11, 15, &[(1, 5)]).await, Advanced::Gap);
    assert_eq!(hash.advance(EPOCH, 8, 12, &[(1, 5)]).await, Advanced::Gap);
    assert_eq!(hash.advance(OTHER, 10, 15, &[(1, 5)]).await, Advanced::Gap);
    assert_eq!(hash.advance(OTHER, 5, 10, &[(1, 5)]).await, Advanced::Gap);

    hash.assert_held(&[("1", 100), ("offset", 10)]).await;
}

#[tokio::test]
async fn a_batch_makes_no_hash() {
    let hash = Hash::absent().await;

    assert_eq!(hash.advance(EPOCH, 0, 5, &[(1, 5)]).await, Advanced::Gap);

    assert_eq!(hash.projection().peek(&hash.at).await.unwrap(), None);
}

#[tokio::test]
async fn totals_replace_a_hash_that_is_as_it_was_seen() {
    let hash = Hash::at(10).await;

    assert!(hash.replace(Some(mark(EPOCH, 10)), &of(OTHER, 7, &[(2, 6)])).await);

    // What is not in the totals is gone.
    hash.assert_held(&[("2", 6), ("offset", 7)]).await;
    let now = hash.projection().peek(&hash.at).await.unwrap();
    assert_eq!(now, Some(mark(OTHER, 7)));
}

#[tokio::test]
async fn totals_replace_nothing_that_somebody_has_written_since() {
    let hash = Hash::at(10).await;

    for seen in [None, Some(mark(EPOCH, 9)), Some(mark(EPOCH, 11)), Some(mark(OTHER, 10))] {
        assert!(!hash.replace(seen, &of(EPOCH, 20, &[(1, 200)])).await, "{seen:?}");
    }

    hash.assert_held(&[("1", 100), ("offset", 10)]).await;
}

#[tokio::test]
async fn totals_that_arrive_twice_overwrite_nothing_newer() {
    let hash = Hash::absent().await;
    let totals = of(EPOCH, 10, &[(1, 100)]);

    assert!(hash.replace(None, &totals).await);
    hash.advance(EPOCH, 10, 12, &[(1, 2)]).await;
    assert!(!hash.replace(None, &totals).await);

    hash.assert_held(&[("1", 102), ("offset", 12)]).await;
}

#[tokio::test]
async fn totals_of_many_ads_fit_in_one_command() {
    let hash = Hash::absent().await;
    let many: Vec<(u64, i64)> = (1..=20_000).map(|ad| (ad, 1)).collect();

    assert!(hash.replace(None, &of(EPOCH, 20_000, &many)).await);
    assert_eq!(hash.advance(EPOCH, 20_000, 40_000, &many).await, Advanced::Applied);

    let held = hash.held().await;
    assert_eq!(held.len(), 20_001);
    assert!(held.iter().filter(|it| it.0 != "offset").all(|it| it.1 == 2));
}

#[tokio::test]
async fn redis_forgets_its_scripts_and_gets_them_again() {
    // One of its own, since the scripts belong to the whole server.
    let server = Redis::start(Place::temporary().unwrap()).await.unwrap();
    let (projection, raw) =
        (harness::projection(&server.url(), "p"), raw_redis(&server.url()).await);
    let at = TopicPartition::new("ad-clicks", 0);

    raw.script_flush(false).await.unwrap();
    assert!(projection.replace(&at, None, &of(EPOCH, 0, &[])).await.unwrap());
    raw.script_flush(false).await.unwrap();
    let batch = Advance {
        at: at.clone(),
        epoch: EPOCH,
        expected: 0,
        new: 4,
        increments: vec![(ad_id(1), 4)],
    };
    assert_eq!(projection.advance(&batch).await.unwrap(), Advanced::Applied);
    raw.script_flush(false).await.unwrap();
    let snapshot = projection.snapshot(&view(EPOCH, &[(&at, Kind::Click)])).await.unwrap().unwrap();
    assert_eq!(snapshot.ads[&ad_id(1)].clicks, 4);
}

#[tokio::test]
async fn both_stores_give_the_same_snapshot() {
    let stores = Stores::new("samesnapshot").await;
    stores.see_partitions(2).await;
    let batch = [
        stores.batch(Kind::Click, 0, 0, clicks(1, 0..5)),
        stores.batch(Kind::Click, 1, 0, clicks(2, 5..8)),
        stores.batch(Kind::Impression, 1, 0, vec![harness::event(Kind::Impression, 2, 1)]),
    ];
    count(&stores.pool, &batch).await.unwrap();
    let truth = totals::snapshot(&stores.pool).await.unwrap();
    for partition in &truth.view.partitions {
        click_store::repair::repair(&stores.pool, &stores.projection, &partition.at).await.unwrap();
    }

    let projected = stores.projection.snapshot(&truth.view).await.unwrap();

    assert_eq!(truth.ads[&ad_id(2)], AdTotals { clicks: 3, impressions: 1 });
    assert_eq!(truth.ads[&ad_id(3)], AdTotals::default());
    assert_eq!(projected, Some(truth));
}

#[tokio::test]
async fn a_snapshot_is_never_partial() {
    let hash = Hash::at(10).await;
    let elsewhere = hash.stores.partition(Kind::Impression, 3);
    let whole = view(EPOCH, &[(&hash.at, Kind::Click)]);
    let projection = hash.projection();

    assert!(projection.snapshot(&whole).await.unwrap().is_some());
    let missing = view(EPOCH, &[(&elsewhere, Kind::Impression), (&hash.at, Kind::Click)]);
    assert_eq!(projection.snapshot(&missing).await.unwrap(), None);
    let missing = view(EPOCH, &[(&hash.at, Kind::Click), (&elsewhere, Kind::Impression)]);
    assert_eq!(projection.snapshot(&missing).await.unwrap(), None);
    let newer = view(OTHER, &[(&hash.at, Kind::Click)]);
    assert_eq!(projection.snapshot(&newer).await.unwrap(), None);
    assert_eq!(projection.snapshot(&view(EPOCH, &[])).await.unwrap(), None);

    let raw = hash.stores.raw_redis().await;
    raw.del::<(), _>(hash.stores.key(&hash.at)).await.unwrap();
    assert_eq!(projection.snapshot(&whole).await.unwrap(), None);
}

#[tokio::test]
async fn a_hash_that_is_malformed_is_an_error_and_no_number() {
    let hash = Hash::at(10).await;
    let raw = hash.stores.raw_redis().await;
    let whole = view(EPOCH, &[(&hash.at, Kind::Click)]);
    let key = hash.stores.key(&hash.at);

    raw.hset::<(), _, _>(&key, ("1", "many")).await.unwrap();
    assert!(hash.projection().snapshot(&whole).await.is_err());
    raw.hset::<(), _, _>(&key, ("1", "-4")).await.unwrap();
    assert!(hash.projection().snapshot(&whole).await.is_err());
    raw.hset::<(), _, _>(&key, ("1", "4")).await.unwrap();
    raw.hdel::<(), _, _>(&key, "offset").await.unwrap();
    assert_eq!(hash.projection().snapshot(&whole).await.unwrap(), None);
}

/// One partition's hash, in a corner of Redis of its own.
struct Hash {
    stores: Stores,
    at: TopicPartition,
}

impl Hash {
    async fn absent() -> Self {
        let stores = Stores::empty("projection").await;
        let at = stores.partition(Kind::Click, 0);
        Self { stores, at }
    }

    /// A hash of [`EPOCH`] with 100 events of ad 1.
    async fn at(offset: i64) -> Self {
        let hash = Self::absent().await;
        assert!(hash.replace(None, &of(EPOCH, offset, &[(1, 100)])).await);
        hash
    }

    fn projection(&self) -> &Projection {
        &self.stores.projection
    }

    async fn advance(
        &self,
        epoch: Uuid,
        expected: i64,
        new: i64,
        increments: &[(u64, i64)],
    ) -> Advanced {
        let increments = increments.iter().map(|&(ad, events)| (ad_id(ad), events)).collect();
        let batch = Advance { at: self.at.clone(), epoch, expected, new, increments };
        self.projection().advance(&batch).await.unwrap()
    }

    async fn replace(&self, seen: Option<Mark>, totals: &PartitionTotals) -> bool {
        self.projection().replace(&self.at, seen, totals).await.unwrap()
    }

    async fn assert_held(&self, expected: &[(&str, i64)]) {
        let held = self.held().await;
        let held: Vec<_> = held.iter().map(|(name, value)| (name.as_str(), *value)).collect();
        assert_eq!(held, expected);
    }

    /// Every field but the epoch, sorted.
    async fn held(&self) -> Vec<(String, i64)> {
        let raw = self.stores.raw_redis().await;
        let fields: HashMap<String, String> = raw.hgetall(self.stores.key(&self.at)).await.unwrap();
        let mut held: Vec<_> = fields
            .into_iter()
            .filter(|(name, _)| name != "epoch")
            .map(|(name, value)| (name, value.parse().unwrap()))
            .collect();
        held.sort();
        held
    }
}

fn mark(epoch: Uuid, offset: i64) -> Mark {
    Mark { epoch, offset }
}

fn of(epoch: Uuid, next_offset: i64, events: &[(u64, i64)]) -> PartitionTotals {
    let events = events.iter().map(|&(ad, events)| (ad_id(ad), events)).collect();
    PartitionTotals { epoch, next_offset, events }
}

fn view(epoch: Uuid, partitions: &[(&TopicPartition, Kind)]) -> View {
    let partitions =
        partitions.iter().map(|&(at, kind)| CountedPartition { at: at.clone(), kind }).collect();
    View { epoch, partitions, ads: vec![ad_id(1)] }
}
