//! The direct routes and the router answer alike.

use axum::{
    body::{Body, to_bytes},
    http::{HeaderMap, Request, StatusCode, header},
};
use local_stack::testing::stack;
use prometheus_client::{encoding::text::encode, registry::Registry};
use proto_schemas::{Timestamp, headers};
use service_kit::{
    http::{Answer, Origins},
    metrics::HttpMetrics,
    settings::{Env, Value as _},
};

use crate::{api, bind};

const ORIGIN: &str = "https://player.example.com";

/// An answer, read to its end.
#[derive(Debug, PartialEq)]
struct Answered {
    status: StatusCode,
    headers: HeaderMap,
    body: String,
}

/// One way to the same handlers, with its own metrics.
struct Way<A> {
    answers: A,
    registry: Registry,
    /// The network of its viewers: each way has limits of its own.
    network: &'static str,
    /// The origin that its requests name.
    origin: Option<&'static str>,
}

impl<A: Answer> Way<A> {
    async fn post(
        &self,
        path: &str,
        viewer: u8,
        headers: &[(&str, &str)],
        body: String,
    ) -> Answered {
        let mut request =
            Request::post(path).header("x-forwarded-for", format!("{}.{viewer}", self.network));
        let origin = self.origin.map(|it| ("origin", it));
        for (name, value) in headers.iter().chain(&origin) {
            request = request.header(*name, *value);
        }
        let request = request.body(Body::from(body)).expect("a request");
        let answer = self.answers.answer(request, ([127, 0, 0, 1], 50_000).into()).await;
        let (mut parts, body) = answer.into_parts();
        // The router writes it; where it does not, hyper does.
        parts.headers.remove(header::CONTENT_LENGTH);
        let body = to_bytes(body, usize::MAX).await.expect("a body");
        let body = String::from_utf8(body.to_vec()).expect("a text");
        Answered { status: parts.status, headers: parts.headers, body }
    }

    /// What was counted: the lines of `http_requests_total` that are not zero.
    fn counted(&self) -> Vec<String> {
        let mut text = String::new();
        encode(&mut text, &self.registry).expect("text");
        let counted = text.lines().filter(|it| it.starts_with("http_requests_total"));
        let mut counted: Vec<_> = counted.filter(|it| !it.ends_with(" 0")).collect();
        counted.sort_unstable();
        counted.into_iter().map(str::to_owned).collect()
    }
}

#[tokio::test]
async fn a_direct_route_answers_and_counts_as_the_router_does() {
    let scope = stack().scope("direct");
    scope.create_pipeline_topics().await;
    let settings = [
        ("INGEST_LISTEN", "127.0.0.1:0"),
        ("INGEST_ADMIN_LISTEN", "127.0.0.1:0"),
        ("INGEST_OVERLOAD_DELAY", "0s"),
        ("TRUSTED_PROXIES", "127.0.0.1"),
        // So few that none is back before the test has ended.
        ("RATE_LIMIT_PER_MINUTE", "1"),
        ("RATE_LIMIT_BURST", "2"),
        ("KAFKA_BROKERS", scope.stack.kafka_brokers.as_str()),
        ("TOPIC_PREFIX", scope.topic_prefix.as_str()),
    ];
    let config = Env::from_pairs(settings).read().expect("settings are valid");
    let server = bind(config).await.expect("the service is bound");

    let rounds = ["*", ORIGIN, "https://other.example.com"]
        .into_iter()
        .flat_map(|allowed| [(allowed, None), (allowed, Some(ORIGIN))]);
    for (round, (origins, origin)) in (0_u8..).zip(rounds) {
        let origins = Origins::parse(origins).expect("origins");
        let metrics = |registry: &mut Registry| HttpMetrics::register(registry, &api::ROUTES);
        let (mut registry, mut other) = (Registry::default(), Registry::default());
        let (http_metrics, other_metrics) = (metrics(&mut registry), metrics(&mut other));
        let direct = api::api(server.ingest(), &origins, &http_metrics);
        let router = api::router(server.ingest().clone(), &origins, &other_metrics);
        let direct = Way { answers: direct, registry, network: "198.51.100", origin };
        let router = Way { answers: router, registry: other, network: "203.0.113", origin };

        let json = ("content-type", "application/json");
        let now = headers::rfc3339(Timestamp::now());
        // An event's id says who it is of, so its address is in no answer.
        let event =
            format!(r#"{{"ad_id":1,"timestamp":"{now}","event_id":"e","playback_time":1.5}}"#);
        for path in [api::CLICK, api::IMPRESSION] {
            let mut statuses = Vec::new();
            let cases: [(&[_], _); 6] = [
                (&[json], event.clone()),
                (&[json], "{}".to_owned()),
                (&[json], "[".to_owned()),
                (&[("content-type", "text/html")], event.clone()),
                (&[json], " ".repeat(5000)),
                (&[json, ("content-encoding", "snappy")], event.clone()),
            ];
            for (number, (headers, body)) in (0_u8..).zip(cases) {
                // Somebody new, whose limits say the same whenever that is.
                let viewer = round * 10 + number;
                let one = direct.post(path, viewer, headers, body.clone()).await;
                let other = router.post(path, viewer, headers, body).await;
                assert_eq!(one, other, "{path} {number}");
                statuses.push(one.status.as_u16());
            }
            assert_eq!(statuses, [200, 400, 400, 415, 413, 415]);
        }
        for refused in [false, false, true] {
            let (headers, viewer) = ([json], round * 10 + 9);
            let one = direct.post(api::CLICK, viewer, &headers, event.clone()).await;
            let other = router.post(api::CLICK, viewer, &headers, event.clone()).await;
            assert_eq!([one.status == 429, other.status == 429], [refused; 2]);
            assert_eq!(one.body, other.body);
        }

        assert_eq!(direct.counted(), router.counted());
        assert!(!direct.counted().is_empty());
    }
}
