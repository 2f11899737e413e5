//! How long the events that are being counted have waited, also while they cannot be counted.

use std::{
    fmt,
    sync::{
        Arc,
        atomic::{AtomicI64, Ordering},
    },
    time::Duration,
};

use prometheus_client::{
    collector::Collector,
    encoding::{DescriptorEncoder, EncodeMetric},
    metrics::{MetricType, gauge::ConstGauge},
    registry::Unit,
};
use proto_schemas::Timestamp;

const NOTHING: i64 = 0;

/// When the event was received that has waited for longest of those being counted, in microseconds
/// since 1970; or [`NOTHING`].
#[derive(Clone, Debug, Default)]
pub(crate) struct InHand(Arc<AtomicI64>);

/// Says that events are being counted until it is dropped.
#[derive(Debug)]
pub(crate) struct Held(InHand);

impl InHand {
    /// Notes a batch, by its event that was received first, until what this returns is dropped.
    pub(crate) fn hold(&self, oldest: Option<Timestamp>) -> Held {
        self.0.store(oldest.map_or(NOTHING, Timestamp::as_micros), Ordering::Relaxed);
        Held(self.clone())
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.0.0.store(NOTHING, Ordering::Relaxed);
    }
}

impl Collector for InHand {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let oldest = self.0.load(Ordering::Relaxed);
        let oldest = Timestamp::from_micros(oldest).filter(|_| oldest != NOTHING);
        let age = oldest.map_or(Duration::ZERO, |it| Timestamp::now().since(it));
        ConstGauge::new(age.as_secs_f64()).encode(encoder.encode_descriptor(
            "consumer_batch_age",
            "Time since the oldest event of the batch that is being counted was received; 0 between batches",
            Some(&Unit::Seconds),
            MetricType::Gauge,
        )?)
    }
}
