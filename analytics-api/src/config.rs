//! Settings of the analytics service.

use std::{net::SocketAddr, num::NonZeroUsize, time::Duration};

use service_kit::{
    AdminPort,
    settings::{
        Settings, Vars,
        groups::{Postgres, PublicShutdown, Redis},
    },
};

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
    /// `ANALYTICS_POOL_SIZE`: connections to Postgres at most. Defaults to 4.
    ///
    /// Three are ever in use at once, however many requests there are: one for each route, and one
    /// for the look at the epoch each second.
    pub pool_size: NonZeroUsize,
    /// `ANALYTICS_MAX_AGE`: how old the body of `/ads/analytics` may be. Defaults to `250ms`; `0s`
    /// reads the stores anew for each request that is not already waiting.
    pub max_age: Duration,
    /// `ANALYTICS_HEADER_TIMEOUT`: how long a client may take to send a request's head, or leave its
    /// connection idle between two. Defaults to `75s`.
    ///
    /// Must be longer than the load balancer keeps idle connections (60 s is common), or some of its
    /// requests meet a connection that was just closed.
    pub header_timeout: Duration,
    /// `ANALYTICS_MAX_CONNECTIONS`: how many connections are served at once. Defaults to 10,000;
    /// more wait in the system's queue. Keep it below the process's limit of open files.
    pub max_connections: NonZeroUsize,
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
                "4",
                "Connections to Postgres at most; three are ever in use at once",
            ),
            max_age: vars.or(
                "ANALYTICS_MAX_AGE",
                "250ms",
                "How old the body of /ads/analytics may be",
            ),
            header_timeout: vars.or(
                "ANALYTICS_HEADER_TIMEOUT",
                "75s",
                "How long a client may take to send a head, or stay idle between two requests",
            ),
            max_connections: vars.or(
                "ANALYTICS_MAX_CONNECTIONS",
                "10000",
                "How many connections are served at once; more wait",
            ),
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
        ];

        let problems = read(bad).expect_err("all wrong");

        for (name, _) in bad {
            assert!(problems.contains(name), "{name} is not in {problems}");
        }
    }

    #[test]
    fn every_setting_says_what_it_is_for() {
        let settings = describe::<Config>();

        assert_eq!(settings.len(), 13);
        assert!(settings.iter().all(|setting| !setting.help.is_empty()));
    }
}
