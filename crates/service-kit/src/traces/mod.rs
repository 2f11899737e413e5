//! Traces: spans of what is done, sent by OTLP to a collector where the operator names one.
//!
//! Off, as they are by default, nothing is made: a [`Span`] is empty then, and what would describe it
//! is not even computed. A service begins a span, and runs what it covers [`around`](Span::around)
//! it; log lines that are written meanwhile carry its ids. Between services a [`TraceContext`]
//! travels, whether traces are on or off.

mod context;
mod exporter;
mod log_lines;
mod sampler;
mod server_spans;
mod settings;
mod span;

use std::sync::OnceLock;
use std::time::Duration;

use anyhow::Context as _;
use opentelemetry::trace::TracerProvider as _;
use opentelemetry::{InstrumentationScope, KeyValue};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::resource::TelemetryResourceDetector;
use opentelemetry_sdk::trace::{
    BatchConfigBuilder, BatchSpanProcessor, SdkTracer, SdkTracerProvider,
};
use tracing::{info, warn};
use uuid::Uuid;

pub use context::TraceContext;
pub(crate) use log_lines::WithIds;
pub use opentelemetry::trace::SpanKind;
pub use opentelemetry::{Context, KeyValue as Attribute};
pub use server_spans::with_server_spans;
pub use settings::Traces;
pub use span::{Begin, Span};

use self::settings::Export;
use crate::Service;

/// How many links a span can have: those of a batch to its events.
pub const MAX_LINKS: usize = 128;

/// Empty where traces are off.
static TRACER: OnceLock<SdkTracer> = OnceLock::new();

/// Tells whether spans are made at all.
pub fn on() -> bool {
    TRACER.get().is_some()
}

/// The way of the spans out of this process.
#[derive(Debug)]
pub struct Outlet(SdkTracerProvider);

/// Begins to make spans, where `traces` says where to send them. To be called once, outside of any
/// runtime, because the exporter has a thread of its own.
///
/// # Errors
///
/// Where the exporter cannot be made.
pub fn init(service: Service, traces: &Traces) -> anyhow::Result<Option<Outlet>> {
    let Some(export) = &traces.export else { return Ok(None) };
    let exporter = exporter::exporter(export).context("making the exporter of spans")?;
    let queue = BatchConfigBuilder::default()
        .with_scheduled_delay(export.schedule_delay)
        .with_max_queue_size(export.max_queue_size)
        .with_max_export_batch_size(export.max_batch_size)
        .build();
    let provider = SdkTracerProvider::builder()
        .with_sampler(sampler::sampler(export.sampling))
        .with_max_links_per_span(u32::try_from(MAX_LINKS).unwrap_or(u32::MAX))
        .with_resource(resource(service, export))
        .with_span_processor(BatchSpanProcessor::builder(exporter).with_batch_config(queue).build())
        .build();

    let scope = InstrumentationScope::builder(service.name).with_version(service.version).build();
    if TRACER.set(provider.tracer_with_scope(scope)).is_err() {
        anyhow::bail!("traces were set up before");
    }
    info!(otlp.endpoint = export.endpoint.origin(), "spans are exported");
    Ok(Some(Outlet(provider)))
}

impl Outlet {
    /// Exports what waits, for `limit` at most. Blocks. No span is exported any more afterwards.
    pub fn close(self, limit: Duration) {
        if let Err(error) = self.0.shutdown_with_timeout(limit) {
            warn!(%error, "the last spans were not exported");
        }
    }
}

/// What the operator says of this process, and what it knows by itself.
fn resource(service: Service, export: &Export) -> Resource {
    let named = export.resource.iter().any(|(key, _)| key == "service.name");
    let name = match &export.service_name {
        Some(name) => Some(name.clone()),
        None => (!named).then(|| service.name.to_owned()),
    };
    Resource::builder_empty()
        .with_detector(Box::new(TelemetryResourceDetector))
        .with_attributes([
            KeyValue::new("service.version", service.version),
            KeyValue::new("service.instance.id", Uuid::new_v4().to_string()),
        ])
        .with_attributes(
            export.resource.iter().map(|(key, value)| KeyValue::new(key.clone(), value.clone())),
        )
        .with_attributes(name.map(|name| KeyValue::new("service.name", name)))
        .build()
}
