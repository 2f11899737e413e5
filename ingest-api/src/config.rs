//! Settings of the ingest service.

use std::{net::SocketAddr, num::NonZeroU32, path::PathBuf, time::Duration};

use proto_schemas::DedupWindow;
use service_kit::{
    AdminPort,
    http::Origins,
    settings::{
        Bytes, Cidrs, Settings, Vars,
        groups::{EventAge, Kafka, PublicPort, PublicShutdown, cors_origins, trusted_proxies},
    },
};

use crate::{links::Links, privacy::Privacy, rate_limit::RateLimitConfig, spool::SYNC_WITHIN};

/// Settings, checked and ready for use.
#[derive(Clone, Debug)]
pub struct Config {
    /// `INGEST_LISTEN`: where to serve the public API. Defaults to `0.0.0.0:8081`.
    pub listen: SocketAddr,
    /// `INGEST_ADMIN_LISTEN`: where to serve `/livez`, `/readyz` and `/metrics`. Defaults to
    /// `0.0.0.0:9081`. Keep it away from the internet.
    pub admin_listen: SocketAddr,
    /// `KAFKA_BROKERS` (required) and `TOPIC_PREFIX`. The topics must exist: they are never made
    /// here.
    pub kafka: Kafka,
    /// `MAX_EVENT_AGE` and `MAX_EVENT_AHEAD`: how far a player's timestamp may lie from the present
    /// before the event is refused.
    pub events: EventAge,
    /// `DEDUP_WINDOW`: events of one viewer on one ad within this time are one event. Defaults to
    /// `1ms`: every distinct timestamp counts.
    ///
    /// From 1 ms to 1 day. Changing it can count retries that are under way twice.
    pub dedup_window: DedupWindow,
    /// `IP_PRIVACY`, `HONOR_PRIVACY_SIGNALS` and `DEDUP_KEY_SECRET`: what of a viewer's address goes
    /// on to Kafka.
    pub privacy: Privacy,
    /// `LINK_SIGNING_KEY` and `LINK_SIGNING_KEY_PREVIOUS`: which click-through links are followed. None by
    /// default.
    pub links: Links,
    /// `RATE_LIMIT_MODE` and what follows: who may send how much.
    pub rate_limits: RateLimitConfig,
    /// `INGEST_OVERLOAD_DELAY`: for how long what is ready may wait for a processor, all the time, before
    /// addresses that are not known are turned away. Defaults to `2ms`; `0s`: they never are.
    pub overload_delay: Duration,
    /// `TRUSTED_PROXIES`: networks of the load balancers whose `X-Forwarded-For` is believed. Empty
    /// by default.
    ///
    /// Behind a load balancer that is missing here, all viewers share the balancer's address and
    /// its rate limit. A network that holds more than balancers lets its other hosts pretend to
    /// be anybody.
    pub trusted_proxies: Cidrs,
    /// `TRUSTED_SENDERS`: networks of the backends that post for their viewers. Empty by default.
    ///
    /// The body's `ip` counts from them alone, and they are not rate-limited.
    pub trusted_senders: Cidrs,
    /// `INGEST_PRODUCE_TIMEOUT`: how long an event may wait for Kafka to acknowledge it. Defaults to
    /// `2s`.
    ///
    /// After that, and half a second at most, the event goes to the spool, which may take 2 s more,
    /// or without one the player is told to try again (503). All of it must stay below the load
    /// balancer's and the player's own timeouts, or players retry events that are still in flight
    /// (which is harmless, but is work).
    pub produce_timeout: Duration,
    /// `INGEST_QUEUE_EVENTS`: how many events may wait for Kafka at once. Defaults to 100,000.
    ///
    /// Bounds the memory too, to 1 KiB for each. Beyond it events go to the spool, or players get
    /// 503 at once. Size it for the highest rate times `INGEST_PRODUCE_TIMEOUT`.
    pub queue_events: NonZeroU32,
    /// `SPOOL_DIR` and the other settings of the spool. `None` where `SPOOL_DIR` is not set.
    pub spool: Option<SpoolConfig>,
    /// `CORS_ORIGINS`: whose pages may call the API. Defaults to `*`: everybody's, but without cookies
    /// and other credentials.
    ///
    /// Pages of listed origins may send credentials. `navigator.sendBeacon` always does, so a beacon of
    /// another type than `text/plain` is possible from listed origins only.
    pub cors_origins: Origins,
    /// `INGEST_HEADER_TIMEOUT`, `INGEST_MAX_CONNECTIONS` and so on: what clients may use.
    pub port: PublicPort,
    /// `INGEST_BODY_TIMEOUT`: how long a client may take to send a body, which has 4 KiB at most.
    /// Defaults to `5s`; after that it gets 408.
    pub body_timeout: Duration,
    /// `SHUTDOWN_DELAY` and `SHUTDOWN_TIMEOUT`: how stopping goes, and how long it may take.
    pub shutdown: PublicShutdown,
}

