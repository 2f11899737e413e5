//! One record as one line of JSON.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use proto_schemas::{AdEvent, EventId, Timestamp, UserAgent, headers::rfc3339};
use rdkafka::{Message, message::BorrowedMessage};
use serde::Serialize;

/// Renders a record: the event in it, or why there is none.
pub(super) fn render(record: &BorrowedMessage<'_>) -> serde_json::Result<String> {
    let value = record.payload().unwrap_or_default();
    match AdEvent::decode(value) {
        Ok(event) => serde_json::to_string(&Line {
            partition: record.partition(),
            offset: record.offset(),
            kafka_timestamp: kafka_timestamp(record),
            dedup_key: event.dedup_key.to_string(),
            dedup_time: rfc3339(event.dedup_time.timestamp()),
            kind: event.kind.as_str(),
            ad_id: event.ad_id.get(),
            occurred_at: rfc3339(event.occurred_at),
            received_at: rfc3339(event.received_at),
            address: event.address.map(|it| it.to_string()),
            playback_ms: event.playback_ms,
            event_id: event.event_id.as_ref().map(EventId::as_str),
            user_agent: event.user_agent.as_ref().map(UserAgent::as_str),
        }),
        Err(error) => serde_json::to_string(&Undecodable {
            partition: record.partition(),
            offset: record.offset(),
            error: error.to_string(),
            value_base64: STANDARD.encode(value),
        }),
    }
}

/// An event and where it is. Absent values are `null`, so that every line has the same fields.
#[derive(Serialize)]
struct Line<'a> {
    partition: i32,
    offset: i64,
    kafka_timestamp: Option<String>,
    dedup_key: String,
    dedup_time: String,
    kind: &'static str,
    ad_id: u64,
    occurred_at: String,
    received_at: String,
    address: Option<String>,
    playback_ms: Option<u32>,
    event_id: Option<&'a str>,
    user_agent: Option<&'a str>,
}

/// A record that is no event.
#[derive(Serialize)]
struct Undecodable {
    partition: i32,
    offset: i64,
    error: String,
    value_base64: String,
}

/// When Kafka got the record, to the millisecond.
fn kafka_timestamp(record: &BorrowedMessage<'_>) -> Option<String> {
    let micros = record.timestamp().to_millis()?.checked_mul(1000)?;
    Timestamp::from_micros(micros).map(rfc3339)
}
