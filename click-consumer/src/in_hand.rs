//! How long the batch in hand has been counted for, also while it cannot be counted.

use std::{
    fmt,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use prometheus_client::{
    collector::Collector,
    encoding::{DescriptorEncoder, EncodeMetric},
    metrics::{MetricType, gauge::ConstGauge},
    registry::Unit,
};

/// When counting of the batch in hand began. Cloning shares the same state.
#[derive(Clone, Debug, Default)]
pub(crate) struct InHand(Arc<Mutex<Option<Instant>>>);

/// Says that a batch is in hand until it is dropped.
#[derive(Debug)]
pub(crate) struct Held(InHand);

impl InHand {
    pub(crate) fn begin(&self) -> Held {
        self.set(Some(Instant::now()));
        Held(self.clone())
    }

    fn set(&self, begun: Option<Instant>) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = begun;
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.0.set(None);
    }
}

impl Collector for InHand {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let begun = *self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let age = begun.map_or(Duration::ZERO, |it| it.elapsed());
        ConstGauge::new(age.as_secs_f64()).encode(encoder.encode_descriptor(
            "consumer_batch_age",
            "Time since the counting of the batch in hand began; 0 between batches",
            Some(&Unit::Seconds),
            MetricType::Gauge,
        )?)
    }
}
