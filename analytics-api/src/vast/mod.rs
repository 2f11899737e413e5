//! Serves ads to video players, as VAST documents.

mod document;
mod tracking;

use std::{
    num::NonZeroUsize,
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

use axum::body::Bytes;
use click_store::{Ad, Pool, StoreError, ads};
use proto_schemas::AdId;
use time::OffsetDateTime;
use tokio::{sync::Semaphore, time::timeout};
use tracing::{info, warn};
use uuid::Uuid;

pub use self::tracking::PublicUrl;
use self::{document::Document, tracking::Tracking};
use crate::{changes::Changes, error::NoVast, spans};

/// Connections that the other routes and the look at the epoch may need at once.
const CONNECTIONS_OF_OTHERS: usize = 3;

/// Answers players that ask for an ad.
#[derive(Debug)]
pub(crate) struct Vast {
    pool: Pool,
    postgres_timeout: Duration,
    /// Keeps a burst of players from taking every connection.
    turns: Semaphore,
    ingest: Option<PublicUrl>,
    failing: Mutex<Changes<bool>>,
}

impl Vast {
    pub(crate) fn new(
        pool: Pool,
        pool_size: NonZeroUsize,
        postgres_timeout: Duration,
        ingest: Option<PublicUrl>,
    ) -> Self {
        let turns = pool_size.get().saturating_sub(CONNECTIONS_OF_OTHERS).max(1);
        Self {
            pool,
            postgres_timeout,
            turns: Semaphore::new(turns),
            ingest,
            failing: Mutex::new(Changes::since(false)),
        }
    }

    /// Serves an ad once. The tracking URLs of each answer are its own.
    pub(crate) async fn serve(&self, ad: AdId) -> Result<Bytes, NoVast> {
        let ingest = self.ingest.as_ref().ok_or(NoVast::Off)?;
        let found = self.find(ad).await;
        self.tell(found.as_ref().err());
        let found = found?.ok_or(NoVast::UnknownAd)?;
        let media = found.media.as_ref().filter(|_| found.active).ok_or(if found.active {
            NoVast::NoMedia
        } else {
            NoVast::InactiveAd
        })?;

        let serving = Uuid::new_v4();
        let tracking = Tracking::new(ingest, ad, serving, OffsetDateTime::now_utc());
        let document = Document {
            ad,
            title: found.title.as_deref(),
            target_url: &found.target_url,
            media,
            serving,
            tracking: &tracking,
        };
        Ok(document.render())
    }

    async fn find(&self, ad: AdId) -> Result<Option<Ad>, StoreError> {
        let limit = self.postgres_timeout;
        let find = async {
            // Never closed, so there is always a turn in the end.
            let _turn = self.turns.acquire().await.ok();
            ads::find(&self.pool, ad).await
        };
        let span = spans::postgres("SELECT ads", "ads");
        let found = timeout(limit, span.around(find)).await;
        let found = found.unwrap_or(Err(StoreError::TimedOut(limit)));
        if found.is_err() {
            span.failed("unavailable");
        }
        found
    }

    /// Thousands of requests in an outage make one line.
    fn tell(&self, error: Option<&StoreError>) {
        let mut failing = self.failing.lock().unwrap_or_else(PoisonError::into_inner);
        let news = failing.is_news(error.is_some(), Instant::now());
        drop(failing);
        match error {
            Some(error) if news => warn!(%error, "ads cannot be looked up for VAST documents"),
            None if news => info!("ads can be looked up for VAST documents again"),
            _ => {}
        }
    }
}
