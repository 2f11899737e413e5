//! `adctl replay` against a service that answers as each test wants.

use std::time::Duration;

use serde_json::{Value, json};
use tokio::{net::TcpListener, time::Instant};

use crate::{
    harness::{Said, Test, file},
    ingest_stub::{IngestStub, accepted, error},
};

const FILE: &str = "timestamp,ad_id,position,ip,click\n\
                    2019-11-24T00:01:03.979311Z,3,2,198.18.70.88,0\n\
                    2019-11-24T00:01:45.406608Z,10,3,198.19.245.86,1\n\
                    2019-11-24T00:02:02.396318Z,14,3,2001:db8::1,0\n";

async fn replay(test: &Test, rows: &str, url: &str, args: &[&str]) -> Said {
    let traffic = file(rows);
    let path = traffic.to_str().expect("UTF-8");
    test.adctl(&[&["replay", path, "--json", "--ingest", url], args].concat()).await
}

/// A summary without what differs from run to run.
fn settled(said: &Said) -> Value {
    let mut summary = said.json();
    let fields = summary.as_object_mut().expect("an object");
    fields.remove("duration_seconds");
    fields.remove("events_per_second");
    summary
}

#[tokio::test]
async fn every_row_is_an_impression_and_a_clicked_row_a_click_too() {
    let test = Test::new("replay");
    let ingest = IngestStub::start(|_, _| Some(accepted())).await;

    let first = replay(&test, FILE, &ingest.url, &[]).await;
    let second = replay(&test, FILE, &format!("{}/", ingest.url), &[]).await;

    first.success();
    second.success();
    assert_eq!(
        settled(&first),
        json!({
            "rows": 3,
            "impressions_accepted": 3,
            "clicks_accepted": 1,
            "refused": {},
            "unsettled": 0,
            "retries": {},
        })
    );
    // Twice the same bodies, so the same events.
    assert_eq!(ingest.tries(), 8);
    assert_eq!(
        ingest.bodies("impression"),
        [
            r#"{"ad_id":10,"timestamp":"2019-11-24T00:01:45.406608Z","ip":"198.19.245.86"}"#,
            r#"{"ad_id":14,"timestamp":"2019-11-24T00:02:02.396318Z","ip":"2001:db8::1"}"#,
            r#"{"ad_id":3,"timestamp":"2019-11-24T00:01:03.979311Z","ip":"198.18.70.88"}"#,
        ]
    );
    assert_eq!(
        ingest.bodies("click"),
        [r#"{"ad_id":10,"timestamp":"2019-11-24T00:01:45.406608Z","ip":"198.19.245.86"}"#]
    );
}

#[tokio::test]
async fn what_was_limited_or_not_durable_is_tried_again() {
    let test = Test::new("replayRetries");
    let ingest = IngestStub::start(|n, _| {
        Some(match n {
            0 => error(429, "rate_limited", Some("1")),
            1 => error(503, "not_durable", None),
            _ => accepted(),
        })
    })
    .await;
    let begun = Instant::now();

    let said = replay(&test, FILE, &ingest.url, &[]).await;

    said.success();
    assert_eq!(settled(&said)["retries"], json!({ "429": 4, "503": 4 }));
    assert!(begun.elapsed() >= Duration::from_secs(1), "Retry-After is honoured");
}

#[tokio::test]
async fn what_is_refused_is_shown_and_fails_the_replay() {
    let test = Test::new("replayRefused");
    let ingest = IngestStub::start(|_, body| {
        let bad = body.contains(r#""ad_id":3,"#);
        Some(if bad { error(400, "too_old", None) } else { accepted() })
    })
    .await;

    let said = replay(&test, FILE, &ingest.url, &[]).await;

    said.failure();
    let summary = settled(&said);
    assert_eq!((&summary["impressions_accepted"], &summary["unsettled"]), (&json!(2), &json!(0)));
    let example = "line 2, impression of ad 3 at 2019-11-24T00:01:03.979311Z: a sentence about \
                   too_old";
    assert_eq!(
        summary["refused"],
        json!({ "400 too_old": { "events": 1, "examples": [example] } })
    );
}

#[tokio::test]
async fn a_broken_connection_is_made_again() {
    let test = Test::new("replayBroken");
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let url = format!("http://{}", listener.local_addr().expect("bound"));
    let breaking = async {
        for _ in 0..3 {
            let (connection, _) = listener.accept().await.expect("accepted");
            drop(connection);
        }
        IngestStub::serve(listener, |_, _| Some(accepted()))
    };

    let (said, _ingest) = tokio::join!(replay(&test, FILE, &url, &[]), breaking);

    said.success();
    assert_eq!(settled(&said)["impressions_accepted"], json!(3));
    assert!(settled(&said)["retries"]["connection broken"].as_u64() >= Some(1), "{said:?}");
}

#[tokio::test]
async fn connections_are_used_again() {
    let test = Test::new("replayPool");
    let ingest = IngestStub::start(|_, _| Some(accepted())).await;

    let said = replay(&test, &rows(500), &ingest.url, &["--concurrency", "4"]).await;

    said.success();
    assert_eq!(ingest.tries(), 500);
    // One may be opened in vain while another becomes free.
    assert!(ingest.connections() <= 8, "{}", ingest.connections());
}

#[tokio::test]
async fn a_rate_is_not_exceeded() {
    let test = Test::new("replayRate");
    let ingest = IngestStub::start(|_, _| Some(accepted())).await;

    let said = replay(&test, &rows(26), &ingest.url, &["--rate", "50"]).await;

    said.success();
    assert!(said.json()["duration_seconds"].as_f64() >= Some(0.5), "{said:?}");
}

#[tokio::test]
async fn a_service_that_stays_away_is_given_up() {
    let test = Test::new("replayAway");
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let url = format!("http://{}", listener.local_addr().expect("bound"));
    drop(listener);

    let said = replay(&test, FILE, &url, &["--give-up-after", "1s"]).await;

    assert!(said.failure().contains(&format!("gave up: {url} settled nothing for 1s")), "{said:?}");
    assert_eq!(settled(&said)["unsettled"], json!(4));
    assert!(settled(&said)["retries"]["no connection"].as_u64() >= Some(1), "{said:?}");
}

#[tokio::test]
async fn ctrl_c_ends_a_replay_with_the_summary_so_far() {
    let test = Test::new("replayCtrlC");
    let ingest = IngestStub::start(|_, _| None).await;
    let traffic = file(FILE);
    let path = traffic.to_str().expect("UTF-8");

    let mut replay = test.start_adctl(&["replay", path, "--json", "--ingest", &ingest.url]);
    ingest.request_arrived().await;
    replay.interrupt();

    assert_eq!(replay.ended().await.code(), Some(130));
    let summary: Value =
        serde_json::from_str(&crate::harness::next_line(replay.out()).await).expect("JSON");
    assert_eq!(summary["unsettled"], json!(4));
}

#[tokio::test]
async fn a_malformed_line_is_found_before_anything_is_posted() {
    let test = Test::new("replayMalformed");
    let ingest = IngestStub::start(|_, _| Some(accepted())).await;
    let malformed = format!("{FILE}2019-11-24T00:02:02Z,14,3,198.18.25.13,maybe\n");

    let said = replay(&test, &malformed, &ingest.url, &[]).await;

    assert!(said.failure().ends_with("line 5: click \"maybe\" is neither 0 nor 1"), "{said:?}");
    assert_eq!(ingest.tries(), 0);
}

#[tokio::test]
async fn a_dry_run_tells_what_the_sample_holds() {
    let test = Test::new("replayDry");
    let sample = concat!(env!("CARGO_MANIFEST_DIR"), "/../../data/open-bandit-bts-men.csv");

    let said = test.adctl(&["replay", "--dry-run", "--json", sample]).await;

    said.success();
    let counts = said.json();
    assert_eq!((&counts["impressions"], &counts["clicks"]), (&json!(10_000), &json!(69)));
    assert_eq!(counts["ads"].as_array().map(Vec::len), Some(34));
    let table = test.adctl(&["replay", "--dry-run", sample]).await;
    let total: Vec<_> = table.success().lines().last().unwrap_or("").split_whitespace().collect();
    assert_eq!(total, ["all", "10000", "69"]);
}

/// A file of so many impressions.
fn rows(count: u32) -> String {
    let row = |n| format!("2019-11-24T00:01:03.{n:06}Z,3,2,198.18.70.88,0\n");
    let header = "timestamp,ad_id,position,ip,click\n".to_owned();
    (0..count).map(row).fold(header, |text, row| text + &row)
}
