//! Settings that several services share, so that name, default and meaning stand once.

use std::num::NonZeroUsize;
use std::time::Duration;

use secrecy::{ExposeSecret, SecretString};

pub use super::kafka::{Kafka, KafkaLogin, KafkaSecurity, KafkaTls, SaslMechanism};
use super::{Bytes, CaFile, Cidrs, Settings, Vars};
use crate::http::{Origins, ServerLimits};
use crate::telemetry::{LogFilter, LogFormat};

/// Where Postgres is.
#[derive(Clone, Debug)]
pub struct Postgres {
    /// `DATABASE_URL`: `postgres://user:password@host:port/database`. Required. With
    /// `?sslmode=verify-full&sslrootcert=/path/ca.pem` the connection is encrypted, and the server
    /// must be the one that is named.
    pub url: SecretString,
}

impl Settings for Postgres {
    fn read(vars: &mut Vars) -> Self {
        let url: SecretString = vars.required(
            "DATABASE_URL",
            "postgres://ads:password@127.0.0.1:15432/ads",
            "The Postgres database, as a postgres:// URL; with sslmode=verify-full for TLS",
        );
        let text = url.expose_secret();
        vars.check(
            "DATABASE_URL",
            text.starts_with("postgres://") || text.starts_with("postgresql://"),
            "must be a postgres:// URL",
        );
        Self { url }
    }
}

/// Where Redis is.
#[derive(Clone, Debug)]
pub struct Redis {
    /// `REDIS_URL`: `redis://user:password@host:port`, or `rediss://` for TLS. Required.
    pub url: SecretString,
    /// `REDIS_CA_FILE`: who may vouch for the server. By default whom the system trusts.
    pub ca_file: Option<CaFile>,
    /// `REDIS_PREFIX`: put before every key. Defaults to `ads`.
    pub prefix: String,
}

impl Settings for Redis {
    fn read(vars: &mut Vars) -> Self {
        Self::read_if(vars, true)
    }
}

impl Redis {
    /// Reads the settings where Redis is `needed`. Where it is not and there is no `REDIS_URL`, what is
    /// returned is of no use.
    pub fn read_if(vars: &mut Vars, needed: bool) -> Self {
        let url: SecretString = vars.required_if(
            needed,
            "REDIS_URL",
            "redis://127.0.0.1:16379",
            "The Redis of the counters: redis://, or rediss:// for TLS; ingest: only for shared limits",
        );
        let ca_file: Option<CaFile> = vars.optional(
            "REDIS_CA_FILE",
            "Certificates (PEM) of who may vouch for Redis; unset: whom the system trusts",
        );
        let prefix: String = vars.or(
            "REDIS_PREFIX",
            "ads",
            "Put before every key, so that several pipelines can share a Redis",
        );
        let tls = url.expose_secret().starts_with("rediss://");
        vars.check(
            "REDIS_URL",
            tls || url.expose_secret().starts_with("redis://"),
            "must be a redis:// or rediss:// URL",
        );
        // Where Redis is not needed the URL may be missing, and one environment serves all services.
        vars.check(
            "REDIS_CA_FILE",
            tls || !needed || ca_file.is_none(),
            "must stand beside a REDIS_URL that begins with rediss://: redis:// is not encrypted",
        );
        vars.check(
            "REDIS_PREFIX",
            prefix.chars().all(|c| c.is_ascii_alphanumeric() || "._:-".contains(c)),
            "must hold only letters, digits, dots, colons, underscores and hyphens",
        );
        Self { url, ca_file, prefix }
    }
}

/// How far from the present an event's own time may lie.
#[derive(Clone, Copy, Debug)]
pub struct EventAge {
    /// `MAX_EVENT_AGE`: see [`max_event_age`].
    pub max_event_age: Duration,
    /// `MAX_EVENT_AHEAD`: how far a player's clock may be ahead. Defaults to `10m`.
    pub max_event_ahead: Duration,
}

impl Settings for EventAge {
    fn read(vars: &mut Vars) -> Self {
        Self {
            max_event_age: max_event_age(vars),
            max_event_ahead: vars.or(
                "MAX_EVENT_AHEAD",
                "10m",
                "How far in the future an event's timestamp may lie",
            ),
        }
    }
}

/// Reads `MAX_EVENT_AGE`, for a service that needs no other part of [`EventAge`].
///
/// Defaults to `7d`. Events are told apart from their duplicates only for as long as their day's
/// partition is kept, so the partitions must be kept for longer than this.
pub fn max_event_age(vars: &mut Vars) -> Duration {
    vars.or("MAX_EVENT_AGE", "7d", "How old an event may be and still count")
}

