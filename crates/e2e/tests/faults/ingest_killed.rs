//! Rows 1 and 2: ingest killed, and stopped, under load.

use std::{
    collections::BTreeSet,
    time::{Duration, Instant},
};

use e2e::{Link, Load, Observer, Pipeline, Players, kafka, until};

#[tokio::test]
async fn an_ingest_killed_20_times_under_load_has_kept_every_click_it_accepted() {
    let pipeline = Pipeline::new("faultkillingest").await;
    let mut services = pipeline.start_all().await;
    let observer = Observer::start(&pipeline, Some(&services.analytics));
    let once = Load::start(&services.ingest.url("/ads/click"), 4);
    let again = Load::of(Players::persistent(), &services.ingest.url("/ads/click"));

    for _ in 0..20 {
        once.until_accepted(20).await;
        services.ingest.kill_9();
        services.ingest.restart();
    }
    services.ingest.ready().await;
    again.until_accepted(20).await;
    let sent = [once.stop().await, again.stop().await];

    assert!(sent[0].unanswered() > 0, "some were killed while they waited");
    pipeline.check(&sent, Some(&services.analytics)).await;
    assert!(observer.stop().await.compared > 0);
}

#[tokio::test]
async fn an_ingest_stopped_5_times_under_load_answers_what_it_has_begun_and_keeps_it() {
    let pipeline = Pipeline::new("faultstopingest").await;
    let mut services = pipeline.start_all().await;
    let observer = Observer::start(&pipeline, Some(&services.analytics));
    let load = Load::of(Players::persistent(), &services.ingest.url("/ads/click"));

    for _ in 0..5 {
        load.until_accepted(50).await;
        services.ingest.terminate();
        assert_eq!(services.ingest.exit_code().await, 0);
        services.ingest.restart();
        services.ingest.ready().await;
    }
    load.until_accepted(50).await;
    let sent = load.stop().await;

    assert_eq!(sent.other_answers(), BTreeSet::new(), "who is answered at all has succeeded");
    // A click is posted again until it is answered: with this patience each of them is.
    assert_eq!(sent.unanswered(), 0);
    pipeline.check(&[sent], Some(&services.analytics)).await;
    assert!(observer.stop().await.compared > 0);
}

#[tokio::test]
async fn every_request_that_is_there_when_ingest_is_stopped_is_answered() {
    /// How long Kafka takes to acknowledge, so that each player has a request under way.
    const SLOW: Duration = Duration::from_millis(300);
    /// A request that was begun this long before has certainly arrived.
    const ARRIVED: Duration = Duration::from_millis(100);
    let (_kafka, proxy) = kafka::start().await;
    let pipeline = Pipeline::on("faultstopinflight", kafka::stack_with(&proxy)).await;
    let mut services = pipeline.start_all().await;
    let observer = Observer::start(&pipeline, Some(&services.analytics));
    proxy.set(Link::Delay(SLOW));

    let (mut all, mut under_way) = (Vec::new(), 0);
    for _ in 0..5 {
        // Each click is posted once: no second try hides that the first was not answered.
        let load = Load::start(&services.ingest.url("/ads/click"), 8);
        load.until_accepted(16).await;
        until("requests are under way", async || {
            services.ingest.metric("http_requests_in_flight").await >= 4.0
        })
        .await;
        let before = load.accepted();
        services.ingest.terminate();
        let stopping = Instant::now();
        assert_eq!(services.ingest.exit_code().await, 0);
        // In one round all may have been answered since they were seen; not in each.
        under_way += load.accepted() - before;
        let sent = load.stop().await;

        let lost = sent.unanswered_since.iter().filter(|begun| **begun + ARRIVED < stopping);
        assert_eq!(lost.count(), 0, "requests that were there had no answer");
        all.push(sent);
        services.ingest.restart();
        services.ingest.ready().await;
    }
    proxy.set(Link::Pass);

    assert!(under_way > 0, "some were under way");
    pipeline.check(&all, Some(&services.analytics)).await;
    assert!(observer.stop().await.compared > 0);
}
