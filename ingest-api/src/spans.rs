//! The spans of this service, beside those of its requests, by the semantic conventions of messaging.

use rdkafka::producer::future_producer::Delivery;
use service_kit::traces::{Attribute, Begin, Context, Span, SpanKind, TraceContext};

/// An event on its way to Kafka, in the course of `trace`.
pub(crate) fn send(topic: &str, trace: &TraceContext) -> Span {
    let span = Span::begin(|| Begin {
        name: format!("send {topic}").into(),
        kind: SpanKind::Producer,
        parent: trace.as_parent(),
        links: Vec::new(),
    });
    span.say(|| {
        [
            Attribute::new("messaging.system", "kafka"),
            Attribute::new("messaging.operation.name", "send"),
            Attribute::new("messaging.operation.type", "send"),
            Attribute::new("messaging.destination.name", topic.to_owned()),
        ]
    });
    span
}

/// Where Kafka has put it.
pub(crate) fn delivered(send: &Span, delivery: &Delivery) {
    send.say(|| {
        let partition = delivery.partition.to_string();
        [
            Attribute::new("messaging.destination.partition.id", partition),
            Attribute::new("messaging.kafka.offset", delivery.offset),
        ]
    });
}

/// Events that wait for the spool's disk.
pub(crate) fn spool(events: usize) -> Span {
    let span = Span::begin(|| Begin {
        name: "spool".into(),
        kind: SpanKind::Internal,
        parent: Context::current(),
        links: Vec::new(),
    });
    span.say(|| [Attribute::new("ads.events", i64::try_from(events).unwrap_or(i64::MAX))]);
    span
}
