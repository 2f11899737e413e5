//! Every refusal of the analytics service, over real HTTP, and what it lists.

use e2e::{Answer, Pipeline, Program};
use reqwest::Method;

#[tokio::test]
async fn other_routes_and_methods_of_the_analytics_have_their_errors() {
    let pipeline = Pipeline::new("routes").await;
    let analytics = pipeline.start(Program::Analytics, &[]).await;

    let unknown = pipeline.http.get(&analytics.url("/ads/1")).await;
    assert_eq!((unknown.status, unknown.error_code().as_str()), (404, "not_found"));

    for path in ["/ads", "/ads/analytics"] {
        let post = Answer::to(pipeline.http.request(Method::POST, &analytics.url(path))).await;
        assert_eq!((post.status, post.error_code().as_str()), (405, "method_not_allowed"));
        assert!(post.header("allow").contains("GET"), "{post:?}");
    }
}

#[tokio::test]
async fn without_redis_and_postgres_the_analytics_say_when_to_try_again() {
    let pipeline = Pipeline::new("nostores").await;
    let nowhere =
        [("REDIS_URL", "redis://127.0.0.1:1"), ("DATABASE_URL", "postgres://ads@127.0.0.1:1/ads")];
    let mut analytics = pipeline.spawn(Program::Analytics, &nowhere);
    analytics.alive().await;

    for path in ["/ads", "/ads/analytics"] {
        let refused = pipeline.http.get(&analytics.url(path)).await;
        assert_eq!((refused.status, refused.error_code().as_str()), (503, "unavailable"));
        assert!(refused.retry_after_secs().is_some_and(|wait| wait >= 1), "{refused:?}");
    }
}

#[tokio::test]
async fn the_registered_ads_are_listed_until_they_are_deactivated() {
    let pipeline = Pipeline::new("listed").await;
    let analytics = pipeline.start(Program::Analytics, &[]).await;
    let listed = async || pipeline.http.get(&analytics.url("/ads")).await;

    let all = listed().await;
    assert_eq!(all.status, 200, "{}", all.body);
    assert_eq!(all.json().as_array().map(Vec::len), Some(34));
    assert_eq!(
        all.json()[0],
        serde_json::json!({
            "id": 1,
            "image_url": "https://example.com/ad1.jpg",
            "target_url": "https://example.com/click1",
        })
    );

    assert_eq!(pipeline.adctl(&["ads", "deactivate", "1"]).exit_code().await, 0);
    e2e::until("the ad is not listed any more", async || {
        listed().await.json().as_array().is_some_and(|ads| ads.len() == 33)
    })
    .await;
    let counts = pipeline.http.get(&analytics.url("/ads/analytics")).await.json();
    assert_eq!(counts.as_array().map(Vec::len), Some(34), "it still stands in the analytics");
}
