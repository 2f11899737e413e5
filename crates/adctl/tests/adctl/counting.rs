//! A pipeline that counts: topics, a database, and a consumer in the test's own process.

use std::time::Instant;

use click_store::{Pool, Projection, Redis, RedisLimits, TopicPartition, totals::PartitionTotals};
use proto_schemas::Kind;
use service_kit::settings::Env;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::harness::{PATIENCE, Test, event, record};

/// A pipeline whose topics have one partition each. Events are of ad 7.
pub(crate) struct Counting {
    pub(crate) test: Test,
    pub(crate) pool: Pool,
    pub(crate) projection: Projection,
    consumer: JoinSet<anyhow::Result<()>>,
    stop: CancellationToken,
}

impl Counting {
    /// Makes everything but the ad and the consumer.
    pub(crate) async fn new(name: &str) -> Self {
        let test = Test::with_database(name).await;
        let topics = test.scope.topics();
        let all = [topics.of(Kind::Click), topics.of(Kind::Impression), topics.dead()];
        test.scope.create_topics(&all.map(|it| (it, 1))).await;
        test.adctl(&["migrate"]).await.success();
        let pool = click_store::pool(&test.database_url.as_str().into(), "test", 2).expect("a url");
        let (redis, prefix) = (test.scope.stack.redis_url.as_str(), &test.scope.redis_prefix);
        let redis = Redis::connect(&redis.into(), None, prefix, RedisLimits { command: PATIENCE });
        let projection = Projection::new(redis.expect("a url"));
        let stop = CancellationToken::new();
        Self { test, pool, projection, consumer: JoinSet::new(), stop }
    }

    /// The same with ad 7, a consumer, and so many clicks that are counted.
    pub(crate) async fn with_clicks(name: &str, clicks: u32) -> Self {
        let mut counting = Self::new(name).await;
        counting.register().await;
        counting.start();
        counting.click(0..clicks).await;
        counting.settle(clicks.into()).await;
        counting
    }

    pub(crate) async fn register(&self) {
        let args = ["ads", "add", "--id", "7", "--image-url", "https://a.example/7.jpg"];
        let args = [&args[..], &["--target-url", "https://a.example/7"]].concat();
        self.test.adctl(&args).await.success();
    }

    pub(crate) fn start(&mut self) {
        let scope = &self.test.scope;
        let env = Env::from_pairs([
            ("KAFKA_BROKERS", scope.stack.kafka_brokers.as_str()),
            ("DATABASE_URL", &self.test.database_url),
            ("REDIS_URL", &scope.stack.redis_url),
            ("TOPIC_PREFIX", &scope.topic_prefix),
            ("REDIS_PREFIX", &scope.redis_prefix),
            ("CONSUMER_GROUP", &scope.consumer_group),
            ("CONSUMER_ADMIN_LISTEN", "127.0.0.1:0"),
            ("BATCH_MAX_AGE", "20ms"),
        ]);
        self.stop = CancellationToken::new();
        let config = env.read().expect("valid settings");
        self.consumer.spawn(click_consumer::run(config, self.stop.clone()));
    }

    pub(crate) async fn stop(&mut self) {
        self.stop.cancel();
        while let Some(ended) = self.consumer.join_next().await {
            ended.expect("no panic").expect("no error");
        }
    }

    pub(crate) async fn click(&self, numbers: std::ops::Range<u32>) {
        let records: Vec<_> = numbers.map(|it| record(&event(Kind::Click, it))).collect();
        self.test.produce(Kind::Click, &records).await;
    }

    /// Waits until so many records are counted, and Redis has them all.
    pub(crate) async fn settle(&self, records: i64) {
        let counted = "SELECT coalesce(sum(next_offset), 0)::bigint FROM consumer_offsets";
        let started = Instant::now();
        loop {
            let (totals, redis) = (self.totals().await, self.redis().await);
            let whole = self.number(counted).await == records
                && totals.is_some_and(|it| redis == Some(counts(&it)));
            if whole {
                return;
            }
            assert!(started.elapsed() < PATIENCE, "{records} records were not counted in time");
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
    }

    pub(crate) fn clicks_at(&self) -> TopicPartition {
        TopicPartition::new(self.test.scope.topics().of(Kind::Click), 0)
    }

    /// The totals of clicks in Postgres; `None` before any was counted.
    pub(crate) async fn totals(&self) -> Option<PartitionTotals> {
        click_store::totals::of_partition(&self.pool, &self.clicks_at()).await.expect("totals")
    }

    /// Offset and events of clicks in Redis.
    async fn redis(&self) -> Option<(i64, i64)> {
        let held = self.projection.totals_of(&self.clicks_at()).await.expect("redis answers");
        held.as_ref().map(counts)
    }

    /// Writes clicks in Redis as no consumer would.
    pub(crate) async fn falsify_redis(&self, falsify: impl FnOnce(&mut PartitionTotals)) {
        let at = self.clicks_at();
        let mut totals = self.totals().await.expect("counted");
        falsify(&mut totals);
        let seen = self.projection.peek(&at).await.expect("redis answers");
        assert!(self.projection.replace(&at, seen, &totals).await.expect("redis answers"));
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
}

fn counts(totals: &PartitionTotals) -> (i64, i64) {
    (totals.next_offset, totals.events.iter().map(|it| it.1).sum())
}
