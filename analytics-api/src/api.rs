//! The public routes.

use std::{sync::Arc, time::Duration};

use axum::{
    Router,
    body::Bytes,
    extract::{Path, State, rejection::PathRejection},
    http::{HeaderName, Method, header},
    routing::get,
};
use proto_schemas::AdId;
use service_kit::{
    http::{Direct, Load, Origins, cross_origin, with_fallbacks},
    metrics::{HttpMetrics, RouteStatuses},
    openapi::{self, Contract},
    traces::with_server_spans,
};
use utoipa::OpenApi;

use crate::{
    active_ads::{ActiveAd, ActiveAds},
    analytics::AdAnalytics,
    answer::{Answer, DataSource},
    direct::Totals,
    error::{NoVast, Unavailable},
    flight::{Ages, Flight},
    metrics::{Metrics, Route},
    reader::Reader,
    vast::Vast,
};

/// How long a failure may be given to requests that come just after it.
const FAILURE_AGE: Duration = Duration::from_millis(100);

/// Methods that pages of other origins may use.
const METHODS: [Method; 2] = [Method::GET, Method::HEAD];

/// Where players get an ad.
const VAST: &str = "/ads/{id}/vast.xml";

/// Every status that the routes can answer, besides the 405 of other methods.
pub(crate) const ROUTES: [RouteStatuses; 8] = [
    (Route::Ads.path(), Method::GET, &[200, 503]),
    (Route::Analytics.path(), Method::GET, &[200, 503]),
    (VAST, Method::GET, &[200, 404, 503]),
    (Route::Ads.path(), Method::OPTIONS, &[200]),
    (Route::Analytics.path(), Method::OPTIONS, &[200]),
    (VAST, Method::OPTIONS, &[200]),
    openapi::JSON_ROUTE,
    openapi::PAGE_ROUTE,
];

const DESCRIPTION: &str = "\
    How the ads of this pipeline are doing, and the ads themselves for those who show them.\n\n\
    A request that is answered with 503 may be sent again after `Retry-After` seconds. Other methods \
    of a route are answered with 405 and an `Allow` header, other routes with 404; both have the \
    shape of an error, with the codes `method_not_allowed` and `not_found`.";

#[derive(OpenApi)]
#[openapi(
    info(title = "analytics-api", description = DESCRIPTION),
    paths(list_ads, list_analytics, vast),
    components(schemas(DataSource))
)]
struct Described;

/// The contract of the public routes.
pub(crate) fn contract() -> Contract {
    Contract::new(Described::openapi())
}

/// What the handlers need. Shared behind an `Arc`.
pub(crate) struct Api {
    reader: Arc<Reader>,
    totals: Flight<Answer, Unavailable>,
    active_ads: ActiveAds,
    ads: Flight<Answer, Unavailable>,
    vast: Vast,
    metrics: Metrics,
}

impl Api {
    pub(crate) fn new(
        reader: Arc<Reader>,
        active_ads: ActiveAds,
        vast: Vast,
        max_age: Duration,
        metrics: Metrics,
    ) -> Self {
        let totals = Flight::new(Ages { answer: max_age, failure: FAILURE_AGE });
        // Requests at the same time share a read, but a change of an ad shows at once.
        let ads = Flight::new(Ages { answer: Duration::ZERO, failure: FAILURE_AGE });
        Self { reader, totals, active_ads, ads, vast, metrics }
    }
}

/// Returns the public API, limited by `load`, for pages of `origins` too, counted by `http_metrics`.
pub(crate) fn api(
    api: Arc<Api>,
    load: &Load,
    origins: &Origins,
    http_metrics: &HttpMetrics,
) -> Direct<Totals> {
    let totals = Totals { api: Arc::clone(&api), load: load.clone() };
    let router = router(api, load, origins, http_metrics);
    Direct::new(totals, router, http_metrics.clone(), origins)
}

fn router(api: Arc<Api>, load: &Load, origins: &Origins, http_metrics: &HttpMetrics) -> Router {
    let router = Router::new()
        .route(Route::Ads.path(), get(list_ads))
        .route(Route::Analytics.path(), get(list_analytics))
        .route(VAST, get(vast));
    let router = with_fallbacks(load.wrap(router));
    let router = cross_origin(router, origins, METHODS);
    with_server_spans(http_metrics.wrap(router.merge(contract().router()).with_state(api)))
}

/// Lists the ads that are active
#[utoipa::path(
    get,
    tag = "ads",
    path = "/ads",
    responses(
        (
            status = 200,
            description = "Every active ad, by id.",
            body = [ActiveAd<'static>],
            headers(("X-Data-Source" = DataSource, description = "Which store answered.")),
        ),
        Unavailable,
    ),
)]
async fn list_ads(State(api): State<Arc<Api>>) -> Result<Answer, Unavailable> {
    let answer = api.ads.share(|| api.active_ads.read()).await?;
    api.metrics.answered(Route::Ads, answer.source);
    Ok(answer)
}

/// Says how every ad is doing
///
/// Active or not. No number is ever lower than in an earlier answer, or higher than what is stored.
#[utoipa::path(
    get,
    tag = "ads",
    path = "/ads/analytics",
    responses(
        (
            status = 200,
            description = "Every ad, by id. At most `ANALYTICS_MAX_AGE` old (250 ms by default).",
            body = [AdAnalytics],
            headers(("X-Data-Source" = DataSource, description = "Which store answered.")),
        ),
        Unavailable,
    ),
)]
async fn list_analytics(State(api): State<Arc<Api>>) -> Result<Answer, Unavailable> {
    api.analytics().await
}

impl Api {
    /// How every ad is doing.
    pub(crate) async fn analytics(&self) -> Result<Answer, Unavailable> {
        let answer = self.totals.share(|| self.reader.read()).await?;
        self.metrics.answered(Route::Analytics, answer.source);
        Ok(answer)
    }
}

/// Serves an ad to a video player
///
/// As a VAST 4.2 document with one linear creative. Its tracking URLs are of this one serving, so
/// nobody may keep it.
#[utoipa::path(
    get,
    tag = "ads",
    path = "/ads/{id}/vast.xml",
    params(("id" = u64, Path, description = "The ad.", minimum = 1,
            maximum = 9_007_199_254_740_991_u64, example = 1)),
    responses(
        (
            status = 200,
            description = "The document.",
            body = String,
            content_type = "application/xml",
            headers(("Cache-Control" = String, description = "Always `no-store`.")),
            example = "<?xml version=\"1.0\" encoding=\"UTF-8\"?><VAST version=\"4.2\">…</VAST>",
        ),
        NoVast,
    ),
)]
async fn vast(
    State(api): State<Arc<Api>>,
    id: Result<Path<String>, PathRejection>,
) -> Result<([(HeaderName, &'static str); 2], Bytes), NoVast> {
    // What is no id, or not even text, is no ad either.
    let id = id.map_err(|_not_text| NoVast::UnknownAd)?;
    let ad = id.parse().ok().and_then(AdId::new).ok_or(NoVast::UnknownAd)?;
    let document = api.vast.serve(ad).await?;
    let headers = [
        (header::CONTENT_TYPE, "application/xml; charset=utf-8"),
        (header::CACHE_CONTROL, "no-store"),
    ];
    Ok((headers, document))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_contract_has_every_status_of_every_route_and_no_other() {
        let differences = openapi::differences(&ROUTES, &Described::openapi());
        assert_eq!(differences, Vec::<String>::new());
    }
}
