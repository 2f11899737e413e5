//! The public routes.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use axum::{
    Json, Router,
    extract::{ConnectInfo, Request, State},
    http::{HeaderMap, HeaderValue, Method, header},
    routing::post,
};
use proto_schemas::{AdEvent, DedupWindow, Kind, NewEvent, Timestamp, UserAgent};
use serde::Serialize;
use service_kit::{
    http::{read_body, with_fallbacks},
    metrics::{HttpMetrics, RouteStatuses},
    settings::groups::EventAge,
};

use crate::{
    client::{Client, Trust},
    error::Refusal,
    keeper::{Keeper, Kept},
    metrics::{Metrics, Outcome},
    post::{Invalid, Post},
    rate_limit::AddressLimiter,
    trace::traceparent,
};

/// An event has some 200 bytes; the rest is for fields that we do not know.
const MAX_BODY_BYTES: usize = 4096;

/// Every status that the routes can answer, besides the 405 of other methods.
pub(crate) const ROUTES: [RouteStatuses; 2] = [
    ("/ads/click", Method::POST, &[200, 400, 408, 413, 415, 429, 503]),
    ("/ads/impression", Method::POST, &[200, 400, 408, 413, 415, 429, 503]),
];

/// What the handlers need. Shared behind an `Arc`.
pub(crate) struct Ingest {
    pub(crate) trust: Trust,
    pub(crate) click_limiter: AddressLimiter,
    pub(crate) impression_limiter: AddressLimiter,
    pub(crate) body_timeout: Duration,
    pub(crate) age_limits: EventAge,
    pub(crate) dedup_window: DedupWindow,
    pub(crate) keeper: Keeper,
    pub(crate) metrics: Metrics,
}

/// Returns the public API, counted by `http_metrics`.
pub(crate) fn router(ingest: Arc<Ingest>, http_metrics: &HttpMetrics) -> Router {
    let router =
        Router::new().route("/ads/click", post(click)).route("/ads/impression", post(impression));
    http_metrics.wrap(with_fallbacks(router).with_state(ingest))
}

/// What the player is told about an event that Kafka or the spool has.
#[derive(Debug, Serialize)]
struct Received {
    message: &'static str,
    /// The dedup key: a retry of the same event gets the same one.
    click_id: String,
}

/// Takes one click, and answers once it is kept.
async fn click(
    State(ingest): State<Arc<Ingest>>,
    ConnectInfo(peer): ConnectInfo<SocketAddr>,
    request: Request,
) -> Result<Json<Received>, Refusal> {
    let event = ingest.keep_and_count(Kind::Click, peer, request).await?;
    Ok(Json(Received { message: "Click received", click_id: event.dedup_key.to_string() }))
}

/// Takes one impression, and answers once it is kept.
async fn impression(
    State(ingest): State<Arc<Ingest>>,
    ConnectInfo(peer): ConnectInfo<SocketAddr>,
    request: Request,
) -> Result<Json<Received>, Refusal> {
    let event = ingest.keep_and_count(Kind::Impression, peer, request).await?;
    Ok(Json(Received { message: "Impression received", click_id: event.dedup_key.to_string() }))
}

impl Ingest {
    pub(crate) fn limiter(&self, kind: Kind) -> &AddressLimiter {
        match kind {
            Kind::Click => &self.click_limiter,
            Kind::Impression => &self.impression_limiter,
        }
    }

    /// Keeps an event, and counts what became of the request.
    async fn keep_and_count(
        &self,
        kind: Kind,
        peer: SocketAddr,
        request: Request,
    ) -> Result<AdEvent, Refusal> {
        let arrived = self.metrics.arrived(kind);
        let kept = self.keep(kind, peer, request).await;
        arrived.became(match &kept {
            Ok((_, Kept::Kafka)) => Outcome::Received,
            Ok((_, Kept::Spool)) => Outcome::Spooled,
            Err(refusal) => refusal.outcome(),
        });
        kept.map(|(event, _)| event)
    }

    /// Admits, reads and checks a request, and returns its event once it is kept, and where.
    ///
    /// Every wait in here has a limit: the body's, the producer's, and the spool's.
    async fn keep(
        &self,
        kind: Kind,
        peer: SocketAddr,
        request: Request,
    ) -> Result<(AdEvent, Kept), Refusal> {
        let (parts, body) = request.into_parts();
        let client = self.trust.client(peer, &parts.headers);
        self.admit(kind, client)?;
        require_media_type(&parts.headers)?;

        let body = read_body(body, MAX_BODY_BYTES, self.body_timeout).await?;
        let event = self.event(kind, client, &parts.headers, Post::parse(&body)?)?;

        let kept = self.keeper.keep(&event, &traceparent(&parts.headers)).await?;
        Ok((event, kept))
    }

    /// Takes the request off its address's allowance.
    ///
    /// Before anything is read, and whether it turns out to be valid or not: the limit is there to
    /// protect us, and malformed requests cost as much as others.
    fn admit(&self, kind: Kind, client: Client) -> Result<(), Refusal> {
        if client.trusted {
            return Ok(());
        }
        self.limiter(kind)
            .admit(client.address)
            .map_err(|retry_after| Refusal::RateLimited { retry_after })
    }

    /// Compares the post with our clock, and decides whose address it carries.
    fn event(
        &self,
        kind: Kind,
        client: Client,
        headers: &HeaderMap,
        post: Post,
    ) -> Result<AdEvent, Invalid> {
        let received_at = Timestamp::now();
        let occurred_at = post.occurred_at(received_at, &self.age_limits)?;
        let address = match post.ip {
            Some(ip) if client.trusted => ip,
            Some(ip) if ip != client.address => {
                self.metrics.address_ignored();
                client.address
            }
            _ => client.address,
        };
        let user_agent = headers.get(header::USER_AGENT).map(HeaderValue::as_bytes);

        let event = NewEvent {
            kind,
            ad_id: post.ad_id,
            occurred_at,
            received_at,
            address,
            playback_ms: post.playback_ms,
            event_id: post.event_id,
            user_agent: user_agent.and_then(UserAgent::from_header),
        };
        Ok(event.into_event(self.dedup_window))
    }
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
