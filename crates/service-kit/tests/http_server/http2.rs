//! HTTP/2 without TLS, by prior knowledge.

use std::time::Duration;

use axum::body::Bytes;
use axum::http::{Request, Response};
use h2::RecvStream;
use h2::client::{ResponseFuture, SendRequest};
use service_kit::http::ServerLimits;
use tokio::io::AsyncWriteExt as _;
use tokio::task::{JoinSet, yield_now};
use tokio::time::{sleep, timeout};

use crate::harness::{SOON, Server, is_closed, limits};

const SHORT: Duration = Duration::from_millis(100);

/// A client, and the task that drives its connection.
struct Client {
    requests: SendRequest<Bytes>,
    driver: JoinSet<Result<(), h2::Error>>,
}

impl Client {
    async fn connect(server: &Server) -> Self {
        let (requests, connection) =
            h2::client::handshake(server.connect().await).await.expect("HTTP/2");
        let mut driver = JoinSet::new();
        driver.spawn(connection);
        Self { requests, driver }
    }

    /// Begins a request without a body.
    async fn begin(&mut self, path: &str) -> ResponseFuture {
        let request = Request::get(format!("http://test{path}")).body(()).expect("a request");
        let mut ready = self.requests.clone().ready().await.expect("ready");
        ready.send_request(request, true).expect("sent").0
    }

    async fn get(&mut self, path: &str) -> (u16, String) {
        read(self.begin(path).await).await
    }

    /// Waits until the server has ended the connection.
    async fn ended(mut self) -> Result<(), h2::Error> {
        drop(self.requests);
        let ended = timeout(SOON, self.driver.join_next()).await.expect("ended in time");
        ended.expect("it was running").expect("no panic")
    }
}

async fn read(response: ResponseFuture) -> (u16, String) {
    let response: Response<RecvStream> =
        timeout(SOON, response).await.expect("answered in time").expect("an answer");
    let status = response.status().as_u16();
    let (mut body, mut text) = (response.into_body(), Vec::new());
    while let Some(data) = body.data().await {
        text.extend_from_slice(&data.expect("data"));
    }
    (status, String::from_utf8(text).expect("text"))
}

#[tokio::test]
async fn both_protocols_are_spoken_on_one_port() {
    let server = Server::start(limits()).await;
    let mut client = Client::connect(&server).await;

    let (status, peer) = client.get("/peer").await;

    assert_eq!(status, 200);
    assert!(peer.starts_with("127.0.0.1:"), "{peer}");
    server.serves().await;
    assert_eq!(client.get("/nowhere").await.0, 404);
}

#[tokio::test]
async fn requests_of_one_connection_are_answered_side_by_side_and_a_panic_costs_one() {
    let server = Server::start(limits()).await;
    let mut client = Client::connect(&server).await;
    let slow = client.begin("/slow").await;
    server.has_arrived().await;

    let broken = client.begin("/panic").await;
    broken.await.expect_err("reset");
    assert_eq!(client.get("/peer").await.0, 200);

    server.release.add_permits(1);
    assert_eq!(read(slow).await, (200, "slow".to_owned()));
}

#[tokio::test]
async fn one_connection_has_a_hundred_requests_at_once_at_most() {
    let server = Server::start(limits()).await;
    let mut client = Client::connect(&server).await;
    client.get("/peer").await;

    assert_eq!(client.requests.current_max_send_streams(), 100);
}

#[tokio::test]
async fn a_body_that_arrives_slowly_costs_its_own_request_only() {
    let server = Server::start(limits()).await;
    let mut client = Client::connect(&server).await;
    let request = Request::post("http://test/body").body(()).expect("a request");

    let (response, mut body) = client.requests.send_request(request, false).expect("sent");
    body.send_data(Bytes::from_static(b"half"), false).expect("sent");

    let (status, text) = read(response).await;
    assert_eq!(status, 408, "{text}");
    assert_eq!(client.get("/peer").await.0, 200);
}

