//! What is accepted is on its topic, as it should be.

use local_stack::testing::stack;
use proto_schemas::{EventId, Kind, UserAgent};
use rdkafka::Message as _;
use reqwest::{Method, StatusCode};
use serde_json::json;

use crate::harness::{TestIngest, answer, decoded, event, record_header, records};

const TRACE: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

#[tokio::test]
async fn an_accepted_click_is_on_its_topic() {
    let scope = stack().scope("accepted");
    let ingest = TestIngest::start(&scope, &[]).await;

    let trace = [("traceparent", TRACE), ("tracestate", "player=7")];
    let headers = [&trace[..], &[("user-agent", "Player/1.0")]].concat();
    let answer = ingest.post("/ads/click", &event(), &headers).await;

    assert_eq!(answer.status, StatusCode::OK, "{}", answer.body);
    let records = records(&scope, Kind::Click, 1).await;
    let click = decoded(&records[0]);
    let click_id = click.dedup_key.to_string();
    assert_eq!(answer.body, json!({ "message": "Click received", "click_id": click_id }));
    assert_eq!(records[0].key(), Some(click.dedup_key.as_bytes().as_slice()));
    assert_eq!((click.kind, click.ad_id.get()), (Kind::Click, 7));
    assert_eq!(click.playback_ms, Some(12_500));
    assert_eq!(click.event_id.as_ref().map(EventId::as_str), Some("e-1"));
    assert_eq!(click.user_agent.as_ref().map(UserAgent::as_str), Some("Player/1.0"));
    assert_eq!(click.address.map(|it| it.to_string()).as_deref(), Some("127.0.0.1"));
    assert!(click.received_at >= click.occurred_at);
    let header = |name| record_header(&records[0], name);
    assert_eq!(header("content-type").as_deref(), Some("application/x-protobuf"));
    assert_eq!(header("message-type").as_deref(), Some("ads.events.v1.AdEvent"));
    assert_eq!(header("ce_id"), Some(click_id));
    assert_eq!(header("traceparent").as_deref(), Some(TRACE));
    assert_eq!(header("tracestate").as_deref(), Some("player=7"));
}

#[tokio::test]
async fn an_impression_is_on_a_topic_of_its_own() {
    let scope = stack().scope("impression");
    let ingest = TestIngest::start(&scope, &[]).await;

    let answer = ingest.post("/ads/impression", &event(), &[]).await;

    assert_eq!(answer.status, StatusCode::OK, "{}", answer.body);
    assert_eq!(answer.body["message"], "Impression received");
    let records = records(&scope, Kind::Impression, 1).await;
    assert_eq!(decoded(&records[0]).kind, Kind::Impression);
    let traceparent = record_header(&records[0], "traceparent").expect("a trace");
    assert!(traceparent.starts_with("00-") && traceparent.ends_with("-00"), "{traceparent}");
    assert_eq!(record_header(&records[0], "tracestate"), None);
}

#[tokio::test]
async fn a_retried_click_has_the_same_id_and_partition() {
    let scope = stack().scope("retry");
    let ingest = TestIngest::start(&scope, &[]).await;
    let click = event();

    let first = ingest.post_click(&click).await;
    let second = ingest.post_click(&click).await;

    assert_eq!(first.body, second.body);
    let records = records(&scope, Kind::Click, 2).await;
    assert_eq!(records[0].partition(), records[1].partition());
    assert_eq!(records[0].key(), records[1].key());
}

#[tokio::test]
async fn a_click_keeps_the_partition_that_java_clients_would_choose() {
    let scope = stack().scope("murmur");
    let ingest = TestIngest::start(&scope, &[("RATE_LIMIT_BURST", "100")]).await;

    for n in 0..20 {
        let mut click = event();
        click["event_id"] = json!(format!("e-{n}"));
        assert_eq!(ingest.post_click(&click).await.status, StatusCode::OK);
    }

    for record in records(&scope, Kind::Click, 20).await {
        let hash = murmur2(record.key().expect("a key")) & 0x7fff_ffff;
        assert_eq!(record.partition().unsigned_abs(), hash % 12);
    }
}