/// Reads `CORS_ORIGINS`: whose pages may call a public API. Defaults to `*`.
pub fn cors_origins(vars: &mut Vars) -> Origins {
    vars.or(
        "CORS_ORIGINS",
        "*",
        "Origins whose pages may call the APIs, with credentials; `*` is all, without credentials",
    )
}

/// Reads `TRUSTED_PROXIES`: networks of the load balancers. Empty by default.
///
/// What they say in `X-Forwarded-For` is believed, and they may have any number of connections.
pub fn trusted_proxies(vars: &mut Vars) -> Cidrs {
    vars.or(
        "TRUSTED_PROXIES",
        "",
        "Networks of the load balancers, whose X-Forwarded-For and many connections are accepted",
    )
}

/// How the service logs.
#[derive(Clone, Debug)]
pub struct Logs {
    /// `LOG_FORMAT`: `json` (the default) or `text`.
    pub format: LogFormat,
    /// `LOG_LEVEL`: what is logged. Defaults to `info`.
    pub level: LogFilter,
}

impl Settings for Logs {
    fn read(vars: &mut Vars) -> Self {
        Self {
            format: vars.or(
                "LOG_FORMAT",
                "json",
                "`json` for one JSON object a line, `text` for people",
            ),
            level: vars.or(
                "LOG_LEVEL",
                "info",
                "What is logged: a level, or directives such as info,ingest_api=debug",
            ),
        }
    }
}

/// How the service stops.
#[derive(Clone, Copy, Debug)]
pub struct Shutdown {
    /// `SHUTDOWN_TIMEOUT`: how long stopping may take altogether. Defaults to `25s`.
    ///
    /// Must stay below the orchestrator's own limit (30 s in Kubernetes), which kills.
    pub timeout: Duration,
}

impl Settings for Shutdown {
    fn read(vars: &mut Vars) -> Self {
        Self {
            timeout: vars.or(
                "SHUTDOWN_TIMEOUT",
                "25s",
                "How long stopping may take altogether after SIGTERM or SIGINT",
            ),
        }
    }
}

/// How a service with a public port stops.
#[derive(Clone, Copy, Debug)]
pub struct PublicShutdown {
    /// `SHUTDOWN_DELAY`: how long requests are served on after the service says that it is not
    /// ready. Defaults to `0s`.
    ///
    /// Set it to as long as the load balancer takes to notice, or some of its requests meet a
    /// closed port. Part of `SHUTDOWN_TIMEOUT`.
    pub delay: Duration,
    /// `SHUTDOWN_TIMEOUT`: see [`Shutdown::timeout`].
    pub timeout: Duration,
}

impl Settings for PublicShutdown {
    fn read(vars: &mut Vars) -> Self {
        let delay = vars.or(
            "SHUTDOWN_DELAY",
            "0s",
            "How long to serve on after not being ready any more, for load balancers to notice",
        );
        let Shutdown { timeout } = Shutdown::read(vars);
        vars.check("SHUTDOWN_DELAY", delay < timeout, "must be shorter than SHUTDOWN_TIMEOUT");
        Self { delay, timeout }
    }
}

impl PublicShutdown {
    /// How long requests in flight may take to finish, where what comes after the last answer may
    /// take `rest`.
    pub fn grace(&self, rest: Duration) -> Duration {
        self.timeout.saturating_sub(self.delay).saturating_sub(rest)
    }
}

/// What clients may use of a public port. Its settings have the service's own prefix, see
/// [`public_port!`](crate::public_port!).
#[derive(Clone, Copy, Debug)]
pub struct PublicPort {
    /// `…_HEADER_TIMEOUT`: how long the head of a request may take. Defaults to `10s`; a client that
    /// is slower is cut off.
    pub header_timeout: Duration,
    /// `…_IDLE_TIMEOUT`: how long a client may leave its connection idle. Defaults to `75s`.
    ///
    /// Must be longer than the load balancer keeps idle connections (60 s is common), or some of its
    /// requests meet a connection that was just closed.
    pub idle_timeout: Duration,
    /// `…_MAX_CONNECTIONS`: how many connections are served at once. Defaults to 10,000.
    ///
    /// Beyond it those that have been idle for longest are closed. Each is an open file: see
    /// [`open_files`](crate::open_files).
    pub max_connections: NonZeroUsize,
    /// `…_MAX_CONNECTIONS_PER_ADDRESS`: how many of them one address (IPv6: one /64) may have.
    /// Defaults to 1,000: mobile carriers put very many viewers behind one address.
    pub max_connections_per_address: NonZeroUsize,
    /// `…_MAX_REQUESTS_IN_FLIGHT`: how many requests are answered at once. Defaults to 5,000; more
    /// get 503 before their body is read.
    pub max_in_flight: NonZeroUsize,
    /// `…_MAX_HEADERS`: how many headers a request may have. Defaults to 100.
    pub max_headers: NonZeroUsize,
    /// `…_MAX_HEAD_BYTES`: how long a request's head may be. Defaults to `32KiB`.
    pub max_head_bytes: Bytes,
}

