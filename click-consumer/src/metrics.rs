//! Every metric of the service.

use std::time::Duration;

use click_store::RetryReason;
use prometheus_client::{
    encoding::EncodeLabelSet,
    metrics::{
        counter::Counter,
        family::Family,
        gauge::Gauge,
        histogram::{Histogram, exponential_buckets},
    },
    registry::{Registry, Unit},
};
use proto_schemas::{Kind, Timestamp};
use service_kit::dependencies::Dependency;

use crate::{
    assignment::Stages,
    in_hand::{Held, InHand},
    partition::Partition,
    record::DeathReason,
};

/// Handles to every metric. Cloning shares the same counts.
#[derive(Clone, Debug)]
pub(crate) struct Metrics {
    records: Family<RecordLabels, Counter>,
    dead_letters: Family<ReasonLabel, Counter>,
    batch_records: Histogram,
    transaction: Histogram,
    retries: Family<ReasonLabel, Counter>,
    fences_lost: Counter,
    in_doubt: Counter,
    rebalances: Counter,
    partitions: Family<StageLabel, Gauge>,
    projection: Family<OutcomeLabel, Counter>,
    repairs: Counter,
    unaccounted: Gauge,
    lag: Family<PartitionLabels, Gauge>,
    in_hand: InHand,
    visible: Histogram,
    projection_behind: Gauge,
    projection_wrong: Gauge,
    kafka: Dependency,
    postgres: Dependency,
    redis: Dependency,
}

/// There are as many as Kafka has partitions.
#[derive(Clone, Debug, Eq, Hash, PartialEq, EncodeLabelSet)]
struct PartitionLabels {
    kind: &'static str,
    partition: i32,
}

#[derive(Clone, Debug, Eq, Hash, PartialEq, EncodeLabelSet)]
struct RecordLabels {
    kind: &'static str,
    outcome: &'static str,
}

#[derive(Clone, Debug, Eq, Hash, PartialEq, EncodeLabelSet)]
struct ReasonLabel {
    reason: &'static str,
}

#[derive(Clone, Debug, Eq, Hash, PartialEq, EncodeLabelSet)]
struct StageLabel {
    stage: &'static str,
}

#[derive(Clone, Debug, Eq, Hash, PartialEq, EncodeLabelSet)]
struct OutcomeLabel {
    outcome: &'static str,
}

/// What became of an increment of Redis.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Projected {
    /// It was added.
    Applied,
    /// Redis counted it already.
    Already,
    /// Redis was elsewhere: the partition was written anew.
    Gap,
    /// Redis did not answer. The next comparison mends it.
    Failed,
    /// Redis is so slow that increments wait in line: not sent. The next comparison mends it.
    Dropped,
}

impl Projected {
    const ALL: [Self; 5] = [Self::Applied, Self::Already, Self::Gap, Self::Failed, Self::Dropped];

    fn label(self) -> OutcomeLabel {
        let outcome = match self {
            Self::Applied => "applied",
            Self::Already => "already",
            Self::Gap => "gap",
            Self::Failed => "failed",
            Self::Dropped => "dropped",
        };
        OutcomeLabel { outcome }
    }
}

const OUTCOMES: [&str; 3] = ["stored", "duplicate", "dead"];
const STAGES: [&str; 3] = ["starting", "reading", "stopped"];

/// Why a batch or a start was tried again: a failure of Postgres, or of Kafka.
fn retry_label(reason: Option<RetryReason>) -> ReasonLabel {
    let reason = match reason {
        Some(RetryReason::Connection) => "postgres_connection",
        Some(RetryReason::Deadlock) => "postgres_deadlock",
        Some(RetryReason::Serialization) => "postgres_serialization",
        Some(RetryReason::LockTimeout) => "postgres_lock_timeout",
        Some(RetryReason::DiskFull) => "postgres_disk_full",
        Some(RetryReason::TooManyConnections) => "postgres_too_many_connections",
        Some(RetryReason::Permission) => "postgres_permission",
        Some(RetryReason::Other) => "postgres_other",
        None => "kafka",
    };
    ReasonLabel { reason }
}

