//! What the stores of a pipeline say: Kafka's end, Postgres's rows and totals, Redis's counters.

use std::collections::BTreeSet;

use click_store::{Pool, StoreError, totals};
use proto_schemas::Kind;

use crate::{
    counts::{AdCounts, Counts},
    pipeline::Pipeline,
    service::Service,
    topic,
    wait::{until, until_equal},
};

impl Pipeline {
    /// Waits until everything on Kafka is counted, checks that rows, totals, ledger and Redis all
    /// say the same and that no process has panicked, and returns the counts. Nobody may be posting.
    pub async fn settle(&self) -> Counts {
        let mut end = topic::end(&self.scope).await;
        let uncounted = async || {
            let counted = self.counted().await;
            if counted > end {
                // What ingest had given up has come: its player was told to send it again.
                end = topic::end(&self.scope).await;
            }
            end - counted
        };
        until_equal("every record is counted", &0, uncounted).await;

        let rows = self.rows().await;
        assert_eq!(rows, self.totals().await, "totals = rows");
        let accounted = "SELECT coalesce(sum(stored + duplicates + dead + absent), 0)::bigint
                         FROM partition_ledger";
        assert_eq!(self.number(accounted).await, end, "the ledger accounts for every record");
        until_equal("redis has what postgres has", &Some(rows.clone()), async || {
            self.redis_counts().await
        })
        .await;
        self.nobody_panicked();
        rows
    }

    /// The same, and that the API answers so too, from Redis.
    pub async fn settle_with_api(&self, analytics: &Service) -> Counts {
        let counts = self.settle().await;
        self.until_api(analytics, "redis", &counts).await;
        counts
    }

    /// Waits until the API answers with these counts from this store, and returns its body.
    pub async fn until_api(&self, analytics: &Service, source: &str, counts: &Counts) -> String {
        let url = analytics.url("/ads/analytics");
        let mut body = String::new();
        let expected = (200, source.to_owned(), counts.clone());
        until_equal("the API answers with the counts", &expected, async || {
            let answer = self.http.get(&url).await;
            let counts = match answer.status {
                200 => Counts::of_analytics(&answer.json()),
                _ => Counts::default(),
            };
            body.clone_from(&answer.body);
            (answer.status, answer.header("x-data-source").to_owned(), counts)
        })
        .await;
        body
    }

    /// What the API shows at this moment, from whichever store; `None` where it cannot.
    pub async fn shown_by(&self, analytics: &Service) -> Option<Counts> {
        let answer = self.http.get(&analytics.url("/ads/analytics")).await;
        (answer.status == 200).then(|| Counts::of_analytics(&answer.json()))
    }

    /// How many records are counted, over all partitions.
    pub async fn counted(&self) -> i64 {
        self.number("SELECT coalesce(sum(next_offset), 0)::bigint FROM consumer_offsets").await
    }

    /// Waits until this many records are counted.
    pub async fn until_counted(&self, records: i64) {
        until("records are counted", async || self.counted().await >= records).await;
    }

    /// The one number that `sql` selects.
    pub async fn number(&self, sql: &str) -> i64 {
        let client = self.pool.get().await.expect("a connection");
        client.query_one(sql, &[]).await.expect("a number").get(0)
    }

    /// Runs one statement.
    pub async fn execute(&self, sql: &str) {
        self.try_execute(sql).await.expect(sql);
    }

    /// Runs one statement in a Postgres that may refuse it, or be away.
    pub async fn try_execute(&self, sql: &str) -> Result<(), StoreError> {
        Ok(self.pool.get().await?.batch_execute(sql).await?)
    }

    /// Counts the rows of Postgres themselves, of each registered ad.
    pub async fn rows(&self) -> Counts {
        let client = self.pool.get().await.expect("a connection");
        let mut counts = Counts::default();
        for ad in client.query("SELECT ad_id FROM ads", &[]).await.expect("a list") {
            let ad: i64 = ad.get(0);
            counts.0.insert(ad.unsigned_abs(), AdCounts::default());
        }
        for (kind, table) in [(Kind::Click, "clicks"), (Kind::Impression, "impressions")] {
            let sql = format!("SELECT ad_id, count(*) FROM {table} GROUP BY ad_id");
            for row in client.query(&sql, &[]).await.expect("counted") {
                let (ad, rows): (i64, i64) = (row.get(0), row.get(1));
                counts.add(kind, ad.unsigned_abs(), rows.unsigned_abs());
            }
        }
        counts
    }

    /// The totals in Postgres.
    pub async fn totals(&self) -> Counts {
        totals_of(&self.pool).await.expect("a snapshot")
    }

    /// The counters in Redis; `None` where a reader would not believe them.
    pub async fn redis_counts(&self) -> Option<Counts> {
        let view = totals::view(&self.pool).await.expect("a view");
        let snapshot = self.projection.snapshot(&view).await.expect("redis answers");
        snapshot.as_ref().map(Counts::of_snapshot)
    }

    /// How many records are among the dead letters.
    pub async fn dead_letters(&self) -> i64 {
        topic::dead_letters(&self.scope).await
    }

    /// The event ids of all rows of clicks.
    pub async fn stored_event_ids(&self) -> BTreeSet<String> {
        let client = self.pool.get().await.expect("a connection");
        let rows =
            client.query("SELECT event_id FROM clicks WHERE event_id IS NOT NULL", &[]).await;
        rows.expect("selected").iter().map(|row| row.get(0)).collect()
    }

    /// The dedup keys of all rows of one kind, as hexadecimal digits.
    pub async fn stored_keys(&self, kind: Kind) -> BTreeSet<String> {
        let table = match kind {
            Kind::Click => "clicks",
            Kind::Impression => "impressions",
        };
        let client = self.pool.get().await.expect("a connection");
        let sql = format!("SELECT replace(dedup_key::text, '-', '') FROM {table}");
        client.query(&sql, &[]).await.expect("selected").iter().map(|row| row.get(0)).collect()
    }
}

/// The totals in Postgres, which may be away.
pub(crate) async fn totals_of(pool: &Pool) -> Result<Counts, StoreError> {
    totals::snapshot(pool).await.map(|it| Counts::of_snapshot(&it))
}
