//! Decides where an event is kept: on Kafka, or where that is not possible in time, in the spool.

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use proto_schemas::AdEvent;
use tokio::time::sleep;
use tracing::{info, warn};

use crate::{
    error::Refusal,
    producer::Producer,
    spool::{
        Spool,
        circuit::{Change, Circuit, Way},
    },
};

/// Keeps events.
pub(crate) struct Keeper {
    pub(crate) producer: Producer,
    pub(crate) spool: Option<Spool>,
    pub(crate) breaker: Breaker,
}

/// Who has an event.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Kept {
    Kafka,
    Spool,
}

impl Keeper {
    /// Keeps an event, and returns once Kafka has acknowledged it or the spool has synced it.
    ///
    /// An event that timed out may be on Kafka and in the spool, from where it goes to Kafka once
    /// more: its dedup key tells it from itself.
    ///
    /// # Errors
    ///
    /// Where neither can have it in time. It may be there all the same; sending it again is safe.
    pub(crate) async fn keep(&self, event: &AdEvent, traceparent: &str) -> Result<Kept, Refusal> {
        let Some(spool) = &self.spool else {
            self.producer.send(event, traceparent).await?;
            return Ok(Kept::Kafka);
        };
        if self.breaker.way() == Way::Kafka {
            match self.producer.send(event, traceparent).await {
                Ok(()) => {
                    self.breaker.succeeded();
                    return Ok(Kept::Kafka);
                }
                Err(_counted_and_logged) => self.breaker.failed(),
            }
        }
        spool.keep(event, traceparent).await?;
        Ok(Kept::Spool)
    }

    /// Waits until the spool is drained, for `limit` at most, and not for a Kafka that is away.
    pub(crate) async fn drained(&self, limit: Duration) {
        const POLL: Duration = Duration::from_millis(50);
        let Some(spool) = &self.spool else { return };
        let begun = Instant::now();
        while spool.events() > 0 && !self.breaker.is_open() && begun.elapsed() < limit {
            sleep(POLL).await;
        }
        let events = spool.events();
        if events > 0 {
            warn!(events, "events stay in the spool: they are sent once a process uses it again");
        }
    }
}

/// The circuit, shared by all requests and the drainer.
#[derive(Clone, Debug, Default)]
pub(crate) struct Breaker(Arc<Mutex<Circuit>>);

impl Breaker {
    pub(crate) fn way(&self) -> Way {
        self.circuit().way(Instant::now())
    }

    /// Tells whether Kafka is taken to be away.
    pub(crate) fn is_open(&self) -> bool {
        self.circuit().is_open()
    }

    pub(crate) fn succeeded(&self) {
        if self.circuit().succeeded() == Change::Closed {
            info!("kafka takes events again");
        }
    }

    pub(crate) fn failed(&self) {
        if self.circuit().failed(Instant::now()) == Change::Opened {
            warn!("kafka does not take events, they go to the spool");
        }
    }

    fn circuit(&self) -> MutexGuard<'_, Circuit> {
        // The circuit is whole after every statement under the lock.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
