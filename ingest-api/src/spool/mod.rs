//! A queue on the local disk, for events that Kafka cannot take in time.

mod drain;
mod file;
mod metrics;
mod store;
mod writer;

use std::{path::Path, sync::Arc, thread::JoinHandle, time::Duration};

use anyhow::Context as _;
use proto_schemas::AdEvent;
use service_kit::traces::TraceContext;
use tokio::{
    sync::{Notify, Semaphore, mpsc, oneshot},
    time::timeout,
};

pub use self::store::OpenError;
pub(crate) use self::{
    drain::Drain,
    metrics::{SpoolGauges, SpoolMetrics},
};
use self::{
    store::{Entry, Sequence, Store},
    writer::{Order, Refused, Shared, Writer},
};

/// How many events may wait for the disk, 1 KiB each at most. More are refused at once.
const WAITING: usize = 10_000;

/// How long an event may wait until it is synced, before its player is told to try again.
pub(crate) const SYNC_WITHIN: Duration = Duration::from_secs(2);

/// The spool. Cloning shares it.
#[derive(Clone, Debug)]
pub(crate) struct Spool {
    orders: mpsc::Sender<Order>,
    /// One permit for each event that may wait.
    room: Arc<Semaphore>,
    shared: Arc<Shared>,
    metrics: SpoolMetrics,
    /// Wakes the drainer when the first event is there.
    filled: Arc<Notify>,
}

/// The thread that writes. It ends when every [`Spool`] is gone.
#[derive(Debug)]
pub(crate) struct WriterThread(JoinHandle<()>);

/// Why the spool does not have an event. Sending it again is safe: it may be there all the same.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub(crate) enum NotSpooled {
    #[error("the spool is full")]
    Full,
    #[error("too many events wait for the spool's disk")]
    Busy,
    #[error("the spool's disk took too long")]
    Overdue,
    #[error("the spool's disk does not work")]
    Disk,
}

impl NotSpooled {
    const ALL: [Self; 4] = [Self::Full, Self::Busy, Self::Overdue, Self::Disk];

    fn as_str(self) -> &'static str {
        match self {
            Self::Full => "full",
            Self::Busy => "busy",
            Self::Overdue => "overdue",
            Self::Disk => "disk",
        }
    }
}

impl Spool {
    /// Opens the spool of a directory, and starts its thread. What is in it from before is kept.
    ///
    /// # Errors
    ///
    /// Where another process has it, or it cannot be opened.
    pub(crate) fn open(
        directory: &Path,
        max_bytes: u64,
        metrics: SpoolMetrics,
    ) -> anyhow::Result<(Self, WriterThread)> {
        let store = Store::open(directory)?;
        let (levels, sound) = (store.levels(), store.is_sound());
        tracing::info!(events = levels.events, bytes = levels.bytes, "spool is open");
        let shared = Arc::new(Shared::new(levels, max_bytes, sound && levels.bytes < max_bytes));
        let (orders, received) = mpsc::channel(WAITING);
        let writer =
            Writer { store, shared: Arc::clone(&shared), metrics: metrics.clone(), trouble: None };
        let thread = std::thread::Builder::new()
            .name("spool".to_owned())
            .spawn(move || writer.run(received))
            .context("starting the spool's thread")?;
        let filled = Arc::new(Notify::new());
        let room = Arc::new(Semaphore::new(WAITING));
        Ok((Self { orders, room, shared, metrics, filled }, WriterThread(thread)))
    }

    /// Keeps events, and returns once they are synced to disk. One sync serves all that wait.
    ///
    /// # Errors
    ///
    /// At once where too many wait, otherwise after [`SYNC_WITHIN`] at the latest; then it is true of
    /// all of them.
    ///
    /// # Cancellation
    ///
    /// If the future is dropped, the events are kept all the same, and nobody learns of it.
    pub(crate) async fn keep(
        &self,
        events: &[&AdEvent],
        trace: &TraceContext,
    ) -> Result<(), NotSpooled> {
        if events.is_empty() {
            return Ok(());
        }
        let kept = self.try_keep(events, trace).await;
        match kept {
            Ok(()) => self.filled.notify_one(),
            Err(reason) => self.metrics.refused(reason, events.len() as u64),
        }
        kept
    }

    /// Tells whether the next event can be kept, as far as is known.
    pub(crate) fn takes_events(&self) -> bool {
        self.shared.takes_events() && !self.orders.is_closed()
    }

    /// How many events wait in it.
    pub(crate) fn events(&self) -> u64 {
        self.shared.events()
    }

    /// What the admin port shows of a spool, or of none.
    pub(crate) fn gauges(spool: Option<&Self>) -> SpoolGauges {
        SpoolGauges(spool.map(|it| Arc::clone(&it.shared)))
    }

    async fn try_keep(&self, events: &[&AdEvent], trace: &TraceContext) -> Result<(), NotSpooled> {
        let count = u32::try_from(events.len()).unwrap_or(u32::MAX);
        let room = Arc::clone(&self.room).try_acquire_many_owned(count);
        let room = room.map_err(|_| NotSpooled::Busy)?;
        let entry = |event: &&AdEvent| Entry { trace: trace.to_string(), event: (*event).clone() };
        let entries = events.iter().map(entry).collect();
        let (done, kept) = oneshot::channel();
        self.orders.try_send(Order::Keep { entries, done, room }).map_err(|error| match error {
            mpsc::error::TrySendError::Full(_) => NotSpooled::Busy,
            mpsc::error::TrySendError::Closed(_) => NotSpooled::Disk,
        })?;
        match timeout(SYNC_WITHIN, kept).await {
            Ok(Ok(Ok(()))) => Ok(()),
            Ok(Ok(Err(Refused::Full))) => Err(NotSpooled::Full),
            Ok(Ok(Err(Refused::Disk)) | Err(_)) => Err(NotSpooled::Disk),
            Err(_elapsed) => Err(NotSpooled::Overdue),
        }
    }

    /// The oldest events; none where the spool is empty or its disk does not work.
    async fn oldest(&self, limit: usize) -> anyhow::Result<Vec<(Sequence, Entry)>> {
        let (found, oldest) = oneshot::channel();
        self.order(Order::Oldest { limit, found }).await?;
        oldest.await.context(GONE)
    }

    async fn remove(&self, sequences: Vec<Sequence>) -> anyhow::Result<Result<(), Refused>> {
        let (done, removed) = oneshot::channel();
        self.order(Order::Remove { sequences, done }).await?;
        removed.await.context(GONE)
    }

    async fn order(&self, order: Order) -> anyhow::Result<()> {
        self.orders.send(order).await.ok().context(GONE)
    }
}

const GONE: &str = "the spool's thread has ended";

impl WriterThread {
    /// Waits until everything that was ordered is done and the store is closed. Blocks.
    pub(crate) fn join(self) -> anyhow::Result<()> {
        self.0.join().ok().context("the spool's thread panicked")
    }
}