impl Metrics {
    /// Adds the metrics to `registry`, every label value at zero.
    pub(crate) fn register(registry: &mut Registry) -> Self {
        let [kafka, postgres, redis] =
            Dependency::register(registry, ["kafka", "postgres", "redis"]);
        let metrics = Self {
            records: Family::default(),
            dead_letters: Family::default(),
            // 1 to 131,072: the largest batch that can be set is 100,000.
            batch_records: Histogram::new(exponential_buckets(1.0, 2.0, 18)),
            // 1 ms to 33 s: a transaction is given up at 45 s.
            transaction: Histogram::new(exponential_buckets(0.001, 2.0, 16)),
            retries: Family::default(),
            fences_lost: Counter::default(),
            in_doubt: Counter::default(),
            rebalances: Counter::default(),
            partitions: Family::default(),
            projection: Family::default(),
            repairs: Counter::default(),
            unaccounted: Gauge::default(),
            lag: Family::default(),
            in_hand: InHand::default(),
            // From a batch that is sent at once to an outage of some hours.
            visible: Histogram::new([
                0.05, 0.1, 0.2, 0.3, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0, 60.0, 300.0, 1800.0, 7200.0,
            ]),
            projection_behind: Gauge::default(),
            projection_wrong: Gauge::default(),
            kafka,
            postgres,
            redis,
        };
        metrics.start_at_zero();
        metrics.add_to(registry.sub_registry_with_prefix("consumer"));
        registry.register_collector(Box::new(metrics.in_hand.clone()));
        metrics
    }

    fn start_at_zero(&self) {
        for kind in Kind::ALL {
            for outcome in OUTCOMES {
                drop(self.records.get_or_create(&RecordLabels { kind: kind.as_str(), outcome }));
            }
        }
        for reason in DeathReason::ALL {
            drop(self.dead_letters.get_or_create(&ReasonLabel { reason: reason.as_str() }));
        }
        for reason in RetryReason::ALL.into_iter().map(Some).chain([None]) {
            drop(self.retries.get_or_create(&retry_label(reason)));
        }
        for stage in STAGES {
            drop(self.partitions.get_or_create(&StageLabel { stage }));
        }
        for outcome in Projected::ALL {
            drop(self.projection.get_or_create(&outcome.label()));
        }
    }

    fn add_to(&self, registry: &mut Registry) {
        registry.register(
            "records",
            "Records counted, by what became of them",
            self.records.clone(),
        );
        registry.register(
            "dead_letters",
            "Records sent to the dead-letter topic; one more for each time a batch is tried again",
            self.dead_letters.clone(),
        );
        registry.register(
            "batch_records",
            "Records in one counting transaction",
            self.batch_records.clone(),
        );
        registry.register_with_unit(
            "transaction",
            "Time of one batch that was counted: its day tables, the transaction, the answer of COMMIT",
            Unit::Seconds,
            self.transaction.clone(),
        );
        registry.register(
            "retries",
            "Tries that failed and were tried again",
            self.retries.clone(),
        );
        registry.register(
            "fences_lost",
            "Partitions that another consumer had moved first",
            self.fences_lost.clone(),
        );
        registry.register(
            "transactions_in_doubt",
            "Tries whose outcome was not known: no answer to COMMIT, or none in time",
            self.in_doubt.clone(),
        );
        registry.register(
            "rebalances",
            "Times that Kafka gave or took partitions",
            self.rebalances.clone(),
        );
        registry.register(
            "partitions",
            "Partitions of this consumer; one that is stopped needs somebody to look",
            self.partitions.clone(),
        );
        registry.register(
            "projection_updates",
            "Batches of one partition sent to Redis, by what became of them",
            self.projection.clone(),
        );
        registry.register(
            "projection_repairs",
            "Partitions that were written to Redis anew",
            self.repairs.clone(),
        );
        registry.register(
            "unaccounted_events",
            "Offsets and events of this consumer's partitions on which position, ledger and totals differ; more than 0 needs somebody to look",
            self.unaccounted.clone(),
        );
        registry.register(
            "lag_events",
            "Records of a partition on Kafka that are not counted yet",
            self.lag.clone(),
        );
        registry.register_with_unit(
            "visible_delay",
            "Time from the receipt of an event by ingest until Redis counts it",
            Unit::Seconds,
            self.visible.clone(),
        );
        registry.register(
            "projection_behind_events",
            "Records that Postgres has counted and Redis has not, when last compared",
            self.projection_behind.clone(),
        );
        registry.register(
            "projection_wrong_partitions",
            "Partitions that Redis did not have, or had of another epoch or ahead, when last compared",
            self.projection_wrong.clone(),
        );
    }

