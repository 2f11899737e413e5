//! Compressed bodies.

use std::io::Write as _;

use flate2::{Compression, write::GzEncoder};
use local_stack::testing::stack;
use proto_schemas::Kind;
use reqwest::{Method, StatusCode};
use serde_json::json;

use crate::harness::{Answer, TestIngest, answer, event_named, records};

const ROOM: (&str, &str) = ("RATE_LIMIT_BURST", "1000");
const CODINGS: [&str; 3] = ["gzip", "br", "zstd"];

fn pack(coding: &str, bytes: &[u8]) -> Vec<u8> {
    let mut packed = Vec::with_capacity(zstd_safe::compress_bound(bytes.len()));
    match coding {
        "gzip" => {
            let mut encoder = GzEncoder::new(&mut packed, Compression::default());
            encoder.write_all(bytes).expect("packed");
            encoder.finish().expect("packed");
        }
        "br" => {
            let params = brotli::enc::BrotliEncoderParams { quality: 5, ..Default::default() };
            brotli::BrotliCompress(&mut &bytes[..], &mut packed, &params).expect("packed");
        }
        _ => {
            zstd_safe::compress(&mut packed, bytes, 3).expect("packed");
        }
    }
    packed
}

async fn post(ingest: &TestIngest, path: &str, coding: &str, body: Vec<u8>) -> Answer {
    let request = ingest.request(Method::POST, path).header("content-type", "application/json");
    answer(request.header("content-encoding", coding).body(body)).await
}

#[tokio::test]
async fn a_compressed_event_is_kept_whichever_way_it_comes_in() {
    let scope = stack().scope("packed");
    let ingest = TestIngest::start(&scope, &[ROOM]).await;

    for coding in CODINGS {
        let click = event_named(coding);
        let body = pack(coding, click.to_string().as_bytes());
        let alone = post(&ingest, "/ads/click", coding, body).await;
        assert_eq!(alone.status, StatusCode::OK, "{coding}: {}", alone.body);

        let mut impression = click.clone();
        impression["type"] = "impression".into();
        let body = pack(coding, json!([impression]).to_string().as_bytes());
        let batch = post(&ingest, "/ads/events", coding, body).await;
        assert_eq!(batch.body["results"][0]["code"], "received", "{coding}: {}", batch.body);
    }

    assert_eq!(records(&scope, Kind::Click, 3).await.len(), 3);
    assert_eq!(records(&scope, Kind::Impression, 3).await.len(), 3);
}

#[tokio::test]
async fn what_a_body_unpacks_to_has_the_limit_of_what_comes_plain() {
    let scope = stack().scope("bombs");
    let ingest = TestIngest::start(&scope, &[ROOM]).await;
    let padded = |len: usize| {
        let event = event_named("padded").to_string();
        format!("{event}{}", " ".repeat(len - event.len())).into_bytes()
    };

    for coding in CODINGS {
        let fits = post(&ingest, "/ads/click", coding, pack(coding, &padded(4096))).await;
        assert_eq!(fits.status, StatusCode::OK, "{coding}: {}", fits.body);
        for (path, len) in [("/ads/click", 4097), ("/ads/events", 256 * 1024 + 1)] {
            let larger = post(&ingest, path, coding, pack(coding, &padded(len))).await;
            let got = (larger.status, larger.code());
            assert_eq!(got, (StatusCode::PAYLOAD_TOO_LARGE, "body_too_large"), "{coding} {path}");
        }
    }
}

#[tokio::test]
async fn a_body_that_is_not_packed_as_it_says_is_a_400_and_an_unknown_way_a_415() {
    let scope = stack().scope("corrupt");
    let ingest = TestIngest::start(&scope, &[ROOM]).await;
    let click = event_named("e-1").to_string().into_bytes();

    for coding in CODINGS {
        let mut cut = pack(coding, &click);
        cut.pop();
        for body in [cut, click.clone()] {
            let corrupt = post(&ingest, "/ads/click", coding, body).await;
            let got = (corrupt.status, corrupt.code());
            assert_eq!(got, (StatusCode::BAD_REQUEST, "corrupt_body"), "{coding}");
        }
    }
    for coding in ["deflate", "gzip, gzip"] {
        let unknown = post(&ingest, "/ads/click", coding, click.clone()).await;
        let got = (unknown.status, unknown.code());
        assert_eq!(got, (StatusCode::UNSUPPORTED_MEDIA_TYPE, "unsupported_encoding"), "{coding}");
        assert_eq!(unknown.headers["accept-encoding"], "gzip, br, zstd");
    }
    assert_eq!(post(&ingest, "/ads/click", "identity", click).await.status, StatusCode::OK);
}
