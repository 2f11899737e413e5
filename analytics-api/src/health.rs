//! Logs when a route begins to do without a store, and when it no longer has to.

use std::{
    sync::{Mutex, PoisonError},
    time::Instant,
};

use tracing::{error, info, warn};

use crate::{changes::Changes, error::Unavailable, guard::Fallback, metrics::Route};

/// How a route came to its answer.
#[derive(Debug)]
pub(crate) enum Health<'a> {
    /// As it should.
    Normal,
    /// From Postgres, because Redis could not answer.
    WithoutRedis(Fallback),
    /// From an earlier answer that Redis kept, because Postgres could not answer.
    WithoutPostgres(&'a Unavailable),
    /// Not at all.
    WithoutBoth(Fallback, &'a Unavailable),
}

/// What was last logged of one route. Thousands of requests in an outage make one line.
#[derive(Debug)]
pub(crate) struct HealthLog {
    route: Route,
    told: Mutex<Changes<u8>>,
}

impl HealthLog {
    pub(crate) fn new(route: Route) -> Self {
        Self { route, told: Mutex::new(Changes::since(Health::Normal.number())) }
    }

    pub(crate) fn tell(&self, health: &Health<'_>) {
        let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        let news = told.is_news(health.number(), Instant::now());
        drop(told);
        if !news {
            return;
        }
        let route = self.route.path();
        match health {
            Health::Normal => info!(http.route = route, "both stores answer again"),
            Health::WithoutRedis(reason) => {
                warn!(http.route = route, reason = reason.as_str(), "answering from postgres");
            }
            Health::WithoutPostgres(error) => {
                let error = error.cause();
                warn!(http.route = route, %error, "answering with what redis kept");
            }
            Health::WithoutBoth(reason, error) => {
                let (reason, error) = (reason.as_str(), error.cause());
                error!(http.route = route, redis.reason = reason, %error, "no store can answer");
            }
        }
    }
}

impl Health<'_> {
    /// What tells one state from another: the reasons in it change with every read.
    fn number(&self) -> u8 {
        match self {
            Self::Normal => 0,
            Self::WithoutRedis(_) => 1,
            Self::WithoutPostgres(_) => 2,
            Self::WithoutBoth(..) => 3,
        }
    }
}
