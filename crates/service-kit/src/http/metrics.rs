//! What happens at the door, before anything is a request.

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

/// Counts connections, and requests that were turned away. Cloning shares the same counts; those of
/// the default are shown nowhere.
#[derive(Clone, Debug, Default)]
pub struct ServerMetrics {
    connections: Gauge,
    closed: Family<ClosedLabel, Counter>,
    pub(super) in_flight: Gauge,
    pub(super) shed: Counter,
}

/// Why the server closed a connection.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Closed {
    /// A head took longer than the header timeout.
    SlowHead,
    /// There was no request for as long as the idle timeout.
    Idle,
    /// It had waited for its client for longest, and there were too many.
    Evicted,
    /// Its address had too many.
    TooMany,
    /// The server stops.
    Stopping,
}

impl Closed {
    const ALL: [Self; 5] =
        [Self::SlowHead, Self::Idle, Self::Evicted, Self::TooMany, Self::Stopping];

    fn as_str(self) -> &'static str {
        match self {
            Self::SlowHead => "slow_head",
            Self::Idle => "idle",
            Self::Evicted => "evicted",
            Self::TooMany => "too_many",
            Self::Stopping => "stopping",
        }
    }
}

#[derive(Clone, Debug, Eq, Hash, PartialEq, EncodeLabelSet)]
struct ClosedLabel {
    reason: &'static str,
}

impl From<Closed> for ClosedLabel {
    fn from(reason: Closed) -> Self {
        Self { reason: reason.as_str() }
    }
}

impl ServerMetrics {
    /// Adds the metrics to `registry`, every one at zero.
    pub fn register(registry: &mut Registry) -> Self {
        let metrics = Self::default();
        for reason in Closed::ALL {
            drop(metrics.closed.get_or_create(&reason.into()));
        }
        registry.register(
            "http_connections",
            "Connections that are open",
            metrics.connections.clone(),
        );
        registry.register(
            "http_connections_closed",
            "Connections that the server closed by itself, and why",
            metrics.closed.clone(),
        );
        registry.register(
            "http_requests_in_flight",
            "Requests that are being answered",
            metrics.in_flight.clone(),
        );
        registry.register(
            "http_requests_shed",
            "Requests answered with 503 unread, because there were too many at once",
            metrics.shed.clone(),
        );
        metrics
    }

    pub(super) fn closed(&self, reason: Closed) {
        self.closed.get_or_create(&reason.into()).inc();
    }

    pub(super) fn opened(&self) -> OpenConnection {
        self.connections.inc();
        OpenConnection(self.connections.clone())
    }
}

/// A connection that is counted as open until this is dropped.
#[derive(Debug)]
pub(super) struct OpenConnection(Gauge);

impl Drop for OpenConnection {
    fn drop(&mut self) {
        self.0.dec();
    }
}
