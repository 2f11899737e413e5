//! Record headers: what a reader learns without decoding the value.

use time::{OffsetDateTime, format_description::well_known::Rfc3339};

use crate::{AdEvent, Kind, Timestamp};

/// Media type of the value, and the name that says so.
pub const CONTENT_TYPE: (&str, &str) = ("content-type", "application/x-protobuf");

/// Full name of the message in the value.
pub const MESSAGE_TYPE: (&str, &str) = ("message-type", "ads.events.v1.AdEvent");

/// W3C Trace Context, level 1.
pub const TRACEPARENT: &str = "traceparent";

/// What goes with [`TRACEPARENT`] where the tracing systems before us said something; else absent.
pub const TRACESTATE: &str = "tracestate";

/// How many headers a record has at most.
pub const MAX_HEADERS: usize = 10;

/// Names of the headers that a dead letter carries. Its key and value are those of the record that
/// died; that record's own headers can be made anew from its value.
pub mod dead {
    /// Topic of the record that died.
    pub const TOPIC: &str = "dead-topic";
    /// Partition of the record that died, in decimal.
    pub const PARTITION: &str = "dead-partition";
    /// Offset of the record that died, in decimal. Topic, partition and offset identify a dead
    /// letter: the same one may be produced twice.
    pub const OFFSET: &str = "dead-offset";
    /// Why, in `snake_case`: a reason that does not change from release to release.
    pub const REASON: &str = "dead-reason";
    /// Why, in words for a person.
    pub const DETAIL: &str = "dead-detail";
}

/// Adds the headers of an event's record to `all`, one by one: the attributes of CloudEvents 1.0 in its
/// Kafka binding's binary mode (`ce_` names), and `traceparent` and `tracestate`, of which the second
/// may be empty. They are handed out and not returned, so that no event needs a list of its own.
pub fn for_event<All>(
    event: &AdEvent,
    trace: Option<(&str, &str)>,
    all: All,
    mut add: impl FnMut(All, &'static str, &str) -> All,
) -> All {
    let ce_type = match event.kind {
        Kind::Click => "ads.events.v1.click",
        Kind::Impression => "ads.events.v1.impression",
    };
    let mut all = add(all, CONTENT_TYPE.0, CONTENT_TYPE.1);
    all = add(all, MESSAGE_TYPE.0, MESSAGE_TYPE.1);
    all = add(all, "ce_specversion", "1.0");
    all = add(all, "ce_id", event.dedup_key.hexadecimal().as_str());
    all = add(all, "ce_source", "/ads/ingest");
    all = add(all, "ce_type", ce_type);
    all = add(all, "ce_time", &rfc3339(event.occurred_at));
    all = add(all, "ce_subject", &event.ad_id.to_string());
    if let Some((traceparent, tracestate)) = trace {
        all = add(all, TRACEPARENT, traceparent);
        if !tracestate.is_empty() {
            all = add(all, TRACESTATE, tracestate);
        }
    }
    all
}

/// The moment as RFC 3339 has it, in UTC.
pub fn rfc3339(time: Timestamp) -> String {
    let (seconds, micros) = (time.as_micros() / 1_000_000, time.as_micros() % 1_000_000);
    OffsetDateTime::from_unix_timestamp(seconds)
        .ok()
        // Not from nanoseconds, which are 128 bits long: to divide them takes as long as all the rest.
        .and_then(|it| it.replace_microsecond(u32::try_from(micros).ok()?).ok())
        .and_then(|it| it.format(&Rfc3339).ok())
        .unwrap_or_else(|| unreachable!("a timestamp lies between 1970 and 2199"))
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;
    use crate::{AdId, DedupWindow, NewEvent};

    #[test]
    fn a_record_says_what_it_holds() {
        let event = NewEvent {
            kind: Kind::Click,
            ad_id: AdId::new(7).expect("in range"),
            occurred_at: Timestamp::from_micros(1_744_736_100_250_000).expect("in range"),
            received_at: Timestamp::from_micros(1_744_736_101_000_000).expect("in range"),
            address: Ipv4Addr::new(192, 0, 2, 1).into(),
            playback_ms: None,
            event_id: None,
            user_agent: None,
        }
        .into_event(DedupWindow::MILLISECOND);

        let trace = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
        let headers = |tracestate| {
            for_event(&event, Some((trace, tracestate)), Vec::new(), |mut all, name, value| {
                all.push((name, value.to_owned()));
                all
            })
        };

        let all = headers("vendor=said");
        let value = |name| all.iter().find(|it| it.0 == name).map(|it| it.1.as_str());
        assert_eq!(value("content-type"), Some("application/x-protobuf"));
        assert_eq!(value("message-type"), Some("ads.events.v1.AdEvent"));
        assert_eq!(value("ce_type"), Some("ads.events.v1.click"));
        assert_eq!(value("ce_id"), Some(event.dedup_key.to_string().as_str()));
        assert_eq!(value("ce_time"), Some("2025-04-15T16:55:00.25Z"));
        assert_eq!(value("ce_subject"), Some("7"));
        assert_eq!((value("traceparent"), value("tracestate")), (Some(trace), Some("vendor=said")));
        let bare = headers("");
        assert!(bare.iter().all(|it| it.0 != "tracestate"), "{bare:?}");
    }
}
