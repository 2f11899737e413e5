//! The W3C trace context: who began what we do, as it travels in headers.

use std::fmt;
use std::num::{NonZeroU64, NonZeroU128};

use axum::http::{HeaderMap, HeaderName};
use opentelemetry::trace::{SpanContext, TraceContextExt as _, TraceState};
use opentelemetry::{Context, SpanId, TraceFlags, TraceId};

/// Name of the header, of a request and of a record on Kafka.
const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");
const TRACESTATE: HeaderName = HeaderName::from_static("tracestate");

/// Length of a version 00 `traceparent`: `00-<32 hex>-<16 hex>-<2 hex>`.
const LEN: usize = 55;

/// The longest `tracestate` that goes on, in bytes. The specification asks for as much.
const MAX_STATE: usize = 512;

/// A span of ours or of somebody else, as those know it who come after it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct TraceContext {
    span: SpanContext,
    /// Written once: it goes on with every record of a batch.
    traceparent: String,
}

impl TraceContext {
    /// The context that a request came with; `None` where it has no well-formed one.
    pub fn of_request(headers: &HeaderMap) -> Option<Self> {
        let mut values = headers.get_all(&TRACEPARENT).iter();
        let traceparent = values.next().filter(|_| values.next().is_none())?.to_str().ok()?;
        let states = headers.get_all(&TRACESTATE).iter();
        let states: Vec<_> = states.filter_map(|it| it.to_str().ok()).collect();
        Self::parse(traceparent, &states.join(","))
    }

    /// Reads both headers; `None` where the first is not well formed. A `tracestate` that is not, or
    /// that is too long, is left out.
    pub fn parse(traceparent: &str, tracestate: &str) -> Option<Self> {
        let (trace, span, flags) = well_formed(traceparent)?;
        let state = Some(tracestate).filter(|it| it.len() <= MAX_STATE);
        let state = state.and_then(|it| it.parse().ok()).unwrap_or(TraceState::NONE);
        let context = SpanContext::new(trace, span, flags, true, state);
        context.is_valid().then(|| Self::from(context))
    }

    /// The root of a new trace, which nobody records: it is not sampled.
    pub fn new_root() -> Self {
        let (trace, span): (NonZeroU128, NonZeroU64) = (rand::random(), rand::random());
        let (trace, span) = (TraceId::from(trace.get()), SpanId::from(span.get()));
        SpanContext::new(trace, span, TraceFlags::NOT_SAMPLED, true, TraceState::NONE).into()
    }

    /// The span that runs now; `None` where there is none, or traces are off.
    pub fn current() -> Option<Self> {
        super::on().then(|| Context::map_current(Self::of)).flatten()
    }

    pub(super) fn of(context: &Context) -> Option<Self> {
        let span = context.span();
        span.span_context().is_valid().then(|| span.span_context().clone().into())
    }

    /// The value of the header `traceparent`.
    pub fn traceparent(&self) -> &str {
        &self.traceparent
    }

    /// The value of the header `tracestate`, which may be empty, and is then left out.
    pub fn tracestate(&self) -> String {
        self.span.trace_state().header()
    }

    /// Tells whether somebody records it.
    pub fn is_sampled(&self) -> bool {
        self.span.is_sampled()
    }

    /// The context in which a child of it begins.
    pub fn as_parent(&self) -> Context {
        Context::new().with_remote_span_context(self.span.clone())
    }

    pub(super) fn into_inner(self) -> SpanContext {
        self.span
    }
}

impl From<SpanContext> for TraceContext {
    fn from(span: SpanContext) -> Self {
        let (trace, id, flags) = (span.trace_id(), span.span_id(), span.trace_flags());
        Self { traceparent: format!("00-{trace:032x}-{id:016x}-{flags:02x}"), span }
    }
}

/// Both headers with a space between them, or the first alone: see [`TraceContext::from_line`].
impl fmt::Display for TraceContext {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.traceparent())?;
        match self.tracestate() {
            state if state.is_empty() => Ok(()),
            state => write!(f, " {state}"),
        }
    }
}

impl TraceContext {
    /// Reads what [`Display`](fmt::Display) writes.
    pub fn from_line(line: &str) -> Option<Self> {
        let (traceparent, tracestate) = line.split_once(' ').unwrap_or((line, ""));
        Self::parse(traceparent, tracestate)
    }
}

