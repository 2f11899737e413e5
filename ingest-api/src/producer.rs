//! Hands events to Kafka, and says whether Kafka has them.

use std::{
    sync::{
        Arc, PoisonError, RwLock, RwLockReadGuard,
        atomic::{AtomicI64, Ordering},
    },
    time::{Duration, Instant},
};

use kafka_access::Refusals;
use proto_schemas::{AdEvent, Topics, headers};
use rdkafka::{
    ClientConfig,
    error::{KafkaError, RDKafkaErrorCode},
    message::{Header, OwnedHeaders},
    producer::{FutureProducer, FutureRecord, Producer as _},
};
use service_kit::traces::{Span, TraceContext};
use tokio::{task::JoinError, time::timeout_at};
use tokio_util::task::TaskTracker;
use tracing::{debug, error};

use crate::{
    config::Config,
    delivery::{Delivery, hand_over},
    kafka_client::LogToTracing,
    metrics::Metrics,
    spans,
};

/// How long librdkafka's own answer is waited for once a record is overdue.
///
/// It looks for overdue records once a second, so its answer can come later than this. The player
/// then gets its 503 without it.
const OVERDUE_GRACE: Duration = Duration::from_millis(500);

/// The shortest time between two replacements, so that a cause that stays (a missing permission)
/// does not make a new client for every event.
const REPLACE_AT_MOST_EVERY: Duration = Duration::from_secs(1);

/// Puts events on their topics. Cloning shares the same client.
#[derive(Clone)]
pub(crate) struct Producer(Arc<Shared>);

struct Shared {
    client_config: ClientConfig,
    context: LogToTracing,
    topics: Topics,
    deadline: Duration,
    metrics: Metrics,
    /// Locked only for as long as nothing waits; librdkafka's own locks are inside.
    live: RwLock<Live>,
    /// Clients that were given up and are being closed, which blocks.
    closing: TaskTracker,
    /// Events that wait for an acknowledgement. librdkafka's own number counts its errors too.
    waiting: AtomicI64,
}

struct Live {
    client: Client,
    since: Instant,
}

pub(crate) type Client = FutureProducer<LogToTracing>;

/// Why Kafka may not have an event. Sending it again is safe in any case.
#[derive(Debug, thiserror::Error)]
pub(crate) enum NotAcknowledged {
    #[error("too many events wait for kafka")]
    QueueFull,
    #[error("kafka did not acknowledge the event in time")]
    Overdue,
    #[error("kafka did not take the event")]
    Failed(#[source] KafkaError),
    #[error("the producer was replaced before kafka acknowledged the event")]
    Replaced,
}

impl NotAcknowledged {
    fn as_str(&self) -> &'static str {
        match self {
            Self::QueueFull => "queue_full",
            Self::Overdue => "overdue",
            Self::Failed(_) => "failed",
            Self::Replaced => "replaced",
        }
    }
}

impl Producer {
    /// Makes the client. That Kafka does not answer is no error: the client goes on trying.
    ///
    /// # Errors
    ///
    /// Where librdkafka refuses the settings.
    pub(crate) fn new(config: &Config, metrics: Metrics) -> Result<Self, KafkaError> {
        let client_config = client_config(config);
        let context = LogToTracing::default();
        let live = Live {
            client: client_config.create_with_context(context.clone())?,
            since: Instant::now(),
        };
        Ok(Self(Arc::new(Shared {
            client_config,
            context,
            topics: Topics::new(&config.kafka.topic_prefix),
            deadline: config.produce_timeout + OVERDUE_GRACE,
            metrics,
            live: RwLock::new(live),
            closing: TaskTracker::new(),
            waiting: AtomicI64::new(0),
        })))
    }

