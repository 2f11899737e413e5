//! Both sides of the stores: all SQL and migrations, all Redis keys and scripts.
//!
//! Knows no Kafka beyond the names of topics and partitions, and no HTTP.

mod acl;
pub mod ads;
pub mod audit;
pub mod counting;
pub mod days;
mod error;
mod event_columns;
mod event_copy;
pub mod events;
mod insertion;
pub mod migrations;
pub mod offsets;
mod pool;
mod postgres_url;
pub mod projection;
pub mod rebuild;
mod recent;
mod redis;
pub mod repair;
pub mod roles;
mod stuck;
mod topic_partition;
pub mod totals;

pub use deadpool_postgres::Pool;

pub use crate::{
    ads::{ActiveAdsCache, Ad, Media},
    error::{RetryReason, StoreError},
    pool::{connect, counting_pool, pool, read_only_pool},
    projection::Projection,
    recent::RecentEvents,
    redis::{Redis, RedisLimits},
    topic_partition::TopicPartition,
};

/// Waits for `work` on a store for `limit` at most.
///
/// The server's own limits are of no use where the server hangs while its machine still answers.
/// The connection that was waited for is not used again: it does not pass the pool's check.
///
/// # Errors
///
/// [`StoreError::TimedOut`] after `limit`; what was asked may then still happen.
pub async fn within<T>(
    limit: std::time::Duration,
    work: impl Future<Output = Result<T, StoreError>>,
) -> Result<T, StoreError> {
    tokio::time::timeout(limit, work).await.unwrap_or(Err(StoreError::TimedOut(limit)))
}

/// Reads an ad id that SQL returned.
fn ad_id(id: i64) -> Result<proto_schemas::AdId, StoreError> {
    u64::try_from(id)
        .ok()
        .and_then(proto_schemas::AdId::new)
        .ok_or(StoreError::Malformed("an ad id"))
}

/// Reads a dedup key that SQL returned.
fn dedup_key(key: uuid::Uuid) -> proto_schemas::DedupKey {
    proto_schemas::DedupKey::from_bytes(*key.as_bytes())
}
