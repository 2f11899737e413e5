//! The body of a request: JSON in, something well formed out.

use std::{fmt, net::IpAddr, time::Duration};

use proto_schemas::{AdId, EventId, Timestamp};
use serde::de::{Deserialize, Deserializer, IgnoredAny, MapAccess, Visitor};
use serde_json::{error::Category, value::RawValue};
use service_kit::settings::groups::EventAge;

use crate::fields;

/// What a player posted: every field is well formed, but the timestamp is not yet compared with
/// our clock.
#[derive(Debug, Eq, PartialEq)]
pub(crate) struct Post {
    pub(crate) ad_id: AdId,
    /// Microseconds since 1970 by the player's clock.
    occurred_at_us: i64,
    /// The viewer's address, for what the sender's word is worth.
    pub(crate) ip: Option<IpAddr>,
    pub(crate) playback_ms: Option<u32>,
    pub(crate) event_id: Option<EventId>,
}

/// Why a body is not an event. The message is shown to the player.
#[derive(Debug, Eq, PartialEq, thiserror::Error)]
pub(crate) enum Invalid {
    #[error("The body is empty; it must be a JSON object.")]
    Empty,
    #[error("The body is not UTF-8.")]
    NotUtf8,
    #[error("The body is not JSON (line {line}, column {column}).")]
    NotJson { line: usize, column: usize },
    #[error("The body is JSON, but not an object.")]
    NotAnObject,
    #[error("The field {0} is missing.")]
    Missing(&'static str),
    #[error("The field {0} stands there twice.")]
    Duplicate(&'static str),
    #[error("The fields {0} and {1} are two names of one thing, and say different things.")]
    Contradiction(&'static str, &'static str),
    #[error("The field {0} must be {1}.")]
    Field(&'static str, &'static str),
    #[error("The timestamp lies more than {} in the future.", in_words(*.0))]
    Ahead(Duration),
    #[error("The timestamp is older than {}.", in_words(*.0))]
    Old(Duration),
}

impl Invalid {
    /// The code and the field that the player is told.
    pub(crate) fn code_and_field(&self) -> (&'static str, Option<&'static str>) {
        match *self {
            Self::Empty | Self::NotUtf8 | Self::NotJson { .. } | Self::NotAnObject => {
                ("invalid_json", None)
            }
            Self::Missing(field) => ("missing_field", Some(field)),
            Self::Duplicate(field) => ("duplicate_field", Some(field)),
            Self::Contradiction(field, _) => ("contradicting_fields", Some(field)),
            Self::Field(field, _) => ("invalid_field", Some(field)),
            Self::Ahead(_) => ("timestamp_in_future", Some("timestamp")),
            Self::Old(_) => ("timestamp_too_old", Some("timestamp")),
        }
    }
}

impl Post {
    /// Reads a body. Fields that nobody knows are ignored, and one that is null counts as absent.
    ///
    /// The `ip` and `playback_time` of the API may also be called `ip_address` and
    /// `video_playback_time`. Where both names are there, they must say the same.
    pub(crate) fn parse(body: &[u8]) -> Result<Self, Invalid> {
        let members = Members::parse(body)?;
        Ok(Self {
            ad_id: members.required(Name::AdId, fields::ad_id, fields::AD_ID)?,
            occurred_at_us: members.required(
                Name::Timestamp,
                fields::timestamp,
                fields::TIMESTAMP,
            )?,
            ip: members.either([Name::Ip, Name::IpAddress], fields::address, fields::ADDRESS)?,
            playback_ms: members.either(
                [Name::PlaybackTime, Name::VideoPlaybackTime],
                fields::playback_ms,
                fields::PLAYBACK,
            )?,
            event_id: members.optional(Name::EventId, fields::event_id, fields::EVENT_ID)?,
        })
    }

    /// The player's timestamp, if at `received_at` it is neither too new nor too old.
    pub(crate) fn occurred_at(
        &self,
        received_at: Timestamp,
        limits: &EventAge,
    ) -> Result<Timestamp, Invalid> {
        let (ahead, old) =
            (Invalid::Ahead(limits.max_event_ahead), Invalid::Old(limits.max_event_age));
        let ahead_us = i128::from(self.occurred_at_us) - i128::from(received_at.as_micros());
        if ahead_us > micros(limits.max_event_ahead) {
            return Err(ahead);
        }
        if -ahead_us > micros(limits.max_event_age) {
            return Err(old);
        }
        let out_of_range = if ahead_us > 0 { ahead } else { old };
        Timestamp::from_micros(self.occurred_at_us).ok_or(out_of_range)
    }
}

fn micros(duration: Duration) -> i128 {
    i128::try_from(duration.as_micros()).unwrap_or(i128::MAX)
}

/// A limit as a person would say it, to the unit that divides it.
fn in_words(limit: Duration) -> String {
    let secs = limit.as_secs();
    match secs {
        0 => format!("{} milliseconds", limit.as_millis()),
        _ if secs.is_multiple_of(86_400) => format!("{} days", secs / 86_400),
        _ if secs.is_multiple_of(3600) => format!("{} hours", secs / 3600),
        _ if secs.is_multiple_of(60) => format!("{} minutes", secs / 60),
        _ => format!("{secs} seconds"),
    }
}

/// The fields that are known, under every name that they have.
#[derive(Clone, Copy, serde::Deserialize)]
#[serde(field_identifier, rename_all = "snake_case")]
enum Name {
    AdId,
    Timestamp,
    Ip,
    IpAddress,
    PlaybackTime,
    VideoPlaybackTime,
    EventId,
    #[serde(other)]
    Other,
}

impl Name {
    const KNOWN: usize = Self::Other as usize;

    fn as_str(self) -> &'static str {
        match self {
            Self::AdId => "ad_id",
            Self::Timestamp => "timestamp",
            Self::Ip => "ip",
            Self::IpAddress => "ip_address",
            Self::PlaybackTime => "playback_time",
            Self::VideoPlaybackTime => "video_playback_time",
            Self::EventId => "event_id",
            Self::Other => "other",
        }
    }
}

/// An object's known members as JSON text, each at most once.
///
/// Written by hand because a derived struct would also read an array, and would read numbers as
/// floating point.
#[derive(Default)]
struct Members<'a> {
    /// By [`Name`]; `None` for null too.
    values: [Option<&'a RawValue>; Name::KNOWN],
    seen: [bool; Name::KNOWN],
    duplicate: Option<Name>,
}

impl<'a> Members<'a> {
    fn parse(body: &'a [u8]) -> Result<Self, Invalid> {
        let text = str::from_utf8(body).map_err(|_| Invalid::NotUtf8)?;
        if text.trim().is_empty() {
            return Err(Invalid::Empty);
        }
        let members: Self = serde_json::from_str(text).map_err(|error| match error.classify() {
            Category::Data => Invalid::NotAnObject,
            Category::Syntax | Category::Eof | Category::Io => {
                Invalid::NotJson { line: error.line(), column: error.column() }
            }
        })?;
        // RFC 8259 leaves open which of two counts, so neither does.
        match members.duplicate {
            Some(name) => Err(Invalid::Duplicate(name.as_str())),
            None => Ok(members),
        }
    }

