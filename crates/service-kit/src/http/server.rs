//! Serves HTTP to clients that may be slow, many or broken.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::pin;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, timeout, timeout_at};
use tokio_util::sync::CancellationToken;
use tracing::{error, warn};

use super::answer::Answer;
use super::connection::Connection;
use super::crowd::{Crowd, Place};
use super::limits::ServerLimits;
use super::metrics::{Closed, ServerMetrics};

/// How long to wait after the system refused a connection, because it is out of file descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(200);

/// How long a server that stops still takes connections out of the system's queue: their clients
/// take them for open, and may have sent a request.
const LAST_ACCEPT: Duration = Duration::from_millis(50);

/// How many connections may wait to be accepted; the system has a bound of its own (Linux:
/// `net.core.somaxconn`, 4,096 since 5.4). The standard library's 128 are fewer than come at once when
/// clients connect anew, and whoever finds no room tries again after a whole second.
const MAX_WAITING: u32 = 4_096;

/// Listens on `address`: async, as a listener belongs to a runtime.
///
/// # Errors
///
/// Names the address, for example where its port is taken.
pub async fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    let listener = || {
        let socket = match address {
            SocketAddr::V4(_) => TcpSocket::new_v4()?,
            SocketAddr::V6(_) => TcpSocket::new_v6()?,
        };
        // A port is free again at once, although connections of the last server still time out there.
        socket.set_reuseaddr(true)?;
        socket.bind(address)?;
        socket.listen(MAX_WAITING)
    };
    listener().map_err(|error| {
        io::Error::new(error.kind(), format!("could not listen on {address}: {error}"))
    })
}

/// Serves `api` over HTTP/1.1 and HTTP/2 (without TLS, by prior knowledge) until `shutdown` is
/// cancelled and what is in flight is answered.
///
/// The handlers of a router find the peer as `ConnectInfo<SocketAddr>`. A panic in a handler costs its
/// own connection only (on HTTP/2 its own request). Connections that outlive the grace period are cut.
pub async fn serve<A: Answer>(
    listener: TcpListener,
    api: A,
    limits: ServerLimits,
    metrics: ServerMetrics,
    shutdown: CancellationToken,
) {
    let (api, limits) = (Arc::new(api), Arc::new(limits));
    let door = Door {
        listener,
        crowd: Arc::new(Crowd::new(Arc::clone(&limits), metrics.clone())),
        metrics: metrics.clone(),
    };
    let mut connections = JoinSet::new();
    let welcome = |(stream, peer, place), connections: &mut JoinSet<()>| {
        let (api, limits, metrics, shutdown) =
            (Arc::clone(&api), Arc::clone(&limits), metrics.clone(), shutdown.child_token());
        let connection = Connection { stream, peer, place, api, limits, metrics, shutdown };
        connections.spawn(connection.serve());
    };

    {
        // Goes on over the turns of the loop: it may hold a connection that waits for room.
        let accepting = door.accept();
        pin!(accepting);
        loop {
            // `join_next` is cancel safe.
            tokio::select! {
                biased;

                () = shutdown.cancelled() => break,

                Some(ended) = connections.join_next() => log_panic(ended),

                accepted = accepting.as_mut() => {
                    welcome(accepted, &mut connections);
                    accepting.set(door.accept());
                }
            }
        }

        let last = Instant::now() + LAST_ACCEPT;
        while let Ok(accepted) = timeout_at(last, accepting.as_mut()).await {
            welcome(accepted, &mut connections);
            accepting.set(door.accept());
        }
    }
    drop(door);
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

/// Where connections come in.
struct Door {
    listener: TcpListener,
    crowd: Arc<Crowd>,
    metrics: ServerMetrics,
}

impl Door {
    /// Waits for a connection that may come in, and for room for it.
    ///
    /// Not cancel safe: a connection that waits for room is closed.
    async fn accept(&self) -> (TcpStream, SocketAddr, Place) {
        loop {
            match self.listener.accept().await {
                Ok((stream, peer)) => {
                    let permit = self.crowd.room().await;
                    match self.crowd.enter(peer.ip(), permit) {
                        Some(place) => return (stream, peer, place),
                        None => self.metrics.closed(Closed::TooMany),
                    }
                }
                Err(error) if is_of_one_connection(&error) => {}
                Err(error) => {
                    error!(%error, "connection could not be accepted, pausing");
                    sleep(ACCEPT_PAUSE).await;
                }
            }
        }
    }
}

/// A client's failure, which says nothing about the next connection.
fn is_of_one_connection(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset};
    matches!(error.kind(), ConnectionAborted | ConnectionRefused | ConnectionReset)
}

fn log_panic(ended: Result<(), tokio::task::JoinError>) {
    if let Err(error) = ended {
        error!(%error, "connection ended by a panic");
    }
}
