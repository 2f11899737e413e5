//! The admin port: `/livez`, `/readyz` and `/metrics`, never on the public port.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use prometheus_client::encoding::text::encode;
use prometheus_client::registry::Registry;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tracing::error;

use crate::http::{self, ServerLimits, ServerMetrics};
use crate::process::ProcessMetrics;
use crate::readiness::Readiness;

const OPENMETRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// Few, because only probes, Prometheus and operators come here. Prometheus, which asks once a
/// minute, can keep its connection.
fn limits() -> ServerLimits {
    ServerLimits {
        max_connections: 64,
        shutdown_grace: Duration::from_secs(1),
        ..ServerLimits::default()
    }
}

/// Serves the admin port until `shutdown` is cancelled.
///
/// Give it a token that is cancelled only after the service has drained: `/readyz` should answer 503
/// in the meantime, and the last metrics should still be readable.
pub async fn serve(
    listener: TcpListener,
    registry: Registry,
    readiness: Readiness,
    shutdown: CancellationToken,
) {
    let uncounted = ServerMetrics::default();
    http::serve(listener, router(registry, readiness), limits(), uncounted, shutdown).await;
}

/// Returns the routes of the admin port.
///
/// - `/livez`: 200 as long as the process can answer at all.
/// - `/readyz`: 200, or 503 with a line for each reason.
/// - `/metrics`: every metric of `registry`, and what every process tells of itself, as OpenMetrics
///   text.
pub fn router(mut registry: Registry, readiness: Readiness) -> Router {
    registry.register_collector(Box::new(ProcessMetrics { readiness: readiness.clone() }));
    Router::new()
        .route("/livez", get(|| async { "ok\n" }))
        .route("/readyz", get(readyz))
        .with_state(readiness)
        .route("/metrics", get(metrics).with_state(Arc::new(registry)))
}

async fn readyz(State(readiness): State<Readiness>) -> Response {
    match readiness.status() {
        Ok(()) => "ok\n".into_response(),
        Err(reasons) => (StatusCode::SERVICE_UNAVAILABLE, format!("{reasons}\n")).into_response(),
    }
}

async fn metrics(State(registry): State<Arc<Registry>>) -> Response {
    let mut text = String::new();
    match encode(&mut text, &registry) {
        Ok(()) => ([(header::CONTENT_TYPE, OPENMETRICS)], text).into_response(),
        Err(error) => {
            error!(%error, "metrics could not be encoded");
            StatusCode::INTERNAL_SERVER_ERROR.into_response()
        }
    }
}
