//! A collector of OpenTelemetry, as far as spans go: takes them by OTLP over HTTP and keeps them.

use std::{
    collections::BTreeMap,
    io::Read as _,
    sync::{Arc, Mutex, PoisonError},
};

use axum::{
    Router,
    body::Bytes,
    extract::State,
    http::{HeaderMap, StatusCode},
    routing::post,
};
use flate2::read::GzDecoder;
use opentelemetry_proto::tonic::{
    collector::trace::v1::ExportTraceServiceRequest,
    common::v1::{KeyValue, any_value::Value},
    trace::v1::{ResourceSpans, Span, status::StatusCode as SpanStatus},
};
use prost::Message as _;
use service_kit::{
    http::{self, ServerLimits, ServerMetrics},
    settings::Cidrs,
};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

pub use opentelemetry_proto::tonic::trace::v1::span::SpanKind;

use crate::{ports::free_address, wait::LIMIT};

/// Takes spans from nobody else.
const AUTHORIZATION: &str = "Bearer its-secret";

/// What it wants to be sent, for `OTEL_EXPORTER_OTLP_HEADERS`.
pub const COLLECTOR_HEADERS: &str = "authorization=Bearer%20its-secret";

/// A collector that listens. Dropping it closes it.
#[derive(Debug)]
pub struct Collector {
    endpoint: String,
    received: Received,
    _server: JoinSet<()>,
}

/// What came, and whether it was packed.
type Received = Arc<Mutex<Vec<(bool, ExportTraceServiceRequest)>>>;

/// A span that was received.
#[derive(Clone, Debug)]
pub struct SpanSeen {
    /// `service.name` of who sent it.
    pub service: String,
    pub name: String,
    pub kind: SpanKind,
    pub trace_id: String,
    pub span_id: String,
    /// Empty where it has none.
    pub parent_span_id: String,
    /// Trace, span and `tracestate` of each.
    pub links: Vec<(String, String, String)>,
    pub attributes: BTreeMap<String, String>,
    /// Whether its status is an error.
    pub failed: bool,
}

impl Collector {
    pub async fn start() -> Self {
        let received = Received::default();
        let router =
            Router::new().route("/v1/traces", post(take)).with_state(Arc::clone(&received));
        let listener = http::listen(free_address()).await.expect("a free port");
        let endpoint = format!("http://{}", listener.local_addr().expect("an address"));
        let mut server = JoinSet::new();
        let (metrics, stop) = (ServerMetrics::default(), CancellationToken::new());
        server.spawn(http::serve(listener, router, limits(), metrics, stop));
        Self { endpoint, received, _server: server }
    }

    /// Where it is, for `OTEL_EXPORTER_OTLP_ENDPOINT`.
    pub fn endpoint(&self) -> &str {
        &self.endpoint
    }

    /// Every span that has come so far.
    pub fn spans(&self) -> Vec<SpanSeen> {
        let received = self.received.lock().unwrap_or_else(PoisonError::into_inner);
        received.iter().flat_map(|(_, it)| &it.resource_spans).flat_map(seen).collect()
    }

    /// Tells whether anything came with gzip.
    pub fn unpacked_something(&self) -> bool {
        let received = self.received.lock().unwrap_or_else(PoisonError::into_inner);
        received.iter().any(|(packed, _)| *packed)
    }

    /// Everything that has come so far, as text, to look whether something is not in it.
    pub fn everything(&self) -> String {
        format!("{:?}", self.received.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

async fn take(State(received): State<Received>, headers: HeaderMap, body: Bytes) -> StatusCode {
    let header = |name: &str| headers.get(name).and_then(|it| it.to_str().ok());
    if header("authorization") != Some(AUTHORIZATION) {
        return StatusCode::UNAUTHORIZED;
    }
    if header("content-type") != Some("application/x-protobuf") {
        return StatusCode::UNSUPPORTED_MEDIA_TYPE;
    }
    let packed = header("content-encoding") == Some("gzip");
    let body = if packed { unpacked(&body) } else { body };
    let Ok(request) = ExportTraceServiceRequest::decode(body) else {
        return StatusCode::BAD_REQUEST;
    };
    received.lock().unwrap_or_else(PoisonError::into_inner).push((packed, request));
    // An empty body is an `ExportTraceServiceResponse` of which everything was taken.
    StatusCode::OK
}

fn unpacked(body: &[u8]) -> Bytes {
    let mut plain = Vec::new();
    GzDecoder::new(body).read_to_end(&mut plain).expect("gzip");
    plain.into()
}

fn seen(of_a_process: &ResourceSpans) -> Vec<SpanSeen> {
    let resource = of_a_process.resource.as_ref().expect("a resource");
    let resource = texts(&resource.attributes);
    let service = resource.get("service.name").expect("a name").clone();
    let spans = of_a_process.scope_spans.iter().flat_map(|it| &it.spans);
    spans.map(|it| one(&service, it)).collect()
}

fn one(service: &str, span: &Span) -> SpanSeen {
    let link = |it: &opentelemetry_proto::tonic::trace::v1::span::Link| {
        (hex(&it.trace_id), hex(&it.span_id), it.trace_state.clone())
    };
    SpanSeen {
        service: service.to_owned(),
        name: span.name.clone(),
        kind: span.kind(),
        trace_id: hex(&span.trace_id),
        span_id: hex(&span.span_id),
        parent_span_id: hex(&span.parent_span_id),
        links: span.links.iter().map(link).collect(),
        attributes: texts(&span.attributes),
        failed: span.status.as_ref().is_some_and(|it| it.code() == SpanStatus::Error),
    }
}

fn texts(attributes: &[KeyValue]) -> BTreeMap<String, String> {
    let text = |it: &KeyValue| match it.value.as_ref().and_then(|it| it.value.as_ref()) {
        Some(Value::StringValue(text)) => text.clone(),
        Some(Value::IntValue(number)) => number.to_string(),
        other => format!("{other:?}"),
    };
    attributes.iter().map(|it| (it.key.clone(), text(it))).collect()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|it| format!("{it:02x}")).collect::<Vec<_>>().concat()
}

fn limits() -> ServerLimits {
    ServerLimits {
        header_timeout: LIMIT,
        idle_timeout: LIMIT,
        max_connections: 100,
        max_connections_per_address: 100,
        many_connections: Cidrs::default(),
        max_headers: 100,
        max_head_bytes: 32 * 1024,
        shutdown_grace: LIMIT,
    }
}
