//! The fields of an event as they were written, and what they say.

use std::borrow::Cow;

use proto_schemas::{AdId, Kind};
use serde_json::value::RawValue;

use super::{Invalid, Report, fields, macros};

/// The fields that are known, under every name that they have.
#[derive(Clone, Copy, Debug, Eq, PartialEq, serde::Deserialize)]
#[serde(field_identifier, rename_all = "snake_case")]
pub(super) enum Name {
    AdId,
    Timestamp,
    Ip,
    IpAddress,
    PlaybackTime,
    VideoPlaybackTime,
    EventId,
    /// What the viewer did. It is part of an event only where the route does not say it.
    Type,
    #[serde(other)]
    Other,
}

impl Name {
    const KNOWN: [Self; Self::Other as usize] = [
        Self::AdId,
        Self::Timestamp,
        Self::Ip,
        Self::IpAddress,
        Self::PlaybackTime,
        Self::VideoPlaybackTime,
        Self::EventId,
        Self::Type,
    ];

    /// Finds the field that a query parameter is.
    pub(super) fn of_parameter(name: &str) -> Option<Self> {
        let long = if name == "ts" { "timestamp" } else { name };
        Self::KNOWN.into_iter().find(|it| it.as_str() == long)
    }

    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::AdId => "ad_id",
            Self::Timestamp => "timestamp",
            Self::Ip => "ip",
            Self::IpAddress => "ip_address",
            Self::PlaybackTime => "playback_time",
            Self::VideoPlaybackTime => "video_playback_time",
            Self::EventId => "event_id",
            Self::Type => "type",
            Self::Other => "other",
        }
    }
}

/// What stands in a field.
#[derive(Debug)]
pub(super) enum Value<'a> {
    /// In a member of a JSON object.
    Json(&'a RawValue),
    /// In a query parameter, decoded. Nothing tells a number from a text, and a macro of VAST may have
    /// stood there.
    Parameter(Cow<'a, str>),
}

impl Value<'_> {
    fn ad_id(&self) -> Option<AdId> {
        match self {
            Self::Json(json) => fields::ad_id(json.get()),
            Self::Parameter(text) => fields::ad_id(text),
        }
    }

    fn timestamp(&self) -> Option<i64> {
        match self {
            Self::Json(json) => fields::timestamp(&unquoted(json)?),
            Self::Parameter(text) => macros::timestamp(text),
        }
    }

    fn playback_ms(&self) -> Option<u32> {
        match self {
            Self::Json(json) => fields::playback_ms(json.get()),
            Self::Parameter(text) => macros::playback_ms(text),
        }
    }

    /// The characters of what should be a text.
    fn text(&self) -> Option<Cow<'_, str>> {
        match self {
            Self::Json(json) => unquoted(json),
            Self::Parameter(text) => Some(Cow::Borrowed(text)),
        }
    }

    /// An empty text in an optional field is what a client in Go writes for one that it has not set.
    fn is_empty(&self) -> bool {
        match self {
            Self::Json(json) => json.get() == r#""""#,
            Self::Parameter(text) => text.is_empty(),
        }
    }
}

fn unquoted(json: &RawValue) -> Option<Cow<'_, str>> {
    let text = json.get();
    match text.strip_prefix('"').and_then(|it| it.strip_suffix('"')) {
        // What is not escaped stands for itself. That it is a JSON string was found out before.
        Some(plain) if !plain.contains('\\') => Some(Cow::Borrowed(plain)),
        _ => serde_json::from_str(text).ok().map(Cow::Owned),
    }
}

/// Whether an event must say when it happened.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Need {
    Required,
    Optional,
}

/// The known fields of one event.
#[derive(Debug, Default)]
pub(super) struct Form<'a> {
    /// By [`Name`].
    values: [Option<Value<'a>>; Name::KNOWN.len()],
    seen: [bool; Name::KNOWN.len()],
    seen_twice: [bool; Name::KNOWN.len()],
}

impl<'a> Form<'a> {
    /// Fills in a known field; `None` where it is there and says nothing.
    pub(super) fn fill(&mut self, name: Name, value: Option<Value<'a>>) {
        let field = name as usize;
        self.values[field] = value;
        if std::mem::replace(&mut self.seen[field], true) {
            self.seen_twice[field] = true;
        }
    }

    /// Reads every field.
    ///
    /// `ip` and `playback_time` may also be called `ip_address` and `video_playback_time`. Where both
    /// names are there, they must say the same.
    pub(super) fn report(&self, timestamp: Need) -> Result<Report, Invalid> {
        for name in Name::KNOWN.into_iter().filter(|&it| it != Name::Type) {
            self.at_most_once(name)?;
        }
        let occurred_at_us = match timestamp {
            Need::Required => {
                self.required(Name::Timestamp, Value::timestamp, fields::TIMESTAMP).map(Some)
            }
            Need::Optional => self.optional(Name::Timestamp, Value::timestamp, fields::TIMESTAMP),
        };
        Ok(Report {
            ad_id: self.required(Name::AdId, Value::ad_id, fields::AD_ID)?,
            occurred_at_us: occurred_at_us?,
            ip: self.either(
                [Name::Ip, Name::IpAddress],
                |it| fields::address(&it.text()?),
                fields::ADDRESS,
            )?,
            playback_ms: self.either(
                [Name::PlaybackTime, Name::VideoPlaybackTime],
                Value::playback_ms,
                fields::PLAYBACK,
            )?,
            event_id: self.optional(
                Name::EventId,
                |it| fields::event_id(&it.text()?),
                fields::EVENT_ID,
            )?,
        })
    }

    /// Reads the type.
    pub(super) fn kind(&self) -> Result<Kind, Invalid> {
        self.at_most_once(Name::Type)?;
        let read = |it: &Value<'_>| {
            let text = it.text()?;
            Kind::ALL.into_iter().find(|kind| kind.as_str() == text)
        };
        self.required(Name::Type, read, fields::KIND)
    }

    /// RFC 8259 leaves open which of two members of one name counts, so neither does.
    fn at_most_once(&self, name: Name) -> Result<(), Invalid> {
        if self.seen_twice[name as usize] { Err(Invalid::Duplicate(name.as_str())) } else { Ok(()) }
    }

    fn required<T>(
        &self,
        name: Name,
        read: impl Fn(&Value<'a>) -> Option<T>,
        must_be: &'static str,
    ) -> Result<T, Invalid> {
        let value = self.values[name as usize].as_ref().ok_or(Invalid::Missing(name.as_str()))?;
        read(value).ok_or(Invalid::Field(name.as_str(), must_be))
    }

    fn optional<T>(
        &self,
        name: Name,
        read: impl Fn(&Value<'a>) -> Option<T>,
        must_be: &'static str,
    ) -> Result<Option<T>, Invalid> {
        let Some(value) = self.values[name as usize].as_ref().filter(|it| !it.is_empty()) else {
            return Ok(None);
        };
        read(value).map(Some).ok_or(Invalid::Field(name.as_str(), must_be))
    }

    fn either<T: PartialEq>(
        &self,
        [name, alias]: [Name; 2],
        read: impl Fn(&Value<'a>) -> Option<T>,
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
