//! The fields of an event as JSON.

use proto_schemas::{AdEvent, EventId, UserAgent, headers::rfc3339};
use serde::Serialize;

/// An event. Absent values are `null`, so that every line has the same fields.
#[derive(Serialize)]
pub(crate) struct EventJson<'a> {
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

impl<'a> From<&'a AdEvent> for EventJson<'a> {
    fn from(event: &'a AdEvent) -> Self {
        Self {
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
        }
    }
}