    /// Puts an event on its topic, and returns once all in-sync replicas have it.
    ///
    /// # Errors
    ///
    /// At once where the queue is full, otherwise half a second after `INGEST_PRODUCE_TIMEOUT` at
    /// the latest. An event that is reported as not acknowledged may be on the topic all the same;
    /// its dedup key tells it from its retry.
    ///
    /// # Cancellation
    ///
    /// If the future is dropped, the event is sent all the same, and nobody learns of it.
    pub(crate) async fn send(
        &self,
        event: &AdEvent,
        trace: &TraceContext,
    ) -> Result<(), NotAcknowledged> {
        self.begin(event, trace)?.acknowledged().await
    }

    /// Puts several events on their topics at once, and says of each what [`Self::send`] would.
    pub(crate) async fn send_all(
        &self,
        events: &[AdEvent],
        trace: &TraceContext,
    ) -> Vec<Result<(), NotAcknowledged>> {
        let begun: Vec<_> = events.iter().map(|it| self.begin(it, trace)).collect();
        let mut outcomes = Vec::with_capacity(begun.len());
        for pending in begun {
            outcomes.push(match pending {
                Ok(mut pending) => pending.acknowledged().await,
                Err(error) => Err(error),
            });
        }
        outcomes
    }

    /// Queues an event behind those that were queued before, for its topic.
    ///
    /// # Errors
    ///
    /// Where the queue is full, or librdkafka refuses the event.
    pub(crate) fn begin(
        &self,
        event: &AdEvent,
        trace: &TraceContext,
    ) -> Result<Pending, NotAcknowledged> {
        let span = spans::send(self.0.topics.of(event.kind), trace);
        let recorded = span.context();
        let enqueued = self.enqueue(event, recorded.as_ref().unwrap_or(trace));
        let delivery = enqueued.map_err(|error| {
            let reason = self.failed(error);
            span.failed(reason.as_str());
            reason
        })?;
        self.0.waiting.fetch_add(1, Ordering::Relaxed);
        Ok(Pending { producer: self.clone(), delivery, begun: Instant::now(), span })
    }

    /// How many events wait for an acknowledgement.
    pub(crate) fn queued(&self) -> i64 {
        self.0.waiting.load(Ordering::Relaxed)
    }

    /// The client of the moment, for questions that may block.
    pub(crate) fn client(&self) -> Client {
        self.live().client.clone()
    }

    /// Why Kafka does not let the client in, where it does not.
    pub(crate) fn refusals(&self) -> &Refusals {
        &self.0.context.refusals
    }

    pub(crate) fn topics(&self) -> &Topics {
        &self.0.topics
    }

    /// Makes a new client where the old one has had a fatal error, after which it sends nothing any
    /// more. What it still held is reported as not acknowledged.
    pub(crate) fn replace_if_fatal(&self) {
        if self.live().client.client().fatal_error().is_none() {
            return;
        }
        let mut live = self.0.live.write().unwrap_or_else(PoisonError::into_inner);
        // Somebody else may have been faster.
        let Some((code, reason)) = live.client.client().fatal_error() else { return };
        if live.since.elapsed() < REPLACE_AT_MOST_EVERY {
            return;
        }
        match self.0.client_config.create_with_context(self.0.context.clone()) {
            Ok(client) => {
                error!(kafka.error = %code, reason, "fatal producer error, replacing the producer");
                let old = std::mem::replace(&mut *live, Live { client, since: Instant::now() });
                self.0.closing.spawn_blocking(move || drop(old));
                self.0.metrics.producer_replaced();
            }
            Err(error) => {
                live.since = Instant::now();
                error!(kafka.error = %code, reason, %error, "producer could not be replaced");
            }
        }
    }

    /// Waits until Kafka has what is queued, for at most `limit`, and closes the client.
    ///
    /// Call it when nobody sends any more: every answer that was promised has been given by then,
    /// so what is lost here was never promised.
    pub(crate) async fn close(self, limit: Duration) -> Result<(), JoinError> {
        self.0.closing.close();
        self.0.closing.wait().await;
        tokio::task::spawn_blocking(move || {
            if let Err(error) = self.live().client.flush(limit) {
                error!(%error, events = self.queued(), "events were left behind in the producer");
            }
        })
        .await
    }

