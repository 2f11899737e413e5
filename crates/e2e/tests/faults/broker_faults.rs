//! Rows 5, 6, 8 and 11 as far as Kafka goes: the broker frozen, killed, away, and its answers lost.

use std::time::Duration;

use e2e::{Link, Load, Observer, Pipeline, Players, Request, freeze, kafka, let_last, thaw, until};

/// What a player waits at most, without a spool: `INGEST_PRODUCE_TIMEOUT` (2 s), half a second for
/// the answer, and what a busy machine adds.
const DEADLINE: Duration = Duration::from_secs(5);

/// Exit codes of a process that ended in good order, aborted, or met a fault of memory.
const ENDED: [i32; 3] = [0, 134, 139];

#[tokio::test]
async fn a_broker_frozen_for_20_s_makes_no_request_hang_and_loses_nothing() {
    let (kafka, proxy) = kafka::start().await;
    let pipeline = Pipeline::on("faultfrozen", kafka::stack_with(&proxy)).await;
    let services = pipeline.start_all().await;
    let observer = Observer::start(&pipeline, Some(&services.analytics));
    let load = Load::of(Players::default(), &services.ingest.url("/ads/click"));
    load.until_accepted(100).await;

    freeze(&kafka);
    let_last(Duration::from_secs(20)).await;
    thaw(&kafka);
    load.until_accepted(200).await;
    let sent = load.stop().await;

    assert!(sent.slowest < DEADLINE, "{:?}", sent.slowest);
    assert!(sent.other_answers().contains(&503), "nobody was refused");
    pipeline.check(&[sent], Some(&services.analytics)).await;
    assert!(observer.stop().await.compared > 0);
}

#[tokio::test]
async fn a_broker_killed_5_times_makes_no_request_hang_and_loses_nothing() {
    let (mut kafka, proxy) = kafka::start().await;
    let pipeline = Pipeline::on("faultkilledbroker", kafka::stack_with(&proxy)).await;
    let services = pipeline.start_all().await;
    let observer = Observer::start(&pipeline, Some(&services.analytics));
    let load = Load::of(Players::persistent(), &services.ingest.url("/ads/click"));

    for _ in 0..5 {
        load.until_accepted(50).await;
        kafka.kill();
        proxy.cut();
        kafka.restart().await.expect("kafka starts again");
    }
    load.until_accepted(100).await;
    let sent = load.stop().await;

    assert!(sent.slowest < DEADLINE, "{:?}", sent.slowest);
    pipeline.check(&[sent], Some(&services.analytics)).await;
    assert!(observer.stop().await.compared > 0);
}

#[tokio::test]
async fn a_consumer_told_to_stop_while_the_broker_is_dead_costs_nothing() {
    let (mut kafka, proxy) = kafka::start().await;
    let pipeline = Pipeline::on("faultdeadbroker", kafka::stack_with(&proxy)).await;
    let mut services = pipeline.start_all().await;
    let observer = Observer::start(&pipeline, Some(&services.analytics));
    let load = Load::of(Players::persistent(), &services.ingest.url("/ads/click"));

    for _ in 0..2 {
        load.until_accepted(100).await;
        kafka.kill();
        proxy.cut();
        services.consumer.terminate();
        let code = services.consumer.exit_code().await;
        assert!(ENDED.contains(&code), "exit code {code}");
        kafka.restart().await.expect("kafka starts again");
        services.consumer.restart();
    }
    load.until_accepted(50).await;
    let sent = load.stop().await;

    pipeline.check(&[sent], Some(&services.analytics)).await;
    assert!(observer.stop().await.offsets > 0);
}

#[tokio::test]
async fn a_produce_whose_answer_is_lost_is_counted_once() {
    let (_kafka, proxy) = kafka::start().await;
    let pipeline = Pipeline::on("faultproducelost", kafka::stack_with(&proxy)).await;
    let services = pipeline.start_all().await;
    let observer = Observer::start(&pipeline, Some(&services.analytics));
    let load = Load::of(Players::persistent(), &services.ingest.url("/ads/click"));
    load.until_accepted(50).await;

    proxy.lose_answers(Request::Produce, 10);
    until("five answers are lost", async || proxy.lost() >= 5).await;
    proxy.lose_none();
    load.until_accepted(100).await;
    let sent = load.stop().await;

    assert!(sent.slowest < DEADLINE, "{:?}", sent.slowest);
    pipeline.check(&[sent], Some(&services.analytics)).await;
    assert!(observer.stop().await.compared > 0);
}

#[tokio::test]
async fn a_black_hole_of_5_s_before_kafka_and_a_half_open_link_lose_nothing() {
    let (_kafka, proxy) = kafka::start().await;
    let pipeline = Pipeline::on("faultkafkahole", kafka::stack_with(&proxy)).await;
    let services = pipeline.start_all().await;
    let observer = Observer::start(&pipeline, Some(&services.analytics));
    let load = Load::of(Players::default(), &services.ingest.url("/ads/click"));

    for link in [Link::BlackHole, Link::HoldAnswers] {
        load.until_accepted(50).await;
        proxy.set(link);
        let_last(Duration::from_secs(5)).await;
        proxy.set(Link::Pass);
    }
    load.until_accepted(100).await;
    let sent = load.stop().await;

    assert!(sent.slowest < DEADLINE, "{:?}", sent.slowest);
    pipeline.check(&[sent], Some(&services.analytics)).await;
    assert!(observer.stop().await.compared > 0);
}
