//! How many requests are answered at once, and what becomes of the others.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::{Request, State};
use axum::http::StatusCode;
use axum::middleware::{Next, from_fn_with_state};
use axum::response::Response;
use prometheus_client::metrics::gauge::Gauge;
use tokio::sync::Semaphore;

use super::error::error_response;
use super::metrics::ServerMetrics;

/// When a client should come back that was turned away.
const RETRY_AFTER: Duration = Duration::from_secs(2);

/// A limit on the requests that are in flight. Cloning shares it.
#[derive(Clone, Debug)]
pub struct Load {
    places: Arc<Semaphore>,
    metrics: ServerMetrics,
}

impl Load {
    /// Allows `max_in_flight` requests at once, at least one.
    pub fn new(max_in_flight: usize, metrics: ServerMetrics) -> Self {
        let places = Semaphore::new(max_in_flight.clamp(1, Semaphore::MAX_PERMITS));
        Self { places: Arc::new(places), metrics }
    }

    /// Returns `router` with a 503 for requests to its routes that are too many at once, before
    /// anything of them but the head is read.
    ///
    /// Call it after the last route; what is added later has no limit.
    pub fn wrap<S: Clone + Send + Sync + 'static>(&self, router: Router<S>) -> Router<S> {
        router.route_layer(from_fn_with_state(self.clone(), limit))
    }
}

async fn limit(State(load): State<Load>, request: Request, next: Next) -> Response {
    let Ok(_place) = load.places.try_acquire() else {
        load.metrics.shed.inc();
        return shed();
    };
    let _counted = InFlight::count(&load.metrics.in_flight);
    next.run(request).await
}

fn shed() -> Response {
    let message = "There are too many requests at once; see the Retry-After header.";
    let status = StatusCode::SERVICE_UNAVAILABLE;
    error_response(status, "overloaded", message, None, Some(RETRY_AFTER))
}

struct InFlight<'a>(&'a Gauge);

impl<'a> InFlight<'a> {
    fn count(gauge: &'a Gauge) -> Self {
        gauge.inc();
        Self(gauge)
    }
}

impl Drop for InFlight<'_> {
    fn drop(&mut self) {
        self.0.dec();
    }
}
