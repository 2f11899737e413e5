//! The HTTP server against clients that are slow, many, rude or unlucky.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::ConnectInfo;
use axum::http::{HeaderMap, StatusCode};
use axum::response::Response;
use axum::routing::{get, post};
use service_kit::http::{self, BodyError, ServerLimits};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::sync::Semaphore;
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

const LIMITS: ServerLimits = ServerLimits {
    header_timeout: Duration::from_secs(30),
    max_connections: 100,
    shutdown_grace: Duration::from_secs(30),
};

/// How long anything may take that should happen at once.
const SOON: Duration = Duration::from_secs(10);

const MAX_BODY: usize = 4096;

struct Server {
    address: SocketAddr,
    shutdown: CancellationToken,
    task: JoinHandle<()>,
    /// One permit for each request to `/slow` that has arrived.
    arrived: Arc<Semaphore>,
    /// A request to `/slow` is answered once it gets one of these.
    release: Arc<Semaphore>,
}

impl Server {
    async fn start(limits: ServerLimits) -> Self {
        let arrived = Arc::new(Semaphore::new(0));
        let release = Arc::new(Semaphore::new(0));
        let slow = {
            let (arrived, release) = (Arc::clone(&arrived), Arc::clone(&release));
            move || async move {
                arrived.add_permits(1);
                release.acquire().await.expect("never closed").forget();
                "slow"
            }
        };
        let router = Router::new()
            .route("/peer", get(peer))
            .route("/panic", get(broken))
            .route("/slow", get(slow))
            .route("/big", get(|| async { "x".repeat(1024 * 1024) }))
            .route("/body", post(body));
        let listener = http::listen(([127, 0, 0, 1], 0).into()).await.expect("a free port");
        let address = listener.local_addr().expect("an address");
        let shutdown = CancellationToken::new();
        let task =
            TaskTracker::new().spawn(http::serve(listener, router, limits, shutdown.clone()));
        Self { address, shutdown, task, arrived, release }
    }

    async fn connect(&self) -> TcpStream {
        TcpStream::connect(self.address).await.expect("connected")
    }

    async fn has_arrived(&self) {
        let arrived = timeout(SOON, self.arrived.acquire()).await;
        arrived.expect("a request to /slow in time").expect("never closed").forget();
    }

    async fn stopped(self) {
        timeout(SOON, self.task).await.expect("stopped in time").expect("no panic");
    }
}

async fn peer(ConnectInfo(peer): ConnectInfo<SocketAddr>) -> String {
    peer.to_string()
}

#[expect(clippy::panic, reason = "what is under test")]
async fn broken() -> &'static str {
    panic!("a handler that panics")
}

async fn body(headers: HeaderMap, body: Body) -> Response {
    let limit = Duration::from_millis(200);
    let error = match http::read_body(&headers, body, MAX_BODY, limit).await {
        Ok(body) => return Response::new(body.into()),
        Err(error) => error,
    };
    let (status, code) = match error {
        BodyError::TooLarge { .. } => (StatusCode::PAYLOAD_TOO_LARGE, "too_large"),
        BodyError::TooSlow { .. } => (StatusCode::REQUEST_TIMEOUT, "too_slow"),
        BodyError::UnknownCoding => (StatusCode::UNSUPPORTED_MEDIA_TYPE, "unknown_coding"),
        BodyError::Corrupt(_) => (StatusCode::BAD_REQUEST, "corrupt"),
        BodyError::Broken(_) => (StatusCode::BAD_REQUEST, "broken"),
    };
    http::error_response(status, code, error.to_string(), None, None)
}

fn get_request(path: &str) -> String {
    format!("GET {path} HTTP/1.1\r\nhost: test\r\n\r\n")
}

async fn send(client: &mut TcpStream, text: &str) {
    client.write_all(text.as_bytes()).await.expect("sent");
}

/// Reads until the server closes.
async fn all_of(client: &mut TcpStream) -> String {
    let mut text = String::new();
    timeout(SOON, client.read_to_string(&mut text)).await.expect("closed in time").expect("read");
    text
}

