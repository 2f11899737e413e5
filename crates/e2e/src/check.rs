//! The five invariants, checked once things have settled.
//!
//! - **A** every accepted click is stored, what is stored was posted and not refused, nothing twice;
//! - **B** for each ad and kind, totals = rows;
//! - **C** Redis = totals (and, while it lasts, the API never above Postgres: [`crate::Observer`]);
//! - **D** the ledger of each partition balances with its offset and its rows;
//! - **E** the lag is zero again within [`CAUGHT_UP_WITHIN`].

use std::{collections::BTreeSet, time::Duration};

use proto_schemas::Kind;

use crate::{
    counts::Counts, load::Sent, pipeline::Pipeline, service::Service, topic, wait::until_within,
};

/// How long the consumers may take to catch up once every part is back: Kafka misses a dead member
/// for 10 s, a dead transaction may hold its rows for 15 s, and pauses between tries grow to 10 s.
///
/// Two minutes, because after a broker was frozen several waits follow each other: requests that it
/// never answered (10 s), its own way back into its cluster, the session of the member that the
/// consumer was before (10 s), and all of that on a machine that runs other tests too.
pub const CAUGHT_UP_WITHIN: Duration = Duration::from_mins(2);

impl Pipeline {
    /// Checks all five against what the players were told. They must have stopped, and one consumer
    /// must run.
    pub async fn check(&self, sent: &[Sent], analytics: Option<&Service>) -> Counts {
        let end = topic::end(&self.scope).await;
        until_within(CAUGHT_UP_WITHIN, "E: the lag is zero again", async || {
            self.counted().await >= end
        })
        .await;

        // Compares Kafka's end, rows and totals; then Redis.
        let counts = self.settle().await;
        self.check_clicks(sent, &counts).await;
        self.check_ledger().await;
        if let Some(analytics) = analytics {
            self.until_api(analytics, "redis", &counts).await;
        }
        counts
    }

    /// A.
    async fn check_clicks(&self, sent: &[Sent], counts: &Counts) {
        let stored = self.stored_event_ids().await;
        assert_eq!(counts.total(Kind::Click), stored.len() as u64, "A: a click is stored twice");

        let accepted: BTreeSet<_> = sent.iter().flat_map(Sent::accepted).collect();
        let possible: BTreeSet<_> = sent.iter().flat_map(Sent::possible).collect();
        none_of(accepted.difference(&stored), "accepted and lost");
        none_of(stored.difference(&possible), "refused or never posted, and stored");
    }

    /// D.
    async fn check_ledger(&self) {
        let unbalanced = "
            SELECT count(*)
            FROM consumer_offsets FULL JOIN partition_ledger USING (topic, kafka_partition)
            WHERE next_offset IS DISTINCT FROM stored + duplicates + dead + absent";
        assert_eq!(self.number(unbalanced).await, 0, "D: partitions out of balance");

        let rows_differ = "
            WITH rows AS (
                SELECT 'click' AS kind, kafka_partition, kafka_offset FROM clicks
                UNION ALL
                SELECT 'impression', kafka_partition, kafka_offset FROM impressions
            ), counted AS (
                SELECT kind, kafka_partition, count(*) AS rows,
                       count(DISTINCT kafka_offset) AS places, max(kafka_offset) AS last
                FROM rows GROUP BY kind, kafka_partition
            )
            SELECT count(*)
            FROM consumer_offsets JOIN partition_ledger USING (topic, kafka_partition)
                 LEFT JOIN counted USING (kind, kafka_partition)
            WHERE stored <> coalesce(rows, 0) OR rows <> places OR last >= next_offset";
        assert_eq!(self.number(rows_differ).await, 0, "D: partitions whose rows differ");
    }
}

/// Fails with some of the clicks, and not with a hundred thousand.
fn none_of<'a>(clicks: impl Iterator<Item = &'a String>, what: &str) {
    const SHOWN: usize = 10;
    let clicks: Vec<_> = clicks.collect();
    let some = &clicks[..clicks.len().min(SHOWN)];
    assert!(clicks.is_empty(), "A: {} clicks were {what}, such as {some:?}", clicks.len());
}
