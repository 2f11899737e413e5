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
