//! What a client gets with a 200, rendered once for all who share it.

use axum::{
    body::Bytes,
    http::{HeaderName, HeaderValue, header},
    response::{IntoResponse, Response},
};
use serde::Serialize;
use utoipa::ToSchema;

/// Says which store the data came from.
const DATA_SOURCE: HeaderName = HeaderName::from_static("x-data-source");

/// The store that an answer came from.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub(crate) enum Source {
    Redis,
    Postgres,
}

impl Source {
    pub(crate) const ALL: [Self; 2] = [Self::Redis, Self::Postgres];

    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Redis => "redis",
            Self::Postgres => "postgres",
        }
    }
}

/// How the contract has [`Source`].
#[derive(ToSchema)]
#[schema(rename_all = "snake_case")]
#[expect(dead_code, reason = "only described")]
pub(crate) enum DataSource {
    Redis,
    Postgres,
}

/// A body of JSON, and where its data came from. Cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct Answer {
    pub(crate) json: Bytes,
    pub(crate) source: Source,
}

impl IntoResponse for Answer {
    fn into_response(self) -> Response {
        let headers = [
            (header::CONTENT_TYPE, HeaderValue::from_static("application/json")),
            (DATA_SOURCE, HeaderValue::from_static(self.source.as_str())),
        ];
        (headers, self.json).into_response()
    }
}

/// Renders plain data: integers, texts, and structs and arrays of them.
pub(crate) fn to_json<T: Serialize>(data: &T) -> Bytes {
    match serde_json::to_vec(data) {
        Ok(json) => json.into(),
        Err(_) => unreachable!("plain data is always JSON"),
    }
}
