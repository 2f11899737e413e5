//! One record of Kafka: an event to count, or the reason why it never will be.

use std::time::Duration;

use click_store::offsets::Anchor;
use proto_schemas::headers::{TRACEPARENT, TRACESTATE};
use proto_schemas::{AdEvent, Kind};
use rdkafka::{
    Message, Timestamp,
    message::{BorrowedMessage, Headers as _},
};
use service_kit::traces::TraceContext;
use sha2::{Digest, Sha256};

/// A record: its content parsed, its bytes untouched.
#[derive(Clone, Debug)]
pub(crate) struct Record {
    pub(crate) offset: i64,
    pub(crate) raw: RawRecord,
    pub(crate) content: Result<AdEvent, Death>,
}

/// A record as Kafka holds it.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub(crate) struct RawRecord {
    /// Kafka's timestamp, milliseconds since 1970; −1 where there is none.
    pub(crate) timestamp_ms: i64,
    pub(crate) key: Option<Box<[u8]>>,
    pub(crate) value: Option<Box<[u8]>>,
}

/// Why a record can never count.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Death {
    pub(crate) reason: DeathReason,
    /// In words, for a person.
    pub(crate) detail: String,
}

/// The reasons for which a record can never count.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub(crate) enum DeathReason {
    /// The bytes are no event.
    Undecodable,
    /// An impression on the topic of clicks, or the other way round.
    WrongTopic,
    /// It was older than `MAX_EVENT_AGE` when it was received.
    TooOld,
    /// It was further ahead than `MAX_EVENT_AHEAD` when it was received.
    TooFarAhead,
    /// Nobody has registered the ad.
    UnknownAd,
    /// Postgres refuses one of its values.
    Refused,
}

impl DeathReason {
    pub(crate) const ALL: [Self; 6] = [
        Self::Undecodable,
        Self::WrongTopic,
        Self::TooOld,
        Self::TooFarAhead,
        Self::UnknownAd,
        Self::Refused,
    ];

    /// The name in dead letters and metrics. It does not change from release to release.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Undecodable => "undecodable",
            Self::WrongTopic => "wrong_topic",
            Self::TooOld => "too_old",
            Self::TooFarAhead => "too_far_ahead",
            Self::UnknownAd => "unknown_ad",
            Self::Refused => "refused",
        }
    }

    pub(crate) fn with(self, detail: impl Into<String>) -> Death {
        Death { reason: self, detail: detail.into() }
    }
}

/// How far an event's own time may lie from the time at which it was received.
///
/// Both times stand in the event. No clock is asked, so that it makes no difference when, or how
/// often, a record is read.
#[derive(Clone, Copy, Debug)]
pub(crate) struct AgeLimits {
    pub(crate) max_age: Duration,
    pub(crate) max_ahead: Duration,
}

impl Record {
    /// Copies a record out of librdkafka's memory and parses it.
    pub(crate) fn read(message: &BorrowedMessage<'_>, kind: Kind, limits: AgeLimits) -> Self {
        let content = parse(message.payload().unwrap_or_default(), kind, limits);
        Self { offset: message.offset(), raw: RawRecord::copy(message), content }
    }
}

/// Who sent a record; `None` where it does not say.
pub(crate) fn trace_of(message: &BorrowedMessage<'_>) -> Option<TraceContext> {
    let headers = message.headers()?;
    let value = |name| {
        let header = headers.iter().find(|it| it.key == name)?;
        std::str::from_utf8(header.value?).ok()
    };
    TraceContext::parse(value(TRACEPARENT)?, value(TRACESTATE).unwrap_or_default())
}

fn parse(value: &[u8], kind: Kind, limits: AgeLimits) -> Result<AdEvent, Death> {
    let event = AdEvent::decode(value)
        .map_err(|invalid| DeathReason::Undecodable.with(invalid.to_string()))?;
    if event.kind != kind {
        let detail = format!("this is the topic of {kind}s, and the event is one {}", event.kind);
        return Err(DeathReason::WrongTopic.with(detail));
    }
    if event.age_when_received() > limits.max_age {
        let detail = format!("it was {:?} old when received", event.age_when_received());
        return Err(DeathReason::TooOld.with(detail));
    }
    if event.ahead_when_received() > limits.max_ahead {
        let detail = format!("it was {:?} ahead when received", event.ahead_when_received());
        return Err(DeathReason::TooFarAhead.with(detail));
    }
    Ok(event)
}