/// Java's `Utils.murmur2`, for keys whose length is a multiple of four.
fn murmur2(key: &[u8]) -> u32 {
    const M: u32 = 0x5bd1_e995;
    let len = u32::try_from(key.len()).expect("short");
    let mut hash = 0x9747_b28c ^ len;
    for word in key.chunks_exact(4) {
        let mut k = u32::from_le_bytes(word.try_into().expect("four bytes")).wrapping_mul(M);
        k ^= k >> 24;
        hash = hash.wrapping_mul(M) ^ k.wrapping_mul(M);
    }
    hash ^= hash >> 13;
    hash = hash.wrapping_mul(M);
    hash ^ (hash >> 15)
}

#[tokio::test]
async fn what_a_beacon_sends_is_read_as_json() {
    let scope = stack().scope("beacon");
    let ingest = TestIngest::start(&scope, &[]).await;

    let body = br#"{"ad_id":1,"timestamp":"2025-04-15T16:55:00Z","ip_address":"192.168.1.100",
        "video_playback_time":12,"something":"else"}"#;
    let request = ingest
        .request(Method::POST, "/ads/click")
        .header("content-type", "text/plain;charset=UTF-8")
        .body(body.to_vec());
    let old = answer(request).await;

    assert_eq!((old.status, old.code()), (StatusCode::BAD_REQUEST, "timestamp_too_old"));
    let ingest = TestIngest::start(&scope, &[("MAX_EVENT_AGE", "10y")]).await;
    let request = ingest
        .request(Method::POST, "/ads/click")
        .header("content-type", "text/plain;charset=UTF-8")
        .body(body.to_vec());
    let kept = answer(request).await;
    assert_eq!(kept.status, StatusCode::OK, "{}", kept.body);
    assert_eq!(decoded(&records(&scope, Kind::Click, 1).await[0]).playback_ms, Some(12_000));
}

#[tokio::test]
async fn the_word_of_a_stranger_about_an_address_is_ignored_and_counted() {
    let scope = stack().scope("stranger");
    let ingest = TestIngest::start(&scope, &[]).await;

    for ip in ["192.0.2.1", "127.0.0.1"] {
        let mut click = event();
        click["ip"] = json!(ip);
        assert_eq!(ingest.post_click(&click).await.status, StatusCode::OK);
    }

    for record in records(&scope, Kind::Click, 2).await {
        let address = decoded(&record).address.map(|it| it.to_string());
        assert_eq!(address.as_deref(), Some("127.0.0.1"));
    }
    assert!(ingest.metric("ingest_ignored_addresses_total").await.eq(&1.0), "only one differs");
}

#[tokio::test]
async fn a_trusted_sender_speaks_for_its_viewers() {
    let scope = stack().scope("sender");
    let ingest = TestIngest::start(&scope, &[("TRUSTED_SENDERS", "127.0.0.0/8")]).await;

    let mut click = event();
    click["ip"] = json!("::ffff:192.0.2.1");
    let answer = ingest.post_click(&click).await;

    assert_eq!(answer.status, StatusCode::OK, "{}", answer.body);
    let address = decoded(&records(&scope, Kind::Click, 1).await[0]).address;
    assert_eq!(address.map(|it| it.to_string()).as_deref(), Some("192.0.2.1"));
    assert!(ingest.metric("ingest_ignored_addresses_total").await.eq(&0.0));
}

#[tokio::test]
async fn behind_a_trusted_proxy_the_viewer_is_whom_it_forwards() {
    let scope = stack().scope("proxy");
    let ingest = TestIngest::start(&scope, &[("TRUSTED_PROXIES", "127.0.0.1")]).await;

    let forwarded = [("x-forwarded-for", "6.6.6.6, 198.51.100.7")];
    let answer = ingest.post("/ads/click", &event(), &forwarded).await;

    assert_eq!(answer.status, StatusCode::OK, "{}", answer.body);
    let address = decoded(&records(&scope, Kind::Click, 1).await[0]).address;
    assert_eq!(address.map(|it| it.to_string()).as_deref(), Some("198.51.100.7"));
}
