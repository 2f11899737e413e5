//! What a player says has happened, from whatever it wrote to something well formed.

mod batch;
mod fields;
mod form;
mod json;
mod macros;
mod query;

use std::{net::IpAddr, time::Duration};

use proto_schemas::{AdId, EventId, Kind, Timestamp};
use service_kit::{openapi::Failure, settings::groups::EventAge};

use crate::contract::failures;

use self::form::{Form, Need};
pub(crate) use self::{
    batch::{InvalidBatch, json_array, json_lines},
    query::Parameters,
};

/// One event as its player reports it: every field is well formed, but the timestamp is not yet
/// compared with our clock.
#[derive(Debug, Eq, PartialEq)]
pub(crate) struct Report {
    pub(crate) ad_id: AdId,
    /// Microseconds since 1970 by the player's clock. `None` only where it has come in a query.
    occurred_at_us: Option<i64>,
    /// The viewer's address, for what the sender's word is worth.
    pub(crate) ip: Option<IpAddr>,
    pub(crate) playback_ms: Option<u32>,
    pub(crate) event_id: Option<EventId>,
}

/// Why something is not an event. The message is shown to the player.
#[derive(Debug, Eq, PartialEq, thiserror::Error)]
pub(crate) enum Invalid {
    #[error("There is nothing where a JSON object should be.")]
    Empty,
    #[error("The event is not UTF-8.")]
    NotUtf8,
    #[error("The event is not JSON (line {line}, column {column}).")]
    NotJson { line: usize, column: usize },
    #[error("The event is JSON, but not an object.")]
    NotAnObject,
    #[error("The query is longer than {} bytes.", query::MAX_BYTES)]
    QueryTooLong,
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
    /// What the player is told, and the field that is at fault.
    pub(crate) fn failure_and_field(&self) -> (Failure, Option<&'static str>) {
        match *self {
            Self::Empty | Self::NotUtf8 | Self::NotJson { .. } | Self::NotAnObject => {
                (failures::INVALID_JSON, None)
            }
            Self::QueryTooLong => (failures::QUERY_TOO_LONG, None),
            Self::Missing(field) => (failures::MISSING_FIELD, Some(field)),
            Self::Duplicate(field) => (failures::DUPLICATE_FIELD, Some(field)),
            Self::Contradiction(field, _) => (failures::CONTRADICTING_FIELDS, Some(field)),
            Self::Field(field, _) => (failures::INVALID_FIELD, Some(field)),
            Self::Ahead(_) => (failures::TIMESTAMP_IN_FUTURE, Some("timestamp")),
            Self::Old(_) => (failures::TIMESTAMP_TOO_OLD, Some("timestamp")),
        }
    }

    #[cfg(test)]
    pub(crate) fn code_and_field(&self) -> (&'static str, Option<&'static str>) {
        let (failure, field) = self.failure_and_field();
        (failure.code, field)
    }
}

impl Report {
    /// Reads a JSON object. Fields that nobody knows are ignored, and one that is null counts as
    /// absent.
    pub(crate) fn from_json(object: &[u8]) -> Result<Self, Invalid> {
        Form::from_json(object)?.report(Need::Required)
    }

    /// Reads a JSON object that says itself what the viewer did. The outer error is for one that does
    /// not even do that.
    pub(crate) fn with_kind_from_json(
        object: &[u8],
    ) -> Result<(Kind, Result<Self, Invalid>), Invalid> {
        let form = Form::from_json(object)?;
        Ok((form.kind()?, form.report(Need::Required)))
    }

    /// Reads the parameters of a query. Those that nobody knows are ignored, and one that a player has
    /// left as the macro it was counts as absent.
    pub(crate) fn from_parameters(parameters: &Parameters<'_>) -> Result<Self, Invalid> {
        Form::from_parameters(parameters)?.report(Need::Optional)
    }

    /// The player's timestamp, if at `received_at` it is neither too new nor too old; without one,
    /// `received_at`.
    pub(crate) fn occurred_at(
        &self,
        received_at: Timestamp,
        limits: &EventAge,
    ) -> Result<Timestamp, Invalid> {
        let Some(occurred_at_us) = self.occurred_at_us else { return Ok(received_at) };
        let (ahead, old) =
            (Invalid::Ahead(limits.max_event_ahead), Invalid::Old(limits.max_event_age));
        let ahead_us = i128::from(occurred_at_us) - i128::from(received_at.as_micros());
        if ahead_us > micros(limits.max_event_ahead) {
            return Err(ahead);
        }
        if -ahead_us > micros(limits.max_event_age) {
            return Err(old);
        }
        let out_of_range = if ahead_us > 0 { ahead } else { old };
        Timestamp::from_micros(occurred_at_us).ok_or(out_of_range)
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

#[cfg(test)]
mod properties;
#[cfg(test)]
mod tests;
