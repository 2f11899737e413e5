//! Stands in front of Redis: a budget for each call, and a breaker so that a Redis that is away
//! does not cost every read that budget.

use std::{
    sync::{Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use click_store::{Redis, StoreError};
use tokio::time::timeout;
use tracing::{info, warn};

use crate::{
    breaker::{Breaker, End, Pass, Rules, State},
    changes::Changes,
    metrics::Metrics,
};

/// Three failures in a row are no accident. One second is short enough for Redis to be used again
/// soon after it is back, and makes one that hangs cost one budget each second.
const RULES: Rules = Rules { failures: 3, open_for: Duration::from_secs(1) };

/// Why a read has to do without Redis.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Fallback {
    /// It was slower than its budget.
    Budget,
    /// It failed.
    Error,
    /// It failed a moment ago and was not asked.
    BreakerOpen,
    /// Nothing is known of Postgres yet, so nothing of Redis could be believed.
    NoView,
    /// A partition is missing, or is of another epoch.
    NotWhole,
    /// It stands behind what was shown before.
    BehindMark,
    /// It has not been told for long what Postgres has counted.
    Late,
    /// It does not have what was asked for.
    Absent,
}

impl Fallback {
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Budget => "budget",
            Self::Error => "error",
            Self::BreakerOpen => "breaker_open",
            Self::NoView => "no_view",
            Self::NotWhole => "not_whole",
            Self::BehindMark => "behind_mark",
            Self::Late => "late",
            Self::Absent => "absent",
        }
    }
}

/// The one way to Redis. Shared by all routes, because they share its fate.
#[derive(Debug)]
pub(crate) struct Guard {
    redis: Redis,
    budget: Duration,
    metrics: Metrics,
    inner: Mutex<Inner>,
}

#[derive(Debug)]
struct Inner {
    breaker: Breaker,
    /// Whether the breaker was closed when that was last logged.
    closed: Changes<bool>,
}

impl Guard {
    pub(crate) fn new(redis: Redis, budget: Duration, metrics: Metrics) -> Self {
        let inner = Inner { breaker: Breaker::new(RULES), closed: Changes::since(true) };
        Self { redis, budget, metrics, inner: Mutex::new(inner) }
    }

    /// How long the client of Redis may hold a command: a bit less than the budget, so that it is
    /// the client that gives up. It then drops what it had queued, instead of sending to a Redis
    /// that is back all that nobody waits for any longer.
    pub(crate) fn command_limit(budget: Duration) -> Duration {
        budget.mul_f32(0.9)
    }

    /// Calls Redis, unless the breaker is open.
    ///
    /// # Cancellation
    ///
    /// Harmless: a call that is dropped counts neither as answered nor as failed.
    pub(crate) async fn call<T>(
        &self,
        operation: impl Future<Output = Result<T, StoreError>>,
    ) -> Result<T, Fallback> {
        let pass = self.inner().breaker.admit(Instant::now()).ok_or(Fallback::BreakerOpen)?;
        let call = Call { guard: self, pass, end: End::Abandoned, reason: String::new() };
        if pass == Pass::Probe {
            if !self.redis.is_connected() {
                // Known without asking: it would cost one read each second the budget, and find out
                // nothing. The client goes on connecting by itself.
                call.ended(End::Failed, "not connected".to_owned());
                return Err(Fallback::BreakerOpen);
            }
            self.metrics.breaker_is(State::HalfOpen);
        }
        match timeout(self.budget, operation).await {
            Ok(Ok(value)) => {
                call.ended(End::Answered, String::new());
                Ok(value)
            }
            Ok(Err(error)) => {
                call.ended(End::Failed, error.to_string());
                Err(if error.is_timeout() { Fallback::Budget } else { Fallback::Error })
            }
            Err(_elapsed) => {
                call.ended(End::Failed, format!("no answer within {:?}", self.budget));
                Err(Fallback::Budget)
            }
        }
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        // Nothing panics while it is held, and it is whole after every statement.
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A call that is under way. The breaker learns of its end even where it is dropped.
struct Call<'a> {
    guard: &'a Guard,
    pass: Pass,
    end: End,
    reason: String,
}

impl Call<'_> {
    fn ended(mut self, end: End, reason: String) {
        self.end = end;
        self.reason = reason;
    }
}

impl Drop for Call<'_> {
    fn drop(&mut self) {
        let (metrics, now) = (&self.guard.metrics, Instant::now());
        let mut inner = self.guard.inner();
        let before = inner.breaker.state();
        inner.breaker.ended(self.pass, self.end, now);
        let after = inner.breaker.state();

        if before != after {
            metrics.breaker_is(after);
            if matches!((before, after), (State::Closed { .. }, State::Open { .. })) {
                metrics.breaker_opened();
            }
        }
        let closed = matches!(after, State::Closed { .. });
        let news = inner.closed.is_news(closed, now);
        drop(inner);
        match (news, closed) {
            (false, _) => {}
            (true, true) => info!("redis answers again"),
            (true, false) => {
                warn!(reason = self.reason, "redis keeps failing, leaving it alone for a while");
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{
        future::{pending, ready},
        pin::pin,
    };

    use click_store::RedisLimits;
    use futures::poll;
    use prometheus_client::registry::Registry;

    use super::*;

    fn guard(budget: Duration) -> Guard {
        let (nowhere, limits) = ("redis://127.0.0.1:1", RedisLimits { command: budget });
        let redis = Redis::connect(&nowhere.into(), None, "tests", limits).unwrap();
        Guard::new(redis, budget, Metrics::register(&mut Registry::default()))
    }

    fn failure() -> StoreError {
        StoreError::Malformed("something")
    }

    #[tokio::test]
    async fn a_call_that_is_too_slow_costs_its_budget_only_so_often() {
        let guard = guard(Duration::from_millis(1));

        for _ in 0..3 {
            let outcome = guard.call(pending::<Result<(), _>>()).await;
            assert_eq!(outcome, Err(Fallback::Budget));
        }

        assert_eq!(guard.call(pending::<Result<(), _>>()).await, Err(Fallback::BreakerOpen));
    }

    #[tokio::test]
    async fn a_call_that_fails_says_so() {
        let guard = guard(Duration::from_secs(5));

        assert_eq!(guard.call(ready(Err::<(), _>(failure()))).await, Err(Fallback::Error));
        assert_eq!(guard.call(ready(Ok(7))).await, Ok(7));
    }

    #[tokio::test]
    async fn calls_that_are_dropped_do_not_open_the_breaker() {
        let guard = guard(Duration::from_secs(5));

        for _ in 0..10 {
            let mut call = pin!(guard.call(pending::<Result<(), _>>()));
            assert!(poll!(call.as_mut()).is_pending());
        }

        assert_eq!(guard.call(ready(Ok(7))).await, Ok(7));
    }
}
