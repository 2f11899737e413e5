//! Too many connections, and too many requests.

use std::net::Ipv4Addr;
use std::time::Duration;

use service_kit::http::{self, ServerLimits};
use service_kit::settings::{Cidrs, Value as _};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::harness::{
    MAX_IN_FLIGHT, SOON, Server, all_of, ask, get_request, is_closed, limits, send, until,
};

const NEIGHBOUR: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 2);

#[tokio::test]
async fn a_connection_over_the_cap_waits_while_all_others_are_busy() {
    let server = Server::start(ServerLimits { max_connections: 1, ..limits() }).await;
    let mut first = server.connect().await;
    send(&mut first, &get_request("/slow")).await;
    server.has_arrived().await;
    let mut second = server.connect().await;
    send(&mut second, &get_request("/slow")).await;

    let too_early = timeout(Duration::from_millis(200), server.arrived.acquire()).await;
    assert!(too_early.is_err(), "the second connection was served beside the first");

    drop(first);
    server.has_arrived().await;
}

#[tokio::test]
async fn a_thousand_who_connect_at_once_are_let_in_without_trying_again() {
    let allowed = std::fs::read_to_string("/proc/sys/net/core/somaxconn").expect("Linux");
    let at_once = allowed.trim().parse().map_or(1_000, |it: usize| it.min(1_000));
    let listener = http::listen((Ipv4Addr::LOCALHOST, 0).into()).await.expect("a port");
    let address = listener.local_addr().expect("its address");

    // Nobody accepts, so that whoever finds no room never gets in.
    let mut connected = Vec::new();
    for number in 0..at_once {
        let client = timeout(SOON, TcpStream::connect(address)).await;
        connected.push(client.unwrap_or_else(|_| panic!("no room for number {number}")));
    }

    assert!(connected.iter().all(Result::is_ok));
}

#[tokio::test]
async fn the_connection_that_was_idle_for_longest_makes_room_for_a_new_one() {
    let server = Server::start(ServerLimits { max_connections: 3, ..limits() }).await;
    let mut silent = server.connect().await;
    server.until(|it| it.metric("http_connections") == 1).await;
    let mut busy = server.connect().await;
    send(&mut busy, &get_request("/slow")).await;
    server.has_arrived().await;
    let mut used = server.connect().await;
    ask(&mut used).await;

    let mut new = server.connect().await;
    ask(&mut new).await;

    is_closed(&mut silent).await;
    ask(&mut used).await;
    server.release.add_permits(1);
    until(&mut busy, "slow").await;
    assert_eq!((server.closed("evicted"), server.metric("http_connections")), (1, 3));
}

#[tokio::test]
async fn slow_heads_make_room_too() {
    let server = Server::start(ServerLimits { max_connections: 20, ..limits() }).await;
    let mut slow = Vec::new();
    for _ in 0..20 {
        let mut client = server.connect().await;
        send(&mut client, "GET /peer HTTP/1.1\r\nhost:").await;
        slow.push(client);
    }

    for _ in 0..20 {
        server.serves().await;
    }
}

#[tokio::test]
async fn one_address_has_only_its_share_of_connections() {
    let server = Server::start(ServerLimits { max_connections_per_address: 2, ..limits() }).await;
    let mut greedy = [server.connect().await, server.connect().await];
    for client in &mut greedy {
        ask(client).await;
    }

    let mut third = server.connect().await;
    is_closed(&mut third).await;
    assert_eq!(server.closed("too_many"), 1);
    ask(&mut server.connect_from(NEIGHBOUR).await).await;

    let [first, _second] = greedy;
    drop(first);
    server.until(|it| it.metric("http_connections") == 1).await;
    ask(&mut server.connect().await).await;
}

#[tokio::test]
async fn a_load_balancer_has_as_many_connections_as_there_are() {
    let many_connections = Cidrs::parse("127.0.0.1").expect("a network");
    let limits = ServerLimits { max_connections_per_address: 1, many_connections, ..limits() };
    let server = Server::start(limits).await;

    let mut clients: Vec<TcpStream> = Vec::new();
    for _ in 0..10 {
        clients.push(server.connect().await);
    }

    for client in &mut clients {
        ask(client).await;
    }
}

#[tokio::test]
async fn requests_beyond_what_is_in_flight_get_a_503_before_their_body_is_read() {
    let server = Server::start(limits()).await;
    let mut busy = Vec::new();
    for _ in 0..MAX_IN_FLIGHT {
        let mut client = server.connect().await;
        send(&mut client, &get_request("/slow")).await;
        server.has_arrived().await;
        busy.push(client);
    }
    let in_flight = server.metric("http_requests_in_flight");

    let mut shed = server.connect().await;
    // A body that was waited for would be a 408, or no answer.
    send(&mut shed, "POST /body HTTP/1.1\r\nhost: test\r\ncontent-length: 9\r\n\r\n").await;
    let answer = all_of(&mut shed).await;

    assert!(answer.starts_with("HTTP/1.1 503"), "{answer}");
    assert!(answer.contains("retry-after: 2\r\n"), "{answer}");
    assert!(answer.contains(r#""code":"overloaded""#), "{answer}");
    assert_eq!((in_flight, server.metric("http_requests_shed_total")), (MAX_IN_FLIGHT as u64, 1));
    server.release.add_permits(MAX_IN_FLIGHT);
    for client in &mut busy {
        until(client, "slow").await;
    }
    server.serves().await;
}