/// Reads a header of this version or, as the specification asks, what this version knows of a later
/// one.
fn well_formed(text: &str) -> Option<(TraceId, SpanId, TraceFlags)> {
    let known = text.get(..LEN)?;
    let mut parts = known.split('-');
    let (version, trace, span, flags) =
        (parts.next()?, parts.next()?, parts.next()?, parts.next()?);
    let parts_and_lengths = [(version, 2), (trace, 32), (span, 16), (flags, 2)];
    let shaped =
        parts_and_lengths.iter().all(|(part, len)| part.len() == *len && is_lower_hex(part));
    let ends_here = match version {
        "00" => text.len() == LEN,
        "ff" => false,
        _later => text.len() == LEN || text[LEN..].starts_with('-'),
    };
    if !shaped || !ends_here || parts.next().is_some() {
        return None;
    }
    let flags = TraceFlags::new(u8::from_str_radix(flags, 16).ok()?);
    Some((TraceId::from_hex(trace).ok()?, SpanId::from_hex(span).ok()?, flags))
}

fn is_lower_hex(text: &str) -> bool {
    text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
}

#[cfg(test)]
mod tests {
    use super::*;

    const INCOMING: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

    fn of(headers: &[(HeaderName, &str)]) -> Option<TraceContext> {
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            map.append(name, value.parse().expect("a header"));
        }
        TraceContext::of_request(&map)
    }

    fn from(values: &[&str]) -> Option<String> {
        let headers: Vec<_> = values.iter().map(|it| (TRACEPARENT, *it)).collect();
        of(&headers).map(|it| it.traceparent().to_owned())
    }

    #[test]
    fn a_well_formed_trace_goes_on() {
        assert_eq!(from(&[INCOMING]).as_deref(), Some(INCOMING));
        let unsampled = INCOMING.replace("-01", "-00");
        assert_eq!(from(&[&unsampled]), Some(unsampled));
    }

    #[test]
    fn a_later_version_goes_on_as_the_one_that_is_known() {
        let later = INCOMING.replacen("00", "01", 1);

        assert_eq!(from(&[&later]).as_deref(), Some(INCOMING));
        assert_eq!(from(&[&format!("{later}-more")]).as_deref(), Some(INCOMING));
    }

    #[test]
    fn anything_else_is_none() {
        let malformed = [
            String::new(),
            "00".to_owned(),
            INCOMING.to_uppercase(),
            INCOMING.replacen("00", "ff", 1),
            INCOMING.replace("0af7651916cd43dd8448eb211c80319c", &"0".repeat(32)),
            INCOMING.replace("b7ad6b7169203331", &"0".repeat(16)),
            INCOMING.replace('-', "_"),
            format!("{INCOMING}-more"),
            format!("{}more", INCOMING.replacen("00", "01", 1)),
            INCOMING[..54].to_owned(),
        ];

        for text in &malformed {
            assert_eq!(from(&[text]), None, "{text}");
        }
        assert_eq!(from(&[]), None);
        assert_eq!(from(&[INCOMING, INCOMING]), None, "two headers are none");
    }

    #[test]
    fn what_vendors_say_goes_on_with_it() {
        let state = |states: &[&str]| {
            let states = states.iter().map(|it| (TRACESTATE, *it));
            let headers: Vec<_> = [(TRACEPARENT, INCOMING)].into_iter().chain(states).collect();
            of(&headers).expect("a context").tracestate()
        };

        assert_eq!(state(&["a=1,b@c=2"]), "a=1,b@c=2");
        assert_eq!(state(&["a=1", "b=2"]), "a=1,b=2", "two headers are one list");
        assert_eq!(state(&["no list"]), "");
        assert_eq!(state(&[&format!("a={}", "x".repeat(256))]).len(), 258);
        assert_eq!(state(&[&format!("a={0},b={0}", "x".repeat(256))]), "", "too long");
        assert_eq!(of(&[(TRACESTATE, "a=1")]), None, "alone it means nothing");
    }

    #[test]
    fn every_new_trace_is_another_one_that_nobody_samples() {
        let (one, other) = (TraceContext::new_root(), TraceContext::new_root());

        assert_ne!(one.traceparent(), other.traceparent());
        assert!(one.traceparent().ends_with("-00") && !one.is_sampled());
        assert_eq!(TraceContext::parse(one.traceparent(), ""), Some(one));
    }

    #[test]
    fn a_line_holds_both_headers() {
        for state in ["", "a=1,b=2"] {
            let context = TraceContext::parse(INCOMING, state).expect("a context");
            assert_eq!(TraceContext::from_line(&context.to_string()), Some(context));
        }
        let bare = TraceContext::from_line(INCOMING).expect("as earlier releases wrote it");
        assert_eq!(bare.to_string(), INCOMING);
    }
}
