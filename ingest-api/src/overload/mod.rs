//! Under more than can be answered, those go first who are known, and strangers wait at the door.
//!
//! Rate limits cannot help where each address sends once. What tells viewers from a flood is that they were
//! here before: see [`Known`].

mod gate;
mod known;
mod metrics;
mod turned_away;

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU32, Ordering},
    },
    time::{Duration, Instant},
};

use axum::{
    extract::{ConnectInfo, Request, State},
    http::{StatusCode, Version},
    middleware::Next,
    response::Response,
};
use service_kit::http::{AddressKey, too_busy};
use tokio_util::sync::CancellationToken;

pub(crate) use self::metrics::OverloadMetrics;
use self::{
    gate::{Gate, Strangers},
    known::Known,
    turned_away::TurnedAway,
};
use crate::{api::Ingest, client::Client};

/// In place of a number of strangers: all.
const ALL: u32 = u32::MAX;

/// Decides who is served first. Shared by reference.
#[derive(Debug)]
pub(crate) struct Overload {
    /// What ready tasks may wait for their turn; beyond that it is overload. None: it is never.
    allowed_delay: Option<Duration>,
    max_in_flight: usize,
    known: Known,
    /// How many more strangers may come in until the next look, or [`ALL`].
    strangers: AtomicU32,
    /// Whether somebody was turned away since the last look.
    refused: AtomicBool,
    turned_away: TurnedAway,
    metrics: OverloadMetrics,
}

impl Overload {
    /// Remembers some `max_keys` addresses; holds `max_held` answers at once at most.
    pub(crate) fn new(
        allowed_delay: Duration,
        max_keys: usize,
        max_in_flight: usize,
        max_held: usize,
        metrics: OverloadMetrics,
    ) -> Self {
        Self {
            allowed_delay: Some(allowed_delay).filter(|it| !it.is_zero()),
            max_in_flight,
            known: Known::new(max_keys, metrics.overflow()),
            strangers: AtomicU32::new(ALL),
            refused: AtomicBool::new(false),
            turned_away: TurnedAway::new(max_held),
            metrics,
        }
    }

    /// Whether a client may come in: not where it is a stranger, and there is too much to do.
    pub(crate) fn lets_in(&self, client: Client) -> bool {
        if self.allowed_delay.is_none()
            || client.trusted
            || self.known.see(AddressKey::of(client.address))
        {
            return true;
        }
        let take = |left| if left == ALL { Some(ALL) } else { u32::checked_sub(left, 1) };
        let taken = self.strangers.fetch_update(Ordering::Relaxed, Ordering::Relaxed, take);
        if taken.is_err() {
            self.refused.store(true, Ordering::Relaxed);
            self.metrics.turned_away();
        }
        taken.is_ok()
    }

    /// Watches the load until `stop`. Holds no answer from then on.
    pub(crate) async fn watch(&self, stop: CancellationToken) {
        if let Some(allowed) = self.allowed_delay {
            let mut gate = Gate::new(allowed, self.max_in_flight, Instant::now());
            while let Some(delay) = stop.run_until_cancelled(gate.delay()).await {
                let refused = self.refused.swap(false, Ordering::Relaxed);
                let strangers = match gate.look(delay, refused, Instant::now()) {
                    Strangers::All => ALL,
                    Strangers::AtMost(count) => count,
                };
                self.strangers.store(strangers, Ordering::Relaxed);
                self.metrics.looked(delay, gate.is_narrow());
            }
        }
        self.turned_away.let_go();
    }

    /// Lets those in who may come in.
    ///
    /// # Errors
    ///
    /// With 503 for the others, before anything but the head of their request is read.
    pub(crate) async fn admit(&self, client: Client, version: Version) -> Result<(), Response> {
        if self.lets_in(client) { Ok(()) } else { Err(self.refusal(version).await) }
    }

    /// Takes in what a client was told that had come in.
    pub(crate) fn answered(&self, client: Client, response: &Response) {
        if response.status() == StatusCode::TOO_MANY_REQUESTS {
            // Who does not behave is no better than a stranger.
            self.known.forget(AddressKey::of(client.address));
        }
    }

    /// What a stranger is told that was not let in.
    async fn refusal(&self, version: Version) -> Response {
        // A connection of HTTP/2 may be a proxy's, on which everybody's requests would have to wait.
        if version < Version::HTTP_2 {
            self.turned_away.wait().await;
        }
        too_busy()
    }
}

/// Serves those who may come in, and turns the others away.
pub(crate) async fn known_first(
    State(ingest): State<Arc<Ingest>>,
    ConnectInfo(peer): ConnectInfo<SocketAddr>,
    request: Request,
    next: Next,
) -> Response {
    let client = ingest.trust.client(peer, request.headers());
    if let Err(refusal) = ingest.overload.admit(client, request.version()).await {
        return refusal;
    }
    let response = next.run(request).await;
    ingest.overload.answered(client, &response);
    response
}

#[cfg(test)]
mod tests {
    use std::{
        future::ready,
        net::{IpAddr, Ipv4Addr},
    };

    use prometheus_client::registry::Registry;

    use super::*;

    fn overload(allowed_delay: Duration) -> Overload {
        let metrics = OverloadMetrics::register(&mut Registry::default());
        Overload::new(allowed_delay, 1000, 100, 1, metrics)
    }

    fn client(number: u8) -> Client {
        Client { address: IpAddr::V4(Ipv4Addr::new(192, 0, 2, number)), trusted: false }
    }

    #[test]
    fn no_more_strangers_come_in_than_may_while_others_do() {
        let overload = overload(Duration::from_millis(1));
        assert!((0..100).all(|it| overload.lets_in(client(it))), "there is no overload");

        overload.strangers.store(2, Ordering::Relaxed);
        let strangers = [101, 102, 103, 104].map(|it| overload.lets_in(client(it)));

        assert_eq!(strangers, [true, true, false, false]);
        assert!(overload.lets_in(Client { trusted: true, ..client(105) }));
        assert!(overload.refused.load(Ordering::Relaxed));
    }

    #[test]
    fn where_it_is_off_nobody_is_a_stranger() {
        let overload = overload(Duration::ZERO);
        overload.strangers.store(0, Ordering::Relaxed);

        assert!(overload.lets_in(client(1)));
    }

    #[tokio::test]
    async fn a_stranger_on_http2_is_told_at_once() {
        let overload = overload(Duration::from_millis(1));

        for (version, at_once) in [(Version::HTTP_2, true), (Version::HTTP_11, false)] {
            let answered = tokio::select! {
                biased;
                _ = overload.refusal(version) => true,
                () = ready(()) => false,
            };
            assert_eq!(answered, at_once);
        }
    }
}
