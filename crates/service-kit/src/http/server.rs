//! Serves HTTP to clients that may be slow, many or broken.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::ConnectInfo;
use axum::http::Request;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, copy, sink};
use tokio::net::{TcpListener, TcpStream};
use tokio::pin;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;
use tower::ServiceExt as _;
use tracing::{debug, error, warn};

/// How long to wait after the system refused a connection, because it is out of file descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(200);

/// A head that is longer is answered with 431. hyper's own limit of some 400 KB is, times
/// thousands of connections, memory worth attacking.
const MAX_HEAD_BYTES: usize = 32 * 1024;

/// How long a finished connection is read on, so that its last answer arrives (see [`linger`]).
const LINGER: Duration = Duration::from_secs(1);

/// How much of an unread body is swallowed meanwhile.
const LINGER_BYTES: u64 = 1024 * 1024;

/// What clients may use of the server.
#[derive(Clone, Copy, Debug)]
pub struct ServerLimits {
    /// How long a client may keep the server waiting: for the head of a request, for the next
    /// request on a connection that it keeps open, and (on Linux) for it to take its answer.
    ///
    /// The connection is then closed without an answer. Where a load balancer stands in front, this
    /// must be longer than it keeps idle connections, or some of its requests meet a closed one.
    /// Bodies have a limit of their own: [`read_body`](super::read_body).
    pub header_timeout: Duration,
    /// How many connections are served at once, at least one; more wait in the system's queue.
    pub max_connections: usize,
    /// How long requests in flight may take to finish once shutdown was asked for.
    pub shutdown_grace: Duration,
}

/// Listens on `address`.
///
/// # Errors
///
/// Names the address, for example where its port is taken.
pub async fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    TcpListener::bind(address).await.map_err(|error| {
        io::Error::new(error.kind(), format!("could not listen on {address}: {error}"))
    })
}

/// Serves `router` over HTTP/1 until `shutdown` is cancelled and what is in flight is answered.
///
/// Handlers find the peer as `ConnectInfo<SocketAddr>`. A panic in a handler costs its own
/// connection only. Connections that outlive the grace period are cut.
pub async fn serve(
    listener: TcpListener,
    router: Router,
    limits: ServerLimits,
    shutdown: CancellationToken,
) {
    let permits = Arc::new(Semaphore::new(limits.max_connections.clamp(1, Semaphore::MAX_PERMITS)));
    let mut connections = JoinSet::new();

    loop {
        // Every arm is cancel safe: a connection that was not accepted stays in the queue.
        tokio::select! {
            biased;

            () = shutdown.cancelled() => break,

            Some(ended) = connections.join_next() => log_panic(ended),

            (permit, stream, peer) = accept(&listener, &permits) => {
                let connection = Connection { stream, peer, permit };
                connections.spawn(connection.serve(router.clone(), limits, shutdown.clone()));
            }
        }
    }

    drop(listener);
    let drained = timeout(limits.shutdown_grace, async {
        while let Some(ended) = connections.join_next().await {
            log_panic(ended);
        }
    });
    if drained.await.is_err() {
        warn!(connections = connections.len(), "grace period is over, cutting connections");
        connections.shutdown().await;
    }
}

/// Waits for room, then for a connection.
async fn accept(
    listener: &TcpListener,
    permits: &Arc<Semaphore>,
) -> (Option<OwnedSemaphorePermit>, TcpStream, SocketAddr) {
    // Never closed, so there is always a permit in the end.
    let permit = Arc::clone(permits).acquire_owned().await.ok();
    loop {
        match listener.accept().await {
            Ok((stream, peer)) => return (permit, stream, peer),
            Err(error) if is_of_one_connection(&error) => {}
            Err(error) => {
                error!(%error, "connection could not be accepted, pausing");
                sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

/// A client's failure, which says nothing about the next connection.
fn is_of_one_connection(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset};
    matches!(error.kind(), ConnectionAborted | ConnectionRefused | ConnectionReset)
}

struct Connection {
    stream: TcpStream,
    peer: SocketAddr,
    /// Held until the connection is closed.
    permit: Option<OwnedSemaphorePermit>,
}

impl Connection {
    async fn serve(self, router: Router, limits: ServerLimits, shutdown: CancellationToken) {
        let Self { mut stream, peer, permit } = self;

        let ended = serve_requests(&mut stream, peer, router, limits, shutdown).await;
        if let Err(error) = ended {
            // The client's doing: too slow, gone, or not speaking HTTP.
            debug!(%error, "connection ended early");
        }
        linger(&mut stream).await;
        drop(permit);
    }
}

async fn serve_requests(
    stream: &mut TcpStream,
    peer: SocketAddr,
    router: Router,
    limits: ServerLimits,
    shutdown: CancellationToken,
) -> anyhow::Result<()> {
    // Answers are small and complete: waiting for more to send would only delay them.
    stream.set_nodelay(true)?;
    // hyper has no timeout for writing. Without this, clients that ask and never read the answers
    // could hold every connection for ever.
    #[cfg(target_os = "linux")]
    socket2::SockRef::from(&*stream).set_tcp_user_timeout(Some(limits.header_timeout))?;

    let service = service_fn(move |request: Request<Incoming>| {
        let mut request = request.map(Body::new);
        request.extensions_mut().insert(ConnectInfo(peer));
        router.clone().oneshot(request)
    });
    let connection = http1::Builder::new()
        // Without a timer hyper knows no timeout at all.
        .timer(TokioTimer::new())
        .header_read_timeout(limits.header_timeout)
        .max_header_size(MAX_HEAD_BYTES)
        .max_buf_size(MAX_HEAD_BYTES)
        .serve_connection(TokioIo::new(stream), service);
    pin!(connection);

    tokio::select! {
        // Losing the race takes nothing from the connection, which is polled on below.
        ended = connection.as_mut() => ended?,
        () = shutdown.cancelled() => {
            connection.as_mut().graceful_shutdown();
            connection.await?;
        }
    }
    Ok(())
}

/// Closes the connection, but reads on for a moment what the client still sends.
///
/// A socket that is closed with unread bytes resets its connection, and a client that is still
/// sending what was refused would see the reset instead of the refusal.
async fn linger(stream: &mut TcpStream) {
    let swallow = async {
        // hyper has done this already, unless it stopped at an error.
        stream.shutdown().await?;
        copy(&mut stream.take(LINGER_BYTES), &mut sink()).await
    };
    if let Ok(Err(error)) = timeout(LINGER, swallow).await {
        debug!(%error, "connection was closed by the client first");
    }
}

fn log_panic(ended: Result<(), tokio::task::JoinError>) {
    if let Err(error) = ended {
        error!(%error, "connection ended by a panic");
    }
}
