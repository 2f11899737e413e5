//! The three servers together.

use std::sync::Arc;

use tempfile::TempDir;

use crate::StartError;
use crate::kafka::Kafka;
use crate::place::{Place, temporary_folder};
use crate::postgres::Postgres;
use crate::redis::Redis;

/// Which servers to start, and where: `None` means that somebody else's is used.
#[derive(Debug, Default)]
pub struct Places {
    pub kafka: Option<Place>,
    pub postgres: Option<Place>,
    pub redis: Option<Place>,
}

impl Places {
    /// All three on free ports in one temporary folder.
    pub fn temporary() -> std::io::Result<Self> {
        let folder: Arc<TempDir> = Arc::new(temporary_folder()?);
        Ok(Self {
            kafka: Some(Place::within(&folder, "kafka")),
            postgres: Some(Place::within(&folder, "postgres")),
            redis: Some(Place::within(&folder, "redis")),
        })
    }

    /// The same places for servers that sync to disk and run as they do in production.
    #[must_use]
    pub fn durable(mut self) -> Self {
        let places = [&mut self.kafka, &mut self.postgres, &mut self.redis];
        for place in places.into_iter().flatten() {
            place.durable = true;
        }
        self
    }
}

/// The servers that were started; all are killed when it is dropped.
#[derive(Debug)]
pub struct Stack {
    pub kafka: Option<Kafka>,
    pub postgres: Option<Postgres>,
    pub redis: Option<Redis>,
}

impl Stack {
    /// Starts them side by side, and returns when all answer.
    pub async fn start(places: Places) -> Result<Self, StartError> {
        let Places { kafka, postgres, redis } = places;
        let (kafka, postgres, redis) = tokio::try_join!(
            async { start(kafka, Kafka::start).await },
            async { start(postgres, Postgres::start).await },
            async { start(redis, Redis::start).await },
        )?;
        Ok(Self { kafka, postgres, redis })
    }

    /// Stops them in good order, side by side.
    pub async fn stop(&mut self) {
        tokio::join!(
            async {
                if let Some(kafka) = &mut self.kafka {
                    kafka.stop().await;
                }
            },
            async {
                if let Some(postgres) = &mut self.postgres {
                    postgres.stop().await;
                }
            },
            async {
                if let Some(redis) = &mut self.redis {
                    redis.stop().await;
                }
            },
        );
    }
}

async fn start<S>(
    place: Option<Place>,
    start: impl AsyncFnOnce(Place) -> Result<S, StartError>,
) -> Result<Option<S>, StartError> {
    match place {
        Some(place) => start(place).await.map(Some),
        None => Ok(None),
    }
}
