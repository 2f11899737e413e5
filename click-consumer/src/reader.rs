//! The reading thread: polls Kafka, gathers the next batch, and never waits for the last one to be
//! stored for longer than a moment.

use std::{
    collections::HashMap,
    sync::Arc,
    time::{Duration, Instant},
};

use rdkafka::{
    Message, Offset,
    consumer::Consumer,
    error::{KafkaError, RDKafkaErrorCode},
    message::BorrowedMessage,
};
use service_kit::traces;
use tokio::{
    runtime::Handle,
    sync::mpsc::{self, error::TrySendError},
    time::timeout,
};
use tokio_util::sync::CancellationToken;
use tracing::{debug, info, warn};

use crate::{
    assignment::Assignment,
    batch::{Batch, BatchLimits},
    cursor::{Cursor, Start, Verdict},
    kafka::{self, KafkaConsumer, list_of},
    metrics::Metrics,
    partition::{Partition, TopicNames},
    record::{AgeLimits, RawRecord, Record, trace_of},
};

/// The longest poll: how soon an idle consumer sees that a partition is ready, or that it must stop.
const POLL: Duration = Duration::from_millis(50);

/// How long a full batch waits for the one before it, before reading is paused.
///
/// Pausing makes librdkafka throw away what it has fetched, so it is kept for real outages; and
/// this is short beside `max.poll.interval.ms`.
const PATIENCE: Duration = Duration::from_millis(250);

/// How often everything may be assigned anew.
const ANEW_EVERY: Duration = Duration::from_millis(500);

/// How long a seek may take. It asks no broker.
const SEEK_TIMEOUT: Duration = Duration::from_secs(5);

/// Reads records and hands them on in batches.
pub(crate) struct Reader {
    pub(crate) consumer: Arc<KafkaConsumer>,
    pub(crate) names: TopicNames,
    pub(crate) assignment: Assignment,
    pub(crate) age: AgeLimits,
    pub(crate) limits: BatchLimits,
    /// Holds one batch: with the one being gathered and the one being stored, three are in memory,
    /// beside what librdkafka has fetched, and one that was counted while it is freed.
    pub(crate) batches: mpsc::Sender<Batch>,
    pub(crate) runtime: Handle,
    pub(crate) metrics: Metrics,
}

/// What the thread holds between two polls.
#[derive(Default)]
struct State {
    batch: Batch,
    /// The partitions that are read. Bounded by the partitions of the topics.
    cursors: HashMap<Partition, Cursor>,
    /// Whether reading is paused because batches cannot be stored.
    paused: bool,
    /// Whether a batch that is due waits for the one before it to be taken.
    waiting: bool,
    seen_changes: Option<u64>,
    /// Whether librdkafka has stopped some partition for good.
    broken: bool,
    /// When everything was last assigned anew.
    assigned_anew: Option<Instant>,
}

/// Why the thread ended before it was told to.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ReaderError {
    #[error("kafka: {0}")]
    Fatal(#[source] KafkaError),
    #[error("nobody counts any more")]
    NobodyCounts,
}

impl Reader {
    /// Reads until `shutdown` is cancelled. What was gathered and not handed on by then is dropped
    /// whole: nobody has counted it, and the next owner of the partition reads it again.
    pub(crate) fn run(self, shutdown: &CancellationToken) -> Result<(), ReaderError> {
        let mut state = State::default();
        while !shutdown.is_cancelled() {
            self.follow_assignment(&mut state);
            // Once a turn: the clock takes as long as many a step of reading a record.
            let now = Instant::now();
            self.hand_over(&mut state, now)?;
            let polled = self.consumer.poll(self.poll_timeout(&state, now));
            // Asked after the poll: the word comes before the first record of the other topic.
            if self.consumer.context().topic_was_made_again() {
                warn!("a topic was made again, comparing every partition with what was counted");
                self.assignment.restart_all();
                continue;
            }
            match polled {
                Some(Ok(message)) => self.take(&message, &mut state),
                Some(Err(error @ KafkaError::MessageConsumptionFatal(_))) => {
                    return Err(ReaderError::Fatal(error));
                }
                Some(Err(error)) => note(&error, &mut state),
                None => {}
            }
        }
        Ok(())
    }

    fn poll_timeout(&self, state: &State, now: Instant) -> Duration {
        match state.batch.deadline(self.limits) {
            Some(deadline) if !state.paused && !state.waiting => {
                deadline.saturating_duration_since(now).min(POLL)
            }
            _ => POLL,
        }
    }

    /// Drops what is no longer ours, and seeks where Postgres has said where to start.
    fn follow_assignment(&self, state: &mut State) {
        self.mend(state);
        let changes = self.assignment.changes();
        if state.seen_changes == Some(changes) {
            return;
        }
        state.seen_changes = Some(changes);
        self.metrics.stages(self.assignment.stages());

        let current = |partition, generation| self.assignment.is_current(partition, generation);
        let gone: Vec<Partition> = state
            .cursors
            .iter()
            .filter(|(partition, cursor)| !current(**partition, cursor.generation))
            .map(|(&partition, _)| partition)
            .collect();
        for partition in &gone {
            state.cursors.remove(partition);
        }
        state.batch.retain(current);
        // Those that are still ours wait for their start without fetching what nobody takes.
        if let Err(error) = self.consumer.pause(&list_of(&self.names, gone)) {
            debug!(%error, "partitions could not be paused, their records are dropped");
        }

        for (partition, generation, start) in self.assignment.ready_to_seek() {
            if let Err(error) = self.seek(partition, &start, state.paused) {
                debug!(%error, kafka.partition = partition.number, "a seek was refused");
                state.broken = true;
            } else if self.assignment.reading(partition, generation, start.next_offset) {
                debug!(kafka.partition = partition.number, start.next_offset, "reading");
                state.cursors.insert(partition, Cursor::new(generation, start));
            }
        }
    }

