//! A database and a Redis of one test's own, and ways to fill and to break them.

use std::time::Duration;

use click_store::{
    ActiveAdsCache, Ad, Pool, Projection, Redis, RedisLimits, TopicPartition, ads,
    counting::{Begun, CountingTransaction, Fence, LedgerEntry},
    migrations,
    offsets::{self, Anchor},
    pool,
    repair::repair,
    totals,
};
use local_stack::{
    Place, redis,
    testing::{Scope, stack},
};
use proto_schemas::{AdId, Kind};
use tokio_postgres::{Client, NoTls};

/// Partitions of each topic.
const PARTITIONS: i32 = 3;

/// What the service reads.
pub(crate) struct Stores {
    pub(crate) database_url: String,
    pub(crate) pool: Pool,
    pub(crate) redis: redis::Redis,
    pub(crate) projection: Projection,
    pub(crate) ads_cache: ActiveAdsCache,
    pub(crate) scope: Scope,
}

impl Stores {
    /// A migrated database with the ads 1 to 4, the last of them inactive, and an empty Redis.
    pub(crate) async fn new(name: &str) -> Self {
        let scope = stack().scope(name);
        let database_url = scope.create_database().await;
        let redis = redis::Redis::start(Place::temporary().unwrap()).await.unwrap();
        let client = {
            let limits = RedisLimits { command: Duration::from_secs(10) };
            Redis::connect(&redis.url().into(), None, &scope.redis_prefix, limits).unwrap()
        };
        let stores = Self {
            pool: pool(&database_url.as_str().into(), "tests", 4).unwrap(),
            database_url,
            redis,
            projection: Projection::new(client.clone()),
            ads_cache: ActiveAdsCache::new(client),
            scope,
        };
        migrations::migrate(&stores.database_url.as_str().into()).await.unwrap();
        let ads: Vec<Ad> = (1..=4).map(|id| Ad { active: id < 4, ..ad(id) }).collect();
        ads::add(&stores.pool, &ads).await.unwrap();
        let seen: Vec<_> = Kind::ALL
            .into_iter()
            .flat_map(|kind| (0..PARTITIONS).map(move |it| (kind, it)))
            .map(|(kind, it)| (stores.partition(kind, it), kind))
            .collect();
        offsets::ensure(&stores.pool, &seen).await.unwrap();
        stores
    }

    /// The same with some clicks and impressions, which Redis knows of too.
    pub(crate) async fn counted(name: &str) -> Self {
        let stores = Self::new(name).await;
        stores.count(Kind::Impression, 0, 1, 250).await;
        stores.count(Kind::Click, 1, 1, 49).await;
        stores.count(Kind::Click, 2, 1, 1).await;
        stores.count(Kind::Impression, 2, 2, 3).await;
        stores.count(Kind::Click, 0, 2, 4).await;
        stores.count(Kind::Impression, 1, 4, 8).await;
        stores.count(Kind::Click, 0, 4, 1).await;
        stores.repair().await;
        stores
    }

    pub(crate) fn partition(&self, kind: Kind, partition: i32) -> TopicPartition {
        TopicPartition::new(self.scope.topics().of(kind), partition)
    }

    /// Counts new events of one ad in Postgres. Redis is not told.
    pub(crate) async fn count(&self, kind: Kind, partition: i32, ad: u64, events: i64) {
        let at = self.partition(kind, partition);
        let expected = self.next_offset(&at).await;
        let anchor = Anchor { timestamp_ms: 0, hash: [0; 32] };
        let fence = Fence { at: at.clone(), expected, new: expected + events, anchor };
        let Begun::Open(transaction) =
            CountingTransaction::begin(&self.pool, &[fence]).await.unwrap()
        else {
            panic!("nobody else counts here")
        };
        let entry = LedgerEntry { stored: events, ..LedgerEntry::default() };
        let new_events = [(&at, AdId::new(ad).unwrap(), events)];
        transaction.add_totals(&new_events, &[(&at, entry)]).await.unwrap();
        transaction.commit().await.unwrap();
    }

    /// Makes Redis agree with Postgres, as the owners of the partitions do.
    pub(crate) async fn repair(&self) {
        let view = totals::view(&self.pool).await.unwrap();
        for partition in view.partitions {
            repair(&self.pool, &self.projection, &partition.at).await.unwrap();
        }
    }

    pub(crate) async fn next_offset(&self, at: &TopicPartition) -> i64 {
        offsets::read(&self.pool, std::slice::from_ref(at)).await.unwrap()[at].next_offset
    }

    /// Takes the hash of a partition away.
    pub(crate) async fn lose_partition(&self, at: &TopicPartition) {
        self.lose(&format!("totals:{}:{}", at.topic, at.partition)).await;
    }

    /// Takes a key away.
    pub(crate) async fn lose(&self, key: &str) {
        let key = format!("{}:{key}", self.scope.redis_prefix);
        assert_eq!(self.redis_command(&["DEL", &key]).await, ":1");
    }

    /// Whether a session of the database waits for a lock.
    pub(crate) async fn somebody_waits(&self) -> bool {
        let waiting = "SELECT EXISTS (
                           SELECT FROM pg_stat_activity
                           WHERE datname = current_database() AND wait_event_type = 'Lock')";
        self.pool.get().await.unwrap().query_one(waiting, &[]).await.unwrap().get(0)
    }

    pub(crate) async fn flush_redis(&self) {
        assert_eq!(self.redis_command(&["FLUSHALL"]).await, "+OK");
    }

    /// Lets nobody connect to the database, and puts everybody out.
    pub(crate) async fn take_postgres_away(&self) {
        self.admin(&format!("ALTER DATABASE {} ALLOW_CONNECTIONS false", self.database())).await;
        self.admin(&format!(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{}'",
            self.database()
        ))
        .await;
    }

    pub(crate) async fn bring_postgres_back(&self) {
        self.admin(&format!("ALTER DATABASE {} ALLOW_CONNECTIONS true", self.database())).await;
    }

    /// A connection of its own, which is not read-only.
    pub(crate) async fn connect(&self) -> (Client, impl Future<Output = ()> + use<>) {
        let (client, connection) =
            tokio_postgres::connect(&self.database_url, NoTls).await.unwrap();
        (client, async { connection.await.unwrap() })
    }

    fn database(&self) -> &str {
        self.database_url.rsplit('/').next().unwrap()
    }

    /// Runs a statement in the stack's own database.
    async fn admin(&self, statement: &str) {
        let url = &self.scope.stack.database_url;
        let (client, connection) = tokio_postgres::connect(url, NoTls).await.unwrap();
        let work = async move { client.batch_execute(statement).await.unwrap() };
        tokio::join!(work, async { connection.await.unwrap() });
    }

    /// Sends a command, and returns the first line of its answer.
    async fn redis_command(&self, words: &[&str]) -> String {
        use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader};

        let address = ("127.0.0.1", self.redis.port());
        let mut stream = BufReader::new(tokio::net::TcpStream::connect(address).await.unwrap());
        stream.write_all(format!("{}\r\n", words.join(" ")).as_bytes()).await.unwrap();
        let mut answer = String::new();
        stream.read_line(&mut answer).await.unwrap();
        answer.trim_end().to_owned()
    }
}

pub(crate) fn ad(id: u64) -> Ad {
    Ad {
        id: AdId::new(id).unwrap(),
        title: None,
        image_url: format!("https://ads.example/{id}.jpg"),
        target_url: format!("https://ads.example/go/{id}?a=1&b=\"2\""),
        media: None,
        active: true,
    }
}
