//! Clients that take their time.

use std::time::Duration;

use service_kit::http::ServerLimits;
use tokio::task::JoinSet;
use tokio::time::sleep;

use crate::harness::{Server, all_of, ask, drip, get_request, is_closed, limits, send, until};

const SHORT: Duration = Duration::from_millis(100);

fn short_heads() -> ServerLimits {
    ServerLimits { header_timeout: SHORT, ..limits() }
}

fn short_idling() -> ServerLimits {
    ServerLimits { idle_timeout: SHORT, ..limits() }
}

#[tokio::test]
async fn a_client_that_stops_in_the_middle_of_its_head_is_cut() {
    let server = Server::start(short_heads()).await;
    let mut client = server.connect().await;

    send(&mut client, "GET /peer HTTP/1.1\r\nhost:").await;

    assert_eq!(all_of(&mut client).await, "");
    assert_eq!(server.closed("slow_head"), 1);
}

#[tokio::test]
async fn a_hundred_heads_that_come_byte_by_byte_are_cut_and_nobody_else_is() {
    let limits = ServerLimits { header_timeout: SHORT * 5, max_connections: 200, ..limits() };
    let server = Server::start(ServerLimits { max_connections_per_address: 200, ..limits }).await;
    let mut regular = server.connect().await;
    let mut dripping = JoinSet::new();
    for _ in 0..100 {
        let mut client = server.connect().await;
        dripping.spawn(async move {
            drip(&mut client, &get_request(&format!("/{}", "x".repeat(1000))), SHORT / 4).await;
            is_closed(&mut client).await;
        });
    }

    while !dripping.is_empty() {
        ask(&mut regular).await;
        sleep(SHORT / 4).await;
        while let Some(ended) = dripping.try_join_next() {
            ended.expect("cut without an answer");
        }
    }

    assert_eq!(server.closed("slow_head"), 100);
    ask(&mut regular).await;
}

#[tokio::test]
async fn a_head_that_is_slow_behind_another_request_is_cut_too() {
    let server = Server::start(short_heads()).await;
    let mut client = server.connect().await;

    ask(&mut client).await;
    send(&mut client, "GET /peer HTTP/1.1\r\n").await;

    assert_eq!(all_of(&mut client).await, "");
    assert_eq!(server.closed("slow_head"), 1);
}

#[tokio::test]
async fn a_connection_that_stays_idle_is_cut_whether_it_was_used_or_not() {
    let server = Server::start(short_idling()).await;
    let (mut used, mut silent) = (server.connect().await, server.connect().await);

    send(&mut used, &get_request("/peer")).await;

    assert!(all_of(&mut used).await.starts_with("HTTP/1.1 200"));
    assert_eq!(all_of(&mut silent).await, "");
    assert_eq!(server.closed("idle"), 2);
}

#[tokio::test]
async fn a_connection_may_be_idle_for_longer_than_a_head_may_take() {
    let server = Server::start(short_heads()).await;
    let mut client = server.connect().await;

    sleep(SHORT * 3).await;
    ask(&mut client).await;
    sleep(SHORT * 3).await;

    ask(&mut client).await;
}

#[tokio::test]
async fn an_answer_may_take_longer_than_a_connection_may_be_idle() {
    let server = Server::start(short_idling()).await;
    let mut client = server.connect().await;
    send(&mut client, &get_request("/slow")).await;
    server.has_arrived().await;

    sleep(SHORT * 5).await;
    server.release.add_permits(1);

    until(&mut client, "slow").await;
}

#[tokio::test]
async fn a_client_that_does_not_take_its_answers_is_cut() {
    let server =
        Server::start(ServerLimits { idle_timeout: Duration::from_secs(1), ..limits() }).await;
    let mut rude = server.connect().await;

    // More than the buffers of both ends hold.
    send(&mut rude, &get_request("/big").repeat(16)).await;

    server.until(|it| it.metric("http_connections") == 1).await;
    server.until(|it| it.metric("http_connections") == 0).await;
    drop(rude);
}
