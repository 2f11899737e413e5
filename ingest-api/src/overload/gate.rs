//! When there is more to do than the processors manage, and how many strangers may come in then.

use std::time::{Duration, Instant};

use tokio::{task::yield_now, time::sleep};

/// Between two looks, without overload and with it.
const PAUSE: Duration = Duration::from_millis(20);
const PAUSE_UNDER_OVERLOAD: Duration = Duration::from_millis(5);

/// For how long every delay must be long. Whatever is bursty has a moment of rest in it.
const STANDING: Duration = Duration::from_millis(100);

/// Fewer looks say nothing: a process that was stopped for longer has one long delay.
const LOOKS: u32 = 3;

/// Overload is over when nobody was turned away for this long.
const QUIET: Duration = Duration::from_secs(5);

/// By how much more come in after a look that found rest.
const GROWTH: f64 = 1.1;

/// What is left of them after a look that found a queue. CUBIC's factor (RFC 9438, section 4.6), and not
/// Reno's half: a processor that was given to others for a moment looks like a queue, too.
const DECREASE: f64 = 0.7;

/// A state machine, of which only [`Self::delay`] knows a clock.
#[derive(Debug)]
pub(super) struct Gate {
    /// How long a task that is ready may have to wait for its turn.
    allowed: Duration,
    /// The most that may come in after one look.
    max: f64,
    state: State,
}

#[derive(Debug)]
enum State {
    /// Everybody comes in. Since when each delay was long, and how many of these there were.
    Open { long_since: Instant, looks: u32 },
    /// Only so many strangers after each look that found rest. When somebody was turned away last, and
    /// whether the last look found none.
    Narrow { strangers: f64, turned_away: Instant, queued: bool },
}

/// How many strangers may come in until the next look.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Strangers {
    All,
    AtMost(u32),
}

impl Gate {
    pub(super) fn new(allowed: Duration, max_in_flight: usize, now: Instant) -> Self {
        let max = f64::from(u32::try_from(max_in_flight).unwrap_or(u32::MAX));
        Self { allowed, max, state: State::open(now) }
    }

    /// Takes in how long a task that was ready had to wait, and whether somebody was turned away since the
    /// last look.
    ///
    /// One long delay is no overload: bursts, pauses of the system and other processes make such. Where
    /// all are long for a while there is a queue that does not go away by itself. From then on each look
    /// counts: strangers come in only when nothing else is to do.
    pub(super) fn look(&mut self, delay: Duration, turned_away: bool, now: Instant) -> Strangers {
        match &mut self.state {
            State::Open { long_since, looks } => {
                if delay <= self.allowed {
                    self.state = State::open(now);
                    return Strangers::All;
                }
                *looks += 1;
                if *looks < LOOKS || now - *long_since < STANDING {
                    return Strangers::All;
                }
                self.state = State::Narrow { strangers: 1.0, turned_away: now, queued: true };
                Strangers::AtMost(0)
            }
            State::Narrow { turned_away: last, .. } if !turned_away && now - *last >= QUIET => {
                self.state = State::open(now);
                Strangers::All
            }
            State::Narrow { strangers, turned_away: last, queued } => {
                if turned_away {
                    *last = now;
                }
                let already = std::mem::replace(queued, delay > self.allowed);
                if *queued {
                    // Once for each queue, as TCP does once for each round trip: what is seen until it
                    // is gone comes from before.
                    if !already {
                        *strangers = (*strangers * DECREASE).max(1.0);
                    }
                    return Strangers::AtMost(0);
                }
                *strangers = (*strangers * GROWTH).min(self.max);
                #[expect(
                    clippy::cast_possible_truncation,
                    clippy::cast_sign_loss,
                    reason = "1 to 2^32"
                )]
                Strangers::AtMost(*strangers as u32)
            }
        }
    }

    /// Whether there is overload.
    pub(super) fn is_narrow(&self) -> bool {
        matches!(self.state, State::Narrow { .. })
    }

    /// Waits for a moment, and then for everything that is ready. Returns how long that took. Cancel safe.
    pub(super) async fn delay(&self) -> Duration {
        sleep(if self.is_narrow() { PAUSE_UNDER_OVERLOAD } else { PAUSE }).await;
        let ready = Instant::now();
        yield_now().await;
        ready.elapsed()
    }
}