impl RawRecord {
    pub(crate) fn copy(message: &BorrowedMessage<'_>) -> Self {
        Self {
            timestamp_ms: match message.timestamp() {
                Timestamp::CreateTime(ms) | Timestamp::LogAppendTime(ms) => ms,
                Timestamp::NotAvailable => -1,
            },
            key: message.key().map(Into::into),
            value: message.payload().map(Into::into),
        }
    }

    /// Bytes that the record takes in memory, without the parsed event.
    pub(crate) fn size(&self) -> usize {
        self.key.as_ref().map_or(0, |it| it.len()) + self.value.as_ref().map_or(0, |it| it.len())
    }

    /// What Postgres keeps of the last counted record.
    pub(crate) fn anchor(&self) -> Anchor {
        let mut hash = Sha256::new();
        for part in [&self.key, &self.value] {
            // The length goes first, so that bytes cannot move from one part to the other.
            let length = part.as_ref().map_or(-1, |it| it.len().cast_signed() as i64);
            hash.update(length.to_be_bytes());
            hash.update(part.as_deref().unwrap_or_default());
        }
        Anchor { timestamp_ms: self.timestamp_ms, hash: hash.finalize().into() }
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use std::net::Ipv4Addr;

    use proto_schemas::{AdId, DedupWindow, NewEvent, Timestamp as EventTime};

    use super::*;

    const LIMITS: AgeLimits =
        AgeLimits { max_age: Duration::from_hours(1), max_ahead: Duration::from_mins(10) };

    pub(crate) fn event(ad: u64, occurred_s: i64, received_s: i64) -> AdEvent {
        let time = |s: i64| EventTime::from_micros(s * 1_000_000).expect("in range");
        NewEvent {
            kind: Kind::Click,
            ad_id: AdId::new(ad).expect("in range"),
            occurred_at: time(occurred_s),
            received_at: time(received_s),
            address: Ipv4Addr::LOCALHOST.into(),
            playback_ms: None,
            event_id: None,
            user_agent: None,
        }
        .into_event(DedupWindow::MILLISECOND)
    }

    fn parsed(event: &AdEvent, kind: Kind) -> Result<AdEvent, DeathReason> {
        parse(&event.encode(), kind, LIMITS).map_err(|it| it.reason)
    }

    #[test]
    fn a_well_formed_event_is_countable() {
        let event = event(1, 1_000_000, 1_000_005);

        assert_eq!(parsed(&event, Kind::Click), Ok(event));
    }

    #[test]
    fn what_can_never_count_says_why() {
        let (old, ahead) = (event(1, 1_000_000, 1_003_601), event(1, 1_000_601, 1_000_000));

        assert_eq!(parsed(&old, Kind::Click), Err(DeathReason::TooOld));
        assert_eq!(parsed(&ahead, Kind::Click), Err(DeathReason::TooFarAhead));
        assert_eq!(parsed(&event(1, 1, 1), Kind::Impression), Err(DeathReason::WrongTopic));
        assert_eq!(
            parse(b"rubbish", Kind::Click, LIMITS).map_err(|it| it.reason),
            Err(DeathReason::Undecodable)
        );
    }

    #[test]
    fn an_anchor_tells_key_and_value_apart() {
        let raw = |key: &[u8], value: &[u8]| RawRecord {
            timestamp_ms: 1,
            key: Some(key.into()),
            value: Some(value.into()),
        };

        assert_eq!(raw(b"ab", b"c").anchor(), raw(b"ab", b"c").anchor());
        assert_ne!(raw(b"ab", b"c").anchor(), raw(b"a", b"bc").anchor());
        assert_ne!(
            raw(b"", b"").anchor(),
            RawRecord { timestamp_ms: 1, ..RawRecord::default() }.anchor()
        );
    }
}
