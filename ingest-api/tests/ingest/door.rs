//! What comes from the internet to break something: none of it is an error of ours, or an event.

use std::net::{Ipv4Addr, SocketAddr};

use local_stack::testing::stack;
use proto_schemas::Kind;
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

use crate::harness::{Answer, TestIngest, answer, decoded, event, event_named, records};

/// Nobody is limited by accident.
const NO_LIMIT: (&str, &str) = ("RATE_LIMIT_BURST", "10000");

async fn post(ingest: &TestIngest, body: impl Into<reqwest::Body>) -> Answer {
    let request = ingest.request(Method::POST, "/ads/click");
    answer(request.header("content-type", "application/json").body(body)).await
}

/// A valid event with one more member, written as JSON text.
fn event_with(member: &str) -> String {
    let event = event().to_string();
    format!("{},{member}}}", event.strip_suffix('}').expect("an object"))
}

#[tokio::test]
async fn deep_json_is_read_in_bounded_stack_and_refused_beyond() {
    let scope = stack().scope("deep");
    let ingest = TestIngest::start(&scope, &[NO_LIMIT]).await;
    let nested = |open: &str, close: &str, depth: usize| {
        format!("{}{}", open.repeat(depth), close.repeat(depth))
    };

    // A field that nobody knows is passed over, however deep.
    let deep = event_with(&format!(r#""x":{}"#, nested("[", "]", 1500)));
    assert_eq!(post(&ingest, deep).await.status, StatusCode::OK);
    for body in [
        nested("[", "]", 2000),
        nested(r#"{"x":"#, "}", 500),
        "[".repeat(4096),
        r#"{"x":"#.repeat(800),
        event_with(&format!(r#""playback_time":{}"#, nested("[", "]", 1500))),
        event_with(&format!(r#""ip":{}"#, nested(r#"{"a":"#, "}", 400))),
    ] {
        let refused = post(&ingest, body.clone()).await;
        assert_eq!(refused.status, StatusCode::BAD_REQUEST, "{body:.40}: {}", refused.body);
    }
}

#[tokio::test]
async fn huge_numbers_are_out_of_range_and_nothing_worse() {
    let scope = stack().scope("huge");
    let ingest = TestIngest::start(&scope, &[NO_LIMIT]).await;
    let digits = "9".repeat(3000);
    let huge = [
        digits.as_str(),
        &format!("-{digits}"),
        &format!("0.{digits}e9999999999999999999"),
        "1e400",
        "1e99999999999999999999",
        "18446744073709551616",
        "-9223372036854775809",
    ];

    for number in huge {
        let ad = format!(r#"{{"ad_id":{number},"timestamp":"2025-04-15T16:55:00Z"}}"#);
        let time = format!(r#"{{"ad_id":1,"timestamp":{number}}}"#);
        let playback = event().to_string().replace("12.5", number);
        for (body, field) in [(ad, "ad_id"), (time, "timestamp"), (playback, "playback_time")] {
            let refused = post(&ingest, body).await;
            assert_eq!(refused.status, StatusCode::BAD_REQUEST, "{}", refused.body);
            assert_eq!(refused.body["field"], field, "{number:.30}: {}", refused.body);
        }
    }
    let distant = json!({ "ad_id": 1, "timestamp": "9999-12-31T23:59:59.999999999Z" });
    assert_eq!(ingest.post_click(&distant).await.code(), "timestamp_in_future");
    let long_ago = json!({ "ad_id": 1, "timestamp": "0000-01-01T00:00:00Z" });
    assert_eq!(ingest.post_click(&long_ago).await.code(), "timestamp_too_old");
}

#[tokio::test]
async fn what_is_not_utf8_is_refused_in_a_body_and_left_out_in_a_header() {
    let scope = stack().scope("notutf8");
    let ingest = TestIngest::start(&scope, &[NO_LIMIT]).await;

    for garbage in [&b"\xff\xfe{\x00"[..], b"\xc0\x80", b"\xed\xa0\x80", b"\xf5\x80\x80\x80"] {
        let mut body = event_with(r#""x":""#).into_bytes();
        body.splice(body.len() - 1.., garbage.iter().copied().chain(*b"\"}"));
        let refused = post(&ingest, body).await;
        assert_eq!(refused.status, StatusCode::BAD_REQUEST, "{}", refused.body);
        assert_eq!(refused.code(), "invalid_json");
    }
    let lone_surrogate = event_with(r#""event_id":"\ud800""#);
    assert_eq!(post(&ingest, lone_surrogate).await.status, StatusCode::BAD_REQUEST);

    let request = ingest.request(Method::POST, "/ads/click").json(&event());
    let request = request.header("user-agent", &b"Player \xff\xfe"[..]);
    let kept = answer(request.header("traceparent", &b"\xff"[..])).await;
    assert_eq!(kept.status, StatusCode::OK, "{}", kept.body);
}

#[tokio::test]
async fn a_stranger_that_makes_up_forwarded_addresses_has_one_allowance() {
    let scope = stack().scope("spoofed");
    let settings = [
        ("RATE_LIMIT_PER_MINUTE", "1"),
        ("RATE_LIMIT_BURST", "3"),
        ("TRUSTED_PROXIES", "10.0.0.0/8"),
    ];
    let ingest = TestIngest::start(&scope, &settings).await;

    let mut statuses = Vec::new();
    for number in 0..6 {
        let forwarded = format!("198.51.100.{number}, 10.0.0.{number}");
        let headers = [
            ("x-forwarded-for", forwarded.as_str()),
            ("forwarded", "for=198.51.100.7"),
            ("x-real-ip", forwarded.as_str()),
        ];
        statuses.push(ingest.post("/ads/click", &event_named("e"), &headers).await.status.as_u16());
    }

    assert_eq!(statuses, [200, 200, 200, 429, 429, 429]);
    let record = &records(&scope, Kind::Click, 1).await[0];
    assert_eq!(decoded(record).address.map(|it| it.to_string()).as_deref(), Some("127.0.0.1"));
}

#[tokio::test]
async fn an_ipv4_address_in_ipv6_form_is_the_ipv4_one_in_lists_in_limits_and_in_the_event() {
    let scope = stack().scope("mapped");
    let settings = [
        // A socket for both protocols, to which IPv4 clients come as ::ffff:127.0.0.x.
        ("INGEST_LISTEN", "[::]:0"),
        ("RATE_LIMIT_PER_MINUTE", "1"),
        ("RATE_LIMIT_BURST", "2"),
        ("TRUSTED_PROXIES", "127.0.0.1"),
        ("TRUSTED_SENDERS", "127.0.0.2"),
    ];
    let mut ingest = TestIngest::start(&scope, &settings).await;
    ingest.address = SocketAddr::new(Ipv4Addr::LOCALHOST.into(), ingest.address.port());
    let by_proxy = async |viewer: &str| {
        let headers = [("x-forwarded-for", viewer)];
        ingest.post("/ads/click", &event_named("proxied"), &headers).await.status.as_u16()
    };

    assert_eq!(by_proxy("203.0.113.9").await, 200);
    assert_eq!(by_proxy("::ffff:203.0.113.9").await, 200);
    assert_eq!(by_proxy("::ffff:cb00:7109").await, 429, "the same address in hexadecimal");

    let sender = crate::harness::client_at(Ipv4Addr::new(127, 0, 0, 2));
    let mut posted = event_named("sent");
    posted["ip"] = Value::from("::ffff:1.2.3.4");
    let answer = ingest.post_as(&sender, "/ads/click", &posted, &[]).await;
    assert_eq!(answer.status, StatusCode::OK, "{}", answer.body);

    let events = records(&scope, Kind::Click, 3).await;
    let mut addresses: Vec<_> =
        events.iter().map(|it| decoded(it).address.expect("an address").to_string()).collect();
    addresses.sort();
    assert_eq!(addresses, ["1.2.3.4", "203.0.113.9", "203.0.113.9"]);
}
