//! Why a request was not answered with success, and the one mapping of it to HTTP.

use std::time::Duration;

use axum::{
    http::{HeaderValue, header},
    response::{IntoResponse, Response},
};
use service_kit::{
    http::{BodyError, CONTENT_CODINGS, error_response},
    openapi::Failure,
};

use crate::{
    contract::failures,
    links::NotFollowed,
    metrics::Outcome,
    producer::NotAcknowledged,
    rate_limit::{Exceeded, Layer},
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
    #[error("There were too many requests from this address{}; see the Retry-After header.", of_which(.0))]
    RateLimited(Exceeded),

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
            Self::RateLimited(_) => Outcome::RateLimited,
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
            Self::RateLimited(exceeded) => Some(exceeded.retry_after),
            Self::NotKept(_) | Self::NotSpooled(_) => Some(RETRY_AFTER),
            Self::MediaType(_)
            | Self::Body(_)
            | Self::Invalid(_)
            | Self::InvalidBatch(_)
            | Self::NotFollowed(_) => None,
        }
    }

    /// What the player is told, and the field that is at fault.
    pub(crate) fn failure_and_field(&self) -> (Failure, Option<&'static str>) {
        let failure = match self {
            Self::RateLimited(_) => failures::RATE_LIMITED,
            Self::MediaType(_) => failures::UNSUPPORTED_MEDIA_TYPE,
            Self::Body(BodyError::TooLarge { .. }) => failures::BODY_TOO_LARGE,
            Self::Body(BodyError::TooSlow { .. }) => failures::BODY_TOO_SLOW,
            Self::Body(BodyError::UnknownCoding) => failures::UNSUPPORTED_ENCODING,
            Self::Body(BodyError::Corrupt(_)) => failures::CORRUPT_BODY,
            Self::Body(BodyError::Broken(_)) => failures::INCOMPLETE_BODY,
            Self::NotFollowed(NotFollowed::NotSetUp) => failures::LINKS_NOT_SET_UP,
            Self::NotFollowed(NotFollowed::Forged) => {
                return (failures::INVALID_SIGNATURE, Some("sig"));
            }
            Self::NotFollowed(NotFollowed::Expired) => {
                return (failures::LINK_EXPIRED, Some("exp"));
            }
            Self::Invalid(invalid) | Self::NotFollowed(NotFollowed::Invalid(invalid)) => {
                return invalid.failure_and_field();
            }
            Self::InvalidBatch(InvalidBatch::TooMany) => failures::TOO_MANY_EVENTS,
            Self::InvalidBatch(_) => failures::INVALID_JSON,
            Self::NotKept(NotAcknowledged::QueueFull)
            | Self::NotSpooled(NotSpooled::Full | NotSpooled::Busy) => failures::OVERLOADED,
            Self::NotKept(_) | Self::NotSpooled(_) => failures::UNAVAILABLE,
        };
        (failure, None)
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let (failure, field) = self.failure_and_field();
        let mut response = error_response(
            failure.status_code(),
            failure.code,
            self.to_string(),
            field,
            self.retry_after(),
        );
        // Some of them, such as 404 and 414, could be kept by a cache otherwise.
        let no_store = HeaderValue::from_static("no-store");
        response.headers_mut().insert(header::CACHE_CONTROL, no_store);
        match self {
            Self::RateLimited(exceeded) => (exceeded.standing, response).into_response(),
            Self::Body(BodyError::UnknownCoding) => {
                let known = HeaderValue::from_static(CONTENT_CODINGS);
                response.headers_mut().insert(header::ACCEPT_ENCODING, known);
                response
            }
            _ => response,
        }
    }
}

impl From<Exceeded> for Refusal {
    fn from(exceeded: Exceeded) -> Self {
        Self::RateLimited(exceeded)
    }
}

fn of_which(exceeded: &Exceeded) -> &'static str {
    match exceeded.layer {
        Layer::Address => "",
        Layer::Ad => " for this ad",
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