#[tokio::test]
async fn a_head_that_is_too_long_or_has_too_many_headers_is_refused() {
    let server = Server::start(limits()).await;
    let mut client = Client::connect(&server).await;

    let mut many = Request::get("http://test/peer");
    for number in 0..101 {
        many = many.header(format!("x-{number}"), "1");
    }
    let many = client.requests.send_request(many.body(()).expect("a request"), true);
    let (status, text) = read(many.expect("sent").0).await;
    assert_eq!(status, 431);
    assert!(text.contains(r#""code":"too_many_headers""#), "{text}");

    let long = Request::get("http://test/peer").header("x-long", "x".repeat(40_000));
    let long = client.requests.send_request(long.body(()).expect("a request"), true);
    assert_eq!(read(long.expect("sent").0).await.0, 431);
    assert_eq!(client.get("/peer").await.0, 200);
}

#[tokio::test]
async fn a_client_that_begins_requests_to_reset_them_is_cut_and_nobody_else_is() {
    let server = Server::start(limits()).await;
    let rude = Client::connect(&server).await;
    let mut polite = Client::connect(&server).await;
    polite.get("/peer").await;

    let reset_all = async {
        loop {
            let Ok(mut ready) = rude.requests.clone().ready().await else { break };
            let request = Request::get("http://test/slow").body(()).expect("a request");
            let Ok((response, mut stream)) = ready.send_request(request, true) else { break };
            stream.send_reset(h2::Reason::CANCEL);
            drop(response);
            // Lets the resets go out, instead of gathering them.
            yield_now().await;
        }
    };
    timeout(SOON, reset_all).await.expect("cut in time");

    let error = rude.ended().await.expect_err("it was cut");
    assert_eq!(error.reason(), Some(h2::Reason::ENHANCE_YOUR_CALM), "{error}");
    assert_eq!(polite.get("/peer").await.0, 200);
}

#[tokio::test]
async fn a_connection_without_requests_is_cut_however_often_it_pings() {
    let server = Server::start(ServerLimits { idle_timeout: SHORT * 5, ..limits() }).await;
    let (requests, mut connection) =
        h2::client::handshake(server.connect().await).await.expect("HTTP/2");
    let mut pings = connection.ping_pong().expect("pings");
    let mut pinging = JoinSet::new();
    pinging.spawn(async move {
        while pings.ping(h2::Ping::opaque()).await.is_ok() {
            sleep(SHORT / 5).await;
        }
    });

    // Whether it is an end or an error is up to what the client was just doing.
    timeout(SOON, connection).await.expect("cut in time").ok();

    assert_eq!(server.closed("idle"), 1);
    drop(requests);
}

#[tokio::test]
async fn a_client_that_stops_in_its_handshake_is_cut() {
    let server = Server::start(ServerLimits { idle_timeout: SHORT, ..limits() }).await;

    let mut clients = Vec::new();
    for part in ["PRI * HTTP/2.0\r\n", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"] {
        let mut client = server.connect().await;
        client.write_all(part.as_bytes()).await.expect("sent");
        clients.push(client);
    }

    server.until(|it| it.closed("idle") == 2).await;
}

#[tokio::test]
async fn a_preface_in_pieces_is_no_request() {
    let server = Server::start(limits()).await;
    let mut client = server.connect().await;

    client.write_all(b"PR").await.expect("sent");
    sleep(SHORT).await;
    client.write_all(b"I * HTTP/2.0\r\n\r\nSM\r\n\r\n").await.expect("sent");

    let mut answer = Vec::new();
    tokio::io::AsyncReadExt::read_to_end(&mut client, &mut answer).await.expect("read");
    assert!(!answer.windows(12).any(|it| it == b"HTTP/1.1 200"), "{answer:?}");
    is_closed(&mut client).await;
}

#[tokio::test]
async fn at_shutdown_what_is_in_flight_is_answered_and_nothing_more_is_begun() {
    let server = Server::start(limits()).await;
    let mut client = Client::connect(&server).await;
    let slow = client.begin("/slow").await;
    server.has_arrived().await;

    server.shutdown.cancel();
    let refused = async {
        while client.requests.clone().ready().await.is_ok() {
            sleep(SHORT / 10).await;
        }
    };
    timeout(SOON, refused).await.expect("told to begin nothing more");
    server.release.add_permits(1);

    assert_eq!(read(slow).await, (200, "slow".to_owned()));
    client.ended().await.expect("no error");
    server.stopped().await;
}

#[tokio::test]
async fn idle_connections_do_not_hold_up_shutdown() {
    let server = Server::start(limits()).await;
    let mut client = Client::connect(&server).await;
    client.get("/peer").await;
    let mut silent = server.connect().await;
    silent.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").await.expect("sent");

    server.shutdown.cancel();

    server.stopped().await;
}
