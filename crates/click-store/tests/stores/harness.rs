//! A migrated database and a corner of Redis for one test, and batches to count.

use std::{collections::BTreeMap, time::Duration};

use click_store::{
    Ad, Pool, Projection, RecentEvents, Redis, RedisLimits, StoreError, TopicPartition, ads,
    counting::{Begun, CountingTransaction, Fence, LedgerEntry, Located},
    days::{Days, day_of},
    migrations,
    offsets::{self, Anchor},
    pool,
};
use fred::{
    clients::Client,
    interfaces::ClientLike,
    types::{Builder, config::Config},
};
use local_stack::testing::{Scope, stack};
use proto_schemas::{AdEvent, AdId, DedupWindow, EventId, Kind, NewEvent, Timestamp};
use secrecy::{ExposeSecret as _, SecretString};
use tokio_postgres::types::FromSqlOwned;
use uuid::Uuid;

/// 2026-03-01T12:00:00Z, microseconds since 1970.
const NOON_MICROS: i64 = 1_772_366_400_000_000;

/// Stores of one test's own.
pub(crate) struct Stores {
    pub(crate) url: SecretString,
    pub(crate) pool: Pool,
    pub(crate) projection: Projection,
    scope: Scope,
}

impl Stores {
    /// A migrated database with the ads 1 to 3, and the table of the day that [`event`] uses.
    pub(crate) async fn new(name: &str) -> Self {
        let stores = Self::empty(name).await;
        migrations::migrate(&stores.url).await.unwrap();
        let ads: Vec<Ad> = (1..=3).map(registered).collect();
        ads::add(&stores.pool, &ads).await.unwrap();
        let day = day_of(event(Kind::Click, 1, 0).dedup_time);
        let days = Kind::ALL.map(|kind| (kind, day));
        Days::default().ensure(&stores.pool, days).await.unwrap();
        stores
    }

    /// A database without any table.
    pub(crate) async fn empty(name: &str) -> Self {
        let scope = stack().scope(name);
        let url: SecretString = scope.create_database().await.into();
        Self {
            pool: pool(&url, "tests", 8).unwrap(),
            projection: projection(&scope.stack.redis_url, &scope.redis_prefix),
            scope,
            url,
        }
    }

    /// A partition of the topic of `kind`.
    pub(crate) fn partition(&self, kind: Kind, partition: i32) -> TopicPartition {
        TopicPartition::new(self.scope.topics().of(kind), partition)
    }

    /// The database as another user sees it.
    pub(crate) fn url_of(&self, user: &str) -> SecretString {
        let (_, server) = self.url.expose_secret().split_once('@').unwrap();
        format!("postgres://{user}@{server}").into()
    }

    /// The key of a partition's hash in Redis.
    pub(crate) fn key(&self, at: &TopicPartition) -> String {
        format!("{}:totals:{}:{}", self.scope.redis_prefix, at.topic, at.partition)
    }

    /// Makes the rows of `count` partitions of each kind.
    pub(crate) async fn see_partitions(&self, count: i32) {
        let kinds: Vec<_> = Kind::ALL
            .into_iter()
            .flat_map(|kind| (0..count).map(move |it| (self.partition(kind, it), kind)))
            .collect();
        offsets::ensure(&self.pool, &kinds).await.unwrap();
    }

    /// Where a partition stands.
    pub(crate) async fn next_offset(&self, at: &TopicPartition) -> i64 {
        offsets::read(&self.pool, std::slice::from_ref(at)).await.unwrap()[at].next_offset
    }

    /// The only column of the only row.
    pub(crate) async fn one<T: FromSqlOwned>(&self, sql: &str) -> T {
        self.pool.get().await.unwrap().query_one(sql, &[]).await.unwrap().get(0)
    }

    pub(crate) async fn execute(&self, sql: &str) {
        self.pool.get().await.unwrap().batch_execute(sql).await.unwrap();
    }

    /// A client without a prefix, to look at Redis and to break it.
    pub(crate) async fn raw_redis(&self) -> Client {
        raw_redis(&self.scope.stack.redis_url).await
    }

    /// A batch of one partition whose events stand one after the other from `first`.
    pub(crate) fn batch(
        &self,
        kind: Kind,
        partition: i32,
        first: i64,
        events: Vec<AdEvent>,
    ) -> Batch {
        Batch { at: self.partition(kind, partition), kind, first, events }
    }
}

pub(crate) fn projection(url: &str, prefix: &str) -> Projection {
    let limits = RedisLimits { command: Duration::from_secs(10) };
    Projection::new(Redis::connect(&url.into(), None, prefix, limits).unwrap())
}

pub(crate) async fn raw_redis(url: &str) -> Client {
    let client = Builder::from_config(Config::from_url(url).unwrap()).build().unwrap();
    client.init().await.unwrap();
    client
}

