//! The few routes that nearly every request is for, answered without the router.
//!
//! A router goes through all its layers for each request, with a box and a copy of the request for
//! each: that took more than reading, checking and keeping a click (`docs/PERFORMANCE.md`). Here a
//! request meets the same layers, in the same order, as one future.

use std::net::SocketAddr;
use std::pin::pin;

use axum::Router;
use axum::extract::Request;
use axum::http::Method;
use axum::response::Response;
use futures::FutureExt as _;

use super::answer::Answer;
use super::cors::{Additions, Origins};
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
    cross_origin: Additions,
}

impl<R: DirectRoutes> Direct<R> {
    /// Puts `short` in front of `router`, which must answer them alike: `metrics` and `origins` are
    /// those that it has.
    pub fn new(short: R, router: Router, metrics: HttpMetrics, origins: &Origins) -> Self {
        Self { short, router, metrics, cross_origin: Additions::of(origins) }
    }

    fn find(&self, request: &Request) -> Option<(R::Route, &'static str)> {
        self.short.find(request.method(), request.uri().path()).filter(|_| !traces::on())
    }
}

impl<R: DirectRoutes> Answer for Direct<R> {
    async fn answer(&self, request: Request, peer: SocketAddr) -> Response {
        let Some((route, name)) = self.find(&request) else {
            // In a box, or the future of every request would be as large as the router's.
            return Box::pin(self.router.answer(request, peer)).await;
        };
        let (method, named) =
            (request.method().clone(), self.cross_origin.named_in(request.headers()));
        let answering = self.short.answer(route, request, peer).map(|mut response| {
            self.cross_origin.add_to(&mut response, named);
            response
        });
        // Pinned, as whoever takes a future by value has room for it twice, and moves it.
        self.metrics.track(name, &method, pin!(answering)).await
    }
}
