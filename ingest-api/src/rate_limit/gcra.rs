//! The arithmetic of a rate limit with a burst: the generic cell rate algorithm.
//!
//! One number for each key says all of it: the time at which its whole burst would be there again. What
//! is before now is the same as now, so a key whose time has passed need not be remembered.

use std::{num::NonZeroU32, time::Duration};

use crate::table::Micros;

/// A rate with a burst.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Limit {
    /// How many there may be each minute in the long run.
    pub(crate) per_minute: NonZeroU32,
    /// How many there may be at once after there were none.
    pub(crate) burst: NonZeroU32,
}

/// What is left of an allowance.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Left {
    /// How many more there may be at once.
    pub(crate) remaining: u32,
    /// Until the whole burst is there again.
    pub(crate) whole_in: Duration,
    /// Until there may be another one; zero where there may be one now.
    pub(crate) next_in: Duration,
}

const MICROS_PER_MINUTE: u64 = 60_000_000;

impl Limit {
    /// The largest burst: what it takes to come back must fit 64 bits, at one a minute too.
    pub(crate) const MAX_BURST: u32 = 100_000_000;

    /// How long one takes to come back. At least a microsecond, so no rate is above a million a second.
    pub(super) fn interval(self) -> Micros {
        (MICROS_PER_MINUTE / u64::from(self.per_minute.get())).max(1)
    }

    /// How long the whole burst takes to come back.
    pub(super) fn window(self) -> Micros {
        self.interval() * u64::from(self.burst.get())
    }

    /// Takes one off an allowance that is whole at `whole_at`, and returns when it is whole then.
    ///
    /// # Errors
    ///
    /// Where none is left. Nothing is taken then.
    pub(super) fn take(self, whole_at: Micros, now: Micros) -> Result<Micros, Left> {
        let then = whole_at.max(now) + self.interval();
        if then - now <= self.window() { Ok(then) } else { Err(self.left(whole_at, now)) }
    }

    /// What is left of an allowance that is whole at `whole_at`.
    pub(super) fn left(self, whole_at: Micros, now: Micros) -> Left {
        let missing = whole_at.saturating_sub(now);
        let free = self.window().saturating_sub(missing);
        Left {
            remaining: u32::try_from(free / self.interval()).unwrap_or(u32::MAX),
            whole_in: Duration::from_micros(missing),
            next_in: Duration::from_micros(self.interval().saturating_sub(free)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Micros = 1_000_000;

    fn limit(per_minute: u32, burst: u32) -> Limit {
        let positive = |it| NonZeroU32::new(it).expect("positive");
        Limit { per_minute: positive(per_minute), burst: positive(burst) }
    }

    #[test]
    fn a_burst_is_there_at_once_and_then_the_rate() {
        let (limit, now) = (limit(10, 3), 100 * SECOND);

        let mut whole_at = 0;
        for left in [2, 1, 0] {
            whole_at = limit.take(whole_at, now).expect("within the burst");
            assert_eq!(limit.left(whole_at, now).remaining, left);
        }
        let refused = limit.take(whole_at, now).expect_err("nothing is left");
        assert_eq!(refused.next_in, Duration::from_secs(6));
        assert_eq!(refused.whole_in, Duration::from_secs(18));

        assert!(limit.take(whole_at, now + 6 * SECOND - 1).is_err());
        let whole_at = limit.take(whole_at, now + 6 * SECOND).expect("one is back");
        assert_eq!(limit.left(whole_at, now + 6 * SECOND).remaining, 0);
    }

    #[test]
    fn what_was_refused_costs_nothing_and_silence_gives_no_more_than_the_burst() {
        let limit = limit(60, 2);
        let mut whole_at = limit.take(0, 0).expect("one");
        whole_at = limit.take(whole_at, 0).expect("two");
        for _ in 0..100 {
            assert!(limit.take(whole_at, 0).is_err());
        }

        let later = 3600 * SECOND;
        assert_eq!(limit.left(whole_at, later).remaining, 2);
        whole_at = limit.take(whole_at, later).expect("one");
        whole_at = limit.take(whole_at, later).expect("two");
        assert!(limit.take(whole_at, later).is_err());
    }

    #[test]
    fn the_largest_limits_do_not_overflow() {
        for limit in [limit(1, Limit::MAX_BURST), limit(u32::MAX, Limit::MAX_BURST)] {
            let century = 100 * 365 * 86_400 * SECOND;

            let whole_at = limit.take(0, century).expect("one");

            assert!(limit.left(whole_at, century).remaining >= Limit::MAX_BURST - 1);
        }
    }
}