impl State {
    fn open(now: Instant) -> Self {
        Self::Open { long_since: now, looks: 0 }
    }
}

#[cfg(test)]
mod tests {
    use tokio::task::JoinSet;

    use super::*;

    const ALLOWED: Duration = Duration::from_millis(2);
    const SHORT: Duration = Duration::from_micros(20);
    const LONG: Duration = Duration::from_millis(50);

    /// A gate with its clock.
    struct Fixture {
        gate: Gate,
        now: Instant,
    }

    impl Fixture {
        fn new() -> Self {
            let now = Instant::now();
            Self { gate: Gate::new(ALLOWED, 5000, now), now }
        }

        fn look(&mut self, delay: Duration, turned_away: bool) -> Strangers {
            self.now += PAUSE;
            self.gate.look(delay, turned_away, self.now)
        }

        fn narrow() -> Self {
            let mut fixture = Self::new();
            for _ in 0..5 {
                fixture.look(LONG, false);
            }
            assert!(fixture.gate.is_narrow());
            fixture
        }
    }

    #[test]
    fn delays_with_a_rest_between_them_are_no_overload() {
        let mut fixture = Fixture::new();

        for number in 0..100 {
            let delay = if number % 4 == 0 { SHORT } else { LONG };
            assert_eq!(fixture.look(delay, false), Strangers::All);
        }

        assert!(!fixture.gate.is_narrow());
    }

    #[test]
    fn a_process_that_was_stopped_is_not_overloaded() {
        let mut fixture = Fixture::new();

        fixture.now += Duration::from_secs(10);
        fixture.look(Duration::from_secs(10), false);
        fixture.look(SHORT, false);
        fixture.look(SHORT, false);

        assert!(!fixture.gate.is_narrow());
    }

    #[test]
    fn under_overload_strangers_come_in_only_at_rest_and_then_more_and_more() {
        let mut fixture = Fixture::narrow();

        assert_eq!(fixture.look(LONG, true), Strangers::AtMost(0));
        assert_eq!(fixture.look(SHORT, true), Strangers::AtMost(1));
        for _ in 0..50 {
            fixture.look(SHORT, true);
        }
        let Strangers::AtMost(many) = fixture.look(SHORT, true) else { panic!("it is open") };
        assert!((100..200).contains(&many), "{many}");

        assert_eq!(fixture.look(LONG, true), Strangers::AtMost(0));
        assert_eq!(fixture.look(LONG, true), Strangers::AtMost(0));
        let Strangers::AtMost(fewer) = fixture.look(SHORT, true) else { panic!("it is open") };
        assert!((many * 7 / 10..many * 8 / 10).contains(&fewer), "0.77 of {many}, not {fewer}");
    }

    #[test]
    fn overload_is_over_when_nobody_is_turned_away_any_more() {
        let mut fixture = Fixture::narrow();
        fixture.look(SHORT, true);

        let start = fixture.now;
        while fixture.look(SHORT, false) != Strangers::All {}

        assert_eq!(fixture.now - start, QUIET);
        assert!(!fixture.gate.is_narrow());
    }

    #[tokio::test]
    async fn where_tasks_are_always_ready_there_is_a_delay() {
        /// What the other task does when it has its turn.
        const WORK: Duration = Duration::from_millis(20);
        let gate = Gate::new(ALLOWED, 1, Instant::now());
        let mut busy = JoinSet::new();
        busy.spawn(async {
            loop {
                std::thread::sleep(WORK);
                yield_now().await;
            }
        });

        let delay = gate.delay().await;

        assert!(delay >= WORK, "{delay:?}");
        busy.shutdown().await;
        let mut delays = Vec::new();
        for _ in 0..5 {
            delays.push(gate.delay().await);
        }
        assert!(delays.iter().any(|it| *it < WORK), "{delays:?}");
    }
}
