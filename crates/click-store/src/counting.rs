//! The counting transaction: one for each batch, over every partition that the batch touches.
//!
//! The caller goes through its steps in this order: [`CountingTransaction::begin`] (the fence),
//! [`CountingTransaction::unknown_ads`], [`CountingTransaction::insert`] (`insertion.rs`),
//! [`CountingTransaction::add_totals`], [`CountingTransaction::commit`]. Dropping it at any point
//! closes its connection. The server then rolls back, at the latest when the statement that it is
//! in has ended; but where that is COMMIT, it may have committed, so a dropped commit is in doubt.

use std::collections::HashSet;

use deadpool_postgres::{Object, Pool};
use proto_schemas::{AdEvent, AdId, Kind};
use tokio_postgres::types::ToSql;
use uuid::Uuid;

use crate::{StoreError, TopicPartition, offsets::Anchor, pool, stuck, totals::RAISE};

/// Moves one partition from `expected` to `new`, if nobody else has moved it meanwhile.
#[derive(Clone, Debug)]
pub struct Fence {
    pub at: TopicPartition,
    /// `next_offset` as it must be now.
    pub expected: i64,
    /// `next_offset` after the batch: last record plus one.
    pub new: i64,
    /// The batch's last record of this partition.
    pub anchor: Anchor,
}

/// What [`CountingTransaction::begin`] found.
#[must_use]
pub enum Begun {
    /// Every fence holds: these records are ours to count.
    Open(Box<CountingTransaction>),
    /// These partitions have been moved by somebody else; everything is rolled back.
    Lost(Vec<TopicPartition>),
}

/// An event, and where Kafka holds it.
#[derive(Clone, Copy, Debug)]
pub struct Located<'a> {
    pub event: &'a AdEvent,
    pub partition: i32,
    pub offset: i64,
}

/// How many events of one ad and partition were new.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct NewEvents {
    pub partition: i32,
    pub ad: AdId,
    pub events: i64,
}

/// What became of the records of one partition.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct LedgerEntry {
    pub stored: i64,
    pub duplicates: i64,
    pub dead: i64,
    pub absent: i64,
}

/// An open transaction that holds the fences of a batch.
pub struct CountingTransaction {
    /// `None` once it has ended.
    client: Option<Object>,
    epoch: Uuid,
}

/// The table that holds events of `kind`.
pub(crate) fn table_of(kind: Kind) -> &'static str {
    match kind {
        Kind::Click => "clicks",
        Kind::Impression => "impressions",
    }
}

impl CountingTransaction {
    /// Begins, and moves every fence.
    ///
    /// A second consumer that holds the same records waits here for the first one's end, and then
    /// finds its fence missing. Rows are locked in the order of (topic, partition), so that two
    /// batches never wait for each other in a circle.
    ///
    /// # Errors
    ///
    /// Where another holds a fence for longer than the server's `lock_timeout`. It is put out if it
    /// sits still, so that trying again gets there.
    pub async fn begin(pool: &Pool, fences: &[Fence]) -> Result<Begun, StoreError> {
        let mut transaction = Self { client: Some(pool.get().await?), epoch: Uuid::nil() };

        // Not sent together with the fence: were BEGIN alone to fail, the fence would commit itself.
        transaction.client()?.batch_execute("BEGIN ISOLATION LEVEL READ COMMITTED").await?;

        let topics: Vec<&str> = fences.iter().map(|it| &*it.at.topic).collect();
        let partitions: Vec<i32> = fences.iter().map(|it| it.at.partition).collect();
        let expected: Vec<i64> = fences.iter().map(|it| it.expected).collect();
        let new: Vec<i64> = fences.iter().map(|it| it.new).collect();
        let timestamps: Vec<i64> = fences.iter().map(|it| it.anchor.timestamp_ms).collect();
        let hashes: Vec<&[u8]> = fences.iter().map(|it| &it.anchor.hash[..]).collect();
        let moving = transaction
            .query(
                "WITH held AS (
                     SELECT topic, kafka_partition, f.expected, f.new, f.timestamp_ms, f.hash
                     FROM consumer_offsets
                     JOIN unnest($1::text[], $2::int[], $3::bigint[], $4::bigint[], $5::bigint[],
                                 $6::bytea[])
                          AS f(topic, kafka_partition, expected, new, timestamp_ms, hash)
                          USING (topic, kafka_partition)
                     WHERE next_offset = f.expected
                     ORDER BY topic, kafka_partition
                     FOR UPDATE OF consumer_offsets
                 )
                 UPDATE consumer_offsets AS o
                 SET next_offset = held.new, last_timestamp_ms = held.timestamp_ms,
                     last_hash = held.hash
                 FROM held
                 WHERE o.topic = held.topic AND o.kafka_partition = held.kafka_partition
                   AND o.next_offset = held.expected
                 RETURNING o.topic, o.kafka_partition, (SELECT epoch FROM projection_epoch)",
                &[&topics, &partitions, &expected, &new, &timestamps, &hashes],
            )
            .await;
        let moved = match moving {
            Err(error) if error.is_lock_timeout() => {
                drop(transaction);
                stuck::put_out(pool, fences.iter().map(|it| &it.at)).await?;
                return Err(error);
            }
            moving => moving?,
        };

