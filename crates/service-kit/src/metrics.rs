//! Metrics that every HTTP service has.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::Router;
use axum::extract::{MatchedPath, Request, State};
use axum::http::{Method, StatusCode};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::Response;
use futures::FutureExt as _;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::{Registry, Unit};

use crate::http::error_response;
use crate::openapi::Failure;

/// A route as it is registered, its method, and every status that its handler can answer.
pub type RouteStatuses = (&'static str, Method, &'static [u16]);

/// The `method` of a request that no row of the table has. Its status is 404 or 405.
const OTHER_METHOD: &str = "OTHER";

/// The `route` of a request that no row of the table has. Its status is 404.
const OTHER_ROUTE: &str = "other";

/// Counts and times HTTP requests. Cloning shares the same counts.
///
/// `http_requests_total` and `http_request_duration_seconds` have the labels `route` (as it was
/// registered), `method` and `status`. What clients make up is not among them: a path that no row
/// of the table has is `other`, a method that its route does not have is `OTHER`, and HEAD counts
/// as the GET that answers it. Every combination that can occur is there from the start, at zero.
///
/// A request whose client left before the answer is not counted, nor is one that never became a
/// request because its head was malformed or too slow.
#[derive(Clone, Debug)]
pub struct HttpMetrics {
    routes: Arc<[RouteStatuses]>,
    requests: Family<Labels, Counter>,
    durations: Family<Labels, Histogram>,
    /// All that is expected. A family finds a series by a lock and a keyed hash, which for each
    /// request takes longer than to go through these.
    expected: Arc<[Series]>,
}

/// What is counted under one set of labels.
#[derive(Debug)]
struct Series {
    labels: Labels,
    requests: Counter,
    durations: Histogram,
}

#[derive(Clone, Debug, Eq, Hash, PartialEq, EncodeLabelSet)]
struct Labels {
    route: &'static str,
    method: &'static str,
    status: u16,
}

impl HttpMetrics {
    /// Adds the metrics of `routes` to `registry`.
    ///
    /// The 405 of a route, the 404 of all others, and the 500 of a handler that panics need not be in
    /// the table.
    pub fn register(registry: &mut Registry, routes: &[RouteStatuses]) -> Self {
        let requests: Family<Labels, Counter> = Family::default();
        let durations: Family<Labels, Histogram> = Family::new_with_constructor(histogram);
        registry.register("http_requests", "HTTP requests answered", requests.clone());
        registry.register_with_unit(
            "http_request_duration",
            "Time from a request's head to its answer's head",
            Unit::Seconds,
            durations.clone(),
        );

        let series = |labels: Labels| Series {
            requests: requests.get_or_create(&labels).clone(),
            durations: durations.get_or_create(&labels).clone(),
            labels,
        };
        let expected = expected_labels(routes).into_iter().map(series).collect();
        Self { routes: routes.into(), requests, durations, expected }
    }

    /// Returns `router` with every request counted and timed, and with a 500 where a handler panics.
    ///
    /// Call it last: routes and fallbacks that are added later are not counted.
    pub fn wrap(&self, router: Router) -> Router {
        router.layer(from_fn_with_state(self.clone(), track))
    }

    /// Counts and times one request, and answers it with 500 where `answering` panics.
    ///
    /// `route` and `method` must be a row's of the table.
    pub async fn track(
        &self,
        route: &'static str,
        method: &Method,
        answering: impl Future<Output = Response>,
    ) -> Response {
        self.track_as(route, label(method), answering).await
    }

    async fn track_as(
        &self,
        route: &'static str,
        method: &'static str,
        answering: impl Future<Output = Response>,
    ) -> Response {
        let start = Instant::now();

        // Nothing of the request is used after a panic, so no state can be seen half changed. The
        // panic itself is logged by the hook.
        let response = AssertUnwindSafe(answering).catch_unwind().await;
        let response = response.unwrap_or_else(|_panic| internal_error());

        let labels = Labels { route, method, status: response.status().as_u16() };
        self.answered(&labels, start.elapsed());
        response
    }

    fn answered(&self, labels: &Labels, took: Duration) {
        let took = took.as_secs_f64();
        // Fewest have the same status, so most comparisons end there.
        let of = |it: &&Series| it.labels.status == labels.status && it.labels == *labels;
        if let Some(series) = self.expected.iter().find(of) {
            series.requests.inc();
            series.durations.observe(took);
        } else {
            self.requests.get_or_create(labels).inc();
            self.durations.get_or_create(labels).observe(took);
        }
    }

    /// Returns the labels of a request, from the bounded set.
    fn route_and_method(&self, request: &Request) -> (&'static str, &'static str) {
        let path = request.extensions().get::<MatchedPath>().map_or("", MatchedPath::as_str);
        let method = label(request.method());
        let mut rows = self.routes.iter().filter(|(route, ..)| *route == path).peekable();
        match rows.peek() {
            None => (OTHER_ROUTE, OTHER_METHOD),
            Some((route, ..)) => {
                let known = rows.any(|(_, known, _)| label(known) == method);
                (route, if known { method } else { OTHER_METHOD })
            }
        }
    }
}

