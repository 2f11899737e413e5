//! Whether everything that was read is accounted for: the ledger, the rows and the totals compared,
//! and Redis beside them.
//!
//! Everything that Postgres says here is of one moment, so it can be compared while consumers run.

use std::{
    collections::{BTreeMap, HashMap},
    time::Duration,
};

use deadpool_postgres::{Pool, Transaction};
use proto_schemas::{AdId, Kind};
use tokio_postgres::IsolationLevel;
use uuid::Uuid;

use crate::{
    Projection, StoreError, TopicPartition,
    counting::LedgerEntry,
    totals::{self, PartitionTotals},
};

/// What Postgres says of itself at one moment.
#[derive(Clone, Debug)]
pub struct Books {
    pub epoch: Uuid,
    /// Every partition that is counted, by topic and number.
    pub partitions: Vec<PartitionBooks>,
    /// What belongs to no partition that is counted.
    pub strays: Vec<Stray>,
}

/// What Postgres says of one partition.
#[derive(Clone, Debug)]
pub struct PartitionBooks {
    pub at: TopicPartition,
    pub kind: Kind,
    pub next_offset: i64,
    /// All zero where the partition has no ledger, which then does not balance.
    pub ledger: LedgerEntry,
    /// The sum of its totals.
    pub totals: i64,
    /// Its rows; `None` where they were not counted.
    pub rows: Option<i64>,
    /// Ads whose rows and total differ; empty where rows were not counted.
    pub ads: Vec<AdDifference>,
}

/// An ad whose rows and total are not the same number.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct AdDifference {
    pub ad: AdId,
    pub rows: i64,
    pub total: i64,
}

/// Something of a partition that has no row in `consumer_offsets`.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Stray {
    /// The table it stands in.
    pub table: &'static str,
    /// Its topic where the table says one.
    pub topic: Option<String>,
    pub partition: i32,
    pub events: i64,
}

impl LedgerEntry {
    /// How many offsets it accounts for.
    pub fn sum(&self) -> i64 {
        self.stored + self.duplicates + self.dead + self.absent
    }
}

impl PartitionBooks {
    /// Offsets below `next_offset` that the ledger does not know of; below zero where it knows of
    /// more than there are.
    pub fn missing_in_ledger(&self) -> i64 {
        self.next_offset - self.ledger.sum()
    }

    /// Whether ledger, totals and (where they were counted) rows say the same.
    pub fn balances(&self) -> bool {
        self.missing_in_ledger() == 0
            && self.ledger.stored == self.totals
            && self.rows.is_none_or(|it| it == self.totals)
            && self.ads.is_empty()
    }
}

/// Whether an audit counts the rows of all events.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Rows {
    /// Reads every row there is: minutes where there are hundreds of millions.
    Counted,
    /// Compares the ledger and the totals alone.
    Skipped,
}

/// Reads the books in one snapshot. `limit` is for each statement: the slow one is that which counts
/// all rows. While it runs, the server cannot clean up what consumers write over, so tables that are
/// written all the time grow a little.
pub async fn books(pool: &Pool, rows: Rows, limit: Duration) -> Result<Books, StoreError> {
    let mut client = pool.get().await?;
    let transaction = client
        .build_transaction()
        .isolation_level(IsolationLevel::RepeatableRead)
        .read_only(true)
        .start()
        .await?;
    transaction.batch_execute(&limits(limit)).await?;

    let mut books = read_books(&transaction).await?;
    if rows == Rows::Counted {
        count_rows(&transaction, &mut books).await?;
    }
    transaction.commit().await?;
    Ok(books)
}

/// How long a statement of the transaction may take; and the server looks now and then whether
/// somebody still waits for its answer.
pub(crate) fn limits(statement: Duration) -> String {
    // Zero would mean no limit.
    let statement_ms = statement.as_millis().max(1);
    format!(
        "SET LOCAL statement_timeout = {statement_ms};
         SET LOCAL client_connection_check_interval = '2s'"
    )
}

