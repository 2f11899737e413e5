//! Totals and ledger made to agree with the rows again, while consumers count.

use std::time::Duration;

use deadpool_postgres::{Pool, Transaction};
use proto_schemas::AdId;
use uuid::Uuid;

use crate::{StoreError, TopicPartition, audit, totals::RAISE};

/// What [`totals`] did.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Rebuilt {
    /// Totals that were corrected.
    pub totals: Vec<Corrected>,
    /// Partitions whose ledger was corrected, and by how many stored events.
    pub ledgers: Vec<(TopicPartition, i64)>,
    /// The new epoch; `None` where nothing had to be corrected.
    pub epoch: Option<Uuid>,
}

/// The total of an ad in a partition that was not the number of its rows.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Corrected {
    pub at: TopicPartition,
    pub ad: AdId,
    /// What was added: below zero where the total was too high.
    pub by: i64,
}

/// Only one rebuild at a time: two that found the same difference would both correct it.
const ONE_AT_A_TIME: &str = "SELECT pg_advisory_xact_lock(hashtext('rebuild_totals'))";

/// Longer than a consumer may hold a fence: a rebuild that has counted all rows waits for it rather
/// than counting again.
const LOCK_TIMEOUT: &str = "SET LOCAL lock_timeout = '60s'";

/// Corrects `ad_totals`, and `stored` in the ledger, by what they differ from the rows.
///
/// One transaction, in two steps. First all rows are counted and compared with the totals and the
/// ledger in one statement, and so at one moment, without holding up anybody. Then the *differences*
/// are added: whatever was counted since has raised rows, totals and ledger by the same, so that a
/// difference found then is still the difference now. For that moment the rows of `consumer_offsets`
/// of the partitions concerned are locked, in the order in which the counting transaction locks
/// them: counting waits for milliseconds, and no two ever wait for each other in a circle.
///
/// The epoch is renewed in the same transaction, since Redis holds the old totals.
///
/// A row that was deleted stays missing: the ledger then says one event less than there are offsets,
/// and an audit goes on to show it. (Nothing drops days yet. Whatever does so has to keep what a day
/// counted as a base, which then must be added to the rows here.)
///
/// # Cancellation
///
/// Nothing is changed before the COMMIT.
pub async fn totals(pool: &Pool, limit: Duration) -> Result<Rebuilt, StoreError> {
    let mut client = pool.get().await?;
    // READ COMMITTED: the step that corrects sees what was committed while rows were counted.
    let transaction = client.transaction().await?;
    transaction.batch_execute(&audit::limits(limit)).await?;
    transaction.batch_execute(LOCK_TIMEOUT).await?;
    transaction.batch_execute(ONE_AT_A_TIME).await?;

    let mut rebuilt = find(&transaction).await?;
    if rebuilt.totals.is_empty() && rebuilt.ledgers.is_empty() {
        return Ok(rebuilt);
    }
    lock(&transaction, &rebuilt).await?;
    correct_totals(&transaction, &rebuilt.totals).await?;
    correct_ledgers(&transaction, &rebuilt.ledgers).await?;
    let renewed = transaction
        .query_one(
            "UPDATE projection_epoch
             SET epoch = gen_random_uuid(), reason = 'totals were rebuilt', renewed_at = now()
             RETURNING epoch",
            &[],
        )
        .await?;
    rebuilt.epoch = Some(renewed.try_get(0)?);
    transaction.commit().await?;
    Ok(rebuilt)
}

