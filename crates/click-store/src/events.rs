//! Single events: whether they are stored.

use std::{collections::HashSet, time::SystemTime};

use deadpool_postgres::Pool;
use proto_schemas::{AdEvent, DedupKey, Kind};
use uuid::Uuid;

use crate::{StoreError, event_columns::EventColumns};

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
    let statement = client.prepare_cached(EventColumns::select_from(kind)).await?;
    let rows = client.query(&statement, &[&times, &keys]).await?;
    rows.iter().map(|row| Ok(crate::dedup_key(row.try_get(0)?))).collect()
}
