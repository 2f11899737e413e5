//! However an event comes in, it is the same event.

use e2e::{Answer, Counts, Pipeline, Program, click};
use proto_schemas::Kind;
use reqwest::Method;
use serde_json::json;

const KEY: &str = "0123456789abcdef0123456789abcdef";

#[tokio::test]
async fn the_same_click_by_every_way_in_counts_once() {
    let pipeline = Pipeline::new("waysin").await;
    // The link leads back here, to what is no page.
    let ingest = pipeline.start(Program::Ingest, &[("LINK_SIGNING_KEY", KEY)]).await;
    let _consumer = pipeline.start(Program::Consumer, &[]).await;
    let mut event = click(7, "e-1");
    let timestamp = event["timestamp"].as_str().expect("a timestamp").to_owned();
    let made = pipeline.adctl(&[
        "link",
        "--ingest",
        &ingest.url(""),
        "--ad",
        "7",
        "--to",
        &ingest.url("/nowhere"),
        "--signing-key",
        KEY,
    ]);
    let log = made.log().to_owned();
    assert_eq!(made.exit_code().await, 0);
    let made = std::fs::read_to_string(log).expect("a log");
    let link = made.lines().last().expect("a link");

    let alone = pipeline.http.post(&ingest.url("/ads/click"), &event).await;
    event["type"] = "click".into();
    let batch = pipeline.http.post(&ingest.url("/ads/events"), &json!([event, event])).await;
    let query = format!("ad_id=7&ts={timestamp}&event_id=e-1");
    let pixel = pipeline.http.get(&ingest.url(&format!("/ads/click.gif?{query}"))).await;
    let followed = format!("{link}&ts={timestamp}&event_id=e-1");
    let led_on = Answer::to(pipeline.http.request(Method::GET, &followed)).await;

    let id = &alone.json()["click_id"];
    assert!(id.is_string(), "{}", alone.body);
    for verdict in batch.json()["results"].as_array().expect("verdicts") {
        assert_eq!(&verdict["click_id"], id);
    }
    assert_eq!((pixel.status, led_on.status), (200, 404));
    pipeline.until_counted(5).await;
    assert_eq!(pipeline.settle().await, Counts::zero().with(Kind::Click, 7, 1));
}
