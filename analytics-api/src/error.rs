//! Why a request was not answered with success, and the one mapping of it to HTTP.

use std::{sync::Arc, time::Duration};

use axum::{
    http::StatusCode,
    response::{IntoResponse, Response},
};
use click_store::StoreError;
use service_kit::http::error_response;

/// How long a client should wait before it asks again: about as long as a store takes to come back
/// from a restart.
const RETRY_AFTER: Duration = Duration::from_secs(2);

/// An answer that could not be given. The message is shown to the client; its source is only logged.
#[derive(Clone, Debug, thiserror::Error)]
pub(crate) enum Unavailable {
    #[error("Neither Redis nor Postgres can answer right now; try again later.")]
    NeitherStore {
        /// Why Postgres could not. Shared by all who waited for it.
        #[source]
        postgres: Arc<StoreError>,
    },
}

impl Unavailable {
    /// What the operator is told, and the client is not.
    pub(crate) fn cause(&self) -> &StoreError {
        match self {
            Self::NeitherStore { postgres } => postgres,
        }
    }

    fn parts(&self) -> (StatusCode, &'static str, Option<Duration>) {
        match self {
            Self::NeitherStore { .. } => {
                (StatusCode::SERVICE_UNAVAILABLE, "unavailable", Some(RETRY_AFTER))
            }
        }
    }
}

impl From<StoreError> for Unavailable {
    fn from(postgres: StoreError) -> Self {
        Self::NeitherStore { postgres: Arc::new(postgres) }
    }
}

impl IntoResponse for Unavailable {
    fn into_response(self) -> Response {
        let (status, code, retry_after) = self.parts();
        error_response(status, code, self.to_string(), None, retry_after)
    }
}

/// Why a player gets no VAST document. The message is shown to the client; a source is only logged.
#[derive(Debug, thiserror::Error)]
pub(crate) enum NoVast {
    #[error("There is no such ad.")]
    UnknownAd,
    #[error("This ad is not active.")]
    InactiveAd,
    #[error("This ad has no video.")]
    NoMedia,
    #[error("This server serves no VAST documents.")]
    Off,
    #[error("The ads cannot be read right now; try again later.")]
    Unavailable(#[from] StoreError),
}

impl NoVast {
    fn parts(&self) -> (StatusCode, &'static str, Option<Duration>) {
        match self {
            Self::UnknownAd => (StatusCode::NOT_FOUND, "unknown_ad", None),
            Self::InactiveAd => (StatusCode::NOT_FOUND, "inactive_ad", None),
            Self::NoMedia => (StatusCode::NOT_FOUND, "no_media", None),
            Self::Off => (StatusCode::NOT_FOUND, "vast_off", None),
            Self::Unavailable(_) => {
                (StatusCode::SERVICE_UNAVAILABLE, "unavailable", Some(RETRY_AFTER))
            }
        }
    }
}

impl IntoResponse for NoVast {
    fn into_response(self) -> Response {
        let (status, code, retry_after) = self.parts();
        error_response(status, code, self.to_string(), None, retry_after)
    }
}