/// A queue on the local disk for events that Kafka cannot take in time.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct SpoolConfig {
    /// `SPOOL_DIR`: where it is. One process alone may use it, and it must still be there when the
    /// process is started again, or what is in it is never counted.
    pub directory: PathBuf,
    /// `SPOOL_MAX_BYTES`: how much disk it may take. Defaults to `1GiB`: some 1,200,000 events.
    ///
    /// Beyond it players get 503. At least 1 MiB.
    pub max_bytes: Bytes,
    /// `SPOOL_DRAIN_RATE`: how many events a second leave it at most once Kafka is back. Defaults to
    /// 2,000.
    ///
    /// Kafka and the consumers must manage this beside the new traffic.
    pub drain_rate: NonZeroU32,
    /// `SPOOL_DRAIN_AT_STOP`: how long stopping waits for Kafka to take what is in the spool. Defaults
    /// to `0s`: it stays for the next start. Part of `SHUTDOWN_TIMEOUT`.
    ///
    /// For a process that may not be started again soon, such as one that an autoscaler takes away. A
    /// Kafka that is away is not waited for.
    pub drain_at_stop: Duration,
}

impl AdminPort for Config {
    fn admin_listen(&self) -> SocketAddr {
        self.admin_listen
    }
}

impl Settings for Config {
    fn read(vars: &mut Vars) -> Self {
        let kafka = Kafka::read(vars);
        let produce_timeout = vars.or(
            "INGEST_PRODUCE_TIMEOUT",
            "2s",
            "How long an event may wait for Kafka before it goes to the spool, or the player gets 503",
        );
        vars.check(
            "INGEST_PRODUCE_TIMEOUT",
            (Duration::from_millis(100)..=Duration::from_mins(1)).contains(&produce_timeout),
            "must be from 100ms to 1m",
        );
        let config = Self {
            listen: vars.or("INGEST_LISTEN", "0.0.0.0:8081", "Where to serve the public API"),
            admin_listen: vars.or(
                "INGEST_ADMIN_LISTEN",
                "0.0.0.0:9081",
                "Where to serve /livez, /readyz and /metrics; keep it away from the internet",
            ),
            kafka,
            events: EventAge::read(vars),
            dedup_window: dedup_window(vars),
            privacy: Privacy::read(vars),
            links: Links::read(vars),
            rate_limits: RateLimitConfig::read(vars),
            overload_delay: vars.or(
                "INGEST_OVERLOAD_DELAY",
                "2ms",
                "How long requests may wait for a processor before addresses not known get 503; `0s`: for ever",
            ),
            trusted_proxies: trusted_proxies(vars),
            trusted_senders: vars.or(
                "TRUSTED_SENDERS",
                "",
                "Networks of backends whose body's `ip` counts and that are not rate-limited",
            ),
            produce_timeout,
            queue_events: vars.or(
                "INGEST_QUEUE_EVENTS",
                "100000",
                "How many events (of 1 KiB at most on average) may wait for Kafka at once",
            ),
            spool: spool(vars),
            cors_origins: cors_origins(vars),
            port: service_kit::public_port!(vars, "INGEST"),
            body_timeout: vars.or(
                "INGEST_BODY_TIMEOUT",
                "5s",
                "How long a client may take to send a body before it gets 408",
            ),
            shutdown: PublicShutdown::read(vars),
        };
        vars.check(
            "INGEST_QUEUE_EVENTS",
            config.queue_events.get() <= 10_000_000,
            "must be at most 10000000",
        );
        // Requests in flight wait for Kafka once, perhaps for the spool, and the flush behind them
        // waits once more.
        let spool_wait =
            config.spool.as_ref().map_or(Duration::ZERO, |it| SYNC_WITHIN + it.drain_at_stop);
        let needed = config.shutdown.delay + 2 * produce_timeout + spool_wait;
        vars.check(
            "SHUTDOWN_TIMEOUT",
            config.shutdown.timeout >= needed,
            "must be at least SHUTDOWN_DELAY and twice INGEST_PRODUCE_TIMEOUT, and with a spool 2s and \
             SPOOL_DRAIN_AT_STOP",
        );
        config
    }
}

