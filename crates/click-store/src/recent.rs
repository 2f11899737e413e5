//! Which events were stored lately: a hint that spares questions to Postgres, and never the truth.

use std::mem::replace;

use proto_schemas::DedupKey;

/// Of 4 bytes each: 8 MiB. At 17,000 events a second, the last two minutes.
const PLACES: usize = 1 << 21;

/// How many batches without a surprise it takes until surprises are no longer expected.
const WARY_FOR: u8 = 16;

/// What a consumer remembers of the events that it gave to Postgres.
///
/// Players send again within seconds, and what they send again comes by the same partition. So nearly
/// every event that has its row already is remembered here. Whether it has is always for Postgres to
/// say: an event may be remembered although its transaction was rolled back, because another took
/// its place, or not at all.
#[derive(Debug)]
pub struct RecentEvents {
    /// A part of the key that was there last; 0 where none was.
    places: Box<[u32]>,
    /// How many batches more are to expect events that have their row and are not remembered.
    wary: u8,
}

impl Default for RecentEvents {
    fn default() -> Self {
        Self { places: vec![0; PLACES].into(), wary: 0 }
    }
}

impl RecentEvents {
    /// Remembers an event, and says whether it was remembered already.
    pub(crate) fn note(&mut self, key: DedupKey) -> bool {
        // The key is a hash: any bits of it do.
        let [place, mark, ..] = key.as_bytes().as_chunks::<4>().0 else { return false };
        let place = u32::from_le_bytes(*place) as usize % PLACES;
        let mark = u32::from_le_bytes(*mark) | 1;
        replace(&mut self.places[place], mark) == mark
    }

    /// Whether batches are to expect events that have their row and are not remembered: after a long
    /// outage, say, when players and spools send what others sent before.
    pub(crate) fn is_wary(&self) -> bool {
        self.wary > 0
    }

    /// Says whether a batch held an event that had its row and was not remembered.
    pub(crate) fn surprised(&mut self, surprised: bool) {
        self.wary = if surprised { WARY_FOR } else { self.wary.saturating_sub(1) };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(number: u8) -> DedupKey {
        DedupKey::from_bytes([number; 16])
    }

    #[test]
    fn an_event_is_remembered_from_its_first_time_on() {
        let mut recent = RecentEvents::default();

        assert!(!recent.note(key(0)), "also one whose bytes are all zero");
        assert!(!recent.note(key(1)));
        assert!(recent.note(key(0)));
        assert!(recent.note(key(1)));
    }

    #[test]
    fn an_event_that_takes_the_place_of_another_makes_it_forgotten() {
        let mut recent = RecentEvents::default();
        let at_the_same_place = |mark: u8| {
            let mut bytes = [9; 16];
            bytes[4..8].fill(mark);
            DedupKey::from_bytes(bytes)
        };

        assert!(!recent.note(at_the_same_place(2)));
        assert!(!recent.note(at_the_same_place(4)));
        assert!(!recent.note(at_the_same_place(2)));
    }

    #[test]
    fn a_surprise_is_expected_again_until_enough_batches_had_none() {
        let mut recent = RecentEvents::default();
        assert!(!recent.is_wary());

        recent.surprised(true);
        for _ in 1..WARY_FOR {
            recent.surprised(false);
            assert!(recent.is_wary());
        }
        recent.surprised(false);
        assert!(!recent.is_wary());
    }
}
