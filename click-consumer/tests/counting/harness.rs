//! One pipeline of a test's own: database, topics, keys, and the consumers that it starts.

use std::{
    collections::BTreeMap,
    net::Ipv4Addr,
    time::{Duration, Instant},
};

use click_consumer::Config;
use click_store::{Ad, Pool, Projection, Redis, RedisLimits, ads, migrations, offsets, totals};
use local_stack::testing::{Scope, stack};
use proto_schemas::{AdEvent, AdId, DedupWindow, EventId, Kind, NewEvent, Timestamp};
use rdkafka::{
    ClientConfig,
    producer::{FutureProducer, FutureRecord},
};
use service_kit::settings::Env;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

/// How long anything may take that should happen at once. Generous: the machine is shared.
const LIMIT: Duration = Duration::from_secs(90);

/// Ads 1 to 5 are registered.
pub(crate) const ADS: u64 = 5;

pub(crate) struct Pipeline {
    pub(crate) scope: Scope,
    pub(crate) pool: Pool,
    pub(crate) projection: Projection,
    redis_url: String,
    database_url: String,
    producer: FutureProducer,
    consumers: JoinSet<anyhow::Result<()>>,
}

/// A running consumer.
pub(crate) struct Consumer(CancellationToken);

impl Pipeline {
    /// Makes everything but a consumer; each event topic gets `partitions`.
    pub(crate) async fn new(name: &str, partitions: i32) -> Self {
        let test = Self::without_topics(name).await;
        test.make_topics(partitions).await;
        test
    }

    /// The same, with a Redis of the test's own.
    pub(crate) async fn with_redis(name: &str, partitions: i32, redis_url: &str) -> Self {
        let test = Self::prepare(stack().scope(name), redis_url).await;
        test.make_topics(partitions).await;
        test
    }

    pub(crate) async fn without_topics(name: &str) -> Self {
        let stack = stack();
        Self::prepare(stack.scope(name), &stack.redis_url).await
    }

    async fn prepare(scope: Scope, redis_url: &str) -> Self {
        let database_url = scope.create_database().await;
        migrations::migrate(&database_url.as_str().into()).await.expect("migrated");
        let pool = click_store::pool(&database_url.as_str().into(), "test", 4).expect("a url");
        ads::add(&pool, &(1..=ADS).map(ad).collect::<Vec<_>>()).await.expect("registered");
        let limits = RedisLimits { command: Duration::from_secs(5) };
        let redis =
            Redis::connect(&redis_url.into(), None, &scope.redis_prefix, limits).expect("a url");
        let producer = ClientConfig::new()
            .set("bootstrap.servers", &scope.stack.kafka_brokers)
            .set("partitioner", "murmur2_random")
            .set("compression.type", "lz4")
            .set("message.max.bytes", "100000000")
            .create()
            .expect("a producer");
        let (projection, redis_url) = (Projection::new(redis), redis_url.to_owned());
        Self {
            scope,
            pool,
            projection,
            redis_url,
            database_url,
            producer,
            consumers: JoinSet::new(),
        }
    }

    pub(crate) async fn make_topics(&self, partitions: i32) {
        let topics = self.scope.topics();
        let event_topics = Kind::ALL.map(|kind| (topics.of(kind), partitions));
        self.scope.create_topics(&[&event_topics[..], &[(topics.dead(), 1)]].concat()).await;
    }

    pub(crate) fn start_consumer(&mut self) -> Consumer {
        self.start_consumer_with(&[])
    }

    pub(crate) fn start_consumer_with(&mut self, settings: &[(&str, &str)]) -> Consumer {
        let stack = &self.scope.stack;
        let own = [
            ("KAFKA_BROKERS", stack.kafka_brokers.as_str()),
            ("DATABASE_URL", &self.database_url),
            ("REDIS_URL", &self.redis_url),
            ("TOPIC_PREFIX", &self.scope.topic_prefix),
            ("REDIS_PREFIX", &self.scope.redis_prefix),
            ("CONSUMER_GROUP", &self.scope.consumer_group),
            ("CONSUMER_ADMIN_LISTEN", "127.0.0.1:0"),
            ("BATCH_MAX_AGE", "20ms"),
        ];
        let env = Env::from_pairs(own.into_iter().chain(settings.iter().copied()));
        let config: Config = env.read().expect("valid settings");
        let stop = CancellationToken::new();
        self.consumers.spawn(click_consumer::run(config, stop.clone()));
        Consumer(stop)
    }

    /// Stops a consumer as SIGTERM does, and waits until one has ended.
    pub(crate) async fn stop(&mut self, consumer: Consumer) {
        consumer.0.cancel();
        let ended = self.consumers.join_next().await.expect("one was running");
        ended.expect("no panic").expect("no error");
    }

    /// Puts an event on its topic.
    pub(crate) async fn send(&self, event: &AdEvent) {
        self.send_raw(event.kind, event.dedup_key.as_bytes(), &event.encode()).await;
    }

