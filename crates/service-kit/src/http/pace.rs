//! What one connection is doing, and until when it may go on like that.

use std::cmp::{max, min};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::Instant;

use super::limits::ServerLimits;
use super::metrics::Closed;

/// How long a connection that has nothing to do stays open once the server stops, so that a request
/// that is on its way is answered instead of meeting a closed connection.
pub(super) const LAST_CALL: Duration = Duration::from_millis(250);

/// How the preface of HTTP/2 begins; no method of HTTP/1 does.
const HTTP2_PREFACE: &[u8] = b"PRI ";

/// Tells HTTP/2 from HTTP/1 by the first bytes of a connection.
///
/// They are in one packet, unless somebody takes the trouble to send the preface bit by bit: that is
/// then answered as the malformed HTTP/1 that it also is.
pub(super) fn is_http2(first_bytes: &[u8]) -> bool {
    first_bytes.starts_with(HTTP2_PREFACE)
}

/// Watches one connection. Shared by what reads and writes it, its requests, and what may end it.
#[derive(Debug)]
pub(super) struct Pace {
    state: Mutex<State>,
    evicted: Notify,
}

#[derive(Clone, Copy, Debug)]
struct State {
    http2: bool,
    /// Whether there was a request.
    served: bool,
    /// Requests that are being answered; on HTTP/1 one at most.
    in_flight: usize,
    /// Since when nothing but the client is waited for. Counts while nothing is in flight.
    waiting_since: Instant,
    /// Whether a part of a head is there. Never so on HTTP/2, whose pings are no heads.
    head_begun: bool,
}

/// A request that is being answered, until it is dropped.
#[derive(Debug)]
pub(super) struct Turn(Arc<Pace>);

impl Pace {
    pub(super) fn new() -> Self {
        Self { state: Mutex::new(State::new(Instant::now())), evicted: Notify::new() }
    }

    /// Bytes have arrived.
    pub(super) fn received(&self, bytes: &[u8]) {
        self.state().received(bytes, Instant::now);
    }

    /// The client has taken a part of its answer.
    pub(super) fn written(&self) {
        self.state().written(Instant::now());
    }

    /// A request is there and is being answered from now on.
    pub(super) fn begin(self: &Arc<Self>) -> Turn {
        self.state().begin();
        Turn(Arc::clone(self))
    }

    /// Whether there is an HTTP/2 client that has got further than the handshake.
    pub(super) fn serves_http2(&self) -> bool {
        let State { http2, served, .. } = *self.state();
        http2 && served
    }

    /// Since when the client is waited for; `None` while a request is being answered.
    pub(super) fn waiting_since(&self) -> Option<Instant> {
        let state = self.state();
        (state.in_flight == 0).then_some(state.waiting_since)
    }

    /// Until when the client may keep the connection waiting, and what it is then closed for. `None`
    /// while a request is being answered.
    pub(super) fn deadline(
        &self,
        limits: &ServerLimits,
        stopping_since: Option<Instant>,
    ) -> Option<(Instant, Closed)> {
        self.state().deadline(limits, stopping_since)
    }

    /// Asks the connection to make room for another one.
    pub(super) fn evict(&self) {
        self.evicted.notify_one();
    }

    /// Waits until the connection is to make room. Cancel safe.
    pub(super) async fn evicted(&self) {
        self.evicted.notified().await;
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // Whole after every statement under the lock.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        self.0.state().end(Instant::now());
    }
}

impl State {
    fn new(now: Instant) -> Self {
        Self { http2: false, served: false, in_flight: 0, waiting_since: now, head_begun: false }
    }

    fn received(&mut self, bytes: &[u8], now: impl FnOnce() -> Instant) {
        if bytes.is_empty() || self.in_flight > 0 || self.head_begun || self.http2 {
            return;
        }
        self.http2 = !self.served && is_http2(bytes);
        self.head_begun = !self.http2;
        self.waiting_since = now();
    }

    fn written(&mut self, now: Instant) {
        // On HTTP/2 that proves nothing: pings are written for ever.
        if !self.http2 && !self.head_begun {
            self.waiting_since = now;
        }
    }

    fn begin(&mut self) {
        self.served = true;
        self.in_flight += 1;
        self.head_begun = false;
    }

    fn end(&mut self, now: Instant) {
        self.in_flight -= 1;
        self.waiting_since = now;
    }

    fn deadline(
        &self,
        limits: &ServerLimits,
        stopping_since: Option<Instant>,
    ) -> Option<(Instant, Closed)> {
        if self.in_flight > 0 {
            return None;
        }
        let (limit, reason) = if self.head_begun {
            (limits.header_timeout, Closed::SlowHead)
        } else {
            (limits.idle_timeout, Closed::Idle)
        };
        let deadline = self.waiting_since + limit;
        Some(match stopping_since {
            None => (deadline, reason),
            Some(since) => {
                (min(deadline, max(since, self.waiting_since) + LAST_CALL), Closed::Stopping)
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn limits() -> ServerLimits {
        ServerLimits {
            header_timeout: 10 * SECOND,
            idle_timeout: 75 * SECOND,
            ..ServerLimits::default()
        }
    }

    /// Until when the client may take, in seconds since `start`, and what follows.
    fn until(state: &State, start: Instant) -> Option<(u64, Closed)> {
        let (at, reason) = state.deadline(&limits(), None)?;
        Some(((at - start).as_secs(), reason))
    }

    #[test]
    fn a_head_has_its_time_from_its_first_byte_on_however_many_bytes_follow() {
        let start = Instant::now();
        let mut state = State::new(start);
        assert_eq!(until(&state, start), Some((75, Closed::Idle)));

        state.received(b"P", || start + 60 * SECOND);
        state.received(b"OST", || start + 64 * SECOND);

        assert_eq!(until(&state, start), Some((70, Closed::SlowHead)));
    }

    #[test]
    fn nobody_is_waited_for_while_a_request_is_answered_and_the_idle_time_begins_after_it() {
        let start = Instant::now();
        let mut state = State::new(start);
        state.received(b"GET / HTTP/1.1\r\n\r\n", || start);

        state.begin();
        assert_eq!(until(&state, start), None);
        state.end(start + 100 * SECOND);
        assert_eq!(until(&state, start), Some((175, Closed::Idle)));

        state.written(start + 120 * SECOND);
        assert_eq!(until(&state, start), Some((195, Closed::Idle)), "it takes its answer");
    }

    #[test]
    fn on_http2_only_requests_keep_a_connection_from_being_idle() {
        let start = Instant::now();
        let mut state = State::new(start);
        state.received(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", || start);
        state.received(b"a ping", || start + 20 * SECOND);
        state.written(start + 20 * SECOND);
        assert_eq!(until(&state, start), Some((75, Closed::Idle)));

        state.begin();
        state.begin();
        state.end(start + 30 * SECOND);
        assert_eq!(until(&state, start), None);
        state.end(start + 40 * SECOND);
        assert_eq!(until(&state, start), Some((115, Closed::Idle)));
    }

    #[test]
    fn a_server_that_stops_gives_idle_connections_a_last_call() {
        let start = Instant::now();
        let stopping_since = start + 20 * SECOND;

        let deadline = State::new(start).deadline(&limits(), Some(stopping_since));

        assert_eq!(deadline, Some((stopping_since + LAST_CALL, Closed::Stopping)));
    }
}