/// Every combination that can occur.
fn expected_labels(routes: &[RouteStatuses]) -> Vec<Labels> {
    let of = |route, method, status: StatusCode| Labels { route, method, status: status.as_u16() };
    let mut all = vec![of(OTHER_ROUTE, OTHER_METHOD, StatusCode::NOT_FOUND)];
    for &(route, ref method, statuses) in routes {
        let method = label(method);
        all.push(of(route, OTHER_METHOD, StatusCode::METHOD_NOT_ALLOWED));
        all.push(of(route, method, StatusCode::INTERNAL_SERVER_ERROR));
        all.extend(statuses.iter().map(|&status| Labels { route, method, status }));
    }
    all
}

fn histogram() -> Histogram {
    // From an answer out of memory to a client that waits as long as any would.
    Histogram::new([0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0])
}

fn label(method: &Method) -> &'static str {
    match *method {
        Method::GET | Method::HEAD => "GET",
        Method::POST => "POST",
        Method::PUT => "PUT",
        Method::PATCH => "PATCH",
        Method::DELETE => "DELETE",
        Method::OPTIONS => "OPTIONS",
        _ => OTHER_METHOD,
    }
}

async fn track(State(metrics): State<HttpMetrics>, request: Request, next: Next) -> Response {
    let (route, method) = metrics.route_and_method(&request);
    metrics.track_as(route, method, next.run(request)).await
}

fn internal_error() -> Response {
    let Failure { code, when, .. } = Failure::INTERNAL;
    error_response(StatusCode::INTERNAL_SERVER_ERROR, code, when, None, None)
}

#[cfg(test)]
mod tests {
    use axum::body::Body;
    use axum::routing::{get, post};
    use prometheus_client::encoding::text::encode;
    use tower::ServiceExt as _;

    use super::*;
    use crate::http::with_fallbacks;

    struct Api {
        registry: Registry,
        router: Router,
    }

    impl Api {
        fn new() -> Self {
            let mut registry = Registry::default();
            let metrics = HttpMetrics::register(
                &mut registry,
                &[("/ads", Method::GET, &[200, 503]), ("/click", Method::POST, &[200])],
            );
            let router =
                Router::new().route("/ads", get(|| async { "ads" })).route("/click", post(broken));
            Self { registry, router: metrics.wrap(with_fallbacks(router)) }
        }

        async fn send(&self, method: &str, path: &str) -> StatusCode {
            let request = Request::builder().method(method).uri(path).body(Body::empty());
            let request = request.expect("a request");
            self.router.clone().oneshot(request).await.expect("an answer").status()
        }

        fn counts(&self) -> Vec<String> {
            let mut text = String::new();
            encode(&mut text, &self.registry).expect("text");
            let mut lines: Vec<_> = text
                .lines()
                .filter_map(|line| line.strip_prefix("http_requests_total"))
                .map(str::to_owned)
                .collect();
            lines.sort();
            lines
        }
    }

    async fn broken() -> &'static str {
        panic!("a handler that panics")
    }

    #[test]
    fn every_combination_is_there_from_the_start_at_zero() {
        let api = Api::new();

        assert_eq!(
            api.counts(),
            [
                r#"{route="/ads",method="GET",status="200"} 0"#,
                r#"{route="/ads",method="GET",status="500"} 0"#,
                r#"{route="/ads",method="GET",status="503"} 0"#,
                r#"{route="/ads",method="OTHER",status="405"} 0"#,
                r#"{route="/click",method="OTHER",status="405"} 0"#,
                r#"{route="/click",method="POST",status="200"} 0"#,
                r#"{route="/click",method="POST",status="500"} 0"#,
                r#"{route="other",method="OTHER",status="404"} 0"#,
            ]
        );
    }

    #[tokio::test]
    async fn what_a_client_makes_up_adds_no_series() {
        let api = Api::new();
        let series = api.counts().len();

        assert_eq!(api.send("GET", "/ads").await, 200);
        assert_eq!(api.send("HEAD", "/ads").await, 200);
        assert_eq!(api.send("BREW", "/ads").await, 405);
        assert_eq!(api.send("DELETE", "/click").await, 405);
        assert_eq!(api.send("GET", "/wp-admin").await, 404);
        assert_eq!(api.send("BREW", "/ads/7").await, 404);

        let counts = api.counts();
        assert_eq!(counts.len(), series);
        assert!(counts.contains(&r#"{route="/ads",method="GET",status="200"} 2"#.to_owned()));
        assert!(counts.contains(&r#"{route="/ads",method="OTHER",status="405"} 1"#.to_owned()));
        assert!(counts.contains(&r#"{route="/click",method="OTHER",status="405"} 1"#.to_owned()));
        assert!(counts.contains(&r#"{route="other",method="OTHER",status="404"} 2"#.to_owned()));
    }

    #[tokio::test]
    async fn a_handler_that_panics_is_answered_and_counted_as_500() {
        let api = Api::new();

        assert_eq!(api.send("POST", "/click").await, 500);

        let counts = api.counts();
        assert!(counts.contains(&r#"{route="/click",method="POST",status="500"} 1"#.to_owned()));
    }

    #[tokio::test]
    async fn durations_are_exposed_in_seconds() {
        let api = Api::new();

        api.send("GET", "/ads").await;

        let mut text = String::new();
        encode(&mut text, &api.registry).expect("text");
        let line = "http_request_duration_seconds_count";
        let line = format!(r#"{line}{{route="/ads",method="GET",status="200"}} 1"#);
        assert!(text.contains(&line), "{text}");
    }
}
