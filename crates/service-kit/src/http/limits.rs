//! What clients may use of a server.

use std::time::Duration;

use crate::settings::Cidrs;

/// What clients may use of a server.
#[derive(Clone, Debug)]
pub struct ServerLimits {
    /// How long the head of a request may take from its first byte on.
    ///
    /// The connection is then closed without an answer. Bodies have a limit of their own:
    /// [`read_body`](super::read_body).
    pub header_timeout: Duration,
    /// How long a client may leave its connection idle: before the first request, between two
    /// requests, and (on Linux) while it does not take its answer.
    ///
    /// Where a load balancer stands in front, this must be longer than it keeps idle connections, or
    /// some of its requests meet a closed one.
    pub idle_timeout: Duration,
    /// How many connections are served at once, at least one.
    ///
    /// Beyond it those that have waited for their client for longest make room, and where none does
    /// new ones wait in the system's queue.
    pub max_connections: usize,
    /// How many of them one address (IPv6: one /64) may have, at least one. More are closed at once.
    pub max_connections_per_address: usize,
    /// Peers that the limit per address is not for: load balancers, above all.
    pub many_connections: Cidrs,
    /// How many headers a request may have; with more it is answered with 431.
    pub max_headers: usize,
    /// How long the head of a request may be, in bytes, at least 8 KiB; a longer one is answered with
    /// 431.
    ///
    /// hyper's own limit of some 400 KB is, times thousands of connections, memory worth attacking.
    pub max_head_bytes: usize,
    /// How long requests in flight may take to finish once shutdown was asked for.
    pub shutdown_grace: Duration,
}

impl Default for ServerLimits {
    /// What the settings of the public ports default to, but for the grace period: 25 s.
    fn default() -> Self {
        Self {
            header_timeout: Duration::from_secs(10),
            idle_timeout: Duration::from_secs(75),
            max_connections: 10_000,
            max_connections_per_address: 1000,
            many_connections: Cidrs::default(),
            max_headers: 100,
            max_head_bytes: 32 * 1024,
            shutdown_grace: Duration::from_secs(25),
        }
    }
}
