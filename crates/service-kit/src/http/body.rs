//! Reads a request's body within limits of size and time.

use std::io;
use std::time::Duration;

use axum::body::Body;
use axum::http::HeaderMap;
use bytes::Bytes;
use http_body_util::{BodyExt as _, LengthLimitError, Limited};
use hyper::body::Body as _;
use tokio::time::timeout;

use super::unpack::Coding;

/// Why a body was not read.
#[derive(Debug, thiserror::Error)]
pub enum BodyError {
    /// Answer 413.
    #[error("body is larger than {max_bytes} bytes")]
    TooLarge {
        /// The limit.
        max_bytes: usize,
    },
    /// Answer 408.
    #[error("body did not arrive within {}", humantime::format_duration(*.limit))]
    TooSlow {
        /// The limit.
        limit: Duration,
    },
    /// Answer 415, with [`CONTENT_CODINGS`](super::CONTENT_CODINGS) as `Accept-Encoding`.
    #[error("body is packed in a way that is not known")]
    UnknownCoding,
    /// Answer 400: the body is not what its content coding says.
    #[error("body could not be unpacked")]
    Corrupt(#[source] io::Error),
    /// Answer 400: the body is malformed, or its connection broke.
    #[error("body could not be read")]
    Broken(#[source] axum::Error),
}

/// Reads a whole body and unpacks it. It may have at most `max_bytes`, both as it comes and
/// unpacked, and must arrive within `limit`.
///
/// # Errors
///
/// A `Content-Length` over the limit is refused before anything is read, and before a client that
/// sent `Expect: 100-continue` is told to go on. So is a content coding that is not known.
pub async fn read_body(
    headers: &HeaderMap,
    body: Body,
    max_bytes: usize,
    limit: Duration,
) -> Result<Bytes, BodyError> {
    let coding = Coding::of(headers)?;
    // Not on a thread for blocking work, of which there are hundreds: so few are unpacked at once,
    // and what one of them can cost is bounded.
    coding.unpack(read_packed(body, max_bytes, limit).await?, max_bytes)
}

async fn read_packed(body: Body, max_bytes: usize, limit: Duration) -> Result<Bytes, BodyError> {
    let announced = usize::try_from(body.size_hint().lower()).unwrap_or(usize::MAX);
    if announced > max_bytes {
        return Err(BodyError::TooLarge { max_bytes });
    }

    match timeout(limit, Limited::new(body, max_bytes).collect()).await {
        Ok(Ok(body)) => Ok(body.to_bytes()),
        Ok(Err(error)) if error.is::<LengthLimitError>() => Err(BodyError::TooLarge { max_bytes }),
        Ok(Err(error)) => Err(BodyError::Broken(axum::Error::new(error))),
        Err(_elapsed) => Err(BodyError::TooSlow { limit }),
    }
}
