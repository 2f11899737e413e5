//! Whether a server is known to be away, so that requests need not wait to find it out each for itself.

use std::time::{Duration, Instant};

/// How many requests in a row a server may fail before it is taken to be away.
const FAILURES: u32 = 5;

/// How often one request is sent to a server that is taken to be away, to find out whether it is back.
pub(crate) const PROBE_EVERY: Duration = Duration::from_secs(1);

/// Which way a request takes.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Way {
    /// The server is asked.
    Through,
    /// The server is known to be away.
    Around,
}

/// What the last requests say of a server. No clock of its own and no I/O.
#[derive(Debug, Default)]
pub(crate) struct Circuit(State);

#[derive(Debug)]
enum State {
    /// The server answers, but for the last so many.
    Closed { failures: u32 },
    /// The server is away. At this time one request may try it again.
    Open { next_probe: Instant },
}

impl Default for State {
    fn default() -> Self {
        Self::Closed { failures: 0 }
    }
}

/// What changed, for the log.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Change {
    None,
    Opened,
    Closed,
}

impl Circuit {
    /// Says which way a request of `now` takes.
    ///
    /// While the server is away that is through it for one request each second. Nothing waits for that
    /// one's fate, so one whose player hangs up blocks nobody.
    pub(crate) fn way(&mut self, now: Instant) -> Way {
        match &mut self.0 {
            State::Closed { .. } => Way::Through,
            State::Open { next_probe } if *next_probe <= now => {
                *next_probe = now + PROBE_EVERY;
                Way::Through
            }
            State::Open { .. } => Way::Around,
        }
    }

    /// Tells whether the server is taken to be away.
    pub(crate) fn is_open(&self) -> bool {
        matches!(self.0, State::Open { .. })
    }

    /// Takes in that the server did what it was asked, whenever that was.
    pub(crate) fn succeeded(&mut self) -> Change {
        let was_open = self.is_open();
        self.0 = State::Closed { failures: 0 };
        if was_open { Change::Closed } else { Change::None }
    }

    /// Takes in that the server did not do in time what it was asked.
    pub(crate) fn failed(&mut self, now: Instant) -> Change {
        match &mut self.0 {
            State::Closed { failures } if *failures + 1 < FAILURES => {
                *failures += 1;
                Change::None
            }
            State::Closed { .. } => {
                self.0 = State::Open { next_probe: now + PROBE_EVERY };
                Change::Opened
            }
            State::Open { .. } => Change::None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn open(now: Instant) -> Circuit {
        let mut circuit = Circuit::default();
        for _ in 1..FAILURES {
            assert_eq!(circuit.failed(now), Change::None);
        }
        assert_eq!(circuit.failed(now), Change::Opened);
        circuit
    }

    #[test]
    fn single_failures_leave_the_way_open() {
        let (mut circuit, now) = (Circuit::default(), Instant::now());

        for _ in 0..10 * FAILURES {
            circuit.failed(now);
            assert_eq!(circuit.way(now), Way::Through);
            assert_eq!(circuit.succeeded(), Change::None);
        }
    }

    #[test]
    fn after_failures_in_a_row_the_way_is_around_at_once() {
        let now = Instant::now();
        let mut circuit = open(now);

        assert_eq!(circuit.way(now), Way::Around);
        assert_eq!(circuit.failed(now), Change::None, "said once");
    }

    #[test]
    fn one_request_each_second_tries_the_server_again() {
        let start = Instant::now();
        let mut circuit = open(start);

        for second in 1..5 {
            let now = start + second * PROBE_EVERY;
            assert_eq!(circuit.way(now), Way::Through);
            assert_eq!(circuit.way(now), Way::Around, "one is enough");
            circuit.failed(now);
            assert_eq!(circuit.way(now + PROBE_EVERY / 2), Way::Around);
        }
    }

    #[test]
    fn a_probe_of_which_nothing_is_heard_is_followed_by_another() {
        let start = Instant::now();
        let mut circuit = open(start);

        assert_eq!(circuit.way(start + PROBE_EVERY), Way::Through);
        assert_eq!(circuit.way(start + 2 * PROBE_EVERY), Way::Through);
    }

    #[test]
    fn the_first_success_opens_the_way_again() {
        let now = Instant::now();
        let mut circuit = open(now);

        assert_eq!(circuit.succeeded(), Change::Closed);
        assert_eq!(circuit.way(now), Way::Through);
        assert_eq!(circuit.failed(now), Change::None, "it counts from the beginning");
    }
}
