//! A store is away, or both are.

use std::{
    net::Ipv4Addr,
    time::{Duration, Instant},
};

use futures::future::join_all;
use reqwest::StatusCode;
use tokio::{net::TcpListener, time::timeout};

use crate::{
    harness::{PATIENCE, TestAnalytics},
    stores::Stores,
};

/// Short, since here it is waited for in vain.
const SHORT_BUDGET: [(&str, &str); 1] = [("ANALYTICS_REDIS_BUDGET", "50ms")];

/// Nobody listens on port 1.
const NO_POSTGRES: (&str, &str) = ("DATABASE_URL", "postgres://ads@127.0.0.1:1/ads");
const NO_REDIS: (&str, &str) = ("REDIS_URL", "redis://127.0.0.1:1");

#[tokio::test]
async fn a_stopped_redis_changes_no_answer_and_is_used_again_when_it_is_back() {
    let mut stores = Stores::counted("stopped").await;
    let analytics = TestAnalytics::start_with(&stores, &SHORT_BUDGET).await;
    let before = analytics.until_analytics_from("redis").await;
    let ads = analytics.ads().await.body;

    stores.redis.stop().await;
    assert_eq!(analytics.analytics().await.from("postgres"), before);
    assert_eq!(analytics.ads().await.from("postgres"), ads);
    assert_eq!(analytics.readyz().await.0, StatusCode::OK);

    // It comes back empty.
    stores.redis.restart().await.unwrap();
    stores.repair().await;
    assert_eq!(analytics.until_analytics_from("redis").await, before);
}

#[tokio::test]
async fn a_dead_redis_does_not_cost_every_read_its_budget() {
    let mut stores = Stores::counted("dead").await;
    let analytics = TestAnalytics::start_with(&stores, &SHORT_BUDGET).await;
    stores.redis.kill();

    for _ in 0..100 {
        analytics.analytics().await.from("postgres");
    }

    let asked = analytics.fallbacks("budget").await + analytics.fallbacks("error").await;
    let spared = analytics.fallbacks("breaker_open").await;
    assert_eq!(asked + spared, 100);
    // Three that open it, and one each second that tries again.
    assert!((3..50).contains(&asked), "{asked}");
    assert!(analytics.metric("analytics_redis_breaker_opened_total").await >= 1);
    let closed = analytics.metric(r#"analytics_redis_breaker_state{state="closed"}"#).await;
    assert_eq!(closed, 0);
}

#[tokio::test]
async fn whether_a_redis_is_back_to_which_there_is_no_connection_is_not_asked() {
    let stores = Stores::counted("unconnected").await;
    let settings = [NO_REDIS, SHORT_BUDGET[0]];
    let analytics = TestAnalytics::start_with(&stores, &settings).await;

    // Time enough to ask twice.
    let start = Instant::now();
    while start.elapsed() < Duration::from_millis(2_500) {
        analytics.analytics().await.from("postgres");
    }

    let asked = analytics.fallbacks("budget").await + analytics.fallbacks("error").await;
    assert_eq!(asked, 3, "as many as open the breaker");
}

#[tokio::test]
async fn redis_goes_on_answering_while_postgres_is_away() {
    let stores = Stores::counted("pgaway").await;
    let analytics = TestAnalytics::start(&stores).await;
    let before = analytics.analytics().await.from("redis");
    let ads = analytics.ads().await.from("postgres");

    stores.take_postgres_away().await;
    let failed = r#"analytics_view_polls_total{outcome="error"}"#;
    analytics.until("polled in vain", async |it| it.metric(failed).await >= 2).await;

    assert_eq!(analytics.analytics().await.from("redis"), before);
    assert_eq!(analytics.ads().await.from("redis"), ads);
    assert_eq!(analytics.readyz().await.0, StatusCode::OK);
    assert!(analytics.view_age_seconds().await > 0.0);
    stores.bring_postgres_back().await;
}

#[tokio::test]
async fn the_list_of_ads_outlives_its_time_while_postgres_is_away() {
    let stores = Stores::counted("keptads").await;
    let analytics = TestAnalytics::start(&stores).await;
    let ads = analytics.ads().await.from("postgres");

    stores.take_postgres_away().await;
    stores.lose("active-ads").await;
    assert_eq!(analytics.ads().await.from("redis"), ads);

    // What an operator has cleared is not brought back.
    stores.ads_cache.clear().await.unwrap();
    analytics.ads().await.assert_unavailable();
    stores.bring_postgres_back().await;
}

#[tokio::test]
async fn with_both_stores_away_the_client_is_told_to_come_back() {
    let stores = Stores::counted("bothaway").await;
    let analytics = TestAnalytics::start(&stores).await;
    let before = analytics.analytics().await.from("redis");

    stores.take_postgres_away().await;
    stores.flush_redis().await;
    analytics.analytics().await.assert_unavailable();
    analytics.ads().await.assert_unavailable();
    analytics.until("not ready", async |it| it.readyz().await.0 != StatusCode::OK).await;
    let reason = analytics.readyz().await.1;
    assert!(reason.starts_with("stores: neither store can answer: "), "{reason}");

    stores.bring_postgres_back().await;
    assert_eq!(analytics.until_analytics_from("postgres").await, before);
    analytics.until("ready again", async |it| it.readyz().await.0 == StatusCode::OK).await;
}

#[tokio::test]
async fn a_service_that_starts_without_any_store_lives_and_says_so() {
    let settings = [NO_POSTGRES, NO_REDIS, SHORT_BUDGET[0]];
    let analytics = TestAnalytics::start_unready(&settings).await;

    analytics.analytics().await.assert_unavailable();
    analytics.ads().await.assert_unavailable();

    assert_eq!(analytics.admin("/livez").await.0, StatusCode::OK);
    assert_eq!(analytics.readyz().await.0, StatusCode::SERVICE_UNAVAILABLE);
}

#[tokio::test]
async fn redis_alone_means_nothing_to_a_service_that_has_never_heard_of_postgres() {
    let stores = Stores::counted("neverheard").await;
    let (url, prefix) = (stores.redis.url(), stores.scope.redis_prefix.as_str());
    let settings = [NO_POSTGRES, ("REDIS_URL", url.as_str()), ("REDIS_PREFIX", prefix)];
    let analytics = TestAnalytics::start_unready(&settings).await;

    analytics.analytics().await.assert_unavailable();

    assert_eq!(analytics.fallbacks("no_view").await, 1);
    assert_eq!(analytics.readyz().await.0, StatusCode::SERVICE_UNAVAILABLE);
}

#[tokio::test]
async fn stores_that_take_connections_and_never_answer_hold_no_request_up() {
    // Connections wait in the system's queue and are never accepted.
    let deaf = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let port = deaf.local_addr().unwrap().port();
    let database_url = format!("postgres://ads@127.0.0.1:{port}/ads");
    let redis_url = format!("redis://127.0.0.1:{port}");
    let analytics = TestAnalytics::start_unready(&[
        ("DATABASE_URL", &database_url),
        ("REDIS_URL", &redis_url),
        ("ANALYTICS_POSTGRES_TIMEOUT", "200ms"),
        SHORT_BUDGET[0],
    ])
    .await;

    // Not one after the other: a request waits for two reads at most.
    let both = (0..200).map(async |number| match number % 2 {
        0 => analytics.analytics().await,
        _ => analytics.ads().await,
    });
    let answers = timeout(PATIENCE.min(Duration::from_secs(20)), join_all(both)).await;

    for answer in answers.expect("all are answered") {
        answer.assert_unavailable();
    }
}
