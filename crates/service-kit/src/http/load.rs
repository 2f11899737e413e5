//! How many requests are answered at once, and what becomes of the others.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::{Request, State};
use axum::http::StatusCode;
use axum::middleware::{Next, from_fn_with_state};
use axum::response::Response;
use prometheus_client::metrics::gauge::Gauge;
use tokio::sync::{Semaphore, SemaphorePermit};

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

    /// Takes a place for one request until it is dropped, for a handler that has another answer where there
    /// is none than a 503.
    pub fn enter(&self) -> Option<Place<'_>> {
        let Ok(place) = self.places.try_acquire() else {
            self.metrics.shed.inc();
            return None;
        };
        self.metrics.in_flight.inc();
        Some(Place { _place: place, in_flight: &self.metrics.in_flight })
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
    let Some(_place) = load.enter() else { return too_busy() };
    next.run(request).await
}

/// The answer to a request that was not read, because there are too many.
pub fn too_busy() -> Response {
    let message = "There are too many requests at once; see the Retry-After header.";
    let status = StatusCode::SERVICE_UNAVAILABLE;
    error_response(status, "overloaded", message, None, Some(RETRY_AFTER))
}

/// A request's place among those in flight.
#[derive(Debug)]
pub struct Place<'a> {
    _place: SemaphorePermit<'a>,
    in_flight: &'a Gauge,
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        self.in_flight.dec();
    }
}
