//! The few routes that nearly every request is for, answered without the router.
//!
//! A router goes through all its layers for each request, with a box and a copy of the request for
//! each: that took more than reading, checking and keeping a click (`docs/PERFORMANCE.md`). Here a
//! request meets the same layers, in the same order, as one future.

use std::convert::Infallible;
use std::net::SocketAddr;

use axum::Router;
use axum::extract::Request;
use axum::http::Method;
use axum::response::Response;
use tower::{Layer as _, ServiceExt as _, service_fn};
use tower_http::cors::CorsLayer;

use super::answer::Answer;
use crate::metrics::HttpMetrics;
use crate::traces;

/// Routes that can be answered without the router.
pub trait DirectRoutes: Send + Sync + 'static {
    /// One of them.
    type Route: Copy + Send + Sync;

    /// The route of a request, and how it is called in the metrics' table; `None` leaves the request to
    /// the router.
    fn find(&self, method: &Method, path: &str) -> Option<(Self::Route, &'static str)>;

    /// Answers a request as the router would, but for what [`Direct`] does itself: counting, headers
    /// for pages of other origins, and a 500 in place of a panic.
    fn answer(
        &self,
        route: Self::Route,
        request: Request,
        peer: SocketAddr,
    ) -> impl Future<Output = Response> + Send;
}

/// A router, and direct routes in front of it. While traces are recorded the router answers
/// everything: it has the spans.
#[derive(Debug)]
pub struct Direct<R> {
    short: R,
    router: Router,
    metrics: HttpMetrics,
    cross_origin: CorsLayer,
}

impl<R: DirectRoutes> Direct<R> {
    /// Puts `short` in front of `router`, which must answer them alike: `metrics` and `cross_origin`
    /// are those that it has.
    pub fn new(short: R, router: Router, metrics: HttpMetrics, cross_origin: CorsLayer) -> Self {
        Self { short, router, metrics, cross_origin }
    }
}

impl<R: DirectRoutes> Answer for Direct<R> {
    async fn answer(&self, request: Request, peer: SocketAddr) -> Response {
        let method = request.method().clone();
        let found = self.short.find(&method, request.uri().path()).filter(|_| !traces::on());
        let Some((route, name)) = found else { return self.router.answer(request, peer).await };
        let answering = move |request| {
            // The one box: what is around it would hold, and move, the whole of it twice.
            let answering = Box::pin(self.short.answer(route, request, peer));
            async { Ok::<_, Infallible>(answering.await) }
        };
        let answering = self.cross_origin.layer(service_fn(answering)).oneshot(request);
        let answering = async {
            match answering.await {
                Ok(response) => response,
                Err(never) => match never {},
            }
        };
        self.metrics.track(name, &method, answering).await
    }
}