    pub(crate) async fn send_raw(&self, kind: Kind, key: &[u8], value: &[u8]) {
        let topics = self.scope.topics();
        let record = FutureRecord::to(topics.of(kind)).key(key).payload(value);
        self.producer.send(record, LIMIT).await.expect("acknowledged");
    }

    /// Sends clicks with distinct event ids, and returns them.
    pub(crate) async fn send_clicks(&self, ids: impl IntoIterator<Item = u64>) -> Vec<AdEvent> {
        let mut sent = Vec::new();
        for id in ids {
            let event = event(Kind::Click, id % ADS + 1, id);
            self.send(&event).await;
            sent.push(event);
        }
        sent
    }

    /// The one number that `sql` selects.
    pub(crate) async fn number(&self, sql: &str) -> i64 {
        let client = self.pool.get().await.expect("a connection");
        client.query_one(sql, &[]).await.expect("a number").get(0)
    }

    pub(crate) async fn execute(&self, sql: &str) {
        let client = self.pool.get().await.expect("a connection");
        client.batch_execute(sql).await.expect("executed");
    }

    /// Waits until Postgres has counted every record of both topics, then checks that rows, totals,
    /// ledger and Redis say the same.
    pub(crate) async fn settle(&self, records: i64) {
        eventually("every record is counted", async || {
            self.number("SELECT coalesce(sum(next_offset), 0)::bigint FROM consumer_offsets").await
                == records
        })
        .await;
        assert_eq!(
            self.number(
                "SELECT coalesce(sum(stored + duplicates + dead + absent), 0)::bigint
                 FROM partition_ledger"
            )
            .await,
            records,
            "the ledger accounts for every record"
        );
        assert_eq!(self.rows().await, self.totals().await, "totals = rows");
        self.redis_agrees().await;
    }

    /// Waits until Redis answers, with the numbers of Postgres.
    pub(crate) async fn redis_agrees(&self) {
        eventually("redis agrees with postgres", async || {
            let postgres = totals::snapshot(&self.pool).await.expect("a snapshot");
            let redis = self.projection.snapshot(&postgres.view).await;
            redis.is_ok_and(|redis| redis.is_some_and(|redis| redis == postgres))
        })
        .await;
    }

    /// Rows of each ad: (clicks, impressions).
    pub(crate) async fn rows(&self) -> BTreeMap<u64, (u64, u64)> {
        let client = self.pool.get().await.expect("a connection");
        let mut counts: BTreeMap<u64, (u64, u64)> = (1..=ADS).map(|ad| (ad, (0, 0))).collect();
        for (table, of) in [("clicks", 0), ("impressions", 1)] {
            let sql = format!("SELECT ad_id, count(*) FROM {table} GROUP BY ad_id");
            for row in client.query(&sql, &[]).await.expect("counted") {
                let rows: i64 = row.get(1);
                let ad: i64 = row.get(0);
                let counts = counts.entry(ad.unsigned_abs()).or_default();
                *(if of == 0 { &mut counts.0 } else { &mut counts.1 }) = rows.unsigned_abs();
            }
        }
        counts
    }

    /// Totals of each ad: (clicks, impressions).
    pub(crate) async fn totals(&self) -> BTreeMap<u64, (u64, u64)> {
        let snapshot = totals::snapshot(&self.pool).await.expect("a snapshot");
        snapshot.ads.iter().map(|(ad, it)| (ad.get(), (it.clicks, it.impressions))).collect()
    }

    pub(crate) async fn renew_epoch(&self) {
        offsets::renew_epoch(&self.pool, "a test").await.expect("renewed");
    }
}

pub(crate) fn ad(id: u64) -> Ad {
    Ad {
        id: AdId::new(id).expect("in range"),
        title: None,
        image_url: format!("https://example.com/ad{id}.jpg"),
        target_url: format!("https://example.com/click{id}"),
        media: None,
        active: true,
    }
}

/// An event of now, told from others by its `id`.
pub(crate) fn event(kind: Kind, ad: u64, id: u64) -> AdEvent {
    let now = Timestamp::now();
    event_at(kind, ad, id, now.as_micros() / 86_400_000_000 * 86_400_000_000)
}

/// An event at a moment, received now.
pub(crate) fn event_at(kind: Kind, ad: u64, id: u64, micros: i64) -> AdEvent {
    NewEvent {
        kind,
        ad_id: AdId::new(ad).expect("in range"),
        occurred_at: Timestamp::from_micros(micros).expect("in range"),
        received_at: Timestamp::now(),
        address: Ipv4Addr::new(192, 0, 2, 1).into(),
        playback_ms: Some(12_000),
        event_id: Some(EventId::new(format!("event-{id}")).expect("valid")),
        user_agent: None,
    }
    .into_event(DedupWindow::MILLISECOND)
}

/// Waits until `condition` holds.
pub(crate) async fn eventually(what: &str, mut condition: impl AsyncFnMut() -> bool) {
    let started = Instant::now();
    while !condition().await {
        assert!(started.elapsed() < LIMIT, "waited {LIMIT:?} in vain until {what}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}
