//! Row 11: the links to Postgres and Redis black-holed for 5 s, half open, and cut.

use std::time::Duration;

use e2e::{Link, Load, Observer, Pipeline, Program, Proxy, let_last};
use local_stack::testing::stack;

use crate::replies_lost::port_of;

#[tokio::test]
async fn a_link_to_postgres_that_is_silent_for_5_s_loses_and_doubles_nothing() {
    let pipeline = Pipeline::new("faultpostgreslink").await;
    let proxy = Proxy::to(port_of(&stack().database_url)).await;
    let url = pipeline.database_url(proxy.port());
    break_link(&pipeline, &proxy, ("DATABASE_URL", &url)).await;
}

#[tokio::test]
async fn a_link_to_redis_that_is_silent_for_5_s_adds_nothing_twice() {
    let pipeline = Pipeline::new("faultredislink").await;
    let proxy = Proxy::to(port_of(&stack().redis_url)).await;
    let url = format!("redis://127.0.0.1:{}", proxy.port());
    break_link(&pipeline, &proxy, ("REDIS_URL", &url)).await;
}

async fn break_link(pipeline: &Pipeline, proxy: &Proxy, link: (&str, &str)) {
    let ingest = pipeline.start(Program::Ingest, &[]).await;
    let analytics = pipeline.start(Program::Analytics, &[link]).await;
    let _consumer = pipeline.start(Program::Consumer, &[link, ("BATCH_MAX_AGE", "10ms")]).await;
    let observer = Observer::start(pipeline, Some(&analytics));
    let load = Load::start(&ingest.url("/ads/click"), 2);

    for silence in [Link::BlackHole, Link::HoldAnswers, Link::HoldRequests] {
        load.until_accepted(50).await;
        proxy.set(silence);
        let_last(Duration::from_secs(5)).await;
        proxy.set(Link::Pass);
    }
    // Cut in the middle of a slow exchange, a few times.
    proxy.set(Link::Delay(Duration::from_millis(20)));
    for _ in 0..5 {
        load.until_accepted(20).await;
        proxy.cut();
    }
    proxy.set(Link::Pass);
    load.until_accepted(50).await;
    let sent = load.stop().await;

    assert!(sent.other_answers().is_empty(), "clicks are accepted without it");
    pipeline.check(&[sent], Some(&analytics)).await;
    assert!(observer.stop().await.compared > 0);
}
