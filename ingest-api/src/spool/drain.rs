//! Sends what is in the spool to Kafka, in order, beside new traffic and at a bounded rate.

use std::{num::NonZeroU32, time::Duration};

use service_kit::traces::TraceContext;
use tokio::time::{Instant, sleep, sleep_until};
use tokio_util::sync::CancellationToken;
use tracing::{debug, info};

use super::{
    Spool,
    store::{Entry, Sequence},
};
use crate::{
    circuit::{PROBE_EVERY, Way},
    keeper::Breaker,
    producer::{NotAcknowledged, Producer},
};

/// How many events are under way at once. As many are sent again after a crash, at most.
const BATCH: usize = 500;

/// How long nothing is done after a failure, so that it is not repeated at full speed.
const PAUSE: Duration = Duration::from_secs(1);

/// Empties the spool.
pub(crate) struct Drain {
    pub(crate) spool: Spool,
    pub(crate) producer: Producer,
    pub(crate) breaker: Breaker,
    pub(crate) rate_per_second: NonZeroU32,
}

impl Drain {
    /// Runs until `shutdown` is cancelled, and finishes the batch in hand. What is left stays.
    ///
    /// An event leaves the disk only after Kafka's acknowledgement. Where the process ends in
    /// between, it is sent once more, and its dedup key tells it from the first.
    ///
    /// # Errors
    ///
    /// Where the spool's thread has ended, which only a panic can make it do.
    pub(crate) async fn run(self, shutdown: CancellationToken) -> anyhow::Result<()> {
        loop {
            // All arms are cancel safe. A batch is sent outside, where nothing cancels it.
            tokio::select! {
                biased;
                () = shutdown.cancelled() => return Ok(()),
                () = self.work_to_do() => {}
            }
            let not_before = Instant::now();
            let step = self.one_batch().await?;
            let next = match step {
                Step::Sent(events) => not_before + self.time_for(events),
                Step::Wait => not_before + PAUSE,
            };
            tokio::select! {
                biased;
                () = shutdown.cancelled() => return Ok(()),
                () = sleep_until(next) => {}
            }
        }
    }

    /// Waits until there is something in the spool and Kafka is not known to be away.
    async fn work_to_do(&self) {
        while self.spool.shared.events() == 0 {
            tokio::select! {
                () = self.spool.filled.notified() => {}
                // A spool whose disk did not work may have been mended.
                () = sleep(PAUSE) => {}
            }
        }
        while self.breaker.way() == Way::Around {
            sleep(PROBE_EVERY / 4).await;
        }
    }

    async fn one_batch(&self) -> anyhow::Result<Step> {
        // While Kafka may still be away a single event finds it out.
        let limit = if self.breaker.is_open() { 1 } else { self.batch() };
        let entries = self.spool.oldest(limit).await?;
        let all = entries.len();
        if all == 0 {
            return Ok(Step::Wait);
        }
        let acknowledged = self.send(entries).await;
        let sent = acknowledged.len();
        if sent > 0 {
            if self.spool.remove(acknowledged).await?.is_err() {
                // They would be sent again, and are, but not at full speed.
                return Ok(Step::Wait);
            }
            if self.spool.shared.events() == 0 {
                info!("spool is empty");
            }
        }
        Ok(if sent == all { Step::Sent(sent) } else { Step::Wait })
    }

    /// Puts all of them on Kafka's queue in order, then waits for each.
    async fn send(&self, entries: Vec<(Sequence, Entry)>) -> Vec<Sequence> {
        let begun: Vec<_> = entries
            .iter()
            .map(|(sequence, entry)| {
                let trace = TraceContext::from_line(&entry.trace);
                let trace = trace.unwrap_or_else(TraceContext::new_root);
                (*sequence, self.producer.begin(&entry.event, &trace))
            })
            .collect();
        let mut acknowledged = Vec::new();
        for (sequence, begun) in begun {
            let answer = match begun {
                Ok(mut pending) => pending.acknowledged().await,
                Err(error) => Err(error),
            };
            match answer {
                Ok(()) => {
                    self.breaker.succeeded();
                    acknowledged.push(sequence);
                }
                // That is our own doing, and says nothing about Kafka.
                Err(NotAcknowledged::QueueFull) => {}
                Err(error) => {
                    debug!(%error, sequence, "spooled event was not acknowledged");
                    self.breaker.failed();
                }
            }
        }
        acknowledged
    }

    /// A tenth of a second's worth.
    fn batch(&self) -> usize {
        let tenth = usize::try_from(self.rate_per_second.get() / 10).unwrap_or(BATCH);
        tenth.clamp(1, BATCH)
    }

    fn time_for(&self, events: usize) -> Duration {
        let events = u32::try_from(events).unwrap_or(u32::MAX);
        Duration::from_secs(1) * events / self.rate_per_second.get()
    }
}

enum Step {
    /// All of a batch.
    Sent(usize),
    Wait,
}
