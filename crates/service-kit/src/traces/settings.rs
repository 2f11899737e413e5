//! The standard variables of OpenTelemetry, as far as they are known here.

use std::num::NonZeroUsize;
use std::time::Duration;

use axum::http::{HeaderName, HeaderValue};
use percent_encoding::percent_decode_str;
use secrecy::SecretString;
use url::Url;

use super::sampler::{Root, Sampling};
use crate::settings::{Settings, Value, Vars};

/// Where a collector takes spans, below the address that is for every kind of telemetry.
const TRACES_PATH: &str = "v1/traces";

/// Whether spans are made, and what becomes of them.
#[derive(Debug)]
pub struct Traces {
    /// `None` where they are off.
    pub(super) export: Option<Export>,
}

/// Where spans go, which ones, and how.
#[derive(Debug)]
pub(super) struct Export {
    pub(super) endpoint: Endpoint,
    pub(super) headers: Vec<(String, SecretString)>,
    pub(super) gzip: bool,
    /// How long one export may take, with everything that is tried again.
    pub(super) timeout: Duration,
    pub(super) service_name: Option<String>,
    pub(super) resource: Vec<(String, String)>,
    pub(super) sampling: Sampling,
    pub(super) schedule_delay: Duration,
    pub(super) max_queue_size: usize,
    pub(super) max_batch_size: usize,
}

impl Settings for Traces {
    fn read(vars: &mut Vars) -> Self {
        let Truth(disabled) = vars.or(
            "OTEL_SDK_DISABLED",
            "false",
            "`true` makes no spans, whatever the other variables say",
        );
        let endpoint = endpoint(vars);
        let headers = headers(vars);
        let gzip = gzip(vars);
        let timeout = timeout(vars);
        let service_name = vars
            .optional("OTEL_SERVICE_NAME", "The service's name in traces; unset: the program's");
        let resource: Option<Pairs> = vars.optional(
            "OTEL_RESOURCE_ATTRIBUTES",
            "What else traces say of this process, such as deployment.environment.name=staging",
        );
        let sampling = sampling(vars);
        let Millis(schedule_delay) =
            vars.or("OTEL_BSP_SCHEDULE_DELAY", "5000", "Milliseconds between two exports of spans");
        let Millis(export_timeout) = vars.or(
            "OTEL_BSP_EXPORT_TIMEOUT",
            "30000",
            "Milliseconds that an export may take; the shorter one of this and the exporter's holds",
        );
        let max_queue_size: NonZeroUsize = vars.or(
            "OTEL_BSP_MAX_QUEUE_SIZE",
            "2048",
            "How many spans may wait for their export; what is more is dropped",
        );
        let max_batch_size: NonZeroUsize =
            vars.or("OTEL_BSP_MAX_EXPORT_BATCH_SIZE", "512", "How many spans are exported at once");
        vars.check(
            "OTEL_BSP_MAX_EXPORT_BATCH_SIZE",
            max_batch_size <= max_queue_size,
            "must be at most OTEL_BSP_MAX_QUEUE_SIZE",
        );

        let export = endpoint.filter(|_| !disabled).map(|endpoint| Export {
            endpoint,
            headers,
            gzip,
            timeout: timeout.min(export_timeout),
            service_name,
            resource: resource.unwrap_or_default().0,
            sampling,
            schedule_delay,
            max_queue_size: max_queue_size.get(),
            max_batch_size: max_batch_size.get(),
        });
        Self { export }
    }
}

