//! A server that is asked to stop.

use std::time::Duration;

use service_kit::http::ServerLimits;
use tokio::task::JoinSet;

use crate::harness::{Server, all_of, ask, get_request, limits, send};

#[tokio::test]
async fn a_request_in_flight_at_shutdown_is_answered() {
    let server = Server::start(limits()).await;
    let mut client = server.connect().await;
    send(&mut client, &get_request("/slow")).await;
    server.has_arrived().await;

    server.shutdown.cancel();
    server.release.add_permits(1);

    let answer = all_of(&mut client).await;
    assert!(answer.starts_with("HTTP/1.1 200") && answer.ends_with("slow"), "{answer}");
    assert!(answer.contains("connection: close\r\n"), "{answer}");
    drop(client);
    server.stopped().await;
}

#[tokio::test]
async fn requests_that_are_on_their_way_at_shutdown_are_answered() {
    let server = Server::start(limits()).await;
    let mut clients = JoinSet::new();
    for number in 0..20 {
        let mut client = server.connect().await;
        // Some connections were used before, some are new.
        if number % 2 == 0 {
            ask(&mut client).await;
        }
        clients.spawn(async move {
            send(&mut client, &get_request("/peer")).await;
            all_of(&mut client).await
        });
    }
    // In the system's queue, not accepted yet, with its request.
    let mut queued = server.connect().await;
    send(&mut queued, &get_request("/peer")).await;

    server.shutdown.cancel();

    while let Some(answer) = clients.join_next().await {
        assert!(answer.expect("no panic").starts_with("HTTP/1.1 200"));
    }
    assert!(all_of(&mut queued).await.starts_with("HTTP/1.1 200"));
    server.stopped().await;
}

#[tokio::test]
async fn a_client_that_goes_on_asking_is_told_to_go_with_an_answer() {
    let server = Server::start(limits()).await;
    let mut client = server.connect().await;
    ask(&mut client).await;

    server.shutdown.cancel();
    send(&mut client, &get_request("/peer")).await;

    let answer = all_of(&mut client).await;
    assert!(answer.starts_with("HTTP/1.1 200") && answer.contains("connection: close"), "{answer}");
    server.stopped().await;
}

#[tokio::test]
async fn idle_connections_do_not_hold_up_shutdown() {
    let server = Server::start(limits()).await;
    let mut used = server.connect().await;
    ask(&mut used).await;
    let _never_used = server.connect().await;
    let mut half_a_head = server.connect().await;
    send(&mut half_a_head, "GET /peer").await;

    server.shutdown.cancel();

    server.stopped().await;
}

#[tokio::test]
async fn a_request_that_outlives_the_grace_period_is_cut() {
    let limits = ServerLimits { shutdown_grace: Duration::from_millis(100), ..limits() };
    let server = Server::start(limits).await;
    let mut client = server.connect().await;
    send(&mut client, &get_request("/slow")).await;
    server.has_arrived().await;

    server.shutdown.cancel();

    server.stopped().await;
    assert_eq!(all_of(&mut client).await, "");
}
