//! The contract of an API in a machine's words (`/openapi.json`), and for people to read (`/docs`).

mod failure;
mod page;

use std::collections::BTreeSet;

use axum::Router;
use axum::body::Bytes;
use axum::http::{HeaderName, Method, header};
use axum::routing::get;
use utoipa::openapi::{ComponentsBuilder, OpenApi};

pub use failure::{Failure, failures};

use crate::http::method_not_allowed;
use crate::metrics::RouteStatuses;

/// Where the contract is served, for the table of [`HttpMetrics`](crate::metrics::HttpMetrics).
pub const JSON_ROUTE: RouteStatuses = ("/openapi.json", Method::GET, &[200]);
/// The same for the page.
pub const PAGE_ROUTE: RouteStatuses = ("/docs", Method::GET, &[200]);

/// The page has a style of its own, and needs nothing else from anywhere.
const CONTENT_SECURITY_POLICY: (HeaderName, &str) = (
    header::CONTENT_SECURITY_POLICY,
    "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'; \
     frame-ancestors 'none'",
);

/// A contract, rendered once. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Contract {
    json: Bytes,
    page: Bytes,
}

impl Contract {
    /// Renders `openapi`, to which it adds the shape of errors with all codes that it names.
    pub fn new(mut openapi: OpenApi) -> Self {
        let codes = failure::codes(&openapi);
        let components = openapi.components.take().unwrap_or_default();
        let components = ComponentsBuilder::from(components)
            .schema("ErrorCode", failure::code_schema(&codes))
            .schema("Error", failure::error_schema());
        openapi.components = Some(components.build());

        let (Ok(json), Ok(value)) = (openapi.to_pretty_json(), serde_json::to_value(&openapi))
        else {
            unreachable!("the contract is plain data")
        };
        Self { json: (json + "\n").into(), page: page::render(&value).into_string().into() }
    }

    /// `/openapi.json`, byte for byte.
    pub fn json(&self) -> &Bytes {
        &self.json
    }

    /// `/docs`, byte for byte.
    pub fn page(&self) -> &Bytes {
        &self.page
    }

    /// Serves both, to be merged with the router of the API behind its fallbacks and its CORS.
    pub fn router<S: Clone + Send + Sync + 'static>(self) -> Router<S> {
        let Self { json, page } = self;
        let json = get(async move || {
            let is_json = (header::CONTENT_TYPE, "application/json");
            ([is_json, (header::ACCESS_CONTROL_ALLOW_ORIGIN, "*")], json.clone())
        });
        let page = get(async move || {
            let html = (header::CONTENT_TYPE, "text/html; charset=utf-8");
            ([html, CONTENT_SECURITY_POLICY], page.clone())
        });
        let router = Router::new().route(JSON_ROUTE.0, json).route(PAGE_ROUTE.0, page);
        router.method_not_allowed_fallback(method_not_allowed)
    }
}

/// Says where a table of routes and a contract differ: a route, a method or a status that only one of
/// them has. Empty where they agree; the contract's own routes and preflights are in no contract.
pub fn differences(routes: &[RouteStatuses], openapi: &OpenApi) -> Vec<String> {
    let mut served = BTreeSet::new();
    for (path, method, statuses) in routes {
        if [JSON_ROUTE.0, PAGE_ROUTE.0].contains(path) || *method == Method::OPTIONS {
            continue;
        }
        for status in *statuses {
            served.insert(format!("{method} {path} {status}"));
        }
    }
    let mut described = BTreeSet::new();
    for (path, item) in &openapi.paths.paths {
        let operations = [
            (Method::GET, &item.get),
            (Method::POST, &item.post),
            (Method::OPTIONS, &item.options),
        ];
        for (method, operation) in operations {
            let responses = operation.iter().flat_map(|it| it.responses.responses.keys());
            // Every handler may panic, so the table has that status without saying so.
            for status in responses.filter(|it| *it != "500") {
                described.insert(format!("{method} {path} {status}"));
            }
        }
    }
    served.symmetric_difference(&described).cloned().collect()
}
