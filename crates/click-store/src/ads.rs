//! The ads themselves: registered by the operator, listed to players.

use std::time::Duration;

use deadpool_postgres::Pool;
use fred::{interfaces::KeysInterface, types::Expiration};
use proto_schemas::AdId;

use crate::{Redis, StoreError};

/// A registered ad.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Ad {
    pub id: AdId,
    /// What the player shows.
    pub image_url: String,
    /// Where a click leads.
    pub target_url: String,
    /// Whether players are told of it. An inactive ad still counts.
    pub active: bool,
}

/// Registers those of `ads` that are not registered yet, in one transaction, and returns how many
/// that were. An ad that is there already is left as it is.
pub async fn add(pool: &Pool, ads: &[Ad]) -> Result<u64, StoreError> {
    let client = pool.get().await?;
    let ids: Vec<i64> = ads.iter().map(|it| it.id.as_i64()).collect();
    let images: Vec<&str> = ads.iter().map(|it| it.image_url.as_str()).collect();
    let targets: Vec<&str> = ads.iter().map(|it| it.target_url.as_str()).collect();
    let active: Vec<bool> = ads.iter().map(|it| it.active).collect();
    Ok(client
        .execute(
            "INSERT INTO ads (ad_id, image_url, target_url, active)
             SELECT * FROM unnest($1::bigint[], $2::text[], $3::text[], $4::boolean[])
             ON CONFLICT (ad_id) DO NOTHING",
            &[&ids, &images, &targets, &active],
        )
        .await?)
}

/// Returns every ad, by id.
pub async fn list(pool: &Pool) -> Result<Vec<Ad>, StoreError> {
    query(pool, "SELECT ad_id, image_url, target_url, active FROM ads ORDER BY ad_id").await
}

/// Returns the ads that players are told of, by id.
pub async fn active(pool: &Pool) -> Result<Vec<Ad>, StoreError> {
    query(pool, "SELECT ad_id, image_url, target_url, active FROM ads WHERE active ORDER BY ad_id")
        .await
}

/// Says whether players are told of an ad; `false` where there is no such ad.
pub async fn set_active(pool: &Pool, ad: AdId, active: bool) -> Result<bool, StoreError> {
    let client = pool.get().await?;
    let changed = client
        .execute("UPDATE ads SET active = $2 WHERE ad_id = $1", &[&ad.as_i64(), &active])
        .await?;
    Ok(changed == 1)
}

async fn query(pool: &Pool, sql: &str) -> Result<Vec<Ad>, StoreError> {
    let client = pool.get().await?;
    let statement = client.prepare_cached(sql).await?;
    let rows = client.query(&statement, &[]).await?;
    rows.iter()
        .map(|row| {
            Ok(Ad {
                id: crate::ad_id(row.try_get(0)?)?,
                image_url: row.try_get(1)?,
                target_url: row.try_get(2)?,
                active: row.try_get(3)?,
            })
        })
        .collect()
}

/// The answer to "which ads are active", kept in Redis as the reader rendered it.
///
/// Whoever changes an ad calls [`ActiveAdsCache::clear`]. A reader that was filling it at that very
/// moment may put the old answer back: it lives for [`ActiveAdsCache::LIFETIME`] at most.
#[derive(Clone, Debug)]
pub struct ActiveAdsCache {
    redis: Redis,
}

impl ActiveAdsCache {
    /// How long an answer may be used.
    pub const LIFETIME: Duration = Duration::from_secs(5);

    /// How long an answer is kept for the case that Postgres cannot give a newer one. Nobody can
    /// change an ad while Postgres is away, so an old answer is still the right one; the limit is
    /// there for the keys of a deployment that is gone.
    pub const KEPT_FOR: Duration = Duration::from_hours(24);

    pub fn new(redis: Redis) -> Self {
        Self { redis }
    }

    /// Returns the rendered answer; `None` where there is none that may be used.
    pub async fn get(&self) -> Result<Option<String>, StoreError> {
        Ok(self.redis.client().get(self.redis.keys().active_ads()).await?)
    }

    /// Returns the last rendered answer, for when Postgres does not answer.
    pub async fn get_kept(&self) -> Result<Option<String>, StoreError> {
        Ok(self.redis.client().get(self.redis.keys().kept_active_ads()).await?)
    }

    /// Keeps a rendered answer.
    pub async fn put(&self, rendered: &str) -> Result<(), StoreError> {
        let keys = self.redis.keys();
        self.set(keys.kept_active_ads(), rendered, Self::KEPT_FOR).await?;
        self.set(keys.active_ads(), rendered, Self::LIFETIME).await
    }

    /// Forgets the answer.
    pub async fn clear(&self) -> Result<(), StoreError> {
        let keys = self.redis.keys();
        Ok(self.redis.client().del(vec![keys.active_ads(), keys.kept_active_ads()]).await?)
    }

    async fn set(&self, key: String, rendered: &str, kept: Duration) -> Result<(), StoreError> {
        let expiration = Expiration::EX(kept.as_secs().cast_signed());
        Ok(self.redis.client().set(key, rendered, Some(expiration), None, false).await?)
    }
}
