//! What the spool counts, and what it holds at the moment.

use std::{fmt, sync::Arc, time::Duration};

use prometheus_client::{
    collector::Collector,
    encoding::{DescriptorEncoder, EncodeLabelSet, EncodeMetric},
    metrics::{
        MetricType, counter::Counter, family::Family, gauge::ConstGauge, histogram::Histogram,
    },
    registry::{Registry, Unit},
};
use proto_schemas::Timestamp;

use super::{NotSpooled, writer::Shared};

/// Handles to the spool's metrics. Cloning shares the same counts.
#[derive(Clone, Debug)]
pub(crate) struct SpoolMetrics {
    spooled: Counter,
    drained: Counter,
    refused: Family<ReasonLabel, Counter>,
    sync: Histogram,
}

#[derive(Clone, Debug, Eq, Hash, PartialEq, EncodeLabelSet)]
struct ReasonLabel {
    reason: &'static str,
}

impl SpoolMetrics {
    /// Adds the metrics to `registry`, every one at zero.
    pub(crate) fn register(registry: &mut Registry) -> Self {
        let metrics = Self {
            spooled: Counter::default(),
            drained: Counter::default(),
            refused: Family::default(),
            // 0.25 ms to 2 s: a sync takes 0.5 ms on a fast disk, and players wait 2 s at most.
            sync: Histogram::new([
                0.000_25, 0.000_5, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0,
                2.0,
            ]),
        };
        for reason in NotSpooled::ALL {
            drop(metrics.refused.get_or_create(&ReasonLabel { reason: reason.as_str() }));
        }
        registry.register(
            "ingest_spool_spooled",
            "Events that were written to the spool",
            metrics.spooled.clone(),
        );
        registry.register(
            "ingest_spool_drained",
            "Events that left the spool, because Kafka has acknowledged them",
            metrics.drained.clone(),
        );
        registry.register(
            "ingest_spool_refused",
            "Events that the spool could not keep, by reason",
            metrics.refused.clone(),
        );
        registry.register_with_unit(
            "ingest_spool_sync_duration",
            "Time to write and sync what waited, once for all of it",
            Unit::Seconds,
            metrics.sync.clone(),
        );
        metrics
    }

    pub(super) fn spooled(&self, events: u64, took: Duration) {
        self.spooled.inc_by(events);
        self.sync.observe(took.as_secs_f64());
    }

    pub(super) fn drained(&self, events: u64) {
        self.drained.inc_by(events);
    }

    pub(super) fn refused(&self, reason: NotSpooled, events: u64) {
        self.refused.get_or_create(&ReasonLabel { reason: reason.as_str() }).inc_by(events);
    }
}

/// What the spool holds, looked up when somebody asks. All zero where there is none.
pub(crate) struct SpoolGauges(pub(super) Option<Arc<Shared>>);

impl Collector for SpoolGauges {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let count = |number: u64| i64::try_from(number).unwrap_or(i64::MAX);
        let (events, bytes, limit, oldest_us) = self.0.as_ref().map_or((0, 0, 0, None), |it| {
            (count(it.events()), count(it.bytes()), count(it.max_bytes), it.oldest_us())
        });
        let age_us = oldest_us.map_or(0, |it| (Timestamp::now().as_micros() - it).max(0));
        let age = Duration::from_micros(age_us.unsigned_abs()).as_secs_f64();
        let gauge = MetricType::Gauge;
        let help = "Events in the spool";
        ConstGauge::new(events).encode(encoder.encode_descriptor(
            "ingest_spool_events",
            help,
            None,
            gauge,
        )?)?;
        let help = "Disk that the spooled events take at most, as SPOOL_MAX_BYTES limits it";
        let unit = Some(&Unit::Bytes);
        ConstGauge::new(bytes).encode(encoder.encode_descriptor(
            "ingest_spool",
            help,
            unit,
            gauge,
        )?)?;
        let help = "SPOOL_MAX_BYTES, or 0 where there is no spool";
        ConstGauge::new(limit).encode(encoder.encode_descriptor(
            "ingest_spool_limit",
            help,
            unit,
            gauge,
        )?)?;
        let help = "Time since the oldest event in the spool was received";
        let unit = Some(&Unit::Seconds);
        ConstGauge::new(age).encode(encoder.encode_descriptor(
            "ingest_spool_oldest_age",
            help,
            unit,
            gauge,
        )?)?;
        Ok(())
    }
}

impl fmt::Debug for SpoolGauges {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("SpoolGauges")
    }
}
