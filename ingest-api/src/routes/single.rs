//! `POST /ads/click` and `POST /ads/impression`: one event as a JSON object.

use std::{net::SocketAddr, sync::Arc};

use axum::{
    Json,
    body::Body,
    extract::{ConnectInfo, Request, State},
    http::HeaderMap,
};
use proto_schemas::{DedupKey, Kind};
use serde::Serialize;
use service_kit::http::read_body;
use utoipa::ToSchema;

use super::media_type::{MediaType, OF_AN_EVENT};
use crate::{
    api::{Caller, Ingest},
    client::Client,
    contract::{Event, Packed, failures::OfAnEvent},
    error::Refusal,
    keeper::Kept,
    rate_limit::{Gate, Standing},
    report::Report,
};

/// An event has some 200 bytes; the rest is for fields that we do not know.
const MAX_BODY_BYTES: usize = 4096;

/// What the player is told about an event that Kafka or the spool has.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Received {
    /// `Click received` or `Impression received`.
    #[schema(pattern = "^(Click|Impression) received$", example = "Click received")]
    message: &'static str,
    /// The dedup key: a retry of the same event gets the same one.
    #[schema(pattern = "^[0-9a-f]{32}$", example = "0ced09db965834809dc862d418f22bcc")]
    click_id: String,
}

/// Takes one click, and answers once it is kept
#[utoipa::path(
    post,
    tag = "ingest",
    path = "/ads/click",
    operation_id = "post_click",
    params(Packed),
    request_body(
        description = "4 KiB at most. `text/plain` is what `navigator.sendBeacon` sends.",
        content((Event = "application/json"), (Event = "text/plain")),
    ),
    responses((status = 200, description = "It is kept, and will be counted once.", body = Received), OfAnEvent),
)]
pub(crate) async fn click(
    State(ingest): State<Arc<Ingest>>,
    ConnectInfo(peer): ConnectInfo<SocketAddr>,
    request: Request,
) -> Result<(Standing, Json<Received>), Refusal> {
    let (parts, body) = request.into_parts();
    let client = ingest.trust.client(peer, &parts.headers);
    post(&ingest, Kind::Click, client, &parts.headers, body).await
}

/// Takes one impression, and answers once it is kept
#[utoipa::path(
    post,
    tag = "ingest",
    path = "/ads/impression",
    operation_id = "post_impression",
    params(Packed),
    request_body(
        description = "4 KiB at most. `text/plain` is what `navigator.sendBeacon` sends.",
        content((Event = "application/json"), (Event = "text/plain")),
    ),
    responses((status = 200, description = "It is kept, and will be counted once.", body = Received), OfAnEvent),
)]
pub(crate) async fn impression(
    State(ingest): State<Arc<Ingest>>,
    ConnectInfo(peer): ConnectInfo<SocketAddr>,
    request: Request,
) -> Result<(Standing, Json<Received>), Refusal> {
    let (parts, body) = request.into_parts();
    let client = ingest.trust.client(peer, &parts.headers);
    post(&ingest, Kind::Impression, client, &parts.headers, body).await
}

/// Admits, reads, checks and counts a request, and answers once its event is kept.
pub(crate) async fn post(
    ingest: &Ingest,
    kind: Kind,
    client: Client,
    headers: &HeaderMap,
    body: Body,
) -> Result<(Standing, Json<Received>), Refusal> {
    let mut gate = ingest.limits.gate(client);
    let arrived = ingest.metrics.arrived(kind);
    let kept = keep(ingest, kind, client, &mut gate, headers, body).await;
    let dedup_key = arrived.counted(kept)?;
    let message = match kind {
        Kind::Click => "Click received",
        Kind::Impression => "Impression received",
    };
    let received = Received { message, click_id: dedup_key.to_string() };
    Ok((gate.standing(), Json(received)))
}

async fn keep(
    ingest: &Ingest,
    kind: Kind,
    client: Client,
    gate: &mut Gate<'_>,
    headers: &HeaderMap,
    body: Body,
) -> Result<(DedupKey, Kept), Refusal> {
    gate.enter(kind)?;
    MediaType::of(headers, OF_AN_EVENT)?;
    let body = read_body(headers, body, MAX_BODY_BYTES, ingest.body_timeout).await?;
    let report = Report::from_json(&body)?;
    gate.admit_one(kind, report.ad_id).await?;
    ingest.keep(kind, &Caller::new(client, headers), report).await
}
