//! Why a request was not answered with success, and the one mapping of it to HTTP.

use std::time::Duration;

use axum::{
    http::{HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use service_kit::http::{BodyError, CONTENT_CODINGS, error_response};

use crate::{
    links::NotFollowed,
    metrics::Outcome,
    producer::NotAcknowledged,
    report::{Invalid, InvalidBatch},
    spool::NotSpooled,
};

/// How long a player should wait before it sends again what could not be kept.
///
/// Long enough for a broker to be elected, short enough for a viewer who is about to leave.
const RETRY_AFTER: Duration = Duration::from_secs(2);

/// An event that was not accepted. The message is shown to the player; its source is only counted.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Refusal {
    #[error("There were too many requests from this address; see the Retry-After header.")]
    RateLimited { retry_after: Duration },

    #[error("The body must be sent as {0}.")]
    MediaType(&'static str),

    #[error("{}", body_message(.0))]
    Body(#[from] BodyError),

    #[error(transparent)]
    Invalid(#[from] Invalid),

    #[error(transparent)]
    InvalidBatch(#[from] InvalidBatch),

    #[error(transparent)]
    NotFollowed(#[from] NotFollowed),

    #[error("The event could not be kept in time; sending it again is safe.")]
    NotKept(#[from] NotAcknowledged),

    #[error("The event could not be kept in time; sending it again is safe.")]
    NotSpooled(#[from] NotSpooled),
}

impl Refusal {
    /// What the metrics make of it.
    pub(crate) fn outcome(&self) -> Outcome {
        match self {
            Self::RateLimited { .. } => Outcome::RateLimited,
            Self::MediaType(_)
            | Self::Body(_)
            | Self::Invalid(_)
            | Self::InvalidBatch(_)
            | Self::NotFollowed(_) => Outcome::Refused,
            Self::NotKept(NotAcknowledged::QueueFull)
            | Self::NotSpooled(NotSpooled::Full | NotSpooled::Busy) => Outcome::Overloaded,
            Self::NotKept(_) | Self::NotSpooled(_) => Outcome::Failed,
        }
    }

    /// Whether the same may be accepted later, and when to send it again.
    pub(crate) fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::RateLimited { retry_after } => Some(*retry_after),
            Self::NotKept(_) | Self::NotSpooled(_) => Some(RETRY_AFTER),
            Self::MediaType(_)
            | Self::Body(_)
            | Self::Invalid(_)
            | Self::InvalidBatch(_)
            | Self::NotFollowed(_) => None,
        }
    }

    /// The code and the field that the player is told.
    pub(crate) fn code_and_field(&self) -> (&'static str, Option<&'static str>) {
        let (_, code, field) = self.parts();
        (code, field)
    }

    fn parts(&self) -> (StatusCode, &'static str, Option<&'static str>) {
        match self {
            Self::RateLimited { .. } => (StatusCode::TOO_MANY_REQUESTS, "rate_limited", None),
            Self::MediaType(_) => {
                (StatusCode::UNSUPPORTED_MEDIA_TYPE, "unsupported_media_type", None)
            }
            Self::Body(BodyError::TooLarge { .. }) => {
                (StatusCode::PAYLOAD_TOO_LARGE, "body_too_large", None)
            }
            Self::Body(BodyError::TooSlow { .. }) => {
                (StatusCode::REQUEST_TIMEOUT, "body_too_slow", None)
            }
            Self::Body(BodyError::UnknownCoding) => {
                (StatusCode::UNSUPPORTED_MEDIA_TYPE, "unsupported_encoding", None)
            }
            Self::Body(BodyError::Corrupt(_)) => (StatusCode::BAD_REQUEST, "corrupt_body", None),
            Self::Body(BodyError::Broken(_)) => (StatusCode::BAD_REQUEST, "incomplete_body", None),
            Self::NotFollowed(NotFollowed::NotSetUp) => {
                (StatusCode::NOT_FOUND, "links_not_set_up", None)
            }
            Self::NotFollowed(NotFollowed::Forged) => {
                (StatusCode::FORBIDDEN, "invalid_signature", Some("sig"))
            }
            Self::NotFollowed(NotFollowed::Expired) => {
                (StatusCode::GONE, "link_expired", Some("exp"))
            }
            Self::Invalid(invalid) | Self::NotFollowed(NotFollowed::Invalid(invalid)) => {
                let status = match invalid {
                    Invalid::QueryTooLong => StatusCode::URI_TOO_LONG,
                    _ => StatusCode::BAD_REQUEST,
                };
                let (code, field) = invalid.code_and_field();
                (status, code, field)
            }
            Self::InvalidBatch(InvalidBatch::TooMany) => {
                (StatusCode::PAYLOAD_TOO_LARGE, "too_many_events", None)
            }
            Self::InvalidBatch(_) => (StatusCode::BAD_REQUEST, "invalid_json", None),
            Self::NotKept(NotAcknowledged::QueueFull)
            | Self::NotSpooled(NotSpooled::Full | NotSpooled::Busy) => {
                (StatusCode::SERVICE_UNAVAILABLE, "overloaded", None)
            }
            Self::NotKept(_) | Self::NotSpooled(_) => {
                (StatusCode::SERVICE_UNAVAILABLE, "unavailable", None)
            }
        }
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let (status, code, field) = self.parts();
        let mut response =
            error_response(status, code, self.to_string(), field, self.retry_after());
        // Some of them, such as 404 and 414, could be kept by a cache otherwise.
        let no_store = HeaderValue::from_static("no-store");
        response.headers_mut().insert(header::CACHE_CONTROL, no_store);
        if let Self::Body(BodyError::UnknownCoding) = self {
            let known = HeaderValue::from_static(CONTENT_CODINGS);
            response.headers_mut().insert(header::ACCEPT_ENCODING, known);
        }
        response
    }
}

fn body_message(error: &BodyError) -> String {
    match error {
        BodyError::TooLarge { max_bytes } => format!("The body is larger than {max_bytes} bytes."),
        BodyError::TooSlow { limit } => {
            format!("The body did not arrive within {} seconds.", limit.as_secs_f32())
        }
        BodyError::UnknownCoding => {
            format!("The body's content encoding must be one of {CONTENT_CODINGS}, or none.")
        }
        BodyError::Corrupt(_) => "The body is not what its content encoding says.".to_owned(),
        BodyError::Broken(_) => "The body could not be read to its end.".to_owned(),
    }
}