/// Reads an answer whose body ends with `end`, on a connection that stays open.
async fn until(client: &mut TcpStream, end: &str) -> String {
    let mut text = Vec::new();
    let read = async {
        while !text.ends_with(end.as_bytes()) {
            assert_ne!(client.read_buf(&mut text).await.expect("read"), 0, "closed early");
        }
    };
    timeout(SOON, read).await.expect("answered in time");
    String::from_utf8(text).expect("text")
}

#[tokio::test]
async fn a_handler_sees_its_peer() {
    let server = Server::start(LIMITS).await;
    let mut client = server.connect().await;
    let own = client.local_addr().expect("an address").to_string();

    send(&mut client, &get_request("/peer")).await;

    assert!(until(&mut client, &own).await.starts_with("HTTP/1.1 200"));
}

#[tokio::test]
async fn a_client_that_sends_its_head_slowly_is_cut() {
    let limits = ServerLimits { header_timeout: Duration::from_millis(100), ..LIMITS };
    let server = Server::start(limits).await;
    let mut client = server.connect().await;

    send(&mut client, "GET /peer HTTP/1.1\r\nhost:").await;

    assert_eq!(all_of(&mut client).await, "");
}

#[tokio::test]
async fn a_connection_that_stays_idle_is_cut() {
    let limits = ServerLimits { header_timeout: Duration::from_millis(100), ..LIMITS };
    let server = Server::start(limits).await;
    let mut client = server.connect().await;

    send(&mut client, &get_request("/peer")).await;

    assert!(all_of(&mut client).await.starts_with("HTTP/1.1 200"));
}

#[tokio::test]
#[cfg(target_os = "linux")]
async fn a_client_that_does_not_take_its_answers_is_cut() {
    let limits =
        ServerLimits { header_timeout: Duration::from_secs(1), max_connections: 1, ..LIMITS };
    let server = Server::start(limits).await;
    let mut rude = server.connect().await;
    let mut next = server.connect().await;

    // More than the buffers of both ends hold.
    send(&mut rude, &get_request("/big").repeat(16)).await;
    send(&mut next, &get_request("/peer")).await;

    let own = next.local_addr().expect("an address").to_string();
    assert!(until(&mut next, &own).await.starts_with("HTTP/1.1 200"));
    drop(rude);
}

#[tokio::test]
async fn a_head_that_is_too_long_is_refused() {
    let server = Server::start(LIMITS).await;
    let mut client = server.connect().await;

    send(&mut client, &get_request(&format!("/{}", "x".repeat(40_000)))).await;

    assert!(all_of(&mut client).await.starts_with("HTTP/1.1 431"));
}