    /// Assigns everything anew where librdkafka has stopped a partition for good, at most once in
    /// [`ANEW_EVERY`].
    fn mend(&self, state: &mut State) {
        let lately = state.assigned_anew.is_some_and(|it| it.elapsed() < ANEW_EVERY);
        if !state.broken || lately {
            return;
        }
        state.assigned_anew = Some(Instant::now());
        match kafka::assign_anew(&self.consumer) {
            Ok(()) => {
                info!("an offset was out of range: assigned the partitions anew");
                state.broken = false;
            }
            Err(error) => warn!(%error, "partitions cannot be assigned anew, trying again"),
        }
    }

    fn seek(&self, partition: Partition, start: &Start, paused: bool) -> Result<(), KafkaError> {
        self.seek_to(partition, start.read_from())?;
        if paused {
            return Ok(());
        }
        self.consumer.resume(&list_of(&self.names, [partition]))
    }

    fn seek_to(&self, partition: Partition, offset: i64) -> Result<(), KafkaError> {
        let topic = self.names.topic(partition.kind);
        self.consumer.seek(topic, partition.number, Offset::Offset(offset), SEEK_TIMEOUT)
    }

    /// Hands the batch on when it is due and somebody is free to take it.
    fn hand_over(&self, state: &mut State, now: Instant) -> Result<(), ReaderError> {
        let full = state.batch.is_full(self.limits);
        if !full {
            // Its partitions may have been taken away while it waited.
            self.resume(state);
        }
        state.waiting = false;
        let due = state.batch.deadline(self.limits).is_some_and(|it| it <= now);
        if !due && !full {
            return Ok(());
        }
        if let Some(permit) = self.permit(full && !state.paused)? {
            permit.send(std::mem::take(&mut state.batch));
            self.resume(state);
        } else if full {
            self.pause(state);
        } else {
            // It may grow while the one before it is stored.
            state.waiting = true;
        }
        Ok(())
    }

    /// The right to hand a batch on; `None` where the one before it has not been taken yet, and not
    /// within [`PATIENCE`] either, if `patient`.
    fn permit(&self, patient: bool) -> Result<Option<mpsc::Permit<'_, Batch>>, ReaderError> {
        match self.batches.try_reserve() {
            Ok(permit) => Ok(Some(permit)),
            Err(TrySendError::Closed(())) => Err(ReaderError::NobodyCounts),
            Err(TrySendError::Full(())) if !patient => Ok(None),
            Err(TrySendError::Full(())) => {
                match self.runtime.block_on(timeout(PATIENCE, self.batches.reserve())) {
                    Ok(permit) => permit.map(Some).map_err(|_| ReaderError::NobodyCounts),
                    Err(_elapsed) => Ok(None),
                }
            }
        }
    }

    /// Stops the records, not the polling: the consumer stays in its group.
    fn pause(&self, state: &mut State) {
        if state.paused {
            return;
        }
        warn!(records = state.batch.records(), "batches cannot be stored, reading is paused");
        state.paused = true;
        let list = list_of(&self.names, state.cursors.keys().copied());
        if let Err(error) = self.consumer.pause(&list) {
            warn!(%error, "reading could not be paused, records are dropped and read again");
        }
    }

    fn resume(&self, state: &mut State) {
        if !state.paused {
            return;
        }
        state.paused = false;
        let list = list_of(&self.names, state.cursors.keys().copied());
        if let Err(error) = self.consumer.resume(&list) {
            warn!(%error, "reading could not be resumed");
            state.broken = true;
        }
    }

    fn take(&self, message: &BorrowedMessage<'_>, state: &mut State) {
        let Some(partition) = self.names.partition(message.topic(), message.partition()) else {
            return;
        };
        // Fetched before the pause took hold, or before the seek: it will be read again.
        let Some(cursor) = state.cursors.get_mut(&partition) else { return };
        if state.paused {
            return;
        }
        let generation = cursor.generation;
        match cursor.judge(message.offset(), || RawRecord::copy(message).anchor()) {
            Verdict::Count { expected } => {
                let record = Record::read(message, partition.kind, self.age);
                state.batch.push(partition, generation, expected, record, Instant::now);
                if traces::on()
                    && state.batch.takes_traces()
                    && let Some(trace) = trace_of(message)
                {
                    state.batch.push_trace(partition, trace);
                }
            }
            Verdict::Skip => {}
            Verdict::ReadAgain(offset) => {
                debug!(kafka.offset = message.offset(), expected = offset, "reading again");
                if let Err(error) = self.seek_to(partition, offset) {
                    debug!(%error, kafka.partition = partition.number, "a seek was refused");
                    state.broken = true;
                }
            }
            Verdict::Stop(reason) => {
                self.assignment.stopped(partition, generation, &reason);
                state.cursors.remove(&partition);
                if let Err(error) = self.consumer.pause(&list_of(&self.names, [partition])) {
                    warn!(%error, "a stopped partition could not be paused, its records are dropped");
                }
            }
        }
    }
}

/// Errors of reading mend themselves, but for an offset that is not in the log: librdkafka has then
/// stopped that partition for good, and does not say which one.
fn note(error: &KafkaError, state: &mut State) {
    if error.rdkafka_error_code() == Some(RDKafkaErrorCode::AutoOffsetReset) {
        state.broken = true;
    } else {
        warn!(%error, "kafka cannot be read, trying again");
    }
}
