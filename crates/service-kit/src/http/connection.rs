//! One connection from its first byte to its last, in HTTP/1.1 or HTTP/2.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::http::{HeaderMap, HeaderValue, Request, StatusCode, Version, header};
use axum::response::Response;
use hyper::body::Incoming;
use hyper::server::conn::{http1, http2};
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, copy, sink};
use tokio::net::TcpStream;
use tokio::pin;
use tokio::time::{Instant, sleep_until, timeout};
use tokio_util::io::{InspectReader, InspectWriter};
use tokio_util::sync::CancellationToken;
use tracing::debug;

use super::answer::Answer;
use super::crowd::Place;
use super::error::error_response;
use super::limits::ServerLimits;
use super::metrics::{Closed, ServerMetrics};
use super::pace::{LAST_CALL, Pace, Turn, is_http2};

/// How long a finished connection is read on, so that its last answer arrives (see [`linger`]).
const LINGER: Duration = Duration::from_secs(1);

/// How much of an unread body is swallowed meanwhile.
const LINGER_BYTES: u64 = 1024 * 1024;

/// How many requests of one HTTP/2 connection are answered at once.
const HTTP2_STREAMS: u32 = 100;

/// How much of bodies that nobody reads yet one HTTP/2 connection may have sent. hyper's own 1 MiB
/// is, times thousands of connections, memory worth attacking.
const HTTP2_CONNECTION_WINDOW: u32 = 256 * 1024;

/// The same of one request.
const HTTP2_STREAM_WINDOW: u32 = 64 * 1024;

/// How much of an answer that is not taken is kept for one HTTP/2 request.
const HTTP2_SEND_BUFFER: usize = 64 * 1024;

/// How often a quiet HTTP/2 client is asked whether it is still there, and for how long its answer
/// is waited for.
const HTTP2_PING: Duration = Duration::from_secs(20);

/// A connection that was accepted, and what it needs.
pub(super) struct Connection<A> {
    pub(super) stream: TcpStream,
    pub(super) peer: SocketAddr,
    /// Held until the connection is closed.
    pub(super) place: Place,
    pub(super) api: Arc<A>,
    pub(super) limits: Arc<ServerLimits>,
    pub(super) metrics: ServerMetrics,
    /// Its own child of the server's: each request looks at it, and looking takes its lock.
    pub(super) shutdown: CancellationToken,
}

/// What the requests of a connection share. Its own, so that requests on several processors do not all
/// count the same references.
struct Shared<A> {
    api: Arc<A>,
    peer: SocketAddr,
    pace: Arc<Pace>,
    max_headers: usize,
    shutdown: CancellationToken,
}

impl<A: Answer> Connection<A> {
    pub(super) async fn serve(self) {
        let Self { mut stream, peer, place, api, limits, metrics, shutdown } = self;
        let pace = Arc::clone(&place.pace);
        let max_headers = limits.max_headers;
        let shared = Arc::new(Shared { api, peer, pace, max_headers, shutdown });

        let ended = serve_requests(&mut stream, shared, &limits).await;
        match ended {
            Ok(Some(reason)) => metrics.closed(reason),
            Ok(None) => linger(&mut stream).await,
            Err(error) => {
                // The client's doing: gone, or not speaking HTTP.
                debug!(error, "connection ended early");
                linger(&mut stream).await;
            }
        }
    }
}

/// Returns why the server closed the connection, where it did so by itself.
async fn serve_requests(
    stream: &mut TcpStream,
    shared: Arc<Shared<impl Answer>>,
    limits: &ServerLimits,
) -> Result<Option<Closed>, Box<dyn std::error::Error + Send + Sync>> {
    // Answers are small and complete: waiting for more to send would only delay them.
    stream.set_nodelay(true)?;
    // hyper has no timeout for writing. Without this, clients that ask and never read the answers
    // could hold every connection for ever.
    #[cfg(target_os = "linux")]
    socket2::SockRef::from(&*stream).set_tcp_user_timeout(Some(limits.idle_timeout))?;

    let Shared { pace, shutdown, .. } = &*shared;
    let mut patience = Patience { pace, limits, shutdown, stopping_since: None };
    let mut first_bytes = [0; 24];
    let peeked = patience.wait(stream.peek(&mut first_bytes), |_| ()).await;
    let read = match peeked {
        Ok(read) => read?,
        Err(reason) => return Ok(Some(reason)),
    };

    let watched = InspectReader::new(stream, |bytes: &[u8]| pace.received(bytes));
    let watched = TokioIo::new(InspectWriter::new(watched, |_: &[u8]| pace.written()));
    let service = {
        let shared = Arc::clone(&shared);
        service_fn(move |request: Request<Incoming>| {
            let turn = shared.pace.begin();
            answer(request, Arc::clone(&shared), turn)
        })
    };
    let ended = if is_http2(&first_bytes[..read]) {
        let connection = http2(limits).serve_connection(watched, service);
        patience.wait(connection, http2::Connection::graceful_shutdown).await
    } else {
        // HTTP/1 can tell its client nothing but with its next answer, and ends by itself then.
        let connection = http1(limits).serve_connection(watched, service);
        patience.wait(connection, |_| ()).await
    };
    match ended {
        Ok(ended) => Ok(ended.map(|()| None)?),
        Err(reason) => Ok(Some(reason)),
    }
}

