//! Metrics that every HTTP service has.

use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::Router;
use axum::extract::{MatchedPath, Request, State};
use axum::http::Method;
use axum::middleware::{Next, from_fn_with_state};
use axum::response::Response;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::{Registry, Unit};

/// A route, its method, and every status that it can answer.
pub type RouteStatuses = (&'static str, Method, &'static [u16]);

/// Counts and times HTTP requests. Cloning shares the same counts.
///
/// `http_requests_total` and `http_request_duration_seconds` have the labels `route` (the path as
/// it was registered), `method` and `status`. Every combination of the table is there from the
/// start, at zero.
#[derive(Clone, Debug)]
pub struct HttpMetrics {
    routes: Arc<[RouteStatuses]>,
    requests: Family<Labels, Counter>,
    durations: Family<Labels, Histogram>,
}

#[derive(Clone, Debug, Eq, Hash, PartialEq, EncodeLabelSet)]
struct Labels {
    route: &'static str,
    method: String,
    status: u16,
}

impl HttpMetrics {
    /// Adds the metrics of `routes` to `registry`.
    pub fn register(registry: &mut Registry, routes: &[RouteStatuses]) -> Self {
        let metrics = Self {
            routes: routes.into(),
            requests: Family::default(),
            durations: Family::new_with_constructor(histogram),
        };
        registry.register("http_requests", "HTTP requests answered", metrics.requests.clone());
        registry.register_with_unit(
            "http_request_duration",
            "Time from a request's head to its answer's head",
            Unit::Seconds,
            metrics.durations.clone(),
        );
        metrics
    }

    /// Returns `router` with every request counted and timed.
    ///
    /// Call it last: routes and fallbacks that are added later are not counted.
    pub fn wrap(&self, router: Router) -> Router {
        router.layer(from_fn_with_state(self.clone(), track))
    }

    fn answered(&self, labels: &Labels, took: Duration) {
        self.requests.get_or_create(labels).inc();
        self.durations.get_or_create(labels).observe(took.as_secs_f64());
    }
}

fn histogram() -> Histogram {
    // 1 ms to 10 s.
    Histogram::new([0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0])
}

async fn track(State(metrics): State<HttpMetrics>, request: Request, next: Next) -> Response {
    let start = Instant::now();
    let path = request.extensions().get::<MatchedPath>().cloned();
    let route = path
        .and_then(|path| metrics.routes.iter().find(|row| row.0 == path.as_str()))
        .map_or("other", |row| row.0);
    let method = request.method().to_string();
    let response = next.run(request).await;
    let labels = Labels { route, method, status: response.status().as_u16() };
    metrics.answered(&labels, start.elapsed());
    response
}
