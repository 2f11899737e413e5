//! Click-through links: the viewer arrives, and the click is counted where it can be.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use click_link::{Link, LinkKey, Target};
use local_stack::testing::stack;
use proto_schemas::{AdId, Kind, Timestamp, headers};
use reqwest::{Client, Method, StatusCode, redirect};
use tokio::{io::AsyncWriteExt as _, net::TcpStream};

use crate::harness::{PATIENCE, TestIngest, answer, decoded, records};

const KEY: (&str, &str) = ("LINK_SIGNING_KEY", "0123456789abcdef0123456789abcdef");
const TARGET: &str = "https://example.com/spring?a=1&b=ü";
/// As a browser asks for it.
const LOCATION: &str = "https://example.com/spring?a=1&b=%C3%BC";
/// Nobody listens there.
const NO_KAFKA: (&str, &str) = ("KAFKA_BROKERS", "127.0.0.1:1");

/// A link that is followed for so long from now on.
fn link(key: &str, lasts: Option<Duration>) -> String {
    let expires_at = lasts.map(|lasts| {
        let expiry = SystemTime::now() + lasts;
        expiry.duration_since(UNIX_EPOCH).expect("after 1970").as_secs()
    });
    let to = Target::parse(TARGET).expect("a target");
    let key = LinkKey::new(&key.into()).expect("a key");
    Link { ad: AdId::new(7).expect("in range"), to, expires_at }.url("", &key)
}

/// Asks for a link without following it.
async fn ask(ingest: &TestIngest, method: Method, path_and_query: &str) -> reqwest::Response {
    let client = Client::builder().redirect(redirect::Policy::none()).timeout(PATIENCE);
    let url = format!("http://{}{path_and_query}", ingest.address);
    client.build().expect("a client").request(method, url).send().await.expect("an answer")
}

async fn led_on(ingest: &TestIngest, path_and_query: &str) {
    let response = ask(ingest, Method::GET, path_and_query).await;
    assert_eq!(response.status(), StatusCode::FOUND, "{path_and_query}");
    assert_eq!(response.headers()["location"], LOCATION);
    assert_eq!(response.headers()["cache-control"], "no-store");
    assert_eq!(response.headers()["referrer-policy"], "strict-origin");
}

async fn lost(ingest: &TestIngest, reason: &str) -> f64 {
    ingest.metric(&format!("ingest_redirects_without_click_total{{reason=\"{reason}\"}}")).await
}

#[tokio::test]
async fn a_signed_link_counts_a_click_and_leads_on() {
    let scope = stack().scope("link");
    let ingest = TestIngest::start(&scope, &[KEY]).await;
    let now = headers::rfc3339(Timestamp::now());

    let link = link(KEY.1, Some(Duration::from_mins(1)));
    led_on(&ingest, &format!("{link}&ts={now}&event_id=e-1&playback_time=12.5")).await;

    let click = decoded(&records(&scope, Kind::Click, 1).await[0]);
    assert_eq!((click.ad_id.get(), click.playback_ms), (7, Some(12_500)));
    assert_eq!(headers::rfc3339(click.occurred_at), now);
    let received = "ingest_events_total{kind=\"click\",outcome=\"received\"}";
    assert!(ingest.metric(received).await.eq(&1.0));
}

#[tokio::test]
async fn looking_at_a_link_is_no_click() {
    let scope = stack().scope("looking");
    let ingest = TestIngest::start(&scope, &[KEY]).await;

    let looked_at = ask(&ingest, Method::HEAD, &link(KEY.1, None)).await;
    assert_eq!(looked_at.status(), StatusCode::FOUND);
    assert_eq!(looked_at.headers()["location"], LOCATION);
    let forged = link(KEY.1, None).replace("ad_id=7", "ad_id=8");
    assert_eq!(ask(&ingest, Method::HEAD, &forged).await.status(), StatusCode::FORBIDDEN);

    let metrics = ingest.metrics().await;
    let events: Vec<_> = metrics.lines().filter(|it| it.starts_with("ingest_events_")).collect();
    assert!(events.iter().all(|it| it.ends_with(" 0")), "{events:?}");
}