    /// Notes that a batch is being counted, until what this returns is dropped.
    pub(crate) fn in_hand(&self) -> Held {
        self.in_hand.begin()
    }

    pub(crate) fn lag(&self, partition: Partition, events: i64) {
        self.lag.get_or_create(&partition.into()).set(events);
    }

    /// A partition is not read here any more.
    pub(crate) fn lag_unknown(&self, partition: Partition) {
        self.lag.remove(&partition.into());
    }

    /// Redis counts the events that were received then.
    pub(crate) fn visible(&self, received: &[Timestamp], now: Timestamp) {
        for it in received {
            self.visible.observe(now.since(*it).as_secs_f64());
        }
    }

    /// Redis was compared with Postgres.
    pub(crate) fn redis_differs(&self, behind_by: i64, wrong_partitions: usize) {
        self.projection_behind.set(behind_by);
        self.projection_wrong.set(wrong_partitions.cast_signed() as i64);
    }

    pub(crate) fn kafka_answered(&self, did: bool) {
        self.kafka.answered(did);
    }

    pub(crate) fn postgres_answered(&self, did: bool) {
        self.postgres.answered(did);
    }

    pub(crate) fn redis_answered(&self, did: bool) {
        self.redis.answered(did);
    }

    pub(crate) fn counted(&self, kind: Kind, stored: i64, duplicates: i64, dead: i64) {
        for (outcome, records) in OUTCOMES.into_iter().zip([stored, duplicates, dead]) {
            self.records
                .get_or_create(&RecordLabels { kind: kind.as_str(), outcome })
                .inc_by(records.unsigned_abs());
        }
    }

    pub(crate) fn dead_letter(&self, reason: DeathReason) {
        self.dead_letters.get_or_create(&ReasonLabel { reason: reason.as_str() }).inc();
    }

    #[expect(clippy::cast_precision_loss, reason = "a batch has at most 100,000 records")]
    pub(crate) fn committed(&self, records: usize, took: Duration) {
        self.batch_records.observe(records as f64);
        self.transaction.observe(took.as_secs_f64());
    }

    /// `None` stands for a failure of Kafka.
    pub(crate) fn retried(&self, reason: Option<RetryReason>) {
        self.retries.get_or_create(&retry_label(reason)).inc();
    }

    pub(crate) fn fences_lost(&self, partitions: usize) {
        self.fences_lost.inc_by(partitions as u64);
    }

    pub(crate) fn in_doubt(&self) {
        self.in_doubt.inc();
    }

    pub(crate) fn rebalanced(&self) {
        self.rebalances.inc();
    }

    pub(crate) fn stages(&self, stages: Stages) {
        let counts = [stages.starting, stages.reading, stages.stopped];
        for (stage, partitions) in STAGES.into_iter().zip(counts) {
            self.partitions
                .get_or_create(&StageLabel { stage })
                .set(partitions.cast_signed() as i64);
        }
    }

    pub(crate) fn projected(&self, outcome: Projected) {
        self.projection.get_or_create(&outcome.label()).inc();
    }

    pub(crate) fn repaired(&self) {
        self.repairs.inc();
    }

    /// Notes how many events are unaccounted for, and returns how many were before.
    pub(crate) fn unaccounted(&self, events: i64) -> i64 {
        self.unaccounted.set(events)
    }
}

impl From<Partition> for PartitionLabels {
    fn from(Partition { kind, number }: Partition) -> Self {
        Self { kind: kind.as_str(), partition: number }
    }
}

#[cfg(test)]
mod tests;
