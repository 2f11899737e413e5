//! How far each Kafka partition has been counted: the rows that say where reading starts.

use std::collections::HashMap;

use deadpool_postgres::Pool;
use proto_schemas::Kind;
use uuid::Uuid;

use crate::{StoreError, TopicPartition, stuck};

/// The record that was counted last, by which a log that is no longer the same one is recognised.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Anchor {
    /// Kafka's timestamp of the record, milliseconds since 1970.
    pub timestamp_ms: i64,
    /// SHA-256 of the record's key and value.
    pub hash: [u8; 32],
}

/// Where a partition stands.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Position {
    /// The first offset that is not counted yet.
    pub next_offset: i64,
    /// The record just before it; `None` where none was counted.
    pub anchor: Option<Anchor>,
}

/// Makes the rows of partitions that have none, at offset 0, and returns where each of `partitions`
/// stands.
///
/// A new row makes a new epoch in the same statement: until the owner has written that partition to
/// Redis too, readers that learn of it answer from Postgres.
///
/// # Errors
///
/// [`StoreError::Setting`] where the database counts another topic of this kind already: its rows
/// say the partition but not the topic, so one database belongs to one topic prefix. Where a batch that
/// is being counted holds a partition for longer than the server's `lock_timeout`; its consumer is put
/// out if it sits still.
pub async fn ensure(
    pool: &Pool,
    kinds: &[(TopicPartition, Kind)],
) -> Result<HashMap<TopicPartition, Position>, StoreError> {
    let client = pool.get().await?;
    let topics: Vec<&str> = kinds.iter().map(|(it, _)| &*it.topic).collect();
    let partitions: Vec<i32> = kinds.iter().map(|(it, _)| it.partition).collect();
    let kind_names: Vec<&str> = kinds.iter().map(|(_, kind)| kind.as_str()).collect();

    let statement = client
        .prepare_cached(
            "WITH wanted AS (
                 SELECT * FROM unnest($1::text[], $2::int[], $3::text[])
                          AS w(topic, kafka_partition, kind)
             ), made AS (
                 INSERT INTO consumer_offsets (topic, kafka_partition, kind)
                 SELECT * FROM wanted ORDER BY topic, kafka_partition
                 ON CONFLICT DO NOTHING
                 RETURNING topic, kafka_partition
             ), ledgers AS (
                 INSERT INTO partition_ledger (topic, kafka_partition)
                 SELECT * FROM made
                 ON CONFLICT DO NOTHING
             )
             UPDATE projection_epoch
             SET epoch = gen_random_uuid(), reason = 'a partition was seen first', renewed_at = now()
             WHERE EXISTS (SELECT FROM made)",
        )
        .await?;
    let made = client.execute(&statement, &[&topics, &partitions, &kind_names]).await;
    drop(client);
    if let Err(error) = made.map_err(StoreError::from) {
        // A batch that is being counted holds the rows that are there.
        if error.is_lock_timeout() {
            stuck::put_out(pool, kinds.iter().map(|(it, _)| it)).await?;
        }
        return Err(error);
    }

    let wanted: Vec<TopicPartition> = kinds.iter().map(|(it, _)| it.clone()).collect();
    let positions = read(pool, &wanted).await?;
    if wanted.iter().any(|it| !positions.contains_key(it)) {
        return Err(StoreError::Setting(
            "this database counts another topic already; give every TOPIC_PREFIX a database of its \
             own"
                .into(),
        ));
    }
    Ok(positions)
}

/// Returns where each of `partitions` stands; one that has no row is left out.
pub async fn read(
    pool: &Pool,
    partitions: &[TopicPartition],
) -> Result<HashMap<TopicPartition, Position>, StoreError> {
    let client = pool.get().await?;
    let topics: Vec<&str> = partitions.iter().map(|it| &*it.topic).collect();
    let numbers: Vec<i32> = partitions.iter().map(|it| it.partition).collect();
    let statement = client
        .prepare_cached(
            "SELECT topic, kafka_partition, next_offset, last_timestamp_ms, last_hash
             FROM consumer_offsets
             JOIN unnest($1::text[], $2::int[]) AS w(topic, kafka_partition)
                  USING (topic, kafka_partition)",
        )
        .await?;
    let rows = client.query(&statement, &[&topics, &numbers]).await?;

    rows.iter()
        .map(|row| {
            let key = TopicPartition::new(row.try_get::<_, &str>(0)?, row.try_get(1)?);
            let anchor = match (row.try_get(3)?, row.try_get::<_, Option<&[u8]>>(4)?) {
                (Some(timestamp_ms), Some(hash)) => Some(Anchor {
                    timestamp_ms,
                    hash: hash.try_into().map_err(|_| StoreError::Malformed("last_hash"))?,
                }),
                _ => None,
            };
            Ok((key, Position { next_offset: row.try_get(2)?, anchor }))
        })
        .collect()
}

/// Renews the epoch, so that nothing that Redis holds now is believed again. Owners write the
/// projection anew within seconds; until then readers answer from Postgres.
///
/// Needed after Postgres was restored from a backup, when Redis may hold counts of a future that no
/// longer exists.
pub async fn renew_epoch(pool: &Pool, reason: &str) -> Result<Uuid, StoreError> {
    let client = pool.get().await?;
    let statement = client
        .prepare_cached(
            "UPDATE projection_epoch
             SET epoch = gen_random_uuid(), reason = $1, renewed_at = now() RETURNING epoch",
        )
        .await?;
    Ok(client.query_one(&statement, &[&reason]).await?.try_get(0)?)
}

/// Renews the epoch where it still is `seen`, and says whether it was.
pub(crate) async fn renew_epoch_if(
    pool: &Pool,
    seen: Uuid,
    reason: &str,
) -> Result<bool, StoreError> {
    let client = pool.get().await?;
    let statement = client
        .prepare_cached(
            "UPDATE projection_epoch
             SET epoch = gen_random_uuid(), reason = $2, renewed_at = now() WHERE epoch = $1",
        )
        .await?;
    Ok(client.execute(&statement, &[&seen, &reason]).await? == 1)
}
