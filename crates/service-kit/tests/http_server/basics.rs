//! What any server should do.

use service_kit::http;

use crate::harness::{Server, all_of, get_request, limits, send, until};

#[tokio::test]
async fn a_handler_sees_its_peer() {
    let server = Server::start(limits()).await;
    let mut client = server.connect().await;
    let own = client.local_addr().expect("an address").to_string();

    send(&mut client, &get_request("/peer")).await;

    assert!(until(&mut client, &own).await.starts_with("HTTP/1.1 200"));
}

#[tokio::test]
async fn a_panic_costs_only_its_own_connection() {
    let server = Server::start(limits()).await;
    let mut unlucky = server.connect().await;
    let mut other = server.connect().await;

    send(&mut unlucky, &get_request("/panic")).await;
    assert_eq!(all_of(&mut unlucky).await, "");

    let own = other.local_addr().expect("an address").to_string();
    send(&mut other, &get_request("/peer")).await;
    assert!(until(&mut other, &own).await.starts_with("HTTP/1.1 200"));
}

#[tokio::test]
async fn an_address_that_is_taken_is_named() {
    let server = Server::start(limits()).await;

    let error = http::listen(server.address).await.expect_err("taken");

    assert!(error.to_string().contains(&server.address.to_string()), "{error}");
}
