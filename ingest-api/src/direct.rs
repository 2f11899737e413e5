//! The two routes that nearly every request is for, without the router in front of them.

use std::{net::SocketAddr, sync::Arc};

use axum::{
    extract::Request,
    http::Method,
    response::{IntoResponse as _, Response},
};
use proto_schemas::Kind;
use service_kit::http::{DirectRoutes, too_busy};

use crate::{
    api::{CLICK, IMPRESSION, Ingest},
    routes::single,
};

/// `POST /ads/click` and `POST /ads/impression`.
pub(crate) struct SingleEvents(pub(crate) Arc<Ingest>);

impl DirectRoutes for SingleEvents {
    type Route = Kind;

    fn find(&self, method: &Method, path: &str) -> Option<(Kind, &'static str)> {
        match path {
            CLICK if *method == Method::POST => Some((Kind::Click, CLICK)),
            IMPRESSION if *method == Method::POST => Some((Kind::Impression, IMPRESSION)),
            _ => None,
        }
    }

    /// As the layers of the router do it.
    async fn answer(&self, kind: Kind, request: Request, peer: SocketAddr) -> Response {
        let Self(ingest) = self;
        let (parts, body) = request.into_parts();
        let client = ingest.trust.client(peer, &parts.headers);
        if let Err(refusal) = ingest.overload.admit(client, parts.version).await {
            return refusal;
        }
        let response = match ingest.load.enter() {
            Some(_place) => {
                single::post(ingest, kind, client, &parts.headers, body).await.into_response()
            }
            None => too_busy(),
        };
        ingest.overload.answered(client, &response);
        response
    }
}

#[cfg(test)]
mod tests;
