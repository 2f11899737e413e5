//! Sends spans by OTLP over HTTP, and drops what cannot be sent.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use opentelemetry_otlp::{
    Compression, Protocol, SpanExporter as Otlp, WithExportConfig as _, WithHttpConfig as _,
};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::error::OTelSdkResult;
use opentelemetry_sdk::trace::{SpanData, SpanExporter};
use secrecy::ExposeSecret as _;
use tracing::{debug, info, warn};

use super::settings::Export;

/// How long nothing may fail until an outage is over, so that one that comes and goes is said once.
const OVER_AFTER: Duration = Duration::from_secs(30);

/// The exporter, with a client that takes nothing from the environment and follows nobody to another
/// address: the headers may hold a secret.
pub(super) fn exporter(export: &Export) -> anyhow::Result<Exporter> {
    let client = reqwest::blocking::Client::builder()
        .timeout(export.timeout)
        .no_proxy()
        .redirect(reqwest::redirect::Policy::none())
        .build()?;
    let headers = export.headers.iter();
    let headers = headers.map(|(name, value)| (name.clone(), value.expose_secret().to_owned()));
    let builder = Otlp::builder().with_http();
    let builder = if export.gzip { builder.with_compression(Compression::Gzip) } else { builder };
    let otlp = builder
        .with_http_client(client)
        .with_protocol(Protocol::HttpBinary)
        .with_endpoint(export.endpoint.as_str())
        .with_timeout(export.timeout)
        .with_headers(headers.collect())
        .build()?;
    Ok(Exporter { otlp, outage: Outage::default() })
}

/// Spans that cannot be sent are lost: they are not worth holding anything up. Each outage is logged
/// when it begins and when it is over.
#[derive(Debug)]
pub(super) struct Exporter {
    otlp: Otlp,
    outage: Outage,
}

#[derive(Debug, Default)]
struct Outage {
    last_failure: Mutex<Option<Instant>>,
    lost: AtomicU64,
}

impl SpanExporter for Exporter {
    async fn export(&self, batch: Vec<SpanData>) -> OTelSdkResult {
        let spans = batch.len() as u64;
        match self.otlp.export(batch).await {
            Ok(()) => {
                if let Some(lost) = self.outage.answered(Instant::now()) {
                    info!(spans.lost = lost, "spans can be exported again");
                }
            }
            Err(error) if self.outage.failed(spans, Instant::now()) => {
                warn!(%error, "spans cannot be exported, and are lost until they can");
            }
            Err(error) => debug!(%error, spans, "spans were not exported"),
        }
        // It is said above, and less often than the SDK would.
        Ok(())
    }

    fn shutdown_with_timeout(&self, timeout: Duration) -> OTelSdkResult {
        if let lost @ 1.. = self.outage.lost.load(Ordering::Relaxed) {
            warn!(spans.lost = lost, "spans could not be exported");
        }
        self.otlp.shutdown_with_timeout(timeout)
    }

    fn force_flush(&self) -> OTelSdkResult {
        self.otlp.force_flush()
    }

    fn set_resource(&mut self, resource: &Resource) {
        self.otlp.set_resource(resource);
    }
}

impl Outage {
    /// Takes in a failure, and says whether an outage begins with it.
    fn failed(&self, spans: u64, now: Instant) -> bool {
        self.lost.fetch_add(spans, Ordering::Relaxed);
        // Whole after every statement under the lock.
        let mut last = self.last_failure.lock().unwrap_or_else(PoisonError::into_inner);
        last.replace(now).is_none()
    }

    /// Takes in an answer, and says where an outage ends with it how many spans were lost so far.
    fn answered(&self, now: Instant) -> Option<u64> {
        let mut last = self.last_failure.lock().unwrap_or_else(PoisonError::into_inner);
        last.take_if(|it| now.duration_since(*it) >= OVER_AFTER)
            .map(|_| self.lost.load(Ordering::Relaxed))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_endpoint_that_answers_and_fails_in_turn_is_one_outage() {
        let (outage, start) = (Outage::default(), Instant::now());
        let after = |seconds| start + Duration::from_secs(seconds);
        assert_eq!(outage.answered(after(0)), None, "there was none");

        assert!(outage.failed(10, after(5)));
        assert_eq!(outage.answered(after(10)), None);
        assert!(!outage.failed(1, after(15)), "said once");
        assert_eq!(outage.answered(after(15) + OVER_AFTER), Some(11));
        assert_eq!(outage.answered(after(16) + OVER_AFTER), None, "said once");
        assert!(outage.failed(1, after(99)), "the next one");
    }
}
