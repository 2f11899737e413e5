//! Ads as players and browsers show them: what they report is counted.

use e2e::{Counts, Pipeline, Program, Services};
use proto_schemas::Kind;
use serde_json::{Value, json};

/// Starts everything, so that VAST documents say where events go.
async fn start(pipeline: &Pipeline) -> Services {
    let ingest = pipeline.start(Program::Ingest, &[]).await;
    let url = ingest.url("");
    let settings = [("PUBLIC_INGEST_URL", url.as_str())];
    let (consumer, analytics) = tokio::join!(
        pipeline.start(Program::Consumer, &[]),
        pipeline.start(Program::Analytics, &settings),
    );
    Services { ingest, consumer, analytics }
}

#[tokio::test]
async fn what_a_public_vast_client_reports_is_counted_and_said_twice_counts_once() {
    let pipeline = Pipeline::new("vastclient").await;
    let services = start(&pipeline).await;

    let played = pipeline.play("vast.mjs", &[&services.analytics.url("/ads/7/vast.xml")]).await;

    assert_eq!((&played["version"], &played["title"]), (&json!("4.2"), &json!("Sample ad 7")));
    assert_eq!(played["duration"], 15);
    let media = json!([{
        "fileURL": "https://example.com/ad7.mp4",
        "mimeType": "video/mp4",
        "width": 1280,
        "height": 720,
    }]);
    assert_eq!(played["media"], media);
    let target = json!("https://example.com/click7");
    assert_eq!(played["clickThroughs"], json!([target, target]));
    let pings = played["pings"].as_array().expect("pings");
    assert_eq!(pings.len(), 4, "{pings:#?}");
    for ping in pings {
        assert_eq!((&ping["status"], &ping["type"]), (&json!(200), &json!("image/gif")), "{ping}");
    }
    // Two clicks are two clicks; two trackers of one document have seen one impression.
    let counts = pipeline.settle_with_api(&services.analytics).await;
    let expected = Counts::zero().with(Kind::Click, 7, 2).with(Kind::Impression, 7, 1);
    assert_eq!(counts, expected);
    assert_eq!(pipeline.counted().await, 4, "every ping was on Kafka");
    for click in pipeline.on_topic(Kind::Click).await {
        assert_eq!(click.playback_ms, Some(5000));
    }
}

#[tokio::test]
async fn what_a_browser_sends_from_a_page_of_another_origin_is_counted() {
    let pipeline = Pipeline::new("browser").await;
    let services = start(&pipeline).await;
    let picture = pipeline.artefact("page.png");

    let (analytics, ingest) = (services.analytics.url(""), services.ingest.url(""));
    let picture_path = picture.display().to_string();
    let seen = pipeline.play("browser.mjs", &[&analytics, &ingest, &picture_path]).await;

    assert_eq!(seen["errors"], Value::Null);
    let said = json!([
        "“Sample ad 7” from another origin",
        "impression by pixel: 1 × 1",
        "click by fetch: 200, Click received",
    ]);
    assert_eq!(seen["said"], said);
    let png = std::fs::read(picture).expect("a picture");
    assert!(png.starts_with(b"\x89PNG") && png.len() > 5000, "{} bytes", png.len());
    // The last impression, of ad 8, was sent when the page was left.
    let expected = Counts::zero().with(Kind::Impression, 7, 1).with(Kind::Click, 7, 1).with(
        Kind::Impression,
        8,
        1,
    );
    pipeline.until_api(&services.analytics, "redis", &expected).await;
    let preflights = r#"http_requests_total{route="/ads/click",method="OPTIONS",status="200"}"#;
    assert!(services.ingest.metric(preflights).await >= 1.0);
    let beacons = r#"http_requests_total{route="/ads/impression",method="OPTIONS",status="200"}"#;
    assert!(services.ingest.metric(beacons).await.eq(&0.0), "a beacon asks nobody first");
}
