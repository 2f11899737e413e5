//! `POST /ads/click` and `POST /ads/impression`: one event as a JSON object.

use std::{net::SocketAddr, sync::Arc};

use axum::{
    Json,
    extract::{ConnectInfo, Request, State},
    http::{HeaderMap, header},
};
use proto_schemas::{AdEvent, Kind};
use serde::Serialize;
use service_kit::http::read_body;

use crate::{
    api::{Caller, Ingest},
    error::Refusal,
    keeper::Kept,
    report::Report,
};

/// An event has some 200 bytes; the rest is for fields that we do not know.
const MAX_BODY_BYTES: usize = 4096;

/// What the player is told about an event that Kafka or the spool has.
#[derive(Debug, Serialize)]
pub(crate) struct Received {
    message: &'static str,
    /// The dedup key: a retry of the same event gets the same one.
    click_id: String,
}

/// Takes one click, and answers once it is kept.
pub(crate) async fn click(
    State(ingest): State<Arc<Ingest>>,
    ConnectInfo(peer): ConnectInfo<SocketAddr>,
    request: Request,
) -> Result<Json<Received>, Refusal> {
    let click = ingest.counted(Kind::Click, keep(&ingest, Kind::Click, peer, request)).await?;
    Ok(received("Click received", &click))
}

/// Takes one impression, and answers once it is kept.
pub(crate) async fn impression(
    State(ingest): State<Arc<Ingest>>,
    ConnectInfo(peer): ConnectInfo<SocketAddr>,
    request: Request,
) -> Result<Json<Received>, Refusal> {
    let kind = Kind::Impression;
    let impression = ingest.counted(kind, keep(&ingest, kind, peer, request)).await?;
    Ok(received("Impression received", &impression))
}

fn received(message: &'static str, event: &AdEvent) -> Json<Received> {
    Json(Received { message, click_id: event.dedup_key.to_string() })
}

/// Admits, reads and checks a request, and returns its event once it is kept, and where.
async fn keep(
    ingest: &Ingest,
    kind: Kind,
    peer: SocketAddr,
    request: Request,
) -> Result<(AdEvent, Kept), Refusal> {
    let (parts, body) = request.into_parts();
    let client = ingest.trust.client(peer, &parts.headers);
    ingest.admit(kind, client)?;
    require_media_type(&parts.headers)?;

    let body = read_body(body, MAX_BODY_BYTES, ingest.body_timeout).await?;
    let report = Report::from_json(&body)?;
    ingest.keep(kind, &Caller::new(client, &parts.headers), report).await
}

/// JSON, whatever its parameters say: it is UTF-8 or it is refused later. `text/plain` is what
/// `navigator.sendBeacon` and `fetch` send without asking for permission first.
fn require_media_type(headers: &HeaderMap) -> Result<(), Refusal> {
    let value = |name| headers.get(name).map(|it| it.to_str().unwrap_or("not ASCII"));
    let media_type = value(header::CONTENT_TYPE).and_then(|it| it.split(';').next());
    let is_json_or_text = media_type.is_some_and(|it| {
        let it = it.trim();
        it.eq_ignore_ascii_case("application/json") || it.eq_ignore_ascii_case("text/plain")
    });
    let is_plain =
        value(header::CONTENT_ENCODING).is_none_or(|it| it.eq_ignore_ascii_case("identity"));

    if is_json_or_text && is_plain { Ok(()) } else { Err(Refusal::MediaType) }
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderValue;

    use super::*;

    fn accepts(headers: &[(&'static str, &'static str)]) -> bool {
        let mut map = HeaderMap::new();
        for &(name, value) in headers {
            map.insert(name, HeaderValue::from_static(value));
        }
        require_media_type(&map).is_ok()
    }

    #[test]
    fn json_and_plain_text_are_accepted_with_any_parameters() {
        for media_type in [
            "application/json",
            "application/json; charset=utf-8",
            "Application/JSON;charset=\"UTF-8\"",
            "text/plain",
            "text/plain;charset=UTF-8",
        ] {
            assert!(accepts(&[("content-type", media_type)]), "{media_type}");
        }
    }

    #[test]
    fn other_media_types_are_not() {
        assert!(!accepts(&[]));
        for media_type in
            ["", "application/x-www-form-urlencoded", "text/html", "application/jsonp", "text"]
        {
            assert!(!accepts(&[("content-type", media_type)]), "{media_type}");
        }
    }

    #[test]
    fn a_compressed_body_is_not_accepted() {
        let json = ("content-type", "application/json");

        assert!(accepts(&[json, ("content-encoding", "identity")]));
        assert!(!accepts(&[json, ("content-encoding", "gzip")]));
    }
}
