//! What overload counts.

use std::{sync::atomic::AtomicU64, time::Duration};

use prometheus_client::{
    metrics::{counter::Counter, gauge::Gauge},
    registry::{Registry, Unit},
};

/// Handles to the metrics of overload. Cloning shares the same counts.
#[derive(Clone, Debug)]
pub(crate) struct OverloadMetrics {
    delay: Gauge<f64, AtomicU64>,
    active: Gauge,
    turned_away: Counter,
    overflow: Counter,
}

impl OverloadMetrics {
    /// Adds the metrics to `registry`, every one at zero.
    pub(crate) fn register(registry: &mut Registry) -> Self {
        let metrics = Self {
            delay: Gauge::default(),
            active: Gauge::default(),
            turned_away: Counter::default(),
            overflow: Counter::default(),
        };
        registry.register_with_unit(
            "ingest_overload_delay",
            "How long a task that was ready had to wait for its turn, when it was last looked",
            Unit::Seconds,
            metrics.delay.clone(),
        );
        registry.register(
            "ingest_overload",
            "1 while addresses that are not known are let in only as far as there is time",
            metrics.active.clone(),
        );
        registry.register(
            "ingest_overload_turned_away",
            "Requests of addresses that are not known, answered with 503 unread under overload",
            metrics.turned_away.clone(),
        );
        registry.register(
            "ingest_overload_known_overflow",
            "Requests of addresses that found no place among those that are remembered",
            metrics.overflow.clone(),
        );
        metrics
    }

    pub(super) fn looked(&self, delay: Duration, overload: bool) {
        self.delay.set(delay.as_secs_f64());
        self.active.set(i64::from(overload));
    }

    pub(super) fn turned_away(&self) {
        self.turned_away.inc();
    }

    /// The counter of the table's full sets.
    pub(super) fn overflow(&self) -> Counter {
        self.overflow.clone()
    }
}
