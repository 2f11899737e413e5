//! The documents that video players get.

use std::{collections::HashSet, time::Duration};

use click_store::{Ad, Media, ads};
use proto_schemas::AdId;
use reqwest::{Method, StatusCode};
use vastlint_core::{Severity, validate};

use crate::{
    harness::{Answer, PATIENCE, TestAnalytics},
    stores::{Stores, ad},
};

const INGEST: (&str, &str) = ("PUBLIC_INGEST_URL", "https://events.example.com/");

/// What the validator says of every ad that has no `TrackingEvents`: this pipeline counts impressions
/// and clicks, not how far a video was watched.
const NO_QUARTILES: &str = "VAST-2.0-linear-tracking-quartiles";

/// An ad with everything, and with characters that XML and URLs are particular about.
fn with_video(id: u64) -> Ad {
    let media = Media {
        url: "https://ads.example/video.mp4?quality=high&cdn=]]>".to_owned(),
        media_type: "video/mp4".to_owned(),
        duration: Duration::from_millis(30_040),
        width: 1280,
        height: 720,
    };
    Ad { title: Some("Möbel <& more>".to_owned()), media: Some(media), ..ad(id) }
}

async fn start(name: &str) -> (Stores, TestAnalytics) {
    let stores = Stores::new(name).await;
    ads::add(&stores.pool, &[with_video(9)]).await.unwrap();
    let analytics = TestAnalytics::start_with(&stores, &[INGEST]).await;
    (stores, analytics)
}

#[track_caller]
fn assert_refused(answer: &Answer, status: StatusCode, code: &str) {
    assert_eq!(answer.status, status, "{}", answer.body);
    assert!(answer.body.contains(&format!(r#""code":"{code}""#)), "{}", answer.body);
}

#[tokio::test]
async fn an_ad_with_a_video_is_a_vast_document_without_a_fault() {
    let (_stores, analytics) = start("vastdocument").await;

    let answer = analytics.get("/ads/9/vast.xml").await;

    assert_eq!(answer.status, StatusCode::OK, "{}", answer.body);
    assert_eq!(answer.headers["content-type"], "application/xml; charset=utf-8");
    assert_eq!(answer.headers["cache-control"], "no-store");
    let judged = validate(&answer.body);
    let faults: Vec<_> = judged
        .issues
        .iter()
        .filter(|it| it.severity != Severity::Info && it.id != NO_QUARTILES)
        .collect();
    assert!(faults.is_empty(), "{faults:#?}\n{}", answer.body);
    // It would find one.
    let without_title = answer.body.replace("AdTitle>", "Title>");
    assert!(validate(&without_title).summary.errors > 0);
    assert!(
        answer.body.contains("<![CDATA[https://events.example.com/ads/impression.gif?ad_id=9&")
    );
    assert!(answer.body.contains("<![CDATA[https://events.example.com/ads/click.gif?ad_id=9&"));
    assert!(answer.body.contains(r#"<![CDATA[https://ads.example/go/9?a=1&b="2"]]>"#));
}

#[tokio::test]
async fn no_two_documents_have_the_same_serving_id() {
    let (_stores, analytics) = start("vastserving").await;

    let mut servings = HashSet::new();
    for _ in 0..10 {
        let body = analytics.get("/ads/9/vast.xml").await.body;
        let (_, rest) = body.split_once("<AdServingId>").expect("an id");
        let (serving, _) = rest.split_once('<').expect("its end");
        assert!(body.contains(&format!("&event_id={serving}-i&")), "{body}");
        assert!(body.contains(&format!("&event_id={serving}-c-[CACHEBUSTING]&")), "{body}");
        servings.insert(serving.to_owned());
    }

    assert_eq!(servings.len(), 10);
}

#[tokio::test]
async fn an_ad_that_cannot_be_played_is_not_found_and_the_code_says_why() {
    let (stores, analytics) = start("vastrefused").await;
    ads::set_active(&stores.pool, AdId::new(9).unwrap(), false).await.unwrap();

    for (path, code) in [
        ("/ads/1/vast.xml", "no_media"),
        ("/ads/9/vast.xml", "inactive_ad"),
        ("/ads/77/vast.xml", "unknown_ad"),
        ("/ads/0/vast.xml", "unknown_ad"),
        ("/ads/99999999999999999999/vast.xml", "unknown_ad"),
        ("/ads/x/vast.xml", "unknown_ad"),
        ("/ads/%00/vast.xml", "unknown_ad"),
        ("/ads/%ff/vast.xml", "unknown_ad"),
        ("/ads/1/2/vast.xml", "not_found"),
    ] {
        assert_refused(&analytics.get(path).await, StatusCode::NOT_FOUND, code);
    }
    let post = analytics.send(Method::POST, "/ads/9/vast.xml").await;
    assert_refused(&post, StatusCode::METHOD_NOT_ALLOWED, "method_not_allowed");
}

#[tokio::test]
async fn without_an_address_for_tracking_there_are_no_documents() {
    let stores = Stores::new("vastoff").await;
    let analytics = TestAnalytics::start(&stores).await;

    let answer = analytics.get("/ads/1/vast.xml").await;

    assert_refused(&answer, StatusCode::NOT_FOUND, "vast_off");
}

#[tokio::test]
async fn without_postgres_players_are_told_when_to_ask_again() {
    let (stores, analytics) = start("vastaway").await;

    stores.take_postgres_away().await;
    let answer = analytics.get("/ads/9/vast.xml").await;

    assert_refused(&answer, StatusCode::SERVICE_UNAVAILABLE, "unavailable");
    assert_eq!(answer.headers["retry-after"], "2");
    stores.bring_postgres_back().await;
    analytics.until("back", async |it| it.get("/ads/9/vast.xml").await.status == 200).await;
}

#[tokio::test]
async fn a_burst_of_players_is_served_while_the_analytics_answer_from_postgres() {
    let (stores, analytics) = start("vastburst").await;
    stores.flush_redis().await;

    let players = futures::future::join_all((0..500).map(|_| analytics.get("/ads/9/vast.xml")));
    let (served, counted) =
        tokio::time::timeout(PATIENCE, async { tokio::join!(players, analytics.analytics()) })
            .await
            .expect("in time");

    assert!(served.iter().all(|it| it.status == StatusCode::OK));
    counted.from("postgres");
}