fn spool(vars: &mut Vars) -> Option<SpoolConfig> {
    let directory: Option<String> = vars.optional(
        "SPOOL_DIR",
        "Where events wait that Kafka cannot take in time; one process alone may use it",
    );
    let max_bytes = vars.or(
        "SPOOL_MAX_BYTES",
        "1GiB",
        "How much disk the spool may take (some 800 bytes an event) before players get 503",
    );
    let drain_rate = vars.or(
        "SPOOL_DRAIN_RATE",
        "2000",
        "How many events a second leave the spool at most, once Kafka is back",
    );
    let drain_at_stop = vars.or(
        "SPOOL_DRAIN_AT_STOP",
        "0s",
        "How long stopping waits for Kafka to take what is in the spool; what is left stays there",
    );
    vars.check("SPOOL_MAX_BYTES", max_bytes >= Bytes(1024 * 1024), "must be at least 1MiB");
    directory.map(|it| SpoolConfig { directory: it.into(), max_bytes, drain_rate, drain_at_stop })
}

fn dedup_window(vars: &mut Vars) -> DedupWindow {
    let window = vars.or(
        "DEDUP_WINDOW",
        "1ms",
        "Events of one viewer on one ad within this time are one; `1m` is one click a minute",
    );
    let checked = DedupWindow::new(window);
    vars.check(
        "DEDUP_WINDOW",
        checked.is_some(),
        "must be a whole number of milliseconds, from 1ms to 1day",
    );
    checked.unwrap_or(DedupWindow::MILLISECOND)
}

#[cfg(test)]
mod tests {
    use service_kit::settings::{Env, describe};

    use super::*;

    fn read<const N: usize>(pairs: [(&str, &str); N]) -> Result<Config, String> {
        let brokers = [("KAFKA_BROKERS", "127.0.0.1:19092")];
        let pairs = brokers.into_iter().chain(pairs);
        Env::from_pairs(pairs).read().map_err(|invalid| invalid.to_string())
    }

    #[test]
    fn only_the_brokers_are_required() {
        let config = read([]).expect("defaults are fine");

        assert_eq!(config.listen.port(), 8081);
        assert_eq!(config.admin_listen.port(), 9081);
        assert_eq!(config.dedup_window, DedupWindow::MILLISECOND);
        assert!(config.trusted_proxies.is_empty() && config.trusted_senders.is_empty());
    }

    #[test]
    fn every_bad_setting_is_named_at_once() {
        let problems = read([
            ("DEDUP_WINDOW", "2days"),
            ("RATE_LIMIT_BURST", "0"),
            ("INGEST_PRODUCE_TIMEOUT", "20s"),
            ("INGEST_QUEUE_EVENTS", "20000000"),
            ("TRUSTED_PROXIES", "everybody"),
        ])
        .expect_err("all wrong");

        for name in [
            "DEDUP_WINDOW",
            "RATE_LIMIT_BURST",
            "SHUTDOWN_TIMEOUT",
            "INGEST_QUEUE_EVENTS",
            "TRUSTED_PROXIES",
        ] {
            assert!(problems.contains(name), "{name} is not in {problems}");
        }
    }

    #[test]
    fn every_setting_says_what_it_is_for() {
        let settings = describe::<Config>();

        assert!(settings.len() >= 18);
        assert!(settings.iter().all(|setting| !setting.help.is_empty()));
    }
}
