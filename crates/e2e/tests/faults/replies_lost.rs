//! Row 8: what was asked for is carried out, and the answer is lost.

use e2e::{Load, Observer, Pipeline, Program, Proxy, Request, until};
use local_stack::testing::stack;

#[tokio::test]
async fn a_commit_whose_answer_is_lost_counts_every_click_once() {
    let pipeline = Pipeline::new("faultcommitlost").await;
    let proxy = Proxy::to(port_of(&stack().database_url)).await;
    lose(
        &pipeline,
        &proxy,
        Request::Commit,
        ("DATABASE_URL", &pipeline.database_url(proxy.port())),
    )
    .await;
}

#[tokio::test]
async fn a_script_of_redis_whose_answer_is_lost_adds_nothing_twice() {
    let pipeline = Pipeline::new("faultscriptlost").await;
    let proxy = Proxy::to(port_of(&stack().redis_url)).await;
    let url = format!("redis://127.0.0.1:{}", proxy.port());
    lose(&pipeline, &proxy, Request::Script, ("REDIS_URL", &url)).await;
}

/// Lets the consumer lose the answer of every sixth such request, until it has lost five.
async fn lose(pipeline: &Pipeline, proxy: &Proxy, request: Request, link: (&str, &str)) {
    let ingest = pipeline.start(Program::Ingest, &[]).await;
    let analytics = pipeline.start(Program::Analytics, &[]).await;
    let settings = [link, ("BATCH_MAX_EVENTS", "20"), ("BATCH_MAX_AGE", "10ms")];
    let _consumer = pipeline.start(Program::Consumer, &settings).await;
    let observer = Observer::start(pipeline, Some(&analytics));
    let load = Load::start(&ingest.url("/ads/click"), 2);
    load.until_accepted(50).await;

    proxy.lose_answers(request, 6);
    until("five answers are lost", async || proxy.lost() >= 5).await;
    proxy.lose_none();
    load.until_accepted(50).await;
    let sent = load.stop().await;

    pipeline.check(&[sent], Some(&analytics)).await;
    assert!(observer.stop().await.compared > 0);
}

/// The port of a server's url.
pub(crate) fn port_of(url: &str) -> u16 {
    let after = url.rsplit_once("127.0.0.1:").expect("a server of this machine").1;
    let digits = after.split('/').next().expect("a port");
    digits.parse().expect("a port")
}