        let mut held = HashSet::new();
        for row in &moved {
            held.insert(TopicPartition::new(row.try_get::<_, &str>(0)?, row.try_get(1)?));
            transaction.epoch = row.try_get(2)?;
        }
        let lost: Vec<_> =
            fences.iter().map(|it| &it.at).filter(|it| !held.contains(it)).cloned().collect();
        if lost.is_empty() {
            return Ok(Begun::Open(Box::new(transaction)));
        }
        transaction.roll_back().await?;
        Ok(Begun::Lost(lost))
    }

    /// The epoch under which Redis may be told of this batch.
    pub fn epoch(&self) -> Uuid {
        self.epoch
    }

    /// Returns those of `ads` that nobody has registered.
    ///
    /// Read here, from no cache: an ad that was registered a moment ago counts from now on.
    pub async fn unknown_ads(&self, ads: &[AdId]) -> Result<HashSet<AdId>, StoreError> {
        let ids: Vec<i64> = ads.iter().map(|it| it.as_i64()).collect();
        let rows =
            self.query("SELECT ad_id FROM ads WHERE ad_id = ANY($1::bigint[])", &[&ids]).await?;
        let mut unknown: HashSet<AdId> = ads.iter().copied().collect();
        for row in &rows {
            unknown.remove(&crate::ad_id(row.try_get(0)?)?);
        }
        Ok(unknown)
    }

    /// Adds what is new to the totals, and what became of the records to the ledger.
    pub async fn add_totals(
        &self,
        new_events: &[(&TopicPartition, AdId, i64)],
        ledger: &[(&TopicPartition, LedgerEntry)],
    ) -> Result<(), StoreError> {
        let topics: Vec<&str> = new_events.iter().map(|it| &*it.0.topic).collect();
        let partitions: Vec<i32> = new_events.iter().map(|it| it.0.partition).collect();
        let ads: Vec<i64> = new_events.iter().map(|it| it.1.as_i64()).collect();
        let events: Vec<i64> = new_events.iter().map(|it| it.2).collect();
        let ledger_topics: Vec<&str> = ledger.iter().map(|it| &*it.0.topic).collect();
        let ledger_partitions: Vec<i32> = ledger.iter().map(|it| it.0.partition).collect();
        let stored: Vec<i64> = ledger.iter().map(|it| it.1.stored).collect();
        let duplicates: Vec<i64> = ledger.iter().map(|it| it.1.duplicates).collect();
        let dead: Vec<i64> = ledger.iter().map(|it| it.1.dead).collect();
        let absent: Vec<i64> = ledger.iter().map(|it| it.1.absent).collect();
        let totals: [&(dyn ToSql + Sync); 4] = [&topics, &partitions, &ads, &events];
        let raised = self.execute(RAISE, &totals).await?;
        if raised < new_events.len() as u64 {
            // Those without a row. Nobody else can have made one meanwhile: the fence is ours.
            self.execute(
                "INSERT INTO ad_totals (topic, kafka_partition, ad_id, events)
                 SELECT * FROM unnest($1::text[], $2::int[], $3::bigint[], $4::bigint[])
                      AS n(topic, kafka_partition, ad_id, events)
                 WHERE NOT EXISTS (
                     SELECT FROM ad_totals AS t
                     WHERE t.topic = n.topic AND t.kafka_partition = n.kafka_partition
                       AND t.ad_id = n.ad_id)",
                &totals,
            )
            .await?;
        }
        self.execute(
            "UPDATE partition_ledger AS l
             SET stored = l.stored + n.stored, duplicates = l.duplicates + n.duplicates,
                 dead = l.dead + n.dead, absent = l.absent + n.absent
             FROM unnest($1::text[], $2::int[], $3::bigint[], $4::bigint[], $5::bigint[],
                         $6::bigint[])
                  AS n(topic, kafka_partition, stored, duplicates, dead, absent)
             WHERE l.topic = n.topic AND l.kafka_partition = n.kafka_partition",
            &[&ledger_topics, &ledger_partitions, &stored, &duplicates, &dead, &absent],
        )
        .await?;
        Ok(())
    }

    /// Commits.
    ///
    /// # Errors
    ///
    /// After any error the outcome is in doubt: the server may have committed and only the answer
    /// been lost, or the COMMIT may still be on its way. The connection is closed; whoever wants to
    /// know reads `next_offset` again.
    pub async fn commit(mut self) -> Result<(), StoreError> {
        self.client()?.batch_execute("COMMIT").await?;
        // Only now may the connection be used again: it stands in no transaction.
        drop(self.client.take());
        Ok(())
    }

    /// Ends the transaction without a trace.
    pub async fn roll_back(mut self) -> Result<(), StoreError> {
        self.client()?.batch_execute("ROLLBACK").await?;
        drop(self.client.take());
        Ok(())
    }

    pub(crate) fn client(&self) -> Result<&Object, StoreError> {
        self.client.as_ref().ok_or(StoreError::Malformed("the state of a transaction"))
    }

    async fn execute(
        &self,
        sql: &str,
        parameters: &[&(dyn ToSql + Sync)],
    ) -> Result<u64, StoreError> {
        let client = self.client()?;
        let statement = client.prepare_cached(sql).await?;
        Ok(client.execute(&statement, parameters).await?)
    }

    pub(crate) async fn query(
        &self,
        sql: &str,
        parameters: &[&(dyn ToSql + Sync)],
    ) -> Result<Vec<tokio_postgres::Row>, StoreError> {
        let client = self.client()?;
        let statement = client.prepare_cached(sql).await?;
        Ok(client.query(&statement, parameters).await?)
    }
}

impl Drop for CountingTransaction {
    fn drop(&mut self) {
        if let Some(connection) = self.client.take() {
            pool::discard(connection);
        }
    }
}