#[tokio::test]
async fn a_connection_over_the_cap_waits_until_another_is_closed() {
    let server = Server::start(ServerLimits { max_connections: 1, ..LIMITS }).await;
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
async fn a_request_in_flight_at_shutdown_is_answered() {
    let server = Server::start(LIMITS).await;
    let mut client = server.connect().await;
    send(&mut client, &get_request("/slow")).await;
    server.has_arrived().await;

    server.shutdown.cancel();
    server.release.add_permits(1);

    let answer = all_of(&mut client).await;
    assert!(answer.starts_with("HTTP/1.1 200") && answer.ends_with("slow"), "{answer}");
    drop(client);
    server.stopped().await;
}

#[tokio::test]
async fn idle_connections_do_not_hold_up_shutdown() {
    let server = Server::start(LIMITS).await;
    let mut used = server.connect().await;
    send(&mut used, &get_request("/peer")).await;
    let own = used.local_addr().expect("an address").to_string();
    until(&mut used, &own).await;
    let _never_used = server.connect().await;

    server.shutdown.cancel();

    server.stopped().await;
}

#[tokio::test]
async fn a_request_that_outlives_the_grace_period_is_cut() {
    let limits = ServerLimits { shutdown_grace: Duration::from_millis(100), ..LIMITS };
    let server = Server::start(limits).await;
    let mut client = server.connect().await;
    send(&mut client, &get_request("/slow")).await;
    server.has_arrived().await;

    server.shutdown.cancel();

    server.stopped().await;
    assert_eq!(all_of(&mut client).await, "");
}

#[tokio::test]
async fn a_panic_costs_only_its_own_connection() {
    let server = Server::start(LIMITS).await;
    let mut unlucky = server.connect().await;
    let mut other = server.connect().await;

    send(&mut unlucky, &get_request("/panic")).await;
    assert_eq!(all_of(&mut unlucky).await, "");

    let own = other.local_addr().expect("an address").to_string();
    send(&mut other, &get_request("/peer")).await;
    assert!(until(&mut other, &own).await.starts_with("HTTP/1.1 200"));
}

#[tokio::test]
async fn a_body_that_arrives_slowly_is_answered_with_408() {
    let server = Server::start(LIMITS).await;
    let mut client = server.connect().await;

    send(&mut client, "POST /body HTTP/1.1\r\nhost: test\r\ncontent-length: 9\r\n\r\nhalf").await;

    let answer = all_of(&mut client).await;
    assert!(answer.starts_with("HTTP/1.1 408"), "{answer}");
    assert!(answer.contains("body did not arrive within 200ms"), "{answer}");
}

#[tokio::test]
async fn a_client_that_sends_far_too_much_gets_a_413_and_no_reset() {
    let server = Server::start(LIMITS).await;
    let piece = "x".repeat(32 * 1024);
    let announced = "content-length: 524288\r\n\r\n";
    let chunked = "transfer-encoding: chunked\r\n\r\n80000\r\n";

    for rest in [announced, chunked] {
        let mut client = server.connect().await;
        send(&mut client, &format!("POST /body HTTP/1.1\r\nhost: test\r\n{rest}{piece}")).await;
        let answer = until(&mut client, "}").await;
        // A connection that was reset would refuse these.
        for _ in 0..15 {
            send(&mut client, &piece).await;
        }

        assert!(answer.starts_with("HTTP/1.1 413"), "{answer}");
        assert!(answer.contains(r#""error":"body is larger than 4096 bytes""#), "{answer}");
        assert_eq!(all_of(&mut client).await, "");
    }
}

#[tokio::test]
async fn a_body_over_the_limit_is_refused_before_it_is_asked_for() {
    let server = Server::start(LIMITS).await;
    let mut client = server.connect().await;

    let head = "POST /body HTTP/1.1\r\nhost: test\r\nexpect: 100-continue\r\n";
    send(&mut client, &format!("{head}content-length: 4097\r\n\r\n")).await;

    let answer = until(&mut client, "}").await;
    assert!(answer.starts_with("HTTP/1.1 413"), "{answer}");
}

#[tokio::test]
async fn a_body_of_just_the_limit_is_read() {
    let server = Server::start(LIMITS).await;
    let mut client = server.connect().await;
    let body = format!("{}end", "x".repeat(MAX_BODY - 3));

    let head = format!("POST /body HTTP/1.1\r\nhost: test\r\ncontent-length: {MAX_BODY}\r\n\r\n");
    send(&mut client, &format!("{head}{body}")).await;

    assert!(until(&mut client, "end").await.starts_with("HTTP/1.1 200"));
}

#[tokio::test]
async fn a_body_with_broken_chunks_is_told_from_one_that_is_too_large() {
    let server = Server::start(LIMITS).await;
    let mut client = server.connect().await;

    let head = "POST /body HTTP/1.1\r\nhost: test\r\ntransfer-encoding: chunked\r\n\r\n";
    send(&mut client, &format!("{head}zz\r\n")).await;

    assert!(until(&mut client, "}").await.starts_with("HTTP/1.1 400"));
}

#[tokio::test]
async fn an_address_that_is_taken_is_named() {
    let server = Server::start(LIMITS).await;

    let error = http::listen(server.address).await.expect_err("taken");

    assert!(error.to_string().contains(&server.address.to_string()), "{error}");
}
