//! The spans of what a request asks of the stores, by the semantic conventions of databases.

use service_kit::traces::{Attribute, Begin, Context, Span, SpanKind};

use crate::guard::Fallback;

/// A command to Redis, in the course of the request that reads for all who wait.
pub(crate) fn redis(command: &'static str) -> Span {
    let span = client(command);
    span.say(|| {
        [Attribute::new("db.system.name", "redis"), Attribute::new("db.operation.name", command)]
    });
    span
}

/// Says why what came of a command could not be used.
pub(crate) fn fell_back(span: &Span, fallback: Fallback) {
    if fallback != Fallback::Absent {
        span.failed(fallback.as_str());
    }
}

/// A query of one table, and the wait for a connection.
pub(crate) fn postgres(name: &'static str, table: &'static str) -> Span {
    let span = client(name);
    span.say(|| {
        [
            Attribute::new("db.system.name", "postgresql"),
            Attribute::new("db.operation.name", "SELECT"),
            Attribute::new("db.collection.name", table),
        ]
    });
    span
}

fn client(name: &'static str) -> Span {
    Span::begin(|| Begin {
        name: name.into(),
        kind: SpanKind::Client,
        parent: Context::current(),
        links: Vec::new(),
    })
}
