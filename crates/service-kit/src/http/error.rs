//! The one shape that errors have on the public ports.

use std::time::Duration;

use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use axum::{Json, Router};
use serde::Serialize;

/// The body of every error: a sentence for people, a code for programs.
#[derive(Clone, Debug, Eq, PartialEq, Serialize)]
pub struct ErrorBody {
    /// A sentence.
    pub error: String,
    /// What happened, in `snake_case`. Never changes for the same reason.
    pub code: &'static str,
    /// The field of the request that is at fault, where one is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub field: Option<&'static str>,
}

/// Returns an error as every route answers it.
///
/// `retry_after` becomes a `Retry-After` header in whole seconds, rounded up, at least one.
pub fn error_response(
    status: StatusCode,
    code: &'static str,
    message: impl Into<String>,
    field: Option<&'static str>,
    retry_after: Option<Duration>,
) -> Response {
    let body = ErrorBody { error: message.into(), code, field };
    let mut response = (status, Json(body)).into_response();
    let headers = response.headers_mut();
    if let Some(wait) = retry_after {
        headers.insert(header::RETRY_AFTER, whole_seconds(wait).into());
    }
    if matches!(status, StatusCode::REQUEST_TIMEOUT | StatusCode::PAYLOAD_TOO_LARGE) {
        // The rest of the body was not read, so the connection cannot carry another request.
        headers.insert(header::CONNECTION, HeaderValue::from_static("close"));
    }
    response
}

/// A wait in whole seconds, rounded up, at least one.
pub fn whole_seconds(wait: Duration) -> u64 {
    (wait.as_secs() + u64::from(wait.subsec_nanos() > 0)).max(1)
}

/// Gives `router` the 404 and the 405 of the common shape; the 405 keeps its `Allow` header.
///
/// Call it after the last route, because routes that are added later keep axum's empty 405.
pub fn with_fallbacks<S: Clone + Send + Sync + 'static>(router: Router<S>) -> Router<S> {
    router.fallback(not_found).method_not_allowed_fallback(method_not_allowed)
}

async fn not_found() -> Response {
    error_response(StatusCode::NOT_FOUND, "not_found", "There is no such route.", None, None)
}

pub(crate) async fn method_not_allowed() -> Response {
    let message = "This route does not have that method; see the Allow header.";
    error_response(StatusCode::METHOD_NOT_ALLOWED, "method_not_allowed", message, None, None)
}

#[cfg(test)]
mod tests {
    use axum::body::Body;
    use axum::http::Request;
    use axum::routing::get;
    use http_body_util::BodyExt as _;
    use serde_json::{Value, json};
    use tower::ServiceExt as _;

    use super::*;

    async fn body(response: Response) -> Value {
        let bytes = response.into_body().collect().await.expect("a body").to_bytes();
        serde_json::from_slice(&bytes).expect("JSON")
    }

    async fn send(method: &str, path: &str) -> Response {
        let router = with_fallbacks(Router::new().route("/ads", get(|| async { "ads" })));
        let request = Request::builder().method(method).uri(path).body(Body::empty());
        router.oneshot(request.expect("a request")).await.expect("an answer")
    }

    #[tokio::test]
    async fn an_unknown_route_is_a_404_in_the_common_shape() {
        let response = send("GET", "/nothing").await;

        assert_eq!(response.status(), 404);
        let expected = json!({ "error": "There is no such route.", "code": "not_found" });
        assert_eq!(body(response).await, expected);
    }

    #[tokio::test]
    async fn a_wrong_method_is_a_405_that_names_the_right_ones() {
        let response = send("POST", "/ads").await;

        assert_eq!(response.status(), 405);
        assert_eq!(response.headers()[header::ALLOW], "GET,HEAD");
        assert_eq!(body(response).await["code"], "method_not_allowed");
    }

    #[tokio::test]
    async fn a_field_is_named_where_one_is_at_fault() {
        let status = StatusCode::BAD_REQUEST;
        let response = error_response(status, "out_of_range", "Too far.", Some("ad_id"), None);

        let expected = json!({ "error": "Too far.", "code": "out_of_range", "field": "ad_id" });
        assert_eq!(body(response).await, expected);
    }

    #[test]
    fn retry_after_is_whole_seconds_rounded_up() {
        for (wait, expected) in [(0, "1"), (1, "1"), (1000, "1"), (1001, "2"), (60_000, "60")] {
            let wait = Some(Duration::from_millis(wait));
            let response =
                error_response(StatusCode::TOO_MANY_REQUESTS, "rate_limited", "Wait.", None, wait);

            assert_eq!(response.headers()[header::RETRY_AFTER], expected);
        }
    }
}
