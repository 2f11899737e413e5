//! The ads themselves: registered by the operator, listed to players.

use std::time::Duration;

use deadpool_postgres::Pool;
use fred::{interfaces::KeysInterface, types::Expiration};
use proto_schemas::AdId;
use tokio_postgres::{Row, types::ToSql};

use crate::{Redis, StoreError};

/// A registered ad.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Ad {
    pub id: AdId,
    /// What people call it; `None` where nobody said.
    pub title: Option<String>,
    /// What the player shows.
    pub image_url: String,
    /// Where a click leads.
    pub target_url: String,
    /// The video that is played, where there is one.
    pub media: Option<Media>,
    /// Whether players are told of it. An inactive ad still counts.
    pub active: bool,
}

/// The video of an ad.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Media {
    pub url: String,
    /// Such as `video/mp4`.
    pub media_type: String,
    /// At least 1 ms, below one day; what is finer than a millisecond is not kept.
    pub duration: Duration,
    /// In pixels, at least 1.
    pub width: u16,
    /// In pixels, at least 1.
    pub height: u16,
}

/// The columns of an ad, in the order in which [`from_row`] reads them and [`write()`] writes them.
macro_rules! columns {
    () => {
        "ad_id, title, image_url, target_url, media_url, media_type, media_duration_ms, \
         media_width, media_height, active"
    };
}

/// Registers those of `ads` that are not registered yet, in one transaction, and returns how many
/// that were. An ad that is there already is left as it is.
pub async fn add(pool: &Pool, ads: &[Ad]) -> Result<u64, StoreError> {
    write(pool, ads, "DO NOTHING").await
}

/// The same, but an ad that is there already gets everything that is said of it here, except for
/// whether it is active. Returns how many were added or changed.
pub async fn add_or_update(pool: &Pool, ads: &[Ad]) -> Result<u64, StoreError> {
    let update = "DO UPDATE SET
        (title, image_url, target_url, media_url, media_type, media_duration_ms, media_width, media_height)
        = (EXCLUDED.title, EXCLUDED.image_url, EXCLUDED.target_url, EXCLUDED.media_url,
           EXCLUDED.media_type, EXCLUDED.media_duration_ms, EXCLUDED.media_width, EXCLUDED.media_height)";
    write(pool, ads, update).await
}

async fn write(pool: &Pool, ads: &[Ad], on_conflict: &str) -> Result<u64, StoreError> {
    let of_media = |text: fn(&Media) -> &str| -> Vec<Option<&str>> {
        ads.iter().map(|it| it.media.as_ref().map(text)).collect()
    };
    let number = |number: fn(&Media) -> i32| -> Vec<Option<i32>> {
        ads.iter().map(|it| it.media.as_ref().map(number)).collect()
    };
    let ids: Vec<i64> = ads.iter().map(|it| it.id.as_i64()).collect();
    let titles: Vec<Option<&str>> = ads.iter().map(|it| it.title.as_deref()).collect();
    let images: Vec<&str> = ads.iter().map(|it| it.image_url.as_str()).collect();
    let targets: Vec<&str> = ads.iter().map(|it| it.target_url.as_str()).collect();
    let active: Vec<bool> = ads.iter().map(|it| it.active).collect();

    let client = pool.get().await?;
    let sql = format!(
        concat!(
            "INSERT INTO ads (",
            columns!(),
            ")
             SELECT * FROM unnest($1::bigint[], $2::text[], $3::text[], $4::text[], $5::text[],
                                  $6::text[], $7::integer[], $8::integer[], $9::integer[],
                                  $10::boolean[])
             ON CONFLICT (ad_id) {}"
        ),
        on_conflict
    );
    Ok(client
        .execute(
            &sql,
            &[
                &ids,
                &titles,
                &images,
                &targets,
                &of_media(|it| &it.url),
                &of_media(|it| &it.media_type),
                &number(|it| i32::try_from(it.duration.as_millis()).unwrap_or(i32::MAX)),
                &number(|it| it.width.into()),
                &number(|it| it.height.into()),
                &active,
            ],
        )
        .await?)
}

/// Returns every ad, by id.
pub async fn list(pool: &Pool) -> Result<Vec<Ad>, StoreError> {
    query(pool, concat!("SELECT ", columns!(), " FROM ads ORDER BY ad_id"), &[]).await
}

/// Returns the ads that players are told of, by id.
pub async fn active(pool: &Pool) -> Result<Vec<Ad>, StoreError> {
    query(pool, concat!("SELECT ", columns!(), " FROM ads WHERE active ORDER BY ad_id"), &[]).await
}

/// Returns one ad, active or not; `None` where nobody has registered it.
pub async fn find(pool: &Pool, ad: AdId) -> Result<Option<Ad>, StoreError> {
    let sql = concat!("SELECT ", columns!(), " FROM ads WHERE ad_id = $1");
    Ok(query(pool, sql, &[&ad.as_i64()]).await?.pop())
}

/// Says whether players are told of an ad; `false` where there is no such ad.
pub async fn set_active(pool: &Pool, ad: AdId, active: bool) -> Result<bool, StoreError> {
    let client = pool.get().await?;
    let changed = client
        .execute("UPDATE ads SET active = $2 WHERE ad_id = $1", &[&ad.as_i64(), &active])
        .await?;
    Ok(changed == 1)
}

async fn query(
    pool: &Pool,
    sql: &str,
    parameters: &[&(dyn ToSql + Sync)],
) -> Result<Vec<Ad>, StoreError> {
    let client = pool.get().await?;
    let statement = client.prepare_cached(sql).await?;
    let rows = client.query(&statement, parameters).await?;
    rows.iter().map(from_row).collect()
}

fn from_row(row: &Row) -> Result<Ad, StoreError> {
    Ok(Ad {
        id: crate::ad_id(row.try_get(0)?)?,
        title: row.try_get(1)?,
        image_url: row.try_get(2)?,
        target_url: row.try_get(3)?,
        media: match row.try_get(4)? {
            None => None,
            Some(url) => Some(Media {
                url,
                media_type: row.try_get(5)?,
                duration: Duration::from_millis(within_range(row.try_get::<_, i32>(6)?)?),
                width: within_range(row.try_get::<_, i32>(7)?)?,
                height: within_range(row.try_get::<_, i32>(8)?)?,
            }),
        },
        active: row.try_get(9)?,
    })
}

/// Reads a number that the table keeps within its range.
fn within_range<T: TryFrom<i32>>(number: i32) -> Result<T, StoreError> {
    T::try_from(number).map_err(|_| StoreError::Malformed("the media of an ad"))
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
