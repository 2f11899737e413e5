//! Decides where an event is kept: on Kafka, or where that is not possible in time, in the spool.

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use proto_schemas::AdEvent;
use service_kit::traces::TraceContext;
use tokio::{runtime::Handle, time::sleep};
use tracing::{info, warn};

use crate::{
    circuit::{Change, Circuit, Way},
    error::Refusal,
    metrics::Outcome,
    producer::{Pending, Producer},
    spans,
    spool::Spool,
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

impl Kept {
    /// What the metrics make of it.
    pub(crate) fn outcome(self) -> Outcome {
        match self {
            Self::Kafka => Outcome::Received,
            Self::Spool => Outcome::Spooled,
        }
    }
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
    pub(crate) async fn keep(
        &self,
        event: &AdEvent,
        trace: &TraceContext,
    ) -> Result<Kept, Refusal> {
        let Some(spool) = &self.spool else {
            self.producer.send(event, trace).await?;
            return Ok(Kept::Kafka);
        };
        if self.breaker.way() == Way::Through && self.send(event, trace).await {
            return Ok(Kept::Kafka);
        }
        // In a box: hardly any event needs it, and all would have room for it.
        Box::pin(spans::spool(1).around(spool.keep(&[event], trace))).await?;
        Ok(Kept::Spool)
    }

    /// Keeps several events as [`Self::keep`] keeps one, and says of each who has it.
    ///
    /// They wait together: for Kafka, and those that it does not take for one sync of the spool.
    pub(crate) async fn keep_all(
        &self,
        events: &[AdEvent],
        trace: &TraceContext,
    ) -> Vec<Result<Kept, Refusal>> {
        let Some(spool) = &self.spool else {
            let sent = self.producer.send_all(events, trace).await;
            return sent
                .into_iter()
                .map(|it| it.map(|()| Kept::Kafka).map_err(Refusal::from))
                .collect();
        };
        let mut on_kafka = vec![false; events.len()];
        if self.breaker.way() == Way::Through {
            // All of them are queued before the first is waited for.
            let attempts: Vec<_> = events.iter().map(|it| self.begin(it, trace)).collect();
            // In turn, because they are under way all the same, each with a time limit that began with
            // all the others': so one answer wakes this task, and not each of them. Breaker and metrics
            // hear of one when those before it are answered.
            for (attempt, on_kafka) in attempts.into_iter().zip(&mut on_kafka) {
                if let Some(attempt) = attempt {
                    *on_kafka = attempt.succeeds().await;
                }
            }
        }
        let left = events.iter().zip(&on_kafka).filter(|(_, on_kafka)| !**on_kafka);
        let left: Vec<_> = left.map(|(event, _)| event).collect();
        let spooled = match left.len() {
            0 => Ok(()),
            events => spans::spool(events).around(spool.keep(&left, trace)).await,
        };
        let fate = |on_kafka| match spooled {
            _ if on_kafka => Ok(Kept::Kafka),
            Ok(()) => Ok(Kept::Spool),
            Err(reason) => Err(reason.into()),
        };
        on_kafka.into_iter().map(fate).collect()
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

    /// Sends an event to Kafka, and tells whether it was acknowledged.
    async fn send(&self, event: &AdEvent, trace: &TraceContext) -> bool {
        match self.begin(event, trace) {
            Some(attempt) => attempt.succeeds().await,
            None => false,
        }
    }

    fn begin(&self, event: &AdEvent, trace: &TraceContext) -> Option<Attempt> {
        let breaker = self.breaker.clone();
        match self.producer.begin(event, trace) {
            Ok(pending) => Some(Attempt { pending: Some(pending), breaker }),
            Err(_counted_and_logged) => {
                breaker.failed();
                None
            }
        }
    }
}

/// An event on its way to Kafka. The breaker learns what becomes of it, also where its player hangs
/// up before that: players less patient than we are must not hide that Kafka is away.
struct Attempt {
    /// `None` once it is known.
    pending: Option<Pending>,
    breaker: Breaker,
}

impl Attempt {
    async fn succeeds(mut self) -> bool {
        let Some(pending) = &mut self.pending else { return false };
        let acknowledged = pending.acknowledged().await.is_ok();
        self.pending = None;
        self.breaker.tell(acknowledged);
        acknowledged
    }
}

impl Drop for Attempt {
    fn drop(&mut self) {
        // Without a runtime the service has ended, and nobody needs to know.
        let (Some(mut pending), Ok(runtime)) = (self.pending.take(), Handle::try_current()) else {
            return;
        };
        let breaker = self.breaker.clone();
        // One for each event in the producer's queue at most, and only for as long as that waits.
        runtime.spawn(async move { breaker.tell(pending.acknowledged().await.is_ok()) });
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

    fn tell(&self, acknowledged: bool) {
        if acknowledged { self.succeeded() } else { self.failed() }
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