/// The names of the settings of a [`PublicPort`]. Made by [`public_port!`](crate::public_port!).
#[doc(hidden)]
#[derive(Clone, Copy, Debug)]
pub struct PublicPortNames {
    pub header_timeout: &'static str,
    pub idle_timeout: &'static str,
    pub max_connections: &'static str,
    pub max_connections_per_address: &'static str,
    pub max_in_flight: &'static str,
    pub max_headers: &'static str,
    pub max_head_bytes: &'static str,
}

/// Reads the [`PublicPort`] of the service whose settings begin with this prefix.
#[macro_export]
macro_rules! public_port {
    ($vars:expr, $prefix:literal) => {
        $crate::settings::groups::PublicPort::read(
            $vars,
            $crate::settings::groups::PublicPortNames {
                header_timeout: concat!($prefix, "_HEADER_TIMEOUT"),
                idle_timeout: concat!($prefix, "_IDLE_TIMEOUT"),
                max_connections: concat!($prefix, "_MAX_CONNECTIONS"),
                max_connections_per_address: concat!($prefix, "_MAX_CONNECTIONS_PER_ADDRESS"),
                max_in_flight: concat!($prefix, "_MAX_REQUESTS_IN_FLIGHT"),
                max_headers: concat!($prefix, "_MAX_HEADERS"),
                max_head_bytes: concat!($prefix, "_MAX_HEAD_BYTES"),
            },
        )
    };
}

impl PublicPort {
    #[doc(hidden)]
    pub fn read(vars: &mut Vars, names: PublicPortNames) -> Self {
        let port = Self {
            header_timeout: vars.or(
                names.header_timeout,
                "10s",
                "How long a client may take to send a request's head, from its first byte on",
            ),
            idle_timeout: vars.or(
                names.idle_timeout,
                "75s",
                "How long a client may leave its connection idle; longer than the load balancer does",
            ),
            max_connections: vars.or(
                names.max_connections,
                "10000",
                "How many connections are served at once; beyond, the longest idle ones are closed",
            ),
            max_connections_per_address: vars.or(
                names.max_connections_per_address,
                "1000",
                "How many of them one address (IPv6: one /64) may have",
            ),
            max_in_flight: vars.or(
                names.max_in_flight,
                "5000",
                "How many requests are answered at once; more get 503 unread",
            ),
            max_headers: vars.or(names.max_headers, "100", "How many headers a request may have"),
            max_head_bytes: vars.or(
                names.max_head_bytes,
                "32KiB",
                "How long a request's head may be: its first line and all its headers",
            ),
        };
        let positive = |it: Duration| it >= Duration::from_millis(1);
        vars.check(names.header_timeout, positive(port.header_timeout), "must be at least 1ms");
        vars.check(names.idle_timeout, positive(port.idle_timeout), "must be at least 1ms");
        vars.check(
            names.max_head_bytes,
            (Bytes(8 * 1024)..=Bytes(1024 * 1024)).contains(&port.max_head_bytes),
            "must be from 8KiB to 1MiB",
        );
        vars.check(names.max_headers, port.max_headers.get() <= 10_000, "must be at most 10000");
        port
    }

    /// The limits of a server that serves at most `max_connections` at once, and stops within
    /// `shutdown_grace`. The cap per address is not for `many_connections`.
    pub fn limits(
        &self,
        max_connections: usize,
        many_connections: Cidrs,
        shutdown_grace: Duration,
    ) -> ServerLimits {
        ServerLimits {
            header_timeout: self.header_timeout,
            idle_timeout: self.idle_timeout,
            max_connections,
            max_connections_per_address: self.max_connections_per_address.get(),
            many_connections,
            max_headers: self.max_headers.get(),
            max_head_bytes: self.max_head_bytes.as_usize(),
            shutdown_grace,
        }
    }
}

pub(super) fn is_host_and_port(text: &str) -> bool {
    text.rsplit_once(':').is_some_and(|(host, port)| {
        !host.is_empty()
            && !host.contains(|c: char| c == '/' || c.is_whitespace())
            && port.parse::<u16>().is_ok()
    })
}
