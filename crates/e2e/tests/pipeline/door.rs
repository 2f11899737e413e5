//! Clients that would keep others out.

use std::{
    net::Ipv4Addr,
    time::{Duration, Instant},
};

use e2e::{Client, IdleCrowd, Pipeline, Program, click, until};

/// Longer than a request takes on a machine that runs other tests, shorter than any timeout that
/// would end the crowd by itself.
const AT_ONCE: Duration = Duration::from_secs(15);

#[tokio::test]
async fn twenty_thousand_idle_connections_keep_nobody_out() {
    let pipeline = Pipeline::new("idlecrowd").await;
    let ingest = pipeline.start(Program::Ingest, &[]).await;

    // Twice what the service serves at once, each address a tenth of what it may have.
    let mut crowd = IdleCrowd::gather(ingest.address(), 20_000, 200);
    let mut answered = 0;
    let mut post = async |number: u32| {
        let started = Instant::now();
        // A new connection for each, as a new viewer has.
        let viewer = Client::at(Ipv4Addr::LOCALHOST);
        let answer =
            viewer.post(&ingest.url("/ads/click"), &click(1, &format!("c-{number}"))).await;
        assert_eq!(answer.status, 200, "{}", answer.body);
        assert!(started.elapsed() < AT_ONCE, "answered after {:?}", started.elapsed());
        answered += 1;
    };
    tokio::join!(crowd.connected(), async {
        for number in 0..50 {
            post(number).await;
        }
    });
    for number in 50..100 {
        post(number).await;
    }

    assert_eq!(answered, 100);
    let open = ingest.metric("http_connections").await;
    assert!((1.0..=10_000.0).contains(&open), "{open}");
    let evicted = ingest.metric("http_connections_closed_total{reason=\"evicted\"}").await;
    assert!(evicted >= 10_000.0, "{evicted} of 20,000 made room");
}

#[tokio::test]
async fn one_address_has_a_thousand_connections_at_most_while_others_come_and_go() {
    let pipeline = Pipeline::new("onecrowd").await;
    let ingest = pipeline.start(Program::Ingest, &[]).await;

    let mut crowd = IdleCrowd::gather(ingest.address(), 3000, 1);
    crowd.connected().await;

    let refused = "http_connections_closed_total{reason=\"too_many\"}";
    until("the others are closed", async || ingest.metric(refused).await >= 2000.0).await;
    let answer = pipeline.http.post(&ingest.url("/ads/click"), &click(1, "c")).await;
    assert_eq!(answer.status, 200, "{}", answer.body);
}
