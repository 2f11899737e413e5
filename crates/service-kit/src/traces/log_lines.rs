//! Log lines that say which span they were written in.

use std::fmt;

use opentelemetry::Context;
use opentelemetry::trace::{SpanContext, TraceContextExt as _};
use tracing::{Event, Subscriber};
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields};
use tracing_subscriber::registry::LookupSpan;

/// The SDK's own crates. They may log while the current context is locked, when it must not be asked.
const SDK: &str = "opentelemetry";

/// Writes lines as the inner format does, with `trace_id` and `span_id` at the end where a span is
/// current that somebody records.
#[derive(Debug)]
pub(crate) struct WithIds<F>(pub(crate) F);

impl<S, N, F> FormatEvent<S, N> for WithIds<F>
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'w> FormatFields<'w> + 'static,
    F: FormatEvent<S, N>,
{
    fn format_event(
        &self,
        context: &FmtContext<'_, S, N>,
        mut writer: Writer<'_>,
        event: &Event<'_>,
    ) -> fmt::Result {
        let Some(span) = recorded(event) else {
            return self.0.format_event(context, writer, event);
        };
        let mut line = String::new();
        self.0.format_event(context, Writer::new(&mut line), event)?;
        let (trace, span) = (span.trace_id(), span.span_id());
        match line.trim_end().strip_suffix('}') {
            Some(json) if json.starts_with('{') => {
                writeln!(writer, "{json},\"trace_id\":\"{trace}\",\"span_id\":\"{span}\"}}")
            }
            _ => writeln!(writer, "{} trace_id={trace} span_id={span}", line.trim_end()),
        }
    }
}

fn recorded(event: &Event<'_>) -> Option<SpanContext> {
    if !super::on() || event.metadata().target().starts_with(SDK) {
        return None;
    }
    Context::map_current(|it| {
        let span = it.span();
        span.span_context().is_sampled().then(|| span.span_context().clone())
    })
}
