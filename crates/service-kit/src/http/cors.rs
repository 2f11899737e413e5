//! Lets pages of other origins call an API, as far as the operator allows it.

use std::time::Duration;

use axum::Router;
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, header};
use axum::response::Response;
use tower_http::cors::{AllowHeaders, CorsLayer};

use crate::settings::Value;

/// How long a browser may remember what it was allowed. Chromium does so for 2 hours at most, Firefox
/// for a day.
const MAX_AGE: Duration = Duration::from_hours(24);

/// What a page may read of an answer, beside what it always may: headers, with commas between.
const EXPOSED: &str = "retry-after,ratelimit,ratelimit-policy,x-data-source";

/// Whose pages may call an API: `*`, or a list written with commas, such as
/// `https://example.com,https://player.example.com:8443`.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Origins {
    /// Everybody's, but without cookies and other credentials.
    Any,
    /// These, and with credentials. (`navigator.sendBeacon` sends with credentials, always.)
    Listed(Vec<HeaderValue>),
}

impl Value for Origins {
    fn parse(text: &str) -> Result<Self, String> {
        if text.trim() == "*" {
            return Ok(Self::Any);
        }
        let origins = text.split(',').map(str::trim).filter(|it| !it.is_empty());
        origins.map(origin).collect::<Result<_, _>>().map(Self::Listed)
    }
}

/// Checks that a browser would write the origin like this: it is compared letter by letter.
fn origin(text: &str) -> Result<HeaderValue, String> {
    let parts = text.split_once("://");
    let is_origin = parts.is_some_and(|(scheme, host_and_port)| {
        let known = |it: char| it.is_ascii_lowercase() || it.is_ascii_digit();
        let default_port = match scheme {
            "http" => ":80",
            "https" => ":443",
            _ => "/",
        };
        scheme.starts_with(|it: char| it.is_ascii_lowercase())
            && scheme.chars().all(|it| known(it) || "+-.".contains(it))
            && !host_and_port.is_empty()
            && host_and_port.chars().all(|it| known(it) || "-._:[]".contains(it))
            && !host_and_port.ends_with(default_port)
    });
    let value = HeaderValue::from_str(text).ok().filter(|_| is_origin);
    value.ok_or_else(|| {
        format!(
            "has {text:?}, which is no origin such as https://example.com: scheme and host in small \
             letters, a port where it is not the usual one, and nothing behind it"
        )
    })
}

/// Answers the preflights of `router`'s routes, and tells browsers what of its answers pages may see.
///
/// Call it after the last route. A preflight gets no further than here: it is no request of the API.
pub fn cross_origin<S: Clone + Send + Sync + 'static>(
    router: Router<S>,
    origins: &Origins,
    methods: impl Into<Vec<Method>>,
) -> Router<S> {
    router.route_layer(origins.layer(methods))
}

impl Origins {
    fn layer(&self, methods: impl Into<Vec<Method>>) -> CorsLayer {
        let layer = CorsLayer::new()
            .allow_methods(methods.into())
            // Whatever it is that a page wants to send: no header here lets anybody in.
            .allow_headers(AllowHeaders::mirror_request())
            .expose_headers(EXPOSED.split(',').map(HeaderName::from_static).collect::<Vec<_>>())
            .max_age(MAX_AGE);
        match self {
            Self::Any => layer.allow_origin(tower_http::cors::Any).vary([]),
            Self::Listed(listed) => {
                layer.allow_origin(listed.clone()).allow_credentials(true).vary([header::ORIGIN])
            }
        }
    }
}

/// What [`cross_origin`] adds to the answers to requests that are no preflights, without a service
/// around the one that answers.
#[derive(Debug)]
pub(super) struct Additions {
    listed: Vec<HeaderValue>,
    /// Whoever asks. No service sets one of them itself, so that none has to be added to.
    always: Vec<(HeaderName, HeaderValue)>,
}

impl Additions {
    pub(super) fn of(origins: &Origins) -> Self {
        let exposed = (header::ACCESS_CONTROL_EXPOSE_HEADERS, EXPOSED);
        let (listed, always) = match origins {
            Origins::Any => (Vec::new(), vec![(header::ACCESS_CONTROL_ALLOW_ORIGIN, "*"), exposed]),
            Origins::Listed(listed) => {
                let credentials = (header::ACCESS_CONTROL_ALLOW_CREDENTIALS, "true");
                let by_origin = (header::VARY, header::ORIGIN.as_str());
                (listed.clone(), vec![credentials, by_origin, exposed])
            }
        };
        let always = always.into_iter().map(|(it, value)| (it, HeaderValue::from_static(value)));
        Self { listed, always: always.collect() }
    }

    /// The origin that the answer to a request with these headers is to name: one that is listed.
    pub(super) fn named_in(&self, headers: &HeaderMap) -> Option<HeaderValue> {
        headers.get(header::ORIGIN).filter(|it| self.listed.contains(it)).cloned()
    }

    pub(super) fn add_to(&self, response: &mut Response, named: Option<HeaderValue>) {
        let headers = response.headers_mut();
        for (name, value) in &self.always {
            headers.insert(name, value.clone());
        }
        if let Some(origin) = named {
            headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, origin);
        }
    }
}

#[cfg(test)]
mod tests {
    use axum::body::Body;
    use axum::http::{Request, StatusCode};
    use axum::response::IntoResponse as _;
    use axum::routing::post;
    use tower::ServiceExt as _;

