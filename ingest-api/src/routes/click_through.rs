//! `GET /ads/click`: counts a click on the way to the advertiser's page.

use std::{net::SocketAddr, sync::Arc, time::SystemTime};

use axum::{
    extract::{ConnectInfo, State},
    http::{HeaderMap, HeaderValue, StatusCode, Uri, header},
    response::{IntoResponse, Response},
};
use click_link::Target;
use proto_schemas::{DedupKey, Kind};

use crate::{
    api::{Caller, Ingest},
    client::Client,
    contract::{EventQuery, LinkQuery, failures::OfALink},
    error::Refusal,
    keeper::Kept,
    metrics::Outcome,
    report::{Parameters, Report},
};

/// The way on. It is not to be remembered, or the next click would not come by here; and the advertiser
/// is told the site that the viewer comes from, but not the page.
#[derive(Debug)]
pub(crate) struct Onward(Target);

impl IntoResponse for Onward {
    fn into_response(self) -> Response {
        let mut response = StatusCode::FOUND.into_response();
        let headers = response.headers_mut();
        // A URL is ASCII without control characters.
        if let Ok(location) = HeaderValue::from_str(self.0.location()) {
            headers.insert(header::LOCATION, location);
        }
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
        headers.insert(header::REFERRER_POLICY, HeaderValue::from_static("strict-origin"));
        response
    }
}

/// Leads a viewer on where a signed link says, once the click is kept
///
/// Also where it cannot be kept, which is counted: the viewer has clicked to see the page. HEAD is
/// answered as well, and counts nothing.
#[utoipa::path(
    get,
    tag = "ingest",
    path = "/ads/click",
    operation_id = "follow_click",
    params(EventQuery, LinkQuery),
    responses(
        (
            status = 302,
            description = "The way on.",
            headers(
                ("Location" = String, description = "The link's `to`."),
                ("Cache-Control" = String, description = "Always `no-store`."),
            ),
        ),
        OfALink,
    ),
)]
pub(crate) async fn follow(
    State(ingest): State<Arc<Ingest>>,
    ConnectInfo(peer): ConnectInfo<SocketAddr>,
    uri: Uri,
    headers: HeaderMap,
) -> Result<Onward, Refusal> {
    let (parameters, onward) = link(&ingest, &uri).inspect_err(|refusal| {
        ingest.metrics.arrived(Kind::Click).refused(refusal);
    })?;
    let client = ingest.trust.client(peer, &headers);
    let place = if ingest.overload.lets_in(client) { ingest.load.enter() } else { None };
    let Some(_place) = place else {
        ingest.metrics.arrived(Kind::Click).shed();
        ingest.metrics.led_on_uncounted(Outcome::Overloaded);
        return Ok(onward);
    };
    let arrived = ingest.metrics.arrived(Kind::Click);
    let kept = keep(&ingest, client, &parameters, &headers).await;
    if let Err(refusal) = arrived.counted(kept) {
        ingest.metrics.led_on_uncounted(refusal.outcome());
    }
    Ok(onward)
}

/// Answers HEAD, which whoever looks at a link sends, and which is no click.
pub(crate) async fn look(State(ingest): State<Arc<Ingest>>, uri: Uri) -> Result<Onward, Refusal> {
    link(&ingest, &uri).map(|(_, onward)| onward)
}

fn link<'a>(ingest: &Ingest, uri: &'a Uri) -> Result<(Parameters<'a>, Onward), Refusal> {
    let parameters = Parameters::parse(uri.query().unwrap_or_default())?;
    let link = ingest.links.checked(&parameters, SystemTime::now())?;
    Ok((parameters, Onward(link.to)))
}

async fn keep(
    ingest: &Ingest,
    client: Client,
    parameters: &Parameters<'_>,
    headers: &HeaderMap,
) -> Result<(DedupKey, Kept), Refusal> {
    let mut gate = ingest.limits.gate(client);
    gate.enter(Kind::Click)?;
    let report = Report::from_parameters(parameters)?;
    gate.admit_one(Kind::Click, report.ad_id).await?;
    ingest.keep(Kind::Click, &Caller::new(client, headers), report).await
}