/// Waits for what a client does, for as long as it may take.
struct Patience<'a> {
    pace: &'a Pace,
    limits: &'a ServerLimits,
    shutdown: &'a CancellationToken,
    stopping_since: Option<Instant>,
}

impl Patience<'_> {
    /// Drives `future` to its end, unless the connection is to be closed before. Once the server
    /// stops, `take_leave` is told to an HTTP/2 client: it begins nothing more then, and nothing
    /// that is on its way is lost.
    async fn wait<F: Future>(
        &mut self,
        future: F,
        take_leave: impl FnOnce(Pin<&mut F>),
    ) -> Result<F::Output, Closed> {
        pin!(future);
        let mut take_leave = Some(take_leave);
        let alarm = sleep_until(self.look_again());
        pin!(alarm);
        loop {
            // Losing the race takes nothing from the future, which is polled on, and the other arms
            // are cancel safe.
            tokio::select! {
                biased;

                ended = future.as_mut() => return Ok(ended),

                () = self.shutdown.cancelled(), if self.stopping_since.is_none() => {
                    self.stopping_since = Some(Instant::now());
                    alarm.as_mut().reset(Instant::now());
                }

                () = self.pace.evicted() => {
                    if self.pace.waiting_since().is_some() {
                        return Err(Closed::Evicted);
                    }
                }

                () = alarm.as_mut() => {
                    // Before the end of its handshake hyper would close the connection at once.
                    if self.stopping_since.is_some() && self.pace.serves_http2()
                        && let Some(take_leave) = take_leave.take()
                    {
                        take_leave(future.as_mut());
                    }
                    let next = match self.pace.deadline(self.limits, self.stopping_since) {
                        Some((at, reason)) if at <= Instant::now() => return Err(reason),
                        Some((at, _)) => at.min(self.look_again()),
                        None => self.look_again(),
                    };
                    alarm.as_mut().reset(next);
                }
            }
        }
    }

    /// When to look at the latest: a head that begins now is due before an idle connection is.
    fn look_again(&self) -> Instant {
        let Self { limits, stopping_since, .. } = self;
        let pause = if stopping_since.is_some() {
            LAST_CALL
        } else {
            limits.header_timeout.min(limits.idle_timeout)
        };
        Instant::now() + pause
    }
}

/// Times are watched by [`Patience`]: hyper's own limit does not tell a slow head from an idle
/// connection.
fn http1(limits: &ServerLimits) -> http1::Builder {
    let mut builder = http1::Builder::new();
    builder
        .header_read_timeout(None)
        .max_headers(limits.max_headers)
        .max_header_size(limits.max_head_bytes)
        .max_buf_size(limits.max_head_bytes);
    builder
}

/// Beside these limits hyper and h2 have their own against floods of resets, of pings and of
/// continued heads.
fn http2(limits: &ServerLimits) -> http2::Builder<TokioExecutor> {
    let mut builder = http2::Builder::new(TokioExecutor::new());
    builder
        // Without a timer hyper sends no pings.
        .timer(TokioTimer::new())
        .keep_alive_interval(HTTP2_PING)
        .keep_alive_timeout(HTTP2_PING)
        .max_concurrent_streams(HTTP2_STREAMS)
        .initial_connection_window_size(HTTP2_CONNECTION_WINDOW)
        .initial_stream_window_size(HTTP2_STREAM_WINDOW)
        .max_send_buf_size(HTTP2_SEND_BUFFER)
        .max_header_list_size(u32::try_from(limits.max_head_bytes).unwrap_or(u32::MAX));
    builder
}

async fn answer(
    request: Request<Incoming>,
    shared: Arc<Shared<impl Answer>>,
    _turn: Turn,
) -> Result<Response, Infallible> {
    let version = request.version();
    let mut response = if request.headers().len() > shared.max_headers {
        too_many_headers(shared.max_headers)
    } else if !is_plainly_framed(request.headers()) {
        unclear_framing()
    } else {
        shared.api.answer(request.map(Body::new), shared.peer).await
    };

    if version == Version::HTTP_2 {
        // Not a word of HTTP/2.
        response.headers_mut().remove(header::CONNECTION);
    } else if shared.shutdown.is_cancelled() {
        response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
    }
    Ok(response)
}

/// On HTTP/1 hyper has answered the same, without a body.
fn too_many_headers(max: usize) -> Response {
    let message = format!("The request has more than {max} headers.");
    let status = StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE;
    error_response(status, "too_many_headers", message, None, None)
}

/// Whether everybody would agree on where the body ends. What else is unclear hyper has refused; it
/// reads through codings that it does not know, and through `chunked` twice.
fn is_plainly_framed(headers: &HeaderMap) -> bool {
    let mut codings = headers.get_all(header::TRANSFER_ENCODING).iter();
    match (codings.next(), codings.next()) {
        (None, _) => true,
        (Some(one), None) => one.as_bytes().eq_ignore_ascii_case(b"chunked"),
        (Some(_), Some(_)) => false,
    }
}

fn unclear_framing() -> Response {
    let message = "The only transfer encoding of a body can be chunked, once.";
    let mut response =
        error_response(StatusCode::BAD_REQUEST, "unclear_framing", message, None, None);
    response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
    response
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
