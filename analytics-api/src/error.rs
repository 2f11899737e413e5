//! Why a request was not answered with success, and the one mapping of it to HTTP.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use axum::response::{IntoResponse, Response};
use click_store::StoreError;
use service_kit::{
    http::error_response,
    openapi::{Failure, failures},
};
use utoipa::{IntoResponses, openapi};

/// How long a client should wait before it asks again: about as long as a store takes to come back
/// from a restart.
const RETRY_AFTER: Duration = Duration::from_secs(2);

/// An answer that could not be given. The message is shown to the client; its source is only logged.
#[derive(Clone, Debug, thiserror::Error)]
pub(crate) enum Unavailable {
    #[error("{}", NEITHER_STORE.when)]
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

    fn failure(&self) -> Failure {
        match self {
            Self::NeitherStore { .. } => NEITHER_STORE,
        }
    }
}

const NEITHER_STORE: Failure = Failure::new(
    503,
    "unavailable",
    "Neither Redis nor Postgres can answer right now; try again later.",
)
.passing();

impl IntoResponses for Unavailable {
    fn responses() -> BTreeMap<String, openapi::RefOr<openapi::Response>> {
        failures(&[NEITHER_STORE, Failure::OVERLOADED, Failure::INTERNAL])
    }
}

impl From<StoreError> for Unavailable {
    fn from(postgres: StoreError) -> Self {
        Self::NeitherStore { postgres: Arc::new(postgres) }
    }
}

impl IntoResponse for Unavailable {
    fn into_response(self) -> Response {
        respond(self.failure())
    }
}

/// Why a player gets no VAST document. A source is only logged.
#[derive(Debug, thiserror::Error)]
#[error("{}", self.failure().when)]
pub(crate) enum NoVast {
    UnknownAd,
    InactiveAd,
    NoMedia,
    Off,
    Unavailable(#[from] StoreError),
}

impl NoVast {
    const UNKNOWN_AD: Failure = Failure::new(404, "unknown_ad", "There is no such ad.");
    const INACTIVE_AD: Failure = Failure::new(404, "inactive_ad", "This ad is not active.");
    const NO_MEDIA: Failure = Failure::new(404, "no_media", "This ad has no video.");
    const OFF: Failure = Failure::new(404, "vast_off", "This server serves no VAST documents.");
    const UNAVAILABLE: Failure =
        Failure::new(503, "unavailable", "The ads cannot be read right now; try again later.")
            .passing();

    fn failure(&self) -> Failure {
        match self {
            Self::UnknownAd => Self::UNKNOWN_AD,
            Self::InactiveAd => Self::INACTIVE_AD,
            Self::NoMedia => Self::NO_MEDIA,
            Self::Off => Self::OFF,
            Self::Unavailable(_) => Self::UNAVAILABLE,
        }
    }
}

impl IntoResponses for NoVast {
    fn responses() -> BTreeMap<String, openapi::RefOr<openapi::Response>> {
        failures(&[
            Self::UNKNOWN_AD,
            Self::INACTIVE_AD,
            Self::NO_MEDIA,
            Self::OFF,
            Self::UNAVAILABLE,
            Failure::OVERLOADED,
            Failure::INTERNAL,
        ])
    }
}

impl IntoResponse for NoVast {
    fn into_response(self) -> Response {
        respond(self.failure())
    }
}

fn respond(failure: Failure) -> Response {
    let Failure { code, when, retry, .. } = failure;
    error_response(failure.status_code(), code, when, None, retry.then_some(RETRY_AFTER))
}
