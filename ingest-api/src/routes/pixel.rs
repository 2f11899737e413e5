//! `GET /ads/impression.gif` and `GET /ads/click.gif`: one event as the query of an image's URL.

use std::{net::SocketAddr, sync::Arc};

use axum::{
    extract::{ConnectInfo, State},
    http::{HeaderMap, HeaderName, Uri, header},
    response::{IntoResponse, Response},
};
use proto_schemas::Kind;

use crate::{
    api::{Caller, Ingest},
    contract::{EventQuery, failures::OfAPixel},
    error::Refusal,
    rate_limit::Standing,
    report::{Parameters, Report},
};

/// One transparent pixel.
const GIF: &[u8] = b"GIF89a\x01\0\x01\0\x80\0\0\0\0\0\0\0\0!\xf9\x04\x01\0\0\0\0,\0\0\0\0\x01\0\x01\0\0\x02\x02D\x01\0;";

const CROSS_ORIGIN_RESOURCE_POLICY: HeaderName =
    HeaderName::from_static("cross-origin-resource-policy");

/// The answer to an event that is kept. An image that a cache kept would be asked for only once, and a
/// page that isolates itself shows no image of another origin unless told that it may.
#[derive(Debug)]
pub(crate) struct Pixel;

impl IntoResponse for Pixel {
    fn into_response(self) -> Response {
        let headers = [
            (header::CONTENT_TYPE, "image/gif"),
            (header::CACHE_CONTROL, "no-store"),
            (CROSS_ORIGIN_RESOURCE_POLICY, "cross-origin"),
        ];
        (headers, GIF).into_response()
    }
}

/// Takes one click as the URL of an image, and answers once it is kept
///
/// For the ad tags of VAST. HEAD is answered as well, and counts nothing.
#[utoipa::path(
    get,
    tag = "ingest",
    path = "/ads/click.gif",
    operation_id = "click_pixel",
    params(EventQuery),
    responses(
        (
            status = 200,
            description = "One transparent pixel: it is kept, and will be counted once.",
            content_type = "image/gif",
            headers(("Cache-Control" = String, description = "Always `no-store`.")),
        ),
        OfAPixel,
    ),
)]
pub(crate) async fn click(
    State(ingest): State<Arc<Ingest>>,
    ConnectInfo(peer): ConnectInfo<SocketAddr>,
    uri: Uri,
    headers: HeaderMap,
) -> Result<(Standing, Pixel), Refusal> {
    keep(&ingest, Kind::Click, peer, &uri, &headers).await
}

/// Takes one impression as the URL of an image, and answers once it is kept
///
/// For the ad tags of VAST. HEAD is answered as well, and counts nothing.
#[utoipa::path(
    get,
    tag = "ingest",
    path = "/ads/impression.gif",
    operation_id = "impression_pixel",
    params(EventQuery),
    responses(
        (
            status = 200,
            description = "One transparent pixel: it is kept, and will be counted once.",
            content_type = "image/gif",
            headers(("Cache-Control" = String, description = "Always `no-store`.")),
        ),
        OfAPixel,
    ),
)]
pub(crate) async fn impression(
    State(ingest): State<Arc<Ingest>>,
    ConnectInfo(peer): ConnectInfo<SocketAddr>,
    uri: Uri,
    headers: HeaderMap,
) -> Result<(Standing, Pixel), Refusal> {
    keep(&ingest, Kind::Impression, peer, &uri, &headers).await
}

/// Answers HEAD, which whoever looks at a link sends, and which is no event.
pub(crate) async fn look() -> Pixel {
    Pixel
}

async fn keep(
    ingest: &Ingest,
    kind: Kind,
    peer: SocketAddr,
    uri: &Uri,
    headers: &HeaderMap,
) -> Result<(Standing, Pixel), Refusal> {
    let client = ingest.trust.client(peer, headers);
    let mut gate = ingest.limits.gate(client);
    let keeping = async {
        gate.enter(kind)?;
        let parameters = Parameters::parse(uri.query().unwrap_or_default())?;
        let report = Report::from_parameters(&parameters)?;
        gate.admit_one(kind, report.ad_id).await?;
        ingest.keep(kind, &Caller::new(client, headers), report).await
    };
    let arrived = ingest.metrics.arrived(kind);
    arrived.counted(keeping.await)?;
    Ok((gate.standing(), Pixel))
}