    use super::*;
    use crate::http::with_fallbacks;

    const PAGE: &str = "https://player.example.com";

    fn origins(text: &str) -> Origins {
        Origins::parse(text).expect(text)
    }

    async fn send(
        origins: &Origins,
        method: Method,
        headers: &[(&str, &str)],
    ) -> (StatusCode, HeaderMap) {
        let router = Router::new().route("/event", post(|| async { "received" }));
        let router = cross_origin(with_fallbacks(router), origins, [Method::POST]);
        let mut request = Request::builder().method(method).uri("/event");
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let request = request.body(Body::empty()).expect("a request");
        let response = router.oneshot(request).await.expect("an answer");
        (response.status(), response.headers().clone())
    }

    fn get<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
        headers.get(name).map(|it| it.to_str().expect("text"))
    }

    const PREFLIGHT: [(&str, &str); 3] = [
        ("origin", PAGE),
        ("access-control-request-method", "POST"),
        ("access-control-request-headers", "content-type,content-encoding"),
    ];

    #[tokio::test]
    async fn any_page_may_ask_without_credentials() {
        let (status, headers) = send(&Origins::Any, Method::OPTIONS, &PREFLIGHT).await;

        assert_eq!(status, StatusCode::OK);
        assert_eq!(get(&headers, "access-control-allow-origin"), Some("*"));
        assert_eq!(get(&headers, "access-control-allow-methods"), Some("POST"));
        let allowed = get(&headers, "access-control-allow-headers");
        assert_eq!(allowed, Some("content-type,content-encoding"));
        assert_eq!(get(&headers, "access-control-max-age"), Some("86400"));
        assert_eq!(get(&headers, "access-control-allow-credentials"), None);

        let (status, headers) = send(&Origins::Any, Method::POST, &[("origin", PAGE)]).await;
        assert_eq!(status, StatusCode::OK);
        assert_eq!(get(&headers, "access-control-allow-origin"), Some("*"));
        let exposed = get(&headers, "access-control-expose-headers").expect("some");
        assert!(exposed.contains("retry-after") && exposed.contains("ratelimit"), "{exposed}");
    }

    #[tokio::test]
    async fn a_listed_page_is_named_and_may_send_credentials() {
        let listed = origins("https://example.com, https://player.example.com");

        for (method, headers) in
            [(Method::OPTIONS, &PREFLIGHT[..]), (Method::POST, &PREFLIGHT[..1])]
        {
            let (status, headers) = send(&listed, method, headers).await;
            assert_eq!(status, StatusCode::OK);
            assert_eq!(get(&headers, "access-control-allow-origin"), Some(PAGE));
            assert_eq!(get(&headers, "access-control-allow-credentials"), Some("true"));
            assert_eq!(get(&headers, "vary"), Some("origin"));
        }
    }

    #[tokio::test]
    async fn a_page_that_is_not_listed_may_not() {
        let listed = origins("https://example.com");

        for (method, headers) in
            [(Method::OPTIONS, &PREFLIGHT[..]), (Method::POST, &PREFLIGHT[..1])]
        {
            let (_, headers) = send(&listed, method, headers).await;
            assert_eq!(get(&headers, "access-control-allow-origin"), None);
            assert_eq!(get(&headers, "vary"), Some("origin"), "or a cache gives it to others");
        }
    }

    #[tokio::test]
    async fn a_wrong_method_can_be_read_too() {
        let (status, headers) = send(&Origins::Any, Method::PUT, &PREFLIGHT[..1]).await;

        assert_eq!(status, StatusCode::METHOD_NOT_ALLOWED);
        assert_eq!(get(&headers, "access-control-allow-origin"), Some("*"));
    }

    #[tokio::test]
    async fn without_the_layer_an_answer_gets_the_same_headers() {
        for origins in [Origins::Any, origins(PAGE), origins("https://example.com")] {
            for request in [&[][..], &PREFLIGHT[..1]] {
                let (_, expected) = send(&origins, Method::POST, request).await;
                let additions = Additions::of(&origins);
                let asked = request.iter().map(|(name, value)| {
                    (HeaderName::from_static(name), HeaderValue::from_static(value))
                });
                let named = additions.named_in(&asked.collect());
                let mut response = "received".into_response();
                additions.add_to(&mut response, named);

                let mut added = response.headers().clone();
                added.insert(header::CONTENT_LENGTH, HeaderValue::from_static("8"));
                assert_eq!(added, expected, "{origins:?} {request:?}");
            }
        }
    }

    #[test]
    fn an_origin_is_written_as_a_browser_writes_it() {
        assert_eq!(origins(" * "), Origins::Any);
        let listed =
            "https://example.com,http://[::1]:8080, capacitor://localhost,http://a_b.c-d.e";
        assert!(matches!(origins(listed), Origins::Listed(list) if list.len() == 4));
        for bad in [
            "example.com",
            "https://",
            "https://example.com/",
            "https://example.com/player",
            "https://Example.com",
            "https://*.example.com",
            "https://example.com:443",
            "http://example.com:80",
            "https://exämple.com",
            "https://user@example.com",
            "null",
            "*,https://example.com",
        ] {
            assert!(Origins::parse(bad).is_err(), "{bad}");
        }
    }
}
