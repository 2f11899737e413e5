//! One record as one line of JSON.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use proto_schemas::{AdEvent, Timestamp, headers::rfc3339};
use rdkafka::{Message, message::BorrowedMessage};
use serde::Serialize;

use crate::event_json::EventJson;

/// Renders a record: the event in it, or why there is none.
pub(super) fn render(record: &BorrowedMessage<'_>) -> serde_json::Result<String> {
    let value = record.payload().unwrap_or_default();
    match AdEvent::decode(value) {
        Ok(event) => serde_json::to_string(&Line {
            partition: record.partition(),
            offset: record.offset(),
            kafka_timestamp: kafka_timestamp(record),
            event: EventJson::from(&event),
        }),
        Err(error) => serde_json::to_string(&Undecodable {
            partition: record.partition(),
            offset: record.offset(),
            error: error.to_string(),
            value_base64: STANDARD.encode(value),
        }),
    }
}

/// An event and where it is.
#[derive(Serialize)]
struct Line<'a> {
    partition: i32,
    offset: i64,
    kafka_timestamp: Option<String>,
    #[serde(flatten)]
    event: EventJson<'a>,
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
