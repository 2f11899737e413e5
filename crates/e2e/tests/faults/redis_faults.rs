//! Row 9: Redis killed, flushed, without its scripts, and back with an older dump.

use e2e::{Load, Observer, Pipeline, redis, until};

#[tokio::test]
async fn whatever_redis_forgets_it_is_right_again_and_the_api_never_above_postgres() {
    let mut redis = redis::start().await;
    let pipeline = Pipeline::with_redis("faultredis", &redis.url()).await;
    let services = pipeline.start_all().await;
    let analytics = &services.analytics;
    let observer = Observer::start(&pipeline, Some(analytics));
    let load = Load::start(&services.ingest.url("/ads/click"), 2);
    let whole =
        async || until("redis is whole", async || pipeline.redis_counts().await.is_some()).await;
    load.until_accepted(50).await;
    whole().await;

    // Killed, and empty when it is back.
    redis.kill();
    load.until_accepted(50).await;
    redis.restart().await.expect("redis starts again");
    whole().await;

    redis::tell(&redis, "FLUSHALL").await;
    load.until_accepted(50).await;
    whole().await;

    redis::tell(&redis, "SCRIPT FLUSH").await;
    load.until_accepted(50).await;
    whole().await;

    // A dump of this moment, which a start later on reads.
    redis::tell(&redis, "SAVE").await;
    let dumped = pipeline.redis_counts().await.expect("whole");
    load.until_accepted(100).await;
    redis.kill();
    load.until_accepted(50).await;
    redis.restart().await.expect("redis starts again");
    until("redis is past its old dump", async || {
        pipeline.redis_counts().await.is_some_and(|it| it != dumped && dumped.at_most(&it))
    })
    .await;
    load.until_accepted(50).await;
    let sent = load.stop().await;

    pipeline.check(&[sent], Some(analytics)).await;
    let seen = observer.stop().await;
    for source in ["redis", "postgres"] {
        assert!(seen.answers.contains_key(&(200, source.to_owned())), "{seen:?}");
    }
}
