//! What the ingest service counts. No label holds anything that a viewer or a player chose.

use std::{fmt, time::Duration};

use prometheus_client::{
    collector::Collector,
    encoding::{DescriptorEncoder, EncodeLabelSet, EncodeMetric},
    metrics::{
        MetricType, counter::Counter, family::Family, gauge::ConstGauge, histogram::Histogram,
    },
    registry::{Registry, Unit},
};
use proto_schemas::{DedupKey, Kind};
use service_kit::openapi::Failure;

use crate::{contract::failures, error::Refusal, keeper::Kept};

/// The `kind` of an event that does not say what it is.
const NO_KIND: &str = "unknown";

/// Handles to every metric of its own. Cloning shares the same counts.
#[derive(Clone, Debug)]
pub(crate) struct Metrics {
    /// By kind and outcome, as their enums count; each event raises one of them, and finding it in a
    /// family takes a lock and a keyed hash.
    events: [[Counter; Outcome::ALL.len()]; Kind::ALL.len()],
    events_of_no_kind: Counter,
    refusals: Family<RefusalLabels, Counter>,
    ignored_addresses: Counter,
    produce: Histogram,
    producer_replaced: Counter,
    led_on_uncounted: Family<ReasonLabel, Counter>,
}

/// What became of an event that somebody sent.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Outcome {
    /// Kafka has it, and the player was told.
    Received,
    /// The spool has synced it, and the player was told the same.
    Spooled,
    /// 429.
    RateLimited,
    /// Any other 4xx: it was not an event.
    Refused,
    /// 503 at once: too many events wait for Kafka, or the spool is full or has too many waiting. Of
    /// requests that are too many at once only those that follow a link are counted.
    Overloaded,
    /// 503 after waiting: Kafka did not acknowledge it, and the spool, where there is one, has a
    /// disk that does not work. It may be on the topic all the same.
    Failed,
    /// The player was gone before there was an answer. It may be on the topic all the same.
    Abandoned,
}

impl Outcome {
    const ALL: [Self; 7] = [
        Self::Received,
        Self::Spooled,
        Self::RateLimited,
        Self::Refused,
        Self::Overloaded,
        Self::Failed,
        Self::Abandoned,
    ];

    fn as_str(self) -> &'static str {
        match self {
            Self::Received => "received",
            Self::Spooled => "spooled",
            Self::RateLimited => "rate_limited",
            Self::Refused => "refused",
            Self::Overloaded => "overloaded",
            Self::Failed => "failed",
            Self::Abandoned => "abandoned",
        }
    }
}

impl Metrics {
    /// Adds the metrics to `registry`, every one at zero.
    pub(crate) fn register(registry: &mut Registry) -> Self {
        let events: Family<EventLabels, Counter> = Family::default();
        let count = |labels| events.get_or_create(&labels).clone();
        let metrics = Self {
            events: Kind::ALL.map(|kind| Outcome::ALL.map(|it| count(EventLabels::new(kind, it)))),
            events_of_no_kind: count(EventLabels {
                kind: NO_KIND,
                outcome: Outcome::Refused.as_str(),
            }),
            refusals: Family::default(),
            ignored_addresses: Counter::default(),
            // 1 ms to 4 s: the least is the producer's linger of 5 ms, the most its timeout.
            produce: Histogram::new([
                0.001, 0.0025, 0.005, 0.0075, 0.01, 0.015, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.0,
                4.0,
            ]),
            producer_replaced: Counter::default(),
            led_on_uncounted: Family::default(),
        };
        for lost in [Outcome::RateLimited, Outcome::Refused, Outcome::Overloaded, Outcome::Failed] {
            drop(metrics.led_on_uncounted.get_or_create(&lost.into()));
        }
        for kind in Kind::ALL.map(Kind::as_str).into_iter().chain([NO_KIND]) {
            for failure in failures::of_events() {
                drop(metrics.refusals.get_or_create(&RefusalLabels { kind, reason: failure.code }));
            }
        }

        registry.register(
            "ingest_events",
            "Events that were sent, and what became of them",
            events,
        );
        registry.register(
            "ingest_refusals",
            "Events that were not kept, by the code that the player was told",
            metrics.refusals.clone(),
        );
        registry.register(
            "ingest_ignored_addresses",
            "Events whose `ip` was another than the sender's, and was ignored",
            metrics.ignored_addresses.clone(),
        );
        registry.register_with_unit(
            "ingest_produce_duration",
            "Time from handing an event to the producer to Kafka's acknowledgement",
            Unit::Seconds,
            metrics.produce.clone(),
        );
        registry.register(
            "ingest_producer_replaced",
            "Kafka producers that were given up after a fatal error",
            metrics.producer_replaced.clone(),
        );
        registry.register(
            "ingest_redirects_without_click",
            "Viewers that were led on to the advertiser although their click was not kept",
            metrics.led_on_uncounted.clone(),
        );
        metrics
    }

    /// A viewer has followed a link, and the click was lost for this.
    pub(crate) fn led_on_uncounted(&self, outcome: Outcome) {
        self.led_on_uncounted.get_or_create(&outcome.into()).inc();
    }

