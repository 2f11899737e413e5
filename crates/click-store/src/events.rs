//! Single events: whether they are stored.

use std::{collections::HashSet, time::SystemTime};

use deadpool_postgres::Pool;
use proto_schemas::{AdEvent, DedupKey, Kind};
use uuid::Uuid;

use crate::{StoreError, counting::table_of};

/// Returns which of `events`, all of `kind`, have their row: one look-up by primary key for each.
pub async fn stored<'a>(
    pool: &Pool,
    kind: Kind,
    events: impl Iterator<Item = &'a AdEvent>,
) -> Result<HashSet<DedupKey>, StoreError> {
    let (times, keys): (Vec<SystemTime>, Vec<Uuid>) = events
        .filter(|it| it.kind == kind)
        .map(|it| {
            (
                SystemTime::from(it.dedup_time.timestamp()),
                Uuid::from_bytes(*it.dedup_key.as_bytes()),
            )
        })
        .unzip();
    let client = pool.get().await?;
    let statement = client
        .prepare_cached(&format!(
            "SELECT dedup_key FROM {}
             JOIN unnest($1::timestamptz[], $2::uuid[]) AS w(dedup_time, dedup_key)
                  USING (dedup_time, dedup_key)",
            table_of(kind)
        ))
        .await?;
    let rows = client.query(&statement, &[&times, &keys]).await?;
    rows.iter()
        .map(|row| Ok(DedupKey::from_bytes(*row.try_get::<_, Uuid>(0)?.as_bytes())))
        .collect()
}
