//! The one thread that touches the store: takes everything that waits, syncs once, and answers all.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering},
    },
    time::Instant,
};

use tokio::sync::{OwnedSemaphorePermit, mpsc::Receiver, oneshot};
use tracing::{info, warn};

use super::{
    metrics::SpoolMetrics,
    store::{Entry, Levels, Sequence, Store, StoreError},
};

/// How many events one sync serves, and those of one order more at most. It bounds how long the first
/// of them waits.
const BATCH: usize = 2000;

/// What the thread is asked to do. Whoever asked may be gone by the time of the answer.
pub(super) enum Order {
    Keep {
        entries: Vec<Entry>,
        done: oneshot::Sender<Result<(), Refused>>,
        /// Given back once it is done.
        room: OwnedSemaphorePermit,
    },
    Oldest {
        limit: usize,
        found: oneshot::Sender<Vec<(Sequence, Entry)>>,
    },
    Remove {
        sequences: Vec<Sequence>,
        done: oneshot::Sender<Result<(), Refused>>,
    },
}

/// Why something was not written. The cause has been logged.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Refused {
    Full,
    Disk,
}

/// What others may know of the store without asking the thread.
#[derive(Debug)]
pub(super) struct Shared {
    events: AtomicU64,
    bytes: AtomicU64,
    pub(super) max_bytes: u64,
    /// Microseconds since the epoch; meaningful only where `events` is not 0.
    oldest_us: AtomicI64,
    takes_events: AtomicBool,
}

impl Shared {
    pub(super) fn new(levels: Levels, max_bytes: u64, takes_events: bool) -> Self {
        let shared = Self {
            events: AtomicU64::new(0),
            bytes: AtomicU64::new(0),
            max_bytes,
            oldest_us: AtomicI64::new(0),
            takes_events: AtomicBool::new(takes_events),
        };
        shared.set(levels);
        shared
    }

    pub(super) fn events(&self) -> u64 {
        self.events.load(Ordering::Relaxed)
    }

    pub(super) fn bytes(&self) -> u64 {
        self.bytes.load(Ordering::Relaxed)
    }

    pub(super) fn oldest_us(&self) -> Option<i64> {
        (self.events() > 0).then(|| self.oldest_us.load(Ordering::Relaxed))
    }

    /// Tells whether the next event can be kept, as far as is known.
    pub(super) fn takes_events(&self) -> bool {
        self.takes_events.load(Ordering::Relaxed)
    }

    fn set(&self, levels: Levels) {
        if let Some(oldest) = levels.oldest {
            self.oldest_us.store(oldest.as_micros(), Ordering::Relaxed);
        }
        self.events.store(levels.events, Ordering::Relaxed);
        self.bytes.store(levels.bytes, Ordering::Relaxed);
    }
}

pub(super) struct Writer {
    pub(super) store: Store,
    pub(super) shared: Arc<Shared>,
    pub(super) metrics: SpoolMetrics,
    pub(super) trouble: Option<Refused>,
}

/// What is done with one transaction.
#[derive(Default)]
struct Batch {
    entries: Vec<Entry>,
    waiting: Vec<(oneshot::Sender<Result<(), Refused>>, OwnedSemaphorePermit)>,
}

impl Writer {
    /// Serves until every sender is gone, and closes the store.
    pub(super) fn run(mut self, mut orders: Receiver<Order>) {
        while let Some(order) = orders.blocking_recv() {
            let mut batch = Batch::default();
            let mut next = Some(order);
            while let Some(order) = next.take() {
                match order {
                    Order::Keep { entries, done, room } => {
                        batch.entries.extend(entries);
                        batch.waiting.push((done, room));
                        if batch.entries.len() < BATCH {
                            next = orders.try_recv().ok();
                        }
                    }
                    // Few and not urgent: players first.
                    order => {
                        self.keep(std::mem::take(&mut batch));
                        self.serve_drainer(order);
                    }
                }
            }
            self.keep(batch);
        }
    }

    fn keep(&mut self, batch: Batch) {
        if batch.entries.is_empty() {
            return;
        }
        let kept = if self.store.levels().bytes >= self.shared.max_bytes {
            Err(Refused::Full)
        } else {
            let begun = Instant::now();
            let appended = self.store.append(&batch.entries).map_err(|error| self.failed(&error));
            if appended.is_ok() {
                self.metrics.spooled(batch.entries.len() as u64, begun.elapsed());
            }
            appended
        };
        self.settle(kept.err());
        for (done, _room) in batch.waiting {
            // Who hung up meanwhile has its event kept all the same.
            done.send(kept).ok();
        }
    }

    fn serve_drainer(&mut self, order: Order) {
        match order {
            Order::Oldest { limit, found } => {
                let oldest = self.store.oldest(limit).unwrap_or_else(|error| {
                    self.failed(&error);
                    Vec::new()
                });
                found.send(oldest).ok();
            }
            Order::Remove { sequences, done } => {
                let removed = self.store.remove(&sequences).map_err(|error| self.failed(&error));
                if removed.is_ok() {
                    self.metrics.drained(sequences.len() as u64);
                }
                done.send(removed).ok();
            }
            Order::Keep { .. } => {}
        }
        let full = self.store.levels().bytes >= self.shared.max_bytes;
        let trouble = match (self.store.is_sound(), full) {
            (false, _) => Some(Refused::Disk),
            (true, true) => Some(Refused::Full),
            (true, false) => None,
        };
        self.settle(trouble);
    }

    /// Logs an error, but for those that only repeat that there was one.
    fn failed(&self, error: &StoreError) -> Refused {
        if matches!(error, StoreError::Disk(_)) || self.trouble != Some(Refused::Disk) {
            let cause = std::error::Error::source(error).map(ToString::to_string);
            warn!(%error, cause, "spool failed");
        }
        Refused::Disk
    }

    /// Tells others how things stand, and the log where that changed.
    fn settle(&mut self, trouble: Option<Refused>) {
        match (self.trouble, trouble) {
            (before, now) if before == now => {}
            (_, None) => info!("spool takes events again"),
            (_, Some(Refused::Full)) => warn!("spool is full (SPOOL_MAX_BYTES), refusing events"),
            (_, Some(Refused::Disk)) => warn!("spool is out of order, refusing events"),
        }
        self.trouble = trouble;
        self.shared.set(self.store.levels());
        self.shared.takes_events.store(trouble.is_none(), Ordering::Relaxed);
    }
}