async fn read_books(transaction: &Transaction<'_>) -> Result<Books, StoreError> {
    let epoch = transaction.query_one("SELECT epoch FROM projection_epoch", &[]).await?;
    // Full joins: what belongs to no partition is found too.
    let rows = transaction
        .query(
            "SELECT topic, kafka_partition, kind, next_offset,
                    coalesce(stored, 0), coalesce(duplicates, 0), coalesce(dead, 0),
                    coalesce(absent, 0), l.topic IS NOT NULL, coalesce(events, 0)
             FROM consumer_offsets
             FULL JOIN partition_ledger AS l USING (topic, kafka_partition)
             FULL JOIN (
                 SELECT topic, kafka_partition, sum(events)::bigint AS events
                 FROM ad_totals GROUP BY topic, kafka_partition
             ) AS t USING (topic, kafka_partition)
             ORDER BY topic, kafka_partition",
            &[],
        )
        .await?;

    let mut books = Books { epoch: epoch.try_get(0)?, partitions: Vec::new(), strays: Vec::new() };
    for row in &rows {
        let (topic, partition): (&str, i32) = (row.try_get(0)?, row.try_get(1)?);
        let ledger = LedgerEntry {
            stored: row.try_get(4)?,
            duplicates: row.try_get(5)?,
            dead: row.try_get(6)?,
            absent: row.try_get(7)?,
        };
        let totals = row.try_get(9)?;
        if let Some(kind) = row.try_get::<_, Option<&str>>(2)? {
            let kind = Kind::ALL.into_iter().find(|it| it.as_str() == kind);
            books.partitions.push(PartitionBooks {
                at: TopicPartition::new(topic, partition),
                kind: kind.ok_or(StoreError::Malformed("the kind of a partition"))?,
                next_offset: row.try_get(3)?,
                ledger,
                totals,
                rows: None,
                ads: Vec::new(),
            });
            continue;
        }
        let stray =
            |table, events| Stray { table, topic: Some(topic.to_owned()), partition, events };
        if ledger.sum() != 0 {
            books.strays.push(stray("partition_ledger", ledger.sum()));
        }
        if totals != 0 {
            books.strays.push(stray("ad_totals", totals));
        }
    }
    Ok(books)
}

/// Rows and total of each ad in each partition: one pass over the rows of both kinds.
const ROWS_AND_TOTALS: &str = "
    SELECT kind, kafka_partition, ad_id, coalesce(r.events, 0), coalesce(t.events, 0)
    FROM (
        SELECT 'click' AS kind, kafka_partition, ad_id, count(*) AS events
        FROM clicks GROUP BY kafka_partition, ad_id
        UNION ALL
        SELECT 'impression', kafka_partition, ad_id, count(*)
        FROM impressions GROUP BY kafka_partition, ad_id
    ) AS r
    FULL JOIN (
        SELECT kind, kafka_partition, ad_id, events
        FROM ad_totals JOIN consumer_offsets USING (topic, kafka_partition)
    ) AS t USING (kind, kafka_partition, ad_id)
    ORDER BY kind, kafka_partition, ad_id";

async fn count_rows(transaction: &Transaction<'_>, books: &mut Books) -> Result<(), StoreError> {
    let mut partitions: HashMap<(Kind, i32), &mut PartitionBooks> = HashMap::new();
    for it in &mut books.partitions {
        it.rows = Some(0);
        partitions.insert((it.kind, it.at.partition), it);
    }
    let mut strays: BTreeMap<(&'static str, i32), i64> = BTreeMap::new();
    for row in ad_counts(transaction).await? {
        let AdCount { kind, partition, difference } = row;
        let Some(books) = partitions.get_mut(&(kind, partition)) else {
            let table = crate::counting::table_of(kind);
            *strays.entry((table, partition)).or_default() += difference.rows;
            continue;
        };
        *books.rows.get_or_insert(0) += difference.rows;
        if difference.rows != difference.total {
            books.ads.push(difference);
        }
    }
    books.strays.extend(strays.into_iter().map(|((table, partition), events)| Stray {
        table,
        topic: None,
        partition,
        events,
    }));
    Ok(())
}

/// Rows and total of an ad in a partition: the same number, where all is well.
pub(crate) struct AdCount {
    pub(crate) kind: Kind,
    pub(crate) partition: i32,
    pub(crate) difference: AdDifference,
}

/// Counts every row there is, in one statement and so at one moment.
pub(crate) async fn ad_counts(transaction: &Transaction<'_>) -> Result<Vec<AdCount>, StoreError> {
    let rows = transaction.query(ROWS_AND_TOTALS, &[]).await?;
    rows.iter()
        .map(|row| {
            let kind: &str = row.try_get(0)?;
            let kind = Kind::ALL.into_iter().find(|it| it.as_str() == kind);
            Ok(AdCount {
                kind: kind.ok_or(StoreError::Malformed("the kind of a partition"))?,
                partition: row.try_get(1)?,
                difference: AdDifference {
                    ad: crate::ad_id(row.try_get(2)?)?,
                    rows: row.try_get(3)?,
                    total: row.try_get(4)?,
                },
            })
        })
        .collect()
}

/// How many events of `partitions` the ledger and the totals do not account for: offsets that the
/// ledger misses (or invents), and stored events that the totals miss (or invent).
///
/// One statement that reads no event's row; but it reads every total of these partitions, one for
/// each ad.
pub async fn unaccounted(pool: &Pool, partitions: &[TopicPartition]) -> Result<i64, StoreError> {
    let client = pool.get().await?;
    let topics: Vec<&str> = partitions.iter().map(|it| &*it.topic).collect();
    let numbers: Vec<i32> = partitions.iter().map(|it| it.partition).collect();
    let statement = client
        .prepare_cached(
            "WITH wanted AS (
                 SELECT * FROM unnest($1::text[], $2::int[]) AS w(topic, kafka_partition)
             ), sums AS (
                 SELECT topic, kafka_partition, sum(events) AS events
                 FROM ad_totals JOIN wanted USING (topic, kafka_partition)
                 GROUP BY topic, kafka_partition
             )
             SELECT coalesce(sum(
                 abs(next_offset - coalesce(stored + duplicates + dead + absent, 0))
                 + abs(coalesce(stored, 0) - coalesce(events, 0))
             ), 0)::bigint
             FROM wanted
             JOIN consumer_offsets USING (topic, kafka_partition)
             LEFT JOIN partition_ledger USING (topic, kafka_partition)
             LEFT JOIN sums USING (topic, kafka_partition)",
        )
        .await?;
    Ok(client.query_one(&statement, &[&topics, &numbers]).await?.try_get(0)?)
}

