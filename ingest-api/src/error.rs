//! Why a request was not answered with success, and the one mapping of it to HTTP.

use std::time::Duration;

use axum::{
    http::StatusCode,
    response::{IntoResponse, Response},
};
use service_kit::http::{BodyError, error_response};

use crate::{metrics::Outcome, producer::NotAcknowledged, report::Invalid, spool::NotSpooled};

/// How long a player should wait before it sends again what could not be kept.
///
/// Long enough for a broker to be elected, short enough for a viewer who is about to leave.
const RETRY_AFTER: Duration = Duration::from_secs(2);

/// An event that was not accepted. The message is shown to the player; its source is only counted.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Refusal {
    #[error("There were too many requests from this address; see the Retry-After header.")]
    RateLimited { retry_after: Duration },

    #[error("The body must be sent as application/json or text/plain, without a content encoding.")]
    MediaType,

    #[error("{}", body_message(.0))]
    Body(#[from] BodyError),

    #[error(transparent)]
    Invalid(#[from] Invalid),

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
            Self::MediaType | Self::Body(_) | Self::Invalid(_) => Outcome::Refused,
            Self::NotKept(NotAcknowledged::QueueFull)
            | Self::NotSpooled(NotSpooled::Full | NotSpooled::Busy) => Outcome::Overloaded,
            Self::NotKept(_) | Self::NotSpooled(_) => Outcome::Failed,
        }
    }

    fn parts(&self) -> (StatusCode, &'static str, Option<&'static str>, Option<Duration>) {
        match self {
            Self::RateLimited { retry_after } => {
                (StatusCode::TOO_MANY_REQUESTS, "rate_limited", None, Some(*retry_after))
            }
            Self::MediaType => {
                (StatusCode::UNSUPPORTED_MEDIA_TYPE, "unsupported_media_type", None, None)
            }
            Self::Body(BodyError::TooLarge { .. }) => {
                (StatusCode::PAYLOAD_TOO_LARGE, "body_too_large", None, None)
            }
            Self::Body(BodyError::TooSlow { .. }) => {
                (StatusCode::REQUEST_TIMEOUT, "body_too_slow", None, None)
            }
            Self::Body(BodyError::Broken(_)) => {
                (StatusCode::BAD_REQUEST, "incomplete_body", None, None)
            }
            Self::Invalid(invalid) => {
                let (code, field) = invalid.code_and_field();
                (StatusCode::BAD_REQUEST, code, field, None)
            }
            Self::NotKept(NotAcknowledged::QueueFull)
            | Self::NotSpooled(NotSpooled::Full | NotSpooled::Busy) => {
                (StatusCode::SERVICE_UNAVAILABLE, "overloaded", None, Some(RETRY_AFTER))
            }
            Self::NotKept(_) | Self::NotSpooled(_) => {
                (StatusCode::SERVICE_UNAVAILABLE, "unavailable", None, Some(RETRY_AFTER))
            }
        }
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let (status, code, field, retry_after) = self.parts();
        error_response(status, code, self.to_string(), field, retry_after)
    }
}

fn body_message(error: &BodyError) -> String {
    match error {
        BodyError::TooLarge { max_bytes } => format!("The body is larger than {max_bytes} bytes."),
        BodyError::TooSlow { limit } => {
            format!("The body did not arrive within {} seconds.", limit.as_secs_f32())
        }
        BodyError::Broken(_) => "The body could not be read to its end.".to_owned(),
    }
}
