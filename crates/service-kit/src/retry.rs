//! Trying again: exponential backoff with full jitter.

use std::fmt;
use std::time::Duration;

use backon::{BackoffBuilder as _, ExponentialBackoff, ExponentialBuilder};
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

/// Delays to wait between tries: an iterator that never ends.
///
/// The upper bound doubles from `min` to `max`; each delay is drawn evenly from zero to the bound.
/// backon's own jitter adds up to one more delay to each, so clients that failed together would
/// still come back after the same pause; drawn from zero they spread over all of it.
#[derive(Debug)]
pub struct Backoff {
    bounds: ExponentialBackoff,
    min: Duration,
    max: Duration,
}

impl Backoff {
    /// Starts at delays of at most `min`, and ends at delays of at most `max`.
    pub fn new(min: Duration, max: Duration) -> Self {
        let bounds = ExponentialBuilder::new()
            .with_min_delay(min.min(max))
            .with_max_delay(max)
            .without_max_times()
            .build();
        Self { bounds, min, max }
    }

    /// Starts again with short delays, after a success.
    pub fn reset(&mut self) {
        *self = Self::new(self.min, self.max);
    }

    /// Returns the next delay. Same as the iterator's `next`, which always has one.
    pub fn next_delay(&mut self) -> Duration {
        let bound = self.bounds.next().unwrap_or(self.max);
        rand::random_range(Duration::ZERO..=bound)
    }
}

impl Iterator for Backoff {
    type Item = Duration;

    fn next(&mut self) -> Option<Duration> {
        Some(self.next_delay())
    }
}

/// Why [`forever`] gave up.
#[derive(Debug, Eq, PartialEq, thiserror::Error)]
pub enum GaveUp<E: fmt::Display> {
    /// Trying again cannot help.
    #[error("{0}")]
    Permanent(E),
    /// The process stops; the last try had failed.
    #[error("stopped while retrying: {0}")]
    Stopped(E),
}

/// Calls `operation` until it succeeds, until it fails for good, or until `shutdown` is cancelled.
///
/// `notify` is told each failure that is tried again, with the delay before the next try.
///
/// # Errors
///
/// The last failure, and whether it was permanent or the process stopped.
///
/// # Cancellation
///
/// `shutdown` ends only the waiting: a try under way is always finished, since it may be a
/// transaction that must not be cut off. Dropping the future drops the try.
pub async fn forever<T, E: fmt::Display>(
    mut backoff: Backoff,
    shutdown: &CancellationToken,
    mut operation: impl AsyncFnMut() -> Result<T, E>,
    is_transient: impl Fn(&E) -> bool,
    mut notify: impl FnMut(&E, Duration),
) -> Result<T, GaveUp<E>> {
    loop {
        let error = match operation().await {
            Ok(value) => return Ok(value),
            Err(error) if is_transient(&error) => error,
            Err(error) => return Err(GaveUp::Permanent(error)),
        };
        if shutdown.is_cancelled() {
            return Err(GaveUp::Stopped(error));
        }
        let delay = backoff.next_delay();
        notify(&error, delay);
        if shutdown.run_until_cancelled(sleep(delay)).await.is_none() {
            return Err(GaveUp::Stopped(error));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIN: Duration = Duration::from_millis(100);
    const MAX: Duration = Duration::from_secs(5);

    #[test]
    fn delays_are_spread_from_zero_to_a_bound_that_doubles_up_to_the_maximum() {
        let bounds = [100, 200, 400, 800, 1600, 3200, 5000, 5000].map(Duration::from_millis);
        let mut longest = [Duration::ZERO; 8];
        let mut shortest = [MAX; 8];

        for _ in 0..1000 {
            for (place, delay) in Backoff::new(MIN, MAX).take(8).enumerate() {
                longest[place] = longest[place].max(delay);
                shortest[place] = shortest[place].min(delay);
            }
        }

        for (place, bound) in bounds.into_iter().enumerate() {
            // The bound goes through an f32 in backon. Missing a tenth of the range a thousand
            // times has a probability of 10^-46.
            assert!(longest[place] <= bound.mul_f32(1.001), "{longest:?}");
            assert!(longest[place] > bound.mul_f32(0.9), "{longest:?}");
            assert!(shortest[place] < bound.mul_f32(0.1), "{shortest:?}");
        }
    }

    #[test]
    fn delays_never_end_and_never_pass_the_maximum() {
        assert!(Backoff::new(MIN, MAX).take(100_000).all(|delay| delay <= MAX));
        assert!(Backoff::new(MAX, MIN).take(1000).all(|delay| delay <= MIN));
    }

    #[test]
    fn after_a_success_delays_are_short_again() {
        let mut backoff = Backoff::new(MIN, MAX);
        backoff.by_ref().take(20).for_each(drop);

        backoff.reset();

        assert!(backoff.next_delay() <= MIN);
    }

    #[tokio::test]
    async fn a_transient_failure_is_tried_again_until_it_succeeds() {
        let mut tries = 0;
        let shutdown = CancellationToken::new();
        let mut failures = Vec::new();

        let outcome = forever(
            Backoff::new(Duration::from_micros(1), Duration::from_micros(100)),
            &shutdown,
            async || {
                tries += 1;
                if tries < 20 { Err(format!("try {tries}")) } else { Ok("done") }
            },
            |_| true,
            |error, _| failures.push(error.clone()),
        );

        assert_eq!(outcome.await, Ok("done"));
        assert_eq!(failures.len(), 19);
        assert_eq!(failures[0], "try 1");
    }

    #[tokio::test]
    async fn a_permanent_failure_is_not_tried_again() {
        let shutdown = CancellationToken::new();
        let mut tries = 0;

        let outcome = forever::<(), _>(
            Backoff::new(MIN, MAX),
            &shutdown,
            async || {
                tries += 1;
                Err("refused")
            },
            |_| false,
            |_, _| {},
        );

        assert_eq!(outcome.await, Err(GaveUp::Permanent("refused")));
        assert_eq!(tries, 1);
    }

    #[tokio::test]
    async fn shutdown_ends_the_waiting_but_not_a_try() {
        let shutdown = CancellationToken::new();
        let mut tries = 0;

        let outcome = forever::<(), _>(
            Backoff::new(Duration::from_hours(1), Duration::from_hours(1)),
            &shutdown,
            async || {
                tries += 1;
                shutdown.cancel();
                tokio::task::yield_now().await;
                Err("still away")
            },
            |_| true,
            |_, _| {},
        );

        assert_eq!(outcome.await, Err(GaveUp::Stopped("still away")));
        assert_eq!(tries, 1);
    }
}