    /// Counts an event of a batch that does not say whether it is a click or an impression, and the
    /// code that the player is told.
    pub(crate) fn unreadable(&self, reason: &'static str) {
        self.events_of_no_kind.inc();
        self.refusals.get_or_create(&RefusalLabels { kind: NO_KIND, reason }).inc();
    }

    /// Starts counting an event: as abandoned, unless another outcome is told.
    pub(crate) fn arrived(&self, kind: Kind) -> Arrived<'_> {
        Arrived { metrics: self, kind, outcome: Outcome::Abandoned }
    }

    pub(crate) fn address_ignored(&self) {
        self.ignored_addresses.inc();
    }

    pub(crate) fn acknowledged(&self, took: Duration) {
        self.produce.observe(took.as_secs_f64());
    }

    pub(crate) fn producer_replaced(&self) {
        self.producer_replaced.inc();
    }
}

/// An event that is counted when this is dropped, which also happens where the client hangs up.
pub(crate) struct Arrived<'a> {
    metrics: &'a Metrics,
    kind: Kind,
    outcome: Outcome,
}

impl Arrived<'_> {
    pub(crate) fn refused(self, refusal: &Refusal) {
        self.lost(refusal.outcome(), &refusal.failure_and_field().0);
    }

    /// There were too many requests at once.
    pub(crate) fn shed(self) {
        self.lost(Outcome::Overloaded, &failures::OVERLOADED);
    }

    fn lost(mut self, outcome: Outcome, told: &Failure) {
        self.outcome = outcome;
        let labels = RefusalLabels { kind: self.kind.as_str(), reason: told.code };
        self.metrics.refusals.get_or_create(&labels).inc();
    }

    /// Takes in what became of it, and returns the key of the event where it is kept.
    pub(crate) fn counted(
        self,
        kept: Result<(DedupKey, Kept), Refusal>,
    ) -> Result<DedupKey, Refusal> {
        self.became(kept.as_ref().map(|(_, by)| *by));
        kept.map(|(dedup_key, _)| dedup_key)
    }

    pub(crate) fn became(mut self, fate: Result<Kept, &Refusal>) {
        match fate {
            Ok(by) => self.outcome = by.outcome(),
            Err(refusal) => self.refused(refusal),
        }
    }
}

impl Drop for Arrived<'_> {
    fn drop(&mut self) {
        self.metrics.events[self.kind as usize][self.outcome as usize].inc();
    }
}

/// Values that are looked up when somebody asks for the metrics.
pub(crate) struct Gauges<F> {
    levels: F,
}

/// What [`Gauges`] shows.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Levels {
    /// Events that wait for Kafka's acknowledgement.
    pub(crate) queued_events: i64,
    /// What the rate limits remember, by kind.
    pub(crate) limiter_keys: [(Kind, i64); 2],
}

impl<F: Fn() -> Levels + Send + Sync + 'static> Gauges<F> {
    pub(crate) fn register(registry: &mut Registry, levels: F) {
        registry.register_collector(Box::new(Self { levels }));
    }
}

impl<F: Fn() -> Levels + Send + Sync + 'static> Collector for Gauges<F> {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let Levels { queued_events, limiter_keys } = (self.levels)();
        ConstGauge::new(queued_events).encode(encoder.encode_descriptor(
            "ingest_producer_queue_events",
            "Events that wait for Kafka's acknowledgement",
            None,
            MetricType::Gauge,
        )?)?;
        let mut keys = encoder.encode_descriptor(
            "ingest_rate_limiter_keys",
            "Addresses, and pairs of an ad and an address, that the rate limits remember",
            None,
            MetricType::Gauge,
        )?;
        for (kind, count) in limiter_keys {
            let label = KindLabel::from(kind);
            ConstGauge::new(count).encode(keys.encode_family(&label)?)?;
        }
        Ok(())
    }
}

impl<F> fmt::Debug for Gauges<F> {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("Gauges")
    }
}

/// Both come from an enum, so their values are few.
#[derive(Clone, Debug, Eq, Hash, PartialEq, EncodeLabelSet)]
struct EventLabels {
    kind: &'static str,
    outcome: &'static str,
}

impl EventLabels {
    fn new(kind: Kind, outcome: Outcome) -> Self {
        Self { kind: kind.as_str(), outcome: outcome.as_str() }
    }
}

/// Kinds are few, and reasons are the codes of our failures.
#[derive(Clone, Debug, Eq, Hash, PartialEq, EncodeLabelSet)]
struct RefusalLabels {
    kind: &'static str,
    reason: &'static str,
}

#[derive(Clone, Debug, Eq, Hash, PartialEq, EncodeLabelSet)]
struct KindLabel {
    kind: &'static str,
}

impl From<Kind> for KindLabel {
    fn from(kind: Kind) -> Self {
        Self { kind: kind.as_str() }
    }
}

/// An outcome's name, so there are few.
#[derive(Clone, Debug, Eq, Hash, PartialEq, EncodeLabelSet)]
struct ReasonLabel {
    reason: &'static str,
}

impl From<Outcome> for ReasonLabel {
    fn from(outcome: Outcome) -> Self {
        Self { reason: outcome.as_str() }
    }
}
