//! The public routes, and what each of them does with an event.

use std::{sync::Arc, time::Duration};

use axum::{
    Router,
    http::{HeaderMap, HeaderValue, Method, header},
    middleware::from_fn_with_state,
    routing::{get, post},
};
use proto_schemas::{AdEvent, DedupKey, DedupWindow, Kind, NewEvent, Timestamp, UserAgent};
use service_kit::{
    http::{Direct, Load, Origins, cross_origin, with_fallbacks},
    metrics::{HttpMetrics, RouteStatuses},
    openapi,
    settings::groups::EventAge,
    traces::{TraceContext, with_server_spans},
};

use crate::{
    client::{Client, Trust},
    contract::contract,
    direct::SingleEvents,
    error::Refusal,
    keeper::{Keeper, Kept},
    links::Links,
    metrics::Metrics,
    overload::{Overload, known_first},
    privacy::{Privacy, asks_for_privacy},
    rate_limit::RateLimits,
    report::{Invalid, Report},
    routes::{batch, click_through, pixel, single},
};

/// Where single clicks are posted.
pub(crate) const CLICK: &str = "/ads/click";

/// Where single impressions are posted.
pub(crate) const IMPRESSION: &str = "/ads/impression";

/// Methods that pages of other origins may use.
const METHODS: [Method; 3] = [Method::GET, Method::HEAD, Method::POST];

/// Every status that the routes can answer, besides the 405 of other methods.
pub(crate) const ROUTES: [RouteStatuses; 13] = [
    (CLICK, Method::POST, &[200, 400, 408, 413, 415, 429, 503]),
    (IMPRESSION, Method::POST, &[200, 400, 408, 413, 415, 429, 503]),
    ("/ads/events", Method::POST, &[200, 400, 408, 413, 415, 429, 503]),
    (CLICK, Method::GET, &[302, 400, 403, 404, 410, 414]),
    ("/ads/click.gif", Method::GET, &[200, 400, 414, 429, 503]),
    ("/ads/impression.gif", Method::GET, &[200, 400, 414, 429, 503]),
    (CLICK, Method::OPTIONS, &[200]),
    (IMPRESSION, Method::OPTIONS, &[200]),
    ("/ads/events", Method::OPTIONS, &[200]),
    ("/ads/click.gif", Method::OPTIONS, &[200]),
    ("/ads/impression.gif", Method::OPTIONS, &[200]),
    openapi::JSON_ROUTE,
    openapi::PAGE_ROUTE,
];

/// What the handlers need. Shared behind an `Arc`.
pub(crate) struct Ingest {
    pub(crate) trust: Trust,
    pub(crate) limits: RateLimits,
    pub(crate) load: Load,
    pub(crate) overload: Overload,
    pub(crate) body_timeout: Duration,
    pub(crate) age_limits: EventAge,
    pub(crate) dedup_window: DedupWindow,
    pub(crate) privacy: Privacy,
    pub(crate) links: Links,
    pub(crate) keeper: Keeper,
    pub(crate) metrics: Metrics,
}

/// What a request says of its sender, for each of its events.
pub(crate) struct Caller {
    client: Client,
    asks_for_privacy: bool,
    user_agent: Option<UserAgent>,
    trace: TraceContext,
}

impl Caller {
    /// Makes it once the request was admitted: it is more work than to refuse one.
    pub(crate) fn new(client: Client, headers: &HeaderMap) -> Self {
        let user_agent = headers.get(header::USER_AGENT).map(HeaderValue::as_bytes);
        Self {
            client,
            asks_for_privacy: asks_for_privacy(headers),
            user_agent: user_agent.and_then(UserAgent::from_header),
            trace: trace(headers),
        }
    }
}

/// Returns the public API, for pages of `origins` too, counted by `http_metrics`.
pub(crate) fn api(
    ingest: &Arc<Ingest>,
    origins: &Origins,
    http_metrics: &HttpMetrics,
) -> Direct<SingleEvents> {
    let router = router(Arc::clone(ingest), origins, http_metrics);
    let singles = SingleEvents(Arc::clone(ingest));
    Direct::new(singles, router, http_metrics.clone(), origins)
}

/// Returns the same without direct routes.
pub(crate) fn router(ingest: Arc<Ingest>, origins: &Origins, http_metrics: &HttpMetrics) -> Router {
    let router = Router::new()
        .route(CLICK, post(single::click))
        .route(IMPRESSION, post(single::impression))
        .route("/ads/events", post(batch::events))
        .route("/ads/click.gif", get(pixel::click).head(pixel::look))
        .route("/ads/impression.gif", get(pixel::impression).head(pixel::look));
    // A viewer who follows a link is led on whatever the load is, so its handler looks at that itself.
    let link = get(click_through::follow).head(click_through::look);
    // Outside of the other limit: an answer that is held takes nobody's place.
    let router = ingest.load.wrap(router);
    let router = router.route_layer(from_fn_with_state(Arc::clone(&ingest), known_first));
    let router = with_fallbacks(router.route(CLICK, link));
    let router = cross_origin(router, origins, METHODS);
    with_server_spans(http_metrics.wrap(router.merge(contract().router()).with_state(ingest)))
}

/// What the records of a request go on from: our span; without one, whoever sent the request; without
/// that, nobody.
fn trace(headers: &HeaderMap) -> TraceContext {
    let upstream = || TraceContext::of_request(headers);
    TraceContext::current().or_else(upstream).unwrap_or_else(TraceContext::new_root)
}

impl Ingest {
    /// Makes a report an event, and returns its key once it is kept, and where.
    ///
    /// Every wait in here has a limit: the producer's, and the spool's.
    pub(crate) async fn keep(
        &self,
        kind: Kind,
        caller: &Caller,
        report: Report,
    ) -> Result<(DedupKey, Kept), Refusal> {
        let event = self.event(kind, caller, report)?;
        let kept = self.keeper.keep(&event, &caller.trace).await?;
        Ok((event.dedup_key, kept))
    }

    /// Keeps several events at once, and says of each who has it; the waits are those of one.
    pub(crate) async fn keep_all(
        &self,
        events: &[AdEvent],
        caller: &Caller,
    ) -> Vec<Result<Kept, Refusal>> {
        self.keeper.keep_all(events, &caller.trace).await
    }

    /// Compares a report with our clock, and decides whose address it carries.
    pub(crate) fn event(
        &self,
        kind: Kind,
        caller: &Caller,
        report: Report,
    ) -> Result<AdEvent, Invalid> {
        let received_at = Timestamp::now();
        let occurred_at = report.occurred_at(received_at, &self.age_limits)?;
        let client = caller.client;
        let address = match report.ip {
            Some(ip) if client.trusted => ip,
            Some(ip) if ip != client.address => {
                self.metrics.address_ignored();
                client.address
            }
            _ => client.address,
        };

        let event = NewEvent {
            kind,
            ad_id: report.ad_id,
            occurred_at,
            received_at,
            address,
            playback_ms: report.playback_ms,
            event_id: report.event_id,
            user_agent: caller.user_agent.clone(),
        };
        let kept = self.privacy.kept(caller.asks_for_privacy);
        Ok(event.into_event_keeping(self.dedup_window, kept))
    }
}
