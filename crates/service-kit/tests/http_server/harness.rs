//! A server with routes that are slow, big, broken or patient, and clients that speak raw HTTP.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::ConnectInfo;
use axum::http::{HeaderMap, StatusCode};
use axum::response::Response;
use axum::routing::{get, post};
use prometheus_client::encoding::text::encode;
use prometheus_client::registry::Registry;
use service_kit::http::{self, BodyError, Load, ServerLimits, ServerMetrics};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpSocket, TcpStream};
use tokio::sync::Semaphore;
use tokio::task::JoinHandle;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// How long anything may take that should happen at once.
pub(crate) const SOON: Duration = Duration::from_secs(10);

/// How long a body may be.
pub(crate) const MAX_BODY: usize = 4096;

/// How long a body may take.
const BODY_TIMEOUT: Duration = Duration::from_millis(200);

/// How many requests may be in flight.
pub(crate) const MAX_IN_FLIGHT: usize = 50;

pub(crate) struct Server {
    pub(crate) address: SocketAddr,
    pub(crate) shutdown: CancellationToken,
    task: JoinHandle<()>,
    registry: Registry,
    /// One permit for each request to `/slow` that has arrived.
    pub(crate) arrived: Arc<Semaphore>,
    /// A request to `/slow` is answered once it gets one of these.
    pub(crate) release: Arc<Semaphore>,
}

/// No limit that a test would meet by accident.
pub(crate) fn limits() -> ServerLimits {
    ServerLimits {
        header_timeout: Duration::from_secs(30),
        idle_timeout: Duration::from_secs(30),
        max_connections: 100,
        max_connections_per_address: 100,
        shutdown_grace: Duration::from_secs(30),
        ..ServerLimits::default()
    }
}

impl Server {
    pub(crate) async fn start(limits: ServerLimits) -> Self {
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
        let mut registry = Registry::default();
        let metrics = ServerMetrics::register(&mut registry);
        let router = Router::new()
            .route("/peer", get(peer))
            .route("/panic", get(broken))
            .route("/slow", get(slow))
            .route("/big", get(|| async { "x".repeat(1024 * 1024) }))
            .route("/body", post(body));
        let router = Load::new(MAX_IN_FLIGHT, metrics.clone()).wrap(router);
        let listener = http::listen(([127, 0, 0, 1], 0).into()).await.expect("a free port");
        let address = listener.local_addr().expect("an address");
        let shutdown = CancellationToken::new();
        let serving = http::serve(listener, router, limits, metrics, shutdown.clone());
        let task = TaskTracker::new().spawn(serving);
        Self { address, shutdown, task, registry, arrived, release }
    }

    pub(crate) async fn connect(&self) -> TcpStream {
        TcpStream::connect(self.address).await.expect("connected")
    }

    /// Connects from another address of this machine: everything in 127.0.0.0/8 is one.
    pub(crate) async fn connect_from(&self, address: Ipv4Addr) -> TcpStream {
        let socket = TcpSocket::new_v4().expect("a socket");
        socket.bind((address, 0).into()).expect("an address of this machine");
        socket.connect(self.address).await.expect("connected")
    }

    /// Waits until a request to `/slow` is there.
    pub(crate) async fn has_arrived(&self) {
        let arrived = timeout(SOON, self.arrived.acquire()).await;
        arrived.expect("a request to /slow in time").expect("never closed").forget();
    }

    /// Checks that a new client is served.
    pub(crate) async fn serves(&self) {
        let mut client = self.connect().await;
        assert!(ask(&mut client).await.starts_with("HTTP/1.1 200"));
    }

    /// The value of one series of the metrics.
    pub(crate) fn metric(&self, series: &str) -> u64 {
        let mut text = String::new();
        encode(&mut text, &self.registry).expect("text");
        let value = text.lines().find_map(|line| line.strip_prefix(series)?.strip_prefix(' '));
        value.expect(series).parse().expect("a number")
    }

    /// How many connections the server has closed for this reason.
    pub(crate) fn closed(&self, reason: &str) -> u64 {
        self.metric(&format!("http_connections_closed_total{{reason=\"{reason}\"}}"))
    }

    /// Waits until `condition` holds.
    pub(crate) async fn until(&self, condition: impl Fn(&Self) -> bool) {
        let held = async {
            while !condition(self) {
                sleep(Duration::from_millis(10)).await;
            }
        };
        timeout(SOON, held).await.expect("in time");
    }

    pub(crate) async fn stopped(self) {
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
    let error = match http::read_body(&headers, body, MAX_BODY, BODY_TIMEOUT).await {
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

pub(crate) fn get_request(path: &str) -> String {
    format!("GET {path} HTTP/1.1\r\nhost: test\r\n\r\n")
}

pub(crate) async fn send(client: &mut TcpStream, text: &str) {
    client.write_all(text.as_bytes()).await.expect("sent");
}

/// Sends a text byte by byte, until the server closes or the text is at its end.
pub(crate) async fn drip(client: &mut TcpStream, text: &str, pause: Duration) {
    for byte in text.bytes() {
        if client.write_all(&[byte]).await.is_err() {
            return;
        }
        sleep(pause).await;
    }
}

/// Asks for `/peer`, and returns the answer.
pub(crate) async fn ask(client: &mut TcpStream) -> String {
    let own = client.local_addr().expect("an address").to_string();
    send(client, &get_request("/peer")).await;
    until(client, &own).await
}

/// Reads until the server closes.
pub(crate) async fn all_of(client: &mut TcpStream) -> String {
    let mut text = String::new();
    timeout(SOON, client.read_to_string(&mut text)).await.expect("closed in time").expect("read");
    text
}

/// Waits until the server has closed, in whichever way.
pub(crate) async fn is_closed(client: &mut TcpStream) {
    let mut rest = Vec::new();
    // A reset is as good as an end.
    timeout(SOON, client.read_to_end(&mut rest)).await.expect("closed in time").ok();
    assert!(rest.is_empty(), "it was answered: {}", String::from_utf8_lossy(&rest));
}

/// Reads an answer whose body ends with `end`, on a connection that stays open.
pub(crate) async fn until(client: &mut TcpStream, end: &str) -> String {
    let mut text = Vec::new();
    let read = async {
        while !text.ends_with(end.as_bytes()) {
            assert_ne!(client.read_buf(&mut text).await.expect("read"), 0, "closed early");
        }
    };
    timeout(SOON, read).await.expect("answered in time");
    String::from_utf8(text).expect("text")
}
