//! What the two routes answer, byte by byte.

use click_store::ads;
use proto_schemas::{AdId, Kind};
use serde_json::Value;

use crate::{
    harness::TestAnalytics,
    stores::{Stores, ad},
};

/// What [`Stores::counted`] amounts to. Ad 3 has no event, ad 4 is not active.
const COUNTED: &str = concat!(
    r#"[{"ad_id":1,"click_count":50,"impressions":250,"ctr":20},"#,
    r#"{"ad_id":2,"click_count":4,"impressions":3,"ctr":133.33},"#,
    r#"{"ad_id":3,"click_count":0,"impressions":0,"ctr":0},"#,
    r#"{"ad_id":4,"click_count":1,"impressions":8,"ctr":12.5}]"#,
);

#[tokio::test]
async fn both_stores_give_the_same_bytes() {
    let stores = Stores::counted("samebytes").await;
    let analytics = TestAnalytics::start(&stores).await;

    let from_redis = analytics.analytics().await.from("redis");
    stores.flush_redis().await;
    let from_postgres = analytics.analytics().await.from("postgres");

    assert_eq!(from_redis, COUNTED);
    assert_eq!(from_postgres, from_redis);
}

#[tokio::test]
async fn an_inactive_ad_stands_in_the_analytics_but_not_in_the_list() {
    let stores = Stores::counted("inactive").await;
    let analytics = TestAnalytics::start(&stores).await;

    let all = ids(&analytics.analytics().await.from("redis"), "ad_id");
    let listed = ids(&analytics.ads().await.from("postgres"), "id");

    assert_eq!(all, [1, 2, 3, 4]);
    assert_eq!(listed, [1, 2, 3]);
}

#[tokio::test]
async fn an_ad_that_was_registered_just_now_is_listed_with_zeros_in_both() {
    let stores = Stores::counted("newad").await;
    let analytics = TestAnalytics::start(&stores).await;
    ads::add(&stores.pool, &[ad(9)]).await.unwrap();

    analytics.until_polled_anew().await;

    let from_redis = analytics.analytics().await.from("redis");
    let nothing = r#"{"ad_id":9,"click_count":0,"impressions":0,"ctr":0}"#;
    assert!(from_redis.contains(nothing), "{from_redis}");
    stores.flush_redis().await;
    assert_eq!(analytics.analytics().await.from("postgres"), from_redis);
}

#[tokio::test]
async fn before_anything_was_counted_every_ad_has_zeros() {
    let stores = Stores::new("nothing").await;
    let analytics = TestAnalytics::start(&stores).await;

    let body = analytics.analytics().await.from("postgres");

    assert_eq!(body.matches(r#""click_count":0,"impressions":0,"ctr":0}"#).count(), 4);
}

#[tokio::test]
async fn the_list_of_ads_is_the_same_from_both_stores() {
    let stores = Stores::counted("listads").await;
    let analytics = TestAnalytics::start(&stores).await;

    let from_postgres = analytics.ads().await.from("postgres");
    let from_redis = analytics.ads().await.from("redis");

    assert_eq!(from_redis, from_postgres);
    let expected: Vec<_> = (1..=3)
        .map(|id| {
            format!(
                r#"{{"id":{id},"image_url":"https://ads.example/{id}.jpg","target_url":"https://ads.example/go/{id}?a=1&b=\"2\""}}"#
            )
        })
        .collect();
    assert_eq!(from_postgres, format!("[{}]", expected.join(",")));
}

#[tokio::test]
async fn an_ad_that_is_deactivated_leaves_the_list_at_once() {
    let stores = Stores::counted("deactivated").await;
    let analytics = TestAnalytics::start(&stores).await;
    analytics.ads().await.from("postgres");
    analytics.ads().await.from("redis");

    ads::set_active(&stores.pool, AdId::new(2).unwrap(), false).await.unwrap();
    stores.ads_cache.clear().await.unwrap();

    assert_eq!(ids(&analytics.ads().await.from("postgres"), "id"), [1, 3]);
}

#[tokio::test]
async fn clicks_that_redis_is_told_of_are_in_the_next_answer() {
    let stores = Stores::counted("next").await;
    let analytics = TestAnalytics::start(&stores).await;
    analytics.analytics().await.from("redis");

    stores.count(Kind::Click, 1, 3, 7).await;
    stores.repair().await;

    let body = analytics.analytics().await.from("redis");
    assert!(body.contains(r#"{"ad_id":3,"click_count":7,"impressions":0,"ctr":0}"#), "{body}");
}

#[tokio::test]
async fn an_answer_may_be_shared_for_its_age() {
    let stores = Stores::counted("shared").await;
    let analytics = TestAnalytics::start_with(&stores, &[("ANALYTICS_MAX_AGE", "1m")]).await;
    let first = analytics.analytics().await.from("redis");

    stores.count(Kind::Click, 1, 3, 7).await;
    stores.flush_redis().await;

    assert_eq!(analytics.analytics().await.from("redis"), first);
}

fn ids(body: &str, field: &str) -> Vec<u64> {
    let ads: Vec<Value> = serde_json::from_str(body).unwrap();
    ads.iter().map(|it| it[field].as_u64().unwrap()).collect()
}