    fn enqueue(&self, event: &AdEvent, trace: &TraceContext) -> Result<Delivery, KafkaError> {
        let (traceparent, tracestate) = (trace.traceparent(), trace.tracestate());
        let record_headers = headers::for_event(
            event,
            Some((traceparent, &tracestate)),
            OwnedHeaders::new_with_capacity(headers::MAX_HEADERS),
            |all, key, value| all.insert(Header { key, value: Some(value) }),
        );
        let value = event.encode();
        let record = FutureRecord::to(self.0.topics.of(event.kind))
            .key(event.dedup_key.as_bytes().as_slice())
            .payload(&value)
            .headers(record_headers);
        hand_over(&self.live().client, record)
    }

    fn failed(&self, error: KafkaError) -> NotAcknowledged {
        self.replace_if_fatal();
        // At debug, because under an outage there is one for each request; they are counted.
        debug!(%error, "event was not acknowledged");
        match error.rdkafka_error_code() {
            Some(RDKafkaErrorCode::QueueFull) => NotAcknowledged::QueueFull,
            Some(RDKafkaErrorCode::MessageTimedOut) => NotAcknowledged::Overdue,
            _ => NotAcknowledged::Failed(error),
        }
    }

    fn live(&self) -> RwLockReadGuard<'_, Live> {
        // The client is whole after every statement under the lock.
        self.0.live.read().unwrap_or_else(PoisonError::into_inner)
    }
}

/// An event that is on its way. It is counted as waiting until this is dropped, which also happens
/// where the player hangs up.
pub(crate) struct Pending {
    producer: Producer,
    delivery: Delivery,
    begun: Instant,
    span: Span,
}

impl Pending {
    /// Waits until Kafka has the event; see [`Producer::send`]. To be called until it answers once.
    ///
    /// # Cancellation
    ///
    /// Cancel safe: it can be called again, and the time limit goes on from the first call.
    pub(crate) async fn acknowledged(&mut self) -> Result<(), NotAcknowledged> {
        let producer = &self.producer;
        let due = self.begun + producer.0.deadline;
        let failure = match timeout_at(due.into(), &mut self.delivery).await {
            Ok(Ok(Ok(delivered))) => {
                producer.0.metrics.acknowledged(self.begun.elapsed());
                spans::delivered(&self.span, &delivered);
                return Ok(());
            }
            Ok(Ok(Err((error, _record)))) => producer.failed(error),
            Ok(Err(_cancelled)) => NotAcknowledged::Replaced,
            Err(_elapsed) => NotAcknowledged::Overdue,
        };
        self.span.failed(failure.as_str());
        Err(failure)
    }
}

impl Drop for Pending {
    fn drop(&mut self) {
        self.producer.0.waiting.fetch_sub(1, Ordering::Relaxed);
    }
}

fn client_config(config: &Config) -> ClientConfig {
    let queue_events = config.queue_events.to_string();
    let message_timeout_ms = config.produce_timeout.as_millis().to_string();
    let mut client_config = kafka_access::client_config(&config.kafka);
    client_config
        .set("client.id", "ingest-api")
        .set("acks", "all")
        .set("enable.idempotence", "true")
        .set("compression.type", "lz4")
        .set("linger.ms", "5")
        // What Java clients use, so that a key has one partition whoever wrote it.
        .set("partitioner", "murmur2_random")
        .set("message.timeout.ms", &message_timeout_ms)
        .set("queue.buffering.max.messages", &queue_events)
        // 1 KiB for each: with its headers an event takes some 500 bytes.
        .set("queue.buffering.max.kbytes", &queue_events)
        // Topics are made by the operator, with the partitions that they should have.
        .set("allow.auto.create.topics", "false")
        .set("socket.keepalive.enable", "true")
        // Below their defaults of 60, 30 and 10 s, so that a broker that comes back is found soon.
        .set("socket.timeout.ms", "10000")
        .set("socket.connection.setup.timeout.ms", "5000")
        .set("reconnect.backoff.max.ms", "1000");
    client_config
}
