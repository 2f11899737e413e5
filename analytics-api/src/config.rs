//! Settings of the analytics service.

use std::{net::SocketAddr, num::NonZeroUsize, time::Duration};

use service_kit::{
    AdminPort,
    http::Origins,
    settings::{
        Cidrs, Settings, Vars,
        groups::{Postgres, PublicPort, PublicShutdown, Redis, cors_origins, trusted_proxies},
    },
};

use crate::PublicUrl;

/// Settings, checked and ready for use.
#[derive(Clone, Debug)]
pub struct Config {
    /// `ANALYTICS_LISTEN`: where to serve the public API. Defaults to `0.0.0.0:8082`.
    pub listen: SocketAddr,
    /// `ANALYTICS_ADMIN_LISTEN`: where to serve `/livez`, `/readyz` and `/metrics`. Defaults to
    /// `0.0.0.0:9082`. Keep it away from the internet.
    pub admin_listen: SocketAddr,
    /// `DATABASE_URL`: required. A user that may only read is enough.
    pub postgres: Postgres,
    /// `REDIS_URL` (required) and `REDIS_PREFIX`, the same as the consumer's.
    pub redis: Redis,
    /// `ANALYTICS_REDIS_BUDGET`: how long Redis may take before Postgres is asked instead. Defaults
    /// to `20ms`.
    ///
    /// A read takes Redis some 1 ms for every 10,000 totals (ads times partitions of both topics).
    /// Below that all answers come from Postgres.
    pub redis_budget: Duration,
    /// `ANALYTICS_POSTGRES_TIMEOUT`: how long a query may take. Defaults to `2s`.
    ///
    /// No request waits longer than twice this and four Redis budgets: for the read that is under
    /// way, and for one of its own. Must stay below the load balancer's own timeout.
    pub postgres_timeout: Duration,
    /// `ANALYTICS_POOL_SIZE`: connections to Postgres at most. Defaults to 6.
    ///
    /// Three are for the lists and the look at the epoch, however many requests there are; all others
    /// look up ads for VAST documents, each some thousand a second.
    pub pool_size: NonZeroUsize,
    /// `ANALYTICS_MAX_AGE`: how old the body of `/ads/analytics` may be. Defaults to `250ms`; `0s`
    /// reads the stores anew for each request that is not already waiting.
    pub max_age: Duration,
    /// `PUBLIC_INGEST_URL`: where players reach ingest, for the tracking URLs of VAST documents.
    /// Without it there are none.
    pub ingest: Option<PublicUrl>,
    /// `CORS_ORIGINS`: whose pages may call the API. Defaults to `*`: everybody's, but without cookies
    /// and other credentials, which those of listed origins may send.
    pub cors_origins: Origins,
    /// `ANALYTICS_HEADER_TIMEOUT`, `ANALYTICS_MAX_CONNECTIONS` and so on: what clients may use.
    pub port: PublicPort,
    /// `TRUSTED_PROXIES`: networks of the load balancers, which may have more connections than
    /// `ANALYTICS_MAX_CONNECTIONS_PER_ADDRESS`. Empty by default.
    pub trusted_proxies: Cidrs,
    /// `SHUTDOWN_DELAY` and `SHUTDOWN_TIMEOUT`: how stopping goes, and how long it may take.
    pub shutdown: PublicShutdown,
}

impl AdminPort for Config {
    fn admin_listen(&self) -> SocketAddr {
        self.admin_listen
    }
}

impl Settings for Config {
    fn read(vars: &mut Vars) -> Self {
        let config = Self {
            listen: vars.or("ANALYTICS_LISTEN", "0.0.0.0:8082", "Where to serve the public API"),
            admin_listen: vars.or(
                "ANALYTICS_ADMIN_LISTEN",
                "0.0.0.0:9082",
                "Where to serve /livez, /readyz and /metrics; keep it away from the internet",
            ),
            postgres: Postgres::read(vars),
            redis: Redis::read(vars),
            redis_budget: vars.or(
                "ANALYTICS_REDIS_BUDGET",
                "20ms",
                "How long Redis may take before Postgres is asked instead",
            ),
            postgres_timeout: vars.or(
                "ANALYTICS_POSTGRES_TIMEOUT",
                "2s",
                "How long a query may take before the client gets 503",
            ),
            pool_size: vars.or(
                "ANALYTICS_POOL_SIZE",
                "6",
                "Connections to Postgres at most; all but three look up ads for VAST documents",
            ),
            max_age: vars.or(
                "ANALYTICS_MAX_AGE",
                "250ms",
                "How old the body of /ads/analytics may be",
            ),
            ingest: vars.optional(
                "PUBLIC_INGEST_URL",
                "Where players reach ingest, as VAST documents tell them; unset: no such documents",
            ),
            cors_origins: cors_origins(vars),
            port: service_kit::public_port!(vars, "ANALYTICS"),
            trusted_proxies: trusted_proxies(vars),
            shutdown: PublicShutdown::read(vars),
        };
        config.check(vars);
        config
    }
}

impl Config {
    fn check(&self, vars: &mut Vars) {
        let (ms, min) = (Duration::from_millis, Duration::from_mins(1));
        vars.check(
            "ANALYTICS_REDIS_BUDGET",
            (ms(1)..=ms(10_000)).contains(&self.redis_budget),
            "must be from 1ms to 10s",
        );
        vars.check(
            "ANALYTICS_POSTGRES_TIMEOUT",
            (ms(10)..=min).contains(&self.postgres_timeout),
            "must be from 10ms to 1m",
        );
        vars.check("ANALYTICS_MAX_AGE", self.max_age <= min, "must be at most 1m");
        vars.check("ANALYTICS_POOL_SIZE", self.pool_size.get() <= 1000, "must be at most 1000");
    }
}

#[cfg(test)]
mod tests {
    use service_kit::settings::{Env, describe};

    use super::*;

    fn read<const N: usize>(pairs: [(&str, &str); N]) -> Result<Config, String> {
        let stores = [
            ("DATABASE_URL", "postgres://ads@127.0.0.1:15432/ads"),
            ("REDIS_URL", "redis://127.0.0.1:16379"),
        ];
        Env::from_pairs(stores.into_iter().chain(pairs)).read().map_err(|it| it.to_string())
    }

    #[test]
    fn only_the_stores_are_required() {
        let config = read([]).expect("defaults are fine");

        assert_eq!((config.listen.port(), config.admin_listen.port()), (8082, 9082));
        assert_eq!(config.redis_budget, Duration::from_millis(20));
        assert_eq!(config.max_age, Duration::from_millis(250));
        assert_eq!(config.redis.prefix, "ads");
    }

    #[test]
    fn every_bad_setting_is_named_at_once() {
        let bad = [
            ("ANALYTICS_REDIS_BUDGET", "0ms"),
            ("ANALYTICS_POSTGRES_TIMEOUT", "2h"),
            ("ANALYTICS_POOL_SIZE", "0"),
            ("ANALYTICS_MAX_AGE", "1h"),
            ("PUBLIC_INGEST_URL", "events.example.com"),
        ];

        let problems = read(bad).expect_err("all wrong");

        for (name, _) in bad {
            assert!(problems.contains(name), "{name} is not in {problems}");
        }
    }

    #[test]
    fn every_setting_says_what_it_is_for() {
        let settings = describe::<Config>();

        assert!(settings.len() >= 15);
        assert!(settings.iter().all(|setting| !setting.help.is_empty()));
    }
}
