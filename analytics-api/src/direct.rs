//! The route that dashboards ask all the time, without the router in front of it.

use std::{net::SocketAddr, sync::Arc};

use axum::{
    extract::Request,
    http::Method,
    response::{IntoResponse as _, Response},
};
use service_kit::http::{DirectRoutes, Load, too_busy};

use crate::{api::Api, metrics::Route};

/// `GET /ads/analytics`. (HEAD is answered by the router.)
pub(crate) struct Totals {
    pub(crate) api: Arc<Api>,
    pub(crate) load: Load,
}

impl DirectRoutes for Totals {
    type Route = ();

    fn find(&self, method: &Method, path: &str) -> Option<((), &'static str)> {
        let analytics = Route::Analytics.path();
        (*method == Method::GET && path == analytics).then_some(((), analytics))
    }

    /// As the layers of the router do it.
    async fn answer(&self, (): (), _request: Request, _peer: SocketAddr) -> Response {
        match self.load.enter() {
            Some(_place) => self.api.analytics().await.into_response(),
            None => too_busy(),
        }
    }
}
