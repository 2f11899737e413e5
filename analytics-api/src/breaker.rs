//! A circuit breaker without a clock or I/O of its own.
//!
//! A store that failed several times in a row is left alone for a while; then one call tries it,
//! and only that one's outcome lets the others in again.

use std::time::{Duration, Instant};

/// When to stop asking, and for how long.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Rules {
    /// Failures in a row after which it opens.
    pub(crate) failures: u32,
    /// How long it stays open before one call may try.
    pub(crate) open_for: Duration,
}

#[derive(Debug)]
pub(crate) struct Breaker {
    rules: Rules,
    state: State,
}

/// What the metrics show.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum State {
    /// Calls go through; so many failed in a row.
    Closed { failures: u32 },
    /// No call goes through before this moment.
    Open { until: Instant },
    /// One call is under way to find out.
    HalfOpen,
}

/// As what a call goes through.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Pass {
    Normal,
    /// The one call that decides whether others go through again.
    Probe,
}

/// How a call ended.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum End {
    Answered,
    Failed,
    /// Whoever called no longer waits, so nobody knows.
    Abandoned,
}

impl Breaker {
    pub(crate) fn new(rules: Rules) -> Self {
        Self { rules, state: State::Closed { failures: 0 } }
    }

    pub(crate) fn state(&self) -> State {
        self.state
    }

    /// Asks whether a call may go through now. Each `Some` must be followed by one
    /// [`Breaker::ended`].
    pub(crate) fn admit(&mut self, now: Instant) -> Option<Pass> {
        match self.state {
            State::Closed { .. } => Some(Pass::Normal),
            State::Open { until } if now >= until => {
                self.state = State::HalfOpen;
                Some(Pass::Probe)
            }
            State::Open { .. } | State::HalfOpen => None,
        }
    }

    /// Takes in how a call ended.
    ///
    /// A call that began before the breaker opened says nothing once it has: only the probe's
    /// outcome is news then.
    pub(crate) fn ended(&mut self, pass: Pass, end: End, now: Instant) {
        let open = State::Open { until: now + self.rules.open_for };
        self.state = match (self.state, pass, end) {
            (State::Closed { .. }, _, End::Answered)
            | (State::HalfOpen, Pass::Probe, End::Answered) => State::Closed { failures: 0 },
            (State::Closed { failures }, _, End::Failed) if failures + 1 < self.rules.failures => {
                State::Closed { failures: failures + 1 }
            }
            (State::Closed { .. }, _, End::Failed)
            | (State::HalfOpen, Pass::Probe, End::Failed) => open,
            // Otherwise it would stay half open for ever: the next call is the probe.
            (State::HalfOpen, Pass::Probe, End::Abandoned) => State::Open { until: now },
            (state, _, _) => state,
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const OPEN_FOR: Duration = Duration::from_secs(1);
    const ALMOST: Duration = OPEN_FOR.saturating_sub(Duration::from_nanos(1));

    fn breaker() -> (Breaker, Instant) {
        (Breaker::new(Rules { failures: 3, open_for: OPEN_FOR }), Instant::now())
    }

    /// One call from begin to end.
    fn call(breaker: &mut Breaker, end: End, now: Instant) -> Option<Pass> {
        let pass = breaker.admit(now)?;
        breaker.ended(pass, end, now);
        Some(pass)
    }

    fn opened() -> (Breaker, Instant) {
        let (mut breaker, now) = breaker();
        for _ in 0..3 {
            assert_eq!(call(&mut breaker, End::Failed, now), Some(Pass::Normal));
        }
        (breaker, now)
    }

    #[test]
    fn it_opens_after_so_many_failures_in_a_row() {
        let (mut breaker, now) = opened();

        assert_eq!(breaker.admit(now), None);
        assert_eq!(breaker.admit(now + ALMOST), None);
    }

    #[test]
    fn an_answer_in_between_starts_the_count_again() {
        let (mut breaker, now) = breaker();

        for end in [End::Failed, End::Failed, End::Answered, End::Failed, End::Failed] {
            call(&mut breaker, end, now);
        }

        assert_eq!(breaker.admit(now), Some(Pass::Normal));
    }

    #[test]
    fn one_call_tries_and_the_others_wait_for_its_outcome() {
        let (mut breaker, now) = opened();
        let later = now + OPEN_FOR;

        assert_eq!(breaker.admit(later), Some(Pass::Probe));
        assert_eq!(breaker.admit(later), None);
        assert_eq!(breaker.admit(later + OPEN_FOR), None);

        breaker.ended(Pass::Probe, End::Answered, later);
        assert_eq!(breaker.admit(later), Some(Pass::Normal));
    }

    #[test]
    fn a_try_that_fails_opens_it_for_the_whole_time_again() {
        let (mut breaker, now) = opened();
        let later = now + OPEN_FOR;

        assert_eq!(call(&mut breaker, End::Failed, later), Some(Pass::Probe));

        assert_eq!(breaker.admit(later), None);
        assert_eq!(breaker.admit(later + OPEN_FOR), Some(Pass::Probe));
    }

    #[test]
    fn a_try_that_nobody_waits_for_leaves_the_next_call_to_try() {
        let (mut breaker, now) = opened();
        let later = now + OPEN_FOR;

        assert_eq!(call(&mut breaker, End::Abandoned, later), Some(Pass::Probe));

        assert_eq!(breaker.admit(later), Some(Pass::Probe));
        assert_eq!(breaker.admit(later), None);
    }

    #[test]
    fn a_call_from_before_it_opened_decides_nothing() {
        let (mut breaker, now) = breaker();
        let early = breaker.admit(now).expect("closed");
        for _ in 0..3 {
            call(&mut breaker, End::Failed, now);
        }

        for end in [End::Answered, End::Failed, End::Abandoned] {
            breaker.ended(early, end, now);
            assert_eq!(breaker.admit(now), None);
        }
        assert_eq!(breaker.admit(now + OPEN_FOR), Some(Pass::Probe));
        for end in [End::Answered, End::Failed, End::Abandoned] {
            breaker.ended(early, end, now);
            assert_eq!(breaker.state(), State::HalfOpen);
        }
    }

    #[test]
    fn calls_that_nobody_waits_for_are_no_failures() {
        let (mut breaker, now) = breaker();

        for _ in 0..10 {
            call(&mut breaker, End::Abandoned, now);
        }

        assert_eq!(breaker.state(), State::Closed { failures: 0 });
    }
}