/// The records of one partition in a batch.
pub(crate) struct Batch {
    pub(crate) at: TopicPartition,
    kind: Kind,
    first: i64,
    events: Vec<AdEvent>,
}

impl Batch {
    pub(crate) fn fence(&self) -> Fence {
        let new = self.first + i64::try_from(self.events.len()).unwrap();
        let anchor = Anchor { timestamp_ms: new, hash: [7; 32] };
        Fence { at: self.at.clone(), expected: self.first, new, anchor }
    }

    pub(crate) fn located(&self) -> Vec<Located<'_>> {
        let located = |(event, offset)| Located { event, partition: self.at.partition, offset };
        self.events.iter().zip(self.first..).map(located).collect()
    }
}

/// What became of a batch.
#[derive(Debug, Eq, PartialEq)]
pub(crate) enum Outcome {
    /// New events by partition and ad, and the epoch.
    Counted(BTreeMap<(TopicPartition, u64), i64>, Uuid),
    Lost(Vec<TopicPartition>),
}

impl Outcome {
    /// How many events were new.
    pub(crate) fn new_events(&self) -> i64 {
        match self {
            Self::Counted(new, _) => new.values().sum(),
            Self::Lost(lost) => panic!("lost {lost:?}"),
        }
    }
}

/// Counts the parts of a batch in one transaction, as a consumer does that has just started.
pub(crate) async fn count(pool: &Pool, batch: &[Batch]) -> Result<Outcome, StoreError> {
    count_after(pool, batch, &mut RecentEvents::default()).await
}

/// The same for a consumer that remembers events.
pub(crate) async fn count_after(
    pool: &Pool,
    batch: &[Batch],
    recent: &mut RecentEvents,
) -> Result<Outcome, StoreError> {
    let fences: Vec<Fence> = batch.iter().map(Batch::fence).collect();
    match CountingTransaction::begin(pool, &fences).await? {
        Begun::Lost(lost) => Ok(Outcome::Lost(lost)),
        Begun::Open(transaction) => {
            let new = store(&transaction, batch, recent).await?;
            let epoch = transaction.epoch();
            transaction.commit().await?;
            Ok(Outcome::Counted(new, epoch))
        }
    }
}

/// Rows, totals and ledger of a batch whose fences hold.
pub(crate) async fn store(
    transaction: &CountingTransaction,
    batch: &[Batch],
    recent: &mut RecentEvents,
) -> Result<BTreeMap<(TopicPartition, u64), i64>, StoreError> {
    let mut new = BTreeMap::new();
    let mut ledger = Vec::new();
    for part in batch {
        let mut stored = 0;
        for row in transaction.insert(part.kind, part.located(), recent).await? {
            assert_eq!(row.partition, part.at.partition);
            new.insert((part.at.clone(), row.ad.get()), row.events);
            stored += row.events;
        }
        let all = i64::try_from(part.events.len()).unwrap();
        ledger.push((
            &part.at,
            LedgerEntry { stored, duplicates: all - stored, ..LedgerEntry::default() },
        ));
    }
    let totals: Vec<_> = new.iter().map(|((at, ad), events)| (at, ad_id(*ad), *events)).collect();
    transaction.add_totals(&totals, &ledger).await?;
    Ok(new)
}

pub(crate) fn ad_id(id: u64) -> AdId {
    AdId::new(id).unwrap()
}

/// An event that is the same for the same `number`.
pub(crate) fn event(kind: Kind, ad: u64, number: u32) -> AdEvent {
    event_at(kind, ad, number, NOON_MICROS + i64::from(number) * 1000)
}

/// An event of a moment in microseconds since 1970.
pub(crate) fn event_at(kind: Kind, ad: u64, number: u32, micros: i64) -> AdEvent {
    let at = Timestamp::from_micros(micros).unwrap();
    NewEvent {
        kind,
        ad_id: ad_id(ad),
        occurred_at: at,
        received_at: at,
        address: [203, 0, 113, 9].into(),
        playback_ms: Some(number),
        event_id: Some(EventId::new(format!("e{number}")).unwrap()),
        user_agent: None,
    }
    .into_event(DedupWindow::MILLISECOND)
}

pub(crate) fn clicks(ad: u64, numbers: std::ops::Range<u32>) -> Vec<AdEvent> {
    numbers.map(|it| event(Kind::Click, ad, it)).collect()
}

pub(crate) fn registered(id: u64) -> Ad {
    Ad {
        id: ad_id(id),
        title: None,
        image_url: format!("https://ads.example/{id}.jpg"),
        target_url: format!("https://ads.example/go/{id}"),
        media: None,
        active: true,
    }
}