fn endpoint(vars: &mut Vars) -> Option<Endpoint> {
    let base: Option<Endpoint> = vars.optional(
        "OTEL_EXPORTER_OTLP_ENDPOINT",
        "Where a collector takes OTLP over HTTP, such as http://127.0.0.1:4318; unset: no traces",
    );
    let own: Option<Endpoint> = vars.optional(
        "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT",
        "The same with its whole path, which is used as it is",
    );
    let Protocol = vars.or(
        "OTEL_EXPORTER_OTLP_PROTOCOL",
        "http/protobuf",
        "How spans are sent; there is no other way than `http/protobuf`",
    );
    let _: Option<Protocol> = vars
        .optional("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "The same for traces; nothing else either");
    own.or(base.map(Endpoint::of_traces))
}

fn headers(vars: &mut Vars) -> Vec<(String, SecretString)> {
    let all: Option<Headers> = vars.optional(
        "OTEL_EXPORTER_OTLP_HEADERS",
        "Headers for the collector, such as authorization=Bearer%20secret, comma-separated",
    );
    let own: Option<Headers> =
        vars.optional("OTEL_EXPORTER_OTLP_TRACES_HEADERS", "The same for traces, instead");
    own.or(all).map(|it| it.0).unwrap_or_default()
}

fn gzip(vars: &mut Vars) -> bool {
    let Compression { gzip: all } =
        vars.or("OTEL_EXPORTER_OTLP_COMPRESSION", "none", "`gzip` packs what is exported");
    let own: Option<Compression> =
        vars.optional("OTEL_EXPORTER_OTLP_TRACES_COMPRESSION", "The same for traces, instead");
    own.map_or(all, |it| it.gzip)
}

fn timeout(vars: &mut Vars) -> Duration {
    let Millis(all) = vars.or(
        "OTEL_EXPORTER_OTLP_TIMEOUT",
        "10000",
        "Milliseconds that one export may take, repetitions included",
    );
    let own: Option<Millis> =
        vars.optional("OTEL_EXPORTER_OTLP_TRACES_TIMEOUT", "The same for traces, instead");
    own.map_or(all, |it| it.0)
}

fn sampling(vars: &mut Vars) -> Sampling {
    let sampler: Sampler = vars.or(
        "OTEL_TRACES_SAMPLER",
        "parentbased_always_on",
        "Which traces are recorded: (parentbased_)always_on, (…)always_off or (…)traceidratio",
    );
    let ratio: Option<Ratio> = vars.optional(
        "OTEL_TRACES_SAMPLER_ARG",
        "For traceidratio: the part of all traces, from 0 to 1; unset: 1",
    );
    let Sampler { parent_based, root } = sampler;
    let root = match (root, ratio) {
        (Root::Ratio(_), Some(Ratio(ratio))) => Root::Ratio(ratio),
        (root, _) => root,
    };
    Sampling { parent_based, root }
}

/// The URL of a collector.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct Endpoint(Url);

impl Endpoint {
    pub(super) fn as_str(&self) -> &str {
        self.0.as_str()
    }

    /// Scheme, host and port: a path may hold a token.
    pub(super) fn origin(&self) -> String {
        self.0.origin().ascii_serialization()
    }

    fn of_traces(mut self) -> Self {
        let base = self.0.path().trim_end_matches('/').to_owned();
        self.0.set_path(&format!("{base}/{TRACES_PATH}"));
        self
    }
}

impl Value for Endpoint {
    // A path or a query may hold a token.
    const SECRET: bool = true;

    fn parse(text: &str) -> Result<Self, String> {
        let url: Url = text.parse().map_err(|_| "is not a URL".to_owned())?;
        match url.scheme() {
            "http" if !url.username().is_empty() || url.password().is_some() => {
                Err("must not hold a password: use OTEL_EXPORTER_OTLP_HEADERS".to_owned())
            }
            "http" => Ok(Self(url)),
            "https" => Err(
                "must be an http:// URL: spans go to a collector near by, and over TLS from there"
                    .to_owned(),
            ),
            _ => Err("must be an http:// URL".to_owned()),
        }
    }
}

/// The one way in which spans are sent.
#[derive(Debug)]
struct Protocol;

impl Value for Protocol {
    fn parse(text: &str) -> Result<Self, String> {
        match text {
            "http/protobuf" => Ok(Self),
            "grpc" | "http/json" => {
                Err("is not supported: use http/protobuf, to port 4318 of a collector".to_owned())
            }
            _ => Err("is not http/protobuf".to_owned()),
        }
    }
}

/// What an export is packed with.
#[derive(Debug)]
struct Compression {
    gzip: bool,
}

impl Value for Compression {
    fn parse(text: &str) -> Result<Self, String> {
        match text {
            "none" => Ok(Self { gzip: false }),
            "gzip" => Ok(Self { gzip: true }),
            _ => Err("is neither none nor gzip".to_owned()),
        }
    }
}

/// `key=value` with commas, values percent-encoded; for the collector alone.
#[derive(Debug)]
struct Headers(Vec<(String, SecretString)>);

impl Value for Headers {
    const SECRET: bool = true;

    fn parse(text: &str) -> Result<Self, String> {
        let Pairs(decoded) = Pairs::parse(text)?;
        let sendable = decoded.iter().all(|(name, value)| {
            HeaderName::from_bytes(name.as_bytes()).is_ok() && HeaderValue::from_str(value).is_ok()
        });
        if !sendable {
            return Err("holds something that is no header".to_owned());
        }
        // As they are written: whoever sends them decodes them.
        let raw = pairs(text).map(|(name, value)| (name.to_owned(), value.into()));
        Ok(Self(raw.collect()))
    }
}

/// `key=value` with commas, values percent-encoded.
#[derive(Debug, Default, Eq, PartialEq)]
struct Pairs(Vec<(String, String)>);

impl Value for Pairs {
    fn parse(text: &str) -> Result<Self, String> {
        let malformed = || "is not a list of key=value, percent-encoded, with commas".to_owned();
        if text.split(',').any(|it| !it.trim().is_empty() && !it.contains('=')) {
            return Err(malformed());
        }
        let decoded = pairs(text).map(|(key, value)| {
            let value = percent_decode_str(value).decode_utf8().ok()?.into_owned();
            Some((key.to_owned(), value))
                .filter(|(key, value)| !key.is_empty() && !value.is_empty())
        });
        decoded.collect::<Option<_>>().map(Self).ok_or_else(malformed)
    }
}

fn pairs(text: &str) -> impl Iterator<Item = (&str, &str)> {
    let pairs = text.split(',').filter_map(|it| it.split_once('='));
    pairs.map(|(key, value)| (key.trim(), value.trim()))
}

/// A sampler by its name.
#[derive(Debug)]
struct Sampler {
    parent_based: bool,
    root: Root,
}

impl Value for Sampler {
    fn parse(text: &str) -> Result<Self, String> {
        let (parent_based, name) = match text.strip_prefix("parentbased_") {
            Some(name) => (true, name),
            None => (false, text),
        };
        let root = match name {
            "always_on" => Root::On,
            "always_off" => Root::Off,
            "traceidratio" => Root::Ratio(1.0),
            "jaeger_remote" | "xray" => return Err("is not supported".to_owned()),
            _ => return Err("is no sampler, such as parentbased_traceidratio".to_owned()),
        };
        Ok(Self { parent_based, root })
    }
}

/// A part of a whole.
#[derive(Debug)]
struct Ratio(f64);

impl Value for Ratio {
    fn parse(text: &str) -> Result<Self, String> {
        let ratio: Option<f64> = text.parse().ok();
        ratio
            .filter(|it| (0.0..=1.0).contains(it))
            .map(Self)
            .ok_or_else(|| "is not a number from 0 to 1".to_owned())
    }
}

/// The standard has no units: it is milliseconds.
#[derive(Debug)]
struct Millis(Duration);

impl Value for Millis {
    fn parse(text: &str) -> Result<Self, String> {
        let millis: Option<u64> = text.parse().ok().filter(|it| (1..=3_600_000).contains(it));
        millis
            .map(|it| Self(Duration::from_millis(it)))
            .ok_or_else(|| "is not a number of milliseconds from 1 to 3600000".to_owned())
    }
}

/// The standard takes it in any case.
#[derive(Debug)]
struct Truth(bool);

impl Value for Truth {
    fn parse(text: &str) -> Result<Self, String> {
        bool::parse(&text.to_ascii_lowercase()).map(Self)
    }
}

#[cfg(test)]
mod tests;