/// What Redis holds of a partition, compared with the totals of Postgres.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum RedisState {
    /// The same totals at the same offset.
    Equal,
    /// No hash, or one that makes no sense; readers then ask Postgres.
    Absent,
    /// Of another epoch, so that no reader believes it.
    OtherEpoch,
    /// So many offsets behind Postgres: nothing can be compared at two different offsets.
    Behind(i64),
    /// So many offsets ahead of Postgres in its own epoch: Postgres was set back.
    Ahead(i64),
    /// At the same offset, but so many ads have another total.
    Different { ads: usize },
    /// It holds what is no total.
    Malformed,
}

impl RedisState {
    /// Whether nothing that is under way explains it, and a reader may believe what is wrong.
    pub fn is_difference(&self) -> bool {
        matches!(self, Self::Ahead(_) | Self::Different { .. } | Self::Malformed)
    }
}

/// Compares one partition in Redis with the totals of Postgres.
///
/// Redis is asked first: what Postgres says afterwards can only be further. Under traffic the answer
/// is often [`RedisState::Behind`], and a moment later [`RedisState::Equal`]: ask again.
///
/// # Errors
///
/// Where a store did not answer. A partition that Postgres does not count is
/// [`StoreError::Malformed`].
pub async fn compare_redis(
    pool: &Pool,
    projection: &Projection,
    at: &TopicPartition,
) -> Result<RedisState, StoreError> {
    let held = match projection.totals_of(at).await {
        Err(StoreError::Malformed(_)) => return Ok(RedisState::Malformed),
        held => held?,
    };
    let truth = totals::of_partition(pool, at)
        .await?
        .ok_or(StoreError::Malformed("a partition that is not counted"))?;
    Ok(compare(held.as_ref(), &truth))
}

fn compare(held: Option<&PartitionTotals>, truth: &PartitionTotals) -> RedisState {
    let Some(held) = held else { return RedisState::Absent };
    if held.epoch != truth.epoch {
        return RedisState::OtherEpoch;
    }
    let behind = truth.next_offset - held.next_offset;
    match behind {
        0 => match different_ads(held, truth) {
            0 => RedisState::Equal,
            ads => RedisState::Different { ads },
        },
        1.. => RedisState::Behind(behind),
        _ => RedisState::Ahead(-behind),
    }
}

/// How many ads have one total here and another there. No total is the same as zero.
fn different_ads(one: &PartitionTotals, other: &PartitionTotals) -> usize {
    let mut differences: HashMap<AdId, i64> = HashMap::new();
    for &(ad, events) in &one.events {
        *differences.entry(ad).or_default() += events;
    }
    for &(ad, events) in &other.events {
        *differences.entry(ad).or_default() -= events;
    }
    differences.into_values().filter(|it| *it != 0).count()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn totals(epoch: u128, next_offset: i64, events: &[(u64, i64)]) -> PartitionTotals {
        let ad = |id| AdId::new(id).expect("in range");
        PartitionTotals {
            epoch: Uuid::from_u128(epoch),
            next_offset,
            events: events.iter().map(|&(id, events)| (ad(id), events)).collect(),
        }
    }

    #[test]
    fn redis_is_compared_only_at_the_same_offset_of_the_same_epoch() {
        let truth = totals(1, 9, &[(1, 5), (2, 3)]);

        let of = |held: PartitionTotals| compare(Some(&held), &truth);
        assert_eq!(of(totals(1, 9, &[(2, 3), (1, 5), (3, 0)])), RedisState::Equal);
        assert_eq!(of(totals(1, 9, &[(1, 5)])), RedisState::Different { ads: 1 });
        assert_eq!(of(totals(1, 9, &[(1, 6), (2, 2)])), RedisState::Different { ads: 2 });
        assert_eq!(of(totals(1, 7, &[(1, 50)])), RedisState::Behind(2));
        assert_eq!(of(totals(1, 10, &[(1, 5)])), RedisState::Ahead(1));
        assert_eq!(of(totals(2, 10, &[(1, 5)])), RedisState::OtherEpoch);
        assert_eq!(compare(None, &truth), RedisState::Absent);
    }
}
