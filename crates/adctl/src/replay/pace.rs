//! How fast events may go out.

use std::time::Duration;

use tokio::time::{Instant, sleep_until};

/// How much may be caught up on after the receiver was slow. More would be a burst that the
/// operator did not ask for; none would stay below the rate, since timers are late by a millisecond.
const CATCH_UP: Duration = Duration::from_millis(100);

/// Lets events through at a steady rate.
#[derive(Debug)]
pub(super) struct Pace {
    /// Between two events; zero where there is no limit.
    interval: Duration,
    /// When the next event is due.
    next: Instant,
}

impl Pace {
    /// `rate` is in events each second; `None` lets all of them through at once.
    pub(super) fn new(rate: Option<f64>, now: Instant) -> Self {
        let interval = rate.map_or(Duration::ZERO, |it| Duration::from_secs_f64(it.recip()));
        Self { interval, next: now }
    }

    /// Waits until the next event may go.
    pub(super) async fn wait(&mut self) {
        let now = Instant::now();
        let due = self.due(now);
        if due > now {
            sleep_until(due).await;
        }
    }

    /// When the next event may go; counts it as gone.
    fn due(&mut self, now: Instant) -> Instant {
        let earliest = now.checked_sub(CATCH_UP).unwrap_or(now);
        let due = self.next.max(earliest);
        self.next = due + self.interval;
        due
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_are_due_at_the_rate() {
        let start = Instant::now();
        let mut pace = Pace::new(Some(100.0), start);

        let due: Vec<_> = (0..4).map(|_| (pace.due(start) - start).as_millis()).collect();

        assert_eq!(due, [0, 10, 20, 30]);
    }

    #[test]
    fn after_a_pause_little_is_caught_up_on() {
        let start = Instant::now();
        let later = start + Duration::from_mins(1);
        let mut pace = Pace::new(Some(100.0), start);
        pace.due(start);

        let at_once = (0..100).filter(|_| pace.due(later) <= later).count();

        assert_eq!(at_once, 11);
    }

    #[test]
    fn without_a_rate_every_event_is_due() {
        let start = Instant::now();
        let mut pace = Pace::new(None, start);

        assert!((0..1000).all(|_| pace.due(start) <= start));
    }
}
