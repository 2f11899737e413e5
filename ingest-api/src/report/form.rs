//! The fields of an event as they were written, and what they say.

use std::borrow::Cow;

use proto_schemas::Kind;
use serde_json::value::RawValue;

use super::{Invalid, Report, fields};

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

    fn as_str(self) -> &'static str {
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
#[derive(Clone, Copy, Debug)]
pub(super) enum Value<'a> {
    Json(&'a RawValue),
}

impl Value<'_> {
    /// The digits and signs of what should be a number.
    fn number(&self) -> Cow<'_, str> {
        match self {
            Self::Json(json) => Cow::Borrowed(json.get()),
        }
    }

    /// The characters of what should be a text.
    fn text(&self) -> Option<Cow<'_, str>> {
        match self {
            Self::Json(json) => serde_json::from_str(json.get()).ok().map(Cow::Owned),
        }
    }

    /// An empty text in an optional field is what a client in Go writes for one that it has not set.
    fn is_empty(&self) -> bool {
        match self {
            Self::Json(json) => json.get() == r#""""#,
        }
    }
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
    pub(super) fn report(&self) -> Result<Report, Invalid> {
        for name in Name::KNOWN.into_iter().filter(|&it| it != Name::Type) {
            self.at_most_once(name)?;
        }
        Ok(Report {
            ad_id: self.required(Name::AdId, |it| fields::ad_id(&it.number()), fields::AD_ID)?,
            occurred_at_us: self.required(
                Name::Timestamp,
                |it| fields::timestamp(&it.text()?),
                fields::TIMESTAMP,
            )?,
            ip: self.either(
                [Name::Ip, Name::IpAddress],
                |it| fields::address(&it.text()?),
                fields::ADDRESS,
            )?,
            playback_ms: self.either(
                [Name::PlaybackTime, Name::VideoPlaybackTime],
                |it| fields::playback_ms(&it.number()),
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
        let read = |it: Value<'_>| {
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
        read: impl Fn(Value<'a>) -> Option<T>,
        must_be: &'static str,
    ) -> Result<T, Invalid> {
        let value = self.values[name as usize].ok_or(Invalid::Missing(name.as_str()))?;
        read(value).ok_or(Invalid::Field(name.as_str(), must_be))
    }

    fn optional<T>(
        &self,
        name: Name,
        read: impl Fn(Value<'a>) -> Option<T>,
        must_be: &'static str,
    ) -> Result<Option<T>, Invalid> {
        let Some(value) = self.values[name as usize].filter(|it| !it.is_empty()) else {
            return Ok(None);
        };
        read(value).map(Some).ok_or(Invalid::Field(name.as_str(), must_be))
    }

    fn either<T: PartialEq>(
        &self,
        [name, alias]: [Name; 2],
        read: impl Fn(Value<'a>) -> Option<T>,
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
