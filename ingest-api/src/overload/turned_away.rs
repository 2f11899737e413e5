//! Strangers who were turned away, and when they are told.
//!
//! A flood is many clients that send their next request as soon as the last is answered. To tell them late
//! slows them down, and costs little: a request that waits for a moment in time needs no processor.

use std::{
    sync::{Mutex, PoisonError},
    time::Duration,
};

use tokio::{
    sync::Semaphore,
    time::{Instant, sleep_until},
};
use tokio_util::sync::CancellationToken;

/// How long it takes at least. Whoever else gets this answer is told to stay away for longer.
const AT_LEAST: Duration = Duration::from_secs(1);

/// How long it takes at most, before clients and proxies give up.
const AT_MOST: Duration = Duration::from_secs(10);

/// Between two answers, as long as nobody waits for too long: a hundred in a second, so that they take next
/// to nothing of any processor.
const PACE: Duration = Duration::from_millis(10);

/// Answers that are held. They leave one after the other.
#[derive(Debug)]
pub(super) struct TurnedAway {
    /// Bounds how many are held.
    places: Semaphore,
    last: Mutex<Instant>,
    stopping: CancellationToken,
}

impl TurnedAway {
    /// Holds `max` answers at once at most.
    pub(super) fn new(max: usize) -> Self {
        Self {
            places: Semaphore::new(max.min(Semaphore::MAX_PERMITS)),
            last: Mutex::new(Instant::now()),
            stopping: CancellationToken::new(),
        }
    }

    /// Waits until somebody may be told; not at all where too many wait. Cancel safe.
    pub(super) async fn wait(&self) {
        let Ok(_place) = self.places.try_acquire() else { return };
        let until = self.turn(Instant::now());
        // Only whether it waited for all of it would be lost.
        self.stopping.run_until_cancelled(sleep_until(until)).await;
    }

    /// Holds nobody any longer: the service stops.
    pub(super) fn let_go(&self) {
        self.stopping.cancel();
    }

    fn turn(&self, now: Instant) -> Instant {
        // Whole after every statement under the lock.
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        *last = (*last + PACE).clamp(now + AT_LEAST, now + AT_MOST);
        *last
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_leave_one_after_the_other_and_none_too_late() {
        let (turned_away, now) = (TurnedAway::new(1), Instant::now());

        assert_eq!(turned_away.turn(now), now + AT_LEAST);
        assert_eq!(turned_away.turn(now), now + AT_LEAST + PACE);
        let many: Vec<_> = (0..2000).map(|_| turned_away.turn(now)).collect();
        assert!(many.is_sorted());
        assert_eq!(many.last(), Some(&(now + AT_MOST)));
        let later = now + 2 * AT_MOST;
        assert_eq!(turned_away.turn(later), later + AT_LEAST);
    }

    #[tokio::test]
    async fn no_more_are_held_than_there_are_places_and_nobody_is_when_the_service_stops() {
        let turned_away = TurnedAway::new(1);
        let first_of_two = async || {
            tokio::select! {
                biased;
                () = turned_away.wait() => 1,
                () = turned_away.wait() => 2,
            }
        };

        assert_eq!(first_of_two().await, 2, "the first is held, in the only place");
        turned_away.let_go();
        assert_eq!(first_of_two().await, 1);
    }
}
