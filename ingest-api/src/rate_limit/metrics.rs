//! What the rate limits count.

use prometheus_client::{
    encoding::EncodeLabelSet,
    metrics::{counter::Counter, family::Family},
    registry::Registry,
};
use proto_schemas::Kind;

use super::Layer;

/// Handles to the metrics of the rate limits. Cloning shares the same counts.
#[derive(Clone, Debug)]
pub(crate) struct LimitMetrics {
    exceeded: Family<ExceededLabels, Counter>,
    overflow: Family<KindLabel, Counter>,
    shared: Family<SharedLabel, Counter>,
}

/// What became of asking Redis about limits that are shared.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum SharedOutcome {
    Answered,
    /// Not within the budget; this process decided alone.
    Slow,
    /// Redis refused, or the connection broke; the same.
    Failed,
    /// It is known to be away and was not asked; the same.
    Skipped,
}

impl SharedOutcome {
    const ALL: [Self; 4] = [Self::Answered, Self::Slow, Self::Failed, Self::Skipped];

    fn as_str(self) -> &'static str {
        match self {
            Self::Answered => "answered",
            Self::Slow => "slow",
            Self::Failed => "failed",
            Self::Skipped => "skipped",
        }
    }
}

impl LimitMetrics {
    /// Adds the metrics to `registry`, every one at zero.
    pub(crate) fn register(registry: &mut Registry) -> Self {
        let metrics = Self {
            exceeded: Family::default(),
            overflow: Family::default(),
            shared: Family::default(),
        };
        for kind in Kind::ALL {
            drop(metrics.overflow(kind));
            for layer in Layer::ALL {
                for enforced in [true, false] {
                    let labels = ExceededLabels::new(kind, layer, enforced);
                    drop(metrics.exceeded.get_or_create(&labels));
                }
            }
        }
        for outcome in SharedOutcome::ALL {
            drop(metrics.shared.get_or_create(&outcome.into()));
        }

        registry.register(
            "ingest_rate_limit_exceeded",
            "Events over a limit: refused by mode enforce, let through by mode observe",
            metrics.exceeded.clone(),
        );
        registry.register(
            "ingest_rate_limiter_overflow",
            "Events measured together with others, as too many addresses were known",
            metrics.overflow.clone(),
        );
        registry.register(
            "ingest_rate_limit_shared",
            "Questions to Redis about shared limits, and what became of them",
            metrics.shared.clone(),
        );
        metrics
    }

    pub(super) fn exceeded(&self, kind: Kind, layer: Layer, enforced: bool) {
        self.exceeded.get_or_create(&ExceededLabels::new(kind, layer, enforced)).inc();
    }

    pub(super) fn shared(&self, outcome: SharedOutcome) {
        self.shared.get_or_create(&outcome.into()).inc();
    }

    /// The counter of a table's shared numbers.
    pub(super) fn overflow(&self, kind: Kind) -> Counter {
        self.overflow.get_or_create(&KindLabel { kind: kind.as_str() }).clone()
    }
}

/// All of them come from enums, so their values are few.
#[derive(Clone, Debug, Eq, Hash, PartialEq, EncodeLabelSet)]
struct ExceededLabels {
    kind: &'static str,
    layer: &'static str,
    mode: &'static str,
}

impl ExceededLabels {
    fn new(kind: Kind, layer: Layer, enforced: bool) -> Self {
        let layer = match layer {
            Layer::Address => "address",
            Layer::Ad => "ad",
        };
        Self { kind: kind.as_str(), layer, mode: if enforced { "enforce" } else { "observe" } }
    }
}

#[derive(Clone, Debug, Eq, Hash, PartialEq, EncodeLabelSet)]
struct KindLabel {
    kind: &'static str,
}

#[derive(Clone, Debug, Eq, Hash, PartialEq, EncodeLabelSet)]
struct SharedLabel {
    outcome: &'static str,
}

impl From<SharedOutcome> for SharedLabel {
    fn from(outcome: SharedOutcome) -> Self {
        Self { outcome: outcome.as_str() }
    }
}
