//! Keeps a log line for what has changed, and only now and then.

use std::time::{Duration, Instant};

/// How long after a line the next one may follow.
const QUIET_FOR: Duration = Duration::from_secs(10);

/// The state that was last logged.
///
/// A state that goes to and fro is told every 10 s at most; one that lasts is always told, if late.
#[derive(Debug)]
pub(crate) struct Changes<T> {
    told: T,
    at: Option<Instant>,
}

impl<T: PartialEq> Changes<T> {
    /// Takes the first state for known.
    pub(crate) fn since(state: T) -> Self {
        Self { told: state, at: None }
    }

    /// Says whether `state` is to be logged.
    pub(crate) fn is_news(&mut self, state: T, now: Instant) -> bool {
        let quiet = self.at.is_some_and(|at| now.duration_since(at) < QUIET_FOR);
        if quiet || self.told == state {
            return false;
        }
        *self = Self { told: state, at: Some(now) };
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_state_is_told_when_it_is_new() {
        let (mut changes, now) = (Changes::since("redis"), Instant::now());

        assert!(!changes.is_news("redis", now));
        assert!(changes.is_news("postgres", now));
        assert!(!changes.is_news("postgres", now + QUIET_FOR));
        assert!(changes.is_news("redis", now + QUIET_FOR));
    }

    #[test]
    fn a_state_that_goes_to_and_fro_is_told_now_and_then_and_a_lasting_one_in_the_end() {
        let (mut changes, now) = (Changes::since("postgres"), Instant::now());
        assert!(changes.is_news("redis", now));

        let just_before = now + QUIET_FOR.saturating_sub(Duration::from_nanos(1));
        assert!(!changes.is_news("postgres", just_before));
        assert!(!changes.is_news("redis", just_before));
        assert!(!changes.is_news("postgres", just_before));

        assert!(changes.is_news("postgres", now + QUIET_FOR));
    }
}