#[tokio::test]
async fn a_link_that_is_not_ours_leads_nowhere() {
    let scope = stack().scope("forged");
    let ingest = TestIngest::start(&scope, &[KEY]).await;
    let ours = link(KEY.1, Some(Duration::from_mins(1)));

    let stale = link(KEY.1, Some(Duration::ZERO));
    for (path_and_query, status, code) in [
        (ours.replace("example.com", "example.org"), 403, "invalid_signature"),
        (link(&"x".repeat(32), None), 403, "invalid_signature"),
        (ours.replace("&sig=", "&signature="), 400, "missing_field"),
        ("/ads/click?ad_id=7&to=https://example.org/&sig=0".to_owned(), 403, "invalid_signature"),
        (stale, 410, "link_expired"),
        (format!("{ours}&cb={}", "x".repeat(8192)), 414, "query_too_long"),
    ] {
        let refused = answer(ingest.request(Method::GET, &path_and_query)).await;
        assert_eq!((refused.status.as_u16(), refused.code()), (status, code), "{path_and_query}");
        assert_eq!(refused.headers.get("location"), None);
        assert_eq!(refused.headers["cache-control"], "no-store");
    }
    let refused = "ingest_events_total{kind=\"click\",outcome=\"refused\"}";
    assert!(ingest.metric(refused).await.eq(&6.0));
    assert!(lost(&ingest, "refused").await.eq(&0.0), "nobody was led on");
}

#[tokio::test]
async fn a_viewer_is_led_on_also_where_the_click_is_lost_and_that_is_counted() {
    let scope = stack().scope("lost");
    let limits = [KEY, ("RATE_LIMIT_PER_MINUTE", "1"), ("RATE_LIMIT_BURST", "2")];
    let ingest = TestIngest::start(&scope, &limits).await;
    let link = link(KEY.1, None);

    led_on(&ingest, &format!("{link}&ts=2019-01-01T00:00:00Z")).await;
    led_on(&ingest, &link).await;
    led_on(&ingest, &link).await;

    assert!(lost(&ingest, "refused").await.eq(&1.0));
    assert!(lost(&ingest, "rate_limited").await.eq(&1.0));
    assert_eq!(records(&scope, Kind::Click, 1).await.len(), 1);

    let away = [KEY, NO_KAFKA, ("INGEST_PRODUCE_TIMEOUT", "300ms")];
    let ingest = TestIngest::start_unready(&away).await;
    led_on(&ingest, &link).await;
    assert!(lost(&ingest, "failed").await.eq(&1.0));
}

#[tokio::test]
async fn a_viewer_is_led_on_also_where_there_are_too_many_requests() {
    let settings = [KEY, NO_KAFKA, ("INGEST_MAX_REQUESTS_IN_FLIGHT", "1")];
    let ingest = TestIngest::start_unready(&settings).await;
    let head = b"POST /ads/click HTTP/1.1\r\nhost: ingest\r\ncontent-type: application/json\r\n\
                 content-length: 100\r\n\r\n{";
    let mut slow = TcpStream::connect(ingest.address).await.expect("connected");
    slow.write_all(head).await.expect("sent");
    ingest.until("in flight", async |it| it.metric("http_requests_in_flight").await.eq(&1.0)).await;

    led_on(&ingest, &link(KEY.1, None)).await;

    assert!(lost(&ingest, "overloaded").await.eq(&1.0));
    let shed = answer(ingest.request(Method::GET, "/ads/click.gif?ad_id=7")).await;
    assert_eq!((shed.status, shed.code()), (StatusCode::SERVICE_UNAVAILABLE, "overloaded"));
}

#[tokio::test]
async fn without_a_key_no_link_is_followed_and_the_answer_says_so() {
    let ingest = TestIngest::start_unready(&[NO_KAFKA]).await;

    let refused = answer(ingest.request(Method::GET, &link(KEY.1, None))).await;

    assert_eq!((refused.status, refused.code()), (StatusCode::NOT_FOUND, "links_not_set_up"));
}
