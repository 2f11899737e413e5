//! Lets many requests share one read.

use std::{
    sync::{Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

/// One kind of read, of which there is never more than one at a time.
///
/// A request takes the outcome of another's read where that is fresh enough for it. Otherwise it
/// waits for the read that is under way, and then either takes its outcome or reads itself. So it
/// waits for two reads at most, however many requests there are.
#[derive(Debug)]
pub(crate) struct Flight<T, E> {
    ages: Ages,
    landed: Mutex<Option<Landed<T, E>>>,
    /// Held by the request that reads. Given out in the order of arrival.
    turn: tokio::sync::Mutex<()>,
}

/// How old an outcome may be when a request arrives.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Ages {
    /// An answer, from the moment at which its read began.
    pub(crate) answer: Duration,
    /// A failure, from the moment at which its read ended. Keep it short: it only saves stores that
    /// just failed from being asked by everybody at once.
    pub(crate) failure: Duration,
}

/// A read that has ended.
#[derive(Debug)]
struct Landed<T, E> {
    outcome: Result<T, E>,
    began: Instant,
    ended: Instant,
}

impl<T: Clone, E: Clone> Flight<T, E> {
    pub(crate) fn new(ages: Ages) -> Self {
        Self { ages, landed: Mutex::default(), turn: tokio::sync::Mutex::default() }
    }

    /// Returns the outcome of a read that is fresh enough, or of `read`.
    ///
    /// # Cancellation
    ///
    /// A request that is dropped takes its own read with it and nothing else: the turn goes to the
    /// next one in the queue, which reads itself.
    pub(crate) async fn share<F>(&self, read: impl FnOnce() -> F) -> Result<T, E>
    where
        F: Future<Output = Result<T, E>>,
    {
        let arrived = Instant::now();
        if let Some(outcome) = self.fresh(arrived) {
            return outcome;
        }
        let _turn = self.turn.lock().await;
        if let Some(outcome) = self.fresh(arrived) {
            return outcome;
        }
        let began = Instant::now();
        let outcome = read().await;
        let ended = Instant::now();
        *self.landed() = Some(Landed { outcome: outcome.clone(), began, ended });
        outcome
    }

    /// The last outcome, where it is fresh enough for a request that arrived then.
    fn fresh(&self, arrived: Instant) -> Option<Result<T, E>> {
        let landed = self.landed();
        let landed = landed.as_ref()?;
        // A read that began after the request arrived is fresh whatever the age.
        let fresh = match landed.outcome {
            Ok(_) => landed.began + self.ages.answer >= arrived,
            Err(_) => landed.ended + self.ages.failure >= arrived,
        };
        fresh.then(|| landed.outcome.clone())
    }

    fn landed(&self) -> MutexGuard<'_, Option<Landed<T, E>>> {
        // Nothing panics while it is held, and it is whole after every statement.
        self.landed.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::{
        future::pending,
        pin::pin,
        sync::atomic::{AtomicU32, Ordering},
        task::Poll,
    };

    use futures::{future::join_all, poll};
    use tokio::task::yield_now;

    use super::*;

    const LONG: Duration = Duration::from_hours(1);

    struct Test {
        flight: Flight<u32, &'static str>,
        reads: AtomicU32,
    }

    impl Test {
        fn new(answer: Duration, failure: Duration) -> Self {
            Self { flight: Flight::new(Ages { answer, failure }), reads: AtomicU32::new(0) }
        }

        /// Reads the number of the read, after a while.
        async fn read(&self) -> Result<u32, &'static str> {
            self.flight
                .share(async || {
                    let number = self.reads.fetch_add(1, Ordering::Relaxed);
                    for _ in 0..10 {
                        yield_now().await;
                    }
                    Ok(number)
                })
                .await
        }

        async fn fail(&self) -> Result<u32, &'static str> {
            self.flight
                .share(async || {
                    self.reads.fetch_add(1, Ordering::Relaxed);
                    yield_now().await;
                    Err("away")
                })
                .await
        }

        fn reads(&self) -> u32 {
            self.reads.load(Ordering::Relaxed)
        }
    }

    #[tokio::test]
    async fn a_thousand_requests_at_once_cause_one_read() {
        let test = Test::new(LONG, Duration::ZERO);

        let answers = join_all((0..1000).map(|_| test.read())).await;

        assert!(answers.iter().all(|answer| *answer == Ok(0)));
        assert_eq!(test.reads(), 1);
    }

    #[tokio::test]
    async fn without_an_age_a_burst_causes_two_reads_and_the_next_request_another() {
        let test = Test::new(Duration::ZERO, Duration::ZERO);

        // The first read began before the others arrived; the second one serves all of them.
        let answers = join_all((0..1000).map(|_| test.read())).await;
        assert_eq!(answers[0], Ok(0));
        assert!(answers[1..].iter().all(|answer| *answer == Ok(1)));

        assert_eq!(test.read().await, Ok(2));
    }

    #[tokio::test]
    async fn a_failure_is_shared_by_those_who_waited_and_not_kept() {
        let test = Test::new(LONG, Duration::ZERO);

        let outcomes = join_all((0..100).map(|_| test.fail())).await;
        assert!(outcomes.iter().all(|outcome| *outcome == Err("away")));
        assert_eq!(test.reads(), 1);

        assert_eq!(test.read().await, Ok(1));
    }

    #[tokio::test]
    async fn a_request_that_is_dropped_leaves_the_others_to_read() {
        let test = Test::new(LONG, Duration::ZERO);
        let mut waiting = pin!(test.read());
        {
            let mut stuck = pin!(test.flight.share(pending));
            assert!(poll!(stuck.as_mut()).is_pending());
            assert!(poll!(waiting.as_mut()).is_pending());
        }

        assert_eq!(waiting.await, Ok(0));
    }

    #[tokio::test]
    async fn a_request_that_is_dropped_in_the_queue_holds_nobody_up() {
        let test = Test::new(Duration::ZERO, Duration::ZERO);
        let mut first = pin!(test.read());
        assert!(poll!(first.as_mut()).is_pending());
        {
            let mut second = pin!(test.read());
            assert!(poll!(second.as_mut()).is_pending());
        }
        let mut third = pin!(test.read());
        assert_eq!(poll!(third.as_mut()), Poll::Pending);

        assert_eq!(first.await, Ok(0));
        assert_eq!(third.await, Ok(1));
    }
}
