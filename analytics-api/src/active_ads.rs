//! Reads which ads are active: from Redis, which is filled from Postgres.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use axum::body::Bytes;
use click_store::{ActiveAdsCache, Pool, StoreError, ads};
use serde::Serialize;
use tokio::time::timeout;
use utoipa::ToSchema;

use crate::{
    answer::{Answer, Source, to_json},
    error::Unavailable,
    guard::{Fallback, Guard},
    health::{Health, HealthLog},
    metrics::{Metrics, Route},
    spans,
};

/// Answers which ads players are told of.
#[derive(Debug)]
pub(crate) struct ActiveAds {
    pool: Pool,
    postgres_timeout: Duration,
    cache: ActiveAdsCache,
    redis: Arc<Guard>,
    metrics: Metrics,
    health: HealthLog,
}

/// One ad, as players get it.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct ActiveAd<'a> {
    /// The ad.
    #[schema(minimum = 1, maximum = 9_007_199_254_740_991_u64, example = 1)]
    id: u64,
    /// What the player shows.
    #[schema(format = "uri", example = "https://example.com/ad1.jpg")]
    image_url: &'a str,
    /// Where a click leads.
    #[schema(format = "uri", example = "https://example.com/click1")]
    target_url: &'a str,
}

impl ActiveAds {
    pub(crate) fn new(
        pool: Pool,
        postgres_timeout: Duration,
        cache: ActiveAdsCache,
        redis: Arc<Guard>,
        metrics: Metrics,
    ) -> Self {
        let health = HealthLog::new(Route::Ads);
        Self { pool, postgres_timeout, cache, redis, metrics, health }
    }

    /// Reads the active ads, by id.
    ///
    /// # Errors
    ///
    /// Only where neither store can answer. Where Postgres is away, Redis answers with what Postgres
    /// said last, even where that has outlived its time: no ad has changed since.
    pub(crate) async fn read(&self) -> Result<Answer, Unavailable> {
        let start = Instant::now();
        let span = spans::redis("GET");
        let fallback = match span.around(self.redis.call(self.cache.get())).await {
            Ok(Some(cached)) => {
                self.health.tell(&Health::Normal);
                return Ok(self.answer(cached.into(), Source::Redis, start));
            }
            Ok(None) => Fallback::Absent,
            Err(fallback) => fallback,
        };
        spans::fell_back(&span, fallback);
        drop(span);
        self.metrics.fell_back(Route::Ads, fallback);

        let start = Instant::now();
        let span = spans::postgres("SELECT ads", "ads");
        match span.around(self.ask_postgres()).await {
            Ok(json) => {
                let expected = fallback == Fallback::Absent;
                let without_redis = Health::WithoutRedis(fallback);
                self.health.tell(if expected { &Health::Normal } else { &without_redis });
                let answer = self.answer(json, Source::Postgres, start);
                self.put(&answer.json).await;
                Ok(answer)
            }
            Err(error) => {
                span.failed("unavailable");
                drop(span);
                self.fall_back_on_kept(fallback, error.into()).await
            }
        }
    }

    async fn ask_postgres(&self) -> Result<Bytes, StoreError> {
        let limit = self.postgres_timeout;
        let ads = timeout(limit, ads::active(&self.pool))
            .await
            .unwrap_or(Err(StoreError::TimedOut(limit)))?;
        let ads: Vec<_> = ads
            .iter()
            .map(|ad| ActiveAd {
                id: ad.id.get(),
                image_url: &ad.image_url,
                target_url: &ad.target_url,
            })
            .collect();
        Ok(to_json(&ads))
    }

    async fn fall_back_on_kept(
        &self,
        fallback: Fallback,
        error: Unavailable,
    ) -> Result<Answer, Unavailable> {
        let start = Instant::now();
        let Ok(Some(kept)) = self.redis.call(self.cache.get_kept()).await else {
            self.health.tell(&Health::WithoutBoth(fallback, &error));
            return Err(error);
        };
        self.health.tell(&Health::WithoutPostgres(&error));
        let answer = self.answer(kept.into(), Source::Redis, start);
        // Good for another lifetime, so that a Postgres that does not answer is not waited for by
        // every request.
        self.put(&answer.json).await;
        Ok(answer)
    }

    /// Leaves the answer in Redis for the next request.
    ///
    /// Where that fails the next one reads Postgres again, and the guard knows.
    async fn put(&self, json: &[u8]) {
        if let Ok(text) = str::from_utf8(json) {
            self.redis.call(self.cache.put(text)).await.ok();
        }
    }

    fn answer(&self, json: Bytes, source: Source, start: Instant) -> Answer {
        self.metrics.read(Route::Ads, source, start.elapsed());
        Answer { json, source }
    }
}