/// Counts, and returns what has to be corrected. Nothing is locked.
///
/// Rows, totals and ledger come from one statement: with two, a COMMIT between them would look like a
/// difference.
async fn find(transaction: &Transaction<'_>) -> Result<Rebuilt, StoreError> {
    let rows = transaction
        .query(
            "WITH partitions AS (
                 SELECT o.topic, o.kafka_partition, o.kind, coalesce(l.stored, 0) AS stored
                 FROM consumer_offsets AS o
                 LEFT JOIN partition_ledger AS l USING (topic, kafka_partition)
             ), counted AS (
                 SELECT 'click' AS kind, kafka_partition, ad_id, count(*) AS events
                 FROM clicks GROUP BY kafka_partition, ad_id
                 UNION ALL
                 SELECT 'impression', kafka_partition, ad_id, count(*)
                 FROM impressions GROUP BY kafka_partition, ad_id
             ), rows AS (
                 SELECT topic, kafka_partition, ad_id, events
                 FROM counted JOIN partitions USING (kind, kafka_partition)
             ), totals AS (
                 SELECT topic, kafka_partition, ad_id, events
                 FROM ad_totals JOIN partitions USING (topic, kafka_partition)
             )
             SELECT topic, kafka_partition, ad_id,
                    coalesce(rows.events, 0) - coalesce(totals.events, 0) AS by
             FROM rows FULL JOIN totals USING (topic, kafka_partition, ad_id)
             WHERE coalesce(rows.events, 0) <> coalesce(totals.events, 0)
             UNION ALL
             SELECT topic, kafka_partition, NULL, coalesce(sum(rows.events), 0)::bigint - stored
             FROM partitions LEFT JOIN rows USING (topic, kafka_partition)
             GROUP BY topic, kafka_partition, stored
             HAVING coalesce(sum(rows.events), 0) <> stored
             ORDER BY 1, 2, 3",
            &[],
        )
        .await?;
    let mut rebuilt = Rebuilt::default();
    for row in &rows {
        let at = TopicPartition::new(row.try_get::<_, &str>(0)?, row.try_get(1)?);
        let by = row.try_get(3)?;
        match row.try_get(2)? {
            Some(ad) => rebuilt.totals.push(Corrected { at, ad: crate::ad_id(ad)?, by }),
            None => rebuilt.ledgers.push((at, by)),
        }
    }
    Ok(rebuilt)
}

/// Keeps everybody from counting the partitions concerned.
async fn lock(transaction: &Transaction<'_>, rebuilt: &Rebuilt) -> Result<(), StoreError> {
    let concerned =
        rebuilt.totals.iter().map(|it| &it.at).chain(rebuilt.ledgers.iter().map(|it| &it.0));
    let (topics, partitions): (Vec<&str>, Vec<i32>) =
        concerned.map(|it| (&*it.topic, it.partition)).unzip();
    transaction
        .query(
            "SELECT FROM consumer_offsets
             WHERE (topic, kafka_partition) IN (SELECT * FROM unnest($1::text[], $2::int[]))
             ORDER BY topic, kafka_partition
             FOR UPDATE",
            &[&topics, &partitions],
        )
        .await?;
    Ok(())
}

async fn correct_totals(
    transaction: &Transaction<'_>,
    corrected: &[Corrected],
) -> Result<(), StoreError> {
    let topics: Vec<&str> = corrected.iter().map(|it| &*it.at.topic).collect();
    let partitions: Vec<i32> = corrected.iter().map(|it| it.at.partition).collect();
    let ads: Vec<i64> = corrected.iter().map(|it| it.ad.as_i64()).collect();
    let by: Vec<i64> = corrected.iter().map(|it| it.by).collect();
    // First the rows that are missing, with nothing in them: a total that was merely inserted or
    // added to would be checked, as if it were all there is, for being below zero.
    transaction
        .execute(
            "INSERT INTO ad_totals (topic, kafka_partition, ad_id, events)
             SELECT *, 0 FROM unnest($1::text[], $2::int[], $3::bigint[])
             ON CONFLICT DO NOTHING",
            &[&topics, &partitions, &ads],
        )
        .await?;
    transaction.execute(RAISE, &[&topics, &partitions, &ads, &by]).await?;
    Ok(())
}

async fn correct_ledgers(
    transaction: &Transaction<'_>,
    corrected: &[(TopicPartition, i64)],
) -> Result<(), StoreError> {
    let topics: Vec<&str> = corrected.iter().map(|it| &*it.0.topic).collect();
    let partitions: Vec<i32> = corrected.iter().map(|it| it.0.partition).collect();
    let by: Vec<i64> = corrected.iter().map(|it| it.1).collect();
    transaction
        .execute(
            "INSERT INTO partition_ledger (topic, kafka_partition, stored)
             SELECT * FROM unnest($1::text[], $2::int[], $3::bigint[])
             ON CONFLICT (topic, kafka_partition)
             DO UPDATE SET stored = partition_ledger.stored + excluded.stored",
            &[&topics, &partitions, &by],
        )
        .await?;
    Ok(())
}
