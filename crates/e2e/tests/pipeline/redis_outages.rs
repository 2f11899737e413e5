//! A Redis that forgets, and one that is away.

use e2e::{Pipeline, Program, Sample, Watch, click, redis, until};
use proto_schemas::Kind;

#[tokio::test]
async fn a_redis_flushed_during_a_replay_changes_no_count_and_one_that_is_away_no_answer() {
    let sample = Sample::read();
    let mut redis = redis::start().await;
    let pipeline = Pipeline::with_redis("redis", &redis.url()).await;
    let services = pipeline.start_all().await;
    let (ingest, analytics) = (&services.ingest, &services.analytics);
    let watch = Watch::start(&analytics.url("/ads/analytics"));

    let replay = pipeline.replay(&sample, ingest, &["--rate", "600"]);
    for flush in 1..=3 {
        pipeline.until_counted(sample.events * flush / 4).await;
        redis::flush(&redis).await;
        until("redis is whole again", async || pipeline.redis_counts().await.is_some()).await;
    }
    assert_eq!(replay.exit_code().await, 0);
    let counts = pipeline.settle_with_api(analytics).await;
    assert_eq!(counts, sample.counts);
    let from_redis = pipeline.until_api(analytics, "redis", &counts).await;

    redis.stop().await;
    let from_postgres = pipeline.until_api(analytics, "postgres", &counts).await;
    assert_eq!(from_postgres, from_redis);

    redis.restart().await.expect("redis starts again");
    let from_redis_again = pipeline.until_api(analytics, "redis", &counts).await;
    assert_eq!(from_redis_again, from_redis);
    let watched = watch.stop().await;
    assert_eq!(watched.unanswered, 0);
    assert!(watched.answers["redis"] > 0 && watched.answers["postgres"] > 0, "{watched:?}");
}

#[tokio::test]
async fn clicks_are_counted_while_redis_is_away_and_reach_it_when_it_is_back() {
    let mut redis = redis::start().await;
    let pipeline = Pipeline::with_redis("noredis", &redis.url()).await;
    redis.stop().await;
    let ingest = pipeline.start(Program::Ingest, &[]).await;
    let _consumer = pipeline.start(Program::Consumer, &[]).await;
    let analytics = pipeline.start(Program::Analytics, &[]).await;

    let posted = pipeline.http.post(&ingest.url("/ads/click"), &click(5, "unseen-by-redis")).await;
    assert_eq!(posted.status, 200, "{}", posted.body);
    pipeline.until_counted(1).await;
    pipeline.until_api(&analytics, "postgres", &pipeline.rows().await).await;

    redis.restart().await.expect("redis starts again");
    let counts = pipeline.settle_with_api(&analytics).await;
    assert_eq!(counts.total(Kind::Click), 1);
}
