//! Reads the totals: from Redis where it may be believed, otherwise from Postgres.

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use click_store::{
    Pool, Projection, StoreError,
    totals::{self, Snapshot},
};
use tokio::time::timeout;

use crate::{
    analytics::render,
    answer::{Answer, Source},
    error::Unavailable,
    guard::{Fallback, Guard},
    health::{Health, HealthLog},
    metrics::{Metrics, Route},
    spans,
    trust::{Distrust, Trust},
};

/// Answers how every ad is doing.
#[derive(Debug)]
pub(crate) struct Reader {
    pool: Pool,
    postgres_timeout: Duration,
    projection: Projection,
    redis: Arc<Guard>,
    trust: Mutex<Trust>,
    metrics: Metrics,
    health: HealthLog,
    started: Instant,
}

impl Reader {
    pub(crate) fn new(
        pool: Pool,
        postgres_timeout: Duration,
        projection: Projection,
        redis: Arc<Guard>,
        metrics: Metrics,
    ) -> Self {
        Self {
            pool,
            postgres_timeout,
            projection,
            redis,
            trust: Mutex::default(),
            metrics,
            health: HealthLog::new(Route::Analytics),
            started: Instant::now(),
        }
    }

    /// Reads every ad's totals: from Redis, or else from Postgres.
    ///
    /// Must not be called twice at the same time: two answers of Postgres could otherwise overtake
    /// each other, and the later one be the lower.
    ///
    /// # Errors
    ///
    /// Only where neither store can answer.
    pub(crate) async fn read(&self) -> Result<Answer, Unavailable> {
        let start = Instant::now();
        let span = spans::redis("EVALSHA");
        let fallback = match span.around(self.ask_redis()).await {
            Ok(snapshot) => {
                self.health.tell(&Health::Normal);
                return Ok(self.answer(&snapshot, Source::Redis, start));
            }
            Err(fallback) => fallback,
        };
        spans::fell_back(&span, fallback);
        drop(span);
        self.metrics.fell_back(Route::Analytics, fallback);

        let start = Instant::now();
        let span = spans::postgres("SELECT ad_totals", "ad_totals");
        match span.around(self.ask_postgres()).await {
            Ok(snapshot) => {
                // At the start Postgres comes first by itself.
                let expected = fallback == Fallback::NoView;
                let without_redis = Health::WithoutRedis(fallback);
                self.health.tell(if expected { &Health::Normal } else { &without_redis });
                Ok(self.answer(&snapshot, Source::Postgres, start))
            }
            Err(error) => {
                span.failed("unavailable");
                let error = Unavailable::from(error);
                self.health.tell(&Health::WithoutBoth(fallback, &error));
                Err(error)
            }
        }
    }

    /// Asks Postgres for what must be known before Redis may be believed.
    pub(crate) async fn poll_view(&self) -> Result<(), StoreError> {
        let (ticket, asked_at) = (self.trust().ticket(), Instant::now());
        let standing = self.within_limit(totals::standing(&self.pool)).await;
        self.metrics.polled_view(standing.is_ok());
        self.trust().polled(ticket, standing?, asked_at);
        Ok(())
    }

    /// Says whether Redis could answer right now.
    pub(crate) async fn redis_can_answer(&self) -> bool {
        self.ask_redis().await.is_ok()
    }

    /// How long ago Postgres told what is known of it; before that, how long ago it was first asked.
    pub(crate) fn view_age(&self) -> Duration {
        let now = Instant::now();
        self.trust().view_age(now).unwrap_or_else(|| now.saturating_duration_since(self.started))
    }

    /// Reads Redis, and returns what it says only where all rules of [`crate::trust`] hold.
    async fn ask_redis(&self) -> Result<Snapshot, Fallback> {
        let view = self.trust().view().ok_or(Fallback::NoView)?;
        let snapshot = self.redis.call(self.projection.snapshot(&view)).await?;
        let snapshot = snapshot.ok_or(Fallback::NotWhole)?;
        match self.trust().judge(&snapshot) {
            Ok(()) => Ok(snapshot),
            Err(Distrust::NotCurrent) => Err(Fallback::NotWhole),
            Err(Distrust::BehindMark) => Err(Fallback::BehindMark),
            Err(Distrust::Late) => Err(Fallback::Late),
        }
    }

    /// Reads Postgres. Its answer becomes the view, too.
    async fn ask_postgres(&self) -> Result<Snapshot, StoreError> {
        let asked_at = Instant::now();
        let snapshot = self.within_limit(totals::snapshot(&self.pool)).await?;
        self.trust().shown_from_postgres(&snapshot, asked_at);
        Ok(snapshot)
    }

    /// Bounds a query together with the wait for a connection. Dropping it is harmless: it only
    /// reads, the server ends it by the same limit, and the pool asks a connection whether it still
    /// answers before it gives it out again.
    async fn within_limit<T>(
        &self,
        query: impl Future<Output = Result<T, StoreError>>,
    ) -> Result<T, StoreError> {
        let limit = self.postgres_timeout;
        timeout(limit, query).await.unwrap_or(Err(StoreError::TimedOut(limit)))
    }

    fn answer(&self, snapshot: &Snapshot, source: Source, start: Instant) -> Answer {
        self.metrics.read(Route::Analytics, source, start.elapsed());
        Answer { json: render(snapshot), source }
    }

    fn trust(&self) -> MutexGuard<'_, Trust> {
        // Nothing panics while it is held, and it is whole after every statement.
        self.trust.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