    fn required<T>(
        &self,
        name: Name,
        read: impl Fn(&str) -> Option<T>,
        must_be: &'static str,
    ) -> Result<T, Invalid> {
        let json = self.values[name as usize].ok_or(Invalid::Missing(name.as_str()))?;
        read(json.get()).ok_or(Invalid::Field(name.as_str(), must_be))
    }

    /// Reads a field that may be absent. An empty text counts as absent: it is what a client in Go
    /// writes for a field that it has not set.
    fn optional<T>(
        &self,
        name: Name,
        read: impl Fn(&str) -> Option<T>,
        must_be: &'static str,
    ) -> Result<Option<T>, Invalid> {
        let json = self.values[name as usize].filter(|it| it.get() != r#""""#);
        let Some(json) = json else { return Ok(None) };
        read(json.get()).map(Some).ok_or(Invalid::Field(name.as_str(), must_be))
    }

    fn either<T: PartialEq>(
        &self,
        [name, alias]: [Name; 2],
        read: impl Fn(&str) -> Option<T>,
        must_be: &'static str,
    ) -> Result<Option<T>, Invalid> {
        match (self.optional(name, &read, must_be)?, self.optional(alias, &read, must_be)?) {
            (Some(one), Some(other)) if one != other => {
                Err(Invalid::Contradiction(name.as_str(), alias.as_str()))
            }
            (one, other) => Ok(one.or(other)),
        }
    }
}

impl<'de> Deserialize<'de> for Members<'de> {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        struct Object;

        impl<'de> Visitor<'de> for Object {
            type Value = Members<'de>;

            fn expecting(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
                out.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut members = Members::default();
                while let Some(name) = map.next_key::<Name>()? {
                    if let Name::Other = name {
                        map.next_value::<IgnoredAny>()?;
                        continue;
                    }
                    members.values[name as usize] = map.next_value()?;
                    if std::mem::replace(&mut members.seen[name as usize], true) {
                        members.duplicate = Some(name);
                    }
                }
                Ok(members)
            }
        }

        from.deserialize_map(Object)
    }
}

#[cfg(test)]
#[path = "post_tests.rs"]
mod tests;
