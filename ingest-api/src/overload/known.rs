//! Which addresses are known.

use std::time::{Duration, Instant};

use prometheus_client::metrics::counter::Counter;
use service_kit::http::AddressKey;

use crate::table::{Micros, Table};

/// How long ago an address must have been seen first. Longer than a client takes that does not wait
/// when it is told to.
const AT_LEAST: Duration = Duration::from_secs(1);

/// How long an address has to come again. Short, because each address of a flood takes a place for as long.
const CANDIDATE_FOR: Duration = Duration::from_mins(1);

/// How long a known address stays known after it was last seen.
const KNOWN_FOR: Duration = Duration::from_hours(1);

/// Addresses that came, and came again later, as viewers do. A flood that pretends to be very many has no
/// time to come again as each of them.
///
/// In memory that is taken once. Where the table is full, who is not in it stays a stranger.
#[derive(Debug)]
pub(super) struct Known {
    started: Instant,
    /// Until when an address is in it; the last bit says whether it is known by now, or a candidate.
    until: Table,
}

impl Known {
    pub(super) fn new(keys: usize, overflow: Counter) -> Self {
        Self { started: Instant::now(), until: Table::new(keys, overflow) }
    }

    /// Takes in that an address is here, and tells whether it is known.
    pub(super) fn see(&self, address: AddressKey) -> bool {
        self.see_at(address, self.now())
    }

    /// Makes an address one that was never seen.
    pub(super) fn forget(&self, address: AddressKey) {
        let now = self.now();
        self.until.update_unshared(&address, now, |_| ((), Some(now)));
    }

    fn see_at(&self, address: AddressKey, now: Micros) -> bool {
        let see = |until| match until {
            0 => (false, Some(candidate(now + micros(CANDIDATE_FOR)))),
            it if is_known(it) || now + micros(CANDIDATE_FOR) >= it + micros(AT_LEAST) => {
                (true, Some(known(now + micros(KNOWN_FOR))))
            }
            _ => (false, None),
        };
        self.until.update_unshared(&address, now, see).unwrap_or(false)
    }

    /// Monotonic, and never zero, which tables take for never.
    fn now(&self) -> Micros {
        micros(self.started.elapsed()).max(1)
    }
}

fn candidate(until: Micros) -> Micros {
    until & !1
}

fn known(until: Micros) -> Micros {
    until | 1
}

fn is_known(until: Micros) -> bool {
    until & 1 == 1
}

fn micros(duration: Duration) -> Micros {
    Micros::try_from(duration.as_micros()).unwrap_or(Micros::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Micros = 1_000_000;
    const START: Micros = 10 * SECOND;

    fn address(number: u32) -> AddressKey {
        AddressKey::of(std::net::Ipv4Addr::from(number).into())
    }

    fn nobody() -> Known {
        Known::new(1000, Counter::default())
    }

    #[test]
    fn who_comes_again_a_second_later_is_known_from_then_on() {
        let known = nobody();

        assert!(!known.see_at(address(1), START));
        assert!(!known.see_at(address(1), START + SECOND / 2), "too soon");
        assert!(known.see_at(address(1), START + SECOND));
        assert!(known.see_at(address(1), START + SECOND + 1));
        assert!(!known.see_at(address(2), START + SECOND), "somebody else");
    }

    #[test]
    fn who_stays_away_is_forgotten_a_stranger_sooner_than_an_acquaintance() {
        let known = nobody();
        known.see_at(address(1), START);
        known.see_at(address(1), START + 2 * SECOND);
        known.see_at(address(2), START);

        let later = START + 61 * SECOND;
        assert!(known.see_at(address(1), later));
        assert!(!known.see_at(address(2), later));
        assert!(!known.see_at(address(1), later + 3601 * SECOND));
    }

    #[test]
    fn who_is_forgotten_must_come_twice_again() {
        let known = nobody();
        let start = known.now();
        known.see_at(address(1), start);
        assert!(known.see_at(address(1), start + 2 * SECOND));

        known.forget(address(1));

        assert!(!known.see_at(address(1), start + 3 * SECOND));
    }

    #[test]
    fn a_flood_that_fills_the_table_makes_nobody_known_and_takes_nobody_away() {
        let known = Known::new(1, Counter::default());
        known.see_at(address(1), START);
        assert!(known.see_at(address(1), START + SECOND));

        let flood = (2..1000).filter(|&it| known.see_at(address(it), START + 2 * SECOND));
        assert_eq!(flood.count(), 0);

        assert!(known.see_at(address(1), START + 3 * SECOND));
        let again = (2..1000).filter(|&it| known.see_at(address(it), START + 4 * SECOND)).count();
        assert!(again < 100, "only who has found a place: {again}");
    }
}
