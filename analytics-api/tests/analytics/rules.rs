//! When Redis is not believed: never a partial number, none of another time, none that goes back.

use click_store::{offsets, totals};
use proto_schemas::Kind;

use crate::{harness::TestAnalytics, stores::Stores};

#[tokio::test]
async fn with_a_partition_missing_in_redis_the_answer_is_whole_and_from_postgres() {
    let stores = Stores::counted("missing").await;
    let analytics = TestAnalytics::start(&stores).await;
    let whole = analytics.analytics().await.from("redis");

    stores.lose_partition(&stores.partition(Kind::Click, 1)).await;

    assert_eq!(analytics.analytics().await.from("postgres"), whole);
    assert_eq!(analytics.fallbacks("not_whole").await, 1);
    stores.repair().await;
    assert_eq!(analytics.analytics().await.from("redis"), whole);
}

#[tokio::test]
async fn a_flushed_redis_is_answered_for_by_postgres_until_it_is_repaired() {
    let stores = Stores::counted("flushed").await;
    let analytics = TestAnalytics::start(&stores).await;
    let before = analytics.analytics().await.from("redis");

    stores.flush_redis().await;
    assert_eq!(analytics.analytics().await.from("postgres"), before);

    stores.repair().await;
    assert_eq!(analytics.analytics().await.from("redis"), before);
}

#[tokio::test]
async fn a_new_epoch_is_answered_from_postgres_until_redis_carries_it() {
    let stores = Stores::counted("epoch").await;
    let analytics = TestAnalytics::start(&stores).await;
    let before = analytics.analytics().await.from("redis");

    offsets::renew_epoch(&stores.pool, "a test").await.unwrap();
    // Until the next poll the reader believes the epoch that it knows.
    assert_eq!(analytics.until_analytics_from("postgres").await, before);

    stores.repair().await;
    assert_eq!(analytics.analytics().await.from("redis"), before);
}

#[tokio::test]
async fn a_hash_of_the_next_epoch_is_not_mixed_with_those_of_this_one() {
    let stores = Stores::counted("mixed").await;
    let analytics = TestAnalytics::start(&stores).await;
    let before = analytics.analytics().await.from("redis");

    offsets::renew_epoch(&stores.pool, "a test").await.unwrap();
    let at = stores.partition(Kind::Click, 1);
    click_store::repair::repair(&stores.pool, &stores.projection, &at).await.unwrap();

    // Whether or not the reader knows of the new epoch by now, there are hashes of both.
    assert_eq!(analytics.analytics().await.from("postgres"), before);
    assert_eq!(analytics.analytics().await.from("postgres"), before);
}

#[tokio::test]
async fn a_partition_that_is_seen_for_the_first_time_is_waited_for() {
    let stores = Stores::counted("grown").await;
    let analytics = TestAnalytics::start(&stores).await;
    analytics.analytics().await.from("redis");

    let new = stores.partition(Kind::Click, 7);
    offsets::ensure(&stores.pool, &[(new, Kind::Click)]).await.unwrap();
    stores.count(Kind::Click, 7, 3, 5).await;

    let body = analytics.until_analytics_from("postgres").await;
    assert!(body.contains(r#"{"ad_id":3,"click_count":5,"#), "{body}");
    stores.repair().await;
    assert_eq!(analytics.analytics().await.from("redis"), body);
}

#[tokio::test]
async fn redis_behind_what_was_shown_before_is_not_believed() {
    let stores = Stores::counted("behind").await;
    let analytics = TestAnalytics::start(&stores).await;
    analytics.analytics().await.from("redis");
    let at = stores.partition(Kind::Click, 1);
    let old = totals::of_partition(&stores.pool, &at).await.unwrap().unwrap();

    // Postgres counts on and shows it, because Redis has lost the partition.
    stores.count(Kind::Click, 1, 1, 10).await;
    stores.lose_partition(&at).await;
    let shown = analytics.analytics().await.from("postgres");
    assert!(shown.contains(r#"{"ad_id":1,"click_count":60,"#), "{shown}");

    // A write that was late brings the partition back as it was.
    assert!(stores.projection.replace(&at, None, &old).await.unwrap());
    assert_eq!(analytics.analytics().await.from("postgres"), shown);
    assert_eq!(analytics.fallbacks("behind_mark").await, 1);

    stores.repair().await;
    assert_eq!(analytics.analytics().await.from("redis"), shown);
}

#[tokio::test]
async fn redis_behind_what_itself_has_shown_is_not_believed() {
    let stores = Stores::counted("setback").await;
    let analytics = TestAnalytics::start(&stores).await;
    let at = stores.partition(Kind::Click, 1);
    let old = totals::of_partition(&stores.pool, &at).await.unwrap().unwrap();
    stores.count(Kind::Click, 1, 1, 10).await;
    stores.repair().await;
    let shown = analytics.analytics().await.from("redis");

    stores.lose_partition(&at).await;
    assert!(stores.projection.replace(&at, None, &old).await.unwrap());

    assert_eq!(analytics.analytics().await.from("postgres"), shown);
    assert_eq!(analytics.fallbacks("behind_mark").await, 1);
}

#[tokio::test]
async fn redis_that_lags_without_ever_having_been_ahead_is_believed() {
    let stores = Stores::counted("lags").await;
    let analytics = TestAnalytics::start(&stores).await;
    let before = analytics.analytics().await.from("redis");

    // The increment is still on its way.
    stores.count(Kind::Click, 1, 1, 10).await;
    analytics.until_polled_anew().await;

    assert_eq!(analytics.analytics().await.from("redis"), before);
}
