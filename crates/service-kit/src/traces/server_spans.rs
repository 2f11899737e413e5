//! A span for each request, by the semantic conventions of HTTP servers.
//!
//! What could tell who the viewer is stays out: the client's address, the query (which may hold one),
//! the user agent, and the path of a request that no route has.

use axum::Router;
use axum::extract::{MatchedPath, Request};
use axum::http::{Method, Version};
use axum::middleware::{Next, from_fn};
use axum::response::Response;
use opentelemetry::Context;

use super::{Attribute, Begin, Span, SpanKind, TraceContext};

/// Returns `router` with a span around every request, where traces are on.
///
/// Call it last: what is added later has none.
pub fn with_server_spans(router: Router) -> Router {
    if super::on() { router.layer(from_fn(serve)) } else { router }
}

async fn serve(request: Request, next: Next) -> Response {
    let span = begin(&request);
    let response = span.around(next.run(request)).await;
    let status = response.status();
    span.say(|| [Attribute::new("http.response.status_code", i64::from(status.as_u16()))]);
    if status.is_server_error() {
        span.failed(status.as_u16().to_string());
    }
    response
}

fn begin(request: &Request) -> Span {
    let route = request.extensions().get::<MatchedPath>().map(MatchedPath::as_str);
    let method = known(request.method());
    let span = Span::begin(|| {
        let name = match (method, route) {
            (method, Some(route)) => format!("{} {route}", method.unwrap_or("HTTP")).into(),
            (method, None) => method.unwrap_or("HTTP").into(),
        };
        let parent = TraceContext::of_request(request.headers());
        let parent = parent.map_or_else(Context::new, |it| it.as_parent());
        Begin { name, kind: SpanKind::Server, parent, links: Vec::new() }
    });
    span.say(|| {
        [
            Attribute::new("http.request.method", method.unwrap_or("_OTHER")),
            Attribute::new("url.scheme", "http"),
            Attribute::new("network.protocol.version", version(request.version())),
        ]
    });
    if let Some(route) = route {
        span.say(|| {
            [
                Attribute::new("http.route", route.to_owned()),
                Attribute::new("url.path", request.uri().path().to_owned()),
            ]
        });
    }
    span
}

/// The methods that the conventions know; others would be as many as clients can make up.
fn known(method: &Method) -> Option<&'static str> {
    let known = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "CONNECT", "TRACE"];
    known.into_iter().find(|it| *it == method.as_str())
}

fn version(version: Version) -> &'static str {
    match version {
        Version::HTTP_10 => "1.0",
        Version::HTTP_2 => "2",
        _ => "1.1",
    }
}
